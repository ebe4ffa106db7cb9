"""Definitions of studies and their stored runs."""

import math
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scale.config import PRESETS, Config
from scale.studies import study as store
from scale.studies.clean_contrast import CLEAN_CONTRAST
from scale.studies.definitions import STUDIES
from scale.studies.definitions.contrast import CHOSEN, TRIALS, VARIANTS, best_trials
from scale.studies.definitions.toy import TOY_STUDIES, _setting
from scale.studies.noise import Noise
from scale.studies.released_code import FAULTS
from scale.studies.study import (
    METRICS,
    Cell,
    Comparison,
    Record,
    Study,
    matches,
    read_records,
    write_records,
)
from scale.studies.study import Test as Held
from scale.studies.systems.named import SYSTEMS
from scale.studies.weightings import WEIGHT_FNS
from scale.training.run import differing_keys

MICRO = PRESETS["micro"]()
MODELS = ("scale", CLEAN_CONTRAST, *FAULTS, *SYSTEMS, *(f"{name} everywhere" for name in SYSTEMS))
CELLS = tuple(Cell({"policy": p, "rate": r}) for p in ("zero", "drop") for r in (0.0, 0.5))


def study(**changes):
    whole = {"name": "s", "question": "Is it?", "factors": ("policy", "rate"), "cells": CELLS,
             "comparisons": ()}  # fmt: skip
    return Study(**(whole | changes))


def test_config_changes_only_the_cells_settings():
    settings = {"missing.policy": "learned", "train.steps": 7, "loss.tasks": ["MLM"],
                "model.jct_layers": 0, "loss.temperature": 1}  # fmt: skip
    before = MICRO.to_dict()
    config = Cell({}, settings).config(MICRO, 11)
    assert set(differing_keys(config, MICRO)) == {*settings, "train.seed"}
    assert config.missing.policy == "learned"
    assert config.train.steps == 7
    assert config.train.seed == 11
    assert config.loss.tasks == ("MLM",)
    assert isinstance(config.loss.temperature, float)
    assert MICRO.to_dict() == before
    assert Cell({}).config(MICRO, MICRO.train.seed) == MICRO


def test_seed_of_the_run_overrides_the_cells():
    assert Cell({}, {"train.seed": 3}).config(MICRO, 5).train.seed == 5


def test_unknown_settings_raise():
    wrong = "train.stepz", "trains.steps", "steps", "train.steps.more", "missing.policy.e", "train."
    for name in (*wrong, ""):
        with pytest.raises(ValueError, match=f"unknown setting {name}$"):
            Cell({}, {name: 1}).config(MICRO, 0)


def test_invalid_values_raise():
    for name, value in (("train.steps", "many"), ("missing.policy", "zeros"), ("train", 3)):
        with pytest.raises(ValueError, match=name):
            Cell({}, {name: value}).config(MICRO, 0)


def test_identity_excludes_only_the_factors():
    cell = Cell({"a": 1}, {"train.steps": 3}, (Noise("missing", "text"),), "uniter", "rank")
    assert replace(cell, factors={"b": "2"}).identity() == cell.identity()
    assert set(cell.identity()) == {"settings", "noises", "model", "weigher", "tests"}
    others = (
        {"settings": {"train.steps": 4}},
        {"noises": (Noise("missing", "text", share=0.5),)},
        {"noises": ()},
        {"model": "scale"},
        {"weight_fn": ""},
        {"tests": (Held("held out", complete=True),)},
        {"tests": (Held("held out", fused=True),)},
    )
    # Stored runs of before this field hold tests without it.
    assert [set(t) for t in cell.identity()["tests"]] == [{"name", "noises", "complete", "subsets"}]
    identities = [str(replace(cell, **change).identity()) for change in others]
    assert len({str(cell.identity()), *identities}) == len(others) + 1


def test_matches_compares_the_named_factors():
    factors = {"policy": "zero", "rate": 0.5}
    assert matches(factors, {})
    assert matches(factors, {"rate": 0.5})
    assert not matches(factors, {"rate": 0.5, "policy": "drop"})
    assert not matches(factors, {"speed": 1})


INVALID = [
        ({"factors": ("policy",)}, r"study s: a cell has factors \('policy', 'rate'\)"),
        ({"factors": ("rate", "policy")}, "a cell has factors"),
        ({"cells": (*CELLS, Cell({"policy": "zero"}))}, "a cell has factors"),
        ({"comparisons": (Comparison("c", {"policy": "zero"}, {"policy": "skip"}),)},
         "study s: no cell has {'policy': 'skip'}"),
        ({"comparisons": (Comparison("c", {"policy": "zero", "rate": 0.7}, {"rate": 0.0}),)},
         "no cell has {'policy': 'zero', 'rate': 0.7}"),
        ({"comparisons": (Comparison("c", {"polcy": "zero"}, {"policy": "drop"}),)},
         "no cell has {'polcy': 'zero'}"),
        ({"seeds": 0}, "study s: seeds must be positive"),
        ({"seeds": -1}, "seeds must be positive"),
        ({"cells": (*CELLS, CELLS[0])}, "study s: two cells have {'policy': 'zero', 'rate': 0.0}"),
]  # fmt: skip


def test_invalid_studies_raise():
    for changes, message in INVALID:
        with pytest.raises(ValueError, match=message):
            study(**changes)


def test_with_seeds_changes_only_the_seeds():
    assert study().with_seeds(2) == study(seeds=2)
    with pytest.raises(ValueError, match="seeds must be positive"):
        study().with_seeds(0)


def measured(study, test):
    """Metrics by which a test can be decided; tests/studies/test_cell.py sees them there."""
    if study in TOY_STUDIES:
        return {"recall"}
    known = set(METRICS) - {"recall"}
    return {m for m in known if m.startswith("AUC") == (test == "training")}


MADE = [STUDIES[name](quick) for name in STUDIES for quick in (False, True)]


def test_studies_are_valid():
    assert [study.name for study in MADE] == [name for name in STUDIES for _ in range(2)]
    for made in MADE:
        assert made.question.endswith("?"), made.name
        assert made.figure in ("lines", "bars"), made.name
        assert made.comparisons, made.name
    for name, cell in [(made.name, cell) for made in MADE for cell in made.cells]:
        if name in TOY_STUDIES:
            assert _setting(cell, 3).seed == 3
            assert cell.model == "toy"
            continue
        config = cell.config(MICRO, 0)
        assert isinstance(config, Config)
        derived = {"model.contrast_parameters"}
        assert set(differing_keys(config, MICRO)) - derived <= set(cell.settings), cell
        assert cell.model in MODELS
        assert cell.weight_fn in ("", *WEIGHT_FNS)
        names = [test.name for test in cell.tests]
        assert len(set(names)) == len(names), cell
        assert "training" not in names, "reserved for the diagnosis"


def test_comparisons_use_figures_of_both_sides():
    for made in MADE:
        for comparison in made.comparisons:
            sides = [
                [cell for cell in made.cells if matches(cell.factors, side)]
                for side in (comparison.better, comparison.worse)
            ]
            assert all(sides), comparison.claim
            shared = {id(c) for c in sides[0]} & {id(c) for c in sides[1]}
            # Two metrics of the same models can be compared.
            assert not shared or len(set(comparison.metrics)) == 2, comparison.claim
            assert set(comparison.metrics) <= set(made.metrics)
            for cell in (*sides[0], *sides[1]):
                assert comparison.test in {"training", *(test.name for test in cell.tests)}
            assert set(comparison.metrics) <= measured(made.name, comparison.test)
        claims = [(c.claim, c.test, c.metric) for c in made.comparisons]
        assert len(set(claims)) == len(claims), made.name


def test_metrics_and_retention_are_measured():
    for made in MADE:
        compared = {c.metric for c in made.comparisons}
        known = measured(made.name, "held out") | measured(made.name, "training")
        assert made.metrics[0] in compared, made.name
        assert compared <= set(made.metrics) <= known <= set(METRICS), made.name
        for wanted in made.retention:
            (cell,) = [cell for cell in made.cells if matches(cell.factors, wanted)]
            assert any(t.name == "complete" and t.complete and t.subsets for t in cell.tests)


def test_quick_studies_are_subsets():
    for whole, quick in zip(MADE[::2], MADE[1::2], strict=True):
        assert len(quick.cells) < len(whole.cells), whole.name
        assert quick.factors == whole.factors, whole.name
        assert quick.question == whole.question, whole.name
        places = [cell.factors for cell in whole.cells]
        assert all(cell.factors in places for cell in quick.cells), whole.name
        assert len(quick.comparisons) <= len(whole.comparisons), whole.name


def test_comparison_between_two_values_of_a_factor():
    found = Comparison.between("c", "rate", 0.0, 0.5, "Recall@10", "complete", policy="zero")
    better, worse = {"policy": "zero", "rate": 0.0}, {"policy": "zero", "rate": 0.5}
    assert found == Comparison("c", better, worse, "complete", "Recall@10")


NAN = float("nan")
DONE = Record(
    "missing", "samples", "micro", "ab12", {"policy": "zero", "rate": 0.5, "deep": True, "n": 3}, 7,
    figures={"held out": {"mAP@5": 0.25, "Recall@10": NAN}, "complete": {"mAP@5": 1 / 3}},
    queries={"held out": {"mAP@5": [0.5, NAN, 0.0], "Recall@10": [1.0]}, "complete": {"mAP@5": []}},
    categories={"held out": ["杯子", None, "hat"], "complete": []},
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


def test_records_round_trip(tmp_path):
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


def test_files_without_categories_are_read(tmp_path):
    """Files of earlier versions have no such column."""
    path = tmp_path / "runs.parquet"
    write_records(path, [DONE])
    old = pq.read_table(path).drop_columns("categories")
    pq.write_table(old, path)
    (found,) = read_records(path)
    assert plain(vars(found)) == plain(vars(replace(DONE, categories={})))


def test_missing_file_and_no_runs_are_empty(tmp_path):
    assert read_records(tmp_path / "nowhere.parquet") == []
    write_records(tmp_path / "runs.parquet", [])
    assert read_records(tmp_path / "runs.parquet") == []
    write_records(tmp_path / "runs.parquet", [FAILED])
    assert read_records(tmp_path / "runs.parquet") == [FAILED]


def test_invalid_files_raise(tmp_path):
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


def test_file_of_another_version_raises(tmp_path, monkeypatch):
    path = tmp_path / "runs.parquet"
    write_records(path, [DONE])
    monkeypatch.setattr(store, "VERSION", "99")
    with pytest.raises(ValueError, match="or of another version"):
        read_records(path)


def test_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
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


def test_best_trials_are_chosen_on_validation_products():
    def tuning(setting, values, seed, held_out="val"):
        factors = {"catalogue": "as it is", "loss": "gram", "smoothing": 0.1, "setting": setting}
        figures = {"held out": dict(zip(("Recall@10", "mAP@5"), values, strict=True))}
        return replace(DONE, factors=factors, figures=figures, seed=seed, held_out=held_out)

    # The second has the better mean of both metrics and seeds.
    runs = [tuning("t 0.07", (0.9, 0.1), 0), tuning("t 0.07", (0.5, 0.1), 1)]
    runs += [tuning("t 0.15", (0.4, 0.5), seed) for seed in (0, 1)]
    assert best_trials(runs) == {("gram", 0.1): "t 0.15"}
    with pytest.raises(ValueError, match="measured on test, not on val"):
        best_trials([*runs, tuning("t 0.3", (1.0, 1.0), 0, "test")])


def test_every_variant_of_contrast_has_a_chosen_setting_of_its_own_trials():
    assert set(CHOSEN) == set(VARIANTS)
    assert all(CHOSEN[loss, smoothing] in TRIALS[loss] for loss, smoothing in VARIANTS)
    assert {len(trials) for trials in TRIALS.values()} == {5}, "each loss is tuned equally"
