"""`scale import`, `scale inspect` and `scale shards`: commands on catalogues."""

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from scale.config import PRESETS, Config, tiny
from scale.data.importers.m5_sources import M5Sources

if TYPE_CHECKING:
    from scale.data.catalogue import Catalogue
    from scale.data.summary import CatalogueSummary
    from scale.data.text_loss import TextLoss


@dataclass
class Import:
    """Make a catalogue from a file or folder of another format, and its media.

    The format, encoding, delimiter and the meaning of each column are detected and printed before
    anything is written. Columns without a known name become attributes of the table, but never
    labels, descriptions and addresses. docs/importing.md lists the formats. Then run: scale inspect
    FOLDER.

    Example: scale import products.csv --images pictures --out my_shop --columns title=Product
    """

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """File (CSV, Excel, JSON, parquet, XML, tar) or folder."""
    out: Path | None = None
    """Folder of the new catalogue. Without it, only print the format and the columns."""
    images: Annotated[Path | None, tyro.conf.arg(aliases=["--media"])] = None
    """Folder that the paths in the source are relative to; default: that of the source."""
    format: str | None = None
    """Format; default: detected."""
    columns: tuple[str, ...] = ()
    """Columns whose names differ, e.g. id=SKU title=Product image=Photo; table=COLUMN makes an
    attribute of one, labels=COLUMN a target, kept=COLUMN neither; title=Brand+Name joins two."""
    picture: str | None = None
    """Path of the picture by column, e.g. 'images/{id:.3}/{id}.jpg'."""
    delimiter: str | None = None
    """Character between cells, e.g. ';' or tab; default: detected."""
    encoding: str | None = None
    """Encoding of a text file, e.g. gb18030; default: detected."""
    decimal: Literal[",", "."] | None = None
    """Decimal sign of numbers in text; a comma is replaced by a point. Default: detected."""
    clean_html: bool | None = None
    """Remove HTML tags and entities from texts; default: for the formats of shops."""
    variants: Literal["merge", "separate"] | None = None
    """Whether variants (colours, sizes) are one product or several; default: by the format."""
    mode: Literal["copy", "link", "in-place"] = "copy"
    """Copy the media, link them (hard links), or use them where they are."""
    fetch: bool = False
    """Download the files that the source names by address; once, also over several calls."""
    vectors: tuple[str, ...] = ()
    """Vectors of all products instead of media files, e.g. image=clip.npy with the ids in
    clip.ids.txt; also .npz with ids, or parquet with a column id."""
    language: str | None = None
    """Language of the titles, e.g. de; chosen where a source has several."""
    licence: str = ""
    """Licence of the data, for catalogue.json."""
    source: str = ""
    """Origin of the data, for catalogue.json."""
    m5: M5Sources = field(default_factory=M5Sources)

    def run(self) -> None:
        """Print the columns, import the source and print a report."""
        from scale.data.importers.formats import detect_format
        from scale.data.importers.importer import import_catalogue, open_rows
        from scale.data.importers.rows import Options

        if (self.format or detect_format(self.path)) == "m5product":
            self._import_m5product()
            return
        columns: dict[str, list[str]] = {}
        for column in self.columns:
            key, equals, name = column.partition("=")
            if not equals:
                raise ValueError(f"--columns {column}: write MEANING=COLUMN, e.g. title=Product")
            columns.setdefault(key, []).append(name)
        wrong = [text for text in self.vectors if "=" not in text]
        if wrong:
            raise ValueError(f"--vectors {wrong[0]}: write MODALITY=FILE, e.g. image=clip.npy")
        vectors = {m: Path(path) for m, path in (text.split("=", 1) for text in self.vectors)}
        opened = open_rows(
            self.path, columns, format=self.format, html=self.clean_html, pattern=self.picture,
            options=Options(self.encoding, self.delimiter, self.decimal, self.language,
                            self.variants),
        )  # fmt: skip
        print(opened, flush=True)
        if self.out is None:
            print("nothing is written: give --out FOLDER")
            return
        facts = {"language": self.language, "licence": self.licence, "source": self.source}
        imported = import_catalogue(
            opened, self.out, media=self.images, mode=self.mode, fetch=self.fetch,
            vectors=vectors,
            info={key: value for key, value in facts.items() if value},
        )  # fmt: skip
        print(f"{imported}\nnext: scale inspect {self.out}")

    def _import_m5product(self) -> None:
        """Import M5Product's files; `path` is the JSON file of annotations."""
        from scale.data.importers.m5product import import_m5product

        if self.out is None:
            raise ValueError("annotations of M5Product: give --out FOLDER, and --m5.regions etc.")
        facts = {"language": self.language, "licence": self.licence, "source": self.source}
        info = {key: value for key, value in facts.items() if value}
        sources = replace(self.m5, media=self.m5.media or self.images)
        imported = import_m5product(self.path, self.out, sources, info, mode=self.mode)
        print(imported)
        command = f"scale pretrain --catalogue {self.out} --out RUN{imported.options}"
        print(f"next: scale inspect {self.out}\n      {command}")


@dataclass
class Inspect:
    """Report and draw the contents of a catalogue and its problems.

    With --mismatch RUN, list the products with a modality that probably belongs to another product
    instead, judged by models that were not trained on them.

    Example: scale inspect data_samples --json inspection.json
    """

    folder: tyro.conf.Positional[Path]
    """Folder with products.jsonl or products.parquet, or another source of `scale import`."""
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
    run was trained on are judged by a dozen small models; the result is kept in the run folder."""
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
        from scale.threads import available_cores

        catalogue = Catalogue.open(self.folder, self.strict)
        notes = [note for note in catalogue.notes if not note.startswith("warning: ")]
        print("\n".join([*notes, ""] if notes else []), end="")
        summary = catalogue.summary(self.media, workers=available_cores())
        print(summary)
        losses = self._text_losses(catalogue)
        lost = "\n".join(str(loss) for loss in losses if str(loss)) or "nothing is lost"
        title = f"Titles and tables as tokens, preset {self.preset}"
        print(f"{title}\n{'-' * len(title)}\n{lost}\n")
        if self.json is not None:
            write_json(self.json, summary.to_dict() | {"texts": [asdict(loss) for loss in losses]})
            print(f"written: {self.json}")
        try:
            self._draw(summary)
        except (OSError, ModuleNotFoundError) as error:
            if self.figure is not None:
                raise
            missing = isinstance(error, ModuleNotFoundError)
            hint = (
                "pip install 'scale-workbench[viz]'" if missing else "--figure names another file"
            )
            print(f"no figure: {error}; {hint}")

    def _draw(self, summary: "CatalogueSummary") -> None:
        from scale.viz.catalogue import inspect_figure
        from scale.viz.theme import save_figure, use_style

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
    continues; it also replaces missing and damaged shards. Several machines that share the folder
    OUT each write a part, at any time; the last one to end completes the folder.

    Example: scale shards --catalogue data_samples --preset tiny --out shards
    Example: scale shards --catalogue data_samples --preset tiny --out shards --part 3/16
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
    part: str | None = None
    """Write only the third of 16 ranges of the shards: 3/16. Default: all."""
    finish: bool = False
    """Write no shard, only the files that concern all products: if all parts ended, but none of
    them was the last to see the shards of the others."""
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
            part=self.numbers(),
            only_finish=self.finish,
        )
        if manifest is None:
            print(f"written: part {self.part} of {self.out}; shards of other parts are missing")
            return
        size = sum(file.bytes for shard in manifest.shards for file in shard["files"].values())
        print(
            f"written: {self.out}, {manifest.products:,} products in {len(manifest.shards):,} "
            f"shards, {size / 1e9:.3g} GB; next: scale pretrain --catalogue {self.out} "
            f"--preset {self.preset} --out RUN"
        )

    def numbers(self) -> tuple[int, int] | None:
        """Return the number of the part and that of all parts."""
        if self.part is None:
            return None
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", self.part)
        if found is None:
            raise ValueError(f"--part {self.part}: not of the form 3/16")
        return int(found[1]), int(found[2])
