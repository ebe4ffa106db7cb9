"""Retrieval between products named by two lists, queries and gallery (`scale evaluate --queries`).

Q queries, G gallery items, N products.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, with_splits
from scale.data.lists import product_of, read_id_list
from scale.evaluation.embed import Features
from scale.evaluation.report import DEFINITIONS, list_retrieval_results, plain, provenance
from scale.evaluation.retrieval import ProductArrays, Retrieval, subset_retrievals
from scale.inference.evaluate import product_arrays
from scale.modalities import MODALITIES, SUBSETS, subset_name
from scale.training.run import TrainedRun

log = logging.getLogger(__name__)

LISTED = tuple(subset for subset in SUBSETS if len(subset) in (1, len(MODALITIES)))
"""The subsets that are measured by default: all modalities, and each one alone."""
LONG = 60
"""Seconds from which the expected duration is logged."""
SHOWN = 20
"""Absent ids that the results contain."""


def evaluate_lists(
    run: TrainedRun,
    catalogue: Catalogue | Path | str,
    queries: Path | str,
    gallery: Path | str,
    *,
    allow_train: bool = False,
    seed: int = 0,
    cache: FeatureCache | None = None,
    features: Features = "encoder",
    subsets: Sequence[tuple[str, ...]] = LISTED,
) -> dict[str, Any]:
    """Measure category retrieval of listed queries in a listed gallery, trained and untrained.

    Relevant is every gallery product of equal label; a query is removed from its own gallery. The
    label is that of the list, where it has one, and otherwise the category of the product.

    Args:
        queries, gallery: lists of product ids (`scale.data.lists`). An entry `id#n` that is no
            product of the catalogue means product `id`. Absent ids are reported.
        allow_train: accept queries of the split `train`, whose figures measure memorisation.
        seed, cache, features: as in `evaluate_run`.
        subsets: of the modalities, to query with; must contain all modalities and each one alone.
            Each costs up to four rankings of the whole gallery; `scale.modalities.SUBSETS` has 31.

    Returns:
        A tree with the parts `retrieval` (`category`, `category_full_gallery`, `differences`,
        `counts`, as in results.json) and `lists`, the facts of each list.

    Raises:
        ValueError: a list is malformed, names no product of the catalogue or shares no label with
            the other; or a query is a training product, without `allow_train`.
    """
    started = time.perf_counter()
    if not isinstance(catalogue, Catalogue):
        catalogue = Catalogue.open(catalogue)
    catalogue = with_splits(catalogue)
    row = {product.id: i for i, product in enumerate(catalogue)}
    found = {"queries": _locate(Path(queries), row), "gallery": _locate(Path(gallery), row)}
    _check_training(catalogue, found, row, allow_train)
    wanted = dict.fromkeys(product for labels, _ in found.values() for product in labels)
    kept = replace(catalogue, products=tuple(catalogue.products[row[p]] for p in wanted))
    data = run.dataset(kept, cache=cache)
    place = {product.id: i for i, product in enumerate(data.products)}
    labels = {name: [given or data.products[place[p]].category for p, given in listed.items()]
              for name, (listed, _) in found.items()}  # fmt: skip
    if not set(labels["queries"]) & set(labels["gallery"]) - {None}:
        raise ValueError(
            f"no label of {queries} occurs in {gallery}, so nothing is relevant: "
            f"{_some(labels['queries'])} and {_some(labels['gallery'])}"
        )
    rows = {name: [place[product] for product in listed] for name, (listed, _) in found.items()}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tables: dict[str, dict[str, Any]] = {"same": {}, "full": {}}
    for stage, model in (("untrained", run.untrained()), ("trained", run.model)):
        arrays = product_arrays(model, data, device, features=features, subsets=subsets)
        asked, items = (_select(arrays, rows[n], labels[n]) for n in ("queries", "gallery"))
        for kind, table in _retrievals(asked, items, subsets, stage == "untrained").items():
            tables[kind][stage] = table
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    facts = provenance(run.config.train.seed, started, name)
    return plain(
        {
            "provenance": facts | {"evaluation_seed": seed},
            "features": features,
            "lists": {
                name: facts | {"unlabelled": labels[name].count(None)}
                for name, (_, facts) in found.items()
            },
            "retrieval": list_retrieval_results(
                tables["same"], tables["full"], labels["queries"], seed
            ),
            "definitions": DEFINITIONS,
            "problems": len(catalogue.problems) + len(data.problems),
        }
    )


def _locate(path: Path, row: dict[str, int]) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Return the label by product of a list's products, and the facts of the list."""
    listed = read_id_list(path)
    labels: dict[str, str | None] = {}
    absent, repeated = [], listed.repeated
    for entry, label in listed.labels.items():
        product = entry if entry in row else product_of(entry)
        if product not in row:
            absent.append(entry)
            continue
        repeated += product in labels
        labels[product] = labels.get(product) or label
    if not labels:
        raise ValueError(f"{path}: none of its {len(absent):,} ids is in the catalogue")
    facts = {"file": str(path), "products": len(labels), "repeated": repeated,
             "labelled by the list": sum(label is not None for label in labels.values()),
             "absent": len(absent), "absent ids": absent[:SHOWN]}  # fmt: skip
    if absent:
        log.warning("%s: %d ids are not in the catalogue, e.g. %s", path, len(absent), absent[0])
    return labels, facts


def _check_training(
    catalogue: Catalogue, found: dict[str, tuple[dict, dict]], row: dict[str, int], allow: bool
) -> None:
    """Count the training products of each list; refuse them as queries."""
    for name, (labels, facts) in found.items():
        trained = [p for p in labels if catalogue.products[row[p]].split == "train"]
        facts["of the split train"] = len(trained)
        if trained and name == "queries" and not allow:
            raise ValueError(
                f"{facts['file']}: {len(trained):,} queries are in the split train, e.g. "
                f"{trained[0]!r}, so their figures would measure memorisation; "
                "allow_train=True (--allow-train) accepts them"
            )


def _retrievals(
    queries: ProductArrays, items: ProductArrays, subsets: Sequence[tuple[str, ...]], warn: bool
) -> dict[str, dict[str, Retrieval]]:
    """Return `subset_retrievals` for both galleries; all modalities are ranked once for both.

    warn: log the expected duration for two models, extrapolated from the first ranking.
    """
    started = time.perf_counter()
    whole = subset_retrievals(queries, "same", items=items, subsets=(MODALITIES,))
    if warn:
        rankings = 2 * (2 * len(subsets) - 1)
        seconds = rankings * (time.perf_counter() - started)
        _log_duration(seconds, rankings, len(queries.ids), len(items.ids))
    parts = [subset for subset in subsets if subset != MODALITIES]
    same, full = (
        whole | subset_retrievals(queries, gallery, items=items, subsets=parts)
        for gallery in ("same", "full")
    )
    names = [subset_name(subset) for subset in subsets]
    return {k: {name: t[name] for name in names} for k, t in (("same", same), ("full", full))}


def _log_duration(seconds: float, rankings: int, queries: int, items: int) -> None:
    if seconds > LONG:
        log.warning(
            "%d rankings of %s products for %s queries: about %.0f minutes, at most",
            rankings, f"{items:,}", f"{queries:,}", seconds / 60,
        )  # fmt: skip


def _select(arrays: ProductArrays, rows: list[int], labels: Sequence[str | None]) -> ProductArrays:
    """Return some products with the labels of a list."""
    at = np.array(rows, np.int64)
    mixed = {subset: emb_ND[at] for subset, emb_ND in (arrays.mixed or {}).items()}
    return ProductArrays(
        [arrays.ids[i] for i in rows],
        arrays.pooled_NMD[at],
        arrays.present_NM[at],
        labels,
        mixed=mixed or None,
    )


def _some(labels: Sequence[str | None]) -> str:
    names = [repr(label) for label in dict.fromkeys(labels) if label is not None]
    return ", ".join(names[:3]) or "no labels"


def list_headline(results: dict) -> str:
    """Return the facts of the lists and mAP@1 by subset of one and of all modalities, as text."""
    from scale.inference.evaluate import category_lines

    lines = []
    for name, facts in results["lists"].items():
        parts = [f"{facts['products']:,} products"]
        parts += [
            f"{facts[key]:,} {key}"
            for key in ("absent", "repeated", "unlabelled", "of the split train")
            if facts[key]
        ]
        lines.append(f"{name}: {facts['file']}, {', '.join(parts)}")
    return "\n".join([*lines, "mAP@1 by label, value [95 % interval]", *category_lines(results)])
