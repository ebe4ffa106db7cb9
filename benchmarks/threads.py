"""Seconds per training step with 1 and 2 threads, alone and with a second training beside it.

    python benchmarks/threads.py             about 3 minutes on two idle cores
    python benchmarks/threads.py --table     the table of docs/performance.md from the results

Random complete products in the shapes of presets. Four processes, of which one or two train at a
time: in two, threads that wait for each other spin for a while (the default of libgomp), in two
they sleep (OMP_WAIT_POLICY=PASSIVE, set by `import scale`). The automatic choice is
`choose_threads` with passive waiting.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch  # before scale, which sets OMP_WAIT_POLICY
from random_products import RandomProducts, masked_products, presence
from roofline import count_flops

from scale.config import Config, base, micro, small, tiny
from scale.evaluation.report import provenance, write_json
from scale.threads import choose_threads, step_operations
from scale.training.run import seeded_model
from scale.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "threads.json"
SECONDS, STEPS = 2.0, 2
"""Minimum time and number of steps of a measurement."""
THREADS = 2
POLICIES = ("DEFAULT", "PASSIVE")
DEFINITION = (
    "Median seconds per training step on random complete products, fp32. alone, beside: one "
    "training, and two at the same time (mean of both). 1, 2 default, 2 passive: threads per "
    "training and their way of waiting. automatic: threads by choose_threads, with passive "
    "waiting; ratio: beside / alone"
)


def config_of(size: str) -> Config:
    """Return the config of a size of `SIZES`."""
    config, batch = SIZES[size]
    train = replace(config.train, batch_size=batch, steps=100_000, device="cpu", precision="no")
    return replace(config, train=train)


def _wider(config: Config, width: int, layers: int) -> Config:
    model = replace(config.model, width=width, encoder_layers=layers, jct_layers=layers)
    return replace(config, model=model)


SIZES = {
    "micro": (micro(), 64),
    "tiny": (tiny(), 64),
    "tiny, width 128": (_wider(tiny(), 128, 2), 64),
    "small": (small(), 4),
    "base, two layers": (_wider(base(), 768, 2), 2),
}
"""Configs and numbers of products per step."""


def work() -> None:
    """Measure what standard input requests: size, threads and seconds, as JSON, line by line."""
    trainer, known, step = None, "", 0
    for line in sys.stdin:
        request = json.loads(line)
        if request["size"] != known:
            trainer, known = None, request["size"]
            config = config_of(known)
            products = RandomProducts(config.model, presence("complete", config.train.batch_size))
            trainer, step = Trainer(config, seeded_model(config), products), 0
        torch.set_num_threads(request["threads"])
        trainer.train_step(step)
        print("ready", flush=True)
        sys.stdin.readline()
        times, started = [], time.perf_counter()
        while len(times) < STEPS or time.perf_counter() - started < SECONDS:
            step, before = step + 1, time.perf_counter()
            trainer.train_step(step)
            times.append(time.perf_counter() - before)
        print(json.dumps(statistics.median(times)), flush=True)


def start(policy: str) -> subprocess.Popen:
    """Start a process that trains, with a way of waiting."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    if policy == "PASSIVE":
        variables["OMP_WAIT_POLICY"] = policy
    return subprocess.Popen(
        [sys.executable, __file__, "--worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env=variables,
    )  # fmt: skip


def seconds(workers: list[subprocess.Popen], size: str, threads: int) -> float:
    """Return the seconds per step of trainings that run at the same time."""
    for line in (json.dumps({"size": size, "threads": threads}), "go"):
        for worker in workers:
            worker.stdin.write(f"{line}\n")
            worker.stdin.flush()
        found = [json.loads(answer) for worker in workers
                 if (answer := worker.stdout.readline().strip()) != "ready"]  # fmt: skip
    return statistics.mean(found)


def measure(size: str, workers: dict[str, list[subprocess.Popen]]) -> dict[str, Any]:
    """Return the record of a size."""
    config = config_of(size)
    few = min(4, config.train.batch_size)
    masked = masked_products(config, RandomProducts(config.model, presence("complete", few)))
    counted = count_flops(seeded_model(config).train(), masked, config)[1]
    ways = {"1": ("PASSIVE", 1)}
    ways |= {f"{THREADS} {policy.lower()}": (policy, THREADS) for policy in POLICIES}
    times = {
        name: {way: seconds(workers[policy][:number], size, threads)
               for way, (policy, threads) in ways.items()}
        for name, number in (("alone", 1), ("beside", 2))
    }  # fmt: skip
    chosen = choose_threads(config)
    way = "1" if chosen == 1 else "2 passive"
    return {
        "size": size,
        "batch": config.train.batch_size,
        "operations": counted * config.train.batch_size,
        "estimated_operations": step_operations(config),
        **times,
        "automatic": {"threads": chosen, "ratio": times["beside"][way] / times["alone"][way]},
        "load": os.getloadavg()[0],
    }


def table(results: dict[str, Any]) -> str:
    """Return the table of docs/performance.md."""
    head = ["size", "batch", "GFLOP per step", "alone: 1", "2 default", "2 passive", "beside: 1",
            "2 default", "2 passive", "automatic", "beside / alone"]  # fmt: skip
    lines = [head, ["---"] * len(head)]
    for record in results["measurements"]:
        times = [record[name][way] for name in ("alone", "beside") for way in record[name]]
        chosen = record["automatic"]
        lines.append([record["size"], record["batch"], f"{record['operations'] / 1e9:.1f}",
                      *(f"{value:.3f}" for value in times), chosen["threads"],
                      f"{chosen['ratio']:.2f}"])  # fmt: skip
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def main() -> None:
    """Measure all sizes and write the results, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=tuple(SIZES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.worker:
        work()
        return
    if not arguments.table:
        started = time.perf_counter()
        torch.set_num_threads(THREADS)
        os.environ.pop("OMP_NUM_THREADS", None)
        workers = {policy: [start(policy) for _ in range(2)] for policy in POLICIES}
        records = []
        for size in arguments.sizes:
            records.append(measure(size, workers))
            print(records[-1], flush=True)
        for worker in (worker for pair in workers.values() for worker in pair):
            worker.stdin.close()
            worker.wait()
        facts = provenance(0, started, "cpu") | {"cores": os.cpu_count()}
        tree = {"definition": DEFINITION, "measurements": records, "provenance": facts}
        write_json(arguments.out, tree)
    print(table(json.loads(arguments.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
