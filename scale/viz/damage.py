"""What each kind and strength of damage at test time leaves of the retrieval."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scale.modalities import MODALITIES
from scale.strict import require
from scale.studies.retention import DamageRetention, damage_retention
from scale.viz.charts import (
    Block,
    balanced,
    dot,
    framed,
    lay_flat,
    name_rows,
    placed,
    series_styles,
    total_height,
)
from scale.viz.registry import Sources, figure
from scale.viz.theme import MODALITY_COLOURS, drawn, new_figure, points, shade
from scale.viz.words import Language, label, term

ROWS = 24
"""Rows of a column."""


@drawn
def damage_figure(
    damages: Sequence[DamageRetention],
    lang: Language = "en",
    name: str = "noise",
    metric: str = "mAP@5",
) -> Figure:
    """Share of the clean figure that is kept: a row per kind and strength, a dot per model.

    By modality; of a kind, mild to strong. The line at 100 % is the undamaged figure of the same
    run.

    Args:
        damages: of `experiments.damage_shares`.
        name: of the study.

    Raises:
        ValueError: there is nothing to draw.
    """
    require(bool(damages), f"study {name}: no damage at test time to draw")
    models = list(dict.fromkeys(model for damage in damages for model in damage.kept))
    columns = balanced(_blocks(damages, lang), ROWS)
    height = max(map(total_height, columns))
    figure = new_figure(4.6 * len(columns), 1.3 + 0.27 * height)
    panels = figure.subplots(1, len(columns), squeeze=False, sharex=True)[0]
    styles = [{**style, "ls": "none"} for style in series_styles(models)]
    shift_K = (np.arange(len(models)) - (len(models) - 1) / 2) * 0.5 / max(1, len(models) - 1)
    for axes, column in zip(panels, columns, strict=True):
        axes.axvline(1, color=shade(0.6), lw=points(0.9), zorder=1)
        lay_flat(axes)
        for _, block, places in placed(column):
            for y, damage in zip(places, block.rows, strict=True):
                for model, style, shift in zip(models, styles, shift_K, strict=True):
                    if model in damage.kept:
                        look = {"marker": style["marker"], "ms": points(4)}
                        look |= {"elinewidth": points(1.1)}
                        dot(axes, y + shift, damage.kept[model], style["color"], **look)
        name_rows(axes, column, height)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
        axes.set_xlabel(label("damage_kept", lang, metric=metric))
    handles = [
        Line2D([], [], label=term(m, lang), **s) for m, s in zip(models, styles, strict=True)
    ]
    sizes = sorted({e.n for damage in damages for e in damage.kept.values() if e.n})
    seeds = "–".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))
    title = label("damage_at_test", lang, name=name)
    return framed(figure, title, label("damage_note", lang, n=seeds), handles)


def _blocks(damages: Sequence[DamageRetention], lang: Language) -> list[Block]:
    """Rows by modality, the strength with its unit in each."""
    blocks = []
    for modality in (*MODALITIES, ""):
        rows = [damage for damage in damages if damage.modality == modality]
        texts = tuple(_text(damage, lang) for damage in rows)
        heading = label(modality or "several_modalities", lang)
        if rows:
            colour = MODALITY_COLOURS.get(modality)
            blocks.append(Block(heading, tuple(rows), texts, colour))
    return blocks


def _text(damage: DamageRetention, lang: Language) -> str:
    if not damage.kind:
        return damage.test
    return label(damage.kind, lang, n=damage.strength, percent=100 * damage.strength)


@figure("study_noise")
def draw_noise_study(sources: Sources, lang: Language) -> Figure:
    """Shares of the clean result, which answer this study's question; its cells do not."""
    study, records = sources.finished("noise")
    return damage_figure(damage_retention(study, records), lang, study.name, study.metrics[0])
