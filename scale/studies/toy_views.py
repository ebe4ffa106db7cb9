"""Views of the toy study: five noisy views of one latent vector, some wrong, some missing.

B products, M modalities (five), P pairs (ten), L size of the latent vector and of each view.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from scale.losses.contrastive import LEFT, RIGHT
from scale.modalities import MODALITIES
from scale.seeding import generator

M = len(MODALITIES)
UNEVEN = (0.0, 0.1, 0.3, 0.5, 0.7)


@dataclass(frozen=True)
class Regime:
    """What is wrong with the products, by modality."""

    sigma: tuple[float, ...] = (0.45,) * M
    """Noise over signal, in training and test; `inf` is pure noise."""
    mismatch: tuple[float, ...] = (0.0,) * M
    """Share of the training products whose view shows another product. Test views are true."""
    missing: tuple[float, ...] = (0.0,) * M
    """Share of the training products without the view. Test products have all."""


REGIMES: dict[str, Regime] = {
    "clean": Regime(),
    "noise": Regime(sigma=(0.1, 0.4, 0.8, 1.6, float("inf"))),
    "mismatch": Regime(mismatch=UNEVEN),
    "mismatch_even": Regime(mismatch=(0.3,) * M),
    # The modality that is wrong most often is the cleanest one: the two faults do not coincide.
    "mismatch_noise": Regime(sigma=(0.7, 0.6, 0.5, 0.4, 0.3), mismatch=UNEVEN),
    "missing": Regime(missing=UNEVEN),
}


@dataclass
class Views:
    """Products of the toy catalogue."""

    view_BML: Tensor
    """0 where absent."""
    present_BM: Tensor
    true_BM: Tensor
    """False where the view shows another product."""

    def rows(self, row_B: Tensor) -> "Views":
        """Some of the products."""
        return Views(self.view_BML[row_B], self.present_BM[row_B], self.true_BM[row_B])


def draw_views(regime: Regime, products: int, latent: int, seed: int, test: bool = False) -> Views:
    """x_m = R_m leaky(R_m v_m),  v_m = sqrt(g_m) z + sqrt(1 - g_m) noise,  g = 1 / (1 + sigma^2).

    R_m is a random rotation of modality m. The map from v to x is invertible, so that views hold
    exactly what `information` says. A mismatched view shows the z of another product, drawn
    uniformly. Test products are others of the same world (same R), with all views true and present.
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
    """Nats that two views share, info_P, and that a view holds of the product's z, info_M.

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
