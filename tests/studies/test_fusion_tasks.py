"""The tasks that are more than masking, and their losses, against slow twins."""

import torch

from scale.config import MaskConfig
from scale.data.batch import ProductBatch
from scale.losses.contrastive import pair_losses
from scale.losses.masking import MaskedBatch, WordPieces, mask_batch
from scale.modalities import MODALITIES, TASKS
from scale.studies.systems.fusion import MARGIN, ClipLoss, RankingLoss
from scale.studies.systems.tasks import (
    Example,
    choice_loss,
    mask_one_modality,
    shuffle_frames,
    swap_one_modality,
)

PIECES = WordPieces(4, (0, 1, 2, 3, 4), 40, 1)
MIXED = [
    MODALITIES, ("text", "image"), ("table", "audio"), ("video",), MODALITIES, ("text", "table"),
]  # fmt: skip


def hide(batch: ProductBatch, tasks=TASKS) -> MaskedBatch:
    return mask_batch(batch, MaskConfig(rate=0.4), PIECES, (0,), tasks)


def test_swapping_keeps_what_is_asked_and_its_answers_together(make_batch):
    batch = make_batch([MODALITIES] * 9 + [("image", "audio")])
    batch.content_id_BM = torch.where(batch.present_BM, torch.arange(10)[:, None], -1)
    batch.content_id_BM[1, :] = batch.content_id_BM[0, :]
    masked, seen_swap = hide(batch), set()
    for seed in range(20):
        torch.manual_seed(seed)
        example = swap_one_modality(Example.of(masked, MODALITIES))
        assert example.judged_B.tolist() == [True] * 9 + [False]
        # An odd one: two products of equal content that take each other's place do match.
        assert 2 <= int(example.swapped_B.sum()) <= 5 or bool((~example.swapped_B[:2]).all())
        for m, tokens in example.batch.tokens.items():
            rows = tokens.rows_R
            same_R = (tokens.values == masked.batch.tokens[m].values).flatten(1).all(1)
            assert bool((same_R | example.predicted[m].sum(1).eq(0)).all())
            if not bool(same_R.all()):
                seen_swap.add(m)
                assert set(rows[~same_R].tolist()) >= set(
                    example.swapped_B.nonzero().flatten().tolist()
                )
            answers = torch.zeros_like(batch.tokens[m].values)
            answers[example.predicted[m]] = example.targets[m]
            truth = batch.tokens[m].values
            assert torch.equal(answers[example.predicted[m]], truth[example.predicted[m]])
            assert not bool((example.predicted[m] & ~example.hidden[m]).any())
            if tokens.values.is_floating_point():
                # What was hidden in the product it came from is hidden still.
                assert not tokens.values[example.hidden[m]].any()
                assert bool(tokens.values[~example.hidden[m] & ~tokens.padding_RL].any(1).all())
    assert seen_swap == set(MODALITIES)


def test_one_modality_is_hidden_and_the_rest_whole(make_batch):
    batch, chosen = make_batch(MIXED), set()
    for seed in range(25):
        torch.manual_seed(seed)
        example = mask_one_modality(Example.of(hide(batch), MODALITIES))
        (only,) = example.hidden
        chosen.add(only)
        for m, tokens in example.batch.tokens.items():
            whole = torch.equal(tokens.values, batch.tokens[m].values)
            assert whole or m == only
    assert chosen == set(MODALITIES)


def test_shuffled_frames_know_where_they_were(make_batch):
    batch = make_batch(MIXED)
    torch.manual_seed(0)
    example = shuffle_frames(Example.of(hide(batch, ("MLM",)), MODALITIES))
    before, after = batch.tokens["video"].values, example.batch.tokens["video"].values
    rows = torch.arange(len(before))[:, None]
    torch.testing.assert_close(after, before[rows, example.origin_RL])
    assert example.shuffled_RL.sum(1).tolist() == [2] * len(before)
    places = torch.arange(before.shape[1]).expand_as(example.origin_RL)
    assert torch.equal(example.origin_RL != places, example.shuffled_RL)
    assert not (example.shuffled_RL & batch.tokens["video"].padding_RL).any()


def test_choice_loss_by_hand():
    predicted, target = torch.randn(5, 3), torch.randn(5, 3)
    target[4] = 2 * target[0]
    loss = 0.0
    for n in range(5):
        score = [
            float(torch.cosine_similarity(predicted[n], target[k], dim=0)) / 0.07
            for k in range(5)
            if k == n or {n, k} != {0, 4}
        ]
        own = float(torch.cosine_similarity(predicted[n], target[n], dim=0)) / 0.07
        loss += torch.logsumexp(torch.tensor(score), 0) - own
    torch.testing.assert_close(choice_loss(predicted, target), loss / 5)
    assert choice_loss(predicted[:0], target[:0]) == 0


def test_ranking_loss_by_hand():
    pooled = torch.randn(4, 5, 6)
    present = torch.tensor(
        [[1, 1, 1, 0, 0], [1, 0, 0, 1, 1], [0, 1, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=torch.bool
    )

    def score(a, b):
        cosines = [
            torch.cosine_similarity(pooled[a, i], pooled[b, j], dim=0)
            for i in (0, 1)
            for j in (2, 3, 4)
            if present[a, i] and present[b, j]
        ]
        return torch.stack(cosines).mean()

    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    wanted = sum(
        (MARGIN + score(a, b) - score(a, a)).clamp(min=0)
        + (MARGIN + score(b, a) - score(a, a)).clamp(min=0)
        for a, b in pairs
    ) / len(pairs)
    torch.testing.assert_close(RankingLoss()(pooled, present, None), wanted)


def test_clip_loss_is_info_nce_of_the_pairs_there_are(make_batch):
    batch = make_batch([("text", "image")] * 4)
    pooled = torch.randn(4, 5, 6)
    wanted = pair_losses(pooled, batch.present_BM).loss_BP[:, 1].mean()
    torch.testing.assert_close(ClipLoss(True)(pooled, batch.present_BM, batch), wanted)
