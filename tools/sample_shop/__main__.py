"""`python -m tools.sample_shop OUT [--seed 0] [--products 720] [--workers 1] [--large test]`."""

import argparse
from pathlib import Path

from tools.sample_shop.build import build, write_large

parser = argparse.ArgumentParser(prog="python -m tools.sample_shop", description=__doc__)
parser.add_argument("out", type=Path, help="folder to write the catalogue into")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--products", type=int, default=720)
parser.add_argument("--workers", type=int, default=1, help="processes that render")
parser.add_argument("--large", metavar="SPLIT", help="only write larger pictures of a split")

if __name__ == "__main__":
    chosen = parser.parse_args()
    if chosen.large:
        write_large(chosen.out, chosen.seed, chosen.products, chosen.large)
    else:
        build(chosen.out, chosen.seed, chosen.products, chosen.workers)
