"""Two encoder classes for five modalities: one for word-piece ids, one for vectors.

R rows (products that have the modality), L length including [CLS], F features, D width.
"""

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from scale.config import ModelConfig
from scale.data.batch import Tokens
from scale.model.transformer import TransformerEncoder, initialise, padding_with_cls


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
    """Encoder of vectors (image, video, audio): projection, [CLS], positions, timm blocks."""

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
