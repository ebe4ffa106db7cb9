"""Decode media files into arrays, with Pillow (images) and PyAV (video and audio).

T frames, H height, W width, C colour channels (three: RGB), S samples, A audio channels.
"""

import hashlib
import io
import itertools
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

MAX_PIXELS = 89_478_485
"""Largest image or frame that is decoded (Pillow's own limit, a quarter of a GiB of RGB)."""

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "MPO")
"""Recognised by content, not by name. EPS is excluded, because Pillow executes it."""

# Playlists and concat scripts are excluded: they refer to files and addresses outside the folder.
AV_FORMATS = (
    "mov,matroska,webm,avi,ogg,wav,w64,mp3,flac,aac,aiff,au,caf,gif,apng,mpeg,mpegts,flv,asf,amr"
)

ANIMATION_FRAMES = 100
"""Frames of an animation among which one with content is searched."""
ROTATIONS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
             4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
             6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
             8: Image.Transpose.ROTATE_90}  # fmt: skip
"""By orientation in EXIF, as in Pillow."""
HELD_BYTES = 64 << 20
"""Decoded frames of a clip that are held in memory, so that it is decoded once."""
GROUP = 1 << 15
"""Samples of audio that are hashed at once."""
PNG = b"\x89PNG\r\n\x1a\n"
PNG_CHUNKS = (
    b"IHDR",
    b"PLTE",
    b"tRNS",
    b"gAMA",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"IDAT",
    b"IEND",
    b"eXIf",
)
"""Chunks with the pixels and the orientation."""
FOREIGN = {
    "Git LFS pointer": ("not the file itself: run git lfs pull", r"version https://git-lfs"),
    "SVG image": ("convert it to PNG", r"(<\?xml.*)?\s*(<!--.*-->\s*)?(<!DOCTYPE svg.*)?<svg\b"),
    "HTML page": ("the download failed, or the address is not that of a file",
                  r"(<\?xml.*)?(<!--.*-->\s*)?<(!DOCTYPE html|html|head|body)\b"),
    "HEIC image": ("convert it to JPEG", r".{4}ftyp(heic|heix|hevc|hevx|heim|heis|mif1|msf1)"),
    "PDF": ("convert it to JPEG", r"%PDF-"),
}  # fmt: skip
"""Kinds of files that are often found in place of media: advice, and a pattern of their start."""
BLANK = {
    "image": "blank picture: of one colour",
    "video": "blank clip: of one colour in each frame",
    "audio": "silent sound: constant within the first {seconds:g} s",
}
"""Reason of the problem of a blank file, by modality."""
SILENCE = 1e-4
"""Deviation of samples that counts as silence: -80 dB, a few steps of 16 bits."""
PLANES = 7
"""Most audio channels that are read as separate planes."""

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

    16-bit grey is divided by 256, or by less if it has at most 12 bits. Of an animation, the first
    frame is loaded that is not of a single colour. A picture that would be white on white is
    composited on black. Damaged metadata are ignored.
    Raises MediaError if the file does not decode, is truncated, or exceeds MAX_PIXELS pixels.
    """
    with _reported(path, _IMAGE_ERRORS):
        try:
            return _read_image(path, path)
        except MediaError:
            raise
        except _IMAGE_ERRORS:
            bare = _without_metadata(Path(path).read_bytes())
            if bare is None:
                raise
            return _read_image(path, io.BytesIO(bare))


def is_blank(image: Image.Image) -> bool:
    """Return whether an RGB image has a single colour, up to the rounding of JPEG."""
    return all(high - low <= 2 for low, high in image.getextrema())


def _read_image(path: Path | str, source: Path | str | IO[bytes]) -> Image.Image:
    with Image.open(source, formats=_known_formats()) as image:
        _check_pixels(path, image.width, image.height)
        image.load()
        found = _brightened(image, _to_rgb(_upright(image)))
        if is_blank(found) and getattr(image, "is_animated", False):
            return _first_visible(path, image) or found
        return found


def _brightened(image: Image.Image, found: Image.Image) -> Image.Image:
    """Return the RGB pixels of a TIFF scaled if it has at most 12 bits in 16: nearly black."""
    highest = max(high for _, high in found.getextrema())
    if image.format != "TIFF" or 16 not in image.tag_v2.get(258, ()) or not 0 < highest < 16:
        return found
    factor = 255 // ((1 << highest.bit_length()) - 1)
    return found.point(lambda value: value * factor)


def _upright(image: Image.Image) -> Image.Image:
    """Return an image rotated by its EXIF tag, as far as the metadata can be read."""
    try:
        return ImageOps.exif_transpose(image)
    except _IMAGE_ERRORS:
        pass  # Pillow cannot write another tag; the rotation may be intact.
    try:
        turn = ROTATIONS.get(image.getexif().get(ExifTags.Base.Orientation))
    except _IMAGE_ERRORS:
        turn = None
    return image if turn is None else image.transpose(turn)


def _first_visible(path: Path | str, image: Image.Image) -> Image.Image | None:
    """Return the first of the later frames that is not of a single colour, if there is one."""
    for number in range(1, ANIMATION_FRAMES):
        try:
            image.seek(number)
            _check_pixels(path, image.width, image.height)
            frame = _to_rgb(_upright(image))
        except _IMAGE_ERRORS:
            return None
        if not is_blank(frame):
            return frame
    return None


def _without_metadata(data: bytes) -> bytes | None:
    """Return a PNG or JPEG without the parts that do not affect the pixels; None for other files.

    Pillow refuses e.g. text chunks above 1 MiB, where cameras and editors put XMP.
    """
    if data.startswith(PNG):
        at, kept = len(PNG), [PNG]
        while at + 8 <= len(data):
            end = at + 12 + int.from_bytes(data[at : at + 4], "big")
            if data[at + 4 : at + 8] in PNG_CHUNKS:
                kept.append(data[at:end])
            at = end
        return b"".join(kept)
    if data.startswith(b"\xff\xd8"):
        at, kept = 2, [b"\xff\xd8"]
        while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            # APP0 (JFIF) and APP14 (Adobe) determine the colours; other APPn and comments do not.
            if data[at + 1] not in (*range(0xE1, 0xEE), 0xEF, 0xFE):
                kept.append(data[at:end])
            at = end
        return b"".join([*kept, data[at:]])
    return None


def load_video(path: Path | str, frames: int) -> np.ndarray:
    """Load evenly spaced frames of a video: uint8 array (T, H, W, C), upright.

    Of N decoded frames, T = min(frames, N) are returned, the middle ones of T equal segments:
    index_t = floor((2 t + 1) N / (2 T)), t = 0 .. T - 1. All have the size of the first of them.
    A file whose frames exceed HELD_BYTES is decoded twice, first to count, so that they are not all
    in memory.
    Raises MediaError if the file does not decode, has no frame, or a frame exceeds MAX_PIXELS.
    """
    with _reported(path, _av_errors()):
        count, held = 0, _Held()
        for frame in _decode(path, "video"):
            held.add(frame, 3 * frame.width * frame.height)
            count += 1
        wanted = _middle_frames(frames, count)
        found = held.values or _decode(path, "video")
        chosen = (frame for i, frame in enumerate(found) if i in wanted)
        frames_T = list(_frame_arrays(path, chosen))
    if not frames_T:
        raise MediaError(path, "video has no frame")
    return np.stack(frames_T)


def _middle_frames(frames: int, count: int) -> set[int]:
    """Return the indices of the middle frames of equal segments, see `load_video`."""
    taken = min(frames, count)
    return {(2 * t + 1) * count // (2 * taken) for t in range(taken)}


class _Held:
    """Decoded frames, dropped when they exceed HELD_BYTES."""

    def __init__(self) -> None:
        self.values: list = []
        self.bytes = 0

    def add(self, value: Any, size: int) -> None:
        self.bytes += size
        if self.bytes <= HELD_BYTES:
            self.values.append(value)
        else:
            self.values = []


def load_audio(path: Path | str, sample_rate: int, seconds: float) -> np.ndarray:
    """Load the first `seconds` of audio at `sample_rate` Hz: float32 array (S,), mean of channels.

    Raises MediaError if the file does not decode, is empty, or has a non-finite sample.
    """
    sound = _Sound(sample_rate, seconds)
    with _reported(path, _av_errors()):
        for *_, block_SA in _audio_blocks(path, sample_rate):
            sound.add(block_SA)
            if sound.complete:
                break
    return sound.samples(path)


class _Sound:
    """The beginning of a sound: mean of its channels."""

    def __init__(self, sample_rate: int, seconds: float) -> None:
        self.limit, self.length = round(seconds * sample_rate), 0
        self.blocks: list[np.ndarray] = []

    @property
    def complete(self) -> bool:
        return self.length >= self.limit > 0

    def add(self, block_SA: np.ndarray) -> None:
        self.blocks.append(block_SA.mean(axis=1))
        self.length += len(block_SA)

    def samples(self, path: Path | str) -> np.ndarray:
        if self.length == 0:
            raise MediaError(path, "audio is empty")
        return np.concatenate(self.blocks)[: self.limit]


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
    onset: float | None = 0.0
    """Second of the first sample that differs from the beginning; 0 for pictures and clips. None
    for blank files: one colour, or a silent or constant sound."""

    def is_blank(self, seconds: float) -> bool:
        """Return whether the file is blank, as far as `seconds` of sound are used."""
        return self.onset is None or (self.onset > 0 and self.onset >= seconds)


def read_media_info(modality: str, path: Path | str) -> MediaInfo:
    """Decode all of an `image`, `video` or `audio` file. Raises MediaError."""
    if modality == "image":
        return load_image_and_info(path)[1]
    return _read_video(path)[0] if modality == "video" else _read_audio(path)


def content_hash(modality: str, path: Path | str) -> str:
    """Return a hash of the decoded content, independent of the container format.

    blake2b of shape and values, 16 hexadecimal digits. Raises MediaError.
    """
    return read_media_info(modality, path).content


def load_image_and_info(path: Path | str) -> tuple[Image.Image, MediaInfo]:
    """Return `load_image` and `read_media_info` of one file, decoded once. Raises MediaError."""
    image = load_image(path)
    digest = _digest(np.asarray(image))
    onset = None if is_blank(image) else 0.0
    return image, MediaInfo(digest.hexdigest(), image.width, image.height, onset=onset)


def load_video_and_info(path: Path | str, frames: int) -> tuple[np.ndarray, MediaInfo]:
    """Return `load_video` and `read_media_info` of one file. Raises MediaError.

    It is decoded once, unless its frames exceed HELD_BYTES or differ in size.
    """
    info, held_T = _read_video(path)
    if not held_T:
        return load_video(path, frames), info
    wanted = _middle_frames(frames, len(held_T))
    return np.stack([frame for i, frame in enumerate(held_T) if i in wanted]), info


def load_audio_and_info(
    path: Path | str, sample_rate: int, seconds: float
) -> tuple[np.ndarray, MediaInfo]:
    """Return `load_audio` and `read_media_info` of one file, decoded once. Raises MediaError."""
    sound = _Sound(sample_rate, seconds)
    info = _read_audio(path, sound, sample_rate)
    return sound.samples(path), info


def _read_video(path: Path | str) -> tuple[MediaInfo, list[np.ndarray]]:
    """Return the properties of a clip, and its frames if they fit into HELD_BYTES."""
    digest, times, size, blank = _digest(), [], (0, 0), True
    held, shapes = _Held(), set()
    with _reported(path, _av_errors()):
        timed, shown = itertools.tee(_decode(path, "video"))
        for frame, frame_HWC in zip(timed, _frame_arrays(path, shown), strict=True):
            digest.update(frame_HWC.tobytes())
            times.append(frame.time or 0.0)
            size = frame_HWC.shape[:2]
            # The first frame that is used determines the size of all.
            shapes.add((frame.width, frame.height))
            held.add(frame_HWC, frame_HWC.nbytes)
            blank = blank and is_blank(Image.fromarray(frame_HWC))
    if not times:
        raise MediaError(path, "video has no frame")
    count = len(times)
    digest.update(repr((count, *size)).encode())
    # Each of the n frames lasts one interval; the timestamps span n - 1 of them.
    seconds = (times[-1] - times[0]) * count / max(count - 1, 1)
    onset = None if blank else 0.0
    info = MediaInfo(digest.hexdigest(), size[1], size[0], count, seconds, onset)
    return info, held.values if len(shapes) == 1 else []


def _read_audio(path: Path | str, sound: _Sound | None = None, sample_rate: int = 0) -> MediaInfo:
    """Return the properties of a sound; add its beginning at a sample rate to `sound`."""
    digest, length, rate, first_A, onset = _digest(), 0, 1, None, None
    rates = (0, sample_rate) if sound else (0,)
    with _reported(path, _av_errors()):
        for wanted, rate_found, block_SA in _grouped(_audio_blocks(path, *rates)):
            if wanted:
                if not sound.complete:
                    sound.add(block_SA)
                continue
            rate = rate_found
            digest.update(np.ascontiguousarray(block_SA).tobytes())
            first_A = block_SA[:1] if first_A is None else first_A
            if onset is None and (varies_S := (np.abs(block_SA - first_A) > SILENCE).any(1)).any():
                onset = (length + int(varies_S.argmax())) / rate
            length += len(block_SA)
    if length == 0:
        raise MediaError(path, "audio is empty")
    digest.update(repr((length, rate)).encode())
    return MediaInfo(digest.hexdigest(), seconds=length / rate, onset=onset)


def _grouped(
    blocks: Iterable[tuple[int, int, np.ndarray]],
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Join blocks of `_audio_blocks`, often 10 ms long, to GROUP samples or more."""
    waiting: dict[tuple[int, int], list[np.ndarray]] = {}
    for wanted, rate, block_SA in blocks:
        group = waiting.setdefault((wanted, rate), [])
        group.append(block_SA)
        if sum(map(len, group)) >= GROUP:
            yield wanted, rate, np.concatenate(waiting.pop((wanted, rate)))
    for (wanted, rate), group in waiting.items():
        yield wanted, rate, np.concatenate(group)


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
        values_HW = np.asarray(image, dtype=np.int64)
        # Cameras and scanners store 10 or 12 bits in 16 without scaling: nearly black.
        bits = max(8, int(values_HW.max()).bit_length())
        grey_HW = np.clip(values_HW >> ((bits if bits <= 12 else 16) - 8), 0, 255)
        return Image.fromarray(grey_HW.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        shown = _on_background(image, "white")
        low, high = image.getchannel("A").getextrema()
        return _on_background(image, "black") if low < high and is_blank(shown) else shown
    return image.convert("RGB")


def _on_background(image: Image.Image, colour: str) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, colour), image).convert("RGB")


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
        foreign = describe_foreign(path)
        if foreign is not None:
            raise MediaError(path, foreign) from error
        # FFmpeg's message without the path, which MediaError adds.
        detail = getattr(error, "strerror", None) or error
        raise MediaError(path, f"does not decode: {type(error).__name__}: {detail}") from error


def describe_foreign(path: Path | str, tables: bool = False) -> str | None:
    """Return what a file is that is no medium (e.g. an HTML page); None if it is not recognised.

    tables: of a file with the products, which may be empty or XML.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(2048).removeprefix(b"\xef\xbb\xbf")
    except OSError:
        return None
    if not start:
        return None if tables else "empty file: 0 bytes"
    text = start.decode("latin-1").lstrip()
    if tables and text.startswith("<?xml"):
        return None
    for kind, (advice, pattern) in FOREIGN.items():
        if re.match(pattern, text, re.DOTALL | re.IGNORECASE):
            return f"{kind}: {advice}"
    return None


def _decode(path: Path | str, kind: str) -> Iterator:
    """Yield the decoded frames of the first `video` or `audio` stream that is no cover art."""
    import av

    options = {"format_whitelist": AV_FORMATS}
    # Tags in another encoding than UTF-8 must not make the file unusable.
    with av.open(str(path), container_options=options, metadata_errors="replace") as container:
        streams = getattr(container.streams, kind)
        if not streams:
            raise MediaError(path, f"no {kind} stream")
        clips = _clips(streams)
        if not clips:
            raise MediaError(path, "no video stream: the file only has cover art")
        yield from container.decode(clips[0])


def _frame_arrays(path: Path | str, frames: Iterator) -> Iterator[np.ndarray]:
    """Yield uint8 (H, W, C) per frame, in the size of the first, with square pixels, upright."""
    from av.video.reformatter import VideoReformatter

    # Shared by the frames: creating one costs more than a small conversion.
    size, converter = None, VideoReformatter()
    for frame in frames:
        _check_pixels(path, frame.width, frame.height)
        if size is None:
            ratio = _pixel_ratio(path)
            size = round(frame.width * max(ratio, 1)), round(frame.height / min(ratio, 1))
            _check_pixels(path, *size)
        frame_HWC = converter.reformat(frame, *size, "rgb24", threads=1).to_ndarray()
        yield np.rot90(frame_HWC, frame.rotation // 90)


def _pixel_ratio(path: Path | str) -> Fraction:
    """Return width / height of a pixel of a clip: not 1 for anamorphic recordings (DV, DVD)."""
    import av

    with av.open(str(path), container_options={"format_whitelist": AV_FORMATS},
                 metadata_errors="replace") as container:  # fmt: skip
        return _clips(container.streams.video)[0].sample_aspect_ratio or Fraction(1)


def _clips(streams: Iterable) -> list:
    """Return the streams that are no cover art."""
    import av

    return [s for s in streams if not s.disposition & av.stream.Disposition.attached_pic]


def _audio_blocks(path: Path | str, *rates: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield float32 (S, A) blocks of the first audio stream, at each of `rates` (0: its own).

    Before a block: the element of `rates`, and the sample rate in Hz.
    """
    import av

    resamplers: dict[int, Any] = {}
    for frame in itertools.chain(_decode(path, "audio"), (None,)):
        if not resamplers:
            if frame is None:
                return
            channels = frame.layout.nb_channels
            # PyAV reads beyond the planes of frames with more than 7, which crashes the process.
            kind = "fltp" if channels <= PLANES else "flt"
            for rate in rates:
                resamplers[rate] = av.AudioResampler(format=kind, rate=rate or frame.sample_rate)
        for rate, resampler in resamplers.items():
            for block in resampler.resample(frame):
                values = block.to_ndarray()
                block_SA = values.T if kind == "fltp" else values.reshape(-1, channels)
                if not np.isfinite(block_SA).all():
                    raise MediaError(path, "audio is not finite: it contains NaN or infinity")
                yield rate, block.sample_rate, block_SA
