"""Media files into arrays: Pillow for pictures, PyAV for clips and sounds.

T frames, H height, W width, C colour channels (three: RGB), S samples, A audio channels.
"""

import hashlib
import itertools
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 89_478_485
"""Largest picture or frame that is decoded (Pillow's own limit, a quarter of a GiB of RGB)."""

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "MPO")
"""Read by their content, whatever the file is called. Not EPS, which Pillow runs as a program."""

# A playlist or concat script names other files and addresses, which would leave the folder.
AV_FORMATS = (
    "mov,matroska,webm,avi,ogg,wav,w64,mp3,flac,aac,aiff,au,caf,gif,apng,mpeg,mpegts,flv,asf,amr"
)

_IMAGE_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError),
    *(RuntimeError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow's decoders were seen to raise on damaged files, and the classes of the like."""


class MediaError(ValueError):
    """A media file that cannot be used."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def load_image(path: Path | str) -> Image.Image:
    """A picture as RGB: turned upright by its EXIF tag, transparency laid on white.

    16-bit grey is divided by 256; of an animation the first frame is taken.
    Raises MediaError where it does not decode, is truncated, or has more than MAX_PIXELS pixels.
    """
    with _reported(path, _IMAGE_ERRORS), Image.open(path, formats=_known_formats()) as image:
        _check_pixels(path, image.width, image.height)
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))


def load_video(path: Path | str, frames: int) -> np.ndarray:
    """`frames` frames of a clip, evenly spaced: uint8 array (T, H, W, C), upright.

    Of N decoded frames, T = min(frames, N) are taken, the middle ones of T equal stretches:
    index_t = floor((2 t + 1) N / (2 T)), t = 0 .. T - 1. All have the size of the first one taken.
    The clip is decoded twice, to count and to take, so that memory holds T frames and no more.
    Raises MediaError where it does not decode, holds no frame, or a frame exceeds MAX_PIXELS.
    """
    with _reported(path, _av_errors()):
        count = sum(1 for _ in _decode(path, "video"))
        taken = min(frames, count)
        wanted = {(2 * t + 1) * count // (2 * taken) for t in range(taken)}
        chosen = (f for i, f in enumerate(_decode(path, "video")) if i in wanted)
        frames_T = list(_frame_arrays(path, chosen))
    if not frames_T:
        raise MediaError(path, "clip holds no frame")
    return np.stack(frames_T)


def load_audio(path: Path | str, sample_rate: int, seconds: float) -> np.ndarray:
    """The first `seconds` of a sound at `sample_rate` Hz: float32 array (S,), mean of the channels.

    Raises MediaError where it does not decode, is empty, or holds a sample that is not finite.
    """
    limit, length = round(seconds * sample_rate), 0
    blocks = []
    with _reported(path, _av_errors()):
        for block_SA in _sound_blocks(path, sample_rate):
            blocks.append(block_SA.mean(axis=1))
            length += len(block_SA)
            if length >= limit:
                break
    if length == 0:
        raise MediaError(path, "sound is empty")
    return np.concatenate(blocks)[:limit]


@dataclass(frozen=True)
class MediaFacts:
    """What decoding a whole file tells; None where it does not apply to the modality."""

    content: str
    """Hash of the decoded pixels or samples with their shape, 16 hexadecimal digits."""
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    seconds: float | None = None


def examine(modality: str, path: Path | str) -> MediaFacts:
    """Decodes all of an `image`, `video` or `audio` file. Raises MediaError."""
    read = {"image": _examine_image, "video": _examine_video, "audio": _examine_audio}
    return read[modality](path)


def content_hash(modality: str, path: Path | str) -> str:
    """Hash of the decoded content: equal for the same pixels or samples in another container.

    blake2b over shape and values, 16 hexadecimal digits. Raises MediaError.
    """
    return examine(modality, path).content


def _examine_image(path: Path | str) -> MediaFacts:
    image = load_image(path)
    digest = _digest(np.asarray(image))
    return MediaFacts(digest.hexdigest(), width=image.width, height=image.height)


def _examine_video(path: Path | str) -> MediaFacts:
    digest, times, size = _digest(), [], (0, 0)
    with _reported(path, _av_errors()):
        timed, shown = itertools.tee(_decode(path, "video"))
        for frame, frame_HWC in zip(timed, _frame_arrays(path, shown), strict=True):
            digest.update(frame_HWC.tobytes())
            times.append(frame.time or 0.0)
            size = frame_HWC.shape[:2]
    if not times:
        raise MediaError(path, "clip holds no frame")
    count = len(times)
    digest.update(repr((count, *size)).encode())
    # Over the gaps and not to the last frame's start: n frames last n gaps.
    seconds = (times[-1] - times[0]) * count / max(count - 1, 1)
    return MediaFacts(digest.hexdigest(), size[1], size[0], count, seconds)


def _examine_audio(path: Path | str) -> MediaFacts:
    digest, length, rate = _digest(), 0, 1
    with _reported(path, _av_errors()):
        rate = next((f.sample_rate for f in _decode(path, "audio")), 1)
        for block_SA in _sound_blocks(path, rate):
            digest.update(np.ascontiguousarray(block_SA).tobytes())
            length += len(block_SA)
    if length == 0:
        raise MediaError(path, "sound is empty")
    digest.update(repr((length, rate)).encode())
    return MediaFacts(digest.hexdigest(), seconds=length / rate)


def _digest(array: np.ndarray | None = None) -> "hashlib.blake2b":
    digest = hashlib.blake2b(digest_size=8)
    if array is not None:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest


def _known_formats() -> list[str]:
    Image.init()
    return [name for name in IMAGE_FORMATS if name in Image.OPEN]


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("pixels are floating point, without a known range")
    if image.mode.startswith("I"):
        grey_HW = np.clip(np.asarray(image, dtype=np.int64) // 256, 0, 255)
        return Image.fromarray(grey_HW.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _check_pixels(path: Path | str, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise MediaError(path, f"too many pixels: {width} x {height}")


def _av_errors() -> tuple[type[Exception], ...]:
    import av

    return (av.error.FFmpegError, OSError, ValueError)


@contextmanager
def _reported(path: Path | str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turns what decoders raise on broken files into MediaError."""
    try:
        yield
    except MediaError:
        raise
    except errors as error:
        # FFmpeg's own words without the path, which the error already carries.
        detail = getattr(error, "strerror", None) or error
        raise MediaError(path, f"does not decode: {type(error).__name__}: {detail}") from error


def _decode(path: Path | str, kind: str) -> Iterator:
    """The decoded frames of the first `video` or `audio` stream."""
    import av

    options = {"format_whitelist": AV_FORMATS}
    # Tags in another encoding than UTF-8 are no reason to refuse the content.
    with av.open(str(path), container_options=options, metadata_errors="replace") as container:
        streams = getattr(container.streams, kind)
        if not streams:
            raise MediaError(path, f"no {kind} stream")
        yield from container.decode(streams[0])


def _frame_arrays(path: Path | str, frames: Iterator) -> Iterator[np.ndarray]:
    """uint8 (H, W, C) of each frame, in the first one's size, turned as the clip asks."""
    size = None
    for frame in frames:
        _check_pixels(path, frame.width, frame.height)
        size = size or (frame.width, frame.height)
        frame_HWC = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
        yield np.rot90(frame_HWC, frame.rotation // 90)


def _sound_blocks(path: Path | str, sample_rate: int) -> Iterator[np.ndarray]:
    """float32 (S, A) blocks of the first audio stream at a sample rate."""
    import av

    resampler = av.AudioResampler(format="fltp", rate=sample_rate)
    decoded = False
    for frame in itertools.chain(_decode(path, "audio"), (None,)):
        if frame is None and not decoded:
            return
        decoded = True
        for block in resampler.resample(frame):
            block_SA = block.to_ndarray().T
            if not np.isfinite(block_SA).all():
                raise MediaError(path, "sound is not finite: it holds NaN or infinity")
            yield block_SA
