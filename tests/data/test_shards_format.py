"""A product's bytes: whatever it has comes back, what it lacks takes none, damage is seen."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from litdata import StreamingDataset

from scale.data.shards.format import (
    HEADER_BYTES,
    Layout,
    ShardsError,
    checksum,
    header,
    split,
)
from scale.data.shards.writer import write_chunk
from scale.modalities import CONTINUOUS, MODALITIES

SIZES = {"image": 3, "video": 1, "audio": 5}


@st.composite
def sequences(draw, vocab_size: int):
    """Tokens by modality, any of them absent."""
    found = {}
    for m in draw(st.sets(st.sampled_from(MODALITIES))):
        length = draw(st.integers(1, 6))
        if m in CONTINUOUS:
            half = st.floats(width=16, allow_nan=False, allow_infinity=False)
            found[m] = draw(arrays.arrays(np.float16, (length, SIZES[m]), elements=half)), None
            continue
        ids = draw(arrays.arrays(np.int32, length, elements=st.integers(0, vocab_size - 1)))
        numbers = arrays.arrays(np.int16, length, elements=st.integers(-1, 2**15 - 1))
        found[m] = ids, draw(numbers) if m == "table" else None
    return found


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from([2, 1 << 16, (1 << 16) + 1, 1 << 31]))
def test_what_a_product_has_comes_back(data, vocab_size):
    layout, had = Layout(vocab_size, SIZES), data.draw(sequences(vocab_size))
    parts = [layout.pack(m, *had[m]) if m in had else b"" for m in MODALITIES]
    lengths_M = np.array([len(had[m][0]) if m in had else 0 for m in MODALITIES])
    product = header(parts) + b"".join(parts)
    assert len(product) == layout.product_bytes(lengths_M[None])[0]
    assert checksum(product) == checksum(header(parts), *parts)
    for m, raw in zip(MODALITIES, split(product), strict=True):
        if m not in had:
            assert len(raw) == 0, "absence takes no bytes"
            continue
        values, entity_L = layout.unpack(m, raw)
        assert np.array_equal(values, had[m][0])
        assert (entity_L is None) == (m != "table")
        if m == "table":
            assert np.array_equal(entity_L, had[m][1])


def test_a_product_by_hand():
    layout = Layout(300, {"audio": 1})
    parts = [
        layout.pack("text", np.array([2, 258, 3], np.int32), None),
        layout.pack("table", np.array([2], np.int32), np.array([-1], np.int16)),
        b"", b"",
        layout.pack("audio", np.array([[1.0], [-2.0]], np.float16), None),
    ]  # fmt: skip
    told = struct.pack("<5I", 6, 4, 0, 0, 4)
    body = bytes([2, 0, 2, 1, 3, 0]) + bytes([2, 0, 255, 255]) + bytes([0, 0x3C, 0, 0xC0])
    assert header(parts) + b"".join(parts) == told + body
    assert layout.product_bytes(np.array([[3, 1, 0, 0, 2]])).tolist() == [HEADER_BYTES + 14]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_other_bytes_are_refused_or_add_up(raw):
    try:
        parts = split(raw)
    except ShardsError:
        return
    assert HEADER_BYTES + sum(map(len, parts)) == len(raw)


def test_one_changed_bit_changes_the_checksum():
    product = bytearray(header([b"ab", b"", b"", b"cd", b""]) + b"abcd")
    known = checksum(product)
    for place in range(len(product)):
        product[place] ^= 1
        assert checksum(product) != known
        product[place] ^= 1


def test_a_shard_is_a_chunk_that_litdata_reads(tmp_path: Path):
    packed = [[b"ab", b"", b"xyz", b"", b"q"], [b""] * 5, [b"", b"t" * 300, b"", b"", b""]]
    config = write_chunk(packed, tmp_path, tmp_path / "chunk.bin")
    assert config["data_format"] == ["bytes"] * 5, "nothing in it asks for unpickling"
    raw = (tmp_path / "chunk.bin").read_bytes()
    count, *offsets = struct.unpack("<5I", raw[:20])
    assert (count, offsets[0], offsets[-1]) == (3, 20, len(raw))
    for parts, start, end in zip(packed, offsets[:-1], offsets[1:], strict=True):
        assert [bytes(part) for part in split(raw[start:end])] == parts
    chunk = {"filename": "chunk.bin", "chunk_size": 3, "chunk_bytes": len(raw), "dim": None}
    (tmp_path / "index.json").write_text(json.dumps({"chunks": [chunk], "config": config}))
    streamed = StreamingDataset(str(tmp_path), shuffle=False)
    assert [[bytes(part) for part in streamed[i]] for i in range(3)] == packed


def test_a_shard_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("scale.data.shards.writer.LARGEST_SHARD", 100)
    with pytest.raises(ShardsError, match="fewer products per shard"):
        write_chunk([[b"x" * 90, b"", b"", b"", b""]], tmp_path, tmp_path / "chunk.bin")
