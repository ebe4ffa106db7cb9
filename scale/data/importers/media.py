"""Media of an import: found under a folder, copied or linked into the catalogue, or downloaded."""

import hashlib
import json
import os
import re
import shutil
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from scale.data.importers.columns import SUFFIXES
from scale.data.importers.rows import Blob
from scale.files import replacing

Mode = Literal["copy", "link", "in-place"]
LARGEST = 256 << 20
"""Bytes of a downloaded file."""
ATTEMPTS = 3
MAGIC = (
    (b"\xff\xd8\xff", "jpg"), (b"\x89PNG", "png"), (b"GIF8", "gif"), (b"BM", "bmp"),
    (b"II*\0", "tif"), (b"MM\0*", "tif"), (b"fLaC", "flac"), (b"OggS", "ogg"), (b"ID3", "mp3"),
    (b"\xff\xfb", "mp3"), (b"\x1aE\xdf\xa3", "webm"),
)  # fmt: skip


def is_address(value: Any) -> bool:
    """Return whether a value is the address of a file on a server."""
    return isinstance(value, str) and re.match(r"(?i)(https?|ftp)://|//[\w-]+\.", value) is not None


def suffix_of(data: bytes) -> str:
    """Return the suffix of a media file by its first bytes; empty if unknown."""
    if data[:4] == b"RIFF":
        return {b"WEBP": "webp", b"WAVE": "wav"}.get(data[8:12], "")
    if data[4:8] == b"ftyp":
        return "avif" if data[8:12] == b"avif" else "mp4"
    return next((suffix for start, suffix in MAGIC if data.startswith(start)), "")


class MediaFolder:
    """Finds files by the paths and addresses that a source contains, inside one folder only."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._resolved = root.resolve()
        self._paths: dict[str, str] | None = None
        self._names: dict[str, list[str]] = {}
        self.guessed: Counter[str] = Counter()
        """Files found in another way than by their exact path, by the way."""

    def find(self, value: str) -> str | None:
        """Return the path relative to the folder, or None if there is no such file inside it.

        Tried in turn: the path; with `/` for `\\`, decoded (%20), in NFC and NFD; in another case
        or with another suffix; and, for addresses and absolute paths, its longest end that exists,
        then its file name if only one file has it. A path with `..` is only tried as it is.
        """
        address = is_address(value)
        path = urlsplit(value).path if address else value
        path = path.strip().replace("\\", "/")
        if not address and self._is_file(path):
            return self._relative(path)
        if ".." in PurePosixPath(path).parts or not path.strip("/"):
            return None
        anchored = address or bool(PureWindowsPath(value).anchor)
        decoded = unquote(path)
        parts = [p for p in decoded.split("/") if p and not p.endswith(":")]
        for start in range(len(parts)):
            found = self._spelled("/".join(parts[start:]), with_stem=start == 0 and not anchored)
            if found is not None:
                self.guessed["end of a longer path" if start else "spelling"] += 1
                return found
        named = self._names.get(_folded(parts[-1]), ()) if anchored and parts else ()
        if len(named) == 1:
            self.guessed["file name alone"] += 1
            return named[0]
        return None

    def _is_file(self, path: str) -> bool:
        if PureWindowsPath(path).anchor:
            return False
        try:
            target = (self.root / path).resolve()
            return target.is_relative_to(self._resolved) and target.is_file()
        except (OSError, ValueError, RuntimeError):
            return False

    def _relative(self, path: str) -> str:
        return os.path.normpath(path).replace(os.sep, "/")

    def _spelled(self, path: str, with_stem: bool) -> str | None:
        if self._is_file(path):
            return path
        if self._paths is None:
            self._list()
        key = _folded(path)
        found = self._paths.get(key)  # type: ignore[union-attr]
        if found is None and with_stem and not PurePosixPath(path).suffix:
            found = self._paths.get(f"{key}.*")  # type: ignore[union-attr]
        return found or None

    def _list(self) -> None:
        """List the files once; a spelling that fits several files is left out."""
        self._paths = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = (Path(folder) / name).relative_to(self.root).as_posix()
                if not self._is_file(path):
                    continue
                self._names.setdefault(_folded(name), []).append(path)
                key = _folded(path)
                for spelling in (key, f"{key.rpartition('.')[0]}.*"):
                    self._paths[spelling] = "" if spelling in self._paths else path


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


@dataclass
class MediaWriter:
    """Places the media of an import and counts what happened."""

    out: Path
    folder: MediaFolder
    mode: Mode = "copy"
    copied: Counter = field(default_factory=Counter)
    """Files copied, linked, written or used in place, by modality."""
    not_found: Counter = field(default_factory=Counter)
    """Paths that name no file inside the media folder, by modality; written all the same."""
    missing: str = ""
    """The first of these paths, and the folder that was searched."""
    addresses: Counter = field(default_factory=Counter)
    """Addresses that were not downloaded, by modality."""

    @property
    def base(self) -> Path:
        """Folder that the paths of the records are relative to."""
        inside = self.folder.root.resolve().is_relative_to(self.out.resolve())
        return self.out if self.mode != "in-place" or inside else self.folder.root

    def place(self, value: Any, modality: str, product_id: str, downloads: "Downloads") -> str:
        """Return the path of a file for the record, after writing the file.

        A path that is absolute, leaves the media folder (by `..` or a link) or names no file there
        is returned in a form that the catalogue rejects. Files outside are never read.
        """
        if isinstance(value, Blob):
            return self._write(value, modality, product_id)
        found = self.folder.find(value)
        if found is None and (path := downloads.path(value)) is not None:
            self.copied[modality] += 1
            return path
        if found is None:
            if is_address(value):
                self.addresses[modality] += 1
                return value
            self.not_found[modality] += 1
            self.missing = self.missing or f"{value!r} in {self.folder.root} (--images: another)"
            path = value.replace("\\", "/")
            outside = PureWindowsPath(path).anchor or ".." in PurePosixPath(path).parts
            kept = outside or self.mode == "in-place"
            return path if kept else f"{modality}/{path}"
        self.copied[modality] += 1
        source = self.folder.root / found
        if self.mode == "in-place":
            return source.resolve().relative_to(self.base.resolve()).as_posix()
        target = self.out / modality / found
        with replacing(target) as partial:
            self._copy(source.resolve(), partial)
        return target.relative_to(self.out).as_posix()

    def _copy(self, source: Path, target: Path) -> None:
        if self.mode == "link":
            try:
                os.link(source, target)
                return
            except OSError:
                pass  # another file system
        shutil.copyfile(source, target)

    def _write(self, blob: Blob, modality: str, product_id: str) -> str:
        if self.base != self.out:
            raise ValueError("media inside another file cannot be used in place: choose copy")
        name = PurePosixPath(blob.name.replace("\\", "/")).name
        suffix = PurePosixPath(name).suffix.lower().removeprefix(".")
        if suffix not in " ".join(SUFFIXES.values()).split():
            suffix = suffix_of(blob.data) or "bin"
        # Two products never share a file, whatever their names have in common.
        digest = hashlib.blake2b(product_id.encode() + blob.data, digest_size=5).hexdigest()
        stem = re.sub(r"[^\w.-]+", "_", product_id).strip("._")[:80]
        target = self.out / modality / f"{stem}-{digest}.{suffix}"
        with replacing(target) as partial:
            partial.write_bytes(blob.data)
        self.copied[modality] += 1
        return target.relative_to(self.out).as_posix()


class Downloads:
    """Downloads files once; `fetched.jsonl` lists each address with its file or the reason.

    A second import into the same folder only repeats what failed.
    """

    def __init__(self, out: Path, fetch: bool, workers: int = 8) -> None:
        self.out, self.fetch, self.workers = out, fetch, workers
        self.report = out / "fetched.jsonl"
        self.files: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        if fetch and self.report.is_file():
            for line in self.report.read_text(encoding="utf-8").splitlines():
                entry = _decoded(line)
                if entry.get("file") and (out / entry["file"]).is_file():
                    self.files[entry["url"]] = entry["file"]

    def path(self, address: str) -> str | None:
        """Return the file of an address, relative to the catalogue; None if there is none."""
        return self.files.get(address)

    def get(self, addresses: Iterable[tuple[str, str]]) -> None:
        """Download the files of (address, modality) that are not there yet."""
        known = self.files.keys() | self.failed.keys()
        wanted = {a: m for a, m in addresses if a not in known} if self.fetch else {}
        if not wanted:
            return
        try:
            import httpx
        except ImportError as error:
            raise ImportError("httpx is missing: pip install 'scale-workbench[import]'") from error
        self.out.mkdir(parents=True, exist_ok=True)
        limits = httpx.Limits(max_connections=self.workers)
        headers = {"User-Agent": "scale-workbench"}
        with (
            httpx.Client(
                follow_redirects=True, timeout=30, limits=limits, headers=headers
            ) as client,
            ThreadPoolExecutor(self.workers) as pool,
            self.report.open("a", encoding="utf-8") as report,
        ):
            for address, (path, reason) in zip(
                wanted, pool.map(lambda a: self._get(client, a, wanted[a]), wanted), strict=True
            ):
                entry = (
                    {"url": address, "file": path} if path else {"url": address, "error": reason}
                )
                report.write(json.dumps(entry) + "\n")
                if path:
                    self.files[address] = path
                else:
                    self.failed[address] = reason

    def _get(self, client: Any, address: str, modality: str) -> tuple[str | None, str]:
        """Return the path of the downloaded file, or the reason why there is none."""
        import httpx

        reason = ""
        url = f"https:{address}" if address.startswith("//") else address
        for attempt in range(ATTEMPTS):
            try:
                with client.stream("GET", url) as response:
                    if response.status_code in (429, 500, 502, 503, 504):
                        reason = f"status {response.status_code}"
                    elif response.status_code != 200:
                        return None, f"status {response.status_code}"
                    elif response.headers.get("content-type", "").startswith("text/html"):
                        return None, "an HTML page, not a file"
                    else:
                        return self._save(response, address, modality)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                reason = f"{type(error).__name__}: {error}"
                if not isinstance(error, httpx.TransportError):
                    return None, reason
            time.sleep(0.5 * 2**attempt if attempt < ATTEMPTS - 1 else 0)
        return None, reason

    def _save(self, response: Any, address: str, modality: str) -> tuple[str | None, str]:
        name = PurePosixPath(unquote(urlsplit(address).path)).name
        stem = re.sub(r"[^\w-]+", "_", PurePosixPath(name).stem).strip("_")[:60]
        digest = hashlib.blake2b(address.encode(), digest_size=6).hexdigest()
        folder = self.out / modality
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{digest}.part"
        try:
            size, head = 0, b""
            with partial.open("wb") as file:
                for chunk in response.iter_bytes(1 << 16):
                    size, head = size + len(chunk), head or chunk[:16]
                    if size > LARGEST:
                        return None, f"larger than {LARGEST >> 20} MB"
                    file.write(chunk)
            if not size:
                return None, "empty"
            suffix = (
                suffix_of(head) or PurePosixPath(name).suffix.lower().removeprefix(".") or "bin"
            )
            target = folder / f"{stem}-{digest}.{suffix}"
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return target.relative_to(self.out).as_posix(), ""


def _decoded(line: str) -> dict[str, str]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}  # the last line of a killed import
    return entry if isinstance(entry, dict) and isinstance(entry.get("url"), str) else {}
