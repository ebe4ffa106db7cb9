"""The training loop: thin, seeded step by step, and exact when stopped.

B products, M modalities (five).
"""

import logging
import math
import os
import time
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor
from tqdm.auto import tqdm

from scale.config import Config
from scale.data.dataset import ProductDataset
from scale.modalities import INDEX
from scale.model.scale import ScaleModel
from scale.objectives.masking import WordPieces, mask_batch
from scale.objectives.total import LossOutput, scale_loss
from scale.seeding import derived_seed
from scale.training.checkpoint import (
    TrainState,
    load_checkpoint,
    recover_checkpoint,
    save_checkpoint,
)
from scale.training.log import RunLog
from scale.training.run import RunFolder
from scale.training.schedule import batch_indices, learning_rate, parameter_groups
from scale.training.validation import BEST_BY, validate

log = logging.getLogger(__name__)

DROPOUT_STREAM, MASK_STREAM = 2, 3
"""Numbers of the random streams of a step (`scale.seeding`)."""


class TrainingError(RuntimeError):
    """Training that cannot go on; the message says at which step, why, and what to try."""


@dataclass
class Step:
    """What one step has to say; tensors, so that nothing waits for the device."""

    loss: LossOutput
    present_BM: Tensor
    grad_norm: Tensor
    learning_rate: float

    def figures(self) -> dict[str, Tensor]:
        """Scalars by name, as metrics.jsonl has them."""
        named = {"loss/total": self.loss.total}
        named |= {f"loss/{name}": value for name, value in self.loss.losses.items()}
        named["grad_norm"] = self.grad_norm
        return {name: value.detach().float() for name, value in named.items()}


class Clock:
    """Steps per second since it was last asked."""

    def __init__(self, step: int) -> None:
        self.step, self.time = step, time.perf_counter()

    def rate(self, step: int) -> float:
        """Steps per second between the last call and now, at which `step` steps are done."""
        since, self.step = self.step, step
        before, self.time = self.time, time.perf_counter()
        return (step - since) / (self.time - before)


class Trainer:
    """Trains a model on a data set into a run folder.

    Every step is a function of (seed, step) and of the weights: the order of the data, the masks
    and the dropout are seeded by both, so a run that is stopped and resumed has the same bits as
    one that never stopped.
    """

    def __init__(
        self,
        config: Config,
        model: ScaleModel,
        train: ProductDataset,
        val: ProductDataset | None,
        run: RunFolder,
    ):
        self.config, self.run, self.val = config, run, val
        self.train = _trainable(train, config)
        self.accelerator = make_accelerator(config.train.device, config.train.precision)
        self.device = self.accelerator.device
        self.pieces = WordPieces.of(train.tokenizer)
        self.model = model.to(self.device)
        optimizer = torch.optim.AdamW(
            parameter_groups(self.model, config.train.weight_decay),
            lr=config.train.learning_rate,
            betas=(0.9, 0.98),
            fused=self.device.type == "cuda",
        )
        self.state = TrainState(step=0)
        self.pending: list[tuple[int, Step]] = []
        if recover_checkpoint(run.checkpoint("last")):
            self.state = load_checkpoint(run.checkpoint("last"), self.model, optimizer)
        self.optimizer = optimizer
        self.prepared, self.stepper = self.accelerator.prepare(self.model, optimizer)

    def fit(self, progress: bool = True) -> TrainState:
        """Train up to `train.steps`; returns where the run stands then.

        Raises TrainingError where a loss or the gradient is not finite.
        """
        settings = self.config.train
        files = RunLog(self.run.folder, self.state.step)
        bar = tqdm(
            total=settings.steps, initial=self.state.step, desc="pretrain", disable=not progress
        )
        self.clock = Clock(self.state.step)
        deterministic = torch.are_deterministic_algorithms_enabled()
        # With several CPU threads, indexing otherwise adds its gradients up in an order of its own.
        torch.use_deterministic_algorithms(deterministic or self.device.type == "cpu")
        try:
            while self.state.step < settings.steps:
                step = self.step(self.state.step)
                self.state = replace(self.state, step=self.state.step + 1)
                self.pending.append((self.state.step, step))
                bar.update()
                if self._due(settings.log_every):
                    values = self._log(files, step)
                    bar.set_postfix(loss=f"{values['loss/total']:.3f}")
                elif self.device.type == "cpu":
                    self._fetch()
                if self._due(settings.eval_every):
                    self._validate(files)
                if self._due(settings.checkpoint_every):
                    self._fetch()
                    self._save("last", files)
        finally:
            torch.use_deterministic_algorithms(deterministic)
            bar.close()
            files.close()
        return self.state

    def _due(self, every: int) -> bool:
        """Whether something that comes every so many steps (0: never) comes now; all do at last."""
        return every > 0 and (
            self.state.step % every == 0 or self.state.step == self.config.train.steps
        )

    def step(self, step: int) -> Step:
        """One step: corrupt, predict, weigh, descend."""
        settings = self.config.train
        torch.manual_seed(derived_seed(settings.seed, DROPOUT_STREAM, step))
        rows = batch_indices(len(self.train), settings.batch_size, settings.seed, step)
        masked = mask_batch(
            self.train.collate(rows).to(self.device),
            self.config.mask,
            self.pieces,
            (settings.seed, MASK_STREAM, step),
            self.config.loss.tasks,
        )
        self.prepared.train()
        output = self.prepared(masked.batch, masked.hidden)
        loss = scale_loss(output, masked, self.config.loss, step / settings.steps)
        self.stepper.zero_grad(set_to_none=True)
        self.accelerator.backward(loss.total)
        grad_norm = self.accelerator.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        rate = learning_rate(step, settings.steps, settings.learning_rate, settings.warmup_share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.stepper.step()
        return Step(loss, masked.batch.present_BM, grad_norm, rate)

    def _log(self, files: RunLog, step: Step) -> dict[str, float]:
        values = self._fetch()
        batch_size = min(self.config.train.batch_size, len(self.train))
        speed = {"products_per_second": self.clock.rate(self.state.step) * batch_size}
        files.add(self.state.step, values | {"learning_rate": step.learning_rate} | speed)
        files.add_scores(self.state.step, step.loss.scores.weighted_BMM, step.present_BM)
        return values

    def _fetch(self) -> dict[str, float]:
        """The figures of the steps since the last call, fetched in one go; returns the last ones.

        Raises TrainingError at the first step whose figures are not all finite.
        """
        figures, values = [step.figures() for _, step in self.pending], {}
        flat = torch.cat([torch.stack(list(f.values())) for f in figures] or [torch.zeros(0)])
        fetched = iter(flat.tolist())
        for (number, _), names in zip(self.pending, figures, strict=True):
            values = {name: next(fetched) for name in names}
            broken = [name for name, value in values.items() if not math.isfinite(value)]
            # Under fp16 a gradient may overflow: accelerate's scaler then skips the step.
            if broken and not (broken == ["grad_norm"] and self.config.train.precision == "fp16"):
                raise TrainingError(self._explain(number, broken))
        self.pending.clear()
        return values

    def _explain(self, step: int, broken: list[str]) -> str:
        last = self.run.checkpoint("last")
        kept = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was kept"
        return (
            f"step {step}: {', '.join(broken)} not finite; {kept}. Try a lower "
            "train.learning_rate, a longer train.warmup_share, train.precision bf16 instead of "
            "fp16, loss.weight_on none, or look for extreme features with scale inspect."
        )

    def _validate(self, files: RunLog) -> None:
        if self.val is None or not len(self.val):
            return
        result = validate(self.model, self.val, self.device)
        files.add(self.state.step, result.values)
        if result.warning and self.state.step >= self.config.train.steps // 4:
            log.warning("step %d: %s", self.state.step, result.warning)
        value = result.values[BEST_BY]
        best = self.state.best_value
        if math.isfinite(value) and (best is None or value > best):
            self.state = replace(self.state, best_value=value, best_step=self.state.step)
            self._save("best", files)

    def _save(self, which: str, files: RunLog) -> None:
        if self.accelerator.is_main_process:
            files.write_scores()
            save_checkpoint(self.run.checkpoint(which), self.model, self.optimizer, self.state)


def make_accelerator(device: str, precision: str) -> Accelerator:
    """accelerate's Accelerator for a device by name, `auto` being the best there is.

    Raises ValueError for a device that this machine does not have.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(),
             "mps": torch.backends.mps.is_available()}  # fmt: skip
    if device != "auto" and not there.get(device):
        known = ", ".join(name for name, here in there.items() if here)
        raise ValueError(f"train.device {device!r} is not on this machine; there is: {known}")
    if "WORLD_SIZE" not in os.environ:
        # One process may train several times (a notebook does), each time with its own settings.
        AcceleratorState._reset_state(True)
    return Accelerator(cpu=device == "cpu", mixed_precision=precision)


def _trainable(train: ProductDataset, config: Config) -> ProductDataset:
    """The products that training uses: under the policy `drop`, only complete ones."""
    present_NM = torch.from_numpy(train.present_NM)
    used = [INDEX[m] for m in config.model.modalities]
    keep_N = present_NM[:, used].any(dim=1)
    if config.missing.policy == "drop":
        keep_N = present_NM[:, used].all(dim=1)
    kept = keep_N.nonzero().squeeze(1).numpy()
    if len(kept) < 2:
        raise TrainingError(
            f"{len(kept)} of {len(train)} products can be trained on (missing.policy "
            f"{config.missing.policy!r}): contrastive learning needs at least 2"
        )
    return train.subset(kept)
