"""The studies by name. Adding one is adding a function here: `(quick) -> Study`."""

from collections.abc import Callable

from scale.experiments.studies.fusion import fusion
from scale.experiments.studies.missing import missing
from scale.experiments.studies.noise import noise
from scale.experiments.studies.parts import faults, modalities, tasks
from scale.experiments.studies.toy import scarcity, toy
from scale.experiments.studies.weighting import harmony, memorising, weighting
from scale.experiments.study import Study

STUDIES: dict[str, Callable[[bool], Study]] = {
    "toy": toy,
    "scarcity": scarcity,
    "missing": missing,
    "weighting": weighting,
    "harmony": harmony,
    "memorising": memorising,
    "noise": noise,
    "modalities": modalities,
    "tasks": tasks,
    "fusion": fusion,
    "faults": faults,
}
