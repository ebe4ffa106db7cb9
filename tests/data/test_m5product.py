"""M5Product's files become a catalogue with packed features; every loss is counted."""

import json
import pickle
import subprocess
import sys

import msgpack
import numpy as np
import pytest

import scale
from scale import cli
from scale.data.catalogue import Catalogue
from scale.data.importers import regions as regions_module
from scale.data.importers.m5_sources import M5Sources
from scale.data.importers.m5product import import_m5product, parse_pv, read_annotations
from scale.data.importers.regions import read_regions
from scale.data.product import InvalidValue, read_problems
from scale.data.vectors import read_vectors
from tests.data.m5_files import Files, lmdb_value, numpy_map, tsv_row, write_lmdb, write_tsv


def sources(files, **changes):
    given = {"regions": (files.regions,), "video": files.folder / "video",
             "audio": files.folder / "audio", "classes": files.classes}  # fmt: skip
    return M5Sources(**(given | changes))


def imported(files, name="out", **changes):
    out = files.folder / name
    made = import_m5product(files.annotations, out, sources(files, **changes), progress=False)
    return made, Catalogue.open(out, strict=True)


@pytest.mark.parametrize("kind", ["lmdb", "tsv"])
def test_every_value_arrives_at_its_product(tmp_path, kind):
    files = Files(tmp_path, regions=kind)
    made, shop = imported(files)
    assert [p.id for p in shop] == files.ids
    assert made.present == {"title": 12, "table": 9, "image": 10, "video": 4, "audio": 4}
    assert made.shapes == {"image": (4, 8), "video": (2, 4), "audio": (6, 80)}
    for product in shop:
        name = product.id
        assert product.category == files.labels[name]
        # Absent vectors are missing modalities, not zeros.
        assert (product.image is None) is (name not in files.features)
        if product.image:
            found_LF = read_vectors(product.image)
            assert np.array_equal(found_LF, files.features[name].astype(np.float16))
            x1, y1, x2, y2 = files.boxes[name].T / [[100], [200], [100], [200]]
            area = (x2 - x1) * (y2 - y1)
            location_L5 = read_vectors(shop.folder / product.extra["boxes"])
            assert np.allclose(location_L5, np.stack([x1, y1, x2, y2, area], 1), atol=1e-6)
        assert (product.video is None) is (name not in files.video)
        if product.video:
            assert np.array_equal(read_vectors(product.video), files.video[name])
        assert (product.audio is None) is (name not in files.audio)
        if product.audio:
            # Mel first in the file, time first for the model.
            assert np.array_equal(
                read_vectors(product.audio), files.audio[name].T.astype(np.float16)
            )
    assert shop[1].table == (("品牌", "B1"), ("类型", "dress"))
    # A string of one character means that there is no table.
    assert shop[4].table is None
    assert made.problems == {}
    assert not (shop.folder / ".import").exists()
    assert {path.name for path in (shop.folder / "features").iterdir()} == {
        "image.npy", "boxes.npy", "video.npy", "audio.npy"
    }  # fmt: skip


def test_titles_of_both_sources_are_compared(tmp_path):
    files = Files(tmp_path)
    fact = "titles that differ between annotations and region files"
    made, shop = imported(files)
    assert made.counts[fact] == 1
    assert made.examples[fact] == files.ids[3]
    assert shop[3].text == "红色 kettle 3"
    _, shop = imported(files, "other", titles="regions")
    assert shop[3].text == "another title"
    assert fact in str(made)


def test_locations_and_the_mean_region_may_be_inputs(tmp_path):
    files = Files(tmp_path)
    _, shop = imported(files, boxes="append", mean_region=True)
    name = files.ids[1]
    found_LF = read_vectors(shop[name].image)
    features_LF = files.features[name]
    assert found_LF.shape == (len(features_LF) + 1, 8 + 5)
    assert np.allclose(found_LF[0, :8], features_LF.mean(0), atol=1e-3)
    assert found_LF[0, 8:].tolist() == [0, 0, 1, 1, 1]
    assert np.allclose(found_LF[1:, 8], files.boxes[name][:, 0] / 100, atol=1e-3)
    assert "boxes" not in shop[name].extra


def test_spectrograms_of_both_orientations_are_averaged(tmp_path):
    files = Files(tmp_path)
    name = files.ids[1]
    for values in (files.audio[name], files.audio[name].T):
        np.save(tmp_path / "audio" / f"{name}.npy", values)
        made, shop = imported(files, f"out{len(values)}", audio_frames=3)
        expected = files.audio[name].T.reshape(3, 2, 80).mean(1)
        assert np.allclose(read_vectors(shop[name].audio), expected, atol=1e-3)
    assert made.shapes["audio"] == (3, 80)


def test_lists_give_splits_and_labels_and_leave_out_the_rest(tmp_path):
    files = Files(tmp_path)
    a, b, c, d, e = files.ids[:5]
    (tmp_path / "train.json").write_text(json.dumps([f"{a}#0", b, f"{a}#1", "999"]))
    (tmp_path / "query.json").write_text(json.dumps({b: 2, c: "dress"}))
    (tmp_path / "gallery.txt").write_text(f"{d}\n\n{e}\n")
    lists = {"train": (tmp_path / "train.json",),
             "test": (tmp_path / "query.json", tmp_path / "gallery.txt")}  # fmt: skip
    made, shop = imported(files, **lists)
    # A product of both is tested, not trained on.
    expected = {a: "train", b: "test", c: "test", d: "test", e: "test"}
    assert {p.id: p.split for p in shop} == expected
    assert made.counts["in lists of train and test"] == 1
    assert made.counts["annotations of products in no list, left out"] == 7
    # Label 2 of b is the class lamp; its annotation is dress, which stays.
    assert shop[b].category == "dress"
    assert made.counts["labels that differ between annotations and lists"] == 2
    (problem,) = read_problems(shop.folder / "problems.jsonl")
    assert (problem.id, problem.reason) == ("999", "absent id: in a list of train")


def test_pictures_of_one_product_are_its_picture_and_second_view(tmp_path):
    files = Files(tmp_path)
    name = files.ids[5]
    values = [(f"{name}#{n}", "", np.ones((1, 4)) * n, np.full((1, 8), n + 1.0), 10, 10)
              for n in range(3)]  # fmt: skip
    values.append(values[0])
    write_tsv(tmp_path / "more.tsv", [tsv_row(*v) for v in values])
    made, shop = imported(files, regions=(files.regions, tmp_path / "more.tsv"))
    assert read_vectors(shop[name].image)[0, 0] == 1
    assert read_vectors(shop[name].alt.image)[0, 0] == 2
    assert made.counts["further pictures of a product, left out"] == 1
    assert made.problems == {("image", "duplicate image id"): 1}


def test_products_without_annotation_keep_their_regions(tmp_path):
    files = Files(tmp_path)
    annotations = json.loads(files.annotations.read_text())
    del annotations[files.ids[2]]
    files.annotations.write_text(json.dumps(annotations))
    made, shop = imported(files)
    assert shop[files.ids[2]].text == "红色 lamp 2"
    assert made.counts["products of the region files without annotation, kept"] == 1


def test_raw_media_are_taken_where_there_are_no_features(tmp_path):
    files = Files(tmp_path)
    for folder, suffix in (("images", "jpg"), ("audios", "mp3")):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        (tmp_path / "raw" / folder / f"{files.ids[0]}.{suffix}").write_bytes(b"medium")
    for mode, linked in (("copy", False), ("link", True)):
        out = tmp_path / mode
        given = sources(files, media=tmp_path / "raw", audio=None)
        import_m5product(files.annotations, out, given, mode=mode, progress=False)
        first = Catalogue.open(out, strict=True)[0]
        assert first.audio == out / "audios" / f"{first.id}.mp3"
        assert first.audio.read_bytes() == b"medium"
        assert first.audio.samefile(tmp_path / "raw" / "audios" / f"{first.id}.mp3") is linked
        assert first.image.name.startswith("image.npy#")


def test_pv_is_parsed_exactly():
    assert parse_pv("a#:#b#;# c #:# d#:#e ") == ([["a", "b"], ["c", "d#:#e"]], [])
    assert parse_pv("0") == parse_pv("") == parse_pv(" ") == ([], [])
    assert parse_pv("a#:#b#;#junk#;##:#x#;#y#:#") == ([["a", "b"]], ["junk", "#:#x", "y#:#"])


BAD_VALUES = [
    (lambda good: pickle.dumps(good), "not msgpack: .*pickled"),
    (lambda good: msgpack.dumps(good[:6]), "not a list of 7"),
    (lambda good: msgpack.dumps([*good[:2], "3", *good[3:]]), "wrong length: 8 coordinates for 3"),
    (lambda good: msgpack.dumps([*good[:2], "-1", *good[3:]]), "wrong number of boxes"),
    (lambda good: msgpack.dumps([*good[:2], "0", *good[3:]]), "no regions"),
    (lambda good: msgpack.dumps([*good[:2], "999", *good[3:]]), "too many regions"),
    (lambda good: msgpack.dumps([*good[:3], 0, *good[4:]]), "wrong size"),
    (lambda good: msgpack.dumps([{**good[0], b"type": b"|O"}, *good[1:]]), "wrong type: features"),
    (lambda good: msgpack.dumps([{**good[0], b"kind": b"O"}, *good[1:]]), "wrong type: features"),
    (lambda good: msgpack.dumps([{**good[0], b"data": b"abc"}, *good[1:]]), "wrong length: feat"),
    (lambda good: msgpack.dumps([{**good[0], b"shape": [1 << 40, 8]}, *good[1:]]), "wrong length"),
    (lambda good: msgpack.dumps(["x", *good[1:]]), "wrong type: features is str"),
    (lambda good: msgpack.dumps([numpy_map(np.full((2, 8), np.nan, "f4")), *good[1:]]), "non-fin"),
    (lambda good: msgpack.dumps(good)[:50], "not msgpack"),
    (lambda good: msgpack.dumps([*good[:5], 7.5, good[6]]), "wrong image id"),
    (lambda good: msgpack.dumps([*good[:6], "x" * 9000]), "too large"),
    (lambda good: b"\x91" * 5000, "not msgpack"),
]


def test_malformed_lmdb_values_are_counted_and_never_unpickled(tmp_path, monkeypatch):
    monkeypatch.setattr(regions_module, "LARGEST_RECORD", 6000)
    boxes, features = np.ones((2, 4), "f4"), np.ones((2, 8), "f4")
    good = [numpy_map(features), numpy_map(boxes), "2", 10, 10, "1", "title"]
    values = [make(good) for make, _ in BAD_VALUES]
    write_lmdb(tmp_path / "x.lmdb", [*values, lmdb_value("1", "t", boxes, features, 10, 10)])
    found = list(read_regions(tmp_path / "x.lmdb"))
    assert len(found) == len(BAD_VALUES) + 1
    for i, ((where, _, error), (_, reason)) in enumerate(zip(found, BAD_VALUES, strict=False)):
        assert where == f"{tmp_path / 'x.lmdb'}:{i:08d}"
        with pytest.raises(InvalidValue, match=reason):
            raise error
    assert found[-1][2].features_LF.tolist() == features.tolist()


def test_malformed_tsv_rows_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(regions_module, "LARGEST_RECORD", 6000)
    good = tsv_row("1", "title", np.ones((2, 4)), np.ones((2, 8)), 10, 10)
    cases = [
        (good[:6], "wrong number of fields: 6, not 7"), ([*good[:5], good[5][:-3], "t"], "base64"),
        ([*good[:5], good[5][:-4], "t"], "wrong length: features of 60 bytes|wrong length"),
        ([*good[:3], "5", *good[4:]], "8 coordinates for 5 boxes"),
        ([good[0], "x", *good[2:]], "wrong width"), ([*good[:6], "t" * 7000], "too large"),
        ([*good[:4], "!!!!", *good[5:]], "not base64: boxes"),
    ]  # fmt: skip
    write_tsv(tmp_path / "x.tsv", [*(row for row, _ in cases), good])
    with (tmp_path / "x.tsv").open("ab") as file:
        file.write("\t".join(map(str, good[:6])).encode() + b"\t\xff\xfe\n")
    found = list(read_regions(tmp_path / "x.tsv"))
    for number, ((where, name, error), (_, reason)) in enumerate(
        zip(found, cases, strict=False), start=1
    ):
        assert (where, name) == (f"{tmp_path / 'x.tsv'}:{number}", "1")
        with pytest.raises(InvalidValue, match=reason):
            raise error
    assert found[-2][2].title == "title"
    # A title that is not UTF-8 does not lose the regions.
    assert found[-1][2].features_LF.shape == (2, 8)


def test_malformed_products_are_counted_with_id_path_and_reason(tmp_path):
    files = Files(tmp_path, count=6)
    a, b, c, d, e, f = files.ids
    good = {"title": "t", "pv": "x#:#y#;#broken", "label": 1}
    entries = [(a, good), (b, "text"), (c, {"title": 5, "label": []}), (a, good),
               ("../x", good), (d, {}), (e, good), (f, good)]  # fmt: skip
    text = ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in entries)
    files.annotations.write_text("{" + text + "}")
    np.save(tmp_path / "video" / f"{a}.npy", np.array([[{}]]), allow_pickle=True)
    np.save(tmp_path / "video" / f"{c}.npy", np.zeros((2, 4)))
    np.save(tmp_path / "video" / f"{e}.npy", np.ones((2, 5)))
    np.save(tmp_path / "audio" / f"{e}.npy", np.ones((7, 9)))
    (tmp_path / "audio" / f"{f}.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00")
    write_lmdb(tmp_path / "none.lmdb", [])
    made, shop = imported(files, regions=(tmp_path / "none.lmdb",))
    found = [(p.id, p.modality, p.kind) for p in read_problems(shop.folder / "problems.jsonl")]
    assert found == [
        (a, "table", "no pair in pv, left out"), (a, "video", "does not load"),
        (b, None, "annotation is not an object"), (c, "text", "title is not a string"),
        (c, None, "label is not a string"), (c, "video", "all zeros"), (a, None, "duplicate id"),
        ("../x", None, "unusable id"), (e, "table", "no pair in pv, left out"),
        (e, "video", "wrong size"), (e, "audio", "wrong shape"),
        (f, "table", "no pair in pv, left out"), (f, "audio", "does not load"),
    ]  # fmt: skip
    assert [p.id for p in shop] == [a, c, d, e, f]
    assert shop[a].table == (("x", "y"),)
    assert shop[a].category == "dress"
    assert sum(made.problems.values()) == len(found)
    assert "problem: video: does not load: 1" in str(made)


def test_files_that_are_broken_as_a_whole_stop_the_import_without_a_catalogue(tmp_path):
    files = Files(tmp_path)
    whole = files.annotations.read_text()
    for text, reason in ((whole[:-40], "not JSON"), ("[1]", "not a JSON object"), ("", "object")):
        files.annotations.write_text(text)
        with pytest.raises(ValueError, match=rf"annotations\.json: .*{reason}"):
            imported(files)
    files.annotations.write_text(whole)
    body = files.regions.read_bytes()
    for damaged in (body[: len(body) // 2], b"not an LMDB file" * 1000, b""):
        files.regions.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"regions\.lmdb: not a readable LMDB"):
            imported(files)
    assert not list((tmp_path / "out").iterdir())
    # The same command works once the file is whole, and not a second time.
    files.regions.write_bytes(body)
    imported(files)
    with pytest.raises(ValueError, match="already contains a catalogue"):
        imported(files)


def test_an_lmdb_that_crashes_its_reader_is_an_error(tmp_path, monkeypatch):
    files = Files(tmp_path)
    script = tmp_path / "crash.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGBUS)\n")
    monkeypatch.setattr(regions_module.lmdb_records, "__file__", str(script))
    with pytest.raises(ValueError, match="its reader ended with -7"):
        list(read_regions(files.regions))


def test_annotations_with_a_byte_order_mark_are_read(tmp_path):
    (tmp_path / "a.json").write_text('\n {"1": {"title": "x"}}', encoding="utf-8-sig")
    assert list(read_annotations(tmp_path / "a.json")) == [("1", {"title": "x"})]


PEAKS = """
import re, sys
from pathlib import Path
from scale.data.importers.m5_sources import M5Sources
from scale.data.importers.m5product import import_m5product

for folder in map(Path, sys.argv[1:]):
    sources = M5Sources((folder / "r.lmdb",))
    made = import_m5product(folder / "a.json", folder / "out", sources, progress=False)
    # Not ru_maxrss, which begins with the peak of the parent.
    peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
    print(made.present["image"], peak)
"""


def test_annotations_alone_open_in_place(tmp_path):
    files = Files(tmp_path)
    shop = scale.open(files.annotations)
    assert [p.id for p in shop] == files.ids
    assert shop[1].table == (("品牌", "B1"), ("类型", "dress"))
    assert shop[1].category == "dress"


def test_ten_thousand_products_are_imported_in_constant_memory(tmp_path):
    sizes = (200, 10_000)
    for count in sizes:
        folder = tmp_path / str(count)
        folder.mkdir()
        boxes, features = np.ones((1, 4), "f4"), np.ones((1, 4), "f4")
        title = "a title " * 50
        with (folder / "a.json").open("w") as file:
            file.write("{")
            for i in range(count):
                file.write(f'"{i}": {{"title": "{title}", "label": "{i % 7}"}}')
                file.write("}" if i == count - 1 else ",")
        write_lmdb(folder / "r.lmdb", [
            lmdb_value(str(i), title, boxes, features + i, 10, 10) for i in range(count)
        ])  # fmt: skip
    command = [sys.executable, "-c", PEAKS, *(str(tmp_path / str(count)) for count in sizes)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (few, before), (many, after) = (map(int, line.split()) for line in printed.splitlines())
    assert (few, many) == sizes
    # The titles of one source alone take 4 MB.
    print(after - before)
    assert after - before < 4_000
    assert np.load(tmp_path / "10000" / "out" / "features" / "image.npy")[-1, 0] == 10_000


def test_the_command_imports_and_prints_the_next_one(tmp_path, capsys):
    files = Files(tmp_path)
    out = tmp_path / "out"
    # The format is detected.
    arguments = ["import", str(files.annotations), "--out", str(out),
                 "--m5.regions", str(files.regions),
                 "--m5.video", str(tmp_path / "video")]  # fmt: skip
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "12 products" in printed
    assert "--features.image-features file --model.image-length 4" in printed
    assert cli.main(arguments) == 2
    assert "already contains a catalogue" in capsys.readouterr().err
