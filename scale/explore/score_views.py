"""What a model says of one product, as HTML: matrices, weights, what the JCT sees, neighbours.

M modalities (five).
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib.colors import Colormap, Normalize

from scale.explore.markup import bar_rows, heat_table, modality_name, number, pair_name
from scale.explore.subject import Subject
from scale.modalities import MODALITIES, PAIRS
from scale.studies.single_product import ProductOutputs
from scale.viz.theme import MODALITY_COLOURS, diverging, sequential, use_style
from scale.viz.words import Language, label

MOST = 0.6
"""End of the colour scale of softmax(S) and S', and of the bars: fixed, so that a colour and a
length mean the same before and after a move. A modality almost alone has more."""
LEAST = -0.12
"""S'_ij lies above this: its smallest value, of two modalities with cosine -1, is -0.119."""


@cache
def _looks() -> dict[str, tuple[Colormap, Normalize]]:
    """Colours by matrix, of the light page on every theme: numbers stand on them."""
    with use_style("paper"):
        return {
            "scores": (diverging(), Normalize(-1, 1)),
            "softmax": (sequential(), Normalize(0, MOST)),
            "weighted": (diverging(), Normalize(-MOST, MOST)),
            "xs_normalised": (diverging(), Normalize(-1, 1)),
        }


def matrix(
    key: str, values_MM: np.ndarray, present_M: np.ndarray, title: str, lang: Language
) -> str:
    """One matrix as a heat table, in the colours of `key`, where tests and readers find it."""
    table = heat_table(title, values_MM, present_M, *_looks()[key], lang, key == "weighted")
    return f'<div data-matrix="{key}">{table}</div>'


def matrices(reading: ProductOutputs, lang: Language) -> str:
    """S, softmax(S), S' and the authors' form, side by side."""
    values = {
        "scores": reading.cosine_MM,
        "softmax": reading.softmax_MM,
        "weighted": reading.weighted_MM,
        "xs_normalised": reading.normalised_MM,
    }
    tables = "".join(
        matrix(key, values_MM, reading.present_M, label(key, lang), lang)
        for key, values_MM in values.items()
    )
    notes = [label("score_roles", lang)]
    notes += [] if reading.present_M.all() else [label("absent_note", lang)]
    return f'<div class="row">{tables}</div><div class="note">{" ".join(notes)}</div>'


def weight_bars(now: ProductOutputs, before: ProductOutputs, lang: Language) -> str:
    """The ten pair weights and the five own weights, each with its mark before and its change."""
    own = [(m, m) for m in range(len(MODALITIES))]
    new_MM, old_MM = _known(now), _known(before)
    most = np.nanmax([new_MM, old_MM])
    sides = []
    for key, places in (("xs_pairs", PAIRS), ("xs_diagonal", own)):
        bars = bar_rows(
            [pair_name(i, j, lang) if i != j else _name(i, lang) for i, j in places],
            [new_MM[place] for place in places],
            [old_MM[place] for place in places],
            [_blend(i, j) for i, j in places],
            LEAST,
            MOST if most <= MOST else 1.0,
        )
        sides.append(f'<div class="side" data-bars="{key}"><h4>{label(key, lang)}</h4>{bars}</div>')
    note = f'<div class="note">{label("xs_before_mark", lang)}</div>'
    return f'<div class="row">{"".join(sides)}</div>{note}'


def _known(reading: ProductOutputs) -> np.ndarray:
    """S', NaN where a modality is missing."""
    both_MM = reading.present_M[:, None] & reading.present_M[None, :]
    return np.where(both_MM, reading.weighted_MM, np.nan)


def _name(m: int, lang: Language) -> str:
    return modality_name(MODALITIES[m], lang)


def _blend(i: int, j: int) -> str:
    first, second = MODALITY_COLOURS[MODALITIES[i]], MODALITY_COLOURS[MODALITIES[j]]
    return first if i == j else f"linear-gradient({first} 50%, {second} 50%)"


def jct_view(now: ProductOutputs, before: ProductOutputs, policy: str, lang: Language) -> str:
    """The JCT's sequence, and how far each modality's fused feature moved."""
    total = int(now.token_M.sum() + now.missing_token_M.sum())
    parts = []
    for m, colour in enumerate(MODALITY_COLOURS.values()):
        for kind, count in (("own", now.token_M[m]), ("filler", now.missing_token_M[m])):
            if count:
                look = f"flex-grow:{count};--colour:{colour}"
                title = f"{label(MODALITIES[m], lang)}: {count}"
                parts.append(f'<span class="{kind}" style="{look}" title="{title}">{count}</span>')
    counts = {"own": int(now.token_M.sum()), "filler": int(now.missing_token_M.sum())}
    says = label(f"policy_says_{policy}", lang)
    line = f"{says} · " + label("xs_jct_count", lang, **counts)
    cosine_M = fused_cosines(now, before)
    names = [_name(m, lang) for m in range(len(MODALITIES))]
    low = 0.0 if np.nanmin(cosine_M) >= 0 else -1.0
    bars = bar_rows(
        names,
        cosine_M.tolist(),
        np.where(before.present_M, 1.0, np.nan).tolist(),
        list(MODALITY_COLOURS.values()),
        low,
        1.0,
    )
    strip = f'<div class="sequence" data-tokens="{total}">{"".join(parts)}</div>'
    head = f"<h4>{label('xs_jct_fused', lang)}</h4>"
    return f'{strip}<div class="note">{line}</div><div data-bars="fused">{head}{bars}</div>'


def fused_cosines(now: ProductOutputs, before: ProductOutputs) -> np.ndarray:
    """Cosine of each modality's fused feature to the one before; NaN where either is missing."""
    length_M = np.linalg.norm(now.fused_MD, axis=1) * np.linalg.norm(before.fused_MD, axis=1)
    dot_M = (now.fused_MD * before.fused_MD).sum(1)
    known_M = now.present_M & before.present_M & (length_M > 0)
    return np.divide(dot_M, length_M, out=np.full(len(dot_M), np.nan), where=known_M)


def nearest(
    subject: Subject,
    row: int,
    found: Sequence[tuple[str, float]],
    before: Sequence[tuple[str, float]] | None,
    lang: Language,
) -> str:
    """Cards of the neighbours of the product at `row`; with `before`, what rank each had."""
    ranks = {name: rank for rank, (name, _) in enumerate(before or (), start=1)}
    cards = []
    for name, cosine in found:
        fact = number(cosine)
        if before is not None and name in ranks:
            fact = label("xs_rank_was", lang, cosine=fact, rank=ranks[name])
        elif before is not None:
            fact = label("xs_rank_new", lang, cosine=fact)
        other = subject.row_of[name]
        hit = same_category(subject, row, name)
        cards.append(subject.card(other, fact, hit, pick=True, lang=lang))
    key = "xs_nearest_before" if before is None else "xs_nearest_now"
    row_of_cards = f'<div class="row cards" data-group>{"".join(cards)}</div>'
    return f'<div data-list="{key}"><h4>{label(key, lang)}</h4>{row_of_cards}</div>'


def same_category(subject: Subject, row: int, name: str) -> bool:
    """Whether the product `name` is of the category of the product at `row`."""
    category = subject.product(row).category
    return category is not None and category == subject.product(subject.row_of[name]).category


def training_view(
    mean_MM: np.ndarray,
    step: int,
    weight_MM: np.ndarray,
    now: ProductOutputs,
    model: str,
    lang: Language,
) -> str:
    """S' of the batch at a training step beside that of the product."""
    logged_M = np.isfinite(mean_MM.diagonal())
    batch = label("xs_batch_mean", lang, step=step)
    product = label("xs_this_product", lang, model=model)
    left = matrix("weighted", mean_MM, logged_M, batch, lang)
    right = matrix("weighted", weight_MM, now.present_M, product, lang)
    note = f'<div class="note">{label("xs_step_note", lang)}</div>'
    return f'<div class="row"><div data-step="{step}">{left}</div><div>{right}</div></div>{note}'
