"""Write the tables of docs/search_scale.md from benchmarks/results/search_scale.json.

python benchmarks/search_tables.py
"""

import json
from pathlib import Path
from typing import Any

from scale.files import write_whole

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- tables: benchmarks/search_tables.py -->", "<!-- end of tables -->"


def write_tables(page: Path, tree: dict[str, Any]) -> None:
    """Replace the tables between the marks of the page."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    parts = [_searches(tree), _builds(tree), _six_million(tree), _origin(tree)]
    write_whole(page, before + BEGIN + "\n" + "\n\n".join(parts) + "\n" + END + after)


def _searches(tree: dict[str, Any]) -> str:
    rows = [
        "| vectors | index | probes | ranked again | recall@10 | one query, median (p95) ms | "
        "queries a second, together |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in tree["measurements"]:
        for way in one["search"]:
            error, alone = way["recall_standard_error"], way["latency_ms"]
            rows.append(
                f"| {one['data']} | {one['kind']} | {way.get('probes', 'all')} | "
                f"{way.get('candidates', '-')} | {way['recall@10']:.3f} ± {1.96 * error:.3f} | "
                f"{alone['median']:.1f} ({alone['p95']:.1f}) | {way['queries_per_second']:,.0f} |"
            )
    return "\n".join(rows)


def _builds(tree: dict[str, Any]) -> str:
    rows = [
        "| vectors | index | lists | build: vectors, train, add, recall (s) | index GB | own "
        "memory at most, GiB | first query, nothing cached (ms) | load before, after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in tree["measurements"]:
        seconds = ", ".join(
            f"{one['seconds'][part]:.0f}" if part in one["seconds"] else "-"
            for part in ("vectors", "train", "add", "recall")
        )
        cold = "-" if one["cold_query_ms"] is None else f"{one['cold_query_ms']:.0f}"
        rows.append(
            f"| {one['data']} | {one['kind']} | {one['settings']['lists'] or '-'} | {seconds} | "
            f"{sum(one['bytes'].values()) / 1e9:.2f} | {one['peak_build_gib']:.2f} | "
            f"{cold} | {one['load_before']:.1f}, {one['load_after']:.1f} |"
        )
    return "\n".join(rows)


def _six_million(tree: dict[str, Any]) -> str:
    found = tree["six_million"]
    units = {"seconds": (60, "min"), "bytes": (1e9, "GB"), "ms": (1, "ms")}
    rows = [f"| {found['products']:,} products, {found['lists']:,} lists | | from 1 million |",
            "|---|---|---|"]  # fmt: skip
    for name, value in found.items():
        if isinstance(value, list):
            size, unit = units[name.rsplit("_", 1)[1]]
            words = name.rsplit("_", 1)[0].replace("_", " ")
            rows.append(f"| {words} | {value[0] / size:,.1f} {unit} | {value[1]} |")
    return "\n".join(rows)


def _origin(tree: dict[str, Any]) -> str:
    facts, first = tree["provenance"], tree["measurements"][0]
    return (
        f"{first['products']:,} vectors of width {first['width']}, {first['threads']} threads of "
        f"{facts['cores']} cores ({facts['device']}), faiss {facts['versions']['faiss']}, commit "
        f"{facts['commit'][:9]}{' with changes' if facts['dirty'] else ''}, {facts['date']}. "
        "± is 1.96 standard errors over the queries."
    )


if __name__ == "__main__":
    results = ROOT / "benchmarks" / "results" / "search_scale.json"
    write_tables(ROOT / "docs" / "search_scale.md", json.loads(results.read_text(encoding="utf-8")))
