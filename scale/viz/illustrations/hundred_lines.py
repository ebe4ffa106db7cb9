"""Figures of notebook 17: the code of a model on one page, and two trainings side by side."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.viz import typeset
from scale.viz.theme import NEGATIVE, POSITIVE, category_colours, drawn, new_figure, points, shade
from scale.viz.words import LANG, Language, label, term

FORMULA = r"$L=\sum_{i<j}\,S^{\prime}_{ij}\,L_{CL}(i,j)\;+\;\sum_{i}\,S^{\prime}_{ii}\,L_{M_i}$"
"""Weights on the losses, as in the code; the paper writes them at the logits."""
MONO = "DejaVu Sans Mono"
CODE = 6.5
"""Size of the code, in points of the `paper` style."""
CHARACTER, LINE = 0.602 * CODE, 9.3
"""Width of a character and height of a line."""
TOP, BETWEEN, TITLE = 46.0, 9.0, 12.0
INDENT, GAP, MARGIN = 14.0, 20.0, 16.0
KEYWORDS = {"class", "def", "return", "for", "in", "if", "else", "not"}


@drawn
def code_page(parts: Mapping[str, str], lang: Language = LANG) -> Figure:
    """Draw the parts of SCALE's code in two columns, with the number of lines of each.

    Args:
        parts: code by title, in order. Empty lines are left out.
    """
    codes = {title: [x for x in code.splitlines() if x.strip()] for title, code in parts.items()}
    heights = [TITLE + LINE * len(lines) + BETWEEN for lines in codes.values()]
    first = _first_column(heights)
    columns = list(codes.items())[:first], list(codes.items())[first:]
    widths = [
        INDENT + CHARACTER * max(len(line) for _, lines in column for line in lines)
        for column in columns
    ]
    height = TOP + max(sum(heights[:first]), sum(heights[first:])) + MARGIN / 2
    figure, axes = typeset.page(2 * MARGIN + sum(widths) + GAP, height)
    count = sum(map(len, codes.values()))
    typeset.write(axes, MARGIN, 26, label("code_title", lang, n=count), 14, fontweight="bold")
    colours = dict(zip(codes, category_colours(len(codes)), strict=True))
    for column, left in zip(columns, (MARGIN, MARGIN + widths[0] + GAP), strict=True):
        top = TOP
        for title, lines in column:
            top = _write_part(axes, left, top, term(title, lang), lines, colours[title], lang)
    # Space is left below the second column.
    typeset.write(axes, left + INDENT, top + 24, FORMULA, 15, parse_math=True)
    return figure


def _first_column(heights: Sequence[float]) -> int:
    """Return the number of parts in the first of two columns of equal height."""
    sums = np.cumsum(heights)
    return int(np.argmin(np.maximum(sums, sums[-1] - sums))) + 1


def _write_part(
    axes: Axes, left: float, top: float, title: str, lines: list[str], colour: str, lang: Language
) -> float:
    """Write the title and the lines of a part; return the top of the next one."""
    below = top + TITLE + LINE * len(lines)
    typeset.box(axes, left, top - 1, 3, below - top, facecolor=colour, edgecolor="none")
    text = f"{title} · {label('code_lines', lang, n=len(lines))}"
    typeset.write(axes, left + INDENT, top + 7, text, 8, fontweight="bold", color=colour)
    for number, line in enumerate(lines):
        baseline = top + TITLE + LINE * (number + 0.75)
        for layer, style in _layers(line):
            typeset.write(axes, left + INDENT, baseline, layer, CODE, family=MONO, **style)
    return below + BETWEEN


def _layers(line: str) -> list[tuple[str, dict]]:
    """Return other words, keywords and comment of a line with their styles.

    Each is padded with blanks to its place: hinting changes the width of characters, so that
    separate positions would not fit.
    """
    code, mark, comment = line.partition("  #")
    blank = re.compile(r"\S")
    words = re.split(r"(\b[a-z]+\b)", code)
    plain = "".join(blank.sub(" ", w) if w in KEYWORDS else w for w in words)
    keywords = "".join(w if w in KEYWORDS else blank.sub(" ", w) for w in words)
    layers = [(plain, {}), (keywords, {"fontweight": "bold"})]
    if mark:
        layers.append((" " * len(code) + mark + comment, {"color": shade(0.6)}))
    return [(text, style) for text, style in layers if text.strip()]


@drawn
def two_trainings(
    lines: Sequence[float], package: Sequence[float], lang: Language = LANG
) -> Figure:
    """Draw the total losses of two trainings over the steps, and their relative difference.

    Args:
        lines: total loss at each step of the training by the code of `code_page`.
        package: of the package's trainer.
    """
    figure = new_figure(9.6, 3.5)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    steps, lines_S, package_S = np.arange(1, len(lines) + 1), np.array(lines), np.array(package)
    broad = {"color": POSITIVE, "linewidth": points(4), "alpha": 0.35}
    left.plot(steps, lines_S, label=label("code_lines_curve", lang), **broad)
    thin = {"color": NEGATIVE, "linewidth": points(1.2)}
    left.plot(steps, package_S, label=label("code_package_curve", lang), **thin)
    left.set(xlabel=label("step", lang), ylabel=label("code_loss", lang))
    left.legend(loc="upper right")
    relative_S = np.maximum(np.abs(lines_S - package_S) / np.abs(package_S), 1e-9)
    right.semilogy(steps, relative_S, "o", color=shade(0.75), markersize=points(3))
    right.axhline(1e-4, color=NEGATIVE, dashes=(4, 3), linewidth=points(1.2))
    right.set(xlabel=label("step", lang), ylabel=label("code_difference", lang), ylim=(5e-10, 1e-3))
    right.yaxis.set_major_formatter(lambda value, _: f"{value:.0e}")
    return figure
