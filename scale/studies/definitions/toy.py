"""Study `toy`: the weightings where the truth is known, in minutes and without a catalogue."""

import hashlib
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from scale.evaluation.report import provenance
from scale.studies.runner import Job, records_path, run_grid, select_records
from scale.studies.study import Cell, Comparison, Record, Study, read_records
from scale.studies.toy import ToySetting, run_toy, toy_grid

NAME = "views"
"""In place of a catalogue's name: the toy draws its own products."""


def toy(quick: bool = False) -> Study:
    """Five noisy views of one latent vector, MLP encoders, InfoNCE over ten pairs (method.md).

    The damage (noisy views, views of another product, missing views) is known, so weights can be
    compared with the truth.
    """
    cells = tuple(
        Cell({"regime": regime, "weighting": weighting}, model="toy")
        for regime, weighting in toy_grid(quick)
    )
    here = {(cell.factors["regime"], cell.factors["weighting"]) for cell in cells}
    claims = [
        ("S' beats uniform weights", "scores", "uniform"),
        ("the posterior beats S'", "posterior", "scores"),
        ("the oracle beats the posterior", "oracle", "posterior"),
        ("S' on the logits beats uniform weights", "logits", "uniform"),
        ("S' on the logits beats its matched control", "logits", "logits_control"),
        ("the released weights beat their matched control", "official", "official_control"),
        ("letting the gradient flow through weights on the loss helps", "scores_flowing", "scores"),
    ]
    comparisons = tuple(
        Comparison(
            f"{regime}: {sentence}",
            {"regime": regime, "weighting": better},
            {"regime": regime, "weighting": worse},
            metric="recall",
        )
        for regime in dict.fromkeys(cell.factors["regime"] for cell in cells)
        for sentence, better, worse in claims
        if {(regime, better), (regime, worse)} <= here
    )
    return Study(
        "toy",
        "Where the truth is known: do weights between modalities find it, and do they help?",
        ("regime", "weighting"),
        cells,
        comparisons,
        metrics=("recall",),
        figure="bars",
    )


def scarcity(quick: bool = False) -> Study:
    """The toy under mismatch with a decreasing number of training products.

    Distribution and number of steps stay the same. Tests why weights that work in the toy may not
    work on a catalogue of a few hundred products.
    """
    sizes = (256, 8192) if quick else (256, 512, 1024, 2048, 8192)
    cells = tuple(
        Cell({"weighting": weighting, "products": products}, {"regime": "mismatch"}, model="toy")
        for weighting in ("uniform", "scores", "posterior", "oracle")
        for products in sizes
    )
    comparisons = tuple(
        Comparison(
            f"{products} products: {sentence}",
            {"weighting": better, "products": products},
            {"weighting": worse, "products": products},
            metric="recall",
        )
        for products in sizes
        for sentence, better, worse in (
            ("S' beats uniform weights", "scores", "uniform"),
            ("the posterior beats uniform weights", "posterior", "uniform"),
            ("the oracle beats the posterior", "oracle", "posterior"),
        )
    )
    return Study(
        "scarcity",
        "From how many products on can weights tell wrong pairs from right ones?",
        ("weighting", "products"),
        cells,
        comparisons,
        metrics=("recall",),
    )


TOY_STUDIES = ("toy", "scarcity")
"""Studies that need no catalogue."""


def run_toy_study(
    study: Study, out: Path, jobs: int | None = None, train: bool = True, progress: bool = True
) -> list[Record]:
    """Return all runs of the study, after training missing ones unless `train` is False."""
    if not train:
        return select_records(study, read_records(records_path(out, study.name, NAME)))
    keys = {
        (index, seed): _key(cell, seed)
        for seed in range(study.seeds)
        for index, cell in enumerate(study.cells)
    }
    return run_grid(study, keys, _work, out, NAME, jobs, progress)


def _setting(cell: Cell, seed: int) -> ToySetting:
    return ToySetting(**cell.settings, **cell.factors, seed=seed)


def _key(cell: Cell, seed: int) -> str:
    text = json.dumps(asdict(_setting(cell, seed)), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _work(job: Job) -> Record:
    started, setting = time.perf_counter(), _setting(job.cell, job.seed)
    values = run_toy(setting)
    facts = provenance(job.seed, started) | {
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    figures = {"held out": {"recall": values.pop("recall")}, "training": values}
    return Record(
        job.study, NAME, "toy", job.key, job.cell.factors, job.seed,
        figures=figures, config=asdict(setting), provenance=facts,
    )  # fmt: skip
