"""Two-pass gradient caching: the gradient of a large batch, computed part by part.

The contrastive loss compares every product with every other one of the batch, so the gradients of
small batches do not add up to its own. But it sees the products through their pooled features f:

    L = J(f) + sum_k M_k(w(f))      J: contrastive loss, M_k: masked losses of part k, w: weights

So: (1) f of every part, without gradient; (2) G = dL/df, on features alone; (3) once more part by
part, with gradient and the same dropout: those of  sum(G_k * f_k) + M_k  add up to that of L
(GradCache: Gao, Zhang, Han and Callan, 2021, arXiv 2101.06983). Where a gradient flows through the
weights of the masked losses, dM_k/dw takes one more pass without gradient between (1) and (2).

With several processes each has some of the parts: features and their gradients travel.

R products of this process, M modalities (five), D width, T tasks.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scale.config import LossConfig
from scale.data.batch import ProductBatch
from scale.losses.masked import to_float32
from scale.losses.masking import MaskedBatch
from scale.losses.total import LossOutput, masked_losses, weights_act
from scale.losses.weighting import Weights
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.training.distributed import all_reduce_sum, gather, world_size
from scale.training.joint import JointFeatures
from scale.training.reader import Read, Reader, Reads


@dataclass(frozen=True)
class MicroBatch:
    """Products that are in memory at once."""

    masked: MaskedBatch
    place: slice
    """Where they stand in the whole batch."""
    seed: int
    """Of their dropout, in each pass."""


class CachedGradient:
    """The losses of a whole batch and their gradient at the model's parameters, from its parts.

    Equal to `scale_loss` of the whole batch and its backward pass, up to rounding and dropout.
    """

    def __init__(
        self,
        model: Reader,
        config: LossConfig,
        progress: float,
        backward: Callable[[Tensor], None] = Tensor.backward,
        no_sync: Callable[[], AbstractContextManager] = nullcontext,
    ):
        """
        Args:
            model: as it is, or as accelerate has wrapped it.
            config, progress: as in `scale_loss`.
            backward: takes a scalar, e.g. `accelerator.backward`.
            no_sync: a context in which processes do not yet exchange their gradients.
        """
        self.model, self.config, self.reads = model, config, Reads.of(config, progress)
        self.weighted = weights_act(config, progress)
        self.backward, self.no_sync = backward, no_sync

    def __call__(self, parts: Sequence[MicroBatch], whole: ProductBatch) -> LossOutput:
        """Add the gradient to the parameters' own; the losses of the whole batch, without gradient.

        Args:
            parts: this process's products in order; every process has as many parts.
            whole: all products of the batch, on the CPU, of which the tokens are not needed.
        """
        tasks = _masked_tasks(whole, self.config)
        # What is alone in memory need not be computed twice.
        kept = self._read(parts[0]) if len(parts) == 1 else None
        own = self._own_features(parts, kept)
        everyones = {name: gather(own_RMD) for name, own_RMD in own.items()}
        device, places = parts[0].masked.batch.present_BM.device, [part.place for part in parts]
        joint = JointFeatures(
            everyones, self.reads.gradients, whole.to(device), places, self.config, self.weighted
        )
        contrast = joint.contrast() if "contrastive" in self.config.tasks else None
        hidden = _hidden(parts, tasks, device)
        if joint.used is not None and joint.used.own_BM.requires_grad:
            self._return_to_weights(joint.used, parts, kept, hidden)
        for name, gradient_BMD in joint.gradients().items():
            everyones[name].backward(gradient_BMD)
        masked = self._return_to_parameters(joint.used, parts, kept, own, hidden)
        values = [masked.get(task, joint.pairs.loss_BP.new_zeros(())) for task in tasks]
        if contrast is not None:
            tasks, values = ["contrastive", *tasks], [contrast, *values]
        losses = dict(zip(tasks, all_reduce_sum(torch.stack(values)), strict=True))
        return LossOutput(losses, joint.scores, None if contrast is None else joint.pairs)

    def _read(self, part: MicroBatch, predictions: bool = True) -> Read:
        torch.manual_seed(part.seed)
        reads = replace(self.reads, predictions=predictions)
        return self.model(part.masked.batch, part.masked.hidden, part.masked.positions, reads)

    def _own_features(self, parts: Sequence[MicroBatch], kept: Read | None) -> dict[str, Tensor]:
        """own_RMD by name, as leaves; takes the first pass, unless it is done."""
        with torch.no_grad():
            found = [kept] if kept else [self._read(part, predictions=False) for part in parts]
        own = {
            name: to_float32(torch.cat([read.features[name].detach() for read in found]))
            for name in self.reads.features
        }
        return {n: own_RMD.requires_grad_(n in self.reads.gradients) for n, own_RMD in own.items()}

    def _masked(
        self, part: MicroBatch, read: Read, used: Weights | None, hidden: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """A part's share of the masked losses, which are means over all that is hidden."""
        weigh = used is not None and self.config.weight_masked
        own_BM = used.own_BM[part.place] if weigh else None
        losses = masked_losses(read.predictions, part.masked, self.config, own_BM)
        return {task: loss * _count(part, task) / hidden[task] for task, loss in losses.items()}

    def _return_to_weights(
        self,
        used: Weights,
        parts: Sequence[MicroBatch],
        kept: Read | None,
        hidden: dict[str, Tensor],
    ) -> None:
        """Leave dM/dw at the weights of this process's products."""
        for part in parts:
            with torch.no_grad():
                read = kept or self._read(part)
            fixed = {m: prediction.detach() for m, prediction in read.predictions.items()}
            for loss in self._masked(part, replace(read, predictions=fixed), used, hidden).values():
                loss.backward()

    def _return_to_parameters(
        self,
        used: Weights | None,
        parts: Sequence[MicroBatch],
        kept: Read | None,
        own: dict[str, Tensor],
        hidden: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """The last pass; this process's share of the masked losses by task."""
        sums: dict[str, Tensor] = {}
        if used is not None:
            used = Weights(used.pair_BP.detach(), used.own_BM.detach())
        first = parts[0].place.start
        for part in parts:
            rows = slice(part.place.start - first, part.place.stop - first)
            with nullcontext() if part is parts[-1] else self.no_sync():
                read = kept or self._read(part)
                losses = self._masked(part, read, used, hidden)
                felt = [
                    (to_float32(read.features[name]) * own[name].grad[rows]).sum()
                    for name in self.reads.gradients
                ]
                total = torch.stack([read.nothing, *felt, *losses.values()]).sum()
                if total.requires_grad:
                    # DDP takes the mean over the processes; the loss is their sum.
                    self.backward(total * world_size())
            for task, loss in losses.items():
                sums[task] = sums.get(task, 0.0) + loss.detach()
        return sums


def _masked_tasks(whole: ProductBatch, config: LossConfig) -> list[str]:
    """The masked tasks that the whole batch has something for."""
    there_M = whole.present_BM.any(dim=0).tolist()
    tasks = {m: SPECS[m].task for m in MODALITIES}
    return [tasks[m] for m in MODALITIES if tasks[m] in config.tasks and there_M[INDEX[m]]]


def _count(part: MicroBatch, task: str) -> int:
    """Positions of a part that are hidden for a task."""
    return sum(len(t) for m, t in part.masked.targets.items() if SPECS[m].task == task)


def _hidden(
    parts: Sequence[MicroBatch], tasks: Sequence[str], device: torch.device
) -> dict[str, Tensor]:
    """Positions of the whole batch that are hidden, by task; at least 1, to divide by."""
    own_T = torch.tensor([sum(_count(part, task) for part in parts) for task in tasks])
    return dict(zip(tasks, all_reduce_sum(own_T.long().to(device)).clamp(min=1), strict=True))
