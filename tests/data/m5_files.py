"""Synthetic files in the layout of M5Product, written as the authors' tools write them."""

import base64
import csv
import json

import lmdb
import msgpack
import numpy as np


def numpy_map(values):
    """The map of an array, as msgpack_numpy encodes it."""
    values = np.asarray(values)
    return {b"nd": True, b"type": values.dtype.str.encode(), b"kind": b"",
            b"shape": values.shape, b"data": values.tobytes()}  # fmt: skip


def lmdb_value(image_id, title, boxes, features, width, height):
    """The bytes of one record, as tensorpack dumps it."""
    record = [
        numpy_map(features),
        numpy_map(boxes),
        str(len(boxes)),
        height,
        width,
        image_id,
        title,
    ]
    return msgpack.dumps(record, use_bin_type=True)


def write_lmdb(path, values):
    """Write the bytes of records as one LMDB file, with tensorpack's keys."""
    keys = [b"%08d" % i for i in range(len(values))]
    with (
        lmdb.open(str(path), subdir=False, map_size=1 << 28, lock=False) as env,
        env.begin(write=True) as transaction,
    ):
        for key, value in zip(keys, values, strict=True):
            transaction.put(key, value)
        transaction.put(b"__keys__", msgpack.dumps(keys, use_bin_type=True))


def tsv_row(image_id, title, boxes, features, width, height):
    """The fields of one record of a region TSV."""
    coded = [base64.b64encode(a.astype("<f4").tobytes()).decode() for a in (boxes, features)]
    return [image_id, width, height, len(boxes), *coded, title]


def write_tsv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows(rows)


class Files:
    """N products: annotations for all; regions, video and audio for most; lists and classes."""

    def __init__(self, folder, count=12, features=8, regions="lmdb", start=0):
        self.folder, rng = folder, np.random.default_rng(0)
        self.ids = [f"6{i:011d}" for i in range(start, start + count)]
        names = ["kettle", "dress", "lamp"]
        for name in ("video", "audio"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        annotations, records = {}, []
        self.features, self.boxes, self.video, self.audio = {}, {}, {}, {}
        for i, name in enumerate(self.ids):
            kind = names[i % 3]
            pv = f"品牌#:#B{i % 5}#;#类型#:#{kind}" if i % 4 else "0"
            annotations[name] = {"title": f"红色 {kind} {i}", "pv": pv, "label": kind,
                                 "url": f"https://example.org/{name}"}  # fmt: skip
            if i % 6 != 5:
                n = 1 + i % 4
                corner = rng.uniform(0, 50, (n, 2))
                box = np.concatenate([corner, corner + rng.uniform(1, 50, (n, 2))], axis=1)
                self.boxes[name] = box.astype(np.float32)
                self.features[name] = rng.normal(size=(n, features)).astype(np.float32)
                title = f"红色 {kind} {i}" if i != 3 else "another title"
                records.append((name, title, self.boxes[name], self.features[name], 100, 200))
            if i % 3 == 0:
                self.video[name] = rng.normal(size=(2 + i % 3, 4)).astype(np.float16)
                np.save(folder / "video" / f"{name}.npy", self.video[name])
            if i % 3 == 1:
                self.audio[name] = rng.normal(size=(80, 6)).astype(np.float32)
                np.save(folder / "audio" / f"{name}.npy", self.audio[name])
        self.annotations = folder / "annotations.json"
        self.annotations.write_text(json.dumps(annotations, ensure_ascii=False), encoding="utf-8")
        self.records = records
        if regions == "lmdb":
            self.regions = folder / "regions.lmdb"
            write_lmdb(self.regions, [lmdb_value(*record) for record in records])
        else:
            self.regions = folder / "regions.tsv"
            write_tsv(self.regions, [tsv_row(*record) for record in records])
        self.classes = folder / "classes.json"
        self.classes.write_text(json.dumps(names))
        self.labels = {name: names[i % 3] for i, name in enumerate(self.ids)}
