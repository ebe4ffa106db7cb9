"""HTML of the attention view: blocks of modalities, and tokens of a block.

T tokens of a product's sequence, Q and K tokens of two modalities, M modalities (five).
"""

from collections.abc import Sequence
from functools import cache
from html import escape

import numpy as np
from matplotlib.colors import Colormap, Normalize
from scipy.stats import spearmanr
from transformers import PreTrainedTokenizerBase

from scale.data.batch import Tokens
from scale.explore.markup import (
    heat_table,
    listed,
    modality_name,
    note_html,
    number,
    png_uri,
)
from scale.modalities import MODALITIES
from scale.viz.theme import diverging, sequential, use_style
from scale.viz.words import Language, label

MOST, MOST_EFFECT = 0.8, 50.0
"""Ends of the scales of attention, and of effects in percent: fixed, for comparisons."""
STEP, MARGIN, HEAD = 13, 92, 92
"""Size of a token in the map, and of the names at its left and above it, in pixels."""
STRONGEST = 5
"""Pairs of tokens that are listed."""
LONGEST_NAME = 14
MANY = 14
"""Tokens of a modality whose names still fit on a page for a projector."""


@cache
def _colours() -> tuple[Colormap, Colormap]:
    """Return the colours of attention and of effects, those of the light page on every theme."""
    with use_style("paper"):
        return sequential(), diverging()


def token_names(
    modality: str, tokens: Tokens, tokenizer: PreTrainedTokenizerBase, lang: Language
) -> list[str]:
    """Return the names of a product's tokens of a modality, including [CLS]."""
    length = int((~tokens.padding_RL[0]).sum())
    if not tokens.continuous:
        return tokenizer.convert_ids_to_tokens(tokens.values[0, :length].tolist())
    key = {"image": "xm_region", "video": "xm_frame"}.get(modality, "xa_token")
    return ["[CLS]", *(label(key, lang, n=n + 1) for n in range(length))]


def block_tables(
    shares: Sequence[np.ndarray],
    has: Sequence[np.ndarray],
    even_M: np.ndarray,
    effect_MM: np.ndarray,
    mean_MM: np.ndarray,
    block: tuple[int, int],
    ratio: bool,
    lang: Language,
) -> str:
    """Return the 5 x 5 blocks before and now, and the effects of removals, side by side.

    Args:
        shares: share_MM before and now, with `ratio` divided by the shares of the tokens.
        has: modalities with tokens, before and now.
        even_M: share of the tokens of each modality now.
        effect_MM: `removal_effects` of the unchanged product.
        mean_MM: share_MM of the unchanged product, mean over layers and heads.
        block: the chosen block.
    """
    attention, effects = _colours()
    before_MM, now_MM = shares
    look = (effects, Normalize(0, 2), lang) if ratio else (attention, Normalize(0, MOST), lang)
    chosen = {"linked": False, "chosen": block}
    tables = [
        heat_table(label("xa_before", lang), before_MM, has[0], *look, keys="before", **chosen),
        heat_table(
            label("xa_now", lang), now_MM, has[1], *look, before_MM=before_MM, keys="now", **chosen
        ),
    ]
    known_M = np.isfinite(effect_MM).any(0) | np.isfinite(effect_MM).any(1)
    if known_M.any():
        norm = Normalize(-MOST_EFFECT, MOST_EFFECT)
        title = label("xa_effect", lang)
        tables.append(heat_table(title, 100 * effect_MM, known_M, effects, norm, lang))
    even = [
        f"{modality_name(MODALITIES[m], lang)} {number(even_M[m])}"
        for m in np.flatnonzero(even_M).tolist()
    ]
    notes = [
        label("xa_blocks_note", lang),
        label("xa_even", lang, shares=listed(even, lang)),
        label("xa_effect_note", lang),
    ]
    rank = _rank(mean_MM, effect_MM, lang)
    caution = f'<p class="caution"><b>{label("xa_caution", lang)}</b>{rank}</p>'
    return f'<div class="row">{"".join(tables)}</div>{caution}{note_html(" ".join(notes))}'


def _rank(mean_MM: np.ndarray, effect_MM: np.ndarray, lang: Language) -> str:
    """Return the rank correlation of attention and effect over the pairs of modalities."""
    known_MM = np.isfinite(effect_MM)
    if known_MM.sum() < 6:
        return ""
    rho = spearmanr(mean_MM[known_MM], effect_MM[known_MM]).statistic
    return " " + label("xa_rank", lang, rho=number(float(rho)), n=int(known_MM.sum()))


def token_map(
    weight_TT: np.ndarray,
    modality_T: np.ndarray,
    names: Sequence[str],
    block: tuple[int, int],
    lang: Language,
) -> str:
    """Return the attention of the tokens of modality i to those of j as an SVG with names, and its
    strongest pairs; a note if one has no tokens."""
    rows_Q, columns_K = (np.flatnonzero(modality_T == m) for m in block)
    if not (len(rows_Q) and len(columns_K)):
        return note_html(label("xa_no_tokens", lang))
    weight_QK = weight_TT[np.ix_(rows_Q, columns_K)]
    most = max(float(weight_QK.max()), 1e-9)
    pixels = (_colours()[0](weight_QK / most)[:, :, :3] * 255).round().astype(np.uint8)
    width, height = STEP * len(columns_K), STEP * len(rows_Q)
    rows = "".join(
        f'<text x="{MARGIN - 4}" y="{HEAD + STEP * k + 10}" text-anchor="end">'
        f"{_short(names[t])}</text>"
        for k, t in enumerate(rows_Q.tolist())
    )
    columns = "".join(
        f'<text transform="translate({MARGIN + STEP * k + 10},{HEAD - 4}) rotate(-60)">'
        f"{_short(names[t])}</text>"
        for k, t in enumerate(columns_K.tolist())
    )
    strongest = _strongest(weight_QK, [names[t] for t in rows_Q], [names[t] for t in columns_K])
    title = escape(label("xa_tokens_of", lang, names=_plain(block, lang)))
    width_all, height_all = MARGIN + width + 60, HEAD + height
    size = f'width="{width_all}" height="{height_all}" viewBox="0 0 {width_all} {height_all}"'
    if max(weight_QK.shape) > MANY:
        size += ' class="many"'
    return (
        f'<svg {size} role="img" aria-label="{title}" data-tokens="{len(rows_Q)}-{len(columns_K)}">'
        f'<image x="{MARGIN}" y="{HEAD}" width="{width}" height="{height}" '
        f'preserveAspectRatio="none" href="{png_uri(pixels)}"/>{rows}{columns}</svg>'
        f"{note_html(label('xa_strongest', lang, pairs=listed(strongest, lang), most=most))}"
    )


def _strongest(weight_QK: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> list[str]:
    order = np.argsort(-weight_QK, axis=None, kind="stable")[:STRONGEST]
    places = zip(*np.unravel_index(order, weight_QK.shape), strict=True)
    return [
        f"{escape(rows[q])} → {escape(columns[k])} {number(weight_QK[q, k], 3)}" for q, k in places
    ]


def _short(name: str) -> str:
    cut = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return escape(cut)


def _plain(block: tuple[int, int], lang: Language) -> str:
    return " → ".join(label(MODALITIES[m], lang) for m in block)


def token_view(pictures: Sequence[str], block: tuple[int, int], lang: Language) -> str:
    """Return the token maps before and now, under a heading with the block."""
    arrow = " → ".join(modality_name(MODALITIES[m], lang) for m in block)
    head = label("xa_tokens_of", lang, names=arrow)
    keys = ("xa_before", "xa_now")
    sides = "".join(
        f'<div class="token-map" data-when="{key}" tabindex="0" role="group" '
        f'aria-label="{label(key, lang)}"><b>{label(key, lang)}</b>{picture}</div>'
        for key, picture in zip(keys, pictures, strict=True)
    )
    return f'<h4>{head}</h4><div class="row">{sides}</div>'
