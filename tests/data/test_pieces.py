"""A catalogue in pieces is the catalogue."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scale.data.catalogue import Catalogue, with_splits
from scale.data.pieces import find_products, find_splits, plan_pieces, read_piece
from scale.data.product import CatalogueError


def record(n, **more):
    return {"id": f"p{n}", "title": f"thing {n}", "table": [["size", str(n)]]} | more


@pytest.fixture(params=["jsonl", "parquet"])
def folder(request, tmp_path):
    """23 products; as lines, with a blank one, a broken one and one without id."""
    records = [record(n) for n in range(23)]
    if request.param == "parquet":
        pq.write_table(pa.Table.from_pylist(records), tmp_path / "products.parquet", 5)
    else:
        lines = [json.dumps(r) for r in records]
        lines[4:4] = ["", "{broken", '{"title": "no id"}']
        (tmp_path / "products.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_pieces_together_are_the_catalogue(folder):
    whole = Catalogue.open(folder)
    for size in (1, 4, 7, 100):
        parts = [read_piece(folder, piece) for piece in plan_pieces(folder, size)]
        assert tuple(p for part in parts for p in part.products) == whole.products
        assert [p for part in parts for p in part.problems] == whole.problems
        assert max(map(len, parts)) <= size


def test_a_piece_has_another_digest_only_where_its_lines_change(folder):
    before = plan_pieces(folder, 8)
    path = next(folder.iterdir())
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
        rows[10]["title"] = "another"
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(path.read_text().replace("thing 10", "another"))
    changed = [a.digest != b.digest for a, b in zip(before, plan_pieces(folder, 8), strict=True)]
    assert changed == [False, True] + [False] * (len(before) - 2)
    with pytest.raises(CatalogueError, match="changed while it was read"):
        read_piece(folder, before[1])


def test_splits_of_a_part_are_those_of_the_whole(folder):
    splits = find_splits(folder)
    whole = {p.id: p.split for p in with_splits(Catalogue.open(folder))}
    assert splits == whole
    for piece in plan_pieces(folder, 6):
        for product in with_splits(read_piece(folder, piece), splits):
            assert product.split == whole[product.id]


def test_splits_given_far_behind_count_for_all(tmp_path):
    lines = [json.dumps(record(n, **({"split": "test"} if n == 9 else {}))) for n in range(10)]
    (tmp_path / "products.jsonl").write_text("\n".join(lines))
    first = read_piece(tmp_path, plan_pieces(tmp_path, 5)[0])
    assert {p.split for p in with_splits(first, find_splits(tmp_path))} == {"train"}


def test_products_are_found_by_id(folder):
    found = find_products(folder, ["p3", "p20", "p99"])
    assert {id: product.text for id, product in found.items()} == {
        "p3": "thing 3", "p20": "thing 20"
    }  # fmt: skip
    assert find_products(folder, []) == {}


def test_invalid_plans_are_refused(tmp_path):
    with pytest.raises(CatalogueError, match="neither"):
        plan_pieces(tmp_path, 3)
    (tmp_path / "products.jsonl").write_text("")
    with pytest.raises(CatalogueError, match="no products"):
        plan_pieces(tmp_path, 3)
    with pytest.raises(ValueError, match="pieces of 0"):
        plan_pieces(tmp_path, 0)
    (tmp_path / "products.jsonl").unlink()
    (tmp_path / "products.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(CatalogueError, match="not a readable parquet"):
        plan_pieces(tmp_path, 3)
