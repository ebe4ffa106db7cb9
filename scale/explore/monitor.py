"""The training monitor: a run while it is trained, or again from its log."""

import asyncio
from pathlib import Path

import ipywidgets
import numpy as np
import traitlets
from matplotlib.figure import Figure

from scale.explore import monitor_views as views
from scale.explore.explorer import Explorer
from scale.explore.html import Surface
from scale.training.background import BackgroundRun
from scale.training.health_checks import check_health
from scale.training.run_log import Progress, RunLog
from scale.viz.training import loss_curves
from scale.viz.words import Language

FRAMES = 100
"""Steps of a whole replay."""
FRAME_MS = 120


class TrainingMonitor(Explorer):
    """Losses, validation, speed, warnings and S' of a run, up to a step that can be chosen.

    It looks for new lines by itself as long as `watching` is on and the panel is shown, between
    what else the kernel does; a run that is finished is no longer watched.
    """

    _task: asyncio.Task | None = None

    def __init__(
        self,
        run_folder: Path | str,
        lang: Language = "en",
        every: float = 1.0,
        live: bool = True,
        process: BackgroundRun | None = None,
    ) -> None:
        """
        Args:
            every: seconds between two looks.
            live: watch at once; else what is logged now is taken as all.
            process: of `pretrain_in_background`: then it can be stopped from here, and it is known
                rather than guessed whether it works.

        Raises ValueError where `every` is not positive. A folder that is not there yet is waited
        for.
        """
        if not every > 0:
            raise ValueError(f"every {every}: seconds between two looks must be positive")
        super().__init__(lang)
        self.add_class("scale-monitor")
        self.every, self.process = every, process
        self.watch = RunLog(run_folder)
        self._placing = False
        self._state, self._warnings = Surface(), Surface()
        self._charts, self._scores = Surface(picked=self._picked), Surface(picked=self._picked)
        self._build_controls()
        self.watch.read()
        self._once = not live
        self._follow_newest()
        how = Surface(f'<div class="note">{self.say("xt_how")}</div>')
        self.start([self._state, self._warnings, self._controls, self._charts, self._scores, how])
        # Views are counted from now on, so that a panel that is not shown costs nothing.
        self._view_count = 0
        self.watching.value = live and self.progress.state != "finished"

    @property
    def progress(self) -> Progress:
        """Where the run stands."""
        alive = self.process.alive if self.process else None
        return self.watch.progress(False if self._once else alive)

    @property
    def step(self) -> int:
        """The chosen step."""
        return self.slider.value

    def refresh(self) -> None:
        """Read what is new in the folder, and show it."""
        with self.complaining():
            if self.watch.read():
                self._follow_newest()
                self.update()
            else:
                self._show_state()

    def update(self) -> None:
        """Draw everything up to the chosen step.

        Raises ValueError, after all is drawn, for what cannot be read.
        """
        curves, span = self.watch.curves(), (0.0, float(self.slider.max))
        self._charts.html = views.metric_charts(curves, span, self.step, self.lang)
        done = self.progress.state in ("finished", "stopped")
        self._scores.html = views.score_view(self.watch, span, self.step, done, self.lang)
        self._warnings.html = views.warning_list(self.warnings())
        self._show_state()

    def warnings(self) -> list[str]:
        """Sentences on what looks wrong."""
        steps = self.watch.config.train.steps if self.watch.config else None
        found = check_health(self.watch.curves(), steps)
        return views.warning_lines(self.watch, found, self.lang)

    def summary(self) -> str:
        """State, newest figures and warnings."""
        now, watch = self.progress, self.watch
        of = "" if now.steps is None else f" of {now.steps}"
        lines = [f"TrainingMonitor({watch.run.folder.name}): {now.state}, step {now.step}{of}"]
        lines += [
            f"{key}: ~{value_T[-1]:.2f} (step {step_T[-1]:.0f})"
            for key, (step_T, value_T) in watch.curves().items()
        ]
        if len(watch.step_T):
            lines.append(f"S': {len(watch.step_T)} steps, last {watch.step_T[-1]:.0f}")
        lines.append(f"shown up to step {self.step}")
        lines += [f"warning: {line}" for line in self.warnings()]
        return "\n".join(lines)

    def picture(self) -> Figure:
        """The curves of the whole log. Raises ValueError where there is none."""
        return loss_curves(self.watch.lines, self.lang)

    def close(self) -> None:
        """Stop watching and take the panel away; the run itself goes on."""
        if self._task is not None:
            self.watching.value = False
        super().close()

    def _build_controls(self) -> None:
        button = ipywidgets.ToggleButton
        self.watching = button(
            description=self.say("xt_watch"), tooltip=self.say("xt_watch_tip"), icon="eye"
        )
        self.following = button(
            value=True, description=self.say("xt_follow"), icon="step-forward",
            layout={"width": "auto"},
        )  # fmt: skip
        self.slider = ipywidgets.IntSlider(
            min=0, max=1, description=self.say("xt_chosen"), layout={"width": "420px"}
        )
        self.play = ipywidgets.Play(
            min=0,
            max=1,
            interval=FRAME_MS,
            show_repeat=False,
            tooltip=self.say("xt_play"),
            layout={"width": "auto"},
        )
        # Not `jslink`: a page that is opened later would put the slider where the player was.
        traitlets.link((self.play, "value"), (self.slider, "value"))
        controls = [self.watching, self.following, self.play, self.slider]
        if self.process is not None:
            end = ipywidgets.Button(
                description=self.say("xt_end"), tooltip=self.say("xt_end_tip"), icon="stop"
            )
            end.on_click(lambda _: self._end())
            controls.append(end)
        self._controls = ipywidgets.HBox(
            controls, layout={"flex_flow": "row wrap", "margin": "0 0 8px"}
        )
        self.watching.observe(self._watch_or_not, "value")
        self.following.observe(self._follow_or_not, "value")
        self.slider.observe(self._moved, "value")
        self.play.observe(self._playing, "playing")

    def _follow_newest(self) -> None:
        """Fit the slider to the log, and put it on the newest step if it follows."""
        newest = self.watch.step
        logged = [line["step"] for line in self.watch.lines]
        every = int(np.gcd.reduce(logged)) if newest else 1
        self._placing = True
        try:
            # One by one, the value always within the range and a multiple of the step: the browser
            # moves any other, and tells it as if the user had.
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
        sure = self.process is not None or self._once
        self._state.html = views.state_line(self.progress, self.watch, sure, self.lang)
        trouble = views.trouble_line(self.watch, self.lang)
        ended = self.process.error_message() if self.process else ""
        if ended:
            trouble = self.say("xt_ended", why=ended)
        if trouble:
            raise ValueError(trouble)

    def _end(self) -> None:
        self.process.stop()
        self.refresh()

    def _picked(self, key: str, _: bool) -> None:
        """A step was picked on a chart."""
        self.slider.value = int(float(key.rpartition("@")[2]))

    def _moved(self, change: dict) -> None:
        if not self._placing:
            self.following.value = change["new"] >= self.slider.max
            self.changed()

    def _follow_or_not(self, change: dict) -> None:
        if change["new"]:
            self.slider.value = self.slider.max

    def _playing(self, change: dict) -> None:
        """A replay that starts at the end starts from the beginning; it stops at the end, where
        the last stride of the browser's player would not fit."""
        if not change["new"]:
            if self.slider.max - self.slider.value < self.play.step:
                self.slider.value = self.slider.max
            return
        self.following.value = False
        if self.slider.value >= self.slider.max:
            self.slider.value = self.slider.min

    def _watch_or_not(self, change: dict) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if not change["new"]:
            return
        self._once = False
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # Plain Python: `refresh` is called by hand.
        self._task = loop.create_task(self._keep_watching())

    async def _keep_watching(self) -> None:
        while self.watching.value:
            await asyncio.sleep(self.every)
            if self._view_count == 0:
                continue
            self.refresh()
            if self.progress.state == "finished":
                self.watching.value = False
