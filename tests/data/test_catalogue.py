"""Opening a catalogue: accepted values, and a report of every rejected one."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scale.data.catalogue import PLACEHOLDER, Catalogue, assign_splits, with_splits
from scale.data.pieces import find_splits
from scale.data.product import CatalogueError, Problem, Product, View

GOOD = {
    "id": "p1",
    "title": "Red kettle",
    "table": [["Brand", "Ondo"], ["Volume", 1.5]],
    "image": "image/a.jpg",
    "video": None,
    "category": "Kettles",
    "split": "train",
    "name": "Kettle",
    "labels": {"material": "steel", "price": 30},
    "alt": {"title": "A kettle, red", "image": "image/b.jpg", "audio": None},
    "content": {"title": "aa", "image": "bb", "alt_title": "cc"},
    "title_zh": "红色水壶",
    "stock": None,
}


def write(folder: Path, *records: object) -> Path:
    """Write records, or raw lines, and two files that are not images, into a folder."""
    (folder / "image").mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        (folder / "image" / name).write_bytes(b"not read when a catalogue is opened")
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    (folder / "products.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def test_a_full_record(tmp_path):
    catalogue = Catalogue.open(write(tmp_path, GOOD), strict=True)
    product = catalogue[0]
    assert (product.id, product.category, product.split) == ("p1", "Kettles", "train")
    assert product.name == "Kettle"
    assert product.text == "Red kettle"
    assert product.table == (("Brand", "Ondo"), ("Volume", "1.5"))
    assert product.image == tmp_path / "image/a.jpg"
    assert product.present == ("text", "table", "image")
    assert product.alt == View(text="A kettle, red", image=tmp_path / "image/b.jpg")
    assert product.labels == {"material": "steel", "price": 30}
    assert product.content == {"text": "aa", "image": "bb", "alt_text": "cc"}
    assert product.extra == {"title_zh": "红色水壶"}
    assert catalogue.problems == []


def test_absence_is_no_problem(tmp_path):
    catalogue = Catalogue.open(write(tmp_path, {"id": "p1"}, {"id": "p2", "title": None}))
    assert [p.present for p in catalogue] == [(), ()]
    assert catalogue.problems == []
    np.testing.assert_array_equal(catalogue.present_NM(), np.zeros((2, 5), dtype=bool))


def test_presence_split_and_order(tmp_path):
    second = {"id": "p0", "audio": "image/b.jpg", "split": "test"}
    catalogue = Catalogue.open(write(tmp_path, GOOD, second))
    assert catalogue.present_NM().astype(int).tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 0, 1]]
    assert [p.id for p in catalogue] == ["p1", "p0"]
    assert [p.id for p in catalogue.split("test")] == ["p0"]
    assert len(catalogue.split("val")) == 0
    assert catalogue.split("val").present_NM().shape == (0, 5)
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        catalogue.split("dev")


def test_a_bad_value_counts_as_missing(tmp_path):
    cases = [
        ({"title": "  \t\u200b"}, "text", "empty title"),
        ({"title": 7}, "text", "title is not a string: 7"),
        ({"title": "\ud800"}, "text", "title is not valid Unicode: '\\ud800'"),
        ({"table": []}, "table", "empty table"),
        ({"table": {"Brand": "Ondo"}}, "table", "malformed table: a list"),
        ({"table": [["Brand"]]}, "table", "malformed table: pair 1 is ['Brand']"),
        ({"table": [["a", "b"], ["c", None]]}, "table", "malformed table: pair 2: value is not"),
        ({"table": [["a", True]]}, "table", "malformed table: pair 1: value is not"),
        ({"table": [["a", " "]]}, "table", "malformed table: pair 1: empty value"),
        ({"table": [["a", float("nan")]]}, "table", "malformed table: pair 1: value is not"),
        ({"image": "/etc/passwd"}, "image", "absolute path"),
        ({"image": "C:\\a.jpg"}, "image", "absolute path"),
        ({"image": "../x.jpg"}, "image", "path leaves the folder"),
        ({"image": "image/c.jpg"}, "image", "missing file"),
        ({"image": "image"}, "image", "not a file"),
        ({"image": ""}, "image", "empty path"),
        ({"image": "a\0b"}, "image", "unusable path: "),
        ({"image": ["image/a.jpg"]}, "image", "path is not a string: ['image/a.jpg']"),
        ({"alt": {"image": "image/c.jpg"}}, "alt_image", "missing file"),
        ({"alt": {"title": " "}}, "alt_text", "empty title"),
        ({"alt": {"smell": "rose"}}, None, "unknown modality in alt: 'smell'"),
        ({"alt": "image/b.jpg"}, None, "alt is not an object"),
        ({"content": {"smell": "00"}}, None, "unknown modality in content: 'smell'"),
        ({"content": {"image": 3}}, None, "content of image is not a string: 3"),
        ({"category": 3.5}, None, "category is not a string: 3.5"),
        ({"split": "query"}, None, "unknown split: 'query'; known: train, val, test, training,"),
        ({"labels": ["steel"]}, None, "labels is not an object"),
        ({"labels": {"price": float("inf")}}, None, "non-finite number in 'price'"),
        ({"sizes": [[1.0, float("nan")]]}, None, "non-finite number in 'sizes'"),
    ]
    for change, field, reason in cases:
        folder = write(tmp_path, {"id": "p0"}, GOOD | change)
        catalogue = Catalogue.open(folder)
        [problem] = catalogue.problems
        assert (problem.id, problem.modality) == ("p1", field)
        assert problem.reason.startswith(reason)
        [(key, value)] = change.items()
        is_path = key == "image" and isinstance(value, str) and "\0" not in value and value
        if is_path or field == "alt_image":
            written = value if is_path else "image/c.jpg"
            assert problem.path == str(folder / written)
        elif "\0" not in str(value):
            assert problem.path == f"{folder / 'products.jsonl'}:2"
        good = Catalogue.open(write(tmp_path / "good", GOOD))[0]
        product = catalogue[1]
        assert (product.present == good.present) == (field not in ("text", "table", "image"))
        with pytest.raises(CatalogueError) as caught:
            Catalogue.open(folder, strict=True)
        for part in ("p1", problem.path, reason):
            assert part in str(caught.value)


def test_a_line_without_a_product_is_recorded(tmp_path):
    cases = [
        (b"{", "malformed line: Expecting"),
        (b"[1, 2]", "record is not an object: [1, 2]"),
        (b'{"title": "no id"}', "record has no id"),
        (b'{"id": 5.5}', "id is not a string: 5.5"),
        (b'{"id": " "}', "empty id"),
        (b'{"id": "x", "title": "\xff"}', "malformed line: 'utf-8' codec"),
        (b'{"id": "x", "title": "a", "title": "b"}', "malformed line: key 'title' twice"),
        (b"[" * 100_000, "malformed line: "),
        (b"9" * 5000, "malformed line: "),
    ]
    for line, reason in cases:
        folder = write(tmp_path, GOOD, b"", line, GOOD | {"id": "p2"})
        catalogue = Catalogue.open(folder)
        assert [p.id for p in catalogue] == ["p1", "p2"]
        [problem] = catalogue.problems
        assert problem.id == "line 3"
        assert problem.path == f"{folder / 'products.jsonl'}:3"
        assert problem.reason.startswith(reason)
        with pytest.raises(CatalogueError, match=r"line 3.*products\.jsonl:3"):
            Catalogue.open(folder, strict=True)


def test_the_first_of_two_ids_stays(tmp_path):
    catalogue = Catalogue.open(write(tmp_path, GOOD, {"id": "p1", "title": "another"}))
    assert [p.text for p in catalogue] == ["Red kettle"]
    [problem] = catalogue.problems
    assert (problem.id, problem.kind) == ("p1", "duplicate id")
    assert problem.path.endswith("products.jsonl:2")
    assert "line 1" in problem.reason


def test_strict_counts_all_problems(tmp_path):
    folder = write(tmp_path, GOOD | {"title": ""}, b"{", {"id": "p2", "image": "no.jpg"})
    with pytest.raises(CatalogueError, match=r"'p1' text: empty title .*\(3 problems in all\)"):
        Catalogue.open(folder, strict=True)


def test_links(tmp_path):
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(b"x")
    folder = write(tmp_path / "shop", GOOD)
    (folder / "out.jpg").symlink_to(outside)
    (folder / "out").symlink_to(tmp_path)
    (folder / "in.jpg").symlink_to(folder / "image/a.jpg")
    (folder / "loop").symlink_to(folder / "loop")
    paths = ["out.jpg", "out/outside.jpg", "in.jpg", "out/shop/image/a.jpg", "loop"]
    write(folder, *({"id": path, "image": path} for path in paths))
    catalogue = Catalogue.open(folder)
    # A way that leaves by one link and returns by the next ends inside, and is fine.
    assert [p.id for p in catalogue if p.image] == ["in.jpg", "out/shop/image/a.jpg"]
    reasons = {p.id: p.reason for p in catalogue.problems}
    assert reasons["out.jpg"] == reasons["out/outside.jpg"] == "link leads out of the folder"
    assert reasons["loop"].startswith(("unusable path", "missing file"))
    # The folder itself may be reached by a link.
    (tmp_path / "link").symlink_to(folder)
    assert Catalogue.open(tmp_path / "link").present_NM()[:, 2].sum() == 2


def test_parquet_equals_jsonl(tmp_path):
    record = GOOD | {"table": [["Brand", "Ondo"], ["Volume", "1.5"]]}
    records = [record, {"id": "p2", "title": "Blue kettle", "image": "../x.jpg"}, {"id": None}]
    by_line = Catalogue.open(write(tmp_path / "lines", *records))
    folder = write(tmp_path / "columns", record)
    (folder / "products.jsonl").unlink()
    pq.write_table(pa.Table.from_pylist(records), folder / "products.parquet")
    by_column = Catalogue.open(folder)

    def moved(view, to):
        return None if view.image is None else to / view.image.relative_to(view.image.parents[1])

    for a, b in zip(by_line, by_column, strict=True):
        assert moved(a, folder) == b.image
        assert moved(a.alt, folder) == b.alt.image
        assert replace(a, image=None, alt=View()) == replace(b, image=None, alt=View())
    assert [p.reason for p in by_line.problems] == [p.reason for p in by_column.problems]
    assert by_column.problems[-1].path.endswith("products.parquet:3")


def test_folders_that_cannot_be_opened(tmp_path):
    with pytest.raises(CatalogueError, match="no such folder"):
        Catalogue.open(tmp_path / "nowhere")
    with pytest.raises(CatalogueError, match="neither"):
        Catalogue.open(tmp_path)
    (write(tmp_path, GOOD) / "products.parquet").write_bytes(b"")
    with pytest.raises(CatalogueError, match="both"):
        Catalogue.open(tmp_path)
    (tmp_path / "products.jsonl").unlink()
    with pytest.raises(CatalogueError, match=r"products\.parquet: not a readable parquet"):
        Catalogue.open(tmp_path)


def test_catalogue_json(tmp_path):
    folder = write(tmp_path, GOOD)
    assert Catalogue.open(folder).info == {}
    info = {"name": "Shop", "language": "en", "licence": "CC0-1.0", "source": "me", "year": 2026}
    (folder / "catalogue.json").write_text(json.dumps(info))
    assert Catalogue.open(folder).info == info
    for bad in ("{", "[]", '{"name": 5}', '{"year": NaN}'):
        (folder / "catalogue.json").write_text(bad)
        with pytest.raises(CatalogueError, match=r"catalogue\.json"):
            Catalogue.open(folder)


def test_without_drops_only_what_is_named(tmp_path):
    catalogue = Catalogue.open(write(tmp_path, GOOD, GOOD | {"id": "p2"}))
    lost = [Problem("p1", "image", "a", "does not decode"), Problem("p2", "alt_image", "b", "x")]
    less = catalogue.without([*lost, lost[0]])
    assert less[0].present == ("text", "table")
    assert less[0].alt == catalogue[0].alt
    assert less[1].present == catalogue[1].present
    assert less[1].alt.present == ("text",)
    assert less.problems == lost
    assert catalogue.problems == []


def test_a_catalogue_opens_from_files_and_data_frames(tmp_path):
    (tmp_path / "1.png").write_bytes(b"picture")
    record = {"id": "a", "title": "A cup", "image": "1.png", "table": [["size", "3"]]}
    (tmp_path / "products.jsonl").write_text(json.dumps(record) + "\n")
    wanted = Catalogue.open(tmp_path)
    frame = pd.DataFrame([record])
    frame.to_parquet(tmp_path / "other.parquet")
    (tmp_path / "shop.csv").write_text("id,title,image,size\na,A cup,1.png,3\n")
    flat = pd.DataFrame({"title": ["A cup", None], "image": ["1.png", None], "size": [3, None]})
    flat.index = pd.Index(["a", "b"], name="id")
    sources = [
        tmp_path / "products.jsonl", tmp_path / "other.parquet", tmp_path / "shop.csv", frame,
        pd.read_parquet(tmp_path / "other.parquet"), flat,
    ]  # fmt: skip
    for source in sources:
        found = Catalogue.open(source, media=tmp_path)
        assert found["a"] == found[0] == wanted["a"], source
        assert found.problems == []
    assert found["b"].present == ()
    renamed = Catalogue.open(
        frame.rename(columns={"title": "Name"}), media=tmp_path, columns={"title": "Name"}
    )
    assert renamed["a"] == wanted["a"]


def test_sources_that_cannot_be_opened_are_named(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "shop.csv").write_text("artno,image\n1,2.png\n")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for source, message in (
        (tmp_path / "none", "none: no such folder"),
        (tmp_path / "none.csv", "none.csv: no such file"),
        (tmp_path / "notes.txt", "notes.txt: no known format"),
        (tmp_path / "a.png", "a.png: not a table, JSON, XML, parquet or tar file"),
    ):
        with pytest.raises(CatalogueError, match=message):
            Catalogue.open(source)
    found = Catalogue.open(tmp_path / "shop.csv", columns={"id": "artno"})
    assert [(p.id, p.modality, p.reason) for p in found.problems] == [
        ("1", "image", "missing file")
    ]
    with pytest.raises(KeyError, match="no product '2' among 1"):
        found["2"]


def test_splits_keep_copies_together(tmp_path):
    """Case-only twins, equal files under two names, and chains of both share a split."""
    products = []
    for n in range(200):
        for name in ("a", "b"):
            (tmp_path / f"{n}{name}.png").write_bytes(b"picture %d" % n)
        first, second = tmp_path / f"{n}a.png", tmp_path / f"{n}b.png"
        products += [
            Product(id=f"{n}", text=f"Red Cup {n}", table=(("Size", "L"),)),
            Product(id=f"{n} twin", text=f"red  cup {n}", table=(("size", "l"),), image=first),
            Product(id=f"{n} picture", text=f"mug {n}", alt=View(image=second)),
        ]
    splits = assign_splits(products)
    for n in range(200):
        assert len({splits[f"{n}{end}"] for end in ("", " twin", " picture")}) == 1
    counts = Counter(splits.values())
    assert counts["train"] == pytest.approx(420, abs=60)
    assert counts["test"] == pytest.approx(120, abs=50)
    others = [Product(id=f"new {n}", text=f"bowl {n}") for n in range(50)]
    assert assign_splits([*others, *products[::-1]]).items() >= splits.items()


def test_a_placeholder_picture_does_not_join_the_products(tmp_path):
    (tmp_path / "none.png").write_bytes(b"no picture yet")
    count = 10 * PLACEHOLDER
    shared = [
        Product(id=f"{n}", text=f"cup {n}", image=tmp_path / "none.png") for n in range(count)
    ]
    assert len(set(assign_splits(shared).values())) == 3
    alone = [replace(product, image=None) for product in shared]
    assert assign_splits(shared) == assign_splits(alone)


def test_unreadable_pictures_do_not_stop_the_assignment_of_splits(tmp_path):
    (tmp_path / "0.png").mkdir()
    (tmp_path / "1.png").mkdir()
    lost = [Product(id=f"{n}", text=f"cup {n}", image=tmp_path / f"{n}.png") for n in range(3)]
    assert assign_splits(lost) == assign_splits([replace(p, image=None) for p in lost])


def test_given_splits_are_kept():
    products = [Product(id="a", text="x", split="test"), Product(id="b", text="x")]
    assert assign_splits(products) == {"a": "test", "b": "train"}


def test_split_names_of_other_catalogues_are_mapped_and_unknown_ones_stop(tmp_path):
    """Products of an unknown split would be trained on."""
    names = ["train", "Validation", "valid", "dev", "val", "testing", "TEST", "training"]
    lines = [json.dumps({"id": str(i), "title": "a", "split": s}) for i, s in enumerate(names)]
    (tmp_path / "products.jsonl").write_text("\n".join(lines))
    catalogue = with_splits(Catalogue.open(tmp_path))
    expected = ["train", "val", "val", "val", "val", "test", "test", "train"]
    assert [p.split for p in catalogue] == expected
    lines.append(json.dumps({"id": "x", "title": "a", "split": "query"}))
    (tmp_path / "products.jsonl").write_text("\n".join(lines))
    for open_splits in (lambda folder: with_splits(Catalogue.open(folder)), find_splits):
        with pytest.raises(CatalogueError, match="'x': unknown split: 'query'"):
            open_splits(tmp_path)


def test_pointers_and_pages_in_place_of_the_products_are_named(tmp_path):
    """A pointer has two lines: two malformed records, or a header and a product of a CSV."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\n"
    for name, text, kind in (
        ("products.jsonl", pointer, "Git LFS pointer: not the file itself: run git lfs pull"),
        ("shop.csv", pointer, "Git LFS pointer"),
        ("shop.tsv", "<!DOCTYPE html><title>404</title>", "HTML page: the download failed"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(CatalogueError, match=kind):
            Catalogue.open(tmp_path / name)
    with pytest.raises(CatalogueError, match="Git LFS pointer"):
        Catalogue.open(tmp_path)
