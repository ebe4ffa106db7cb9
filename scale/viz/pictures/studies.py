"""Pictures of the finished studies, `study_<name>` each."""

from functools import partial

from matplotlib.figure import Figure

from scale.studies.definitions import STUDIES
from scale.studies.retention import damage_retention
from scale.studies.statistics import summarise
from scale.viz.damage import damage_figure
from scale.viz.diagnosis import score_figure
from scale.viz.pictures.sources import Picture, Sources
from scale.viz.studies import study_figure
from scale.viz.words import Language


def _cells(sources: Sources, lang: Language, name: str) -> Figure:
    return study_figure(summarise(*sources.finished(name)), lang=lang)


def _noise(sources: Sources, lang: Language) -> Figure:
    """What the study asks is told by shares of the undamaged figure, not by its cells."""
    study, records = sources.finished("noise")
    return damage_figure(damage_retention(study, records), lang, study.name, study.metrics[0])


PICTURES: dict[str, Picture] = {
    **{f"study_{name}": partial(_cells, name=name) for name in STUDIES},
    "study_noise": _noise,
    "weight_diagnosis": lambda s, lang: score_figure(*s.finished("weighting"), lang),
}


def is_finished(name: str, sources: Sources) -> bool:
    """Whether the study of a picture has finished runs on the sources' catalogue."""
    study = "weighting" if name == "weight_diagnosis" else name.removeprefix("study_")
    try:
        sources.finished(study)
    except ValueError:
        return False
    return True
