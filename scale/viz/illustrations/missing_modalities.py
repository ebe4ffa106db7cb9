"""Policies for missing modalities, shares of complete products, paired runs (notebook 11).

M modalities (five), N products, S seeds. Lengths of pages are points (viz/typeset.py).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy import stats

from scale.config import require
from scale.data.product import Product
from scale.evaluation.bootstrap import LEVEL, Estimate
from scale.modalities import MODALITIES
from scale.studies.noise import apply_noise, missing_at_random
from scale.studies.statistics import seed_interval
from scale.viz import typeset
from scale.viz.charts import dot, framed, lay_flat, narrow_title
from scale.viz.noise import synthetic_dataset
from scale.viz.registry import Sources, figure, most_complete
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    category_colours,
    drawn,
    mix,
    new_figure,
    on_slide,
    points,
    shade,
    tint,
)
from scale.viz.words import LANG, Language, label, term

MARGIN, WIDTH, ROW = 18.0, 720.0, 42.0
NAMES, STRIP, HEIGHT = 138.0, 384.0, 17.0
"""Width of the names; width and height of the strip of tokens."""
GAP, SLOT = 5.0, 37.0
"""Gap between modalities in a strip; minimum width of a modality, for its name."""
STAR = 12.0
"""Width of the learned token."""
POLICIES = ("whole", "zero", "skip", "learned", "drop")
"""Rows: the complete product, then the policies."""
PAIRS, TASKS = 10, len(MODALITIES)
"""Number of pairs and of masked tasks of a complete product."""


@drawn
def missing_policies(
    lengths: Mapping[str, int],
    present: Sequence[str],
    imputed: Mapping[str, int],
    lang: Language = LANG,
) -> Figure:
    """Draw a row per policy: the tokens of a product in the JCT, and its number of losses.

    Args:
        lengths: tokens of each modality of the complete product, including [CLS].
        present: modalities of the product.
        imputed: tokens per missing modality under zero imputation.

    Raises:
        ValueError: the product is complete, or has no modality.
    """
    lacking = [m for m in MODALITIES if m not in present]
    require(0 < len(lacking) < len(MODALITIES), "a product that lacks some modalities is needed")
    figure, axes = typeset.page(WIDTH, 78 + ROW * len(POLICIES))
    names = label("policies_and", lang).join(label(m, lang) for m in lacking)
    title = label("policies_title", lang, names=names)
    typeset.write(axes, MARGIN, 22, title, 11, fontweight="bold")
    columns = MARGIN + NAMES, MARGIN + NAMES + STRIP + 56, WIDTH - MARGIN - 32
    heads = ("policies_tokens", "policies_pairs", "policies_masked")
    for x, key, ha in zip(columns, heads, ("left", "center", "center"), strict=True):
        typeset.write(axes, x, 42, label(key, lang), 7.5, ha=ha, color=shade(0.6))
    widest = {m: max(lengths[m], imputed[m]) if m in lacking else lengths[m] for m in MODALITIES}
    for number, policy in enumerate(POLICIES):
        y = 50 + ROW * number
        name, effect = label(f"policy_{policy}", lang), label(f"policy_says_{policy}", lang)
        typeset.write(axes, MARGIN, y + 12, name, 9.5, fontweight="bold")
        typeset.write(axes, MARGIN, y + 24, effect, 7.5, color=shade(0.65))
        here = {"whole": TASKS, "drop": 0}.get(policy, len(present))
        if policy == "drop":
            place = (columns[0], y, STRIP, HEIGHT)
            typeset.absent_tile(axes, *place, label("policies_not_trained", lang))
        else:
            counts = dict(lengths) | {m: imputed[m] for m in lacking if policy != "whole"}
            kinds = {m: policy if m in lacking else "whole" for m in MODALITIES}
            _strip(axes, columns[0], y, widest, counts, kinds, lang)
        for x, n, every in ((columns[1], here * (here - 1) // 2, PAIRS), (columns[2], here, TASKS)):
            text = label("policies_of", lang, n=n, all=every)
            typeset.write(axes, x, y + 13, text, 9.5, ha="center")
    lines = typeset.wrap(label("policies_note", lang), WIDTH - 2 * MARGIN, 7.5, 2)
    below = 62 + ROW * len(POLICIES)
    typeset.write_lines(axes, MARGIN, below, lines, 7.5, 11, color=shade(0.65))
    return figure


def _strip(
    axes: Axes,
    x: float,
    y: float,
    widest: Mapping[str, int],
    counts: Mapping[str, int],
    kinds: Mapping[str, str],
    lang: Language,
) -> None:
    """Draw tokens as cells, modality by modality.

    Args:
        widest: maximum number of tokens over the rows, by modality.
        counts: number of tokens in this row.
        kinds: policy of the modality: `whole` (present), `zero`, `skip` or `learned`.
    """
    cell = _cell_width(widest)
    for m in MODALITIES:
        colour, kind = MODALITY_COLOURS[m], kinds[m]
        count = {"skip": 0, "learned": 1}.get(kind, counts[m])
        look = {
            "whole": {"facecolor": mix(shade(0.0), colour, 0.85), "edgecolor": shade(0.0)},
            "zero": {"facecolor": tint(colour, 0.12), "edgecolor": colour, "hatch": "//////"},
            "learned": {"facecolor": shade(0.0), "edgecolor": colour},
        }.get(kind, {})
        width = STAR if kind == "learned" else cell
        for k in range(count):
            place = (x + k * cell, y, width, HEIGHT)
            typeset.box(axes, *place, linewidth=points(0.4), **look)
        if kind == "learned":
            star = {"marker": "*", "color": colour, "ms": points(7), "ls": "none"}
            axes.plot(x + STAR / 2, y + HEIGHT / 2, **star)
        ink = mix(colour, shade(1.0), 0.25) if count else shade(0.5)
        typeset.write(axes, x, y + HEIGHT + 9, f"{label(m, lang)} {count}", 7, color=ink)
        x += max(widest[m] * cell, SLOT) + GAP


def _cell_width(widest: Mapping[str, int]) -> float:
    """Return the token width that fills the strip with at least a SLOT per modality."""
    room, long = STRIP - GAP * (len(MODALITIES) - 1), dict(widest)
    while True:
        cell = room / sum(long.values())
        short = [m for m, count in long.items() if count * cell < SLOT]
        if not short:
            return cell
        room -= SLOT * len(short)
        long = {m: count for m, count in long.items() if m not in short}


Bools = NDArray[np.bool_]

RATES = (0.1, 0.3, 0.5)
"""Rates of the grids."""
CROWD, CROWD_SEED = 24, 28
"""Simulated products in a grid; a seed whose counts are near their expectation at all rates."""
CURVES = (
    ("share_modality", 1, None, ":"),
    ("share_pair", 2, POSITIVE, "-"),
    ("share_product", len(MODALITIES), NEGATIVE, "--"),
)
"""Label, exponent of 1 - r, colour (None: grey) and dashes."""


def simulate_presence(rate: float, products: int = CROWD, seed: int = CROWD_SEED) -> Bools:
    """Return present_NM of simulated products that lack each modality with probability `rate`."""
    names = tuple(Product(id=f"{row}") for row in range(products))
    content_id_NM = np.arange(products)[:, None] * np.ones(len(MODALITIES), np.int64)
    crowd = synthetic_dataset(names, content_id_NM)
    return apply_noise(crowd, missing_at_random(rate), seed).dataset.present_NM


def remaining_shares(present_NM: Bools, after_NM: Bools) -> tuple[float, float]:
    """Return the remaining shares of complete products and of pairs of present modalities."""

    def counted(here_NM: Bools) -> tuple[int, int]:
        count_N = here_NM.sum(1)
        return int((count_N == here_NM.shape[1]).sum()), int((count_N * (count_N - 1) // 2).sum())

    return tuple(b / a for a, b in zip(counted(present_NM), counted(after_NM), strict=True))


@drawn
def complete_share(
    measured: Mapping[float, tuple[float, float]],
    lang: Language = LANG,
    rates: Sequence[float] = RATES,
) -> Figure:
    """Draw simulated products at three rates, and remaining modalities, pairs and products.

    Args:
        measured: `remaining_shares` of a catalogue by rate, drawn as dots beside the curves.
        rates: missing rates of the grids.
    """
    figure = new_figure(9.4, 3.9)
    *grids, curves = figure.subplots(1, len(rates) + 1, width_ratios=[1.0] * len(rates) + [3.0])
    for axes, rate in zip(grids, rates, strict=True):
        _presence_grid(axes, rate, lang)
    rate_T = np.linspace(0, 0.8, 81)
    for key, power, colour, dashes in CURVES:
        style = {"color": colour or shade(0.55), "ls": dashes, "label": label(key, lang)}
        curves.plot(rate_T, (1 - rate_T) ** power, **style)
    style = {"ls": "none", "ms": points(5), "mfc": shade(0.0)}
    for place, marker, colour in ((1, "o", POSITIVE), (0, "s", NEGATIVE)):
        value = [shares[place] for shares in measured.values()]
        curves.plot(list(measured), value, marker=marker, color=colour, **style)
    name = label("share_measured", lang)
    curves.plot([], [], marker="o", color=shade(0.6), label=name, **style)
    curves.set(xlabel=label("share_rate", lang), ylabel=label("share_axis", lang))
    curves.set_ylim(0, 1.95 if on_slide() else 1.4)
    curves.set_yticks(np.linspace(0, 1, 6))
    curves.set_title(label("share_curves", lang))
    for axis in (curves.xaxis, curves.yaxis):
        axis.set_major_formatter(lambda x, _: f"{x:.0%}")
    curves.legend(loc="upper right")
    return framed(figure, "", label("share_note", lang))


def _presence_grid(axes: Axes, rate: float, lang: Language) -> None:
    """Draw a row per product and a column per modality; complete products are framed."""
    present_NM = simulate_presence(rate)
    for row, present_M in enumerate(present_NM):
        for column, m in enumerate(MODALITIES):
            colour = MODALITY_COLOURS[m] if present_M[column] else shade(0.07)
            box = (column + 0.08, row + 0.1)
            axes.add_patch(Rectangle(box, 0.84, 0.8, facecolor=colour, edgecolor="none"))
        if present_M.all():
            frame = {"facecolor": "none", "edgecolor": shade(1.0), "linewidth": points(1.3)}
            axes.add_patch(Rectangle((-0.12, row - 0.02), len(MODALITIES) + 0.24, 1.04, **frame))
    complete = int(present_NM.all(1).sum())
    title = label("share_grid", lang, rate=rate, complete=complete, all=len(present_NM))
    axes.set_title(narrow_title(title, 60), fontsize=points(8))
    axes.set(xlim=(-0.3, len(MODALITIES) + 0.3), ylim=(len(present_NM) + 0.2, -0.2))
    axes.set_axis_off()


Floats = NDArray[np.float64]


def welch_difference(better_S: Floats, worse_S: Floats) -> Estimate:
    """Return the difference of means with Welch's t interval, ignoring the pairing by seed."""
    found = stats.ttest_ind(better_S, worse_S, equal_var=False).confidence_interval(LEVEL)
    difference = float(better_S.mean() - worse_S.mean())
    return Estimate(difference, float(found.low), float(found.high), len(better_S))


@drawn
def paired_runs(
    better_S: Floats,
    worse_S: Floats,
    names: Sequence[str],
    lang: Language = LANG,
    metric: str = "mAP@5",
) -> Figure:
    """Draw a line per seed between two settings, and the differences with both intervals.

    Args:
        names: of the better and of the worse setting.

    Raises:
        ValueError: the numbers of runs differ, or are below two.
    """
    require(len(better_S) == len(worse_S) > 1, "two settings with the same seeds are needed")
    better_name, worse_name = (term(name, lang) for name in names)
    figure = new_figure(7.6, 2.9)
    lines, row = figure.subplots(1, 2, width_ratios=(1, 1.5))
    colours = category_colours(len(better_S))
    for seed, (better, worse) in enumerate(zip(better_S, worse_S, strict=True)):
        style = {"color": colours[seed], "marker": "o", "ms": points(5)}
        lines.plot([0, 1], [worse, better], label=label("paired_seed", lang, n=seed), **style)
        row.plot(better - worse, 0, ls="none", **style)
    lines.set_xticks([0, 1], [worse_name, better_name])
    lines.set(xlim=(-0.25, 1.25), ylim=(0, None))
    lines.set_title(label("paired_runs", lang, metric=metric))
    found = seed_interval(better_S - worse_S), welch_difference(better_S, worse_S)
    for y, estimate, colour in zip((1, 2), found, (POSITIVE, NEGATIVE), strict=True):
        dot(row, y, estimate, colour, capsize=points(3), ms=points(6))
        text = f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"
        place = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center"}
        row.annotate(text, (estimate.value, y), fontsize=points(8), color=colour, **place)
    row.axvline(0, color=shade(0.6), lw=points(0.9), zorder=1)
    keys = ("paired_differences", "paired_interval", "unpaired_interval")
    row.set_yticks(range(3), [label(key, lang) for key in keys])
    row.set_ylim(2.5, -0.5)
    row.set_title(label("paired_title", lang, better=better_name, worse=worse_name))
    lay_flat(row)
    lines.legend(loc="lower right", fontsize=points(7))
    return figure


SHOWN_MODALITIES = ("text", "table", "image")
"""Modalities of the product in `missing_policies`."""
MEASURED_RATES = (0.1, 0.3, 0.5, 0.7)
"""Rates at which the catalogue's complete products are counted."""
PAIRED_RATE = 0.1
"""Missing rate of `paired_seeds`."""


@figure("missing_policies")
def _draw_policies(sources: Sources, lang: Language) -> Figure:
    model = sources.run.model
    with torch.no_grad():
        output = model(sources.test.collate([most_complete(sources.test)]))
        imputed = {m: encoder.impute_zeros().shape[1] for m, encoder in model.encoders.items()}
    lengths = {m: tokens_RLD.shape[1] for m, tokens_RLD in output.encoded.items()}
    return missing_policies(lengths, SHOWN_MODALITIES, imputed, lang)


@figure("complete_share")
def _draw_complete(sources: Sources, lang: Language) -> Figure:
    train, measured = sources.train, {}
    for rate in MEASURED_RATES:
        left = apply_noise(train, missing_at_random(rate), sources.seed).dataset
        measured[rate] = remaining_shares(train.present_NM, left.present_NM)
    return complete_share(measured, lang)


@figure("paired_seeds")
def _draw_paired(sources: Sources, lang: Language) -> Figure:
    _, records = sources.finished("missing")
    names = ("zero", "drop")
    by_seed = [
        {r.seed: r.figures["held out"]["mAP@5"] for r in records if r.factors == factors}
        for factors in ({"policy": name, "rate": PAIRED_RATE} for name in names)
    ]
    shared = sorted(by_seed[0].keys() & by_seed[1].keys())
    sides = (np.array([values[seed] for seed in shared]) for values in by_seed)
    return paired_runs(*sides, names, lang)
