"""Damage to pictures, clips and sounds: pure functions of the signal, a strength and a generator.

T frames, H, W height and width in pixels, C three colours, S samples of a sound.
"""

import io

import numpy as np
from PIL import Image, ImageFilter

from scale.studies.draws import kept_places, moved_places


def add_gaussian(pixels_HWC: np.ndarray, std: float, random: np.random.Generator) -> np.ndarray:
    """x' = clip(round(x + std z), 0, 255), z ~ N(0, 1) for each pixel and colour; uint8."""
    noise_HWC = std * random.standard_normal(pixels_HWC.shape)
    return np.rint(pixels_HWC + noise_HWC).clip(0, 255).astype(np.uint8)


def blur(pixels_HWC: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """Pillow's Gaussian blur (three box filters) of standard deviation `sigma` pixels; uint8."""
    return np.asarray(Image.fromarray(pixels_HWC).filter(ImageFilter.GaussianBlur(sigma)))


def compress(pixels_HWC: np.ndarray, quality: float, random: np.random.Generator) -> np.ndarray:
    """Written as JPEG of a quality (rounded to a whole number) and read again; uint8."""
    file = io.BytesIO()
    Image.fromarray(pixels_HWC).save(file, "JPEG", quality=round(quality))
    return np.asarray(Image.open(file))


def add_white_noise(sound_S: np.ndarray, snr: float, random: np.random.Generator) -> np.ndarray:
    """x' = x + a z with white Gaussian z and a such that sum x^2 / sum (a z)^2 = 10^(snr / 10).

    `snr` in dB is met exactly by the samples drawn. Nothing is clipped. Silence stays silence,
    because no noise has a ratio to it. float32.
    """
    noise_S = random.standard_normal(len(sound_S))
    power = np.square(sound_S, dtype=np.float64).sum() / np.square(noise_S).sum()
    return (sound_S + np.sqrt(power * 10 ** (-snr / 10)) * noise_S).astype(np.float32)


def drop_frames(frames_T: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """The frames (or their vectors) without a share of them, in order; at least one stays."""
    return frames_T[kept_places(len(frames_T), share, random)]


def shuffle_frames(frames_T: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """The frames (or their vectors), a share of them in other places (`draws.moved_places`)."""
    return frames_T[moved_places(len(frames_T), share, random)]


PICTURES = {"gaussian": add_gaussian, "blur": blur, "jpeg": compress}
"""By kind of noise; each changes one picture or frame."""
FRAMES = {"frame_drop": drop_frames, "frame_shuffle": shuffle_frames}
"""By kind of noise; each changes which frame stands where."""
SOUNDS = {"snr": add_white_noise}
