"""From a catalogue to embeddings, and embeddings on disk.

B products of a batch, N products of a catalogue, M modalities (five), S modalities of a subset,
D width.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from scale.data.batch import ProductBatch
from scale.evaluation.ranking import unit
from scale.files import replacing, write_whole
from scale.modalities import INDEX, MODALITIES, parse_subset

if TYPE_CHECKING:
    import pyarrow as pa


class Embedder(Protocol):
    """What the evaluation asks of a model: `scale.model.scale.ScaleModel` has it."""

    def embed(self, batch: ProductBatch) -> Any:
        """An object with pooled_BMD and present_BM; differentiable."""
        ...


class Products(Protocol):
    """What the evaluation asks of a data set: `scale.data.dataset.ProductDataset` has it."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Product ids in order."""
        ...

    def collate(self, indices: list[int]) -> ProductBatch:
        """The products at these positions as a batch."""
        ...


@dataclass(frozen=True)
class Embeddings:
    """Pooled features of N products, modality by modality."""

    pooled_NMD: NDArray[np.float32]
    """0 where the product lacks the modality."""
    present_NM: NDArray[np.bool_]
    ids: tuple[str, ...]

    def product(self, subset: tuple[str, ...] = MODALITIES) -> "ProductEmbeddings":
        """One vector per product from the modalities of `subset` (see `subset_embedding`)."""
        emb_ND, valid_N = subset_embedding(self.pooled_NMD, self.present_NM, subset)
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
    """Products that lack every modality of the subset."""


def product_embedding(pooled_BMD: Tensor, present_BM: Tensor) -> Tensor:
    """e = unit(mean over the present modalities m of unit(f_m)), unit(x) = x / |x|.

    Returns emb_BD of unit length; a product without any modality gets zeros. Differentiable; what
    an absent modality's feature holds never matters.
    """
    unit_BMD = normalize(pooled_BMD.masked_fill(~present_BM[:, :, None], 0.0), dim=-1)
    # The mean's divisor cancels in the outer normalisation.
    return normalize(unit_BMD.sum(1), dim=-1)


def subset_embedding(
    pooled_NMD: NDArray[np.float32], present_NM: NDArray[np.bool_], subset: tuple[str, ...]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """`product_embedding` from the modalities of `subset` alone, on arrays.

    Returns:
        emb_ND, and valid_N: False for products that lack every modality of the subset (their
        embedding is 0).

    Raises:
        ValueError: a feature that is present is not finite (with its row and modality), or the
            shapes do not fit.
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
) -> Embeddings:
    """Pooled features of every product, in batches, without gradient.

    Args:
        model: moved to `device` and put into evaluation mode for the time of the call; its mode is
            restored.
        subset: modalities that the model may see; the others count as missing.
        progress: show a bar.

    Raises:
        ValueError: no product has a modality of `subset`.
    """
    from tqdm.auto import trange

    ids = dataset.ids
    training = getattr(model, "training", False)
    model.to(device).eval()
    pooled, present = [], []
    with torch.no_grad():
        for start in trange(0, len(ids), batch_size, desc="embed", disable=not progress):
            rows = list(range(start, min(start + batch_size, len(ids))))
            batch = dataset.collate(rows).only(subset)
            present.append(batch.present_BM.cpu())
            # A model cannot run on a batch in which no product has anything.
            has_any = bool(batch.present_BM.any())
            pooled.append(model.embed(batch.to(device)).pooled_BMD.float().cpu() if has_any else 0)
    model.train(training)
    return Embeddings(_join(pooled, present), torch.cat(present).numpy(), ids)


def _join(pooled: list[Tensor | int], present: list[Tensor]) -> NDArray[np.float32]:
    """The batches' features in one array; zeros where a batch held nothing."""
    width = next((p.shape[2] for p in pooled if isinstance(p, Tensor)), None)
    if width is None:
        raise ValueError("no product has any of the modalities to embed")
    filled = [
        p.masked_fill(~has_BM[:, :, None], 0.0)
        if isinstance(p, Tensor)
        else torch.zeros(*has_BM.shape, width)
        for p, has_BM in zip(pooled, present, strict=True)
    ]
    return torch.cat(filled).numpy()


def write_embeddings(
    path: str | Path, embeddings: ProductEmbeddings, provenance: dict[str, Any]
) -> None:
    """Write to `.parquet` (id, embedding, a column per modality) or to `.npy` with a `.json`.

    The suffix chooses. Provenance and the ids that were left out go into the parquet's metadata
    or the JSON. Each file is written under a temporary name and then renamed.

    Raises:
        ValueError: another suffix.
    """
    path = Path(path)
    facts = {"provenance": provenance, "left_out": list(embeddings.left_out)}
    if path.suffix == ".parquet":
        _write_parquet(path, embeddings, facts)
    elif path.suffix == ".npy":
        facts |= {"ids": list(embeddings.ids), "present": embeddings.present_NM.tolist()}
        with replacing(path) as partial:
            np.save(partial, embeddings.emb_ND, allow_pickle=False)
            write_whole(_sidecar(path), json.dumps(facts))
    else:
        raise ValueError(f"{path}: embeddings are written to .parquet or .npy")


def read_embeddings(path: str | Path) -> tuple[ProductEmbeddings, dict[str, Any]]:
    """Inverse of `write_embeddings`: the embeddings and their provenance.

    Raises:
        ValueError: another suffix, or a file that `write_embeddings` did not write.
    """
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            ids, emb_ND, present_NM, facts = _read_parquet(path)
        elif path.suffix == ".npy":
            facts = json.loads(_sidecar(path).read_text(encoding="utf-8"))
            ids, emb_ND = facts["ids"], np.load(path, allow_pickle=False)
            present_NM = np.array(facts["present"], dtype=bool).reshape(len(ids), -1)
        else:
            raise ValueError("embeddings are read from .parquet or .npy")
        if len(ids) != len(emb_ND):
            raise ValueError(f"{len(ids)} ids for {len(emb_ND)} embeddings")
        found = ProductEmbeddings(tuple(ids), emb_ND, present_NM, tuple(facts["left_out"]))
        return found, facts["provenance"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: not embeddings of ours ({error})") from error


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")


def embedding_table(
    embeddings: ProductEmbeddings, facts: dict[str, Any], dtype: type = np.float32
) -> "pa.Table":
    """Columns id, embedding (fixed lists of `dtype`), one per modality; facts in the metadata."""
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
    """emb_ND of a table as `embedding_table` makes it, in its type.

    Raises KeyError or ValueError where it is none.
    """
    lists = table["embedding"].combine_chunks()
    return lists.flatten().to_numpy().reshape(len(table), lists.type.list_size)


def _write_parquet(path: Path, embeddings: ProductEmbeddings, facts: dict[str, Any]) -> None:
    import pyarrow.parquet as pq

    with replacing(path) as partial:
        pq.write_table(embedding_table(embeddings, facts), partial)


def _read_parquet(
    path: Path,
) -> tuple[list[str], NDArray[np.float32], NDArray[np.bool_], dict[str, Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    facts = json.loads((table.schema.metadata or {})[b"scale"])
    emb_ND = table_embeddings(table)
    present_NM = np.stack([table[m].to_numpy() for m in MODALITIES], axis=1)
    return table["id"].to_pylist(), emb_ND, present_NM, facts
