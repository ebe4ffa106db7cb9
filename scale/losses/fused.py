"""Contrastive losses on the output of the joint transformer (JCT) for two halves of the modalities.

The paper's contrastive losses read the encoders alone, so nothing but the masked losses trains the
JCT. These two train its [CLS] tokens. In every step, the modalities of a product are divided at
random into two halves, which the JCT fuses apart.

B products, A of them anchors, M modalities (five), D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from scale.config import FUSED_TASKS, LossConfig
from scale.data.batch import ProductBatch
from scale.model.scale import FusedOutput
from scale.model.scores import product_embedding, to_float32

FUSED_FEATURES = {
    "fused_contrastive": ("first", "second"),
    "imputed_contrastive": ("imputed",),
}
"""Features that each loss compares (`fused_features`); the second one also those of encoders."""


def draw_halves(present_BM: Tensor, count_draw_B: Tensor, order_draw_BM: Tensor) -> Tensor:
    """Divide the n modalities of each product into two parts, neither of them empty if n > 1.

    The first part has 1 to n - 1 modalities, with equal probability; all choices of a size are
    equally probable.

    Args:
        count_draw_B, order_draw_BM: uniform in [0, 1).

    Returns:
        halves_BM: True for the first part; nowhere for products with fewer than two modalities.
    """
    rank_BM = order_draw_BM.masked_fill(~present_BM, 2.0).argsort(dim=1).argsort(dim=1)
    choices_B = (present_BM.sum(dim=1) - 1).clamp(min=0)
    count_B = (count_draw_B * choices_B).floor().long() + (choices_B > 0)
    return rank_BM < count_B[:, None]


def fused_features(
    halves: Sequence[FusedOutput], tasks: Sequence[str] = FUSED_TASKS
) -> dict[str, Tensor]:
    """Return the features that the losses of `tasks` compare, each a function of one product.

    `first`, `second` (B, D): the fused embedding of each half, unit(mean of unit([CLS])) over the
    modalities with tokens, own or imputed. `imputed` (B, M, D): the projected [CLS] of each
    modality in the half that lacks it.
    """
    features = {}
    if "fused_contrastive" in tasks:
        for name, half in zip(FUSED_FEATURES["fused_contrastive"], halves, strict=True):
            features[name] = product_embedding(half.fused_BMD, half.token_BM)
    if "imputed_contrastive" in tasks:
        first, second = halves
        # A modality of the first half is imputed in the second one.
        in_first_BM1 = first.present_BM[:, :, None]
        features["imputed"] = torch.where(in_first_BM1, second.projected_BMD, first.projected_BMD)
    return features


def fused_contrastive_loss(
    first_BD: Tensor,
    second_BD: Tensor,
    valid_B: Tensor,
    temperature: float = 0.07,
    duplicate_BB: Tensor | None = None,
    anchors: slice | None = None,
) -> Tensor:
    """Return InfoNCE between two embeddings of each product, the mean of both directions.

        L = -1/2V sum_a [ log softmax_b(u_a . v_b / t)_a + log softmax_b(v_a . u_b / t)_a ]

    with the unit vectors u (first) and v (second) of the V valid products, over which b also runs.

    Args:
        first_BD, second_BD: of any scale; values of invalid products are ignored.
        valid_B: products that are compared.
        temperature: t.
        duplicate_BB: True for other products that are no negatives of a product.
        anchors: sum over these products only, which is their share of the mean; None: all.
    """
    rows = slice(0, len(valid_B)) if anchors is None else anchors
    u_BD, v_BD = (
        normalize(to_float32(x_BD).masked_fill(~valid_B[:, None], 0.0), dim=-1)
        for x_BD in (first_BD, second_BD)
    )
    own_AB = torch.eye(len(valid_B), dtype=torch.bool, device=valid_B.device)[rows]
    excluded_AB = ~valid_B.expand_as(own_AB)
    if duplicate_BB is not None:
        excluded_AB = excluded_AB | duplicate_BB[rows]
    # The own candidate is kept, so that the loss of invalid rows, dropped below, is finite.
    excluded_AB = excluded_AB & ~own_AB
    target_A = torch.arange(len(valid_B), device=valid_B.device)[rows]
    loss_A = sum(
        cross_entropy(
            (query_BD[rows] @ key_BD.T / temperature).masked_fill(excluded_AB, float("-inf")),
            target_A,
            reduction="none",
        )
        for query_BD, key_BD in ((u_BD, v_BD), (v_BD, u_BD))
    )
    return torch.where(valid_B[rows], loss_A / 2, 0.0).sum() / valid_B.sum().clamp(min=1)


def imputed_contrastive_loss(
    imputed_BMD: Tensor,
    pooled_BMD: Tensor,
    valid_BM: Tensor,
    temperature: float = 0.07,
    content_id_BM: Tensor | None = None,
    anchors: slice | None = None,
) -> Tensor:
    """Return InfoNCE between imputed and real features of each modality, summed over modalities.

        L = sum_m L_m,   L_m: `fused_contrastive_loss` of (p_m, f_m) over the products valid in m

    with the projected [CLS] p_m = W_m c_m + b_m of an imputed modality, computed from the other
    half of the modalities, and the pooled feature f_m of the encoder. Products with the same
    content of m are no negatives of each other (`content_id_BM`; None: all are).
    """
    total = imputed_BMD.new_zeros((), dtype=torch.float32)
    for m in range(valid_BM.shape[1]):
        duplicate_BB = None if content_id_BM is None else same_content(content_id_BM[:, m : m + 1])
        total = total + fused_contrastive_loss(
            imputed_BMD[:, m], pooled_BMD[:, m], valid_BM[:, m], temperature, duplicate_BB, anchors
        )
    return total


def same_content(content_id_BM: Tensor) -> Tensor:
    """Return duplicate_BB: True where two products share the content of any modality."""
    equal_BBM = content_id_BM[:, None] == content_id_BM[None]
    return (equal_BBM & (content_id_BM >= 0)[:, None]).any(dim=2)


def fused_losses(
    features: dict[str, Tensor],
    batch: ProductBatch,
    config: LossConfig,
    anchors: slice | None = None,
) -> dict[str, Tensor]:
    """Return the active losses of FUSED_TASKS by task, or the anchors' shares of them.

    Args:
        features: `fused_features`, and the pooled features `encoder`.
        batch: its tokens are not used.
    """
    ids_BM = batch.content_id_BM if config.ignore_duplicates else None
    # A product with one modality has no second half.
    several_B, losses = batch.present_BM.sum(dim=1) > 1, {}
    if "fused_contrastive" in config.tasks:
        duplicate_BB = None if ids_BM is None else same_content(ids_BM)
        losses["fused_contrastive"] = fused_contrastive_loss(
            features["first"], features["second"], several_B, config.temperature, duplicate_BB,
            anchors,
        )  # fmt: skip
    if "imputed_contrastive" in config.tasks:
        losses["imputed_contrastive"] = imputed_contrastive_loss(
            features["imputed"], features["encoder"], batch.present_BM & several_B[:, None],
            config.temperature, ids_BM, anchors,
        )  # fmt: skip
    return losses
