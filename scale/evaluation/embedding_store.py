"""Embeddings of any number of products: a folder of parquet pieces and a manifest.

P products of a piece, N of all pieces, D width. Vectors are float16: half the disk, and a cosine
that differs from float32's by about 1e-5 (at D = 768).
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scale.evaluation.embed import ProductEmbeddings, embedding_table, table_embeddings
from scale.files import replacing, write_whole

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
"""Raised when older readers could no longer read a folder."""
MANIFEST = "manifest.json"


class StoreError(ValueError):
    """A folder of embeddings that cannot be used, with its path and the reason."""


@dataclass(frozen=True)
class PieceFile:
    """One parquet file of the folder."""

    file: str
    rows: int
    left_out: int
    """Products of the piece that lack every modality of the subset."""
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Block:
    """The products of one piece."""

    first: int
    """Products in the pieces before it."""
    ids: "pa.Array"
    emb_PD: NDArray[np.float16]


@dataclass(frozen=True)
class EmbeddingStore:
    """A finished folder."""

    folder: Path
    made_from: dict[str, Any]
    """What the embeddings depend on: run, subset, split, size of a piece."""
    width: int
    pieces: tuple[PieceFile, ...]

    @property
    def rows(self) -> int:
        """N."""
        return sum(piece.rows for piece in self.pieces)

    @staticmethod
    def open(folder: Path | str) -> "EmbeddingStore":
        """Read the manifest. Raises StoreError where there is none or it cannot be read."""
        path = Path(folder) / MANIFEST
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if facts["format"] != FORMAT or facts["kind"] != "embeddings":
                raise StoreError(f"{path}: {facts['kind']}, format {facts['format']}")
            pieces = tuple(PieceFile(**piece) for piece in facts["pieces"])
            return EmbeddingStore(Path(folder), facts["made_from"], facts["width"], pieces)
        except FileNotFoundError as error:
            raise StoreError(
                f"{path}: no such file; scale embed --out {folder} writes it when all pieces are "
                "there"
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{path}: not the manifest of embeddings ({error})") from error

    def blocks(self) -> Iterator[Block]:
        """Piece by piece, in order, each checked against its SHA-256.

        Raises StoreError that names the piece that is missing, damaged or not finite.
        """
        first = 0
        for piece in self.pieces:
            block = _read_piece(self.folder / piece.file, piece, self.width, first)
            yield block
            first += piece.rows


def piece_name(number: int) -> str:
    """File of a piece."""
    return f"part-{number:06d}.parquet"


def write_piece(path: Path, embeddings: ProductEmbeddings, made_from: dict[str, Any]) -> None:
    """Write one piece, whole or not at all; `read_embeddings` reads it too.

    Args:
        made_from: what `has_piece` compares: whatever the piece's vectors depend on.
    """
    import pyarrow.parquet as pq

    facts = {"provenance": made_from, "left_out": list(embeddings.left_out)}
    table = embedding_table(embeddings, facts, np.float16)
    with replacing(path) as partial:
        # Vectors neither repeat nor compress.
        pq.write_table(
            table, partial, compression="none", use_dictionary=False, write_page_checksum=True
        )


def has_piece(path: Path, made_from: dict[str, Any]) -> bool:
    """Whether a whole piece made from just this lies at `path`."""
    facts = _piece_facts(path)
    return facts is not None and facts["provenance"] == json.loads(json.dumps(made_from))


def finish(
    folder: Path, count: int, made_from: dict[str, Any], provenance: dict[str, Any]
) -> EmbeddingStore:
    """Check ids, sum up every piece and write the manifest.

    Pieces of an earlier, longer catalogue and half files of killed processes are removed.

    Args:
        count: pieces that there must be.

    Raises:
        StoreError: a piece is missing or damaged, ids are there twice, or there are no embeddings.
    """
    import pyarrow.parquet as pq

    pieces, width = [], 0
    for number in range(count):
        path = folder / piece_name(number)
        facts = _piece_facts(path)
        if facts is None:
            raise StoreError(f"{path}: missing or damaged; run the same scale embed again")
        schema, rows = pq.read_schema(path), pq.read_metadata(path).num_rows
        width = schema.field("embedding").type.list_size
        size = path.stat().st_size
        pieces.append(PieceFile(path.name, rows, len(facts["left_out"]), size, sha256(path)))
    store = EmbeddingStore(folder, made_from, width, tuple(pieces))
    if not store.rows:
        raise StoreError(f"{folder}: no embeddings: no product has any of the modalities")
    check_ids(store, (block.ids for block in store.blocks()))
    _remove_others(folder, {piece.file for piece in pieces})
    facts = {
        "kind": "embeddings",
        "format": FORMAT,
        "rows": store.rows,
        "left_out": sum(piece.left_out for piece in pieces),
        "width": width,
        "dtype": "float16",
        "made_from": made_from,
        "provenance": provenance,
        "pieces": [asdict(piece) for piece in pieces],
    }
    write_whole(folder / MANIFEST, json.dumps(facts, indent=1) + "\n")
    return store


def check_ids(store: EmbeddingStore, ids: Iterator["pa.Array"]) -> None:
    """Raises StoreError that names an id that is there twice, and where.

    Holds 8 bytes a product: ids are compared by a hash of 64 bits. That two different ids of 6
    million share one has a chance of 1 in 1,000,000; they are then reported too.
    """
    hashes_N = np.concatenate([_hashes(part) for part in ids])
    order_N = np.argsort(hashes_N, kind="stable")
    same = np.flatnonzero(np.diff(hashes_N[order_N]) == 0)
    if not len(same):
        return
    first, second = (int(place) for place in sorted(order_N[same[0] : same[0] + 2]))
    starts = np.cumsum([0, *(piece.rows for piece in store.pieces)])
    a, b = np.searchsorted(starts, [first, second], side="right") - 1
    piece = store.pieces[a]
    block = _read_piece(store.folder / piece.file, piece, store.width, int(starts[a]))
    id = block.ids[first - int(starts[a])].as_py()
    raise StoreError(
        f"{store.folder}: product id {id!r} is there twice, in {piece.file} and in "
        f"{store.pieces[b].file}: ids must differ"
    )


def sha256(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashes(ids: "pa.Array") -> NDArray[np.uint64]:
    digests = (hashlib.blake2b(id.encode(), digest_size=8).digest() for id in ids.to_pylist())
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def _piece_facts(path: Path) -> dict[str, Any] | None:
    """The metadata of a piece; None where there is none or it is not a piece of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        facts = json.loads((pq.read_schema(path).metadata or {})[b"scale"])
        return facts if facts.keys() >= {"provenance", "left_out"} else None
    except (OSError, pa.ArrowException, KeyError, ValueError, AttributeError):
        return None


def _read_piece(path: Path, piece: PieceFile, width: int, first: int) -> Block:
    import pyarrow as pa
    import pyarrow.parquet as pq

    repair = "delete it and run the same scale embed again"
    try:
        if path.stat().st_size != piece.bytes or sha256(path) != piece.sha256:
            raise StoreError(f"{path}: damaged (not the SHA-256 of {MANIFEST}); {repair}")
        table = pq.read_table(path, columns=["id", "embedding"], page_checksum_verification=True)
        emb_PD = table_embeddings(table)
    except FileNotFoundError as error:
        raise StoreError(f"{path}: missing; run the same scale embed again") from error
    except (OSError, pa.ArrowException, KeyError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); {repair}") from error
    if emb_PD.shape != (piece.rows, width) or emb_PD.dtype != np.float16:
        raise StoreError(f"{path}: {emb_PD.dtype} of {emb_PD.shape}, not float16 of {width}")
    if not np.isfinite(emb_PD).all():
        raise StoreError(f"{path}: an embedding is not finite")
    return Block(first, table["id"].combine_chunks(), emb_PD)


def _remove_others(folder: Path, files: set[str]) -> None:
    for path in folder.glob("*part-*.parquet"):
        if path.name not in files:
            path.unlink()
