"""Pictures of a trained run and its products."""

from matplotlib.figure import Figure

from scale.strict import require
from scale.training.logging import read_metrics
from scale.viz.pictures.run_pictures import (
    draw_map,
    draw_scores,
    draw_scores_over_time,
    draw_sheet,
    most_complete,
)
from scale.viz.pictures.sources import Picture, Sources
from scale.viz.products import product_card
from scale.viz.training import loss_curves
from scale.viz.words import Language

ROWS = 3
"""Of the retrieval sheets: as many as a slide shows large enough."""


def _losses(sources: Sources, lang: Language) -> Figure:
    folder = sources.run.folder.folder
    lines = read_metrics(folder)
    require(bool(lines), f"{folder}: no logged losses")
    return loss_curves(lines, lang)


PICTURES: dict[str, Picture] = {
    "product": lambda s, lang: product_card(s.test.products[most_complete(s.test)], lang),
    "scores": lambda s, lang: draw_scores(s.run, s.test, most_complete(s.test), lang),
    "scores_over_time": lambda s, lang: draw_scores_over_time(s.run, lang),
    "losses": _losses,
    "retrieval_sheet": lambda s, lang: draw_sheet(s.run, s.test, lang, s.seed, rows=ROWS),
    "retrieval_sheet_text": lambda s, lang: draw_sheet(
        s.run, s.test, lang, s.seed, asked=("text",), shown=("image",), rows=ROWS
    ),
    "embedding_map": lambda s, lang: draw_map(s.run, s.test, lang, s.seed),
}
