"""Attention reach: which tokens each output depends on, measured by changing one token at a time.

B products or copies, L tokens of a product (all modalities concatenated), D width, K tokens of the
other stream.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scale.config import require
from scale.data.batch import ProductBatch, Tokens
from scale.model.encoders import DiscreteEncoder
from scale.model.scale import ScaleModel
from scale.studies.systems.fusion import SIDES, CoAttention, CoAttentionLayer, SingleStream
from scale.studies.systems.generator import ImageGenerator
from scale.studies.systems.model import FusionModel

Layer = Callable[[Tensor], Tensor]
"""tokens_BLD to tokens_BLD."""


def modality_encoders(model: nn.Module) -> nn.ModuleDict:
    """By modality, what embeds its tokens (and encodes them, where there are layers)."""
    return model.encoders if isinstance(model, ScaleModel) else model.inputs.encoders


def model_width(model: FusionModel | ScaleModel) -> int:
    """D."""
    return model.config.width if isinstance(model, ScaleModel) else model.inputs.width


def first_layers(model: nn.Module, length: dict[str, int]) -> dict[str, Layer]:
    """The first layer of each kind, in the order in which they run, over the whole sequence.

    `alone`: a modality's own encoder or tower. `stream`: one Transformer over what it joins. `jct`:
    SCALE's. `own`, `cross`, `self`: the three kinds of a two-stream model; `own` may be one side's.
    Tokens that a layer does not touch stay what they are.

    Args:
        length: tokens by modality, [CLS] counted.
    """
    blocks = {(m,): _first_block(encoder) for m, encoder in modality_encoders(model).items()}
    alone = {group: block for group, block in blocks.items() if block is not None}
    layers = {"alone": partial(_by_group, length, alone)} if alone else {}
    if isinstance(model, ScaleModel):
        block = model.jct.stack.blocks[0]
        return layers | {"jct": partial(_by_group, length, {tuple(length): block})}
    fusion = model.fusion
    if isinstance(fusion, SingleStream):
        block = fusion.jct.stack.blocks[0]
        layers["stream"] = partial(_by_group, length, {fusion.joined: block})
    if isinstance(fusion, CoAttention):
        own = {SIDES[s]: stack[0] for s, stack in fusion.own.items() if len(stack)}
        meeting = fusion.meetings[0]
        layers["own"] = partial(_by_group, length, own)
        layers["cross"] = partial(_cross, length, meeting)
        both = {SIDES[s]: block for s, block in meeting.block.items()}
        layers["self"] = partial(_by_group, length, both)
    return layers


def _by_group(
    length: dict[str, int], blocks: dict[tuple[str, ...], Layer], tokens_BLD: Tensor
) -> Tensor:
    """Each block over the tokens of its group of neighbouring modalities; others stay."""
    parts = dict(zip(length, tokens_BLD.split(list(length.values()), dim=1), strict=True))
    for group, block in blocks.items():
        inside = [m for m in group if m in length]
        if not inside:
            continue
        after = block(torch.cat([parts[m] for m in inside], dim=1))
        # A BERT layer of some versions of transformers returns a tuple.
        after_BLD = after[0] if isinstance(after, tuple) else after
        parts |= zip(inside, after_BLD.split([length[m] for m in inside], dim=1), strict=True)
    return torch.cat([parts[m] for m in length], dim=1)


def _cross(length: dict[str, int], meeting: CoAttentionLayer, tokens_BLD: Tensor) -> Tensor:
    """Cross-attention in both directions at once."""
    sizes = [sum(length.get(m, 0) for m in side) for side in SIDES.values()]
    streams = dict(zip(SIDES, tokens_BLD.split(sizes, dim=1), strict=True))
    met = []
    for side in SIDES:
        (other,) = streams.keys() - {side}
        nothing_BK = torch.zeros(streams[other].shape[:2], dtype=torch.bool)
        met.append(meeting.cross[side](streams[side], (streams[other], nothing_BK)))
    return torch.cat(met, dim=1)


def _first_block(encoder: nn.Module) -> Layer | None:
    discrete = isinstance(encoder, DiscreteEncoder)
    stack = encoder.bert.encoder.layer if discrete else encoder.stack.blocks
    return stack[0] if len(stack) else None


ReachMatrix = NDArray[np.bool_]
"""reads_LL: True where output i (row) changes with input j (column)."""

CHANGED = 1e-9
"""In double precision: below it is rounding, and what is read changes outputs by far more."""


@dataclass(frozen=True)
class AttentionReach:
    """Who reads whom in a model."""

    system: str
    length: dict[str, int]
    """Tokens by modality, [CLS] counted."""
    layers: dict[str, ReachMatrix]
    """One layer of each kind, in the order in which they run; see `layer_reach`."""
    whole: ReachMatrix
    """From the embedded tokens to the last layer."""

    @staticmethod
    def of(model: nn.Module, batch: ProductBatch) -> "AttentionReach":
        """Measured on a model and one product (`truncate_tokens`)."""
        name = "SCALE" if isinstance(model, ScaleModel) else model.system.name
        length = output_lengths(model, batch)
        return AttentionReach(name, length, layer_reach(model, batch), model_reach(model, batch))


def truncate_tokens(batch: ProductBatch, row: int, most: int) -> ProductBatch:
    """One product of a batch, with at most `most` tokens of each modality, none of them padding."""
    tokens = {}
    for m, t in batch.tokens.items():
        own = t.select(t.rows_R == row)
        if len(own.rows_R):
            kept = min(most, int((~own.padding_RL).sum()))
            entity = None if own.entity_RL is None else own.entity_RL[:, :kept]
            padding_RL = torch.zeros_like(own.padding_RL[:, :kept])
            tokens[m] = Tokens(own.values[:, :kept], padding_RL, own.rows_R * 0, entity)
    return ProductBatch(tokens, batch.present_BM[row : row + 1], batch.index_B[row : row + 1])


def output_lengths(model: nn.Module, batch: ProductBatch) -> dict[str, int]:
    """Tokens of each modality inside the model, its [CLS] counted."""
    return {
        m: batch.tokens[m].values.shape[1] + (not isinstance(encoder, DiscreteEncoder))
        for m, encoder in modality_encoders(model).items()
        if m in batch.tokens
    }


@torch.no_grad()
def model_reach(model: nn.Module, batch: ProductBatch) -> ReachMatrix:
    """reads_LL of a whole model, from its embedded tokens to its last layer.

    As many copies of the product as it has tokens, and one more, run in one batch. In copy j token
    j alone has noise on it, added after its embedding, where tokens have not met yet. (Noise, not a
    constant: LayerNorm takes a constant away.)

    Args:
        batch: one product without padding (`truncate_tokens`).

    Raises ValueError for more products than one.
    """
    require(len(batch) == 1, f"one product, not {len(batch)}")
    model = deepcopy(model).double().eval()
    length = output_lengths(model, batch)
    copies = _copies(batch, sum(length.values()) + 1)
    with _noise_on_own_token(modality_encoders(model), length):
        output = model(copies)
    tokens = output.fused if isinstance(model, ScaleModel) else output
    return _differs(torch.cat([tokens[m] for m in length], dim=1))


@torch.no_grad()
def layer_reach(model: nn.Module, batch: ProductBatch) -> dict[str, ReachMatrix]:
    """reads_LL of one layer of each kind that a model has, by name (`first_layers`)."""
    model = deepcopy(model).double().eval()
    length = output_lengths(model, batch)
    width = model_width(model)
    total = sum(length.values())
    random = torch.Generator().manual_seed(0)
    tokens_BLD = torch.randn(1, total, width, generator=random, dtype=torch.float64)
    tokens_BLD = tokens_BLD.repeat(total + 1, 1, 1)
    place_L = torch.arange(total)
    noise_LD = torch.randn(total, width, generator=random, dtype=torch.float64)
    tokens_BLD[place_L, place_L] += noise_LD
    return {
        name: _differs(layer(tokens_BLD)) for name, layer in first_layers(model, length).items()
    }


@torch.no_grad()
def generator_reach(model: ImageGenerator, text_1T: Tensor, image_1N: Tensor) -> ReachMatrix:
    """reads_LL of the small DALL-E: row i is the prediction of token i, title first, then codes.

    In copy j token j is another one. Titles without padding only; of the first token nothing is
    predicted, its row is empty.
    """
    model = deepcopy(model).double().eval()
    tokens_L = torch.cat([text_1T, image_1N], dim=1)[0]
    length, words = len(tokens_L), text_1T.shape[1]
    copies_BL = tokens_L.repeat(length + 1, 1)
    place_L = torch.arange(length)
    many_L = torch.where(place_L < words, model.config.vocab_size, model.config.codes)
    other_L = (tokens_L + 1) % many_L
    other_L[:words][other_L[:words] == model.config.pad_id] += 1
    copies_BL[place_L, place_L] = other_L
    word_BTV, code_BNC = model(copies_BL[:, :words], copies_BL[:, words:])
    reads_LL = np.zeros((length, length), bool)
    # The output at a word predicts the next one; what the last word's says is not used.
    reads_LL[1:words] = _differs(word_BTV[:, :-1])
    reads_LL[words:] = _differs(code_BNC)
    return reads_LL


def compose_reach(layers: Sequence[ReachMatrix]) -> ReachMatrix:
    """reads_LL of layers in a row: output i reads input j by way of some token between.

    (R_2 R_1)_ij > 0, a product of matrices of 0 and 1.
    """
    reads_LL = np.eye(len(layers[0]), dtype=int)
    for layer_LL in layers:
        reads_LL = (layer_LL.astype(int) @ reads_LL > 0).astype(int)
    return reads_LL.astype(bool)


def _differs(tokens_BLD: Tensor) -> ReachMatrix:
    """From L changed copies and an unchanged last one: which outputs differ in which copy."""
    change_BL = (tokens_BLD[:-1] - tokens_BLD[-1:]).abs().amax(dim=2)
    return (change_BL > CHANGED).T.numpy()


def _copies(batch: ProductBatch, count: int) -> ProductBatch:
    tokens = {}
    for m, t in batch.tokens.items():
        copied = t.select(torch.zeros(count, dtype=torch.long))
        values = copied.values.double() if copied.values.is_floating_point() else copied.values
        tokens[m] = replace(copied, values=values, rows_R=torch.arange(count))
    present_BM = batch.present_BM.expand(count, -1)
    return ProductBatch(tokens, present_BM, batch.index_B.expand(count))


@contextmanager
def _noise_on_own_token(encoders: nn.ModuleDict, length: dict[str, int]) -> Iterator[None]:
    """In copy j of a batch, token j gets noise right after its embedding."""
    hooks, start = [], 0
    random = torch.Generator().manual_seed(0)
    for m, count in length.items():
        place_L = torch.arange(count)

        def add(tokens_BLD: Tensor, start: int = start, place_L: Tensor = place_L) -> Tensor:
            noisy_BLD = tokens_BLD.clone()
            shape = len(place_L), tokens_BLD.shape[2]
            noise_LD = torch.randn(shape, generator=random, dtype=tokens_BLD.dtype)
            noisy_BLD[start + place_L, place_L] += noise_LD
            return noisy_BLD

        if isinstance(encoders[m], DiscreteEncoder):
            embeddings = encoders[m].bert.embeddings
            hook = embeddings.register_forward_hook(lambda _m, _a, out, add=add: add(out))
        else:
            stack = encoders[m].stack
            hook = stack.register_forward_pre_hook(lambda _m, a, add=add: (add(a[0]), *a[1:]))
        hooks.append(hook)
        start += count
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
