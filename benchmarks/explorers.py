"""Latency of the panels, time to open a page, memory of the server, and speed of the map.

    python -m benchmarks.explorers moves runs/demo data_samples
    python -m benchmarks.explorers pages runs/demo data_samples
    python -m benchmarks.explorers memory runs/demo data_samples
    python -m benchmarks.explorers embeddings
    python -m benchmarks.explorers scores runs/demo data_samples
    python -m benchmarks.explorers masking runs/demo data_samples

`moves`, `pages` and `memory` measure `scale explore` in Chromium. `moves`: milliseconds from a key
on the noise slider of the picture to the answer in the page, and to the sign that it computes
(200 moves). `pages`: seconds from the request to the visible panel, of each tab (five openings,
each in a fresh profile; the first one separately). `memory`: MB of the server and its kernels (PSS:
shared memory counted once), with one page, after 200 moves, and after 20 openings of a page.

`scores` and `masking` measure the time from a change of a control to the new HTML, in Python: for
every control of the score panel, and for a click, a switch of another modality and a change of the
product in the masking panel. The browser's time is not included.

`embeddings` measures maps of random points in JupyterLab and Chromium, by number of points: seconds
to build the map in Python and from the start of the cell until the browser has drawn it;
milliseconds for the neighbours of one point in Python, for a frame while panning and zooming (two
rounds of three seconds), and from a move of the mouse to Python's answer on the page. `redraws` is
the number of frames for which all points were drawn. WebGL runs in software.

Writes benchmarks/results/explorers-NAME.json, with the one-minute load before and after. P points,
D width.
"""

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from scale.evaluation.embed import unit
from scale.evaluation.report import provenance, write_json
from scale.explore.masking import MaskingExplorer
from scale.explore.panel import DELAY
from scale.explore.point_map import PointMap
from scale.explore.projections import Groups, PointSet
from scale.explore.scores import ScoreExplorer
from scale.explore.source import ExplorerSource
from scale.modalities import TASKS
from tests.browser import servers
from tests.browser.servers import ROOT, SECONDS

RESULTS = ROOT / "benchmarks" / "results"
MOVES, WARM_UP = 60, 2
"""Measured and unmeasured changes of each control."""
PRODUCTS = 20
POINTS = (100, 10_000, 100_000)
GROUPS, WIDTH, CLICKS, ROUNDS, HOVERS = 24, 256, 20, 2, 40


def milliseconds(moves: list[Callable[[], object]]) -> dict[str, float]:
    """Wall and CPU time of a move, after `WARM_UP` moves."""
    wall, cpu = [], []
    for move in moves:
        started = time.perf_counter(), time.process_time()
        move()
        wall.append(1e3 * (time.perf_counter() - started[0]))
        cpu.append(1e3 * (time.process_time() - started[1]))
    wall, cpu = wall[WARM_UP:], cpu[WARM_UP:]
    return {
        "median": float(np.median(wall)),
        "p95": float(np.percentile(wall, 95)),
        "cpu_median": float(np.median(cpu)),
        "cpu_p95": float(np.percentile(cpu, 95)),
        "n": len(wall),
    }


def measure_scores(source: ExplorerSource) -> dict[str, dict[str, float]]:
    """Milliseconds by control of the score panel."""
    panel, found = ScoreExplorer(source), {}
    for name, control in controls(panel):
        before = control.value
        found[name] = milliseconds([partial(change, panel, control, v) for v in walk(control)])
        control.value = before
    return found


def controls(panel: ScoreExplorer) -> Iterator[tuple[str, ipywidgets.Widget]]:
    """Every control with its name; the strength slider once for each kind of noise."""
    for m, column in panel.columns.items():
        yield f"{m}, present", column.present
        yield f"{m}, another product's", column.mismatch
        for _, kind in column.kind.options:
            column.kind.value = kind
            yield f"{m}, {kind}", column.strength
    yield "policy", panel.policy
    yield "training step", panel.step
    yield "product", panel.picker.list
    yield "model", panel.model


def walk(control: ipywidgets.Widget) -> list:
    """Values of a control for the moves: up and down through all of them."""
    if isinstance(control, ipywidgets.Checkbox):
        values = [True, False]
    else:
        values = [o[1] if isinstance(o, tuple) else o for o in control.options]
    circle = [*values, *values[-2:0:-1]]
    start = circle.index(control.value)
    return [circle[(start + k) % len(circle)] for k in range(1, MOVES + WARM_UP + 1)]


def change(panel: ScoreExplorer, control: ipywidgets.Widget, value: object) -> None:
    """Set a control; RuntimeError if the panel reports an error."""
    control.value = value
    if panel.error:
        raise RuntimeError(panel.error)


def measure_masking(source: ExplorerSource) -> dict[str, dict[str, float]]:
    """Milliseconds of the masking panel, by pretext task and kind of move."""
    found = {}
    for task in TASKS:
        panel = MaskingExplorer(source, task=task)
        keys = re.findall(r'data-key="([^"]+)"', panel.prompt.html)
        clicks = islice(cycle(keys), MOVES + WARM_UP)
        found[f"{task}, click"] = milliseconds([partial(panel.prompt.pick, k) for k in clicks])
        panel.hide_random()
        boxes = cycle(box for box in panel.beside.values() if not box.disabled)

        found[f"{task}, switch"] = milliseconds(
            [partial(toggle, box) for box in islice(boxes, MOVES + WARM_UP)]
        )
        rows = source.rows.tolist()[1 : PRODUCTS + WARM_UP + 1]
        found[f"{task}, product"] = milliseconds(
            [partial(panel.picker.choose, row) for row in rows]
        )
    return found


def toggle(box: ipywidgets.Checkbox) -> None:
    """Change a checkbox."""
    box.value = not box.value


def random_map(count: int) -> PointMap:
    """A map of Gaussian blobs, one per group; its title is the hovered point."""

    def hovered(index: int | None) -> None:
        shown.title.html = f"{index}"

    rng = np.random.default_rng(0)
    code_P = rng.integers(0, GROUPS, count)
    xy_P2 = rng.normal(size=(GROUPS, 2))[code_P] * 4 + rng.normal(size=(count, 2))
    groups = Groups.of([f"group {k}" for k in code_P], "unknown", "rest")
    shown = PointMap(xy_P2, groups, hovered)
    return shown


def measure_points(count: int) -> dict[str, float]:
    """Seconds to build a map, and milliseconds for the neighbours of a point."""
    started = time.perf_counter()
    random_map(count)
    built = time.perf_counter() - started
    rng = np.random.default_rng(1)
    emb_PD = unit(rng.normal(size=(count, WIDTH)).astype(np.float32))
    points = PointSet(emb_PD, np.arange(count), np.full(count, ""))
    xy_P2 = rng.normal(size=(count, 2))
    moves = [partial(points.neighbours, p, xy_P2) for p in range(CLICKS + WARM_UP)]
    return {"build_s": built, "neighbours_ms": milliseconds(moves)["median"]}


FIRST = f"""import sys, time
sys.path.insert(0, {str(ROOT)!r})
import jscatter, torch
from benchmarks.explorers import random_map"""
"""The imports of the panel."""
SECOND = """started = time.time()
display(random_map({count}))
print("started", started)"""

API = """
  window.map = () => {
    let view = document.querySelector(".scale-map canvas");
    while (view && !view.api) view = view.parentElement;
    return view?.api;
  };
  const look = () => {
    if (map()?.get("isPointsDrawn")) window.drawn = Date.now() / 1000;
    else requestAnimationFrame(look);
  };
  look();"""
"""Note the time at which the map has been drawn."""
MOVE = """async (kind) => {
  const [canvas, layer] = [map().get("canvas"), document.querySelector(".scale-map-layer")];
  const box = canvas.getBoundingClientRect();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const send = (type, options) => {
    const all = { bubbles: true, cancelable: true, clientX: x, clientY: y, buttons: 1, ...options };
    canvas.dispatchEvent(type === "wheel" ? new WheelEvent(type, all) : new MouseEvent(type, all));
  };
  const [frames, redraws] = [[], layer.dataset.redraws];
  send("mousedown", {});
  let [started, last] = [performance.now(), performance.now()];
  for (let k = 0; last - started < 3000; k++) {
    if (kind === "pan") send("mousemove", { clientX: x + 2 * (k % 60), clientY: y + (k % 30) });
    else send("wheel", { deltaY: k % 40 < 20 ? -20 : 20 });
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - last);
    last = performance.now();
  }
  send("mouseup", { buttons: 0 });
  const found = layer.dataset.redraws - redraws;
  await new Promise((resolve) => setTimeout(resolve, 1000));
  return [frames, found];
}"""
"""Pan or zoom for three seconds; return milliseconds of each frame, and the number of redraws."""
HOVER = """async (count) => {
  const [canvas, found] = [map().get("canvas"), []];
  const [box, title] = [canvas.getBoundingClientRect(), canvas.closest(".scale-map").firstChild];
  const points = map().get("points").length;
  canvas.dispatchEvent(new MouseEvent("mouseenter"));
  for (let k = 1; k <= count; k++) {
    const before = map().get("hoveredPoint");
    const [x, y] = map().getScreenPosition(Math.floor((points * k) / (count + 1)));
    const started = performance.now();
    canvas.dispatchEvent(
      new MouseEvent("mousemove", { bubbles: true, clientX: box.x + x, clientY: box.y + y }),
    );
    const hovered = map().get("hoveredPoint");
    if (hovered === before) continue;
    while (title.textContent !== `${hovered}`) await new Promise(requestAnimationFrame);
    found.push(performance.now() - started);
  }
  return found;
}"""
"""Hover points; return the milliseconds until Python's answer is drawn, of each."""
SLIDE = """async (count) => {
  const panel = document.querySelector(".scale-score-explorer");
  const handle = panel.querySelector(".scale-modality-image .noUi-handle");
  const found = [];
  for (let k = 0; k < count; k++) {
    const started = performance.now();
    let sign = null;
    const answered = new Promise((resolve) => {
      const watch = new MutationObserver(() => {
        const busy = panel.classList.contains("scale-is-busy");
        if (busy && sign === null) sign = performance.now() - started;
        if (busy || sign === null) return;
        watch.disconnect();
        resolve(true);
      });
      watch.observe(panel, { attributes: true, attributeFilter: ["class"] });
      setTimeout(() => resolve(false), 10_000);
    });
    const key = k % 20 < 10 ? "ArrowRight" : "ArrowLeft";
    handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    if (await answered) found.push([performance.now() - started, sign]);
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
  return found;
}"""
"""Press arrow keys on a slider; return milliseconds to the answer and to the sign of each."""
SLIDES, LOADS, OPENINGS = 200, 20, 5
PANEL_CLASSES = {
    "scores": "score-explorer",
    "masking": "masking",
    "embeddings": "embeddings",
    "training": "monitor",
}


@contextmanager
def explored(run: Path, catalogue: Path) -> Iterator[tuple[str, Browser]]:
    """Run `scale explore` and Chromium; yield the address and the browser."""
    options = ("--catalogue", str(catalogue.absolute()))
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.explore(run.absolute(), Path(folder), *options) as address,
        sync_playwright() as playwright,
    ):
        yield address, servers.launch_chromium(playwright)


def open_panel(browser: Browser, address: str, panel: str = "scores") -> tuple[Page, float]:
    """Return a page whose panel is visible, and the seconds until it is."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    started = time.perf_counter()
    page.goto(f"{address}?panel={panel}", timeout=1e3 * SECONDS)
    page.locator(f".scale-{PANEL_CLASSES[panel]}").wait_for(timeout=1e3 * SECONDS)
    return page, time.perf_counter() - started


def measure_moves(run: Path, catalogue: Path) -> dict[str, dict[str, float]]:
    """Milliseconds in the browser from a move of a slider to the answer, and to the sign."""
    with explored(run, catalogue) as (address, browser):
        page, _ = open_panel(browser, address)
        page.wait_for_timeout(4000)
        page.evaluate(SLIDE, WARM_UP)
        found_K2 = np.array(page.evaluate(SLIDE, SLIDES))
    names = ("answer", "sign")
    return {name: summary(found_K2[:, k].tolist()) for k, name in enumerate(names)}


def measure_pages(run: Path, catalogue: Path) -> dict[str, dict[str, float]]:
    """Seconds to a usable page, by panel, each in a fresh profile of the browser."""
    found = {}
    with explored(run, catalogue) as (address, browser):
        for panel in PANEL_CLASSES:
            seconds = []
            for _ in range(OPENINGS):
                page, taken = open_panel(browser, address, panel)
                seconds.append(taken)
                page.close(run_before_unload=True)
            found[panel] = {"first": seconds[0]} | summary(seconds[1:])
    return found


def measure_memory(run: Path, catalogue: Path) -> dict[str, dict[str, float]]:
    """MB of the server and its kernels after use."""
    found: dict[str, dict[str, float]] = {}
    with explored(run, catalogue) as (address, browser):
        page, _ = open_panel(browser, address)
        page.wait_for_timeout(4000)

        def note(name: str) -> None:
            found[name] = {"mb": memory_megabytes(address)}

        note("one page")
        page.evaluate(SLIDE, SLIDES)
        note(f"{SLIDES} moves")
        for _ in range(LOADS):
            other, _ = open_panel(browser, address)
            other.close(run_before_unload=True)
        page.wait_for_timeout(10_000)
        note(f"{LOADS} page loads, closed")
    return found


def summary(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile, maximum and number of values."""
    ends = {"median": float(np.median(values)), "p95": float(np.percentile(values, 95))}
    return ends | {"max": max(values), "n": len(values)}


def memory_megabytes(address: str) -> int:
    """Memory of the server with that port and of its descendants (PSS: shared pages once)."""
    port, parents, found = address.rstrip("/").rsplit(":", 1)[1], {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        parents[int(folder.name)] = parent
        if b"explore" in words and port.encode() in words:
            found.add(int(folder.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sum(_pss(pid) for pid in found) // 1024


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def write_notebook(path: Path, count: int) -> None:
    """Write a notebook that shows a map and prints the start time of its cell."""
    cells = [
        {"cell_type": "code", "id": f"cell{k}", "metadata": {}, "outputs": [], "source": source,
         "execution_count": None}
        for k, source in enumerate((FIRST, SECOND.format(count=count)))
    ]  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(book), encoding="utf-8")


def measure_browser(page: Page, lab: str, name: str) -> dict[str, float]:
    """Seconds until the map is drawn, and milliseconds of a frame and of a hover."""
    page.add_init_script(API)
    servers.start_notebook(page, lab, f"{name}.ipynb", name)
    drawn = page.wait_for_function("window.drawn", timeout=1e3 * SECONDS).json_value()
    printed = page.locator(".jp-OutputArea-output", has_text="started").last
    found = {"until_drawn_s": drawn - float(printed.inner_text().split()[1])}
    page.locator(".scale-map-layer").wait_for()
    page.wait_for_timeout(2000)
    for kind in ("pan", "zoom"):
        rounds = [page.evaluate(MOVE, kind) for _ in range(ROUNDS)]
        frames = [frame for frames, _ in rounds for frame in frames]
        found |= {f"{kind}_ms_{key}": value for key, value in summary(frames).items()}
        found[f"{kind}_redraws"] = sum(redraws for _, redraws in rounds)
    hovers = page.evaluate(HOVER, HOVERS + WARM_UP)[WARM_UP:]
    return found | {f"hover_ms_{key}": value for key, value in summary(hovers).items()}


def measure_embeddings() -> tuple[dict[int, dict[str, float]], dict[str, Any]]:
    """Times by number of points, and the versions of browser and packages."""
    found = {}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder, browser = Path(name), servers.launch_chromium(playwright)
        with servers.jupyter(folder, folder) as lab:
            for count in POINTS:
                write_notebook(folder / f"points{count}.ipynb", count)
                page = browser.new_page(viewport={"width": 1500, "height": 1000})
                found[count] = measure_points(count)
                found[count] |= measure_browser(page, lab, f"points{count}")
                page.close()
        chromium = browser.version
        browser.close()
    packages = {p: version(p) for p in ("jupyter-scatter", "jupyterlab", "ipywidgets")}
    return found, {
        "chromium": f"{chromium}, headless, WebGL in software (SwiftShader)",
        "packages": packages,
    }


def main() -> None:
    """Measure one panel; print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    panels = parser.add_subparsers(dest="panel", required=True)
    for name in ("scores", "masking", "moves", "pages", "memory"):
        command = panels.add_parser(name)
        command.add_argument("run", type=Path)
        command.add_argument("catalogue", type=Path)
    panels.add_parser("embeddings")
    served = {"moves": measure_moves, "pages": measure_pages, "memory": measure_memory}
    arguments = parser.parse_args()
    started, facts, load = time.perf_counter(), {}, os.getloadavg()[0]
    if arguments.panel == "embeddings":
        found, facts = measure_embeddings()
    elif arguments.panel in served:
        found = served[arguments.panel](arguments.run, arguments.catalogue)
    else:
        source = ExplorerSource.open(arguments.run, arguments.catalogue)
        found = {"scores": measure_scores, "masking": measure_masking}[arguments.panel](source)
        facts = {"products": len(source.data), "debounce_ms": 1e3 * DELAY}
    facts |= provenance(0, started) | {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": {"before": load, "after": os.getloadavg()[0]},
    }
    path = RESULTS / f"explorers-{arguments.panel}.json"
    write_json(path, {"definition": __doc__, "measurements": found, "provenance": facts})
    for name, values in found.items():
        print(f"{name!s:<28}", ", ".join(f"{key} {value:.2f}" for key, value in values.items()))
    print(f"load {load:.2f} before, {os.getloadavg()[0]:.2f} after; written: {path}")


if __name__ == "__main__":
    main()
