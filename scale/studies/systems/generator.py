"""DALL-E in small: pictures as words of a codebook, and a Transformer that writes them after text.

Ramesh et al., "Zero-Shot Text-to-Image Generation", ICML 2021. DALL-E has two stages. A discrete
VAE turns a picture of 256 x 256 into 32 x 32 = 1,024 tokens out of 8,192 codes; then one causal
Transformer (12 billion parameters, sparse attention) models up to 256 text tokens and the 1,024
image tokens as one sequence. Text and picture do not meet by attention in both directions or by a
contrastive loss, as in the models beside this file, but by generation: p(picture | text).

Here stage one is k-means over 8 x 8 patches of a 64 x 64 picture (64 tokens; no learned encoder,
so a code is a mean patch and edges between patches show), and stage two a small dense Transformer.

B products, T text length, N image tokens, L = T + N, C codes, V word pieces, F values of a patch,
D width, P patches.
"""

from dataclasses import dataclass

import numpy as np
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from scale.data.features import from_patches, to_patches
from scale.model.transformer import initialise
from scale.strict import require

TEXT_WEIGHT = 1 / 8
"""Weight of the text tokens' cross-entropy; the image tokens have 7/8 (DALL-E, section 2.2)."""


@dataclass(frozen=True)
class PatchCodebook:
    """Stage one: a picture as the numbers of its patches' nearest centres, row by row."""

    centre_CF: np.ndarray
    """Mean patches in [-1, 1], float32; F = 3 patch^2 as `to_patches` orders them."""
    patch: int
    """Side of a patch in pixels."""

    @staticmethod
    def fit(
        pictures: list[np.ndarray], codes: int, patch: int = 8, seed: int = 0
    ) -> "PatchCodebook":
        """k-means over all patches of the pictures (pixels_HWC, uint8).

        Raises ValueError where there are fewer patches than codes.
        """
        from sklearn.cluster import MiniBatchKMeans

        patches_PF = np.concatenate([to_patches(p, patch) for p in pictures])
        require(len(patches_PF) >= codes, f"{len(patches_PF)} patches for {codes} codes")
        means = MiniBatchKMeans(codes, random_state=seed, batch_size=4096, n_init=1)
        centre_CF = means.fit(patches_PF).cluster_centers_.astype(np.float32)
        return PatchCodebook(centre_CF, patch)

    def encode(self, pixels_HWC: np.ndarray) -> np.ndarray:
        """ids_N (int64): argmin_c |patch_n - centre_c|^2."""
        patches_NF = to_patches(pixels_HWC, self.patch)
        # |a - b|^2 without |a|^2, which is the same for every code.
        score_NC = (self.centre_CF**2).sum(1) - 2 * patches_NF @ self.centre_CF.T
        return score_NC.argmin(1)

    def decode(self, ids_N: np.ndarray) -> np.ndarray:
        """pixels_HWC (uint8) of a square picture made of the codes' centres."""
        return from_patches(self.centre_CF[ids_N], self.patch)


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of the Transformer of stage two."""

    vocab_size: int
    """V: word pieces."""
    codes: int = 128
    """C: size of the codebook (DALL-E: 8,192)."""
    text_length: int = 32
    """T: word pieces, padded (DALL-E: 256)."""
    side: int = 8
    """A picture is side x side tokens (DALL-E: 32)."""
    width: int = 96
    heads: int = 4
    layers: int = 3
    dropout: float = 0.2
    pad_id: int = 0
    """Word piece that is no token."""

    def __post_init__(self) -> None:
        require(self.width % self.heads == 0, "width must be a multiple of heads")


class ImageGenerator(nn.Module):
    """Stage two: p(text, picture) = prod_t p(token_t | tokens before t), text first.

    Image tokens have an embedding of their row and one of their column, as in DALL-E. Padded text
    is not attended to (DALL-E learns a padding token for each position instead).
    """

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.word = nn.Embedding(config.vocab_size, width)
        self.word_position = nn.Embedding(config.text_length, width)
        self.code = nn.Embedding(config.codes, width)
        self.row = nn.Embedding(config.side, width)
        self.column = nn.Embedding(config.side, width)
        self.start = nn.Parameter(torch.zeros(1, 1, width))
        self.drop = nn.Dropout(config.dropout)
        # Dropout inside the attention would cost 40 % more time on a CPU (no fused kernel).
        self.blocks = nn.ModuleList(
            Block(width, config.heads, 4.0, qkv_bias=True, proj_drop=config.dropout)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.to_word = nn.Linear(width, config.vocab_size)
        self.to_code = nn.Linear(width, config.codes)
        self.apply(initialise)
        nn.init.normal_(self.start, std=0.02)

    def forward(self, text_BT: Tensor, image_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the next token at every position.

        Args:
            text_BT: word pieces, `pad_id` where none is; T is `text_length`.
            image_BN: codes so far, row by row; N may be 0 and is at most side^2.

        Returns:
            word_logits_BTV: at t the word piece t + 1 (the last one predicts nothing).
            code_logits_BNC, of N + 1 positions or side^2: at n the code n, from the text and the
            codes before n.
        """
        length = image_BN.shape[1]
        full = self.config.side**2
        place_N = torch.arange(length, device=image_BN.device)
        words_BTD = self.word(text_BT) + self.word_position.weight
        # Each input stands one place before the code it predicts: `start` before code 0.
        codes_BND = self.code(image_BN)
        codes_BND = codes_BND + self.row(place_N // self.config.side)
        codes_BND = codes_BND + self.column(place_N % self.config.side)
        start_B1D = self.start.expand(len(text_BT), -1, -1)
        tokens_BLD = torch.cat([words_BTD, start_B1D, codes_BND[:, : full - 1]], dim=1)
        attend_B1LL = self._attend(text_BT, tokens_BLD.shape[1])
        tokens_BLD = self.drop(tokens_BLD)
        for block in self.blocks:
            tokens_BLD = block(tokens_BLD, attn_mask=attend_B1LL)
        tokens_BLD = self.norm(tokens_BLD)
        words = text_BT.shape[1]
        return self.to_word(tokens_BLD[:, :words]), self.to_code(tokens_BLD[:, words:])

    def loss(self, text_BT: Tensor, image_BN: Tensor) -> tuple[Tensor, Tensor]:
        """L = 7/8 CE(image) + 1/8 CE(text), means over tokens; and CE(image) alone, in nats."""
        word_logits_BTV, code_logits_BNC = self(text_BT, image_BN)
        image = cross_entropy(code_logits_BNC.flatten(0, 1), image_BN.flatten())
        text = cross_entropy(
            word_logits_BTV[:, :-1].flatten(0, 1),
            text_BT[:, 1:].flatten(),
            ignore_index=self.config.pad_id,
        )
        return (1 - TEXT_WEIGHT) * image + TEXT_WEIGHT * text, image

    @torch.no_grad()
    def generate(
        self, text_BT: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """image_BN drawn token by token from softmax(logits / temperature).

        `generator` seeds the draws; a temperature of 0 takes the likeliest code. Dropout is off.
        (DALL-E draws up to 512 pictures a text and shows those that CLIP ranks first.)
        """
        require(temperature >= 0, "temperature must not be negative")
        training = self.training
        self.eval()
        image_BN = text_BT.new_zeros(len(text_BT), 0)
        for _ in range(self.config.side**2):
            logits_BC = self(text_BT, image_BN)[1][:, -1]
            if temperature == 0:
                next_B1 = logits_BC.argmax(1, keepdim=True)
            else:
                share_BC = (logits_BC / temperature).softmax(1)
                next_B1 = torch.multinomial(share_BC, 1, generator=generator)
            image_BN = torch.cat([image_BN, next_B1], dim=1)
        self.train(training)
        return image_BN

    def _attend(self, text_BT: Tensor, length: int) -> Tensor:
        """attend_B1LL: True where a position (row) may look at another (column)."""
        causal_LL = torch.ones(length, length, dtype=torch.bool, device=text_BT.device).tril()
        text_BL = torch.ones(len(text_BT), length, dtype=torch.bool, device=text_BT.device)
        text_BL[:, : text_BT.shape[1]] = text_BT != self.config.pad_id
        return (causal_LL & text_BL[:, None, :])[:, None]
