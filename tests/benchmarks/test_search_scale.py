"""The tables of docs/search_scale.md equal the stored results."""

import json
from pathlib import Path

import numpy as np
import pytest
import search_scale
from search_scale import GeneratedStore, vectors, write_tables

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


def test_the_large_index_is_built_from_vectors_that_are_drawn_in_order(monkeypatch):
    monkeypatch.setattr(search_scale, "PIECE", 100)
    store = GeneratedStore.of(650)
    blocks, again = list(store.blocks()), list(store.blocks())
    assert [len(block.ids) for block in blocks] == [100] * 6 + [50]
    assert [block.first for block in blocks] == list(range(0, 650, 100))
    assert store.rows == len({id for block in blocks for id in block.ids.to_pylist()}) == 650
    for block, same in zip(blocks, again, strict=True):
        assert (block.emb_PD == same.emb_PD).all()
        assert np.linalg.norm(block.emb_PD.astype(np.float32), axis=1) == pytest.approx(1, abs=1e-3)
    cosine = blocks[0].emb_PD.astype(np.float32) @ blocks[1].emb_PD.astype(np.float32).T
    assert 0.3 < (cosine > 0.5).mean() < 0.7, "two centres, each of half of the products"


def test_vectors_are_drawn_again_alike_and_clustered_ones_are_near():
    for kind in ("clustered", "uniform"):
        assert (vectors(kind, 10, 3) == vectors(kind, 10, 3)).all()
    near = vectors("clustered", 3000, 1) @ vectors("clustered", 3000, 2).T
    far = vectors("uniform", 3000, 1) @ vectors("uniform", 3000, 2).T
    assert near.max() > 0.6
    assert far.max() < 0.3
