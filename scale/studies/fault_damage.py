"""What the released code's faults do, as numbers: what notebook 15 draws.

B products, M modalities (five), P pairs (ten), H heads, T time frames, F features, D width.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from scale.data.batch import ProductBatch
from scale.data.dataset import ProductDataset
from scale.losses.contrastive import LEFT, RIGHT, pair_losses
from scale.losses.masked import masked_vector_loss
from scale.losses.masking import WordPieces, mask_batch
from scale.modalities import INDEX, PAIRS
from scale.model.scale import ScaleModel
from scale.model.scores import inter_modality_scores
from scale.studies.released_code import (
    mask_on_wrong_products,
    missing_as_zeros,
)
from scale.training.run import Run


def mask_owners(products: int, heads: int) -> np.ndarray:
    """owner_BH: whose attention mask head h of product b gets, (b H + h) mod B."""
    return np.arange(products * heads).reshape(products, heads) % products


def cut_title(batch: ProductBatch, product: int) -> ProductBatch:
    """The batch with the second half of one product's title marked as padding."""
    tokens = batch.tokens["text"]
    (row,) = (tokens.rows_R == product).nonzero()[0].tolist()
    padding_RL = tokens.padding_RL.clone()
    kept = int((~padding_RL[row]).sum()) // 2
    padding_RL[row, kept:] = True
    cut = replace(tokens, padding_RL=padding_RL)
    return replace(batch, tokens=batch.tokens | {"text": cut})


@torch.no_grad()
def title_influence(model: ScaleModel, batch: ProductBatch) -> np.ndarray:
    """change_BB: how far product i's fused [CLS] move when product j's title is cut.

    || g_i - g'_i || / || g_i || over the five [CLS] of product i together.
    """
    before_BMD = model(batch).fused_pooled_BMD
    change_BB = np.zeros((len(batch), len(batch)))
    for j in range(len(batch)):
        moved_BMD = model(cut_title(batch, j)).fused_pooled_BMD
        length_B = before_BMD.flatten(1).norm(dim=1)
        change_BB[:, j] = ((moved_BMD - before_BMD).flatten(1).norm(dim=1) / length_B).cpu()
    return change_BB


def with_scrambled_mask(run: Run) -> ScaleModel:
    """A run's trained model, whose JCT lays its attention mask onto the wrong products."""
    model = mask_on_wrong_products(run.config)
    model.load_state_dict(run.model.state_dict())
    return model.eval().to(next(run.model.parameters()).device)


@dataclass(frozen=True)
class FittedSounds:
    """One sound and what two heads say of it."""

    target_TF: np.ndarray
    """Standardised log-mel."""
    predicted_TF: dict[str, np.ndarray]
    """By where the weight acts: `loss`, `prediction`."""
    loss: dict[str, list[float]]
    """Of each head, by step."""
    weight: float
    """S'_ii of this product's sound."""
    size: dict[str, float]
    """Standard deviation of the predictions at the hidden frames over that of the targets."""


def fit_sounds(run: Run, data: ProductDataset, steps: int = 200) -> FittedSounds:
    """Two linear heads that predict hidden log-mel frames from the trained JCT's tokens.

    They differ in where S'_ii acts: mean w (p - t)^2, or mean (w p - t)^2.
    """
    device = next(run.model.parameters()).device
    batch = data.collate(np.flatnonzero(data.present_NM[:, INDEX["audio"]])).to(device)
    settings = replace(run.config.mask, rate=0.3)
    masked = mask_batch(batch, settings, WordPieces.of(data.tokenizer), (0,), ("MAM",))
    with torch.no_grad():
        output = run.model(masked.batch, masked.hidden)
    audio = INDEX["audio"]
    scores = inter_modality_scores(output.pooled_BMD, output.present_BM)
    own_B = scores.weighted_BMM[:, audio, audio]
    fused_RTD, hidden_RT = output.fused["audio"][:, 1:], masked.hidden["audio"]
    fused_ND, target_NF = fused_RTD[hidden_RT], masked.targets["audio"]
    shown = int((~batch.tokens["audio"].padding_RL).sum(dim=1).argmax())
    drawn, losses, size = {}, {}, {}
    for where in ("loss", "prediction"):
        weight_N = own_B[masked.rows("audio")]
        head, losses[where] = _fit_head(fused_ND, target_NF, weight_N, where, steps)
        with torch.no_grad():
            drawn[where] = head(fused_RTD[shown]).cpu().numpy()
            size[where] = (head(fused_ND).std() / target_NF.std()).item()
    rows_R = batch.tokens["audio"].rows_R
    target_TF = batch.tokens["audio"].values[shown].cpu().numpy()
    return FittedSounds(target_TF, drawn, losses, own_B[rows_R[shown]].item(), size)


def _fit_head(
    fused_ND: Tensor, target_NF: Tensor, weight_N: Tensor, where: str, steps: int
) -> tuple[nn.Linear, list[float]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Linear(fused_ND.shape[1], target_NF.shape[1]).to(fused_ND.device)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = masked_vector_loss(head(fused_ND), target_NF, weight_N, where)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return head, losses


def effective_temperatures(
    pooled_BMD: Tensor, present_BM: Tensor, temperature: float = 0.07
) -> np.ndarray:
    """temperature / G_ij of every pair that is there and whose G_ij is positive.

    G is S' with its rows normalised, as released; on the logits it divides the temperature.
    """
    scores = inter_modality_scores(pooled_BMD, present_BM, row_normalise=True)
    weight_BP = scores.weighted_BMM[:, LEFT, RIGHT]
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT] & (weight_BP > 0)
    return (temperature / weight_BP[valid_BP]).cpu().numpy()


def same_modality_share(
    pooled_BMD: Tensor, present_BM: Tensor, temperature: float = 0.07
) -> np.ndarray:
    """share_P: of what all negatives weigh in the softmax, the part of the anchor's own modality.

    Mean over anchors of sum_same exp(cos / t) / (sum_same + sum_cross), both directions.
    """
    unit_BMD = normalize(pooled_BMD, dim=-1)
    share_P = np.zeros(len(PAIRS))
    for p, pair in enumerate(PAIRS):
        both_B = present_BM[:, pair[0]] & present_BM[:, pair[1]]
        shares = []
        for anchor, other in (pair, pair[::-1]):
            anchor_BD, other_BD = unit_BMD[both_B, anchor], unit_BMD[both_B, other]
            same_B, cross_B = (_negative_mass(anchor_BD, x, temperature)
                               for x in (anchor_BD, other_BD))  # fmt: skip
            shares.append((same_B / (same_B + cross_B)).mean().item())
        share_P[p] = np.mean(shares)
    return share_P


def _negative_mass(anchor_BD: Tensor, others_BD: Tensor, temperature: float) -> Tensor:
    mass_BB = torch.exp(anchor_BD @ others_BD.T / temperature)
    return mass_BB.sum(dim=1) - mass_BB.diagonal()


@dataclass(frozen=True)
class MissingSounds:
    """Sounds that are zeros and count as present."""

    cosine_BB: np.ndarray
    """Between the sounds' features of different products: those that have one, then the rest."""
    there: int
    """How many of them have a sound."""
    loss_there: float
    """Mean InfoNCE of title and sound, of the products that have a sound."""
    loss_missing: float
    """Of those that have none."""
    least: float
    """log of the number of missing sounds: no model can get below it."""


@torch.no_grad()
def missing_sounds(run: Run, data: ProductDataset, each: int = 12) -> MissingSounds:
    """What the trained model makes of missing sounds that are zeros with mask 1."""
    audio, text = INDEX["audio"], INDEX["text"]
    has_N, title_N = data.present_NM[:, audio], data.present_NM[:, text]
    rows = [np.flatnonzero(title_N & (has_N == there))[:each] for there in (True, False)]
    batch = missing_as_zeros(data).collate(np.concatenate(rows))
    output = run.model.embed(batch.to(next(run.model.parameters()).device))
    sounds_BD = normalize(output.pooled_BMD[:, audio], dim=-1)
    pairs = pair_losses(output.pooled_BMD, output.present_BM)
    loss_B = pairs.loss_BP[:, PAIRS.index((text, audio))]
    there = len(rows[0])
    return MissingSounds(
        (sounds_BD @ sounds_BD.T).cpu().numpy(),
        there,
        loss_B[:there].mean().item(),
        loss_B[there:].mean().item(),
        float(np.log(len(rows[1]))),
    )
