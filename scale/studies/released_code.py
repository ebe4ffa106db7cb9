"""The released code's departures from the paper, one at a time, on top of the described method.

Each is what method.md lists under "Where the released code departs", made small. A fault that is a
setting (weights on regression predictions, the whole `official_loss`) is no code here.

N products, R rows (products that have audio), B products of a batch, H heads, L length, F features,
D width.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from scale.config import Config
from scale.data.columns import Column
from scale.data.dataset import ProductDataset
from scale.modalities import INDEX
from scale.model.scale import ScaleModel, ScaleOutput
from scale.model.transformer import TransformerEncoder
from scale.training.run import seeded_model

Change = Callable[[ProductDataset], ProductDataset]


@dataclass(frozen=True)
class Fault:
    """One departure: what it changes of the settings, the model and the data."""

    what: str
    """What the released code does, in one sentence."""
    config: Callable[[Config], Config] = lambda config: config
    build: Callable[[Config], nn.Module] = seeded_model
    train: Change = lambda data: data
    """On the training products."""
    held: Change = lambda data: data
    """On the held-out products: only where the inputs have another form."""


class HeadsOnEncoder(ScaleModel):
    """SCALE whose heads read the encoders: each modality predicts its hidden tokens alone."""

    def forward(self, batch, hidden=None, positions=None) -> ScaleOutput:
        """As `ScaleModel.forward`, with predictions from `encoded`."""
        output, known = super().forward(batch, hidden, positions), positions or {}
        predictions = {
            m: self._predict(m, output.encoded[m], hidden[m], known.get(m))
            for m in output.predictions
        }
        return replace(output, predictions=predictions)


class ScrambledStack(TransformerEncoder):
    """Transformer blocks in which head h of product b has the mask of product (b H + h) mod B.

    That is `repeat` where `repeat_interleave` is meant: the mask of shape (B H, 1, L) lists the
    products H times over, while attention reads H heads of one product in a row.
    """

    def forward(
        self, tokens_BLD: Tensor, padding_BL: Tensor | None, read_BQ: None = None
    ) -> Tensor:
        """tokens_BLD after all blocks. `train.lean`, which gives `read_BQ`, is not for faults."""
        if padding_BL is None:
            return super().forward(tokens_BLD, None, read_BQ)
        heads = self.blocks[0].attn.num_heads
        products, length = padding_BL.shape
        attend_BH1L = ~padding_BL.repeat(heads, 1).view(products, heads, 1, length)
        for block in self.blocks:
            tokens_BLD = block(tokens_BLD, attn_mask=attend_BH1L)
        return self.norm(tokens_BLD)


def heads_on_encoder(config: Config) -> ScaleModel:
    """The JCT's token output is computed and dropped, so only S' of fused features would train it:
    the masked losses cannot use the other modalities."""
    model = HeadsOnEncoder(config.model, config.missing)
    model.load_state_dict(seeded_model(config).state_dict())
    return model


def shared_layers(config: Config) -> ScaleModel:
    """Video runs through the image encoder's layers, table through the text encoder's layers and
    word embeddings; their own are never used."""
    model = seeded_model(config)
    model.encoders["video"].stack = model.encoders["image"].stack
    text, table = model.encoders["text"].bert, model.encoders["table"].bert
    table.encoder = text.encoder
    table.embeddings.word_embeddings = text.embeddings.word_embeddings
    return model


def mask_on_wrong_products(config: Config) -> ScaleModel:
    """The JCT's attention mask lies on other products of the batch (`ScrambledStack`)."""
    model, settings = seeded_model(config), config.model
    stack = ScrambledStack(
        settings.width, settings.heads, settings.jct_layers, settings.mlp_ratio, settings.dropout
    )
    stack.load_state_dict(model.jct.stack.state_dict())
    model.jct.stack = stack
    return model


def swap_audio_axes(data: ProductDataset) -> ProductDataset:
    """Each mel band becomes a token of all time frames, standardised, zeros after the sound's end.

    audio (L, F) -> (F, L_max) with L_max = `audio_frames`.
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
    """Sizes for swapped axes: as many tokens as mel bands, as many features as time frames."""
    bins, frames = config.features.mel_bins, config.features.audio_frames
    model = replace(config.model, audio_length=bins, audio_features=frames)
    # Not checked against the features: they are swapped after they were made.
    return _unchecked(config, model)


def _unchecked(config: Config, model) -> Config:
    changed = replace(config)
    object.__setattr__(changed, "model", model)
    return changed


def missing_as_zeros(data: ProductDataset, modalities: tuple[str, ...] = ("video", "audio")):
    """Missing clips and sounds become vectors of 0 that count as present: they have masked losses
    and pairs, and two products that lack a sound are negatives of one another."""
    content_NM, columns = data.content_NM.copy(), dict(data.columns)
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
        fresh_N = content_NM[:, INDEX[m]].max() + 1 + np.arange(len(content_NM))
        content_NM[:, INDEX[m]] = np.where(lacking_N, fresh_N, content_NM[:, INDEX[m]])
    return replace(data, columns=columns, content_NM=content_NM)


FAULTS: dict[str, Fault] = {
    "heads on encoder": Fault(
        "The masked heads read the encoders' output; the JCT's token output is dropped.",
        build=heads_on_encoder,
    ),
    "shared layers": Fault(
        "Video runs through the image layers, table through the text layers and embeddings.",
        build=shared_layers,
    ),
    "mask on wrong products": Fault(
        "The JCT's attention mask is laid onto other products (repeat for repeat_interleave).",
        build=mask_on_wrong_products,
    ),
    "audio axes swapped": Fault(
        "Audio tokens are mel bands of all time frames.",
        config=audio_axes_config,
        train=swap_audio_axes,
        held=swap_audio_axes,
    ),
    "missing in the losses": Fault(
        "Missing video and audio are zeros with mask 1: in the contrastive and masked losses.",
        train=missing_as_zeros,
    ),
}


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """Norm of the last gradient by part of the model: 0 tells a part that nothing trains."""
    norms: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        part = ".".join(name.split(".")[:2])
        squared = 0.0 if parameter.grad is None else parameter.grad.square().sum().item()
        norms[part] = norms.get(part, 0.0) + squared
    return {part: float(torch.tensor(value).sqrt()) for part, value in norms.items()}
