"""Decode media files into arrays, with Pillow (images) and PyAV (video and audio).

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
"""Largest image or frame that is decoded (Pillow's own limit, a quarter of a GiB of RGB)."""

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "MPO")
"""Recognised by content, not by name. EPS is excluded, because Pillow executes it."""

# Playlists and concat scripts are excluded: they refer to files and addresses outside the folder.
AV_FORMATS = (
    "mov,matroska,webm,avi,ogg,wav,w64,mp3,flac,aac,aiff,au,caf,gif,apng,mpeg,mpegts,flv,asf,amr"
)

_IMAGE_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError),
    *(RuntimeError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""Exceptions of Pillow's decoders on damaged files, as observed, and similar ones."""


class MediaError(ValueError):
    """A media file that cannot be used, with its path and the reason."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def load_image(path: Path | str) -> Image.Image:
    """Load an image as RGB, rotated by its EXIF tag, transparency composited on white.

    16-bit grey is divided by 256; of an animation, the first frame is loaded.
    Raises MediaError if the file does not decode, is truncated, or exceeds MAX_PIXELS pixels.
    """
    with _reported(path, _IMAGE_ERRORS), Image.open(path, formats=_known_formats()) as image:
        _check_pixels(path, image.width, image.height)
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))


def load_video(path: Path | str, frames: int) -> np.ndarray:
    """Load evenly spaced frames of a video: uint8 array (T, H, W, C), upright.

    Of N decoded frames, T = min(frames, N) are returned, the middle ones of T equal segments:
    index_t = floor((2 t + 1) N / (2 T)), t = 0 .. T - 1. All have the size of the first of them.
    The file is decoded twice, first to count, so that no more than T frames are in memory.
    Raises MediaError if the file does not decode, has no frame, or a frame exceeds MAX_PIXELS.
    """
    with _reported(path, _av_errors()):
        count = sum(1 for _ in _decode(path, "video"))
        taken = min(frames, count)
        wanted = {(2 * t + 1) * count // (2 * taken) for t in range(taken)}
        chosen = (f for i, f in enumerate(_decode(path, "video")) if i in wanted)
        frames_T = list(_frame_arrays(path, chosen))
    if not frames_T:
        raise MediaError(path, "video has no frame")
    return np.stack(frames_T)


def load_audio(path: Path | str, sample_rate: int, seconds: float) -> np.ndarray:
    """Load the first `seconds` of audio at `sample_rate` Hz: float32 array (S,), mean of channels.

    Raises MediaError if the file does not decode, is empty, or has a non-finite sample.
    """
    limit, length = round(seconds * sample_rate), 0
    blocks = []
    with _reported(path, _av_errors()):
        for block_SA in _audio_blocks(path, sample_rate):
            blocks.append(block_SA.mean(axis=1))
            length += len(block_SA)
            if length >= limit:
                break
    if length == 0:
        raise MediaError(path, "audio is empty")
    return np.concatenate(blocks)[:limit]


def resize_image(picture: Image.Image, size: int) -> Image.Image:
    """Return the image as RGB with longer side `size`, without change of aspect or padding."""
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)


def fit_image(picture: Image.Image, size: int) -> np.ndarray:
    """Return pixels_HWC (uint8) of a size x size square: aspect kept, centred on white.

    An image that `resize_image` resized to this size is padded and otherwise unchanged.
    """
    fitted = resize_image(picture, size)
    square = Image.new("RGB", (size, size), "white")
    square.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
    return np.asarray(square)


@dataclass(frozen=True)
class MediaInfo:
    """Properties of a decoded file; None where they do not apply to the modality."""

    content: str
    """Hash of the decoded pixels or samples with their shape, 16 hexadecimal digits."""
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    seconds: float | None = None


def read_media_info(modality: str, path: Path | str) -> MediaInfo:
    """Decode all of an `image`, `video` or `audio` file. Raises MediaError."""
    read = {"image": _image_info, "video": _video_info, "audio": _audio_info}
    return read[modality](path)


def content_hash(modality: str, path: Path | str) -> str:
    """Return a hash of the decoded content, independent of the container format.

    blake2b of shape and values, 16 hexadecimal digits. Raises MediaError.
    """
    return read_media_info(modality, path).content


def _image_info(path: Path | str) -> MediaInfo:
    image = load_image(path)
    digest = _digest(np.asarray(image))
    return MediaInfo(digest.hexdigest(), width=image.width, height=image.height)


def _video_info(path: Path | str) -> MediaInfo:
    digest, times, size = _digest(), [], (0, 0)
    with _reported(path, _av_errors()):
        timed, shown = itertools.tee(_decode(path, "video"))
        for frame, frame_HWC in zip(timed, _frame_arrays(path, shown), strict=True):
            digest.update(frame_HWC.tobytes())
            times.append(frame.time or 0.0)
            size = frame_HWC.shape[:2]
    if not times:
        raise MediaError(path, "video has no frame")
    count = len(times)
    digest.update(repr((count, *size)).encode())
    # Each of the n frames lasts one interval; the timestamps span n - 1 of them.
    seconds = (times[-1] - times[0]) * count / max(count - 1, 1)
    return MediaInfo(digest.hexdigest(), size[1], size[0], count, seconds)


def _audio_info(path: Path | str) -> MediaInfo:
    digest, length, rate = _digest(), 0, 1
    with _reported(path, _av_errors()):
        rate = next((f.sample_rate for f in _decode(path, "audio")), 1)
        for block_SA in _audio_blocks(path, rate):
            digest.update(np.ascontiguousarray(block_SA).tobytes())
            length += len(block_SA)
    if length == 0:
        raise MediaError(path, "audio is empty")
    digest.update(repr((length, rate)).encode())
    return MediaInfo(digest.hexdigest(), seconds=length / rate)


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
        raise ValueError("floating-point pixels without a known range")
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
    """Convert exceptions of the decoders into MediaError."""
    try:
        yield
    except MediaError:
        raise
    except errors as error:
        # FFmpeg's message without the path, which MediaError adds.
        detail = getattr(error, "strerror", None) or error
        raise MediaError(path, f"does not decode: {type(error).__name__}: {detail}") from error


def _decode(path: Path | str, kind: str) -> Iterator:
    """Yield the decoded frames of the first `video` or `audio` stream."""
    import av

    options = {"format_whitelist": AV_FORMATS}
    # Tags in another encoding than UTF-8 must not make the file unusable.
    with av.open(str(path), container_options=options, metadata_errors="replace") as container:
        streams = getattr(container.streams, kind)
        if not streams:
            raise MediaError(path, f"no {kind} stream")
        yield from container.decode(streams[0])


def _frame_arrays(path: Path | str, frames: Iterator) -> Iterator[np.ndarray]:
    """Yield uint8 (H, W, C) per frame, in the size of the first, rotated by the metadata."""
    size = None
    for frame in frames:
        _check_pixels(path, frame.width, frame.height)
        size = size or (frame.width, frame.height)
        frame_HWC = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
        yield np.rot90(frame_HWC, frame.rotation // 90)


def _audio_blocks(path: Path | str, sample_rate: int) -> Iterator[np.ndarray]:
    """Yield float32 (S, A) blocks of the first audio stream at a sample rate."""
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
                raise MediaError(path, "audio is not finite: it contains NaN or infinity")
            yield block_SA
