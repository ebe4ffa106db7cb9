"""Results of `train_step.py`: JSON files, and the tables of docs/performance.md."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scale.evaluation.report import write_json
from scale.files import write_whole

Record = dict[str, Any]
RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
DEFINITION = (
    "Whole training steps on random products in a preset's shapes: products per second (median of "
    "the repeats), peak memory (CUDA: the allocator's; CPU: growth of the process), mfu: counted "
    "operations of forward and backward pass over time and the measured peak of a matrix product "
    "at the same precision"
)
PLACE = ("preset", "device_name", "precision", "mode", "batch", "micro_batch")
KEY = (*PLACE, "missing", "policy")
"""A record replaces an older one with the same values of these."""
ORDER = {
    "precision": ("fp32", "bf16"),
    "mode": ("eager", "compiled", "twin"),
    "missing": ("complete", "m5product", "half"),
    "policy": ("skip", "learned", "zero"),
}


def results_file(device: str) -> Path:
    """Path of the measurements on a device."""
    return RESULTS / f"train_step-{device}.json"


def keep(path: Path, part: str, record: Record) -> None:
    """Add a record to a part of the file, `measurements` or `profiles`, in a fixed order."""
    tree = {"definition": DEFINITION, "measurements": [], "profiles": []}
    if path.is_file():
        tree |= json.loads(path.read_text(encoding="utf-8"))
    others = [known for known in tree[part] if _key(known) != _key(record)]
    tree[part] = sorted([*others, record], key=_rank)
    write_json(path, tree)


def write_tables(page: Path = PAGE, results: Path = RESULTS) -> Path:
    """Write the tables of all results between the page's markers.

    Raises ValueError if the page does not have each marker once.
    """
    return write_between(page, BEGIN, END, "\n\n".join(tables(results)))


def write_between(page: Path, begin: str, end: str, content: str) -> Path:
    """Replace the text between two markers of a page; ValueError unless each occurs once."""
    text = page.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{page}: {begin} and {end} must each occur once")
    before, after = text.split(begin)[0], text.split(end)[1]
    write_whole(page, f"{before}{begin}\n\n{content}\n\n{end}{after}")
    return page


def tables(results: Path) -> Iterable[str]:
    """Paragraphs of Markdown, file by file and device by device."""
    for path in sorted(results.glob("train_step-*.json")):
        tree = json.loads(path.read_text(encoding="utf-8"))
        for name in sorted({r["device_name"] for r in tree["measurements"]}):
            own = [r for r in tree["measurements"] if r["device_name"] == name]
            yield f"### {name}"
            yield _conditions(own)
            yield speed_table(own)
            if any("ratio" in r for r in own):
                yield twin_table(own)
            for record in tree["profiles"]:
                if record["device_name"] == name:
                    yield profile_table(record)


def speed_table(records: list[Record]) -> str:
    """One row per measurement of our implementation."""
    # The policy has no effect on complete products; the first record counts.
    complete = {_place(r): r for r in reversed(records) if r["missing"] == "complete"}
    head = ("precision", "mode", "missing", "policy", "batch", "products/s", "step, ms",
            "of complete", "at least, ms: operations", "traffic", "peak GiB",
            "GFLOP per product", "MFU")  # fmt: skip
    rows = []
    for r in records:
        if r["mode"] == "twin":
            continue
        batch = f"{r['batch']:,}" + (f" in {r['micro_batch']}" if r["micro_batch"] else "")
        words = [r["precision"], r["mode"], r["missing"], r["policy"], batch]
        if "failed" in r:
            rows.append([*words, r["failed"], *[""] * (len(head) - 6)])
            continue
        whole = complete.get(_place(r), {}).get("step_ms")
        share = f"{r['step_ms'] / whole:.0%}" if whole and r["missing"] != "complete" else ""
        rows.append([
            *words, _number(r["products_per_second"]), f"{r['step_ms']:,.0f}", share,
            f"{r['floor_operations_ms']:,.0f}", f"{r['floor_traffic_ms']:,.0f}",
            f"{r['peak_memory_gib']:.1f}", f"{r['flops_per_product'] / 1e9:.1f}", f"{r['mfu']:.0%}",
        ])  # fmt: skip
    return _table(head, rows)


def twin_table(records: list[Record]) -> str:
    """One row per comparison with the reference implementation."""
    rows = []
    for r in records:
        if r["mode"] != "twin":
            continue
        if "failed" in r:
            rows.append([r["missing"], f"{r['batch']:,}", "", r["failed"], "", ""])
            continue
        ours, ratio = r["ours"], r["ratio"]
        rows.append([
            r["missing"], f"{r['batch']:,}", f"{ours['precision']} {ours['mode']}",
            _number(ours["products_per_second"]), _number(r["products_per_second"]),
            f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}, n = {ratio['n']})",
        ])  # fmt: skip
    head = ("missing", "batch", "ours", "ours, products/s", "reference, products/s", "ratio")
    return _table(head, rows)


def profile_table(record: Record) -> str:
    """Time of one step by kind of operation."""
    total = sum(record["ms"].values())
    title = " ".join(str(record[n]) for n in ("precision", "mode", "missing", "policy"))
    rows = [[kind, f"{ms:,.0f}", f"{ms / total:.0%}"] for kind, ms in record["ms"].items()]
    rows.append(["total", f"{total:,.0f}", ""])
    return _table((f"a step of {record['batch']:,}, {title}", "ms", "share"), rows)


def _conditions(records: list[Record]) -> str:
    """Conditions of the measurements below."""
    measured = [r for r in records if "failed" not in r]
    peaks = [
        f"{precision} {max(r['peak_flops'] for r in own) / 1e12:.3g} TFLOP/s"
        for precision in ORDER["precision"]
        if (own := [r for r in measured if r["precision"] == precision])
    ]
    bandwidth = max((r["bandwidth"] for r in measured), default=0) / 1e9
    loads = [r["load"] for r in records]
    commits = sorted({_commit(r) for r in records})
    return (
        f"{records[0]['threads']} threads; torch {records[0]['versions']['torch']}; load when "
        f"measured {min(loads):.1f} to {max(loads):.1f}; matrix peak {', '.join(peaks)}; copy "
        f"{bandwidth:.3g} GB/s; commit {', '.join(commits)}; "
        f"{', '.join(sorted({r['date'] for r in records}))}."
    )


def _commit(record: Record) -> str:
    return (record["commit"] or "unknown")[:7] + " (changed)" * bool(record["dirty"])


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(tuple(head)), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _key(record: Record) -> tuple:
    return tuple(record[name] for name in KEY)


def _place(record: Record) -> tuple:
    return tuple(record[name] for name in PLACE)


def _rank(record: Record) -> tuple:
    return tuple(
        ORDER[name].index(record[name]) if name in ORDER else record[name]
        for name in ("preset", "device_name", "missing", "policy", "precision", "mode", "batch",
                     "micro_batch")
    )  # fmt: skip
