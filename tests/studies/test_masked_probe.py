"""Masking chosen tokens, and their predictions, against loops over one product at a time."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.data.batch import ProductBatch, Tokens
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.tokenizer import train_tokenizer
from scale.modalities import CONTINUOUS, DISCRETE, INDEX, MODALITIES, SPECS
from scale.studies.context import EVERYTHING, NOTHING, Context, in_context, predict
from scale.studies.masked_probe import (
    draw_groups,
    mask_entities,
    mask_groups,
    mask_words,
    probe_masked,
    restrict_candidates,
    score_masked,
    token_groups,
    top_tokens,
)
from scale.studies.masked_training import (
    RECORD_ATTRIBUTES,
    complete_rows,
    fine_tune,
    prepend_label,
    with_record_tables,
)
from scale.training.run import TrainedRun, build_dataset, fit_sizes, fit_vocabulary, seeded_model

each = pytest.mark.parametrize("modality", MODALITIES)


@pytest.fixture(scope="module")
def situation(run_folder, small_catalogue):
    """48 products and a model after 60 steps."""
    run = TrainedRun.load(run_folder)
    return run.dataset(Catalogue.open(small_catalogue)), run.model.eval()


def row_with(data, *modalities):
    columns = [INDEX[m] for m in modalities]
    return int(np.flatnonzero(data.present_NM[:, columns].all(1))[1])


def by_hand(data, model, row, modality, hidden, keep):
    """Predictions of `model.forward` for a batch that shares no code with the package's."""
    tokens = {}
    for m, column in data.columns.items():
        if not column.length_N[row] or m not in (*keep, modality):
            continue
        start, length = int(column.start_N[row]), int(column.length_N[row])
        raw = torch.from_numpy(np.array(column.values[start : start + length]))
        if SPECS[m].kind == "discrete":
            values = raw.long()
        else:
            values = (raw.float() - torch.tensor(column.mean_F)) / torch.tensor(column.spread_F)
        if m == modality:
            values = values.clone()
            for place in hidden:
                values[place] = data.tokenizer.mask_token_id if m in DISCRETE else 0
        entity = None if column.entity_T is None else column.entity_T[start : start + length]
        entity = None if entity is None else torch.from_numpy(np.array(entity)).long()[None]
        padding = torch.zeros(1, length, dtype=torch.bool)
        tokens[m] = Tokens(values[None], padding, torch.tensor([0]), entity)
    present_BM = torch.tensor([[m in tokens for m in MODALITIES]])
    hidden_1L = torch.zeros_like(tokens[modality].padding_RL)
    hidden_1L[0, list(hidden)] = True
    batch = ProductBatch(tokens, present_BM, torch.tensor([0]))
    with torch.no_grad():
        return model(batch, {modality: hidden_1L}).predictions[modality]


@each
def test_predictions_equal_the_models_at_the_masked_positions(situation, modality):
    data, model = situation
    row = row_with(data, *MODALITIES)
    group_L = token_groups(data, row, modality)
    groups = sorted(set(group_L.tolist()) - {-1})
    others = tuple(m for m in MODALITIES if m != modality)
    beside = {"all": others, "one": others[1:2], "none": ()}
    for chosen in (groups[:1], groups[-2:], groups):
        masked = mask_groups(data, row, modality, chosen)
        found = probe_masked(model, masked, modality, beside).predicted
        places = [place for place, group in enumerate(group_L.tolist()) if group in chosen]
        for name, keep in beside.items():
            slow = by_hand(data, model, row, modality, places, keep)
            torch.testing.assert_close(found[name], slow, rtol=1e-4, atol=1e-5)
        clean = data.collate([row]).tokens[modality].values[0]
        assert torch.equal(masked.targets[modality], clean[places])


@each
def test_masking_changes_no_visible_token(situation, modality):
    data, _ = situation
    row = row_with(data, *MODALITIES)
    group_L = token_groups(data, row, modality)
    clean = data.collate([row])
    for group in sorted(set(group_L.tolist()) - {-1}):
        masked = mask_groups(data, row, modality, {group})
        hidden_L = masked.hidden[modality][0]
        assert torch.equal(hidden_L, group_L == group)
        for m, tokens in masked.batch.tokens.items():
            same = tokens.values[0] == clean.tokens[m].values[0]
            assert same[~hidden_L].all() if m == modality else same.all()
        assert torch.equal(masked.batch.present_BM, clean.present_BM)


@each
def test_excluded_modality_has_no_influence(situation, modality):
    data, model = situation
    row = row_with(data, *MODALITIES)
    masked = mask_groups(
        data, row, modality, set(token_groups(data, row, modality).tolist()) - {-1}
    )
    off = "image" if modality != "image" else "text"
    own = masked.batch.tokens[off]
    other = torch.full_like(own.values, 7)
    batch = replace(masked.batch, tokens={**masked.batch.tokens, off: replace(own, values=other)})
    others = {m for m in MODALITIES if m not in (modality, off)}
    beside = {"off": others, "on": {*others, off}}
    before = probe_masked(model, masked, modality, beside).predicted
    after = probe_masked(model, replace(masked, batch=batch), modality, beside).predicted
    assert torch.equal(before["off"], after["off"])
    assert not torch.equal(before["on"], after["on"])


def test_groups_are_whole_words_without_special_pieces(situation):
    data, _ = situation
    row = row_with(data, "text")
    ids = data.collate([row]).tokens["text"].values[0].tolist()
    pieces = data.tokenizer.convert_ids_to_tokens(ids)
    group_L = token_groups(data, row, "text").tolist()
    assert group_L[0] == group_L[-1] == -1
    assert any(piece.startswith("##") for piece in pieces)
    word = -1
    for piece, group in list(zip(pieces, group_L, strict=True))[1:-1]:
        word += not piece.startswith("##")
        assert group == word


def test_groups_are_entities_without_structure(situation):
    data, _ = situation
    row = row_with(data, "table")
    ids = data.collate([row]).tokens["table"].values[0].tolist()
    pieces = data.tokenizer.convert_ids_to_tokens(ids)
    for piece, group in zip(pieces, token_groups(data, row, "table").tolist(), strict=True):
        assert (group == -1) == (piece in ("[CLS]", "[SEP]", ":", ";"))


def test_piece_predictions_by_hand(situation):
    data, model = situation
    row = row_with(data, "text")
    masked = mask_groups(data, row, "text", {0, 1})
    probed = probe_masked(model, masked, "text", {"none": ()})
    found, logits_NV = probed.pieces("none", data.tokenizer), probed.predicted["none"]
    targets = masked.targets["text"].tolist()
    assert [a.place for a in found] == masked.hidden["text"][0].nonzero()[:, 0].tolist()
    for answer, logits_V, target in zip(found, logits_NV.double(), targets, strict=True):
        chance_V = (logits_V.exp() / logits_V.exp().sum()).tolist()
        order = sorted(range(len(chance_V)), key=lambda v: -chance_V[v])
        assert answer.truth == data.tokenizer.convert_ids_to_tokens(target)
        assert answer.probability == pytest.approx(chance_V[target], rel=1e-4)
        assert answer.loss == pytest.approx(-np.log(chance_V[target]), rel=1e-4)
        assert answer.rank == 1 + order.index(target)
        words = data.tokenizer.convert_ids_to_tokens(order[:5])
        assert [word for word, _ in answer.best] == words
        assert [p for _, p in answer.best] == pytest.approx([chance_V[v] for v in order[:5]])


@each
def test_losses_and_baselines_equal_a_loop(situation, modality):
    data, model = situation
    row = row_with(data, *MODALITIES)
    groups = set(token_groups(data, row, modality).tolist()) - {-1}
    probed = probe_masked(model, mask_groups(data, row, modality, groups), modality, {"none": ()})
    losses, baselines = [], []
    rows = zip(probed.predicted["none"], probed.masked.targets[modality], strict=True)
    for guess, target in rows:
        if modality in DISCRETE:
            losses.append(-guess.double().softmax(0)[target].log().item())
            baselines.append(np.log(len(guess)))
        else:
            losses.append(np.mean([(g - t) ** 2 for g, t in zip(guess, target, strict=True)]))
            baselines.append(np.mean([t**2 for t in target]))
    name = "even" if modality in DISCRETE else "mean"
    assert probed.loss == pytest.approx(
        {"none": np.mean(losses), name: np.mean(baselines)}, rel=1e-4
    )


@pytest.mark.parametrize("modality", CONTINUOUS)
def test_a_reconstruction_is_in_the_units_of_the_features(situation, modality):
    data, model = situation
    row = row_with(data, *MODALITIES)
    probed = probe_masked(model, mask_groups(data, row, modality, {1, 2}), modality, {"none": ()})
    found, column = probed.reconstruction(data), data.columns[modality]
    plain_NF = probed.predicted["none"].numpy() * column.spread_F + column.mean_F
    np.testing.assert_allclose(found.guess_LF["none"][[1, 2]], plain_NF, rtol=1e-5)
    np.testing.assert_allclose(found.guess_LF["mean"][1], column.mean_F, atol=1e-6)
    assert np.array_equal(found.guess_LF["none"][0], found.truth_LF[0])
    assert found.loss == pytest.approx(probed.loss)


def test_equal_contexts_are_predicted_once(situation):
    data, model = situation
    row = int(np.flatnonzero(~data.present_NM[:, INDEX["image"]] & data.present_NM[:, 0])[0])
    masked = mask_groups(data, row, "text", {0})
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    beside = {"a": ("table",), "b": ("image", "table"), "none": ()}
    found = probe_masked(model, masked, "text", beside).predicted
    handle.remove()
    assert len(calls) == 2
    assert torch.equal(found["a"], found["b"])


def test_draw_groups_at_the_rate(situation):
    data, _ = situation
    row = row_with(data, "audio", "table")
    group_L = token_groups(data, row, "table")
    groups = set(group_L.tolist()) - {-1}
    draws = [draw_groups(group_L, 0.3, 5, n) for n in range(400)]
    assert draws[3] == draw_groups(group_L, 0.3, 5, 3)
    assert all(draw and draw <= groups for draw in draws)
    mean = np.mean([len(draw) for draw in draws])
    assert mean == pytest.approx(0.3 * len(groups), abs=0.15)
    assert len(set(draws)) > 3
    assert draw_groups(torch.full((3,), -1), 0.3, 0) == frozenset()


def test_invalid_groups_raise(situation):
    data, _ = situation
    lacking = int(np.flatnonzero(~data.present_NM[:, INDEX["video"]])[0])
    with pytest.raises(ValueError, match=f"{data.ids[lacking]}: the product has no video"):
        token_groups(data, lacking, "video")
    row = row_with(data, "text")
    with pytest.raises(ValueError, match="no group to mask"):
        mask_groups(data, row, "text", ())
    with pytest.raises(ValueError, match=r"no group \[-1, 99\]"):
        mask_groups(data, row, "text", {-1, 0, 99})


WORDS = ("red", "redge")
"""The second begins with the pieces of the first."""


def labelled(number, product):
    """Add the second word to some titles, and labels as in the sample shop."""
    text = f"redge {product.text}" if number % 3 == 0 else product.text
    labels = {
        "colour": product.text.split()[0],
        "material": f"k{number % 2}",
        "pattern": "thing",
        "size_cm": 5.0 * (number % 9),
        "brand": f"number {number % 3}",
    }
    return replace(product, text=None if number % 11 == 7 else text, labels=labels)


@pytest.fixture(scope="module")
def situation_words(config, small_catalogue, tmp_path_factory):
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
def data(situation_words):
    return situation_words[0]


def spelled(data, word):
    return data.tokenizer(word, add_special_tokens=False)["input_ids"]


def shown_and_hidden(masked, modality):
    for row, place in enumerate(masked.batch.index_B.tolist()):
        tokens = masked.batch.tokens[modality]
        yield place, tokens.values[row].tolist(), masked.hidden[modality][row].tolist()


@pytest.mark.parametrize("words", [WORDS[:1], WORDS[1:], WORDS, ("thing", "number 4")])
def test_mask_words_masks_whole_words_only(data, words):
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


def test_prefix_of_a_longer_word_does_not_match(data):
    short = spelled(data, WORDS[0])
    assert spelled(data, WORDS[1])[: len(short)] == short
    only_longer = next(
        k for k, p in enumerate(data.products) if p.text and p.text.startswith("redge green")
    )
    assert mask_words(data, WORDS, [only_longer]).hidden["text"].sum() > 1
    with pytest.raises(ValueError, match="no tokens to mask"):
        mask_words(data, WORDS[:1], [only_longer])


@pytest.mark.parametrize("attribute", [False, True])
def test_mask_entities_masks_whole_entities(data, attribute):
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


def test_targets_are_predicted_and_other_names_only_masked(data):
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


def test_scores_equal_a_loop_over_products(situation_words):
    data, model = situation_words
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


def test_nothing_to_mask_raises(data):
    with pytest.raises(ValueError, match="table"):
        mask_entities(data, ["no such attribute"])
    lacking = [k for k in range(len(data)) if data.products[k].text is None]
    with pytest.raises(ValueError, match="text"):
        mask_words(data, ["pot"], lacking)


def test_prepend_label_adds_it_once(data):
    named = prepend_label(data, "colour")
    assert len(named) == sum(p.text is not None for p in data.products)
    before = {p.id: p.text for p in data.products}
    for row, product in enumerate(named.products):
        colour = product.labels["colour"]
        assert product.text in (before[product.id], f"{colour} {before[product.id]}")
        assert colour in product.text.lower().split()
        ids = named.collate([row]).tokens["text"].values[0].tolist()
        assert ids[1:4] == spelled(data, product.text)[:3]


def test_fine_tuning_learns_the_masked_words(situation_words):
    data, model = situation_words
    recorded = with_record_tables(data)
    probed = mask_entities(recorded, ["Colour"])
    before = score_masked(model, probed, "table", len(recorded), {"": EVERYTHING})[""].loss_P
    tuned = deepcopy(model)
    fine_tune(
        tuned,
        "table",
        lambda rows: mask_entities(recorded, ["Colour"], rows=rows),
        len(recorded),
        steps=20,
        keep=0.5,
    )
    assert not tuned.training
    after = score_masked(tuned, probed, "table", len(recorded), {"": EVERYTHING})[""].loss_P
    assert np.nanmean(after) < np.nanmean(before) - 0.3
