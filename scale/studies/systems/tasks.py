"""Corruptions beyond masking and further losses of the named systems.

All draws are from torch's global generator, which the trainer seeds for each step.

B products, R rows (products that have the modality), L length, N hidden positions, F features.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from scale.data.batch import ProductBatch
from scale.losses.masking import MaskedBatch
from scale.modalities import INDEX
from scale.studies.systems.fusion import SIDES

SWAP_RATE = 0.5
"""Share of judged products with a swapped modality, as in BERT's sentence pairs."""
ORDER_RATE = 0.15
"""Share of a clip's frames that are shuffled (HERO)."""
CHOICE_TEMPERATURE = 0.07
SAME = 0.999
"""Minimum cosine of vectors that count as equal."""


@dataclass
class Example:
    """A corrupted batch and its targets."""

    batch: ProductBatch
    hidden: dict[str, Tensor]
    """hidden_RL by modality: masked positions."""
    predicted: dict[str, Tensor]
    """predicted_RL by modality: masked positions with a loss."""
    targets: dict[str, Tensor]
    """ids_N or vectors_NF by modality, in row-major order of `predicted`."""
    judged_B: Tensor | None = None
    """Products with a matching loss: those with both language and perception."""
    swapped_B: Tensor | None = None
    """True where one modality is another product's."""
    shuffled_RL: Tensor | None = None
    """Frames that were shuffled."""
    origin_RL: Tensor | None = None
    """Original position of each frame."""

    @staticmethod
    def of(masked: MaskedBatch, seen: tuple[str, ...]) -> "Example":
        """Restrict a batch of `mask_batch` to the modalities of a model."""
        hidden = {m: h for m, h in masked.hidden.items() if m in seen}
        targets = {m: t for m, t in masked.targets.items() if m in seen}
        return Example(masked.batch.only(seen), hidden, dict(hidden), targets)


def mask_one_modality(example: Example) -> Example:
    """Mask only one modality per step, drawn at random (UNITER's conditional masking).

    `mask_batch` masks all modalities; the tokens of all but one are restored from the targets.
    """
    names = list(example.hidden)
    if len(names) < 2:
        return example
    chosen = names[int(torch.randint(len(names), ()))]
    tokens = dict(example.batch.tokens)
    for m in names:
        if m != chosen:
            values = tokens[m].values.clone()
            values[example.hidden[m]] = example.targets[m]
            tokens[m] = replace(tokens[m], values=values)
    batch = replace(example.batch, tokens=tokens)
    hidden = {chosen: example.hidden[chosen]}
    return Example(batch, hidden, dict(hidden), {chosen: example.targets[chosen]})


def swap_one_modality(example: Example) -> Example:
    """Exchange one modality, drawn per step, among half of the products (matching).

    Swapped products have no masked loss: their masked tokens cannot be predicted from another
    product. Equal contents count as matched. Products without both sides have no matching loss.
    """
    judged_B = _has_both_sides(example.batch)
    able = {
        m: judged_B[t.rows_R].nonzero().squeeze(1)
        for m, t in example.batch.tokens.items()
        if len(t.rows_R)
    }
    able = {m: rows for m, rows in able.items() if len(rows) > 1}
    if not able:
        return example
    m = list(able)[int(torch.randint(len(able), ()))]
    clean = example.batch.tokens[m]
    source_R = _exchange_rows(able[m], len(clean.rows_R))
    moved_R = source_R != torch.arange(len(source_R), device=source_R.device)
    moved_B = torch.zeros_like(judged_B).index_copy(0, clean.rows_R, moved_R)
    differs_R = moved_R
    if example.batch.content_id_BM is not None:
        content_R = example.batch.content_id_BM[clean.rows_R, INDEX[m]]
        differs_R = content_R != content_R[source_R]

    hidden = dict(example.hidden)
    if m in hidden:
        hidden[m] = hidden[m][source_R]
    predicted, targets = {}, {}
    for name, hidden_RL in example.hidden.items():
        stays_R = ~moved_B[example.batch.tokens[name].rows_R]
        predicted[name] = hidden_RL & stays_R[:, None]
        targets[name] = example.targets[name][stays_R[:, None].expand_as(hidden_RL)[hidden_RL]]
    tokens = dict(example.batch.tokens)
    tokens[m] = replace(clean.select(source_R), rows_R=clean.rows_R)
    return replace(
        example,
        batch=replace(example.batch, tokens=tokens),
        hidden=hidden,
        predicted=predicted,
        targets=targets,
        judged_B=judged_B,
        swapped_B=torch.zeros_like(judged_B).index_copy(0, clean.rows_R, differs_R),
    )


def shuffle_frames(example: Example) -> Example:
    """Permute some unmasked frames along a cycle (frame order modelling, HERO).

    15 % of a clip's frames, at least two; clips with fewer than two unmasked frames are unchanged.
    """
    video = example.batch.tokens.get("video")
    if video is None or not len(video.rows_R):
        return example
    open_RL = ~video.padding_RL
    if "video" in example.hidden:
        open_RL = open_RL & ~example.hidden["video"]
    open_R = open_RL.sum(1)
    count_R = (ORDER_RATE * open_R).round().clamp(min=2).masked_fill(open_R < 2, 0).long()
    draw_RL = torch.rand(open_RL.shape, device=open_RL.device).masked_fill(~open_RL, 2.0)
    order_RL = draw_RL.argsort(dim=1)
    rank_RL = order_RL.argsort(dim=1)
    shuffled_RL = rank_RL < count_R[:, None]
    # The frame of rank k gets the content of rank k + 1, the last that of the first.
    next_RL = (rank_RL + 1) % count_R.clamp(min=1)[:, None]
    place_RL = torch.arange(open_RL.shape[1], device=open_RL.device).expand_as(rank_RL)
    origin_RL = torch.where(shuffled_RL, order_RL.gather(1, next_RL), place_RL)
    values = video.values.gather(1, origin_RL[:, :, None].expand_as(video.values))
    tokens = example.batch.tokens | {"video": replace(video, values=values)}
    return replace(
        example,
        batch=replace(example.batch, tokens=tokens),
        shuffled_RL=shuffled_RL,
        origin_RL=origin_RL,
    )


def choice_loss(predicted_NF: Tensor, target_NF: Tensor) -> Tensor:
    """Classify each predicted vector among the batch's masked vectors.

        L = -mean_n log softmax_k( cos(p_n, t_k) / 0.07 ) at k = n

    Replaces the detector's classes of VL-BERT and ViLBERT and the k-means words of VideoBERT, whose
    authors later used such a loss (CBT, Sun et al. 2019). Equal vectors (cosine above 0.999) are
    excluded from the negatives.

    Returns a scalar; 0 if nothing is masked.
    """
    if not len(target_NF):
        return predicted_NF.sum()
    target_NF = normalize(target_NF.float(), dim=-1)
    logits_NN = normalize(predicted_NF.float(), dim=-1) @ target_NF.T / CHOICE_TEMPERATURE
    own_N = torch.arange(len(target_NF), device=target_NF.device)
    same_NN = (target_NF @ target_NF.T > SAME) & (own_N[:, None] != own_N)
    return cross_entropy(logits_NN.masked_fill(same_NN, float("-inf")), own_N)


def _has_both_sides(batch: ProductBatch) -> Tensor:
    sides = [batch.present_BM[:, [INDEX[m] for m in side]].any(1) for side in SIDES.values()]
    return sides[0] & sides[1]


def _exchange_rows(able_A: Tensor, rows: int) -> Tensor:
    """Return source_R, which permutes half of the rows `able_A` (at least two) along a cycle."""
    order_A = able_A[torch.randperm(len(able_A), device=able_A.device)]
    order_A = order_A[: max(2, round(SWAP_RATE * len(able_A)))]
    source_R = torch.arange(rows, device=able_A.device)
    return source_R.index_copy(0, order_A, order_A.roll(1))
