"""`scale import`, `scale inspect` and `scale shards`: commands on catalogues."""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from scale.config import PRESETS, Config, tiny

if TYPE_CHECKING:
    from scale.data.catalogue import Catalogue
    from scale.data.text_loss import TextLoss


@dataclass
class Import:
    """Make a catalogue from a CSV file and a folder of images, videos and audio files.

    The CSV needs a header. The columns id, title, category, split, name, image, video and audio
    have that meaning; every other column becomes an attribute of the table. An empty cell, or NaN,
    means that the product lacks the value. Then run: scale inspect FOLDER.

    Example: scale import products.csv --images pictures --out my_shop --columns title=Product
    """

    csv: tyro.conf.Positional[Path]
    """CSV file."""
    images: Annotated[Path, tyro.conf.arg(aliases=["--media"])]
    """Folder that the paths in the CSV are relative to."""
    out: Path
    """Folder of the new catalogue."""
    columns: tuple[str, ...] = ()
    """Names of columns that differ, e.g. id=SKU title=Product image=Photo."""
    delimiter: str = ","
    """Character between cells; often ; in European files."""
    encoding: str = "utf-8-sig"
    """Encoding of the CSV; gb18030 for Chinese Excel."""
    language: str = "en"
    """Language of the titles, for catalogue.json."""
    licence: str = ""
    """Licence of the data, for catalogue.json."""
    source: str = ""
    """Origin of the data, for catalogue.json."""

    def run(self) -> None:
        """Import the file and print a report."""
        from scale.data.importers.csv import import_csv

        wrong = [c for c in self.columns if "=" not in c]
        if wrong:
            raise ValueError(f"--columns {wrong[0]}: write MEANING=COLUMN, e.g. title=Product")
        facts = {"language": self.language, "licence": self.licence, "source": self.source}
        imported = import_csv(
            self.csv, self.images, self.out, dict(c.split("=", 1) for c in self.columns),
            encoding=self.encoding, delimiter=self.delimiter,
            info={key: value for key, value in facts.items() if value},
        )  # fmt: skip
        print(f"{imported}\nnext: scale inspect {self.out}")


@dataclass
class Inspect:
    """Report and draw the contents of a catalogue and its problems.

    With --mismatch RUN, list the products with a modality that probably belongs to another product
    instead, judged by models that were not trained on them.

    Example: scale inspect data_samples --json inspection.json
    """

    folder: tyro.conf.Positional[Path]
    """Folder with products.jsonl or products.parquet, or a CSV file."""
    json: Path | None = None
    """Write the report as JSON to this file."""
    figure: Path | None = None
    """File of the figure (PNG); default: catalogue-<folder>.png in the working directory."""
    lang: Literal["en", "zh"] = "en"
    """Language of the figure."""
    preset: Literal[tuple(PRESETS)] = "tiny"
    """Preset whose lengths and tokenizer the loss of titles and tables is reported for."""
    media: bool = True
    """Decode every media file, which finds broken files and duplicates."""
    strict: bool = False
    """Stop at the first problem instead of counting problems."""
    mismatch: Path | None = None
    """Run folder: list suspicious products, by the agreement of their modalities. Products that the
    run was trained on take several short trainings, whose result is kept in the run folder."""
    top: int = 50
    """Number of products that --mismatch lists."""
    out: Path | None = None
    """Write the list of --mismatch to this file (.csv or .json)."""

    def run(self) -> None:
        """Print the report and write the files."""
        if self.mismatch is not None:
            self._list_mismatches(self.mismatch)
            return
        if self.out is not None:
            raise ValueError("--out is the file of --mismatch; the report goes to --json")
        from scale.data.catalogue import Catalogue
        from scale.evaluation.report import write_json
        from scale.viz.catalogue import inspect_figure
        from scale.viz.theme import save_figure, use_style

        catalogue = Catalogue.open(self.folder, self.strict)
        summary = catalogue.summary(self.media, workers=os.cpu_count() or 1)
        print(summary)
        losses = self._text_losses(catalogue)
        lost = "\n".join(str(loss) for loss in losses if str(loss)) or "nothing is lost"
        title = f"Titles and tables as tokens, preset {self.preset}"
        print(f"{title}\n{'-' * len(title)}\n{lost}\n")
        if self.json is not None:
            write_json(self.json, summary.to_dict() | {"texts": [asdict(loss) for loss in losses]})
            print(f"written: {self.json}")
        figure = self.figure or Path(f"catalogue-{self.folder.resolve().stem}.png")
        with use_style("paper"):
            drawn = inspect_figure(summary, self.lang)
            print(f"written: {save_figure(drawn, figure.with_suffix(''), ('png',))[0]}")

    def _text_losses(self, catalogue: "Catalogue") -> list["TextLoss"]:
        from scale.data.text_loss import SAMPLE, text_losses
        from scale.data.tokenizer import make_tokenizer

        features = PRESETS[self.preset]().features
        training = [p for p in catalogue if p.split in (None, "train")] or catalogue.products
        training = [p for p in training if p.text is not None or p.table is not None][:SAMPLE]
        if not training:
            return []
        return text_losses(catalogue.products, features, make_tokenizer(training, features))

    def _list_mismatches(self, folder: Path) -> None:
        import scale
        from scale.files import escape_formula, replacing
        from scale.inference.mismatch import find_mismatches

        suffix = self.out.suffix if self.out else ""
        if suffix not in ("", ".csv", ".json"):
            raise ValueError(f"{self.out}: the list is written to .csv or .json")
        catalogue = scale.open(self.folder, strict=self.strict)
        found = find_mismatches(scale.load(folder), catalogue, self.top)
        print(found)
        if self.out is not None:
            with replacing(self.out) as partial:
                if suffix == ".json":
                    found.frame.to_json(partial, orient="records", indent=2, force_ascii=False)
                else:
                    found.frame.map(escape_formula).to_csv(partial, index=False)
            print(f"written: {self.out}")


@dataclass
class Shards:
    """Write the tokens of a catalogue to shards, which scale pretrain reads instead.

    For catalogues that do not fit into memory (docs/shards.md). If interrupted, the same command
    continues; it also replaces missing and damaged shards.

    Example: scale shards --catalogue data_samples --preset tiny --out shards
    """

    catalogue: Path
    """Folder of the catalogue."""
    out: Path
    """Folder of the shards."""
    preset: Literal[tuple(PRESETS)] = "tiny"
    """Preset of the settings; the runs to be trained must use the same features."""
    products_per_shard: int = 1024
    """Products in a file."""
    workers: int | None = None
    """Number of processes; default: one per core."""
    strict: bool = False
    """Stop at a bad record or media file instead of counting it as missing."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=tiny)

    def run(self) -> None:
        """Write the shards and print their size."""
        from scale.data.shards.writer import write_shards

        manifest = write_shards(
            self.catalogue,
            self.config,
            self.out,
            products_per_shard=self.products_per_shard,
            workers=self.workers,
            strict=self.strict,
        )
        size = sum(file.bytes for shard in manifest.shards for file in shard["files"].values())
        print(
            f"written: {self.out}, {manifest.products:,} products in {len(manifest.shards):,} "
            f"shards, {size / 1e9:.3g} GB; next: scale pretrain --catalogue {self.out} "
            f"--preset {self.preset} --out RUN"
        )
