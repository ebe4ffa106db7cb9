"""Add products to an index on disk and remove others, without building it again.

N products of the index, B products of a block, D width.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scale.evaluation.embed import EmbeddingStore, StoreError
from scale.evaluation.index import (
    IDS,
    IVFPQ,
    VECTOR_BLOCK,
    VECTORS,
    ProductIndex,
    earlier_folder,
    import_faiss,
    to_float32,
    write_flat,
)
from scale.evaluation.index_build import finish_index
from scale.files import locked, remove_folder, replacing_folder

DEPENDS_ON = ("run", "subset", "features")
"""Facts about embeddings in which an index and added ones must agree."""


def update_index(
    folder: Path | str, add: Path | str | None = None, remove: Iterable[str] = ()
) -> ProductIndex:
    """Remove products from an index, then add others at its end, atomically.

    Exact results (`kind` flat, all lists and candidates of `ivfpq`, or a selection of places) equal
    those of an index built from the same products in this order; the files of a flat index are
    identical. An `ivfpq` index keeps the lists and codes that it learned from its first products;
    its recall is measured again and stored in the manifest; if it was built for a target recall,
    probes and candidates are chosen again.

    All vectors are copied, one block at a time; the codes of `ivfpq` are held in memory.

    Args:
        folder: the index.
        add: embeddings of `scale embed`, a folder of pieces, of the same run and subset.
        remove: ids of the index.

    Raises:
        StoreError: an id to remove is not in the index, an id to add is in it, no product would
            remain, or the embeddings come from another run or subset.
        ValueError: another process writes to the index.
        ImportError: faiss is missing.
    """
    started, folder = time.perf_counter(), Path(folder)
    with locked(folder, beside=True):
        old = ProductIndex.open(folder)
        store = None if add is None else _open_added(old, add)
        kept_N = _kept(old, list(dict.fromkeys(remove)))
        count = int(kept_N.sum()) + (store.rows if store else 0)
        if not count:
            raise StoreError(f"{folder}: no product would remain; delete the folder instead")
        with replacing_folder(folder, earlier_folder(folder)) as fresh:
            _write_vectors(old, kept_N, store, count, fresh)
            seconds = {"vectors": round(time.perf_counter() - started, 3)}
            if old.ivfpq is not None:
                _write_ivfpq(old, kept_N, store, fresh)
                seconds["add"] = round(time.perf_counter() - started - seconds["vectors"], 3)
            names = ("format", "kind", "width", "made_from", "settings")
            manifest = {name: old.manifest[name] for name in names} | {"rows": count}
            counts = old.manifest.get("updates", {"added": 0, "removed": 0})
            manifest["updates"] = {
                "added": counts["added"] + (store.rows if store else 0),
                "removed": counts["removed"] + int((~kept_N).sum()),
            }
            target = old.manifest.get("target", {}).get("recall", 0.0)
            finish_index(fresh, manifest, seconds, started, target)
        remove_folder(earlier_folder(folder))
        return ProductIndex.open(folder)


def _open_added(index: ProductIndex, add: Path | str) -> EmbeddingStore:
    store, own = EmbeddingStore.open(add), index.manifest["made_from"]
    for name in DEPENDS_ON:
        if store.made_from.get(name) != own.get(name):
            raise StoreError(
                f"{add}: embedded with another {name} than the products of {index.folder}: "
                f"{store.made_from.get(name)}, not {own.get(name)}"
            )
    if store.width != index.manifest["width"]:
        raise StoreError(f"{add}: width {store.width}, not {index.manifest['width']}")
    return store


def _kept(index: ProductIndex, remove: list[str]) -> NDArray[np.bool_]:
    """Return kept_N. Raises StoreError if an id to remove is not in the index."""
    kept_N = np.ones(len(index), bool)
    places = index.places(remove)
    if len(places) < len(remove):
        found = {index.id(place) for place in places}
        unknown = [id for id in remove if id not in found]
        raise StoreError(
            f"{index.folder}: it does not contain {len(unknown)} of the {len(remove)} ids to "
            f"remove, e.g. {unknown[0]!r}"
        )
    kept_N[places] = False
    return kept_N


def _write_vectors(
    index: ProductIndex,
    kept_N: NDArray[np.bool_],
    store: EmbeddingStore | None,
    count: int,
    folder: Path,
) -> None:
    """Write vectors and ids. Raises StoreError if an added id remains in the index."""
    import pyarrow as pa

    schema = pa.schema([("id", pa.string())])
    with pa.OSFile(str(folder / IDS), "wb") as file, pa.ipc.new_file(file, schema) as ids:

        def vectors() -> Iterator[NDArray[np.float16]]:
            for part, start in zip(index.ids, index.starts, strict=False):
                for first in range(0, len(part), VECTOR_BLOCK):
                    at = slice(
                        int(start) + first, int(start) + min(first + VECTOR_BLOCK, len(part))
                    )
                    kept_B = kept_N[at]
                    block = part.slice(first, len(kept_B)).filter(pa.array(kept_B))
                    ids.write_batch(pa.record_batch([block], schema))
                    yield index.emb_ND[at][kept_B]
            for block in store.blocks() if store else ():
                again = index.places(block.ids)
                again = again[kept_N[again]]
                if len(again):
                    raise StoreError(
                        f"{store.folder}: product id {index.id(again[0])!r} is in {index.folder} "
                        "already; remove it in the same command to replace it"
                    )
                ids.write_batch(pa.record_batch([block.ids], schema))
                yield block.emb_PD

        write_flat(folder / VECTORS, vectors(), count, index.manifest["width"])


def _write_ivfpq(
    index: ProductIndex, kept_N: NDArray[np.bool_], store: EmbeddingStore | None, folder: Path
) -> None:
    """Write the lists without the removed products, renumbered, and with the added ones."""
    faiss = import_faiss()
    ivfpq = faiss.read_index(str(index.folder / IVFPQ))
    if not kept_N.all():
        ivfpq.remove_ids(np.flatnonzero(~kept_N))
        place_N = np.cumsum(kept_N) - 1
        for number in range(ivfpq.nlist):
            size = ivfpq.invlists.list_size(number)
            # A view of the list in memory.
            ids = faiss.rev_swig_ptr(ivfpq.invlists.get_ids(number), size)
            ids[:] = place_N[ids]
    first = int(kept_N.sum())
    for block in store.blocks() if store else ():
        for at in range(0, len(block.emb_PD), VECTOR_BLOCK):
            emb_BD = to_float32(block.emb_PD[at : at + VECTOR_BLOCK])
            ivfpq.add_with_ids(emb_BD, np.arange(first, first + len(emb_BD)))
            first += len(emb_BD)
    faiss.write_index(ivfpq, str(folder / IVFPQ))
