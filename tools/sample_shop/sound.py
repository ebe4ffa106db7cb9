"""Product sounds: knocks by modal synthesis, x(t) = sum_k a_k exp(-t / tau_k) sin(2 pi f_k t).

The shape determines the frequency ratios, size and material the lowest frequency, the material the
decay.
T samples, K modes.
"""

from pathlib import Path

import numpy as np

from tools.sample_shop.item import Item

RATE = 16_000

# Ratios of the mode frequencies to the lowest, the lowest relative to a cup of that size, and the
# exponent by which higher modes are weaker.
RATIOS = {
    "shell": ((1, 2.32, 3.86, 5.95, 8.2), 1.0, 0.6),
    "tube": ((1, 2.9, 4.9, 6.8), 0.8, 1.3),
    "plate": ((1, 1.73, 2.33, 3.9, 4.11, 5.95), 0.7, 0.3),
    "bar": ((1, 2.76, 5.4, 8.93, 13.3), 1.5, 0.1),
    "box": ((1, 1.34, 1.71, 2.1, 2.9, 3.3), 0.6, 0.9),
    "block": ((1, 1.58, 2.24, 2.92), 0.9, 1.1),
    "membrane": ((1, 1.59, 2.14, 2.3, 2.65, 2.92, 3.5), 0.35, 1.0),
    "string": ((1, 2, 3, 4.01, 5.02, 6.03), 0.9, 0.7),
    "bell": ((0.5, 1, 1.2, 1.5, 2, 2.67, 3.01, 4.1), 1.1, 0.0),
    "ball": ((1, 2.1, 3.2), 0.5, 1.6),
}
# Lowest mode in Hz of a cup 10 cm wide, decay in seconds at low frequency, share of dull thud.
MATERIALS = {
    "ceramic": (1500, 0.16, 0.15),
    "glass": (1900, 0.38, 0.05),
    "steel": (1300, 0.75, 0.05),
    "brass": (1000, 1.1, 0.03),
    "wood": (620, 0.055, 0.35),
    "plastic": (420, 0.04, 0.4),
    "cotton": (120, 0.02, 1.0),
    "leather": (170, 0.028, 0.9),
    "rubber": (150, 0.045, 0.7),
}


def sound(item: Item, view: str) -> np.ndarray:
    """wave_T (float32 in -1..1): two to four knocks in a room; each `view` has other knocks."""
    body, rng = item.rng("body"), item.rng("sound", view)
    ratios, factor, tilt = RATIOS[item.category.modes]
    low, decay, thud = MATERIALS[item.material]
    low = low * factor * (10 / item.size_cm) ** 0.75
    freq_K = np.array(ratios) * np.clip(low, 70, 3200) * (1 + body.normal(0, 0.015, len(ratios)))
    long = {"bell": 1.8, "string": 6.0, "membrane": 1.6}.get(item.category.modes, 1.0)
    tau_K = decay * long * body.uniform(0.7, 1.3) / (1 + freq_K / 2500)
    loud_K = (freq_K / freq_K[0]) ** -tilt * body.uniform(0.7, 1.3, len(ratios))
    length = int(rng.uniform(1.3, 1.7) * RATE)
    wave_T, start = np.zeros(length), rng.uniform(0.02, 0.1)
    for _ in range(rng.integers(2, 5)):
        wave_T += _knock(length, start, freq_K, tau_K, loud_K, thud, rng)
        start += rng.uniform(0.16, 0.36)
    wave_T = _room(wave_T, rng)
    wave_T /= np.abs(wave_T).max() + 1e-9
    return (wave_T * rng.uniform(0.4, 0.85)).astype(np.float32)


def _knock(length: int, start: float, freq_K, tau_K, loud_K, thud: float, rng) -> np.ndarray:
    """One knock: modes by position and hardness of the mallet, and contact noise."""
    t = np.arange(length) / RATE - start
    place, cutoff = rng.uniform(0.1, 0.9), rng.uniform(1800, 6000)
    amp_K = (
        loud_K
        * (0.4 + 0.6 * np.abs(np.sin(np.pi * place * np.arange(1, len(freq_K) + 1))))
        * np.exp(-freq_K / cutoff)
    )
    amp_K *= (freq_K < 0.48 * RATE) * rng.uniform(0.85, 1.15, len(freq_K))
    live = t >= 0
    tail = t[live][:, None]
    ring = (amp_K * np.exp(-tail / tau_K) * np.sin(2 * np.pi * freq_K * tail)).sum(axis=1)
    dull = rng.normal(0, 1, len(tail)) * np.exp(-tail[:, 0] / 0.012)
    dull = np.convolve(dull, np.hanning(24) / 12, "same")
    click = rng.normal(0, 0.25, len(tail)) * np.exp(-tail[:, 0] / 0.0015)
    wave_T = np.zeros(length)
    wave_T[live] = rng.uniform(0.5, 1.0) * (
        (1 - thud) * ring + thud * dull + 0.4 * click * (1 - thud)
    )
    return wave_T


def _room(wave_T: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add reverberation by decaying noise, and room noise."""
    t = np.arange(int(0.25 * RATE)) / RATE
    echo = rng.normal(0, 1, len(t)) * np.exp(-t / rng.uniform(0.02, 0.07)) * rng.uniform(0.01, 0.05)
    echo[0] = 1.0
    size = len(wave_T) + len(echo)
    wet = np.fft.irfft(np.fft.rfft(wave_T, size) * np.fft.rfft(echo, size), size)[: len(wave_T)]
    spectrum = np.fft.rfft(rng.normal(0, 1, len(wave_T)))
    pink = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), len(wave_T))
    hum = np.sin(2 * np.pi * 100 * np.arange(len(wave_T)) / RATE) * (rng.random() < 0.2)
    level = np.abs(wet).max() * 10 ** (rng.uniform(-52, -30) / 20)
    return wet + level * (pink / (np.abs(pink).max() + 1e-9) + 0.4 * hum)


def write_sound(path: Path, wave_T: np.ndarray) -> None:
    """Write as Ogg Opus, mono, without dates or random serial numbers."""
    import av

    with av.open(
        str(path), "w", format="ogg", container_options={"fflags": "+bitexact"}
    ) as container:
        stream = container.add_stream("libopus", rate=RATE, layout="mono")
        stream.options = {"flags": "+bitexact", "threads": "1"}
        stream.bit_rate = 24_000
        fifo = av.AudioFifo()
        whole = av.AudioFrame.from_ndarray(
            wave_T[None].astype(np.float32), format="fltp", layout="mono"
        )
        whole.sample_rate = RATE
        fifo.write(whole)
        while (chunk := fifo.read(320, partial=True)) is not None:
            container.mux(stream.encode(chunk))
        container.mux(stream.encode(None))
