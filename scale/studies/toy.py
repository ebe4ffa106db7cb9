"""The toy study: what weights between modalities do, where the truth is known.

Five encoders learn by InfoNCE over the ten pairs of views (`toy_views`), with the weights of each
product's pairs chosen by name (`toy_weightings`).

B products, M modalities (five), P pairs (ten), L size of a view, H hidden, D features, T steps.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from scale.losses.contrastive import LEFT, RIGHT, pair_losses
from scale.losses.weighting import mean_one
from scale.modalities import MODALITIES
from scale.model.scores import inter_modality_scores
from scale.seeding import generator
from scale.strict import require
from scale.studies.ranks import auc, spearman
from scale.studies.toy_views import REGIMES, M, Views, draw_views, information
from scale.studies.toy_weightings import (
    WEIGHTINGS,
    Weighting,
    matching_scores,
    posterior,
    uniform,
)


@dataclass(frozen=True)
class ToySetting:
    """One run of the toy study."""

    regime: str = "clean"
    """A name in REGIMES."""
    weighting: str = "uniform"
    """A name in WEIGHTINGS."""
    seed: int = 0
    """Of the views, the encoders and the order of the products."""
    steps: int = 800
    """Of Adam."""
    uniform_steps: int = 150
    """Steps from the start with weights of 1, where the weighting has such a start."""
    batch: int = 64
    """Products in a step, drawn without repeats."""
    products: int = 8192
    """Training products, drawn once."""
    test_products: int = 1000
    """Held-out products: the gallery of R@1."""
    latent: int = 10
    """Size of the latent vector and of each view."""
    hidden: int = 64
    """Size of the encoders' hidden layer."""
    width: int = 32
    """Size of the features."""
    learning_rate: float = 2e-3
    """Of Adam, constant."""
    temperature: float = 0.07
    """Of InfoNCE."""

    def __post_init__(self) -> None:
        for kind, known in (("regime", REGIMES), ("weighting", WEIGHTINGS)):
            name = getattr(self, kind)
            require(name in known, f"unknown {kind} {name!r}; known: {', '.join(known)}")
        for name in ("steps", "batch", "products", "test_products", "latent", "hidden", "width"):
            require(getattr(self, name) > 0, f"toy {name} must be positive")
        require(self.batch <= self.products, "toy batch must not exceed the training products")


def toy_grid(quick: bool) -> list[tuple[str, str]]:
    """(regime, weighting) of the study; `quick`: those that its claims rest on."""
    core = ("uniform", "scores", "posterior", "oracle")
    if not quick:
        return [
            (regime, weighting)
            for regime in REGIMES
            for weighting in WEIGHTINGS
            if regime in ("clean", "noise", "mismatch") or weighting in core
        ]
    names = ("uniform", "scores", "posterior", "oracle")
    return [(regime, name) for regime in ("clean", "noise", "mismatch") for name in names] + [
        ("noise", name) for name in ("logits", "logits_control", "scores_flowing")
    ]


def run_toy(setting: ToySetting) -> dict[str, float]:
    """Train one set of encoders and measure it; on a CPU, a pure function of the setting.

    Returns:
        recall: mean R@1 (share) of the ten pairs, both directions, among the held-out products.
        weight: mean raw weight of a pair in the last step, before it is divided by its mean.
        order_weights, order_scores, order_posterior: Spearman, over the ten pairs, of the
            information that two views share with the mean over products of the run's own weights,
            of S'_ij, and of the posterior (the latter two whatever the weighting).
        order_own: Spearman, over the modalities, of the information about the latent with S'_ii.
        auc_weights, auc_scores, auc_posterior: probability that a true pair has a larger value
            than a mismatched one, of the same three.
        own_<modality>: mean S'_ii.
        All but recall are over training products. What is not defined is left out: the order of
        equal values, and telling apart where nothing is mismatched.
    """
    train = draw_views(REGIMES[setting.regime], setting.products, setting.latent, setting.seed)
    weighting, scale_T = WEIGHTINGS[setting.weighting], None
    if weighting.matched_to:
        _, scale_T = _train(setting, train, WEIGHTINGS[weighting.matched_to])
    encoders, scale_T = _train(setting, train, weighting, scale_T)
    with torch.no_grad():
        figures = {"recall": _recall(setting, encoders), "weight": scale_T[-1]}
        return figures | _weight_figures(setting, encoders, train)


class ToyEncoders(nn.Module):
    """A two-layer perceptron for each modality, all in one batched product."""

    def __init__(self, setting: ToySetting) -> None:
        super().__init__()
        random, hidden = generator("cpu", setting.seed, 3), setting.hidden
        first_MLH = torch.randn(M, setting.latent, hidden, generator=random)
        second_MHD = torch.randn(M, hidden, setting.width, generator=random)
        self.first_MLH = nn.Parameter(first_MLH * (2 / setting.latent) ** 0.5)
        self.bias_M1H = nn.Parameter(torch.zeros(M, 1, hidden))
        self.second_MHD = nn.Parameter(second_MHD * hidden**-0.5)

    def forward(self, view_BML: Tensor) -> Tensor:
        """pooled_BMD of views."""
        hidden_MBH = torch.baddbmm(self.bias_M1H, view_BML.transpose(0, 1), self.first_MLH).relu()
        return (hidden_MBH @ self.second_MHD).transpose(0, 1)


def _train(
    setting: ToySetting, train: Views, weighting: Weighting, scale_T: list[float] | None = None
) -> tuple[ToyEncoders, list[float]]:
    """Encoders, and the mean raw weight of each step; `scale_T` stands in for the weights."""
    encoders, random, means_T = ToyEncoders(setting), generator("cpu", setting.seed, 4), []
    optimiser = torch.optim.Adam(encoders.parameters(), setting.learning_rate)
    for step in range(setting.steps):
        batch = train.rows(torch.randperm(setting.products, generator=random)[: setting.batch])
        pooled_BMD = encoders(batch.view_BML)
        pairs = pair_losses(pooled_BMD, batch.present_BM, setting.temperature)
        early = weighting.uniform_start and step < setting.uniform_steps
        raw_BP = (uniform if early else weighting.weigh)(
            pooled_BMD, batch.present_BM, pairs, batch.true_BM
        )
        raw_BP = raw_BP if weighting.gradient else raw_BP.detach()
        raw_BP = raw_BP if scale_T is None else torch.full_like(raw_BP, scale_T[step])
        means_T.append(raw_BP.detach()[pairs.valid_BP].mean().item())
        if weighting.mean_one:
            raw_BP = mean_one(raw_BP, pairs.valid_BP)
        if weighting.on == "logits":
            pairs = pair_losses(pooled_BMD, batch.present_BM, setting.temperature, "cross", raw_BP)
        optimiser.zero_grad()
        pairs.mean_P(raw_BP if weighting.on == "loss" else None).sum().backward()
        optimiser.step()
    return encoders, means_T


def _recall(setting: ToySetting, encoders: ToyEncoders) -> float:
    """Mean R@1 of the ten pairs and both directions among held-out products."""
    regime, products = REGIMES[setting.regime], setting.test_products
    test = draw_views(regime, products, setting.latent, setting.seed, test=True)
    unit_MBD = normalize(encoders(test.view_BML), dim=-1).transpose(0, 1)
    cosine_PBB = unit_MBD[LEFT,] @ unit_MBD[RIGHT,].transpose(1, 2)
    own_B = torch.arange(products)
    hits = (cosine_PBB.argmax(2) == own_B, cosine_PBB.argmax(1) == own_B)
    return torch.stack(hits).double().mean().item()


def _weight_figures(setting: ToySetting, encoders: ToyEncoders, train: Views) -> dict[str, float]:
    """All of `run_toy` that is about weights, over up to 2,048 training products."""
    # In whole batches: the posterior depends on how many products it chooses among.
    batches = max(1, min(2048, setting.products) // setting.batch)
    parts = [
        _observed(setting, encoders, train.rows(row_B))
        for row_B in torch.arange(batches * setting.batch).split(setting.batch)
    ]
    seen = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    valid_BP, own_BM = seen.pop("valid"), seen.pop("own")
    true_BP, present_BM = seen.pop("true"), seen.pop("present")

    info_P, info_M = information(REGIMES[setting.regime], setting.latent)
    own_M = own_BM.sum(0) / present_BM.sum(0)
    figures = {"order_own": spearman(own_M, info_M)}
    for name, weight_BP in seen.items():
        mean_P = (weight_BP * valid_BP).sum(0) / valid_BP.sum(0)
        figures[f"order_{name}"] = spearman(mean_P, info_P)
        figures[f"auc_{name}"] = auc(weight_BP[valid_BP], true_BP[valid_BP])
    figures |= {f"own_{m}": own_M[i].item() for i, m in enumerate(MODALITIES)}
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def _observed(setting: ToySetting, encoders: ToyEncoders, batch: Views) -> dict[str, Tensor]:
    """Weights of one batch, by name, and what they are judged by."""
    pooled_BMD, true_BM = encoders(batch.view_BML), batch.true_BM
    pairs = pair_losses(pooled_BMD, batch.present_BM, setting.temperature)
    weigh = {
        "weights": WEIGHTINGS[setting.weighting].weigh,
        "scores": matching_scores(signed=True),
        "posterior": posterior(),
    }
    scores = inter_modality_scores(pooled_BMD, batch.present_BM)
    return {
        "valid": pairs.valid_BP,
        "true": true_BM[:, LEFT] & true_BM[:, RIGHT],
        "present": batch.present_BM,
        "own": scores.weighted_BMM.diagonal(dim1=1, dim2=2).double(),
    } | {
        name: w(pooled_BMD, batch.present_BM, pairs, true_BM).double() for name, w in weigh.items()
    }
