"""M5Product's own files as a catalogue with packed features, streamed in constant memory.

The layout is that of the authors' scripts (docs/importing.md). Region features, video and audio
vectors become one matrix per modality (`scale.data.vectors`); what is absent is a missing modality.

L vectors of a product, F features of a vector.
"""

import json
import os
import re
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm.auto import tqdm

from scale.data.importers.formats import Probe
from scale.data.importers.m5_sources import M5Sources
from scale.data.importers.regions import Regions, read_regions
from scale.data.importers.rows import Options, Rows
from scale.data.importers.text import clean_text
from scale.data.lists import product_of, read_id_list
from scale.data.product import SPLITS, InvalidValue, Problem, printable, read_string
from scale.data.vectors import PackedWriter, hash_vectors, map_matrix, pack_vectors
from scale.files import write_whole
from scale.modalities import CONTINUOUS

PAIRS, PAIR = "#;#", "#:#"
"""Separators between the pairs of `pv`, and between an attribute and its value."""
MEL_BINS = 80
LARGEST_VECTORS = 1 << 26
"""Bytes of the largest file of video or audio vectors that is read."""
RAW = {"image": ("images", ".jpg"), "video": ("videos", ".mp4"), "audio": ("audios", ".mp3")}
"""Folder and suffix of the raw media."""
WORK = ".import"
"""Folder of unfinished files."""
UNUSABLE = "unusable id: empty, or no file name"


@dataclass
class ImportedM5:
    """Result of an import; `print` it for a report."""

    folder: Path
    products: int = 0
    pairs: int = 0
    """Attribute-value pairs in all tables."""
    present: Counter = field(default_factory=Counter)
    """Products with each modality."""
    splits: Counter = field(default_factory=Counter)
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By modality with vectors, the longest sequence and F."""
    counts: Counter = field(default_factory=Counter)
    """Facts that are no problems, e.g. products left out, by description."""
    problems: Counter = field(default_factory=Counter)
    """Number of problems by modality (or `record`) and kind; problems.jsonl has each."""
    examples: dict[Any, str] = field(default_factory=dict)
    """First id of each fact and problem."""
    seconds: float = 0.0

    def __str__(self) -> str:
        """Return a report of a few lines."""
        lines = [
            f"{self.folder}: {self.products:,} products, {self.pairs:,} attribute-value pairs, "
            f"{self.seconds:.1f} s"
        ]
        present = ", ".join(f"{m} {n:,}" for m, n in self.present.items())
        vectors = ", ".join(f"{m} up to {n} x {size}" for m, (n, size) in self.shapes.items())
        splits = ", ".join(f"{s} {self.splits[s]:,}" for s in SPLITS if self.splits[s])
        for name, text in (("products with", present), ("vectors", vectors), ("splits", splits)):
            if text:
                lines.append(f"  {name}: {text}")
        for fact, count in self.counts.most_common():
            lines.append(f"  {fact}: {count:,}, e.g. {printable(self.examples[fact])!r}")
        for (what, kind), count in self.problems.most_common():
            example = printable(self.examples[what, kind])
            lines.append(f"  problem: {what}: {kind}: {count:,}, e.g. {example!r}")
        if self.problems:
            lines.append(f"  all problems: {self.folder / 'problems.jsonl'}")
        return "\n".join(lines)

    @property
    def options(self) -> str:
        """Options of `scale pretrain` that fit the vectors."""
        return "".join(
            f" --features.{m}-features file --model.{m}-length {length} --model.{m}-features {size}"
            for m, (length, size) in self.shapes.items()
        )


def import_m5product(
    annotations: Path,
    out: Path,
    sources: M5Sources | None = None,
    info: Mapping[str, str] | None = None,
    mode: Literal["copy", "link", "in-place"] = "copy",
    progress: bool = True,
) -> ImportedM5:
    """Write a catalogue folder: products.jsonl, features/*.npy, problems.jsonl, catalogue.json.

    Every problem is counted, and written with id, path and reason. products.jsonl is written last:
    an interrupted import leaves no catalogue, and the same command starts it again.

    Args:
        annotations: JSON object of {"title", "pv", "label"} by product id.
        out: folder of the new catalogue; must not contain one yet.
        info: entries of catalogue.json.
        mode: `copy` raw media, or `link` them (hard links; copies on another disk). Features are
            packed into the folder, so `in-place` is refused.

    Raises ValueError if a file is missing or malformed as a whole, or `out` has a catalogue.
    """
    sources = sources or M5Sources()
    if mode == "in-place":
        raise ValueError(
            "features of M5Product are packed into the new folder: --mode copy or link"
        )
    _check_paths(annotations, out, sources)
    started, work = time.perf_counter(), out / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        imported = _Import(annotations, out, work, sources, mode, progress).run()
        for path in sorted((work / "features").glob("*.npy")):
            (out / "features").mkdir(exist_ok=True)
            path.replace(out / "features" / path.name)
        facts = {"name": "M5Product", "language": "zh", **(info or {})}
        write_whole(out / "catalogue.json", json.dumps(facts, ensure_ascii=False, indent=2) + "\n")
        for name in ("problems.jsonl", "products.jsonl"):
            (work / name).replace(out / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    imported.seconds = time.perf_counter() - started
    return imported


def _check_paths(annotations: Path, out: Path, sources: M5Sources) -> None:
    files = [annotations, *sources.train, *sources.val, *sources.test]
    files += [sources.classes] if sources.classes else []
    for path in files:
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
    for path in (sources.video, sources.audio, sources.media):
        if path is not None and not path.is_dir():
            raise ValueError(f"{path}: no such folder")
    for path in sources.regions:
        if not path.exists():
            raise ValueError(f"{path}: no such file")
    if (out / "products.jsonl").exists() or (out / "products.parquet").exists():
        raise ValueError(f"{out} already contains a catalogue: choose another folder")


def matches(probe: Probe) -> bool:
    """Return whether a JSON file is an object of annotations by product id."""
    start = re.match(r'\s*\{\s*"[^"]{1,80}"\s*:\s*\{', probe.head)
    return probe.kind == "jsonl" and start is not None and probe.has("pv", "label")


def read(path: Path, options: Options) -> Rows:
    """Open the annotations alone, without features: titles, tables and labels."""
    opened = Rows((), facts=["annotations alone; scale import --m5.regions etc. adds features"])
    opened.rows = (
        (number, {"id": product, "title": entry.get("title"), "label": entry.get("label"),
                  "pv": parse_pv(str(entry.get("pv") or ""))[0]})
        for number, (product, entry) in enumerate(read_annotations(path), start=1)
        if isinstance(entry, dict)
    )  # fmt: skip
    opened.columns = {"id": ["id"], "title": ["title"], "category": ["label"], "table": ["pv"]}
    return opened


def read_annotations(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the id and the value of each entry of a JSON object, in constant memory.

    Raises ValueError if the file is not a JSON object; entries before the fault are yielded.
    """
    try:
        import ijson
    except ImportError as error:
        raise ImportError("ijson is missing: pip install 'scale-workbench[import]'") from error
    with path.open("rb") as file:
        start = file.read(3)
        file.seek(3 if start == b"\xef\xbb\xbf" else 0)
        while (first := file.read(1)).isspace():
            pass
        if first != b"{":
            raise ValueError(f"{path}: not a JSON object of annotations by product id")
        file.seek(-1, os.SEEK_CUR)
        try:
            yield from ijson.kvitems(file, "")
        except (ijson.JSONError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{path}: not JSON: {error}") from error


def parse_pv(text: str) -> tuple[list[list[str]], list[str]]:
    """Return the attribute-value pairs of a `pv` string, and the parts that are no pairs.

    A string of at most one character means that there is no table.
    """
    pairs, bad = [], []
    for part in text.split(PAIRS) if len(text.strip()) > 1 else ():
        attribute, separator, value = map(clean_text, part.partition(PAIR))
        if attribute and value:
            pairs.append([attribute, value])
        elif attribute or separator:
            bad.append(part)
    return pairs, bad


def read_array(path: Path) -> np.ndarray:
    """Return the numbers of a .npy file of two dimensions. Raises InvalidValue."""
    try:
        size = path.stat().st_size
        if size > LARGEST_VECTORS:
            raise InvalidValue(f"too large: {size:,} bytes, at most {LARGEST_VECTORS:,}")
        values = np.array(map_matrix(path))
    except InvalidValue:
        raise
    except (ValueError, EOFError, OSError) as error:
        raise InvalidValue(f"does not load: {error}") from error
    if values.dtype.kind not in "fiu":
        raise InvalidValue(f"wrong type: {values.dtype}, not numbers")
    if values.ndim != 2 or 0 in values.shape:
        raise InvalidValue(f"wrong shape: {values.shape}")
    return values


class _Import:
    """One import: the open files, and the database that joins the sources by id."""

    def __init__(
        self, annotations: Path, out: Path, work: Path, sources: M5Sources,
        mode: str, progress: bool,
    ) -> None:  # fmt: skip
        self.annotations, self.out, self.work, self.sources = annotations, out, work, sources
        self.mode, self.progress = mode, progress
        self.imported = ImportedM5(out)
        self.split, self.label = self._read_lists()
        self.classes = _read_classes(sources.classes)
        self.packed: dict[str, PackedWriter] = {}
        self.appended: Counter = Counter()

    def run(self) -> ImportedM5:
        """Read all sources and write the unfinished files."""
        with ExitStack() as stack:
            self.problem_file = stack.enter_context(_text_file(self.work / "problems.jsonl"))
            self.record_file = stack.enter_context(_text_file(self.work / "products.jsonl"))
            self.database = stack.enter_context(
                closing(sqlite3.connect(self.work / "index.sqlite", isolation_level=None))
            )
            self._make_tables()
            for name in (*CONTINUOUS, "boxes"):
                # Locations in float16 would be off by up to half a pixel in a thousand.
                kind = np.float32 if name == "boxes" else np.float16
                file = self.work / "features" / f"{name}.npy"
                self.packed[name] = stack.enter_context(pack_vectors(file, dtype=kind))
            for path in self.sources.regions:
                self._add_regions(path)
            self._add_annotated()
            self._add_unannotated()
            self._check_lists()
            self._check_sizes()
        return self.imported

    def _make_tables(self) -> None:
        run = self.database.execute
        run("PRAGMA journal_mode = OFF")
        run("PRAGMA synchronous = OFF")
        run("CREATE TABLE product (id TEXT PRIMARY KEY) WITHOUT ROWID")
        run(
            "CREATE TABLE picture (number INTEGER PRIMARY KEY, image_id TEXT UNIQUE, product TEXT, "
            "title TEXT, image TEXT, boxes TEXT, content TEXT)"
        )
        run("CREATE INDEX of_product ON picture (product)")
        run("BEGIN")

    def _read_lists(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the split and the label of each listed product.

        A product of several lists belongs to the most protected split: test, then val.
        """
        split: dict[str, str] = {}
        label: dict[str, str] = {}
        for name in SPLITS:
            for path in getattr(self.sources, name):
                for entry, given in read_id_list(path).labels.items():
                    product = product_of(entry)
                    if split.get(product, name) != name:
                        self._count(f"in lists of {split[product]} and {name}", product)
                    split[product] = name
                    if given is not None:
                        label[product] = given
        return split, label

    # ------------------------------------------------------------------------------- counting

    def _count(self, fact: str, example: str) -> None:
        self.imported.counts[fact] += 1
        self.imported.examples.setdefault(fact, example)

    def _reject(self, product: str, modality: str | None, path: Path | str, reason: str) -> None:
        problem = Problem(product, modality, printable(str(path)), printable(reason))
        self.problem_file.write(json.dumps(asdict(problem)) + "\n")
        key = (modality or "record", problem.kind)
        self.imported.problems[key] += 1
        self.imported.examples.setdefault(key, product)

    def _shown(self, values: Iterator, name: str) -> Iterator:
        return tqdm(values, desc=name, unit=" products", delay=2, disable=not self.progress)

    def _wanted(self, product: str) -> bool:
        return not self.split or product in self.split

    # -------------------------------------------------------------------------------- regions

    def _add_regions(self, path: Path) -> None:
        for where, image_id, found in self._shown(read_regions(path), "regions"):
            product = product_of(image_id)
            if isinstance(found, InvalidValue):
                self._reject(product, "image", where, str(found))
            elif not self._wanted(product):
                self._count("regions of products in no list, left out", product)
            else:
                self._add_picture(product, found, where)

    def _add_picture(self, product: str, regions: Regions, where: str) -> None:
        title = self._string(product, "title", regions.title, where)
        row = self.database.execute(
            "INSERT OR IGNORE INTO picture (image_id, product, title) VALUES (?, ?, ?)",
            (_storable(regions.image_id), _storable(product), title),
        )
        if not row.rowcount:
            self._reject(product, "image", where, "duplicate image id: the first is kept")
            return
        features_LF, locations_L5 = regions.features_LF, regions.locations_L5
        if self.sources.mean_region:
            features_LF, locations_L5 = regions.with_mean()
        if self.sources.boxes == "append":
            features_LF = np.concatenate([features_LF, locations_L5], axis=1)
        image = self._pack("image", product, features_LF, where)
        boxes = None
        if image is not None and self.sources.boxes == "separate":
            boxes = self._pack("boxes", product, locations_L5, where)
        self.database.execute(
            "UPDATE picture SET image = ?, boxes = ?, content = ? WHERE number = ?",
            (image, boxes, image and hash_vectors(features_LF), row.lastrowid),
        )

    def _pack(
        self, name: str, product: str, values_LF: np.ndarray, where: Path | str
    ) -> str | None:
        """Append vectors to the matrix of a modality; return their path, None if unusable."""
        if name in CONTINUOUS and not values_LF.any():
            self._reject(product, name, where, "all zeros: counts as missing")
            return None
        try:
            found = self.packed[name].append(values_LF)
        except ValueError as error:
            self._reject(product, name, where, str(error))
            return None
        self.appended[name] += 1
        if name in CONTINUOUS:
            longest, _ = self.imported.shapes.get(name, (0, 0))
            size = max(longest, len(values_LF)), values_LF.shape[1]
            self.imported.shapes[name] = size
        return found

    # ------------------------------------------------------------------------------- products

    def _add_annotated(self) -> None:
        for product, entry in self._shown(read_annotations(self.annotations), "products"):
            where = f"{self.annotations}:{printable(product[:80])}"
            if not _is_id(product):
                self._reject(product[:80], None, where, UNUSABLE)
            elif not self._wanted(product):
                self._count("annotations of products in no list, left out", product)
            elif not self._is_new(product):
                self._reject(product, None, where, "duplicate id: the first is kept")
            elif not isinstance(entry, dict):
                kind = type(entry).__name__
                self._reject(product, None, where, f"annotation is not an object: {kind}")
            else:
                self._write(product, entry, where)

    def _is_new(self, product: str) -> bool:
        found = self.database.execute("INSERT OR IGNORE INTO product VALUES (?)", (product,))
        return found.rowcount > 0

    def _add_unannotated(self) -> None:
        """Keep the products that only the region files have."""
        if not self.sources.regions:
            return
        rows = self.database.execute(
            "SELECT DISTINCT product FROM picture WHERE product NOT IN (SELECT id FROM product)"
        )
        for (product,) in rows:
            if not _is_id(product):
                self._reject(product[:80], None, self.annotations, UNUSABLE)
                continue
            self._count("products of the region files without annotation, kept", product)
            self._write(product, {}, str(self.annotations))

    def _write(self, product: str, entry: dict[str, Any], where: str) -> None:
        """Write the record of a product."""
        pictures = self.database.execute(
            "SELECT title, image, boxes, content FROM picture WHERE product = ? ORDER BY number",
            (product,),
        ).fetchall()
        record: dict[str, Any] = {"id": product}
        title = self._title(product, entry, next((p[0] for p in pictures if p[0]), None), where)
        record |= {"title": title, "category": self._category(product, entry, where)}
        record |= {"split": self.split.get(product), "table": self._table(product, entry, where)}
        record |= self._pictures(product, pictures)
        for m in ("video", "audio"):
            record |= self._vectors(product, m)
        for m in CONTINUOUS:
            if m not in record:
                record |= self._raw(product, m)
        record = {key: value for key, value in record.items() if value}
        self.record_file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self.imported.products += 1
        self.imported.pairs += len(record.get("table", ()))
        self.imported.splits[record.get("split")] += 1
        for key in ("title", "table", *CONTINUOUS):
            self.imported.present[key] += key in record

    def _string(self, product: str, key: str, value: Any, where: str) -> str | None:
        """Return a checked text; None for null and blank text, which mean an absent value."""
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        try:
            return clean_text(read_string(key, value))
        except InvalidValue as error:
            self._reject(product, "text" if key == "title" else None, where, str(error))
            return None

    def _title(
        self, product: str, entry: dict[str, Any], of_regions: str | None, where: str
    ) -> str | None:
        given = self._string(product, "title", entry.get("title"), where)
        if given and of_regions and given != of_regions:
            self._count("titles that differ between annotations and region files", product)
        if self.sources.titles == "regions":
            return of_regions or given
        if of_regions and not given and entry:
            self._count("titles taken from the region files", product)
        return given or of_regions

    def _category(self, product: str, entry: dict[str, Any], where: str) -> str | None:
        given = self._named_class(product, entry.get("label"), where)
        listed = self._named_class(product, self.label.get(product), where)
        if given and listed and given != listed:
            self._count("labels that differ between annotations and lists", product)
        category = given or listed
        if self.classes and category and category not in self.classes.values():
            self._count("labels that are no class", product)
        return category

    def _named_class(self, product: str, label: Any, where: str) -> str | None:
        """Return a label as text; an integer that is no class name is a position among them."""
        if isinstance(label, int) and not isinstance(label, bool):
            label = str(label)
        label = self._string(product, "label", label, where)
        return self.classes.get(label, label) if label else None

    def _table(self, product: str, entry: dict[str, Any], where: str) -> list[list[str]]:
        text = self._string(product, "pv", entry.get("pv"), where)
        pairs, bad = parse_pv(text) if text else ([], [])
        for part in bad:
            self._reject(product, "table", where, f"no pair in pv, left out: {part[:80]!r}")
        return pairs

    def _pictures(self, product: str, pictures: list[tuple]) -> dict[str, Any]:
        """Return the first picture, the second as second view, and their hashes."""
        usable = [(image, boxes, content) for _, image, boxes, content in pictures if image]
        found: dict[str, Any] = {}
        for (image, boxes, content), prefix in zip(usable, ("", "alt_"), strict=False):
            found.setdefault("content", {})[f"{prefix}image"] = content
            found |= {f"{prefix}boxes": boxes}
            found |= {"alt": {"image": image}} if prefix else {"image": image}
        for _ in usable[2:]:
            self._count("further pictures of a product, left out", product)
        return found

    def _vectors(self, product: str, modality: str) -> dict[str, str]:
        folder = getattr(self.sources, modality)
        path = None if folder is None else folder / f"{product}.npy"
        if path is None or not path.is_file():
            return {}
        try:
            values_LF = read_array(path)
            if modality == "audio":
                values_LF = self._time_first(values_LF)
        except InvalidValue as error:
            self._reject(product, modality, path, str(error))
            return {}
        found = self._pack(modality, product, values_LF, path)
        return {modality: found} if found else {}

    def _time_first(self, values: np.ndarray) -> np.ndarray:
        """Return a spectrogram with a row per time frame."""
        if MEL_BINS not in values.shape:
            raise InvalidValue(f"wrong shape: {values.shape}, no axis of {MEL_BINS} bands")
        values_LF = values if values.shape[1] == MEL_BINS else values.T
        frames = self.sources.audio_frames
        if not frames or len(values_LF) <= frames:
            return values_LF
        return np.stack([part.mean(0) for part in np.array_split(values_LF, frames)])

    def _raw(self, product: str, modality: str) -> dict[str, str]:
        """Link or copy a raw file, for modalities without features."""
        has_features = {"image": self.sources.regions}.get(
            modality, getattr(self.sources, modality, None)
        )
        folder, suffix = RAW[modality]
        if self.sources.media is None or has_features:
            return {}
        source = self.sources.media / folder / f"{product}{suffix}"
        if not source.is_file():
            return {}
        name = f"{folder}/{product}{suffix}"
        _take(source, self.out / name, self.mode)
        return {modality: name}

    def _check_lists(self) -> None:
        """Report the listed ids that no source has."""
        has = "SELECT 1 FROM product WHERE id = ? UNION SELECT 1 FROM picture WHERE product = ?"
        for product, split in self.split.items():
            if self.database.execute(has, (_storable(product),) * 2).fetchone() is None:
                self._reject(product, None, self.annotations, f"absent id: in a list of {split}")

    def _check_sizes(self) -> None:
        """Raise ValueError if the first vectors of a modality have an exceptional size."""
        for m, (_, size) in self.imported.shapes.items():
            other = self.imported.problems[m, "wrong size"]
            if other > self.appended[m]:
                raise ValueError(
                    f"{m}: {other:,} products have vectors of another size than the first, {size}: "
                    "remove the first"
                )


def _text_file(path: Path) -> Any:
    return path.open("w", encoding="utf-8", newline="\n")


def _storable(text: str) -> str:
    """Return text without lone surrogates, which cannot be stored as UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _is_id(product: str) -> bool:
    """Return whether an id can be the name of a file in a folder."""
    safe = product.isprintable() and not set(product) & set("/\\:")
    return safe and product.strip() not in ("", ".", "..") and len(product.encode()) < 200


def _read_classes(path: Path | None) -> dict[str, str]:
    """Return the class by its name, and by its position where that is no name."""
    if path is None:
        return {}
    try:
        names = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(names, list) or not all(isinstance(n, str | int) for n in names):
        raise ValueError(f"{path}: not a list of class names")
    texts = [str(name).strip() for name in names]
    return {str(i): name for i, name in enumerate(texts)} | {name: name for name in texts}


def _take(source: Path, target: Path, mode: str) -> None:
    """Copy a file, or make a hard link where the file system can."""
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if mode == "link":
        with suppress(OSError):
            os.link(source.resolve(), target)
            return
    shutil.copyfile(source, target)
