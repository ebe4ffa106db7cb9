"""Single-stream fusion: one Transformer over the concatenated tokens of what it joins.

UNITER, VL-BERT, VisualBERT, ImageBERT, VideoBERT and HERO join all modalities; MMT joins those that
are seen and heard and leaves words to encoders of their own.

R rows (products that have the modality), L length, D width.
"""

from dataclasses import replace

from torch import Tensor, nn

from scale.config import ModelConfig
from scale.model.joint_transformer import JointCoTransformer
from scale.studies.systems.inputs import Encoded, Inputs


class SingleStream(nn.Module):
    """SCALE's joint co-transformer over the tokens of `joined`; others pass through unchanged.

    A missing modality has no tokens (policy `skip`).
    """

    def __init__(self, config: ModelConfig, joined: tuple[str, ...], depth: int):
        super().__init__()
        self.joined = joined
        self.jct = JointCoTransformer(replace(config, modalities=joined, jct_layers=depth), "skip")

    def forward(
        self, encoded: Encoded, rows: dict[str, Tensor], products: int, inputs: Inputs
    ) -> dict[str, Tensor]:
        """fused_RLD by modality, in the rows and lengths that came in."""
        apart = {m: tokens_RLD for m, (tokens_RLD, _) in encoded.items() if m not in self.joined}
        together = {m: pair for m, pair in encoded.items() if m in self.joined}
        if together:
            apart |= self.jct(together, rows, products, inputs.encoders)
        return {m: apart[m] for m in encoded}
