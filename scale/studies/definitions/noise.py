"""Studies `missing` (missing-modality policies), `fused` (the same with the fused embedding) and
`noise` (kinds and strengths of noise)."""

from scale.config import LossConfig
from scale.studies.definitions.weighting import CONTRAST, POSTERIOR, SCORES
from scale.studies.noise import Noise, mismatch_everywhere, missing_at_random
from scale.studies.study import Cell, Comparison, Study, Test

POLICIES = ("zero", "skip", "learned", "drop")
RATES = (0.0, 0.1, 0.3, 0.5, 0.7)
QUICK_RATES = (0.0, 0.3, 0.7)


def missing(quick: bool = False) -> Study:
    """The four policies at increasing rates of missing modalities in training.

    The rate is added to the catalogue's own missing modalities, in training only. Tested on all
    held-out products, on the complete ones, and on all with half of their modalities removed.
    """
    rates = QUICK_RATES if quick else RATES
    tests = (
        Test("held out"),
        Test("complete", complete=True, subsets=not quick),
        Test("incomplete", noises=missing_at_random(0.5)),
    )
    cells = tuple(
        Cell(
            {"policy": policy, "rate": rate},
            {"missing.policy": policy},
            missing_at_random(rate) if rate else (),
            tests=tests,
        )
        for policy in POLICIES
        for rate in rates
    )
    claims = [
        Comparison.between(
            f"at a training rate of {rate:g}, zero imputation beats dropping incomplete products",
            "policy", "zero", "drop", metric, rate=rate,
        )
        for metric in ("mAP@5", "Recall@10")
        for rate in rates
    ]  # fmt: skip
    claims += [
        Comparison.between(
            f"{other} beats zero imputation, over all rates", "policy", other, "zero", metric, test
        )
        for metric in ("mAP@5", "Recall@10")
        for other in ("skip", "learned")
        for test in ("held out", "incomplete")
    ]
    claims.append(
        Comparison.between(
            "with zero imputation, missing modalities in training lower quality (0 against 0.7)",
            "rate", 0.0, 0.7, test="complete", policy="zero",
        )
    )  # fmt: skip
    return Study(
        "missing",
        "Does zero imputation of missing modalities beat dropping incomplete products, and is "
        "there a better policy?",
        ("policy", "rate"),
        cells,
        tuple(claims),
        retention=tuple(
            {"policy": policy, "rate": rate}
            for policy in ("zero", "skip", "learned")
            for rate in (0.0, 0.5)
            if not quick
        ),
    )


OBJECTIVES = {
    "paper": (),
    "fused": ("fused_contrastive",),
    "imputed": ("fused_contrastive", "imputed_contrastive"),
}
"""Losses beside those of the paper."""
FUSED_TESTS = (
    Test("held out", fused=True),
    *(Test(f"missing {r:g}", missing_at_random(r), fused=True) for r in (0.3, 0.5, 0.7)),
)
"""Unmodified held-out products, and with a further share of their modalities removed."""


def fused(quick: bool = False) -> Study:
    """Embeddings after the joint transformer, which all other studies of the method leave out.

    Objectives: the paper's; with `fused_contrastive`; with `imputed_contrastive` too, which needs
    tokens in place of missing modalities (`zero`, `learned`).
    """
    places = [("paper", "zero", 0.0), ("imputed", "zero", 0.0)]
    places += [("fused", policy, 0.0) for policy in ("zero", "skip", "drop")]
    if not quick:
        places += [("paper", "skip", 0.0), ("fused", "learned", 0.0), ("imputed", "learned", 0.0)]
        places += [(objective, "zero", 0.5) for objective in OBJECTIVES]
        places += [("fused", policy, 0.5) for policy in ("skip", "learned")]
    places.sort(key=lambda place: (list(OBJECTIVES).index(place[0]), place[2]))
    every = LossConfig().tasks
    cells = [
        Cell(
            {"objective": objective, "policy": policy, "rate": rate},
            {"missing.policy": policy, "loss.tasks": [*every, *OBJECTIVES[objective]]},
            missing_at_random(rate) if rate else (),
            tests=FUSED_TESTS,
        )
        for objective, policy, rate in places
    ]
    return Study(
        "fused",
        "Does an embedding after the joint transformer beat that of the encoders, and does "
        "imputation of missing modalities matter there?",
        ("objective", "policy", "rate"),
        tuple(cells),
        tuple(_fused_claims(quick)),
        metrics=("mAP@5 fused", "mAP@5", "mAP@5 both", "mAP@5 completed", "mAP@1", "mAP@1 fused",
                 "mAP@1 both", "Recall@10", "Recall@10 imputed", "Recall@10 mean of others"),
        figure="bars",
    )  # fmt: skip


def _fused_claims(quick: bool) -> list[Comparison]:
    """Return the claims of `fused`: embeddings of one model, then objectives, then policies."""
    claims, zero = [], {"policy": "zero", "rate": 0.0}
    for objective in OBJECTIVES:
        side = zero | {"objective": objective}
        named = {"fused": "the fused embedding", "both": "both side by side"}
        named |= {"completed": "completing missing features"} if objective == "imputed" else {}
        claims += [
            Comparison(f"{objective}: {text} beats the encoders", side, side, test,
                       f"mAP@5 {features}", "mAP@5")
            for features, text in named.items()
            for test in ("held out", "missing 0.5")
            if features != "completed" or test != "held out"
        ]  # fmt: skip
    imputed, paper = zero | {"objective": "imputed"}, zero | {"objective": "paper"}
    for features, text in (("fused", "the fused embedding"), ("both", "both side by side")):
        claim = f"{text}, from a model trained for it, beats the encoders of the paper's objective"
        claims.append(Comparison(claim, imputed, paper, "held out", f"mAP@5 {features}", "mAP@5"))
    claims += [
        Comparison(
            "both losses on the JCT improve the encoders", imputed, paper, "held out", metric
        )
        for metric in ("mAP@5", "Recall@10")
    ]
    claims += [
        Comparison(f"imputed, {policy}: the predicted feature beats the mean of the others",
                   side, side, test, "Recall@10 imputed", "Recall@10 mean of others")
        for policy in (("zero",) if quick else ("zero", "learned"))
        for test in ("held out", "missing 0.5")
        for side in ({"objective": "imputed", "policy": policy, "rate": 0.0},)
    ]  # fmt: skip
    rivals = [("fused", "skip", 0.0), ("fused", "drop", 0.0)]
    if not quick:
        rivals += [("fused", "learned", 0.0), ("imputed", "learned", 0.0)]
        rivals += [("fused", "skip", 0.5), ("fused", "learned", 0.5)]
    claims += [
        Comparison.between(
            f"{objective}, training rate {rate:g}, fused embedding: zero imputation beats {other}",
            "policy", "zero", other, "mAP@5 fused", test, objective=objective, rate=rate,
        )
        for objective, other, rate in rivals
        for test in ("held out", "missing 0.5")
    ]  # fmt: skip
    return claims


STRENGTHS: dict[tuple[str, str], tuple[float, ...]] = {
    ("gaussian", "image"): (20, 60, 120),
    ("blur", "image"): (1, 2, 4),
    ("jpeg", "image"): (30, 10, 2),
    ("gaussian", "video"): (20, 60, 120),
    ("frame_drop", "video"): (0.3, 0.6, 0.9),
    ("frame_shuffle", "video"): (0.3, 0.6, 1.0),
    ("snr", "audio"): (20, 5, -10),
    ("word_drop", "text"): (0.2, 0.5, 0.8),
    ("typo", "text"): (0.2, 0.5, 0.8),
    ("attribute_swap", "table"): (0.3, 0.6, 1.0),
}
"""Mild, medium and strong, in each kind's unit (`KINDS`)."""
SHARES = (0.1, 0.3, 0.5)
"""Shares of mismatched and of missing modalities, in all five."""
WEIGHTINGS = {
    "uniform": CONTRAST | {"loss.weight_on": "none"},
    "S'": CONTRAST | SCORES,
    "posterior": CONTRAST | POSTERIOR,
}
"""On the contrastive losses alone, at half the cost of the full objective."""


def noise(quick: bool = False) -> Study:
    """Each kind of noise, in training and at test time, with uniform weights, S' and the posterior.

    In training: the strongest, on all products, with clean tests. At test time: three strengths, on
    models trained on clean products. Noise on a whole modality hits all products alike, so weights
    per product can only help with mismatch, which hits single products.
    """
    kinds = _kinds(quick)
    tests = tuple(Test(name, noises) for name, noises in kinds.items())
    weightings = ("uniform", "S'") if quick else tuple(WEIGHTINGS)
    cells = [
        Cell({"noise": "none", "weighting": w}, WEIGHTINGS[w], tests=(Test("held out"), *tests))
        for w in weightings
    ]
    trained = _trained(quick)
    for name, noises in trained.items():
        cells += [
            Cell({"noise": name, "weighting": w}, WEIGHTINGS[w], noises)
            for w in weightings
            if w in _weightings_of(name)
        ]
    claims = [
        Comparison.between(
            f"{name} in training lowers quality", "noise", "none", name, weighting="uniform"
        )
        for name in trained
    ]
    claims += [
        Comparison.between(
            f"with {name} in training, S' beats uniform weights",
            "weighting", "S'", "uniform", noise=name,
        )
        for name in trained
        if "S'" in _weightings_of(name)
    ]  # fmt: skip
    return Study(
        "noise",
        "How much does each kind of noise cost, in training and at test time, and do weights help?",
        ("noise", "weighting"),
        tuple(cells),
        tuple(claims),
        figure="bars",
    )


def _weightings_of(name: str) -> tuple[str, ...]:
    """Return the weightings that are trained with a noise.

    Damage hits all products of a modality equally, so only uniform weights are trained with it.
    """
    if name.startswith("mismatch"):
        return tuple(WEIGHTINGS)
    return ("uniform", "S'") if name.startswith("missing") else ("uniform",)


def _kinds(quick: bool) -> dict[str, tuple[Noise, ...]]:
    """Return all kinds per modality at all strengths, and mismatch and missing at all shares."""
    named = {
        f"{kind} {modality} {strength:g}": (Noise(kind, modality, strength),)
        for (kind, modality), strengths in STRENGTHS.items()
        for strength in (strengths[-1:] if quick else strengths)
    }
    for share in SHARES[-1:] if quick else SHARES:
        named[f"mismatch {share:g}"] = mismatch_everywhere(share)
        named[f"missing {share:g}"] = missing_at_random(share)
    return named


def _trained(quick: bool) -> dict[str, tuple[Noise, ...]]:
    """Return the noises in training: the strongest of each kind, and mismatch at all shares."""
    strong = _kinds(True)
    if quick:
        return {name: strong[name] for name in ("gaussian image 120", "mismatch 0.5")}
    return strong | {f"mismatch {share:g}": mismatch_everywhere(share) for share in SHARES}
