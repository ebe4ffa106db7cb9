"""The toy study: weights between modalities where the truth is known.

Five noisy views of one latent vector, some mismatched, some missing. Five encoders learn by InfoNCE
over the ten pairs of views; the weights of each product's pairs are chosen by name (`WEIGHTINGS`).

B products, M modalities (five), P pairs (ten), L size of the latent vector and of each view,
H hidden, D features, T steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize

from scale.config import require
from scale.losses.contrastive import LEFT, RIGHT, PairLosses, pair_losses
from scale.losses.weighting import mean_one, posterior_weights, relative_weights
from scale.modalities import MODALITIES
from scale.model.scores import inter_modality_scores
from scale.seeding import generator
from scale.studies.statistics import auc, spearman

M = len(MODALITIES)
UNEVEN = (0.0, 0.1, 0.3, 0.5, 0.7)


@dataclass(frozen=True)
class Regime:
    """Damage of the products by modality."""

    sigma: tuple[float, ...] = (0.45,) * M
    """Noise-to-signal ratio in training and test; `inf` is pure noise."""
    mismatch: tuple[float, ...] = (0.0,) * M
    """Share of training products whose view shows another product. Test views are true."""
    missing: tuple[float, ...] = (0.0,) * M
    """Share of training products without the view. Test products have all views."""


REGIMES: dict[str, Regime] = {
    "clean": Regime(),
    "noise": Regime(sigma=(0.1, 0.4, 0.8, 1.6, float("inf"))),
    "mismatch": Regime(mismatch=UNEVEN),
    "mismatch_even": Regime(mismatch=(0.3,) * M),
    # The most mismatched modality is the least noisy one, so the two kinds do not coincide.
    "mismatch_noise": Regime(sigma=(0.7, 0.6, 0.5, 0.4, 0.3), mismatch=UNEVEN),
    "missing": Regime(missing=UNEVEN),
}


@dataclass
class Views:
    """Views of toy products."""

    view_BML: Tensor
    """0 where absent."""
    present_BM: Tensor
    true_BM: Tensor
    """False where the view shows another product."""

    def rows(self, row_B: Tensor) -> "Views":
        """Select products."""
        return Views(self.view_BML[row_B], self.present_BM[row_B], self.true_BM[row_B])


def draw_views(regime: Regime, products: int, latent: int, seed: int, test: bool = False) -> Views:
    """Draw x_m = R_m leaky(R_m v_m), v_m = sqrt(g_m) z + sqrt(1 - g_m) e, g = 1 / (1 + sigma^2).

    R_m is a random rotation of modality m and e is Gaussian noise. The map from v to x is
    invertible, so `information` is exact. A mismatched view shows the z of another product, drawn
    uniformly. Test products have the same R, and all views are true and present.
    """
    turn_MLL = _rotations(latent, seed)
    random = generator("cpu", seed, 2 if test else 1)
    latent_BL = torch.randn(products, latent, generator=random)
    noise_BML = torch.randn(products, M, latent, generator=random)
    true_BM = torch.rand(products, M, generator=random) >= torch.tensor(regime.mismatch)
    present_BM = torch.rand(products, M, generator=random) >= torch.tensor(regime.missing)
    if test:
        true_BM, present_BM = torch.ones_like(true_BM), torch.ones_like(present_BM)
    shift_BM = torch.randint(1, max(products, 2), (products, M), generator=random)
    shown_BM = (torch.arange(products)[:, None] + shift_BM.masked_fill(true_BM, 0)) % products

    signal_ML = 1 / (1 + torch.tensor(regime.sigma)[:, None] ** 2)
    seen_BML = signal_ML.sqrt() * latent_BL[shown_BM] + (1 - signal_ML).sqrt() * noise_BML
    bent_BML = leaky_relu(torch.einsum("bml,mlk->bmk", seen_BML, turn_MLL), 0.3)
    view_BML = torch.einsum("bml,mlk->bmk", bent_BML, turn_MLL)
    return Views(view_BML * present_BM[:, :, None], present_BM, true_BM)


def information(regime: Regime, latent: int) -> tuple[Tensor, Tensor]:
    """Return mutual information in nats: info_P of two views, info_M of a view and z.

    For L latents, signal g = 1 / (1 + sigma^2) and mismatch rate r, given which views are true:
        I(x_i; x_j) = -(1 - r_i)(1 - r_j) L/2 log(1 - g_i g_j)      (Gaussian, rho^2 = g_i g_j)
        I(x_i; z)   = -(1 - r_i) L/2 log(1 - g_i)
    """
    signal_M = 1 / (1 + torch.tensor(regime.sigma, dtype=torch.float64) ** 2)
    true_M = 1 - torch.tensor(regime.mismatch, dtype=torch.float64)
    nats_P = -latent / 2 * torch.log1p(-signal_M[LEFT,] * signal_M[RIGHT,])
    nats_M = -latent / 2 * torch.log1p(-signal_M)
    return nats_P * true_M[LEFT,] * true_M[RIGHT,], nats_M * true_M


def _rotations(latent: int, seed: int) -> Tensor:
    random = generator("cpu", seed, 0)
    return torch.linalg.qr(torch.randn(M, latent, latent, generator=random))[0]


ToyWeightFn = Callable[[Tensor, Tensor, PairLosses, Tensor], Tensor]
"""(pooled_BMD, present_BM, unweighted losses, true_BM) -> raw weight_BP."""


@dataclass(frozen=True)
class Weighting:
    """Weights of each product's pairs in the toy study."""

    weigh: ToyWeightFn
    on: Literal["loss", "logits"] = "loss"
    """The factor that is weighted."""
    gradient: bool = False
    """Backpropagate through the weight."""
    mean_one: bool = True
    """Divide by the batch mean over the valid pairs."""
    uniform_start: bool = True
    """Use weights of 1 for the first `uniform_steps`."""
    matched_to: str = ""
    """Name of a weighting whose mean raw weight at each step is used for all pairs. On the logits
    this reproduces its temperature without distinguishing pairs."""


def uniform(pooled_BMD: Tensor, present_BM: Tensor, pairs: PairLosses, true_BM: Tensor) -> Tensor:
    """w = 1."""
    return torch.ones_like(pairs.loss_BP)


def matching_scores(row_normalise: bool = False, signed: bool = False) -> ToyWeightFn:
    """w = S'_ij, at least 0 unless `signed`; `row_normalise` as in the released code."""

    def weigh(pooled_BMD, present_BM, pairs, true_BM):
        scores = inter_modality_scores(pooled_BMD, present_BM, row_normalise=row_normalise)
        weight_BP = scores.weighted_BMM[:, LEFT, RIGHT]
        return weight_BP if signed else weight_BP.clamp(min=0)

    return weigh


def relative(pooled_BMD: Tensor, present_BM: Tensor, pairs: PairLosses, true_BM: Tensor) -> Tensor:
    """w = max(0, (S_ij - mu_ij) / (1 - mu_ij)), mu_ij the batch's mean cosine of negatives."""
    return relative_weights(pooled_BMD, present_BM)


def posterior(power: float = 1.0) -> ToyWeightFn:
    """w = exp(-power InfoNCE): the geometric mean of both directions' p(true pair)^power."""
    return lambda pooled_BMD, present_BM, pairs, true_BM: posterior_weights(pairs, power)


def pair_mean(pooled_BMD: Tensor, present_BM: Tensor, pairs: PairLosses, true_BM: Tensor) -> Tensor:
    """w_ij = batch mean of the posterior of modalities i and j, equal for all products."""
    own_BP = posterior_weights(pairs)
    return (own_BP.sum(0) / pairs.valid_BP.sum(0).clamp(min=1)).expand_as(own_BP)


def oracle(pooled_BMD: Tensor, present_BM: Tensor, pairs: PairLosses, true_BM: Tensor) -> Tensor:
    """w = 1 where both views show the product itself, else 0."""
    return (true_BM[:, LEFT] & true_BM[:, RIGHT]).to(pairs.loss_BP)


PAPER = {"on": "logits", "gradient": True, "mean_one": False}
WEIGHTINGS: dict[str, Weighting] = {
    "uniform": Weighting(uniform),
    "scores": Weighting(matching_scores()),
    "scores_row": Weighting(matching_scores(row_normalise=True)),
    "scores_flowing": Weighting(matching_scores(), gradient=True, mean_one=False),
    "logits": Weighting(matching_scores(signed=True), **PAPER),
    "logits_control": Weighting(uniform, **PAPER, matched_to="logits"),
    # Some initial cosines are below 0. Weight times logit rises on both sides of 0, so such pairs
    # learn opposite features, with a low loss and zero retrieval.
    "logits_cold": Weighting(matching_scores(signed=True), **PAPER, uniform_start=False),
    "official": Weighting(matching_scores(row_normalise=True, signed=True), **PAPER),
    "official_control": Weighting(uniform, **PAPER, matched_to="official"),
    "relative": Weighting(relative),
    "posterior": Weighting(posterior()),
    "posterior_half": Weighting(posterior(0.5)),
    "pair_mean": Weighting(pair_mean),
    "oracle": Weighting(oracle),
}


@dataclass(frozen=True)
class ToySetting:
    """One run of the toy study."""

    regime: str = "clean"
    """A name in REGIMES."""
    weighting: str = "uniform"
    """A name in WEIGHTINGS."""
    seed: int = 0
    """Seed of the views, the encoders and the order of the products."""
    steps: int = 800
    """Steps of Adam."""
    uniform_steps: int = 150
    """Initial steps with weights of 1, for weightings with `uniform_start`."""
    batch: int = 64
    """Products per step, drawn without replacement."""
    products: int = 8192
    """Training products, drawn once."""
    test_products: int = 1000
    """Held-out products, the gallery of R@1."""
    latent: int = 10
    """Size of the latent vector and of each view."""
    hidden: int = 64
    """Size of the encoders' hidden layer."""
    width: int = 32
    """Size of the features."""
    learning_rate: float = 2e-3
    """Constant learning rate of Adam."""
    temperature: float = 0.07
    """Temperature of InfoNCE."""

    def __post_init__(self) -> None:
        for kind, known in (("regime", REGIMES), ("weighting", WEIGHTINGS)):
            name = getattr(self, kind)
            require(name in known, f"unknown {kind} {name!r}; known: {', '.join(known)}")
        for name in ("steps", "batch", "products", "test_products", "latent", "hidden", "width"):
            require(getattr(self, name) > 0, f"toy {name} must be positive")
        require(self.batch <= self.products, "toy batch must not exceed the training products")


def run_toy(setting: ToySetting) -> dict[str, float]:
    """Train and measure one set of encoders; deterministic on a CPU.

    Returns:
        recall: mean R@1 of the ten pairs in both directions, among the held-out products.
        weight: mean raw weight of a pair in the last step, before normalisation.
        order_weights, order_scores, order_posterior: Spearman correlation over the ten pairs of
            mutual information with the mean over products of the run's own weights, of S'_ij, and
            of the posterior (the latter two for every weighting).
        order_own: Spearman correlation over modalities of information about the latent and S'_ii.
        auc_weights, auc_scores, auc_posterior: probability that a true pair has a larger value
            than a mismatched one, for the same three.
        own_<modality>: mean S'_ii.
        All but recall are measured on training products. Undefined values (the order of equal
        values, the AUC without mismatched pairs) are left out.
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
    """A two-layer perceptron per modality, computed as one batched product."""

    def __init__(self, setting: ToySetting) -> None:
        super().__init__()
        random, hidden = generator("cpu", setting.seed, 3), setting.hidden
        first_MLH = torch.randn(M, setting.latent, hidden, generator=random)
        second_MHD = torch.randn(M, hidden, setting.width, generator=random)
        self.first_MLH = nn.Parameter(first_MLH * (2 / setting.latent) ** 0.5)
        self.bias_M1H = nn.Parameter(torch.zeros(M, 1, hidden))
        self.second_MHD = nn.Parameter(second_MHD * hidden**-0.5)

    def forward(self, view_BML: Tensor) -> Tensor:
        """Encode views to pooled_BMD."""
        hidden_MBH = torch.baddbmm(self.bias_M1H, view_BML.transpose(0, 1), self.first_MLH).relu()
        return (hidden_MBH @ self.second_MHD).transpose(0, 1)


def _train(
    setting: ToySetting, train: Views, weighting: Weighting, scale_T: list[float] | None = None
) -> tuple[ToyEncoders, list[float]]:
    """Train and return the encoders and the mean raw weight of each step (or use `scale_T`)."""
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
    """Return the mean R@1 of the ten pairs and both directions among held-out products."""
    regime, products = REGIMES[setting.regime], setting.test_products
    test = draw_views(regime, products, setting.latent, setting.seed, test=True)
    unit_MBD = normalize(encoders(test.view_BML), dim=-1).transpose(0, 1)
    cosine_PBB = unit_MBD[LEFT,] @ unit_MBD[RIGHT,].transpose(1, 2)
    own_B = torch.arange(products)
    hits = (cosine_PBB.argmax(2) == own_B, cosine_PBB.argmax(1) == own_B)
    return torch.stack(hits).double().mean().item()


def _weight_figures(setting: ToySetting, encoders: ToyEncoders, train: Views) -> dict[str, float]:
    """Return the figures of `run_toy` about weights, over up to 2,048 training products."""
    # In full batches, because the posterior depends on the batch size.
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
    """Return the weights of one batch by name, with the ground truth."""
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
