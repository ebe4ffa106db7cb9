"""Runs in a file: what comes back is what went in, and a file is whole or as before."""

import math
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scale.studies import study as store
from scale.studies.study import Record, read_records, write_records

NAN = float("nan")
DONE = Record(
    "missing", "samples", "micro", "ab12", {"policy": "zero", "rate": 0.5, "deep": True, "n": 3}, 7,
    figures={"held out": {"mAP@5": 0.25, "Recall@10": NAN}, "complete": {"mAP@5": 1 / 3}},
    queries={"held out": {"mAP@5": [0.5, NAN, 0.0], "Recall@10": [1.0]}, "complete": {"mAP@5": []}},
    config={"train": {"steps": 3, "learning_rate": 1e-3}, "loss": {"tasks": ["contrastive"]}},
    cell={"model": "scale", "noises": [{"kind": "missing", "share": 0.1}]},
    provenance={"versions": {"torch": "2"}, "commit": None, "dirty": True, "seconds": 1.5},
)  # fmt: skip
FAILED = Record(
    "missing", "samples", "micro", "cd34", {"policy": "drop", "rate": 1.0, "deep": False, "n": 0},
    8, "failed", "0 of 9 products: “none” is left | 没有\nat all",
)  # fmt: skip


def plain(value):
    """The same with a word for NaN, which equals nothing."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def test_records_come_back_as_they_were(tmp_path):
    path = tmp_path / "new" / "runs.parquet"
    write_records(path, [DONE, FAILED])
    found = read_records(path)
    assert [plain(vars(r)) for r in found] == [plain(vars(r)) for r in (DONE, FAILED)]
    assert found[1] == FAILED
    assert read_records(str(path))[1] == FAILED
    kinds = [type(value) for value in DONE.factors.values()]
    assert [type(found[0].factors[name]) for name in DONE.factors] == kinds


def test_values_by_product_are_kept_in_single_precision(tmp_path):
    record = replace(DONE, queries={"held out": {"mAP@5": [0.1]}})
    write_records(tmp_path / "r.parquet", [record])
    (value,) = read_records(tmp_path / "r.parquet")[0].queries["held out"]["mAP@5"]
    assert value == pytest.approx(0.1, rel=1e-7)


def test_nothing_there_and_no_runs_are_both_empty(tmp_path):
    assert read_records(tmp_path / "nowhere.parquet") == []
    write_records(tmp_path / "runs.parquet", [])
    assert read_records(tmp_path / "runs.parquet") == []
    write_records(tmp_path / "runs.parquet", [FAILED])
    assert read_records(tmp_path / "runs.parquet") == [FAILED]


def test_strange_files_are_named(tmp_path):
    path = tmp_path / "runs.parquet"
    write_records(path, [DONE])
    whole = path.read_bytes()
    for content in (b"", b"id,title\n1,cup\n", whole[: len(whole) // 2], whole[:-9]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"runs\.parquet: not a parquet file"):
            read_records(path)
    # Whole at both ends, spoilt between.
    path.write_bytes(whole[:4] + bytes(len(whole) - 12) + whole[-8:])
    with pytest.raises(ValueError, match=r"runs\.parquet: not a parquet file"):
        read_records(path)
    pq.write_table(pa.table({"study": ["missing"]}), path)
    with pytest.raises(ValueError, match=r"runs\.parquet: not the runs of a study"):
        read_records(path)


def test_a_file_of_another_version_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "runs.parquet"
    write_records(path, [DONE])
    monkeypatch.setattr(store, "VERSION", "99")
    with pytest.raises(ValueError, match="or of another version"):
        read_records(path)


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "runs.parquet"
    write_records(path, [FAILED])
    original = pq.write_table

    def dying(table, partial, **options):
        original(table, partial, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(store.pq, "write_table", dying)
    with pytest.raises(KeyboardInterrupt):
        write_records(path, [DONE, FAILED])
    assert read_records(path) == [FAILED]
    assert [p.name for p in tmp_path.iterdir()] == ["runs.parquet"]
