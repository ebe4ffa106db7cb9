"""Masking: choice, number and replacement of tokens, determined by a seed."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scale.config import MaskConfig
from scale.data.batch import ProductBatch, Tokens
from scale.data.dataset import Column
from scale.losses.masking import WordPieces, choose_groups, mask_batch
from scale.modalities import CONTINUOUS, DISCRETE, MODALITIES, TASKS

PIECES = WordPieces(mask_id=4, special_ids=(0, 1, 2, 3, 4), vocab_size=40, unknown_id=1)
FULL = [MODALITIES] * 6


def mask(batch, seed=0, config=None, tasks=TASKS):
    return mask_batch(batch, config or MaskConfig(), PIECES, (seed,), tasks)


@given(
    seed=st.integers(0, 2**31),
    rows=st.lists(st.lists(st.integers(-1, 5), min_size=8, max_size=8), min_size=1, max_size=5),
    rate=st.floats(0.01, 0.99),
)
def test_whole_groups_are_chosen_and_the_right_number(seed, rows, rate):
    random = torch.Generator().manual_seed(seed)
    group_RL = torch.tensor(rows)
    draws = torch.rand(len(rows), generator=random), torch.rand(len(rows), 8, generator=random)
    chosen_RL = choose_groups(group_RL, rate, *draws)
    for row, chosen in zip(rows, chosen_RL.tolist(), strict=True):
        groups = {g for g in row if g >= 0}
        taken = {g for g, c in zip(row, chosen, strict=True) if c}
        assert -1 not in taken
        assert [g in taken for g in row] == chosen, "a group is hidden whole or not at all"
        low = int(rate * len(groups))
        allowed = {max(low, 1), min(low + 1, len(groups))} if groups else {0}
        assert len(taken) in allowed


def test_rate_is_exact_in_the_mean():
    random = torch.Generator().manual_seed(0)
    group_RL = torch.arange(12).expand(4000, -1)
    chosen = choose_groups(
        group_RL, 0.15, torch.rand(4000, generator=random), torch.rand(4000, 12, generator=random)
    )
    assert chosen.float().mean().item() == pytest.approx(0.15, abs=0.003)
    assert chosen.float().mean(0).std() < 0.01, "every position is as likely as any other"


def test_shares_of_text_are_80_10_10(make_batch):
    batch = make_batch([("text",)] * 20_000)
    masked = mask(batch)
    before, after = (
        masked.targets["text"],
        masked.batch.tokens["text"].values[masked.hidden["text"]],
    )
    is_mask = (after == PIECES.mask_id).float().mean().item()
    stays = (after == before).float().mean().item()
    assert is_mask == pytest.approx(0.8, abs=0.01)
    # A random word piece is the old one in 1 of 35.
    assert stays == pytest.approx(0.1 + 0.1 / 35, abs=0.015)
    assert after.min() >= PIECES.mask_id, "no special token but [MASK] is ever put in"


def test_fates_follow_the_shares(make_batch):
    for shares in [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.3, 0.5)]:
        mask_share, random_share = shares
        batch = make_batch([("text", "table")] * 1000)
        config = MaskConfig(rate=0.5, mask_share=mask_share, random_share=random_share)
        masked = mask(batch, config=config)
        for m in DISCRETE:
            before, after = masked.targets[m], masked.batch.tokens[m].values[masked.hidden[m]]
            is_mask, stays = (
                (after == PIECES.mask_id).float().mean(),
                (after == before).float().mean(),
            )
            assert is_mask.item() == pytest.approx(mask_share, abs=0.03), m
            # A random word piece equals the original one in 1 of 35.
            expected = 1 - mask_share - random_share + random_share / 35
            assert stays.item() == pytest.approx(expected, abs=0.03), m


def same_tokens(rows, length, ids):
    """The same tokens for every modality; each position is one group."""
    padding_RL = torch.zeros(rows, length, dtype=torch.bool)
    ids_RL, vectors_RLF = torch.full((rows, length), ids), torch.ones(rows, length, 2)
    position_RL = torch.arange(length).expand(rows, -1)
    tokens = {
        m: Tokens(ids_RL if m in DISCRETE else vectors_RLF, padding_RL, torch.arange(rows),
                  position_RL if m == "table" else None)
        for m in MODALITIES
    }  # fmt: skip
    present_BM = torch.ones(rows, len(MODALITIES), dtype=torch.bool)
    return ProductBatch(tokens, present_BM, torch.arange(rows))


def test_each_modality_has_its_own_mask_stream():
    hidden = mask(same_tokens(20, 12, ids=7)).hidden
    for a, b in combinations(MODALITIES, 2):
        assert not torch.equal(hidden[a], hidden[b]), (a, b)


def test_unknown_words_are_masked_like_others():
    unknown, known = (mask(same_tokens(20, 12, ids)).hidden["text"] for ids in (1, 7))
    assert torch.equal(unknown, known)
    assert unknown.any(dim=1).all()


def test_padded_table_positions_belong_to_no_entity_and_are_not_masked():
    """Also if the column starts with an entity, whose token is read at padded positions."""
    entity_T = np.array([0, 0, 1, -1, 0, 0, 1, 1], np.int16)
    ids_T, start_N, length_N = np.arange(8) + 10, np.array([0, 3]), np.array([3, 5])
    tokens = Column(ids_T, start_N, length_N, entity_T=entity_T).gather(np.arange(2))
    assert tokens.padding_RL[0].tolist() == [False] * 3 + [True] * 2
    assert (tokens.entity_RL[tokens.padding_RL] == -1).all()
    batch = ProductBatch({"table": tokens}, torch.ones(2, 5, dtype=torch.bool), torch.arange(2))
    for seed in range(20):
        hidden_RL = mask(batch, seed, MaskConfig(rate=0.9)).hidden["table"]
        assert not hidden_RL[tokens.padding_RL].any()


def test_special_tokens_and_padding_are_never_masked(make_batch):
    batch = make_batch(FULL * 20)
    batch.tokens["text"].values[:, 3] = 3
    masked = mask(batch, config=MaskConfig(rate=0.9))
    for m, hidden_RL in masked.hidden.items():
        assert not (hidden_RL & batch.tokens[m].padding_RL).any()
        assert hidden_RL.any(dim=1).all(), "every row has something to predict"
    assert not masked.hidden["text"][:, [0, 3]].any()


def test_tables_are_masked_by_whole_attributes_or_values(make_batch):
    batch = make_batch(FULL * 30)
    masked = mask(batch)
    entity_RL, hidden_RL = batch.tokens["table"].entity_RL, masked.hidden["table"]
    assert not hidden_RL[entity_RL < 0].any()
    after_RL = masked.batch.tokens["table"].values
    for entities, hidden, ids in zip(entity_RL, hidden_RL, after_RL, strict=True):
        for e in entities[hidden].unique():
            whole = entities == e
            assert hidden[whole].all()
            assert (ids[whole] == 4).all() or (ids[whole] != 4).all(), "one fate an entity"


def test_masked_vectors_are_0_and_all_else_is_unchanged(make_batch):
    batch = make_batch(FULL)
    masked = mask(batch)
    for m in MODALITIES:
        before, after, hidden = (
            batch.tokens[m].values,
            masked.batch.tokens[m].values,
            masked.hidden[m],
        )
        assert torch.equal(after[~hidden], before[~hidden])
        assert torch.equal(masked.targets[m], before[hidden])
        if m in CONTINUOUS:
            assert (after[hidden] == 0).all()


def test_masks_depend_on_the_seed_and_not_on_the_global_generator(make_batch):
    batch = make_batch(FULL)
    state = torch.get_rng_state()
    first, same, other = mask(batch, 1), mask(batch, 1), mask(batch, 2)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first.hidden[m], same.hidden[m]) for m in MODALITIES)
    assert not all(torch.equal(first.hidden[m], other.hidden[m]) for m in MODALITIES)


def test_masks_of_a_product_do_not_depend_on_the_others(make_batch):
    full, sparse = make_batch(FULL), make_batch([MODALITIES, ("text",), ("audio",), *FULL[3:]])
    for tokens in sparse.tokens.values():
        # More padding in all rows, as if another product were longer.
        tokens.padding_RL = torch.nn.functional.pad(tokens.padding_RL, (0, 70), value=True)
        pad = (0, 70) if tokens.values.dim() == 2 else (0, 0, 0, 70)
        tokens.values = torch.nn.functional.pad(tokens.values, pad)
        if tokens.entity_RL is not None:
            tokens.entity_RL = torch.nn.functional.pad(tokens.entity_RL, (0, 70), value=-1)
    a, b = mask(full), mask(sparse)
    for m in MODALITIES:
        length = full.tokens[m].padding_RL.shape[1]
        hidden = b.hidden[m][sparse.tokens[m].rows_R == 0][:, :length]
        assert torch.equal(hidden[0], a.hidden[m][0])


def test_only_active_tasks_mask_tokens(make_batch):
    masked = mask(make_batch(FULL), tasks=("MLM", "MAM", "contrastive"))
    assert set(masked.hidden) == {"text", "audio"}
    assert torch.equal(masked.batch.tokens["image"].values, make_batch(FULL).tokens["image"].values)


def test_rows_are_the_products_of_the_masked_positions(make_batch):
    batch = make_batch([("text",), MODALITIES, ("audio",), MODALITIES])
    masked = mask(batch)
    for m in (*DISCRETE, *CONTINUOUS):
        assert len(masked.rows(m)) == len(masked.targets[m])
        assert set(masked.rows(m).tolist()) == set(batch.tokens[m].rows_R.tolist())


def test_a_row_without_maskable_tokens_masks_nothing(make_batch):
    batch = make_batch([("text",), ("text",)])
    ids = torch.tensor([[2, 3, 0, 0, 0], [2, 9, 3, 0, 0]])
    batch.tokens["text"] = replace(batch.tokens["text"], values=ids, padding_RL=ids == 0)
    masked = mask(batch)
    assert masked.hidden["text"].tolist() == [[False] * 5, [False, True, False, False, False]]
