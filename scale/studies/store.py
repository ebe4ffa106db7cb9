"""Finished runs in one parquet file a study and catalogue: a row is a run.

N held-out products of a test.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scale.files import replacing
from scale.studies.study import Factor

VERSION = "1"
"""Of the file's layout."""


@dataclass(frozen=True)
class Record:
    """One run: what it was, what it measured, and where the numbers come from."""

    study: str
    catalogue: str
    """Name of the catalogue."""
    preset: str
    key: str
    """Hash of all that decides the result: equal keys are equal runs, in any study."""
    factors: dict[str, Factor]
    seed: int
    status: str = "done"
    """`done`, or `failed`: it cannot be trained, and `reason` says why."""
    reason: str = ""
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    """By test, then by metric; NaN where nothing could be measured."""
    queries: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By test, then by metric: value_N of each held-out product, NaN where it did not ask. The
    products and their order are the same in every run of a catalogue and test."""
    config: dict[str, Any] = field(default_factory=dict)
    """All settings of the run."""
    cell: dict[str, Any] = field(default_factory=dict)
    """`Cell.identity`: noises, model, weigher and tests."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Versions, commit, dirty, device, threads, seconds, date."""


QUERIES = pa.list_(
    pa.struct([("test", pa.string()), ("metric", pa.string()), ("values", pa.list_(pa.float32()))])
)
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("study", "catalogue", "preset", "key", "factors")]
    + [("seed", pa.int64()), ("status", pa.string()), ("reason", pa.string())]
    + [("figures", pa.string()), ("queries", QUERIES)]
    + [(name, pa.string()) for name in ("config", "cell", "provenance")],
    metadata={"scale_studies": VERSION},
)
"""Nested fields are JSON, but for the values by product, which are lists of numbers."""

JSON_FIELDS = ("factors", "figures", "config", "cell", "provenance")


def write_records(path: Path, records: list[Record]) -> None:
    """Write all runs, whole or not at all."""
    table = pa.Table.from_pylist([_row(record) for record in records], schema=SCHEMA)
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def read_records(path: Path | str) -> list[Record]:
    """Inverse of `write_records`; empty where there is no such file.

    Raises ValueError that names the path where it is not a file of studies.
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
    return row


def _record(row: dict[str, Any]) -> Record:
    queries: dict[str, dict[str, list[float]]] = {}
    for entry in row.pop("queries"):
        queries.setdefault(entry["test"], {})[entry["metric"]] = entry["values"]
    parsed = {name: json.loads(row.pop(name)) for name in JSON_FIELDS}
    return Record(**row, **parsed, queries=queries)
