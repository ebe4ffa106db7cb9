"""Folders of embeddings: what is written comes back, and nothing else does."""

import json

import numpy as np
import pytest

from scale.evaluation.embed import (
    EmbeddingStore,
    ProductEmbeddings,
    StoreError,
    finish_store,
    has_piece,
    piece_name,
    read_embeddings,
    unit,
    write_piece,
)

MADE = {"run": "r", "subset": ["text"]}


def embeddings(first, count, width=6, ids=None):
    emb_ND = unit(np.random.default_rng(first).normal(size=(count, width)).astype(np.float32))
    ids = ids or tuple(f"p{first + i}" for i in range(count))
    return ProductEmbeddings(ids, emb_ND, np.ones((count, 5), bool), ("lost",) if first else ())


@pytest.fixture
def parts():
    """The second piece holds nothing."""
    return [embeddings(0, 7), embeddings(7, 0), embeddings(7, 4)]


@pytest.fixture
def folder(tmp_path, parts):
    for number, part in enumerate(parts):
        write_piece(tmp_path / piece_name(number), part, MADE | {"piece": number})
    return tmp_path


def test_what_is_written_comes_back_in_order(folder, parts):
    finish_store(folder, 3, MADE, {"seed": 1})
    store = EmbeddingStore.open(folder)
    assert (store.rows, store.width, store.made_from) == (11, 6, MADE)
    blocks = list(store.blocks())
    assert [block.first for block in blocks] == [0, 7, 7]
    assert [i for block in blocks for i in block.ids.to_pylist()] == [f"p{n}" for n in range(11)]
    found = np.concatenate([block.emb_PD for block in blocks])
    assert found.dtype == np.float16
    expected = np.concatenate([part.emb_ND for part in parts])
    assert np.array_equal(found, expected.astype(np.float16))
    assert np.abs(unit(found.astype(np.float32)) @ expected.T - expected @ expected.T).max() < 1e-3
    facts = json.loads((folder / "manifest.json").read_text())
    assert (facts["rows"], facts["left_out"]) == (11, 2)


def test_a_piece_is_also_a_file_of_embeddings(folder, parts):
    found, made_from = read_embeddings(folder / piece_name(2))
    assert made_from == MADE | {"piece": 2}
    assert (found.ids, found.left_out) == (parts[2].ids, ("lost",))
    assert found.present_NM.all()


def test_a_piece_is_known_by_what_it_was_made_from(folder):
    path = folder / piece_name(2)
    assert has_piece(path, MADE | {"piece": 2})
    assert not has_piece(path, MADE | {"piece": 3})
    assert not has_piece(folder / "part-000009.parquet", MADE)
    path.write_bytes(path.read_bytes()[:-20])
    assert not has_piece(path, MADE | {"piece": 2}), "cut short"


def test_what_an_earlier_catalogue_or_a_killed_process_left_is_removed(folder):
    (folder / piece_name(3)).write_bytes(b"old")
    (folder / ".12.34.part-000001.parquet").write_bytes(b"half")
    finish_store(folder, 3, MADE, {})
    names = {path.name for path in folder.iterdir()}
    assert names == {"manifest.json", *(piece_name(n) for n in range(3))}


def test_an_unfinished_folder_is_an_error_and_says_how_to_go_on(folder):
    with pytest.raises(StoreError, match=r"manifest\.json: no such file; scale embed --out"):
        EmbeddingStore.open(folder)
    with pytest.raises(StoreError, match=r"part-000003\.parquet: missing"):
        finish_store(folder, 4, MADE, {})
    assert not (folder / "manifest.json").exists()


@pytest.mark.parametrize("where", ["header", "middle", "end"])
def test_a_damaged_piece_is_named(folder, where):
    finish_store(folder, 3, MADE, {})
    path = folder / piece_name(2)
    data = bytearray(path.read_bytes())
    data[{"header": 0, "middle": len(data) // 3, "end": -3}[where]] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"part-000002\.parquet: damaged"):
        list(EmbeddingStore.open(folder).blocks())
    path.unlink()
    with pytest.raises(StoreError, match=r"part-000002\.parquet: missing"):
        list(EmbeddingStore.open(folder).blocks())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "kind": "flat"}'])
def test_another_manifest_is_refused(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match="not the manifest of embeddings"):
        EmbeddingStore.open(folder)


def test_an_id_that_is_there_twice_is_named_with_both_pieces(folder):
    twice = embeddings(20, 2, ids=("new", "p5"))
    write_piece(folder / piece_name(1), twice, MADE)
    with pytest.raises(StoreError, match=r"'p5' appears twice, in part-000000\S* and .*000001"):
        finish_store(folder, 3, MADE, {})


def test_no_embeddings_at_all_and_not_finite_ones_are_errors(tmp_path):
    write_piece(tmp_path / piece_name(0), embeddings(0, 0), MADE)
    with pytest.raises(StoreError, match="no embeddings"):
        finish_store(tmp_path, 1, MADE, {})
    bad = embeddings(0, 3)
    bad.emb_ND[1, 2] = np.nan
    write_piece(tmp_path / piece_name(0), bad, MADE)
    with pytest.raises(StoreError, match="not finite"):
        finish_store(tmp_path, 1, MADE, {})
