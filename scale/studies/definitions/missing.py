"""Study `missing`: what to do with products that lack modalities."""

from scale.studies.noise import missing_at_random
from scale.studies.study import Cell, Comparison, Study, Test

POLICIES = ("zero", "skip", "learned", "drop")
RATES = (0.0, 0.1, 0.3, 0.5, 0.7)
QUICK_RATES = (0.0, 0.3, 0.7)


def missing(quick: bool = False) -> Study:
    """The four policies at rising rates of missing modalities in training.

    The catalogue's own gaps are there at rate 0 already; the rate comes on top of them, in training
    only. Tested on held-out products as they are, on the complete ones among them, and on all of
    them with half of their modalities taken away.
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
    zero = {"policy": "zero"}
    claims = [
        Comparison(
            f"at a training rate of {rate:g}, zero imputation beats leaving incomplete products "
            "out",
            zero | {"rate": rate},
            {"policy": "drop", "rate": rate},
            metric=metric,
        )
        for metric in ("mAP@5", "Recall@10")
        for rate in rates
    ]
    claims += [
        Comparison(
            f"{other} beats zero imputation, over all rates",
            {"policy": other},
            zero,
            test=test,
            metric=metric,
        )
        for metric in ("mAP@5", "Recall@10")
        for other in ("skip", "learned")
        for test in ("held out", "incomplete")
    ]
    claims.append(
        Comparison(
            "with zero imputation, missing modalities in training cost quality (0 against 0.7)",
            zero | {"rate": 0.0},
            zero | {"rate": 0.7},
            test="complete",
        )
    )
    return Study(
        "missing",
        "Does zero imputation of missing modalities beat leaving incomplete products out, and is "
        "there something better?",
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
