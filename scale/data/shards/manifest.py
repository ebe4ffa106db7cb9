"""What a folder of shards says of itself: settings, counts, and a checksum for each file."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scale.config import Config, FeatureConfig
from scale.data.shards.format import Layout, ShardsError
from scale.files import write_whole
from scale.modalities import CONTINUOUS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 1
"""Raised when older readers could no longer read a folder."""
MANIFEST, PLAN = "manifest.json", "plan.json"


@dataclass(frozen=True)
class Settings:
    """What the tokens depend on besides the products: as in the config of a run."""

    features: dict[str, Any]
    """The `FeatureConfig`."""
    modalities: tuple[str, ...]
    lengths: dict[str, int]
    """Longest sequence of each continuous modality."""
    tokenizer: str
    """Its fingerprint."""
    vocab_size: int

    @staticmethod
    def of(config: Config, tokenizer: "PreTrainedTokenizerBase") -> "Settings":
        """Of a run."""
        lengths = {m: config.model.length(m) for m in CONTINUOUS}
        return Settings(
            asdict(config.features),
            tuple(config.model.modalities),
            lengths,
            tokenizer_fingerprint(tokenizer),
            len(tokenizer),
        )

    def differing(self, other: "Settings") -> list[str]:
        """Names of what differs, as a user sets them."""
        changed = [
            f"features.{name}"
            for name in sorted(self.features.keys() | other.features.keys())
            if self.features.get(name) != other.features.get(name)
        ]
        changed += [f"model.{m}_length" for m in CONTINUOUS if self.lengths[m] != other.lengths[m]]
        if tuple(self.modalities) != tuple(other.modalities):
            changed.append("model.modalities")
        if self.tokenizer != other.tokenizer:
            changed.append("the tokenizer")
        return changed


@dataclass(frozen=True)
class FileFacts:
    """A file's size and checksum."""

    bytes: int
    blake2b: str

    @staticmethod
    def of(path: Path) -> "FileFacts":
        """Of a file that is there."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        return FileFacts(path.stat().st_size, digest.hexdigest())

    def check_size(self, path: Path) -> None:
        """Raises ShardsError where the file is missing or cut short."""
        try:
            found = path.stat().st_size
        except FileNotFoundError as error:
            raise ShardsError(f"{path}: missing. {REPAIR}") from error
        if found != self.bytes:
            raise ShardsError(f"{path}: {found:,} bytes instead of {self.bytes:,}. {REPAIR}")

    def check(self, path: Path) -> None:
        """As `check_size`, and where the content is not what was written."""
        self.check_size(path)
        if FileFacts.of(path) != self:
            raise ShardsError(f"{path}: damaged, its checksum is another. {REPAIR}")


REPAIR = "The same scale shards command writes again what is missing or damaged"


@dataclass(frozen=True)
class ShardRecord:
    """One finished shard."""

    number: int
    products: int
    files: dict[str, FileFacts]
    """The shard, its facts and its moments, by name in the folder."""
    sizes: dict[str, int]
    """F by continuous modality that it holds."""
    cut: dict[str, int]
    """Media whose vectors were cut, by modality."""
    problems: list[dict[str, Any]]
    litdata: dict[str, Any]
    """What litdata's index says of the chunk's format."""

    def save(self, path: Path) -> None:
        """Write it: from then on the shard counts as finished."""
        write_whole(path, json.dumps(asdict(self)) + "\n")

    @staticmethod
    def load(path: Path) -> "ShardRecord | None":
        """Inverse of `save`; None where there is none or it is damaged."""
        try:
            values = json.loads(path.read_bytes())
            files = {name: FileFacts(**facts) for name, facts in values.pop("files").items()}
            return ShardRecord(files=files, **values)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def intact(self, folder: Path) -> bool:
        """Whether all its files are there and unchanged."""
        try:
            for name, facts in self.files.items():
                facts.check(folder / name)
        except ShardsError:
            return False
        return True


@dataclass(frozen=True)
class Manifest:
    """A finished folder."""

    settings: Settings
    products: int
    products_per_shard: int
    sizes: dict[str, int]
    """F by continuous modality that some product has."""
    present: dict[str, int]
    """Products that have a modality, for those that some product has."""
    splits: dict[str, int]
    """Products of each split."""
    fingerprint: str
    """As `ProductDataset.fingerprint` of the catalogue."""
    shards: list[dict[str, Any]]
    """Of each: its products and its files."""
    files: dict[str, FileFacts]
    """Arrays over all products, normaliser and the like."""
    cut: dict[str, int]
    versions: dict[str, str]
    format: int = FORMAT

    @property
    def layout(self) -> Layout:
        """How products lie in the shards."""
        return Layout(self.settings.vocab_size, self.sizes)

    def save(self, folder: Path) -> None:
        """Write it: from then on the folder can be read."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        write_whole(folder / MANIFEST, text + "\n")

    @staticmethod
    def load(folder: Path) -> "Manifest":
        """Inverse of `save`. Raises ShardsError where there is none, or it is not one."""
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise ShardsError(f"{path}: missing: are the shards unfinished? {REPAIR}") from error
        except ValueError as error:
            raise ShardsError(f"{path}: damaged: {error}. {REPAIR}") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ShardsError(f"{path}: not a manifest of shards in format {FORMAT}")
        try:
            settings = Settings(**values.pop("settings"))
            FeatureConfig(**settings.features)
            files = {n: FileFacts(**f) for n, f in values.pop("files").items()}
            shards = [
                s | {"files": {n: FileFacts(**f) for n, f in s["files"].items()}}
                for s in values.pop("shards")
            ]
            return Manifest(settings, files=files, shards=shards, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ShardsError(f"{path}: damaged: {error}. {REPAIR}") from error


def is_shards(folder: Path | str) -> bool:
    """Whether a folder holds shards, finished or not."""
    folder = Path(folder)
    begun = any((folder / name).is_file() for name in (MANIFEST, PLAN))
    return begun and (folder / "facts").is_dir()


def chunk_name(number: int) -> str:
    """Name of a shard's file."""
    return f"shard-{number:06d}.bin"


def facts_name(number: int) -> str:
    """Name of the file that tells ids, splits, categories and contents of a shard's products."""
    return f"facts/{number:06d}.arrow"


def tokenizer_fingerprint(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Changes where a word piece, its id, a special token or the cutting changes."""
    said = [sorted(tokenizer.get_vocab().items()), sorted(tokenizer.special_tokens_map.items())]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        inner = json.loads(backend.to_str())
        said.append([inner.get(part) for part in ("normalizer", "pre_tokenizer", "model")])
    text = json.dumps(said, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
