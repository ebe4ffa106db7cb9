"""Form of the notebooks; nbval compares their numbers (`make test-notebooks`).

nbval silently passes a cell without stored output, so these tests assert that the outputs are
stored, and that nbval fails on a changed number.
"""

import ast
import base64
import io
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import PIL.Image
import pytest
import torch

import scale
from notebooks import conftest as compared
from scale.model import inter_modality_scores
from scale.viz.registry import FIGURES
from tools import notebooks

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SOURCES = sorted((FOLDER / "src").glob("*.py"))
CHINESE = [path for path in SOURCES if notebooks.translation_file(path).exists()]
MOST_LINES, MOST_BYTES = 15, 1_500_000
SHOWS = re.compile(
    r"^(print|display)\(|^(?!setup|torch\.testing|np\.testing)[A-Za-z_][\w.\[\]]*(\(.*\))?$"
)
"""Last lines of cells that must have an output."""


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def prose(path: Path) -> str:
    return "\n\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")


def source_of(path: Path) -> Path:
    return FOLDER / "src" / f"{path.stem}.py"


def texts(notebook: nbformat.NotebookNode) -> list[tuple[str, str, list[str]]]:
    """Kind, source and tags of each cell."""
    return [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]


every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_each_source_has_its_notebook():
    assert [path.stem for path in SOURCES] == [path.stem for path in NOTEBOOKS]
    numbers = [int(path.stem[:2]) for path in NOTEBOOKS]
    assert numbers == list(range(len(numbers)))


@every
def test_notebook_is_its_source(path):
    """Below the title and at its end there are also navigation and facts (course.toml)."""
    assert texts(read(path)) == texts(notebooks.build(source_of(path))), "make notebooks"


def test_course_lists_all_notebooks():
    """In order, with prerequisites that come earlier, and in the tables of both READMEs."""
    names = list(notebooks.COURSE)
    assert [name for name in names if (FOLDER / "src" / f"{name}.py").exists()] == [
        path.stem for path in SOURCES
    ]
    for name, entry in notebooks.COURSE.items():
        assert all(before in {n[:2] for n in names} for before in entry["after"]), name
    for lang, path in notebooks.READMES.items():
        page = path.read_text(encoding="utf-8")
        assert notebooks.table(lang) in page, "tools/notebooks.py --sync"


def test_navigation_and_facts_of_a_notebook():
    """Neighbours, prerequisites, needs of the code, and the paper; in Chinese, the same facts."""
    english = notebooks.introduction("09_score_matrix", "en", 20)
    assert "← [08 " in english
    assert "[10 Pretraining](10_pretraining.ipynb) →" in english
    assert "**Before this:** [01 " in english
    assert "about 20 minutes" in english
    assert "`make demo`" in english
    assert "arxiv.org/abs/2109.04275" in english
    chinese = notebooks.introduction("09_score_matrix", "zh", 20)
    assert "](../09_score_matrix.ipynb)" in chinese
    assert "../../docs/glossary.md" in chinese
    assert "←" not in notebooks.navigation("00_tour", "en")
    assert "→" not in notebooks.navigation(list(notebooks.COURSE)[-1], "en")
    needs_nothing = notebooks.introduction("16_your_own_products", "en", 20)
    assert "nothing but the package" in needs_nothing


@every
def test_cells_were_run_in_order_and_have_outputs(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        last = cell.source.splitlines()[-1]
        if SHOWS.match(last):
            assert cell.outputs, f"no stored output:\n{cell.source}"


@every
def test_outputs_are_clean(path):
    notebook = read(path)
    assert path.stat().st_size < MOST_BYTES
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error" or "raises-exception" in cell.metadata.tags
            assert output.get("name") != "stderr", output.get("text")
            text = str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
            assert "Warning" not in text
            assert not re.search(r"/(root|home|work|tmp|Users)/", text), text


@every
def test_cells_are_short_and_follow_prose(path):
    cells = read(path).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith(f"# {path.stem[:2]} · ")
    for before, cell in pairwise(cells):
        if cell.cell_type == "code":
            lines = cell.source.splitlines()
            assert len(lines) <= MOST_LINES, cell.source
            assert max(map(len, lines)) <= 100, cell.source
            follows = {"exercise-check", "solution"} & set(cell.metadata.get("tags", []))
            assert follows or before.cell_type == "markdown", f"no prose before\n{cell.source}"


@every
def test_ends_with_what_to_remember_and_five_questions(path):
    text = prose(path)
    headings = re.findall(r"^## (.+)$", text, re.M)
    assert headings[-3:] == ["What to remember", "Five questions", "Pictures for your slides"]
    last = text.split("## Five questions")[1].split("## Pictures")[0]
    questions, answers = last.split("<details><summary>Answers</summary>\n\n")
    assert "\n\n</details>" in answers
    for part in (questions, answers):
        assert re.findall(r"^(\d)\. ", part, re.M) == list("12345")
    assert "## Exercise" in text
    assert any("solution" in c.metadata.get("tags", []) for c in code_cells(path))


@every
def test_chinese_terms_and_real_pictures(path):
    assert re.search("[一-鿿]", prose(path)), "no Chinese term"
    commands = re.findall(r"^scale figures (.+)$", prose(path), re.M)
    assert commands
    for name in " ".join(commands).split():
        assert name in FIGURES or name.startswith("--"), name


@every
def test_tags_that_loosen_the_test_have_a_reason(path):
    for cell in code_cells(path):
        tags = cell.metadata.get("tags", [])
        if {"nbval-ignore-output", "nbval-skip"} & set(tags):
            assert "# not compared:" in cell.source, cell.source
        assert ("picture-varies" in tags) == bool(cell.metadata.get("varies")), cell.source


@every
def test_results_are_asserted(path):
    source = "\n".join(cell.source for cell in code_cells(path))
    assert re.search(r"\bassert\b|assert_close|assert_allclose", source)


DRAWING = """
import io
from IPython.display import Image
from PIL import Image as Picture, ImageDraw
picture = Picture.new("RGB", (400, 300), "white")
draw = ImageDraw.Draw(picture)
draw.line([(20, 280), (100, 120), (380, 40)], "navy", 3)
draw.text((250, 200), "a legend", "black", font_size=24)
out = io.BytesIO()
picture.save(out, "png")
Image(out.getvalue())
"""


def stored(code: str, output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Notebook with one executed cell."""
    cell = nbformat.v4.new_code_cell(code.strip(), execution_count=1)
    cell.outputs = [output]
    return nbformat.v4.new_notebook(cells=[cell])


def test_a_changed_number_and_a_broken_picture_fail(tmp_path):
    """Run nbval as the Makefile does, on correct notebooks and on one with a changed digit and one
    without the legend of the stored picture."""
    shutil.copy(FOLDER / "conftest.py", tmp_path)
    scope = {}
    exec(DRAWING, scope)
    data = {"image/png": base64.b64encode(scope["out"].getvalue()).decode(), "text/plain": "<IP>"}
    data["text/plain"] = repr(scope["Image"](scope["out"].getvalue())).split(" at ")[0]
    picture = nbformat.v4.new_output("execute_result", data, execution_count=1)
    number, other = (
        nbformat.v4.new_output("stream", name="stdout", text=f"0.7{k}\n") for k in (5, 6)
    )
    sanitize = tmp_path / "sanitize.cfg"
    sanitize.write_text("[address]\nregex: Image object( at 0x[0-9a-f]+)?\nreplace: Image object\n")
    faded = "\n".join(line for line in DRAWING.splitlines() if "legend" not in line)
    books = {
        "right": stored("print(0.25 + 0.5)", number),
        "wrong": stored("print(0.25 + 0.5)", other),
        "drawn": stored(DRAWING, picture),
        "faded": stored(faded, picture),
    }
    for name, book in books.items():
        nbformat.write(book, tmp_path / f"{name}.ipynb")
    makefile = (FOLDER.parent / "Makefile").read_text(encoding="utf-8")
    assert "--nbval --nbval-current-env" in makefile
    flags = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", sanitize]
    command = [sys.executable, "-m", "pytest", "-q", *(f"{n}.ipynb" for n in books), *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "2 failed, 2 passed" in done.stdout, done.stdout
    assert r"'0.76\n' == '0.75\n'" in done.stdout
    assert "picture 0: structure" in done.stdout
    assert done.returncode == 1


def render(figure, dpi: int = 100) -> PIL.Image.Image:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    return PIL.Image.open(out).convert("RGB")


def difference(old: PIL.Image.Image, new: PIL.Image.Image, varies: bool = False) -> str:
    def encoded(image):
        out = io.BytesIO()
        image.save(out, "png")
        return compared.read_picture(base64.b64encode(out.getvalue()).decode())

    return compared.compare_pictures(encoded(old), encoded(new), varies)


def test_broken_pictures_differ_and_slightly_changed_ones_do_not():
    right = render(scale.plot.weight_effects())
    larger = render(scale.plot.weight_effects(), dpi=101).resize(right.size)
    assert difference(right, larger) == ""
    assert difference(right, right.quantize(64).convert("RGB")) == ""
    cosines_BMD = scale.viz.features_of_cosine(torch.tensor([0.30, 0.32]))
    scores = inter_modality_scores(cosines_BMD)
    assert difference(*(render(scale.plot.scores(scores, row)) for row in (0, 1))) == ""
    without_legend, without_axes = scale.plot.weight_effects(), scale.plot.weight_effects()
    without_legend.axes[0].get_legend().remove()
    without_axes.axes[1].set_visible(False)
    broken = {
        "legend": render(without_legend),
        "axes": render(without_axes),
        "Chinese": render(scale.plot.weight_effects(lang="zh")),
        "empty": PIL.Image.new("RGB", right.size, "white"),
        "size": right.resize((right.width, right.height - 20)),
    }
    for name, picture in broken.items():
        assert difference(right, picture), name
    # Where a picture may vary, gross faults are still found, in both directions.
    for name in ("empty", "size"):
        assert difference(right, broken[name], varies=True), name
    coloured = render(scale.plot.streams())
    permuted = PIL.Image.merge("RGB", [coloured.getchannel(c) for c in "GBR"])
    assert difference(coloured, permuted)
    assert difference(coloured, permuted, varies=True)
    assert difference(broken["empty"], right, varies=True)
    assert difference(right, larger, varies=True) == ""


@every
def test_imports_few_names_of_the_package(path):
    """`import scale`, at most eight names that the notebook teaches, and the notebook helpers."""
    tree = ast.parse("\n".join(cell.source for cell in code_cells(path)))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    taught = [
        alias.name
        for node in imports
        if node.module.split(".")[0] == "scale" and node.module != "scale.notebook"
        for alias in node.names
        if alias.name != "exercises"
    ]
    assert len(taught) <= 8, taught
    assert any(
        alias.name == "scale"
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    )


def test_every_notebook_has_a_chinese_edition():
    assert CHINESE == SOURCES, "tools/notebooks.py --translate"


@pytest.mark.parametrize("path", CHINESE, ids=lambda path: path.stem)
def test_chinese_edition_is_up_to_date(path):
    """Its text has no TODO and no missing or stale block; its code is that of the English source.

    Only its own target executes it (`make test-notebooks-zh`), so its outputs are checked here.
    """
    made = FOLDER / "zh" / f"{path.stem}.ipynb"
    assert made.exists(), f"make notebooks-zh ONLY={path.stem[:2]}"
    built = texts(notebooks.build(path, "zh"))
    assert texts(read(made)) == built, f"make notebooks-zh ONLY={path.stem[:2]}"
    test_cells_were_run_in_order_and_have_outputs(made)
    test_outputs_are_clean(made)
    for target in re.findall(r"\]\(([^)#\s]+)", prose(made)):
        assert target.startswith("http") or (made.parent / target).exists(), target


@pytest.mark.parametrize("path", CHINESE, ids=lambda path: path.stem)
def test_chinese_text_keeps_code_formulas_and_links(path):
    """A translation may reorder words, but loses no command, link, displayed formula or heading."""
    parts = re.compile(
        r"^```.*?^```$|\]\([^)\s]+\)|\$\$.*?\$\$|^#+ |^\d+\. |^- |</?details>", re.M | re.S
    )
    english = notebooks.english_blocks(notebooks.read_source(path))
    chinese = notebooks.read_blocks(notebooks.translation_file(path).read_text(encoding="utf-8"))
    for block, translation in zip(english, chinese, strict=True):
        kept = sorted(parts.findall(translation.text))
        assert kept == sorted(parts.findall(block.text)), f"cell {block.place:03d}"
        words = re.sub(r"```.*?```|`[^`]*`|\$[^$]*\$|\]\([^)]*\)", "", translation.text, flags=re.S)
        half = re.findall(r"[一-鿿][,;:?!.](?!\w)", words)
        assert not half, f"cell {block.place:03d}: half-width punctuation {half}"
        plain = re.sub(r"```.*?```|`[^`]*`|\$[^$]*\$", "x", translation.text, flags=re.S)
        pieces = re.split(r"\*\*", f" {plain} ")
        for before, bold, after in zip(pieces[::2], pieces[1::2], pieces[2::2], strict=False):
            # CommonMark's rule; such asterisks are shown as they are.
            assert bold[0].isalnum() or not before[-1].isalnum(), f"cell {block.place:03d}: {bold}"
            assert bold[-1].isalnum() or not after[0].isalnum(), f"cell {block.place:03d}: {bold}"
        close = re.findall(r"[一-鿿][A-Za-z0-9]|[A-Za-z0-9][一-鿿]", words)
        assert not close, f"cell {block.place:03d}: no blank between Chinese and Latin: {close}"


def test_changed_english_text_makes_its_translation_stale():
    """The block of a changed cell is to be translated again; all others keep their text."""

    def english(*texts):
        cells = [nbformat.v4.new_markdown_cell(text) for text in texts]
        return notebooks.english_blocks(nbformat.v4.new_notebook(cells=cells))

    first = notebooks.update_blocks(english("a", "b", "c"), [])
    assert [block.text for block in first] == ["TODO\n\na", "TODO\n\nb", "TODO\n\nc"]
    text = "\n".join(map(str, first)).replace("TODO\n\n", "译")
    done = notebooks.read_blocks(text)
    assert notebooks.update_blocks(english("a", "b", "c"), done) == done
    again = notebooks.update_blocks(english("c", "new", "a", "b changed"), done)
    assert [block.text for block in again if block.text in ("译a", "译c")] == ["译c", "译a"]
    assert again[1].text.startswith("TODO\n\nnew")
    assert again[3].text == "TODO\n\nb changed\n\nBEFORE\n\n译b"
    assert [block.place for block in again] == [0, 1, 2, 3]


def test_figures_follow_the_language_of_the_edition():
    """SCALE_LANG=zh changes the default of every figure; an explicit `lang` is kept."""
    script = (
        "from scale.viz import words\n"
        "print(words.label('text'), words.label('text', 'en'), words.LANG)\n"
        "import inspect, scale\n"
        "print(inspect.signature(scale.plot.scores).parameters['lang'].default)\n"
    )
    for lang, shown in (("zh", "文本 text zh\nzh\n"), ("en", "text text en\nen\n")):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            encoding="utf-8",
            env=os.environ | {"SCALE_LANG": lang, "PYTHONUTF8": "1"},
        )
        assert done.stdout == shown, done.stderr


def test_sanitising_file_is_ascii():
    assert (FOLDER / "sanitize.cfg").read_text(encoding="utf-8").isascii()
