"""results.json: all results as one tree, with definitions and provenance, or as a data frame.

Q queries.
"""

import json
import math
import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scale.evaluation import baselines, clustering, probes, retrieval
from scale.evaluation.bootstrap import (
    Estimate,
    category_codes,
    estimate_items,
    mean_of_means,
    paired_difference,
)
from scale.evaluation.clustering import Clustering
from scale.evaluation.probes import Classification
from scale.evaluation.retrieval import (
    DIRECTIONS,
    KS,
    ProductArrays,
    Retrieval,
    RetrievalTables,
    by_pattern,
)
from scale.files import escape_formula, write_whole
from scale.modalities import MODALITIES, subset_name

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of the package `scale`."""
STAGES = ("chance", "majority", "untrained", "handmade", "frozen", "trained")
BOUNDS = ("category_low", "category_high")
COLUMNS = ("task", "model", "item", "metric", "value", "low", "high", "n", *BOUNDS)
ALL = subset_name(MODALITIES)
MEAN = "mean over directions"

DEFINITIONS = {
    **retrieval.DEFINITIONS,
    **probes.DEFINITIONS,
    **clustering.DEFINITIONS,
    **baselines.DEFINITIONS,
    "retrieval.category": "query and gallery by the same subset of modalities",
    "retrieval.category_full_gallery": "query by the subset, gallery by all modalities",
    "retrieval.category_by_pattern": "query and gallery by all modalities; queries grouped by the "
    "modalities that they have",
    "retrieval.differences": "paired over the queries of both; first minus second",
    "retrieval.instance_mean": "mean over the directions between two modalities that have a query "
    "(up to 20) of the mean over the queries of each; percentile bootstrap over products, each "
    "with all of its queries; n counts products",
    "retrieval.instance_differences": "trained minus another stage, over the same queries: by "
    f"direction, and their mean ({MEAN}) as in instance_mean",
    "category interval": "percentile bootstrap over the categories of the queries, each with all "
    "of its queries; a query without a category is one of its own. For retrieval only: macro-F1 "
    "and the agreement of clusters are computed by category themselves",
    "imputation": "query by the feature of the item's modality predicted from the product's other "
    "modalities (imputed: by the JCT; mean_of_others: mean of their unit features), gallery the "
    "real features of that modality; instance retrieval",
    "retrieval.counts": "queries and gallery items used, and the number left out by reason",
}


def retrieval_results(
    stages: dict[str, ProductArrays],
    seed: int = 0,
    ks: Sequence[int] = KS,
    baselines: dict[str, RetrievalTables] | None = None,
) -> dict[str, Any]:
    """Return the `retrieval` part of results.json.

    Args:
        stages: `trained` and, if available, `untrained`: the same products with the features of
            each model. Chance is added.
        baselines: retrievals of the same products by other features, e.g. `handmade`.

    Raises:
        ValueError: the stages have different products.
    """
    first = next(iter(stages.values()))
    if any(list(products.ids) != list(first.ids) for products in stages.values()):
        raise ValueError("the stages to compare have different products")
    tables = {s: RetrievalTables.of(products, ks) for s, products in stages.items()}
    tables |= baselines or {}
    tables = {s: tables[s] for s in sorted(tables, key=lambda s: s == "trained")}
    same, full = {s: t.same for s, t in tables.items()}, {s: t.full for s, t in tables.items()}
    instance = {s: t.instance for s, t in tables.items()}
    code_N = category_codes(first.labels)
    patterns = {s: by_pattern(r[ALL], first.present_NM, seed, code_N) for s, r in same.items()}
    return {
        "category": _with_chance(same, code_N, seed),
        "category_full_gallery": _with_chance(full, code_N, seed),
        "category_by_pattern": patterns,
        "instance": _with_chance(instance, code_N, seed),
        "instance_mean": _direction_means(instance, code_N, seed),
        "differences": _differences(same, code_N, seed),
        "instance_differences": _direction_differences(instance, code_N, seed),
        "counts": {
            "category": _counts(same),
            "category_full_gallery": _counts(full),
            "instance": _counts(instance),
        },
    }


def list_retrieval_results(
    same: dict[str, dict[str, Retrieval]],
    full: dict[str, dict[str, Retrieval]],
    labels: Sequence[str | None],
    seed: int = 0,
) -> dict[str, Any]:
    """Return the `retrieval` part for queries and a gallery that are different products.

    same, full: `evaluation.retrieval.subset_retrievals` with `items`, by stage; labels: of the
    queries.
    """
    code_N = category_codes(labels)
    return {
        "category": _with_chance(same, code_N, seed),
        "category_full_gallery": _with_chance(full, code_N, seed),
        "differences": _differences(same, code_N, seed),
        "counts": {"category": _counts(same), "category_full_gallery": _counts(full)},
    }


def imputation_results(
    stages: dict[str, dict[str, dict[str, Retrieval]]], labels: Sequence[str | None], seed: int = 0
) -> dict[str, Any]:
    """Return the `imputation` part: by query (`imputed`, `mean_of_others`), stage and modality.

    `stages`: `evaluation.imputation.imputed_retrievals` of each model; `labels`: of the products.
    """
    code_N, queries = category_codes(labels), next(iter(stages.values()))
    return {
        query: _with_chance({stage: found[query] for stage, found in stages.items()}, code_N, seed)
        for query in queries
    }


def classification_results(
    methods: dict[str, dict[str, Classification]], seed: int = 0
) -> dict[str, Any]:
    """Return the `classification` part: by method (`linear_probe`, `fine_tuning`) and stage."""
    tree: dict[str, Any] = {}
    for method, by_stage in methods.items():
        last = list(by_stage.values())[-1]
        tree[method] = {"majority": last.majority}
        tree[method] |= {stage: result.scores for stage, result in by_stage.items()}
        tree[method] |= {"counts": last.counts}
        tree[method] |= {"settings": {stage: r.settings for stage, r in by_stage.items()}}
        if differences := _accuracy_differences(by_stage, seed):
            tree[method] |= {"differences": {"trained": differences}}
    return tree


def clustering_results(stages: dict[str, Clustering]) -> dict[str, Any]:
    """Return the `clustering` part, by stage; chance is that of the last stage's clusters."""
    last = list(stages.values())[-1]
    products = int((last.cluster_N >= 0).sum())
    counts = {"products": products, "unlabelled": len(last.cluster_N) - products}
    by_stage = {stage: result.scores for stage, result in stages.items()}
    return {"chance": last.chance, **by_stage, "counts": counts | {"clusters": last.clusters}}


def provenance(seed: int, started: float, device: str = "cpu") -> dict[str, Any]:
    """Return seed, versions, commit, device and run time of a result.

    Args:
        started: `time.perf_counter()` at the start.
        device: name, e.g. `cpu` or that of a GPU.

    Returns:
        seed, versions, commit, dirty (whether the checkout differs from the commit; both None if
        the package is not the root of a git checkout), device, seconds.
    """
    names = ("torch", "numpy", "timm", "transformers")
    from scale import __version__

    versions = {"python": platform.python_version(), "scale": __version__}
    versions |= {name: _version(name) for name in names}
    commit, dirty = _commit()
    return {
        "seed": seed,
        "versions": versions,
        "commit": commit,
        "dirty": dirty,
        "device": device,
        "seconds": round(time.perf_counter() - started, 3),
    }


def write_json(path: str | Path, tree: dict[str, Any]) -> None:
    """Write results as JSON atomically; estimates become objects, non-finite numbers null."""
    text = json.dumps(plain(tree), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(Path(path), text + "\n")


def write_csv(path: str | Path, tree: dict[str, Any]) -> None:
    """Write `results_frame` atomically; null becomes an empty field.

    The columns `task` and `model` keep their names in the file: `section` and `stage`.
    """
    frame = results_frame(tree).rename(columns={"task": "section", "model": "stage"})
    text = frame.map(escape_formula).to_csv(index=False, lineterminator="\n")
    write_whole(Path(path), text)


def results_frame(tree: dict[str, Any]) -> "pd.DataFrame":
    """Return every estimate of a results tree as one row of a data frame.

    Columns:
        task: e.g. `retrieval.category`, `retrieval.instance`, `classification.linear_probe`.
        model: `trained`, `untrained`, or the baseline `chance`, `majority`, `handmade`, `frozen`.
        item: modality subset (`text+image`), direction (`text->image`) or difference; empty where
            the task has one item.
        metric: e.g. `mAP@1`, `Recall@10`, `accuracy`.
        value, low, high: the estimate with its 95 % interval; NaN where nothing was measured.
        n: queries or products that the value is computed from.
        category_low, category_high: the 95 % interval over categories; NaN where not computed.
    """
    import pandas as pd

    frame = pd.DataFrame(_rows(plain(tree)), columns=COLUMNS)
    return frame.astype(dict.fromkeys(("value", "low", "high", *BOUNDS), float))


def _rows(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if tree.keys() - set(BOUNDS) == {"value", "low", "high", "n"}:
        *parts, metric = path
        at = next((i for i, part in enumerate(parts) if part in STAGES), len(parts))
        task, model, item = parts[:at], parts[at : at + 1], parts[at + 1 :]
        numbers = map(tree.get, COLUMNS[4:])
        yield (".".join(task), *(model or [""]), ".".join(item), metric, *numbers)
        return
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _rows(value, (*path, key))


def plain(value: Any) -> Any:
    """Convert to JSON types: estimates to objects, arrays to lists, NaN to None."""
    if isinstance(value, Estimate):
        return plain(value.to_dict())
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _with_chance(
    stages: dict[str, dict[str, Retrieval]], code_N: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """Add chance, which depends on the products alone and is taken from any stage."""
    items = {item: r for by_item in stages.values() for item, r in by_item.items()}
    codes = {item: code_N[r.rows_Q] for item, r in items.items()}
    chance = {item: r.chance for item, r in items.items()}
    tree = {"chance": estimate_items(chance, seed, categories=codes)}
    for stage, by_item in stages.items():
        values = {item: r.values for item, r in by_item.items()}
        codes = {item: code_N[r.rows_Q] for item, r in by_item.items()}
        tree[stage] = estimate_items(values, seed, categories=codes)
    return tree


def _counts(stages: dict[str, dict[str, Retrieval]]) -> dict[str, dict[str, int]]:
    return {item: r.counts for by_item in stages.values() for item, r in by_item.items()}


def _differences(
    stages: dict[str, dict[str, Retrieval]], code_N: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """Compare all modalities with each one alone, and trained with the other stages."""
    pairs = {
        stage: {f"{ALL} - {m}": (by_subset[ALL], by_subset[m]) for m in MODALITIES}
        for stage, by_subset in stages.items()
    }
    for other in _others(stages):
        pairs["trained"] |= {
            f"trained - {other} {name}": (trained, stages[other][name])
            for name, trained in stages["trained"].items()
        }
    tree = {}
    for stage, by_name in pairs.items():
        values = {name: _paired(*pair) for name, pair in by_name.items()}
        both = {name: np.intersect1d(a.rows_Q, b.rows_Q) for name, (a, b) in by_name.items()}
        codes = {name: code_N[rows_Q] for name, rows_Q in both.items()}
        tree[stage] = estimate_items(values, seed, categories=codes)
    return tree


def _others(stages: dict[str, Any]) -> list[str]:
    """Return the stages with which `trained` is compared; none without it."""
    return [stage for stage in stages if stage != "trained"] if "trained" in stages else []


def _direction_values(
    by_item: dict[str, Retrieval], n: int, chance: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Return values_ND by metric: those of N products in D directions; NaN where it is no query."""
    found = [by_item[f"{a}->{b}"] for a, b in DIRECTIONS if f"{a}->{b}" in by_item]
    result = {metric: np.full((n, len(found)), np.nan) for metric in found[0].values}
    for column, r in enumerate(found):
        for metric, value_Q in (r.chance if chance else r.values).items():
            result[metric][r.rows_Q, column] = value_Q
    return result


def _direction_means(
    instance: dict[str, dict[str, Retrieval]], code_N: NDArray[np.int64], seed: int
) -> dict[str, dict[str, Estimate]]:
    """Return the mean over directions of every metric, by stage, with chance."""
    n, first = len(code_N), next(iter(instance.values()))
    values = {"chance": _direction_values(first, n, chance=True)}
    values |= {stage: _direction_values(by_item, n) for stage, by_item in instance.items()}
    return {
        stage: {m: mean_of_means(v_ND, seed, category_N=code_N) for m, v_ND in by_metric.items()}
        for stage, by_metric in values.items()
    }


def _direction_differences(
    instance: dict[str, dict[str, Retrieval]], code_N: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """Compare trained with the other stages in each direction, and in the mean over directions."""
    tree: dict[str, dict[str, Estimate]] = {}
    for other in _others(instance):
        a, b = instance["trained"], instance[other]
        shared = {name: _paired(a[name], b[name]) for name in a if name in b}
        both = {name: np.intersect1d(a[name].rows_Q, b[name].rows_Q) for name in shared}
        codes = {name: code_N[rows_Q] for name, rows_Q in both.items()}
        ours, theirs = (_direction_values(by_item, len(code_N)) for by_item in (a, b))
        tree[f"trained - {other} {MEAN}"] = {
            m: mean_of_means(ours[m] - theirs[m], seed, category_N=code_N) for m in ours
        }
        found = estimate_items(shared, seed, categories=codes)
        tree |= {f"trained - {other} {name}": by_metric for name, by_metric in found.items()}
    return {"trained": tree} if tree else {}


def _accuracy_differences(by_stage: dict[str, Classification], seed: int) -> dict[str, Any]:
    """Compare the accuracy of trained with that of the other stages, over the same products."""
    others = _others(by_stage)
    right = {stage: np.array(r.right, dtype=float) for stage, r in by_stage.items()}
    return {
        f"trained - {other}": {"accuracy": paired_difference(right["trained"], right[other], seed)}
        for other in others
    }


def _paired(a: Retrieval, b: Retrieval) -> dict[str, NDArray[np.float64]]:
    """Return a - b per query, over the queries of both in ascending order."""
    _, in_a, in_b = np.intersect1d(a.rows_Q, b.rows_Q, return_indices=True)
    return {m: a.values[m][in_a] - b.values[m][in_b] for m in a.values}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> tuple[str | None, bool | None]:
    """Return the commit of the package's checkout and whether tracked files differ from it."""
    root = PACKAGE.parent
    # An installed package may be inside the checkout of another project.
    if not (root / ".git").exists():
        return None, None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
