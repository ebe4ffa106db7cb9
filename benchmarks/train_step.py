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
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from random_products import MISSING
from step_measure import Setting, failure, forget, measure, profiled
from step_report import keep, results_file, write_tables

from scale.presets import PRESETS
from scale.training.memory import is_out_of_memory


@dataclass(frozen=True)
class Sweep:
    """Which settings are measured where nothing is said."""

    precision: tuple[str, ...]
    mode: tuple[str, ...]
    batch: tuple[int, ...]
    missing: tuple[str, ...]
    policy: tuple[str, ...]
    steps: int
    twin: tuple[int, ...]
    """Batches at which the twin is measured, always on complete data."""


SWEEPS = {
    "cpu": Sweep(
        precision=("fp32", "bf16"),
        mode=("eager", "compiled", "twin"),
        batch=(8, 16),
        missing=MISSING,
        policy=("skip", "learned", "zero"),
        steps=3,
        twin=(8,),
    ),
    "cuda": Sweep(
        precision=("bf16",),
        mode=("eager", "compiled", "twin"),
        batch=(64, 128, 256, 512, 1024, 2048),
        missing=("complete", "m5product"),
        policy=("skip",),
        steps=10,
        twin=(64, 256),
    ),
}


def main() -> None:
    """Measure, write and print; or make the tables."""
    arguments = parse()
    if arguments.table:
        print(f"written: {write_tables()}")
        return
    out = arguments.out or results_file(arguments.device)
    for setting in settings(arguments):
        record = run(measure, setting)
        keep(out, "measurements", record)
        print(line(record), flush=True)
    if arguments.profile:
        setting = profile_setting(arguments)
        record = run(profiled, setting)
        keep(out, "profiles", record)
        print(record.get("ms") or record["failed"], flush=True)
    print(f"written: {out}")


def settings(arguments: argparse.Namespace) -> Iterator[Setting]:
    """The sweep. Complete data is the same under every policy: it is measured under the first."""
    common = {"device": arguments.device, "preset": arguments.preset, "steps": arguments.steps}
    for missing, policy, precision, mode, batch in product(
        arguments.missing, arguments.policy, arguments.precision, arguments.mode, arguments.batch
    ):
        if mode == "twin" or (missing == "complete" and policy != arguments.policy[0]):
            continue
        yield Setting(
            precision=precision, mode=mode, batch=batch, missing=missing, policy=policy,
            micro_batch=arguments.micro_batch, **common,
        )  # fmt: skip
    if "twin" in arguments.mode:
        for batch in arguments.twin:
            yield Setting(
                precision="fp32", mode="twin", batch=batch, policy=arguments.policy[0], **common
            )


def profile_setting(arguments: argparse.Namespace) -> Setting:
    """The first mode and precision on complete data, at the largest batch of the twin's."""
    return Setting(
        device=arguments.device, precision=arguments.precision[0], mode=arguments.mode[0],
        batch=max(arguments.twin), policy=arguments.policy[0], preset=arguments.preset,
    )  # fmt: skip


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
    """The command line; what is left out is the device's sweep."""
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
    add("--policy", nargs="+", choices=("skip", "zero", "learned"))
    add("--twin", nargs="+", type=int, help="batches of the twin, on complete data")
    add("--steps", type=int, help="repeats; their median counts")
    add("--micro-batch", type=int, default=0, help="as train.micro_batch: gradient caching")
    add("--out", type=Path, help="another results file")
    add("--preset", choices=tuple(PRESETS), default="base")
    add("--profile", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    for name, value in vars(SWEEPS[arguments.device]).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    return arguments


if __name__ == "__main__":
    main()
