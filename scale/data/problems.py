"""What is wrong with a catalogue, as records that can be counted, written and read again."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from scale.files import write_whole


@dataclass(frozen=True)
class Problem:
    """One thing that could not be used as it was found."""

    id: str
    """Product id, or `line 17` where the line gives no product."""
    modality: str | None
    """The modality that counts as missing for it (`alt_image` for the second view's picture);
    None where it concerns another key or the record as a whole."""
    path: str
    """The media file, or `products.jsonl:17`."""
    reason: str
    """`kind: detail`; the kind is the same for all problems of one sort."""

    @property
    def kind(self) -> str:
        """The reason without its detail."""
        return self.reason.split(":", 1)[0]

    def __str__(self) -> str:
        what = f" {self.modality}" if self.modality else ""
        return f"product {self.id!r}{what}: {self.reason} ({self.path})"


def printable(text: str) -> str:
    """The text with what a terminal would not print (control codes, lone surrogates) escaped."""
    return text if text.isprintable() else text.encode("unicode_escape", "replace").decode()


class CatalogueError(ValueError):
    """A catalogue that cannot be opened, or, in strict mode, one with problems."""

    def __init__(self, message: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)

    @classmethod
    def of(cls, problems: list[Problem]) -> "CatalogueError":
        """The error of strict mode: the first problem in full, and how many there are."""
        count = f" ({len(problems)} problems in all)" if len(problems) > 1 else ""
        return cls(f"{problems[0]}{count}", problems)


def write_problems(problems: Iterable[Problem], path: Path | str) -> None:
    """Writes one JSON object a line; an earlier file is replaced at once or not at all."""
    # Escaped, because a name that is not valid Unicode must not stop its own report.
    lines = (json.dumps(asdict(p), ensure_ascii=True) + "\n" for p in problems)
    write_whole(Path(path), "".join(lines))


def read_problems(path: Path | str) -> list[Problem]:
    """Inverse of `write_problems`."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [Problem(**json.loads(line)) for line in lines]


def summarise_problems(problems: Iterable[Problem]) -> str:
    """A few lines: how many problems of each kind and modality, most frequent first, with one id.

    `no problems` where there are none.
    """
    problems = list(problems)
    if not problems:
        return "no problems"
    counts = Counter((p.modality or "record", p.kind) for p in problems)
    example = {(p.modality or "record", p.kind): p.id for p in reversed(problems)}
    noun = "problem" if len(problems) == 1 else "problems"
    lines = [f"{len(problems)} {noun}:"]
    for (what, kind), count in counts.most_common():
        lines.append(f"  {count:>7,}  {what:<10} {kind}, e.g. {example[what, kind]!r}")
    return "\n".join(lines)
