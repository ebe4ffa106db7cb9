"""The page on studies lists the studies, noises and systems of the code."""

import re
from pathlib import Path

from scale.data.importers.formats import FORMATS
from scale.studies.definitions import STUDIES
from scale.studies.noise import KINDS
from scale.studies.systems.named import SYSTEMS

PAGE = (Path(__file__).parent.parent / "docs" / "studies.md").read_text(encoding="utf-8")
PAGE_OF_IMPORTERS = Path(__file__).parent.parent / "docs" / "importing.md"


def rows(heading: str) -> list[list[str]]:
    """Cells of the table under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_study_is_listed_with_its_size():
    listed = {name.strip("`"): int(cells) for name, _, cells in rows("The studies")}
    assert listed == {name: len(make(False).cells) for name, make in STUDIES.items()}


def test_every_noise_is_listed_with_its_modalities():
    listed = {name.strip("`"): on for name, on, _ in rows("Noise")}
    assert listed.keys() == KINDS.keys()
    for name, on in listed.items():
        known = KINDS[name].modalities
        assert on == ("any" if len(known) == 5 else ", ".join(known)), name


def test_every_named_system_is_listed():
    listed = {row[0] for row in rows("The named systems")}
    assert listed == {system.name for system in SYSTEMS.values()} - {"SCALE"} | {"DALL-E"}


def test_the_example_study_builds():
    code = re.findall(r"```python\n(.*?)```", PAGE.split("## Adding a study")[1], re.S)[0]
    scope = {}
    exec(code, scope)
    for quick in (False, True):
        assert scope["temperature"](quick).cells


def test_every_format_is_listed():
    page = PAGE_OF_IMPORTERS.read_text(encoding="utf-8").split("## Formats\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", page, re.M)) == set(FORMATS)
