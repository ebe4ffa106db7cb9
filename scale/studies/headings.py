"""Claims under headings: what several of them begin with is said once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scale.studies.statistics import Outcome

_HEAD = re.compile(r"(.+?)(?:: |, )(.+)")


@dataclass(frozen=True)
class Claim:
    """One sentence and what each metric says about it."""

    text: str
    """The claim; under a heading, the rest of it."""
    test: str
    by_metric: dict[str, Outcome]


def claims_of(outcomes: Sequence[Outcome]) -> list[Claim]:
    """The comparisons of one sentence and test together, whatever their metric."""
    found: dict[tuple[str, str], Claim] = {}
    for outcome in outcomes:
        c = outcome.comparison
        claim = found.setdefault((c.claim, c.test), Claim(c.claim, c.test, {}))
        claim.by_metric[c.metric] = outcome
    return list(found.values())


def under_headings(claims: Sequence[Claim]) -> dict[str, list[Claim]]:
    """Claims by how they begin: `mismatch: S' beats uniform weights` stands under `mismatch`.

    Where most beginnings belong to one claim alone, headings would only take room: then all claims
    stand whole under an empty one.
    """
    groups: dict[str, list[Claim]] = {}
    for claim in claims:
        found = _HEAD.fullmatch(claim.text)
        head, rest = found.groups() if found else ("", claim.text)
        groups.setdefault(head, []).append(replace(claim, text=rest))
    shared = sum(len(group) > 1 for group in groups.values())
    return groups if 2 * shared > len(groups) else {"": list(claims)}
