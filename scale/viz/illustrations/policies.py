"""What stands for a missing modality: the four policies, as the JCT sees them (notebook 11).

Lengths on a page are points of the `paper` style.
"""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.modalities import MODALITIES
from scale.strict import require
from scale.viz import typeset
from scale.viz.theme import MODALITY_COLOURS, drawn, mix, points, shade, tint
from scale.viz.words import Language, label

MARGIN, WIDTH, ROW = 18.0, 720.0, 42.0
NAMES, STRIP, HEIGHT = 138.0, 384.0, 17.0
"""Width of the policies' names, width and height of the strip of tokens."""
GAP, SLOT = 5.0, 37.0
"""Between modalities in a strip; room that the name of one needs."""
STAR = 12.0
"""Width of a learned token."""
POLICIES: dict[str, tuple[str, str]] = {
    "whole": ("policy_whole", "policy_says_whole"),
    "zero": ("policy_zero", "policy_says_zero"),
    "skip": ("policy_skip", "policy_says_skip"),
    "learned": ("policy_learned", "policy_says_learned"),
    "drop": ("policy_drop", "policy_says_drop"),
}
"""Labels of the rows: name, and what it does."""
PAIRS, TASKS = 10, len(MODALITIES)
"""Of a complete product."""


@drawn
def missing_policies(
    lengths: Mapping[str, int],
    present: Sequence[str],
    imputed: Mapping[str, int],
    lang: Language = "en",
) -> Figure:
    """A row a policy: the tokens of one product that the JCT sees, and what its loss counts.

    Args:
        lengths: tokens of each modality of the product, were it complete, [CLS] counted.
        present: modalities that it has.
        imputed: tokens that zero imputation puts at each missing modality.

    Raises:
        ValueError: the product lacks nothing, or has nothing.
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
    for number, (policy, words) in enumerate(POLICIES.items()):
        y = 50 + ROW * number
        typeset.write(axes, MARGIN, y + 12, label(words[0], lang), 9.5, fontweight="bold")
        typeset.write(axes, MARGIN, y + 24, label(words[1], lang), 7.5, color=shade(0.65))
        here = {"whole": TASKS, "drop": 0}.get(policy, len(present))
        if policy == "drop":
            place = (columns[0], y, STRIP, HEIGHT)
            typeset.absent_tile(axes, *place, label("policies_not_trained", lang))
        else:
            counts = dict(lengths) | {m: imputed[m] for m in lacking if policy != "whole"}
            kinds = {m: policy if m in lacking else "whole" for m in MODALITIES}
            _strip(axes, columns[0], y, (widest, counts, kinds), lang)
        for x, n, every in ((columns[1], here * (here - 1) // 2, PAIRS), (columns[2], here, TASKS)):
            text = label("policies_of", lang, n=n, all=every)
            typeset.write(axes, x, y + 13, text, 9.5, ha="center")
    lines = typeset.wrap(label("policies_note", lang), WIDTH - 2 * MARGIN, 7.5, 2)
    for row, line in enumerate(lines):
        y = 62 + ROW * len(POLICIES) + 11 * row
        typeset.write(axes, MARGIN, y, line, 7.5, color=shade(0.65))
    return figure


def _strip(
    axes: Axes,
    x: float,
    y: float,
    parts: tuple[Mapping[str, int], Mapping[str, int], Mapping[str, str]],
    lang: Language,
) -> None:
    """Tokens as cells, modality by modality.

    parts: the most tokens of each modality in any row, those of this row, and by which policy they
    stand there: `whole` (its own), `zero`, `skip` or `learned`.
    """
    widest, counts, kinds = parts
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
    """Width of a token, so that the strip is full though no modality gets less than a SLOT."""
    room, long = STRIP - GAP * (len(MODALITIES) - 1), dict(widest)
    while True:
        cell = room / sum(long.values())
        short = [m for m, count in long.items() if count * cell < SLOT]
        if not short:
            return cell
        room -= SLOT * len(short)
        long = {m: count for m, count in long.items() if m not in short}
