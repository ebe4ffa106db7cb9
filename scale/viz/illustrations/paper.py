"""Published results of the paper (arXiv 2109.04275) beside those of this project (notebook 18).

`assets/paper_results.toml` contains the paper's tables as printed, each with the place that it was
read in. All numbers here are in percent, differences in percentage points.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scale.config import require
from scale.evaluation.bootstrap import Estimate
from scale.studies.definitions import STUDIES
from scale.studies.runner import load_finished
from scale.studies.statistics import Outcome, Summary, summarise
from scale.viz import typeset
from scale.viz.charts import dot, framed, lay_flat
from scale.viz.registry import Sources, figure
from scale.viz.theme import (
    ASSETS,
    NEGATIVE,
    POSITIVE,
    drawn,
    new_figure,
    on_slide,
    place,
    points,
    shade,
)
from scale.viz.words import LANG, Language, label, term

if TYPE_CHECKING:
    import pandas as pd

PAPER: dict[str, Any] = tomllib.loads((ASSETS / "paper_results.toml").read_text(encoding="utf-8"))
"""The file: `sources`, `facts`, `tables`, `claims`."""
MARKERS = "osD"
"""Marker of a catalogue."""


def paper_table(number: int) -> "pd.DataFrame":
    """Return a table of the paper as printed, in percent; `attrs` has its claim, note, sources.

    Raises ValueError for a table that the file lacks.
    """
    import pandas as pd

    tables = {table["number"]: table for table in PAPER["tables"]}
    require(number in tables, f"table {number} is not in the file; it has {sorted(tables)}")
    table = tables[number]
    frame = pd.DataFrame(table["rows"], columns=table["columns"])
    frame.attrs = {key: table[key] for key in ("number", "section", "claim", "note", "source")}
    return frame


def paper_facts() -> "pd.DataFrame":
    """Return facts about M5Product and the paper's experiments: value, sources, section."""
    import pandas as pd

    rows = {
        name: (value, ", ".join(keys), at) for name, (value, keys, at) in PAPER["facts"].items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "read in", "section"])


@dataclass(frozen=True)
class PaperClaim:
    """A claim of the paper that is a difference of two printed numbers."""

    name: str
    """Key of its labels: `published_<name>`."""
    table: int
    column: str
    better: dict[str, str]
    """Row that is better according to the claim: values of the columns that identify it."""
    worse: dict[str, str]
    study: str = ""
    """Study of this project that asks the same; empty if there is none."""
    outcome: str = ""
    """Claim of that study."""

    @property
    def gain(self) -> float:
        """Better minus worse, in percentage points."""
        return round(self._value(self.better) - self._value(self.worse), 2)

    def _value(self, where: Mapping[str, str]) -> float:
        frame = paper_table(self.table)
        for column, value in where.items():
            frame = frame[frame[column] == value]
        require(len(frame) == 1, f"table {self.table}: {len(frame)} rows with {dict(where)}")
        return float(frame[self.column].iloc[0])


PAPER_CLAIMS = tuple(PaperClaim(**claim) for claim in PAPER["claims"])


def our_outcome(claim: PaperClaim, studies: Path | str, catalogue: str) -> Outcome | None:
    """Return this project's comparison for a claim, in mAP@5; None if there is none.

    Args:
        studies: folder of `<study>-<catalogue>.parquet` files.
        catalogue: name of a catalogue.
    """
    if not (Path(studies) / f"{claim.study}-{catalogue}.parquet").is_file():
        return None
    for outcome in _summary(claim.study, str(studies), catalogue).outcomes:
        compared = outcome.comparison
        asked = compared.test == "held out" and compared.metric == "mAP@5"
        if asked and compared.claim == claim.outcome and outcome.seeds.value is not None:
            return outcome
    return None


@cache
def _summary(study: str, studies: str, catalogue: str) -> Summary:
    grids = [STUDIES[study](quick) for quick in (True, False)]
    found = [(grid, load_finished(grid, catalogue, studies)) for grid in grids]
    # As the reports: the quick grid where both select the same runs, with fewer claims.
    return summarise(*max(found, key=lambda pair: len(pair[1])))


def in_points(found: Estimate) -> Estimate:
    """Return an estimate in percent, or a difference in percentage points."""
    low, high = (None if end is None else 100 * end for end in (found.low, found.high))
    return Estimate(None if found.value is None else 100 * found.value, low, high, found.n)


Ours = Mapping[str, Mapping[str, tuple[Estimate, bool]]]
"""By name of a claim and by catalogue: difference in points, and whether it is decided."""


def claim_outcomes(studies: Path | str, catalogues: Sequence[str]) -> Ours:
    """Return this project's differences for all claims, as `paper_claims` takes them."""
    found: dict[str, dict[str, tuple[Estimate, bool]]] = {}
    for claim in PAPER_CLAIMS:
        for catalogue in catalogues:
            if outcome := our_outcome(claim, studies, catalogue):
                decided = outcome.verdict in ("supported", "contradicted")
                found.setdefault(claim.name, {})[catalogue] = in_points(outcome.seeds), decided
    return found


@drawn
def paper_claims(ours: Ours, lang: Language = LANG) -> Figure:
    """Draw the gain of each claim in the paper, without interval, and here, with its interval.

    Args:
        ours: as returned by `claim_outcomes`; filled markers are decided differences.
    """
    size = 9.4, 0.9 + 0.52 * len(PAPER_CLAIMS)
    figure = new_figure(*((side / 72 for side in place()) if on_slide() else size))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.6), sharey=True)
    catalogues = list(dict.fromkeys(name for found in ours.values() for name in found))
    for y, claim in enumerate(PAPER_CLAIMS):
        _lollipop(left, y, claim.gain, f"+{claim.gain:.2f}")
        _our_differences(right, y, ours.get(claim.name, {}), catalogues, lang)
    for axes, title, unit in (
        (left, "paper_theirs", "paper_theirs_axis"), (right, "paper_ours", "paper_ours_axis"),
    ):  # fmt: skip
        axes.set_title(label(title, lang))
        lines = typeset.wrap(label(unit, lang), 0.26 * place()[0], 9, 3)
        axes.set_xlabel("\n".join(lines) if on_slide() else label(unit, lang))
        axes.axvline(0, color=shade(0.6), lw=points(0.9), zorder=1)
        lay_flat(axes)
    names = [label(f"published_{c.name}", lang, table=c.table) for c in PAPER_CLAIMS]
    left.set_yticks(range(len(PAPER_CLAIMS)), names)
    left.set_ylim(len(PAPER_CLAIMS) - 0.5, -0.5)
    left.set_xlim(0, 1.35 * max(claim.gain for claim in PAPER_CLAIMS))
    if on_slide():
        left.set_xlim(0, 1.8 * max(claim.gain for claim in PAPER_CLAIMS))
        right.locator_params(axis="x", nbins=3)
        return figure
    handles = [
        Line2D([], [], ls="none", marker=marker, ms=points(5), color=shade(0.8), label=name)
        for marker, name in zip(MARKERS, catalogues, strict=False)
    ]
    return framed(figure, "", label("paper_claims_note", lang), handles)


def _lollipop(axes: Axes, y: float, value: float, text: str) -> None:
    axes.plot([0, value], [y, y], color=shade(0.45), lw=points(2), zorder=2)
    axes.plot([value], [y], ls="none", marker="o", ms=points(6), color=shade(0.8), zorder=3)
    beside = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
    axes.annotate(text, (value, y), fontsize=points(8.5), **beside)


def _our_differences(
    axes: Axes,
    y: float,
    found: Mapping[str, tuple[Estimate, bool]],
    catalogues: Sequence[str],
    lang: Language,
) -> None:
    if not found:
        style = {"ha": "left", "va": "center", "color": shade(0.6), "fontsize": points(8.5)}
        axes.annotate(label("paper_not_measured", lang), (0, y), (6, 0), textcoords="offset points",
                      **style)  # fmt: skip
    for number, name in enumerate(catalogues):
        if name in found:
            one, decided = found[name]
            colour = NEGATIVE if (one.value or 0.0) < 0 else POSITIVE
            face = colour if decided else axes.get_facecolor()
            shift = 0.24 * (number - (len(catalogues) - 1) / 2)
            style = {"marker": MARKERS[number], "mfc": face, "zorder": 3}
            dot(axes, y + shift, one, colour, **style)


@drawn
def paper_and_ours(
    theirs: Mapping[str, float],
    ours: Mapping[str, Estimate],
    metrics: tuple[str, str],
    lang: Language = LANG,
    marked: Sequence[str] = (),
) -> Figure:
    """Draw the rows of a published table beside the rows of a study; each side has its own axis.

    Args:
        theirs: printed value in percent by row.
        ours: estimate in percent by row.
        metrics: names of the two metrics.
        marked: names of rows drawn in blue.
    """
    figure = new_figure(9.4, 0.95 + 0.3 * max(len(theirs), len(ours)))
    for axes, rows, key, metric in zip(
        figure.subplots(1, 2), (theirs, ours), ("paper_theirs", "paper_ours"), metrics, strict=True
    ):
        for y, (name, value) in enumerate(rows.items()):
            colour = POSITIVE if name in marked else shade(0.7)
            found = value if isinstance(value, Estimate) else Estimate(value, None, None, 1)
            dot(axes, y, found, colour, ms=points(6))
            end = max(found.value or 0.0, found.high or 0.0)
            beside = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{found.value:.1f}", (end, y), fontsize=points(8), **beside)
        axes.set_yticks(range(len(rows)), [term(name, lang) for name in rows])
        axes.set_ylim(max(len(theirs), len(ours)) - 0.5, -0.5)
        axes.set_xlim(0, 1.18 * axes.get_xlim()[1])
        axes.set_title(label(key, lang))
        axes.set_xlabel(f"{metric} (%)")
        lay_flat(axes)
    return framed(figure, "", label("paper_and_ours_note", lang))


def study_cells(
    study: str, studies: Path | str, catalogue: str, keep: Callable[[dict], str | None]
) -> dict[str, Estimate]:
    """Return mAP@5 on held-out products, in percent, of the cells that `keep` names.

    Args:
        keep: returns the name of a cell's row from its factors, None to leave it out.
    """
    if not (Path(studies) / f"{study}-{catalogue}.parquet").is_file():
        return {}
    rows = _summary(study, str(studies), catalogue).rows
    named = {name: row for row in rows if (name := keep(row.factors))}
    return {name: in_points(row.estimate("held out", "mAP@5")) for name, row in named.items()}


def paper_modalities(studies: Path | str, catalogue: str, lang: Language = LANG) -> Figure:
    """Draw table 3 (subset, pretrained mAP@1) beside the study `modalities`."""

    def added(subset: str) -> str:
        first, *others = subset.split("+")
        return f"+ {label(others[-1], lang)}" if others else label(first, lang)

    printed = paper_table(3).query("data == 'subset'")
    names = [f"+ {label(n[2:], lang)}" if n[0] == "+" else label(n, lang)
             for n in printed["modalities"]]  # fmt: skip
    theirs = dict(zip(names, printed["mAP@1 pretrained"], strict=True))
    ours = study_cells("modalities", studies, catalogue, lambda cell: added(cell["modalities"]))
    return paper_and_ours(theirs, ours, ("mAP@1", "mAP@5"), lang)


def paper_models(studies: Path | str, catalogue: str, lang: Language = LANG) -> Figure:
    """Draw table 5 (subset, mAP@1) beside the cells on image and text of the study `fusion`."""

    def kept(cell: dict) -> str | None:
        return cell["system"] if cell["inputs"] == "text+image" else None

    printed = paper_table(5).query("data == 'subset'")
    theirs = dict(zip(printed["model"], printed["mAP@1"], strict=True))
    ours = study_cells("fusion", studies, catalogue, kept)
    return paper_and_ours(theirs, ours, ("mAP@1", "mAP@5"), lang, ("SCALE",))


@figure("paper_claims")
def _draw_claims(sources: Sources, lang: Language) -> Figure:
    return paper_claims(claim_outcomes(*_place(sources)), lang)


@figure("paper_modalities")
def _draw_modalities(sources: Sources, lang: Language) -> Figure:
    studies, (catalogue,) = _place(sources)
    return paper_modalities(studies, catalogue, lang)


@figure("paper_models")
def _draw_models(sources: Sources, lang: Language) -> Figure:
    studies, (catalogue,) = _place(sources)
    return paper_models(studies, catalogue, lang)


def _place(sources: Sources) -> tuple[Path, list[str]]:
    sources.used.add("studies")
    return sources.studies, [sources.catalogue_folder.resolve().name]
