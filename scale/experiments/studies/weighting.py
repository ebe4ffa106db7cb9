"""Study `weighting`: do S' and its relatives find bad modalities, and does that help?"""

from dataclasses import asdict
from typing import Any

from scale.config import LossConfig
from scale.experiments.noise import Noise, mismatch_uneven, missing_at_random
from scale.experiments.study import Cell, Comparison, Study
from scale.presets import official_loss

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
"""What is done to the training products; the held-out ones stay clean. Mismatch at 0.1 (text), 0.2,
0.3, 0.4, 0.5 (audio)."""

PAPER = {
    "loss.weight_by": "scores",
    "loss.weight_on": "logits",
    "loss.weight_gradient": True,
    "loss.weight_mean_one": False,
    "loss.weight_uniform_share": 0.0,
}
SCORES = {"loss.weight_by": "scores", "loss.weight_on": "loss"}
POSTERIOR = {"loss.weight_by": "posterior", "loss.weight_on": "loss"}


def official_settings() -> dict[str, Any]:
    """The released code's loss as changes to the default."""
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
    "official": (official_settings(), ""),
    "official control": (official_settings() | {"loss.weight_gradient": False}, "matched"),
    "posterior": (POSTERIOR, ""),
    "posterior half": (POSTERIOR | {"loss.weight_power": 0.5}, ""),
    "posterior pairs": (POSTERIOR | {"loss.weight_masked": False}, ""),
    "relative": (SCORES, "relative"),
    "moving posterior": (SCORES, "moving"),
    "reliability": (SCORES, "reliability"),
    "mixture": (SCORES, "mixture"),
    "gce": (SCORES | {"loss.weight_uniform_share": 0.0}, "gce"),
    "oracle": (SCORES, "oracle"),
}
"""Name in the table -> changes of LossConfig and a weigher (experiments/weighers.py)."""

EVERYWHERE = (
    "uniform", "S'", "S' flowing", "S' row-normalised", "logits (paper)", "logits control",
    "official", "official control", "posterior", "reliability",
)  # fmt: skip
"""In all five regimes; the others where single products are wrong."""
QUICK = ("uniform", "S'", "logits (paper)", "logits control", "posterior", "oracle")


def weighting(quick: bool = False) -> Study:
    """Weights by S', by candidates and by controls, in five regimes of training noise.

    `S'` is the described method with its gradient stopped; `logits (paper)` acts on the logits and
    lets the gradient flow; its control has uniform weights at the same mean scale, as an inverse
    temperature; `shuffled` deals S' to the wrong products; `gce` is a robust contrastive loss;
    `oracle` knows which modalities belong to other products.
    """
    names = QUICK if quick else tuple(WEIGHTINGS)
    regimes = ("clean", "mismatch") if quick else tuple(REGIMES)
    cells = tuple(
        Cell({"regime": regime, "weighting": name}, *_parts(name, regime))
        for regime in regimes
        for name in names
        if quick or name in EVERYWHERE or regime in ("mismatch", "all")
    )
    return Study(
        "weighting",
        "Does S' give a noisy, mismatched or missing modality less weight, and does that help?",
        ("regime", "weighting"),
        cells,
        tuple(_claims(regimes, names)),
        figure="bars",
    )


def _parts(name: str, regime: str) -> tuple[dict[str, Any], tuple[Noise, ...], str, str]:
    settings, weigher = WEIGHTINGS[name]
    return settings, REGIMES[regime], "scale", weigher


def _claims(regimes: tuple[str, ...], names: tuple[str, ...]) -> list[Comparison]:
    def claim(sentence: str, regime: str, better: str, worse: str, metric: str) -> Comparison:
        factors = ({"regime": regime, "weighting": name} for name in (better, worse))
        return Comparison(f"{regime}: {sentence}", *factors, metric=metric)

    claims = []
    for metric in ("mAP@5", "Recall@10"):
        for regime in regimes:
            claims.append(claim("S' beats uniform weights", regime, "S'", "uniform", metric))
            claims.append(
                claim("the posterior beats uniform weights", regime, "posterior", "uniform", metric)
            )
            claims.append(
                claim(
                    "S' on the logits beats its matched control",
                    regime, "logits (paper)", "logits control", metric,
                )
            )  # fmt: skip
            if "official" in names:
                claims.append(
                    claim(
                        "the released code's weights beat their matched control",
                        regime, "official", "official control", metric,
                    )
                )  # fmt: skip
                claims.append(
                    claim("reliability beats uniform weights", regime, "reliability", "uniform",
                          metric)
                )  # fmt: skip
        claims += [
            claim(f"{name} beats uniform weights", "mismatch", name, "uniform", metric)
            for name in names
            if name not in EVERYWHERE
        ]
    return claims
