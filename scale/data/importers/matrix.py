"""Vectors computed elsewhere, one matrix of all products with their ids.

N rows of the matrix, L vectors of a product, F features of a vector.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scale.files import load_array


@dataclass
class VectorTable:
    """A matrix of vectors and the row of each id."""

    values: np.ndarray
    """values_NF, or values_NLF with L vectors per product."""
    row: dict[str, int] | None
    """Row by product id; None: rows are in the order of the source."""
    used: int = 0

    def of(self, product_id: str, number: int) -> np.ndarray | None:
        """Return the vectors of a product, the `number`th of the source; None if there are none."""
        at = number if self.row is None else self.row.get(product_id)
        if at is None or at >= len(self.values):
            return None
        self.used += 1
        return self.values[at]


def read_vector_table(path: Path) -> VectorTable:
    """Open a matrix: .npy, .npz with `ids` and one more array, or parquet with ids and lists.

    The ids of `clip.npy` are read from `clip.ids.json` (a list), `clip.ids.txt` (a line each) or
    `clip.ids.npy` beside it; without such a file, rows are in the order of the products.

    Raises ValueError if the file is none of these, or has not one id per row.
    """
    try:
        if path.suffix == ".parquet":
            values, ids = _from_parquet(path)
        elif path.suffix == ".npz":
            values, ids = _from_npz(path)
        elif path.suffix == ".npy":
            values, ids = load_array(path, mmap_mode="c"), _ids_beside(path)
        else:
            raise ValueError("a .npy, .npz or .parquet file is needed")
    except (ValueError, OSError, KeyError, EOFError) as error:
        raise ValueError(f"{path}: no table of vectors: {error}") from error
    if values.ndim not in (2, 3) or values.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {values.dtype} of shape {values.shape}, not numbers (N, F)")
    if ids is None:
        return VectorTable(values, None)
    if len(ids) != len(values):
        raise ValueError(f"{path}: {len(ids)} ids for {len(values)} rows")
    row = {str(name): at for at, name in reversed(list(enumerate(ids)))}
    if len(row) < len(ids):
        raise ValueError(f"{path}: {len(ids) - len(row)} ids occur twice")
    return VectorTable(values, row)


def _ids_beside(path: Path) -> list | None:
    for suffix in (".ids.json", ".ids.txt", ".ids.npy"):
        file = path.with_suffix(suffix)
        if file.is_file() and suffix == ".ids.npy":
            return load_array(file).tolist()
        if file.is_file():
            text = file.read_text(encoding="utf-8-sig")
            return json.loads(text) if suffix == ".ids.json" else text.splitlines()
    return None


def _from_npz(path: Path) -> tuple[np.ndarray, list | None]:
    with np.load(path, allow_pickle=False) as file:
        names = [name for name in file.files if name != "ids"]
        if len(names) != 1:
            raise ValueError(f"arrays {', '.join(file.files)}; `ids` and one more are needed")
        return file[names[0]], file["ids"].tolist() if "ids" in file.files else None


def _from_parquet(path: Path) -> tuple[np.ndarray, list | None]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    lists = [f.name for f in table.schema if pa.types.is_nested(f.type) and f.type.num_fields == 1]
    if len(lists) != 1:
        raise ValueError(
            f"columns {', '.join(table.column_names)}; `id` and one of lists are needed"
        )
    ids = table["id"].to_pylist() if "id" in table.column_names else None
    return np.array(table[lists[0]].to_pylist(), dtype=np.float32), ids
