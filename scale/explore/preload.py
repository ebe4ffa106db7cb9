"""Run, products and libraries of `scale explore`, loaded once.

The server imports this module in the process that page kernels are forked from
(`scale.explore.kernels`): all pages share the memory of one model.
"""

import atexit
import gc
import json
import os

import torch
import tqdm

from scale.config import require
from scale.explore import kernels, maps
from scale.explore.page import ServedPage
from scale.explore.panel import USER_ERRORS
from scale.explore.projections import MapView, Projections
from scale.explore.source import ExplorerSource

settings: dict = json.loads(os.environ.get(kernels.SETTINGS, "{}"))
source: ExplorerSource | None = None
others: list[ExplorerSource] = []
"""Other runs for comparison (`scale explore --compare`)."""
error = ""
"""Message for the user if run and products cannot be loaded."""


def load() -> None:
    """Load run, products, embeddings and search index; afterwards, `source` or `error` is set."""
    global source, error
    # A page answers one user with a small batch: more threads only wait for each other.
    torch.set_num_threads(1)
    # A fork has only the thread that calls it.
    tqdm.tqdm.monitor_interval = 0
    try:
        import jscatter  # noqa: F401

        found = ExplorerSource.open(settings["run"], settings["catalogue"], settings["split"])
        _ = found.index
        for run in settings.get("compare", ()):
            other = ExplorerSource.open(run, settings["catalogue"], settings["split"])
            _ = other.index
            others.append(other)
        source = found
    except USER_ERRORS as problem:
        error = str(problem) or type(problem).__name__
    # Objects that are never collected keep their memory pages shared.
    gc.collect()
    gc.freeze()


def draw_map() -> None:
    """Compute the map that the embedding panel shows first, at low priority, unless it is stored.

    Raises ValueError for fewer than 5 products.
    """
    projections, view = Projections(source), MapView("best", "product", "umap")
    if not projections.has(view):
        maps.compute_beside(projections.path(view), projections.points(view).unit_PD)


def page() -> ServedPage:
    """Return the page of a kernel, with the view that is in its address (QUERY_STRING).

    Raises ValueError if run and products could not be loaded.
    """
    require(source is not None, error)
    return ServedPage(source, settings, os.environ.get("QUERY_STRING", ""), others)


if settings:
    load()
    if kernels.CAN_FORK:
        # Without the libraries' reports about objects that are left at the end.
        atexit.register(os._exit, 0)
