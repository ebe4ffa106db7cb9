"""Every claim about one GPU in one command of less than eight minutes.

    python benchmarks/gpu_sweep.py                one CUDA device
    python benchmarks/gpu_sweep.py --rehearse     each part on the CPU, with a small model
    python benchmarks/gpu_sweep.py --table        Markdown table of the results

Parts run in order of importance. Each is written to benchmarks/results/gpu_sweep.json as soon as it
is finished; finished parts are skipped, so a second call continues. A part starts only if its
predicted time fits into the rest of `--budget`. Speeds of training steps are also written to
train_step-cuda.json, for the tables of docs/performance.md. One model is compiled once and shared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from random_products import RandomProducts, presence
from roofline import DATA_SHEET, seconds
from torch._dynamo.utils import counters
from torch.autograd import DeviceType
from torch.distributed._tools.mem_tracker import MemTracker
from torch.profiler import ProfilerActivity, profile
from train_step import (
    IDLE,
    Setting,
    facts,
    failure,
    line,
    measure,
    release_memory,
    spent_by_kind,
    trainer_of,
)
from train_step_tables import RESULTS, keep, results_file

from scale.config import PRESETS, Config, base
from scale.evaluation.report import write_json
from scale.losses.contrastive import pair_losses
from scale.losses.tiled import tiled_pair_losses
from scale.modalities import MODALITIES
from scale.model.scale import ScaleModel
from scale.training.checkpoint_manager import CheckpointManager
from scale.training.out_of_memory import is_out_of_memory
from scale.training.run import seeded_model
from scale.training.trainer import Trainer
from scale.training.transforms import compile_layers, deterministic_algorithms

Record = dict[str, Any]


def rehearsal() -> Config:
    """`base`, small enough for a CPU."""
    config = base()
    model = replace(config.model, width=64, heads=2, encoder_layers=1, jct_layers=2)
    return replace(config, model=replace(model, vocab_size=1000))


PRESETS["rehearsal"] = rehearsal


@dataclass
class Sweep:
    """Shared state of the parts."""

    device: str
    models: dict[str, ScaleModel] = field(default_factory=dict)

    @property
    def rehearses(self) -> bool:
        return self.device == "cpu"

    def size(self, products: int) -> int:
        """Return a number of products, or a small one in a rehearsal."""
        return max(8, products // 64) if self.rehearses else products

    def setting(self, batch: int, mode: str = "compiled", **changes: Any) -> Setting:
        steps = 1 if self.rehearses else 10
        preset = "rehearsal" if self.rehearses else "base"
        changes = {"preset": preset, "steps": steps} | changes
        precision = "fp32" if mode == "twin" else "bf16"
        return Setting(self.device, precision, mode, self.size(batch), **changes)

    def model(self, mode: str, policy: str = "skip") -> ScaleModel:
        """Return the shared model of a mode and policy, compiled if necessary."""
        key = f"{'eager' if mode == 'eager' else 'compiled'} {policy}"
        if key not in self.models:
            # Only one in memory.
            self.models.clear()
            release_memory()
            config = self.setting(64, mode, policy=policy).config()
            self.models[key] = seeded_model(config)
            if mode != "eager":
                backend = "aot_eager" if self.rehearses else "inductor"
                compile_layers(self.models[key], backend)
        return self.models[key]

    def trainer(self, setting: Setting, data: RandomProducts | None = None) -> Trainer:
        config = setting.config()
        data = data or RandomProducts(config.model, presence(setting.missing, setting.batch))
        return trainer_of(config, data, self.model(setting.mode, setting.policy))

    def speed(self, setting: Setting) -> Record:
        """Measure the speed of a training step; out of memory is a result."""
        started = graphs()
        model = self.model(setting.mode, setting.policy)
        try:
            record = measure(setting, model)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            record = failure(setting, "out of memory")
        if not self.rehearses:
            keep(results_file("cuda"), "measurements", record)
        print(line(record), flush=True)
        record["graphs_compiled"] = graphs() - started
        if record["mfu"] is not None:
            used = record["flops_per_product"] * record["products_per_second"]
            record["share_of_data_sheet"] = used / DATA_SHEET
        return record


def graphs() -> int:
    """Return the number of graphs compiled in this process."""
    return counters["stats"]["unique_graphs"]


def complete(sweep: Sweep, batch: int, mode: str = "compiled") -> Record:
    """Speed with complete products."""
    return sweep.speed(sweep.setting(batch, mode))


def half(sweep: Sweep, batch: int) -> Record:
    """Complete products, then half of the slots missing: ratio of the times."""
    whole, part = (
        sweep.speed(sweep.setting(batch, missing=missing)) for missing in ("complete", "half")
    )
    if "failed" in whole or "failed" in part:
        return {"complete": whole, "half": part}
    return {"complete": whole, "half": part, "faster": whole["step_ms"] / part["step_ms"]}


def twin(sweep: Sweep, batch: int) -> Record:
    """Ratio to the plain reference implementation."""
    return sweep.speed(sweep.setting(batch, "twin", steps=1 if sweep.rehearses else 3))


def recompilation(sweep: Sweep, batch: int) -> Record:
    """Graphs compiled in steps with varying presence, lengths and sizes, after three of them."""
    setting = sweep.setting(batch, missing="half")
    data = RandomProducts(setting.config().model, presence("half", 4 * setting.batch))
    trainer = sweep.trainer(setting, data)
    found = []
    for step in range(12):
        before = graphs()
        trainer.train_step(step)
        found.append(graphs() - before)
    return {"graphs_by_step": found, "recompiled": sum(found[3:]) > 0,
            "graph_breaks": sum(counters["graph_break"].values())}  # fmt: skip


def profiled(sweep: Sweep, batch: int, mode: str = "compiled") -> Record:
    """One step: time by kind, number of kernels, attention kernels, and no wait of the host."""
    setting = sweep.setting(batch, mode)
    trainer = sweep.trainer(setting)
    for step in range(3):
        trainer.train_step(step)
    if sweep.device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.train_step(3)
    finally:
        if sweep.device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA][: 1 + (sweep.device == "cuda")]
    with profile(activities=activities) as seen:
        total = 1e3 * seconds(lambda: trainer.train_step(4), sweep.device)
    events = seen.key_averages()
    spent = spent_by_kind(events, sweep.device)
    spent[IDLE] = total - sum(spent.values())
    kernels = {
        e.key: e.count
        for e in events
        if e.device_type == DeviceType.CUDA and not e.is_user_annotation
    }
    attention = sorted({e.key for e in events if "scaled_dot_product" in e.key})
    flash = [name for name in kernels if any(k in name.lower() for k in ("flash", "fmha", "sdpa"))]
    return {"ms": dict(spent.most_common()), "kernels": sum(kernels.values()),
            "attention_operations": attention, "attention_kernels": sorted(flash)[:8],
            "flash": any("flash_attention" in a or "cudnn_attention" in a for a in attention),
            "host_never_waits": True}  # fmt: skip


def resume(sweep: Sweep, batch: int) -> Record:
    """Bits of the losses of steps 2 and 3 in an unbroken run, and after a checkpoint at step 2."""
    setting = sweep.setting(batch, "eager")
    config = setting.config()
    layers = replace(config.model, encoder_layers=2, jct_layers=2)
    config = replace(config, model=layers, train=replace(config.train, deterministic=True))
    data = RandomProducts(layers, presence("half", setting.batch))
    losses = []
    with tempfile.TemporaryDirectory() as folder, deterministic_algorithms(True):
        checkpoints = CheckpointManager(Path(folder))
        for resumed in (False, True):
            trainer = Trainer(config, seeded_model(config), data)
            if resumed:
                trainer.restore(checkpoints)
            for step in range(trainer.state.step, 4):
                if step == 2 and not resumed:
                    trainer.state = replace(trainer.state, step=2)
                    checkpoints.save_last(
                        trainer.model, trainer.optimizer, trainer.checkpoint_state()
                    )
                losses.append(trainer.train_step(step).loss.total.item())
    return {"losses": losses, "equal_bits": losses[2:4] == losses[4:]}


def tiled_equal(sweep: Sweep, products: int) -> Record:
    """Largest difference of loss and gradient between tiles and all logits at once, in float32."""
    pooled_BMD, present_BM = random_features(sweep, sweep.size(products), 0.8)
    found = []
    for losses in (pair_losses, tiled_pair_losses):
        pooled_BMD.grad = None
        loss = losses(pooled_BMD, present_BM).mean_P().sum()
        loss.backward()
        found.append((loss.detach(), pooled_BMD.grad))
    (whole, whole_BMD), (tiles, tiles_BMD) = found
    difference = (tiles_BMD - whole_BMD).norm() / whole_BMD.norm()
    return {"products": len(pooled_BMD), "loss": whole.item(),
            "loss_error": (tiles - whole).abs().item(),
            "gradient_error": difference.item()}  # fmt: skip


def tiled_memory(sweep: Sweep, sizes: tuple[int, ...], anchors: int = 0) -> Record:
    """Peak memory and time of loss and gradient by number of products, in TF32 on CUDA.

    anchors: compute the losses of this many products only, against all, in both directions.
    """
    rows, before = [], torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        for products in map(sweep.size, sizes):
            release_memory()
            used = slice(0, sweep.size(anchors)) if anchors else None

            def step(products=products, used=used):
                pooled_BMD, present_BM = random_features(sweep, products, 1.0)
                tile = 256 if sweep.rehearses else None
                found = tiled_pair_losses(pooled_BMD, present_BM, anchors=used, tile=tile)
                found.mean_P().sum().backward()

            if sweep.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
                took = seconds(step, "cuda")
                peak = torch.cuda.max_memory_allocated()
            else:
                with MemTracker() as tracker:
                    took = seconds(step, "cpu")
                peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
            rows.append({"products": products, "seconds": took, "peak_bytes": peak,
                         "bytes_per_product": peak / products})  # fmt: skip
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    return {"width": width(sweep), "anchors": used.stop if used else None, "sizes": rows}


def width(sweep: Sweep) -> int:
    return sweep.setting(64).config().model.width


def random_features(sweep: Sweep, products: int, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pooled_BMD, with gradient, and present_BM."""
    random = torch.Generator(sweep.device).manual_seed(0)
    shape = (products, len(MODALITIES), width(sweep))
    pooled_BMD = torch.randn(shape, generator=random, device=sweep.device)
    present_BM = torch.rand(shape[:2], generator=random, device=sweep.device) < share
    return pooled_BMD.requires_grad_(), present_BM


def large_batch(sweep: Sweep, batch: int, micro_batch: int) -> Record:
    """Time and peak memory of a step by gradient caching, after one of two micro-batches."""
    setting = sweep.setting(batch, micro_batch=sweep.size(micro_batch))
    config = setting.config()
    everything = np.ones((setting.batch, len(MODALITIES)), bool)
    times = []
    for products in (2 * setting.micro_batch, setting.batch):
        data = RandomProducts(config.model, everything[:products], distinct=setting.micro_batch)
        trainer = sweep.trainer(replace(setting, batch=products), data)
        if sweep.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        times.append(seconds(lambda trainer=trainer: trainer.train_step(0), sweep.device))
        del trainer
        release_memory()
    peak = torch.cuda.max_memory_allocated() if sweep.device == "cuda" else None
    return {"batch": setting.batch, "micro_batch": setting.micro_batch, "seconds": times[1],
            "products_per_second": setting.batch / times[1], "peak_bytes": peak}  # fmt: skip


def tests(sweep: Sweep) -> Record:
    """tests/gpu: host waits, attention, losses of the CPU, compilation, resume, on small models."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=240
        )
    except subprocess.TimeoutExpired:
        return {"failed": "not finished within 240 s"}
    return {"code": done.returncode, "summary": done.stdout.splitlines()[-12:]}


@dataclass(frozen=True)
class Part:
    """One line of the sweep."""

    name: str
    predicted: float
    """Seconds on an H200, of which the first compilation of a kind takes most."""
    run: Callable[[Sweep], Record]
    goal: str
    met: Callable[[Record], bool] | None = None


PARTS = (
    Part("complete 256", 90, lambda s: complete(s, 256), ">= 45 % of peak, 40 % of 989 TFLOP/s",
         lambda r: r["mfu"] >= 0.45 and r["share_of_data_sheet"] >= 0.4),
    Part("half against complete", 40, lambda s: half(s, 512), ">= 1.8 times faster",
         lambda r: r["faster"] >= 1.8),
    Part("twin", 25, lambda s: twin(s, 128), ">= 15 times", lambda r: r["ratio"]["median"] >= 15),
    Part("recompilation", 10, lambda s: recompilation(s, 128), "none after three steps",
         lambda r: not r["recompiled"] and not r["graph_breaks"]),
    Part("profile", 15, lambda s: profiled(s, 256), "flash attention, host never waits",
         lambda r: r["flash"]),
    Part("resume", 25, lambda s: resume(s, 64), "equal bits", lambda r: r["equal_bits"]),
    Part("tiles against all logits", 5, lambda s: tiled_equal(s, 8192), "equal to 1e-5",
         lambda r: r["gradient_error"] < 1e-5),
    Part("memory of tiles", 10, lambda s: tiled_memory(s, (2**15, 2**16, 2**17)),
         "linear in the batch", lambda r: linear(r["sizes"])),
    Part("batch 65,536", 60, lambda s: large_batch(s, 65_536, 512), "fits", None),
    Part("1 million products", 60, lambda s: tiled_memory(s, (2**20,), 2**16),
         "fits; 2^16 anchors", None),
    Part("complete 1024", 20, lambda s: complete(s, 1024), "as complete 256"),
    Part("m5product 512", 15, lambda s: s.speed(s.setting(512, missing="m5product")), ""),
    Part("tests/gpu", 120, tests, "all pass", lambda r: r.get("code") == 0),
    Part("eager 256", 20, lambda s: complete(s, 256, "eager"), ""),
    Part("eager profile", 15, lambda s: profiled(s, 256, "eager"), ""),
    Part("complete 64", 90, lambda s: complete(s, 64), ""),
    Part("learned 512", 60,
         lambda s: s.speed(s.setting(512, missing="half", policy="learned")), ""),
    Part("zero 512", 60, lambda s: s.speed(s.setting(512, missing="half", policy="zero")), ""),
)  # fmt: skip


def linear(rows: list[Record]) -> bool:
    """Return whether the memory per product grows by less than a tenth."""
    return rows[-1]["bytes_per_product"] < 1.1 * rows[0]["bytes_per_product"]


def sweep_all(sweep: Sweep, out: Path, budget: float, only: list[str] | None) -> None:
    """Run all parts that are not in `out` and fit into the budget of seconds."""
    tree = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"parts": {}}
    started = time.perf_counter()
    for part in PARTS:
        left = budget - (time.perf_counter() - started)
        done = "failed" not in tree["parts"].get(part.name, {"failed": None})
        if done or (only and part.name not in only):
            continue
        predicted = part.predicted / 10 if sweep.rehearses else part.predicted
        if predicted > left:
            print(f"{part.name:<26} not started: {predicted:.0f} s, {left:.0f} s left", flush=True)
            continue
        begin, load = time.perf_counter(), os.getloadavg()[0]
        record = attempt(part, sweep)
        record |= {"part_seconds": time.perf_counter() - begin, "predicted_seconds": predicted}
        record |= {"goal": part.goal, "met": met(part, record)}
        tree["parts"][part.name] = record | facts(sweep.device, begin, load)
        write_json(out, tree)
        print(row(part.name, record), flush=True)
    print(f"written: {out}, {time.perf_counter() - started:.0f} s")


def attempt(part: Part, sweep: Sweep) -> Record:
    """Run a part; an error is recorded, so that it does not cost the parts after it."""
    release_memory()
    try:
        return part.run(sweep)
    except (RuntimeError, AssertionError, ValueError, OSError) as error:
        sweep.models.clear()
        return {"failed": f"{type(error).__name__}: {str(error)[:500]}"}


def met(part: Part, record: Record) -> bool | None:
    """Return whether a goal is reached; None without a goal or a result."""
    if part.met is None or "failed" in record:
        return None
    try:
        return part.met(record)
    except (KeyError, TypeError):
        return None


def row(name: str, record: Record) -> str:
    """Format a part as one line."""
    state = {True: "met", False: "MISSED", None: ""}[record["met"]]
    return (
        f"{name:<26} {record['part_seconds']:6.1f} s (predicted {record['predicted_seconds']:.0f})"
        f"  {record['goal']}: {record.get('failed') or state}"
    )


def table(out: Path) -> str:
    """Return the results as a Markdown table."""
    tree = json.loads(out.read_text(encoding="utf-8"))
    lines = ["| part | goal | reached | s | predicted s |", "| --- | --- | --- | --- | --- |"]
    for name, r in tree["parts"].items():
        reached = r.get("failed") or {True: "yes", False: "no", None: ""}[r["met"]]
        lines.append(
            f"| {name} | {r['goal']} | {reached} | {r['part_seconds']:.0f} | "
            f"{r['predicted_seconds']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the sweep, or print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rehearse", action="store_true", help="run every part on the CPU with a small model")
    add("--budget", type=float, default=460, help="seconds")
    add("--only", nargs="+", choices=[part.name for part in PARTS], metavar="PART")
    add("--out", type=Path, default=RESULTS / "gpu_sweep.json", help="results file")
    add("--table", action="store_true", help="print the results as Markdown")
    arguments = parser.parse_args()
    out = arguments.out
    if arguments.rehearse and out == RESULTS / "gpu_sweep.json":
        out = Path(tempfile.mkdtemp()) / "rehearsal.json"
    if arguments.table:
        print(table(out))
        return
    if not arguments.rehearse and not torch.cuda.is_available():
        raise SystemExit("no CUDA device: --rehearse runs every part on the CPU")
    sweep = Sweep("cpu" if arguments.rehearse else "cuda")
    print(f"predicted: {sum(part.predicted for part in PARTS)} s in all", flush=True)
    sweep_all(sweep, out, arguments.budget, arguments.only)


if __name__ == "__main__":
    main()
