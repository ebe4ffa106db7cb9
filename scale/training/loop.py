"""The training loop: thin, seeded step by step, and exact when stopped.

B products, M modalities (five).
"""

import logging
import math
import time
from dataclasses import replace

import torch
from tqdm.auto import tqdm

from scale.config import Config
from scale.data.dataset import ProductDataset
from scale.model.scale import ScaleModel
from scale.training.checkpoint import (
    TrainState,
    load_checkpoint,
    recover_checkpoint,
    save_checkpoint,
)
from scale.training.log import RunLog
from scale.training.run import RunFolder
from scale.training.step import Step, Stepper, TrainingError
from scale.training.validation import BEST_BY, validate

log = logging.getLogger(__name__)


class Clock:
    """Steps per second since it was last asked."""

    def __init__(self, step: int) -> None:
        self.step, self.time = step, time.perf_counter()

    def rate(self, step: int) -> float:
        """Steps per second between the last call and now, at which `step` steps are done."""
        since, self.step = self.step, step
        before, self.time = self.time, time.perf_counter()
        return (step - since) / (self.time - before)


class Trainer(Stepper):
    """Trains a model on a data set into a run folder.

    A run that is stopped and resumed has the same bits as one that never stopped.
    """

    def __init__(
        self,
        config: Config,
        model: ScaleModel,
        train: ProductDataset,
        val: ProductDataset | None,
        run: RunFolder,
    ):
        super().__init__(config, model, train)
        self.run, self.val = run, val
        self.state = TrainState(step=0)
        self.pending: list[tuple[int, Step]] = []
        if recover_checkpoint(run.checkpoint("last")):
            self.state = load_checkpoint(run.checkpoint("last"), self.model, self.optimizer)

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
