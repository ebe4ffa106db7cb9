"""WebDataset and img2dataset: tar files of `key.jpg`, `key.txt`, `key.json`, `key.cls`."""

import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from scale.data.importers.columns import SUFFIXES
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Blob, Options, Row, Rows, count_of

LARGEST = 256 << 20
"""Bytes of a member; larger ones are counted as bad."""
TEXTS = {"txt": "text", "text": "text", "caption": "text", "title": "title", "cls": "label",
         "class": "label", "label": "label"}  # fmt: skip
MEDIA = {suffix: m for m, suffixes in SUFFIXES.items() for suffix in suffixes.split()}


def matches(probe: Probe) -> bool:
    """Return whether the source is a tar file or a folder of them."""
    is_tar = any(name.endswith((".tar", ".tar.gz", ".tgz")) for name in probe.files)
    return probe.kind == "tar" or (probe.kind == "folder" and is_tar)


def read(path: Path, options: Options) -> Rows:
    """Open the shards. Members are read in order and never extracted to their own paths."""
    paths = [path]
    if path.is_dir():
        paths = sorted(p for p in path.iterdir() if p.name.endswith((".tar", ".tar.gz", ".tgz")))
    opened = Rows((), facts=[count_of(len(paths), "shard")])
    opened.rows = _samples(paths, opened)
    opened.columns = {
        "id": ["__key__"], "title": ["text", "title", "caption"], "category": ["label"],
        **{modality: [modality] for modality in SUFFIXES},
        "ignored": ["key", "status", "error_message", "sha256", "exif", "width", "height",
                    "original_width", "original_height"],
    }  # fmt: skip
    return opened


def _samples(paths: Iterable[Path], opened: Rows) -> Iterator[tuple[int, Row]]:
    number = 0
    for path in paths:
        key, row = None, {}
        for name, suffix, data in _members(path, opened):
            if name != key:
                if row:
                    number += 1
                    yield number, row
                key, row = name, {"__key__": name}
            row |= _decoded(name, suffix, data, number + 1, opened)
        if row:
            number += 1
            yield number, row


def _members(path: Path, opened: Rows) -> Iterator[tuple[str, str, bytes]]:
    """Yield the key, the suffix and the content of each regular file."""
    count = 0
    try:
        with tarfile.open(path, "r|*") as tar:
            for count, member in enumerate(tar, start=1):
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if not member.isfile() or not stem or not suffix:
                    continue
                if member.size > LARGEST:
                    opened.bad.append((count, f"larger than {LARGEST >> 20} MB"))
                    continue
                file = tar.extractfile(member)
                key = f"{folder}/{stem}" if folder not in ("", ".") else stem
                yield key, suffix.lower(), file.read() if file else b""
    except (tarfile.TarError, EOFError, OSError) as error:
        opened.bad.append((count + 1, f"damaged tar file {path.name}: {error}"))


def _decoded(key: str, suffix: str, data: bytes, number: int, opened: Rows) -> Row:
    """Return the columns that a member adds to its sample."""
    last = suffix.rpartition(".")[2]
    if last in MEDIA:
        return {MEDIA[last]: Blob(data, f"{key}.{last}")}
    if last == "json":
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            opened.bad.append((number, f"{key}.json: {error}"))
            return {}
        return value if isinstance(value, dict) else {"json": value}
    if last in TEXTS:
        return {TEXTS[last]: data.decode("utf-8", "replace").strip()}
    return {}
