"""SCALE with S and the contrastive loss on clean inputs, and the masked losses on masked ones.

By default one pass over masked inputs serves all losses (`losses.total.scale_loss`), while
retrieval embeds clean inputs. This variant has two passes of the encoders. It is measured in the
study `masking` only.

B products, R rows (products that have one modality), L length, N masked positions.
"""

from dataclasses import replace

import torch

from scale.config import Config
from scale.data.batch import ProductBatch, to_device
from scale.losses.masking import MaskedBatch
from scale.losses.total import LossOutput, scale_loss
from scale.model.scale import ScaleModel
from scale.training.run import seeded_model

CLEAN_CONTRAST = "clean contrast"
"""Name of the model in `Cell.model`."""


class CleanContrastModel(ScaleModel):
    """SCALE whose objective takes the pooled features from a pass over the clean inputs."""

    def __init__(self, config: Config):
        """Initialise as `seeded_model`: equal configs give equal weights."""
        super().__init__(config.model, config.missing)
        self.load_state_dict(seeded_model(config).state_dict())
        self.loss_config = config.loss

    def objective(self, masked: MaskedBatch, progress: float = 1.0) -> LossOutput:
        """Return `scale_loss` with pooled_BMD of the clean inputs (a `LossFn` of the trainer)."""
        output = self(masked.batch, masked.hidden, masked.positions)
        clean = self.embed(unmask(masked))
        output = replace(output, pooled_BMD=clean.pooled_BMD, contrast=clean.contrast)
        return scale_loss(output, masked, self.loss_config, progress)


def unmask(masked: MaskedBatch) -> ProductBatch:
    """Return the batch before masking, with the targets restored at the masked positions."""
    tokens = dict(masked.batch.tokens)
    for m, position_N in masked.positions.items():
        values = tokens[m].values.clone()
        index_N = to_device(torch.from_numpy(position_N), values.device)
        values.view(-1, *values.shape[2:])[index_N] = masked.targets[m]
        tokens[m] = replace(tokens[m], values=values)
    return replace(masked.batch, tokens=tokens)
