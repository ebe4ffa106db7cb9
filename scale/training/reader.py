"""A model that gives what the losses read of it, and nothing else.

B products, M modalities (five), D width.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from scale.config import LossConfig
from scale.data.batch import ProductBatch
from scale.losses.total import weights_act
from scale.model.scale import ScaleModel, ScaleOutput
from scale.training.distributed import world_size


@dataclass(frozen=True)
class Reads:
    """What the losses read."""

    features: tuple[str, ...]
    """Pooled features: `encoder`, and `fused` where S is made of them."""
    gradients: tuple[str, ...]
    """Those of them that a gradient comes back to."""
    predictions: bool = True
    """Whether the masked losses are to be taken too."""

    @staticmethod
    def of(config: LossConfig, progress: float) -> "Reads":
        """By a loss, at this share of the training."""
        fused = config.weight_features == "fused"
        learning = {"encoder"} if "contrastive" in config.tasks else set()
        if (
            config.weight_gradient
            and config.weight_by == "scores"
            and weights_act(config, progress)
        ):
            learning.add(config.weight_features)
        seen = ("encoder", "fused") if fused else ("encoder",)
        return Reads(seen, tuple(name for name in seen if name in learning))


@dataclass
class Read:
    """What was read for some products."""

    features: dict[str, Tensor]
    """pooled_BMD by name."""
    predictions: dict[str, Tensor] = field(default_factory=dict)
    """As `ScaleOutput.predictions`."""
    nothing: Tensor = field(default_factory=lambda: torch.zeros(()))
    """0; with several processes it leads to a parameter, to which it gives a gradient of 0."""


class Reader(nn.Module):
    """Wraps a model for DDP, which waits for a gradient of every parameter behind an output.

    So no output may be one that no loss reads, and one must lead to a parameter even where a
    process's products have nothing for any task.
    """

    def __init__(self, model: ScaleModel, lean: bool = False, fused: bool = True):
        """`lean`: as `TrainConfig.lean`; `fused`: whether the losses read the JCT's [CLS]."""
        super().__init__()
        self.model, self.lean, self.fused = model, lean, fused

    def forward(
        self,
        batch: ProductBatch,
        hidden: dict[str, Tensor],
        positions: dict[str, np.ndarray] | None = None,
        reads: Reads | None = None,
    ) -> ScaleOutput | Read:
        """The model's whole output (for one process), or what `reads` names."""
        if reads is None:
            if self.lean:
                return self.model(
                    batch, hidden, positions, loss_positions_only=True, fused_pooled=self.fused
                )
            return self.model(batch, hidden, positions)
        if not reads.predictions and reads.features == ("encoder",):
            return Read({"encoder": self.model.embed(batch, hidden).pooled_BMD})
        if self.lean:
            fused = "fused" in reads.features or self.model.run_all_encoders
            output = self.model(
                batch,
                hidden,
                positions,
                loss_positions_only=True,
                fused_pooled=fused,
                predictions=reads.predictions,
            )
        else:
            output = self.model(batch, hidden, positions)
        pooled = {"encoder": output.pooled_BMD, "fused": output.fused_pooled_BMD}
        features = {name: pooled[name] for name in reads.features}
        for name in set(features) - set(reads.gradients):
            features[name] = features[name].detach()
        if not reads.predictions:
            return Read(features)
        nothing = self._nothing(output)
        return Read(features, output.predictions, nothing if world_size() > 1 else nothing.detach())

    def _nothing(self, output: ScaleOutput) -> Tensor:
        """0; it leads to a parameter, and in lockstep to all: FSDP2 reduces the gradients that are
        there, which must be the same ones in each process."""
        if not self.model.run_all_encoders:
            return 0.0 * self.model.jct.stack.norm.bias.sum()
        # Those of the layers are shared out by now, so the way to them is through their output.
        held = [p.sum() for p in self.parameters() if not isinstance(p, DTensor)]
        return (
            0.0 * torch.stack([output.pooled_BMD.sum(), output.fused_pooled_BMD.sum(), *held]).sum()
        )
