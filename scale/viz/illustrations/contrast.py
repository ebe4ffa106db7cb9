"""Contrastive learning on inputs that are small enough to look at.

B products, M modalities (five), D width, T steps and the start. Where two modalities are enough
they are text and image; a plane has D = 2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from scale.losses.contrastive import pair_losses
from scale.modalities import INDEX, MODALITIES, PAIRS

TEXT, IMAGE = INDEX["text"], INDEX["image"]
PAIR = PAIRS.index((TEXT, IMAGE))
"""Column of text and image among the ten pairs."""


def as_products(text_BD: Tensor, image_BD: Tensor) -> tuple[Tensor, Tensor]:
    """pooled_BMD and present_BM of products that have a text and an image, and nothing else."""
    nothing_BD = torch.zeros_like(text_BD)
    features = {TEXT: text_BD, IMAGE: image_BD}
    pooled_BMD = torch.stack([features.get(m, nothing_BD) for m in range(len(MODALITIES))], dim=1)
    present_BM = torch.zeros(len(text_BD), len(MODALITIES), dtype=torch.bool)
    present_BM[:, [TEXT, IMAGE]] = True
    return pooled_BMD, present_BM


def text_image_loss(
    text_BD: Tensor, image_BD: Tensor, temperature: float = 0.07, content_B: Tensor | None = None
) -> Tensor:
    """loss_B: the package's InfoNCE of each product, mean of both directions.

    Args:
        content_B: a number per distinct product; equal ones are no negatives of each other.
    """
    pooled_BMD, present_BM = as_products(text_BD, image_BD)
    content_BM = None if content_B is None else content_B[:, None].expand(-1, len(MODALITIES))
    losses = pair_losses(pooled_BMD, present_BM, temperature, content_BM=content_BM)
    return losses.loss_BP[:, PAIR]


def on_circle(degrees_B: list[float]) -> Tensor:
    """point_B2: points of the unit circle, counted from the right, against the clock."""
    angle_B = torch.deg2rad(torch.tensor(degrees_B, dtype=torch.float64))
    return torch.stack([angle_B.cos(), angle_B.sin()], dim=1)


@dataclass
class Walk:
    """Where the points were at each step."""

    text_TBD: Tensor
    image_TBD: Tensor
    loss_T: Tensor
    """Mean over the products."""


def walk(
    text_BD: Tensor,
    image_BD: Tensor,
    steps: int = 100,
    rate: float = 0.3,
    temperature: float = 0.5,
    content_B: Tensor | None = None,
) -> Walk:
    """Free points of the unit sphere that follow the gradient of InfoNCE: no encoder, no data.

    z <- unit(z - rate * dL/dz), L the mean loss of the products.
    """
    points_2BD = torch.stack([text_BD, image_BD])
    seen, losses = [], []
    for _ in range(steps + 1):
        points_2BD = points_2BD.detach().requires_grad_()
        loss = text_image_loss(*points_2BD, temperature, content_B).mean()
        (slope_2BD,) = torch.autograd.grad(loss, points_2BD)
        seen.append(points_2BD.detach())
        losses.append(loss.detach())
        points_2BD = normalize(points_2BD - rate * slope_2BD, dim=-1)
    path_T2BD = torch.stack(seen)
    return Walk(path_T2BD[:, 0], path_T2BD[:, 1], torch.stack(losses))


class Towers(nn.Module):
    """Two small encoders, one for the text's numbers and one for the image's, onto the sphere."""

    def __init__(self, inputs: int = 8, hidden: int = 32, width: int = 2):
        super().__init__()
        self.text, self.image = (
            nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, width))
            for _ in range(2)
        )

    def forward(self, text_BF: Tensor, image_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Unit features text_BD and image_BD."""
        return normalize(self.text(text_BF), dim=1), normalize(self.image(image_BF), dim=1)


def two_views(products: int = 64, inputs: int = 8, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    """text_BF and image_BF: the same random numbers of each product, with noise of their own."""
    shared_BF = torch.randn(products, inputs)
    return tuple(shared_BF + noise * torch.randn(products, inputs) for _ in range(2))


def train_towers(push: bool, steps: int = 300, rate: float = 0.01, seed: int = 0) -> Walk:
    """Train `Towers` on `two_views`, in the plane; the global generator is kept.

    Args:
        push: with InfoNCE (temperature 0.2). Without it the loss is the squared distance of the
            true pairs alone, and nothing keeps different products apart.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        views, towers = two_views(), Towers()
    optimiser = torch.optim.Adam(towers.parameters(), rate)
    texts, images, losses = [], [], []
    for _ in range(steps + 1):
        text_BD, image_BD = towers(*views)
        if push:
            loss = text_image_loss(text_BD, image_BD, temperature=0.2).mean()
        else:
            loss = (text_BD - image_BD).square().sum(1).mean()
        texts.append(text_BD.detach())
        images.append(image_BD.detach())
        losses.append(loss.detach())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return Walk(torch.stack(texts), torch.stack(images), torch.stack(losses))


def gaussian_logits(products: int, information: float, inputs: int = 4, seed: int = 0) -> Tensor:
    """logits_BB of two correlated Gaussian views by the best critic there is.

    With correlation r in each of F numbers the mutual information is I = -F/2 log(1 - r^2) nats,
    and the best logit of text x and image y is log p(x, y) / (p(x) p(y)).
    """
    unexplained = float(torch.exp(torch.tensor(-2 * information / inputs)))
    correlation = (1 - unexplained) ** 0.5
    generator = torch.Generator().manual_seed(seed)
    x_BF, noise_BF = torch.randn(2, products, inputs, generator=generator)
    y_BF = correlation * x_BF + unexplained**0.5 * noise_BF
    squares_BB = x_BF.square().sum(1)[:, None] + y_BF.square().sum(1)[None]
    cross_BB = 2 * correlation * x_BF @ y_BF.T - correlation**2 * squares_BB
    return information + cross_BB / (2 * unexplained)
