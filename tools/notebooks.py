"""Execute the notebooks from their sources (`make notebooks`).

    python tools/notebooks.py            # all
    python tools/notebooks.py 09 13      # those whose names begin with 09 or 13

The source of a notebook is `notebooks/src/<name>.py` (jupytext, py:percent); edit that file. Each
source is executed in `notebooks/` and written with its outputs, except for everything that differs
between two executions (widget state, ids, times, versions).
"""

import argparse
import base64
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbstripout import strip_output
from PIL import Image
from tqdm.auto import tqdm

from scale.viz.theme import reduce_colours

FOLDER = Path(__file__).parents[1] / "notebooks"
SECONDS = 300
"""Time limit of a cell in seconds; one cell may train the demo."""
VISIBLE = 24
"""Largest change of a colour value (of 255) that a palette may cause."""
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
VOLATILE = ["metadata.widgets", "cell.metadata.execution", "metadata.language_info"]
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def read_source(path: Path) -> NotebookNode:
    """Return the notebook of a source, without outputs and with folded solutions."""
    notebook = jupytext.read(path, fmt="py:percent")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place:03d}"
        if "solution" in cell.metadata.get("tags", []):
            cell.metadata["jupyter"] = {"source_hidden": True, "outputs_hidden": True}
    return notebook


def execute(notebook: NotebookNode) -> NotebookNode:
    """Run all cells in the notebooks' folder and keep only reproducible outputs."""
    os.environ["TQDM_DISABLE"] = "1"  # the kernel's progress bars differ between runs
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": FOLDER}}).execute()
    clean = strip_output(
        notebook, keep_output=True, keep_count=True, keep_id=True, extra_keys=VOLATILE
    )
    for cell in clean.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(WIDGET_VIEW, None)
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
    return clean


def smaller(encoded: str) -> str:
    """Return a PNG (base64) with a palette of 256 colours, a third of the size.

    Pictures whose colours would change visibly (photographs) are not reduced.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        path.write_bytes(base64.b64decode(encoded))
        with Image.open(path) as opened:
            before_HWC = np.asarray(opened.convert("RGB"), dtype=int)
        reduce_colours(path)
        with Image.open(path) as opened:
            after_HWC = np.asarray(opened.convert("RGB"), dtype=int)
        if np.abs(after_HWC - before_HWC).max() > VISIBLE:
            Image.fromarray(before_HWC.astype(np.uint8)).save(path, format="png", optimize=True)
        return base64.b64encode(path.read_bytes()).decode("ascii")


def main(starts: list[str]) -> int:
    """Execute the notebooks whose names begin with one of `starts`; return the failures."""
    sources = sorted(path for path in (FOLDER / "src").glob("*.py"))
    chosen = [path for path in sources if not starts or path.name.startswith(tuple(starts))]
    if not chosen:
        print(f"no source in {FOLDER / 'src'} begins with {', '.join(starts)}", file=sys.stderr)
        return 1
    failed = 0
    for path in tqdm(chosen, unit="notebook"):
        started, notebook = time.perf_counter(), read_source(path)
        try:
            nbformat.write(execute(notebook), FOLDER / f"{path.stem}.ipynb")
        except CellExecutionError as error:
            failed += 1
            print(f"{path.name}: {error}", file=sys.stderr)
        tqdm.write(f"{path.stem}: {time.perf_counter() - started:.0f} s")
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("starts", nargs="*", help="beginnings of names, e.g. 09")
    sys.exit(main(parser.parse_args().starts))
