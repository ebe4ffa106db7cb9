"""One English term has one Chinese term: the glossary's, and the code that it names exists."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
SOURCES = sorted((ROOT / "notebooks" / "src").glob("*.py"))
HAN = "[一-鿿]"
LINK = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)((?: `[\w.]+`)*)")


def read_rows() -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if row[0] != "English"]


ROWS = read_rows()
CHINESE = {row[0].lower(): row[1] for row in ROWS}


def resolves(module: object, dotted: str) -> bool:
    """Whether a name is there: of a module, of a class, or a field of a dataclass."""
    found = module
    for name in dotted.split("."):
        if name not in getattr(found, "__annotations__", {}) and not hasattr(found, name):
            return False
        found = getattr(found, name, None)
    return True


def terms_in(text: str) -> list[tuple[str, list[str]]]:
    """What stands before and in each parenthesis with Chinese in it, and its Chinese terms."""
    text = re.sub(r"\s+", " ", re.sub(r"\n# ?", " ", text))
    found = []
    for match in re.finditer(rf"([^()（）]{{0,60}})[(（]([^()（）]*{HAN}[^()（）]*)[)）]", text):
        parts = re.split(r"[,;:，；：、与\"“”]| and ", match[2])
        words = re.sub("[*`]", "", f"{match[1].strip()} ({match[2]})").lower()
        found.append((words, [part.strip() for part in parts if re.search(HAN, part)]))
    return found


def named_by(before: str) -> str | None:
    """The longest term of the glossary that the words end with, in the singular or the plural."""
    words = [t for t in CHINESE if re.search(rf"(^|\W){re.escape(t)}(s|es)?$", before)]
    return max(words, key=len, default=None)


def test_rows_have_five_cells_and_both_languages():
    assert len(ROWS) >= 45
    for row in ROWS:
        assert len(row) == 5, row
        english, chinese = row[:2]
        assert english.isascii()
        assert re.search(HAN, chinese), row
        assert not re.search("[、；;,，]", chinese), f"one translation: {row}"


@pytest.mark.parametrize("column", [0, 1], ids=["English", "Chinese"])
def test_no_term_stands_twice(column):
    terms = [row[column].lower() for row in ROWS]
    assert sorted(terms) == sorted(set(terms))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_code_exists(row):
    links = LINK.findall(row[4])
    assert links or row[4] == "–"
    for shown, path, names in links:
        assert shown == path
        assert (ROOT / path).is_file(), path
        if names:
            module = import_module(path.removesuffix(".py").replace("/", "."))
            for name in re.findall("`([^`]+)`", names):
                assert resolves(module, name), f"{path} has no {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_notebooks_use_these_terms(path):
    english_of = {chinese: english for english, chinese in CHINESE.items()}
    for words, terms in terms_in(path.read_text(encoding="utf-8")):
        for chinese in terms:
            assert chinese in english_of, f"{chinese} is not in docs/glossary.md: {words}"
        english = named_by(words.split(" (")[0])
        if english and len(terms) == 1 and english_of[terms[0]] not in words:
            assert terms == [CHINESE[english]], f"{english} is {CHINESE[english]}: {words}"


def test_terms_are_found_in_prose():
    text = "# A **modality** (模态) and\n# the audio (文本、音频: two of\n# five), not (this)."
    found = terms_in(text)
    assert [terms for _, terms in found] == [["模态"], ["文本", "音频"]]
    assert found[0][0] == "# a modality (模态)"
    assert named_by("the inter-modality losses") == "inter-modality loss"
    assert named_by("nothing of it") is None
