"""Fusion of the named systems: single stream, two towers, two streams with co-attention.

UNITER, VL-BERT, VisualBERT, ImageBERT, VideoBERT and HERO join all modalities in one stream; MMT
joins image, video and audio and encodes words separately. CLIP (Radford et al., ICML 2021) and MMT
(Gabeur et al., ECCV 2020) compare towers by InfoNCE and by a ranking loss. ViLBERT (Lu et al.,
NeurIPS 2019) and LXMERT (Tan and Bansal, EMNLP 2019) connect two streams by cross-attention.

B products, R rows (products that have the modality), M modalities (five), P pairs (ten), L length
of one stream, K length of the other, H heads, W width of a head, D width.
"""

import math
from dataclasses import replace

import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import normalize, relu, scaled_dot_product_attention

from scale.config import ModelConfig
from scale.data.batch import ProductBatch
from scale.losses.contrastive import pair_losses
from scale.modalities import INDEX
from scale.model.encoders import ContinuousEncoder, DiscreteEncoder, initialise
from scale.model.joint_transformer import JointCoTransformer

Encoded = dict[str, tuple[Tensor, Tensor]]
"""By modality, tokens_RLD and padding_RL; [CLS] in front."""

LANGUAGE, PERCEPTION = ("text", "table"), ("image", "video", "audio")
"""The two sides of all two-stream and two-tower models."""
SIDES = {"language": LANGUAGE, "perception": PERCEPTION}


class Inputs(nn.Module):
    """SCALE's encoders with a chosen number of layers, 0 for early fusion.

    With 0 layers they reduce to BERT's embedding (word piece + position + segment, LayerNorm) and,
    for vectors, to projection + position, [CLS] in front, LayerNorm.
    """

    def __init__(self, config: ModelConfig, layers: dict[str, int], masked: tuple[str, ...]):
        """Args: number of layers by modality; modalities with a masked task."""
        super().__init__()
        self.width = config.width
        self.encoders = nn.ModuleDict()
        for m, depth in layers.items():
            encoder = ContinuousEncoder if config.continuous(m) else DiscreteEncoder
            self.encoders[m] = encoder(replace(config, encoder_layers=depth), m)
            if config.continuous(m) and m not in masked:
                # An unused mask token would never be trained.
                self.encoders[m].mask_token = None

    def forward(self, batch: ProductBatch, hidden: dict[str, Tensor]) -> Encoded:
        """Encode the present modalities to tokens_RLD and padding_RL."""
        return {
            m: encoder(batch.tokens[m], hidden.get(m))
            for m, encoder in self.encoders.items()
            if m in batch.tokens and len(batch.tokens[m].rows_R)
        }


def join(encoded: Encoded, rows: dict[str, Tensor], products: int) -> tuple[Tensor, Tensor]:
    """Concatenate the modalities of each product to tokens_BLD and padding_BL.

    Positions of missing modalities are padding.
    """
    parts, paddings = [], []
    for m, (tokens_RLD, padding_RL) in encoded.items():
        empty_BLD = tokens_RLD.new_zeros(products, *tokens_RLD.shape[1:])
        parts.append(empty_BLD.index_copy(0, rows[m], tokens_RLD))
        all_BL = padding_RL.new_ones(products, padding_RL.shape[1])
        paddings.append(all_BL.index_copy(0, rows[m], padding_RL))
    return torch.cat(parts, dim=1), torch.cat(paddings, dim=1)


def split(tokens_BLD: Tensor, encoded: Encoded, rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Invert `join`: return tokens_RLD by modality, with the original rows and lengths."""
    lengths = [padding_RL.shape[1] for _, padding_RL in encoded.values()]
    parts = tokens_BLD.split(lengths, dim=1)
    return {m: part[rows[m]] for m, part in zip(encoded, parts, strict=True)}


class SingleStream(nn.Module):
    """SCALE's joint transformer over the tokens of `joined`; other tokens are unchanged.

    Missing modalities have no tokens (policy `skip`).
    """

    def __init__(self, config: ModelConfig, joined: tuple[str, ...], depth: int):
        super().__init__()
        self.joined = joined
        self.jct = JointCoTransformer(replace(config, modalities=joined, jct_layers=depth), "skip")

    def forward(
        self, encoded: Encoded, rows: dict[str, Tensor], products: int, inputs: Inputs
    ) -> dict[str, Tensor]:
        """Return fused_RLD by modality, with the original rows and lengths."""
        apart = {m: tokens_RLD for m, (tokens_RLD, _) in encoded.items() if m not in self.joined}
        together = {m: pair for m, pair in encoded.items() if m in self.joined}
        if together:
            apart |= self.jct(together, rows, products, inputs.encoders)
        return {m: apart[m] for m in encoded}


LARGEST_SCALE = math.log(100)
"""CLIP clips its logits' scale at 100."""
MARGIN = 0.05
"""Of the ranking loss, in cosines; ours."""


class NoFusion(nn.Module):
    """No fusion: the tokens of each tower are unchanged."""

    def forward(
        self, encoded: Encoded, rows: dict[str, Tensor], products: int, inputs: Inputs
    ) -> dict[str, Tensor]:
        """Return encoded_RLD by modality."""
        return {m: tokens_RLD for m, (tokens_RLD, _) in encoded.items()}


class ClipLoss(nn.Module):
    """L = mean over pairs of modalities of InfoNCE, both directions, with a learned temperature.

    With text and image this is CLIP's loss: 1/2 (CE over texts + CE over pictures) of
    exp(s) z_text . z_image, with s learned from log(1 / 0.07) and at most log 100. With more
    modalities, all pairs are averaged without weights.
    """

    def __init__(self, ignore_duplicates: bool):
        """`ignore_duplicates`: exclude products with equal content from the negatives."""
        super().__init__()
        self.ignore_duplicates = ignore_duplicates
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, pooled_BMD: Tensor, present_BM: Tensor, batch: ProductBatch) -> Tensor:
        """Return a scalar; 0 if no product has two modalities."""
        content_id_BM = batch.content_id_BM if self.ignore_duplicates else None
        temperature = (-self.log_scale.clamp(max=LARGEST_SCALE)).exp()
        pairs = pair_losses(pooled_BMD, present_BM, temperature, content_id_BM=content_id_BM)
        return pairs.mean_P().sum() / pairs.valid_BP.any(0).sum().clamp(min=1)


class RankingLoss(nn.Module):
    """Bidirectional max-margin ranking loss of MMT, over products that have both sides.

    L = mean over a != b of max(0, m + s_ab - s_aa) + max(0, m + s_ba - s_aa), with s_ab the mean of
    cos(f_ai, f_bj) over the present modalities i of language and j of perception.
    """

    def forward(self, pooled_BMD: Tensor, present_BM: Tensor, batch: ProductBatch) -> Tensor:
        """Return a scalar; 0 if fewer than two products have both sides."""
        language_BD, has_language_B = side_mean(pooled_BMD, present_BM, LANGUAGE)
        percept_BD, has_percept_B = side_mean(pooled_BMD, present_BM, PERCEPTION)
        both_B = has_language_B & has_percept_B
        score_BB = language_BD[both_B] @ percept_BD[both_B].T
        own_B = score_BB.diagonal()
        forth_BB = relu(MARGIN + score_BB - own_B[:, None])
        back_BB = relu(MARGIN + score_BB - own_B[None, :])
        same_BB = torch.eye(len(own_B), dtype=torch.bool, device=own_B.device)
        count = max(len(own_B) * (len(own_B) - 1), 1)
        return (forth_BB + back_BB).masked_fill(same_BB, 0.0).sum() / count


def side_mean(
    pooled_BMD: Tensor, present_BM: Tensor, side: tuple[str, ...]
) -> tuple[Tensor, Tensor]:
    """Return mean_BD, the mean unit feature of a side's present modalities, and has_B."""
    columns = [INDEX[m] for m in side]
    present_BS = present_BM[:, columns]
    kept_BSD = pooled_BMD[:, columns].masked_fill(~present_BS[:, :, None], 0.0)
    count_B = present_BS.sum(1)
    mean_BD = normalize(kept_BSD, dim=-1).sum(1) / count_B.clamp(min=1)[:, None]
    return mean_BD, count_B > 0


Stream = tuple[Tensor, Tensor]
"""tokens_BLD and padding_BL of one side."""


class CrossAttention(nn.Module):
    """x + P softmax(q(x) k(y)^T / sqrt(W)) v(y), with queries of one stream and keys and values of
    the other, both normalised first; x if the other stream is empty."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(config.width)
        self.query = nn.Linear(config.width, config.width)
        self.key_value = nn.Linear(config.width, 2 * config.width)
        self.project = nn.Linear(config.width, config.width)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, own_BLD: Tensor, other: Stream) -> Tensor:
        """Return own_BLD after attention to the other stream."""
        other_BKD, padding_BK = other
        empty_B = padding_BK.all(dim=1)
        # Softmax over no keys is NaN: attend to an empty stream's padding, then drop the result.
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
        """Return tokens_BLD."""
        return tokens_BLD + self.mlp(self.norm(tokens_BLD))


class CoAttentionLayer(nn.Module):
    """Cross-attention in both directions, then a Transformer block in each stream.

    ViLBERT: each direction has its own weights and a feed-forward part before the block. LXMERT:
    both directions share the cross-attention, which is followed directly by the block.
    """

    def __init__(self, config: ModelConfig, shared: bool):
        super().__init__()
        cross = CrossAttention(config) if shared else None
        self.cross = nn.ModuleDict({s: cross or CrossAttention(config) for s in SIDES})
        self.feed = nn.ModuleDict({s: nn.Identity() if shared else FeedForward(config)
                                   for s in SIDES})  # fmt: skip
        self.block = nn.ModuleDict({s: _block(config) for s in SIDES})

    def forward(self, streams: dict[str, Stream]) -> dict[str, Stream]:
        """Return the present streams after the layer."""
        after = {}
        for side, (tokens_BLD, padding_BL) in streams.items():
            after_BLD = tokens_BLD
            for other in streams.keys() - {side}:
                after_BLD = self.cross[side](tokens_BLD, streams[other])
            after_BLD = self.feed[side](after_BLD)
            after[side] = (self.block[side](after_BLD, attn_mask=_attend(padding_BL)), padding_BL)
        return after


class CoAttention(nn.Module):
    """Two streams: separate layers, then `depth` co-attention layers.

    Language (text, table) and perception (image, video, audio) are one sequence each, with a
    modality embedding.
    """

    def __init__(self, config: ModelConfig, seen: tuple[str, ...], depth: int, shared: bool):
        """`shared`: LXMERT's layers, with separate layers on both sides (language twice as many;
        9 and 5 before 5 in the paper). Else ViLBERT's, with separate language layers only."""
        super().__init__()
        self.modality_embedding = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(config.width)) for m in seen}
        )
        own = {"language": 2 * depth if shared else depth, "perception": depth if shared else 0}
        self.own = nn.ModuleDict(
            {s: nn.ModuleList(_block(config) for _ in range(own[s])) for s in SIDES}
        )
        self.layers = nn.ModuleList(CoAttentionLayer(config, shared) for _ in range(depth))
        self.norm = nn.ModuleDict({s: nn.LayerNorm(config.width) for s in SIDES})
        self.apply(initialise)
        for parameter in self.modality_embedding.values():
            nn.init.normal_(parameter, std=0.02)

    def forward(
        self, encoded: Encoded, rows: dict[str, Tensor], products: int, inputs: Inputs
    ) -> dict[str, Tensor]:
        """Return fused_RLD by modality, with the original rows and lengths; ignores `inputs`."""
        members = {s: {m: encoded[m] for m in SIDES[s] if m in encoded} for s in SIDES}
        members = {s: own for s, own in members.items() if own}
        streams = {s: self._alone(s, own, rows, products) for s, own in members.items()}
        for layer in self.layers:
            streams = layer(streams)
        fused = {}
        for side, (tokens_BLD, _) in streams.items():
            fused |= split(self.norm[side](tokens_BLD), members[side], rows)
        return fused

    def _alone(self, side: str, encoded: Encoded, rows: dict[str, Tensor], products: int) -> Stream:
        """Return one stream after its separate layers."""
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
    """Return attend_B11L; empty products attend to padding, and their output is unused."""
    empty_B1 = padding_BL.all(dim=1, keepdim=True)
    return ~(padding_BL & ~empty_B1)[:, None, None]
