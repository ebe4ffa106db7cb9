"""Pooled features from a modality's mean input vector: multi-view CCA beside small networks.

A Transformer encoder needs more products than most catalogues have. With vectors of public models
as tokens, their mean already describes a product, and a projection suffices. `Projection` turns it
into d + K d numbers: a linear part, fixed by regularised multi-view CCA in closed form, and K small
networks, each trained by a contrastive loss of its own. All parts are unit vectors, so a cosine of
pooled features is the average of those of the parts; the linear part has the weight of all
networks together. Independent parts are an ensemble: what one overfits, the others average out.

B products of a batch, N products of the training split, M modalities (five), R rows, L length,
F features of a token, G statistics of a modality's vectors, P word pieces, X = G + P, C inputs of a
projection, D width of a part.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from scale.config import ModelConfig
from scale.data.batch import ProductBatch, Tokens
from scale.modalities import DISCRETE, INDEX, MODALITIES, PAIRS
from scale.model.scores import to_float32

CLIP = 8.0
"""Standard deviations beyond which a statistic is clipped."""
BATCH = 256
"""Products read at once."""
FIT_PRODUCTS = 20_000
"""Products that the closed-form part is fitted on, at most; further ones hardly change it."""
FEWEST = 5
"""Products without which a modality, or a pair of them, is not fitted."""


class Projection(nn.Module):
    """Pooled features f_m of one modality (R, (K + 1) D), from its input tokens.

    x = A [z; t] with z the standardised mean of the token vectors (audio: also their standard
    deviation), t the TF-IDF of the word pieces of a title or table, and A the principal
    components of the training split; then, with u(v) = v / |v|,

        f = [sqrt(K) u(W x); u(g_1(x)); ..; u(g_K(x))],    f = u(W x) if K = 0.

    A and W are buffers, set by `fit_projections`.
    """

    def __init__(self, config: ModelConfig, modality: str):
        super().__init__()
        self.deviation = modality == "audio"
        self.statistics = config.feature_size(modality) * (2 if self.deviation else 1)
        self.pieces = config.lexical_pieces if modality in DISCRETE else 0
        inputs, width, count = config.projection_inputs, config.projection_width, self.pieces
        self.register_buffer("mean_G", torch.zeros(self.statistics))
        self.register_buffer("scale_G", torch.ones(self.statistics))
        self.register_buffer("piece_P", torch.arange(count))
        self.register_buffer("idf_P", torch.ones(count))
        self.register_buffer("centre_X", torch.zeros(self.statistics + count))
        components_XC = torch.randn(self.statistics + count, inputs) / inputs**0.5
        self.register_buffer("components_XC", components_XC)
        self.register_buffer("cca_CD", torch.randn(inputs, width) / inputs**0.5)
        # PyTorch's initialisation: with biases of 0, an input of 0 would have no direction, and the
        # gradient of its normalisation would be infinite.
        self.networks = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(config.projection_dropout),
                nn.Linear(inputs, 2 * width),
                nn.GELU(),
                nn.Dropout(config.projection_dropout),
                nn.Linear(2 * width, width),
            )
            for _ in range(config.projection_heads)
        )

    def forward(self, tokens: Tokens, hidden_RL: Tensor | None = None) -> Tensor:
        """Return the pooled features of the rows; vectors at `hidden_RL` are left out."""
        x_RC = tokens.values if tokens.projected else self.inputs(*self.read(tokens, hidden_RL))
        linear_RD = normalize(x_RC @ self.cca_CD, dim=-1) * max(1, len(self.networks)) ** 0.5
        return torch.cat(
            [linear_RD, *(normalize(to_float32(g(x_RC)), dim=-1) for g in self.networks)], dim=1
        )

    def inputs(self, raw_RG: Tensor | None, ids_RL: Tensor | None) -> Tensor:
        """Return x_RC, the principal components of `features`."""
        return (self.features(raw_RG, ids_RL) - self.centre_X) @ self.components_XC

    def features(self, raw_RG: Tensor | None, ids_RL: Tensor | None) -> Tensor:
        """Return feature_RX = [z; t]; |z|^2 and |t|^2 are about 1."""
        parts = []
        if self.statistics:
            z_RG = (raw_RG - self.mean_G) * self.scale_G
            parts.append(z_RG.clamp(-CLIP, CLIP) / self.statistics**0.5)
        if self.pieces and ids_RL is None:
            # The mean, so that t has no influence.
            parts.append(self.centre_X[self.statistics :].expand(len(raw_RG), -1))
        elif self.pieces:
            parts.append(self._tf_idf(ids_RL))
        return torch.cat(parts, dim=1)

    def read(self, tokens: Tokens, hidden_RL: Tensor | None = None) -> tuple:
        """Return raw_RG, the statistics of the token vectors, and ids_RL, the word pieces."""
        raw_RG = self._raw_statistics(tokens, hidden_RL) if self.statistics else None
        return raw_RG, tokens.piece_ids if self.pieces else None

    def copy_inputs(self, other: "Projection") -> None:
        """Copy the preprocessing of x, without what was fitted or trained after it."""
        own, given = dict(self.named_buffers()), dict(other.named_buffers())
        for name in own.keys() - {"cca_CD"}:
            own[name].copy_(given[name])

    def _raw_statistics(self, tokens: Tokens, hidden_RL: Tensor | None) -> Tensor:
        """Return the mean of the token vectors of each row, for audio also their deviation."""
        used_RL = ~tokens.padding_RL if hidden_RL is None else ~(tokens.padding_RL | hidden_RL)
        used_RL1 = used_RL[:, :, None].float()
        count_R1 = used_RL1.sum(1).clamp(min=1)
        values_RLF = to_float32(tokens.values)
        mean_RF = (values_RLF * used_RL1).sum(1) / count_R1
        if not self.deviation:
            return mean_RF
        square_RF = ((values_RLF - mean_RF[:, None]).square() * used_RL1).sum(1) / count_R1
        return torch.cat([mean_RF, square_RF.sqrt()], dim=1)

    def _tf_idf(self, ids_RL: Tensor) -> Tensor:
        """Return t_RP = u((1 + log count) idf), of the pieces that the training split shares."""
        slot_RL = torch.searchsorted(self.piece_P, ids_RL).clamp(max=self.pieces - 1)
        known_RL = (self.piece_P[slot_RL] == ids_RL) & (ids_RL >= 0)
        count_RP = torch.zeros(len(ids_RL), self.pieces, device=ids_RL.device)
        count_RP.scatter_add_(1, slot_RL, known_RL.float())
        weight_RP = torch.where(count_RP > 0, 1 + count_RP.clamp(min=1).log(), 0.0) * self.idf_P
        return normalize(weight_RP, dim=-1)


@dataclass(frozen=True)
class ProjectionInputs:
    """The inputs x of all projections on a data set, computed once: they are not trained."""

    x: dict[str, Tensor]
    """x_RC by modality, a row for each product that has it."""
    row_NM: Tensor
    """Row in x of each product."""

    @classmethod
    def compute(cls, projections: nn.ModuleDict, dataset) -> "ProjectionInputs":
        """Read all products of a data set, in order; about a second per thousand products."""
        parts, device = {m: [] for m in projections}, next(projections.buffers()).device
        with torch.no_grad():
            for rows_B in torch.arange(len(dataset)).split(BATCH):
                for m, tokens in dataset.collate(rows_B).tokens.items():
                    if m in projections and len(tokens.rows_R):
                        read = projections[m].read(tokens.to(device))
                        parts[m].append(projections[m].inputs(*read).cpu())
        present_NM = torch.from_numpy(dataset.present_NM)
        return cls({m: torch.cat(p) for m, p in parts.items() if p}, present_NM.cumsum(0) - 1)

    def add_to(self, facts: ProductBatch) -> ProductBatch:
        """Return a batch without tokens (`ProductDataset.facts`) with the inputs as its tokens."""
        tokens = {}
        for m, x_RC in self.x.items():
            (rows_R,) = facts.present_BM[:, INDEX[m]].nonzero(as_tuple=True)
            input_RC = x_RC[self.row_NM[facts.index_B[rows_R], INDEX[m]]]
            padding_RL = torch.zeros(len(rows_R), 1, dtype=torch.bool)
            tokens[m] = Tokens(input_RC, padding_RL, rows_R)
        return replace(facts, tokens=tokens)


def fit_projections(
    projections: nn.ModuleDict,
    batches: Iterable[ProductBatch],
    config: ModelConfig,
    seed: int,
    weight_NP: Tensor | None = None,
) -> None:
    """Fit the preprocessing and the linear part of all modalities on training products.

    Args:
        projections: a `Projection` by modality; its buffers are set.
        batches: products of the training split, not masked.
        seed: of the randomised principal components.
        weight_NP: of each product's pairs of modalities in the linear part, by `index_B`.
    """
    read, present, index = {m: [] for m in projections}, [], []
    for batch in batches:
        present.append(batch.present_BM)
        index.append(batch.index_B)
        for m, projection in projections.items():
            if m in batch.tokens and len(batch.tokens[m].rows_R):
                read[m].append(projection.read(batch.tokens[m]))
    inputs = {}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for m, parts in read.items():
            if sum(len(raw_RG if ids_RL is None else ids_RL) for raw_RG, ids_RL in parts) < FEWEST:
                continue
            _fit_preprocessing(projections[m], parts)
            inputs[m] = _fit_components(
                projections[m], torch.cat([projections[m].features(*part) for part in parts])
            )
        if weight_NP is not None:
            weight_NP = weight_NP[torch.cat(index)]
        ridge, width = config.projection_ridge, config.projection_width
        maps = multiview_cca(inputs, torch.cat(present), ridge, width, weight_NP)
        for m, cca_CD in maps.items():
            projections[m].cca_CD.zero_()[:, : cca_CD.shape[1]] = cca_CD


def _fit_preprocessing(projection: Projection, parts: Sequence[tuple]) -> None:
    """Set mean and scale of the statistics, the most frequent word pieces and their idf."""
    if projection.statistics:
        raw_NG = torch.cat([raw_RG for raw_RG, _ in parts])
        projection.mean_G.copy_(raw_NG.mean(0))
        projection.scale_G.copy_(1 / (raw_NG.std(0, correction=0) + 1e-6))
    if projection.pieces:
        products = sum(len(ids_RL) for _, ids_RL in parts)
        highest = max(int(ids_RL.max()) for _, ids_RL in parts)
        frequency_V = torch.zeros(max(highest + 1, projection.pieces))
        for _, ids_RL in parts:
            for ids_L in ids_RL:
                frequency_V[ids_L[ids_L >= 0].unique()] += 1
        # A piece of one product relates it to no other.
        frequency_V[frequency_V < 2] = 0
        piece_P = frequency_V.argsort(descending=True, stable=True)[: projection.pieces].sort()[0]
        projection.piece_P.copy_(piece_P)
        idf_P = ((1 + products) / (1 + frequency_V[piece_P])).log() + 1
        projection.idf_P.copy_(torch.where(frequency_V[piece_P] > 0, idf_P, 0.0))


def _fit_components(projection: Projection, feature_NX: Tensor) -> Tensor:
    """Set the principal components, scaled to mean variance 1, and return x_NC."""
    inputs = projection.components_XC.shape[1]
    centre_X = feature_NX.mean(0)
    rank = min(inputs, len(feature_NX) - 1, feature_NX.shape[1])
    _, deviation_C, components_XC = torch.pca_lowrank(
        feature_NX - centre_X, min(rank + 16, *feature_NX.shape), center=False, niter=4
    )
    kept = deviation_C[:rank] > 1e-3 * deviation_C[0]
    components_XC = components_XC[:, :rank][:, kept]
    scale = math.sqrt(len(feature_NX)) / deviation_C[:rank][kept].mean()
    projection.centre_X.copy_(centre_X)
    projection.components_XC.zero_()[:, : components_XC.shape[1]] = components_XC * scale
    return (feature_NX - centre_X) @ projection.components_XC


def multiview_cca(
    inputs: dict[str, Tensor],
    present_NM: Tensor,
    ridge: float,
    width: int,
    weight_NP: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the linear maps W_CD of a regularised multi-view CCA, by modality.

    Maximises sum_{i != j} cov(a_i x_i, a_j x_j) subject to sum_i a_i (C_ii + ridge v_i I) a_i = 1,
    with v_i the mean variance of modality i (SUMCOR with one constraint; Kettenring, 1971). The
    covariance of two modalities is that of the products that have both, each with its weight.
    Component k is scaled by the square root of its eigenvalue, so that weakly shared components
    count less.

    Args:
        inputs: centred x_RC by modality, a row for each product that has it, in order.
        present_NM: True where a product has a modality.
        ridge: 0 is none.
        width: number of components D.
        weight_NP: weight of each product in the covariance of a pair; None: equal.
    """
    names = [m for m in MODALITIES if m in inputs]
    whiten = {m: _whitening(inputs[m], ridge) for m in names}
    white = {m: inputs[m].double() @ whiten[m] for m in names}
    if weight_NP is None:
        weight_NP = torch.ones(len(present_NM), len(PAIRS))
    blocks = [[_cross_covariance(white, present_NM, weight_NP, i, j) for j in names] for i in names]
    if not blocks:
        return {}
    matrix = torch.cat([torch.cat(row, dim=1) for row in blocks])
    value_D, vector_D = torch.linalg.eigh(matrix)
    value_D, vector_D = value_D.flip(0)[:width].clamp(min=0), vector_D.flip(1)[:, :width]
    parts = vector_D.split([white[m].shape[1] for m in names])
    return {
        m: (whiten[m] @ part * value_D.sqrt()).float() for m, part in zip(names, parts, strict=True)
    }


def _whitening(x_RC: Tensor, ridge: float) -> Tensor:
    """Return V diag(1 / sqrt(v + ridge mean(v))), with variances v and principal axes V."""
    covariance_CC = x_RC.double().T @ x_RC.double() / len(x_RC)
    value_C, vector_CC = torch.linalg.eigh(covariance_CC)
    kept = value_C > 1e-6 * value_C[-1]
    value_C = value_C[kept]
    return vector_CC[:, kept] / (value_C + ridge * value_C.mean()).sqrt()


def _cross_covariance(
    white: dict[str, Tensor], present_NM: Tensor, weight_NP: Tensor, i: str, j: str
) -> Tensor:
    """Return sum w x_i x_j^T / sum w over the products that have both; 0 if i = j."""
    left_RC, right_RC = white[i], white[j]
    both_N = present_NM[:, INDEX[i]] & present_NM[:, INDEX[j]]
    if i == j or int(both_N.sum()) < FEWEST:
        return left_RC.new_zeros(left_RC.shape[1], right_RC.shape[1])
    left_QC = left_RC[both_N[present_NM[:, INDEX[i]]]]
    right_QC = right_RC[both_N[present_NM[:, INDEX[j]]]]
    weight_Q1 = weight_NP[both_N, PAIRS.index(tuple(sorted((INDEX[i], INDEX[j]))))].double()[
        :, None
    ]
    return left_QC.T @ (weight_Q1 * right_QC) / weight_Q1.sum()


def training_batches(dataset, size: int = BATCH) -> Iterator[ProductBatch]:
    """Yield the products of a data set, at most FIT_PRODUCTS evenly spaced ones, in batches."""
    count = min(len(dataset), FIT_PRODUCTS)
    rows_N = torch.linspace(0, len(dataset) - 1, count).long()
    for rows_B in rows_N.split(size):
        yield dataset.collate(rows_B)
