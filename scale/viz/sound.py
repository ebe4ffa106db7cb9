"""Sound as a picture: log-mel over time.

T samples, F mel bands, L time frames.
"""

import numpy as np
from matplotlib.axes import Axes
from transformers.audio_utils import hertz_to_mel, mel_filter_bank, spectrogram, window_function

from scale.viz.theme import points, shade
from scale.viz.words import Language, label

HOP_SECONDS, WINDOW_SECONDS = 0.010, 0.032
DECIBELS = 80.0
"""Range that is shown below the loudest point."""
TICKS_HERTZ = (250, 500, 1000, 2000, 4000, 8000)


def log_mel(wave_T: np.ndarray, sample_rate: int, mel_bins: int = 64) -> np.ndarray:
    """dB below the loudest point of the mel power spectrogram, (F, L), within [-80, 0].

    Windows of 32 ms every 10 ms; `mel_bins` triangular bands on the HTK mel scale from 0 Hz to half
    the sample rate (in Hz). A sound of zeros is -80 everywhere.
    """
    window = int(WINDOW_SECONDS * sample_rate)
    fft = 1 << (window - 1).bit_length()
    padded_T = np.pad(wave_T, (0, max(0, window - len(wave_T))))
    power_FL = spectrogram(
        padded_T,
        window_function(window, "hann"),
        frame_length=window,
        hop_length=int(HOP_SECONDS * sample_rate),
        fft_length=fft,
        power=2.0,
        pad_mode="constant",
        mel_filters=mel_filter_bank(fft // 2 + 1, mel_bins, 0.0, sample_rate / 2, sample_rate),
    )
    decibel_FL = 10.0 * np.log10(np.maximum(power_FL, 1e-10))
    silent = decibel_FL.max() <= -100.0 + 1e-6
    return np.full_like(power_FL, -DECIBELS) if silent else _below_peak(decibel_FL)


def _below_peak(decibel_FL: np.ndarray) -> np.ndarray:
    return np.maximum(decibel_FL - decibel_FL.max(), -DECIBELS)


def draw_spectrogram(
    axes: Axes, decibel_FL: np.ndarray, sample_rate: int, lang: Language = "en"
) -> None:
    """`log_mel` with seconds, kilohertz at mel positions, and a bar of decibels."""
    seconds = decibel_FL.shape[1] * HOP_SECONDS
    top = hertz_to_mel(sample_rate / 2)
    image = axes.imshow(
        decibel_FL,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, top),
        cmap="magma",
        vmin=-DECIBELS,
        vmax=0,
        interpolation="nearest",
    )
    ticks = [hertz for hertz in TICKS_HERTZ if hertz <= sample_rate / 2]
    names = [f"{hertz / 1000:g}" for hertz in ticks]
    axes.set_yticks([hertz_to_mel(hertz) for hertz in ticks], names)
    axes.set(xlabel=label("seconds", lang), ylabel=label("kilohertz", lang))
    axes.grid(visible=False)
    axes.tick_params(labelsize=points(7.5))
    for name in ("x", "y"):
        getattr(axes, f"{name}axis").label.set_fontsize(points(7.5))
    place = axes.get_position()
    bar = axes.figure.add_axes((place.x1 + 0.012, place.y0, 0.010, place.height))
    axes.figure.colorbar(image, cax=bar).outline.set_edgecolor(shade(0.3))
    bar.set_ylabel(label("decibel", lang), fontsize=points(7.5))
    bar.tick_params(labelsize=points(7.5))
