"""The summary of a small catalogue made for these tests, and of real ones."""

import json
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scale.data.catalogue import Catalogue
from scale.data.duplicates import check_media, content_key
from scale.data.summary import describe_lengths, long_tail
from scale.modalities import MODALITIES, SUBSETS

RED, BLUE, BROKEN = "red.png", "blue.png", "broken.png"
RECORDS = [
    {"id": "a", "title": "Red  Kettle", "image": RED, "category": "kettle", "split": "train"},
    {"id": "b", "title": "red kettle", "image": "red.bmp", "category": "kettle", "split": "test"},
    {"id": "c", "title": "红色 pot 2", "image": BLUE, "category": "pot", "split": "val"},
    {"id": "d", "table": [["x", "1"], ["y", "2"]], "image": BROKEN, "split": "train"},
    {"id": "e", "alt": {"image": BROKEN, "title": "An e"}, "labels": {"price": 3}, "shop": "S"},
    {"id": "f", "labels": {"price": 3, "colour": "red"}, "shop": None, "table": []},
]


@pytest.fixture
def catalogue(tmp_path) -> Catalogue:
    Image.new("RGB", (8, 6), "red").save(tmp_path / RED)
    Image.new("RGB", (8, 6), "red").save(tmp_path / "red.bmp")
    Image.new("RGB", (5, 4), "blue").save(tmp_path / BLUE)
    (tmp_path / BROKEN).write_bytes(b"nothing")
    lines = (json.dumps(record) + "\n" for record in RECORDS)
    (tmp_path / "products.jsonl").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "catalogue.json").write_text('{"name": "Kitchen", "licence": "CC0-1.0"}')
    return Catalogue.open(tmp_path)


def test_counts(catalogue):
    found = catalogue.summary(progress=False)
    assert found.products == 6
    assert found.splits == {"train": 2, "val": 1, "test": 1, "unsplit": 2}
    expected = {"text": 3, "table": 1, "image": 3, "video": 0, "audio": 0}
    assert found.present["all"] == expected
    assert found.present["train"] == expected | {"text": 1, "image": 1}
    assert found.share("text") == 0.5
    assert found.share("image", "train") == 0.5
    assert found.combinations == {"text+image": 3, "none": 2, "table": 1}
    assert found.categories == {"kettle": 2, "pot": 1}
    assert found.alt_present == dict.fromkeys(MODALITIES, 0) | {"text": 1}
    assert found.labels == {"price": {"3": 2}, "colour": {"red": 1}}
    assert found.extra == {"shop": 1}
    assert found.lengths["title_words"].tolist() == [2, 2, 4]
    assert found.lengths["title_characters"].tolist() == [11, 10, 8]
    assert found.lengths["table_pairs"].tolist() == [2]
    assert found.lengths["image_width"].tolist() == [8, 8, 5]
    assert found.lengths["image_height"].tolist() == [6, 6, 4]
    assert [(p.id, p.modality, p.kind) for p in found.problems] == [
        ("f", "table", "empty table"),
        ("d", "image", "does not decode"),
        ("e", "alt_image", "does not decode"),
    ]


def test_duplicates_and_leakage(catalogue):
    found = catalogue.summary(progress=False)
    assert [(g.modality, g.ids, g.splits) for g in found.duplicates] == [
        ("text", ("a", "b"), ("train", "test")),
        ("image", ("a", "b"), ("train", "test")),
    ]
    assert found.duplicated("image") == 2
    assert found.leakage == dict.fromkeys(MODALITIES, 0) | {"text": 1, "image": 1}


def test_without_decoding_only_given_hashes_are_compared(catalogue):
    found = catalogue.summary(media=False)
    assert found.present["all"]["image"] == 4
    assert {g.modality for g in found.duplicates} == {"text"}
    assert len(found.lengths["image_width"]) == 0
    assert "media were not decoded" in str(found)


def test_the_hash_of_the_record_takes_precedence(catalogue):
    path = catalogue.folder / "products.jsonl"
    records = [r | {"content": {"image": "one"}} if r.get("image") else r for r in RECORDS[:3]]
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    found = Catalogue.open(catalogue.folder).summary(media=False)
    [group] = [g for g in found.duplicates if g.modality == "image"]
    assert group.ids == ("a", "b", "c")
    assert found.leakage["image"] == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_every_file_is_decoded_once(catalogue, workers):
    facts, problems = check_media(catalogue, workers, progress=False)
    assert {i: set(fields) for i, fields in facts.items()} == {i: {"image"} for i in "abc"}
    assert facts["a"]["image"] == facts["b"]["image"] != facts["c"]["image"]
    assert [(p.id, p.modality) for p in problems] == [("d", "image"), ("e", "alt_image")]
    assert {p.path for p in problems} == {str(catalogue.folder / BROKEN)}
    less = catalogue.without(problems)
    assert less[3].image is None
    assert less[4].alt.image is None


def test_content(catalogue):
    a, b, c, d, *_ = catalogue
    assert content_key(a, "text") == content_key(b, "text") != content_key(c, "text")
    assert content_key(a, "image") == content_key(b, "image") != content_key(c, "image")
    assert content_key(a, "table") is None
    assert content_key(a, "alt_image") is None
    assert len(content_key(d, "table")) == 16


def test_report_and_json_agree(catalogue):
    found = catalogue.summary(progress=False)
    text = str(found)
    for part in (
        "Kitchen",
        "6 products: 2 train, 1 val, 1 test, 2 unsplit",
        "LEAKAGE: 1 val or test products share their image with another split",
        "2 categories, as many as 1.9 equal ones; 1 of one product",
        "3 products have no category",
        "3 problems:",
    ):
        assert part in text
    rows = [line.split() for line in text.splitlines()]
    assert rows[[r[:1] for r in rows].index(["image"])][:6] == [
        "image",
        "3",
        "50.0%",
        "1",
        "50.0%",
        "1",
    ]
    assert max(map(len, text.splitlines())) <= 120
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["present"] == found.present
    assert values["share"]["all"]["text"] == 0.5
    assert values["duplicates"][0]["ids"] == ["a", "b"]
    assert values["lengths"]["image_width"]["max"] == 8


def test_an_empty_catalogue(tmp_path):
    (tmp_path / "products.jsonl").write_text("")
    found = Catalogue.open(tmp_path).summary()
    assert found.products == 0
    assert found.share("text") == 0
    assert "0 products" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)


def test_control_characters_in_names_are_escaped(tmp_path):
    record = {"id": "a", "category": "\x1b[31mred\n", "\x1b]0;x": 1, "labels": {"\n": "\x07"}}
    (tmp_path / "products.jsonl").write_text(json.dumps(record))
    text = str(Catalogue.open(tmp_path).summary())
    assert all(line.isprintable() for line in text.splitlines())


@given(st.lists(st.integers(1, 500), min_size=1, max_size=30))
def test_long_tail_against_its_definition(counts):
    tail = long_tail(counts)
    total, number = sum(counts), len(counts)
    differences = sum(abs(x - y) for x in counts for y in counts)
    assert tail["gini"] == pytest.approx(differences / (2 * number * total), abs=1e-9)
    entropy = -sum(n / total * math.log(n / total) for n in counts)
    assert tail["effective"] == pytest.approx(math.exp(entropy))
    head = sorted(counts, reverse=True)[: math.ceil(number / 5)]
    assert tail["head_share"] == pytest.approx(sum(head) / total)
    assert (tail["categories"], tail["largest"]) == (number, max(counts))
    assert tail["singletons"] == counts.count(1)


def test_long_tail_at_its_ends():
    assert set(long_tail([]).values()) == {0}
    assert long_tail([7] * 10)["gini"] == pytest.approx(0)
    assert long_tail([7] * 10)["effective"] == pytest.approx(10)


def test_summary_holds_every_value():
    values = np.array([1.0, 2.0, 2.0, 9.0])
    told = describe_lengths(values)
    assert sum(told["counts"]) == told["n"] == 4
    assert (told["min"], told["median"], told["mean"], told["max"]) == (1, 2, 3.5, 9)
    assert describe_lengths(values[:0]) == {"n": 0}


REAL = os.environ.get("SCALE_REAL_DATA")
SHARES = {
    "esky5": (491, (491, 480, 488, 93, 257), 88, (18, 86, 6)),
    "wesnoth5": (351, (351, 351, 351, 306, 292), 266, (18, 106, 2)),
    "grocery": (81, (81, 81, 81, 0, 0), 0, (43, 10, 1)),
}


@pytest.mark.real
@pytest.mark.skipif(not REAL, reason="SCALE_REAL_DATA names no folder")
@pytest.mark.parametrize("name", SHARES)
def test_the_real_catalogues_agree_with_their_readme(name):
    products, present, complete, (categories, head, last) = SHARES[name]
    catalogue = Catalogue.open(Path(REAL) / name)
    found = catalogue.summary(workers=2, progress=False)
    assert found.products == products
    assert tuple(found.present["all"].values()) == present
    assert found.combinations.get("+".join(SUBSETS[-1]), 0) == complete
    sizes = list(found.categories.values())
    assert (len(sizes), sizes[0], sizes[-1]) == (categories, head, last)
    # Tables that are [] in the record are the only problems.
    kinds = Counter((p.modality, p.kind) for p in found.problems)
    assert kinds == ({("table", "empty table"): 11} if name == "esky5" else {})
    # Items that share a picture, clip or title are kept in one split; sounds are not.
    assert {m for m, n in found.leakage.items() if n} <= {"audio", "table"}
