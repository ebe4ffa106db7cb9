"""A study: a question, the cells to train, the comparisons that answer it, and its stored runs.

Finished runs are rows of one parquet file per study and catalogue. N held-out products of a test.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scale.config import Config, build, require
from scale.files import replacing
from scale.studies.noise import Noise

Factor = str | float | int | bool

METRICS: dict[str, str] = {
    "mAP@5": "category retrieval by all modalities, mean over queries of "
    "sum_{i<=5} rel_i P@i / min(5, relevant)",
    "Recall@10": "instance retrieval, mean over products of the share of a product's (up to 20) "
    "cross-modal directions in which its own other modality is among the first ten",
    "recall": "toy: mean over the ten pairs of views and both directions of the share of 1,000 "
    "held-out products that are found first",
    "AUC S'": "probability that S' of a training product's good pair is larger than that of a "
    "damaged pair of the same modalities; 0.5 is chance",
    "AUC S' held out": "the same for held-out products with the same kinds of damage",
}
EMBEDDINGS = {
    "fused": "the fused [CLS] of all modalities with tokens, own or imputed",
    "fused_present": "the fused [CLS] of the present modalities",
    "both": "the encoders' and the fused embedding side by side",
    "completed": "the encoders' features, those of missing modalities predicted by the JCT",
}
"""Product embeddings beside that of the encoders, measured by tests with `fused`."""
METRICS |= {
    f"{metric} {features}": f"the same as {metric} by {text}"
    for metric in ("mAP@5", "mAP@1")
    for features, text in EMBEDDINGS.items()
} | {
    "mAP@1": "category retrieval by all modalities: share of queries whose first result has their "
    "category",
    "Recall@10 imputed": "retrieval of a product's feature of a modality among those of all "
    "products, by the feature that the JCT predicts from its other modalities; mean over products "
    "of the share of its modalities found among the first ten",
    "Recall@10 mean of others": "the same by the mean of the unit features of the other modalities",
}
"""Definitions of the metrics by which comparisons are decided. The first two are measured in every
cell of a catalogue and also have values by product; the last ones by tests with `fused`."""


@dataclass(frozen=True)
class Test:
    """Products to test on: the held-out ones, damaged or reduced in some way."""

    name: str
    """Name in the table, e.g. `complete`."""
    noises: tuple[Noise, ...] = ()
    """Applied to the held-out products, seeded by the run's seed."""
    complete: bool = False
    """Keep only products that have all modalities (before `noises`)."""
    subsets: bool = False
    """Also measure category retrieval for each of the 31 subsets of modalities."""
    fused: bool = False
    """Also measure the fused embeddings, and the prediction of missing modalities."""


@dataclass(frozen=True)
class Cell:
    """One training, up to its seed."""

    factors: dict[str, Factor]
    """Row of the study's table, e.g. {"policy": "zero", "rate": 0.3}."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Changes to the preset by dotted name, e.g. {"missing.policy": "zero"}."""
    noises: tuple[Noise, ...] = ()
    """Applied to the training products, seeded by the run's seed."""
    model: str = "scale"
    """`scale`, `clean contrast`, a name in `SYSTEMS` (with suffix ` everywhere`: all modalities) or
    in `FAULTS`."""
    weight_fn: str = ""
    """A name in `WEIGHT_FNS` for weights that LossConfig does not offer; empty: none."""
    tests: tuple[Test, ...] = (Test("held out"),)
    """Test sets on which the model is measured."""

    def config(self, preset: Config, seed: int) -> Config:
        """Return the preset with this cell's settings. Raises ValueError for an unknown key."""
        tree = preset.to_dict()
        for name, value in (*self.settings.items(), ("train.seed", seed)):
            *path, last = name.split(".")
            part = tree
            for key in path:
                part = part.get(key) if isinstance(part, dict) else None
            require(isinstance(part, dict) and last in part, f"unknown setting {name}")
            part[last] = value
        return build(Config, tree)

    def identity(self) -> dict[str, Any]:
        """Return everything that decides training and measurement, but not the cell's name."""
        fields = {name: value for name, value in asdict(self).items() if name != "factors"}
        # Stored runs hold this dictionary under the field's earlier name.
        fields["weigher"] = fields.pop("weight_fn")
        for test in fields["tests"]:
            # Runs of before this field keep their identity.
            if not test["fused"]:
                del test["fused"]
        return fields


@dataclass(frozen=True)
class Comparison:
    """A claim, tested by the difference between two cells."""

    claim: str
    """A sentence in the affirmative: `zero imputation beats dropping incomplete products`."""
    better: dict[str, Factor]
    """Factors of the cell that is better according to the claim; factors left out are averaged."""
    worse: dict[str, Factor]
    """Factors of the other cell."""
    test: str = "held out"
    metric: str = "mAP@5"
    worse_metric: str = ""
    """Metric of the other side, if it is another one."""

    @property
    def metrics(self) -> tuple[str, str]:
        """Metrics of the better and of the worse side."""
        return self.metric, self.worse_metric or self.metric

    @property
    def figure(self) -> str:
        """Name of the figure that is compared."""
        return " against ".join(dict.fromkeys(self.metrics))

    @staticmethod
    def between(
        claim: str,
        factor: str,
        better: Factor,
        worse: Factor,
        metric: str = "mAP@5",
        test: str = "held out",
        **shared: Factor,
    ) -> "Comparison":
        """Compare two values of one factor, with the `shared` values of other factors."""
        return Comparison(
            claim, {**shared, factor: better}, {**shared, factor: worse}, test, metric
        )


@dataclass(frozen=True)
class Study:
    """A question, the grid of cells, and the comparisons that answer it."""

    name: str
    question: str
    """One sentence that ends in a question mark."""
    factors: tuple[str, ...]
    """Names of the factors, in the order of the table's columns."""
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]
    """Comparisons that decide the answer, fixed before any run."""
    metrics: tuple[str, ...] = ("mAP@5", "Recall@10")
    """Names in METRICS, or other figures that the cells measure; the first one is drawn."""
    seeds: int = 5
    """Trainings of each cell."""
    figure: str = "lines"
    """Form of the figure: `lines` over the last factor, or `bars`."""
    retention: tuple[dict[str, Factor], ...] = ()
    """Factors of the cells whose retention curve is drawn; these cells measure the subsets of
    complete products."""

    def __post_init__(self) -> None:
        require(self.seeds > 0, f"study {self.name}: seeds must be positive")
        for cell in self.cells:
            require(
                tuple(cell.factors) == self.factors,
                f"study {self.name}: a cell has factors {tuple(cell.factors)}, not {self.factors}",
            )
        seen: list[dict[str, Factor]] = []
        for cell in self.cells:
            require(cell.factors not in seen, f"study {self.name}: two cells have {cell.factors}")
            seen.append(cell.factors)
        for comparison in self.comparisons:
            for side in (comparison.better, comparison.worse):
                require(
                    any(matches(cell.factors, side) for cell in self.cells),
                    f"study {self.name}: no cell has {side}",
                )

    def with_seeds(self, seeds: int) -> "Study":
        """Return the study with another number of seeds per cell."""
        return replace(self, seeds=seeds)


def matches(factors: dict[str, Factor], wanted: dict[str, Factor]) -> bool:
    """Return whether a cell's factors have the wanted values; other factors are ignored."""
    return all(name in factors and factors[name] == value for name, value in wanted.items())


VERSION = "1"
"""Version of the file layout."""
HELD_OUT = ("test", "val")
"""Splits to measure on: a default is chosen on `val` and reported on `test`."""
EARLIER_HELD_OUT = "val+test"
"""Products of the runs stored before 30 November 2026; read, no longer measured."""


@dataclass(frozen=True)
class Record:
    """One run: cell, seed, figures and provenance."""

    study: str
    catalogue: str
    """Name of the catalogue."""
    preset: str
    key: str
    """Hash of everything that decides the result: equal keys are equal runs, in any study."""
    factors: dict[str, Factor]
    seed: int
    status: str = "done"
    """`done`, or `failed` if training diverged (see `reason`)."""
    reason: str = ""
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    """By test, then by metric; NaN if undefined."""
    queries: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By test, then by metric: value_N of each held-out product, NaN if it is no query. Products
    and their order are the same in every run of a catalogue and test."""
    categories: dict[str, list[str | None]] = field(default_factory=dict)
    """By test: category of each held-out product, in the order of `queries`; None if it has none.
    Empty in files of earlier versions."""
    config: dict[str, Any] = field(default_factory=dict)
    """All settings of the run."""
    cell: dict[str, Any] = field(default_factory=dict)
    """`Cell.identity`: settings, noises, model, weight function and tests."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Versions, commit, dirty, device, threads, seconds, date."""
    held_out: str = ""
    """Split of the products measured: one of HELD_OUT or EARLIER_HELD_OUT; empty for the toy."""

    def figure(self, test: str, metric: str) -> float:
        """Return a figure; NaN if it was not measured."""
        return self.figures.get(test, {}).get(metric, float("nan"))


def done_runs(records: Iterable[Record], factors: dict[str, Factor]) -> list[Record]:
    """Return the runs of one cell whose training did not fail."""
    return [r for r in records if r.factors == factors and r.status == "done"]


QUERIES = pa.list_(
    pa.struct([("test", pa.string()), ("metric", pa.string()), ("values", pa.list_(pa.float32()))])
)
CATEGORIES = pa.list_(pa.struct([("test", pa.string()), ("values", pa.list_(pa.string()))]))
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("study", "catalogue", "preset", "key", "factors")]
    + [("seed", pa.int64()), ("status", pa.string()), ("reason", pa.string())]
    + [("figures", pa.string()), ("queries", QUERIES), ("categories", CATEGORIES)]
    + [(name, pa.string()) for name in ("config", "cell", "provenance", "held_out")],
    metadata={"scale_studies": VERSION},
)
"""Nested fields are JSON, except the values and categories by product, which are lists."""

JSON_FIELDS = ("factors", "figures", "config", "cell", "provenance")


def write_records(path: Path, records: list[Record]) -> None:
    """Write all runs atomically."""
    table = pa.Table.from_pylist([_row(record) for record in records], schema=SCHEMA)
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def read_records(path: Path | str) -> list[Record]:
    """Read the runs of a file; empty if the file does not exist.

    Raises ValueError with the path if the file does not hold runs of a study.
    """
    path = Path(path)
    if not path.is_file():
        return []
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not a parquet file ({error})") from error
    if (table.schema.metadata or {}).get(b"scale_studies") != VERSION.encode():
        raise ValueError(f"{path}: not the runs of a study, or of another version")
    return [_record(row) for row in table.to_pylist()]


def _row(record: Record) -> dict[str, Any]:
    row = asdict(record)
    for name in JSON_FIELDS:
        row[name] = json.dumps(row[name], sort_keys=True)
    row["queries"] = [
        {"test": test, "metric": metric, "values": values}
        for test, by_metric in record.queries.items()
        for metric, values in by_metric.items()
    ]
    row["categories"] = [{"test": t, "values": values} for t, values in record.categories.items()]
    return row


def _record(row: dict[str, Any]) -> Record:
    queries: dict[str, dict[str, list[float]]] = {}
    for entry in row.pop("queries"):
        queries.setdefault(entry["test"], {})[entry["metric"]] = entry["values"]
    row["categories"] = {e["test"]: e["values"] for e in row.get("categories") or []}
    if row.get("held_out") is None:
        row["held_out"] = "" if row["preset"] == "toy" else EARLIER_HELD_OUT
    parsed = {name: json.loads(row.pop(name)) for name in JSON_FIELDS}
    return Record(**row, **parsed, queries=queries)
