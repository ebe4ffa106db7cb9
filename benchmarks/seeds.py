"""A preset on a catalogue over several seeds: mean and 95 % interval of each metric.

    python benchmarks/seeds.py data_samples --seeds 5 --out runs/seeds-samples
    python benchmarks/seeds.py data_samples --preset pretrained --baselines --out runs/seeds-public
    python benchmarks/seeds.py data_samples --preset pretrained --baselines --seeds 10 \
        --splits new --out runs/splits-public

Each seed is a separate run (order, masks and weights differ; the split is the catalogue's).
`--splits new` also draws a split for each seed, 70/10/20 with products of equal contents together;
`--splits development` draws them from the products outside the catalogue's test split, for choices.
Finished runs are kept, so the command can be interrupted and repeated. Writes summary.json and
summary.md.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from scale.config import PRESETS, Config, configure
from scale.data.catalogue import Catalogue, with_splits
from scale.data.tokenizer import train_tokenizer
from scale.evaluation.report import MEAN, write_json
from scale.inference.evaluate import evaluate_run
from scale.modalities import MODALITIES, subset_name
from scale.studies.statistics import seed_interval
from scale.training.cross_fit import content_folds
from scale.training.pretrain import pretrain
from scale.training.run import build_dataset

ALL = subset_name(MODALITIES)


def draw_split(catalogue: Catalogue, config: Config, seed: int) -> Catalogue:
    """Return the catalogue with a random split: of ten folds seven train, one val, two test."""
    tokenizer = train_tokenizer(catalogue.products, config.features.vocab_size)
    # The contents of products do not depend on the lengths, which may be `auto`.
    config = config.with_features(text_length=48, table_length=128)
    data = build_dataset(catalogue, config, tokenizer, None)
    name_F = ("train",) * 7 + ("val",) + ("test",) * 2
    fold_N = content_folds(data.content_id_NM, len(name_F), seed)
    splits = [name_F[fold] for fold in fold_N]
    products = [replace(p, split=s) for p, s in zip(catalogue.products, splits, strict=True)]
    return replace(catalogue, products=tuple(products))


def measure(
    catalogue: Catalogue, out: Path, seed: int, config: Config, splits: str, baselines: bool
) -> dict:
    """Return results.json of one seed; train and evaluate if it does not exist."""
    path = out / str(seed) / "results.json"
    if not path.is_file():
        config = replace(config, train=replace(config.train, seed=seed))
        if splits != "given":
            catalogue = draw_split(catalogue, config, seed)
        run = pretrain(config, catalogue, path.parent, resume=True, progress=False)
        options = {"tune": False, "baselines": baselines, "progress": False}
        write_json(path, evaluate_run(run, catalogue, seed=seed, **options))
    return json.loads(path.read_text(encoding="utf-8"))


def rows(results: dict) -> dict[str, float | None]:
    """Metrics of one seed by name."""
    retrieval, named = results["retrieval"], {}
    for stage in retrieval["category"]:
        for subset in (ALL, *MODALITIES):
            name = "all five" if subset == ALL else subset
            entry = retrieval["category"][stage][subset]["mAP@1"]
            named[f"category mAP@1, {name}, {stage}"] = entry["value"]
    for single in MODALITIES:
        pair = retrieval["differences"]["trained"].get(f"{ALL} - {single}")
        if pair:
            named[f"mAP@1, all five minus {single}, same queries"] = pair["mAP@1"]["value"]
    probe = results["classification"].get("linear_probe", {})
    for stage in ("trained", "untrained", "majority", "handmade", "frozen"):
        for metric in ("accuracy", "macro-F1"):
            if stage in probe:
                named[f"linear probe {metric}, {stage}"] = probe[stage][metric]["value"]
    for stage, entry in retrieval["instance_mean"].items():
        named[f"mean Recall@10 over directions, {stage}"] = entry["Recall@10"]["value"]
    for name, entry in retrieval["instance_differences"]["trained"].items():
        if name.endswith(f" {MEAN}"):
            other = name.removeprefix("trained - ").removesuffix(f" {MEAN}")
            value = entry["Recall@10"]["value"]
            named[f"mean Recall@10 over directions, trained minus {other}"] = value
    for direction, entry in retrieval["instance"]["trained"].items():
        chance = retrieval["instance"]["chance"][direction]["Recall@10"]["value"]
        named[f"instance Recall@10, {direction}, trained"] = entry["Recall@10"]["value"]
        named[f"instance Recall@10, {direction}, chance"] = chance
        for stage in ("handmade", "frozen"):
            if stage in retrieval["instance"]:
                value = retrieval["instance"][stage][direction]["Recall@10"]["value"]
                named[f"instance Recall@10, {direction}, {stage}"] = value
    return named


def summarise(by_seed: list[dict]) -> dict[str, dict]:
    """Mean and t interval over the seeds, of metrics that at least two seeds have."""
    summary = {}
    for name in by_seed[0]:
        e = seed_interval(np.array([row[name] for row in by_seed], dtype=float))
        if e.n > 1:
            summary[name] = {"mean": e.value, "low": e.low, "high": e.high, "seeds": e.n}
    return summary


def main() -> None:
    """Measure all seeds, then write and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--baselines", action="store_true")
    parser.add_argument("--splits", choices=("given", "new", "development"), default="given")
    parser.add_argument(
        "--changes", default="{}", help="of the preset, as JSON, e.g. '{\"steps\": 400}'"
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    catalogue = Catalogue.open(arguments.catalogue)
    if arguments.splits == "development":
        products = [p for p in with_splits(catalogue).products if p.split != "test"]
        catalogue = replace(catalogue, products=tuple(products))
    config = configure(arguments.preset, json.loads(arguments.changes))
    splits, baselines = arguments.splits, arguments.baselines
    found = [
        measure(catalogue, arguments.out, seed, config, splits, baselines)
        for seed in range(arguments.first, arguments.first + arguments.seeds)
    ]
    summary = summarise([rows(results) for results in found])
    facts = [results["provenance"] for results in found]
    write_json(arguments.out / "summary.json", {"provenance": facts, "figures": summary})
    lines = ["| metric | mean | 95 % interval over seeds |", "|---|---|---|"]
    lines += [f"| {name} | {e['mean']:.3f} | {e['low']:.3f} to {e['high']:.3f} |"
              for name, e in summary.items()]  # fmt: skip
    (arguments.out / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
