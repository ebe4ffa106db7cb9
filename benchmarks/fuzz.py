"""Damaged and hostile input files: no crash, no hang, no unbounded memory, everything counted.

    python benchmarks/fuzz.py --count 10000 --seed 0 --out runs/fuzz.json

Every input is a small valid file of one format, changed by 1 to 8 random edits of its bytes (bits,
lengths, extreme integers, repeated, removed and foreign parts), or a value drawn by hypothesis. It
is read as the commands read it. Allowed are a result and the errors that the commands report in one
line (ALLOWED). All else is a fault: another exception, a dead process, more than SECONDS, more
memory than MEMORY above that of the imports, or a line of a catalogue that is neither a product nor
a problem. Inputs run in child processes with these limits; after a fault, a new child continues
with the next input. An input is a function of (target, seed, number).

--giants reads a few inputs that are large or claim to be (GIANTS), one per process.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # Forks inherit no threads.

import argparse
import base64
import faulthandler
import gzip
import io
import json
import random
import resource
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import av
import lmdb
import msgpack
import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

import scale
from scale.config import Config, FeatureConfig
from scale.data.catalogue import Catalogue
from scale.data.features import extract, read_vectors
from scale.data.importers.importer import import_catalogue
from scale.data.importers.m5_sources import M5Sources
from scale.data.importers.m5product import import_m5product
from scale.data.media import read_media_info
from scale.data.product import RECORD_KEYS, SPLITS, Problem
from scale.data.shards.format import FileChecksum
from scale.data.shards.reader import ShardDataset, ShardFolder
from scale.data.shards.writer import write_shards
from scale.data.where import ProductFilter
from scale.evaluation.embed import EmbeddingStore
from scale.evaluation.index import ProductIndex
from scale.evaluation.index_build import build_index
from scale.evaluation.index_settings import IndexSettings
from scale.files import sha256
from scale.inference.embedding import embed_pieces
from scale.inference.search import read_query

ALLOWED = (ValueError, OSError, RuntimeError, ImportError)
"""Errors that `scale.cli.main` reports in one line. Fewer are allowed in a catalogue, whose
problems are listed instead: CatalogueError, a ValueError."""
SECONDS = 10
"""Processor time of an input. The limit of the elapsed time is PATIENCE, as machines are shared."""
PATIENCE = 60
ROWS_SECONDS = 300
"""Limit for a million rows, whose progress is shown."""
MEMORY = 3 << 30
"""Address space above that of the imports; the largest allowed picture takes 1.2 GB."""
FEATURES = FeatureConfig(
    image_size=16, patch_size=8, video_frames=3, frame_size=8, audio_seconds=0.5, audio_frames=8,
    mel_bins=8,
)  # fmt: skip
EXTREMES = [
    struct.pack(form, number)
    for form, numbers in {
        "<i": (0, -1, 2**31 - 1, -(2**31), 65_536),
        ">i": (1, 2**31 - 1, -(2**31), 65_537),
        "<q": (2**63 - 1, -1),
        ">H": (0, 65_535, 1),
    }.items()
    for number in numbers
]
WORDS = [
    *(b"null", b"NaN", b"-Infinity", b"1e999", b"true", b'"', b"[", b"]", b"{", b"}", b",", b"\n"),
    *(b"\\ud800", b"\\u0000", b"\x00", b"\x1b[2J", b"\xff\xfe", b"\xef\xbb\xbf", b"../", b"/etc/"),
    *(b"[" * 3000, b'{"a":' * 1000, b"9" * 5000, b"\r", b"\xe2\x80\xa8", b";", b"\t", b"=1+1"),
]


@dataclass(frozen=True)
class Target:
    """A folder, those of its files that are changed, and a function that reads the folder."""

    name: str
    folder: Path
    victims: tuple[str, ...]
    read: Callable[[Path], Any]


class Uncounted(AssertionError):
    """A part of a catalogue that is neither a product nor a problem."""


# ------------------------------------------------------------------------------------- reading


def read_catalogue(folder: Path) -> None:
    """Open a catalogue, check that each line is counted, and write its report."""
    catalogue = Catalogue.open(folder)
    source = folder / "products.jsonl"
    if source.is_file():
        lines = sum(bool(line.strip()) for line in source.read_bytes().split(b"\n"))
        skipped = sum(_is_line(p) for p in catalogue.problems)
        if len(catalogue) + skipped != lines:
            raise Uncounted(f"{lines} lines, {len(catalogue)} products, {skipped} skipped")
    summary = catalogue.summary(media=False, progress=False)
    str(summary).encode()
    json.dumps(summary.to_dict()).encode()


def _is_line(problem: Problem) -> bool:
    return problem.id.startswith("line ") or problem.kind == "duplicate id"


def read_csv(folder: Path) -> None:
    """Open a CSV file."""
    str(scale.open(folder / "products.csv").summary(media=False, progress=False)).encode()


def read_import(folder: Path) -> None:
    """Import a file of any format."""
    (path,) = (p for p in folder.iterdir() if p.is_file())
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    try:
        import_catalogue(path, out)
        read_catalogue(out)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def read_media(modality: str) -> Callable[[Path], None]:
    """Return a function that decodes the media file of a folder in all ways."""

    def read(folder: Path) -> None:
        (path,) = folder.iterdir()
        features = extract(modality, path, FEATURES)
        assert np.isfinite(features).all()
        read_media_info(modality, path)

    return read


def read_png_with_sums(folder: Path) -> None:
    """Decode a PNG after the checksums of its chunks are made to fit."""
    (path,) = folder.iterdir()
    content, at = bytearray(path.read_bytes()), 8
    while at + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, at)
        end = at + 8 + size
        if end + 4 > len(content):
            break
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[at + 4 : end]))
        at = end + 4
    path.write_bytes(content)
    read_media("image")(folder)


def read_arrays(folder: Path) -> None:
    """Read a .npy file as features and as a query."""
    with suppress(*ALLOWED):
        read_query(folder / "features.npy")
    read_vectors(folder / "features.npy")


def read_run(folder: Path) -> None:
    """Load a run and embed words with it."""
    run = scale.load(folder)
    run.embed(Catalogue(folder, (scale.Product(id="a", text="red thing"),)))


def read_run_with_sums(folder: Path) -> None:
    """Likewise, after the checksums are made to fit, as in a forged run."""
    for sums in folder.glob("checkpoint/*/SHA256SUMS"):
        files = sorted(p for p in sums.parent.iterdir() if p != sums)
        sums.write_text("".join(f"{sha256(p)}  {p.name}\n" for p in files))
    read_run(folder)


def read_forged_index(folder: Path) -> None:
    """Open an index whose checksums are made to fit, and search in it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        path = folder / name
        manifest["files"][name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    read_index(folder)


def read_index(folder: Path) -> None:
    """Open an index and search in it."""
    index = ProductIndex.open(folder)
    query_1D = np.ones((1, index.manifest["width"]), np.float32)
    index.query(query_1D, 3)
    index.query(query_1D, 3, places=np.arange(min(5, len(index))))


def read_regions(folder: Path) -> None:
    """Import annotations and regions of M5Product, and check that each region is counted."""
    (regions,) = folder.glob("regions.*")
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    try:
        import_m5product(
            folder / "annotations.json", out, M5Sources(regions=(regions,)), progress=False
        )
        read_catalogue(out)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def read_shards(folder: Path) -> None:
    """Read all products of a folder of shards."""
    data = ShardDataset.of(ShardFolder.open(folder))
    for split in SPLITS:
        data.subset(data.rows_of(split))
    data.collate(range(len(data)))


def read_forged_shards(folder: Path) -> None:
    """Likewise, after the checksums of all files are made to fit."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for part in (manifest, *manifest["shards"]):
        part["files"] = {n: asdict(FileChecksum.of(folder / n)) for n in part["files"]}
    path.write_text(json.dumps(manifest))
    read_shards(folder)


def read_embeddings(folder: Path) -> None:
    """Read a folder of embeddings."""
    for _ in EmbeddingStore.open(folder).blocks():
        pass


# -------------------------------------------------------------------------------- valid inputs


def make_targets(folder: Path, run: Path | None = None) -> list[Target]:
    """Write a small valid example of every format; return them.

    run: a run folder; default: train one for a step.
    """
    records = [
        {"id": "a", "title": "Red mug", "table": [["price", "3"], ["size", 12]], "category": "mug",
         "split": "train", "labels": {"material": "clay"}, "alt": {"title": "Mug"}, "x": [1, 2.5]},
        {"id": "b", "title": "Grüne Vase", "category": "vase", "split": "test", "name": "Vase 2"},
        {"id": "c", "table": [["colour", "blue"]], "content": {"title": "h"}, "split": "train"},
        {"id": "d", "title": "赤い皿", "split": "val"},
    ]  # fmt: skip
    lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
    info = {"name": "Shop", "language": "en", "licence": "CC0-1.0", "source": "x", "y": [1]}
    csv = 'id,title,category,price,image\na,Red mug,mug,3,\nb,"A, b",vase,4,\n'
    targets = []

    def add(name: str, files: dict[str, bytes], read: Callable, victims: str = "") -> None:
        place = folder / name
        place.mkdir()
        for file, content in files.items():
            (place / file).write_bytes(content)
        targets.append(Target(name, place, (victims,) if victims else tuple(files), read))

    add("jsonl", {"products.jsonl": lines.encode()}, read_catalogue)
    table = pa.Table.from_pylist([{k: r.get(k) for k in ("id", "title", "split")} for r in records])
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    add("parquet", {"products.parquet": buffer.getvalue()}, read_catalogue)
    add("catalogue.json", {"products.jsonl": lines.encode(),
        "catalogue.json": json.dumps(info).encode()}, read_catalogue, "catalogue.json")  # fmt: skip
    add("csv", {"products.csv": csv.encode()}, read_csv)
    for name, content in (make_tables(records) | make_layouts()).items():
        add(name, {f"products.{name}": content}, read_import)
    for name, files in make_regions(folder).items():
        add(name, files, read_regions)
    for modality, files in make_media().items():
        for name, content in files.items():
            add(name, {f"x.{name}": content}, read_media(modality))
            if name == "png":
                add("png, forged sums", {"x.png": content}, read_png_with_sums)
    array = io.BytesIO()
    np.save(array, np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4))
    add("npy", {"features.npy": array.getvalue()}, read_arrays)
    run = run or train_run(folder / "trained", lines)
    return targets + run_targets(folder, run, lines)


def run_targets(folder: Path, run: Path, lines: str) -> list[Target]:
    """Return targets made from a run: itself, embeddings and indexes."""
    files = ["config.json", "normaliser.safetensors", "tokenizer/tokenizer.json",
             "tokenizer/tokenizer_config.json", "checkpoint/last/config.json",
             "checkpoint/last/model.safetensors"]  # fmt: skip
    targets = []
    for name, read in (("run", read_run), ("run, forged sums", read_run_with_sums)):
        place = folder / name
        shutil.copytree(run, place, ignore=shutil.ignore_patterns("best", "optimizer*", "figures"))
        victims = files if read is read_run_with_sums else [*files, "checkpoint/last/SHA256SUMS"]
        targets.append(Target(name, place, tuple(victims), read))
    many = "".join(
        json.dumps({"id": f"p{n}", "title": f"thing {n} {n % 7}"}) + "\n" for n in range(300)
    )
    catalogue = folder / "many"
    catalogue.mkdir()
    (catalogue / "products.jsonl").write_text(many)
    store = folder / "embeddings"
    embed_pieces(scale.load(run), catalogue, store, ("text",), piece_size=200, progress=False)
    names = tuple(path.name for path in sorted(store.iterdir()))
    targets.append(Target("embeddings", store, names, read_embeddings))
    for kind in ("flat", "ivfpq"):
        built = build_index(store, folder / f"index {kind}", IndexSettings(kind, queries=5))
        names = tuple(path.name for path in sorted(built.folder.iterdir()))
        targets.append(Target(f"index {kind}", built.folder, names, read_index))
        forged = shutil.copytree(built.folder, folder / f"index {kind}, forged sums")
        names = tuple(name for name in names if name != "manifest.json")
        targets.append(Target(forged.name, forged, names, read_forged_index))
    config, written = Config.load(run / "config.json"), folder / "shards"
    write_shards(catalogue, config, written, products_per_shard=200, workers=1, progress=False)
    forged = shutil.copytree(written, folder / "shards, forged sums")
    for place, read in ((written, read_shards), (forged, read_forged_shards)):
        files = sorted(str(p.relative_to(place)) for p in place.rglob("*") if p.is_file())
        left_out = "tokenizer" if read is read_shards else "manifest.json"
        victims = tuple(f for f in files if left_out not in f)
        targets.append(Target(place.name, place, victims, read))
    return targets


def make_tables(records: list[dict]) -> dict[str, bytes]:
    """Return the products in the formats of `scale import`, by suffix."""
    plain = [{k: str(r.get(k) or "") for k in ("id", "title", "category")} for r in records]
    lines = "".join(json.dumps(r) + "\n" for r in records).encode()
    return {
        "tsv": "\n".join(map("\t".join, [plain[0], *(r.values() for r in plain)])).encode("utf-16"),
        "jsonl.gz": gzip.compress(lines),
        "xlsx": _workbook([list(plain[0]), *(list(row.values()) for row in plain)]),
        "json": json.dumps(records).encode(),
        "xml": (
            b'<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel>'
            b"<item><g:id>a</g:id><g:title>Mug &amp; cup</g:title><g:price>3 EUR</g:price></item>"
            b"<item><g:id>b</g:id><g:title>Vase</g:title></item></channel></rss>"
        ),
        "tar": _tar({"a.txt": b"Red mug", "a.json": b'{"price": 3}', "b.txt": b"Vase"}),
    }


def make_layouts() -> dict[str, bytes]:
    """Return products in layouts of shops and data sets that have code of their own, by suffix."""
    shop = (
        "Handle,Title,Body (HTML),Vendor,Type,Option1 Name,Option1 Value,Variant SKU,Variant Price,"
        "Image Src\nmug,Mug,<p>A &amp; B</p>,Ondo,Mugs,Colour,red,m1,3.00,https://x.org/a.jpg\n"
        "mug,,,,,,blue,m2,4.00,https://x.org/b.jpg\n"
    )
    woo = (
        "ID,Type,SKU,Name,Parent,Images,Categories,Attribute 1 name,Attribute 1 value(s)\n"
        '1,variable,m,Mug,,"a.jpg, b.jpg",Home > Mugs,Colour,"red, blue"\n'
        "2,variation,m2,Mug blue,m,,,Colour,blue\n"
    )
    magento = (
        "sku,store_view_code,product_type,name,categories,additional_attributes,base_image\n"
        'm,,simple,Mug,Default/Mugs,"colour=red,size=""4,5""",/m/u/a.jpg\nm,de,,Becher,,,\n'
    )
    ruby = '{""product_specification""=>[{""key""=>""Colour"", ""value""=>""red""}]}'
    flipkart = (
        "uniq_id,product_name,product_category_tree,image,product_specifications\n"
        f'1,Mug,"[""Home >> Mugs""]","[""http://x.org/a.jpg""]","{ruby}"\n'
    )
    text = [{"language_tag": "en_GB", "value": "Mug"}]
    abo = {"item_id": "a", "item_name": text, "node": [{"node_name": "/Mugs"}], "brand": text,
           "item_dimensions": {"height": {"unit": "cm", "value": 3}}}  # fmt: skip
    amazon = {"parent_asin": "a", "title": "Mug", "main_category": "Home", "details": {"Size": "3"},
              "images": [{"large": "http://x.org/a.jpg"}], "categories": ["Home", "Mugs"],
              "features": ["blue"]}  # fmt: skip
    bmecat = (
        b'<?xml version="1.0"?><BMECAT version="2005"><T_NEW_CATALOG><PRODUCT><SUPPLIER_PID>m'
        b'</SUPPLIER_PID><PRODUCT_DETAILS><DESCRIPTION_SHORT lang="deu">Becher</DESCRIPTION_SHORT>'
        b"</PRODUCT_DETAILS><PRODUCT_FEATURES><FEATURE><FNAME>Breite</FNAME><FVALUE>4,5</FVALUE>"
        b"<FUNIT>CMT</FUNIT></FEATURE></PRODUCT_FEATURES><MIME_INFO><MIME><MIME_SOURCE>a.jpg"
        b"</MIME_SOURCE><MIME_ORDER>1</MIME_ORDER></MIME></MIME_INFO></PRODUCT></T_NEW_CATALOG>"
        b"</BMECAT>"
    )
    return {
        "shopify.csv": shop.encode(),
        "woocommerce.csv": woo.encode(),
        "magento.csv": magento.encode(),
        "flipkart.csv": flipkart.encode(),
        "abo.jsonl": json.dumps(abo).encode(),
        "amazon.jsonl": json.dumps(amazon).encode(),
        "bmecat.xml": bmecat,
        "product1m.txt": b"1#####https://x.org/a.jpg#####Mug#####1\n2#####x.jpg#####Vase#####1\n",
        "sop.txt": b"image_id class_id super_class_id path\n1 1 1 mug_final/a.jpg\n",
    }


def make_regions(folder: Path) -> dict[str, dict[str, bytes]]:
    """Return the files of M5Product with regions as TSV and as LMDB, by name."""
    rng, made = np.random.default_rng(0), {}
    for kind in ("tsv", "lmdb"):
        annotations, rows, records = {}, [], []
        for n in range(4):
            boxes = rng.uniform(0, 50, (2, 4)).astype("<f4")
            features = rng.normal(size=(2, 8)).astype("<f4")
            pv = "a#:#x#;#b#:#y" if n else "0"
            annotations[f"60{n}"] = {"title": f"mug {n}", "pv": pv, "label": "mug"}
            coded = (base64.b64encode(values).decode() for values in (boxes, features))
            rows.append("\t".join((f"60{n}", "100", "90", "2", *coded, f"mug {n}")))
            arrays = [
                {b"nd": True, b"type": b"<f4", b"kind": b"", b"shape": values.shape,
                 b"data": values.tobytes()}
                for values in (features, boxes)
            ]  # fmt: skip
            records.append(msgpack.dumps([*arrays, "2", 90, 100, f"60{n}", f"mug {n}"]))
        path = folder / f"valid.{kind}"
        if kind == "tsv":
            path.write_text("\n".join(rows) + "\n")
        else:
            with (
                lmdb.open(str(path), subdir=False, map_size=1 << 20, lock=False) as environment,
                environment.begin(write=True) as transaction,
            ):
                for n, record in enumerate(records):
                    transaction.put(b"%08d" % n, record)
        made[f"regions {kind}"] = {
            "annotations.json": json.dumps(annotations).encode(),
            f"regions.{kind}": path.read_bytes(),
        }
        path.unlink()
    return made


def _tar(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _workbook(rows: list[list[str]]) -> bytes:
    book, file = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(file)
    return file.getvalue()


def make_media() -> dict[str, dict[str, bytes]]:
    """Return small media files by modality and format."""
    pixels = np.random.default_rng(0).integers(0, 255, (16, 20, 3), np.uint8)
    picture, second = Image.fromarray(pixels), Image.fromarray(255 - pixels)
    images = {}
    for name in ("png", "jpeg", "bmp", "webp", "tiff"):
        picture.save(file := io.BytesIO(), name)
        images[name] = file.getvalue()
    picture.save(file := io.BytesIO(), "gif", save_all=True, append_images=[second], duration=50)
    images["gif"] = file.getvalue()
    time_S = np.arange(4000) / 16_000
    sound_1S = (np.sin(2 * np.pi * 440 * time_S)[None] * 8000).astype(np.int16)
    codecs = {"wav": "pcm_s16le", "mp3": "libmp3lame", "flac": "flac", "ogg": "libopus"}
    sounds = {name: _encode(name, codec, sound_1S, None) for name, codec in codecs.items()}
    videos = {n: _encode(n, c, None, [pixels, 255 - pixels, pixels]) for n, c in
              {"mp4": "mpeg4", "avi": "mpeg4"}.items()}  # fmt: skip
    return {"image": images, "audio": sounds, "video": videos}


def _encode(
    container: str, codec: str, sound_1S: np.ndarray | None, frames: list[np.ndarray] | None
) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=16_000 if frames is None else 8)
        if frames is None:
            layout = {"format": "s16", "layout": "mono"}
            resampler = av.AudioResampler(stream.format.name, "mono", 16_000)
            frame = av.AudioFrame.from_ndarray(sound_1S, **layout)
            frame.sample_rate = 16_000
            fifo = av.AudioFifo()
            for part in resampler.resample(frame):
                fifo.write(part)
            size = stream.codec_context.frame_size or 1024
            coded = fifo.read_many(size, partial=True)
        else:
            stream.width, stream.height = 20, 16
            coded = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames]
        for frame in coded:
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def train_run(folder: Path, lines: str) -> Path:
    """Train a run for one step, on words alone."""
    catalogue = folder / "catalogue"
    catalogue.mkdir(parents=True)
    more = (json.dumps({"id": f"e{n}", "title": f"thing {n}"}) + "\n" for n in range(6))
    (catalogue / "products.jsonl").write_text(lines + "".join(more))
    scale.pretrain(
        catalogue, preset="micro", out=folder / "run", steps=1, batch_size=4, progress=False,
        device="cpu",
    )  # fmt: skip
    return folder / "run"


# ------------------------------------------------------------------------------------- changes


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Return the bytes after 1 to 8 random edits."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 3, 5, 8))):
        at = draw.randrange(len(data) + 1)
        # Headers matter more than their share of the bytes.
        at = min(at, draw.choice((at, 16, 64, 512)))
        size = draw.choice((1, 2, 4, 16, 256))
        match draw.randrange(9):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << draw.randrange(8)
            case 1 if data:
                data[min(at, len(data) - 1)] = draw.randrange(256)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size] * draw.choice((1, 2, 50))
            case 4:
                data[at:at] = draw.randbytes(size)
            case 5:
                del data[at:]
            case 6:
                extreme = draw.choice(EXTREMES)
                data[at : at + len(extreme)] = extreme
            case 7:
                data[at:at] = draw.choice(WORDS)
            case _:
                other = draw.randrange(len(data) + 1)
                data[at : at + size] = data[other : other + size]
    return bytes(data)


def values() -> st.SearchStrategy:
    """Return any JSON value, with Python's NaN and infinity."""
    leaves = (
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
        | st.sampled_from(("../x", "/etc/passwd", "\x1b[31m", "<script>", "a.jpg", "train", "dev"))
    )  # fmt: skip
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(sorted(RECORD_KEYS)), inner,
                          max_size=4),
        max_leaves=8,
    )  # fmt: skip


def records() -> st.SearchStrategy:
    """Return records with known keys and any values."""
    keys = st.sampled_from(sorted(RECORD_KEYS)) | st.text(max_size=5)
    return st.dictionaries(keys, values(), max_size=6)


def read_records_drawn(folder: Path, drawn: list) -> None:
    """Write drawn records as a catalogue and read it."""
    lines = [json.dumps(record) for record in drawn]
    (folder / "products.jsonl").write_text("\n".join(lines))
    read_catalogue(folder)


def read_config_drawn(folder: Path, drawn: Any) -> None:
    """Write a drawn value as config.json and read it."""
    (folder / "config.json").write_text(json.dumps(drawn))
    Config.load(folder / "config.json")


def read_condition_drawn(folder: Path, drawn: str) -> None:
    """Parse a drawn condition and test a product."""
    product = scale.Product(id="a", text="x", table=(("price", "3"), ("ﬁ", "NaN")))
    ProductFilter.parse(drawn).test(product)


def conditions() -> st.SearchStrategy:
    """Return conditions, valid ones and texts like them."""
    operands = st.sampled_from(("price", "title", "table['x']", "'a'", "3", "-1e999", "lower(id)",
                                "('a', 2)", "ﬁ", "None", "image"))  # fmt: skip
    operators = st.sampled_from(("==", "!=", "<", ">=", "in", "not in", "is", "is not"))
    comparison = st.tuples(operands, operators, operands).map(" ".join)
    valid = st.recursive(
        comparison,
        lambda inner: (
            st.tuples(inner, st.sampled_from(("and", "or")), inner).map(" ".join)
            | inner.map("not ({})".format)
        ),
    )
    words = ("price", "(", ")", "==", "[", "]", ",", "lower(", "\x00", "*", ".", "not", "if", ":=")
    return valid | st.lists(st.sampled_from(words) | st.text(max_size=3), max_size=12).map(" ".join)


def configs() -> st.SearchStrategy:
    """Return configs with drawn sections and values."""
    names = {name: sorted(vars(section)) for name, section in vars(Config()).items()}
    sections = {
        name: st.dictionaries(st.sampled_from(keys) | st.text(max_size=4), values(), max_size=3)
        for name, keys in names.items()
    }
    return st.fixed_dictionaries({}, optional=sections) | values()


DRAWN = {
    "records": (lambda: st.lists(records(), max_size=4), read_records_drawn),
    "config": (configs, read_config_drawn),
    "condition": (conditions, read_condition_drawn),
}
"""Strategies and readers of the inputs that hypothesis draws."""


# -------------------------------------------------------------------------------------- giants


def _png(path: Path, width: int, height: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packer, parts = zlib.compressobj(9), []
    row = bytes(1 + 3 * width)
    for _ in range(height):
        parts.append(packer.compress(row))
    parts.append(packer.flush())
    body = chunk(b"IHDR", header) + chunk(b"IDAT", b"".join(parts)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def _png_text_bomb(path: Path) -> None:
    """A picture of one pixel with a text chunk that expands to 1 GB."""
    Image.new("RGB", (1, 1)).save(path)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    body = b"zTXt" + b"Comment\0\0" + packed
    text = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    content = path.read_bytes()
    path.write_bytes(content[:33] + text + content[33:])


def _many_frames(path: Path) -> None:
    first = Image.new("P", (64, 64))
    more = [Image.new("P", (64, 64), n % 255) for n in range(3000)]
    first.save(path, save_all=True, append_images=more)


def _wav_of_4_gb(path: Path) -> None:
    content = bytearray(make_media()["audio"]["wav"])
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(content)


def _million_rows(path: Path) -> None:
    with path.open("w") as file:
        file.writelines(f'{{"id": "{n}", "title": "thing {n % 1000}"}}\n' for n in range(10**6))


def _million_csv_rows(path: Path) -> None:
    with path.open("w") as file:
        file.write("id,title,price\n")
        file.writelines(f"{n},thing {n % 1000},{n}\n" for n in range(10**6))


def _million_parquet_rows(path: Path) -> None:
    ids = pa.array(map(str, range(10**6)))
    pq.write_table(pa.table({"id": ids, "title": pa.array(["x"] * 10**6)}), path)


def _line(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(b'{"id": "a", "title": "x", "y": ' + content + b"}\n")


def _many_keys() -> bytes:
    pairs = [f'"k{n}": {n}' for n in range(200_000)]
    return ("{" + ", ".join([*pairs, '"k199999": 1']) + "}").encode()


GIANTS: dict[str, tuple[str, Callable[[Path], Any], Callable[[Path], Any]]] = {
    "picture of 20,000 x 20,000": ("x.png", lambda p: _png(p, 20_000, 20_000), read_media("image")),
    "PNG that expands 1000-fold": ("x.png", lambda p: _png(p, 9_000, 9_000), read_media("image")),
    "PNG with a text of 1 GB": ("x.png", _png_text_bomb, read_media("image")),
    "GIF of 3,001 frames": ("x.gif", _many_frames, read_media("image")),
    "GIF of 3,001 frames as a video": ("x.gif", _many_frames, read_media("video")),
    "WAV that claims 4 GB": ("x.wav", _wav_of_4_gb, read_media("audio")),
    "a million lines": ("products.jsonl", _million_rows, read_catalogue),
    "a million rows of CSV": ("products.csv", _million_csv_rows, read_csv),
    "a million rows of parquet": ("products.parquet", _million_parquet_rows, read_catalogue),
    "100,000 lists inside one another": (
        "products.jsonl", _line(b"[" * 100_000 + b"]" * 100_000), read_catalogue
    ),
    "200,000 keys, one of them twice": ("products.jsonl", _line(_many_keys()), read_catalogue),
    "a title of 50 MB": ("products.jsonl", _line(b'"' + b"a" * 50_000_000 + b'"'), read_catalogue),
    "an integer of 1 million digits": ("products.jsonl", _line(b"9" * 10**6), read_catalogue),
    "npy that claims 10 TB": (
        "features.npy",
        lambda p: p.write_bytes(
            b"\x93NUMPY\x01\x00v\x00"
            + b"{'descr': '<f4', 'fortran_order': False, 'shape': (2500000000, 1000), }".ljust(117)
            + b"\n"
        ),
        read_arrays,
    ),
}  # fmt: skip
"""Large inputs: name of the file, how it is written, how it is read."""


# ------------------------------------------------------------------------------------- running


def outcome(call: Callable[[], Any]) -> str:
    """Call a function; return `ok`, `refused: TYPE`, or `fault: TYPE: MESSAGE`."""
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            call()
    except ALLOWED as error:
        return f"refused: {type(error).__name__}: {str(error)[:200]}"
    except Exception as error:
        return f"fault: {type(error).__name__}: {str(error)[:200]}"
    return "ok"


def outcomes(
    target: Target, originals: dict[str, bytes], seed_number: int, numbers: range
) -> Iterator[tuple[int, str, float]]:
    """Read the changed inputs of a target; yield number, outcome and seconds of each.

    Number 0 is the valid input.
    """
    for number in numbers:
        draw = random.Random(f"{target.name} {seed_number} {number}")
        name = draw.choice(target.victims)
        restore(target, originals)
        if number:
            (target.folder / name).write_bytes(mutate(originals[name], draw))
        started = time.process_time()
        found = outcome(lambda: target.read(target.folder))
        if not number and found != "ok":
            found = f"fault: the valid input: {found}"
        yield number, found, time.process_time() - started


def contents(target: Target) -> dict[str, bytes]:
    """Return the files of a target."""
    files = (path for path in target.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(target.folder)): path.read_bytes() for path in files}


def restore(target: Target, originals: dict[str, bytes]) -> None:
    """Write the valid files of a target."""
    for name, content in originals.items():
        (target.folder / name).write_bytes(content)


def draw_inputs(name: str, seed_number: int, count: int) -> list[Any]:
    """Return `count` inputs drawn by hypothesis, whose reading is then timed one by one."""
    inputs = []

    # Only generation: there is no failure to reproduce or to shrink.
    @seed(seed_number)
    @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(DRAWN[name][0]())
    def draw(drawn: Any) -> None:
        inputs.append(drawn)

    draw()
    return inputs


def drawn_outcomes(
    name: str, folder: Path, inputs: Sequence[Any], numbers: range
) -> Iterator[tuple[int, str, float]]:
    """Read inputs of `draw_inputs`; yield as `outcomes`."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        started = time.process_time()
        said = outcome(lambda: DRAWN[name][1](folder, inputs[number]))  # noqa: B023
        yield number, said, time.process_time() - started


def limit_memory() -> None:
    """Limit the address space of this process to MEMORY above the present one."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def in_child(
    work: Callable[[], Iterator[tuple[int, str, float]]], report: Path, patience: int = PATIENCE
) -> tuple[list[tuple[int, str, float]], int]:
    """Run an iterator in a fork with limits; return its values and the exit status.

    The child is killed `patience` seconds after its last value.
    """
    report.write_text("")
    child = os.fork()
    if not child:
        code = 1
        try:
            av.logging.set_level(av.logging.PANIC)
            limit_memory()
            with report.open("w") as out, Path(os.devnull).open("w") as null, redirect_stderr(null):
                os.dup2(null.fileno(), 2)
                faulthandler.dump_traceback_later(patience, exit=True, file=null)
                for value in work():
                    out.write(json.dumps(value) + "\n")
                    out.flush()
                    faulthandler.dump_traceback_later(patience, exit=True, file=null)
                faulthandler.cancel_dump_traceback_later()
                out.write(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) + "\n")
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    values = [json.loads(line) for line in report.read_text().splitlines()]
    return values, status


@dataclass
class Tally:
    """Outcomes of a target."""

    counts: Counter
    faults: list[str]
    slowest: float = 0.0
    peak_mib: float = 0.0
    examples: dict[str, str] = field(default_factory=dict)
    """One message by type of error."""

    def add(self, target: str, values: list, limit: float = SECONDS) -> int:
        """Count the outcomes of a child; return their number."""
        if values and not isinstance(values[-1], list):
            self.peak_mib = max(self.peak_mib, values.pop() / 1024)
        for number, said, seconds in values:
            self.examples.setdefault(said.split(": ")[1] if ": " in said else said, said)
            self.counts[said.split(":")[0]] += 1
            self.slowest = max(self.slowest, seconds)
            if said.startswith("fault") or seconds > limit:
                self.faults.append(f"{target} {number}: {said} ({seconds:.1f} s)")
        return len(values)


def death(status: int) -> str:
    """Return the cause of a child's death."""
    if os.WIFSIGNALED(status):
        return f"fault: {signal.Signals(os.WTERMSIG(status)).name}"
    return f"fault: no result after {PATIENCE} s or more, or the interpreter ended"


def read_all(
    name: str,
    read: Callable[[range], Iterator[tuple[int, str, float]]],
    count: int,
    report: Path,
) -> Tally:
    """Read `count` inputs, in as many children as needed; `read` yields the outcomes of some."""
    tally, first = Tally(Counter(), []), 0
    while first < count:
        values, status = in_child(partial(read, range(first, count)), report)
        first += tally.add(name, values)
        if status:
            tally.counts["fault"] += 1
            tally.faults.append(f"{name} {first}: {death(status)}")
            first += 1
    print(f"{name}: {_line_of(tally)}", flush=True)
    return tally


def fuzz(target: Target, seed_number: int, count: int, report: Path) -> Tally:
    """Read `count` changed inputs of a target."""
    originals = contents(target)
    read = partial(outcomes, target, originals, seed_number)
    tally = read_all(target.name, read, count, report)
    restore(target, originals)
    return tally


def campaign(folder: Path, count: int, seed_number: int, run: Path | None = None) -> dict:
    """Read about `count` inputs of all targets; return the tallies by target."""
    targets, report = make_targets(folder, run), folder / "report.jsonl"
    share = -(-count // (len(targets) + len(DRAWN)))
    found = {}
    for target in targets:
        found[target.name] = fuzz(target, seed_number, share, report)
    for name in DRAWN:
        inputs = draw_inputs(name, seed_number, share)
        read = partial(drawn_outcomes, name, folder / f"drawn {name}", inputs)
        found[name] = read_all(name, read, len(inputs), report)
    return found


def _line_of(tally: Tally) -> str:
    counts = ", ".join(f"{name} {n:,}" for name, n in sorted(tally.counts.items()))
    return f"{counts}; slowest {tally.slowest:.2f} s; peak {tally.peak_mib:,.0f} MiB"


def giants(folder: Path) -> dict[str, Tally]:
    """Read the large inputs, each in a process of its own."""
    found = {}
    for number, (name, (file, write, read)) in enumerate(GIANTS.items()):
        place = folder / f"giant {number}"
        place.mkdir()
        write(place / file)

        def work(place: Path = place, read: Callable = read) -> Iterator[tuple[int, str, float]]:
            started = time.process_time()
            yield 0, outcome(lambda: read(place)), time.process_time() - started

        limits = (ROWS_SECONDS, 10 * ROWS_SECONDS) if "million" in name else (SECONDS, PATIENCE)
        values, status = in_child(work, folder / "report.jsonl", limits[1])
        found[name] = Tally(Counter(), [])
        found[name].add(name, values, limits[0])
        if status:
            found[name].counts["fault"] += 1
            found[name].faults.append(f"{name}: {death(status)}")
        print(f"{name}: {_line_of(found[name])}", flush=True)
        shutil.rmtree(place)
    return found


def main() -> int:
    """Run a campaign; return 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="inputs, over all targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--giants", action="store_true", help="read the large inputs instead")
    parser.add_argument("--run", type=Path, help="run folder to damage; default: train one")
    parser.add_argument("--out", type=Path, help="JSON file of the result")
    arguments = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SCALE_CACHE"] = f"{folder}/cache"
        place = Path(folder)
        found = giants(place) if arguments.giants else campaign(
            place, arguments.count, arguments.seed, arguments.run
        )  # fmt: skip
    faults = [fault for tally in found.values() for fault in tally.faults]
    total = sum((tally.counts for tally in found.values()), Counter())
    print(f"{sum(total.values()):,} inputs in {time.perf_counter() - started:.0f} s: {dict(total)}")
    print("\n".join(faults))
    if arguments.out:
        result = {name: vars(tally) for name, tally in found.items()}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        facts = {"seed": arguments.seed, "count": arguments.count, "targets": result}
        arguments.out.write_text(json.dumps(facts, indent=1, default=dict))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
