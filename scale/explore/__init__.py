"""Interactive panels over a trained model, for JupyterLab and Voilà; everything works offline.

`explore` returns all panels as tabs of one widget. Each panel has a module (`scores`, `masking`,
`embeddings`, `monitor`), the first three with their HTML in `*_views`. Parts of panels:
`loss_terms` and `cell_views` (losses that S' weights, explanations of its cells), `stories`,
`attention` (of the joint transformer), `what_if` (other contents of a product). Shared: `panel`
(base class and controls), `markup` (tables, bars and media as HTML), `source` (run and products).
`static` has precomputed panels that need no kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazy_loader import attach

__getattr__, _, __all__ = attach(
    __name__,
    submod_attrs={
        "embeddings": ["EmbeddingExplorer"],
        "masking": ["MaskingExplorer"],
        "monitor": ["TrainingMonitor"],
        "page": ["ExplorerPage"],
        "scores": ["ScoreExplorer"],
        "source": ["ExplorerSource"],
        "static": ["static_map", "static_scores"],
    },
)
__all__.append("explore")


def __dir__() -> list[str]:
    return sorted(__all__)


def explore(
    run: Any,
    catalogue: Any,
    split: str | None = "test",
    lang: str | None = None,
    others: Sequence[Any] = (),
) -> Any:
    """Return all panels of a run as the tabs of one widget (`page.ExplorerPage`).

    A tab is built when it is first selected.

    Args:
        run: a `TrainedRun` or the path of a run folder.
        catalogue: a `Catalogue` or the path of a catalogue folder.
        split: shown products: `train`, `val`, `test`, or None for all.
        lang: language of the labels, `en` or `zh`; by default that of SCALE_LANG, else English.
        others: other runs, whose models can be shown beside this one in scores and masking.

    Raises:
        ImportError: ipywidgets, anywidget or jupyter-scatter is missing.
    """
    from scale.explore.page import ExplorerPage
    from scale.explore.source import ExplorerSource
    from scale.viz.words import LANG

    beside = [ExplorerSource.open(other, catalogue, split) for other in others]
    return ExplorerPage(run, catalogue, split, lang or LANG, others=beside)
