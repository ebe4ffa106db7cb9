"""Predicted time of a training step on one H200, from operations counted on the CPU.

    python benchmarks/predict_gpu.py            print both tables
    python benchmarks/predict_gpu.py --write    write them into docs/performance.md

A real bf16 step of `base` runs on the CPU with two batch sizes. Every dispatched operation (a
kernel on CUDA, views excepted) is counted with its matrix operations and with the bytes of its
arguments and results; per product, the difference of both counts. Operations of a product are those
that train_step.py counted. Attention runs without dropout,
because PyTorch's CPU kernel has none: as on CUDA it is then one operation.

The second table counts the different shapes in 100 steps, and what rounding them up would cost.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from random_products import RandomProducts, presence
from roofline import DATA_SHEET, Machine, floor_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from train_step import WARM_UP, Setting, kind_of
from train_step_tables import PAGE, results_file, write_between

from scale.config import base
from scale.data.batch import TokenLayout
from scale.losses.masking import WordPieces, mask_batch
from scale.modalities import CONTINUOUS, MODALITIES
from scale.model.packing import CUDA_OVERHEAD, pack
from scale.training.run import seeded_model
from scale.training.trainer import Trainer

BANDWIDTH, LAUNCH = 4.8e12, 5e-6
"""Bytes/s by the data sheet of the H200, and seconds of the host to start a kernel."""
REACHED = 0.7
"""Share of the peak that large matrix products reach on Hopper (assumed)."""
COUNTED = (2, 4)
"""Batches whose operations are counted."""
SHOWN = (64, 256, 512)
BEGIN, END = "<!-- predicted: begin -->", "<!-- predicted: end -->"
KERNELS = dict.fromkeys(("_to_copy", "clone", "stack", "zeros_like", "new_zeros"), "copy_")
"""Operations that a profile shows as one of others."""
FREE = ("empty", "_unsafe_view", "detach", "lift_fresh", "_local_scalar_dense", "item")
"""Operations without a kernel that are no views by their schema."""


@dataclass
class Counts:
    """Sums over the operations of one kind."""

    kernels: float = 0
    flops: float = 0
    bytes: float = 0


class OperationCounter(TorchDispatchMode):
    """Counts operations by kind, with matrix operations and bytes read and written."""

    def __init__(self):
        super().__init__()
        self.kinds: dict[str, Counts] = defaultdict(Counts)

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        found = function(*arguments, **keywords)
        name = str(function).removeprefix("aten.")
        if is_view(function) or name.startswith(FREE):
            return found
        word = name.partition(".")[0]
        counts = self.kinds[kind_of(f"aten::{KERNELS.get(word, word)}")]
        counts.kernels += 1
        counts.bytes += sum(
            t.nbytes for t in tree_leaves((arguments, keywords, found)) if isinstance(t, Tensor)
        )
        if (formula := flop_registry.get(function.overloadpacket)) is not None:
            counts.flops += formula(*arguments, **keywords, out_val=found)
        return found


def is_view(function: Any) -> bool:
    """Return whether an operation returns a view of an argument."""
    aliases = (a.alias_info for a in function._schema.arguments)
    return any(alias is not None and not alias.is_write for alias in aliases)


def count_steps(setting: Setting) -> tuple[list[dict[str, Counts]], int]:
    """Count the operations of a step by kind for each of `COUNTED`, and the parameters."""
    config, found = setting.config(), []
    model = without_attention_dropout(seeded_model(config))
    for batch in COUNTED:
        config = replace(setting, batch=batch).config()
        data = RandomProducts(config.model, presence(setting.missing, batch))
        trainer = Trainer(config, model, data)
        # PyTorch's dropout, as on CUDA.
        trainer.dropout = nullcontext
        for step in range(WARM_UP["eager"]):
            trainer.train_step(step)
        # Products are collated and masked on the host.
        batches = trainer._masked_batches(WARM_UP["eager"], [slice(0, batch)])
        trainer._masked_batches = lambda *_, batches=batches: batches
        with OperationCounter() as counter:
            trainer.train_step(WARM_UP["eager"])
        found.append(counter.kinds)
    return found, sum(p.numel() for p in model.parameters())


def without_attention_dropout(model: torch.nn.Module) -> torch.nn.Module:
    """Switch the dropout of attention weights off."""
    for module in model.modules():
        if hasattr(module, "attn_drop"):
            module.attn_drop.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
        if type(module).__name__ == "BertSelfAttention":
            module.dropout.p = 0.0
    return model


def at_batch(small: dict[str, Counts], large: dict[str, Counts], batch: int) -> dict[str, Counts]:
    """Extrapolate the counts to a batch: operations and bytes are linear in it."""
    few, many = COUNTED

    def line(first: float, second: float) -> float:
        return first + (second - first) * (batch - few) / (many - few)

    return {
        kind: Counts(
            large[kind].kernels,
            line(small[kind].flops, large[kind].flops),
            line(small[kind].bytes, large[kind].bytes),
        )
        for kind in large
    }


def busy(counts: Counts) -> float:
    """Return seconds of the device: its operations or its traffic, whichever takes longer."""
    return max(counts.flops / DATA_SHEET, counts.bytes / BANDWIDTH)


def predicted() -> Iterator[str]:
    """Yield the paragraphs of the prediction."""
    setting = Setting("cpu", "bf16", "eager", COUNTED[1])
    (small, large), parameters = count_steps(setting)
    at = at_batch(small, large, 256)
    total = Counts(
        *(sum(getattr(c, n) for c in at.values()) for n in ("kernels", "flops", "bytes"))
    )
    head = ("a step of 256, eager", "kernels", "launches, ms", "operations, ms", "traffic, ms")
    rows = [
        [kind, f"{c.kernels:,.0f}", *(f"{1e3 * s:,.1f}" for s in
         (c.kernels * LAUNCH, c.flops / DATA_SHEET, c.bytes / BANDWIDTH))]
        for kind, c in [*sorted(at.items(), key=lambda item: -busy(item[1])), ("total", total)]
    ]  # fmt: skip
    yield markdown(head, rows)

    rows = []
    for missing in ("complete", "half"):
        flops = flops_per_product(missing)
        for batch in SHOWN:
            at = at_batch(small, large, batch)
            launches = sum(c.kernels for c in at.values()) * LAUNCH
            floor = floor_of(
                Machine(DATA_SHEET, BANDWIDTH), setting.config(), presence(missing, batch),
                flops * batch, parameters,
            )  # fmt: skip
            fused = floor.operations / REACHED + floor.traffic
            eager = max(launches, sum(map(busy, at.values()))) if missing == "complete" else None
            rows.append([
                missing, f"{batch}", f"{1e3 * launches:.0f}", f"{1e3 * eager:.0f}" if eager else "",
                f"{1e3 * floor.operations:.0f}", f"{1e3 * floor.traffic:.0f}",
                f"{1e3 * fused:.0f}", f"{batch / fused:,.0f}",
                f"{flops * batch / fused / DATA_SHEET:.0%}",
            ])  # fmt: skip
    head = ("missing", "batch", "launches, ms", "eager step, ms", "fused: operations, ms",
            "traffic, ms", f"step at {REACHED:.0%} of the peak, ms", "products/s",
            "of 989 TFLOP/s")  # fmt: skip
    yield markdown(head, rows)


def flops_per_product(missing: str) -> float:
    """Return the operations counted by `train_step.py`, of a product of `base`."""
    records = json.loads(results_file("cpu").read_text(encoding="utf-8"))["measurements"]
    return next(
        r["flops_per_product"]
        for r in records
        if (r["preset"], r["missing"], r["policy"], r["mode"]) == ("base", missing, "skip", "eager")
    )


@dataclass
class Shapes:
    """Shapes of the steps, and padded by total tokens."""

    exact: set[tuple] = field(default_factory=set)
    rounded: set[tuple] = field(default_factory=set)
    used: int = 0
    padded: int = 0
    bucketed: int = 0
    groups: int = 0


def step_shapes(missing: str, batch: int, steps: int) -> Shapes:
    """Collect the shapes of encoder inputs, packed groups and masked positions over some steps."""
    config = base()
    narrow = replace(config.model, image_features=4, video_features=4)
    data = RandomProducts(replace(narrow, audio_features=4), presence(missing, 16 * batch))
    # Not the seed of `presence`: its permutation would be the same.
    random, found = np.random.default_rng(1), Shapes()
    pieces = WordPieces.of(data.tokenizer)
    for step in range(steps):
        rows = random.permutation(len(data))[:batch]
        masked = mask_batch(data.collate(rows), config.mask, pieces, (0, step), config.loss.tasks)
        layouts, positions = {}, {}
        shape, rounded = [], []
        for m, tokens in masked.batch.tokens.items():
            added = int(m in CONTINUOUS)
            padding_RL = np.zeros((len(tokens.rows_R), tokens.padding_RL.shape[1] + added), bool)
            layouts[m] = TokenLayout(tokens.rows_R.numpy(), padding_RL)
            position_N = masked.positions[m]
            length = tokens.padding_RL.shape[1]
            positions[m] = position_N + (position_N // length + 1) * added
            shape += [len(tokens.rows_R), len(position_N)]
            rounded += [up(len(tokens.rows_R), 32), up(len(position_N), 128)]
        packing = pack(
            layouts, batch, dict.fromkeys(MODALITIES, 0), positions,
            CUDA_OVERHEAD / config.model.width**2, torch.device("cpu"),
        )  # fmt: skip
        for group in packing.groups:
            (count, length), queries = group.source_BL.shape, group.query_BQ.shape[1]
            shape += [count, length, queries]
            wide = up(count, 32), up(length, 32), up(queries, 16)
            rounded += wide
            found.padded += count * length
            found.bucketed += wide[0] * wide[1]
        found.used += sum(layout.padding_RL.size for layout in layouts.values())
        found.groups += len(packing.groups)
        found.exact.add(tuple(shape))
        found.rounded.add(tuple(rounded))
    return found


def up(number: int, multiple: int) -> int:
    """Round up to a multiple."""
    return -(-number // multiple) * multiple


def shapes(steps: int = 100, batch: int = 256) -> Iterator[str]:
    """Yield the table of shapes."""
    rows = []
    for missing in ("complete", "m5product", "half"):
        found = step_shapes(missing, batch, steps)
        rows.append([
            missing, f"{len(found.exact)}", f"{found.groups / steps:.1f}",
            f"{found.padded / found.used - 1:.1%}", f"{len(found.rounded)}",
            f"{found.bucketed / found.used - 1:.1%}",
        ])  # fmt: skip
    yield markdown(
        (f"{steps} steps of {batch}", "different shapes", "groups of the JCT", "padding",
         "shapes, rounded up", "padding, rounded up"), rows,
    )  # fmt: skip


def markdown(head: tuple[str, ...], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write into docs/performance.md")
    arguments = parser.parse_args()
    text = "\n\n".join([*predicted(), *shapes()])
    print(text)
    if arguments.write:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
