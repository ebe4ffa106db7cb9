"""Studies `contrast` (losses of other authors) and `contrast_tuning` (their settings)."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from scale.studies.definitions.weighting import CONTRAST, METRICS
from scale.studies.noise import Noise, missing_at_random
from scale.studies.study import Cell, Comparison, Record, Study

CATALOGUES: dict[str, tuple[Noise, ...]] = {
    "as it is": (),
    "30 % missing": missing_at_random(0.3),
}
"""Training products: those of the catalogue, and without 30 % of each modality."""
SMOOTHING = (0.0, 0.1)
"""GRAM and TRIANGLE smooth by 0.1."""
SOFTMAX = ("pairwise", "symile", "gram", "confu")
VARIANTS = (
    *((loss, smoothing) for loss in SOFTMAX for smoothing in SMOOTHING),
    ("siglip", 0.0),
    ("rince", 0.0),
)
"""Loss and label smoothing, which exists with a softmax only."""

Trials = dict[str, dict[str, Any]]
TEMPERATURES: Trials = {f"t {t:g}": {"loss.temperature": t} for t in (0.03, 0.07, 0.15, 0.3, 0.6)}
TRIALS: dict[str, Trials] = {
    **dict.fromkeys(SOFTMAX, TEMPERATURES),
    # A bias of -0.5 / t answers yes above a cosine of 0.5; -10 and 0.1 are its authors' start.
    "siglip": {
        f"t {t:g}, bias {bias:g}": {
            "loss.temperature": t, "loss.siglip_bias": bias, "loss.temperature_learned": True,
        }
        for t, bias in ((0.03, -16.7), (0.07, -7.1), (0.1, -10.0), (0.15, -3.3), (0.3, -1.7))
    },
    "rince": {
        f"t {t:g}, q {q:g}": {"loss.temperature": t, "loss.rince_q": q}
        for t, q in ((0.07, 0.1), (0.15, 0.1), (0.3, 0.1), (0.6, 0.1), (0.3, 0.5))
    },
}  # fmt: skip
"""Five settings of each loss, by name."""

CHOSEN: dict[tuple[str, float], str] = {
    ("pairwise", 0.0): "t 0.03",
    ("pairwise", 0.1): "t 0.3",
    ("symile", 0.0): "t 0.07",
    ("symile", 0.1): "t 0.03",
    ("gram", 0.0): "t 0.03",
    ("gram", 0.1): "t 0.03",
    ("confu", 0.0): "t 0.03",
    ("confu", 0.1): "t 0.15",
    ("siglip", 0.0): "t 0.07, bias -7.1",
    ("rince", 0.0): "t 0.15, q 0.1",
}
"""Settings of the study `contrast`: `best_trials` after `contrast_tuning --quick`, one seed,
preset `pretrained`, on the validation products of data_samples. Most differences are below 0.02."""


def contrast(quick: bool = False) -> Study:
    """Contrastive losses of other authors, each with its setting in `CHOSEN`.

    Trained on the contrastive loss alone and measured as everywhere, by cosines of the encoders'
    features: Symile's own retrieval by the multilinear inner product, and GRAM's by volumes, would
    need all other modalities in the query. GRAM's matching loss is left out.
    """
    catalogues = ("as it is",) if quick else tuple(CATALOGUES)
    cells = tuple(
        Cell(
            {"catalogue": catalogue, "loss": loss, "smoothing": smoothing},
            _settings(loss, smoothing, CHOSEN[loss, smoothing]),
            CATALOGUES[catalogue],
        )
        for catalogue in catalogues
        for loss, smoothing in VARIANTS
    )
    claims = []
    for metric in METRICS:
        for catalogue in catalogues:
            pairwise = {"catalogue": catalogue, "loss": "pairwise", "smoothing": 0.0}
            for loss in ("siglip", "rince", "symile", "gram", "confu"):
                claims.append(Comparison(f"{catalogue}: {loss} beats the pairs", pairwise | {
                    "loss": loss}, pairwise, metric=metric))  # fmt: skip
            for loss in SOFTMAX:
                claims.append(Comparison.between(
                    f"{catalogue}: label smoothing helps {loss}", "smoothing", *SMOOTHING[::-1],
                    metric, catalogue=catalogue, loss=loss,
                ))  # fmt: skip
    return Study(
        "contrast",
        "Does a newer contrastive loss, or label smoothing, beat InfoNCE of the pairs?",
        ("catalogue", "loss", "smoothing"),
        cells,
        tuple(claims),
        metrics=METRICS,
        figure="bars",
    )


def contrast_tuning(quick: bool = False) -> Study:
    """Five settings of each loss, to be measured on the validation products (`--held-out val`)."""
    catalogues = ("as it is",) if quick else tuple(CATALOGUES)
    cells = tuple(
        Cell(
            {"catalogue": catalogue, "loss": loss, "smoothing": smoothing, "setting": trial},
            _settings(loss, smoothing, trial),
            CATALOGUES[catalogue],
        )
        for catalogue in catalogues
        for loss, smoothing in VARIANTS
        for trial in TRIALS[loss]
    )
    claims = [
        Comparison.between(
            f"{loss}, smoothing {smoothing:g}: {CHOSEN[loss, smoothing]} beats {trial}", "setting",
            CHOSEN[loss, smoothing], trial, metric, loss=loss, smoothing=smoothing,
        )
        for metric in METRICS
        for loss, smoothing in VARIANTS
        for trial in TRIALS[loss]
        if trial != CHOSEN[loss, smoothing]
    ]  # fmt: skip
    return Study(
        "contrast_tuning",
        "Which temperature suits each contrastive loss?",
        ("catalogue", "loss", "smoothing", "setting"),
        cells,
        tuple(claims),
        metrics=METRICS,
        seeds=3,
        figure="bars",
    )


def best_trials(records: Iterable[Record]) -> dict[tuple[str, float], str]:
    """Return the setting of each variant with the best mean of mAP@5 and Recall@10.

    Means over seeds and catalogues of runs of `contrast_tuning`, which must be measured on
    validation products (ValueError otherwise).
    """
    found: dict[tuple[str, float], dict[str, list[float]]] = {}
    for record in records:
        if record.held_out != "val":
            raise ValueError(f"measured on {record.held_out}, not on val: --held-out val")
        f = record.factors
        score = np.mean([record.figure("held out", metric) for metric in METRICS])
        found.setdefault((f["loss"], f["smoothing"]), {}).setdefault(f["setting"], []).append(score)
    return {
        variant: max(scores, key=lambda trial, scores=scores: np.mean(scores[trial]))
        for variant, scores in found.items()
    }


def _settings(loss: str, smoothing: float, trial: str) -> dict[str, Any]:
    chosen = {"loss.contrast": loss, "loss.label_smoothing": smoothing}
    return CONTRAST | chosen | TRIALS[loss][trial]
