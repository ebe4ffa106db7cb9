"""faiss's file of a flat float16 index, written vector by vector and mapped as an array.

N vectors, D width. faiss writes only what it holds in memory (9 GB for 6 million products of width
768). Its file is a header and the vectors one after the other, so the header is taken from faiss
and the vectors are appended.
"""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COUNT_AT = 8
"""Where in the file the number of vectors stands (int64)."""


def import_faiss() -> Any:
    """The module. Raises ImportError that names the extra."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError("faiss is missing: pip install 'scale-workbench[search]'") from error
    return faiss


def write_flat(path: Path, blocks: Iterable[NDArray[np.float16]], count: int, width: int) -> None:
    """Write a `faiss.IndexScalarQuantizer` (fp16, inner product) of `count` vectors.

    Raises:
        RuntimeError: this faiss writes another file.
        ValueError: the blocks do not hold `count` vectors of `width`.
    """
    written = 0
    with path.open("wb") as file:
        file.write(_header(count, width))
        for block_BD in blocks:
            if block_BD.shape[1] != width:
                raise ValueError(f"vectors of width {block_BD.shape[1]} among those of {width}")
            file.write(np.ascontiguousarray(block_BD, dtype="<f2"))
            written += len(block_BD)
    if written != count:
        raise ValueError(f"{written} vectors, {count} expected")


def map_vectors(path: Path, count: int, width: int) -> NDArray[np.float16]:
    """The vectors of such a file as a mapped array, read-only."""
    offset = path.stat().st_size - count * width * 2
    return np.memmap(path, dtype="<f2", mode="r", offset=offset, shape=(count, width))


def single(emb_BD: NDArray[np.float16]) -> NDArray[np.float32]:
    """As float32; torch converts many times faster than numpy."""
    import torch

    return torch.from_numpy(np.array(emb_BD)).float().numpy()


def _header(count: int, width: int) -> bytes:
    """What stands before the vectors: that of an index of one vector, with the counts changed."""
    faiss = import_faiss()
    one = faiss.IndexScalarQuantizer(
        width, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    vector_1D = np.linspace(-1, 1, width, dtype=np.float32)[None]
    one.add(vector_1D)
    data = faiss.serialize_index(one).tobytes()
    codes = vector_1D.astype("<f2").tobytes()
    header = bytearray(data[: -len(codes)])
    bytes_at = len(header) - 8
    (stands,) = struct.unpack_from("<q", header, COUNT_AT)
    (size,) = struct.unpack_from("<Q", header, bytes_at)
    if not data.endswith(codes) or (stands, size) != (1, len(codes)):
        raise RuntimeError(f"faiss {faiss.__version__} writes flat indexes in an unknown way")
    struct.pack_into("<q", header, COUNT_AT, count)
    struct.pack_into("<Q", header, bytes_at, count * len(codes))
    return bytes(header)
