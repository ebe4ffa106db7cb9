"""Gradient caching: the exact gradient of a large batch, computed in micro-batches.

The contrastive loss compares every product with all others of the batch, so the gradients of small
batches do not add up to it. But it depends on the products only through their pooled features f:

    L = J(f) + sum_k M_k(w(f))      J: contrastive loss, M_k: masked losses of part k, w: weights

GradCache (Gao, Zhang, Han and Callan, 2021, arXiv 2101.06983) therefore uses two passes:

1. compute f of every part, without gradient;
2. compute G = dL/df, on the features alone;
3. repeat each part's forward pass, with gradient and the same dropout: the gradients of
   sum(G_k * f_k) + M_k  add up to that of L.

If a gradient flows through the weights of the masked losses, dM_k/dw takes one more pass without
gradient between 1 and 2. With several processes, each has some of the parts; features and their
gradients are exchanged.

B products of the whole batch, R of this process, M modalities (five), D width, T tasks.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from scale.config import FUSED_TASKS, LossConfig
from scale.data.batch import ProductBatch
from scale.losses.contrastive import PairLosses, valid_pairs
from scale.losses.fused import FUSED_FEATURES, fused_features, fused_losses
from scale.losses.masking import MaskedBatch
from scale.losses.total import (
    LossOutput,
    batch_pairs,
    batch_scores,
    contrastive_loss,
    is_info_nce,
    learned_temperature,
    masked_losses,
    uses_pairs,
    weights_act,
)
from scale.losses.weighting import Weights, configured_weights
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.model.scale import (
    ContrastOutput,
    EmbedOutput,
    FusedOutput,
    ScaleModel,
    ScaleOutput,
)
from scale.model.scores import to_float32
from scale.training.distributed import all_reduce_sum, gather, is_sharded, world_size


@dataclass(frozen=True)
class MicroBatch:
    """Products that are in memory at once."""

    masked: MaskedBatch
    place: slice
    """Their positions in the whole batch."""
    seed: int
    """Seed of their dropout, the same in each pass."""


@dataclass(frozen=True)
class OutputSpec:
    """Outputs of the model that the losses use."""

    features: tuple[str, ...]
    """Pooled features: `encoder`, `fused` if S is computed from them, `fused_pairs` if the
    contrastive loss fuses pairs, and those of `losses.fused.fused_features`."""
    gradients: tuple[str, ...]
    """Features that receive a gradient."""
    predictions: bool = True
    """Whether the masked losses are computed."""
    fused_tasks: tuple[str, ...] = ()
    """Active losses of FUSED_TASKS."""

    @staticmethod
    def of(config: LossConfig, progress: float) -> "OutputSpec":
        """Return the outputs used by a loss at a share `progress` of the training."""
        fused_tasks = tuple(task for task in FUSED_TASKS if task in config.tasks)
        halves = tuple(name for task in fused_tasks for name in FUSED_FEATURES[task])
        learning = set(halves)
        if {"contrastive", "imputed_contrastive"} & set(config.tasks):
            learning.add("encoder")
        weighted = config.weight_by == "scores" and weights_act(config, progress)
        if config.weight_gradient and weighted:
            learning.add(config.weight_features)
        used = ("encoder", "fused") if config.weight_features == "fused" else ("encoder",)
        used += halves
        if "fusion" in config.contrast_parameters:
            used, learning = (*used, "fused_pairs"), learning | {"fused_pairs"}
        learned = tuple(name for name in used if name in learning)
        return OutputSpec(used, learned, fused_tasks=fused_tasks)


@dataclass
class LossInputs:
    """Outputs of the model for some products."""

    features: dict[str, Tensor]
    """pooled_BMD by name."""
    predictions: dict[str, Tensor] = field(default_factory=dict)
    """As `ScaleOutput.predictions`."""
    zero: Tensor = field(default_factory=lambda: torch.zeros(()))
    """0, connected to parameters that must receive a gradient (of 0) in every process."""
    shared: dict[str, Tensor] = field(default_factory=dict)
    """Learned numbers of the contrastive loss, by their names in `ContrastOutput`."""

    @staticmethod
    def of(output: EmbedOutput, halves: Sequence[FusedOutput], spec: OutputSpec) -> "LossInputs":
        """Return the features of a model's output that `spec` names, and the learned numbers."""
        contrast = output.contrast
        shared = {"log_scale_1": contrast.log_scale_1, "bias_1": contrast.bias_1}
        pooled = {"encoder": output.pooled_BMD, "fused_pairs": contrast.fused_BPD}
        if isinstance(output, ScaleOutput):
            pooled["fused"] = output.fused_pooled_BMD
        pooled |= fused_features(halves, spec.fused_tasks)
        features = {name: pooled[name] for name in spec.features}
        return LossInputs(features, shared={n: v for n, v in shared.items() if v is not None})


class LossForward(nn.Module):
    """The forward pass as DDP and FSDP2 need it.

    DDP waits for a gradient of every parameter that an output depends on. Hence no output may be
    unused by the losses, and one output must depend on a parameter even if a process's products
    have nothing for any task. In one process the whole `ScaleOutput` is returned.
    """

    def __init__(self, model: ScaleModel, loss_positions_only: bool = False, fused: bool = True):
        """`loss_positions_only`: see `TrainConfig`; `fused`: the losses use the JCT's [CLS]."""
        super().__init__()
        self.model, self.loss_positions_only, self.fused = model, loss_positions_only, fused

    def forward(
        self,
        batch: ProductBatch,
        hidden: dict[str, Tensor],
        positions: dict[str, np.ndarray] | None = None,
        spec: OutputSpec | None = None,
        halves_BM: Tensor | None = None,
    ) -> ScaleOutput | LossInputs:
        """Return the outputs named by `spec`, or everything without a spec."""
        model, options = self.model, {"loss_positions_only": self.loss_positions_only}
        unused = not hidden and not self.fused and halves_BM is None
        if spec is None and unused and not model.run_all_encoders:
            return self._unfused(batch)
        if spec is None:
            options |= {"fused_pooled": self.fused, "halves_BM": halves_BM}
            return model(batch, hidden, positions, **options)
        if not spec.fused_tasks:
            halves_BM = None
        if not spec.predictions and "fused" not in spec.features:
            return LossInputs.of(*model.embed_halves(batch, hidden, halves_BM), spec)
        options["halves_BM"] = halves_BM
        options["fused_pooled"] = "fused" in spec.features or model.run_all_encoders
        output = model(batch, hidden, positions, predictions=spec.predictions, **options)
        inputs = LossInputs.of(output, output.halves, spec)
        for name in set(spec.features) - set(spec.gradients):
            inputs.features[name] = inputs.features[name].detach()
        if not spec.predictions:
            return inputs
        zero = self._zero(output) if world_size() > 1 else output.pooled_BMD.new_zeros(())
        return replace(inputs, predictions=output.predictions, zero=zero)

    def _unfused(self, batch: ProductBatch) -> ScaleOutput:
        """Return the pooled features alone: no loss uses the output of the JCT."""
        found = self.model.embed(batch)
        empty_BMD = found.pooled_BMD.new_zeros(*found.present_BM.shape, self.model.config.width)
        return ScaleOutput(
            found.pooled_BMD, found.present_BM, {}, {}, empty_BMD, {}, contrast=found.contrast
        )

    def _zero(self, output: ScaleOutput) -> Tensor:
        """Return 0, connected to one parameter, or under FSDP2 to all of them.

        FSDP2 reduces existing gradients, which must be the same ones in each process.
        """
        if not self.model.run_all_encoders:
            return 0.0 * self.model.jct.stack.norm.bias.sum()
        # Parameters of the layers are sharded by now and reached through their output.
        whole = [p.sum() for p in self.parameters() if not is_sharded(p)]
        pooled = [output.pooled_BMD.sum(), output.fused_pooled_BMD.sum()]
        return 0.0 * torch.stack([*pooled, *whole]).sum()


class GradientCache:
    """Computes the losses of a whole batch and their gradient from its micro-batches.

    Equal to `scale_loss` of the whole batch and its backward pass, up to rounding and dropout.
    """

    def __init__(
        self,
        forward: LossForward,
        config: LossConfig,
        progress: float,
        backward: Callable[[Tensor], None] = Tensor.backward,
        no_sync: Callable[[], AbstractContextManager] = nullcontext,
        fixed: Weights | None = None,
    ):
        """
        Args:
            forward: as it is, or as wrapped by accelerate.
            config, progress: as in `scale_loss`.
            backward: called with a scalar, e.g. `accelerator.backward`.
            no_sync: context manager without gradient exchange between processes.
            fixed: as in `scale_loss`.
        """
        self.fixed = fixed
        self.forward, self.config, self.backward, self.no_sync = forward, config, backward, no_sync
        self.spec = OutputSpec.of(config, progress)
        self.weighted = weights_act(config, progress)

    def __call__(self, parts: Sequence[MicroBatch], whole: ProductBatch) -> LossOutput:
        """Add the gradient to the parameters' and return the losses of the whole batch, detached.

        Args:
            parts: this process's products in order; the same number of parts in every process.
            whole: all products of the batch, on the CPU; its tokens are not used.
        """
        device = parts[0].masked.batch.present_BM.device
        whole, tasks = whole.to(device), _masked_tasks(whole, self.config)
        masked_counts = _masked_counts(parts, tasks, device)
        # A single micro-batch reuses its first forward pass.
        first = self._forward(parts[0]) if len(parts) == 1 else None

        own, shared = self._own_features(parts, first)
        features = {name: gather(own_RMD) for name, own_RMD in own.items()}
        contrast = ContrastOutput(**shared, fused_BPD=features.get("fused_pairs"))
        scores = batch_scores(features, whole.present_BM, self.config)
        own_pairs = pairs = None
        if uses_pairs(self.config):
            own_pairs = self._unweighted_pairs(features["encoder"], contrast, whole, parts)
            own_RP = own_pairs.loss_BP.detach()
            pairs = PairLosses(gather(own_RP), valid_pairs(whole.present_BM))
        weights = None
        if self.weighted:
            weights = configured_weights(
                self.config, scores, pairs, whole.present_BM,
                self.fixed and self.fixed.select(whole.index_B),
            )  # fmt: skip
        contrastive = self._contrastive(
            features["encoder"], contrast, whole, parts, weights, own_pairs
        )

        fused = self._fused(features, whole, parts)

        joint = torch.stack([contrastive, *fused.values()]).sum()
        if weights is not None and weights.own_BM.requires_grad and self.config.weight_masked:
            gradient_BM = self._masked_weight_gradient(weights, parts, first, masked_counts)
            joint = joint + (weights.own_BM * gradient_BM).sum()
        if joint.requires_grad:
            joint.backward()
        sums = self._backward_parts(weights, parts, first, own, shared, masked_counts)

        values = [sums.get(task, joint.new_zeros(())) for task in tasks]
        names, on = [*tasks, *fused], "contrastive" in self.config.tasks
        values += [loss.detach() for loss in fused.values()]
        if on:
            names, values = ["contrastive", *names], [contrastive.detach(), *values]
        losses = dict(zip(names, all_reduce_sum(torch.stack(values)), strict=True))
        logged = on and self.config.contrast == "pairwise"
        temperature = learned_temperature(contrast, self.config)
        return LossOutput(losses, scores, pairs if logged else None, temperature)

    def _forward(self, part: MicroBatch, predictions: bool = True) -> LossInputs:
        torch.manual_seed(part.seed)
        spec = replace(self.spec, predictions=predictions)
        masked = part.masked
        return self.forward(masked.batch, masked.hidden, masked.positions, spec, masked.halves_BM)

    def _own_features(
        self, parts: Sequence[MicroBatch], first: LossInputs | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Pass 1: return own_RMD and shared numbers by name, as leaves that collect dL/df."""
        with torch.no_grad():
            found = [first] if first else [self._forward(part, predictions=False) for part in parts]
        own = {
            name: to_float32(torch.cat([inputs.features[name].detach() for inputs in found]))
            for name in self.spec.features
        }
        own = {n: own_RMD.requires_grad_(n in self.spec.gradients) for n, own_RMD in own.items()}
        shared = found[0].shared
        return own, {n: v.detach().clone().requires_grad_() for n, v in shared.items()}

    def _unweighted_pairs(
        self,
        pooled_BMD: Tensor,
        contrast: ContrastOutput,
        whole: ProductBatch,
        parts: Sequence[MicroBatch],
    ) -> PairLosses:
        """Return InfoNCE of this process's products, with gradient if it is the loss.

        In tiles where they support the options; else one part at a time, without gradient.
        """
        own, config = _own_share(parts), self.config
        if config.negatives == "cross":
            on_logits = self.weighted and config.weight_on == "logits"
            learns = "contrastive" in config.tasks and is_info_nce(config) and not on_logits
            anchors = None if own == slice(0, len(whole)) else own
            with torch.set_grad_enabled(learns):
                return batch_pairs(pooled_BMD, contrast, whole, config, anchors=anchors, tiled=True)
        with torch.no_grad():
            chunks = [
                batch_pairs(pooled_BMD, contrast, whole, config, None, part.place) for part in parts
            ]
            loss_RP = torch.cat([chunk.loss_BP for chunk in chunks])
        return PairLosses(loss_RP, valid_pairs(whole.present_BM)[own])

    def _contrastive(
        self,
        pooled_BMD: Tensor,
        contrast: ContrastOutput,
        whole: ProductBatch,
        parts: Sequence[MicroBatch],
        weights: Weights | None,
        own_pairs: PairLosses | None,
    ) -> Tensor:
        """Return this process's share of the contrastive loss.

        Where the pairs do not have the gradient, checkpointing limits the logits in memory to those
        of one part with all products; it does not change the result.
        """
        total = pooled_BMD.new_zeros(())
        if "contrastive" not in self.config.tasks:
            return total

        def share(pairs: PairLosses | None, anchors: slice) -> Tensor:
            pair_BP = None if weights is None else weights.pair_BP[anchors]
            return contrastive_loss(
                pooled_BMD, contrast, whole, self.config, pair_BP, pairs, anchors
            )

        if own_pairs is not None and own_pairs.loss_BP.requires_grad:
            return share(own_pairs, _own_share(parts))
        for part in parts:
            total = total + checkpoint(
                share, None, part.place, use_reentrant=False, preserve_rng_state=False
            )
        return total

    def _fused(
        self, features: dict[str, Tensor], whole: ProductBatch, parts: Sequence[MicroBatch]
    ) -> dict[str, Tensor]:
        """Return this process's share of the losses of FUSED_TASKS."""
        return fused_losses(features, whole, self.config, _own_share(parts))

    def _masked(
        self,
        part: MicroBatch,
        predictions: dict[str, Tensor],
        own_BM: Tensor | None,
        masked_counts: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Return a part's share of the masked losses, which are means over all masked tokens."""
        own_RM = None if own_BM is None else own_BM[part.place]
        losses = masked_losses(predictions, part.masked, self.config, own_RM)
        return {
            task: loss * _masked_count(part, task) / masked_counts[task]
            for task, loss in losses.items()
        }

    def _masked_weight_gradient(
        self,
        weights: Weights,
        parts: Sequence[MicroBatch],
        first: LossInputs | None,
        masked_counts: dict[str, Tensor],
    ) -> Tensor:
        """Return dM/dw of this process's products as (B, M), 0 for others."""
        own_BM = weights.own_BM.detach().requires_grad_()
        for part in parts:
            with torch.no_grad():
                inputs = first or self._forward(part)
            fixed = {m: prediction.detach() for m, prediction in inputs.predictions.items()}
            for loss in self._masked(part, fixed, own_BM, masked_counts).values():
                loss.backward()
        return torch.zeros_like(own_BM) if own_BM.grad is None else own_BM.grad

    def _backward_parts(
        self,
        weights: Weights | None,
        parts: Sequence[MicroBatch],
        first: LossInputs | None,
        own: dict[str, Tensor],
        shared: dict[str, Tensor],
        masked_counts: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Pass 3: return this process's share of the masked losses by task."""
        used = weights is not None and self.config.weight_masked
        own_BM = weights.own_BM.detach() if used else None
        sums: dict[str, Tensor] = {}
        start = parts[0].place.start
        for part in parts:
            rows = slice(part.place.start - start, part.place.stop - start)
            with nullcontext() if part is parts[-1] else self.no_sync():
                inputs = first or self._forward(part)
                losses = self._masked(part, inputs.predictions, own_BM, masked_counts)
                joint = [
                    (to_float32(inputs.features[name]) * own[name].grad[rows]).sum()
                    for name in self.spec.gradients
                    if own[name].grad is not None
                ]
                joint += [
                    (value * shared[name].grad).sum() / len(parts)
                    for name, value in inputs.shared.items()
                ]
                total = torch.stack([inputs.zero, *joint, *losses.values()]).sum()
                if total.requires_grad:
                    # DDP averages over processes, but the loss is their sum.
                    self.backward(total * world_size())
            for task, loss in losses.items():
                sums[task] = sums.get(task, 0.0) + loss.detach()
        return sums


def _own_share(parts: Sequence[MicroBatch]) -> slice:
    """Return the places of this process's products in the whole batch."""
    return slice(parts[0].place.start, parts[-1].place.stop)


def _masked_tasks(whole: ProductBatch, config: LossConfig) -> list[str]:
    """Return the masked tasks with at least one product in the whole batch."""
    present_M = whole.present_BM.any(dim=0).tolist()
    tasks = {m: SPECS[m].task for m in MODALITIES}
    return [tasks[m] for m in MODALITIES if tasks[m] in config.tasks and present_M[INDEX[m]]]


def _masked_count(part: MicroBatch, task: str) -> int:
    """Return the number of masked tokens of a part for a task."""
    return sum(len(t) for m, t in part.masked.targets.items() if SPECS[m].task == task)


def _masked_counts(
    parts: Sequence[MicroBatch], tasks: Sequence[str], device: torch.device
) -> dict[str, Tensor]:
    """Return the number of masked tokens of the whole batch by task, at least 1."""
    own_T = torch.tensor([sum(_masked_count(part, task) for part in parts) for task in tasks])
    return dict(zip(tasks, all_reduce_sum(own_T.long().to(device)).clamp(min=1), strict=True))
