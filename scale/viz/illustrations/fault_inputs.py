"""Pictures of the released code's faults: weights, temperature, sounds, absence (notebook 15).

B products, P pairs (ten), T time frames, F mel bands.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from scale.modalities import MODALITIES, PAIRS
from scale.studies.released_code import AudioHeadFit, MissingAudio
from scale.viz.charts import framed
from scale.viz.illustrations.faults import VERSIONS
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    diverging,
    drawn,
    new_figure,
    points,
    shade,
    tint,
)
from scale.viz.words import Language, label

HIDDEN = 0.3
"""Share of the tokens that a picture shows as hidden."""
COLDEST = 0.07 * 2**0.5
"""Of 0.07 / G_ij: off the diagonal G is at most 1 / sqrt(2), where two agree and no other does."""


@drawn
def fault_regression(fitted: AudioHeadFit, lang: Language = "en") -> Figure:
    """Best prediction by weight; one sound: target, and what two trained heads predict."""
    figure = new_figure(10.4, 3.1)
    curve, *tiles = figure.subplots(1, 4, width_ratios=(1.15, 1, 1, 1))
    weight_W = np.linspace(0.2, 1, 81)
    style = {"color": NEGATIVE, "label": label("fault_on_prediction", lang)}
    curve.plot(weight_W, 1 / weight_W, **style)
    curve.plot(weight_W, np.ones(81), color=POSITIVE, label=label("fault_on_loss", lang))
    curve.axvline(fitted.weight, color=shade(0.5), lw=points(0.9), ls=":")
    curve.set(xlabel=label("fault_weight", lang), ylabel=label("fault_best", lang), ylim=(0, 6.4))
    curve.legend(loc="upper right", fontsize=points(8), frameon=False)
    shown = {
        "fault_target": (fitted.target_TF, ""),
        "fault_on_loss": (fitted.predicted_TF["loss"], "loss"),
        "fault_on_prediction": (fitted.predicted_TF["prediction"], "prediction"),
    }
    most = float(np.abs(fitted.target_TF).max())
    for axes, (key, (values_TF, where)) in zip(tiles, shown.items(), strict=True):
        image = axes.imshow(values_TF.T, origin="lower", aspect="auto", cmap=diverging(),
                            vmin=-most, vmax=most, interpolation="nearest")  # fmt: skip
        size = label("fault_size", lang, size=fitted.size[where]) if where else " "
        axes.set(title=f"{label(key, lang)}\n{size}", xlabel=label("fault_frames", lang))
        axes.grid(visible=False)
    tiles[0].set_ylabel(label("fault_bands", lang))
    figure.colorbar(image, ax=tiles, label=label("fault_spread", lang), pad=0.01)
    return framed(figure, label("fault_regression_title", lang), "", [])


@drawn
def fault_temperature(
    temperature_X: np.ndarray, share_P: np.ndarray, lang: Language = "en"
) -> Figure:
    """Effective temperatures of a batch's pairs; the weight of same-modality negatives by pair.

    Args:
        temperature_X: 0.07 / G_ij of all pairs of all products.
        share_P: by pair of modalities, part of the negatives' weight that lies in the anchor's own
            modality.
    """
    figure = new_figure(9.2, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    top = float(np.quantile(temperature_X, 0.98))
    left.hist(temperature_X, bins=np.linspace(0, top, 49), color=tint(NEGATIVE, 0.7))
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
    right.barh(np.arange(len(PAIRS)), share_P, color=tint(NEGATIVE, 0.7), height=0.7)
    for row, share in enumerate(share_P):
        right.text(share + 0.015, row, f"{100 * share:.0f} %", va="center", fontsize=points(8))
    right.axvline(0.5, color=shade(0.6), lw=points(1.2), dashes=(4, 2))
    right.set_yticks(range(len(PAIRS)), names)
    right.invert_yaxis()
    right.set(xlabel=label("fault_share_same", lang), xlim=(0, 1.12))
    right.set_xticks([0, 0.5, 1], ["0", label("fault_half", lang), "1"])
    right.grid(visible=False, axis="y")
    return framed(figure, label("fault_temperature_title", lang), "", [])


@drawn
def fault_audio(
    sound_TF: np.ndarray, curves: Mapping[str, Sequence[float]], lang: Language = "en"
) -> Figure:
    """One log-mel as tokens in time, as tokens in bands, and as zeros; the MAM loss of each.

    Args:
        sound_TF: standardised log-mel.
        curves: by version (VERSIONS), its MAM loss by step.
    """
    figure = new_figure(10.4, 3.5)
    moments, bands, zeros, losses = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.35))
    most = float(np.abs(sound_TF).max())
    random = np.random.default_rng(0)
    for axes, key, values_TF in ((moments, "fault_moments", sound_TF),
                                 (bands, "fault_band_tokens", sound_TF),
                                 (zeros, "fault_zeros", np.zeros_like(sound_TF))):  # fmt: skip
        axes.imshow(values_TF.T, origin="lower", aspect="auto", cmap=diverging(), vmin=-most,
                    vmax=most, interpolation="nearest")  # fmt: skip
        axes.set(title=label(key, lang), xlabel=label("fault_frames", lang))
        axes.grid(visible=False)
    moments.set_ylabel(label("fault_bands", lang))
    frames, mel_bands = sound_TF.shape
    for axes, count, upright in ((moments, frames, True), (bands, mel_bands, False)):
        for k in random.permutation(count)[: round(HIDDEN * count)]:
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
    losses.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses.legend(loc="upper right", fontsize=points(8), frameon=False)
    note = label("fault_audio_note", lang, n=len(next(iter(curves.values()))))
    return framed(figure, label("fault_audio_title", lang), note, [])


@drawn
def fault_missing(found: MissingAudio, lang: Language = "en") -> Figure:
    """Cosines between products' sounds, the missing ones being zeros; and their InfoNCE."""
    figure = new_figure(8.6, 3.7)
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    style = {"cmap": diverging(), "vmin": -1, "vmax": 1, "interpolation": "nearest"}
    image = left.imshow(found.cosine_BB, **style)
    count = len(found.cosine_BB)
    left.axhline(found.there - 0.5, color=shade(0.9), lw=points(1))
    left.axvline(found.there - 0.5, color=shade(0.9), lw=points(1))
    middles = [found.there / 2 - 0.5, (found.there + count) / 2 - 0.5]
    names = [label("fault_has", lang), label("fault_lacks", lang)]
    left.set_xticks(middles, names)
    left.set_yticks(middles, names, rotation=90, va="center")
    left.tick_params(length=0)
    left.grid(visible=False)
    left.set_title(label("fault_sound_cosine", lang))
    figure.colorbar(image, ax=left, pad=0.02)
    _missing_bars(right, found, lang)
    return framed(figure, label("fault_missing_title", lang), "", [])


def _missing_bars(axes: Axes, found: MissingAudio, lang: Language) -> None:
    bars = (("fault_has", found.loss_there, MODALITY_COLOURS["audio"]),
            ("fault_lacks", found.loss_missing, NEGATIVE))  # fmt: skip
    for place, (_, value, colour) in enumerate(bars):
        axes.bar(place, value, color=tint(colour, 0.7), width=0.6)
        axes.text(place, value, f"{value:.2f}", ha="center", va="bottom")
    axes.set_xticks([0, 1], [label(key, lang) for key, *_ in bars])
    axes.axhline(found.least, color=shade(0.6), lw=points(1.2), dashes=(4, 2))
    text = label("fault_floor", lang, n=len(found.cosine_BB) - found.there)
    style = {"color": shade(0.7), "fontsize": points(8), "ha": "left", "va": "bottom"}
    axes.text(-0.42, found.least, text, **style)
    axes.set(title=label("fault_pair_loss", lang), xlim=(-0.45, 1.45))
    axes.margins(y=0.15)
    axes.grid(visible=False, axis="x")
