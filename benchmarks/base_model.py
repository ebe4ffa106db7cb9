"""The paper-scale model: parameters, FLOPs per product, and parameters without a gradient.

    python benchmarks/base_model.py

Random data in the paper's shapes. PyTorch counts the FLOPs of the forward and backward pass.
"""

import torch
from random_products import RandomProducts, masked_products, presence
from roofline import count_flops

from scale.config import base
from scale.model.scale import ScaleModel

PRODUCTS = 4


def main() -> None:
    """Print parameters by part, FLOPs per product and step, and parameters without gradient."""
    config = base()
    torch.manual_seed(0)
    model = ScaleModel(config.model, config.missing).train()
    print(f"torch {torch.__version__}; preset base, policy {config.missing.policy}")
    parts = {"encoders": model.encoders, "poolers": model.poolers, "jct": model.jct,
             "heads": model.heads, "all": model}  # fmt: skip
    for name, part in parts.items():
        count = sum(p.numel() for p in part.parameters())
        print(f"parameters of {name:<9} {count / 1e6:7.1f} M")
    data = RandomProducts(config.model, presence("complete", PRODUCTS))
    counts = count_flops(model, masked_products(config, data), config)
    for name, flops in zip(("forward", "forward and backward"), counts, strict=True):
        print(f"{name}: {flops / 1e9:.1f} GFLOP per complete product")
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A key's bias shifts all logits of a query equally, so its gradient is 0.
    silent = [n for n in silent if not n.endswith("attention.self.key.bias")]
    print(f"parameters without a gradient: {silent or 'none'}")


if __name__ == "__main__":
    main()
