"""Packed features: rows of one matrix as the features of many products."""

import json

import numpy as np
import pytest

from scale.config import FeatureConfig
from scale.data import cache as cache_module
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, assign_splits
from scale.data.dataset import Column, ProductDataset
from scale.data.media import MediaError
from scale.data.tokenizer import train_tokenizer
from scale.data.vectors import pack_vectors, read_vectors

CONFIG = FeatureConfig(image_features="file", text_length=8)
LENGTHS = {"image": 3}


@pytest.fixture(scope="module")
def shops(tmp_path_factory):
    """The same six products with one file each, with packed rows, and their vectors."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("vectors")
    values = [rng.normal(size=(length, 4)) for length in (2, 5, 1, 3)]
    values.append(values[1])
    records = [{"id": f"p{i}", "title": f"red kettle {i}", "split": "train"} for i in range(6)]
    for name in ("single", "packed"):
        (root / name / "features").mkdir(parents=True)
    with pack_vectors(root / "packed" / "features" / "image.npy") as packed:
        for i, values_LF in enumerate(values):
            np.save(root / "single" / "features" / f"{i}.npy", values_LF)
            records[i]["image"] = packed.append(values_LF)
    _write(root / "packed", records)
    _write(root / "single", [
        record | ({"image": f"features/{i}.npy"} if i < 5 else {})
        for i, record in enumerate(records)
    ])  # fmt: skip
    return root, values


def _write(folder, records):
    (folder / "products.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))


def _dataset(folder, tmp_path, **options):
    shop = Catalogue.open(folder, strict=True)
    tokenizer = train_tokenizer(shop.products, 200)
    cache = FeatureCache(tmp_path / "cache")
    return ProductDataset.build(
        shop, CONFIG, tokenizer, cache=cache, lengths=LENGTHS, workers=2, **options
    )


def test_packed_rows_give_the_batches_of_single_files(shops, tmp_path, monkeypatch):
    root, _ = shops
    single = _dataset(root / "single", tmp_path)
    for limit in (1 << 30, 0):
        monkeypatch.setattr(cache_module, "IN_MEMORY_BYTES", limit)
        packed = _dataset(root / "packed", tmp_path)
        # Above the limit, the matrix is used in place.
        assert isinstance(packed.columns["image"].values, np.memmap) is (limit == 0)
        a, b = (d.collate([5, 4, 1, 0]).tokens["image"] for d in (single, packed))
        assert np.array_equal(a.values, b.values)
        assert np.array_equal(a.padding_RL, b.padding_RL)
        assert packed.cut == single.cut == {"image": 2}
        # Equal vectors are equal content.
        assert np.array_equal(packed.content_id_NM, single.content_id_NM)
    assert not list((tmp_path / "cache" / "joined").glob("*.npy"))


def test_the_moments_of_rows_ignore_the_rest_of_the_matrix():
    values_TF = np.arange(400_000, dtype=np.float32).reshape(-1, 2)
    column = Column(values_TF, np.array([70_000, 150_000]), np.array([3, 2]))
    for rows_N, expected in (
        ([True, True], [0, 1, 2, 80_000, 80_001]),
        ([False, True], [80_000, 80_001]),
    ):
        found = np.concatenate(list(column.chunks(np.array(rows_N))))
        assert np.array_equal(found, values_TF[70_000 + np.array(expected)])
    assert not list(column.chunks(np.array([False, False])))


def test_rows_of_any_matrix_and_one_dimensional_files(tmp_path):
    np.save(tmp_path / "m.npy", np.arange(12.0).reshape(4, 3))
    assert read_vectors(tmp_path / "m.npy#1").tolist() == [[3, 4, 5]]
    assert read_vectors(tmp_path / "m.npy#2:4").tolist() == [[6, 7, 8], [9, 10, 11]]
    np.save(tmp_path / "one.npy", np.arange(3.0))
    assert read_vectors(tmp_path / "one.npy").tolist() == [[0, 1, 2]]


def test_bad_rows_are_refused_with_path_and_reason(tmp_path):
    np.save(tmp_path / "m.npy", np.array([[0.0, 1], [np.nan, 1], [1, 1]]))
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    cases = [("m.npy#1", "non-finite"), ("m.npy#2:2", "no such rows"), ("m.npy#3", "of 3"),
             ("one.npy#0", "wrong shape"), ("objects.npy#0", "does not load")]  # fmt: skip
    for name, reason in cases:
        with pytest.raises(MediaError, match=reason) as caught:
            read_vectors(tmp_path / name)
        assert caught.value.path == tmp_path / name
    assert read_vectors(tmp_path / "m.npy#2").tolist() == [[1, 1]]
    # Headers that numpy's parser answers with other exceptions than ValueError.
    whole = (tmp_path / "m.npy").read_bytes()
    for damage in (b"(3, 2(", b"(" + b"9" * 40 + b", 2), }"):
        (tmp_path / "x.npy").write_bytes(whole.replace(b"(3, 2), }".ljust(len(damage)), damage))
        for name in ("x.npy", "x.npy#0"):
            with pytest.raises(MediaError, match="does not load"):
                read_vectors(tmp_path / name)


def test_a_matrix_that_is_replaced_is_read_again(tmp_path):
    for value in (1.0, 2.0):
        with pack_vectors(tmp_path / "m.npy") as packed:
            packed.append(np.full((2, 3), value))
        assert read_vectors(tmp_path / "m.npy#1").tolist() == [[value] * 3]


def test_the_writer_refuses_what_the_reader_would(tmp_path):
    with pack_vectors(tmp_path / "m.npy", "m.npy") as packed:
        assert packed.append([1, 2]) == "m.npy#0:1"
        for values, reason in [
            (np.zeros((1, 3)), "wrong size: vectors of 3, not 2"), (np.zeros((0, 2)), "not .L, F."),
            ([[np.nan, 0]], "non-finite"), ([[1e6, 0]], "non-finite"), ([["a", "b"]], "wrong type"),
        ]:  # fmt: skip
            with pytest.raises(ValueError, match=reason):
                packed.append(values)
        assert packed.append(np.ones((2, 2))) == "m.npy#1:3"
    assert np.load(tmp_path / "m.npy").tolist() == [[1, 2], [1, 1], [1, 1]]
    with pytest.raises(ValueError, match="size"), pack_vectors(tmp_path / "n.npy") as packed:
        packed.append([1]) + packed.append([1, 2])
    with pack_vectors(tmp_path / "n.npy"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["m.npy"]


def test_a_catalogue_reads_and_inspects_packed_rows(shops, tmp_path):
    root, _ = shops
    shop = Catalogue.open(root / "packed")
    assert shop.problems == []
    assert shop["p5"].image is None
    summary = shop.summary(progress=False)
    assert summary.problems == []
    groups = [group.ids for group in summary.duplicates if group.modality == "image"]
    assert groups == [("p1", "p4")]
    records = [{"id": name, "image": path} for name, path in (
        ("a", "features/image.npy#0:2"), ("b", "gone.npy#0"), ("c", "../x.npy#0"),
        ("d", "features/image.npy#90:99"))]  # fmt: skip
    (root / "packed" / "other.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    other = Catalogue.open(root / "packed" / "other.jsonl")
    assert [p.reason for p in other.problems] == ["missing file", "path leaves the folder"]
    summary = other.summary(progress=False)
    assert summary.problems[2].kind == "no such rows"
    assert set(assign_splits(other.products)) == {"a", "b", "c", "d"}
