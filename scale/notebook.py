"""Set-up of the notebooks: the sample shop, a model trained on it, reproducible settings.

Each notebook runs independently, from any working directory. The first one that needs the model
trains it into `runs/demo` of the project, like `make demo`; the others load it from there.
"""

import os
import random
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.product import Product
from scale.demo import pretrained_folder, samples_folder, train_demo, train_pretrained_demo
from scale.evaluation.bootstrap import Estimate
from scale.run import Run
from scale.training.run import RunFolder

THREADS = 1
"""Threads of torch in a notebook. The order of summation, and so the last digits, depends on them;
models of this size are not faster with more."""

DPI = 100
"""Resolution of the figures: readable in JupyterLab and on GitHub, small enough for git."""


def setup(seed: int = 0) -> None:
    """Seed all random generators, use one thread, and show figures as PNG at `DPI`."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (libraries that draw from the global state)
    torch.manual_seed(seed)
    torch.set_num_threads(THREADS)
    # Otherwise tokenizers prints a warning when a kernel forks (joblib).
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _draw_inline()
    _disable_bars()


def _draw_inline() -> None:
    """Display a Figure that is a cell's value; does nothing outside of Jupyter."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    shell.run_line_magic("matplotlib", "inline")
    set_matplotlib_formats("png", bbox_inches=None, dpi=DPI)


def _disable_bars() -> None:
    """Make tqdm's notebook bars respect TQDM_DISABLE.

    In tests of the outputs, a bar that only a slow machine shows would be a difference.
    """
    if os.environ.get("TQDM_DISABLE"):
        from tqdm.notebook import tqdm_notebook

        original = tqdm_notebook.__init__

        def disabled(self, *arguments, **options) -> None:
            original(self, *arguments, **(options | {"disable": True}))

        tqdm_notebook.__init__ = disabled


def device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def samples() -> Catalogue:
    """Return the sample shop (data_samples)."""
    return Catalogue.open(samples_folder())


def demo_folder() -> Path:
    """Return the run folder of the model that the notebooks share: `runs/demo` of the project."""
    return samples_folder().parent / "runs" / "demo"


@cache
def demo_run() -> Run:
    """Return the tiny model trained on the sample shop, on `device()`.

    It is trained first (one to two minutes) if it is out of date. If two notebooks need it at the
    same time, the second one waits for the first.
    """
    return _trained_once(demo_folder(), train_demo)


@cache
def pretrained_demo_run() -> Run:
    """Return the model on features of public models, as `demo_run`; its features are computed
    first (about a minute)."""
    return _trained_once(pretrained_folder(demo_folder()), train_pretrained_demo)


def _trained_once(folder: Path, train: Callable[..., RunFolder]) -> Run:
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "train.lock"), redirect_stdout(StringIO()):
        train(samples(), folder, progress=not RunFolder(folder).checkpoint("last").exists())
    run = Run.load(folder)
    run.model.eval().to(device())
    return run


def masked_folder(words: bool = False) -> Path:
    """Return the run folder of `masked_run`, which is part of the repository."""
    name = "masked_words" if words else "masked"
    return samples_folder().parent / "notebooks" / "models" / name


@cache
def masked_run(words: bool = False) -> Run:
    """Return a model that was trained longer on the masked losses (tools/masked_model.py), on
    `device()`; `words`: and then on hidden words and values. It is loaded and never trained."""
    run = Run.load(masked_folder(words))
    run.model.eval().to(device())
    return run


@cache
def demo_data(split: str) -> ProductDataset:
    """Return a split of the sample shop (train, val, test) as tokens of the demo's model."""
    return _quiet_dataset(demo_run(), split)


@cache
def masked_data(split: str) -> ProductDataset:
    """Return a split of the sample shop as tokens of both models of `masked_run`."""
    return _quiet_dataset(masked_run(), split)


def _quiet_dataset(run: Run, split: str) -> ProductDataset:
    """Without progress bars, so that the outputs are the same on all machines."""
    from IPython.utils.capture import capture_output

    with capture_output():
        return run.dataset(samples(), split)


def approx(value: float, digits: int = 2) -> str:
    """Format a number that depends on a training: `approx(0.4716)` is `~0.47`.

    The tilde marks numbers that vary between machines. The tests of the notebooks do not compare
    them; assertions in the notebook check the claims.
    """
    return f"~{round(float(value), digits) + 0.0:.{digits}f}"  # + 0.0: never -0.00


def approx_estimate(estimate: Estimate, digits: int = 3) -> str:
    """Format an estimate with its 95 % interval by `approx`: `~0.105 [~0.049, ~0.162]`."""
    value = approx(estimate.value, digits)
    if estimate.low is None:
        return value
    return f"{value} [{approx(estimate.low, digits)}, {approx(estimate.high, digits)}]"


def format_estimate(estimate: Estimate | None) -> str:
    """Format a value with its interval: `+0.067 [+0.037, +0.097]`; `-` if there is none."""
    if estimate is None or estimate.value is None or estimate.low is None:
        return "-"
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def html_table(table: Any) -> Any:
    """Return a DataFrame with cells by `approx` as HTML only.

    In a plain-text table a minus sign shifts the columns, and the outputs of two machines differ.
    """
    from IPython.display import HTML

    return HTML(table.to_html())


def versions() -> str:
    """Return the versions of Python and of the main libraries, and the commit of the project."""
    from scale.evaluation.report import provenance

    found = provenance(seed=0, started=0.0)
    text = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    if found["commit"] is None:
        return text
    return f"{text}\ncommit {found['commit'][:7]}{' with changes' if found['dirty'] else ''}"


def play(product: Product, modality: str) -> Any:
    """Return a player for a product's video or audio, with the file embedded in the notebook.

    Raises:
        ValueError: the modality is neither video nor audio, or the product lacks it.
    """
    from IPython.display import Audio, Video

    players = {"video": Video, "audio": Audio}
    if modality not in players:
        raise ValueError(f"{modality} cannot be played; known: {', '.join(players)}")
    path = getattr(product, modality)
    if path is None:
        raise ValueError(f"product {product.id} has no {modality}")
    options = {"width": 240} if modality == "video" else {}
    return players[modality](filename=str(path), embed=True, **options)
