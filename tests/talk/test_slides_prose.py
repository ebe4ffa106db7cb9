"""The words of the slides: the same slides and numbers in both languages, short, speakable."""

import itertools
import re
import string
import tomllib

import pytest
from matplotlib.ft2font import FT2Font

from scale.talk.material import headline, prose, words
from scale.talk.plan import SLIDES
from scale.viz.theme import ASSETS, FONT_FILE

READ = {
    lang: tomllib.loads((ASSETS / f"talk_{lang}.toml").read_text(encoding="utf-8"))
    for lang in ("en", "zh")
}
HAN = re.compile("[一-鿿]")
MEASURED = ("retrieval", "sheet", "directions", "downstream", "map", "gap", "study_missing",
            "paper_modalities", "paper_models", "study_parts", "study_weighting",
            "study_objective", "paper_claims", "faults", "take_home")  # fmt: skip
"""Slides of results measured on test or held-out products."""


def fields(value):
    if isinstance(value, dict):
        return set().union(*map(fields, value.values()))
    if isinstance(value, list):
        return set().union(*map(fields, value))
    return {name for _, name, _, _ in string.Formatter().parse(value) if name}


def texts(value):
    if isinstance(value, dict):
        return [text for key, each in value.items() if key != "equation" for text in texts(each)]
    return [text for each in value for text in texts(each)] if isinstance(value, list) else [value]


def without_equation(table):
    return {key: value for key, value in table.items() if key != "equation"}


def test_every_slide_has_words_and_all_words_have_a_slide():
    assert list(READ["en"]) == list(READ["zh"])
    assert set(READ["en"]) == set(SLIDES)


def test_both_languages_have_the_same_parts_and_numbers():
    for key in SLIDES:
        english, chinese = (READ[lang][key] for lang in ("en", "zh"))
        assert english.keys() == chinese.keys(), key
        assert fields(without_equation(english)) == fields(without_equation(chinese)), key
        for part in ("points", "more", "headings", "alt"):
            assert len(english.get(part, [])) == len(chinese.get(part, [])), key
        if isinstance(english["title"], dict):
            assert english["title"].keys() == chinese["title"].keys(), key
        assert set(english.get("words", {})) <= set(chinese.get("words", {})), key


def test_no_slide_is_a_wall_of_text():
    for lang, tables in READ.items():
        for key, table in tables.items():
            lines = [*table.get("points", []), *table.get("more", []), *table.get("headings", [])]
            assert max(len(table.get("points", [])), len(table.get("more", []))) <= 5, key
            plain = [re.sub(r"{\w+}", "", line) for line in lines]
            assert sum(len(line.split()) for line in plain) <= 46, (lang, key)
            if lang == "zh":
                assert len(HAN.findall("".join(plain))) <= 100, key


def test_chinese_is_chinese_with_full_width_marks():
    for key, table in READ["zh"].items():
        for text in (*texts(table["notes"]), *texts(table["title"])):
            assert HAN.search(text), key
        for text in texts(without_equation(table)):
            assert not re.search("[一-鿿][,;:?!]|[,;?!][一-鿿]", text), text


def test_the_shipped_fonts_have_every_letter():
    known = set(FT2Font(str(FONT_FILE)).get_charmap())
    for table in READ.values():
        for text in texts(table):
            missing = {c for c in text if ord(c) not in known and not c.isspace()}
            assert missing <= set("′ᵢ−●"), (missing, text)


def test_values_are_formatted_and_a_missing_one_is_an_error():
    values = {"run": "demo", "catalogue": "shop", "products": 7}
    said = prose("title", "en", values)
    assert "7 products" in said.points[1]
    assert "\n" not in said.notes
    with pytest.raises(KeyError, match="products"):
        prose("title", "en", {"run": "demo", "catalogue": "shop"})


def test_a_title_follows_the_verdict():
    values = dict.fromkeys(fields(READ["en"]["study_weighting"]), "0")
    titles = {
        v: prose("study_weighting", "en", values, v).title
        for v in READ["en"]["study_weighting"]["title"]
    }
    assert len(set(titles.values())) == 4
    assert "did not beat" in titles["not decided"]
    assert headline("study_weighting", "en").count(" / ") == 3
    with pytest.raises(ValueError, match="no title for 'perhaps'"):
        prose("study_weighting", "en", values, "perhaps")


def test_an_unknown_slide_is_an_error():
    with pytest.raises(ValueError, match=r"no words for the slide nothing in talk_zh\.toml"):
        prose("nothing", "zh", {})
    assert words("idea", "en") == {}


def test_measured_slides_name_their_products_beside_the_figure():
    """In the axis, the header, the points or the title, all in one form."""
    for lang, key in itertools.product(READ, MEASURED):
        table = READ[lang][key]
        beside = [table["title"], table.get("points", []), table.get("words", {})]
        assert "set" in fields(beside), (lang, key)
        assert not {"products", "split", "held"} & fields([*beside, table["source"]]), (lang, key)
