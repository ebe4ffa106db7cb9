"""Packed sequences against products one by one, and what packing saves."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scale.data.batch import HostFacts
from scale.modalities import MODALITIES
from scale.model.packing import STEP, _groups, pack

MIXED = [
    MODALITIES, ("text",), ("text", "image"), ("table", "video", "audio"), ("audio",),
    ("text", "table", "image"), ("image", "audio"), MODALITIES,
]  # fmt: skip


def one_by_one(model, batch):
    """fused_RLD by modality: each product's sequence alone, without any padding."""
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
                pieces.append(model.jct.stand_in[m][0] + model.jct.modality_embedding[m])
                places.append(None)
        whole_1LD = torch.cat(pieces)[None]
        padding_1L = torch.zeros(whole_1LD.shape[:2], dtype=torch.bool)
        split = model.jct.stack(whole_1LD, padding_1L)[0].split([len(p) for p in pieces])
        for part_LD, at in zip(split, places, strict=True):
            if at is not None:
                m, row, open_L = at
                fused[m] = fused[m].index_put((row, open_L.nonzero().flatten()), part_LD)
    return fused


@pytest.mark.parametrize("policy", ["skip", "learned"])
@pytest.mark.parametrize("present", [MIXED, [MODALITIES] * 3, [("audio",), ("text",)]])
def test_packed_equals_one_product_at_a_time(make_model, make_batch, policy, present):
    model, batch = make_model(policy).double(), make_batch(present)
    for tokens in batch.tokens.values():
        if tokens.values.is_floating_point():
            tokens.values = tokens.values.double()
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
    gradients = [torch.autograd.grad(t, model.parameters(), allow_unused=True) for t in totals]
    for parameter, *both in zip(model.parameters(), *gradients, strict=True):
        a, b = (torch.zeros_like(parameter) if g is None else g for g in both)
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@st.composite
def batches(draw):
    products = draw(st.integers(1, 9))
    facts, nothing = {}, True
    for m in MODALITIES:
        length = draw(st.integers(1, 40))
        rows = sorted(draw(st.sets(st.integers(0, products - 1))))
        if not rows:
            continue
        padding_RL = np.array(
            [draw(st.lists(st.booleans(), min_size=length, max_size=length)) for _ in rows]
        )
        padding_RL[:, 0] = False
        facts[m], nothing = HostFacts(np.array(rows), padding_RL), False
    stand_ins = MODALITIES if nothing or draw(st.booleans()) else ()
    return facts, products, stand_ins, draw(st.sampled_from([0.0, 5.0, 100.0, 1e9]))


@settings(max_examples=150, deadline=None)
@given(batches())
def test_every_token_has_one_place(made):
    facts, products, stand_ins, overhead = made
    packing = pack(facts, products, stand_ins, overhead, torch.device("cpu"))
    source_T = torch.cat([group.source_BL.flatten() for group in packing.groups])
    padding_T = torch.cat([group.padding_BL.flatten() for group in packing.groups])
    at = 0
    for m, fact in facts.items():
        own_RL = at + np.arange(fact.padding_RL.size).reshape(fact.padding_RL.shape)
        place_RL = packing.place[m].numpy()
        open_RL = ~fact.padding_RL
        assert (source_T.numpy()[place_RL[open_RL]] == own_RL[open_RL]).all()
        assert not padding_T.numpy()[place_RL[open_RL]].any()
        at += fact.padding_RL.size
    lacking = [products - len(facts[m].rows_R if m in facts else []) for m in stand_ins]
    used = sum(int((~fact.padding_RL).sum()) for fact in facts.values()) + sum(lacking)
    assert int((~padding_T).sum()) == used
    for group in packing.groups:
        # Padding is at the end, and a sequence is in the order of the modalities.
        assert bool((group.padding_BL[:, 1:] >= group.padding_BL[:, :-1]).all())
        for source_L, padding_L in zip(group.source_BL, group.padding_BL, strict=True):
            encoded_L = [s for s in source_L[~padding_L].tolist() if s < at]
            assert encoded_L == sorted(encoded_L)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6 * STEP), min_size=1, max_size=12), st.sampled_from([0, 9, 60]))
def test_groups_are_the_cheapest_cuts(counts, overhead):
    count_N = np.array(counts)
    if not count_N.any():
        return
    found = _groups(count_N, overhead)
    members = np.concatenate([products for _, products in found])
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
    assert cost([count_N[products].tolist() for _, products in found]) == least
    for length, products in found:
        assert count_N[products].max() <= length


def test_half_of_the_slots_empty_is_half_of_the_tokens(make_model, make_batch, monkeypatch):
    """What runs through the JCT under each policy, in tokens."""
    random = np.random.default_rng(0)
    present = [tuple(m for m in MODALITIES if random.random() < 0.5) for _ in range(256)]
    tokens = {}
    for policy in ("zero", "skip", "learned"):
        model, seen = make_model(policy), []
        # A group costs little beside its tokens, as at the width of the paper's model.
        monkeypatch.setattr("scale.model.jct.CPU_OVERHEAD", 16.0**2 * 8)
        model.jct.stack.register_forward_pre_hook(lambda _, a, seen=seen: seen.append(a[1].numel()))
        model(make_batch([p or ("text",) for p in present]))
        tokens[policy] = sum(seen)
    complete = 256 * (10 + 14 + 5 + 4 + 7)
    assert tokens["zero"] == complete
    assert tokens["skip"] < 0.6 * complete
    assert tokens["learned"] < 0.68 * complete
