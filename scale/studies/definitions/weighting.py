"""Studies `weighting`, `harmony` and `memorising`: do weights by S' help on noisy products?"""

from dataclasses import asdict
from typing import Any

from scale.config import LossConfig, official_loss
from scale.studies.noise import Noise, mismatch_uneven, missing_at_random
from scale.studies.study import Cell, Comparison, Study

DAMAGE = (
    Noise("gaussian", "image", 80.0, share=0.5),
    Noise("snr", "audio", -5.0, share=0.5),
    Noise("word_drop", "text", 0.7, share=0.5),
)
REGIMES: dict[str, tuple[Noise, ...]] = {
    "clean": (),
    "missing": missing_at_random(0.3),
    "noisy": DAMAGE,
    "mismatch": mismatch_uneven(0.1, 0.5),
    "all": (*mismatch_uneven(0.1, 0.5), *DAMAGE, *missing_at_random(0.3)),
}
"""Noise on the training products; held-out products stay clean. Mismatch rates: 0.1 (text), 0.2,
0.3, 0.4, 0.5 (audio)."""

PAPER = {
    "loss.weight_by": "scores",
    "loss.weight_on": "logits",
    "loss.weight_gradient": True,
    "loss.weight_mean_one": False,
    "loss.weight_uniform_share": 0.0,
}
LATE = {"loss.weight_uniform_share": 0.3}
"""Uniform weights at first: an initial cosine below 0 would flip the sign of the logits, and the
pair would learn opposite features."""
SCORES = {
    "loss.weight_by": "scores",
    "loss.weight_on": "loss",
    **LATE,
}
POSTERIOR = SCORES | {"loss.weight_by": "posterior"}


def official_settings() -> dict[str, Any]:
    """Return the released code's loss as changes to the default."""
    default = asdict(LossConfig())
    return {
        f"loss.{name}": value
        for name, value in asdict(official_loss()).items()
        if value != default[name]
    } | {"loss.weight_by": "scores"}


WEIGHTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "uniform": ({"loss.weight_on": "none"}, ""),
    "S'": (SCORES, ""),
    "S' flowing": (SCORES | {"loss.weight_gradient": True}, ""),
    "S' row-normalised": (SCORES | {"loss.row_normalise": True}, ""),
    "S' shuffled": (SCORES, "shuffled"),
    "logits (paper)": (PAPER, ""),
    "logits stopped": (PAPER | {"loss.weight_gradient": False}, ""),
    "logits control": (PAPER | {"loss.weight_gradient": False}, "matched"),
    "logits late": (PAPER | LATE, ""),
    "logits late control": (PAPER | LATE | {"loss.weight_gradient": False}, "matched"),
    "official": (official_settings(), ""),
    "official control": (official_settings() | {"loss.weight_gradient": False}, "matched"),
    "posterior": (POSTERIOR, ""),
    "posterior half": (POSTERIOR | {"loss.weight_power": 0.5}, ""),
    "posterior pairs": (POSTERIOR | {"loss.weight_masked": False}, ""),
    "relative": (SCORES, "relative"),
    "rank": (SCORES, "rank"),
    "moving posterior": (SCORES, "moving"),
    "reliability": (SCORES, "reliability"),
    "mixture": (SCORES, "mixture"),
    "gce": (SCORES | {"loss.weight_uniform_share": 0.0}, "gce"),
    "oracle": (SCORES, "oracle"),
}
"""Name in the table -> changes of LossConfig and a name in `WEIGHT_FNS`."""

EVERYWHERE = (
    "uniform", "S'", "logits (paper)", "logits control", "logits late", "logits late control",
    "posterior", "rank",
)  # fmt: skip
"""Run in all five regimes; the others only under mismatch."""
LAST = "all"
"""The regime with all kinds of noise, in which the oracle runs as well."""
QUICK = (*EVERYWHERE, "oracle")
CONTRAST = {"loss.tasks": ["contrastive"], "model.jct_layers": 0}
"""The ten contrastive losses alone (weighted by the upper triangle of S'), at half the cost."""


def weighting(quick: bool = False) -> Study:
    """Weights by S', by candidates and by controls, in five regimes of training noise.

    Trained on the ten contrastive losses alone (`harmony` uses the full objective). `S'` is the
    described method with its gradient stopped; `logits (paper)` acts on the logits with gradient;
    its control has uniform weights at the same mean scale, as an inverse temperature; `shuffled`
    permutes S' among products; `gce` is a robust contrastive loss; `oracle` is given the truth.
    """
    # Without masked losses, weights on the pairs alone are the posterior's.
    names = QUICK if quick else tuple(name for name in WEIGHTINGS if name != "posterior pairs")
    regimes = ("clean", "mismatch") if quick else tuple(REGIMES)
    cells = tuple(
        Cell({"regime": regime, "weighting": name}, *_parts(name, regime))
        for regime in regimes
        for name in names
        if name in EVERYWHERE or regime == "mismatch" or (regime, name) == (LAST, "oracle")
    )
    return Study(
        "weighting",
        "Does S' give a noisy, mismatched or missing modality less weight, and does that help?",
        ("regime", "weighting"),
        cells,
        tuple(_claims(regimes, names)),
        metrics=("Recall@10", "mAP@5"),
        figure="bars",
    )


def _parts(name: str, regime: str) -> tuple[dict[str, Any], tuple[Noise, ...], str, str]:
    settings, weight_fn = WEIGHTINGS[name]
    return settings | CONTRAST, REGIMES[regime], "scale", weight_fn


def harmony(quick: bool = False) -> Study:
    """`weighting` with the full objective: the diagonal of S' weights the masked losses."""
    names = (
        "uniform", "S'", "logits late", "logits late control", "posterior", "posterior pairs",
    )  # fmt: skip
    regimes = ("mismatch",) if quick else ("clean", "mismatch", LAST)
    cells = tuple(
        Cell({"regime": r, "weighting": n}, WEIGHTINGS[n][0], REGIMES[r], "scale", WEIGHTINGS[n][1])
        for r in regimes
        for n in names
    )
    claims = [
        ("S' beats uniform weights", "S'", "uniform"),
        ("the posterior beats uniform weights", "posterior", "uniform"),
        ("late S' on the logits beats uniform weights", "logits late", "uniform"),
        ("late S' on the logits beats its control", "logits late", "logits late control"),
        ("weighing the masked losses too helps the posterior", "posterior", "posterior pairs"),
    ]
    comparisons = tuple(
        Comparison(
            f"{regime}: {sentence}",
            {"regime": regime, "weighting": better},
            {"regime": regime, "weighting": worse},
            metric=metric,
        )
        for metric in ("Recall@10", "mAP@5")
        for regime in regimes
        for sentence, better, worse in claims
    )
    return Study(
        "harmony",
        "With the whole objective, do weights by S' or by the posterior help?",
        ("regime", "weighting"),
        cells,
        comparisons,
        metrics=("Recall@10", "mAP@5"),
        figure="bars",
    )


def memorising(quick: bool = False) -> Study:
    """After how many steps does the model memorise mismatched pairs?

    Under mismatch, for increasing numbers of steps: AUC of S' for good against damaged pairs, on
    training products and on held-out products damaged in the same way.
    """
    lengths = (25, 100) if quick else (25, 50, 100, 200, 400)
    names = ("uniform", "posterior", "oracle")
    cells = tuple(
        Cell(
            {"weighting": name, "steps": steps},
            WEIGHTINGS[name][0] | CONTRAST | {"train.steps": steps},
            REGIMES["mismatch"],
            "scale",
            WEIGHTINGS[name][1],
        )
        for name in names
        for steps in lengths
    )
    comparisons = [
        Comparison(
            f"{name}: S' tells {where} products' good pairs better after {few} steps than after "
            f"{lengths[-1]}",
            {"weighting": name, "steps": few},
            {"weighting": name, "steps": lengths[-1]},
            test="training",
            metric=metric,
        )
        for name in names[:2]
        for few in dict.fromkeys((lengths[0], lengths[(len(lengths) - 1) // 2]))
        for where, metric in (("training", "AUC S'"), ("held-out", "AUC S' held out"))
    ]
    return Study(
        "memorising",
        "Can a small catalogue's own training tell its wrong pairs from its right ones?",
        ("weighting", "steps"),
        cells,
        tuple(comparisons),
        metrics=("AUC S'", "AUC S' held out", "Recall@10"),
    )


def _claims(regimes: tuple[str, ...], names: tuple[str, ...]) -> list[Comparison]:
    """Claims over all regimes, per regime, and under mismatch; each by both metrics."""
    pairs = [
        ("S' beats uniform weights", "S'", "uniform"),
        ("the posterior beats uniform weights", "posterior", "uniform"),
        ("ranks among strangers beat uniform weights", "rank", "uniform"),
        ("S' on the logits beats uniform weights", "logits (paper)", "uniform"),
        ("S' on the logits beats its matched control", "logits (paper)", "logits control"),
        ("late S' on the logits beats uniform weights", "logits late", "uniform"),
        ("late S' on the logits beats its control", "logits late", "logits late control"),
    ]
    claims = [(f"{r}: {sentence}", r, a, b) for r in regimes for sentence, a, b in pairs]
    for name in names:
        if name not in EVERYWHERE:
            claims.append((f"mismatch: {name} beats uniform weights", "mismatch", name, "uniform"))
    if "official" in names:
        sentence = "mismatch: the released code's weights beat their matched control"
        claims.append((sentence, "mismatch", "official", "official control"))
        claims.append(("mismatch: S' beats S' dealt to other products", "mismatch", "S'",
                       "S' shuffled"))  # fmt: skip
    found = [
        Comparison(
            sentence,
            {"regime": regime, "weighting": better},
            {"regime": regime, "weighting": worse},
            metric=metric,
        )
        for metric in ("Recall@10", "mAP@5")
        for sentence, regime, better, worse in claims
    ]
    over_all = [
        Comparison(f"over all regimes: {sentence}", {"weighting": a}, {"weighting": b}, metric=m)
        for m in ("Recall@10", "mAP@5")
        for sentence, a, b in pairs
    ]
    return over_all + found
