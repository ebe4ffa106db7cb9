"""Pictures of notebook 01."""

from matplotlib.figure import Figure

from scale.viz.illustrations.contrastive import (
    alignment_uniformity,
    collapse,
    false_negatives,
    pull_and_push,
)
from scale.viz.illustrations.contrastive_idea import contrastive_idea
from scale.viz.illustrations.info_nce import (
    batch_size,
    batch_table,
    info_nce_table,
    tables_of,
    temperature,
)
from scale.viz.registry import Sources, figure
from scale.viz.words import Language


def _tables(sources: Sources):
    seen = sources.run.dataset(sources.catalogue, "train")
    return tables_of(sources.run, seen, sources.test)


@figure("batch_table")
def draw_batch_table(sources: Sources, lang: Language) -> Figure:
    tables = tables_of(sources.run, sources.train, sources.test)
    return batch_table(tables, lang)


for _drawing in (
    contrastive_idea, pull_and_push, info_nce_table, temperature, batch_size, false_negatives,
    alignment_uniformity, collapse,
):  # fmt: skip
    figure(_drawing.__name__)(_drawing)
