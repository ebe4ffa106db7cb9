"""Latency of the score explorer: from a move of a control to the new HTML, kind by kind.

    python benchmarks/explorers.py runs/demo data_samples

The model runs on one thread; the time on the processor tells what a busy machine hides. A browser
adds the wait for a burst to end (`explorer.DELAY`) and the way there and back. Writes
benchmarks/results/explorers-scores.json.
"""

import argparse
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import ipywidgets
import numpy as np
import torch

from scale.evaluation.report import provenance, write_json
from scale.explore.panel import DELAY
from scale.explore.scores import ScoreExplorer
from scale.explore.source import ExplorerSource

MOVES = 60
"""Of each control."""
OUT = Path(__file__).parent / "results" / "explorers-scores.json"


def positions(control: ipywidgets.Widget) -> list:
    """All values that a control can take."""
    if isinstance(control, ipywidgets.Checkbox):
        return [True, False]
    return [option[1] if isinstance(option, tuple) else option for option in control.options]


def moves(control: ipywidgets.Widget) -> list:
    """`MOVES` values that a control takes one after the other, there and back over all."""
    values = positions(control)
    circle = [*values, *values[-2:0:-1]]
    start = circle.index(control.value)
    return [circle[(start + k) % len(circle)] for k in range(1, MOVES + 1)]


def milliseconds(explorer: ScoreExplorer, control: ipywidgets.Widget) -> dict[str, float]:
    """Time on the clock and on the processor of each move; afterwards the product is as it was."""
    before, wall, busy = control.value, [], []
    for value in moves(control):
        started, worked = time.perf_counter(), time.process_time()
        control.value = value
        wall.append(1e3 * (time.perf_counter() - started))
        busy.append(1e3 * (time.process_time() - worked))
        if explorer.error:
            raise RuntimeError(explorer.error)
    control.value = before
    return {
        "median": float(np.median(wall)),
        "p95": float(np.percentile(wall, 95)),
        "cpu_median": float(np.median(busy)),
        "cpu_p95": float(np.percentile(busy, 95)),
        "n": len(wall),
    }


def controls(explorer: ScoreExplorer) -> Iterator[tuple[str, ipywidgets.Widget]]:
    """Every control by name; a slider once for each kind of noise."""
    for m, column in explorer.columns.items():
        yield f"{m}, present", column.present
        yield f"{m}, another product's", column.mismatch
        for _, kind in column.kind.options:
            column.kind.value = kind
            yield f"{m}, {kind}", column.strength
    yield "policy", explorer.policy
    yield "training step", explorer.step
    yield "product", explorer.picker.list
    yield "model", explorer.model


def main() -> None:
    """Print median and 95th percentile of each control, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("catalogue", type=Path)
    arguments = parser.parse_args()
    started = time.perf_counter()
    explorer = ScoreExplorer(ExplorerSource.open(arguments.run, arguments.catalogue))
    found = {}
    columns = ("median", "p95", "cpu_median", "cpu_p95", "n")
    print(f"{'ms':<28}" + "".join(f"{name:>12}" for name in columns))
    for name, control in controls(explorer):
        found[name] = milliseconds(explorer, control)
        print(f"{name:<28}" + "".join(f"{found[name][column]:>12.1f}" for column in columns))
    facts = provenance(0, started) | {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "products": len(explorer.source.data),
        "wait_ms": 1e3 * DELAY,
    }
    write_json(OUT, {"definition": __doc__.splitlines()[0], "ms": found, "provenance": facts})
    print(f"load {facts['load']:.1f} on {facts['cores']} cores; written to {OUT}")


if __name__ == "__main__":
    main()
