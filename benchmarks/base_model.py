"""The paper-scale model: parameters, FLOPs per product, and that every parameter gets a gradient.

    python benchmarks/base_model.py

Random data in the paper's shapes. FLOPs are counted by torch, forward and backward.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from scale.config import Config
from scale.data.batch import ProductBatch, Tokens
from scale.modalities import MODALITIES, SPECS, TASKS
from scale.model.scale import ScaleModel
from scale.objectives.masking import WordPieces, mask_batch
from scale.objectives.total import scale_loss
from scale.presets import base

PRODUCTS = 4


def random_batch(config: Config, products: int) -> ProductBatch:
    """Complete products with sequences of full length."""
    random = torch.Generator().manual_seed(0)
    tokens = {}
    for m in MODALITIES:
        length = config.model.length(m)
        padding_BL = torch.zeros(products, length, dtype=torch.bool)
        if SPECS[m].kind == "discrete":
            values = torch.randint(1000, 20_000, (products, length), generator=random)
        else:
            size = (products, length, config.model.feature_size(m))
            values = torch.randn(size, generator=random)
        tokens[m] = Tokens(values, padding_BL, torch.arange(products))
        if m == "table":
            tokens[m].entity_RL = (torch.arange(length) // 3).expand(products, -1).clone()
    present_BM = torch.ones(products, len(MODALITIES), dtype=torch.bool)
    return ProductBatch(tokens, present_BM, torch.arange(products))


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
    pieces = WordPieces(103, (0, 100, 101, 102, 103), config.model.vocab_size, 100)
    masked = mask_batch(random_batch(config, PRODUCTS), config.mask, pieces, (0,), TASKS)
    counts = {}
    with FlopCounterMode(display=False) as forward:
        output = model(masked.batch, masked.hidden)
        loss = scale_loss(output, masked, config.loss, progress=0.0)
    counts["forward"] = forward.get_total_flops()
    with FlopCounterMode(display=False) as backward:
        loss.total.backward()
    counts["forward and backward"] = counts["forward"] + backward.get_total_flops()
    for name, flops in counts.items():
        print(f"{name}: {flops / PRODUCTS / 1e9:.1f} GFLOP a complete product")
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A key's bias shifts all logits of a query alike: its gradient is 0 by mathematics.
    silent = [n for n in silent if not n.endswith("attention.self.key.bias")]
    print(f"parameters without a gradient: {silent or 'none'}")


if __name__ == "__main__":
    main()
