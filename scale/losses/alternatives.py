"""Contrastive losses of other authors, for two to five modalities of which some may be missing.

Each returns its terms as `PairLosses`: one loss of each product and term, 0 where the product lacks
a modality of the term. A missing modality is never a negative and its values have no influence; a
product with fewer than two modalities has no loss. On complete products, the mean over products and
terms equals the authors' loss (Symile's at another temperature); their numbers are in
`tests/reference/contrast_reference.json`.

B products, A of them anchors, M modalities (five), D width, T terms, P pairs (ten), C candidates.
"""

from itertools import combinations
from math import log

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from scale.losses.contrastive import (
    LEFT,
    RIGHT,
    PairLosses,
    cross_entropies,
    exclude,
    own_candidates,
    own_column,
    pair_logits,
    same_content,
    two_way_logits,
    unit_features,
    valid_pairs,
)
from scale.modalities import MODALITIES, PAIRS

TRIPLES = tuple((p, k) for p, pair in enumerate(PAIRS) for k in range(5) if k not in pair)
"""The 30 combinations of a pair of modalities (by its number) and a third one."""
RESTS = tuple(c for size in (1, 2, 3, 4) for c in combinations(range(len(MODALITIES)), size))
"""The sets of modalities that may accompany another one."""
SMALLEST_SQUARE = 1e-10
"""Squared volumes below this have no gradient: that of the square root is unbounded."""


def siglip_losses(
    pooled_BMD: Tensor,
    present_BM: Tensor,
    temperature: float | Tensor = 0.1,
    bias: float | Tensor = -10.0,
    negatives: str = "cross",
    content_id_BM: Tensor | None = None,
    anchors: slice | None = None,
) -> PairLosses:
    """Return the sigmoid loss of the ten pairs: each candidate is a yes-or-no question of its own.

    For product a and direction i -> j, with y = 1 for b = a and -1 else:
        L_a = sum_b log(1 + exp(-y_ab (z_ai . z_bj / t + bias)))

    Source: Zhai, Mustafa, Kolesnikov and Beyer (2023), arXiv 2303.15343; google-research/
    big_vision, trainers/proj/image_text/siglip.py. Both t and the bias are learned there, from 0.1
    and -10.
    """
    rows, _ = own_candidates(present_BM, anchors)
    total_AP = 0.0
    for logits_PAC in pair_logits(
        pooled_BMD, present_BM, temperature, negatives, content_id_BM, anchors
    ):
        column_C = torch.arange(logits_PAC.shape[2], device=logits_PAC.device)
        sign_AC = torch.where(column_C[rows, None] == column_C, 1.0, -1.0).to(logits_PAC)
        total_AP = total_AP + softplus(-sign_AC * (logits_PAC + bias)).sum(2).T / 2
    return _valid(total_AP, valid_pairs(present_BM)[rows])


def rince_losses(
    pooled_BMD: Tensor,
    present_BM: Tensor,
    temperature: float | Tensor = 0.5,
    q: float = 0.1,
    share: float = 0.01,
    negatives: str = "cross",
    content_id_BM: Tensor | None = None,
    anchors: slice | None = None,
) -> PairLosses:
    """Return the robust InfoNCE of the ten pairs, which bounds the influence of wrong pairs.

    For product a and direction i -> j, with s_ab = z_ai . z_bj / t and the share lambda:
        L_a = -exp(q s_aa) / q + (lambda sum_b exp(s_ab))^q / q
    where b runs over a itself and its negatives. q -> 0 is InfoNCE plus log lambda; q = 1 meets the
    symmetry condition of losses that are robust to wrong labels.

    Source: Chuang et al. (2022), arXiv 2201.04309; chingyaoc/RINCE, ImageNet/simclr/
    simclr_module.py (`negatives` both) and ImageNet/moco-v3/moco/builder.py (cross).
    """
    rows, _ = own_candidates(present_BM, anchors)
    total_AP = 0.0
    for logits_PAC in pair_logits(
        pooled_BMD, present_BM, temperature, negatives, content_id_BM, anchors
    ):
        own_AP = logits_PAC.permute(1, 2, 0).gather(1, own_column(logits_PAC, rows)[:, None])[:, 0]
        every_AP = logits_PAC.logsumexp(2).T
        total_AP = total_AP + ((q * (every_AP + log(share))).exp() - (q * own_AP).exp()) / (2 * q)
    return _valid(total_AP, valid_pairs(present_BM)[rows])


def confu_losses(
    pooled_BMD: Tensor,
    fused_BPD: Tensor,
    present_BM: Tensor,
    temperature: float | Tensor = 0.07,
    share: float = 0.5,
    content_id_BM: Tensor | None = None,
    anchors: slice | None = None,
    label_smoothing: float = 0.0,
) -> PairLosses:
    """Return InfoNCE of the ten pairs, and of each fused pair with each third modality.

    L = (1 - lambda) sum_{i<j} L_CL(z_i, z_j) + lambda sum_{i<j} sum_k L_CL(z_ij, z_k)

    with the share lambda, and z_ij the unit vector of a learned fusion of f_i and f_j. The 40 terms
    are the ten pairs, then the 30 `TRIPLES`. A product takes part in those whose modalities it has.
    Products with the same content of k, or of both i and j, are no negatives of a triple.

    Args:
        fused_BPD: learned fusions of all pairs (`model.scale.ContrastParameters`).
        share: lambda.
        others: as in `pair_losses`.

    Source: Koutoupis et al. (2026), arXiv 2511.21331; estafons/confu, src/modules/models/confu.py,
    for three modalities: 6 terms.
    """
    rows, own_AB = own_candidates(present_BM, anchors)
    valid_BP, (pair_T, third_T) = valid_pairs(present_BM), map(list, zip(*TRIPLES, strict=True))
    fused = unit_features(fused_BPD, valid_BP)[:, pair_T].transpose(0, 1), valid_BP[:, pair_T].T
    third = unit_features(pooled_BMD, present_BM)[:, third_T].transpose(0, 1)
    same_MAB = same_content(content_id_BM, rows, own_AB)
    both_PAB = same_MAB[LEFT, :, :] & same_MAB[RIGHT, :, :]
    duplicate_TAB = same_MAB[third_T] | both_PAB[pair_T]
    logits = (
        pair_logits(pooled_BMD, present_BM, temperature, "cross", content_id_BM, anchors),
        two_way_logits(fused, (third, present_BM[:, third_T].T), temperature, duplicate_TAB,
                       anchors),
    )  # fmt: skip
    loss_AT = [
        factor * (cross_entropies(one, rows, label_smoothing)
                  + cross_entropies(other, rows, label_smoothing)) / 2
        for factor, (one, other) in zip((1 - share, share), logits, strict=True)
    ]  # fmt: skip
    return _valid(torch.cat(loss_AT, dim=1), valid_terms("confu", present_BM)[rows])


def symile_losses(
    pooled_BMD: Tensor,
    present_BM: Tensor,
    temperature: float | Tensor = 0.07,
    content_id_BM: Tensor | None = None,
    anchors: slice | None = None,
    label_smoothing: float = 0.0,
) -> PairLosses:
    """Return InfoNCE with the multilinear inner product of all present modalities of a product.

    For product a with the modalities S, and each of them, m, as the anchor (a term each):
        L_am = -log softmax_b( <z_am, {z_c(b,k),k : k in S - m}> / t )_a
        <x, y, ...> = sqrt(D)^(|S| - 2) sum_d x_d y_d ...      (the cosine, if |S| = 2)

    The positive has c(a, k) = a. A negative b combines modalities of several products: the first of
    S - m from b itself, the second from the next product after b that has it, the third from the
    second next, and so on; b runs over the products that have the first. As batches are shuffled,
    this is one draw of the authors' O(n) sampling, without random numbers. A negative is excluded
    if each of its parts shares the content of its modality or of m with product a.

    Source: Saporta, Puli, Goldstein and Ranganath (2024), arXiv 2411.01053; rajesh-lab/symile,
    symile/loss.py. The factor with D is ours: otherwise a product of unit vectors shrinks by
    sqrt(D) with each modality, and no temperature fits products of two and of five.
    """
    rows, own_AB = own_candidates(present_BM, anchors)
    width = pooled_BMD.shape[2]
    features_BMD = unit_features(pooled_BMD, present_BM) * width**0.5
    other_AMM = (present_BM[:, None] & ~torch.eye(5, dtype=torch.bool, device=own_AB.device))[rows]
    same_MAB = same_content(content_id_BM, rows, own_AB) | own_AB
    order_BM = torch.argsort((~present_BM).int(), dim=0, stable=True)
    rank_BM, count_M = present_BM.cumsum(0) - 1, present_BM.sum(0).clamp(min=1)

    logits_MAB, excluded_MAB = 0.0, torch.zeros_like(same_MAB)
    rests_RM = torch.tensor([[k in rest for k in range(5)] for rest in RESTS], device=own_AB.device)
    for rest, rest_M in zip(RESTS, rests_RM, strict=True):
        match_MA = ((other_AMM == rest_M).all(2) & present_BM[rows]).T
        candidate_BD, same_parts_MAB = 1.0, True
        for place, k in enumerate(rest):
            part_B = order_BM[:, k][(rank_BM[:, k] + place) % count_M[k]]
            candidate_BD = candidate_BD * features_BMD[part_B, k]
            same_parts_MAB = same_parts_MAB & (same_MAB | same_MAB[k])[:, :, part_B]
        anchor_MAD = features_BMD[rows].transpose(0, 1) * match_MA[:, :, None]
        logits_MAB = logits_MAB + anchor_MAD @ candidate_BD.T / width
        outside_MAB = same_parts_MAB | ~present_BM[:, rest[0]]
        excluded_MAB = excluded_MAB | (match_MA[:, :, None] & outside_MAB)
    product_A = features_BMD.masked_fill(~present_BM[:, :, None], 1.0).prod(1).sum(1)[rows] / width
    logits_MAB = torch.where(own_AB, product_A[:, None], logits_MAB) / temperature
    loss_AM = cross_entropies(exclude(logits_MAB, excluded_MAB & ~own_AB), rows, label_smoothing)
    return _valid(loss_AM, valid_terms("symile", present_BM)[rows])


def gram_losses(
    pooled_BMD: Tensor,
    present_BM: Tensor,
    temperature: float | Tensor = 0.07,
    content_id_BM: Tensor | None = None,
    anchors: slice | None = None,
    label_smoothing: float = 0.0,
) -> PairLosses:
    """Return InfoNCE with the volume spanned by the unit features of a product's modalities.

    For product a with the modalities S, of which the first, m, is the anchor:
        L_a = -1/2 [ log softmax_b(-V(z_am, z_bk) / t)_a + log softmax_b(-V(z_bm, z_ak) / t)_a ]
        V(x, y, ...) = sqrt(det G),  G_ij = cos of the i-th and j-th vector;  all k in S - m

    The volume is 0 if the features agree, and 1 if they are orthogonal. The anchor is the text, as
    in the paper, unless the product has none. Candidates are the products that have all of S - m
    (first direction) or m (second), so the volumes of one softmax have equally many vectors.
    Products with the same content of m, or of all of S - m, are no negatives.

    Source: Cicchetti, Grassucci, Sigillo and Comminiello (2025), arXiv 2412.11959; ispamm/GRAM,
    utils/volume.py and model/gram.py, which smooths the labels by 0.1 and adds a matching loss.
    """
    rows, own_AB = own_candidates(present_BM, anchors)
    unit_BMD = unit_features(pooled_BMD, present_BM)
    anchor_BM = one_hot(present_BM.int().argmax(1), len(MODALITIES)).bool()
    anchor_AM, rest_AM = anchor_BM[rows], (present_BM & ~anchor_BM)[rows]
    cosine_BMM = unit_BMD @ unit_BMD.transpose(1, 2)
    cosine_AMBM = torch.einsum("amd,bnd->ambn", unit_BMD[rows], unit_BMD)
    forward_ABM = (cosine_AMBM * anchor_AM[:, :, None, None]).sum(1)
    backward_ABM = (cosine_AMBM * anchor_AM[:, None, None, :]).sum(3).transpose(1, 2)
    volumes = (
        _volumes(cosine_BMM[None], forward_ABM, anchor_AM, rest_AM),
        _volumes(cosine_BMM[rows][:, None], backward_ABM, anchor_AM, rest_AM),
    )
    has_rest_AB = (present_BM | ~rest_AM[:, None]).all(2)
    has_anchor_AB = (present_BM & anchor_AM[:, None]).any(2)
    same_ABM = same_content(content_id_BM, rows, own_AB).permute(1, 2, 0)
    duplicate_AB = (same_ABM & anchor_AM[:, None]).any(2) | (same_ABM | ~rest_AM[:, None]).all(2)
    loss_A1 = sum(
        cross_entropies(
            exclude(-volume_AB[None] / temperature, (duplicate_AB | ~has_AB) & ~own_AB),
            rows,
            label_smoothing,
        )
        for volume_AB, has_AB in zip(volumes, (has_rest_AB, has_anchor_AB), strict=True)
    )
    return _valid(loss_A1 / 2, valid_terms("gram", present_BM)[rows])


def _volumes(cosine_ABMM: Tensor, edge_ABM: Tensor, anchor_AM: Tensor, rest_AM: Tensor) -> Tensor:
    """Return V_AB of one anchor vector and the vectors of `rest`.

    `cosine_ABMM`: between the vectors of the rest; `edge_ABM`: between them and the anchor vector.
    """
    rest_A1MM = (rest_AM[:, :, None] & rest_AM[:, None, :])[:, None]
    # The other modalities are orthogonal to everything, which leaves the determinant unchanged.
    gram_ABMM = torch.where(rest_A1MM, cosine_ABMM, torch.eye(5, device=edge_ABM.device))
    edge_ABMM = anchor_AM[:, None, :, None] * (edge_ABM * rest_AM[:, None])[:, :, None, :]
    square_AB = torch.linalg.det(gram_ABMM + edge_ABMM + edge_ABMM.transpose(2, 3))
    return square_AB.clamp(min=SMALLEST_SQUARE).sqrt()


def valid_terms(contrast: str, present_BM: Tensor) -> Tensor:
    """Return valid_BT of a loss: True where the product has the modalities of the term."""
    several_B1 = present_BM.sum(1, keepdim=True) >= 2
    if contrast == "gram":
        return several_B1
    if contrast == "symile":
        return present_BM & several_B1
    valid_BP = valid_pairs(present_BM)
    if contrast == "confu":
        triples = [valid_BP[:, p] & present_BM[:, k] for p, k in TRIPLES]
        return torch.cat([valid_BP, torch.stack(triples, dim=1)], dim=1)
    return valid_BP


def _valid(loss_AT: Tensor, valid_AT: Tensor) -> PairLosses:
    return PairLosses(torch.where(valid_AT, loss_AT, 0.0), valid_AT)
