"""Evaluation of a run (`scale evaluate`): all measurements as one tree of numbers.

N products, M modalities (five), D width.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, has_splits, with_splits
from scale.data.dataset import SECOND_VIEW, ProductDataset
from scale.evaluation.baselines import Baseline, fit_baseline, frozen_vectors, handmade_vectors
from scale.evaluation.clustering import cluster
from scale.evaluation.embed import Embeddings, Features, embed_dataset
from scale.evaluation.imputation import imputed_retrievals
from scale.evaluation.probes import Examples, FineTuneConfig, fine_tune, linear_probe
from scale.evaluation.report import (
    DEFINITIONS,
    classification_results,
    clustering_results,
    imputation_results,
    plain,
    provenance,
    retrieval_results,
)
from scale.evaluation.retrieval import DIRECTIONS, ProductArrays
from scale.modalities import INDEX, MODALITIES, SUBSETS, subset_name
from scale.model.scale import ScaleModel
from scale.training.run import TrainedRun

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """The data sets of a catalogue's splits, and the second views of the tested one."""

    train: ProductDataset
    val: ProductDataset
    """Empty if it is tested itself."""
    test: ProductDataset
    alt: ProductDataset | None


def evaluate_run(
    run: TrainedRun,
    catalogue: Catalogue | Path | str,
    split: str = "test",
    *,
    tune: bool = True,
    allow_train: bool = False,
    baselines: bool = False,
    seed: int = 0,
    cache: FeatureCache | None = None,
    progress: bool = True,
    features: Features = "encoder",
) -> dict:
    """Measure retrieval, classification and clustering with the trained and the untrained model.

    Args:
        run: trained model.
        catalogue: the products, or their folder.
        split: `train`, `val` or `test`; its products are queries and gallery. Probes are trained
            on `train` and selected on `val`; for the split `val`, nothing is selected.
        tune: also classify by fine-tuning, the slowest part.
        allow_train: accept the split `train`, whose figures measure memorisation.
        baselines: also measure linear methods on hand-made features (stage `handmade`) and on the
            run's frozen features (`frozen`), on the same products and queries.
        seed: of the bootstrap, k-means and fine-tuning.
        cache: features of media files and fitted baselines, to be reused.
        progress: show progress bars.
        features: source of all embeddings (`evaluation.embed.Features`). For others than `encoder`,
            each subset of the modalities is fused anew, and `imputation` is measured too.

    Returns:
        The tree of results.json.

    Raises:
        ValueError: the split has fewer than two products, or it is `train` without `allow_train`.
    """
    started = time.perf_counter()
    if split == "train" and not allow_train:
        raise ValueError(
            "the model was trained on the split 'train', so its figures would measure "
            "memorisation; choose val or test, or allow_train=True (--allow-train)"
        )
    if not isinstance(catalogue, Catalogue):
        catalogue = Catalogue.open(catalogue)
    _check_origin(run, catalogue)
    splits = _splits(run, with_splits(catalogue), split, cache)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = {"untrained": run.untrained(), "trained": run.model}
    arrays = {
        stage: {name: product_arrays(model, data, device, splits.alt if name == "test" else None,
                                     features, SUBSETS if name == "test" else (MODALITIES,))
                for name, data in (("train", splits.train), ("val", splits.val),
                                   ("test", splits.test))}
        for stage, model in models.items()
    }  # fmt: skip
    test = {stage: by_split["test"] for stage, by_split in arrays.items()}
    others = _baselines(splits, arrays["trained"], cache, progress) if baselines else {}
    tables = {name: found.retrievals(test["trained"]) for name, found in others.items()}
    vectors = {"untrained": test["untrained"].embedding()[0]}
    vectors |= {name: found.embed(test["trained"].present_NM)[0] for name, found in others.items()}
    vectors |= {"trained": test["trained"].embedding()[0]}
    results = {
        "split": split,
        "features": features,
        "products": len(splits.test),
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "retrieval": retrieval_results(test, seed, baselines=tables),
        "classification": _classification(
            run, splits, arrays, others, tune, seed, device, progress, features
        ),
        "clustering": clustering_results(
            {
                stage: cluster(emb_ND, list(test["trained"].labels), seed)
                for stage, emb_ND in vectors.items()
            }
        )
        if _labelled(test["trained"])
        else {},
        **({"baselines": {n: found.settings for n, found in others.items()}} if others else {}),
        "definitions": DEFINITIONS,
        "problems": len(catalogue.problems) + len(splits.test.problems),
    }
    if features != "encoder":
        measured = {s: imputed_retrievals(m, splits.test, device) for s, m in models.items()}
        results["imputation"] = imputation_results(measured, test["trained"].labels, seed)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    facts = provenance(run.config.train.seed, started, name)
    return plain({"provenance": facts | {"evaluation_seed": seed}} | results)


def product_arrays(
    model: ScaleModel,
    data: ProductDataset,
    device: torch.device,
    alt: ProductDataset | None = None,
    features: Features = "encoder",
    subsets: Sequence[tuple[str, ...]] = SUBSETS,
) -> ProductArrays:
    """Embed a data set, and optionally its second views, for the evaluation functions.

    `features`: as in `evaluate_run`; other ones than `encoder` are computed for each of `subsets`.
    """
    if not len(data):
        nothing = np.zeros((0, len(MODALITIES), model.config.pooled_width), np.float32)
        return ProductArrays((), nothing, nothing[:, :, 0] > 0, ())
    embeddings, mixed = _embeddings(model, data, device, features, subsets)
    singles = [subset for subset in subsets if len(subset) == 1]
    second = None if alt is None else _embeddings(model, alt, device, features, singles)[0]
    return replace(ProductArrays.of(data, embeddings, second), mixed=mixed)


def _embeddings(
    model: ScaleModel,
    data: ProductDataset,
    device: torch.device,
    features: Features,
    subsets: Sequence[tuple[str, ...]],
) -> tuple[Embeddings, dict[tuple[str, ...], np.ndarray] | None]:
    """Return the embeddings by single modalities, and for mixed features those by subset."""
    embeddings = embed_dataset(model, data, device=device, progress=False)
    if features == "encoder":
        return embeddings, None
    mixed = {}
    for subset in subsets:
        present_N = embeddings.present_NM[:, [INDEX[m] for m in subset]].any(1)
        if present_N.any():
            found = embed_dataset(
                model, data, subset=subset, device=device, progress=False, features=features
            )
            mixed[subset] = found.mixed_ND
    width = next(iter(mixed.values())).shape[1]
    nothing_ND = np.zeros((len(data), width), np.float32)
    mixed = {subset: mixed.get(subset, nothing_ND) for subset in subsets}
    alone = [mixed.get((m,), nothing_ND) for m in MODALITIES]
    return replace(embeddings, pooled_NMD=np.stack(alone, axis=1)), mixed


def _baselines(
    splits: Splits,
    arrays: dict[str, ProductArrays],
    cache: FeatureCache | None,
    progress: bool,
) -> dict[str, Baseline]:
    """Return the baselines fitted on the training split, by stage.

    Second views among the training products may not help a baseline: each is also fitted without
    them, and the better one on `val` is kept.
    """
    first_N = np.array([not id.endswith(SECOND_VIEW) for id in splits.train.ids], bool)
    chosen = [np.arange(len(first_N))] + [np.flatnonzero(first_N)] * (not first_N.all())
    parts = {"val": splits.val, "test": splits.test}
    if splits.alt is not None:
        parts["alt"] = splits.alt
    found: dict[str, Baseline] = {}
    for name, made in (
        ("handmade", partial(handmade_vectors, progress=progress)),
        ("frozen", frozen_vectors),
    ):
        for rows in chosen:
            started = time.perf_counter()
            vectors, sources = made({"train": splits.train.subset(rows)} | parts, cache)
            fitted = fit_baseline(vectors, arrays | {"train": arrays["train"].select(rows)}, cache)
            facts = {"vectors": sources, "training products": len(rows)}
            seconds = round(time.perf_counter() - started, 1)
            fitted = replace(fitted, settings=facts | fitted.settings | {"seconds": seconds})
            if name not in found or _on_val(fitted) > _on_val(found[name]):
                found[name] = fitted
    return found


def _on_val(baseline: Baseline) -> float:
    return baseline.settings["cca"].get("mean reciprocal rank", 0.0)


def _splits(
    run: TrainedRun, catalogue: Catalogue, split: str, cache: FeatureCache | None
) -> Splits:
    data = run.dataset(catalogue, cache=cache)
    parts = {
        name: data.subset([i for i, p in enumerate(data.products) if p.split == name])
        for name in ("train", "val", "test")
    }
    if run.config.train.second_views:
        # Baselines and probes learn from the same products as the run.
        parts["train"] = parts["train"].with_second_views()
    test = parts[split]
    # A product without modalities can be neither query nor result.
    usable = np.flatnonzero(test.present_NM.any(axis=1))
    if len(usable) < len(test):
        log.warning("%d products have no modality and are left out", len(test) - len(usable))
        test = test.subset(usable)
    if len(test) < 2:
        raise ValueError(
            f"{catalogue.folder}: {len(test)} products in the split {split!r}, at least 2 needed"
        )
    alt = test.view("alt") if any(p.alt.present for p in test.products) else None
    if alt is not None:
        alt = alt.subset(np.flatnonzero(alt.present_NM.any(axis=1)))
    # Settings of a probe chosen on the products that it is scored on would flatter it.
    chosen_on = parts["val"].subset([]) if split == "val" else parts["val"]
    return Splits(parts["train"], chosen_on, test, alt if alt is not None and len(alt) else None)


def _check_origin(run: TrainedRun, catalogue: Catalogue) -> None:
    """Warn about splits that have changed since the run was trained."""
    path = run.folder.data
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "splits" not in stored and not has_splits(catalogue):
        log.warning(
            "%s: of an earlier version, which divided catalogues without splits differently: if it "
            "was trained on this catalogue, some products tested here were trained on",
            run.folder.folder,
        )


def _classification(
    run: TrainedRun,
    splits: Splits,
    arrays: dict[str, dict[str, ProductArrays]],
    baselines: dict[str, Baseline],
    tune: bool,
    seed: int,
    device: torch.device,
    progress: bool,
    features: Features,
) -> dict:
    """Return linear probes of all stages, and fine-tuning; empty for fewer than two classes."""
    names = ("train", "val", "test")
    classes = set(arrays["trained"]["train"].labels) - {None}
    if len(classes) < 2 or not _labelled(arrays["trained"]["test"]):
        return {}
    methods = {"linear_probe": {}, "fine_tuning": {}}
    for stage, by_split in arrays.items():
        examples = [_examples(by_split[name]) for name in names]
        methods["linear_probe"][stage] = linear_probe(*examples, seed=seed)
    trained = methods["linear_probe"].pop("trained")
    for name, baseline in baselines.items():
        products = (arrays["trained"][split] for split in ("train", "test"))
        if found := baseline.classification(*products, seed):
            methods["linear_probe"][name] = found
    methods["linear_probe"]["trained"] = trained
    if tune:
        data = {"train": splits.train, "val": splits.val, "test": splits.test}
        examples = []
        for name in names:
            usable = np.flatnonzero(data[name].present_NM.any(axis=1))
            part = data[name].subset(usable)
            examples.append(Examples(part, [p.category for p in part.products]))
        config = replace(FineTuneConfig(), seed=seed)
        methods["fine_tuning"]["trained"] = fine_tune(
            run.model, *examples, config, device, progress, features
        )
    return classification_results({k: v for k, v in methods.items() if v}, seed)


def _examples(products: ProductArrays) -> Examples:
    emb_ND, valid_N = products.embedding()
    labels = [label if valid else None
              for label, valid in zip(products.labels, valid_N, strict=True)]  # fmt: skip
    return Examples(emb_ND, labels)


def _labelled(products: ProductArrays) -> bool:
    return any(label is not None for label in products.labels)


def headline(results: dict) -> str:
    """Return the main numbers as text: mAP@1 by category, Recall@10 by direction, baselines."""
    title = (
        f"mAP@1 by category, {results['split']} split ({results['products']} products), "
        "value [95 % interval]"
    )
    lines = [title, *category_lines(results), *_instance_lines(results), *_mean_lines(results)]
    return "\n".join(lines + (_baseline_lines(results) if "baselines" in results else []))


def category_lines(results: dict) -> list[str]:
    """Return a line per modality, then its difference to all five on their common queries.

    The lines of two modalities are measured on different products: those that have the modality."""
    category, everything = results["retrieval"]["category"], subset_name(MODALITIES)
    paired = results["retrieval"]["differences"].get("trained", {})
    lines = []
    for subset in (everything, *MODALITIES):
        cells = [
            f"{stage} {_cell(category[stage][subset]['mAP@1'])}"
            for stage in ("trained", "untrained", "chance")
            if subset in category.get(stage, {})
        ]
        lines.append(f"  {subset if subset != everything else 'all five':<10} " + "   ".join(cells))
    lines.append("all five minus one modality, trained, on their common queries")
    for single in MODALITIES:
        pair = paired.get(f"{everything} - {single}", {}).get("mAP@1")
        if pair and pair["value"] is not None:
            lines.append(f"  {single:<10} {_cell(pair, '+')} ({pair['n']} queries)")
    return lines


def _instance_lines(results: dict) -> list[str]:
    instance = results["retrieval"]["instance"]
    lines = ["Recall@10 of the same product in another modality (chance in brackets)"]
    for start in MODALITIES:
        cells = []
        for end in MODALITIES:
            if start != end:
                name = f"{start}->{end}"
                value = instance["trained"][name]["Recall@10"]["value"]
                chance = instance["chance"][name]["Recall@10"]["value"]
                known = value is not None and chance is not None
                cells.append(f"{end} {value:.2f} ({chance:.2f})" if known else f"{end} -")
        lines.append(f"  from {start:<6} to  " + "   ".join(cells))
    return lines


def _mean_lines(results: dict) -> list[str]:
    """Return the mean Recall@10 over all directions, by stage."""
    mean = results["retrieval"]["instance_mean"]
    cells = [f"{s} {_cell(mean[s]['Recall@10'])}" for s in ("trained", "untrained", "chance")]
    return ["Recall@10, mean over directions", "  " + "   ".join(cells)]


def _baseline_lines(results: dict) -> list[str]:
    """Return a row per stage, then a line per direction with the best baseline."""
    retrieval, names = results["retrieval"], results["baselines"]
    probes = results["classification"].get("linear_probe", {})
    stages = ("chance", "untrained", *names, "trained")
    header = ("", "Recall@10, mean over directions", "mAP@1 by category", "linear accuracy")
    rows = [header]
    for stage in stages:
        accuracy = probes.get("majority" if stage == "chance" else stage, {}).get("accuracy")
        found = (retrieval["instance_mean"][stage]["Recall@10"],
                 retrieval["category"][stage][subset_name(MODALITIES)]["mAP@1"])  # fmt: skip
        cells = [_cell(estimate) for estimate in (*found, accuracy or {"value": None})]
        rows.append(("SCALE" if stage == "trained" else stage, *cells))
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["beside the baselines (accuracy of chance: the most frequent category)"]
    lines += ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
              for row in rows]  # fmt: skip
    lines.append("Recall@10 by direction: SCALE, the best baseline, and SCALE minus it")
    for direction in (f"{a}->{b}" for a, b in DIRECTIONS):
        value = {s: retrieval["instance"][s][direction]["Recall@10"]["value"] for s in stages}
        if value["trained"] is None:
            continue
        best = max(names, key=value.get)
        pair = retrieval["instance_differences"]["trained"][f"trained - {best} {direction}"]
        lines.append(
            f"  {direction:<14} {value['trained']:.2f}   {best} {value[best]:.2f}   "
            f"{_cell(pair['Recall@10'], '+')}"
        )
    return lines


def _cell(estimate: dict, sign: str = "") -> str:
    if estimate["value"] is None:
        return "-"
    value = f"{estimate['value']:{sign}.3f}"
    if estimate["low"] is None:
        return value
    return f"{value} [{estimate['low']:{sign}.3f}, {estimate['high']:{sign}.3f}]"
