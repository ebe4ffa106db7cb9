"""Studies of weights: `weighting`, `agreement`, `harmony` and `memorising`."""

from collections.abc import Sequence
from dataclasses import asdict, replace
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
AGREEMENT = {"loss.weight_by": "agreement", "loss.weight_on": "loss"}


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
METRICS = ("Recall@10", "mAP@5")
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
        _cell(regime, name, CONTRAST)
        for regime in regimes
        for name in names
        if name in EVERYWHERE or regime == "mismatch" or (regime, name) == (LAST, "oracle")
    )
    return Study(
        "weighting",
        "Does S' give a noisy, mismatched or missing modality less weight, and does that help?",
        ("regime", "weighting"),
        cells,
        tuple(_weighting_claims(regimes, names)),
        metrics=METRICS,
        figure="bars",
    )


JUDGED: dict[str, tuple[dict[str, Any], str]] = {
    **{name: WEIGHTINGS[name] for name in ("uniform", "S'", "logits (paper)", "posterior")},
    "agreement": (AGREEMENT, ""),
    "logits control": WEIGHTINGS["logits control"],
    "oracle": WEIGHTINGS["oracle"],
    "agreement, one repeat": (AGREEMENT | {"loss.agreement_repeats": 1}, ""),
    "agreement, trained": (AGREEMENT | {"loss.agreement_steps": 37}, ""),
    "agreement alone": (AGREEMENT, "agreement alone"),
    "agreement product": (AGREEMENT, "agreement product"),
}
"""Weightings of the study `agreement`, like WEIGHTINGS: the first five in all regimes, the next one
in two, the oracle where pairs are wrong, the others under mismatch only."""


def _judged_in(regime: str) -> tuple[str, ...]:
    """Return the weightings of the study `agreement` in a regime."""
    if regime == "mismatch":
        return tuple(JUDGED)
    further = {"clean": ("logits control",), LAST: ("oracle",)}.get(regime, ())
    return (*tuple(JUDGED)[:5], *further)


def agreement(quick: bool = False) -> Study:
    """Weights judged by models that were not trained on the product, in the five regimes.

    `agreement` is `LossConfig.weight_by` agreement (training/cross_fit.py); `trained` has judges
    trained for 37 steps in place of the closed-form part alone; `agreement alone` uses each pair's
    own percentile only; `agreement product` one reliability per modality, `one repeat` one division
    into folds. On the ten contrastive losses alone; cells of one regime and seed share the
    cross-fitting. `agreement` and the oracle also weight the closed-form part of projections. Meant
    for the preset `pretrained`, whose features mean something before training.
    """
    regimes, quickly = tuple(REGIMES), ("uniform", "S'", "posterior", "agreement", "oracle")
    if quick:
        regimes = ("clean", "mismatch")
    by_regime = {r: [n for n in _judged_in(r) if not quick or n in quickly] for r in regimes}
    cells = tuple(
        Cell(
            {"regime": regime, "weighting": name},
            JUDGED[name][0] | CONTRAST,
            REGIMES[regime],
            weight_fn=JUDGED[name][1],
        )
        for regime, names in by_regime.items()
        for name in names
    )
    everywhere = [n for n in tuple(JUDGED)[1:5] if n in by_regime["clean"]]
    claims = [
        Comparison.between(f"over all regimes: {name} beats uniform weights", "weighting", name,
                           "uniform", metric)
        for metric in METRICS for name in everywhere
    ]  # fmt: skip
    further = (
        ("agreement beats S'", "agreement", "S'"),
        ("agreement beats the posterior", "agreement", "posterior"),
        ("S' on the logits beats its matched control", "logits (paper)", "logits control"),
    )
    for metric in METRICS:
        for regime, names in by_regime.items():
            pairs = [(f"{n} beats uniform weights", n, "uniform") for n in names if n != "uniform"]
            pairs += [claim for claim in further if {*claim[1:]} <= {*names}]
            claims += _claims_by_regime([(regime, *pair) for pair in pairs], metric)
    return Study(
        "agreement",
        "Do weights help that come from models which have not seen the product?",
        ("regime", "weighting"),
        cells,
        tuple(claims),
        metrics=METRICS,
        seeds=10,
        figure="bars",
    )


def _cell(regime: str, name: str, further: dict[str, Any]) -> Cell:
    settings, weight_fn = WEIGHTINGS[name]
    factors = {"regime": regime, "weighting": name}
    return Cell(factors, settings | further, REGIMES[regime], weight_fn=weight_fn)


def _weighting_claims(regimes: tuple[str, ...], names: tuple[str, ...]) -> list[Comparison]:
    """Return claims over all regimes, per regime, and under mismatch; each by both metrics."""
    pairs = [
        ("S' beats uniform weights", "S'", "uniform"),
        ("the posterior beats uniform weights", "posterior", "uniform"),
        ("ranks among other products beat uniform weights", "rank", "uniform"),
        ("S' on the logits beats uniform weights", "logits (paper)", "uniform"),
        ("S' on the logits beats its matched control", "logits (paper)", "logits control"),
        ("late S' on the logits beats uniform weights", "logits late", "uniform"),
        ("late S' on the logits beats its control", "logits late", "logits late control"),
    ]
    under_mismatch = [
        (f"{name} beats uniform weights", name, "uniform")
        for name in names
        if name not in EVERYWHERE
    ]
    if "official" in names:
        under_mismatch += [
            ("the released code's weights beat their matched control", "official",
             "official control"),
            ("S' beats S' permuted among products", "S'", "S' shuffled"),
        ]  # fmt: skip
    found = [
        Comparison.between(f"over all regimes: {claim}", "weighting", better, worse, metric)
        for metric in METRICS
        for claim, better, worse in pairs
    ]
    for metric in METRICS:
        claims = [(regime, *pair) for regime in regimes for pair in pairs]
        claims += [("mismatch", *pair) for pair in under_mismatch]
        found += _claims_by_regime(claims, metric)
    return found


def _claims_by_regime(claims: Sequence[tuple[str, str, str, str]], metric: str) -> list[Comparison]:
    """Return comparisons of (regime, claim, better weighting, worse weighting)."""
    return [
        Comparison.between(f"{r}: {claim}", "weighting", better, worse, metric, regime=r)
        for r, claim, better, worse in claims
    ]


def harmony(quick: bool = False) -> Study:
    """`weighting` with the full objective: the diagonal of S' weights the masked losses."""
    names = (
        "uniform", "S'", "logits late", "logits late control", "posterior", "posterior pairs",
    )  # fmt: skip
    regimes = ("mismatch",) if quick else ("clean", "mismatch", LAST)
    pairs = [
        ("S' beats uniform weights", "S'", "uniform"),
        ("the posterior beats uniform weights", "posterior", "uniform"),
        ("late S' on the logits beats uniform weights", "logits late", "uniform"),
        ("late S' on the logits beats its control", "logits late", "logits late control"),
        ("weighting the masked losses as well helps the posterior", "posterior",
         "posterior pairs"),
    ]  # fmt: skip
    claims = [(regime, *pair) for regime in regimes for pair in pairs]
    return Study(
        "harmony",
        "With the full objective, do weights by S' or by the posterior help?",
        ("regime", "weighting"),
        tuple(_cell(regime, name, {}) for regime in regimes for name in names),
        tuple(c for metric in METRICS for c in _claims_by_regime(claims, metric)),
        metrics=METRICS,
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
        replace(
            _cell("mismatch", name, CONTRAST | {"train.steps": steps}),
            factors={"weighting": name, "steps": steps},
        )
        for name in names
        for steps in lengths
    )
    comparisons = tuple(
        Comparison.between(
            f"{name}: S' separates the good pairs of {where} products better after {few} steps "
            f"than after {lengths[-1]}",
            "steps", few, lengths[-1], metric, "training", weighting=name,
        )
        for name in names[:2]
        for few in dict.fromkeys((lengths[0], lengths[(len(lengths) - 1) // 2]))
        for where, metric in (("training", "AUC S'"), ("held-out", "AUC S' held out"))
    )  # fmt: skip
    return Study(
        "memorising",
        "Can training on a small catalogue separate its wrong pairs from its right ones?",
        ("weighting", "steps"),
        cells,
        comparisons,
        metrics=("AUC S'", "AUC S' held out", "Recall@10"),
    )
