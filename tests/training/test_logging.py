"""Log files of a run: scores, resumed runs, values that are not finite."""

import math

import numpy as np
import torch

from scale.modalities import INDEX
from scale.training.logging import METRICS, MetricsLogger, read_metrics, read_scores


def test_scores_are_means_over_the_products_with_both_modalities(tmp_path):
    random = torch.Generator().manual_seed(0)
    weighted_BMM = torch.rand(9, 5, 5, generator=random)
    weighted_BMM[0, 1, 2] = math.nan
    present_BM = torch.rand(9, 5, generator=random) > 0.4
    present_BM[0, 1:3] = True
    present_BM[:, 4] = torch.arange(9) < 2
    present_BM[:2, 3] = False
    logger = MetricsLogger(tmp_path, 0)
    logger.add_scores(7, weighted_BMM, present_BM)
    logger.flush()
    rows = read_scores(tmp_path)
    assert len(rows) == 25
    for row in rows:
        i, j = INDEX[row["row"]], INDEX[row["column"]]
        both = [b for b in range(9) if present_BM[b, i] and present_BM[b, j]]
        values = [v for b in both if not math.isnan(v := weighted_BMM[b, i, j].item())]
        assert (row["step"], row["products"]) == (7, len(both))
        if values:
            np.testing.assert_allclose((row["mean"], row["std"]), (np.mean(values), np.std(values)))
        else:
            assert row["mean"] is row["std"] is None
    assert any(row["mean"] is None for row in rows)


def test_resumed_run_drops_later_entries_and_unfinished_files(tmp_path):
    logger = MetricsLogger(tmp_path, 0)
    for step in (1, 2, 3):
        logger.add(step, {"a": float(step)})
        logger.add_scores(step, torch.ones(2, 5, 5), torch.ones(2, 5, dtype=torch.bool))
    logger.flush()
    unfinished = tmp_path / f".123.{METRICS}"
    unfinished.write_text("half")
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 3, "a"')
    resumed = MetricsLogger(tmp_path, 2)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]
    assert {row["step"] for row in read_scores(tmp_path)} == {1, 2}
    assert not unfinished.exists()
    assert [resumed.has(2, "a"), resumed.has(2, "b"), resumed.has(3, "a")] == [True, False, False]


def test_values_that_are_not_finite_are_written_as_null(tmp_path):
    logger = MetricsLogger(tmp_path, 0)
    logger.add(1, {"a": math.nan, "b": math.inf, "c": 2.0})
    assert read_metrics(tmp_path) == [{"step": 1, "a": None, "b": None, "c": 2.0}]
    logger.close()
