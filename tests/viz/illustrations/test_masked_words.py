"""Pictures of hidden words and entities: readable in both languages, the numbers those given."""

import numpy as np
import pytest
import torch

from scale.data.tokenizer import train_tokenizer
from scale.evaluation.bootstrap import NOTHING, Estimate
from scale.modalities import MODALITIES
from scale.viz.illustrations.masked_words import (
    attribute_matrix,
    before_and_after,
    blank_value,
    condition,
    fates,
    masking_schemes,
    top_predictions,
    word_fates,
)
from scale.viz.words import label
from tests.viz.conftest import LOOKS

PIECES = [("[CLS]", "structure"), ("small", "plain"), ("[MASK]", "mask"), ("277", "random"),
          ("pot", "kept"), ("[SEP]", "structure")]  # fmt: skip


def test_fates_of_words(checked):
    for look, lang in LOOKS:
        _, texts = checked(word_fates, look, [PIECES] * 3, lang)
        assert texts.count("277") == 3
        keys = ("fate_mask", "fate_random", "fate_kept", *["masking_title"] * (look == "paper"))
        assert {label(key, lang) for key in keys} <= set(texts)


def test_a_long_table_takes_more_lines(checked):
    for look, lang in LOOKS:
        long = [(f"piece{k}", "mask" if k % 3 else "plain") for k in range(40)]
        _, texts = checked(masking_schemes, look, long, PIECES, PIECES, lang)
        # Slides have two lines.
        assert {f"piece{k}" for k in range(40 if look == "paper" else 12)} <= set(texts)
        assert label("whole_attribute", lang) in texts


def test_fates_are_distinguished(product):
    tokenizer = train_tokenizer([product], 400)
    clean_L = torch.tensor(tokenizer("kettle , 7")["input_ids"])
    clean_L = torch.cat([torch.tensor([tokenizer.cls_token_id]), clean_L])
    shown_L, hidden_L = clean_L.clone(), torch.zeros(len(clean_L), dtype=torch.bool)
    other = tokenizer.convert_tokens_to_ids("k")
    hidden_L[-3:] = True
    shown_L[-3], shown_L[-2] = tokenizer.mask_token_id, other
    padding_L = torch.tensor([tokenizer.pad_token_id] * 2)
    told = fates(
        tokenizer,
        torch.cat([clean_L, padding_L]),
        torch.cat([shown_L, padding_L]),
        torch.cat([hidden_L, torch.tensor([False, False])]),
    )
    assert len(told) == len(clean_L)
    assert [fate for _, fate in told[-3:]] == ["mask", "random", "kept"]
    assert told[0] == ("[CLS]", "structure")
    assert told[-2] == ("k", "random")


def test_guesses(checked, product):
    for look, lang in LOOKS:
        first = [("for", 0.41), ("red", 0.2), ("blue", 0.1), ("##se", 0.05), ("a", 0.01)]
        names = condition("nothing", lang), condition("audio", lang), condition("picture", lang)
        guesses = dict(zip(names, (first, first[::-1], first), strict=True))
        question = blank_value("Colour", lang)
        drawing = checked(top_predictions, look, product, question, guesses, "red", lang)
        _, texts = drawing
        assert texts.count("✓ red") == 3
        assert texts.count("0.41") == 3
        assert {*names, question} <= set(texts)


def test_no_guess(product):
    with pytest.raises(ValueError, match="no guess"):
        top_predictions(product, "?", {}, "red")
    with pytest.raises(KeyError):
        condition("smell")


def gains_of(start):
    names = ("all", *(m for m in MODALITIES if m != "table"))
    return {
        row: {n: Estimate(start + 0.1 * k, start, start + 0.2 * k, 50) for k, n in enumerate(names)}
        for row in ("Colour", "Material", "Size class")
    }


def test_matrix_shows_what_is_given(checked):
    for look, lang in LOOKS:
        before, after = gains_of(-0.2), gains_of(0.05)
        after["Colour"]["audio"] = NOTHING
        del after["Material"]["audio"]
        figure, texts = checked(before_and_after, look, before, after, lang)
        assert texts.count("-0.20") == 3
        assert texts.count("+0.45") == 1  # of three rows one has nothing and one is not there
        assert {"Colour", "Size class", label("attribute_after", lang)} <= set(texts)
        shown = [axes.collections[0].get_array().count() for axes in figure.axes]
        assert shown == [15, 13]


def test_only_decided_cells_are_coloured():
    panel = {"Colour": {"image": Estimate(0.3, 0.1, 0.5, 9), "audio": Estimate(0.3, -0.1, 0.5, 9)}}
    values = attribute_matrix({"": panel}).axes[0].collections[0].get_array()
    np.testing.assert_array_equal(values, [[0.3, 0.0]])


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="no gain"):
        attribute_matrix({"": {}})
