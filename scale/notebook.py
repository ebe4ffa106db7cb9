"""What every notebook begins with: the sample shop, its trained model, steady settings.

A notebook runs alone, from any working directory: the first one that needs the trained model makes
it in `runs/demo` of the project (as `make demo` does), every later one reads it there.
"""

import os
import random
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
from scale.demo import samples_folder, train_demo
from scale.evaluation.bootstrap import Estimate
from scale.training.run import RunFolder, TrainedRun

THREADS = 1
"""Of torch in a notebook: the order of a sum, and so its last digits, depends on it, and stored
outputs should not; models this small gain nothing from a second one."""

DPI = 100
"""Of pictures in a notebook: readable in JupyterLab and on GitHub, small enough to keep in git."""


def begin(seed: int = 0) -> None:
    """Seed everything, compute with one thread, draw figures as PNG of a size fit for a page."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (libraries that draw from the global state)
    torch.manual_seed(seed)
    torch.set_num_threads(THREADS)
    # A kernel that forks (joblib) would otherwise print a warning about tokenizers.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _draw_inline()
    _quiet_bars()


def _draw_inline() -> None:
    """Let a Figure that is a cell's value show itself; nothing happens outside of Jupyter."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    shell.run_line_magic("matplotlib", "inline")
    set_matplotlib_formats("png", bbox_inches=None, dpi=DPI)


def _quiet_bars() -> None:
    """Obey TQDM_DISABLE, which tqdm's notebook bars do not read: under test, a bar that a slow
    machine shows and a fast one does not is a difference."""
    if os.environ.get("TQDM_DISABLE"):
        from tqdm.notebook import tqdm_notebook

        shown = tqdm_notebook.__init__

        def silent(self, *arguments, **options) -> None:
            shown(self, *arguments, **(options | {"disable": True}))

        tqdm_notebook.__init__ = silent


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def samples() -> Catalogue:
    """The shop that ships with the project (data_samples)."""
    return Catalogue.open(samples_folder())


def demo_folder() -> Path:
    """Run folder of the trained model that the notebooks share: `runs/demo` of the project."""
    return samples_folder().parent / "runs" / "demo"


@cache
def demo_run() -> TrainedRun:
    """The tiny model, trained on the sample shop; trains it (one to two minutes) where it is not
    there yet.

    Two notebooks that need it at once train it once: the second one waits.
    """
    from filelock import FileLock

    folder = demo_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "train.lock"), redirect_stdout(StringIO()):
        train_demo(samples(), folder, progress=not RunFolder(folder).checkpoint("last").exists())
    run = TrainedRun.load(folder)
    run.model.eval().to(device())
    return run


@cache
def demo_data(split: str) -> ProductDataset:
    """A split of the sample shop (train, val, test) as the tokens of the demo's model.

    Without the bar that comes up where reading takes more than a second: a notebook's outputs are
    the same on slow machines and on fast ones.
    """
    from IPython.utils.capture import capture_output

    with capture_output():
        return demo_run().dataset(samples(), split)


def about(value: float, digits: int = 2) -> str:
    """A number that depends on a training, as text: `about(0.4716)` is `~0.47`.

    The tilde tells the reader that another machine may find a neighbour of it, and the notebooks'
    tests not to compare it; what must hold of it stands in an assert.
    """
    return f"~{value:.{digits}f}"


def about_estimate(estimate: Estimate, digits: int = 3) -> str:
    """`about` with its 95 % interval: `~0.105 [~0.049, ~0.162]`."""
    low, high = (about(x, digits) for x in (estimate.low, estimate.high))
    return f"{about(estimate.value, digits)} [{low}, {high}]"


def told(estimate: Estimate | None) -> str:
    """A value with its interval as text: `+0.067 [+0.037, +0.097]`; `-` where there is none."""
    if estimate is None or estimate.value is None or estimate.low is None:
        return "-"
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def trained_table(table: Any) -> Any:
    """A DataFrame with cells by `about`, as HTML only.

    In a table as plain text a minus sign moves all that stands beside it, so that another machine's
    numbers would not compare equal.
    """
    from IPython.display import HTML

    return HTML(table.to_html())


def play(product: Product, modality: str) -> Any:
    """A player for a product's clip or sound, its bytes inside the notebook.

    Raises ValueError where the modality has nothing to play or the product lacks it.
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
