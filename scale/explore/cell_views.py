"""HTML that explains the cells of S, softmax(S) and S': row, product, weighted loss, and the total.

M modalities (five), K values of a figure.
"""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from scale.explore.loss_terms import ProductLosses
from scale.explore.markup import modality_name, note_html, number, pair_name, signed
from scale.modalities import MODALITIES, SPECS
from scale.studies.single_product import ProductOutputs
from scale.viz.theme import MODALITY_COLOURS
from scale.viz.words import Language, label

FIRST = 0, 2
"""Cell that is explained first: text and image."""
CHANGED = 0.0005
"""Least change of a number with three digits."""
STRIP, TALL = 380, 40
"""Size of the figure of a loss in its own units."""


def cell_details(
    now: ProductOutputs,
    before: ProductOutputs,
    losses: ProductLosses,
    losses_before: ProductLosses,
    lang: Language,
    links: bool = False,
) -> str:
    """Return the explanations of the five rows and 25 cells; the page shows those of one cell.

    `data-detail` is `i` for a row and `i-j` for a cell. links: add a button with the key
    `open-TASK` to each masked loss.
    """
    parts = [note_html(label("xs_point", lang))]
    for i in range(len(MODALITIES)):
        parts.append(_detail(f"{i}", i == FIRST[0], _row(i, now, lang)))
        for j in range(len(MODALITIES)):
            body = _cell((i, j), now, before, losses, losses_before, lang, links)
            parts.append(_detail(f"{i}-{j}", (i, j) == FIRST, body))
    return f'<div class="details">{"".join(parts)}</div>'


def _detail(key: str, shown: bool, body: str) -> str:
    hidden = "" if shown else " hidden"
    return f'<div data-detail="{key}"{hidden}>{body}</div>'


def _row(i: int, now: ProductOutputs, lang: Language) -> str:
    """Return row i of S with each step to S', and the sum of its exponentials."""
    if not now.present_M[i]:
        return ""
    there = np.flatnonzero(now.present_M).tolist()
    exp_M = np.exp(now.cosine_MM[i])
    lines = {
        "S": now.cosine_MM[i],
        "exp S": exp_M,
        "softmax": now.softmax_MM[i],
        "S′": now.weighted_MM[i],
    }
    sums = {"exp S": exp_M[there].sum(), "softmax": 1.0, "S′": now.weighted_MM[i, there].sum()}
    names = "".join(f"<th>{modality_name(MODALITIES[j], lang)}</th>" for j in there)
    rows = []
    for name, values_M in lines.items():
        cells = "".join(f'<td data-link="{i}-{j}">{number(values_M[j], 3)}</td>' for j in there)
        total = number(sums[name], 3) if name in sums else ""
        rows.append(f"<tr><th>{name}</th>{cells}<td>{total}</td></tr>")
    head = label("xs_row", lang, modality=modality_name(MODALITIES[i], lang))
    return (
        f'<table class="steps"><caption>{head}</caption><thead><tr><th></th>{names}'
        f"<th>Σ</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _cell(
    place: tuple[int, int],
    now: ProductOutputs,
    before: ProductOutputs,
    losses: ProductLosses,
    losses_before: ProductLosses,
    lang: Language,
    links: bool,
) -> str:
    i, j = place
    if not (now.present_M[i] and now.present_M[j]):
        return note_html(label("xs_cell_absent", lang))
    cosine, share = now.cosine_MM[place], now.softmax_MM[place]
    exp, exp_sum = np.exp(cosine), np.exp(now.cosine_MM[i][now.present_M]).sum()
    names = ", ".join(modality_name(MODALITIES[m], lang) for m in place)
    product = (
        f"S′({names}) = S · exp(S) / Σ = {number(cosine, 3)} · {number(exp, 3)} / "
        f"{number(exp_sum, 3)} = {number(cosine, 3)} · {number(share, 3)} = "
        f"<b>{number(now.weighted_MM[place], 3)}</b>"
    )
    both = before.present_M[i] and before.present_M[j]
    known_MM = before.weighted_MM if both else np.full_like(before.weighted_MM, np.nan)
    change = _change(now.weighted_MM[place], known_MM[place], lang)
    lines = [f"<p>{product}{change}</p>"]
    if i > j:
        lines.append(f"<p>{label('xs_cell_unused', lang)}</p>")
    else:
        lines.append(_loss(place, now.weighted_MM[place], losses, losses_before, lang, links))
    return "".join(lines)


def _change(value: float, before: float, lang: Language) -> str:
    if not np.isfinite(before) or abs(value - before) < CHANGED:
        return ""
    values = {"before": number(before, 3), "change": signed(value - before, 3)}
    return f'<span class="note"> {label("xs_cell_was", lang, **values)}</span>'


def _loss(
    place: tuple[int, int],
    score: float,
    losses: ProductLosses,
    losses_before: ProductLosses,
    lang: Language,
    links: bool,
) -> str:
    """Return the loss that a cell weighs, its value, its term of the total, and its figure."""
    i, j = place
    value = losses.loss_MM[place]
    name = loss_name(place, lang)
    if not np.isfinite(value):
        return f"<p>{label('xs_cell_no_loss', lang, loss=name)}</p>"
    term = {"value": number(value, 3), "score": number(score, 3), "term": number(score * value, 3)}
    line = label("xs_cell_loss", lang, loss=name, **term)
    line += _change(value, losses_before.loss_MM[place], lang)
    values_K, own = losses.figure[place]
    colour = MODALITY_COLOURS[MODALITIES[j]]
    if i == j:
        task = SPECS[MODALITIES[i]].task
        if links:
            text = label("xs_open_masking", lang, task=task)
            line += f' <span class="button" data-key="open-{task}">{text}</span>'
        note = label("xs_figure_masked", lang, n=len(values_K))
        picture = strip_svg(values_K, own, colour, 0.0, max(float(values_K.max()), 1.0), note)
    else:
        sides = {"first": label(MODALITIES[i], lang), "second": label(MODALITIES[j], lang)}
        note = label("xs_figure_pair", lang, n=len(values_K), **sides)
        picture = strip_svg(values_K, own, colour, -1.0, 1.0, note)
    return f"<p>{line}</p>{picture}{note_html(note)}"


def loss_name(place: tuple[int, int], lang: Language) -> str:
    """Return the name of the loss of a pair i < j or of a modality i = j."""
    i, j = place
    if i == j:
        return label(SPECS[MODALITIES[i]].task, lang)
    return f"{label('contrastive', lang)} {pair_name(i, j, lang)}"


def strip_svg(
    values_K: Sequence[float] | np.ndarray,
    own: float,
    colour: str,
    low: float,
    high: float,
    name: str,
) -> str:
    """Return values as grey ticks on an axis, and one of them, or their mean, as a coloured one."""
    span, margin = max(high - low, 1e-9), 14

    def place(value: float) -> float:
        return margin + (STRIP - 2 * margin) * (min(max(value, low), high) - low) / span

    ticks = "".join(f"M{place(float(value)):.1f} 6v12" for value in values_K)
    ends = "".join(
        f'<text x="{place(at):.0f}" y="36" text-anchor="middle">{number(at, 1)}</text>'
        for at in (low, (low + high) / 2, high)
    )
    return (
        f'<svg class="strip-figure" viewBox="0 0 {STRIP} {TALL}" role="img" '
        f'aria-label="{escape(name)}"><path class="axis" d="M{margin} 24H{STRIP - margin}"/>'
        f'<path class="ticks" d="{ticks}"/><path d="M{place(own):.1f} 2v22" stroke="{colour}" '
        f'stroke-width="4"/>{ends}</svg>'
    )


def totals_html(
    losses: ProductLosses,
    losses_before: ProductLosses,
    forms: Mapping[str, tuple[np.ndarray, np.ndarray]],
    lang: Language,
) -> str:
    """Return the weighted total, its contrastive and its masked part, before and now.

    forms: weight_MM now and before by the label of the weights.
    """
    rows = []
    for name, weights in forms.items():
        cells = []
        for part in (_upper, _diagonal, np.asarray):
            now, before = (
                float(np.nansum(part(weight_MM * found.loss_MM)))
                for weight_MM, found in zip(weights, (losses, losses_before), strict=True)
            )
            delta = now - before
            change = signed(delta, 2) if abs(delta) >= 0.005 else ""
            cells.append(f'<td><b>{number(now)}</b> <span class="note">{change}</span></td>')
        rows.append(f"<tr><th>{name}</th>{''.join(cells)}</tr>")
    keys = ("xs_total_pairs", "xs_total_own", "xs_total")
    heads = "".join(f"<th>{label(key, lang)}</th>" for key in keys)
    note = note_html(label("xs_total_note", lang, n=losses.others))
    return (
        f'<div data-total><table class="totals"><thead><tr><th></th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>{note}</div>"
    )


def _upper(values_MM: np.ndarray) -> np.ndarray:
    return np.triu(np.nan_to_num(values_MM), 1)


def _diagonal(values_MM: np.ndarray) -> np.ndarray:
    return np.diag(values_MM)
