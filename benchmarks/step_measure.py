"""One measurement of a training step: speed, memory, utilisation, beside what the machine could do.

B products.
"""

import gc
import os
import platform
import re
import resource
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from random_products import Missing, RandomProducts, masked_products, presence
from roofline import Machine, count_flops, floor_of, seconds
from step_profile import profile_step
from twin import TwinStepper

from scale.config import PRESETS, Config, LossConfig, MissingConfig
from scale.evaluation.report import provenance
from scale.training.run import seeded_model
from scale.training.trainer import Trainer

GIB = 2**30
WARM_UP = {"eager": 1, "compiled": 3}
"""Steps before the first that counts: the optimizer's state, and compiling for varying sizes."""
COUNTED = 20
"""Products, at most, whose operations are counted: as many as m5product's shares need."""
LOSS = LossConfig(weight_on="loss", weight_uniform_share=0.0)
"""SCALE as described: S' acts, on the loss."""


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    mode: Literal["eager", "compiled", "twin"]
    """`twin`: the reference (always fp32, eager) beside the best of ours on this device: fp32
    eager on the CPU, bf16 compiled on CUDA."""
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


def measure(setting: Setting) -> dict[str, Any]:
    """A record of the results file. `torch.OutOfMemoryError` where the batch does not fit."""
    forget()
    before = psutil.Process().memory_info().rss
    started, load = time.perf_counter(), os.getloadavg()[0]
    machine = Machine.measure(setting.device, setting.precision)
    config, present_NM = setting.config(), presence(setting.missing, setting.batch)
    data = RandomProducts(config.model, present_NM)
    twin = setting.mode == "twin"
    found = _beside_twin(setting, data) if twin else _alone(setting, data, before)
    flops, parameters = count(setting)
    # What else the machine does changes; the peak is the best that it gave before or after.
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
    """The record of what could not be measured."""
    nothing = dict.fromkeys(("products_per_second", "peak_memory_gib", "mfu"))
    started, load = time.perf_counter(), os.getloadavg()[0]
    return asdict(setting) | nothing | {"failed": reason} | facts(setting.device, started, load)


def profiled(setting: Setting) -> dict[str, Any]:
    """A record of the results file: milliseconds of one step by kind of operation."""
    started, load = time.perf_counter(), os.getloadavg()[0]
    config = setting.config()
    data = RandomProducts(config.model, presence(setting.missing, setting.batch))
    trainer = Trainer(config, seeded_model(config), data)
    for step in range(WARM_UP[setting.mode]):
        trainer.train_step(step)
    kinds = profile_step(lambda: trainer.train_step(WARM_UP[setting.mode]), setting.device)
    return asdict(setting) | {"ms": kinds} | facts(setting.device, started, load)


def count(setting: Setting) -> tuple[float, int]:
    """Operations of the forward and backward pass of a product of this missingness; parameters."""
    forget()
    config, products = setting.config(), min(setting.batch, COUNTED)
    data = RandomProducts(config.model, presence(setting.missing, products))
    masked = masked_products(config, data).to(setting.device)
    model = seeded_model(config).to(setting.device).train()
    with torch.autocast(setting.device, torch.bfloat16, enabled=setting.precision == "bf16"):
        flops = count_flops(model, masked, config)[1]
    return flops, sum(p.numel() for p in model.parameters())


def _alone(setting: Setting, data: RandomProducts, before: int) -> dict[str, Any]:
    config, warm_up = setting.config(), WARM_UP[setting.mode]
    trainer = Trainer(config, seeded_model(config), data)
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


def _beside_twin(setting: Setting, data: RandomProducts) -> dict[str, Any]:
    """Ours and the twin take turns in one process, each with weights of its own."""
    best = ("bf16", "compiled") if setting.device == "cuda" else ("fp32", "eager")
    ours = replace(setting, precision=best[0], mode=best[1])
    config = ours.config()
    trainer = Trainer(config, seeded_model(config), data)
    twin = TwinStepper(config, seeded_model(config).to(setting.device), data)
    own, plain = [], []
    for step in range(WARM_UP[ours.mode] + setting.steps):
        own.append(seconds(lambda step=step: trainer.train_step(step), setting.device))
        plain.append(seconds(lambda step=step: twin.step(step), setting.device))
    own, plain = own[-setting.steps :], plain[-setting.steps :]
    ratios = [slow / fast for fast, slow in zip(own, plain, strict=True)]
    return {
        "products_per_second": setting.batch / statistics.median(plain),
        # Two models share the process: this would be the memory of both.
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
    """Bytes: CUDA's allocator's largest sum; on the CPU, what the process has grown by at most."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before


def facts(device: str, started: float, load: float) -> dict[str, Any]:
    """Where a record comes from."""
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
    """The processor's name where Linux says it, its cores, and whether it multiplies bf16."""
    about, name = Path("/proc/cpuinfo"), platform.machine()
    if about.is_file() and (found := re.search(r"model name\s*: (.+)", about.read_text())):
        name = found[1]
    matrix = ", AMX" if torch.cpu._is_amx_tile_supported() else ""
    return f"{name}, {os.cpu_count()} cores{matrix}"


def forget() -> None:
    """Give back the memory of what this process has done before."""
    gc.collect()
    torch.cuda.empty_cache()
