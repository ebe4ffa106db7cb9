"""Two encoder classes for five modalities, and the stack of Transformer blocks that they share with
the joint transformer.

B products or rows, R rows (products that have the modality), L length including [CLS], F features,
D width, Q query positions of a sequence, H heads, K width of a head.
"""

from collections.abc import Iterable

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers import BertConfig, BertModel

from scale.config import ModelConfig
from scale.data.batch import Tokens


class DiscreteEncoder(nn.Module):
    """Encoder of word pieces (text, table): a transformers BERT.

    Sequences start with the tokenizer's [CLS]. In tables, attributes and structure are BERT's
    segment 0 and values segment 1.
    """

    def __init__(self, config: ModelConfig, modality: str):
        super().__init__()
        self.length = config.length(modality)
        self.bert = BertModel(
            BertConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.width,
                num_hidden_layers=config.encoder_layers,
                num_attention_heads=config.heads,
                intermediate_size=int(config.width * config.mlp_ratio),
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=config.dropout,
                max_position_embeddings=self.length,
                type_vocab_size=2,
                attn_implementation="sdpa",
            ),
            add_pooling_layer=False,
        )
        self.apply(initialise)

    @property
    def word_weight(self) -> nn.Parameter:
        """Word-piece embeddings (V, D), shared with the decoder of the head."""
        return self.bert.embeddings.word_embeddings.weight

    def forward(self, tokens: Tokens, hidden_RL: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return encoded_RLD and padding_RL. `hidden_RL` is unused: masked ids are [MASK]."""
        segment_RL = torch.zeros_like(tokens.values)
        if tokens.entity_RL is not None:
            segment_RL = ((tokens.entity_RL % 2 == 1) & (tokens.entity_RL >= 0)).long()
        # A four-dimensional mask avoids BERT's check for padding, which synchronises.
        attend_R11L = ~tokens.padding_RL[:, None, None, :] if tokens.padded else None
        output = self.bert(
            input_ids=tokens.values, attention_mask=attend_R11L, token_type_ids=segment_RL
        )
        return output.last_hidden_state, tokens.padding_RL

    def impute_zeros(self) -> Tensor:
        """Return encoded_1LD for word embeddings of 0 at all positions."""
        zeros_1LD = self.word_weight.new_zeros(1, self.length, self.word_weight.shape[1])
        return self.bert(inputs_embeds=zeros_1LD).last_hidden_state


class ContinuousEncoder(nn.Module):
    """Encoder of vectors: projection, [CLS], positions, timm blocks.

    Of image, video and audio, and of text and table if their tokens come from a frozen model.
    """

    def __init__(self, config: ModelConfig, modality: str):
        super().__init__()
        self.length = config.length(modality)
        self.features = config.feature_size(modality)
        self.project = nn.Linear(self.features, config.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        self.position = nn.Parameter(torch.zeros(1, self.length + 1, config.width))
        self.stack = TransformerEncoder(
            config.width, config.heads, config.encoder_layers, config.mlp_ratio, config.dropout
        )
        self.apply(initialise)
        # On the scale of a projected vector. With 0.02, positions would be negligible, and an image
        # a bag of patches, for hundreds of steps.
        for parameter in (self.cls_token, self.mask_token, self.position):
            nn.init.normal_(parameter, std=0.5)

    def forward(self, tokens: Tokens, hidden_RL: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return encoded_RLD and padding_RL, both including [CLS].

        Vectors at `hidden_RL` are replaced with the learned mask token, so that masked, zero and
        padded positions differ.

        Raises:
            ValueError: the sequence is too long, or its vectors have another size.
        """
        length, features = tokens.values.shape[1:]
        if length > self.length or features != self.features:
            raise ValueError(
                f"vectors of shape ({length}, {features}); the model takes at most {self.length} "
                f"vectors of size {self.features}"
            )
        projected_RLD = self.project(tokens.values)
        if hidden_RL is not None:
            projected_RLD = torch.where(hidden_RL[:, :, None], self.mask_token, projected_RLD)
        padding_RL = padding_with_cls(tokens.padding_RL)
        return self._encode(projected_RLD, padding_RL if tokens.padded else None), padding_RL

    def impute_zeros(self) -> Tensor:
        """Return encoded_1LD for input vectors of 0 at all positions."""
        zeros_1LF = self.project.weight.new_zeros(1, self.length, self.features)
        return self._encode(self.project(zeros_1LF), None)

    def _encode(self, projected_RLD: Tensor, padding_RL: Tensor | None) -> Tensor:
        cls_R1D = self.cls_token.expand(len(projected_RLD), -1, -1)
        tokens_RLD = torch.cat([cls_R1D, projected_RLD], dim=1)
        tokens_RLD = tokens_RLD + self.position[:, : tokens_RLD.shape[1]]
        return self.stack(tokens_RLD, padding_RL)


class TransformerEncoder(nn.Module):
    """`depth` pre-norm Transformer blocks (timm's ViT block) and a final LayerNorm.

    Padded positions are not attended to, so their values never influence other positions.
    """

    def __init__(self, width: int, heads: int, depth: int, mlp_ratio: float, dropout: float):
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio, qkv_bias=True, proj_drop=dropout, attn_drop=dropout)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self, tokens_BLD: Tensor, padding_BL: Tensor | None, query_BQ: Tensor | None = None
    ) -> Tensor:
        """Return tokens_BLD after all blocks, or tokens_BQD at the positions `query_BQ`.

        `padding_BL` is True at padded positions; None: nowhere. Positions without a query are only
        keys and values in the last block.
        """
        attend_B11L = None if padding_BL is None else ~padding_BL[:, None, None, :]
        full = self.blocks if query_BQ is None else self.blocks[:-1]
        for block in full:
            tokens_BLD = block(tokens_BLD, attn_mask=attend_B11L)
        if query_BQ is not None and len(self.blocks):
            tokens_BLD = _query_block(self.blocks[-1], tokens_BLD, query_BQ, attend_B11L)
        elif query_BQ is not None:
            tokens_BLD = tokens_BLD.gather(1, query_BQ[:, :, None].expand(-1, -1, self.width))
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
    with 0.

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


def padding_with_cls(padding_BL: Tensor) -> Tensor:
    """Return the padding mask with an unpadded position in front."""
    first_B1 = torch.zeros_like(padding_BL[:, :1])
    return torch.cat([first_B1, padding_BL], dim=1)
