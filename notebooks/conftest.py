"""Comparison of pictures, which nbval leaves out.

A picture fails if its size differs, if more than `MOST` of its drawn area has another structure
(SSIM below 1/2 in windows of 28 pixels at a quarter of the resolution), or if as much of it has
other colours. Anti-aliasing, palettes and small changes of numbers stay below: at most 0.01 between
two executions, and mostly below 0.03 between two trained models. A missing legend or curve, another
language, other colours or an empty picture are above.

Where a picture depends on the machine (e.g. UMAP), its cell has the tag `picture-varies` and a
reason, e.g. `# %% tags=["picture-varies"] varies="UMAP"`; then only size, drawn area and the amount
of each colour are compared, within `LOOSE`.
"""

import base64
import io

import numpy as np
from nbval.plugin import IPyNbCell
from PIL import Image
from scipy.ndimage import uniform_filter

MOST = 0.03
LOOSE = 0.35
SHRINK, WINDOW = 4, 7
"""Reduction of a picture before the comparison, and size of a window after it, in pixels."""
FEW = 50
"""Sum of chroma below which hues count less."""
INK, COLOUR = 0.02, 0.08
"""Deviation of grey in a drawn window, and change of a colour that counts, of [0, 1]."""


def read_picture(encoded: str) -> np.ndarray:
    """Return a PNG (base64) in RGB on white, reduced: height, width, 3 in [0, 1]."""
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as opened:
        picture = Image.new("RGBA", opened.size, "white")
        picture.alpha_composite(opened.convert("RGBA"))
    size = [max(WINDOW, side // SHRINK) for side in picture.size]
    return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BOX)) / 255


def mean(x: np.ndarray) -> np.ndarray:
    """Return the mean of each window of a picture in grey or RGB."""
    return uniform_filter(x, (WINDOW, WINDOW) + (0,) * (x.ndim - 2))


def hues(picture: np.ndarray) -> np.ndarray:
    """Return the sum of chroma by hue, in eight parts of the colour circle."""
    red, green, blue = picture.reshape(-1, 3).T
    chroma = red + green * np.exp(2j * np.pi / 3) + blue * np.exp(-2j * np.pi / 3)
    weights = np.where(np.abs(chroma) > COLOUR, np.abs(chroma), 0)
    return np.histogram(np.angle(chroma), bins=8, range=(-np.pi, np.pi), weights=weights)[0]


def compare_pictures(old: np.ndarray, new: np.ndarray, varies: bool = False) -> str:
    """Return the difference of two pictures in words; an empty string if they agree."""
    if np.abs(np.subtract(old.shape, new.shape)).max() > 1:
        return f"size {new.shape[:2]} instead of {old.shape[:2]} (quarter pixels)"
    height, width = np.minimum(old.shape, new.shape)[:2]
    old, new = old[:height, :width], new[:height, :width]
    a, b = old.mean(2), new.mean(2)
    var_a, var_b = (np.maximum(mean(x * x) - mean(x) ** 2, 0) for x in (a, b))
    drawn_a, drawn_b = var_a > INK**2, var_b > INK**2
    drawn = max(1, (drawn_a | drawn_b).sum())
    if varies:
        area = abs(int(drawn_a.sum()) - int(drawn_b.sum())) / drawn
        hues_a, hues_b = hues(old), hues(new)
        colours = np.abs(hues_a - hues_b).sum() / max(FEW, (hues_a + hues_b).sum())
        found = {"drawn area": area, "amount of colours": colours}
    else:
        covariance = mean(a * b) - mean(a) * mean(b)
        ssim = (2 * mean(a) * mean(b) + 1e-4) * (2 * covariance + 9e-4)
        ssim /= (mean(a) ** 2 + mean(b) ** 2 + 1e-4) * (var_a + var_b + 9e-4)
        structure = ((ssim < 0.5) & (drawn_a | drawn_b)).sum() / drawn
        colours = (np.abs(mean(old) - mean(new)).max(2) > COLOUR).sum() / drawn
        found = {"structure": structure, "colours": colours}
    limit = LOOSE if varies else MOST
    return ", ".join(f"{name} {x:.3f} > {limit}" for name, x in found.items() if x > limit)


def pictures(outputs: list) -> list[str]:
    """Return the PNGs of outputs."""
    return [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]


def compare_outputs(cell: IPyNbCell, test: list, ref: list, skip_compare: tuple = ()) -> bool:
    """Compare the outputs of a cell as nbval does, then its pictures."""
    if not compare_texts(cell, test, ref, skip_compare or None):
        return False
    old, new = pictures(ref), pictures(test)
    varies = "picture-varies" in cell.cell.metadata.get("tags", [])
    if len(old) == len(new):
        pairs = zip(map(read_picture, old), map(read_picture, new), strict=True)
        found = [compare_pictures(a, b, varies) for a, b in pairs]
    else:
        found = [f"{len(new)} pictures instead of {len(old)}"]
    cell.comparison_traceback += [f"picture {k}: {text}" for k, text in enumerate(found) if text]
    return not any(found)


compare_texts = IPyNbCell.compare_outputs
IPyNbCell.compare_outputs = compare_outputs
