"""Embeddings of products: the vector, batching, files, and folders of pieces."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from scale.data.batch import ProductBatch, Tokens
from scale.evaluation.embed import (
    Embeddings,
    EmbeddingStore,
    ProductEmbeddings,
    StoreError,
    embed_dataset,
    finish_store,
    has_piece,
    piece_name,
    product_embedding,
    read_embeddings,
    subset_embedding,
    unit,
    write_embeddings,
    write_piece,
)
from scale.modalities import MODALITIES, SUBSETS
from scale.model.scale import EmbedOutput


@pytest.fixture
def embeddings():
    rng = np.random.default_rng(0)
    present = rng.random((12, 5)) < 0.6
    present[3] = False
    present[4] = True
    pooled = rng.normal(size=(12, 5, 6)).astype(np.float32)
    return Embeddings(pooled, present, tuple(f"p{i}" for i in range(12)))


def test_every_subset_equals_the_slow_twin(embeddings):
    for subset in SUBSETS:
        emb, valid = subset_embedding(embeddings.pooled_NMD, embeddings.present_NM, subset)
        for n in range(12):
            total, found = np.zeros(6), 0
            for m, name in enumerate(MODALITIES):
                if name in subset and embeddings.present_NM[n, m]:
                    vector = embeddings.pooled_NMD[n, m]
                    total += vector / np.sqrt((vector**2).sum())
                    found += 1
            assert valid[n] == (found > 0)
            expected = total / found / np.sqrt(((total / found) ** 2).sum()) if found else total
            assert emb[n] == pytest.approx(expected, abs=1e-6)


def test_tensors_and_arrays_get_the_same_embedding(embeddings):
    pooled, present = map(torch.from_numpy, (embeddings.pooled_NMD, embeddings.present_NM))
    emb, valid = subset_embedding(embeddings.pooled_NMD, embeddings.present_NM, MODALITIES)
    assert product_embedding(pooled, present).numpy() == pytest.approx(emb, abs=1e-6)
    assert not emb[~valid].any()
    assert (~valid).sum() == 1


def test_values_of_absent_features_have_no_effect_not_even_nan(embeddings):
    pooled = torch.from_numpy(embeddings.pooled_NMD.copy())
    present = torch.from_numpy(embeddings.present_NM)
    clean = product_embedding(pooled, present)
    pooled[~present] = float("nan")
    pooled.requires_grad_()
    dirty = product_embedding(pooled, present)
    assert torch.equal(clean, dirty)
    dirty[:, 0].sum().backward()
    assert torch.isfinite(pooled.grad).all()
    assert (pooled.grad[present] != 0).any()


def test_a_broken_feature_is_named(embeddings):
    pooled = embeddings.pooled_NMD.copy()
    pooled[4, 2, 1] = np.inf
    with pytest.raises(ValueError, match="image feature of row 4"):
        subset_embedding(pooled, embeddings.present_NM, ("image",))
    # Where the image is not asked for, it does not matter.
    subset_embedding(pooled, embeddings.present_NM, ("text",))
    with pytest.raises(ValueError, match="present_NM is"):
        subset_embedding(pooled, embeddings.present_NM[:3], ("text",))


class Doubler(nn.Module):
    """Pools each image row to twice its value; refuses the batches that ScaleModel refuses."""

    def embed(self, batch: ProductBatch) -> EmbedOutput:
        assert not torch.is_grad_enabled()
        assert not self.training
        if not batch.present_BM.any():
            raise ValueError("no product of the batch has a modality")
        pooled = torch.full((len(batch), 5, 3), 7.0)
        pooled[batch.tokens["image"].rows_R, 2] = 2 * batch.tokens["image"].values[:, 0]
        return EmbedOutput(pooled, batch.present_BM)


class Images:
    """Eleven products; those in `lacking` have no image."""

    ids = tuple(f"p{i}" for i in range(11))
    lacking = (0, 1, 2, 8)

    def collate(self, indices):
        present = torch.zeros(len(indices), 5, dtype=torch.bool)
        present[:, 2] = torch.tensor([i not in self.lacking for i in indices])
        rows = present[:, 2].nonzero().squeeze(1)
        values = torch.tensor(indices)[rows, None, None].float().expand(-1, 1, 3)
        padding = torch.zeros(len(rows), 1, dtype=torch.bool)
        tokens = {"image": Tokens(values, padding, rows)}
        return ProductBatch(tokens, present, torch.tensor(indices))


def test_all_products_are_embedded_in_order_for_any_batch_size():
    for batch_size in [1, 3, 64]:
        model = Doubler().train()
        found = embed_dataset(model, Images(), batch_size, progress=False)
        assert model.training
        assert found.ids == Images.ids
        assert found.pooled_NMD.dtype == np.float32
        expected = [0 if i in Images.lacking else 2 * i for i in range(11)]
        assert found.pooled_NMD[:, 2, 0].tolist() == expected
        assert found.present_NM[:, 2].tolist() == [i not in Images.lacking for i in range(11)]
        # The model left 7 where nothing is present.
        assert not found.pooled_NMD[:, [0, 1, 3, 4]].any()


def test_a_subset_that_no_product_has_is_an_error():
    with pytest.raises(ValueError, match="no product has any"):
        embed_dataset(Doubler(), Images(), subset=("audio",), progress=False)


def test_files_round_trip(tmp_path, embeddings):
    for suffix in [".parquet", ".npy"]:
        products = embeddings.product(("text", "image"))
        assert "p3" in products.left_out
        assert set(products.ids) | set(products.left_out) == set(embeddings.ids)
        path = tmp_path / f"emb{suffix}"
        write_embeddings(path, products, {"seed": 3})
        back, provenance = read_embeddings(path)
        assert back.ids == products.ids
        assert back.left_out == products.left_out
        assert np.array_equal(back.emb_ND, products.emb_ND)
        assert np.array_equal(back.present_NM, products.present_NM)
        assert provenance == {"seed": 3}
        assert not list(tmp_path.glob("*.partial"))


def test_other_tools_can_read_the_parquet(tmp_path, embeddings):
    write_embeddings(tmp_path / "e.parquet", embeddings.product(), {})
    table = pq.read_table(tmp_path / "e.parquet")
    assert table.column_names == ["id", "embedding", *MODALITIES]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 6)
    assert len(table) == 11


def test_foreign_and_wrong_files_are_refused_and_nothing_is_unpickled(tmp_path, embeddings):
    with pytest.raises(ValueError, match=r"\.parquet or \.npy"):
        write_embeddings(tmp_path / "e.csv", embeddings.product(), {})
    with pytest.raises(ValueError, match=r"\.parquet or \.npy"):
        read_embeddings(tmp_path / "e.csv")
    (tmp_path / "p.npy").write_bytes(pickle.dumps({"a": 1}))
    facts = {"ids": [], "present": [], "left_out": [], "provenance": {}}
    (tmp_path / "p.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="not written by scale embed"):
        read_embeddings(tmp_path / "p.npy")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other\.parquet: not written by scale embed"):
        read_embeddings(tmp_path / "other.parquet")
    write_embeddings(tmp_path / "short.npy", embeddings.product(), {})
    np.save(tmp_path / "short.npy", np.zeros((2, 6), dtype=np.float32))
    with pytest.raises(ValueError, match="11 ids for 2"):
        read_embeddings(tmp_path / "short.npy")


MADE = {"run": "r", "subset": ["text"]}


def make_embeddings(first, count, width=6, ids=None):
    emb_ND = unit(np.random.default_rng(first).normal(size=(count, width)).astype(np.float32))
    ids = ids or tuple(f"p{first + i}" for i in range(count))
    return ProductEmbeddings(ids, emb_ND, np.ones((count, 5), bool), ("lost",) if first else ())


@pytest.fixture
def parts():
    """The second piece has no embeddings."""
    return [make_embeddings(0, 7), make_embeddings(7, 0), make_embeddings(7, 4)]


@pytest.fixture
def folder(tmp_path, parts):
    for number, part in enumerate(parts):
        write_piece(tmp_path / piece_name(number), part, MADE | {"piece": number})
    return tmp_path


def test_pieces_are_read_in_order(folder, parts):
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


def test_a_piece_is_identified_by_its_settings(folder):
    path = folder / piece_name(2)
    assert has_piece(path, MADE | {"piece": 2})
    assert not has_piece(path, MADE | {"piece": 3})
    assert not has_piece(folder / "part-000009.parquet", MADE)
    path.write_bytes(path.read_bytes()[:-20])
    assert not has_piece(path, MADE | {"piece": 2}), "cut short"


def test_leftovers_of_earlier_catalogues_and_killed_processes_are_removed(folder):
    (folder / piece_name(3)).write_bytes(b"old")
    (folder / ".12.34.part-000001.parquet").write_bytes(b"half")
    finish_store(folder, 3, MADE, {})
    names = {path.name for path in folder.iterdir()}
    assert names == {"manifest.json", *(piece_name(n) for n in range(3))}


def test_an_unfinished_folder_is_an_error_with_a_remedy(folder):
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


def test_another_manifest_is_refused(folder):
    for text in ["", "[]", "{}", '{"format": 1, "kind": "flat"}']:
        (folder / "manifest.json").write_text(text)
        with pytest.raises(StoreError, match="not the manifest of embeddings"):
            EmbeddingStore.open(folder)


def test_an_id_that_is_there_twice_is_named_with_both_pieces(folder):
    twice = make_embeddings(20, 2, ids=("new", "p5"))
    write_piece(folder / piece_name(1), twice, MADE)
    with pytest.raises(StoreError, match=r"'p5' appears twice, in part-000000\S* and .*000001"):
        finish_store(folder, 3, MADE, {})


def test_no_embeddings_at_all_and_not_finite_ones_are_errors(tmp_path):
    write_piece(tmp_path / piece_name(0), make_embeddings(0, 0), MADE)
    with pytest.raises(StoreError, match="no embeddings"):
        finish_store(tmp_path, 1, MADE, {})
    bad = make_embeddings(0, 3)
    bad.emb_ND[1, 2] = np.nan
    write_piece(tmp_path / piece_name(0), bad, MADE)
    with pytest.raises(StoreError, match="not finite"):
        finish_store(tmp_path, 1, MADE, {})
