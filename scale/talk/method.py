"""The slides of the method: framework, tasks, scores, weights, loss."""

import math

from scale.evaluation.bootstrap import Estimate
from scale.loss_config import LossConfig
from scale.modalities import MODALITIES, SPECS, TASKS
from scale.talk.chart import Chart
from scale.talk.material import Content, Material, Slide, Unavailable, pictured
from scale.talk.prose import words
from scale.talk.table import Cell, Table, cell
from scale.training.logging import read_metrics
from scale.viz.pictures.run_pictures import most_complete
from scale.viz.theme import MODALITY_COLOURS

INK = "#1B2330"


def _framework(m: Material) -> Content:
    return pictured(m.picture("architecture"), {"millions": millions(m)})


def millions(m: Material) -> str:
    """Parameters of the run's model, e.g. `0.7`."""
    return f"{sum(p.numel() for p in m.sources.run.model.parameters()) / 1e6:.1f}"


def _tasks(m: Material) -> Content:
    said = words("tasks", m.lang)
    header = tuple(said[k] for k in ("modality", "task", "hidden", "target", "loss"))
    rows = tuple(_task_row(m, modality, said) for modality in MODALITIES)
    values = {
        "rate": f"{m.sources.run.config.mask.rate:.0%}",
        "tasks": ", ".join(row[1].text for row in rows),
    }
    table = Table(header, rows, (1.75, 3.6, 2.7, 2.25, 2.3))
    return Content("Wide chart or table", (table,), values)


def _task_row(m: Material, modality: str, said: dict[str, str]) -> tuple[Cell, ...]:
    spec = SPECS[modality]
    discrete = spec.kind == "discrete"
    return (
        cell(m.label(modality), MODALITY_COLOURS[modality], bold=True),
        cell(m.label(spec.task)),
        cell(said[f"{modality}_hidden"]),
        cell(said["same" if discrete else "features"]),
        cell(said["entropy" if discrete else "regression"]),
    )


def _predictions(m: Material) -> Content:
    return pictured(m.picture("mask_image"))


def _scores(m: Material) -> Content:
    product = m.sources.test.products[most_complete(m.sources.test)]
    values = {
        "name": product.name or product.id,
        "unrelated": f"{_own_share(0.0):.2f}",
        "agreeing": f"{_own_share(1.0):.2f}",
    }
    return pictured(m.picture("scores"), values)


def _own_share(cosine: float) -> float:
    """S'_ii where all others are at the same cosine: e / (e + 4 e^cosine)."""
    others = (len(MODALITIES) - 1) * math.exp(cosine)
    return math.e / (math.e + others)


def _weights(m: Material) -> Content:
    return pictured(m.picture("weight_effects"))


def _loss(m: Material) -> Content:
    """Each loss of metrics.jsonl as a share of its first value."""
    said, path = words("loss", m.lang), m.sources.run_folder / "metrics.jsonl"
    rows = [row for row in read_metrics(m.sources.run_folder) if "loss/contrastive" in row]
    if len(rows) < 2:
        raise Unavailable(f"no logged contrastive loss in {path}")
    colours = dict(zip(TASKS, MODALITY_COLOURS.values(), strict=True))
    drawn = {"contrastive": INK} | {t: c for t, c in colours.items() if f"loss/{t}" in rows[0]}
    series = {
        said.get(name, name): [_share(row, rows[0], f"loss/{name}") for row in rows]
        for name in drawn
    }
    steps = tuple(row["step"] for row in rows)
    first, last = (row["loss/contrastive"] for row in (rows[0], rows[-1]))
    values = {
        "steps": m.sources.run.config.train.steps,
        "first": f"{first:.1f}",
        "last": f"{last:.1f}",
        "share": f"{last / first:.0%}",
        "weighting": _weighting(m.sources.run.config.loss, said),
    }
    chart = Chart("curves", steps, series, tuple(drawn.values()), said["axis"], said["step"])
    return Content("Equation and chart", (chart,), values)


def _share(row: dict[str, float], first: dict[str, float], name: str) -> Estimate:
    if name not in row or not first[name]:
        return Estimate(None, None, None, 0)
    return Estimate(row[name] / first[name], None, None, 1)


def _weighting(loss: LossConfig, said: dict[str, str]) -> str:
    """What weighs the losses of the run, in words."""
    if loss.weight_on == "none":
        return said["none"]
    if loss.weight_by == "posterior":
        return said["posterior"].format(place=loss.weight_on)
    return said[f"on_{loss.weight_on}"]


def _training(m: Material) -> Content:
    path = m.sources.run_folder / "scores.parquet"
    if not path.is_file():
        raise Unavailable(f"no logged scores: {path} is missing")
    return pictured(m.picture("scores_over_time"))


SLIDES = (
    Slide("framework", "figure architecture", _framework),
    Slide("tasks", "configuration of the run", _tasks),
    Slide("predictions", "figure mask_image", _predictions),
    Slide("scores", "figure scores", _scores),
    Slide("weights", "figure weight_effects", _weights),
    Slide("loss", "metrics.jsonl of the run", _loss),
    Slide("training", "figure scores_over_time", _training, standard=False),
)
