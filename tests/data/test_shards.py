"""Shards: the bits of the catalogue's own tokens; stops, damage and changed settings."""

import errno
import fcntl
import gc
import importlib.util
import itertools
import json
import os
import re
import resource
import shutil
import struct
import sys
import time
import weakref
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from litdata import StreamingDataset

from scale import cli
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, with_splits
from scale.data.normaliser import Moments
from scale.data.product import CatalogueError
from scale.data.shards import format as format_module
from scale.data.shards import reader as reader_module
from scale.data.shards import writer as writer_module
from scale.data.shards.format import (
    HEADER_BYTES,
    FileChecksum,
    Layout,
    Manifest,
    ShardsError,
    TokenSettings,
    checksum,
    header,
    split_product,
    tokenizer_fingerprint,
)
from scale.data.shards.reader import ShardDataset, ShardFolder
from scale.data.shards.writer import write_chunk, write_shards
from scale.data.tokenizer import load_tokenizer
from scale.files import LOCK, locked
from scale.modalities import CONTINUOUS, MODALITIES
from scale.training.run import build_dataset
from tests.processes import fork_workers, start


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return FeatureCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def shards(config, small_catalogue, cache, tmp_path_factory):
    """48 products in seven shards."""
    out = tmp_path_factory.mktemp("written") / "shards"
    write_shards(small_catalogue, config, out, products_per_shard=7, workers=1, cache=cache,
                 progress=False)  # fmt: skip
    return out


@pytest.fixture
def copy(shards, tmp_path):
    """The shards, to be damaged."""
    return Path(shutil.copytree(shards, tmp_path / "copy"))


@pytest.fixture(scope="module")
def twin(config, small_catalogue, cache, shards):
    """The same products from the catalogue, with the shards' tokenizer and normaliser."""
    opened = ShardFolder.open(shards)
    catalogue = with_splits(Catalogue.open(small_catalogue))
    return build_dataset(catalogue, config, opened.tokenizer, opened.normaliser, cache=cache)


def write_again(config, small_catalogue, cache, out, **changes):
    settings = {"products_per_shard": 7, "workers": 1, "cache": cache, "progress": False}
    return write_shards(small_catalogue, config, out, **(settings | changes))


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_same_batch(found, wanted):
    assert found.tokens.keys() == wanted.tokens.keys()
    for m, tokens in wanted.tokens.items():
        for name in ("values", "padding_RL", "rows_R", "entity_RL"):
            mine, other = getattr(found.tokens[m], name), getattr(tokens, name)
            assert (mine is None) == (other is None), (m, name)
            if other is not None:
                assert mine.dtype == other.dtype
                assert torch.equal(mine, other), (m, name)
    for name in ("present_BM", "content_id_BM", "index_B"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name
    found.check()


def test_batches_have_the_bits_of_the_catalogues(shards, twin):
    data, random = ShardDataset.open(shards), np.random.default_rng(0)
    lacking = [not row.all() for row in data.present_NM]
    assert 0 < sum(lacking) < len(data)
    for size in (1, 5, 48):
        rows = random.permutation(48)[:size]
        assert_same_batch(data.collate(rows), twin.collate(rows))
    assert_same_batch(data.collate([3, 3, 0]), twin.collate([3, 3, 0]))
    assert_same_batch(data.collate(torch.tensor([2])), twin.collate(torch.tensor([2])))


def test_batches_in_which_no_product_has_a_modality(shards, twin):
    data = ShardDataset.open(shards)
    for place, m in enumerate(MODALITIES):
        rows = (~data.present_NM[:, place]).nonzero()[0]
        if len(rows):
            assert_same_batch(data.collate(rows), twin.collate(rows))
            assert m in data.collate(rows).tokens


def test_facts_are_those_of_the_catalogue(shards, twin):
    data = ShardDataset.open(shards)
    assert (len(data), data.ids) == (48, twin.ids)
    assert [(p.category, p.split) for p in data.products] == [
        (p.category, p.split) for p in twin.products
    ]
    assert data.content_id_NM.dtype == np.int64
    assert np.array_equal(data.content_id_NM, twin.content_id_NM)
    assert np.array_equal(data.present_NM, twin.present_NM)
    assert (data.fingerprint, data.feature_sizes) == (twin.fingerprint, twin.feature_sizes)
    for split in ("train", "val", "test"):
        assert np.array_equal(data.rows_of(split), twin.rows_of(split))


def test_a_subset_counts_within_itself(shards, twin):
    rows = np.array([40, 3, 17, 9])
    data, other = ShardDataset.open(shards).subset(rows), twin.subset(rows)
    assert_same_batch(data.collate([2, 0]), other.collate([2, 0]))
    data, other = data.subset([3, 1]), other.subset([3, 1])
    assert_same_batch(data.collate([0, 1]), other.collate([0, 1]))
    assert data.ids == other.ids == ("p09", "p03")


def test_absent_modalities_take_no_bytes(shards):
    manifest = Manifest.load(shards)
    opened = ShardFolder.open(shards)
    whole = sum((shards / f"shard-{n:06d}.bin").stat().st_size for n in range(7))
    chunk_headers = sum(4 * (shard["products"] + 2) for shard in manifest.shards)
    each_M = [manifest.layout.token_bytes(m) for m in MODALITIES]
    tokens = int((opened.length_NM @ each_M).sum())
    assert whole == chunk_headers + 48 * 20 + tokens
    assert (opened.length_NM == 0).any()


def test_litdata_streams_the_folder(shards):
    data, streamed = ShardDataset.open(shards), StreamingDataset(str(shards), shuffle=False)
    assert len(streamed) == 48
    for number in (0, 7, 47):
        sizes = data.shards.length_NM[number]
        raw = [bytes(part) for part in streamed[number]]
        each = [data.shards.manifest.layout.token_bytes(m) for m in MODALITIES]
        assert [len(part) for part in raw] == (sizes * each).tolist()


def test_one_shard_has_the_normaliser_of_the_catalogue(config, small_catalogue, cache, tmp_path):
    """To the bit; of several shards the moments are merged, which rounds."""
    one = write_again(config, small_catalogue, cache, tmp_path / "s", products_per_shard=64)
    assert len(one.shards) == 1
    opened = ShardFolder.open(tmp_path / "s")
    catalogue = with_splits(Catalogue.open(small_catalogue))
    fitted = build_dataset(catalogue, config, opened.tokenizer, None, cache=cache).normaliser
    for name in ("mean", "spread"):
        for m, values_F in getattr(fitted, name).items():
            assert np.array_equal(getattr(opened.normaliser, name)[m], values_F)


def test_moments_of_parts_are_those_of_the_whole():
    random = np.random.default_rng(0)
    values_TF = random.normal(3, 2, (90, 4)) * [1, 10, 100, 0]
    parts = [Moments.of([part]) for part in np.split(values_TF, [5, 60])]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    np.testing.assert_allclose(merged.mean_F, values_TF.mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.squares_F / 90, values_TF.var(0), rtol=1e-12, atol=1e-9)
    assert merged.count == 90
    assert Moments.of([values_TF[:0]]) is None


def test_finished_shards_are_not_written_again(config, small_catalogue, cache, copy, monkeypatch):
    before = contents_of(copy)
    monkeypatch.setattr(writer_module.ShardMaker, "_make", None)
    write_again(config, small_catalogue, cache, copy)
    assert contents_of(copy) == before


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


FILES = ("shard-000003.bin", "facts/000003.arrow", "facts/000003.safetensors", "crc_N.npy",
         "normaliser.safetensors")  # fmt: skip


def read_all(folder: Path) -> None:
    data = ShardDataset.open(folder)
    assert len(data.ids) == len(data.collate(np.arange(48))) == 48


def test_damage_is_named_and_the_writer_repairs_it(config, small_catalogue, cache, copy, shards):
    def truncate(path: Path) -> None:
        os.truncate(path, path.stat().st_size - 1)

    for name, harm in itertools.product(FILES, (damage, truncate, Path.unlink)):
        harm(copy / name)
        if (name, harm) != ("facts/000003.safetensors", damage):  # Only the writer reads moments.
            with pytest.raises(ShardsError, match=re.escape(str(copy / name))):
                read_all(copy)
        write_again(config, small_catalogue, cache, copy)
        assert contents_of(copy) == contents_of(shards), (name, harm)


def test_a_damaged_product_is_named_and_others_are_read(copy, twin):
    data = ShardDataset.open(copy)
    place = int(data.shards.start_N[23]) + 30
    path = copy / "shard-000003.bin"
    raw = bytearray(path.read_bytes())
    raw[place] ^= 16
    path.write_bytes(raw)
    assert_same_batch(data.collate([21, 22, 24]), twin.collate([21, 22, 24]))
    with pytest.raises(ShardsError, match=r"shard-000003\.bin: product 'p23' is damaged"):
        data.collate([22, 23])


def test_a_damaged_manifest_is_named(copy):
    for content in ("", "{", "[]", '{"format": 99}', '{"format": 1}'):
        (copy / "manifest.json").write_text(content)
        with pytest.raises(ShardsError, match=r"manifest\.json"):
            ShardFolder.open(copy)


def test_a_forged_array_is_named(copy):
    """Its checksum fits; numpy parses the header of an array as Python."""
    manifest = json.loads((copy / "manifest.json").read_text())
    for damaged in (b"", b"\x93NUMPY\x01\x00\x04\x00{'a\n"):
        path = copy / "length_NM.npy"
        path.write_bytes(damaged)
        manifest["files"][path.name] = asdict(FileChecksum.of(path))
        (copy / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ShardsError, match="damaged header"):
            ShardFolder.open(copy)


def test_unfinished_shards_are_not_read(copy):
    (copy / "manifest.json").unlink()
    with pytest.raises(ShardsError, match="may be unfinished"):
        ShardFolder.open(copy)


def test_another_tokenizer_is_refused(copy):
    path = copy / "tokenizer" / "tokenizer.json"
    tree = json.loads(path.read_text())
    vocab = tree["model"]["vocab"]
    a, b = sorted(vocab)[-2:]
    vocab[a], vocab[b] = vocab[b], vocab[a]
    path.write_text(json.dumps(tree))
    with pytest.raises(ShardsError, match="not the tokenizer"):
        ShardFolder.open(copy)


def test_a_tokenizers_fingerprint_outlives_saving(shards, tmp_path):
    tokenizer = load_tokenizer(shards / "tokenizer")
    tokenizer.save_pretrained(tmp_path / "again")
    assert tokenizer_fingerprint(load_tokenizer(tmp_path / "again")) == tokenizer_fingerprint(
        tokenizer
    )


def test_differences_are_named(config, shards):
    opened = ShardFolder.open(shards)
    settings = TokenSettings.of(config, opened.tokenizer)
    opened.check(settings)
    other = replace(
        config,
        features=replace(config.features, sample_rate=8000),
        model=replace(config.model, modalities=("text", "audio")),
    )
    with pytest.raises(ShardsError, match=r"features\.sample_rate, model\.modalities:"):
        opened.check(TokenSettings.of(other, opened.tokenizer))


def test_a_folder_is_written_with_one_setting(config, small_catalogue, cache, copy):
    other = replace(config, features=replace(config.features, sample_rate=8000))
    with pytest.raises(ShardsError, match=r"other features\.sample_rate: choose another folder"):
        write_again(other, small_catalogue, cache, copy)
    with pytest.raises(ShardsError, match=r"--products-per-shard \(was 7\)"):
        write_again(config, small_catalogue, cache, copy, products_per_shard=8)
    catalogue = Catalogue.open(small_catalogue)
    renamed = (replace(catalogue[0], text="another title"), *catalogue.products[1:])
    with pytest.raises(ShardsError, match="the catalogue's products"):
        write_again(config, replace(catalogue, products=renamed), cache, copy)


def test_a_second_process_in_the_folder_is_refused(config, small_catalogue, cache, copy):
    with locked(copy), pytest.raises(ValueError, match="is in use by process"):
        write_again(config, small_catalogue, cache, copy)


def test_a_lock_whose_file_was_removed_is_taken_anew(tmp_path, monkeypatch):
    flock, removed = fcntl.flock, []

    def remove_first(file, how):
        if not removed:  # The holder ends after this process has opened the file.
            removed.append((tmp_path / LOCK).unlink())
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with locked(tmp_path), pytest.raises(ValueError, match="is in use by process"):
        locked(tmp_path).__enter__()


def test_a_folder_with_other_files_is_refused(config, small_catalogue, cache, tmp_path):
    (tmp_path / "letter.txt").write_text("text")
    with pytest.raises(ShardsError, match="not empty"):
        write_again(config, small_catalogue, cache, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_bad_media_count_as_missing_and_are_listed(config, small_catalogue, cache, tmp_path):
    folder = Path(shutil.copytree(small_catalogue, tmp_path / "c"))
    (folder / "01.png").write_bytes(b"no picture")
    out = tmp_path / "s"
    write_again(config, folder, cache, out)
    data = ShardDataset.open(out)
    assert [(p.id, p.modality) for p in data.problems] == [("p01", "image")]
    assert not data.present_NM[1, 2]
    twin = build_dataset(
        with_splits(Catalogue.open(folder)), config, data.tokenizer, data.normaliser, cache=cache
    )
    assert_same_batch(data.collate([0, 1, 2]), twin.collate([0, 1, 2]))
    with pytest.raises(CatalogueError, match="p01"):
        write_again(config, folder, cache, tmp_path / "strict", strict=True)


def test_mixed_vector_sizes_are_refused(config, small_catalogue, cache, copy):
    path = copy / "facts" / "000004.json"
    record = json.loads(path.read_text())
    record["sizes"]["image"] += 1
    path.write_text(json.dumps(record))
    with pytest.raises(ShardsError, match="image vectors have size 12 in shard 0 and 13 in shard"):
        write_again(config, small_catalogue, cache, copy)


def test_a_full_disk_keeps_what_is_finished(
    config, small_catalogue, cache, shards, tmp_path, monkeypatch
):
    original, made = writer_module.write_chunk, []

    def filling(packed, work, target):
        if len(made) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        made.append(target)
        return original(packed, work, target)

    with monkeypatch.context() as patch:
        patch.setattr(writer_module, "write_chunk", filling)
        with pytest.raises(OSError, match=r"3 of 7 shards finished. Is the disk full\?"):
            write_again(config, small_catalogue, cache, tmp_path / "s")
    assert not list((tmp_path / "s").glob(".work*"))
    write_again(config, small_catalogue, cache, tmp_path / "s")
    assert contents_of(tmp_path / "s") == contents_of(shards)


def test_without_litdata_the_extra_is_named(config, small_catalogue, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "litdata", None)
    arguments = ["--catalogue", str(small_catalogue), "--out", str(tmp_path / "s")]
    assert cli.main(["shards", *arguments]) == 2
    assert "pip install 'scale-workbench[shards]'" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_reading_needs_no_litdata(shards, monkeypatch):
    monkeypatch.setitem(sys.modules, "litdata", None)
    for module in (format_module, reader_module):
        spec = importlib.util.spec_from_file_location(f"fresh_{id(module)}", module.__file__)
        fresh = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, fresh)
        spec.loader.exec_module(fresh)
    assert len(fresh.ShardDataset.open(shards).collate([1, 30])) == 2


def write_with_two_workers(config, small_catalogue, cache, out):
    with pytest.MonkeyPatch.context() as patch:
        fork_workers(patch)
        write_again(config, small_catalogue, cache, out, workers=2)


def test_a_killed_writer_continues_to_the_same_bytes(
    config, small_catalogue, cache, shards, tmp_path
):
    """With two workers; the expected bytes were written by one process."""
    out = tmp_path / "s"
    arguments = config, small_catalogue, cache, out
    writer = start(write_with_two_workers, *arguments, log=tmp_path / "log")
    deadline = time.monotonic() + 120
    while not list(out.glob("facts/*.json")) and time.monotonic() < deadline:
        time.sleep(0.002)
    writer.kill()
    writer.join()
    assert list(out.glob("facts/*.json"))
    assert not (out / "manifest.json").exists()
    time.sleep(1)  # The workers notice.
    kept = contents_of(out)
    time.sleep(0.3)
    assert contents_of(out) == kept, "no worker outlives the parent"
    write_with_two_workers(*arguments)
    assert contents_of(out) == contents_of(shards)


class DyingMaker(writer_module.ShardMaker):
    """Ends the worker that receives it."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_dead_worker_is_reported(config, small_catalogue, cache, tmp_path, monkeypatch):
    fork_workers(monkeypatch)
    monkeypatch.setattr(writer_module, "ShardMaker", DyingMaker)
    with pytest.raises(RuntimeError, match=r"s: a worker died \(out of memory\?"):
        write_again(config, small_catalogue, cache, tmp_path / "s", workers=2)


def write_part(config, small_catalogue, cache, out, part):
    return write_again(config, small_catalogue, cache, out, part=part)


def test_parts_of_many_machines_have_the_bytes_of_one(
    config, small_catalogue, cache, shards, tmp_path
):
    """Two at the same time, one killed and continued by a third; the last one finishes."""
    out = tmp_path / "s"
    arguments = config, small_catalogue, cache, out
    both = [
        start(write_part, *arguments, part, log=tmp_path / str(part[0]))
        for part in ((2, 3), (3, 3))
    ]
    deadline = time.monotonic() + 120
    while not (out / "facts/000004.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.002)
    both[1].kill()
    for writer in both:
        writer.join()
    assert both[0].exitcode == 0, (tmp_path / "2").read_text()[-3000:]
    with pytest.raises(ShardsError, match=r"of 7 shards are missing \(0, 1, .*: write the parts"):
        write_again(*arguments, only_finish=True)
    assert write_part(*arguments, (1, 3)) is None
    assert not (out / "manifest.json").exists()
    assert write_part(*arguments, (3, 3)).products == 48
    assert contents_of(out) == contents_of(shards)
    (out / "crc_N.npy").unlink()
    write_again(*arguments, only_finish=True)
    assert contents_of(out) == contents_of(shards)


def test_overlapping_parts_are_refused(config, small_catalogue, cache, copy):
    with locked(copy / "part-2-of-3", beside=True):
        for part in (None, (2, 3), (1, 2)):
            with pytest.raises(ValueError, match="part-2-of-3 is in use by process"):
                write_again(config, small_catalogue, cache, copy, part=part)
        write_again(config, small_catalogue, cache, copy, part=(1, 4))
        with pytest.raises(ValueError, match="part-2-of-3 is in use by process"):
            write_again(config, small_catalogue, cache, copy, only_finish=True)
    with pytest.raises(ShardsError, match="omit --part"):
        write_again(config, small_catalogue, cache, copy, part=(1, 4), only_finish=True)
    with pytest.raises(ShardsError, match="part 4 of 3: parts are numbered from 1"):
        write_again(config, small_catalogue, cache, copy, part=(4, 3))


def test_products_in_memory_and_in_parquet_have_the_same_shards(
    config, small_catalogue, cache, shards, tmp_path
):
    """Also without splits in the file, with duplicate ids, malformed lines and blank ones."""
    folder = Path(shutil.copytree(small_catalogue, tmp_path / "c"))
    records = [json.loads(line) for line in (folder / "products.jsonl").open()]
    lines = [json.dumps(record | {"split": None}) for record in records]
    again = json.dumps(records[3] | {"title": "again"})
    mixed = [*lines[:8], again, "", "{", *lines[8:], again]
    (folder / "products.jsonl").write_text("\n".join(mixed))
    in_memory = Catalogue.open(folder)
    assert len(in_memory.problems) == 3
    for source, name in ((folder, "a"), (in_memory, "b")):
        write_again(config, source, cache, tmp_path / name)
    (folder / "products.jsonl").unlink()
    keys = list(dict.fromkeys(key for record in records for key in record))
    table = pa.Table.from_pylist([{key: record.get(key) for key in keys} for record in records])
    pa.parquet.write_table(table, folder / "products.parquet", row_group_size=10)
    write_again(config, folder, cache, tmp_path / "p")
    for name, other in (("a", tmp_path / "b"), ("p", shards)):
        found, wanted = contents_of(tmp_path / name), contents_of(other)
        for file in wanted.keys() - {"plan.json", "places.safetensors"}:
            assert found[file] == wanted[file], (name, file)


def test_products_that_change_while_shards_are_written_are_refused(
    config, small_catalogue, cache, tmp_path
):
    folder, out = Path(shutil.copytree(small_catalogue, tmp_path / "c")), tmp_path / "s"
    assert write_part(config, folder, cache, out, (1, 2)) is None
    (folder / "40.png").unlink()
    with pytest.raises(ShardsError, match="the 7 products from line 36 have changed since"):
        write_part(config, folder, cache, out, (2, 2))


def test_damaged_facts_of_other_parts_are_not_merged(config, small_catalogue, cache, copy, shards):
    """Of the same size; or the record of another shard, or of another number of products."""
    facts, record = copy / "facts/000001.arrow", copy / "facts/000002.json"
    damaged = bytearray(facts.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    first = json.loads((copy / "facts/000000.json").read_text())
    for path, content, message in (
        (facts, bytes(damaged), "000001.arrow: damaged"),
        (record, json.dumps(first).encode(), "000002.json: shard 0 of 7 products instead of 2"),
        (record, json.dumps(first | {"number": 2, "products": 6}).encode(), "2 of 6 products"),
    ):
        kept = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(ShardsError, match=message):
            write_again(config, small_catalogue, cache, copy, only_finish=True)
        path.write_bytes(kept)
    record.write_text(json.dumps(first))
    write_again(config, small_catalogue, cache, copy)
    assert contents_of(copy) == contents_of(shards)


def test_many_shards_are_merged_with_few_open_files(config, small_catalogue, cache, copy):
    """As many files as shards may not be open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, hard))
    try:
        write_again(config, small_catalogue, cache, copy, only_finish=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_many_shards_with_few_open_files(shards, twin, monkeypatch):
    monkeypatch.setattr("scale.data.shards.reader.OPEN_FILES", 2)
    data = ShardDataset.open(shards)
    rows = np.arange(48)
    assert_same_batch(data.collate(rows), twin.collate(rows))
    open_file = data.shards.open_file
    assert open_file.cache_info().currsize == 2
    kept, dropped = open_file(0), weakref.ref(open_file(1))
    for number in (2, 3):
        open_file(number)
    gc.collect()
    assert dropped() is None
    assert len(kept.read(10, 0)) == 10, "a file in use stays open"


def test_the_command_writes_shards(small_catalogue, cache_folder, tmp_path, capsys):
    out = tmp_path / "s"
    arguments = ["--catalogue", str(small_catalogue), "--out", str(out), "--workers", "1"]
    assert cli.main(["shards", *arguments, "--products-per-shard", "20"]) == 0
    assert "48 products in 3 shards" in capsys.readouterr().out
    assert cli.main(["inspect", str(out)]) == 2
    assert "give the catalogue that they were written from" in capsys.readouterr().err


SIZES = {"image": 3, "video": 1, "audio": 5}


@st.composite
def sequences(draw, vocab_size: int, sizes: dict[str, int]):
    """Tokens by modality, any of them absent."""
    found = {}
    entities = arrays.arrays(np.int16, 6, elements=st.integers(-1, 2**15 - 1))
    pieces = arrays.arrays(np.int32, 6, elements=st.integers(-1, 2**31 - 1))
    for m in draw(st.sets(st.sampled_from(MODALITIES))):
        length = draw(st.integers(1, 6))
        entity_L = draw(entities)[:length] if m == "table" else None
        if m in sizes:
            half = st.floats(width=16, allow_nan=False, allow_infinity=False)
            piece_L = None if m in CONTINUOUS else draw(pieces)[:length]
            values = draw(arrays.arrays(np.float16, (length, sizes[m]), elements=half))
            found[m] = values, entity_L, piece_L
            continue
        ids = draw(arrays.arrays(np.int32, length, elements=st.integers(0, vocab_size - 1)))
        found[m] = ids, entity_L, None
    return found


@settings(max_examples=100)
@given(st.data(), st.sampled_from([2, 1 << 16, (1 << 16) + 1, 1 << 31]), st.booleans())
def test_packed_products_round_trip(data, vocab_size, vectors):
    sizes = {"text": 2, "table": 3} | SIZES if vectors else SIZES
    layout, had = Layout(vocab_size, sizes), data.draw(sequences(vocab_size, sizes))
    parts = [layout.pack(m, *had[m]) if m in had else b"" for m in MODALITIES]
    lengths_M = np.array([len(had[m][0]) if m in had else 0 for m in MODALITIES])
    product = header(parts) + b"".join(parts)
    assert len(product) == layout.product_bytes(lengths_M[None])[0]
    assert checksum(product) == checksum(header(parts), *parts)
    for m, raw in zip(MODALITIES, split_product(product), strict=True):
        if m not in had:
            assert len(raw) == 0, "absence takes no bytes"
            continue
        for found, expected in zip(layout.unpack(m, raw), had[m], strict=True):
            assert (found is None) == (expected is None)
            assert found is None or np.array_equal(found, expected)


def test_a_product_by_hand():
    layout = Layout(300, {"audio": 1})
    parts = [
        layout.pack("text", np.array([2, 258, 3], np.int32), None),
        layout.pack("table", np.array([2], np.int32), np.array([-1], np.int16)),
        b"", b"",
        layout.pack("audio", np.array([[1.0], [-2.0]], np.float16), None),
    ]  # fmt: skip
    told = struct.pack("<5I", 6, 4, 0, 0, 4)
    body = bytes([2, 0, 2, 1, 3, 0]) + bytes([2, 0, 255, 255]) + bytes([0, 0x3C, 0, 0xC0])
    assert header(parts) + b"".join(parts) == told + body
    assert layout.product_bytes(np.array([[3, 1, 0, 0, 2]])).tolist() == [HEADER_BYTES + 14]


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_any_other_bytes_are_refused_or_add_up(raw):
    try:
        parts = split_product(raw)
    except ShardsError:
        return
    assert HEADER_BYTES + sum(map(len, parts)) == len(raw)


def test_one_changed_bit_changes_the_checksum():
    product = bytearray(header([b"ab", b"", b"", b"cd", b""]) + b"abcd")
    known = checksum(product)
    for place in range(len(product)):
        product[place] ^= 1
        assert checksum(product) != known
        product[place] ^= 1


def test_a_shard_is_a_chunk_that_litdata_reads(tmp_path: Path):
    packed = [[b"ab", b"", b"xyz", b"", b"q"], [b""] * 5, [b"", b"t" * 300, b"", b"", b""]]
    config = write_chunk(packed, tmp_path, tmp_path / "chunk.bin")
    assert config["data_format"] == ["bytes"] * 5, "no format that is unpickled"
    raw = (tmp_path / "chunk.bin").read_bytes()
    count, *offsets = struct.unpack("<5I", raw[:20])
    assert (count, offsets[0], offsets[-1]) == (3, 20, len(raw))
    for parts, first, end in zip(packed, offsets[:-1], offsets[1:], strict=True):
        assert [bytes(part) for part in split_product(raw[first:end])] == parts
    chunk = {"filename": "chunk.bin", "chunk_size": 3, "chunk_bytes": len(raw), "dim": None}
    (tmp_path / "index.json").write_text(json.dumps({"chunks": [chunk], "config": config}))
    streamed = StreamingDataset(str(tmp_path), shuffle=False)
    assert [[bytes(part) for part in streamed[i]] for i in range(3)] == packed


def test_a_shard_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("scale.data.shards.writer.LARGEST_SHARD", 100)
    with pytest.raises(ShardsError, match="fewer products per shard"):
        write_chunk([[b"x" * 90, b"", b"", b"", b""]], tmp_path, tmp_path / "chunk.bin")
