"""Stacks of Transformer blocks (timm's ViT block) with padding masks.

B products or rows, L length, D width, Q query positions of a sequence, H heads, K width of a head.
"""

from collections.abc import Iterable

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention


class TransformerEncoder(nn.Module):
    """`depth` pre-norm Transformer blocks and a final LayerNorm.

    Padded positions are not attended to, so their values never influence other positions.
    """

    def __init__(self, width: int, heads: int, depth: int, mlp_ratio: float, dropout: float):
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio, qkv_bias=True, proj_drop=dropout, attn_drop=dropout)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self, tokens_BLD: Tensor, padding_BL: Tensor | None, query_BQ: Tensor | None = None
    ) -> Tensor:
        """Return tokens_BLD after all blocks, or tokens_BQD at the positions `query_BQ`.

        `padding_BL` is True at padded positions; None: nowhere. Without a query, a position is only
        a key and a value in the last block.
        """
        attend_B11L = None if padding_BL is None else ~padding_BL[:, None, None, :]
        full = self.blocks if query_BQ is None else self.blocks[:-1]
        for block in full:
            tokens_BLD = block(tokens_BLD, attn_mask=attend_B11L)
        if query_BQ is not None:
            tokens_BLD = _query_block(self.blocks[-1], tokens_BLD, query_BQ, attend_B11L)
        return self.norm(tokens_BLD)

    def each(self, groups: Iterable[tuple[Tensor, Tensor | None, Tensor | None]]) -> list[Tensor]:
        """Apply `forward` to several groups of sequences.

        A separate method, so that FSDP2 gathers the weights once for all groups.
        """
        return [self.forward(*group) for group in groups]


def _query_block(
    block: Block, tokens_BLD: Tensor, query_BQ: Tensor, attend_B11L: Tensor | None
) -> Tensor:
    """Return `block(tokens_BLD)` at the positions `query_BQ`, as tokens_BQD."""
    attention = block.attn
    heads = (attention.num_heads, attention.head_dim)
    normed_BLD = block.norm1(tokens_BLD)
    index_BQD = query_BQ[:, :, None].expand(-1, -1, tokens_BLD.shape[2])
    weight, bias, width = attention.qkv.weight, attention.qkv.bias, attention.attn_dim
    query_BQD = linear(normed_BLD.gather(1, index_BQD), weight[:width], bias[:width])
    memory_BLD = linear(normed_BLD, weight[width:], bias[width:])
    query_BHQK = query_BQD.unflatten(2, heads).transpose(1, 2)
    key_BHLK, value_BHLK = memory_BLD.unflatten(2, (2, *heads)).permute(2, 0, 3, 1, 4)
    dropout = attention.attn_drop.p if attention.training else 0.0
    mixed_BHQK = scaled_dot_product_attention(
        query_BHQK, key_BHLK, value_BHLK, attn_mask=attend_B11L, dropout_p=dropout
    )
    mixed_BQD = attention.proj(mixed_BHQK.transpose(1, 2).flatten(2))
    tokens_BQD = tokens_BLD.gather(1, index_BQD) + attention.proj_drop(mixed_BQD)
    return tokens_BQD + block.mlp(block.norm2(tokens_BQD))


def initialise(module: nn.Module) -> None:
    """Initialise linear weights from N(0, 0.55^2 / inputs), embeddings from N(0, 0.02^2), biases
    with 0, LayerNorm with 1 and 0.

    At BERT's width of 768 this equals BERT's standard deviation of 0.02. A fixed 0.02 is too small
    for narrow models: [CLS] would hardly depend on the product, and the contrastive loss would have
    no gradient for hundreds of steps.
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.55 * module.in_features**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def padding_with_cls(padding_BL: Tensor) -> Tensor:
    """Return the padding mask with an unpadded position in front."""
    first_B1 = torch.zeros_like(padding_BL[:, :1])
    return torch.cat([first_B1, padding_BL], dim=1)
