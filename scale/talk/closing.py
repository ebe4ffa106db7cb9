"""The last slides: limits, questions, sources."""

from scale.presets import PRESETS
from scale.talk.material import Content, Material, Slide
from scale.talk.method import millions
from scale.talk.studies import facts
from scale.viz.illustrations.data import DATA_SETS

PAPER = "M5Product"


def _limits(m: Material) -> Content:
    study = facts(m.study("missing"))
    paper = next(data for data in DATA_SETS if data.name == PAPER)
    values = {
        "train": len(m.sources.run.dataset(m.sources.catalogue, "train")),
        "paper": f"{paper.instances:,}",
        "millions": millions(m),
        "steps": PRESETS[study["preset"]]().train.steps,
        "seeds": study["seeds"],
        "preset": study["preset"],
    }
    return Content("Content", values=values)


def _questions(m: Material) -> Content:
    return Content("Content")


def _sources(m: Material) -> Content:
    names = ", ".join(data.name for data in DATA_SETS if data.name != PAPER)
    return Content("Content", values={"data_sets": names})


SLIDES = (
    Slide("limits", "run, catalogue, study missing", _limits),
    Slide("questions", "nothing", _questions),
    Slide("sources", "nothing", _sources),
)
