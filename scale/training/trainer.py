"""Training: one step, and the loop over steps with logging, validation and checkpoints.

B products of a batch, M modalities (five).
"""

import logging
import math
import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from scale.config import Config
from scale.data.dataset import ProductDataset
from scale.data.shards.reader import ShardDataset
from scale.losses.masking import MaskedBatch, Part, WordPieces, mask_batch
from scale.losses.total import LossOutput, WeightFn, scale_loss
from scale.losses.weighting import Weights
from scale.modalities import INDEX, TASKS
from scale.model.projection import ProjectionInputs
from scale.model.scale import ScaleModel
from scale.seeding import derived_seed
from scale.training.checkpoint_manager import CheckpointManager, TrainState
from scale.training.distributed import (
    broadcast_from_main,
    full_model,
    full_tensor,
    make_accelerator,
    own_share,
    shard,
    world_size,
)
from scale.training.gradient_cache import GradientCache, LossForward, MicroBatch
from scale.training.health_checks import BEST_BY, TrainingError, require_finite, require_updates
from scale.training.logging import Clock, MetricsBuffer, MetricsLogger, NullLogger
from scale.training.optimizer import learning_rate, make_optimizer
from scale.training.out_of_memory import OutOfMemoryRetry
from scale.training.precision import FastDropout, choose_precision
from scale.training.preemption import PreemptionHandler, TrainingStopped
from scale.training.prefetch import Prefetcher
from scale.training.sampler import batch_indices, shuffle_blocks
from scale.training.transforms import (
    checkpoint_activations,
    compile_layers,
    deterministic_algorithms,
)
from scale.training.validation import validate

log = logging.getLogger(__name__)

DROPOUT_STREAM, MASK_STREAM = 2, 3
"""Numbers of the random streams of a step (`scale.seeding`)."""
LossFn = Callable[[MaskedBatch, float], LossOutput]
"""Losses of a masked batch at a share of the training; the global generator is seeded before."""


@dataclass
class StepOutput:
    """Outputs of one training step, as tensors, so that nothing waits for the device."""

    loss: LossOutput
    present_BM: Tensor
    grad_norm: Tensor
    learning_rate: float

    def metrics(self) -> dict[str, Tensor]:
        """Return scalars by name, as written to metrics.jsonl."""
        named = {"loss/total": self.loss.total}
        named |= {f"loss/{name}": value for name, value in self.loss.losses.items()}
        named["grad_norm"] = self.grad_norm
        if self.loss.temperature is not None:
            named["temperature"] = self.loss.temperature
        return {name: value.detach().float() for name, value in named.items()}


class Trainer:
    """Trains a model: `train_step` for one step, `fit` for a run with logs and checkpoints.

    A step is a function of (seed, step) and the weights: order of the products, masks and dropout
    are seeded by both. A run that is stopped and resumed is therefore bit-identical to an
    uninterrupted one. Masks belong to a product, however the batch is divided among processes and
    micro-batches; dropout belongs to a micro-batch.
    """

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        train_set: ProductDataset | ShardDataset,
        weight_fn: WeightFn | None = None,
        weights: Weights | None = None,
    ):
        """
        Args:
            model: a ScaleModel, or a model with a method `objective` (LossFn), which is minimised.
            train_set: incomplete products are left out under the policy `drop`.
            weight_fn: replaces the weights of `LossConfig`, see `scale_loss`.
            weights: of the products used for training (`trainable`), a row each, for
                `LossConfig.weight_by` agreement.
        """
        settings = config.train
        if config.model.pooling == "projection" and not config.model.projection_heads:
            raise ValueError("model.projection_heads 0 leaves nothing to train")
        self.config, self.weight_fn = config, weight_fn
        self.train_set = trainable(train_set, config)
        self.blocks = shuffle_blocks(self.train_set, settings.shuffle_shards)
        self.word_pieces = WordPieces.of(train_set.tokenizer)
        precision = settings.precision
        if precision == "auto":
            precision = choose_precision(settings.device)
        self.accelerator = make_accelerator(settings.device, precision)
        self.device = self.accelerator.device
        fast = precision == "bf16" and self.device.type == "cpu"
        self.dropout = FastDropout if fast else nullcontext
        self.weights = None if weights is None else weights.to(self.device)
        self.model = model.to(self.device)
        if settings.activation_checkpointing:
            checkpoint_activations(self.model)
        if settings.compile:
            compile_layers(self.model)
        fused = weight_fn is not None or config.loss.weight_features == "fused"
        forward = LossForward(self.model, settings.loss_positions_only, fused)
        self.sharded = settings.fsdp and world_size() > 1
        if self.sharded:
            shard(forward, self.model, self.device)
        self.optimizer = make_optimizer(
            self.model,
            settings.learning_rate,
            settings.weight_decay,
            settings.backbone_learning_rate,
        )
        # `evaluation_mode` disables DDP and nothing else.
        self.forward = self.accelerator.prepare_model(forward, evaluation_mode=self.sharded)
        self.scaled_optimizer = self.accelerator.prepare_optimizer(self.optimizer)
        self.loss_fn: LossFn = getattr(model, "objective", self._scale_loss)
        self._own_share(min(settings.batch_size, len(self.train_set)))
        self._projects = (
            bool(getattr(model, "projections", None))
            and config.loss.tasks == ("contrastive",)
            and not (config.mask.always or fused or self.sharded)
            and self.loss_fn == self._scale_loss
            and isinstance(self.train_set, ProductDataset)
        )
        # On a CPU, a thread would only compete for the cores.
        self.prefetcher = Prefetcher(self._masked_batch) if self.device.type == "cuda" else None
        self.state = TrainState(step=0)
        self.saved_step: int | None = None
        """Step of the checkpoint `last`, as far as this object read or wrote it."""

    def train_step(self, step: int, micro_batch: int | None = None) -> StepOutput:
        """Run one training step: batch, mask, forward, loss, backward, clip, update.

        Args:
            step: number of the step, from 0.
            micro_batch: replaces `train.micro_batch`.
        """
        settings, progress = self.config.train, step / self.config.train.steps
        rows_B = self._rows(step)
        parts = self._micro_batches(step, len(rows_B), micro_batch)

        self.forward.train()
        self.scaled_optimizer.zero_grad(set_to_none=True)
        with self.dropout():
            if parts[0].place == slice(0, len(rows_B)):
                masked = parts[0].masked
                present_BM = masked.batch.present_BM
                torch.manual_seed(parts[0].seed)
                loss = self.loss_fn(masked, progress)
                self.accelerator.backward(loss.total)
            else:
                whole = self.train_set.facts(rows_B)
                present_BM = whole.present_BM
                loss = self._gradient_cache(progress)(parts, whole)

        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        rate = learning_rate(step, settings.steps, settings.learning_rate, settings.warmup_share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.scaled_optimizer.step()
        return StepOutput(loss, present_BM, full_tensor(norm), rate)

    def _scale_loss(self, masked: MaskedBatch, progress: float) -> LossOutput:
        output = self.forward(
            masked.batch, masked.hidden, masked.positions, halves_BM=masked.halves_BM
        )
        return scale_loss(output, masked, self.config.loss, progress, self.weight_fn, self.weights)

    def _gradient_cache(self, progress: float) -> GradientCache:
        # With FSDP2, gradients are reduced after each part, so that none is ever whole.
        no_sync = nullcontext if self.sharded else lambda: self.accelerator.no_sync(self.forward)
        backward = self.accelerator.backward
        return GradientCache(
            self.forward, self.config.loss, progress, backward, no_sync, self.weights
        )

    def _rows(self, step: int) -> np.ndarray:
        settings = self.config.train
        size, seed = settings.batch_size, settings.seed
        return batch_indices(len(self.train_set), size, seed, step, self.blocks)

    def _own_share(self, products: int) -> slice:
        """Return this process's part of a batch. Raises ValueError if it cannot be divided."""
        own, parted = own_share(products), bool(self.config.train.micro_batch)
        scale = self.loss_fn == self._scale_loss and self.weight_fn is None
        if not scale and (parted or own != slice(0, products)):
            raise ValueError(
                "a custom objective or weight_fn needs the whole batch at once: one process and "
                "train.micro_batch 0"
            )
        return own

    def _micro_batches(
        self, step: int, products: int, micro_batch: int | None = None
    ) -> list[MicroBatch]:
        """Return this process's part of a step's batch, masked, on the device, in micro-batches."""
        settings, own = self.config.train, self._own_share(products)
        size = (settings.micro_batch if micro_batch is None else micro_batch) or products
        places = [slice(at, min(at + size, own.stop)) for at in range(own.start, own.stop, size)]
        seed = settings.seed, DROPOUT_STREAM, step
        if places == [slice(0, products)]:
            seeds = [derived_seed(*seed)]
        else:
            seeds = [derived_seed(*seed, place.start) for place in places]
        batches = self._masked_batches(step, places)
        return [MicroBatch(*part) for part in zip(batches, places, seeds, strict=True)]

    def _masked_batches(self, step: int, places: list[slice]) -> list[MaskedBatch]:
        """Return the masked products at these places of the step's batch, on the device."""
        keys = [(step, place.start, place.stop) for place in places]
        if self.prefetcher is None:
            return [self._masked_batch(key) for key in keys]
        # The next step has the same places, if it has as many products.
        more = step + 1 < self.config.train.steps
        following = [*keys[1:], (step + 1, *keys[0][1:]) if more else None]
        return [self.prefetcher.get(key, after) for key, after in zip(keys, following, strict=True)]

    def _masked_batch(self, key: tuple[int, int, int]) -> MaskedBatch:
        """Return the masked products from `start` to `stop` of a step's batch."""
        step, start, stop = key
        rows_B = self._rows(step)
        own_B = rows_B[start:stop]
        if self._projects:
            batch = self._projection_inputs.add_to(self.train_set.facts(own_B))
        else:
            batch = self.train_set.collate(own_B)
        return mask_batch(
            batch,
            self.config.mask,
            self.word_pieces,
            (self.config.train.seed, MASK_STREAM, step),
            (*self.config.loss.tasks, *(TASKS if self.config.mask.always else ())),
            Part(start, len(rows_B)),
        ).to(self.device)

    @cached_property
    def _projection_inputs(self) -> ProjectionInputs:
        # Computed at the first step: a checkpoint has been restored by then.
        return ProjectionInputs.compute(self.model.projections, self.train_set)

    def restore(self, checkpoints: CheckpointManager) -> str | None:
        """Load the newest good checkpoint; return its name, or None if there is none."""
        found = checkpoints.restore(self.model, self.optimizer)
        if found is None:
            return None
        name, self.state = found
        self.saved_step = self.state.step if name == "last" else None
        if self.state.scaler and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(self.state.scaler)
        return name

    def checkpoint_state(self) -> TrainState:
        """Return the progress of the run, with the state of the gradient scaler under fp16."""
        scaler = self.accelerator.scaler
        return replace(self.state, scaler=scaler.state_dict() if scaler else None)

    def fit(
        self,
        val_set: ProductDataset | ShardDataset | None,
        checkpoints: CheckpointManager,
        logger: MetricsLogger | NullLogger,
        preemption: PreemptionHandler,
        progress: bool = True,
    ) -> TrainState:
        """Train from `state.step` to `train.steps` and return the final state.

        Raises:
            TrainingError: a loss or the gradient is not finite, or memory or disk is full; the
                message suggests a remedy and names the last good checkpoint.
            TrainingStopped: after a signal or at the time limit; a checkpoint is saved.
            KeyboardInterrupt: Ctrl-C; a checkpoint is saved.
        """
        loop = _Loop(self, val_set, checkpoints, logger, preemption)
        # With several CPU threads, the summation order of indexing's backward pass varies.
        exact = self.config.train.deterministic or self.device.type == "cpu"
        try:
            with deterministic_algorithms(exact), preemption.listening():
                loop.run(progress and self.accelerator.is_main_process)
        except TrainingError as error:
            raise TrainingError(f"{error} {checkpoints.describe()}") from error
        except OSError as error:
            raise TrainingError(
                f"step {self.state.step}: {error}. Is the disk full? Free some space, then "
                f"continue with --resume (resume=True). {checkpoints.describe()}"
            ) from error
        finally:
            logger.close()
        self.accelerator.wait_for_everyone()
        return self.state


class _Loop:
    """The loop of `Trainer.fit`: steps, and everything that is due between two of them."""

    def __init__(self, trainer, val_set, checkpoints, logger, preemption):
        self.trainer, self.val_set, self.checkpoints = trainer, val_set, checkpoints
        self.logger, self.preemption = logger, preemption
        self.settings = trainer.config.train
        self.buffer = MetricsBuffer()
        self.skipped = 0
        self.clock = Clock(trainer.state.step)
        several = trainer.accelerator.num_processes > 1
        enabled = self.settings.auto_batch and not several
        self.retry = OutOfMemoryRetry(trainer.optimizer, enabled)

    def run(self, progress: bool) -> None:
        trainer, settings = self.trainer, self.settings
        whole = min(settings.batch_size, len(trainer.train_set))
        bar = tqdm(total=settings.steps, initial=trainer.state.step, desc="pretrain",
                   disable=not progress)  # fmt: skip
        with bar:
            if trainer.state.step:
                # The stopped run may have skipped what was due at its last step.
                self._run_due()
            while trainer.state.step < settings.steps:
                step, state = trainer.state.step, trainer.state
                output, micro_batch = self.retry(
                    lambda size, step=step: trainer.train_step(step, size),
                    step,
                    state.micro_batch or settings.micro_batch or whole,
                )
                lowered = micro_batch < (settings.micro_batch or whole)
                trainer.state = replace(
                    state, step=step + 1, micro_batch=micro_batch if lowered else None
                )
                self.buffer.add(step + 1, output.metrics())
                bar.update()
                if self._due(settings.log_every):
                    bar.set_postfix(loss=f"{self._log(output):.3f}")
                elif trainer.device.type == "cpu":
                    self._fetch()
                reason = self._stop_reason() if step + 1 < settings.steps else None
                if reason:
                    self._stop(reason)
                self._run_due()

    def _due(self, every: int) -> bool:
        """Return whether an action with this period (0: never) is due; all are at the last step."""
        step = self.trainer.state.step
        return every > 0 and (step % every == 0 or step == self.settings.steps)

    def _run_due(self) -> None:
        """Keep a model, validate and save a checkpoint, each if due and not yet done."""
        settings, step = self.settings, self.trainer.state.step
        if self._due(settings.keep_every):
            self._fetch()
            self.checkpoints.save_numbered(self.trainer.model, self.trainer.state)
        if self._due(settings.eval_every) and self._on_main(not self.logger.has(step, BEST_BY)):
            self._fetch()
            self._validate()
        if self._due(settings.checkpoint_every) and self.trainer.saved_step != step:
            self._fetch()
            self._save_last()

    def _log(self, output: StepOutput) -> float:
        """Write the metrics of the last step and return its total loss."""
        trainer, values = self.trainer, self._fetch()
        step, batch_size = trainer.state.step, min(self.settings.batch_size, len(trainer.train_set))
        speed = {"products_per_second": self.clock.rate(step) * batch_size}
        self.logger.add(step, values | {"learning_rate": output.learning_rate} | speed)
        if output.loss.scores is not None:
            self.logger.add_scores(step, output.loss.scores.weighted_BMM, output.present_BM)
        return values["loss/total"]

    def _fetch(self) -> dict[str, float]:
        """Fetch the metrics of all steps since the last call, check them, return the last ones."""
        values: dict[str, float] = {}
        for step, values in self.buffer.fetch():
            require_finite(step, values, self.settings.precision)
            self.skipped = 0 if math.isfinite(values["grad_norm"]) else self.skipped + 1
            require_updates(step, self.skipped)
        return values

    def _validate(self) -> None:
        if self.val_set is None or not len(self.val_set):
            return
        trainer, improved = self.trainer, False
        model = full_model(trainer.model)
        if trainer.accelerator.is_main_process:
            improved = self._measure(model)
        if self._on_main(improved):
            self.logger.flush()
            self.checkpoints.save_best(trainer.model, trainer.optimizer, trainer.checkpoint_state())

    def _measure(self, model: ScaleModel) -> bool:
        """Validate a model; return whether it is the best so far."""
        trainer = self.trainer
        result = validate(model, self.val_set, trainer.device)
        self.logger.add(trainer.state.step, result.values)
        if result.warning and trainer.state.step >= self.settings.steps // 4:
            log.warning("step %d: %s", trainer.state.step, result.warning)
        value, best = result.values[BEST_BY], trainer.state.best_value
        # A run of an earlier version may have chosen by another metric.
        comparable = best is not None and trainer.state.best_by == BEST_BY
        if not math.isfinite(value) or (comparable and value < best):
            return False
        step = trainer.state.step
        trainer.state = replace(trainer.state, best_value=value, best_step=step, best_by=BEST_BY)
        return True

    def _on_main(self, value: bool) -> bool:
        """Return the main process's value if all processes must agree, else this one's."""
        return broadcast_from_main(value, self.trainer.device) if self.trainer.sharded else value

    def _stop_reason(self) -> str | None:
        """Return the reason to stop now, or None; several processes agree at logged steps only."""
        accelerator = self.trainer.accelerator
        if accelerator.num_processes == 1:
            return self.preemption.reason()
        if not self._due(self.settings.log_every):
            return None
        reason = self.preemption.reason()
        stops = torch.tensor(float(reason is not None), device=self.trainer.device)
        if accelerator.reduce(stops, "sum").item() == 0:
            return None
        return reason or "another process was stopped"

    def _stop(self, reason: str) -> None:
        """Save a checkpoint and raise."""
        self._fetch()
        self._save_last()
        # A launcher ends all processes as soon as one of them has ended.
        self.trainer.accelerator.wait_for_everyone()
        if self.preemption.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise TrainingStopped(
            f"step {self.trainer.state.step} of {self.settings.steps}: {reason}; saved in "
            f"{self.checkpoints.folder / 'last'}; continue with --resume (resume=True)"
        )

    def _save_last(self) -> None:
        trainer = self.trainer
        self.logger.flush()
        self.checkpoints.save_last(trainer.model, trainer.optimizer, trainer.checkpoint_state())
        trainer.saved_step = trainer.state.step


def trainable(dataset: ProductDataset, config: Config) -> ProductDataset:
    """Return the products used for training: under the policy `drop`, complete ones only."""
    present_NM = torch.from_numpy(dataset.present_NM)
    used = [INDEX[m] for m in config.model.modalities]
    keep_N = present_NM[:, used].any(dim=1)
    if config.missing.policy == "drop":
        keep_N = present_NM[:, used].all(dim=1)
    kept = keep_N.nonzero().squeeze(1).numpy()
    if len(kept) < 2:
        raise TrainingError(
            f"{len(kept)} of {len(dataset)} products can be used for training (missing.policy "
            f"{config.missing.policy!r}): contrastive learning needs at least 2"
        )
    return dataset.subset(kept)
