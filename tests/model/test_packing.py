"""Packed sequences against padded ones and against single products, and their saved tokens."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scale.config import LossConfig, MaskConfig
from scale.data.batch import TokenLayout
from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.modalities import MODALITIES, TASKS
from scale.model.packing import STEP, _groups, pack

PIECES = WordPieces(4, (0, 1, 2, 3, 4), 40, 1)

MIXED = [
    MODALITIES, ("text",), ("text", "image"), ("table", "video", "audio"), ("audio",),
    ("text", "table", "image"), ("image", "audio"), MODALITIES,
]  # fmt: skip


PRESENT = [MIXED, [MODALITIES] * 3, [("audio",), ("text",)]]


def in_double(batch):
    for tokens in batch.tokens.values():
        if tokens.values.is_floating_point():
            tokens.values = tokens.values.double()
    return batch


def assert_same_gradients(model, losses):
    gradients = [torch.autograd.grad(x, model.parameters(), allow_unused=True) for x in losses]
    for parameter, *both in zip(model.parameters(), *gradients, strict=True):
        a, b = (torch.zeros_like(parameter) if g is None else g for g in both)
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def one_by_one(model, batch):
    """Return fused_RLD by modality, with each product alone and without padding."""
    encoded = model._encode(batch, {})
    fused = {m: torch.zeros_like(tokens_RLD) for m, (tokens_RLD, _) in encoded.items()}
    for product in range(len(batch)):
        pieces, places = [], []
        for m in model.config.modalities:
            row = (batch.tokens[m].rows_R == product).nonzero().flatten() if m in encoded else []
            if len(row):
                open_L = ~encoded[m][1][row[0]]
                pieces.append(encoded[m][0][row[0], open_L] + model.jct.modality_embedding[m])
                places.append((m, row[0], open_L))
            elif model.jct.policy == "learned":
                pieces.append(model.jct.missing_token[m][0] + model.jct.modality_embedding[m])
                places.append(None)
        whole_1LD = torch.cat(pieces)[None]
        padding_1L = torch.zeros(whole_1LD.shape[:2], dtype=torch.bool)
        split = model.jct.stack(whole_1LD, padding_1L)[0].split([len(p) for p in pieces])
        for part_LD, at in zip(split, places, strict=True):
            if at is not None:
                m, row, open_L = at
                fused[m] = fused[m].index_put((row, open_L.nonzero().flatten()), part_LD)
    return fused


@pytest.mark.parametrize("policy", ["zero", "skip", "learned"])
@pytest.mark.parametrize("present", PRESENT)
def test_packed_equals_padded(make_model, make_batch, policy, present):
    model, batch = make_model(policy).double(), in_double(make_batch(present))
    fused = []
    for model.jct.packed in (False, True):
        fused.append(model(batch).fused)
    assert fused[0].keys() == fused[1].keys()
    for m in fused[0]:
        open_RL = ~model._encode(batch, {})[m][1]
        torch.testing.assert_close(fused[0][m][open_RL], fused[1][m][open_RL], msg=m)


@pytest.mark.parametrize("policy", ["skip", "learned"])
@pytest.mark.parametrize("present", PRESENT)
def test_packed_equals_one_product_at_a_time(make_model, make_batch, policy, present):
    model, batch = make_model(policy).double(), in_double(make_batch(present))
    found, wanted = model(batch).fused, one_by_one(model, batch)
    assert found.keys() == wanted.keys()
    totals = []
    for fused in (found, wanted):
        weight = torch.Generator().manual_seed(0)
        total = 0.0
        for m, fused_RLD in fused.items():
            padding_RL = model._encode(batch, {})[m][1]
            open_RLD = fused_RLD.masked_fill(padding_RL[:, :, None], 0.0)
            noise = torch.randn(open_RLD.shape, generator=weight, dtype=torch.float64)
            total = total + (open_RLD * noise).sum()
        totals.append(total)
    torch.testing.assert_close(*totals, rtol=1e-12, atol=1e-12)
    assert_same_gradients(model, totals)


@st.composite
def batches(draw):
    products = draw(st.integers(1, 9))
    layouts, nothing = {}, True
    for m in MODALITIES:
        length = draw(st.integers(1, 40))
        rows = sorted(draw(st.sets(st.integers(0, products - 1))))
        if not rows:
            continue
        padding_RL = np.array(
            [draw(st.lists(st.booleans(), min_size=length, max_size=length)) for _ in rows]
        )
        padding_RL[:, 0] = False
        layouts[m], nothing = TokenLayout(np.array(rows), padding_RL), False
    missing = dict.fromkeys(MODALITIES, 0)
    if nothing or draw(st.booleans()):
        missing = {m: draw(st.integers(int(nothing), 5)) for m in MODALITIES}
    read = {}
    for m, layout in layouts.items():
        open_N = np.flatnonzero(~layout.padding_RL)
        share = draw(st.sampled_from([0.0, 0.3, 1.0]))
        read[m] = open_N[np.random.default_rng(products).random(len(open_N)) < share]
    read = draw(st.sampled_from([read, None]))
    return layouts, products, missing, read, draw(st.sampled_from([0.0, 5.0, 100.0, 1e9]))


@settings(max_examples=150)
@given(batches())
def test_every_token_has_one_place(made):
    layouts, products, missing, read, overhead = made
    packing = pack(layouts, products, missing, read, overhead, torch.device("cpu"))
    paddings = [
        torch.zeros_like(g.source_BL, dtype=torch.bool) if g.padding_BL is None else g.padding_BL
        for g in packing.groups
    ]
    # Output of an identity stack at the query positions.
    reads = zip(packing.groups, paddings, strict=True)
    source_T, padding_T = (
        torch.cat([t.flatten() for t in tensors])
        for tensors in zip(
            *[
                (g.source_BL, p)
                if g.query_BQ is None
                else (g.source_BL.gather(1, g.query_BQ), p.gather(1, g.query_BQ))
                for g, p in reads
            ],
            strict=True,
        )
    )
    at = 0
    for m, layout in layouts.items():
        place_N = packing.place[m]
        wanted_N = np.flatnonzero(~layout.padding_RL) if read is None else read[m]
        assert (source_T[place_N].numpy() == at + wanted_N).all()
        assert not bool(padding_T[place_N].any())
        at += layout.padding_RL.size
    lacking = [n * (products - len(layouts[m].rows_R if m in layouts else []))
               for m, n in missing.items()]  # fmt: skip
    used = sum(int((~layout.padding_RL).sum()) for layout in layouts.values()) + sum(lacking)
    assert sum(int((~p).sum()) for p in paddings) == used
    for group, padding_BL in zip(packing.groups, paddings, strict=True):
        # Padding is at the end, and the tokens are in the order of the modalities.
        assert bool((padding_BL[:, 1:] >= padding_BL[:, :-1]).all())
        for source_L, padding_L in zip(group.source_BL, padding_BL, strict=True):
            encoded_L = [s for s in source_L[~padding_L].tolist() if s < at]
            assert encoded_L == sorted(encoded_L)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 6 * STEP), min_size=1, max_size=12), st.sampled_from([0, 9, 60]))
def test_groups_are_the_cheapest_cuts(counts, overhead):
    count_N = np.array(counts)
    if not count_N.any():
        return
    found = _groups(count_N, overhead)
    members = np.concatenate(found)
    assert sorted(members.tolist()) == np.flatnonzero(count_N).tolist()

    def cost(groups):
        return sum(overhead + len(g) * max(-(-n // STEP) * STEP for n in g) for g in groups)

    ordered = sorted(n for n in counts if n)
    cuts = itertools.chain.from_iterable(
        itertools.combinations(range(1, len(ordered)), k) for k in range(min(len(ordered), 6))
    )
    least = min(
        cost([ordered[a:b] for a, b in itertools.pairwise([0, *cut, len(ordered)])]) for cut in cuts
    )
    assert cost([count_N[products].tolist() for products in found]) == least


def test_half_of_the_slots_empty_is_half_of_the_tokens(make_model, make_batch, monkeypatch):
    """Number of tokens in the JCT under each policy."""
    random = np.random.default_rng(0)
    present = [tuple(m for m in MODALITIES if random.random() < 0.5) for _ in range(256)]
    tokens = {}
    for policy in ("zero", "skip", "learned"):
        model, seen = make_model(policy), []
        # A low overhead of groups, as at the width of the paper's model.
        monkeypatch.setattr("scale.model.joint_transformer.CPU_OVERHEAD", 16.0**2 * 8)
        model.jct.stack.register_forward_pre_hook(
            lambda _, a, seen=seen: seen.append(a[0].shape[:2].numel())
        )
        model(make_batch([p or ("text",) for p in present]))
        tokens[policy] = sum(seen)
    complete = 256 * (10 + 14 + 5 + 4 + 7)
    assert tokens["zero"] == complete
    assert tokens["skip"] < 0.6 * complete
    assert tokens["learned"] < 0.68 * complete


@pytest.mark.parametrize("policy", ["zero", "skip", "learned"])
@pytest.mark.parametrize("present", PRESENT)
def test_loss_positions_only_equals_the_whole_forward(make_model, make_batch, policy, present):
    model, batch = make_model(policy).double(), in_double(make_batch(present))
    masked = mask_batch(batch, MaskConfig(rate=0.4), PIECES, (0,), TASKS)
    # Positions that are not given are computed.
    whole = model(masked.batch, masked.hidden)
    read = model(masked.batch, masked.hidden, masked.positions, loss_positions_only=True)
    assert read.predictions.keys() == whole.predictions.keys() == masked.hidden.keys()
    torch.testing.assert_close(read.pooled_BMD, whole.pooled_BMD)
    torch.testing.assert_close(read.fused_pooled_BMD, whole.fused_pooled_BMD)
    losses = []
    for output in (whole, read):
        for m, prediction in output.predictions.items():
            torch.testing.assert_close(prediction, whole.predictions[m], msg=m)
        losses.append(scale_loss(output, masked, LossConfig(weight_features="fused")).total)
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-12)
    assert_same_gradients(model, losses)


def test_the_last_layer_runs_at_loss_positions_only(make_model, make_batch):
    model, seen = make_model("zero", jct_layers=2), []
    for block in model.jct.stack.blocks:
        block.mlp.register_forward_hook(lambda _, a, out: seen.append(out.shape[:2].numel()))
    masked = mask_batch(make_batch([MODALITIES] * 8), MaskConfig(), PIECES, (0,), TASKS)
    model(masked.batch, masked.hidden, masked.positions, loss_positions_only=True,
          fused_pooled=False)  # fmt: skip
    hidden = sum(len(target) for target in masked.targets.values())
    assert hidden <= seen[1] < 2 * hidden < seen[0]
    seen.clear()
    output = model(masked.batch, masked.hidden, masked.positions, loss_positions_only=True,
                   predictions=False)  # fmt: skip
    assert seen[1] == 8 * len(MODALITIES)
    assert output.predictions == {}
