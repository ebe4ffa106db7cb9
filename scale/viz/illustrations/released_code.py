"""Faults of the released code: losses, gradients, masks, weights, temperature, audio (notebook 15).

B products, F mel bands, H heads, P pairs of modalities (ten), T time frames.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from scale.config import require
from scale.data.dataset import ProductDataset
from scale.modalities import MODALITIES, PAIRS
from scale.studies.released_code import (
    SHORT_RUNS,
    SHORT_STEPS,
    AudioHeadFit,
    MissingAudio,
    effective_temperatures,
    first_training_products,
    fit_audio_heads,
    gradient_coverage,
    mask_owners,
    missing_audio_effects,
    same_modality_share,
    small_config,
    title_influence,
    train_briefly,
    with_misaligned_mask,
)
from scale.viz.charts import cell_text, frame_cell, framed, heatmap, narrow_title
from scale.viz.registry import Sources, figure, shared
from scale.viz.theme import (
    NEGATIVE,
    POSITIVE,
    category_colours,
    diverging,
    drawn,
    new_figure,
    on_slide,
    points,
    sequential,
    shade,
    tint,
)
from scale.viz.words import LANG, Language, label

VERSIONS = {
    "as described": "fault_none",
    "heads on encoder": "fault_heads",
    "layers never called": "fault_uncalled",
    "mask on wrong products": "fault_wrong_mask",
    "weights on predictions": "fault_predictions",
    "the whole released loss": "fault_official",
    "audio axes swapped": "fault_axes",
    "audio all zeros": "fault_silent",
    "missing in the losses": "fault_zeros_present",
}
"""Label of each version of `scale.studies.released_code.SHORT`."""
LOSS_COLUMNS = 4
"""Panels per row of loss curves."""


@drawn
def fault_losses(curves: Mapping[str, Sequence[float]], lang: Language = LANG) -> Figure:
    """Draw the total loss relative to the first step, a panel per fault, the reference in grey.

    Args:
        curves: losses by version (VERSIONS); the first version is the reference without fault.

    Raises:
        ValueError: there are fewer than two versions.
    """
    require(len(curves) > 1, "no faulty version to draw")
    sound, *faulty = curves
    rows = -(-len(faulty) // LOSS_COLUMNS)
    figure = new_figure(9.4, 0.8 + 1.7 * rows)
    panels = figure.subplots(rows, LOSS_COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, name in zip(panels, faulty, strict=False):
        axes.plot(_relative(curves[sound]), color=shade(0.25), lw=points(5))
        axes.plot(_relative(curves[name]), color=NEGATIVE)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        title = narrow_title(label(VERSIONS[name], lang), 120)
        axes.set_title(title, fontsize=points(9))
        axes.tick_params(labelbottom=True)
    for axes in panels[len(faulty) :]:
        axes.set_axis_off()
    for axes in panels[::LOSS_COLUMNS]:
        axes.set_ylabel(label("fault_total", lang))
    for axes in panels[-LOSS_COLUMNS:]:
        axes.set_xlabel(label("step", lang))
    panels[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    note = label("fault_losses_note", lang, n=len(curves[sound]))
    return framed(figure, label("fault_losses_title", lang), note)


def _relative(losses: Sequence[float]) -> np.ndarray:
    return np.asarray(losses) / losses[0]


@drawn
def fault_gradients(
    counts: Mapping[str, Mapping[str, tuple[int, int]]], lang: Language = LANG
) -> Figure:
    """Draw parameters by part of the model: those with a gradient, and those without.

    Args:
        counts: parameters with a gradient, and all, by version (VERSIONS) and part
            (`learned_parameters`).

    Raises:
        ValueError: there is no version.
    """
    require(bool(counts), "no version to draw")
    figure = new_figure(2.6 + 2.5 * len(counts), 3.9)
    panels = figure.subplots(1, len(counts), squeeze=False, sharey=True, sharex=True)[0]
    unreached = {"facecolor": tint(NEGATIVE, 0.3), "edgecolor": NEGATIVE, "hatch": "////"}
    for axes, (version, parts) in zip(panels, counts.items(), strict=True):
        reached, total = np.array([parts[name] for name in parts]).T / 1000
        rows = np.arange(len(parts))
        axes.barh(rows, reached, color=POSITIVE, height=0.7)
        never = reached < total
        left, width = reached[never], (total - reached)[never]
        axes.barh(rows[never], width, left=left, height=0.7, **unreached)
        share = 1 - reached.sum() / total.sum()
        text = label("fault_never_share", lang, share=f"{100 * share:.0f} %")
        colour = NEGATIVE if share else shade(0.65)
        axes.set_title(f"{label(VERSIONS[version], lang)}\n{text}", color=colour)
        axes.set_xlabel(label("fault_numbers", lang))
        axes.grid(visible=False, axis="y")
    panels[0].set_yticks(rows, [_part_name(name, lang) for name in parts])
    panels[0].invert_yaxis()
    handles = [Patch(color=POSITIVE, label=label("fault_learns", lang)),
               Patch(label=label("fault_never", lang), **unreached)]  # fmt: skip
    return framed(figure, label("fault_gradients_title", lang), "", handles)


def _part_name(part: str, lang: Language) -> str:
    room, _, modality = part.partition(".")
    if room == "jct":
        return "JCT"
    key = {"encoders": "fault_encoder_of", "heads": "fault_head_of"}[room]
    return label(key, lang, name=label(modality, lang))


@drawn
def fault_mask(
    owner_BH: np.ndarray, sound_BB: np.ndarray, faulty_BB: np.ndarray, lang: Language = LANG
) -> Figure:
    """Draw the owner of each head's mask, and the effect on product i of cutting j's title.

    Args:
        owner_BH: product whose mask is applied to head h of product b.
        sound_BB, faulty_BB: relative change of row i when column j is cut, as described and with
            the fault.

    Raises:
        ValueError: the shapes do not match.
    """
    products = len(owner_BH)
    fits = sound_BB.shape == faulty_BB.shape == (products, products)
    require(fits, f"changes of {sound_BB.shape}, {faulty_BB.shape} for {products} products")
    figure = new_figure(9.0, 3.7)
    owners, sound, faulty = figure.subplots(1, 3, width_ratios=(owner_BH.shape[1], 6, 6))
    _draw_owners(owners, owner_BH, lang)
    for axes, change_BB, key in ((sound, sound_BB, "fault_none"),
                                 (faulty, faulty_BB, "fault_wrong_mask")):  # fmt: skip
        _draw_changes(axes, 100 * change_BB, lang)
        axes.set_title(label(key, lang))
    sound.set_ylabel(label("fault_changed", lang))
    note = label("fault_mask_note", lang)
    return framed(figure, label("fault_mask_title", lang), note)


def _draw_owners(axes: Axes, owner_BH: np.ndarray, lang: Language) -> None:
    colours = category_colours(len(owner_BH))
    fills = ListedColormap([tint(colour, 0.75) for colour in colours])
    norm = Normalize(-0.5, len(colours) - 0.5)
    heatmap(axes, owner_BH, fills, norm, digits=None)
    for (b, h), owner in np.ndenumerate(owner_BH):
        weight = "bold" if owner == b else "normal"
        cell_text(axes, b, h, owner + 1, fills(owner), fontweight=weight)
        if owner != b:
            frame_cell(axes, b, h, NEGATIVE, 1.4)
    products, heads = owner_BH.shape
    _number(axes, heads, products)
    axes.set(
        title=narrow_title(label("fault_owner", lang), 100), xlabel=label("fault_head_number", lang)
    )
    axes.set_ylabel(label("fault_product", lang))


def _draw_changes(axes: Axes, change_BB: np.ndarray, lang: Language) -> None:
    colours, other_BB = sequential(), ~np.eye(len(change_BB), dtype=bool)
    norm = Normalize(0, max(float(np.abs(change_BB[other_BB]).max()), 3.0) / 0.8)
    heatmap(axes, np.where(other_BB, change_BB, 0.0), colours, norm, digits=None)
    for (i, j), value in np.ndenumerate(change_BB):
        fill = colours(norm(value)) if i != j else shade(0.12)
        if i == j:
            axes.add_patch(Rectangle((j, i), 1, 1, facecolor=fill, edgecolor=shade(0)))
        cell_text(axes, i, j, f"{value:.1f}" if value >= 0.05 else "0", fill, 8)
        if i != j and value >= 0.05:
            frame_cell(axes, i, j, NEGATIVE, 1.4)
    _number(axes, len(change_BB), len(change_BB))
    axes.set_xlabel(label("fault_cut_of", lang))


def _number(axes: Axes, columns: int, rows: int) -> None:
    """Number the rows and columns of a heat map from 1."""
    axes.set_xticks(np.arange(columns) + 0.5, [str(k + 1) for k in range(columns)])
    axes.set_yticks(np.arange(rows) + 0.5, [str(k + 1) for k in range(rows)], rotation=0)
    axes.tick_params(length=0)


HIDDEN_SHARE = 0.3
"""Share of masked tokens in `fault_audio`."""
COLDEST = 0.07 * 2**0.5
"""Minimum of 0.07 / G_ij: off the diagonal G <= 1 / sqrt(2), attained if only two agree."""


@drawn
def fault_regression(fitted: AudioHeadFit, lang: Language = LANG) -> Figure:
    """Draw the optimal prediction by weight, and a sound with predictions of two trained heads."""
    wide = on_slide()
    figure = new_figure(10.4, 4.4 if wide else 3.1)
    curve, *tiles = figure.subplots(1, 4, width_ratios=(1.9 if wide else 1.15, 1, 1, 1))
    weight_W = np.linspace(0.2, 1, 81)
    style = {"color": NEGATIVE, "label": label("fault_on_prediction", lang)}
    curve.plot(weight_W, 1 / weight_W, **style)
    curve.plot(weight_W, np.ones(81), color=POSITIVE, label=label("fault_on_loss", lang))
    curve.axvline(fitted.weight, color=shade(0.5), lw=points(0.9), ls=":")
    curve.set(xlabel=label("fault_weight", lang), ylabel=label("fault_best", lang), ylim=(0, 6.4))
    curve.legend(loc="upper right")
    shown = {
        "fault_target": (fitted.target_TF, ""),
        "fault_on_loss": (fitted.predicted_TF["loss"], "loss"),
        "fault_on_prediction": (fitted.predicted_TF["prediction"], "prediction"),
    }
    most = float(np.abs(fitted.target_TF).max())
    for axes, (key, (values_TF, where)) in zip(tiles, shown.items(), strict=True):
        size = label("fault_size", lang, size=fitted.size[where]) if where else " "
        image = _draw_sound(axes, values_TF, most, f"{label(key, lang)}\n{size}", lang)
    tiles[0].set_ylabel(label("fault_bands", lang))
    figure.colorbar(image, ax=tiles, label=label("fault_spread", lang), pad=0.01)
    return framed(figure, label("fault_regression_title", lang), "")


def _draw_sound(
    axes: Axes, values_TF: np.ndarray, most: float, title: str, lang: Language
) -> AxesImage:
    """Draw standardised log-mel between -most and most, time to the right, bands upwards."""
    look = {"cmap": diverging(), "vmin": -most, "vmax": most, "interpolation": "nearest"}
    axes.set(title=narrow_title(title, 95), xlabel=label("fault_frames", lang))
    axes.grid(visible=False)
    return axes.imshow(values_TF.T, origin="lower", aspect="auto", **look)


@drawn
def fault_temperature(
    temperature_X: np.ndarray, share_P: np.ndarray, lang: Language = LANG
) -> Figure:
    """Draw effective temperatures of a batch, and the weight of same-modality negatives by pair.

    Args:
        temperature_X: 0.07 / G_ij of all pairs of all products.
        share_P: share of the negatives' weight in the anchor's own modality, by pair.
    """
    import seaborn

    figure = new_figure(9.2, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    top = float(np.quantile(temperature_X, 0.98))
    look = {"color": tint(NEGATIVE, 0.7), "alpha": 1, "linewidth": 0}
    seaborn.histplot(temperature_X, bins=np.linspace(0, top, 49), ax=left, **look)
    for value, key, colour, place in ((0.07, "fault_configured", POSITIVE, 0.93),
                                      (COLDEST, "fault_coldest", shade(0.6), 0.81)):  # fmt: skip
        left.axvline(value, color=colour, lw=points(1.4), dashes=(4, 2))
        where = {"transform": left.get_xaxis_transform(), "color": colour}
        text = {"fontsize": points(8), "va": "center"}
        left.text(COLDEST + 0.006, place, label(key, lang), **where, **text)
    left.margins(y=0.35)
    left.set(xlabel=label("fault_effective", lang), ylabel=label("fault_pairs", lang))
    left.set_xlim(0, top)
    names = [f"{label(MODALITIES[i], lang)} – {label(MODALITIES[j], lang)}" for i, j in PAIRS]
    bars = right.barh(np.arange(len(PAIRS)), share_P, color=tint(NEGATIVE, 0.7), height=0.7)
    texts = [f"{100 * share:.0f} %" for share in share_P]
    right.bar_label(bars, texts, padding=3, fontsize=points(8))
    right.axvline(0.5, color=shade(0.6), lw=points(1.2), dashes=(4, 2))
    right.set_yticks(range(len(PAIRS)), names)
    right.invert_yaxis()
    right.set(xlabel=label("fault_share_same", lang), xlim=(0, 1.12))
    right.set_xticks([0, 0.5, 1], ["0", label("fault_half", lang), "1"])
    right.grid(visible=False, axis="y")
    return framed(figure, label("fault_temperature_title", lang), "")


@drawn
def fault_audio(
    sound_TF: np.ndarray, curves: Mapping[str, Sequence[float]], lang: Language = LANG
) -> Figure:
    """Draw log-mel with tokens in time, tokens in bands, and zeros, and the MAM loss of each.

    Args:
        sound_TF: standardised log-mel.
        curves: MAM loss by step, by version (VERSIONS).
    """
    figure = new_figure(10.4, 3.5)
    moments, bands, zeros, losses = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.35))
    most = float(np.abs(sound_TF).max())
    random = np.random.default_rng(0)
    for axes, key, values_TF in ((moments, "fault_moments", sound_TF),
                                 (bands, "fault_band_tokens", sound_TF),
                                 (zeros, "fault_zeros", np.zeros_like(sound_TF))):  # fmt: skip
        _draw_sound(axes, values_TF, most, label(key, lang), lang)
    moments.set_ylabel(label("fault_bands", lang))
    frames, mel_bands = sound_TF.shape
    for axes, count, upright in ((moments, frames, True), (bands, mel_bands, False)):
        for k in random.permutation(count)[: round(HIDDEN_SHARE * count)]:
            corner = (k - 0.5, -0.5) if upright else (-0.5, k - 0.5)
            size = (1, mel_bands) if upright else (frames, 1)
            style = {"facecolor": shade(0.25), "edgecolor": shade(0.6), "hatch": "////", "lw": 0}
            axes.add_patch(Rectangle(corner, *size, **style))
    colours = {"as described": POSITIVE, "audio axes swapped": shade(0.5)}
    for name, values in curves.items():
        colour = colours.get(name, NEGATIVE)
        losses.plot(values, color=colour, label=label(VERSIONS[name], lang))
    losses.set(xlabel=label("step", lang), ylabel=label("fault_mam", lang), ylim=(-0.06, None))
    losses.margins(y=0.45)
    if on_slide():
        losses.set_ylim(top=2.6 * max(max(values) for values in curves.values()))
    losses.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses.legend(loc="upper right")
    note = label("fault_audio_note", lang, n=len(next(iter(curves.values()))))
    return framed(figure, label("fault_audio_title", lang), note)


@drawn
def fault_missing(found: MissingAudio, lang: Language = LANG) -> Figure:
    """Draw cosines between sounds, missing ones imputed by zeros, and their InfoNCE."""
    figure = new_figure(8.6, 3.7)
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    mesh = heatmap(left, found.cosine_BB, diverging(), Normalize(-1, 1), digits=None, linewidths=0)
    count = len(found.cosine_BB)
    left.axhline(found.present, color=shade(0.9), lw=points(1))
    left.axvline(found.present, color=shade(0.9), lw=points(1))
    middles = [found.present / 2, (found.present + count) / 2]
    names = [label("fault_has", lang), label("fault_lacks", lang)]
    left.set_xticks(middles, names)
    left.set_yticks(middles, names, rotation=90, va="center")
    left.tick_params(length=0)
    left.set_title(label("fault_sound_cosine", lang))
    figure.colorbar(mesh, ax=left, pad=0.02)
    _missing_bars(right, found, lang)
    return framed(figure, label("fault_missing_title", lang), "")


def _missing_bars(axes: Axes, found: MissingAudio, lang: Language) -> None:
    colours = [tint(colour, 0.7) for colour in (POSITIVE, NEGATIVE)]
    bars = axes.bar([0, 1], [found.loss_present, found.loss_missing], color=colours, width=0.6)
    axes.bar_label(bars, fmt="{:.2f}", padding=1)
    axes.set_xticks([0, 1], [label(key, lang) for key in ("fault_has", "fault_lacks")])
    axes.axhline(found.lower_bound, color=shade(0.6), lw=points(1.2), dashes=(4, 2))
    text = label("fault_floor", lang, n=len(found.cosine_BB) - found.present)
    # Above the line, left of the higher bar.
    place = {"xytext": (0, points(3)), "textcoords": "offset points", "ha": "left", "va": "bottom"}
    style = {"color": shade(0.7), "fontsize": points(8)}
    axes.annotate(text, (-0.42, found.lower_bound), **place, **style)
    axes.set(title=label("fault_pair_loss", lang), xlim=(-0.45, 1.45))
    axes.margins(y=0.15)
    axes.grid(visible=False, axis="x")


SOUNDS = ("as described", "audio axes swapped", "audio all zeros")
BUILDS = ("as described", "heads on encoder", "layers never called")


def _trained(sources: Sources, names: tuple[str, ...], steps: int) -> dict[str, tuple]:
    return {name: _briefly_trained(sources, name, steps) for name in names}


@shared
def _briefly_trained(sources: Sources, name: str, steps: int) -> tuple:
    data, config = _products(sources), small_config(sources.run.config)
    return train_briefly(config, data, SHORT_RUNS[name], steps)


@shared
def _products(sources: Sources) -> ProductDataset:
    return first_training_products(sources.run, sources.catalogue)


@figure("fault_losses")
def _draw_losses(sources: Sources, lang: Language) -> Figure:
    found = _trained(sources, tuple(SHORT_RUNS), SHORT_STEPS)
    return fault_losses({name: curves["total"] for name, (_, curves) in found.items()}, lang)


@figure("fault_gradients")
def _draw_gradients(sources: Sources, lang: Language) -> Figure:
    found = _trained(sources, BUILDS, 1)
    return fault_gradients({n: gradient_coverage(model) for n, (model, _) in found.items()}, lang)


@figure("fault_mask")
def _draw_mask(sources: Sources, lang: Language) -> Figure:
    data = _products(sources)
    batch = data.collate(np.flatnonzero(data.present_NM.all(axis=1))[:6])
    changes = [
        title_influence(m, batch)
        for m in (sources.run.model.eval(), with_misaligned_mask(sources.run))
    ]
    return fault_mask(mask_owners(6, sources.run.config.model.heads), *changes, lang)


@figure("fault_temperature")
def _draw_temperature(sources: Sources, lang: Language) -> Figure:
    with torch.no_grad():
        data = _products(sources)
        output = sources.run.model.embed(data.collate(np.arange(64)))
    features = output.pooled_BMD, output.present_BM
    temperature_X, share_P = effective_temperatures(*features), same_modality_share(*features)
    return fault_temperature(temperature_X, share_P, lang)


@figure("fault_audio")
def _draw_audio(sources: Sources, lang: Language) -> Figure:
    data = _products(sources)
    row = int(data.columns["audio"].length_N.argmax())
    sound_TF = data.collate([row]).tokens["audio"].values[0].numpy()
    found = _trained(sources, SOUNDS, SHORT_STEPS)
    return fault_audio(sound_TF, {name: curves["MAM"] for name, (_, curves) in found.items()}, lang)


@figure("fault_regression")
def _draw_regression(sources: Sources, lang: Language) -> Figure:
    data = _products(sources)
    return fault_regression(fit_audio_heads(sources.run, data), lang)


@figure("fault_missing")
def _draw_missing(sources: Sources, lang: Language) -> Figure:
    data = _products(sources)
    return fault_missing(missing_audio_effects(sources.run, data), lang)
