"""Features of public models: products per second of the package beside a plain loop.

    python benchmarks/features.py data_samples                            about 2 minutes
    python benchmarks/features.py --table                 the table of docs/backbones.md

The plain loop is written as in the tutorials of timm, transformers and PyAV: one product at a
time, `eval()`, `no_grad()`, `create_transform`, 8 frames of each clip, PyTorch's default threads.
Both start from files, with an empty cache and loaded models, use the models of the preset
`pretrained`, and run in turn, in one process. The package also hashes, checks and stores what it
computes. With OMP_NUM_THREADS=1, CPU time compares the work of one core, also on a busy machine;
products per second compare the use of all cores, on an idle one. Sounds have no model: log-mel
vectors, in the loop by transformers' `spectrogram`.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import numpy as np
import timm
import torch
from PIL import Image
from transformers import AutoModel, AutoTokenizer
from transformers.audio_utils import mel_filter_bank, spectrogram

from scale.config import FeatureConfig, pretrained
from scale.data.backbones import load_backbone
from scale.data.cache import FeatureCache, compute_text_features
from scale.data.catalogue import Catalogue
from scale.data.dataset import read_media
from scale.data.product import Product
from scale.data.tokenizer import write_table
from scale.data.weights import local_name
from scale.evaluation.report import provenance, write_json
from scale.modalities import CONTINUOUS, MODALITIES

RESULTS = Path(__file__).parent / "results" / "features.json"
NAMES = {"text": "titles", "table": "tables", "image": "images", "video": "clips of 8 frames",
         "audio": "sounds", "all": "all five"}  # fmt: skip


class PlainLoop:
    """Features of one product at a time."""

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        name = local_name("minilm")
        self.tokenizer = AutoTokenizer.from_pretrained(name)
        self.text_model = AutoModel.from_pretrained(name).eval()
        source = f"local-dir:{local_name('efficientnet-lite0')}"
        self.image_model = timm.create_model(source, pretrained=True, num_classes=0).eval()
        data = timm.data.resolve_model_data_config(self.image_model)
        self.transform = timm.data.create_transform(**data, is_training=False)
        rate, mels = config.sample_rate, config.mel_bins
        self.hop = int(rate * config.audio_seconds / config.audio_frames)
        self.filters = mel_filter_bank(1 + 2048, mels, 20.0, rate / 2, rate, mel_scale="slaney")

    @torch.no_grad()
    def features(self, product: Product, modality: str) -> Any:
        """Return the features of one modality of a product."""
        value = getattr(product, modality)
        return None if value is None else getattr(self, modality)(value)

    def text(self, title: str) -> torch.Tensor:
        """Vectors of the word pieces of a title."""
        inputs = self.tokenizer(title, truncation=True, max_length=38, return_tensors="pt")
        return self.text_model(**inputs).last_hidden_state[0, 1:-1]

    def table(self, table: Any) -> torch.Tensor:
        """Vectors of the word pieces of a table."""
        inputs = self.tokenizer(
            write_table(table)[0], truncation=True, max_length=66, return_tensors="pt"
        )
        return self.text_model(**inputs).last_hidden_state[0, 1:-1]

    def image(self, path: Path) -> torch.Tensor:
        """Mean vectors of four regions of an image."""
        picture = Image.open(path).convert("RGB")
        features = self.image_model.forward_features(self.transform(picture)[None])
        return torch.nn.functional.adaptive_avg_pool2d(features, 2)

    def video(self, path: Path) -> torch.Tensor:
        """Vectors of eight frames of a clip."""
        with av.open(str(path)) as container:
            frames = [frame.to_image() for frame in container.decode(video=0)]
        count = min(8, len(frames))
        chosen = [frames[(2 * t + 1) * len(frames) // (2 * count)] for t in range(count)]
        return self.image_model(torch.stack([self.transform(frame) for frame in chosen]))

    def audio(self, path: Path) -> np.ndarray:
        """Log-mel vectors of the beginning of a sound."""
        rate, seconds = self.config.sample_rate, self.config.audio_seconds
        with av.open(str(path)) as container:
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
            blocks = [
                block.to_ndarray()[0]
                for frame in [*container.decode(audio=0), None]
                for block in resampler.resample(frame)
            ]
        sound = np.concatenate(blocks)[: round(seconds * rate)].astype(np.float64)
        window = np.hanning(2 * self.hop + 1)[:-1]
        return spectrogram(
            sound, window / window.sum(), frame_length=len(window), hop_length=self.hop,
            fft_length=4096, power=2.0, pad_mode="constant", mel_filters=self.filters,
            log_mel="dB",
        )  # fmt: skip


def ours(catalogue: Catalogue, config: FeatureConfig, modality: str) -> None:
    """Compute the features of one modality, or `all`, into an empty cache."""
    wanted = MODALITIES if modality == "all" else (modality,)
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder)
        for m in ("text", "table"):
            if m in wanted:
                values = [v for p in catalogue if (v := getattr(p, m)) is not None]
                compute_text_features(m, values, config, cache)
        media = [m for m in CONTINUOUS if m in wanted]
        if media:
            read_media(catalogue, config, None, cache=cache, modalities=media)


def plain(loop: PlainLoop, catalogue: Catalogue, modality: str) -> None:
    """Compute the same by the plain loop."""
    wanted = MODALITIES if modality == "all" else (modality,)
    for product in catalogue:
        for m in wanted:
            loop.features(product, m)


def seconds(function: Callable[[], None]) -> tuple[float, float]:
    """Return wall-clock and CPU seconds."""
    started, used = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - started, time.process_time() - used


def measure(folder: Path, products: int, repeats: int) -> dict[str, Any]:
    """Measure every modality of evenly spaced products of a catalogue."""
    whole = Catalogue.open(folder)
    step = max(1, len(whole.products) // products)
    # Without content hashes in the record, so that the package computes them as well.
    chosen = tuple(replace(p, content={}) for p in whole.products[::step][:products])
    catalogue = replace(whole, products=chosen)
    config = replace(pretrained().features, text_length=36, table_length=64)
    loop = PlainLoop(config)
    for m in ("text", "image"):
        load_backbone(m, config)
    # First calls create kernels.
    few = replace(catalogue, products=chosen[:4])
    ours(few, config, "all")
    plain(loop, few, "all")
    results: dict[str, Any] = {}
    for m in (*MODALITIES, "all"):
        count = sum(m == "all" or getattr(p, m) is not None for p in chosen)
        if not count:
            continue
        pairs = [
            (
                seconds(lambda m=m: plain(loop, catalogue, m)),
                seconds(lambda m=m: ours(catalogue, config, m)),
            )
            for _ in range(repeats)
        ]
        ratios = [slow[0] / fast[0] for slow, fast in pairs]
        results[m] = {
            "products": count,
            "plain_per_second": count / statistics.median(slow[0] for slow, _ in pairs),
            "ours_per_second": count / statistics.median(fast[0] for _, fast in pairs),
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "plain_cpu_ms": 1e3 * statistics.median(slow[1] for slow, _ in pairs) / count,
            "ours_cpu_ms": 1e3 * statistics.median(fast[1] for _, fast in pairs) / count,
        }
        print(folder.name, m, json.dumps(results[m]), flush=True)
    return results


def table(found: dict[str, Any]) -> str:
    """Return the table of docs/backbones.md."""
    head = ("catalogue", "features", "products", "plain loop, CPU ms", "package, CPU ms", "ratio",
            "plain loop, products/s", "package, products/s", "ratio")  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, results in found.items():
        for m, one in results["features"].items():
            slow, fast = one["plain_cpu_ms"], one["ours_cpu_ms"]
            lines.append(
                f"| {name} | {NAMES[m]} | {one['products']} | {slow:.0f} | {fast:.0f} | "
                f"{slow / fast:.1f} | {one['plain_per_second']:.1f} | "
                f"{one['ours_per_second']:.1f} | {one['ratio']:.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("catalogues", nargs="*", type=Path)
    parser.add_argument("--products", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the table of the results")
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(args.out.read_text())))
        return
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    for folder in args.catalogues:
        started, before = time.perf_counter(), os.getloadavg()[0]
        threads = torch.get_num_threads()
        found[f"{folder.name}, {threads} thread{'s' * (threads > 1)}"] = {
            "features": measure(folder, args.products, args.repeats),
            "repeats": args.repeats,
            "threads": threads,
            "cores": os.cpu_count(),
            "load_before_and_after": [before, os.getloadavg()[0]],
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "provenance": provenance(seed=0, started=started),
        }
        write_json(args.out, found)


if __name__ == "__main__":
    main()
