"""The training monitor: losses, validation and S' of a run as one figure with a step slider.

For a running training (the run folder is polled through `RunLog`) or a finished one (replayed).
Everything logged, also learning rate, gradient norm and throughput, is in TensorBoard:

    pip install tensorboard          # before the training, which then writes RUN/tensorboard
    tensorboard --logdir RUN
"""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from html import escape
from pathlib import Path

import ipywidgets
import matplotlib.style
import numpy as np
import traitlets
from matplotlib.figure import Figure

from scale.explore.markup import data_uri, figure_png, note_html
from scale.explore.panel import AUTO, ClickableHtml, PageColour, Panel, button, choice_of, observe
from scale.training.background import BackgroundRun
from scale.training.health_checks import HealthIssue, check_health
from scale.training.run_log import Progress, RunLog
from scale.viz.theme import ASSETS, is_light, use_style
from scale.viz.training import LOSS, ROW_SIZE, VALIDATION, key_name, training_figure, value_at
from scale.viz.words import LANG, Language, label

FRAMES = 40
"""Steps shown in a whole replay."""
FRAME_MS = 300
DARK = ASSETS / "dark.mplstyle"
QUIET = 10.0
"""Seconds without a new log line after which the time is shown."""


class TrainingMonitor(Panel):
    """Losses, validation, S' and warnings of a run, up to a step chosen with a slider.

    While `watching` is on and the panel is visible, new log lines are read whenever the kernel is
    idle. Watching ends with the run.
    """

    _task: asyncio.Task | None = None

    def __init__(
        self,
        run_folder: Path | str,
        lang: Language = LANG,
        every: float = 1.0,
        live: bool = True,
        process: BackgroundRun | None = None,
        present: bool = False,
    ) -> None:
        """
        Args:
            run_folder: may not exist yet.
            every: seconds between two reads.
            live: start watching; otherwise the log so far counts as complete.
            process: returned by `pretrain_in_background`; adds a stop button, and makes the state
                (running or stopped) certain.
            present: draw for a projector, one row of the figure at a time.

        Raises ValueError if `every` is not positive.
        """
        if not every > 0:
            raise ValueError(f"every {every}: the seconds between two reads must be positive")
        super().__init__(lang)
        self.add_class("scale-monitor")
        self.every, self.process, self._present = every, process, present
        self.run_log = RunLog(run_folder)
        self._placing = False
        self._state, self._warnings, self._figure = (ClickableHtml() for _ in range(3))
        self._page = PageColour()
        self._page.observe(self.changed, "page")
        self._build_controls()
        self.run_log.read()
        self._complete = not live
        self._follow_newest()
        hint = ClickableHtml(note_html(self.word("xt_how"))).add_class("scale-help")
        parts = [self._state, self._warnings, self._controls, self._figure, hint, self._page]
        self.start([self.row, *parts] if present else parts)
        # Not None: ipywidgets then counts the views, and a hidden panel is not updated.
        self._view_count = 0
        self.watching.value = live and self.progress.state != "finished"

    @property
    def progress(self) -> Progress:
        """State and speed of the run."""
        alive = self.process.alive if self.process else None
        return self.run_log.progress(False if self._complete else alive)

    @property
    def step(self) -> int:
        """The chosen step."""
        return self.slider.value

    def refresh(self) -> None:
        """Read new log lines and show them."""
        with self.showing_errors():
            if self.run_log.read():
                self._follow_newest()
                self.update()
            else:
                self._show_state()

    def update(self) -> None:
        """Draw everything up to the chosen step.

        Raises ValueError, after drawing, for a file that cannot be read.
        """
        light = is_light(self._page.page)
        row = self.row.value if self._present else None
        style = ("slides", ROW_SIZE) if row else ("paper",)
        # Over `slides` too.
        colours = nullcontext() if light else matplotlib.style.context(DARK)
        with use_style(*style), colours:
            content = figure_png(training_figure(self.run_log, self.step, self.lang, row))
        uri = data_uri("image/png", content)
        alt = ", ".join(f"{name} {value}" for name, value in self.values().items())
        self._figure.html = (
            f'<img class="xt-figure" data-step="{self.step}" src="{uri}" '
            f'alt="{escape(self.word("xt_step", step=self.step))}: {escape(alt)}">{self._notes()}'
        )
        self._warnings.html = warnings_html(self.warnings())
        self._show_state()

    def values(self) -> dict[str, str]:
        """Return the newest losses and validation metrics up to the chosen step, by name."""
        curves = self.run_log.curves()
        shown = [key for key in curves if key.startswith((LOSS, VALIDATION))]
        return {key_name(key, self.lang): value_at(curves[key], self.step) for key in shown}

    def warnings(self) -> list[str]:
        """Return the health checks that fail, one sentence each."""
        steps = self.run_log.config.train.steps if self.run_log.config else None
        return warning_lines(self.run_log, check_health(self.run_log.curves(), steps), self.lang)

    def summary(self) -> str:
        """Return state, newest values and warnings as lines of text."""
        now, log = self.progress, self.run_log
        of = "" if now.steps is None else f" of {now.steps}"
        lines = [f"TrainingMonitor({log.run.folder.name}): {now.state}, step {now.step}{of}"]
        lines += [
            f"{key}: ~{value_T[-1]:.2f} (step {step_T[-1]:.0f})"
            for key, (step_T, value_T) in log.curves().items()
        ]
        if len(log.step_T):
            lines.append(f"S': {len(log.step_T)} steps, last {log.step_T[-1]:.0f}")
        lines.append(f"shown up to step {self.step}")
        lines += [f"warning: {line}" for line in self.warnings()]
        return "\n".join(lines)

    def picture(self) -> Figure:
        """Return the figure at the chosen step. Raises ValueError without a log."""
        if not self.run_log.curves() and not len(self.run_log.step_T):
            raise ValueError(f"{self.run_log.run.folder}: no log, nothing to draw")
        return training_figure(self.run_log, self.step, self.lang)

    def close(self) -> None:
        """Stop watching and remove the panel; the training continues."""
        if self._task is not None:
            self.watching.value = False
        super().close()

    def _build_controls(self) -> None:
        rows = enumerate(("curves", "scores"), 1)
        self.row = ipywidgets.ToggleButtons(
            options=[(f"{n} {self.word(f'xp_part_{row}')}", row) for n, row in rows],
            layout=AUTO,
            style={"button_width": "auto"},
        ).add_class("scale-parts")
        observe(self.changed, self.row)
        if self._present:
            self.choices["row"] = choice_of(self.row)
        self.watching = ipywidgets.ToggleButton(
            description=self.word("xt_watch"), tooltip=self.word("xt_watch_tip"), icon="eye"
        )
        self.following = ipywidgets.ToggleButton(
            value=True, description=self.word("xt_follow"), icon="step-forward", layout=AUTO
        )
        self.slider = ipywidgets.IntSlider(
            min=0, max=1, description=self.word("xt_chosen"), layout={"width": "420px"}
        )
        self.play = ipywidgets.Play(
            min=0,
            max=1,
            interval=FRAME_MS,
            show_repeat=False,
            tooltip=self.word("xt_play"),
            layout=AUTO,
        )
        # Not `jslink`: a page opened later would set the slider to the value of the player.
        traitlets.link((self.play, "value"), (self.slider, "value"))
        controls = [self.watching, self.following, self.play, self.slider]
        if self.process is not None:
            tip = self.word("xt_end_tip")
            controls.append(button(self.word("xt_end"), self._stop, tooltip=tip, icon="stop"))
        layout = {"flex_flow": "row wrap", "margin": "0 0 8px"}
        self._controls = ipywidgets.HBox(controls, layout=layout)
        observe(self._on_watching, self.watching)
        observe(self._on_following, self.following)
        observe(self._on_slider, self.slider)
        self.play.observe(self._on_playing, "playing")

    def _follow_newest(self) -> None:
        """Fit the slider to the log, and move it to the newest step if it follows."""
        newest = self.run_log.step
        logged = [line["step"] for line in self.run_log.lines]
        every = int(np.gcd.reduce(logged)) if newest else 1
        self._placing = True
        try:
            # In this order the value is always in range and a multiple of the step. The browser
            # corrects any other value, and reports the correction as a move of the user.
            if self.following.value and newest < self.slider.value:
                self.slider.value = newest
            for control in (self.slider, self.play):
                control.max = max(newest, 1)
            self.slider.step = every
            self.play.step = max(newest // FRAMES // every, 1) * every
            if self.following.value:
                self.slider.value = newest
        finally:
            self._placing = False

    def _show_state(self) -> None:
        certain = self.process is not None or self._complete
        self._state.html = state_html(self.progress, self.run_log, certain, self.lang)
        error = "\n".join(
            self.word(f"xt_{kind}", folder=why, why=why)
            for kind, why in self.run_log.errors.items()
        )
        ended = self.process.error_message() if self.process else ""
        if ended:
            error = self.word("xt_ended", why=ended)
        if error:
            raise ValueError(error)

    def _notes(self) -> str:
        """Return a note if S' is not logged, or logged without weighting the losses."""
        if not len(self.run_log.step_T):
            done = self.progress.state in ("finished", "stopped")
            return note_html(self.word("xt_no_scores" if done else "xt_no_scores_yet"))
        measured = self.run_log.config is not None and self.run_log.config.loss.weight_on == "none"
        return note_html(self.word("xt_not_weighed")) if measured else ""

    def _stop(self) -> None:
        self.process.stop()
        self.refresh()

    def _on_slider(self, change: dict) -> None:
        if not self._placing:
            self.following.value = change["new"] >= self.slider.max
            self.changed()

    def _on_following(self, change: dict) -> None:
        if change["new"]:
            self.slider.value = self.slider.max

    def _on_playing(self, change: dict) -> None:
        """Restart a replay that is at the end; snap to the end if a stride would overshoot it."""
        if not change["new"]:
            if self.slider.max - self.slider.value < self.play.step:
                self.slider.value = self.slider.max
            return
        self.following.value = False
        if self.slider.value >= self.slider.max:
            self.slider.value = self.slider.min

    def _on_watching(self, change: dict) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if not change["new"]:
            return
        self._complete = False
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # Plain Python: call `refresh`.
        self._task = loop.create_task(self._watch())

    async def _watch(self) -> None:
        while self.watching.value:
            await asyncio.sleep(self.every)
            if self._view_count == 0:
                continue
            self.refresh()
            if self.progress.state == "finished":
                self.watching.value = False


def state_html(now: Progress, log: RunLog, certain: bool, lang: Language) -> str:
    """Return state, step, speed and remaining time in one line.

    certain: the process is known, so that `stopped` is not a guess.
    """
    guess = now.state == "stopped" and not certain
    words = label("xt_stopped_maybe" if guess else f"xt_{now.state}", lang)
    parts = [f'<b class="{now.state}">{words}</b>']
    if now.steps is None:
        parts.append(label("xt_step", lang, step=now.step))
    else:
        done = label("xt_step_of", lang, step=now.step, steps=now.steps)
        bar = f'<progress aria-label="{done}" max="{now.steps}" value="{now.step}"></progress>'
        parts += [done, bar]
    if np.isfinite(now.speed):
        parts.append(label("xt_speed", lang, speed=now.speed))
    if np.isfinite(now.seconds_left):
        parts.append(label("xt_left", lang, time=clock(now.seconds_left)))
    if now.state in ("running", "stopped") and now.idle_seconds > QUIET:
        parts.append(label("xt_quiet", lang, time=clock(now.idle_seconds)))
    if now.state == "waiting" and log.config:
        train = log.config.train
        parts.append(label("xt_every", lang, lines=train.log_every, scores=train.checkpoint_every))
    parts.append(f'<span class="note">{escape(str(log.run.folder))}</span>')
    body = "".join(f"<span>{part}</span>" for part in parts)
    return f'<div class="state" data-state="{now.state}" data-step="{now.step}">{body}</div>'


def clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds, e.g. 0:04:10."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def warning_lines(log: RunLog, found: Sequence[HealthIssue], lang: Language) -> list[str]:
    """Return failed health checks, damaged lines and restarts, one sentence each."""
    lines = [
        label(
            f"xt_{each.kind}", lang, name=key_name(each.key, lang), step=each.step,
            value=each.value, best=each.best, count=int(each.value),
        )
        for each in found
    ]  # fmt: skip
    if log.damaged_lines:
        count, first = len(log.damaged_lines), log.damaged_lines[0]
        lines.append(label("xt_damaged", lang, count=count, line=first))
    if log.restarts:
        lines.append(label("xt_returns", lang, count=log.restarts))
    return lines


def warnings_html(lines: Sequence[str]) -> str:
    """Return warnings as an ARIA status, which screen readers announce."""
    body = "".join(f'<div class="error">{escape(line)}</div>' for line in lines)
    return f'<div role="status" data-warnings="{len(lines)}">{body}</div>'
