"""Which modality helps to predict which attribute of a product, as a matrix (notebook 06)."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES
from scale.strict import require
from scale.viz import typeset
from scale.viz.charts import framed
from scale.viz.theme import (
    MODALITY_COLOURS,
    diverging,
    drawn,
    new_figure,
    points,
    shade,
    text_on,
)
from scale.viz.words import Language, label

Gains = Mapping[str, Mapping[str, Estimate]]
"""By attribute and by the modality that is shown."""


@drawn
def attribute_matrix(
    panels: Mapping[str, Gains],
    lang: Language = "en",
    note: str = "",
) -> Figure:
    """A matrix a panel: attributes in rows, the modality that helps in columns, gain in the cell.

    Under each number stands its 95 % interval. A cell is coloured and bold only where the interval
    leaves 0 out. All panels share the scale of colours.

    Args:
        panels: by title, gains by attribute and by modality (or any other name); what is not there
            stays empty.
        note: a further sentence below.

    Raises:
        ValueError: there is nothing to draw.
    """
    require(any(panels.values()), "no gain of an attribute to draw")
    columns = {t: _columns(rows) for t, rows in panels.items()}
    rows = list(dict.fromkeys(a for found in panels.values() for a in found))
    wide = [max(1, len(names)) for names in columns.values()]
    figure = new_figure(1.4 + 0.88 * sum(wide), 1.6 + 0.43 * len(rows))
    cells = [e.value for p in panels.values() for row in p.values() for e in row.values()]
    most = max((abs(v) for v in cells if v is not None), default=0.0) or 1.0
    shown = figure.subplots(1, len(panels), squeeze=False, sharey=True, width_ratios=wide)[0]
    for axes, (title, found) in zip(shown, panels.items(), strict=True):
        _matrix(axes, found, rows, columns[title], most, lang)
        axes.set_title(title)
    shown[0].set_yticks(range(len(rows)), rows)
    text = " ".join([label("attribute_note", lang), note]).strip()
    return framed(figure, label("attribute_title", lang), text, [])


def before_and_after(before: Gains, after: Gains, lang: Language = "en") -> Figure:
    """The gains of a model as trained and after practice, in nats of cross-entropy."""
    panels = {label("attribute_before", lang): before, label("attribute_after", lang): after}
    return attribute_matrix(panels, lang, label("attribute_unit", lang))


def _columns(found: Gains) -> list[str]:
    names = {name for row in found.values() for name in row}
    return [n for n in ("all", *MODALITIES) if n in names] + sorted(names - {"all", *MODALITIES})


def _matrix(
    axes: Axes,
    found: Gains,
    rows: Sequence[str],
    names: Sequence[str],
    most: float,
    lang: Language,
) -> None:
    colours = diverging()
    for y, row in enumerate(rows):
        for x, name in enumerate(names):
            cell = found.get(row, {}).get(name)
            if cell is None or cell.value is None:
                continue
            decided = cell.low > 0 or cell.high < 0
            colour = colours(0.5 + 0.5 * cell.value / most) if decided else shade(0.03)
            style = {"facecolor": colour, "edgecolor": shade(0.0), "linewidth": points(1.5)}
            typeset.box(axes, x - 0.5, y - 0.5, 1, 1, **style)
            ink = text_on(colour) if decided else shade(0.55)
            weight = "bold" if decided else "normal"
            place = {"ha": "center", "va": "center", "color": ink}
            large = {"fontsize": points(8.5), "weight": weight}
            axes.text(x, y - 0.14, f"{cell.value:+.2f}", **large, **place)
            ends = f"{cell.low:+.2f} {cell.high:+.2f}"
            axes.text(x, y + 0.24, ends, fontsize=points(5.8), **place)
    named = [label(n, lang) if n in MODALITIES else label("attribute_all", lang) for n in names]
    axes.set_xticks(range(len(names)), named)
    for tick, name in zip(axes.get_xticklabels(), names, strict=True):
        tick.set(color=MODALITY_COLOURS.get(name, shade(0.9)), fontsize=points(8))
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
