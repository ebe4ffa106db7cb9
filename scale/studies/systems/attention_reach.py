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

Layer = Callable[[Tensor], Tensor]
"""tokens_BLD to tokens_BLD."""


def modality_encoders(model: nn.Module) -> nn.ModuleDict:
    """Return the module that embeds and encodes the tokens of each modality."""
    return model.encoders if isinstance(model, ScaleModel) else model.inputs.encoders


def first_layers(model: nn.Module, length: dict[str, int]) -> dict[str, Layer]:
    """Return the first layer of each kind in execution order, as functions of the full sequence.

    `alone`: a modality's own encoder or tower. `stream`: the Transformer of a single stream. `jct`:
    SCALE's. `own`, `cross`, `self`: the three kinds of a two-stream model; `own` can exist on one
    side only. Tokens outside a layer's input are unchanged.

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
        layer = fusion.layers[0]
        layers["own"] = partial(_by_group, length, own)
        layers["cross"] = partial(_cross, length, layer)
        both = {SIDES[s]: block for s, block in layer.block.items()}
        layers["self"] = partial(_by_group, length, both)
    return layers


def _by_group(
    length: dict[str, int], blocks: dict[tuple[str, ...], Layer], tokens_BLD: Tensor
) -> Tensor:
    """Apply each block to its group of adjacent modalities; other tokens are unchanged."""
    parts = dict(zip(length, tokens_BLD.split(list(length.values()), dim=1), strict=True))
    for group, block in blocks.items():
        inside = [m for m in group if m in length]
        if not inside:
            continue
        after = block(torch.cat([parts[m] for m in inside], dim=1))
        # BERT layers of some versions of transformers return a tuple.
        after_BLD = after[0] if isinstance(after, tuple) else after
        parts |= zip(inside, after_BLD.split([length[m] for m in inside], dim=1), strict=True)
    return torch.cat([parts[m] for m in length], dim=1)


def _cross(length: dict[str, int], layer: CoAttentionLayer, tokens_BLD: Tensor) -> Tensor:
    """Apply cross-attention in both directions."""
    sizes = [sum(length.get(m, 0) for m in side) for side in SIDES.values()]
    streams = dict(zip(SIDES, tokens_BLD.split(sizes, dim=1), strict=True))
    met = []
    for side in SIDES:
        (other,) = streams.keys() - {side}
        nothing_BK = torch.zeros(streams[other].shape[:2], dtype=torch.bool)
        met.append(layer.cross[side](streams[side], (streams[other], nothing_BK)))
    return torch.cat(met, dim=1)


def _first_block(encoder: nn.Module) -> Layer | None:
    discrete = isinstance(encoder, DiscreteEncoder)
    stack = encoder.bert.encoder.layer if discrete else encoder.stack.blocks
    return stack[0] if len(stack) else None


ReachMatrix = NDArray[np.bool_]
"""reach_LL: True where output i (row) changes with input j (column)."""

CHANGED = 1e-9
"""Threshold in double precision: rounding errors are smaller, real dependencies far larger."""


@dataclass(frozen=True)
class AttentionReach:
    """Dependencies between the tokens of a model."""

    system: str
    length: dict[str, int]
    """Tokens by modality, [CLS] counted."""
    layers: dict[str, ReachMatrix]
    """One layer of each kind in execution order; see `layer_reach`."""
    whole: ReachMatrix
    """From the embedded tokens to the last layer."""

    @staticmethod
    def of(model: nn.Module, batch: ProductBatch) -> "AttentionReach":
        """Measure a model on one product (`truncate_tokens`)."""
        name = "SCALE" if isinstance(model, ScaleModel) else model.system.name
        length = output_lengths(model, batch)
        return AttentionReach(name, length, layer_reach(model, batch), model_reach(model, batch))


def truncate_tokens(batch: ProductBatch, row: int, most: int) -> ProductBatch:
    """Select one product, with at most `most` tokens per modality and no padding."""
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
    """Return the number of tokens of each modality in the model, [CLS] counted."""
    return {
        m: batch.tokens[m].values.shape[1] + (not isinstance(encoder, DiscreteEncoder))
        for m, encoder in modality_encoders(model).items()
        if m in batch.tokens
    }


@torch.no_grad()
def model_reach(model: nn.Module, batch: ProductBatch) -> ReachMatrix:
    """Measure reach_LL of a whole model, from embedded tokens to the last layer.

    Runs L + 1 copies of the product in one batch. In copy j, noise is added to token j after its
    embedding, before any interaction of tokens (noise, because LayerNorm removes a constant).

    Args:
        batch: one product without padding (`truncate_tokens`).

    Raises ValueError for more than one product.
    """
    require(len(batch) == 1, f"expected one product, got {len(batch)}")
    model = deepcopy(model).double().eval()
    length = output_lengths(model, batch)
    copies = _copies(batch, sum(length.values()) + 1)
    with _noise_on_own_token(modality_encoders(model), length):
        output = model(copies)
    tokens = output.fused if isinstance(model, ScaleModel) else output
    return _differs(torch.cat([tokens[m] for m in length], dim=1))


@torch.no_grad()
def layer_reach(model: nn.Module, batch: ProductBatch) -> dict[str, ReachMatrix]:
    """Measure reach_LL of one layer of each kind (`first_layers`), by name."""
    model = deepcopy(model).double().eval()
    length = output_lengths(model, batch)
    width = model.config.width if isinstance(model, ScaleModel) else model.inputs.width
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
    """Measure reach_LL of the small DALL-E: row i is the prediction of token i, title first.

    Copy j replaces token j. Titles must have no padding. The first token is not predicted, so its
    row is empty.
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
    reach_LL = np.zeros((length, length), bool)
    # The output at a word predicts the next word; that of the last word is unused.
    reach_LL[1:words] = _differs(word_BTV[:, :-1])
    reach_LL[words:] = _differs(code_BNC)
    return reach_LL


def compose_reach(layers: Sequence[ReachMatrix]) -> ReachMatrix:
    """Compose reach_LL of consecutive layers.

    (R_2 R_1)_ij > 0, a product of 0/1 matrices: output i depends on input j via some token.
    """
    reach_LL = np.eye(len(layers[0]), dtype=int)
    for layer_LL in layers:
        reach_LL = (layer_LL.astype(int) @ reach_LL > 0).astype(int)
    return reach_LL.astype(bool)


def _differs(tokens_BLD: Tensor) -> ReachMatrix:
    """Compare L changed copies with the unchanged last copy: outputs (rows) by copy (columns)."""
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
    """Add noise to token j of copy j directly after its embedding."""
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
