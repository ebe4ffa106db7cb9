"""The report of an Inspection as plain text, laid out for 100 columns."""

import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from scale.data.problems import printable, summarise_problems
from scale.modalities import MODALITIES, parse_subset

if TYPE_CHECKING:
    from scale.data.summary import Inspection

BAR = 28
"""Columns of the longest bar."""
ROWS = 12
"""Rows of a list before the rest is summed up in one line."""


def report(inspection: "Inspection") -> str:
    """What the catalogue holds, section by section; sections without content are left out."""
    sections = [
        ("", _head(inspection)),
        ("Modalities", _modalities(inspection)),
        ("Combinations of modalities", _combinations(inspection)),
        ("Categories", _categories(inspection)),
        ("Lengths", _lengths(inspection)),
        ("Same content in several products", _duplicates(inspection)),
        ("Labels", _labels(inspection)),
        (
            "Other keys of the records",
            [f"{_pad(k, 28)} {n:>7,}" for k, n in _some(inspection.extra)],
        ),
        ("Problems", _problems(inspection)),
    ]
    blocks = [
        "\n".join([*([title, "-" * len(title)] if title else []), *lines])
        for title, lines in sections
        if lines
    ]
    return "\n\n".join(blocks) + "\n"


def _head(inspection: "Inspection") -> list[str]:
    info = inspection.info
    name = info.get("name")
    splits = ", ".join(f"{n:,} {split}" for split, n in inspection.splits.items())
    known = [
        f"{key}: {printable(info[key])}" for key in ("language", "licence", "source") if key in info
    ]
    title = f"{printable(name)} ({inspection.folder})" if name else inspection.folder
    count = f"{inspection.products:,} products" + (f": {splits}" if splits else "")
    return [title, count, *known]


def _modalities(inspection: "Inspection") -> list[str]:
    columns = list(inspection.present)
    lines = [" " * 8 + "".join(f"{c:>16}" for c in columns) + f"{'second view':>14}"]
    for m in MODALITIES:
        cells = (f"{inspection.present[c][m]:,} {inspection.share(m, c):7.1%}" for c in columns)
        row = "".join(f"{cell:>16}" for cell in cells)
        lines.append(f"{m:<8}{row}{inspection.alt_present[m]:>14,}")
    return lines


def _combinations(inspection: "Inspection") -> list[str]:
    if not inspection.combinations:
        return []
    lines = [" ".join(MODALITIES)]
    for name, count in inspection.combinations.items():
        subset = () if name == "none" else parse_subset(name)
        dots = " ".join(("x" if m in subset else ".").center(len(m)) for m in MODALITIES)
        lines.append(f"{dots} {_bar(count, inspection.combinations.values(), inspection.products)}")
    return lines


def _categories(inspection: "Inspection") -> list[str]:
    tail, counts = inspection.tail, inspection.categories
    lines = []
    if counts:
        equal, single = f"{tail['effective']:.1f}", f"{tail['singletons']:,}"
        head, gini = f"{tail['head_share']:.1%}", f"{tail['gini']:.2f}"
        lines = [
            f"{len(counts):,} categories, as many as {equal} equal ones; {single} of one product",
            f"the largest fifth of them holds {head} of the products (Gini {gini})",
        ]
    for name, count in _some(counts):
        bar = _bar(count, counts.values(), inspection.products)
        # The row that sums up the rest is no category, so it gets no bar.
        lines.append(f"{_pad(name, 28)} {bar if name in counts else bar.rstrip('# ')}")
    missing = inspection.products - sum(counts.values())
    return [*lines, f"{missing:,} products have no category"] if missing else lines


def _lengths(inspection: "Inspection") -> list[str]:
    names = ("n", "min", "median", "mean", "p95", "max")
    lines = [f"{'':<18}" + "".join(f"{n:>9}" for n in names) + "  histogram, min to max"]
    for name, values in inspection.lengths.items():
        if len(values):
            low, median, p95, high = np.percentile(values, [0, 50, 95, 100])
            cells = (low, median, values.mean(), p95, high)
            row = f"{len(values):>9,}" + "".join(f"{cell:>9.4g}" for cell in cells)
            lines.append(f"{name.replace('_', ' '):<18}{row}  {_sparkline(values)}")
    return lines if len(lines) > 1 else []


def _duplicates(inspection: "Inspection") -> list[str]:
    lines = []
    for m in MODALITIES:
        groups = [g for g in inspection.duplicates if g.modality == m]
        if groups:
            first = ", ".join(printable(i) for i in groups[0].ids[:3])
            lines.append(
                f"{m:<8}{inspection.duplicated(m):>7,} products in {len(groups):,} groups; "
                f"largest {len(groups[0].ids):,}: {first[:44]}"
            )
    for m, count in inspection.leakage.items():
        if count:
            lines.append(
                f"LEAKAGE: {count:,} val or test products share their {m} with another split"
            )
    if not inspection.media_checked:
        lines.append("media were not decoded: of files, only hashes in the records are compared")
    return lines or ["none"]


def _labels(inspection: "Inspection") -> list[str]:
    lines = []
    for name, values in inspection.labels.items():
        shown = ", ".join(f"{printable(v)[:20]} {n:,}" for v, n in list(values.items())[:3])
        total = f"{sum(values.values()):,} products, {len(values):,} values"
        lines.append(f"{_pad(name, 18)} {total}: {shown}{', ...' if len(values) > 3 else ''}")
    return lines


def _problems(inspection: "Inspection") -> list[str]:
    note = (
        [] if inspection.media_checked else ["media were not decoded: broken files are not known"]
    )
    return [summarise_problems(inspection.problems), *note]


def _some(counts: dict[str, int]) -> list[tuple[str, int]]:
    """The first rows, and one for all the rest."""
    items = list(counts.items())
    if len(items) <= ROWS + 1:
        return items
    rest = items[ROWS:]
    return [*items[:ROWS], (f"... {len(rest):,} more", sum(n for _, n in rest))]


def _bar(count: int, counts: Iterable[int], total: int) -> str:
    length = max(1, round(BAR * count / max(counts)))
    return f"{count:>7,} {count / total:7.1%} {'#' * min(length, BAR)}"


def _sparkline(values: np.ndarray) -> str:
    counts = np.histogram(values, bins=16)[0]
    levels = np.ceil(counts / counts.max() * 8).astype(int)
    return "".join(" ▁▂▃▄▅▆▇█"[level] for level in levels)


def _pad(text: str, width: int) -> str:
    """Cut or filled to a width in columns, of which a Chinese character takes two."""
    shown, used = "", 0
    for character in printable(text):
        columns = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used + columns > width:
            break
        shown, used = shown + character, used + columns
    return shown + " " * (width - used)
