"""One layer of each kind that a model of experiments/fusion or SCALE has, as a function.

B products or copies, L tokens of a product, all modalities one after the other, D width, K tokens
of the other stream.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from scale.model.encoders import DiscreteEncoder
from scale.model.scale import ScaleModel
from scale.studies.systems.co_attention import CoAttention, Meeting
from scale.studies.systems.inputs import SIDES
from scale.studies.systems.model import FusionModel
from scale.studies.systems.single_stream import SingleStream

Layer = Callable[[Tensor], Tensor]
"""tokens_BLD to tokens_BLD."""


def encoders_of(model: nn.Module) -> nn.ModuleDict:
    """By modality, what embeds its tokens (and encodes them, where there are layers)."""
    return model.encoders if isinstance(model, ScaleModel) else model.inputs.encoders


def width_of(model: FusionModel | ScaleModel) -> int:
    """D."""
    return model.config.width if isinstance(model, ScaleModel) else model.inputs.width


def layers_of(model: nn.Module, length: dict[str, int]) -> dict[str, Layer]:
    """The first layer of each kind, in the order in which they run, over the whole sequence.

    `alone`: a modality's own encoder or tower. `stream`: one Transformer over what it joins. `jct`:
    SCALE's. `own`, `cross`, `self`: the three kinds of a two-stream model; `own` may be one side's.
    Tokens that a layer does not touch stay what they are.

    Args:
        length: tokens by modality, [CLS] counted.
    """
    blocks = {(m,): _first_block(encoder) for m, encoder in encoders_of(model).items()}
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


def _cross(length: dict[str, int], meeting: Meeting, tokens_BLD: Tensor) -> Tensor:
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
