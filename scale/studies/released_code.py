"""The released code's departures from the paper: one at a time, short trainings, and their effects.

Each fault is listed in method.md under "Where the released code departs". Faults that are settings
(weights on regression predictions, the whole `official_loss`) need no code here.

N products, R rows (products that have audio), B products of a batch, M modalities (five), P pairs
(ten), H heads, L length, T time frames, F features, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from scale.config import Config, LossConfig, official_loss
from scale.data.batch import ProductBatch
from scale.data.catalogue import Catalogue, with_splits
from scale.data.dataset import Column, ProductDataset
from scale.losses.contrastive import LEFT, RIGHT, pair_losses
from scale.losses.masked import masked_vector_loss
from scale.losses.masking import WordPieces, mask_batch
from scale.modalities import INDEX, MODALITIES, PAIRS
from scale.model.encoders import TransformerEncoder
from scale.model.scale import ScaleModel, ScaleOutput
from scale.model.scores import inter_modality_scores
from scale.training.run import TrainedRun, seeded_model
from scale.training.trainer import Trainer

Change = Callable[[ProductDataset], ProductDataset]


@dataclass(frozen=True)
class Fault:
    """One fault, as changes to the settings, the model and the data; none by default."""

    config: Callable[[Config], Config] = lambda config: config
    build: Callable[[Config], nn.Module] = seeded_model
    train: Change = lambda data: data
    """Change of the training products."""
    held: Change = lambda data: data
    """Change of the held-out products, for faults that change the form of the inputs."""


class HeadsOnEncoder(ScaleModel):
    """SCALE with heads on the encoders: masked tokens are predicted from their own modality."""

    def forward(self, batch, hidden=None, positions=None, **options) -> ScaleOutput:
        """Return `ScaleModel.forward` with predictions from `encoded`."""
        output, known = super().forward(batch, hidden, positions, **options), positions or {}
        predictions = {
            m: self._predict(m, output.encoded[m], hidden[m], known.get(m))
            for m in output.predictions
        }
        return replace(output, predictions=predictions)


class MisalignedMaskEncoder(TransformerEncoder):
    """Transformer encoder in which head h of product b has the mask of product (b H + h) mod B.

    Caused by `repeat` in place of `repeat_interleave`: the mask of shape (B H, 1, L) repeats the
    list of products H times, but attention expects the H heads of each product in sequence.
    """

    def forward(
        self, tokens_BLD: Tensor, padding_BL: Tensor | None, query_BQ: None = None
    ) -> Tensor:
        """Return tokens_BLD after all blocks. `query_BQ` is not supported."""
        if padding_BL is None:
            return super().forward(tokens_BLD, None, query_BQ)
        heads = self.blocks[0].attn.num_heads
        products, length = padding_BL.shape
        attend_BH1L = ~padding_BL.repeat(heads, 1).view(products, heads, 1, length)
        for block in self.blocks:
            tokens_BLD = block(tokens_BLD, attn_mask=attend_BH1L)
        return self.norm(tokens_BLD)


def heads_on_encoder(config: Config) -> ScaleModel:
    """The JCT's token output is discarded, so masked losses cannot use the other modalities.

    Only S' of fused features could train the JCT.
    """
    model = HeadsOnEncoder(config.model, config.missing)
    model.load_state_dict(seeded_model(config).state_dict())
    return model


def shared_layers(config: Config) -> ScaleModel:
    """Video uses the image encoder's layers, table the text encoder's layers and embeddings."""
    model = seeded_model(config)
    model.encoders["video"].stack = model.encoders["image"].stack
    text, table = model.encoders["text"].bert, model.encoders["table"].bert
    table.encoder = text.encoder
    table.embeddings.word_embeddings = text.embeddings.word_embeddings
    return model


def misaligned_mask(config: Config) -> ScaleModel:
    """The JCT applies attention masks of other products (`MisalignedMaskEncoder`)."""
    model, settings = seeded_model(config), config.model
    stack = MisalignedMaskEncoder(
        settings.width, settings.heads, settings.jct_layers, settings.mlp_ratio, settings.dropout
    )
    stack.load_state_dict(model.jct.stack.state_dict())
    model.jct.stack = stack
    return model


def swap_audio_axes(data: ProductDataset) -> ProductDataset:
    """Transpose audio (L, F) to (F, L_max), L_max = `audio_frames`: a token per mel band.

    Standardised, with zeros after the end.
    """
    column = data.columns.get("audio")
    if column is None:
        return data
    rows_R = np.flatnonzero(column.length_N)
    sound_RLF = column.gather(rows_R).values.numpy()
    frames, bins = data.config.audio_frames, sound_RLF.shape[2]
    sound_RLF = np.pad(sound_RLF, ((0, 0), (0, frames - sound_RLF.shape[1]), (0, 0)))
    values_TF = sound_RLF.transpose(0, 2, 1).reshape(-1, frames)
    start_N, length_N = np.zeros_like(column.start_N), np.zeros_like(column.length_N)
    start_N[rows_R], length_N[rows_R] = np.arange(len(rows_R)) * bins, bins
    swapped = Column(values_TF, start_N, length_N)
    return replace(data, columns=data.columns | {"audio": swapped})


def audio_axes_config(config: Config) -> Config:
    """Return the sizes for swapped axes: a token per mel band, a feature per time frame."""
    bins, frames = config.features.mel_bins, config.features.audio_frames
    model = replace(config.model, audio_length=bins, audio_features=frames)
    changed = replace(config)
    # Bypass the check against the feature settings: the axes are swapped after extraction.
    object.__setattr__(changed, "model", model)
    return changed


def missing_as_zeros(data: ProductDataset, modalities: tuple[str, ...] = ("video", "audio")):
    """Replace missing video and audio by zero vectors that count as present.

    They enter masked losses and pairs, and products without audio are negatives of each other.
    """
    content_id_NM, columns = data.content_id_NM.copy(), dict(data.columns)
    for m in modalities:
        column = columns.get(m)
        if column is None:
            continue
        lacking_N = column.length_N == 0
        length = int(column.length_N.max())
        zero_F = np.zeros(column.values.shape[1]) if column.mean_F is None else column.mean_F
        block_LF = np.tile(zero_F, (length, 1)).astype(column.values.dtype)
        columns[m] = replace(
            column,
            values=np.concatenate([column.values, block_LF]),
            start_N=np.where(lacking_N, len(column.values), column.start_N),
            length_N=np.where(lacking_N, length, column.length_N),
        )
        fresh_N = content_id_NM[:, INDEX[m]].max() + 1 + np.arange(len(content_id_NM))
        content_id_NM[:, INDEX[m]] = np.where(lacking_N, fresh_N, content_id_NM[:, INDEX[m]])
    return replace(data, columns=columns, content_id_NM=content_id_NM)


FAULTS: dict[str, Fault] = {
    "heads on encoder": Fault(build=heads_on_encoder),
    "shared layers": Fault(build=shared_layers),
    "mask on wrong products": Fault(build=misaligned_mask),
    "audio axes swapped": Fault(audio_axes_config, train=swap_audio_axes, held=swap_audio_axes),
    "missing in the losses": Fault(train=missing_as_zeros),
}


SHORT_STEPS = 12
"""Steps of short trainings that only show a decreasing loss."""


def first_training_products(
    run: TrainedRun, catalogue: Catalogue, count: int = 128
) -> ProductDataset:
    """Return the first training products, tokenized as in a run."""
    training = with_splits(catalogue).split("train")
    return run.dataset(replace(training, products=training.products[:count]))


def small_config(config: Config, loss: LossConfig | None = None) -> Config:
    """Return a run's settings with one layer per component, for trainings of seconds."""
    return replace(
        config,
        model=replace(config.model, encoder_layers=1, jct_layers=1),
        loss=loss or LossConfig(),
        train=replace(config.train, steps=SHORT_STEPS, batch_size=16, learning_rate=3e-3),
    )


def layers_never_called(config: Config) -> ScaleModel:
    """Build SCALE in which video calls the image encoder's layers and table the text encoder's.

    Their own layers exist and are saved, but never called.
    """
    model = seeded_model(config)
    encoders = model.encoders
    encoders["video"].stack.forward = encoders["image"].stack.forward
    encoders["table"].bert.encoder.forward = encoders["text"].bert.encoder.forward
    return model


def zero_audio(data: ProductDataset) -> ProductDataset:
    """Replace all audio by zeros, the effect of a bare `except` around a failing loader."""
    column = data.columns["audio"]
    zeros = replace(column, values=np.zeros_like(column.values), mean_F=None, spread_F=None)
    return replace(data, columns=data.columns | {"audio": zeros})


def weights_on_predictions(config: Config) -> Config:
    """Weight by S' the losses of words and pairs, but the *predictions* of vectors."""
    loss = LossConfig(
        weight_on="loss",
        weight_mean_one=False,
        weight_uniform_share=0.0,
        regression_weight_on="prediction",
    )
    return replace(config, loss=loss)


SHORT_RUNS: dict[str, Fault] = {
    "as described": Fault(),
    "heads on encoder": FAULTS["heads on encoder"],
    "layers never called": Fault(build=layers_never_called),
    "mask on wrong products": FAULTS["mask on wrong products"],
    "weights on predictions": Fault(weights_on_predictions),
    "the whole released loss": Fault(lambda config: replace(config, loss=official_loss())),
    "audio axes swapped": FAULTS["audio axes swapped"],
    "audio all zeros": Fault(train=zero_audio),
    "missing in the losses": FAULTS["missing in the losses"],
}
"""Versions for short trainings, the one without faults first."""


def train_briefly(
    config: Config, data: ProductDataset, fault: Fault, steps: int = SHORT_STEPS
) -> tuple[nn.Module, dict[str, list[float]]]:
    """Train a version briefly; return its model and the curve of each loss and of `total`.

    The model keeps the gradients of the last step.
    """
    config = fault.config(config)
    trainer = Trainer(config, fault.build(config), fault.train(data))
    curves: dict[str, list[float]] = {}
    for number in range(steps):
        loss = trainer.train_step(number).loss
        for name, value in {**loss.losses, "total": loss.total}.items():
            curves.setdefault(name, []).append(value.item())
    return trainer.model, curves


def gradient_coverage(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Return the numbers of parameters with gradient and of all parameters, by component.

    Components are the encoder (with pooler) and the head of each modality, and the JCT. A parameter
    tensor counts if its gradient exists and is not all zero.
    """
    counts = {f"encoders.{m}": [0, 0] for m in MODALITIES}
    counts |= {"jct": [0, 0]} | {f"heads.{m}": [0, 0] for m in MODALITIES}
    for name, parameter in model.named_parameters():
        room, modality, *_ = name.split(".")
        room = "encoders" if room == "poolers" else room
        part = counts["jct" if room == "jct" else f"{room}.{modality}"]
        reached = parameter.grad is not None and bool(parameter.grad.any())
        part[0] += parameter.numel() * reached
        part[1] += parameter.numel()
    return {name: (reached, total) for name, (reached, total) in counts.items()}


def mask_owners(products: int, heads: int) -> np.ndarray:
    """Return owner_BH, the product whose mask head h of product b gets: (b H + h) mod B."""
    return np.arange(products * heads).reshape(products, heads) % products


def truncate_title(batch: ProductBatch, product: int) -> ProductBatch:
    """Mark the second half of one product's title as padding."""
    tokens = batch.tokens["text"]
    (row,) = (tokens.rows_R == product).nonzero()[0].tolist()
    padding_RL = tokens.padding_RL.clone()
    kept = int((~padding_RL[row]).sum()) // 2
    padding_RL[row, kept:] = True
    cut = replace(tokens, padding_RL=padding_RL)
    return replace(batch, tokens=batch.tokens | {"text": cut})


@torch.no_grad()
def title_influence(model: ScaleModel, batch: ProductBatch) -> np.ndarray:
    """Return change_BB: change of product i's fused [CLS] when product j's title is truncated.

    || g_i - g'_i || / || g_i || over the concatenated five [CLS] of product i.
    """
    before_BMD = model(batch).fused_pooled_BMD
    change_BB = np.zeros((len(batch), len(batch)))
    for j in range(len(batch)):
        moved_BMD = model(truncate_title(batch, j)).fused_pooled_BMD
        length_B = before_BMD.flatten(1).norm(dim=1)
        change_BB[:, j] = ((moved_BMD - before_BMD).flatten(1).norm(dim=1) / length_B).cpu()
    return change_BB


def with_misaligned_mask(run: TrainedRun) -> ScaleModel:
    """Return a run's trained model with misaligned attention masks in the JCT."""
    model = misaligned_mask(run.config)
    model.load_state_dict(run.model.state_dict())
    return model.eval().to(next(run.model.parameters()).device)


@dataclass(frozen=True)
class AudioHeadFit:
    """Predictions of two audio heads for one product."""

    target_TF: np.ndarray
    """Standardised log-mel."""
    predicted_TF: dict[str, np.ndarray]
    """By position of the weight: `loss`, `prediction`."""
    loss: dict[str, list[float]]
    """Loss curve of each head."""
    weight: float
    """S'_ii of this product's audio."""
    size: dict[str, float]
    """Standard deviation of the predictions at masked frames relative to that of the targets."""


def fit_audio_heads(run: TrainedRun, data: ProductDataset, steps: int = 200) -> AudioHeadFit:
    """Fit two linear heads that predict masked log-mel frames from the trained JCT's tokens.

    The weight S'_ii acts on the loss, mean w (p - t)^2, or on the prediction, mean (w p - t)^2.
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
    return AudioHeadFit(target_TF, drawn, losses, own_B[rows_R[shown]].item(), size)


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
    """Return temperature / G_ij of all valid pairs with G_ij > 0.

    G is row-normalised S', as in the released code; on the logits it divides the temperature.
    """
    scores = inter_modality_scores(pooled_BMD, present_BM, row_normalise=True)
    weight_BP = scores.weighted_BMM[:, LEFT, RIGHT]
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT] & (weight_BP > 0)
    return (temperature / weight_BP[valid_BP]).cpu().numpy()


def same_modality_share(
    pooled_BMD: Tensor, present_BM: Tensor, temperature: float = 0.07
) -> np.ndarray:
    """Return share_P, the share of negatives of the anchor's own modality in the softmax.

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
class MissingAudio:
    """Effects of missing audio that is zeros and counts as present."""

    cosine_BB: np.ndarray
    """Between audio features of products: those with audio first, then those without."""
    present: int
    """Number of products with audio."""
    loss_present: float
    """Mean InfoNCE of text and audio over products with audio."""
    loss_missing: float
    """The same over products without audio."""
    lower_bound: float
    """log of the number of products without audio: the minimum for any model."""


@torch.no_grad()
def missing_audio_effects(run: TrainedRun, data: ProductDataset, each: int = 12) -> MissingAudio:
    """Measure a trained model on missing audio that is zeros with mask 1."""
    audio, text = INDEX["audio"], INDEX["text"]
    has_N, title_N = data.present_NM[:, audio], data.present_NM[:, text]
    rows = [np.flatnonzero(title_N & (has_N == present))[:each] for present in (True, False)]
    batch = missing_as_zeros(data).collate(np.concatenate(rows))
    output = run.model.embed(batch.to(next(run.model.parameters()).device))
    sounds_BD = normalize(output.pooled_BMD[:, audio], dim=-1)
    pairs = pair_losses(output.pooled_BMD, output.present_BM)
    loss_B = pairs.loss_BP[:, PAIRS.index((text, audio))]
    present = len(rows[0])
    return MissingAudio(
        (sounds_BD @ sounds_BD.T).cpu().numpy(),
        present,
        loss_B[:present].mean().item(),
        loss_B[present:].mean().item(),
        float(np.log(len(rows[1]))),
    )
