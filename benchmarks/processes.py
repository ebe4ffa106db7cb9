"""Training with 1, 2, 4 and 8 processes on one machine (gloo, CPU): speed, equality and resuming.

    python benchmarks/processes.py --out benchmarks/results/processes.json     about 4 minutes
    python benchmarks/processes.py --table benchmarks/results/processes.json   the tables again

Random complete products in the shapes of `tiny`, without dropout, one thread per process, with DDP
and with FSDP2. Strong scaling: 64 products per step over all processes. Weak scaling: 16 products
per process and step. With more processes than cores, the processes share the cores: the speeds then
show only the overhead of communication, not that of a machine with a core for each.

Equality: losses of 8 steps in float32, and in float64 losses and gradient of the first, compared
with one process. Resuming: two processes save a checkpoint after step 4; other numbers of processes
continue from it to step 8. Compared with one process without interruption: losses and weights.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from random_products import RandomProducts, presence
from safetensors.torch import load_file, save_file

from scale.config import Config, tiny
from scale.evaluation.report import provenance, write_json
from scale.training.checkpoint_manager import CheckpointManager
from scale.training.distributed import destroy_processes, full_tensor, rank, world_size
from scale.training.run import seeded_model
from scale.training.trainer import Trainer

PROCESSES = (2, 1, 4, 8)
"""In order of the launches: two processes write the checkpoint that the others resume from."""
STRONG, WEAK = 64, 16
"""Products per step over all processes, and per process."""
STEPS, SAVED = 8, 4
MODES = {"DDP": False, "FSDP2": True}


def config_of(batch: int, fsdp: bool) -> Config:
    """Return `tiny` without dropout."""
    config = tiny()
    train = replace(config.train, steps=100, batch_size=batch, device="cpu", fsdp=fsdp)
    return replace(config, train=train, model=replace(config.model, dropout=0.0))


def make_trainer(batch: int, fsdp: bool, double: bool = False) -> Trainer:
    """Return a trainer on two batches of random products."""
    config = config_of(batch, fsdp)
    data = RandomProducts(config.model, presence("complete", 2 * batch))
    model = seeded_model(config)
    if double:
        model = model.double()
        for tokens in data.tokens.values():
            if tokens.continuous:
                tokens.values = tokens.values.double()
    return Trainer(config, model, data)


def losses_of(trainer: Trainer, steps: range) -> list[float]:
    """Train some steps; return their losses."""
    losses = []
    for step in steps:
        losses.append(trainer.train_step(step).loss.total.item())
        trainer.state = replace(trainer.state, step=step + 1)
    return losses


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return the full weights (collective)."""
    return {
        name: full_tensor(weight.detach()).clone().contiguous()
        for name, weight in trainer.model.named_parameters()
    }


def gradient_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return the full gradient of the last step (collective)."""
    return {
        name: full_tensor(weight.grad).clone().contiguous()
        for name, weight in trainer.model.named_parameters()
        if weight.grad is not None
    }


def speed(batch: int, fsdp: bool) -> dict[str, float]:
    """Products per second: median and range of the steps after two of warm-up."""
    trainer, rates = make_trainer(batch, fsdp), []
    for step in range(STEPS):
        started = time.perf_counter()
        trainer.train_step(step)
        rates.append(batch / (time.perf_counter() - started))
    rates = rates[2:]
    return {"median": statistics.median(rates), "low": min(rates), "high": max(rates)}


def work(folder: Path) -> None:
    """Measure in one process of several; the first one writes the results to `folder`."""
    count, found = world_size_of_launch(), {}
    for name, fsdp in MODES.items():
        one = {"strong": speed(STRONG, fsdp), "weak": speed(WEAK * count, fsdp)}
        exact = make_trainer(STRONG, fsdp, double=True)
        one["float64 loss"] = losses_of(exact, range(1))
        gradient = gradient_of(exact)
        trainer = make_trainer(STRONG, fsdp)
        saved = CheckpointManager(folder / name)
        one["losses"] = losses_of(trainer, range(SAVED))
        if count == PROCESSES[0]:
            saved.save_last(trainer.model, trainer.optimizer, trainer.checkpoint_state())
        one["losses"] += losses_of(trainer, range(SAVED, STEPS))
        whole = weights_of(trainer)
        trainer = make_trainer(STRONG, fsdp)
        trainer.restore(saved)
        restored = weights_of(trainer)
        one["losses of the resumed run"] = losses_of(trainer, range(SAVED, STEPS))
        resumed = weights_of(trainer)
        found[name] = one
        if rank() == 0:
            for kind, tensors in {"gradient": gradient, "whole": whole, "restored": restored,
                                  "resumed": resumed}.items():  # fmt: skip
                save_file(tensors, folder / f"{count}-{name}-{kind}.safetensors")
    if rank() == 0:
        write_json(folder / f"{count}.json", found)
    destroy_processes()


def world_size_of_launch() -> int:
    """Return the number of processes, also before they have met."""
    return max(world_size(), int(os.environ.get("WORLD_SIZE", 1)))


def launch(count: int, folder: Path) -> dict[str, Any]:
    """Run `work` in some processes; return the results."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               str(count), __file__, "--worker", str(folder)]  # fmt: skip
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return json.loads((folder / f"{count}.json").read_text(encoding="utf-8"))


def difference(a: Path, b: Path) -> float:
    """Return the largest absolute difference of two sets of tensors."""
    one, other = load_file(a), load_file(b)
    # A weight without use has no gradient, or zeros with several processes.
    return max(
        float((one.get(k, torch.zeros(())) - other.get(k, torch.zeros(()))).abs().max())
        for k in one.keys() | other.keys()
    )


def compare(found: dict[int, Any], folder: Path) -> dict[int, Any]:
    """Return the largest differences from one process without interruption."""
    table: dict[int, Any] = {}
    for count, modes in found.items():
        table[count] = {}
        for name, own in modes.items():
            one = found[1]["DDP"]

            def file(n: int, mode: str, kind: str) -> Path:
                return folder / f"{n}-{mode}-{kind}.safetensors"

            def relative(a: list[float], b: list[float]) -> float:
                return float(np.max(np.abs(np.array(a) / np.array(b) - 1)))

            table[count][name] = {
                "float64: loss": relative(own["float64 loss"], one["float64 loss"]),
                "float64: gradient": difference(
                    file(count, name, "gradient"), file(1, "DDP", "gradient")
                ),
                "float32: losses of 8 steps": relative(own["losses"], one["losses"]),
                "float32: weights after 8 steps": difference(
                    file(count, name, "whole"), file(1, "DDP", "whole")
                ),
                "resumed: weights as restored": difference(
                    file(count, name, "restored"), file(PROCESSES[0], name, "restored")
                ),
                "resumed: losses of steps 5 to 8": relative(
                    own["losses of the resumed run"], one["losses"][SAVED:]
                ),
                "resumed: weights after 8 steps": difference(
                    file(count, name, "resumed"), file(1, "DDP", "whole")
                ),
            }
    return table


def tables(tree: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    counts = sorted(tree["speed"], key=int)
    lines = [
        f"{tree['cores']} cores, one thread per process, products per second (efficiency).",
        "",
    ]
    heads = [f"{mode} {kind}" for mode in MODES for kind in ("strong", "weak")]
    lines += ["| processes | " + " | ".join(heads) + " |"]
    lines += ["|---" * (1 + 2 * len(MODES)) + "|"]
    for count in counts:
        cells = []
        for mode in MODES:
            for kind in ("strong", "weak"):
                rate = tree["speed"][count][mode][kind]["median"]
                first = tree["speed"]["1"][mode][kind]["median"]
                cells.append(f"{rate:.0f} ({rate / first / int(count):.0%})")
        lines.append(f"| {count} | " + " | ".join(cells) + " |")
    names = list(tree["differences"][counts[0]]["DDP"])
    heads = [f"{mode} {count}" for mode in MODES for count in counts]
    lines += ["", "| largest difference from one process | " + " | ".join(heads) + " |"]
    lines += ["|---" * (1 + len(MODES) * len(counts)) + "|"]
    for name in names:
        cells = [f"{tree['differences'][count][mode][name]:.0e}"
                 for mode in MODES for count in counts]  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments, started = parser.parse_args(), time.perf_counter()
    if arguments.worker:
        work(arguments.worker)
        return
    if arguments.out:
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as name:
            found = {count: launch(count, Path(name)) for count in PROCESSES}
            differences = compare(found, Path(name))
        write_json(arguments.out, {
            "definition": __doc__.split("\n\n")[2].replace("\n", " "),
            "speed": {str(count): {mode: {kind: own[kind] for kind in ("strong", "weak")}
                                   for mode, own in modes.items()}
                      for count, modes in found.items()},
            "differences": {str(count): own for count, own in differences.items()},
            "cores": os.cpu_count(),
            "load_before_and_after": [load, os.getloadavg()[0]],
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "provenance": provenance(0, started),
        })  # fmt: skip
    print(tables(json.loads((arguments.table or arguments.out).read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
