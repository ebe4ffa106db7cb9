"""A whole training step at the paper's scale: products per second, peak memory, utilisation.

    python benchmarks/train_step.py --device cpu     about 15 minutes on two cores
    python benchmarks/train_step.py --device cuda    one GPU: eager and compiled, batch 64 to 2,048
    python benchmarks/train_step.py --table          docs/performance.md from the results

Trains on random products in a preset's shapes. A step is everything from collation to the
optimizer, as in `scale pretrain`, with SCALE's loss (S' on the loss). Each measurement is written
to benchmarks/results/train_step-DEVICE.json when it is finished, and replaces an older one with the
same settings. A batch that does not fit into memory is recorded as such. On the CPU each
measurement runs in its own process, whose growth is the peak memory. B products.
"""

import argparse
import gc
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from random_products import MISSING, Missing, RandomProducts, masked_products, presence
from roofline import Machine, count_flops, floor_of, seconds
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import ProfilerActivity, profile
from train_step_tables import keep, results_file, write_tables
from twin import TwinStepper

from scale.config import PRESETS, Config, LossConfig, MissingConfig
from scale.evaluation.report import provenance
from scale.model.scale import ScaleModel
from scale.training.out_of_memory import is_out_of_memory
from scale.training.run import seeded_model
from scale.training.trainer import Trainer

GIB = 2**30
WARM_UP = {"eager": 1, "compiled": 3}
"""Unmeasured steps: they create the optimizer's state and compile for varying sizes."""
COUNTED = 20
"""Largest number of products whose operations are counted; enough for the shares of m5product."""
LOSS = LossConfig(weight_on="loss", weight_uniform_share=0.0)
"""SCALE as described in the paper: S' weights the loss."""


@dataclass(frozen=True)
class Setting:
    """Settings of one measurement."""

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    mode: Literal["eager", "compiled", "twin"]
    """`twin`: the reference implementation (always fp32, eager) compared with our fastest mode on
    this device: fp32 eager on the CPU, bf16 compiled on CUDA."""
    batch: int
    missing: Missing = "complete"
    policy: Literal["zero", "skip", "learned"] = "skip"
    micro_batch: int = 0
    """As `train.micro_batch`: gradient caching."""
    preset: str = "base"
    steps: int = 3
    """Repeats; the median counts."""

    def config(self) -> Config:
        """The preset with SCALE's loss, for this device."""
        preset = PRESETS[self.preset]()
        train = replace(
            preset.train,
            batch_size=self.batch,
            micro_batch=self.micro_batch,
            steps=100_000,
            device=self.device,
            precision="no" if self.precision == "fp32" else self.precision,
            compile=self.mode == "compiled",
        )
        return replace(preset, train=train, loss=LOSS, missing=MissingConfig(self.policy))


def measure(setting: Setting, model: ScaleModel | None = None) -> dict[str, Any]:
    """Measure one setting. Raises `torch.OutOfMemoryError` if the batch does not fit.

    model: trained instead of a new one; compiled before if the mode is compiled or `twin`.
    """
    release_memory()
    before = psutil.Process().memory_info().rss
    started, load = time.perf_counter(), os.getloadavg()[0]
    machine = Machine.measure(setting.device, setting.precision)
    config, present_NM = setting.config(), presence(setting.missing, setting.batch)
    data = RandomProducts(config.model, present_NM)
    twin = setting.mode == "twin"
    if twin:
        found = _compare_with_twin(setting, data, model)
    else:
        found = _alone(setting, data, before, model)
    flops, parameters = count(setting)
    # The load of the machine varies: take the higher of the peaks measured before and after.
    machine = machine.or_better(Machine.measure(setting.device, setting.precision))
    floor = floor_of(machine, config, present_NM, flops * setting.batch, parameters)
    return asdict(setting) | found | {
        "step_ms": 1e3 * setting.batch / found["products_per_second"],
        "floor_operations_ms": 1e3 * floor.operations,
        "floor_traffic_ms": 1e3 * floor.traffic,
        "mfu": flops * found["products_per_second"] / machine.flops,
        "flops_per_product": flops,
        "peak_flops": machine.flops,
        "bandwidth": machine.bandwidth,
    } | facts(setting.device, started, load)  # fmt: skip


def failure(setting: Setting, reason: str) -> dict[str, Any]:
    """Record of a failed measurement."""
    nothing = dict.fromkeys(("products_per_second", "peak_memory_gib", "mfu"))
    started, load = time.perf_counter(), os.getloadavg()[0]
    return asdict(setting) | nothing | {"failed": reason} | facts(setting.device, started, load)


def profiled(setting: Setting) -> dict[str, Any]:
    """Profile one setting: milliseconds of one step by kind of operation."""
    started, load = time.perf_counter(), os.getloadavg()[0]
    config = setting.config()
    data = RandomProducts(config.model, presence(setting.missing, setting.batch))
    trainer = Trainer(config, seeded_model(config), data)
    for step in range(WARM_UP[setting.mode]):
        trainer.train_step(step)
    kinds = profile_step(lambda: trainer.train_step(WARM_UP[setting.mode]), setting.device)
    return asdict(setting) | {"ms": kinds} | facts(setting.device, started, load)


def count(setting: Setting) -> tuple[float, int]:
    """Operations per product of forward and backward pass, and the number of parameters."""
    release_memory()
    config, products = setting.config(), min(setting.batch, COUNTED)
    data = RandomProducts(config.model, presence(setting.missing, products))
    masked = masked_products(config, data).to(setting.device)
    model = seeded_model(config).to(setting.device).train()
    with torch.autocast(setting.device, torch.bfloat16, enabled=setting.precision == "bf16"):
        flops = count_flops(model, masked, config)[1]
    return flops, sum(p.numel() for p in model.parameters())


def trainer_of(config: Config, data: RandomProducts, model: ScaleModel | None = None) -> Trainer:
    """Return a trainer of a new model, or of one that is compiled already if it has to be."""
    if model is None:
        return Trainer(config, seeded_model(config), data)
    return Trainer(replace(config, train=replace(config.train, compile=False)), model, data)


def _alone(
    setting: Setting, data: RandomProducts, before: int, model: ScaleModel | None
) -> dict[str, Any]:
    config, warm_up = setting.config(), WARM_UP[setting.mode]
    trainer = trainer_of(config, data, model)
    if setting.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    for step in range(warm_up):
        seconds(lambda step=step: trainer.train_step(step), setting.device)
    set_up = time.perf_counter() - started
    times = [
        seconds(lambda step=step: trainer.train_step(step), setting.device)
        for step in range(warm_up, warm_up + setting.steps)
    ]
    return {
        "products_per_second": setting.batch / statistics.median(times),
        "slowest": setting.batch / max(times),
        "fastest": setting.batch / min(times),
        "peak_memory_gib": _peak(setting.device, before) / GIB,
        "warm_up_seconds": set_up,
    }


def _compare_with_twin(
    setting: Setting, data: RandomProducts, model: ScaleModel | None
) -> dict[str, Any]:
    """Alternate our step and the twin's in one process, with separate weights."""
    best = ("bf16", "compiled") if setting.device == "cuda" else ("fp32", "eager")
    ours = replace(setting, precision=best[0], mode=best[1])
    config = ours.config()
    trainer = trainer_of(config, data, model)
    twin = TwinStepper(config, seeded_model(config).to(setting.device), data)
    own, plain = [], []
    for step in range(WARM_UP[ours.mode] + setting.steps):
        own.append(seconds(lambda step=step: trainer.train_step(step), setting.device))
        plain.append(seconds(lambda step=step: twin.step(step), setting.device))
    own, plain = own[-setting.steps :], plain[-setting.steps :]
    ratios = [slow / fast for fast, slow in zip(own, plain, strict=True)]
    return {
        "products_per_second": setting.batch / statistics.median(plain),
        # Two models share the process, so the memory would be that of both.
        "peak_memory_gib": None,
        "ours": {
            "precision": ours.precision,
            "mode": ours.mode,
            "products_per_second": setting.batch / statistics.median(own),
        },
        "ratio": {
            "median": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
            "n": len(ratios),
        },
    }


def _peak(device: str, before: int) -> int:
    """Peak memory in bytes: of CUDA's allocator, or the maximum growth of the process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before


def facts(device: str, started: float, load: float) -> dict[str, Any]:
    """Provenance of a record."""
    name = torch.cuda.get_device_name() if device == "cuda" else _processor()
    origin = provenance(0, started, name)
    return {
        "device_name": name,
        "threads": torch.get_num_threads(),
        "load": load,
        "versions": origin["versions"] | {"cuda": torch.version.cuda},
        "commit": origin["commit"],
        "dirty": origin["dirty"],
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": origin["seconds"],
    }


def _processor() -> str:
    """Name of the processor (if Linux reports it), number of cores, and AMX support."""
    about, name = Path("/proc/cpuinfo"), platform.machine()
    if about.is_file() and (found := re.search(r"model name\s*: (.+)", about.read_text())):
        name = found[1]
    matrix = ", AMX" if torch.cpu._is_amx_tile_supported() else ""
    return f"{name}, {os.cpu_count()} cores{matrix}"


def release_memory() -> None:
    """Release unused memory."""
    gc.collect()
    torch.cuda.empty_cache()


KINDS = {
    "optimizer": r"adam|multi_tensor|_foreach_|linalg_vector_norm",
    "losses": r"log_?softmax|nll_loss|cross_entropy|mse_loss",
    "attention": r"scaled_dot_product|flash|fmha|attention|::bmm|::baddbmm|softmax|::isneginf",
    "matrix products": r"::mm$|::addmm$|mkldnn|gemm|nvjet|cutlass|xmma",
    "moving rows": r"index|embedding|::cat$|catarray|gather|scatter",
    "data and masking": r"::rand|sort|::isin|nonzero|pin_memory|memcpy|memset|cumsum|unique",
    "norm, GELU, dropout, sums, casts": r"layer_norm|gelu|dropout|bernoulli|triton|elementwise"
    r"|reduce|compiled|graph_\d|fused"
    r"|::(add|mul|div|sum|sub|mean|neg|pow|sqrt|copy|fill|zero|masked_fill|clamp|where)_?$",
}
"""Names of operations (CPU) or kernels (CUDA) by kind; the first match counts. Batched matrix
products count as attention, because those of the losses are small. On CUDA, the names of compiled
kernels contain `triton`."""
OTHER, IDLE = "other operations", "host: Python and waiting"


def kind_of(name: str) -> str:
    """Return the first kind of `KINDS` that matches an operation's name."""
    found = (kind for kind, words in KINDS.items() if re.search(words, name.lower()))
    return next(found, OTHER)


def profile_step(step: Callable[[], object], device: str) -> dict[str, float]:
    """Milliseconds of one step by kind, largest first; their sum is the wall time."""
    activities = [ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        total = seconds(step, device)
    spent = spent_by_kind(profiler.key_averages(), device)
    spent[IDLE] = 1e3 * total - sum(spent.values())
    return dict(spent.most_common())


def spent_by_kind(events: Iterable[FunctionEventAvg], device: str) -> Counter[str]:
    """Milliseconds by kind of a profile's events.

    On the CPU: self time of the operations. On CUDA: time of the kernels; in the remaining time the
    device waits for the host (there is one stream, so nothing overlaps).
    """
    spent: Counter[str] = Counter()
    for event in events:
        if device == "cuda":
            # A named range, e.g. the optimizer step, contains kernels that are already counted.
            if event.device_type == DeviceType.CUDA and not event.is_user_annotation:
                spent[kind_of(event.key)] += event.self_device_time_total / 1e3
        elif event.key.startswith("aten::"):
            spent[kind_of(event.key)] += event.self_cpu_time_total / 1e3
    return spent


@dataclass(frozen=True)
class Grid:
    """Values whose combinations are measured."""

    precision: tuple[str, ...]
    mode: tuple[str, ...]
    batch: tuple[int, ...]
    missing: tuple[str, ...] = ("complete",)
    policy: tuple[str, ...] = ("skip",)


BATCHES = (64, 128, 256, 512, 1024, 2048)
SWEEPS = {
    "cpu": (
        Grid(("fp32", "bf16"), ("eager",), (16,), ("complete", "m5product")),
        Grid(("fp32", "bf16"), ("eager",), (16,), ("half",), ("skip", "learned", "zero")),
        Grid(("fp32", "bf16"), ("compiled",), (16,)),
        Grid(("fp32",), ("twin",), (8,)),
    ),
    "cuda": (
        Grid(("bf16",), ("eager", "compiled"), BATCHES, ("complete", "m5product")),
        Grid(("bf16",), ("compiled",), (512,), ("half",), ("skip", "learned", "zero")),
        Grid(("fp32",), ("twin",), (64, 256)),
    ),
}
"""Measurements by device, used if the command line selects no setting. If it does, the first grid
provides the other values. The policy has no effect on complete products."""
PROFILES = {
    "cpu": Grid(("fp32", "bf16"), ("eager",), (8,)),
    "cuda": Grid(("bf16",), ("eager", "compiled"), (256,)),
}
STEPS = {"cpu": 3, "cuda": 10}


def main() -> None:
    """Measure, print and write the results, or only write the tables."""
    arguments = parse()
    if arguments.table:
        print(f"written: {write_tables()}")
        return
    out = arguments.out or results_file(arguments.device)
    for grid in grids(arguments):
        for setting in settings(grid, arguments):
            record = run(measure, setting)
            keep(out, "measurements", record)
            print(line(record), flush=True)
    if arguments.profile:
        for setting in settings(PROFILES[arguments.device], arguments):
            record = run(profiled, setting)
            keep(out, "profiles", record)
            print(record.get("ms") or record["failed"], flush=True)
    print(f"written: {out}")


def grids(arguments: argparse.Namespace) -> tuple[Grid, ...]:
    """The device's sweep, or only the settings selected on the command line."""
    sweep = SWEEPS[arguments.device]
    names = (field.name for field in fields(Grid))
    named = {n: tuple(getattr(arguments, n)) for n in names if getattr(arguments, n)}
    return (replace(sweep[0], **named),) if named else sweep


def settings(grid: Grid, arguments: argparse.Namespace) -> list[Setting]:
    """All combinations of a grid; the reference implementation has one precision only."""
    found = [
        Setting(
            arguments.device, "fp32" if mode == "twin" else precision, mode, batch, missing,
            policy, arguments.micro_batch, arguments.preset,
            arguments.steps or STEPS[arguments.device],
        )
        for missing, policy, precision, mode, batch in product(
            grid.missing, grid.policy, grid.precision, grid.mode, grid.batch
        )
    ]  # fmt: skip
    return list(dict.fromkeys(found))


def run(measurement: Callable[[Setting], dict[str, Any]], setting: Setting) -> dict[str, Any]:
    """Run a measurement, on the CPU in its own process; record an out-of-memory error."""
    try:
        if setting.device == "cpu":
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                return pool.submit(measurement, setting).result()
        return measurement(setting)
    except BrokenProcessPool:
        return failure(setting, "the process was killed, probably out of memory")
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = "out of memory"
    release_memory()
    return failure(setting, reason)


def line(record: dict[str, Any]) -> str:
    """Format a measurement as one line."""
    names = ("precision", "mode", "missing", "policy", "batch")
    words = " ".join(f"{record[name]!s:>9}" for name in names)
    if record["products_per_second"] is None:
        return f"{words}  {record['failed']}"
    text = f"{words} {record['products_per_second']:9.2f}/s  MFU {record['mfu']:.0%}"
    if record["peak_memory_gib"] is not None:
        text += f"  {record['peak_memory_gib']:.1f} GiB"
    if "ratio" in record:
        ratio = record["ratio"]
        text += f"  ratio {ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
    return text


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--table", action="store_true", help="only write the tables of docs/performance.md")
    add("--device", choices=tuple(SWEEPS), default="cpu")
    add("--precision", nargs="+", choices=("fp32", "bf16"))
    add("--mode", nargs="+", choices=("eager", "compiled", "twin"))
    add("--batch", nargs="+", type=int, help="products per step")
    add("--missing", nargs="+", choices=MISSING)
    add("--policy", nargs="+", choices=("skip", "learned", "zero"))
    add("--micro-batch", type=int, default=0, help="as train.micro_batch: gradient caching")
    add("--preset", choices=tuple(PRESETS), default="base")
    add("--steps", type=int, help="repeats; the median is reported")
    add("--profile", action="store_true", help="also profile a step (default without settings)")
    add("--out", type=Path, help="results file")
    arguments = parser.parse_args()
    arguments.profile |= len(grids(arguments)) > 1
    return arguments


if __name__ == "__main__":
    main()
