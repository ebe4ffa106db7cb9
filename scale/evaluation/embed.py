"""Embed a catalogue, and store embeddings in one file or in a folder of parquet pieces.

B products of a batch, N products of a catalogue, P products of a piece, M modalities (five), S
modalities of a subset, D width.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scale.data.batch import ProductBatch
from scale.files import is_plain_name, replacing, sha256, write_whole
from scale.modalities import INDEX, MODALITIES, parse_subset
from scale.model.scores import product_embedding

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
"""Version of the folder format; raised when older readers cannot read it."""
MANIFEST = "manifest.json"


Features = Literal["encoder", "fused", "fused_present", "both", "completed"]
"""Source of a product's embedding. `encoder`: pooled features of the encoders. `fused`: [CLS] of
the JCT of all modalities with tokens, own or imputed. `fused_present`: the same of the present
modalities only. `both`: `encoder` and `fused` side by side. `completed`: `encoder`, with the
features of missing modalities predicted by the JCT."""
FEATURES: tuple[str, ...] = get_args(Features)


class Embedder(Protocol):
    """Model interface of the evaluation, e.g. `scale.model.scale.ScaleModel`."""

    def embed(self, batch: ProductBatch) -> Any:
        """Return an object with pooled_BMD and present_BM; differentiable."""
        ...


class Products(Protocol):
    """Data set interface of the evaluation, e.g. `scale.data.dataset.ProductDataset`."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Product ids in order."""
        ...

    def collate(self, indices: list[int]) -> ProductBatch:
        """Return the products at these positions as a batch."""
        ...


@dataclass(frozen=True)
class Embeddings:
    """Pooled features of N products by modality."""

    pooled_NMD: NDArray[np.float32]
    """0 where the modality is missing."""
    present_NM: NDArray[np.bool_]
    ids: tuple[str, ...]
    mixed_ND: NDArray[np.float32] | None = None
    """Embedding of each product from other features than `encoder`, which mix the modalities."""
    subset: tuple[str, ...] = MODALITIES
    """Modalities that the model was given."""

    def product(self, subset: tuple[str, ...] = MODALITIES) -> "ProductEmbeddings":
        """Return one vector per product from a subset of modalities (see `subset_embedding`).

        Raises ValueError if the features mix the modalities and were computed from other ones.
        """
        if self.mixed_ND is None:
            emb_ND, valid_N = subset_embedding(self.pooled_NMD, self.present_NM, subset)
        elif set(subset) == set(self.subset):
            emb_ND, valid_N = self.mixed_ND, self.present_NM.any(1)
        else:
            raise ValueError(
                f"fused features mix the modalities: embed with subset {'+'.join(subset)}"
            )
        ids = np.asarray(self.ids, dtype=object)
        return ProductEmbeddings(
            tuple(ids[valid_N]), emb_ND[valid_N], self.present_NM[valid_N], tuple(ids[~valid_N])
        )


@dataclass(frozen=True)
class ProductEmbeddings:
    """One vector of unit length per product."""

    ids: tuple[str, ...]
    emb_ND: NDArray[np.float32]
    present_NM: NDArray[np.bool_]
    left_out: tuple[str, ...] = ()
    """Products without any modality of the subset."""


def unit(vectors_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return x / |x| along the last axis; zeros stay zeros."""
    norm_N1 = np.linalg.norm(vectors_ND, axis=-1, keepdims=True)
    return vectors_ND / np.maximum(norm_N1, 1e-12, dtype=vectors_ND.dtype)


def embed_batch(model: Embedder, batch: ProductBatch, features: Features) -> Tensor:
    """Return the embedding of each product as unit emb_BD (2D wide for `both`); differentiable.

        encoder        e = unit(sum over the present modalities m of unit(f_m))
        fused          c = unit(sum over the modalities m with tokens of unit(c_m))
        fused_present  the same over the present modalities m
        both           (e, c) / sqrt(2)
        completed      unit(sum over the modalities m with tokens of unit(g_m)), g_m = f_m if m is
                       present, else W_m c_m + b_m

    with the pooled features f_m of the encoders, [CLS] c_m of the JCT and the poolers (W_m, b_m).
    Zeros for products without any modality.

    Raises:
        ValueError: unknown features, or a model without a JCT.
    """
    return _mix(_outputs(model, batch, features), features)


def _outputs(model: Embedder, batch: ProductBatch, features: Features) -> Any:
    """Return the outputs of the model that `features` need; raises as `embed_batch`."""
    if features not in FEATURES:
        raise ValueError(f"unknown features {features!r}; known: {', '.join(FEATURES)}")
    if features == "encoder":
        return model.embed(batch)
    if not hasattr(model, "embed_fused"):
        raise ValueError(f"{type(model).__name__} has no joint transformer: features 'encoder'")
    return model.embed_fused(batch)


def _mix(output: Any, features: Features) -> Tensor:
    """Return emb_BD from the result of `_outputs`."""
    if features == "encoder":
        return product_embedding(output.pooled_BMD, output.present_BM)
    any_B = output.present_BM.any(dim=1, keepdim=True)
    used_BM = output.present_BM if features == "fused_present" else output.token_BM & any_B
    if features == "completed":
        here_BM1 = output.present_BM[:, :, None]
        completed_BMD = torch.where(here_BM1, output.pooled_BMD, output.projected_BMD)
        return product_embedding(completed_BMD, used_BM)
    fused_BD = product_embedding(output.fused_BMD, used_BM)
    if features != "both":
        return fused_BD
    encoder_BD = product_embedding(output.pooled_BMD, output.present_BM)
    return torch.cat([encoder_BD, fused_BD], dim=1) / 2**0.5


def subset_embedding(
    pooled_NMD: NDArray[np.float32], present_NM: NDArray[np.bool_], subset: tuple[str, ...]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return `product_embedding` from the modalities of `subset` alone, on arrays.

    Returns:
        emb_ND, and valid_N: False for products without any modality of the subset (their embedding
        is 0).

    Raises:
        ValueError: a present feature is not finite (the message names row and modality), or the
            shapes do not match.
    """
    if pooled_NMD.shape[:2] != present_NM.shape or present_NM.shape[1] != len(MODALITIES):
        raise ValueError(f"pooled_NMD is {pooled_NMD.shape}, present_NM is {present_NM.shape}")
    subset = parse_subset("+".join(subset))
    columns = [INDEX[m] for m in subset]
    used_NS = present_NM[:, columns]
    pooled_NSD = np.where(used_NS[:, :, None], pooled_NMD[:, columns], np.float32(0))
    if not np.isfinite(pooled_NSD).all():
        row, column = np.argwhere(~np.isfinite(pooled_NSD))[0, :2]
        raise ValueError(f"the {subset[column]} feature of row {row} is not finite")
    return unit(unit(pooled_NSD).sum(1)), used_NS.any(1)


def embed_dataset(
    model: Embedder,
    dataset: Products,
    batch_size: int = 64,
    subset: tuple[str, ...] = MODALITIES,
    device: torch.device | str = "cpu",
    progress: bool = True,
    features: Features = "encoder",
) -> Embeddings:
    """Compute the pooled features of every product, in batches, without gradient.

    Args:
        model: moved to `device` and evaluated in evaluation mode; its mode is restored.
        subset: modalities given to the model; the others count as missing.
        progress: show a progress bar.
        features: of the embedding by `Embeddings.product` (see `Features`).

    Raises:
        ValueError: no product has a modality of `subset`, or as `embed_batch`.
    """
    from tqdm.auto import trange

    ids = dataset.ids
    training = getattr(model, "training", False)
    model.to(device).eval()
    pooled, present, mixed = [], [], []
    with torch.no_grad():
        for start in trange(0, len(ids), batch_size, desc="embed", disable=not progress):
            rows = list(range(start, min(start + batch_size, len(ids))))
            batch = dataset.collate(rows).only(subset)
            present.append(batch.present_BM.cpu())
            # The model cannot run on a batch without any modality.
            has_any = bool(batch.present_BM.any())
            output = _outputs(model, batch.to(device), features) if has_any else None
            pooled.append(output.pooled_BMD.float().cpu() if has_any else 0)
            if features != "encoder":
                mixed.append(_mix(output, features).float().cpu() if has_any else 0)
    model.train(training)
    pooled_NMD, present_NM = _join(pooled, present), torch.cat(present).numpy()
    mixed_ND = _join(mixed, [p.any(dim=1) for p in present]) if mixed else None
    return Embeddings(pooled_NMD, present_NM, ids, mixed_ND, subset)


def _join(pooled: list[Tensor | int], present: list[Tensor]) -> NDArray[np.float32]:
    """Concatenate the features of all batches; zeros where nothing is present.

    `pooled`: 0 for a batch without any modality.
    """
    width = next((p.shape[-1] for p in pooled if isinstance(p, Tensor)), None)
    if width is None:
        raise ValueError("no product has any of the modalities to embed")
    filled = [
        p.masked_fill(~has[..., None], 0.0)
        if isinstance(p, Tensor)
        else torch.zeros(*has.shape, width)
        for p, has in zip(pooled, present, strict=True)
    ]
    return torch.cat(filled).numpy()


def write_embeddings(
    path: str | Path, embeddings: ProductEmbeddings, provenance: dict[str, Any]
) -> None:
    """Write to `.parquet` (id, embedding, a column per modality) or to `.npy` with a `.json`.

    The suffix selects the format. Provenance and the ids left out are stored in the parquet's
    metadata or in the JSON. Files are written atomically.

    Raises:
        ValueError: another suffix.
    """
    path = Path(path)
    facts = {"provenance": provenance, "left_out": list(embeddings.left_out)}
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with replacing(path) as partial:
            pq.write_table(embedding_table(embeddings, facts), partial)
    elif path.suffix == ".npy":
        facts |= {"ids": list(embeddings.ids), "present": embeddings.present_NM.tolist()}
        with replacing(path) as partial:
            np.save(partial, embeddings.emb_ND, allow_pickle=False)
            write_whole(path.with_suffix(".json"), json.dumps(facts))
    else:
        raise ValueError(f"{path}: embeddings are written to .parquet or .npy")


def read_embeddings(path: str | Path) -> tuple[ProductEmbeddings, dict[str, Any]]:
    """Read the embeddings and provenance written by `write_embeddings`.

    Raises:
        ValueError: another suffix, or a file not written by `write_embeddings`.
    """
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            ids, emb_ND, present_NM, facts = _read_parquet(path)
        elif path.suffix == ".npy":
            facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            ids, emb_ND = facts["ids"], np.load(path, allow_pickle=False)
            present_NM = np.array(facts["present"], dtype=bool).reshape(len(ids), -1)
        else:
            raise ValueError("embeddings are read from .parquet or .npy")
        if len(ids) != len(emb_ND):
            raise ValueError(f"{len(ids)} ids for {len(emb_ND)} embeddings")
        found = ProductEmbeddings(tuple(ids), emb_ND, present_NM, tuple(facts["left_out"]))
        return found, facts["provenance"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: not written by scale embed ({error})") from error


def embedding_table(
    embeddings: ProductEmbeddings, facts: dict[str, Any], dtype: type = np.float32
) -> "pa.Table":
    """Build a table: id, embedding (fixed-size lists), a column per modality; facts as metadata."""
    import pyarrow as pa

    width = embeddings.emb_ND.shape[1]
    flat = np.ascontiguousarray(embeddings.emb_ND, dtype=dtype).ravel()
    columns = {
        "id": pa.array(embeddings.ids, pa.string()),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(flat), width),
    }
    columns |= {m: pa.array(embeddings.present_NM[:, i]) for i, m in enumerate(MODALITIES)}
    return pa.table(columns).replace_schema_metadata({"scale": json.dumps(facts)})


def table_embeddings(table: "pa.Table") -> NDArray[Any]:
    """Return emb_ND of an `embedding_table`, in its dtype.

    Raises KeyError or ValueError for any other table.
    """
    lists = table["embedding"].combine_chunks()
    return lists.flatten().to_numpy().reshape(len(table), lists.type.list_size)


def _read_parquet(
    path: Path,
) -> tuple[list[str], NDArray[np.float32], NDArray[np.bool_], dict[str, Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    facts = json.loads((table.schema.metadata or {})[b"scale"])
    emb_ND = table_embeddings(table)
    present_NM = np.stack([table[m].to_numpy() for m in MODALITIES], axis=1)
    return table["id"].to_pylist(), emb_ND, present_NM, facts


class StoreError(ValueError):
    """An unusable folder of embeddings or index; the message names the path and the reason."""


@dataclass(frozen=True)
class PieceFile:
    """One parquet file of the folder."""

    file: str
    rows: int
    left_out: int
    """Products of the piece without any modality of the subset."""
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Block:
    """The products of one piece."""

    first: int
    """Number of products in the pieces before."""
    ids: "pa.Array"
    emb_PD: NDArray[np.float16]


@dataclass(frozen=True)
class EmbeddingStore:
    """A complete folder of embeddings of any number of products: parquet pieces and a manifest.

    Vectors are float16: half the disk space, and cosines that differ from float32 by about 1e-5
    (at D = 768).
    """

    folder: Path
    made_from: dict[str, Any]
    """Everything that the embeddings depend on: run, subset, split, piece size."""
    width: int
    pieces: tuple[PieceFile, ...]

    @property
    def rows(self) -> int:
        """N."""
        return sum(piece.rows for piece in self.pieces)

    @staticmethod
    def open(folder: Path | str) -> "EmbeddingStore":
        """Read the manifest. Raises StoreError if it is missing or unreadable."""
        path = Path(folder) / MANIFEST
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            if facts["format"] != FORMAT or facts["kind"] != "embeddings":
                raise StoreError(f"{path}: {facts['kind']}, format {facts['format']}")
            pieces = tuple(PieceFile(**piece) for piece in facts["pieces"])
            for piece in pieces:
                if not is_plain_name(piece.file):
                    raise ValueError(f"{piece.file!r} is not the name of a piece")
            return EmbeddingStore(Path(folder), facts["made_from"], facts["width"], pieces)
        except FileNotFoundError as error:
            raise StoreError(
                f"{path}: no such file; scale embed --out {folder} writes it when all pieces exist"
            ) from error
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise StoreError(f"{path}: not the manifest of embeddings ({error})") from error

    def blocks(self) -> Iterator[Block]:
        """Read the pieces in order, each checked against its SHA-256.

        Raises StoreError that names a missing, damaged or non-finite piece.
        """
        first = 0
        for piece in self.pieces:
            block = _read_piece(self.folder / piece.file, piece, self.width, first)
            yield block
            first += piece.rows


def piece_name(number: int) -> str:
    """Return the file name of a piece."""
    return f"part-{number:06d}.parquet"


def write_piece(path: Path, embeddings: ProductEmbeddings, made_from: dict[str, Any]) -> None:
    """Write one piece atomically; `read_embeddings` can read it.

    Args:
        made_from: everything that the vectors depend on; compared by `has_piece`.
    """
    import pyarrow.parquet as pq

    facts = {"provenance": made_from, "left_out": list(embeddings.left_out)}
    table = embedding_table(embeddings, facts, np.float16)
    with replacing(path) as partial:
        # Vectors do not compress.
        pq.write_table(
            table, partial, compression="none", use_dictionary=False, write_page_checksum=True
        )


def has_piece(path: Path, made_from: dict[str, Any]) -> bool:
    """Return whether `path` is a complete piece made from exactly this."""
    facts = _piece_facts(path)
    return facts is not None and facts["provenance"] == json.loads(json.dumps(made_from))


def finish_store(
    folder: Path, count: int, made_from: dict[str, Any], provenance: dict[str, Any]
) -> EmbeddingStore:
    """Check ids, compute the checksums of all pieces and write the manifest.

    Pieces of an earlier, larger catalogue and partial files of killed processes are removed.

    Args:
        count: expected number of pieces.

    Raises:
        StoreError: a piece is missing or damaged, ids repeat, or there are no embeddings.
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
    """Raise StoreError that names a repeated id and its pieces.

    Ids are compared by a 64-bit hash, 8 bytes per product. Among 6 million different ids a
    collision, reported as a repetition, has probability 1e-6.
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
        f"{store.folder}: product id {id!r} appears twice, in {piece.file} and in "
        f"{store.pieces[b].file}: ids must be unique"
    )


def _hashes(ids: "pa.Array") -> NDArray[np.uint64]:
    digests = (hashlib.blake2b(id.encode(), digest_size=8).digest() for id in ids.to_pylist())
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def _piece_facts(path: Path) -> dict[str, Any] | None:
    """Return the metadata of a piece; None if the file is missing or not a piece."""
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
            raise StoreError(f"{path}: damaged (its SHA-256 differs from {MANIFEST}); {repair}")
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
