"""Lists of product ids in three forms."""

import pytest

from scale.data import lists
from scale.data.lists import product_of, read_id_list


def test_three_forms_of_lists(tmp_path):
    path = tmp_path / "list"
    cases = [
        ('["1", 2, "3#0", "1"]', {"1": None, "2": None, "3#0": None}, 1),
        (
            '\ufeff {"1": "mug", "2": 7, "3": null, "1": "cup"}',
            {"1": "mug", "2": "7", "3": None},
            1,
        ),
        ("1\r\n\n 2 \n2\n3#1", {"1": None, "2": None, "3#1": None}, 1),
    ]
    for text, labels, repeated in cases:
        path.write_text(text, encoding="utf-8")
        found = read_id_list(path)
        assert (found.labels, found.repeated) == (labels, repeated)
        assert found.labelled is any(labels.values())
    assert [product_of(entry) for entry in ("12#3", "12", "a#b#c")] == ["12", "12", "a"]


def test_malformed_lists_are_errors_that_name_the_file(tmp_path, monkeypatch):
    path = tmp_path / "list"
    for text in (b"", b"[]", b"{}", b"[1, [2]]", b'{"a": []}', b"[1", b'["a", true]', b"\xff\xfe1",
                 b"[" * 100_000, b'[{"id": "a"}]', b'["a", null]', b'["", "a"]'):  # fmt: skip
        path.write_bytes(text)
        with pytest.raises(ValueError, match="list: "):
            read_id_list(path)
    monkeypatch.setattr(lists, "LARGEST_LIST", 10)
    path.write_text("1\n" * 10)
    with pytest.raises(ValueError, match="too large"):
        read_id_list(path)
