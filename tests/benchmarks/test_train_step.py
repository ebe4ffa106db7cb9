"""The benchmark of the training step: counted operations, out-of-memory records, tables."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
import train_step
from random_products import RandomProducts, masked_products, presence
from roofline import Machine, count_flops, floor_of
from torch.autograd import DeviceType
from train_step import (
    IDLE,
    OTHER,
    Setting,
    count,
    failure,
    kind_of,
    measure,
    profiled,
    spent_by_kind,
)
from train_step_tables import BEGIN, END, PAGE, keep, tables, write_tables

from scale.config import PRESETS
from scale.training.run import seeded_model

SMALL = Setting("cpu", "fp32", "eager", batch=4, preset="small-for-tests", steps=1)


@pytest.fixture(autouse=True)
def small_machine(config, monkeypatch):
    """A small model, and fixed peak rates instead of measured ones."""
    monkeypatch.setitem(PRESETS, "small-for-tests", lambda: config)
    monkeypatch.setattr(Machine, "measure", lambda *_: Machine(1e9, 1e9))


def test_operations_are_those_of_the_layers(config):
    """The matrix products of a Transformer layer by hand: one more JCT layer, forward."""
    counts = []
    for layers in (1, 2):
        own = replace(config, model=replace(config.model, jct_layers=layers))
        data = RandomProducts(own.model, presence("complete", 2))
        masked = masked_products(own, data)
        counts.append(count_flops(seeded_model(own), masked, own)[0])
    width, ratio = config.model.width, config.model.mlp_ratio
    length = sum(config.model.length(m) for m in ("text", "table")) + sum(
        config.model.length(m) + 1 for m in ("image", "video", "audio")
    )
    linear = 2 * length * width**2 * (4 + 2 * ratio)
    attention = 2 * 2 * length**2 * width
    assert counts[1] - counts[0] == linear + attention


@pytest.mark.parametrize(("mode", "missing"), [("eager", "half"), ("twin", "complete")])
def test_a_record_has_all_fields(mode, missing):
    record = measure(replace(SMALL, mode=mode, missing=missing, policy="zero"))
    required = {
        "device", "precision", "mode", "batch", "missing", "policy", "products_per_second",
        "peak_memory_gib", "mfu", "flops_per_product", "versions", "commit", "date", "peak_flops",
        "threads", "load",
    }  # fmt: skip
    assert required <= record.keys()
    assert record["products_per_second"] > 0
    used = record["flops_per_product"] * record["products_per_second"]
    assert record["mfu"] == pytest.approx(used / 1e9)
    assert record["floor_operations_ms"] == pytest.approx(record["flops_per_product"] * 4 / 1e6)
    assert ("ratio" in record) == (mode == "twin")
    json.dumps(record)


def test_half_the_products_cost_less(config):
    """Missing modalities add no operations and no memory traffic."""
    counted = [
        count(replace(SMALL, batch=20, missing=missing))[0] for missing in ("complete", "half")
    ]
    assert counted[1] < 0.65 * counted[0]
    machine = Machine(1e9, 1e9)
    whole, half = (
        floor_of(machine, config, presence(missing, 20), 0.0, 0).traffic
        for missing in ("complete", "half")
    )
    assert half == pytest.approx(whole / 2)


def test_a_batch_without_memory_is_recorded(monkeypatch):
    def too_large(setting):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    record = train_step.run(too_large, replace(SMALL, device="cuda"))
    assert record["failed"] == "out of memory"
    assert record["products_per_second"] is None
    assert "out of memory" in train_step.line(record)


def test_other_errors_are_raised(monkeypatch):
    def wrong(setting):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="do not fit"):
        train_step.run(wrong, replace(SMALL, device="cuda"))


def test_a_step_is_accounted_for_whole():
    record = profiled(SMALL)
    assert {"matrix products", "optimizer", "attention", IDLE} <= record["ms"].keys()
    assert all(value > 0 for kind, value in record["ms"].items() if kind != IDLE)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::_fused_adamw_", "optimizer"),
        ("aten::_scaled_dot_product_efficient_attention_backward", "attention"),
        ("aten::_log_softmax", "losses"),
        ("aten::_softmax", "attention"),
        ("aten::native_layer_norm_backward", "norm, GELU, dropout, sums, casts"),
        ("aten::index_select", "moving rows"),
        ("aten::mystery", OTHER),
    ],
)
def test_operations_have_their_kind(name, kind):
    assert kind_of(name) == kind


def test_kernels_count_once():
    """On CUDA: kernels, not the operations that start them nor the ranges around them."""

    def event(key, kind, device_time, annotation=False):
        return SimpleNamespace(
            key=key, device_type=kind, self_device_time_total=device_time,
            self_cpu_time_total=5e3, is_user_annotation=annotation,
        )  # fmt: skip

    events = [
        event("aten::addmm", DeviceType.CPU, 2e3),
        event("nvjet_hsh_128x256_64x4", DeviceType.CUDA, 2e3),
        event("fmha_cutlassF_bf16_aligned_64x64_rf_sm80", DeviceType.CUDA, 1e3),
        event("void multi_tensor_apply_kernel<FusedAdamMathFunctor<float>>", DeviceType.CUDA, 3e3),
        event("Optimizer.step#AdamW.step", DeviceType.CUDA, 9e3, annotation=True),
        event("Memcpy HtoD (Pinned -> Device)", DeviceType.CUDA, 4e3),
        event("triton_per_fused_native_layer_norm_3", DeviceType.CUDA, 6e3),
    ]
    assert spent_by_kind(events, "cuda") == {
        "matrix products": 2.0, "attention": 1.0, "optimizer": 3.0, "data and masking": 4.0,
        "norm, GELU, dropout, sums, casts": 6.0,
    }  # fmt: skip


def sweep(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["train_step.py", *words])
    arguments = train_step.parse()
    found = [s for g in train_step.grids(arguments) for s in train_step.settings(g, arguments)]
    return arguments, found


def test_the_sweep_of_a_gpu_covers_batches_modes_and_policies(monkeypatch):
    arguments, found = sweep(monkeypatch, "--device", "cuda")
    ours = [s for s in found if s.mode != "twin"]
    for mode, missing in [(m, d) for m in ("eager", "compiled") for d in ("complete", "m5product")]:
        batches = [s.batch for s in ours if (s.mode, s.missing) == (mode, missing)]
        assert batches == [64, 128, 256, 512, 1024, 2048]
    assert {s.precision for s in ours} == {"bf16"}
    assert {s.policy for s in ours if s.missing == "half"} == {"skip", "learned", "zero"}
    # The time of half the products is compared with that of complete ones.
    assert {replace(s, missing="complete", policy="skip") for s in ours} <= set(ours)
    assert any(s.mode == "twin" for s in found)
    assert arguments.profile


def test_named_settings_are_measured_alone(monkeypatch):
    words = "--batch 4 8 --mode twin --missing half --steps 5"
    arguments, found = sweep(monkeypatch, *words.split())
    common = {"precision": "fp32", "mode": "twin", "missing": "half", "policy": "skip", "steps": 5}
    assert found == [Setting("cpu", batch=batch, **common) for batch in (4, 8)]
    assert not arguments.profile


def record(**changes):
    setting = asdict(replace(SMALL, **{k: v for k, v in changes.items() if k in asdict(SMALL)}))
    measured = {
        "products_per_second": 2.5, "step_ms": 1600.0, "mfu": 0.5, "peak_memory_gib": 3.0,
        "floor_operations_ms": 800.0, "floor_traffic_ms": 100.0, "flops_per_product": 134e9,
        "peak_flops": 1e11, "bandwidth": 2e10, "device_name": "a machine", "threads": 2,
        "load": 0.5, "versions": {"torch": "2"}, "commit": "0123456789", "dirty": False,
        "date": "2026-11-25",
    }  # fmt: skip
    return setting | measured | changes


def test_a_newer_measurement_replaces_the_older(tmp_path):
    path = tmp_path / "train_step-cpu.json"
    keep(path, "measurements", record(batch=8))
    keep(path, "measurements", record(batch=4))
    keep(path, "measurements", record(batch=8, products_per_second=3.0))
    kept = json.loads(path.read_text())["measurements"]
    assert [(r["batch"], r["products_per_second"]) for r in kept] == [(4, 2.5), (8, 3.0)]


def test_the_tables_contain_the_measurements(tmp_path):
    path, page = tmp_path / "train_step-cpu.json", tmp_path / "page.md"
    ratio = {"median": 1.3, "low": 1.2, "high": 1.4, "n": 3}
    ours = {"precision": "fp32", "mode": "eager", "products_per_second": 3.25}
    keep(path, "measurements", record())
    keep(path, "measurements", record(missing="half", step_ms=960.0))
    keep(path, "measurements", record(mode="twin", peak_memory_gib=None, ratio=ratio, ours=ours))
    keep(path, "measurements", failure(replace(SMALL, batch=64), "out of memory") | {
        "device_name": "a machine"})  # fmt: skip
    keep(path, "profiles", record(ms={"matrix products": 30.0, IDLE: 10.0}))
    page.write_text(f"# Speed\n{BEGIN}\nold\n{END}\nend\n")
    text = write_tables(page, tmp_path).read_text()
    assert text.startswith("# Speed\n")
    assert text.endswith("end\n")
    assert "old" not in text
    assert "| half | skip | 4 | 2.50 | 960 | 60% |" in text
    assert "1.30 (1.20 to 1.40, n = 3)" in text
    assert "| 64 | out of memory |" in text
    assert "| matrix products | 30 | 75% |" in text
    write_tables(page, tmp_path)
    assert page.read_text() == text


def test_a_page_without_markers_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Speed\n")
    with pytest.raises(ValueError, match="must each occur once"):
        write_tables(page, tmp_path)


def test_the_page_has_the_tables_of_the_results():
    made = "\n\n".join(tables(PAGE.parents[1] / "benchmarks" / "results"))
    assert made in PAGE.read_text(encoding="utf-8")
