"""Baselines for SCALE on a catalogue: simple features with logistic regression and CCA.

    python benchmarks/sample_baselines.py data_samples

Prints for the test split: accuracy of the category from each modality alone (on the products that
have it) and from all five, the share of the most frequent category, and Recall@10 of retrieving
another modality of the same product by CCA, with chance. N products, F features.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import av
import numpy as np
from PIL import Image
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from scale.modalities import MODALITIES


def load(folder: Path) -> list[dict]:
    """Read the records of products.jsonl."""
    lines = (folder / "products.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def gradients(gray_HW: np.ndarray, cells: int) -> np.ndarray:
    """Histograms of oriented gradients (9 directions) on a grid of cells, each L2-normalised."""
    dy, dx = np.gradient(gray_HW)
    strength, angle = np.hypot(dx, dy), np.arctan2(dy, dx) % np.pi
    bins = np.minimum((angle / np.pi * 9).astype(int), 8)
    side = gray_HW.shape[0]
    where = np.arange(side) * cells // side
    flat = (where[:, None] * cells + where[None]) * 9 + bins
    hist = np.bincount(flat.ravel(), strength.ravel(), cells * cells * 9).reshape(-1, 9)
    return (hist / (np.linalg.norm(hist, axis=1, keepdims=True) + 0.5)).ravel()


def image_features(image: Image.Image) -> np.ndarray:
    """Features of a picture: gradients, small grey picture and colour histogram."""
    small = np.asarray(image.convert("RGB").resize((64, 64)), float) / 255
    colour = (small[8:56, 8:56] * 3.999).astype(int) @ (16, 4, 1)
    hist = np.sqrt(np.bincount(colour.ravel(), minlength=64) / colour.size)
    tiny = np.asarray(image.convert("L").resize((12, 12)), float).ravel() / 255
    return np.concatenate([gradients(small.mean(axis=2), 8), tiny, 2 * hist])


def video_features(path: Path) -> np.ndarray:
    """Features of a clip: three frames, and the change between frames by place and time."""
    with av.open(str(path)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    gray = np.stack([np.asarray(f.convert("L").resize((16, 16)), float) / 255 for f in frames])
    change = np.abs(np.diff(gray, axis=0))
    over_time = np.interp(np.linspace(0, 1, 8), np.linspace(0, 1, len(change)), change.mean((1, 2)))
    parts = [image_features(frames[k]) for k in (0, len(frames) // 2, -1)]
    return np.concatenate([*parts, 5 * change.mean(axis=0).ravel(), 20 * over_time])


def audio_features(path: Path) -> np.ndarray:
    """Features of a sound: mean, spread and maximum of 48 log bands, and decay of the envelope."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
    with av.open(str(path)) as container:
        frames = [f for chunk in container.decode(audio=0) for f in resampler.resample(chunk)]
        frames += resampler.resample(None)
    wave = np.concatenate([f.to_ndarray()[0] for f in frames])
    windows = np.lib.stride_tricks.sliding_window_view(wave, 512)[::160] * np.hanning(512)
    power = np.abs(np.fft.rfft(windows)) ** 2
    edges = np.unique(np.geomspace(2, 257, 49).astype(int))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-6)
    level = np.sort(bands.mean(axis=1))[::-1]
    decay = np.interp(np.linspace(0, 1, 16), np.linspace(0, 1, len(level)), level)
    return np.concatenate([bands.mean(0), bands.std(0), bands.max(0), decay - decay[0]])


def features(folder: Path, records: list[dict]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By modality: indices of the products that have it, and their features (dense, scaled)."""
    train = np.array([r["split"] == "train" for r in records])
    read = {
        "text": lambda r: r["title"].lower(),
        "table": lambda r: " ; ".join(f"{a}: {v}" for a, v in r["table"]).lower(),
        "image": lambda r: image_features(Image.open(folder / r["image"])),
        "video": lambda r: video_features(folder / r["video"]),
        "audio": lambda r: audio_features(folder / r["audio"]),
    }
    made = {}
    for modality in MODALITIES:
        key = "title" if modality == "text" else modality
        index = np.flatnonzero([r[key] is not None for r in records])
        values = [read[modality](records[k]) for k in index]
        fit = train[index]
        if modality in ("text", "table"):
            words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
            words.fit([v for v, f in zip(values, fit, strict=True) if f])
            made[modality] = index, words.transform(values).toarray() * 4
        else:
            raw = np.stack(values)
            scaled = StandardScaler().fit(raw[fit]).transform(raw)
            made[modality] = index, scaled / np.sqrt(scaled.shape[1]) * 4
    return made


def classify(records: list[dict], made: dict) -> dict[str, tuple[float, int]]:
    """Test accuracy on the category: each modality alone, then all (zeros where one is missing)."""
    label = np.array([r["category"] for r in records])
    test = np.array([r["split"] == "test" for r in records])
    train = np.array([r["split"] == "train" for r in records])
    scores = {}
    blocks = {m: np.zeros((len(records), values.shape[1])) for m, (_, values) in made.items()}
    for m, (index, values) in made.items():
        blocks[m][index] = values
        scores[m] = _accuracy(values, label[index], train[index], test[index])
    scores["all"] = _accuracy(np.hstack(list(blocks.values())), label, train, test)
    complete = np.bincount(np.concatenate([index for index, _ in made.values()])) == 5
    whole = np.hstack(list(blocks.values()))
    scores["all, of products with all"] = _accuracy(whole, label, train, test & complete)
    return scores


def _accuracy(values_NF, label_N, train_N, test_N) -> tuple[float, int]:
    model = LogisticRegression(C=100.0, max_iter=2000).fit(values_NF[train_N], label_N[train_N])
    return float(model.score(values_NF[test_N], label_N[test_N])), int(test_N.sum())


def directions(records: list[dict], made: dict, size: int = 24) -> dict[str, tuple[float, float]]:
    """Recall@10 of the same product's other modality by CCA on the test split, and chance level."""
    split = np.array([r["split"] for r in records])
    found = {}
    for i, a in enumerate(MODALITIES):
        for b in MODALITIES[i + 1 :]:
            both, at_a, at_b = np.intersect1d(made[a][0], made[b][0], return_indices=True)
            x, y = made[a][1][at_a], made[b][1][at_b]
            fit, test = split[both] == "train", split[both] == "test"
            x, y = (PCA(60, random_state=0).fit(v[fit]).transform(v) for v in (x, y))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                u, v = CCA(size, max_iter=300).fit(x[fit], y[fit]).transform(x[test], y[test])
            u, v = (w / np.linalg.norm(w, axis=1, keepdims=True) for w in (u, v))
            chance = min(1.0, 10 / test.sum())
            for name, score in ((f"{a}->{b}", u @ v.T), (f"{b}->{a}", v @ u.T)):
                rank = (score > np.diag(score)[:, None]).sum(axis=1)
                found[name] = float((rank < 10).mean()), chance
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    records = load(folder)
    made = features(folder, records)
    counts = {m: len(index) / len(records) for m, (index, _) in made.items()}
    print("share of products that have it:", {m: round(c, 2) for m, c in counts.items()})
    top = max(np.unique([r["category"] for r in records], return_counts=True)[1]) / len(records)
    print(f"most frequent category: {top:.2f}")
    for name, (accuracy, n) in classify(records, made).items():
        print(f"{name:28s} accuracy {accuracy:.3f}  (n = {n})")
    for name, (recall, chance) in sorted(directions(records, made).items()):
        print(f"{name:16s} R@10 {recall:.3f}  chance {chance:.3f}")


if __name__ == "__main__":
    sys.exit(main())
