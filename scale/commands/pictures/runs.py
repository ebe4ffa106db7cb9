"""Pictures of a trained run and its products."""

from scale.commands.figures import (
    draw_map,
    draw_scores,
    draw_scores_over_time,
    draw_sheet,
    most_complete,
)
from scale.commands.pictures.sources import Picture
from scale.training.log import read_metrics
from scale.viz.products import product_card
from scale.viz.training import loss_curves

ROWS = 3
"""Of the retrieval sheets: as many as a slide shows large enough."""

PICTURES: dict[str, Picture] = {
    "product": lambda s, lang: product_card(s.test.products[most_complete(s.test)], lang),
    "scores": lambda s, lang: draw_scores(s.run, s.test, most_complete(s.test), lang),
    "scores_over_time": lambda s, lang: draw_scores_over_time(s.run, lang),
    "losses": lambda s, lang: loss_curves(read_metrics(s.run.folder.folder), lang),
    "retrieval_sheet": lambda s, lang: draw_sheet(s.run, s.test, lang, s.seed, rows=ROWS),
    "retrieval_sheet_text": lambda s, lang: draw_sheet(
        s.run, s.test, lang, s.seed, asked=("text",), shown=("image",), rows=ROWS
    ),
    "embedding_map": lambda s, lang: draw_map(s.run, s.test, lang, s.seed),
}
