"""Speed of the embedding explorer's maps with many random points, in JupyterLab and Chromium.

    python benchmarks/explorers_embeddings.py

For each number of points: seconds to build the map in Python, seconds from the start of its cell
until the browser has drawn it, frames per second while it is panned and zoomed, and milliseconds in
Python for the neighbours of one point. Frames are those in which the map was drawn, median and
best of five rounds. WebGL runs in software where a machine has no graphics card: what a map of 100
points reaches there is the most that any map can.
Writes benchmarks/results/explorers-embeddings.json.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from playwright.sync_api import Page, expect, sync_playwright

from scale.evaluation.embed import unit
from scale.evaluation.report import provenance, write_json
from scale.explore.point_map import PointMap
from scale.explore.projections import Groups, PointSet

COUNTS = (100, 10_000, 100_000)
GROUPS, WIDTH, CLICKS = 24, 256, 20
ROUNDS = 5
SECONDS = 180
"""A server or a cell may take."""
FLAGS = ("--no-sandbox", "--enable-unsafe-swiftshader")
OUT = Path(__file__).parent / "results" / "explorers-embeddings.json"
ROOT = Path(__file__).parents[1]

FIRST = f"""import sys, time
sys.path.insert(0, {str(ROOT)!r})
import jscatter, torch
from benchmarks.explorers_embeddings import random_map"""
"""Loads what is loaded when an explorer opens."""
SECOND = """started = time.time()
display(random_map({count}))
print("started", started)"""

DRAWN = """() => {
  let view = document.querySelector(".scale-map canvas");
  while (view && !view.api) view = view.parentElement;
  return view && view.api.get("isPointsDrawn") ? Date.now() / 1000 : null;
}"""
"""When the map was first seen drawn."""
MOVE = """async (kind) => {
  let view = document.querySelector(".scale-map canvas");
  const canvas = view;
  while (!view.api) view = view.parentElement;
  const box = canvas.getBoundingClientRect();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const send = (type, options) => {
    const all = { bubbles: true, cancelable: true, clientX: x, clientY: y, buttons: 1, ...options };
    canvas.dispatchEvent(type === "wheel" ? new WheelEvent(type, all) : new MouseEvent(type, all));
  };
  let drawn = 0;
  view.api.subscribe("draw", () => drawn++);
  send("mousedown", {});
  const started = performance.now();
  for (let k = 0; performance.now() - started < 4000; k++) {
    if (kind === "pan") send("mousemove", { clientX: x + 2 * (k % 60), clientY: y + (k % 30) });
    else send("wheel", { deltaY: k % 40 < 20 ? -20 : 20 });
    await new Promise(requestAnimationFrame);
  }
  send("mouseup", { buttons: 0 });
  return (1000 * drawn) / (performance.now() - started);
}"""
"""Moves the map once per frame of the page for four seconds; how often a second it was drawn."""


def random_map(count: int) -> PointMap:
    """Points in blobs, one a group."""
    rng = np.random.default_rng(0)
    code_P = rng.integers(0, GROUPS, count)
    xy_P2 = rng.normal(size=(GROUPS, 2))[code_P] * 4 + rng.normal(size=(count, 2))
    return PointMap(xy_P2, Groups.of([f"group {k}" for k in code_P], "unknown", "rest"))


def python_times(count: int) -> dict[str, float]:
    """Seconds to build a map, and milliseconds for the neighbours of a point."""
    started = time.perf_counter()
    random_map(count)
    built = time.perf_counter() - started
    rng = np.random.default_rng(1)
    emb_PD = unit(rng.normal(size=(count, WIDTH)).astype(np.float32))
    cloud = PointSet(emb_PD, np.arange(count), np.full(count, ""))
    xy_P2 = rng.normal(size=(count, 2))
    times = []
    for point in range(CLICKS):
        started = time.perf_counter()
        cloud.neighbours(point, xy_P2)
        times.append(1e3 * (time.perf_counter() - started))
    return {"build_s": built, "neighbours_ms": float(np.median(times))}


@contextmanager
def jupyter(folder: Path) -> Iterator[str]:
    """Address of a JupyterLab over a folder, until the block ends."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyter", "lab", str(folder), "--no-browser", "--allow-root",
        f"--port={port}", "--IdentityProvider.token=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--LabApp.user_settings_dir={folder / 'settings'}",
        f"--LabApp.workspaces_dir={folder / 'workspaces'}",
    ]  # fmt: skip
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(4 * SECONDS):
            try:
                urlopen(f"http://127.0.0.1:{port}/lab", timeout=5).close()
                break
            except (URLError, OSError):
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}/lab"
    finally:
        server.terminate()
        server.wait(timeout=30)


def write_notebook(path: Path, count: int) -> None:
    """A notebook that shows a map and prints when it began to."""
    cells = [
        {"cell_type": "code", "id": f"cell{k}", "metadata": {}, "outputs": [], "source": source,
         "execution_count": None}
        for k, source in enumerate((FIRST, SECOND.format(count=count)))
    ]  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(book), encoding="utf-8")


def browser_times(page: Page, address: str, name: str) -> dict[str, float]:
    """Seconds until drawn, frames per second panning and zooming."""
    page.goto(f"{address}/workspaces/{name}/tree/{name}.ipynb")
    idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    expect(idle).to_be_visible(timeout=1e3 * SECONDS)
    # A kernel that has just connected loses what it is asked at once.
    page.wait_for_timeout(3000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    seen = page.wait_for_function(DRAWN, timeout=1e3 * SECONDS).json_value()
    printed = page.locator(".jp-OutputArea-output", has_text="started").last
    found = {"until_drawn_s": seen - float(printed.inner_text().split()[1])}
    page.mouse.move(*centre(page))
    for kind in ("pan", "zoom"):
        rounds = [page.evaluate(MOVE, kind) for _ in range(ROUNDS)]
        found |= {f"{kind}_fps": float(np.median(rounds)), f"{kind}_fps_best": max(rounds)}
    return found


def centre(page: Page) -> tuple[float, float]:
    """Of the map, in pixels of the page."""
    box = page.locator(".scale-map canvas").first.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def main() -> None:
    """Print and write the times of each number of points."""
    started = time.perf_counter()
    found = {}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(FLAGS)
        )
        with jupyter(folder) as address:
            for count in COUNTS:
                write_notebook(folder / f"points{count}.ipynb", count)
                page = browser.new_page(viewport={"width": 1500, "height": 1000})
                found[count] = python_times(count)
                found[count] |= browser_times(page, address, f"points{count}")
                page.close()
                told = ", ".join(f"{key} {value:.2f}" for key, value in found[count].items())
                print(f"{count} points: {told}", flush=True)
        chromium = browser.version
        browser.close()
    facts = provenance(0, started) | {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "chromium": f"{chromium}, headless, WebGL in software (SwiftShader)",
        "packages": {p: version(p) for p in ("jupyter-scatter", "jupyterlab", "ipywidgets")},
    }
    write_json(OUT, {"definition": __doc__, "points": found, "provenance": facts})


if __name__ == "__main__":
    main()
