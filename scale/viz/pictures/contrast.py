"""Pictures of notebook 01."""

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
from scale.viz.pictures.sources import Picture, Sources


def _tables(sources: Sources):
    seen = sources.run.dataset(sources.catalogue, "train")
    return tables_of(sources.run, seen, sources.test)


PICTURES: dict[str, Picture] = {
    "contrastive_idea": lambda _, lang: contrastive_idea(lang),
    "pull_and_push": lambda _, lang: pull_and_push(lang),
    "info_nce_table": lambda _, lang: info_nce_table(lang=lang),
    "temperature": lambda _, lang: temperature(lang),
    "batch_size": lambda _, lang: batch_size(lang),
    "false_negatives": lambda _, lang: false_negatives(lang),
    "alignment_uniformity": lambda _, lang: alignment_uniformity(lang),
    "collapse": lambda _, lang: collapse(lang),
    "batch_table": lambda s, lang: batch_table(_tables(s), lang),
}
