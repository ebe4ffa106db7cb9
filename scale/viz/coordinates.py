"""Coordinates of maps, kept: UMAP takes seconds to minutes, and one seed should show one map.

N points, D width.
"""

import json
import logging
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scale.data.cache import default_folder
from scale.files import replacing
from scale.viz.embeddings import umap_coordinates

log = logging.getLogger(__name__)

VERSION = 1
"""Grows when `umap_coordinates` draws another map from the same arguments."""


def kept_umap(
    emb_ND: ArrayLike, seed: int = 0, neighbours: int = 15, folder: Path | None = None
) -> NDArray[np.float32]:
    """`umap_coordinates`, (N, 2), computed once for the same embeddings, seed and settings.

    A kept file that is broken or does not fit is computed anew; a folder that cannot be written
    costs the keeping, not the map. Raises ValueError as `umap_coordinates` does.

    Args:
        folder: of the kept maps; None: `maps` in the user's cache (`data.cache.default_folder`).
    """
    emb_ND = np.ascontiguousarray(emb_ND, dtype=np.float32)
    path = (folder or default_folder() / "maps") / f"{_key(emb_ND, seed, neighbours)}.npy"
    kept_N2 = _load(path, len(emb_ND))
    if kept_N2 is not None:
        return kept_N2
    xy_N2 = umap_coordinates(emb_ND, seed, neighbours)
    try:
        with replacing(path) as partial:
            np.save(partial, xy_N2, allow_pickle=False)
    except OSError as error:
        log.warning("%s: the map cannot be kept (%s)", path, error)
    return xy_N2


def _key(emb_ND: NDArray[np.float32], seed: int, neighbours: int) -> str:
    try:
        by = version("umap-learn")
    except PackageNotFoundError:
        by = "none"
    settings = [VERSION, by, emb_ND.shape, seed, neighbours]
    return sha256(json.dumps(settings).encode() + emb_ND.tobytes()).hexdigest()


def _load(path: Path, count: int) -> NDArray[np.float32] | None:
    """The kept map; None where there is none that can be used."""
    try:
        xy_N2 = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        log.warning("%s: broken, computed anew (%s)", path, error)
        return None
    fits = isinstance(xy_N2, np.ndarray) and xy_N2.shape == (count, 2)
    if not (fits and xy_N2.dtype == np.float32 and np.isfinite(xy_N2).all()):
        log.warning("%s: not a map of %d points, computed anew", path, count)
        return None
    return xy_N2
