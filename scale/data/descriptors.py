"""Colours and gradients of a picture, a small fixed description that few examples suffice to use.

H, W height and width in pixels, C three colours, K cells, O orientations, L patches, F features.
"""

import numpy as np

CELL = 8
"""Side of a cell in pixels."""
ORIENTATIONS = 9
"""Bins of unsigned orientation, 20 degrees each."""
POINTS = 2
"""Colour points along the side of a cell."""
CELL_FEATURES = ORIENTATIONS + 3 * POINTS * POINTS


def describe(pixels_HWC: np.ndarray, patch: int) -> np.ndarray:
    """described_LF (float32) of a picture's patches, row by row; F = 21 (patch / 8)^2.

    Each cell of 8 x 8 pixels gives 2 x 2 mean colours in [-1, 1] and a histogram of oriented
    gradients: 9 bins of unsigned orientation, weighted by the gradient's length, as the square root
    of their share in the patch (Dalal and Triggs, 2005; as targets of masked prediction: MaskFeat,
    Wei et al., 2022). All colours of a patch come first, cell by cell, then all histograms.

    Raises ValueError where picture or patch do not divide into cells.
    """
    height, width, _ = pixels_HWC.shape
    if patch % CELL or height % patch or width % patch:
        raise ValueError(f"{width} x {height} pixels in patches of {patch} and cells of {CELL}")
    step = CELL // POINTS
    points = pixels_HWC.reshape(height // step, step, width // step, step, 3).mean(axis=(1, 3))
    colours_LF = _by_patch(points / 127.5 - 1.0, patch // step)
    gradients_LF = _by_patch(_orientation_histograms(pixels_HWC), patch // CELL)
    share_LF = gradients_LF / (gradients_LF.sum(axis=1, keepdims=True) + 1.0)
    return np.concatenate([colours_LF, np.sqrt(share_LF)], axis=1).astype(np.float32)


def colours_of(described_LF: np.ndarray, patch: int) -> np.ndarray:
    """The thumbnail in a description: pixels_HWC (uint8), one pixel a colour point."""
    side, points = round(len(described_LF) ** 0.5), patch // CELL * POINTS
    colours = described_LF[:, : 3 * points * points].reshape(side, side, points, points, 3)
    pixels_HWC = colours.transpose(0, 2, 1, 3, 4).reshape(side * points, side * points, 3)
    return np.rint((pixels_HWC + 1.0) * 127.5).clip(0, 255).astype(np.uint8)


def _orientation_histograms(pixels_HWC: np.ndarray) -> np.ndarray:
    """Gradient length per orientation in each cell, as (cells down, cells across, O)."""
    light_HW = pixels_HWC.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    down_HW, across_HW = np.gradient(light_HW)
    length_HW = np.hypot(down_HW, across_HW)
    turn_HW = np.arctan2(down_HW, across_HW) / np.pi % 1.0 * ORIENTATIONS
    # A gradient votes for its two nearest bins, so that a small turn moves little.
    lower_HW = np.floor(turn_HW - 0.5)
    upper_share_HW = turn_HW - 0.5 - lower_HW
    votes = np.zeros((*light_HW.shape, ORIENTATIONS), np.float32)
    rows, columns = np.indices(light_HW.shape)
    first_HW = lower_HW.astype(int) % ORIENTATIONS
    votes[rows, columns, first_HW] = length_HW * (1 - upper_share_HW)
    votes[rows, columns, (first_HW + 1) % ORIENTATIONS] += length_HW * upper_share_HW
    down, across = (side // CELL for side in light_HW.shape)
    return votes.reshape(down, CELL, across, CELL, ORIENTATIONS).sum(axis=(1, 3))


def _by_patch(cells: np.ndarray, side: int) -> np.ndarray:
    """(cells down, cells across, X) as (patches, side * side * X)."""
    down, across, size = cells.shape
    grid = cells.reshape(down // side, side, across // side, side, size)
    return grid.transpose(0, 2, 1, 3, 4).reshape(-1, side * side * size)
