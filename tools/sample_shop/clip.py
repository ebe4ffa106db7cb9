"""Product clips: the use of a product, rendered frame by frame and written as H.264.

T frames, H, W pixels.
"""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from tools.sample_shop import shapes, uses
from tools.sample_shop.item import Item
from tools.sample_shop.picture import close_up, compose, draw_stage, frame

SIZE = 96
FPS = 12
NEAR = 0.25
"""Share of close-ups, in which the product does not fit into the frame."""


def clip(item: Item, view: str) -> np.ndarray:
    """frames_THW3 (uint8): the product in use, for 1 to 1.3 s; `view` as in `picture`."""
    rng = item.rng("clip", view)
    name = item.category.name
    zoom = rng.uniform(1.5, 2.3) if rng.random() < NEAR else 1.0
    rest = shapes.build(name, item.rng("shape"), 0.0125 / zoom)
    stage = draw_stage(item, rng, rest, SIZE * 3 // 2)
    use = uses.USES[item.use]
    stream = int(rng.integers(2**31))
    count = int(rng.integers(FPS, FPS * 4 // 3 + 1))
    moments = [
        use(rest, k / (count - 1), np.random.default_rng(stream), name) for k in range(count)
    ]
    azimuth = rng.uniform(-28, 28)
    seen = [p for m in moments[:: max(1, count // 4)] for p in [*m.parts, *m.extra]]
    seen = [p for p in seen if p.points_N3[0, 2] > -9]
    camera = frame(replace(stage.camera, azimuth=azimuth), seen, rng.uniform(0.7, 0.96))
    if zoom > 1:
        camera = close_up(camera, zoom, rng)
    frames = []
    for moment in moments:
        now = replace(stage, camera=replace(camera, azimuth=azimuth + moment.turn))
        still = [*rest, *moment.extra]
        rgb_HW3 = compose(now, [*moment.parts, *moment.extra], item, still, moment.glow)
        frames.append(_expose(rgb_HW3, moment.glow))
    return np.stack(frames)


def _expose(rgb_HW3: np.ndarray, glow: float) -> np.ndarray:
    """Reduce a frame to its final size, with bloom around a lit lamp."""
    if glow:
        bright = np.clip(rgb_HW3 - 0.72, 0, 1) * 3.5 * glow
        lit = Image.fromarray((np.clip(bright, 0, 1) * 255).astype(np.uint8))
        halo = np.asarray(lit.filter(ImageFilter.GaussianBlur(12)), float) / 255
        rgb_HW3 = rgb_HW3 + 0.7 * glow * halo * (1.0, 0.85, 0.55)
    image = Image.fromarray((np.clip(rgb_HW3, 0, 1) * 255 + 0.5).astype(np.uint8))
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX))


def write_clip(path: Path, frames_THW3: np.ndarray) -> None:
    """Write frames as MP4 without sound; the bytes depend on the frames only.

    No dates, one thread, and x264 without assembly, whose output sometimes differed.
    """
    import av

    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(path), "w", format="mp4", container_options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        stream.options = {
            "crf": "27",
            "preset": "slow",
            "threads": "1",
            "flags": "+bitexact",
            "x264-params": "asm=0",
        }
        for rgb_HW3 in frames_THW3:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb_HW3, format="rgb24")))
        container.mux(stream.encode(None))
