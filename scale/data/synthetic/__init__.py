"""A small online shop, made from a seed: products with text, table, image, video and audio.

`python -m scale.data.synthetic OUT --seed 0` writes the catalogue that ships as `data_samples/`.
"""

from scale.data.synthetic.build import build

__all__ = ["build"]
