"""The training loop: thin, seeded step by step, and exact when stopped.

B products, M modalities (five).
"""

import logging
import math
import signal
from dataclasses import replace

import torch
from tqdm.auto import tqdm

from scale.config import Config
from scale.data.dataset import ProductDataset
from scale.data.shards.reader import ShardDataset
from scale.model.scale import ScaleModel
from scale.training.checkpoint_manager import CheckpointManager, TrainState
from scale.training.determinism import deterministic_algorithms
from scale.training.distributed import said_by_main
from scale.training.logging import Clock, MetricsLogger, NullLogger
from scale.training.out_of_memory import FrugalStepper
from scale.training.preemption import PreemptionHandler, TrainingStopped
from scale.training.run import RunFolder
from scale.training.sharding import whole_model
from scale.training.step import Step, TrainingError
from scale.training.validation import BEST_BY, validate

log = logging.getLogger(__name__)


class Trainer(FrugalStepper):
    """Trains a model on a data set into a run folder.

    A run that is stopped and resumed has the same bits as one that never stopped: it stops between
    two steps, or goes back to a checkpoint, which lies between two steps.
    """

    def __init__(
        self,
        config: Config,
        model: ScaleModel,
        train: ProductDataset | ShardDataset,
        val: ProductDataset | ShardDataset | None,
        run: RunFolder,
        stopper: PreemptionHandler | None = None,
    ):
        """`stopper`: None listens to signals, and `train.max_minutes` count from now."""
        super().__init__(config, model, train)
        self.run, self.val = run, val
        self.stopper = stopper or PreemptionHandler(config.train.max_minutes)
        self.checkpoints = CheckpointManager(run.checkpoints, config.train.keep_last)
        self.state = TrainState(step=0)
        self.saved: int | None = None
        self.pending: list[tuple[int, Step]] = []
        self._restore()

    def fit(self, progress: bool = True) -> TrainState:
        """Train up to `train.steps`; returns where the run stands then.

        Raises:
            TrainingError: a loss or the gradient is not finite, memory is out, or the disk is full;
                the message says what to try and names the last good checkpoint.
            TrainingStopped: told so by a signal, or `train.max_minutes` are over; all is saved.
            KeyboardInterrupt: Ctrl-C; all is saved.
        """
        settings = self.config.train
        main = self.accelerator.is_main_process
        files = MetricsLogger(self.run.folder, self.state.step) if main else NullLogger()
        bar = tqdm(
            total=settings.steps,
            initial=self.state.step,
            desc="pretrain",
            disable=not (progress and main),
        )
        self.clock = Clock(self.state.step)
        # With several CPU threads, indexing otherwise adds its gradients up in an order of its own.
        exact = settings.deterministic or self.device.type == "cpu"
        try:
            with deterministic_algorithms(exact), self.stopper.listening():
                self._train(files, bar)
        except TrainingError as error:
            raise TrainingError(f"{error} {self._kept()}") from error
        except OSError as error:
            raise TrainingError(
                f"step {self.state.step}: {error}. Is the disk full? Make room, then go on with "
                f"--resume (resume=True). {self._kept()}"
            ) from error
        finally:
            bar.close()
            files.close()
        self.accelerator.wait_for_everyone()
        return self.state

    def _train(self, files: MetricsLogger | NullLogger, bar: tqdm) -> None:
        settings = self.config.train
        if self.state.step:
            # A stop does not wait for what else was due at its step.
            self._milestones(files)
        while self.state.step < settings.steps:
            step = self.advance(self.state.step)
            self.state = replace(self.state, step=self.state.step + 1, micro_batch=self.lowered)
            self.pending.append((self.state.step, step))
            bar.update()
            if self._due(settings.log_every):
                values = self._log(files, step)
                bar.set_postfix(loss=f"{values['loss/total']:.3f}")
            elif self.device.type == "cpu":
                self._fetch()
            if self.state.step < settings.steps and (reason := self._reason()):
                self._stop(reason, files)
            self._milestones(files)

    def _reason(self) -> str | None:
        """Why to stop now; all processes agree. Several look only where they log anyway."""
        if self.accelerator.num_processes == 1:
            return self.stopper.reason()
        if not self._due(self.config.train.log_every):
            return None
        reason = self.stopper.reason()
        told = torch.tensor(float(reason is not None), device=self.device)
        if self.accelerator.reduce(told, "sum").item() == 0:
            return None
        return reason or "another process was to stop"

    def _stop(self, reason: str, files: MetricsLogger | NullLogger) -> None:
        """Save, then raise."""
        self._fetch()
        self._save_last(files)
        # A launcher ends the other processes when one of them has ended.
        self.accelerator.wait_for_everyone()
        if self.stopper.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise TrainingStopped(
            f"step {self.state.step} of {self.config.train.steps}: {reason}; all is saved in "
            f"{self.run.checkpoint('last')}; go on with --resume (resume=True)"
        )

    def _milestones(self, files: MetricsLogger | NullLogger) -> None:
        """What is due at this step and not yet done: a model to keep, validation, checkpoint."""
        settings, step = self.config.train, self.state.step
        if self._due(settings.keep_every):
            self._fetch()
            self.checkpoints.save_numbered(self.model, self.state)
        if self._due(settings.eval_every) and self._main_says(not files.has(step, BEST_BY)):
            self._fetch()
            self._validate(files)
        if self._due(settings.checkpoint_every) and self.saved != step:
            self._fetch()
            self._save_last(files)

    def _due(self, every: int) -> bool:
        """Whether something that comes every so many steps (0: never) comes now; all do at last."""
        return every > 0 and (
            self.state.step % every == 0 or self.state.step == self.config.train.steps
        )

    def _log(self, files: MetricsLogger | NullLogger, step: Step) -> dict[str, float]:
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
                raise TrainingError(
                    f"step {number}: {', '.join(broken)} not finite. Try a lower "
                    "train.learning_rate, a longer train.warmup_share, train.precision bf16 "
                    "instead of fp16, loss.weight_on none, or look for extreme features with "
                    "scale inspect."
                )
        self.pending.clear()
        return values

    def _kept(self) -> str:
        found = self.checkpoints.resumable()
        return f"The last good checkpoint is {found[0]}." if found else "No checkpoint was kept."

    def _validate(self, files: MetricsLogger | NullLogger) -> None:
        if self.val is None or not len(self.val):
            return
        if self._main_says(self._measure(files)):
            files.flush()
            self.checkpoints.save_best(self.model, self.optimizer, self._state())

    def _measure(self, files: MetricsLogger | NullLogger) -> bool:
        """Validate in the main process; whether the model is the best so far."""
        model = whole_model(self.model)
        if not self.accelerator.is_main_process:
            return False
        result = validate(model, self.val, self.device)
        files.add(self.state.step, result.values)
        if result.warning and self.state.step >= self.config.train.steps // 4:
            log.warning("step %d: %s", self.state.step, result.warning)
        value = result.values[BEST_BY]
        best = self.state.best_value
        if not math.isfinite(value) or (best is not None and value <= best):
            return False
        self.state = replace(self.state, best_value=value, best_step=self.state.step)
        return True

    def _main_says(self, yes: bool) -> bool:
        """The main process's answer, where all must then act alike; otherwise one's own."""
        return said_by_main(yes, self.device) if self.sharded else yes

    def _restore(self) -> None:
        """Go back to the newest good checkpoint, if there is one."""
        if found := self.checkpoints.restore(self.model, self.optimizer):
            name, self.state = found
            self.saved = self.state.step if name == "last" else None
            if self.state.micro_batch:
                self.use_micro_batch(self.state.micro_batch)
            if self.state.scaler and self.accelerator.scaler:
                self.accelerator.scaler.load_state_dict(self.state.scaler)

    def _state(self) -> TrainState:
        """Where the run stands, with what fp16 adjusts as it goes."""
        scaler = self.accelerator.scaler
        return replace(self.state, scaler=scaler.state_dict() if scaler else None)

    def _save_last(self, files: MetricsLogger | NullLogger) -> None:
        files.flush()
        self.checkpoints.save_last(self.model, self.optimizer, self._state())
        self.saved = self.state.step
