"""A small synthetic online shop: products with text, table, image, video and audio.

`python -m tools.sample_shop OUT --seed 0` writes the catalogue that ships as `data_samples/`.
"""

from tools.sample_shop.build import build

__all__ = ["build"]
