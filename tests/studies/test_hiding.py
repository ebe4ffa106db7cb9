"""Hiding by question, against loops over one product at a time; practice on what is hidden."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.tokenizer import train_tokenizer
from scale.modalities import MODALITIES
from scale.studies.context import EVERYTHING, NOTHING, Context, in_context, predict
from scale.studies.masked_probe import (
    mask_entities,
    mask_words,
    restrict_candidates,
    score_masked,
    top_tokens,
)
from scale.studies.masked_training import (
    RECORD_ATTRIBUTES,
    complete_rows,
    fine_tune,
    prepend_label,
    with_record_tables,
)
from scale.training.run import build_dataset, fit_sizes, fit_vocabulary, seeded_model

WORDS = ("red", "redge")
"""The second begins with the pieces of the first."""


def labelled(number, product):
    """Titles in which the second word stands too, and labels as the sample shop has them."""
    text = f"redge {product.text}" if number % 3 == 0 else product.text
    told = {"colour": product.text.split()[0], "material": f"k{number % 2}", "pattern": "thing"}
    labels = {**told, "size_cm": 5.0 * (number % 9), "brand": f"number {number % 3}"}
    return replace(product, text=None if number % 11 == 7 else text, labels=labels)


@pytest.fixture(scope="module")
def situation(config, small_catalogue, tmp_path_factory):
    """Products of which some lack something, and a model of random weights."""
    catalogue = Catalogue.open(small_catalogue)
    tokenizer = train_tokenizer(catalogue.products, config.features.vocab_size)
    config = fit_vocabulary(config, tokenizer)
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    products = tuple(labelled(number, p) for number, p in enumerate(catalogue.products))
    catalogue = replace(catalogue, products=products)
    data = build_dataset(catalogue, config, tokenizer, None, cache=cache)
    return data, seeded_model(fit_sizes(config, data)).eval()


@pytest.fixture(scope="module")
def data(situation):
    return situation[0]


def spelled(data, word):
    return data.tokenizer(word, add_special_tokens=False)["input_ids"]


def shown_and_hidden(masked, modality):
    for row, place in enumerate(masked.batch.index_B.tolist()):
        tokens = masked.batch.tokens[modality]
        yield place, tokens.values[row].tolist(), masked.hidden[modality][row].tolist()


@pytest.mark.parametrize("words", [WORDS[:1], WORDS[1:], WORDS, ("thing", "number 4")])
def test_words_are_hidden_whole_and_nothing_else(data, words):
    masked = mask_words(data, words)
    wanted = [spelled(data, word) for word in words]
    continues = {i for t, i in data.tokenizer.get_vocab().items() if t.startswith("##")}
    found = {place: rest for place, *rest in shown_and_hidden(masked, "text")}
    for place, product in enumerate(data.products):
        if product.text is None:
            continue
        clean = data.collate([place]).tokens["text"].values[0].tolist()
        expected = set()
        for pieces in wanted:
            for start in range(len(clean) - len(pieces) + 1):
                end = start + len(pieces)
                if clean[start:end] == pieces and clean[end] not in continues:
                    expected |= set(range(start, end))
        assert (place in found) == bool(expected)
        shown, hidden = found.get(place, (clean, [False]))
        assert {k for k, h in enumerate(hidden) if h} == expected
        masks = [data.tokenizer.mask_token_id if k in expected else c for k, c in enumerate(clean)]
        assert shown[: len(clean)] == masks


def test_a_word_within_a_longer_one_is_no_word(data):
    short = spelled(data, WORDS[0])
    assert spelled(data, WORDS[1])[: len(short)] == short
    only_longer = next(
        k for k, p in enumerate(data.products) if p.text and p.text.startswith("redge green")
    )
    assert mask_words(data, WORDS, [only_longer]).hidden["text"].sum() > 1
    with pytest.raises(ValueError, match="no tokens to mask"):
        mask_words(data, WORDS[:1], [only_longer])


@pytest.mark.parametrize("attribute", [False, True])
def test_entities_are_hidden_whole(data, attribute):
    names = [data.products[k].table[0][0] for k in complete_rows(data, ("table",))[:3]]
    masked = mask_entities(data, names, attribute=attribute)
    tokens = masked.batch.tokens["table"]
    for row, (place, shown, hidden) in enumerate(shown_and_hidden(masked, "table")):
        pairs = data.products[place].table
        numbers = [2 * k + (not attribute) for k, (name, _) in enumerate(pairs) if name in names]
        expected = [int(number) in numbers for number in tokens.entity_RL[row]]
        assert hidden == expected
        masks = [s == data.tokenizer.mask_token_id for s in shown]
        assert masks == expected


def test_asked_are_predicted_and_the_others_hidden_only(data):
    recorded = with_record_tables(data)
    masked = mask_entities(recorded, RECORD_ATTRIBUTES, targets=["Material"])
    every = mask_entities(recorded, RECORD_ATTRIBUTES)
    torch.testing.assert_close(
        masked.batch.tokens["table"].values, every.batch.tokens["table"].values
    )
    place = 2 * RECORD_ATTRIBUTES.index("Material") + 1
    hidden_RL = masked.batch.tokens["table"].entity_RL == place
    torch.testing.assert_close(masked.hidden["table"], hidden_RL)
    first = masked.targets["table"][: int(hidden_RL[0].sum())].tolist()
    assert first == spelled(data, recorded.products[0].labels["material"])


def test_answers_of_one_product_at_a_time(situation):
    data, model = situation
    names = {
        pair[0] for k in complete_rows(data, ("table",))[:4] for pair in data.products[k].table
    }
    masked = mask_entities(data, names)
    contexts = {"none": NOTHING, "all": EVERYTHING, "audio": Context(("audio",))}
    found = score_masked(model, masked, "table", len(data), contexts)
    for row in masked.batch.index_B.tolist()[:6]:
        one = mask_entities(data, names, rows=[row])
        for name, context in contexts.items():
            if not data.present_NM[row, [m in context.keep for m in MODALITIES]].any():
                assert name == "none" or np.isnan(found[name].loss_P[row])
            if name == "audio" and not data.present_NM[row, MODALITIES.index("audio")]:
                assert np.isnan(found[name].correct_P[row])
                continue
            logits_NV = predict(model, in_context(one, "table", context), "table")
            target_N = one.targets["table"]
            loss = torch.nn.functional.cross_entropy(logits_NV, target_N).item()
            np.testing.assert_allclose(found[name].loss_P[row], loss, rtol=1e-4)
            right = float((logits_NV.argmax(1) == target_N).all())
            assert found[name].correct_P[row] == right
    outside = set(range(len(data))) - set(masked.batch.index_B.tolist())
    assert all(np.isnan(found["none"].loss_P[row]) for row in outside)


def test_candidates_and_top_pieces(data):
    logits_NV = torch.tensor([[0.0, 3.0, 1.0, 2.0]])
    assert restrict_candidates(logits_NV, [0, 2]).argmax(1).tolist() == [2]
    assert restrict_candidates(logits_NV, None) is logits_NV
    chances = restrict_candidates(logits_NV, [0, 2]).softmax(1)[0]
    torch.testing.assert_close(chances[[1, 3]], torch.zeros(2))
    best = top_tokens(torch.arange(float(len(data.tokenizer))), data.tokenizer, 2)
    assert best[0][0] == data.tokenizer.convert_ids_to_tokens(len(data.tokenizer) - 1)
    assert best[0][1] > best[1][1]


def test_nothing_to_hide(data):
    with pytest.raises(ValueError, match="table"):
        mask_entities(data, ["no such attribute"])
    lacking = [k for k in range(len(data)) if data.products[k].text is None]
    with pytest.raises(ValueError, match="text"):
        mask_words(data, ["pot"], lacking)


def test_titles_name_the_label_once(data):
    named = prepend_label(data, "colour")
    assert len(named) == sum(p.text is not None for p in data.products)
    before = {p.id: p.text for p in data.products}
    for row, product in enumerate(named.products):
        colour = product.labels["colour"]
        assert product.text in (before[product.id], f"{colour} {before[product.id]}")
        assert colour in product.text.lower().split()
        ids = named.collate([row]).tokens["text"].values[0].tolist()
        assert ids[1:4] == spelled(data, product.text)[:3]


def test_practice_learns_what_is_hidden(situation):
    data, model = situation
    recorded = with_record_tables(data)
    asked = mask_entities(recorded, ["Colour"])
    before = score_masked(model, asked, "table", len(recorded), {"": EVERYTHING})[""].loss_P
    pupil = deepcopy(model)
    fine_tune(
        pupil,
        "table",
        lambda rows: mask_entities(recorded, ["Colour"], rows=rows),
        len(recorded),
        steps=20,
        keep=0.5,
    )
    assert not pupil.training
    after = score_masked(pupil, asked, "table", len(recorded), {"": EVERYTHING})[""].loss_P
    assert np.nanmean(after) < np.nanmean(before) - 0.3
