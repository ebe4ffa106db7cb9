"""Pictures, clips and sounds inside the page, each sample as it is.

T frames, H, W, C height, width and colours of a picture, S samples of a sound, L time frames,
F mel bands.
"""

from base64 import b64encode
from io import BytesIO

import numpy as np
from matplotlib import colormaps
from PIL import Image

FRAME_MILLISECONDS = 250
"""Of a clip that plays: a quarter of a second a frame, so that an order can be seen."""


def png_uri(pixels_HWC: np.ndarray) -> str:
    """A picture (uint8) as a data URI."""
    buffer = BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, format="PNG", compress_level=1)
    return _uri("image/png", buffer.getvalue())


def clip_uri(frames_THWC: np.ndarray) -> str:
    """Frames (uint8) as an animated PNG that runs in a circle."""
    first, *others = map(Image.fromarray, frames_THWC)
    buffer = BytesIO()
    how = {"save_all": True, "append_images": others, "loop": 0, "compress_level": 1}
    first.save(buffer, format="PNG", duration=FRAME_MILLISECONDS, **how)
    return _uri("image/png", buffer.getvalue())


def sound_uri(sound_S: np.ndarray, sample_rate: int) -> str:
    """A sound as a WAV of 16 bits; one beyond full scale is turned down until it fits."""
    peak = max(1.0, float(np.abs(sound_S).max(initial=0.0)))
    samples = np.rint(sound_S / peak * 32767).astype("<i2").tobytes()
    rate = int(sample_rate)
    header = b"RIFF" + (36 + len(samples)).to_bytes(4, "little") + b"WAVEfmt "
    for value, size in ((16, 4), (1, 2), (1, 2), (rate, 4), (2 * rate, 4), (2, 2), (16, 2)):
        header += value.to_bytes(size, "little")
    return _uri("audio/wav", header + b"data" + len(samples).to_bytes(4, "little") + samples)


def mel_pixels(mel_LF: np.ndarray) -> np.ndarray:
    """Log-mel in about [-1, 1] as pixels_HWC: time to the right, pitch upwards."""
    shade_FL4 = colormaps["magma"]((mel_LF.T[::-1].astype(float) + 1) / 2, bytes=True)
    return np.ascontiguousarray(shade_FL4[:, :, :3])


def _uri(kind: str, body: bytes) -> str:
    return f"data:{kind};base64," + b64encode(body).decode("ascii")
