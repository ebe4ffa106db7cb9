"""Downstream tasks: average precision, bootstrap, long tail, clusters (notebook 14).

C classes, K places of a ranked list or numbers of clusters, N products, Q queries, R resamples.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from scale.evaluation.bootstrap import LEVEL, RESAMPLES, Estimate, draw_weights, estimate
from scale.evaluation.clustering import NAMES, agreement, cluster
from scale.evaluation.embed import embed_dataset
from scale.evaluation.metrics import Denominator, average_precision_at_k
from scale.evaluation.probes import Classification, Examples, linear_probe
from scale.evaluation.retrieval import ProductArrays, category_retrieval, subset_retrievals
from scale.modalities import MODALITIES, subset_name
from scale.model.scale import ScaleModel
from scale.viz.charts import dot, framed, lay_flat, narrow_title
from scale.viz.embeddings import product_vectors
from scale.viz.registry import Sources, figure, shared
from scale.viz.theme import HIT, NEGATIVE, POSITIVE, drawn, new_figure, points, shade, tint
from scale.viz.words import LANG, Language, label

Floats = NDArray[np.float64]

DIVISORS: dict[Denominator, str] = {
    "relevant": "dn_relevant",
    "min(k, relevant)": "dn_min",
    "hits": "dn_hits",
}
"""Label of each denominator, in drawing order."""


@figure("ap_denominators")
def one_list(lang: Language = LANG) -> Figure:
    """Draw `ap_denominators` of a list with hits at ranks 1, 3, 6 and 8 relevant items."""
    return ap_denominators({label("dn_one", lang): (1, 0, 1, 0, 0, 1, 0, 0, 0, 0)}, 8, lang)


@figure("ap_two_systems")
def two_systems(lang: Language = LANG) -> Figure:
    """Draw `ap_denominators` of two lists whose order depends on the denominator."""
    lists = {"A": (1, 0, 0, 0, 0), "B": (0, 1, 1, 1, 1)}
    named = {label("dn_system", lang, name=name): rel_K for name, rel_K in lists.items()}
    return ap_denominators(named, 5, lang)


@drawn
def ap_denominators(
    rankings: Mapping[str, Sequence[bool]], relevant: int, lang: Language = LANG, k: int = 5
) -> Figure:
    """Draw ranked lists, the precision along each, and AP@k with three denominators.

    Args:
        rankings: relevance of the item at each rank, by name of the list.
        relevant: number of relevant items in the gallery, the same for all lists.
    """
    figure = new_figure(9.4, 2.35 * len(rankings) + 0.5)
    grid = figure.subplots(len(rankings), 2, width_ratios=(1.7, 1), squeeze=False)
    for (curve, bars), (name, rel_K) in zip(grid, rankings.items(), strict=True):
        rel_K = np.asarray(rel_K, dtype=bool)
        _precision_curve(curve, rel_K, k, lang)
        curve.set_title(label("dn_list", lang, name=name, relevant=relevant))
        _denominator_bars(bars, rel_K, relevant, k, lang)
    grid[-1, 0].set_xlabel(label("dn_rank", lang))
    grid[0, 1].set_title(narrow_title(label("dn_ap_title", lang, k=k), 110))
    return figure


def _precision_curve(axes: Axes, rel_K: NDArray[np.bool_], k: int, lang: Language) -> None:
    place_K = np.arange(1, len(rel_K) + 1)
    precision_K = np.cumsum(rel_K) / place_K
    axes.plot(place_K, precision_K, color=shade(0.5), lw=points(1.2), zorder=2)
    for place, hit, precision in zip(place_K, rel_K, precision_K, strict=True):
        face, edge = (tint(HIT, 0.25), HIT) if hit else (shade(0.03), shade(0.35))
        style = {"facecolor": face, "edgecolor": edge, "linewidth": points(1.4)}
        axes.add_patch(Rectangle((place - 0.36, 1.26), 0.72, 0.3, **style))
        mark = {"ha": "center", "va": "center", "fontsize": points(11), "fontweight": "bold"}
        axes.text(place, 1.41, "✓" if hit else "", color=HIT, **mark)
        look = {"color": HIT if hit else shade(0.0), "edgecolor": HIT if hit else shade(0.5)}
        axes.scatter(place, precision, s=points(5.5) ** 2, zorder=3, **look)
        if hit and place <= k:
            text = {"ha": "center", "va": "bottom", "fontsize": points(8), "color": HIT}
            axes.text(place, min(precision + 0.07, 1.05), f"{precision:.2f}", **text)
    if len(rel_K) > k:
        axes.axvspan(k + 0.5, len(rel_K) + 0.5, color=shade(0.06), linewidth=0, zorder=0)
        far = {"ha": "center", "va": "center", "fontsize": points(8), "color": shade(0.6)}
        axes.text((k + len(rel_K) + 1) / 2, 0.93, label("dn_beyond", lang, k=k), **far)
    axes.set(xlim=(0.5, len(rel_K) + 0.5), ylim=(0, 1.62), xticks=place_K)
    axes.set_yticks([0, 0.5, 1.0])
    axes.set_ylabel(label("dn_precision", lang))


def _denominator_bars(
    axes: Axes, rel_K: NDArray[np.bool_], relevant: int, k: int, lang: Language
) -> None:
    counts = {"relevant": relevant, "min(k, relevant)": min(k, relevant), "hits": rel_K[:k].sum()}
    values = [
        average_precision_at_k(rel_K[None], np.array([relevant]), k, denominator).item()
        for denominator in DIVISORS
    ]
    colours = (shade(0.6), POSITIVE, NEGATIVE)
    found = axes.barh(range(len(values)), values, height=0.62, color=colours)
    axes.bar_label(found, fmt="{:.2f}", padding=3, fontsize=points(9), fontweight="bold")
    names = [label(key, lang, n=counts[d]) for d, key in DIVISORS.items()]
    axes.set_yticks(range(len(names)), names)
    axes.set(xlim=(0, 1.16), ylim=(len(names) - 0.5, -0.5), xticks=[0, 0.5, 1])
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def resampled_means(value_Q: ArrayLike, seed: int = 0) -> Floats:
    """Return mean_R of R resampled sets of queries, with the draws of `bootstrap.estimate`."""
    value_Q = np.asarray(value_Q, dtype=float)
    draws = [w_RQ @ value_Q for w_RQ in draw_weights(len(value_Q), seed, RESAMPLES)]
    return np.concatenate(draws) / len(value_Q)


@drawn
def bootstrap_figure(
    a_Q: ArrayLike,
    b_Q: ArrayLike,
    names: tuple[str, str] | None = None,
    lang: Language = LANG,
    seed: int = 0,
) -> Figure:
    """Draw values per query, resampled means, and paired and unpaired differences of systems.

    Args:
        a_Q, b_Q: values of two systems for the same queries.
        names: of the systems; None: all five modalities, and all but the picture.

    Raises ValueError if the numbers of queries differ.
    """
    import seaborn

    a_Q, b_Q = np.asarray(a_Q, dtype=float), np.asarray(b_Q, dtype=float)
    if a_Q.shape != b_Q.shape:
        raise ValueError(f"values of {a_Q.shape} and {b_Q.shape} queries")
    names = names or (label("dn_five", lang), label("dn_four", lang))
    figure = new_figure(10.4, 3.3)
    each, means, differences = figure.subplots(1, 3)
    look = {"color": tint(POSITIVE, 0.55), "edgecolor": POSITIVE, "alpha": 1}
    seaborn.histplot(a_Q, bins=np.linspace(0, 1, 21), ax=each, **look)
    each.axvline(a_Q.mean(), color=shade(1.0), lw=points(1.6))
    each.set(xlabel=label("dn_ap", lang), ylabel=label("dn_queries", lang))
    each.set_title(label("dn_each", lang, n=len(a_Q), mean=a_Q.mean()))
    _interval(means, resampled_means(a_Q, seed), POSITIVE, "")
    means.set(xlabel=label("dn_mean", lang), ylabel=label("dn_resamples", lang))
    means.set_title(label("dn_means", lang, n=RESAMPLES))
    apart_R = resampled_means(a_Q, seed) - resampled_means(b_Q, seed + 1)
    _interval(differences, apart_R, shade(0.55), label("dn_unpaired", lang))
    _interval(differences, resampled_means(a_Q - b_Q, seed), POSITIVE, label("dn_paired", lang))
    differences.axvline(0, 0, 0.64, color=shade(1.0), lw=points(1.0), dashes=(3, 2))
    differences.set(xlabel=label("dn_difference", lang, a=names[0], b=names[1]))
    differences.set_title(narrow_title(label("dn_two_ways", lang), 130))
    low, high = differences.get_ylim()
    differences.set_ylim(low, 1.5 * high)
    differences.legend(loc="upper left")
    return figure


def _interval(axes: Axes, draws_R: Floats, colour: str, name: str) -> None:
    """Draw a histogram of resampled values with lines at the ends of its interval."""
    import seaborn

    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws_R, [tail, 100 - tail])
    text = f"{name} [{low:.2f}, {high:.2f}]".strip().replace("-", "−")
    style = {"element": "step", "alpha": 0.4, "color": colour, "label": text, "linewidth": 0}
    seaborn.histplot(draws_R, bins=30, ax=axes, **style)
    axes.set_ylabel("")
    for end in (low, high):
        axes.axvline(end, 0, 0.64 if name else 1.0, color=colour, lw=points(1.4))
    if not name:
        top = axes.get_ylim()[1]
        axes.set_ylim(0, 1.2 * top)
        middle = {"ha": "center", "va": "center", "fontsize": points(9), "color": colour}
        axes.text((low + high) / 2, 1.1 * top, text, fontweight="bold", **middle)


RETRIEVAL = ("mAP@1", "mAP@5", "Recall@10")
PROBE = ("accuracy", "macro-F1")
RANDOM_DRAWS = 20
"""Number of random clusterings averaged for the chance level."""


def class_f1(true_N: Sequence[str], predicted_N: Sequence[str]) -> dict[str, float]:
    """Return F1 of each class that is true or predicted, by name."""
    from sklearn.metrics import f1_score

    names = np.union1d(true_N, predicted_N)
    f1_C = f1_score(true_N, predicted_N, labels=names, average=None)
    return {str(name): float(f1) for name, f1 in zip(names, f1_C, strict=True)}


def purity_curves(
    emb_ND: NDArray[np.float32],
    categories: Sequence[str],
    clusters_K: Sequence[int],
    seed: int = 0,
) -> dict[str, dict[str, Floats]]:
    """Return NMI, ARI and purity of k-means (`trained`) and of random clusters (`chance`) by k.

    Random clusters have the sizes of the k-means clusters; the mean of 20 draws.
    """
    from sklearn.cluster import KMeans

    class_N = np.unique(categories, return_inverse=True)[1]
    ones_1N, rng = np.ones((1, len(class_N)), dtype=np.int64), np.random.default_rng(seed)
    curves = {stage: {name: [] for name in NAMES} for stage in ("trained", "chance")}
    for k in clusters_K:
        cluster_N = KMeans(k, n_init=3, random_state=seed).fit_predict(emb_ND)
        found = agreement(ones_1N, cluster_N, class_N)
        draws = [
            agreement(ones_1N, rng.permutation(cluster_N), class_N) for _ in range(RANDOM_DRAWS)
        ]
        for name in NAMES:
            curves["trained"][name].append(found[name].item())
            curves["chance"][name].append(np.mean([drawn[name] for drawn in draws]))
    return {s: {name: np.array(v) for name, v in by.items()} for s, by in curves.items()}


def task_estimates(
    emb: Mapping[str, NDArray[np.float32]],
    ids: Sequence[str],
    categories: Sequence[str],
    probes: Mapping[str, Classification],
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """Return metric -> stage -> estimate for retrieval by category, the probe, and k-means.

    Args:
        emb: emb_ND by stage; `trained` is required and gives the chance levels.
        probes: linear probe by stage; its majority class is the chance level.
    """
    tasks: dict[str, dict[str, Estimate]] = {m: {} for m in (*RETRIEVAL, *PROBE, *NAMES)}
    for stage, emb_ND in emb.items():
        found = category_retrieval(emb_ND, emb_ND, categories, categories, ids, ids)
        groups = cluster(emb_ND, list(categories), seed)
        for metric in RETRIEVAL:
            tasks[metric][stage] = estimate(found.values[metric], seed)
            tasks[metric]["chance"] = estimate(found.chance[metric], seed)
        for metric in PROBE:
            tasks[metric][stage] = probes[stage].scores[metric]
            tasks[metric]["chance"] = probes[stage].majority[metric]
        for metric in NAMES:
            tasks[metric][stage] = groups.scores[metric]
            if stage == "trained":
                tasks[metric]["chance"] = groups.chance[metric]
    return tasks


UNTRAINED = NEGATIVE
"""Colour of the untrained model, as in `retrieval_bars`."""
WORDS = {"accuracy": "dn_accuracy", "macro-F1": "dn_macro", "purity": "dn_purity"}
"""Labels of metrics that are words; abbreviations are not translated."""


def metric_name(metric: str, lang: Language) -> str:
    """Return the name of a metric in a figure."""
    return label(WORDS[metric], lang) if metric in WORDS else metric


@drawn
def tail_scores(
    names: Sequence[str],
    train_C: ArrayLike,
    f1_C: ArrayLike,
    scores: Mapping[str, float],
    lang: Language = LANG,
) -> Figure:
    """Draw training products per class (bars, largest first) and test F1 per class (dots).

    Args:
        scores: `accuracy` and `macro-F1`, drawn as lines.

    Raises ValueError if the lists differ in length.
    """
    train_C, f1_C = np.asarray(train_C), np.asarray(f1_C, dtype=float)
    if not len(names) == len(train_C) == len(f1_C):
        raise ValueError(f"{len(names)} names, {len(train_C)} counts, {len(f1_C)} values of F1")
    order_C = np.lexsort((np.asarray(names), -train_C))
    figure = new_figure(max(6.0, 0.26 * len(names) + 1.4), 4.0)
    counts, marks = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.5))
    x_C = np.arange(len(names))
    counts.bar(x_C, train_C[order_C], width=0.7, color=shade(0.4))
    counts.set(ylabel=label("dn_train", lang))
    counts.set_title(label("dn_tail", lang))
    marks.vlines(x_C, 0, f1_C[order_C], color=shade(0.25), lw=points(1.0))
    marks.plot(x_C, f1_C[order_C], "o", color=POSITIVE, ms=points(5))
    for key, dashes in (("accuracy", ()), ("macro-F1", (4, 2))):
        text = label("dn_line", lang, name=metric_name(key, lang), value=scores[key])
        marks.axhline(scores[key], color=NEGATIVE, lw=points(1.4), dashes=dashes, label=text)
    marks.set(ylabel=label("dn_f1", lang), ylim=(-0.04, 1.06), xlim=(-0.6, len(names) - 0.4))
    marks.set_xticks(x_C, [names[c] for c in order_C], rotation=90, fontsize=points(7.5))
    marks.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    return figure


@drawn
def purity_figure(
    clusters_K: Sequence[int],
    curves: Mapping[str, Mapping[str, ArrayLike]],
    categories: int,
    lang: Language = LANG,
) -> Figure:
    """Draw NMI, ARI and purity against the number of clusters; a line marks `categories`.

    Args:
        curves: `trained` and `chance` (random clusters of the same sizes) -> measure -> value_K.
    """
    measures = list(next(iter(curves.values())))
    figure = new_figure(3.3 * len(measures), 3.2)
    looks = {
        "trained": {"color": POSITIVE, "marker": "o"},
        "chance": {"color": shade(0.6), "marker": "s", "dashes": (3, 2)},
    }
    for axes, measure in zip(figure.subplots(1, len(measures)), measures, strict=True):
        for stage, by_measure in curves.items():
            style = looks[stage] | {"ms": points(4), "label": label(stage, lang)}
            axes.plot(clusters_K, np.asarray(by_measure[measure]), **style)
        axes.axvline(categories, color=NEGATIVE, lw=points(1.0), dashes=(2, 2))
        axes.set(xscale="log", ylim=(-0.05, 1.08), xlabel=label("dn_k", lang))
        axes.set_title(metric_name(measure, lang))
        ticks = [k for k in (2, 5, 10, 20, 50, 100) if k <= max(clusters_K)]
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.set_xticks([], minor=True)
    figure.axes[-1].legend(loc="upper left")
    note = {"ha": "right", "va": "bottom", "fontsize": points(7.5), "color": NEGATIVE}
    text = label("dn_categories", lang, n=categories)
    figure.axes[0].text(categories * 0.93, 0.0, text, **note)
    return figure


@drawn
def task_figure(
    results: Mapping[str, Mapping[str, Estimate | None]], lang: Language = LANG
) -> Figure:
    """Draw chance, untrained and trained with intervals, a row per metric.

    Args:
        results: metric -> stage (`chance`, `untrained`, `trained`) -> estimate; None is skipped.
    """
    figure = new_figure(7.6, 0.46 * len(results) + 1.7)
    axes = figure.subplots()
    looks = {
        "chance": {"color": shade(0.55), "marker": "|", "ms": points(11), "mew": points(2)},
        "untrained": {"color": UNTRAINED, "marker": "D"},
        "trained": {"color": POSITIVE, "marker": "o"},
    }
    for y, by_stage in enumerate(results.values()):
        for shift, (stage, look) in zip((0.0, 0.16, -0.16), looks.items(), strict=True):
            if found := by_stage.get(stage):
                # Chance is exact here; its interval would hide the others.
                shown = replace(found, low=None, high=None) if stage == "chance" else found
                dot(axes, y + shift, shown, **look)
    axes.set_yticks(range(len(results)), [metric_name(m, lang) for m in results])
    axes.set(ylim=(len(results) - 0.5, -0.5), xlim=(-0.04, None))
    lay_flat(axes)
    handles = [
        Line2D([], [], ls="none", label=label(stage, lang), **look) for stage, look in looks.items()
    ]
    return framed(figure, label("dn_tasks", lang), label("dn_tasks_note", lang), handles)


CLUSTERS = (2, 5, 10, 20, 34, 60, 100, 146)
METRIC = "mAP@5"


@figure("bootstrap")
def _draw_bootstrap(sources: Sources, lang: Language) -> Figure:
    features = embed_dataset(sources.run.model, sources.test, progress=False)
    found = subset_retrievals(ProductArrays.of(sources.test, features), "same", ks=(5,))
    every = found[subset_name(MODALITIES)]
    without = found[subset_name(tuple(m for m in MODALITIES if m != "image"))]
    _, in_every, in_other = np.intersect1d(every.rows_Q, without.rows_Q, return_indices=True)
    a_Q, b_Q = every.values[METRIC][in_every], without.values[METRIC][in_other]
    valid_Q = ~np.isnan(a_Q + b_Q)
    return bootstrap_figure(a_Q[valid_Q], b_Q[valid_Q], None, lang, sources.seed)


@shared
def _probe(sources: Sources, stage: str) -> tuple[Classification, dict[str, list[str]]]:
    """Return the linear probe of the run's model at a stage, and the categories by split."""
    examples, labels, model = [], {}, sources.models()[stage]
    for split in ("train", "val", "test"):
        data = sources.split(split)
        emb_ND, _, labels[split] = product_vectors(model, data)
        examples.append(Examples(emb_ND, labels[split]))
    return linear_probe(*examples, seed=sources.seed), labels


@figure("long_tail_f1")
def _draw_tail_scores(sources: Sources, lang: Language) -> Figure:
    probe, labels = _probe(sources, "trained")
    known = [category for category in labels["test"] if category is not None]
    f1 = class_f1(known, probe.predicted)
    sizes = Counter(labels["train"])
    values = {name: found.value for name, found in probe.scores.items()}
    return tail_scores(list(f1), [sizes[c] for c in f1], list(f1.values()), values, lang)


def _labelled(model: ScaleModel, sources: Sources) -> tuple[np.ndarray, list[str], list[str]]:
    """Return emb_ND, ids and categories of the test products that have a category."""
    emb_ND, ids, categories = product_vectors(model, sources.test)
    rows = [row for row, category in enumerate(categories) if category is not None]
    return emb_ND[rows], [ids[row] for row in rows], [categories[row] for row in rows]


@figure("purity")
def _draw_purity(sources: Sources, lang: Language) -> Figure:
    return purity_figure(*_purity(sources), lang)


@shared
def _purity(sources: Sources) -> tuple[list[int], dict, int]:
    """Return the numbers of clusters, the curves and the number of categories."""
    emb_ND, _, categories = _labelled(sources.run.model, sources)
    clusters_K = [k for k in CLUSTERS if k <= len(categories)]
    curves = purity_curves(emb_ND, categories, clusters_K, sources.seed)
    return clusters_K, curves, len(set(categories))


@figure("downstream_tasks")
def _draw_tasks(sources: Sources, lang: Language) -> Figure:
    return task_figure(_task_estimates(sources), lang)


@shared
def _task_estimates(sources: Sources) -> dict:
    emb, probes = {}, {}
    for stage, model in sources.models().items():
        emb[stage], ids, categories = _labelled(model, sources)
        probes[stage] = _probe(sources, stage)[0]
    return task_estimates(emb, ids, categories, probes, sources.seed)
