"""The losses of one product that S' weights: ten contrastive and five masked losses.

N other products, B products with the shown one first, C copies of the product, M modalities (five),
P pairs (ten), D width, K masked positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.nn.functional import normalize

from scale.config import Config
from scale.data.batch import ProductBatch
from scale.data.dataset import ProductDataset
from scale.evaluation.embed import Embeddings
from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import batch_pairs
from scale.modalities import INDEX, MODALITIES, PAIRS, SPECS, TASKS
from scale.model.scale import ContrastOutput, ScaleModel
from scale.studies.context import position_losses
from scale.studies.single_product import ModalityChange, ProductEditor, ProductOutputs
from scale.threads import torch_threads

NEGATIVES = 127
"""Other products of the contrastive losses: a batch of 128."""
COPIES = 4
"""Random masks of a product, for a mean over more positions."""


@dataclass(frozen=True)
class ProductLosses:
    """Unweighted losses of one product."""

    loss_MM: np.ndarray
    """Masked losses on the diagonal, InfoNCE of the pairs i < j above it; NaN elsewhere and where a
    modality is missing."""
    others: int
    """Number of other products in the contrastive losses."""
    figure: Mapping[tuple[int, int], tuple[np.ndarray, float]] = field(default_factory=dict)
    """By cell: for a pair, cosines of the product's modality i with modality j of the other
    products, and with its own; for a modality, losses of the masked positions, and their mean."""

    def total(self, weight_MM: np.ndarray) -> float:
        """Return sum_{i<=j} w_ij L_ij over the losses that exist (paper, section 4.3)."""
        return float(np.nansum(weight_MM * self.loss_MM))


def other_rows(rows: np.ndarray, row: int, seed: int = 0) -> np.ndarray:
    """Draw at most NEGATIVES rows besides `row`, for a batch."""
    others_N = rows[rows != row]
    random = np.random.default_rng([seed, 1])
    return np.sort(random.permutation(others_N)[:NEGATIVES])


def changed_contents(
    editor: ProductEditor, row: int, changes: Mapping[str, ModalityChange]
) -> np.ndarray:
    """Return the content numbers of a product after its changes: those of the donors."""
    content_M = editor.data.content_id_NM[row].copy()
    for m, change in changes.items():
        donor = editor.donor(row, m) if change.mismatch else None
        if donor is not None:
            content_M[INDEX[m]] = editor.data.content_id_NM[donor, INDEX[m]]
    return content_M


def product_losses(
    model: ScaleModel,
    config: Config,
    data: ProductDataset,
    batch: ProductBatch,
    outputs: ProductOutputs,
    others: tuple[Embeddings, Sequence[int] | np.ndarray],
    content_M: np.ndarray,
    seed: int = 0,
) -> ProductLosses:
    """Compute the losses of one product as in training, in evaluation mode.

    The contrastive losses are InfoNCE among the features of clean products, whatever
    `LossConfig.contrast` is; products with the same content are no negatives. The masked losses are
    means over COPIES random masks of the run's rate.

    Args:
        batch, outputs: the product, and `product_outputs` of the model for it.
        others: features of all products, and the rows of the other products of the batch.
        content_M: number of each content of the product (`changed_contents`).
    """
    loss_MM = np.full((len(MODALITIES), len(MODALITIES)), np.nan)
    figure: dict[tuple[int, int], tuple[np.ndarray, float]] = {}
    features, rows_N = others
    pooled_BMD = _stacked(outputs.pooled_MD, features.pooled_NMD[rows_N])
    present_BM = _stacked(outputs.present_M, features.present_NM[rows_N])
    content_BM = _stacked(content_M, data.content_id_NM[rows_N])
    facts = ProductBatch({}, present_BM, torch.arange(len(present_BM)), content_BM)
    with torch.inference_mode(), torch_threads(1):
        contrast = ContrastOutput() if model.contrast is None else model.contrast(pooled_BMD)
        pairs = batch_pairs(pooled_BMD, contrast, facts, config.loss, anchors=slice(0, 1))
        for m, loss_K in _masked_losses(model, config, data, batch, seed).items():
            place = INDEX[m], INDEX[m]
            loss_MM[place] = loss_K.mean()
            figure[place] = loss_K, float(loss_MM[place])
    unit_BMD = normalize(pooled_BMD, dim=-1).numpy()
    for p, (i, j) in enumerate(PAIRS):
        if pairs.valid_BP[0, p]:
            loss_MM[i, j] = float(pairs.loss_BP[0, p])
            cosine_B = unit_BMD[:, j] @ unit_BMD[0, i]
            has_N = present_BM[1:, j].numpy()
            figure[i, j] = cosine_B[1:][has_N], float(cosine_B[0])
    return ProductLosses(loss_MM, len(rows_N), figure)


def _stacked(first: np.ndarray, others: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([first[None], others]))


def _masked_losses(
    model: ScaleModel, config: Config, data: ProductDataset, batch: ProductBatch, seed: int
) -> dict[str, np.ndarray]:
    """Return loss_K of the masked positions by modality."""
    pieces = WordPieces.of(data.tokenizer)
    masked = mask_batch(repeated(batch, COPIES), config.mask, pieces, (seed,), TASKS)
    output = model(masked.batch, masked.hidden, masked.positions)
    return {
        m: position_losses(predicted, masked.targets[m]).numpy()
        for m, predicted in output.predictions.items()
        if SPECS[m].task in TASKS and len(predicted)
    }


def repeated(batch: ProductBatch, copies: int) -> ProductBatch:
    """Return a batch of one product as a batch of several copies of it."""
    same_C = torch.zeros(copies, dtype=torch.long)
    tokens = {
        m: replace(each.select(same_C), rows_R=torch.arange(copies))
        for m, each in batch.tokens.items()
        if len(each.rows_R)
    }
    return ProductBatch(tokens, batch.present_BM[same_C], batch.index_B[same_C])
