"""Import of any source into a catalogue folder, and reading it in place."""

import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scale.data.importers import frame
from scale.data.importers.columns import ColumnMapping
from scale.data.importers.convert import Converter
from scale.data.importers.formats import open_source
from scale.data.importers.matrix import read_vector_table
from scale.data.importers.media import Downloads, MediaFolder, MediaWriter, Mode, is_address
from scale.data.importers.rows import Blob, Options, Rows, count_of
from scale.data.product import SPLIT_NAMES, SPLITS
from scale.data.vectors import pack_vectors
from scale.files import replacing, write_whole
from scale.modalities import CONTINUOUS

Columns = Mapping[str, str | Sequence[str]]
BATCH = 256
"""Records whose files are downloaded together."""


@dataclass
class Imported:
    """Result of an import; `print` it for a report."""

    folder: Path
    mapping: ColumnMapping
    facts: list[str] = field(default_factory=list)
    products: int = 0
    pairs: int = 0
    """Attribute-value pairs in all tables."""
    copied: Counter = field(default_factory=Counter)
    """Files copied, linked, written or used in place, by modality."""
    not_found: Counter = field(default_factory=Counter)
    """Paths that name no file inside the media folder, by modality; written all the same."""
    missing: str = ""
    """The first of these paths, and the folder that was searched."""
    addresses: Counter = field(default_factory=Counter)
    """Addresses that were not downloaded, by modality."""
    further: int = 0
    """Files beyond the second of a product, which no view contains."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by address, for downloads that failed."""
    guessed: Counter = field(default_factory=Counter)
    """Files found in another way than by their exact path, by the way."""
    empty: Counter = field(default_factory=Counter)
    """Empty cells, by column. They are absent values, not problems."""
    present: Counter = field(default_factory=Counter)
    """Products with each modality."""
    repaired: Counter = field(default_factory=Counter)
    """Rows that were read although they are irregular, by reason."""
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Rows that were skipped, by number, with the reason."""

    def __str__(self) -> str:
        """Return a report of a few lines."""
        lines = [
            f"{self.folder}: {count_of(self.products, 'product')}, "
            f"{count_of(self.pairs, 'attribute-value pair')}"
        ]
        parts = {
            "files": self.copied,
            "found by": self.guessed,
            "not found": self.not_found,
            "addresses not downloaded (--fetch)": self.addresses,
            "downloads failed": Counter(self.failed.values()),
            "empty cells": self.empty,
            "irregular rows": self.repaired,
        }
        for name, counts in parts.items():
            if counts:
                listed = ", ".join(f"{key} {n:,}" for key, n in counts.most_common(20))
                example = f", e.g. {self.missing}" if counts is self.not_found else ""
                lines.append(f"  {name}: {listed}{example if self.missing else ''}")
        lines += [f"  {fact}" for fact in self.facts if fact.startswith("warning: ")]
        if self.further:
            lines.append(f"  beyond the second of a product, not for the model: {self.further:,}")
        if self.bad:
            number, reason = self.bad[0]
            lines.append(f"  rows skipped: {len(self.bad):,}, e.g. {number}: {reason}")
        return "\n".join(lines)


@dataclass
class OpenedSource:
    """A source with known mapping, of which no record is read yet; `print` it for a report."""

    name: str
    format: str
    rows: Rows
    converter: Converter

    @property
    def mapping(self) -> ColumnMapping:
        """Role of each column."""
        return self.converter.mapping

    def __str__(self) -> str:
        """Return the format, the detected facts and the mapping of the columns."""
        facts = [fact for fact in self.rows.facts if not fact.startswith("warning: ")]
        warnings = "".join(f"\n  {fact}" for fact in self.rows.facts if fact not in facts)
        return f"{self.name}: {', '.join((self.format, *facts))}\n{self.mapping}{warnings}"


def open_rows(
    source: Any,
    columns: Columns | None = None,
    *,
    format: str | None = None,
    options: Options | None = None,
    html: bool | None = None,
    pattern: str | None = None,
) -> OpenedSource:
    """Open a file, a folder, a data frame or an iterable of dictionaries, and map its columns.

    Args:
        source: what to read; `scale.data.importers.formats.FORMATS` lists the formats.
        columns: columns of a record key where the names differ: `{"title": "Product"}`. Also of
            `table` (attributes), `labels`, `kept` (`Product.extra`) and `ignored`.
        format: name of the format; None: detected.
        options: encoding, delimiter and so on; None: detected.
        html: remove HTML from texts; None: for the formats of shops.
        pattern: path of the picture by column, `images/{id:.3}/{id}.jpg`.

    Raises ValueError if the source cannot be read, or a chosen column does not exist.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        found, rows = open_source(path, format, options)
        converter = Converter(rows, columns, html=html, pattern=pattern)
        return OpenedSource(str(path), found, rows, converter)
    chosen = (columns or {}).get("id", "id")
    rows = frame.read(source, chosen if isinstance(chosen, str) else "id")
    name = "data frame" if hasattr(source, "columns") else "records"
    return OpenedSource(name, name, rows, Converter(rows, columns, html=html, pattern=pattern))


def import_catalogue(
    source: Path | OpenedSource,
    out: Path,
    columns: Columns | None = None,
    *,
    media: Path | None = None,
    mode: Mode = "copy",
    fetch: bool = False,
    vectors: Mapping[str, Path] | None = None,
    info: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Imported:
    """Write `out`/products.jsonl, catalogue.json and the media files.

    Args:
        source: file or folder, or the result of `open_rows`.
        out: folder of the new catalogue; must not contain a catalogue yet.
        columns, settings: as in `open_rows`.
        media: folder that paths in the source are relative to; default: that of the source.
        mode: `copy` the media, `link` them (hard links, copies on another disk), or use them
            `in-place`; then catalogue.json names their folder (see `scale.data.catalogue`).
        fetch: download the files that the source names by address.
        vectors: file with the vectors of all products, by modality, instead of media files; see
            `scale.data.importers.matrix.read_vector_table`.
        info: entries of catalogue.json; `name` defaults to that of the source.

    Raises ValueError if `out` contains a catalogue, or as `open_rows`.
    """
    opened = source
    if not isinstance(opened, OpenedSource):
        opened = open_rows(source, columns, **settings)
    if any((out / name).exists() for name in ("products.jsonl", "products.parquet")):
        raise ValueError(f"{out} already contains a catalogue: choose another folder")
    if not opened.converter.has_rows:
        reason = f": {opened.rows.bad[0][1]}" if opened.rows.bad else ""
        raise ValueError(f"{opened.name}: no row that can be read{reason}")
    if media is not None and not media.is_dir():
        raise ValueError(f"{media}: no such folder")
    root = media or opened.rows.media or Path()
    writer, downloads = MediaWriter(out, MediaFolder(root), mode), Downloads(out, fetch)
    if fetch and writer.base != out:
        raise ValueError("downloads cannot be used in place: choose copy")
    imported = Imported(out, opened.mapping, list(opened.rows.facts))
    if unknown := set(vectors or ()) - set(CONTINUOUS):
        raise ValueError(f"vectors of {unknown.pop()!r}: known are {', '.join(CONTINUOUS)}")
    if vectors and writer.base != out:
        raise ValueError("vectors are copied, so media cannot be used in place")
    tables = {modality: read_vector_table(path) for modality, path in (vectors or {}).items()}
    unknown: Counter[str] = Counter()
    out.mkdir(parents=True, exist_ok=True)
    info = {"name": Path(opened.name).stem, **(info or {})}
    if writer.base != out:
        info["media"] = str(root.resolve())
    write_whole(out / "catalogue.json", json.dumps(info, ensure_ascii=False, indent=2) + "\n")
    with (
        replacing(out / "products.jsonl") as partial,
        partial.open("w", encoding="utf-8", errors="surrogatepass") as file,
        ExitStack() as stack,
    ):
        packed = {
            modality: stack.enter_context(pack_vectors(out / "features" / f"{modality}.npy"))
            for modality in tables
        }
        for record in _placed(opened.converter, writer, downloads, tables):
            for modality, table in tables.items():
                values = table.of(str(record["id"]), imported.products)
                if values is None:
                    imported.not_found[f"{modality} vectors"] += 1
                    continue
                record[modality] = packed[modality].append(values)
                imported.copied[f"{modality} vectors"] += 1
            imported.products += 1
            if (split := record.get("split")) not in (None, *SPLITS):
                unknown[split] += 1
            imported.pairs += len(record.get("table") or ())
            imported.further += sum(len(record.get(f"more_{m}", ())) for m in CONTINUOUS)
            imported.present.update(k for k, v in record.items() if v is not None)
            file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
    for split, count in unknown.items():
        imported.facts.append(
            f"warning: split {split!r} of {count_of(count, 'product')} is unknown, which stops "
            f"training; known: {', '.join(SPLIT_NAMES)}"
        )
    imported.copied += writer.copied
    imported.not_found += writer.not_found
    for modality, table in tables.items():
        if table.used < len(table.values):
            unused = len(table.values) - table.used
            imported.facts.append(f"warning: {unused} rows of {modality} vectors fit no product")
    imported.missing = writer.missing
    imported.addresses, imported.guessed = writer.addresses, writer.folder.guessed
    imported.empty, imported.failed = opened.converter.empty, downloads.failed
    imported.bad, imported.repaired = opened.rows.bad, +opened.rows.repaired
    return imported


def _placed(
    converter: Converter,
    writer: MediaWriter,
    downloads: Downloads,
    without: Collection[str] = (),
) -> Iterator[dict[str, Any]]:
    """Yield the records with their media written; addresses are downloaded in batches.

    without: modalities whose files are not written.
    """
    source = iter(converter)
    while records := [record for _, record in itertools.islice(source, BATCH)]:
        for record, modality in itertools.product(records, without):
            record.pop(modality, None)
        if downloads.fetch:
            missing = [
                (value, m)
                for record in records
                for m in CONTINUOUS
                for value in record.get(m, ())
                if is_address(value) and writer.folder.find(value) is None
            ]
            downloads.get(missing)
        for record in records:
            name = str(record["id"])
            yield with_views(record, lambda v, m, n=name: writer.place(v, m, n, downloads))


def with_views(record: dict[str, Any], place: Any) -> dict[str, Any]:
    """Return the record with one path per modality: the first file; the next is in `alt`.

    Further files, which the model does not read, are under `more_image` (`more_video` ...).
    """
    alt = dict(record.get("alt") or {})
    for modality in CONTINUOUS:
        values = record.pop(modality, None)
        if not values:
            continue
        record[modality] = place(values[0], modality)
        for value in values[1:2] if modality not in alt else ():
            alt[modality] = place(value, modality)
        if more := values[2:]:
            record[f"more_{modality}"] = [place(value, modality) for value in more]
    if isinstance(alt.get("image"), list):
        alt["image"] = alt["image"][0]
    if alt:
        record["alt"] = alt
    return record


def records_in_place(opened: OpenedSource, folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the record of each row, with media paths relative to the folder.

    Nothing is written or downloaded: addresses and media inside other files stay as they are, and
    the catalogue reports them.
    """
    media = MediaFolder(folder)

    def place(value: Any, modality: str) -> Any:
        if isinstance(value, Blob):
            return {"bytes": value.name}
        return media.find(value) or value.replace("\\", "/")

    for number, record in opened.converter:
        yield number, with_views(record, place)


def import_csv(
    table: Path,
    media: Path,
    out: Path,
    columns: Columns | None = None,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    info: Mapping[str, Any] | None = None,
) -> Imported:
    """Import a CSV file: the former name of `import_catalogue`, kept for one version."""
    options = Options(encoding, delimiter)
    return import_catalogue(table, out, columns, media=media, info=info, options=options)
