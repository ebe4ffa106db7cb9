"""What a run's log says of its state: how far it is, how long it takes, what looks wrong.

T logged steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scale.training.diagnostics import COLLAPSED
from scale.training.run_log import Curve, RunLog
from scale.training.validation import BEST_BY

State = Literal["waiting", "running", "finished", "stopped"]
PATIENCE = 60.0
"""Seconds without a new line after which a run may have stopped, at least."""
INTERVALS = 20
"""And as many times what a line takes otherwise: a validation takes its time."""
LAST = 10
"""Lines over which speed is measured."""
NEAR = 3
"""Validations that are averaged, because one alone is noisy."""
FALL = 0.05
"""Share of its best value that validation loses before it is called a fall."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    state: State
    step: int
    steps: int | None
    """Of the whole run; None where config.json does not tell."""
    speed: float
    """Products per second, median of the last lines; NaN where there is none."""
    seconds_left: float
    """To the last step at this speed; NaN where it is not known."""
    quiet: float
    """Seconds since the last line."""


@dataclass(frozen=True)
class Symptom:
    """Something that looks wrong."""

    kind: Literal["not_finite", "collapse", "overfitting"]
    key: str
    """Of the figure that shows it."""
    step: int
    """Since when."""
    value: float
    """Of the figure; for `overfitting` the newest, for `not_finite` how many lines."""
    best: float = np.nan
    """For `overfitting`, the best value."""


def progress(watch: RunLog, alive: bool | None = None) -> Progress:
    """How far a run is.

    alive: whether its process is at work, where that is known; otherwise a run that has written
    nothing for long counts as stopped. A run is finished when its last checkpoint is written, or
    when nothing comes after its last step.
    """
    speed, quiet = _speed(watch.curves()), watch.quiet()
    train = watch.config.train if watch.config else None
    per_step = train.batch_size / speed if train else np.nan
    line = per_step * train.log_every if train else 0.0
    patience = max(PATIENCE, INTERVALS * np.nan_to_num(line))
    silent = quiet > patience if alive is None else not alive
    state: State = "running"
    if train and watch.step >= train.steps and (silent or watch.saved_step() >= train.steps):
        state = "finished"
    elif not watch.lines and alive is not False:
        state = "waiting"
    elif silent:
        state = "stopped"
    left = (train.steps - watch.step) * per_step if train and state == "running" else np.nan
    return Progress(state, watch.step, train.steps if train else None, speed, left, quiet)


def symptoms(curves: Mapping[str, Curve], steps: int | None) -> list[Symptom]:
    """What looks wrong in a log of `steps` steps in all."""
    found = [_not_finite(key, *curve) for key, curve in curves.items()]
    found += [_collapse(*curves.get("val/uniformity", _NOTHING), steps)]
    found += [_overfitting(curves.get(BEST_BY, _NOTHING), curves.get("loss/total", _NOTHING))]
    return [symptom for symptom in found if symptom is not None]


_NOTHING: Curve = (np.zeros(0), np.zeros(0))


def _speed(curves: Mapping[str, Curve]) -> float:
    values_T = curves.get("products_per_second", _NOTHING)[1][-LAST:]
    values_T = values_T[np.isfinite(values_T) & (values_T > 0)]
    return float(np.median(values_T)) if len(values_T) else np.nan


def _not_finite(key: str, step_T: np.ndarray, value_T: np.ndarray) -> Symptom | None:
    """Losses and gradients that are NaN or infinite."""
    if not (key.startswith("loss/") or key == "grad_norm"):
        return None
    broken_T = ~np.isfinite(value_T)
    if not broken_T.any():
        return None
    return Symptom("not_finite", key, int(step_T[broken_T][0]), float(broken_T.sum()))


def _collapse(step_T: np.ndarray, value_T: np.ndarray, steps: int | None) -> Symptom | None:
    """Uniformity says what `diagnostics.collapse_warning` says of features that are not logged.

    log E exp(-2 d^2) >= -2 E d^2 = -4 (1 - mean cosine) by Jensen, and near 0 the two are equal: a
    mean cosine over `COLLAPSED` means a uniformity over -4 (1 - COLLAPSED). In the first quarter of
    a run it may only mean that it has not begun to learn.
    """
    limit = -4 * (1 - COLLAPSED)
    if not len(value_T) or not value_T[-1] > limit or step_T[-1] < (steps or 0) // 4:
        return None
    healthy_T = np.flatnonzero(~(value_T > limit))
    since = healthy_T[-1] + 1 if len(healthy_T) else 0
    return Symptom("collapse", "val/uniformity", int(step_T[since]), float(value_T[-1]))


def _overfitting(validation: Curve, loss: Curve) -> Symptom | None:
    """Validation falls while the loss falls: what is learnt no longer carries over.

    Means over `NEAR` validations: the newest lies `FALL` below the best, and the mean loss since is
    lower than in the same stretch before.
    """
    step_T, value_T = validation
    if len(value_T) <= NEAR or not np.isfinite(value_T).all():
        return None
    mean_T = np.convolve(value_T, np.ones(NEAR) / NEAR, mode="valid")
    best = int(mean_T.argmax())
    if mean_T[-1] >= (1 - FALL) * mean_T[best]:
        return None
    turn, end = step_T[best + NEAR // 2], step_T[-1]
    later = _mean_between(loss, turn, end)
    return (
        Symptom("overfitting", BEST_BY, int(turn), float(mean_T[-1]), float(mean_T[best]))
        if later < _mean_between(loss, 2 * turn - end, turn)
        else None
    )


def _mean_between(curve: Curve, low: float, high: float) -> float:
    """Mean of the finite values of steps in (low, high]; NaN where there is none."""
    step_T, value_T = curve
    here_T = (step_T > low) & (step_T <= high) & np.isfinite(value_T)
    return float(value_T[here_T].mean()) if here_T.any() else np.nan
