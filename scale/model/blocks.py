"""Stacks of Transformer blocks (timm's ViT block) that respect padding.

B products or rows, L length, D width.
"""

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn


class BlockStack(nn.Module):
    """`depth` pre-norm Transformer blocks and a last LayerNorm; padded positions are not attended.

    What a padded position holds never changes any other position.
    """

    def __init__(self, width: int, heads: int, depth: int, mlp_ratio: float, dropout: float):
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio, qkv_bias=True, proj_drop=dropout, attn_drop=dropout)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens_BLD: Tensor, padding_BL: Tensor) -> Tensor:
        """tokens_BLD after all blocks; `padding_BL` is True where no token is."""
        attend_B11L = ~padding_BL[:, None, None, :]
        for block in self.blocks:
            tokens_BLD = block(tokens_BLD, attn_mask=attend_B11L)
        return self.norm(tokens_BLD)


def initialise(module: nn.Module) -> None:
    """Linear weights from N(0, 0.55^2 / inputs), embeddings from N(0, 0.02^2), biases 0, LayerNorm
    1 and 0.

    At BERT's width of 768 that is BERT's own 0.02. A fixed 0.02 would leave narrow models with
    layers that hardly act: [CLS] would be the same for every product, and the contrastive loss
    would see no gradient for hundreds of steps.
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
    """The padding mask with one position in front that is never padding."""
    first_B1 = torch.zeros_like(padding_BL[:, :1])
    return torch.cat([first_B1, padding_BL], dim=1)
