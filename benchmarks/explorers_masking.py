"""Time of a click in the masking explorer, and of a change of product, for each pretext task.

    python benchmarks/explorers_masking.py runs/demo data_samples

From the message of the browser to the new HTML, without what the browser needs to draw it. Writes
benchmarks/results/explorers-masking.json.
"""

import argparse
import datetime
import os
import platform
import re
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

from scale.evaluation.report import provenance, write_json
from scale.explore.masking import MaskingExplorer
from scale.explore.source import ExplorerSource
from scale.modalities import TASKS

OUT = Path(__file__).parent / "results" / "explorers-masking.json"
MOVES = 102
PRODUCTS = 20


def milliseconds(moves: list[Callable[[], None]]) -> dict[str, float]:
    """Median and 95th percentile of the time of a move, after two to warm up.

    `cpu` is the median of the process's own time, which others on the machine do not lengthen.
    """
    wall, own = [], []
    for move in moves:
        started = time.perf_counter(), time.process_time()
        move()
        wall.append(1e3 * (time.perf_counter() - started[0]))
        own.append(1e3 * (time.process_time() - started[1]))
    median, p95 = np.quantile(wall[2:], (0.5, 0.95)).round(2).tolist()
    cpu = round(float(np.median(own[2:])), 2)
    return {"median": median, "p95": p95, "cpu": cpu, "count": len(wall) - 2}


def measure(source: ExplorerSource, task: str) -> dict[str, dict[str, float]]:
    """Clicks from thing to thing of one product, switches of another modality, other products."""
    panel = MaskingExplorer(source, task=task)
    keys = re.findall(r'data-key="([^"]+)"', panel.prompt.html)
    clicks = [lambda k=key: panel.prompt.pick(k) for key in islice(cycle(keys), MOVES)]
    found = {"click": milliseconds(clicks)}
    panel.hide_random()
    shown = [box for box in panel.beside.values() if not box.disabled]

    def switch(n: int) -> None:
        box = shown[n % len(shown)]
        box.value = not box.value

    found["switch"] = milliseconds([lambda n=n: switch(n) for n in range(MOVES)])
    rows = [row for _, row in source.options()][1 : PRODUCTS + 3]

    def choose(row: int) -> None:
        panel.picker.choose(row)

    found["product"] = milliseconds([lambda r=row: choose(r) for row in rows])
    return found


def main() -> None:
    """Measure all tasks, print and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("catalogue", type=Path)
    arguments = parser.parse_args()
    started = time.perf_counter()
    source = ExplorerSource.open(arguments.run, arguments.catalogue)
    found = {task: measure(source, task) for task in TASKS}
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    tree = {
        "unit": "ms",
        "tasks": found,
        "provenance": provenance(0, started, f"cpu ({platform.machine()}, {cores})"),
        "load": os.getloadavg()[0],
        "date": datetime.date.today().isoformat(),
    }
    OUT.parent.mkdir(exist_ok=True)
    write_json(OUT, tree)
    for task, moves in found.items():
        told = [f"{name} {t['median']:.0f} (p95 {t['p95']:.0f})" for name, t in moves.items()]
        print(f"{task}: {', '.join(told)} ms")


if __name__ == "__main__":
    main()
