"""The small DALL-E on a catalogue over several seeds: does the title help to write the picture?

    python benchmarks/generator.py data_samples --seeds 5 --out figures/studies

Writes generator-<catalogue>.json (every seed, with provenance), .md (means and 95 % t intervals)
and .png (what one of them draws). About 50 seconds a seed on two CPU cores.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from scale.data.catalogue import Catalogue, with_splits
from scale.data.features import fit_image
from scale.data.media import load_image
from scale.evaluation.report import provenance, write_json
from scale.files import write_whole
from scale.seeding import generator
from scale.studies.statistics import seed_interval
from scale.studies.systems.generator import (
    IMAGE_SIZE,
    GeneratorRun,
    GeneratorTraining,
    train_generator,
)
from scale.viz.products import generator_sheet
from scale.viz.theme import save_figure

ROWS, DRAWS = 5, 4


def draw(run: GeneratorRun, catalogue: Catalogue, lang: str = "en"):
    """Held-out products, their pictures in codes, and pictures written after their titles."""
    products = [p for p in catalogue.split("test").products if p.text and p.image][:ROWS]
    originals = [fit_image(load_image(p.image), IMAGE_SIZE) for p in products]
    text_BT = run.text([p.text for p in products])
    drawn = [
        run.model.generate(text_BT, 0.8, generator("cpu", draw)).numpy() for draw in range(DRAWS)
    ]
    return generator_sheet(
        [p.text for p in products],
        originals,
        [run.codebook.decode(run.codebook.encode(pixels)) for pixels in originals],
        [[run.codebook.decode(ids_BN[row]) for ids_BN in drawn] for row in range(len(products))],
        lang,
    )


def main() -> None:
    """Train all seeds, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    catalogue = with_splits(Catalogue.open(arguments.catalogue))
    runs = []
    for seed in range(arguments.seeds):
        started = time.perf_counter()
        run = train_generator(catalogue, GeneratorTraining(seed=seed))
        runs.append(asdict(run.bits) | {"provenance": provenance(seed, started)})
        print(runs[-1], flush=True)
    columns = {name: np.array([r[name] for r in runs]) for name in ("unigram", "model", "shuffled")}
    columns["shuffled - model"] = columns["shuffled"] - columns["model"]
    lines = ["| bits per image token, held-out pictures | mean | 95 % interval over seeds |",
             "|---|---|---|"]  # fmt: skip
    for name, values in columns.items():
        e = seed_interval(values)
        lines.append(f"| {name} | {e.value:.3f} | {e.low:.3f} to {e.high:.3f} |")
    stem = arguments.out / f"generator-{arguments.catalogue.resolve().name}"
    write_json(stem.with_name(f"{stem.name}.json"), {"runs": runs})
    write_whole(stem.with_name(f"{stem.name}.md"), "\n".join(lines) + "\n")
    save_figure(draw(run, catalogue), stem, ("png",))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
