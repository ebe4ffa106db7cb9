"""Studies `toy` and `scarcity`: weightings with known truth, in minutes, without a catalogue."""

import time
from dataclasses import asdict
from pathlib import Path

from scale.studies.runner import Job, digest, records_path, run_facts, run_grid, select_records
from scale.studies.study import Cell, Comparison, Record, Study, read_records
from scale.studies.toy import REGIMES, WEIGHTINGS, ToySetting, run_toy

NAME = "views"
"""Used in place of a catalogue's name: the toy draws its own products."""
CORE = ("uniform", "scores", "posterior", "oracle")
"""Weightings of every regime, and of `scarcity`."""


def toy(quick: bool = False) -> Study:
    """Five noisy views of one latent vector, MLP encoders, InfoNCE over ten pairs (method.md).

    The damage (noisy views, views of another product, missing views) is known, so weights can be
    compared with the truth.
    """
    main = ("clean", "noise", "mismatch")
    if quick:
        places = [(regime, weighting) for regime in main for weighting in CORE]
        places += [("noise", name) for name in ("logits", "logits_control", "scores_flowing")]
    else:
        places = [(r, w) for r in REGIMES for w in WEIGHTINGS if r in main or w in CORE]
    claims = [
        ("S' beats uniform weights", "scores", "uniform"),
        ("the posterior beats S'", "posterior", "scores"),
        ("the oracle beats the posterior", "oracle", "posterior"),
        ("S' on the logits beats uniform weights", "logits", "uniform"),
        ("S' on the logits beats its matched control", "logits", "logits_control"),
        ("the released weights beat their matched control", "official", "official_control"),
        ("letting the gradient flow through weights on the loss helps", "scores_flowing", "scores"),
    ]
    return Study(
        "toy",
        "With known truth: do weights between modalities find wrong pairs, and do they help?",
        ("regime", "weighting"),
        tuple(Cell({"regime": r, "weighting": w}, model="toy") for r, w in places),
        tuple(
            Comparison.between(f"{r}: {claim}", "weighting", better, worse, "recall", regime=r)
            for r in dict.fromkeys(regime for regime, _ in places)
            for claim, better, worse in claims
            if {(r, better), (r, worse)} <= set(places)
        ),
        metrics=("recall",),
        figure="bars",
    )


def scarcity(quick: bool = False) -> Study:
    """The toy under mismatch with a decreasing number of training products.

    Distribution and number of steps stay the same. Tests why weights that work in the toy may not
    work on a catalogue of a few hundred products.
    """
    sizes = (256, 8192) if quick else (256, 512, 1024, 2048, 8192)
    claims = (
        ("S' beats uniform weights", "scores", "uniform"),
        ("the posterior beats uniform weights", "posterior", "uniform"),
        ("the oracle beats the posterior", "oracle", "posterior"),
    )
    return Study(
        "scarcity",
        "How many products do weights need to separate wrong pairs from right ones?",
        ("weighting", "products"),
        tuple(
            Cell({"weighting": w, "products": size}, {"regime": "mismatch"}, model="toy")
            for w in CORE
            for size in sizes
        ),
        tuple(
            Comparison.between(
                f"{size} products: {claim}", "weighting", better, worse, "recall", products=size
            )
            for size in sizes
            for claim, better, worse in claims
        ),
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
    return run_grid(study, _key, _work, out, NAME, jobs, progress)


def _setting(cell: Cell, seed: int) -> ToySetting:
    return ToySetting(**cell.settings, **cell.factors, seed=seed)


def _key(cell: Cell, seed: int) -> str:
    return digest(asdict(_setting(cell, seed)))


def _work(job: Job) -> Record:
    started, setting = time.perf_counter(), _setting(job.cell, job.seed)
    values = run_toy(setting)
    figures = {"held out": {"recall": values.pop("recall")}, "training": values}
    return Record(
        job.study, NAME, "toy", job.key, job.cell.factors, job.seed,
        figures=figures, config=asdict(setting), provenance=run_facts(job.seed, started),
    )  # fmt: skip
