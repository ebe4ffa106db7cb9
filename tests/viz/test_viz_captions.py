"""Captions: both languages, of a length that fits below a picture."""

import re

import pytest

from scale.viz.captions import CAPTIONS, TABLES, caption
from scale.viz.style import drawable


@pytest.mark.parametrize("name", CAPTIONS)
def test_a_caption_in_both_languages(name):
    english, chinese = caption(name, "en"), caption(name, "zh")
    assert 1 <= len(re.findall(r"[.!?](?: |$)", english.text)) <= 4
    assert 60 <= len(english.text) <= 420
    assert not english.title.endswith(".")
    assert english.text.endswith((".", "?"))
    assert re.search("[一-鿿]", chinese.title)
    assert chinese.text.endswith(("。", "？"))
    assert len(re.findall("[一-鿿]", chinese.text)) > 20
    plain = re.sub(r"softmax\(S\)|[（(][^）)]*[）)]|\d,\d{3}", "", chinese.text)
    assert not re.search("[,;:?]", plain)
    # Intervals and chance are told in both.
    for number in ("95", "0.5", "0.001", "1,000", "6,000"):
        assert (number in english.text) == (number in chinese.text), number


def test_captions_can_be_written_with_the_shipped_fonts():
    known = frozenset.union(*drawable())
    text = "".join(part for pair in CAPTIONS.values() for words in pair for part in words)
    assert not [c for c in text if ord(c) not in known]


def test_a_name_belongs_to_one_topic():
    assert len(CAPTIONS) == sum(len(table) for table in TABLES)


def test_errors_name_what_is_wrong():
    with pytest.raises(KeyError, match="nonsense"):
        caption("nonsense")
    with pytest.raises(ValueError, match="fr"):
        caption("scores", "fr")
