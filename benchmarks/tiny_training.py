"""Training speed of the tiny preset on a catalogue: steps and products per second.

python benchmarks/tiny_training.py data_samples
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from scale.config import tiny
from scale.data.catalogue import Catalogue, with_splits
from scale.data.tokenizer import train_tokenizer
from scale.training.run import build_dataset, fit_vocabulary, seeded_model
from scale.training.trainer import Trainer

STEPS = 30


def main() -> None:
    """Print the median speed of `STEPS` steps after three warm-up steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("catalogue", type=Path)
    catalogue = with_splits(Catalogue.open(parser.parse_args().catalogue)).split("train")
    tokenizer = train_tokenizer(catalogue.products, tiny().features.vocab_size)
    config = fit_vocabulary(tiny(), tokenizer)
    data = build_dataset(catalogue, config, tokenizer, None)
    trainer = Trainer(config, seeded_model(config), data)
    times = []
    for step in range(STEPS + 3):
        started = time.perf_counter()
        trainer.train_step(step)
        times.append(time.perf_counter() - started)
    median = statistics.median(times[3:])
    parameters = sum(p.numel() for p in trainer.model.parameters())
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {trainer.device}")
    print(f"{parameters / 1e6:.2f} M parameters, batch {config.train.batch_size}")
    print(f"{1 / median:.2f} steps/s, {config.train.batch_size / median:.0f} products/s")


if __name__ == "__main__":
    main()
