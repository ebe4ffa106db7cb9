"""The tables of docs/search_scale.md equal the stored results."""

import json
from pathlib import Path

import pytest
from search_scale import extrapolate, vectors, write_tables

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "search_scale.json"
PAGE = ROOT / "docs" / "search_scale.md"


@pytest.fixture(scope="module")
def results():
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def test_the_page_has_the_stored_numbers(results, tmp_path):
    again = tmp_path / "page.md"
    again.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    write_tables(again, results)
    assert again.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_six_million_follows_from_what_was_measured(results):
    first = results["measurements"][0]
    assert (first["kind"], first["products"]) == ("ivfpq", 1_000_000)
    found = extrapolate(first, 6_000_000)
    assert found == results["six_million"]
    assert found["embedding_bytes"][0] == pytest.approx(6 * first["embedding_bytes"])
    assert found["embedding_bytes"][0] > 6e6 * 768 * 2
    assert extrapolate(first, 1_000_000)["add_seconds"][0] == pytest.approx(first["seconds"]["add"])


def test_vectors_are_drawn_again_alike_and_clustered_ones_are_near():
    for kind in ("clustered", "uniform"):
        assert (vectors(kind, 10, 3) == vectors(kind, 10, 3)).all()
    near = vectors("clustered", 3000, 1) @ vectors("clustered", 3000, 2).T
    far = vectors("uniform", 3000, 1) @ vectors("uniform", 3000, 2).T
    assert near.max() > 0.6
    assert far.max() < 0.3
