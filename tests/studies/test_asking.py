"""Asking for exactly what is hidden, against a batch that is built and masked by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.data.batch import ProductBatch, Tokens
from scale.data.catalogue import Catalogue
from scale.modalities import CONTINUOUS, DISCRETE, INDEX, MODALITIES, SPECS
from scale.studies.masked_probe import draw_groups, mask_groups, probe_masked, token_groups
from scale.training.run import TrainedRun

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
def test_predictions_are_those_of_the_model_for_exactly_these_positions(situation, modality):
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
def test_hiding_changes_nothing_that_is_visible(situation, modality):
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
def test_a_modality_that_is_off_contributes_nothing(situation, modality):
    data, model = situation
    row = row_with(data, *MODALITIES)
    masked = mask_groups(
        data, row, modality, set(token_groups(data, row, modality).tolist()) - {-1}
    )
    off = "image" if modality != "image" else "text"
    own = masked.batch.tokens[off]
    strange = torch.full_like(own.values, 7)
    batch = replace(masked.batch, tokens={**masked.batch.tokens, off: replace(own, values=strange)})
    others = {m for m in MODALITIES if m not in (modality, off)}
    beside = {"off": others, "on": {*others, off}}
    before = probe_masked(model, masked, modality, beside).predicted
    after = probe_masked(model, replace(masked, batch=batch), modality, beside).predicted
    assert torch.equal(before["off"], after["off"])
    assert not torch.equal(before["on"], after["on"])


def test_words_are_whole_and_special_pieces_are_never_hidden(situation):
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


def test_entities_are_whole_and_structure_is_never_hidden(situation):
    data, _ = situation
    row = row_with(data, "table")
    ids = data.collate([row]).tokens["table"].values[0].tolist()
    pieces = data.tokenizer.convert_ids_to_tokens(ids)
    for piece, group in zip(pieces, token_groups(data, row, "table").tolist(), strict=True):
        assert (group == -1) == (piece in ("[CLS]", "[SEP]", ":", ";"))


def test_answers_of_pieces(situation):
    data, model = situation
    row = row_with(data, "text")
    masked = mask_groups(data, row, "text", {0, 1})
    asked = probe_masked(model, masked, "text", {"none": ()})
    found, logits_NV = asked.pieces("none", data.tokenizer), asked.predicted["none"]
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
def test_losses_and_their_baselines_equal_a_loop(situation, modality):
    data, model = situation
    row = row_with(data, *MODALITIES)
    groups = set(token_groups(data, row, modality).tolist()) - {-1}
    asked = probe_masked(model, mask_groups(data, row, modality, groups), modality, {"none": ()})
    losses, baselines = [], []
    rows = zip(asked.predicted["none"], asked.masked.targets[modality], strict=True)
    for guess, target in rows:
        if modality in DISCRETE:
            losses.append(-guess.double().softmax(0)[target].log().item())
            baselines.append(np.log(len(guess)))
        else:
            losses.append(np.mean([(g - t) ** 2 for g, t in zip(guess, target, strict=True)]))
            baselines.append(np.mean([t**2 for t in target]))
    name = "even" if modality in DISCRETE else "mean"
    assert asked.loss == pytest.approx(
        {"none": np.mean(losses), name: np.mean(baselines)}, rel=1e-4
    )


@pytest.mark.parametrize("modality", CONTINUOUS)
def test_a_reconstruction_is_in_the_units_of_the_features(situation, modality):
    data, model = situation
    row = row_with(data, *MODALITIES)
    asked = probe_masked(model, mask_groups(data, row, modality, {1, 2}), modality, {"none": ()})
    found, column = asked.reconstruction(data), data.columns[modality]
    plain_NF = asked.predicted["none"].numpy() * column.spread_F + column.mean_F
    np.testing.assert_allclose(found.guess_LF["none"][[1, 2]], plain_NF, rtol=1e-5)
    np.testing.assert_allclose(found.guess_LF["mean"][1], column.mean_F, atol=1e-6)
    assert np.array_equal(found.guess_LF["none"][0], found.truth_LF[0])
    assert found.loss == pytest.approx(asked.loss)


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


def test_drawing_takes_whole_groups_at_the_rate(situation):
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


def test_what_cannot_be_hidden_is_told(situation):
    data, _ = situation
    lacking = int(np.flatnonzero(~data.present_NM[:, INDEX["video"]])[0])
    with pytest.raises(ValueError, match=f"{data.ids[lacking]}: the product has no video"):
        token_groups(data, lacking, "video")
    row = row_with(data, "text")
    with pytest.raises(ValueError, match="no group to mask"):
        mask_groups(data, row, "text", ())
    with pytest.raises(ValueError, match=r"no group \[-1, 99\]"):
        mask_groups(data, row, "text", {-1, 0, 99})
