"""Any record: no exception, and every value is used, reported or null."""

import contextlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scale.data.catalogue import decode_json
from scale.data.duplicates import field_value
from scale.data.product import (
    KEYS,
    RECORD_KEYS,
    InvalidValue,
    Problem,
    parse_record,
    read_path,
    read_problems,
    summarise_problems,
    write_problems,
)
from scale.modalities import MODALITIES

# Text with lone surrogates and control characters, which JSON escapes can carry.
TEXT = st.text(st.characters(), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
SEGMENTS = ["..", ".", "", "image", "a.jpg", "out", "in", "outside.jpg", "C:", "\\", "~", "\0"]
PATHS = st.lists(st.sampled_from(SEGMENTS) | TEXT, max_size=6).map("/".join)
PAIR = st.tuples(TEXT, TEXT | st.integers() | st.floats()).map(list)
VALUES = {
    "title": TEXT,
    "table": st.lists(PAIR, max_size=4),
    **dict.fromkeys(("image", "video", "audio"), PATHS),
}
VIEW = {key: JSON | likely for key, likely in VALUES.items()}
RECORDS = st.fixed_dictionaries(
    {"id": st.just("p")},
    optional={
        **VIEW,
        **dict.fromkeys(("name", "category", "split", "labels", "content", "colour"), JSON),
        "alt": JSON | st.fixed_dictionaries({}, optional=VIEW),
    },
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """A folder with one file, a link inside and a link out, and a file beside the folder."""
    folder = tmp_path_factory.mktemp("place") / "shop"
    (folder / "image").mkdir(parents=True)
    (folder / "image/a.jpg").write_bytes(b"x")
    (folder.parent / "outside.jpg").write_bytes(b"x")
    (folder / "out").symlink_to(folder.parent)
    (folder / "in").symlink_to(folder / "image")
    return folder


@given(record=RECORDS)
@example(record={"id": "p", "alt": {"smell": 1, "image": "in/a.jpg"}, "labels": {"x": None}})
def test_every_value_is_used_reported_or_null(shop, record):
    product, problems = parse_record(record, shop, "products.jsonl:4", 4)
    assert product.id == "p"
    reported = [p.modality for p in problems]
    for m in MODALITIES:
        is_there = field_value(product, m) is not None
        assert is_there + reported.count(m) == (record.get(KEYS[m]) is not None)
    alt = record.get("alt")
    for m in MODALITIES:
        given_alt = alt.get(KEYS[m]) if isinstance(alt, dict) else None
        is_there = field_value(product, f"alt_{m}") is not None
        assert is_there + reported.count(f"alt_{m}") == (given_alt is not None)
    unnamed = [p.reason for p in problems if p.modality is None]
    for key in ("name", "category", "split"):
        is_there = getattr(product, key) is not None
        mentioned = sum(key in reason for reason in unnamed)
        assert is_there or mentioned or record.get(key) is None
    if record.get("colour") is not None:
        assert "colour" in product.extra or any("'colour'" in reason for reason in unnamed)
    assert all(p.id == "p" and p.path.isprintable() and p.reason for p in problems)
    assert not RECORD_KEYS & set(product.extra)


@given(value=JSON)
def test_any_value_is_read_as_a_record(shop, value):
    product, problems = parse_record(value, shop, "products.jsonl:4", 4)
    if product is None:
        assert [(p.id, p.path) for p in problems] == [("line 4", "products.jsonl:4")]
    else:
        assert product.id == value["id"]


@given(path=PATHS)
@example(path="image/a.jpg")
@example(path="in/../image/a.jpg")
@example(path="out/outside.jpg")
@example(path="out/..")
@example(path="out/shop/in/a.jpg")
def test_only_files_inside_are_accepted(shop, path):
    """Against os.path: a path passes exactly where its real place is a file under the folder."""
    try:
        real = os.path.realpath(f"{shop}/{path}")
        is_inside = os.path.commonpath([real, os.path.realpath(shop)]) == os.path.realpath(shop)
        is_allowed = is_inside and Path(real).is_file() and not path.startswith(("/", "\\"))
    except ValueError:
        is_allowed = False
    try:
        accepted = read_path(path, shop)
    except InvalidValue:
        assert not is_allowed
    else:
        assert is_allowed
        assert os.path.realpath(accepted) == real


@given(value=JSON)
def test_json_is_read_as_it_was_written(value):
    # NaN is not equal to itself, so the written forms are compared.
    written = json.dumps(value)
    assert json.dumps(decode_json(written.encode())) == written


@given(line=st.binary(max_size=40))
def test_any_bytes_are_json_or_a_value_error(line):
    """Any other exception would stop the reading of the whole catalogue."""
    with contextlib.suppress(ValueError):
        decode_json(line)


def test_problems_are_written_and_summed_up(tmp_path):
    problems = [
        Problem("p1", "image", "a.jpg", "does not decode: truncated"),
        Problem("红", "image", "b\ud800.jpg", "does not decode: not a picture"),
        Problem("line 3", None, "products.jsonl:3", "malformed line"),
    ]
    write_problems(problems, tmp_path / "problems.jsonl")
    assert read_problems(tmp_path / "problems.jsonl") == problems
    assert [p.name for p in tmp_path.iterdir()] == ["problems.jsonl"]
    lines = summarise_problems(problems).splitlines()
    assert lines[0] == "3 problems:"
    assert lines[1].split() == ["2", "image", "does", "not", "decode,", "e.g.", "'p1'"]
    assert lines[2].split()[:2] == ["1", "record"]
    assert summarise_problems([]) == "no problems"
