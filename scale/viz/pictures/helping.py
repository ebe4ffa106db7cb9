"""Pictures of notebook 12: which modality helps."""

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scale.evaluation.bootstrap import estimates
from scale.evaluation.embed import embed_dataset
from scale.evaluation.tables import ProductArrays, subset_retrievals
from scale.modalities import MODALITIES, subset_name
from scale.model.scale import ScaleModel
from scale.seeding import derived_seed
from scale.studies.retention import EMPTY_SUBSET, marginal_contributions, shapley
from scale.studies.statistics import seed_interval
from scale.viz.illustrations.contributions import added_modalities, shapley_figure
from scale.viz.registry import Sources, figure
from scale.viz.retrieval import retrieval_bars
from scale.viz.words import Language

METRIC = "mAP@5"
ALL = subset_name(MODALITIES)
PREFIXES = tuple(subset_name(MODALITIES[:count]) for count in range(1, len(MODALITIES) + 1))

Values = dict[str, NDArray[np.float64]]
"""value_Q by written subset, of the same queries; EMPTY: chance."""


def subset_values(model: ScaleModel, sources: Sources) -> Values:
    """mAP@5 of the complete test products, asked by each subset; the gallery shows all it has."""
    complete = sources.test.subset(np.flatnonzero(sources.test.present_NM.all(axis=1)))
    products = ProductArrays.of(complete, embed_dataset(model, complete, progress=False))
    found = subset_retrievals(products, "full", ks=(5,))
    values = {subset: one.values[METRIC] for subset, one in found.items()}
    values[EMPTY_SUBSET] = found[ALL].chance[METRIC]
    asked_Q = ~np.isnan(values[ALL])
    return {subset: value_Q[asked_Q] for subset, value_Q in values.items()}


@figure("subset_bars")
def _draw_bars(sources: Sources, lang: Language) -> Figure:
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(sources.seed))
        untrained = ScaleModel(sources.run.config.model, sources.run.config.missing)
    tree = {}
    for kind, model in (("trained", sources.run.model), ("untrained", untrained)):
        found = estimates(subset_values(model, sources), sources.seed)
        chance = found.pop(EMPTY_SUBSET)
        tree[kind] = {subset: {METRIC: one.to_dict()} for subset, one in found.items()}
    tree["chance"] = {subset: {METRIC: chance.to_dict()} for subset in tree["trained"]}
    return retrieval_bars(tree, lang, METRIC)


@figure("shapley")
def _draw_shapley(sources: Sources, lang: Language) -> Figure:
    values = subset_values(sources.run.model, sources)
    steps = {m: dict(enumerate(parts)) for m, parts in marginal_contributions(values).items()}
    found = estimates({(m, k): step_Q for m in steps for k, step_Q in steps[m].items()})
    intervals = {m: [found[m, k] for k in steps[m]] for m in steps}
    ends = values[EMPTY_SUBSET].mean(), values[ALL].mean()
    return shapley_figure(intervals, estimates(shapley(values)), ends, lang, METRIC)


@figure("added_modalities")
def _draw_added(sources: Sources, lang: Language) -> Figure:
    _, records = sources.finished("modalities")

    def told(trained_with: str, metric: str):
        value_S = [
            record.figures["held out"][metric]
            for record in records
            if record.factors == {"modalities": trained_with}
        ]
        return seed_interval(np.array(value_S, dtype=float))

    trained = [told(prefix, METRIC) for prefix in PREFIXES]
    return added_modalities(trained, [told(ALL, f"{METRIC} {p}") for p in PREFIXES], lang, METRIC)
