"""Both languages have the same words, render with the shipped fonts, and none is unused."""

import re
import string
from pathlib import Path

import pytest

import scale
from scale.modalities import MODALITIES, TASKS
from scale.viz.theme import drawable
from scale.viz.words import LABELS, WORDS, caption, label

HAN = "[一-鿿]"


def fields(template):
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def test_labels_have_both_languages_and_the_same_values():
    assert LABELS["en"].keys() == LABELS["zh"].keys()
    # A key in two topics would hide one of them.
    assert len(LABELS["en"]) == sum(len(topic) for topic in WORDS["en"]["labels"].values())
    for key, english in LABELS["en"].items():
        chinese = LABELS["zh"][key]
        assert fields(english) == fields(chinese), key
        plain = re.sub(r"{[^}]*}", "", english)
        if re.search(r"\b[a-z]{3,}\b", plain):
            assert re.search(HAN, chinese), key
        plain = re.sub(r"{[^}]*}|“.”", "", chinese)
        assert "softmax" in plain or not re.search("[,;]", plain), key


def test_captions_have_both_languages_and_fit_below_a_picture():
    english, chinese = (WORDS[lang]["captions"] for lang in ("en", "zh"))
    assert english.keys() == chinese.keys()
    for name in english:
        en, zh = caption(name, "en"), caption(name, "zh")
        assert 1 <= len(re.findall(r"[.!?](?: |$)", en.text)) <= 4, name
        assert 60 <= len(en.text) <= 420, name
        assert not en.title.endswith("."), name
        assert re.search(HAN, zh.title), name
        assert zh.text.endswith(("。", "？")), name
        for number in ("95", "0.5", "0.001", "1,000", "6,000"):
            assert (number in en.text) == (number in zh.text), (name, number)


def test_slide_captions_have_both_languages():
    english, chinese = (WORDS[lang]["slide_captions"] for lang in ("en", "zh"))
    assert english.keys() == chinese.keys()
    assert english.keys() - {"study"} <= WORDS["en"]["captions"].keys()
    assert all(text.endswith("。") for text in chinese.values())
    assert caption("study_missing", on_slides=True).text == english["study"]
    assert caption("streams", on_slides=True).text != caption("streams").text


def test_words_render_with_the_shipped_fonts():
    known = frozenset.union(*drawable())
    texts = [text for labels in LABELS.values() for text in labels.values()]
    texts += [t for w in WORDS.values() for c in w["captions"].values() for t in c.values()]
    texts += [text for words in WORDS.values() for text in words["slide_captions"].values()]
    assert not {c for c in "".join(texts) if ord(c) not in known} - {"\n"}


def test_no_label_is_unused():
    folder = Path(scale.__path__[0])
    source = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    # A key is written in quotes, or computed from a prefix or a suffix, e.g. f"absent_{modality}".
    prefixes = tuple(re.findall(r"""f["']([a-z]+_){""", source))
    computed = {*MODALITIES, *TASKS, "category_is", "split_is"}
    unused = {
        key
        for key in LABELS["en"].keys() - computed
        if f'"{key}"' not in source and f"'{key}'" not in source and not key.startswith(prefixes)
    }
    assert not unused


def test_label_errors_name_the_key():
    assert label("more_pairs", "zh", n=3) == "另有 3 个属性-值对"
    with pytest.raises(KeyError, match="nonsense"):
        label("nonsense")
    with pytest.raises(KeyError, match="nonsense"):
        caption("nonsense")
    with pytest.raises(ValueError, match="fr"):
        label("text", "fr")
    with pytest.raises(KeyError, match="n"):
        label("more_pairs", "en")
