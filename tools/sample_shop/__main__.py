"""`python -m tools.sample_shop OUT [--seed 0] [--products 720] [--workers 1]`."""

import argparse
from pathlib import Path

from tools.sample_shop.build import build

parser = argparse.ArgumentParser(prog="python -m tools.sample_shop", description=__doc__)
parser.add_argument("out", type=Path, help="folder to write the catalogue into")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--products", type=int, default=720)
parser.add_argument("--workers", type=int, default=1, help="processes that render")

if __name__ == "__main__":
    chosen = parser.parse_args()
    build(chosen.out, chosen.seed, chosen.products, chosen.workers)
