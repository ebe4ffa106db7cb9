"""SCALE: self-supervised pretraining of products with five modalities (Dong et al., CVPR 2022)."""

__version__ = "0.1.0"
