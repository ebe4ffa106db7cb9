"""A whole training step at the paper's scale: products a second, peak memory, utilisation.

    python benchmarks/train_step.py --device cpu     about 15 minutes on two cores
    python benchmarks/train_step.py --device cuda    one GPU: eager and compiled, batch 64 to 2,048
    python benchmarks/train_step.py --table          docs/performance.md from the results

Random products in a preset's shapes; a step is everything from collating to the optimizer, as
`scale pretrain` does it, with SCALE's loss (S' on the loss). Settings are measured one after the
other and written to benchmarks/results/train_step-DEVICE.json as they come; one that was measured
before is replaced. A batch for which there is no memory is recorded as such. On the CPU each
measurement has a process of its own, whose growth is the peak memory.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from random_products import MISSING
from step_measure import Setting, failure, forget, measure, profiled
from step_report import keep, results_file, write_tables

from scale.config import PRESETS
from scale.training.out_of_memory import is_out_of_memory


@dataclass(frozen=True)
class Grid:
    """Every combination of these is measured."""

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
"""What is measured where no setting is named; of the first, what is left out where one is. Where
nothing is missing, the policy makes no difference."""
PROFILES = {
    "cpu": Grid(("fp32", "bf16"), ("eager",), (8,)),
    "cuda": Grid(("bf16",), ("eager", "compiled"), (256,)),
}
STEPS = {"cpu": 3, "cuda": 10}


def main() -> None:
    """Measure, write and print; or make the tables."""
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
    """The device's sweep; where the command line names settings, those alone."""
    sweep = SWEEPS[arguments.device]
    names = (field.name for field in fields(Grid))
    named = {n: tuple(getattr(arguments, n)) for n in names if getattr(arguments, n)}
    return (replace(sweep[0], **named),) if named else sweep


def settings(grid: Grid, arguments: argparse.Namespace) -> list[Setting]:
    """All combinations of a grid; the reference has one precision only."""
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


def run(what: Callable[[Setting], dict[str, Any]], setting: Setting) -> dict[str, Any]:
    """On the CPU in a process of its own. Where memory is out, a record that says so."""
    try:
        if setting.device == "cpu":
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                return pool.submit(what, setting).result()
        return what(setting)
    except BrokenProcessPool:
        return failure(setting, "the process was killed, as where memory is out")
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = "out of memory"
    forget()
    return failure(setting, reason)


def line(record: dict[str, Any]) -> str:
    """A measurement in one line."""
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
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--table", action="store_true", help="only make docs/performance.md from the results")
    add("--device", choices=tuple(SWEEPS), default="cpu")
    add("--precision", nargs="+", choices=("fp32", "bf16"))
    add("--mode", nargs="+", choices=("eager", "compiled", "twin"))
    add("--batch", nargs="+", type=int, help="products a step")
    add("--missing", nargs="+", choices=MISSING)
    add("--policy", nargs="+", choices=("skip", "learned", "zero"))
    add("--micro-batch", type=int, default=0, help="as train.micro_batch: gradient caching")
    add("--preset", choices=tuple(PRESETS), default="base")
    add("--steps", type=int, help="repeats; their median counts")
    add("--profile", action="store_true", help="also where the time goes; without settings, always")
    add("--out", type=Path, help="another results file")
    arguments = parser.parse_args()
    arguments.profile |= len(grids(arguments)) > 1
    return arguments


if __name__ == "__main__":
    main()
