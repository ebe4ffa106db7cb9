"""`scale import`: a CSV file and a folder of media as a catalogue."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scale.data.importers.csv import import_csv


@dataclass
class Import:
    """Make a catalogue from a CSV file and a folder of pictures (clips and sounds too).

    The CSV needs a header. Columns called id, title, category, split, name, image, video, audio
    have their meaning; every other column becomes an attribute of the table. Empty cells, and NaN,
    mean that the product lacks it. Then: scale inspect FOLDER.

    Example: scale import products.csv --images pictures --out my_shop --columns title=Product
    """

    csv: tyro.conf.Positional[Path]
    """The CSV file."""
    images: Annotated[Path, tyro.conf.arg(aliases=["--media"])]
    """Folder that the paths in the CSV are relative to."""
    out: Path
    """Folder of the new catalogue."""
    columns: tuple[str, ...] = ()
    """Columns that are called otherwise, e.g. id=SKU title=Product image=Photo."""
    delimiter: str = ","
    """Between cells; often ; in European files."""
    encoding: str = "utf-8-sig"
    """Of the CSV; gb18030 for Chinese Excel."""
    language: str = "en"
    """Of the titles, for catalogue.json; likewise below."""
    licence: str = ""
    source: str = ""

    def run(self) -> None:
        """Import, then say what was made and what to do next."""
        wrong = [c for c in self.columns if "=" not in c]
        if wrong:
            raise ValueError(f"--columns {wrong[0]}: write MEANING=COLUMN, e.g. title=Product")
        facts = {"language": self.language, "licence": self.licence, "source": self.source}
        made = import_csv(
            self.csv, self.images, self.out, dict(c.split("=", 1) for c in self.columns),
            encoding=self.encoding, delimiter=self.delimiter,
            info={key: value for key, value in facts.items() if value},
        )  # fmt: skip
        print(f"{made}\nnext: scale inspect {self.out}")
