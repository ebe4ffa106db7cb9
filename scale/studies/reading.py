"""All that a model says of one product: scores in four forms, embedding, what the JCT makes of it.

M modalities (five), D width, K neighbours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from scale.config import MissingConfig, MissingPolicy
from scale.data.batch import ProductBatch
from scale.evaluation.embed import product_embedding
from scale.evaluation.search import SearchIndex
from scale.loss_config import LossConfig
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.model.scale import ScaleModel
from scale.model.scores import inter_modality_scores


@dataclass(frozen=True)
class Reading:
    """What a model says of one product; rows and columns of missing modalities are 0."""

    present_M: np.ndarray
    pooled_MD: np.ndarray
    """f_1 .. f_5 of the encoders."""
    fused_MD: np.ndarray
    """The JCT's [CLS] of each modality."""
    cosine_MM: np.ndarray
    """S."""
    softmax_MM: np.ndarray
    """softmax(S) along the row."""
    weighted_MM: np.ndarray
    """S' = S * softmax(S)."""
    normalised_MM: np.ndarray
    """S' with rows of length 1, as the authors' code has it."""
    emb_D: np.ndarray
    """The product's embedding by which it is retrieved; unit length."""
    token_M: np.ndarray
    """Tokens of each modality in the JCT, [CLS] counted."""
    stand_in_M: np.ndarray
    """Tokens that stand in the JCT for each modality that is missing."""


def read_product(model: ScaleModel, batch: ProductBatch) -> Reading:
    """All that the model says of a batch of one product; without gradient, on one thread: for one
    product, threads wait for each other longer than they work.

    Raises ValueError where nothing that the model reads is there, or the batch is not of one.
    """
    if len(batch) != 1:
        raise ValueError(f"a batch of {len(batch)} products; one is read at a time")
    with torch.inference_mode(), one_thread():
        output = model(batch)
        pooled_1MD, present_1M = output.pooled_BMD, output.present_BM
        scores = inter_modality_scores(pooled_1MD, present_1M)
        normalised = inter_modality_scores(pooled_1MD, present_1M, row_normalise=True)
        emb_1D = product_embedding(pooled_1MD, present_1M)
    token_M, stand_in_M = np.zeros((2, len(MODALITIES)), int)
    for m in model.config.modalities:
        token_M[INDEX[m]] = output.encoded[m].shape[1] if m in output.encoded else 0
        stand_in_M[INDEX[m]] = 0 if m in output.encoded else stand_in_tokens(model, m)
    return Reading(
        present_1M[0].numpy(),
        pooled_1MD[0].numpy(),
        output.fused_pooled_BMD[0].numpy(),
        scores.cosine_BMM[0].numpy(),
        scores.softmax_BMM[0].numpy(),
        scores.weighted_BMM[0].numpy(),
        normalised.weighted_BMM[0].numpy(),
        emb_1D[0].numpy(),
        token_M,
        stand_in_M,
    )


def logged_weights(reading: Reading, loss: LossConfig) -> np.ndarray:
    """weight_MM of the product in the form that training logs: from the features and with the row
    normalisation that the run's settings name."""
    if loss.weight_features == "encoder":
        return reading.normalised_MM if loss.row_normalise else reading.weighted_MM
    fused_1MD, present_1M = (
        torch.from_numpy(a)[None] for a in (reading.fused_MD, reading.present_M)
    )
    scores = inter_modality_scores(fused_1MD, present_1M, row_normalise=loss.row_normalise)
    return scores.weighted_BMM[0].numpy()


def neighbours(
    index: SearchIndex, emb_D: np.ndarray, own_id: str, count: int = 5
) -> list[tuple[str, float]]:
    """Id and cosine of the `count` nearest products of the gallery, best first, but `own_id`."""
    matches = index.query(emb_D[None], count + 1)
    found = zip(matches.ids[0], matches.score_QK[0].tolist(), strict=True)
    return [(name, cosine) for name, cosine in found if name != own_id][:count]


def stand_in_tokens(model: ScaleModel, modality: str) -> int:
    """Tokens that the model's policy puts into the JCT for a modality that is missing."""
    if model.missing.policy == "learned":
        return 1
    if model.missing.policy != "zero":
        return 0
    return model.config.length(modality) + (SPECS[modality].kind == "continuous")


def with_policy(model: ScaleModel, policy: MissingPolicy) -> ScaleModel:
    """The same weights (shared, not copied) under another policy for missing modalities.

    Raises ValueError for `learned` where the model has no learned tokens: they come from training.
    """
    if policy == model.missing.policy:
        return model
    if policy == "learned":
        raise ValueError(
            f"the model was trained with policy {model.missing.policy!r}: it has no learned tokens"
        )
    with torch.random.fork_rng(devices=[]):
        other = ScaleModel(model.config, MissingConfig(policy))
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("jct.stand_in.")}
    other.load_state_dict(weights, assign=True)
    return other.eval()


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes on one thread inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
