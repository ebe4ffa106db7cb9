"""Studies over cells and seeds: finished runs are kept and only missing ones are run."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from scale.studies import runner
from scale.studies.definitions.contrast import contrast
from scale.studies.noise import missing_at_random
from scale.studies.report import markdown
from scale.studies.runner import (
    Job,
    StudyError,
    load_finished,
    load_study_data,
    records_path,
    run_grid,
    run_study,
    select_records,
)
from scale.studies.statistics import summarise
from scale.studies.study import Cell, Record, Study, read_records, write_records
from scale.studies.study import Test as Held
from tests.processes import fork_workers
from tests.studies import grid_work

FATES = ("a", "b", "c")


def study(*fates, name="s", seeds=2):
    cells = tuple(Cell({"fate": fate}) for fate in fates or FATES)
    return Study(name, "Is it?", ("fate",), cells, (), seeds=seeds)


def key_of(cell, seed):
    """Return one key per fate and seed, whatever the study."""
    return f"{next(iter(cell.factors.values()))}{seed}"


class Work:
    """Makes records in this process and remembers which; a fate may end it otherwise."""

    def __init__(self):
        self.done, self.lock = [], threading.Lock()

    def __call__(self, job: Job) -> Record:
        fate = next(iter(job.cell.factors.values()))
        with self.lock:
            self.done.append(job.key)
        if isinstance(fate, str) and fate in RAISED:
            raise RAISED[fate]
        figures = {"held out": {"mAP@5": job.seed + 0.5}}
        made = Record(job.study, "cat", "micro", job.key, job.cell.factors, job.seed,
                      figures=figures, cell=job.cell.identity())  # fmt: skip
        if fate == "fails":
            made = replace(made, status="failed", reason="nothing is left", figures={})
        return made


RAISED = {"raises": KeyError("no such thing"), "refuses": ValueError("unknown weight 'best'"),
          "stops": KeyboardInterrupt()}  # fmt: skip


@pytest.fixture
def threads(monkeypatch):
    """Workers are threads: spawned processes take seconds to start."""
    monkeypatch.setattr(
        runner, "ProcessPoolExecutor", lambda workers, *_: ThreadPoolExecutor(workers)
    )


def run(made, out, work=None, jobs=1):
    work = work or Work()
    return run_grid(made, key_of, work, Path(out), "cat", jobs, False)


def runs_of(records):
    return [(r.factors["fate"], r.seed) for r in records]


@pytest.mark.parametrize("jobs", [1, 3])
def test_records_are_ordered_by_cell_and_stored(threads, tmp_path, jobs):
    work = Work()
    records = run(study(), tmp_path, work, jobs)
    assert runs_of(records) == [(fate, seed) for fate in FATES for seed in (0, 1)]
    assert [r.figures["held out"]["mAP@5"] for r in records] == [0.5, 1.5] * 3
    written = read_records(tmp_path / "s-cat.parquet")
    assert [r.key for r in written] == [r.key for r in records]
    assert records_path(tmp_path, "s", "cat") == tmp_path / "s-cat.parquet"
    if jobs == 1:
        assert work.done == ["a0", "b0", "c0", "a1", "b1", "c1"], "seeds go round by round"


def test_finished_runs_are_not_repeated(threads, tmp_path):
    run(study("a", "b", seeds=1), tmp_path)
    work = Work()
    records = run(study(), tmp_path, work)
    assert sorted(work.done) == ["a1", "b1", "c0", "c1"]
    assert len(records) == 6
    work = Work()
    assert run(study(), tmp_path, work) == read_records(tmp_path / "s-cat.parquet")
    assert work.done == []


def test_failed_trainings_are_stored(threads, tmp_path):
    records = run(study("a", "fails"), tmp_path)
    assert [r.status for r in records] == ["done", "done", "failed", "failed"]
    assert records[2].reason == "nothing is left"
    work = Work()
    run(study("a", "fails"), tmp_path, work)
    assert work.done == [], "they would fail again"


@pytest.mark.parametrize(
    ("fate", "error", "message"),
    [
        ("raises", StudyError, r"s: cell {'fate': 'raises'}, seed 0: KeyError: 'no such thing'"),
        ("refuses", ValueError, "unknown weight 'best'"),
        ("stops", KeyboardInterrupt, None),
    ],
)
def test_finished_runs_survive_an_error(threads, tmp_path, fate, error, message):
    with pytest.raises(error, match=message):
        run(study("a", fate, "c"), tmp_path)
    assert ("a", 0) in runs_of(read_records(tmp_path / "s-cat.parquet"))
    work = Work()
    run(study("a", "c"), tmp_path, work)
    assert "a0" not in work.done


def test_killed_worker_raises(tmp_path, monkeypatch):
    """A separate process, killed as by the kernel when memory is exhausted."""
    fork_workers(monkeypatch)
    made = study("a", "dies", "c", seeds=1)
    with pytest.raises(StudyError, match=r"s: a worker process died .* fewer --jobs"):
        run(made, tmp_path, grid_work.measure)
    (kept,) = read_records(tmp_path / "s-cat.parquet")
    assert kept.factors == {"fate": "a"}
    assert kept.figures == {"held out": {"mAP@5": 0.5}}


def test_runs_of_another_study_are_reused(threads, tmp_path):
    run(study("a", "b", name="other"), tmp_path)
    cells = (Cell({"letter": "b", "n": 1}), Cell({"letter": "c", "n": 1}))
    mine = Study("mine", "Is it?", ("letter", "n"), cells, (), seeds=2)
    work = Work()
    records = run(mine, tmp_path, work)
    assert sorted(work.done) == ["c0", "c1"]
    assert {r.study for r in records} == {"mine"}
    assert [r.factors for r in records] == [{"letter": x, "n": 1} for x in "bbcc"]
    assert {r.study for r in read_records(tmp_path / "other-cat.parquet")} == {"other"}
    # Of another catalogue they are other runs.
    work = Work()
    run_grid(mine, key_of, work, tmp_path, "dog", 1, False)
    assert len(work.done) == 4


def test_equal_cells_are_run_once(threads, tmp_path):
    made, work = study("a", "b", seeds=1), Work()
    records = run_grid(made, lambda *_: "same", work, tmp_path, "cat", 1, False)
    assert work.done == ["same"]
    assert runs_of(records) == [("a", 0), ("b", 0)]


def test_smaller_grid_keeps_other_records(threads, tmp_path):
    """`--quick`, or fewer seeds, after hours of the whole study."""
    whole = study(seeds=3)
    run(whole, tmp_path)
    smaller = study("a", "new", seeds=1)
    assert runs_of(run(smaller, tmp_path)) == [("a", 0), ("new", 0)]
    assert len(read_records(tmp_path / "s-cat.parquet")) == 9 + 1
    work = Work()
    assert runs_of(run(whole, tmp_path, work)) == [(f, s) for f in FATES for s in (0, 1, 2)]
    assert work.done == []
    found = load_finished(whole, tmp_path / "cat", tmp_path)
    assert runs_of(found) == [(f, s) for f in FATES for s in (0, 1, 2)]
    assert runs_of(load_finished(smaller, tmp_path / "cat", tmp_path)) == [
        ("a", 0), ("a", 1), ("a", 2), ("new", 0),
    ]  # fmt: skip


def test_outdated_records_are_not_loaded(threads, tmp_path):
    made = study(seeds=1)
    records = run(made, tmp_path)
    path = tmp_path / "s-cat.parquet"
    old = replace(records[0], key="old", cell={**records[0].cell, "model": "uniter"})
    large = replace(records[1], key="large", preset="tiny")
    copy = replace(records[2], key="copy")
    write_records(path, [old, large, *records, copy])
    found = load_finished(made, tmp_path / "cat", tmp_path)
    assert [r.key for r in found] == [r.key for r in records]
    assert [r.key for r in load_finished(made, "cat", tmp_path, "tiny")] == ["large"]
    assert load_finished(study(name="t"), "cat", tmp_path) == []
    # The toy's runs have no cell.
    assert len(select_records(made, [replace(r, cell={}) for r in records])) == 3


def test_runs_of_different_splits_never_mix(threads, tmp_path):
    """A default is chosen on val and reported on test; earlier files measured both together."""
    made, path = study("a", seeds=1), tmp_path / "s-cat.parquet"
    (record,) = run(made, tmp_path)
    splits = ("val", "val+test", "test")
    write_records(path, [replace(record, key=split, held_out=split) for split in splits])
    for split in splits:
        assert [r.key for r in load_finished(made, "cat", tmp_path, held_out=split)] == [split]
    assert [r.key for r in load_finished(made, "cat", tmp_path)] == ["test"]
    mixed = [replace(r, seed=n) for n, r in enumerate(read_records(path))]
    with pytest.raises(ValueError, match="more than one held_out"):
        summarise(made, mixed)
    # Files of earlier versions have no such column.
    table = pq.read_table(path).drop_columns(["held_out"])
    pq.write_table(table.slice(0, 1), path)
    (old,) = load_finished(made, "cat", tmp_path)
    assert old.held_out == "val+test"
    assert "validation and test products together" in markdown(summarise(made, [old]))
    assert "held-out products, val+test" in markdown(summarise(made, [old]))


def test_invalid_file_raises_without_data_loss(threads, tmp_path):
    run(study(seeds=1), tmp_path)
    before = (tmp_path / "s-cat.parquet").read_bytes()
    (tmp_path / "x-cat.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"x-cat\.parquet: not a parquet file"):
        run(study(), tmp_path)
    assert (tmp_path / "s-cat.parquet").read_bytes() == before


TINY = {
    "train.steps": 2, "train.batch_size": 8, "model.width": 16, "model.heads": 1,
    "model.encoder_layers": 1, "train.device": "cpu",
}  # fmt: skip
"""Makes the preset `micro`, which spawned workers see, a model of seconds."""


@pytest.fixture
def real(tmp_path, monkeypatch):
    """Two cells on `micro`, of which one cannot be trained."""
    monkeypatch.setenv("SCALE_CACHE", str(tmp_path / "cache"))
    load_study_data.cache_clear()
    tests = (Held("held out"), Held("complete", complete=True))
    cells = (
        Cell({"policy": "zero"}, TINY, tests=tests),
        Cell({"policy": "drop"}, TINY | {"missing.policy": "drop"}, missing_at_random(1.0)),
    )
    yield Study("small", "Does it run?", ("policy",), cells, (), seeds=1)
    load_study_data.cache_clear()


def test_study_runs_in_another_process_and_resumes(real, small_catalogue, tmp_path, monkeypatch):
    out = tmp_path / "out"
    fork_workers(monkeypatch)
    done, failed = run_study(real, small_catalogue, out, jobs=1, progress=False)
    assert (done.status, failed.status) == ("done", "failed")
    assert "products can be used for training" in failed.reason
    assert set(done.figures) == {"held out", "complete", "training"}
    assert len(done.queries["held out"]["mAP@5"]) == 9
    assert done.catalogue == small_catalogue.name
    assert done.preset == "micro"
    assert done.config["train"]["steps"] == 2
    assert [r.key for r in load_finished(real, small_catalogue, out)] == [done.key, failed.key]
    # Nothing is left to do, also for a study that names the same cell otherwise.
    monkeypatch.setattr(runner, "run_cell", lambda *_: pytest.fail("it was run again"))
    monkeypatch.setattr(
        runner, "ProcessPoolExecutor", lambda workers, *_: ThreadPoolExecutor(workers)
    )
    again = run_study(real, small_catalogue, out, jobs=1, progress=False)
    assert [r.provenance["date"] for r in again] == [r.provenance["date"] for r in (done, failed)]
    other = Study("renamed", "Again?", ("name",), (replace(real.cells[0], factors={"name": 1}),),
                  (), seeds=1)  # fmt: skip
    (taken,) = run_study(other, small_catalogue, out, progress=False)
    assert (taken.study, taken.factors, taken.key) == ("renamed", {"name": 1}, done.key)
    np.testing.assert_array_equal(
        taken.queries["held out"]["mAP@5"], np.float32(done.queries["held out"]["mAP@5"])
    )


def test_every_loss_of_the_study_contrast_trains(real, small_catalogue):
    bench = load_study_data(small_catalogue, "micro")
    cells = [cell for cell in contrast().cells if cell.factors["catalogue"] == "30 % missing"]
    assert len(cells) == 10
    for cell in cells:
        cell = replace(cell, settings=cell.settings | TINY)
        found = runner.run_cell(bench, "contrast", "key", cell, seed=0)
        assert found.status == "done", found.reason
        assert np.isfinite(found.figure("held out", "Recall@10"))


def test_key_depends_on_everything_that_decides_a_run(real, small_catalogue, monkeypatch):
    bench, cell = load_study_data(small_catalogue, "micro"), real.cells[0]
    key = runner._key(bench, cell, 0)
    assert key == runner._key(bench, replace(cell, factors={"called": "otherwise"}), 0)
    others = [
        runner._key(bench, cell, 1),
        runner._key(replace(bench, fingerprint="x"), cell, 0),
        runner._key(replace(bench, held_out="val"), cell, 0),
        runner._key(bench, replace(cell, settings=TINY | {"train.steps": 3}), 0),
        runner._key(bench, replace(cell, noises=missing_at_random(0.5)), 0),
        runner._key(bench, replace(cell, noises=missing_at_random(0.6)), 0),
        runner._key(bench, replace(cell, model="uniter"), 0),
        runner._key(bench, replace(cell, weight_fn="rank"), 0),
        runner._key(bench, replace(cell, tests=()), 0),
    ]
    # A preset's own settings count, also those that the cell does not name.
    larger = replace(bench.config, mask=replace(bench.config.mask, rate=0.3))
    others.append(runner._key(replace(bench, config=larger), cell, 0))
    monkeypatch.setattr(runner, "code_version", lambda: "other code")
    others.append(runner._key(bench, cell, 0))
    assert len({key, *others}) == len(others) + 1


def test_code_of_every_room_that_decides_a_run_is_part_of_the_key(tmp_path, monkeypatch):
    package = Path(runner.__file__).parents[1]
    copy = shutil.copytree(
        package, tmp_path / "scale", ignore=shutil.ignore_patterns("__pycache__")
    )
    monkeypatch.setattr(runner, "__file__", str(copy / "studies" / "runner.py"))
    before = runner.code_version.__wrapped__()
    for name in (
        "losses/contrastive.py",
        "model/scores.py",
        "studies/noise.py",
        "data/features.py",
    ):
        source = (copy / name).read_text()
        (copy / name).write_text(f"# A comment.\n{source}")
        assert runner.code_version.__wrapped__() == before
        (copy / name).write_text(f"{source}\nNEW = 1\n")
        assert runner.code_version.__wrapped__() != before
        (copy / name).write_text(source)
    (copy / "viz" / "theme.py").write_text("")
    assert runner.code_version.__wrapped__() == before


def test_invalid_preset_or_setting_raises(real, small_catalogue, tmp_path):
    with pytest.raises(ValueError, match="unknown preset 'huge'"):
        run_study(real, small_catalogue, tmp_path / "out", preset="huge")
    wrong = replace(real, cells=(replace(real.cells[0], settings={"train.stepz": 1}),))
    with pytest.raises(ValueError, match=r"unknown setting train\.stepz"):
        run_study(wrong, small_catalogue, tmp_path / "out")
    assert not (tmp_path / "out").exists()
