"""Studies by name. To add a study, add a function `(quick) -> Study` to `STUDIES`."""

from collections.abc import Callable

from scale.studies.definitions.components import faults, fusion, masking, modalities, tasks
from scale.studies.definitions.contrast import contrast, contrast_tuning
from scale.studies.definitions.noise import fused, missing, noise
from scale.studies.definitions.toy import scarcity, toy
from scale.studies.definitions.weighting import agreement, harmony, memorising, weighting
from scale.studies.study import Study

STUDIES: dict[str, Callable[[bool], Study]] = {
    "toy": toy,
    "scarcity": scarcity,
    "missing": missing,
    "fused": fused,
    "weighting": weighting,
    "agreement": agreement,
    "harmony": harmony,
    "memorising": memorising,
    "noise": noise,
    "modalities": modalities,
    "tasks": tasks,
    "masking": masking,
    "fusion": fusion,
    "faults": faults,
    "contrast": contrast,
    "contrast_tuning": contrast_tuning,
}
