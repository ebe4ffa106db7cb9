"""Coordinates of maps by UMAP, stored with the run: a map is the same on every machine.

UMAP's first fit on a machine compiles for up to a minute. A page therefore computes it in another
process: `python -m scale.explore.maps EMBEDDINGS MAP`.

P points, D width.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import mkstemp

import numpy as np
from numpy.typing import NDArray

from scale.files import default_cache_folder, load_array, replacing
from scale.viz.embeddings import UMAP_VERSION, kept_umap

log = logging.getLogger(__name__)

SEED = 0
WIDTH = 8
"""Random directions that embeddings are projected to, to recognise them."""
TOLERANCE = 1e-3
"""Largest difference of the projections of the same embeddings, computed on two machines."""


def map_path(run_folder: Path, name: str, points: Sequence[str]) -> Path:
    """Return the file of a map: in the run folder, or in the user's cache if that is read-only.

    Args:
        name: checkpoint and kind of the points.
        points: id of each point.
    """
    writable = os.access(run_folder, os.W_OK)
    folder = run_folder / "maps" if writable else default_cache_folder() / "maps"
    digest = sha256("\n".join(points).encode()).hexdigest()[:12]
    return folder / f"umap{UMAP_VERSION}-{name}-{digest}.npy"


def load_map(path: Path, unit_PD: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the stored coordinates of these embeddings, up to rounding; None without any."""
    try:
        stored_PX = load_array(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s: unreadable, computed again (%s)", path, error)
        return None
    fits = stored_PX.shape == (len(unit_PD), 2 + WIDTH) and stored_PX.dtype == np.float32
    if not (fits and np.isfinite(stored_PX).all()):
        return None
    same = np.abs(stored_PX[:, 2:] - _sketch(unit_PD)).max() < TOLERANCE
    return stored_PX[:, :2] if same else None


def compute_map(path: Path, unit_PD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the stored coordinates, or compute and store them.

    Raises ValueError for fewer than 5 points.
    """
    xy_P2 = load_map(path, unit_PD)
    if xy_P2 is None:
        xy_P2 = kept_umap(unit_PD, SEED).astype(np.float32)
        try:
            with replacing(path) as partial:
                np.save(partial, np.hstack([xy_P2, _sketch(unit_PD)]), allow_pickle=False)
        except OSError as error:
            log.warning("%s: the map cannot be stored (%s)", path, error)
    return xy_P2


def start_map(path: Path, unit_PD: NDArray[np.float32]) -> subprocess.Popen:
    """Start computing a map in a process of lower priority, which stores it."""
    number, name = mkstemp(prefix="scale-embeddings-", suffix=".npy")
    os.close(number)
    np.save(name, unit_PD, allow_pickle=False)
    command = [sys.executable, "-m", "scale.explore.maps", name, str(path)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


def compute_beside(path: Path, unit_PD: NDArray[np.float32]) -> None:
    """Compute and store a map at low priority, unless another process has just done so."""
    import fcntl  # Not on Windows.

    os.nice(10)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        compute_map(path, unit_PD)


def _sketch(unit_PD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the embeddings, projected to a few fixed random directions."""
    direction_DX = np.random.default_rng(SEED).standard_normal((unit_PD.shape[1], WIDTH))
    return (unit_PD @ direction_DX).astype(np.float32)


def main(embeddings: str, path: str) -> None:
    """Compute and store a map; the file of the embeddings is removed."""
    unit_PD = load_array(Path(embeddings))
    Path(embeddings).unlink()
    compute_beside(Path(path), unit_PD)


if __name__ == "__main__":
    main(*sys.argv[1:])
