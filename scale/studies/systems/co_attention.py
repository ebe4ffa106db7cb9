"""Two-stream fusion: language and perception in a Transformer each, which look at one another.

ViLBERT (Lu et al., NeurIPS 2019) and LXMERT (Tan and Bansal, EMNLP 2019).

B products, L length of one stream, K length of the other, H heads, W width of a head, D width,
R rows (products that have the modality).
"""

import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from scale.config import ModelConfig
from scale.model.transformer import initialise
from scale.studies.systems.inputs import SIDES, Encoded, Inputs, join, split

Stream = tuple[Tensor, Tensor]
"""tokens_BLD and padding_BL of one side."""


class CrossAttention(nn.Module):
    """x + W softmax(q(x) k(y)^T / sqrt(W)) v(y): queries of one stream, keys and values of the
    other, both normalised first; nothing is added where the other stream is empty."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(config.width)
        self.query = nn.Linear(config.width, config.width)
        self.key_value = nn.Linear(config.width, 2 * config.width)
        self.project = nn.Linear(config.width, config.width)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, own_BLD: Tensor, other: Stream) -> Tensor:
        """own_BLD with what it found in the other stream."""
        other_BKD, padding_BK = other
        empty_B = padding_BK.all(dim=1)
        # Softmax over nothing is NaN: an empty stream is looked at and then left out.
        attend_B11K = ~(padding_BK & ~empty_B[:, None])[:, None, None]
        key_BKD, value_BKD = self.key_value(self.norm(other_BKD)).chunk(2, dim=-1)
        query_BHLW, key_BHKW, value_BHKW = (
            x.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for x in (self.query(self.norm(own_BLD)), key_BKD, value_BKD)
        )
        found_BHLW = scaled_dot_product_attention(query_BHLW, key_BHKW, value_BHKW, attend_B11K)
        found_BLD = self.drop(self.project(found_BHLW.transpose(1, 2).flatten(2)))
        return own_BLD + found_BLD.masked_fill(empty_B[:, None, None], 0.0)


class FeedForward(nn.Module):
    """x + MLP(LayerNorm(x))."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.mlp = Mlp(config.width, int(config.width * config.mlp_ratio), drop=config.dropout)

    def forward(self, tokens_BLD: Tensor) -> Tensor:
        """tokens_BLD."""
        return tokens_BLD + self.mlp(self.norm(tokens_BLD))


class Meeting(nn.Module):
    """One layer in which the streams meet: cross-attention in both directions at once, then a
    Transformer block in each stream.

    ViLBERT: each direction has its own weights and its own feed-forward part before the block.
    LXMERT: both directions share the cross-attention, and self-attention follows it directly.
    """

    def __init__(self, config: ModelConfig, shared: bool):
        super().__init__()
        cross = CrossAttention(config) if shared else None
        self.cross = nn.ModuleDict({s: cross or CrossAttention(config) for s in SIDES})
        self.feed = nn.ModuleDict({s: nn.Identity() if shared else FeedForward(config)
                                   for s in SIDES})  # fmt: skip
        self.block = nn.ModuleDict({s: _block(config) for s in SIDES})

    def forward(self, streams: dict[str, Stream]) -> dict[str, Stream]:
        """Both streams, or the one that is there, after the layer."""
        after = {}
        for side, (tokens_BLD, padding_BL) in streams.items():
            met_BLD = tokens_BLD
            for other in streams.keys() - {side}:
                met_BLD = self.cross[side](tokens_BLD, streams[other])
            met_BLD = self.feed[side](met_BLD)
            after[side] = (self.block[side](met_BLD, attn_mask=_attend(padding_BL)), padding_BL)
        return after


class CoAttention(nn.Module):
    """Two streams: layers of their own first, then `depth` layers in which they meet.

    Language (text, table) and perception (image, video, audio) are one sequence each, with a
    modality embedding.
    """

    def __init__(self, config: ModelConfig, seen: tuple[str, ...], depth: int, shared: bool):
        """`shared`: LXMERT's layers, and own layers on both sides (language twice as many; 9 and 5
        before 5 in the paper). Else ViLBERT's, and own layers on the language side only."""
        super().__init__()
        self.modality_embedding = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(config.width)) for m in seen}
        )
        own = {"language": 2 * depth if shared else depth, "perception": depth if shared else 0}
        self.own = nn.ModuleDict(
            {s: nn.ModuleList(_block(config) for _ in range(own[s])) for s in SIDES}
        )
        self.meetings = nn.ModuleList(Meeting(config, shared) for _ in range(depth))
        self.norm = nn.ModuleDict({s: nn.LayerNorm(config.width) for s in SIDES})
        self.apply(initialise)
        for parameter in self.modality_embedding.values():
            nn.init.normal_(parameter, std=0.02)

    def forward(
        self, encoded: Encoded, rows: dict[str, Tensor], products: int, inputs: Inputs
    ) -> dict[str, Tensor]:
        """fused_RLD by modality, in the rows and lengths that came in. `inputs` is not needed."""
        members = {s: {m: encoded[m] for m in SIDES[s] if m in encoded} for s in SIDES}
        members = {s: own for s, own in members.items() if own}
        streams = {s: self._alone(s, own, rows, products) for s, own in members.items()}
        for meeting in self.meetings:
            streams = meeting(streams)
        fused = {}
        for side, (tokens_BLD, _) in streams.items():
            fused |= split(self.norm[side](tokens_BLD), members[side], rows)
        return fused

    def _alone(self, side: str, encoded: Encoded, rows: dict[str, Tensor], products: int) -> Stream:
        """One stream after the layers of its own."""
        named = {m: (t + self.modality_embedding[m], p) for m, (t, p) in encoded.items()}
        tokens_BLD, padding_BL = join(named, rows, products)
        for block in self.own[side]:
            tokens_BLD = block(tokens_BLD, attn_mask=_attend(padding_BL))
        return tokens_BLD, padding_BL


def _block(config: ModelConfig) -> Block:
    return Block(
        config.width, config.heads, config.mlp_ratio, qkv_bias=True,
        proj_drop=config.dropout, attn_drop=config.dropout,
    )  # fmt: skip


def _attend(padding_BL: Tensor) -> Tensor:
    """attend_B11L; a product without tokens attends to padding, and nobody reads it."""
    empty_B1 = padding_BL.all(dim=1, keepdim=True)
    return ~(padding_BL & ~empty_B1)[:, None, None]
