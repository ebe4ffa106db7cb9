"""Hostile catalogues and runs, as one may download them: one test for each threat.

Tests elsewhere, which are not repeated here:

- links out of the folder, `..`, absolute paths in records: tests/data/test_catalogue.py
- object arrays in .npy files, and the feature cache: tests/data/test_features.py, test_cache.py
- weights in other formats than safetensors: tests/data/test_backbones.py
- entities of each XML format, names in tar files: tests/data/test_import_shops.py and
  test_import_public.py
- HTML in single panels: tests/explore/test_masking.py, test_scores.py, test_panel.py
- conditions of a search that would run code: tests/data/test_where.py
- damaged bytes of every format: benchmarks/fuzz.py, tests/benchmarks/test_fuzz.py
"""

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import time
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import scale
from scale import cli
from scale.config import Config, FeatureConfig
from scale.data.catalogue import Catalogue, decode_line
from scale.data.features import extract
from scale.data.importers.importer import import_catalogue
from scale.data.media import MediaError, load_image
from scale.data.product import CatalogueError
from scale.data.tokenizer import load_tokenizer
from scale.evaluation.embed import (
    EmbeddingStore,
    ProductEmbeddings,
    StoreError,
    finish_store,
    write_piece,
)
from scale.evaluation.index import ProductIndex
from scale.evaluation.index_build import build_index
from scale.evaluation.index_settings import IndexSettings
from scale.files import escape_formula
from scale.inference.search import hits_frame, parse_query, to_csv
from scale.training.checkpoint_manager import CheckpointError, verify

HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
ESCAPE = "\x1b[2J\x1b]0;owned\x07\u202e"


class Touch:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "vectors"
    folder.mkdir()
    emb_ND = np.eye(4, dtype=np.float32)
    piece = ProductEmbeddings(tuple("abcd"), emb_ND, np.ones((4, 5), bool))
    write_piece(folder / "part-000000.parquet", piece, {})
    finish_store(folder, 1, {"run": "r"}, {})
    return folder


def shop(folder: Path, *lines: bytes | dict, info: bytes = b"{}") -> Path:
    folder.mkdir(exist_ok=True)
    rows = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (folder / "products.jsonl").write_bytes(b"\n".join(rows))
    (folder / "catalogue.json").write_bytes(info)
    return folder


def edit(path: Path, change) -> None:
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def test_links_of_runs_and_indexes_are_only_read(store, run_folder, tmp_path):
    """Writing replaces a link, and never writes through it."""
    outside = tmp_path / "outside.json"
    outside.write_text("mine")
    index = build_index(store, tmp_path / "index", IndexSettings("flat")).folder
    (index / "manifest.json").rename(tmp_path / "manifest.json")
    (index / "manifest.json").symlink_to(tmp_path / "manifest.json")
    kept = (tmp_path / "manifest.json").read_bytes()
    build_index(store, index, IndexSettings("flat", queries=2))
    assert (tmp_path / "manifest.json").read_bytes() == kept
    run = shutil.copytree(run_folder, tmp_path / "run", ignore=shutil.ignore_patterns("figures"))
    (run / "results.json").symlink_to(outside)
    from scale.evaluation.report import write_json

    write_json(scale.load(run).folder.results, {})
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("name", ["../outside.parquet", "/etc/passwd", "a\\b", "..", "", "C:x"])
def test_names_in_manifests_stay_in_their_folder(store, tmp_path, name):
    """`..` and absolute paths."""
    index = build_index(store, tmp_path / "index", IndexSettings("flat")).folder
    edit(index / "manifest.json", lambda m: m["files"].update({name: m["files"]["ids.arrow"]}))
    with pytest.raises(StoreError, match="not the manifest of an index"):
        ProductIndex.open(index)
    edit(store / "manifest.json", lambda m: m["pieces"][0].update(file=name))
    with pytest.raises(StoreError, match="not the name of a piece"):
        EmbeddingStore.open(store)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  {name}\n")
    with pytest.raises(CheckpointError, match="not a file of the checkpoint"):
        verify(tmp_path)


def test_absolute_paths_in_every_source(tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (4, 4)).save(secret)
    folder = shop(tmp_path / "shop", {"id": "a", "image": str(secret), "alt": {"image": "/x.png"}})
    (folder / "shop.csv").write_text(f"id,image\na,{secret}\n")
    pq.write_table(pa.table({"id": ["a"], "image": [str(secret)]}), folder / "x.parquet")
    info = json.dumps({"media": str(tmp_path)}).encode()
    for source in (folder, folder / "shop.csv", folder / "x.parquet"):
        (product,) = scale.open(source)
        assert product.image is None, source
    with pytest.raises(CatalogueError, match="allow it with"):
        Catalogue.open(shop(tmp_path / "media", {"id": "a", "image": "secret.png"}, info=info))


def test_devices_and_pipes_are_not_opened(tmp_path):
    """A pipe without a writer would block for ever, /dev/zero never ends."""
    folder = shop(tmp_path / "shop", {"id": "a", "image": "pipe.png", "audio": "zero.wav"})
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.wav").symlink_to("/dev/zero")
    (product,) = Catalogue.open(folder)
    assert product.present == ()
    with pytest.raises(CatalogueError, match="no such file"):
        parse_query(str(folder / "pipe.png"))
    (folder / "products.jsonl").unlink()
    os.mkfifo(folder / "products.jsonl")
    for source in (folder, folder / "products.jsonl", "/dev/zero"):
        with pytest.raises(ValueError):  # noqa: PT011
            scale.open(source)


def test_a_tokenizer_of_another_model_is_refused(run_folder, tmp_path):
    """Its word pieces would index the embedding out of range."""
    run = shutil.copytree(run_folder, tmp_path / "run")
    tokenizer = load_tokenizer(run / "tokenizer")
    tokenizer.add_tokens(["another"])
    tokenizer.save_pretrained(run / "tokenizer")
    with pytest.raises(ValueError, match="word pieces, but the model of"):
        scale.load(run)


def test_nothing_is_unpickled(run_folder, tmp_path, monkeypatch):
    run, mark = tmp_path / "run", tmp_path / "executed"
    shutil.copytree(run_folder, run, ignore=shutil.ignore_patterns("figures"))
    bomb = pickle.dumps(Touch(mark))
    for path in ("normaliser.safetensors", "checkpoint/last/model.safetensors"):
        original = (run / path).read_bytes()
        for sums in run.glob("checkpoint/*/SHA256SUMS"):
            sums.unlink()
        shutil.rmtree(run / "checkpoint" / "best", ignore_errors=True)
        (run / path).write_bytes(bomb)
        with pytest.raises(ValueError):  # noqa: PT011
            scale.load(run)
        (run / path).write_bytes(original)
    (run / "checkpoint" / "last" / "pytorch_model.bin").write_bytes(bomb)
    scale.load(run)
    tokenizer = shutil.copytree(run / "tokenizer", tmp_path / "tokenizer")
    (tokenizer / "code.py").write_text(f"open({str(mark)!r}, 'w')\nclass T: pass\n")
    edit(tokenizer / "tokenizer_config.json",
         lambda c: c.update(auto_map={"AutoTokenizer": ["code.T", "code.T"]},
                            tokenizer_class="T"))  # fmt: skip
    with suppress(ValueError):
        load_tokenizer(tokenizer)
    np.save(tmp_path / "x.npy", np.array([Touch(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="does not load"):
        extract("image", tmp_path / "x.npy", FeatureConfig(image_features="file"))
    metadata = {"ARROW:extension:name": "arrow.py_extension_type",
                "ARROW:extension:metadata": bomb}  # fmt: skip
    field = pa.field("id", pa.string(), metadata=metadata)
    pq.write_table(pa.table([pa.array(["a"])], pa.schema([field])), tmp_path / "x.parquet")
    assert len(Catalogue.open(tmp_path / "x.parquet")) == 1
    assert not mark.exists()


def test_huge_json_takes_linear_time(tmp_path):
    """Repeated keys, long keys, and long integers, which are refused."""
    pairs = [f'"k{n}": 1' for n in range(100_000)]
    started = time.process_time()
    line = decode_line(("{" + ",".join([*pairs, '"k99999": 2']) + "}").encode())
    assert "key 'k99999' twice" in line.reason
    assert time.process_time() - started < 5, "quadratic: minutes"
    long_key = {"id": "b", "[" * 3000: 1}
    folder = shop(tmp_path / "shop", b'{"id": "a", "n": ' + b"9" * 10**6 + b"}", long_key)
    catalogue = Catalogue.open(folder)
    assert time.process_time() - started < 5, "a pattern that tries all divisions of a name"
    assert [p.id for p in catalogue] == ["b"]
    assert len(catalogue.problems) == 1


def test_deep_nesting_is_an_error_with_a_path(store, tmp_path):
    deep = b"[" * 100_000 + b"]" * 100_000
    folder = shop(tmp_path / "shop", b'{"id": "a", "x": ' + deep + b"}", {"id": "b"})
    catalogue = Catalogue.open(folder)
    assert [p.id for p in catalogue] == ["b"]
    assert "malformed line" in catalogue.problems[0].reason
    (folder / "catalogue.json").write_bytes(b'{"x": ' + deep + b"}")
    (tmp_path / "config.json").write_bytes(deep)
    index = build_index(store, tmp_path / "index", IndexSettings("flat")).folder
    for path in (index, store):
        (path / "manifest.json").write_bytes(deep)
    for read in (lambda: Catalogue.open(folder), lambda: Config.load(tmp_path / "config.json"),
                 lambda: ProductIndex.open(index), lambda: EmbeddingStore.open(store)):  # fmt: skip
        with pytest.raises(ValueError, match=r"/(catalogue|config|manifest)\.json: "):
            read()


def _html(widget) -> str:
    """Return the HTML of a widget and of all inside it."""
    found = [v for v in widget.get_state().values() if isinstance(v, str) and "<" in v]
    children = getattr(widget, "children", ())
    return "\n".join([*found, *(_html(child) for child in children)])


def test_html_and_javascript_in_titles_are_text(run_folder, small_catalogue, monkeypatch):
    """In all panels of the explorer, and in the tables of notebooks."""
    monkeypatch.setattr("scale.explore.markup.DPI", 20)
    monkeypatch.setattr("scale.explore.maps.kept_umap", lambda unit_PD, seed: unit_PD[:, :2])
    opened = Catalogue.open(small_catalogue)
    products = tuple(
        replace(
            p, id=f"{p.id}{HOSTILE}", text=f"{HOSTILE} {p.text}", name=HOSTILE,
            category=f"{p.category}{HOSTILE}",
            table=p.table and tuple((f"{HOSTILE}{a}", f"{v}{HOSTILE}") for a, v in p.table),
        )
        for p in opened
    )  # fmt: skip
    run = scale.load(run_folder)
    hostile = replace(opened, products=products)
    html = _html(run.explore(hostile, split=None))
    assert "&lt;script&gt;" in html, "the titles are shown"
    for tag in ("<script>alert", "<img src=x"):
        assert tag not in html
    table = run.search("green thing", hostile)._repr_html_()
    assert "&lt;script&gt;" in table
    assert "<script>" not in table


def test_terminal_escapes_are_not_printed(run_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = [
        {"id": f"p{n}{ESCAPE}", "title": f"red{ESCAPE} {n}", "category": f"c{ESCAPE}{n % 2}",
         f"key{ESCAPE}": 1, "name": ESCAPE + "n", "table": [[f"a{ESCAPE}", f"v{ESCAPE}"]],
         "image": f"{ESCAPE}.png"}
        for n in range(4)
    ]  # fmt: skip
    info = json.dumps({"name": f"Shop{ESCAPE}", "language": ESCAPE, "source": ESCAPE}).encode()
    folder = shop(tmp_path / "shop", *records, info=info)
    out = ["--run", str(run_folder), "--in", str(folder)]
    for arguments in (
        ["inspect", str(folder), "--figure", str(tmp_path / "x.png")],
        ["search", "red", *out],
        ["search", "red", *out, "--where", f"nothing{ESCAPE} == 1"],
        ["search", f"x{ESCAPE}.png", *out],
        ["inspect", f"nowhere{ESCAPE}"],
    ):
        cli.main(arguments)
        printed = "".join(capsys.readouterr())
        assert printed, arguments
        assert not set(printed) & set(ESCAPE[:1] + "\x07\u202e"), (arguments, printed)


def test_formulas_in_csv_are_text():
    """Also tabs and full-width signs, which spreadsheets accept; numbers stay numbers."""
    for text in ("=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "＝1", "－1"):
        assert escape_formula(text) == f"'{text}"
    for value in (-1.5, -1, None, "a=1", ""):
        assert escape_formula(value) is value
    product = scale.Product(id="=cmd|' /C calc'!A0", text="@x", category="+y")
    from scale.inference.search import Hit

    line = to_csv(hits_frame([Hit(product, -0.5)])).splitlines()[1]
    assert line == "1,'=cmd|' /C calc'!A0,'@x,'+y,-0.5"


def test_xml_entities_are_refused(tmp_path):
    """Files read by an entity, a DTD from elsewhere, and entities that multiply."""
    secret = tmp_path / "secret.txt"
    secret.write_text("password")
    doubled = "".join(f'<!ENTITY e{n + 1} "&e{n};&e{n};">' for n in range(30))
    for dtd in (
        f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>',
        f'<!DOCTYPE rss SYSTEM "file://{secret}">',
        f'<!DOCTYPE x [<!ENTITY % e SYSTEM "file://{secret}"> %e;]>',
        f'<!DOCTYPE x [<!ENTITY e0 "ha">{doubled}]>',
    ):
        item = "<item><g:id>a</g:id><g:title>t &e; &e30;</g:title></item>"
        feed = f'<rss xmlns:g="http://base.google.com/ns/1.0"><channel>{item}</channel></rss>'
        (tmp_path / "feed.xml").write_text(f'<?xml version="1.0"?>{dtd}{feed}')
        with pytest.raises(ValueError, match=r"feed\.xml"):
            import_catalogue(tmp_path / "feed.xml", tmp_path / "out")
        assert not list((tmp_path / "out").glob("products*"))


def test_tar_members_stay_in_their_folder(tmp_path):
    """`..`, absolute names, links and devices; nothing is extracted to its own path."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "secret.png").write_bytes(png(1, 1, (b"IDAT", zlib.compress(bytes(4)))))
    picture = (tmp_path / "secret.png").read_bytes()
    with tarfile.open(tmp_path / "shards" / "0.tar", "w") as tar:
        for name in ("../../out.png", f"{tmp_path}/abs.png", "ok.png", "x/../../up.png"):
            member = tarfile.TarInfo(name)
            member.size = len(picture)
            tar.addfile(member, io.BytesIO(picture))
        for name, kind in (("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE),
                           ("d.png", tarfile.CHRTYPE), ("f.png", tarfile.FIFOTYPE)):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(tmp_path / "secret.png")
            tar.addfile(member)
    before = set(tmp_path.rglob("*"))
    import_catalogue(tmp_path / "shards", tmp_path / "out")
    found = Catalogue.open(tmp_path / "out")
    assert len(found) == sum(p.image is not None for p in found) == 4
    new = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "out") and not path.is_symlink() for path in new)
    assert not (tmp_path.parent / "out.png").exists()


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    found = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        found += struct.pack(">I", len(body)) + kind + body
        found += struct.pack(">I", zlib.crc32(kind + body))
    return found


def test_image_bombs_are_refused_before_they_expand(tmp_path):
    """Pixels, and compressed text and profiles in a small picture."""
    packed = zlib.compress(bytes(120 << 20), 1)
    path = tmp_path / "x.png"
    path.write_bytes(png(20_000, 20_000, (b"IDAT", packed)))
    with pytest.raises(MediaError, match=r"too many pixels|DecompressionBomb"):
        load_image(path)
    row = zlib.compress(bytes(4))
    for kind, head in ((b"zTXt", b"Comment\0\0"), (b"iCCP", b"p\0\0")):
        path.write_bytes(png(1, 1, (kind, head + packed), (b"IDAT", row)))
        before = _peak()
        with suppress(MediaError):
            assert load_image(path).size == (1, 1)
        assert _peak() - before < 60 << 20, "the text was expanded to 120 MB"


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
