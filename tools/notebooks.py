"""Execute the notebooks from their sources (`make notebooks`).

    python tools/notebooks.py                    # all
    python tools/notebooks.py 09 13              # those whose names begin with 09 or 13
    python tools/notebooks.py --translate 09     # create or update notebooks/src/zh/09_*.md
    python tools/notebooks.py --lang zh 09       # execute the Chinese edition of 09

The source of a notebook is `notebooks/src/<name>.py` (jupytext, py:percent); edit that file. Each
source is executed in `notebooks/` and written with its outputs, except for everything that differs
between two executions (widget state, ids, times, versions).

The Chinese edition, `notebooks/zh/<name>.ipynb`, has the code cells of the English source and the
Markdown of `notebooks/src/zh/<name>.md`: a block per Markdown cell, in order, each below a line
with the number of the cell and a hash of the English text that it translates:

    <!-- cell 004: 1f0c2a9b -->

`--translate` keeps the blocks whose English text is unchanged. A new or changed one contains the
English text below a line `TODO`, and the former translation below a line `BEFORE`. Code never
appears in these files. The figures are Chinese, because the kernel runs with SCALE_LANG=zh.
"""

import argparse
import base64
import difflib
import hashlib
import os
import re
import sys
import time
from dataclasses import dataclass
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
SOURCES = FOLDER / "src"
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


HEADER = re.compile(r"^<!-- cell (\d{3}): ([0-9a-f]{8}) -->\n", re.M)
UNTRANSLATED = re.compile(r"^TODO$", re.M)


@dataclass(frozen=True)
class Block:
    """Translation of one Markdown cell."""

    place: int
    """Number of the cell in the English source."""
    key: str
    """Hash of the English text."""
    text: str

    def __str__(self) -> str:
        return f"<!-- cell {self.place:03d}: {self.key} -->\n{self.text}\n"


def translation_file(path: Path) -> Path:
    """Return the file with the Chinese text of a source."""
    return SOURCES / "zh" / f"{path.stem}.md"


def read_blocks(text: str) -> list[Block]:
    """Return the blocks of a translation. Raises ValueError for text before the first header."""
    start, *parts = HEADER.split(text)
    if start.strip():
        raise ValueError(f"text before the first header: {start.strip()[:60]!r}")
    return [
        Block(int(place), key, body.strip())
        for place, key, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]


def english_blocks(notebook: NotebookNode) -> list[Block]:
    """Return the Markdown cells of an English source."""
    return [
        Block(place, hashlib.sha1(cell.source.encode()).hexdigest()[:8], cell.source)
        for place, cell in enumerate(notebook.cells)
        if cell.cell_type == "markdown"
    ]


def update_blocks(english: list[Block], chinese: list[Block]) -> list[Block]:
    """Return a block per English one: its translation, or the English text below `TODO`."""
    old, new = ([block.key for block in blocks] for blocks in (chinese, english))
    changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    found: dict[int, str] = {}
    before: dict[int, str] = {}
    for kind, a, b, c, d in changes:
        texts = [block.text for block in chinese[a:b]]
        (found if kind == "equal" else before).update(zip(range(c, d), texts, strict=False))
    # A cell that moved has the hash of a block elsewhere.
    moved = {block.key: block.text for block in chinese}
    blocks = []
    for number, block in enumerate(english):
        text = found.get(number, moved.get(block.key))
        if text is None:
            former = UNTRANSLATED.sub("", before.get(number, "")).strip()
            text = f"TODO\n\n{block.text}" + (f"\n\nBEFORE\n\n{former}" if former else "")
        blocks.append(Block(block.place, block.key, text))
    return blocks


def write_translation(path: Path) -> int:
    """Create or update the Chinese text of a source; return the number of blocks to translate."""
    file = translation_file(path)
    chinese = read_blocks(file.read_text(encoding="utf-8")) if file.exists() else []
    blocks = update_blocks(english_blocks(read_source(path)), chinese)
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(map(str, blocks)), encoding="utf-8")
    return sum(bool(UNTRANSLATED.search(block.text)) for block in blocks)


def read_chinese(path: Path) -> NotebookNode:
    """Return the Chinese notebook of an English source, without outputs.

    Relative links are those of the English text; they are adapted to the folder `notebooks/zh`.

    Raises:
        ValueError: a block is missing, untranslated, or older than its English text.
    """
    notebook, file = read_source(path), translation_file(path)
    english = english_blocks(notebook)
    chinese = read_blocks(file.read_text(encoding="utf-8"))
    keys = {block.key for block in chinese}
    stale = [f"{block.place:03d}" for block in english if block.key not in keys]
    todo = [f"{block.place:03d}" for block in chinese if UNTRANSLATED.search(block.text)]
    if stale or todo or [b.key for b in chinese] != [b.key for b in english]:
        raise ValueError(
            f"{file.name}: out of date; run tools/notebooks.py --translate {path.stem[:2]} "
            f"(stale or missing: {', '.join(stale) or 'none'}; TODO: {', '.join(todo) or 'none'})"
        )
    for block, found in zip(english, chinese, strict=True):
        notebook.cells[block.place].source = re.sub(r"\]\(\.\./", "](../../", found.text)
    return notebook


def execute(notebook: NotebookNode, folder: Path, lang: str) -> NotebookNode:
    """Run all cells in a folder, with figures in a language; keep only reproducible outputs."""
    os.environ["TQDM_DISABLE"] = "1"  # the kernel's progress bars differ between runs
    os.environ["SCALE_LANG"] = lang
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}}).execute()
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


def main(starts: list[str], lang: str = "en", translate: bool = False) -> int:
    """Execute or translate the notebooks whose names begin with one of `starts`.

    Without `starts`: all; in Chinese, all that have a translation. Returns the number of failures.
    """
    chosen = [
        path
        for path in sorted(SOURCES.glob("*.py"))
        if (path.name.startswith(tuple(starts)) if starts else translate or is_in(path, lang))
    ]
    if not chosen:
        print(f"no source in {SOURCES} begins with {', '.join(starts)}", file=sys.stderr)
        return 1
    if translate:
        for path in chosen:
            print(f"{translation_file(path)}: {write_translation(path)} blocks to translate")
        return 0
    failed = 0
    folder = FOLDER if lang == "en" else FOLDER / lang
    folder.mkdir(exist_ok=True)
    for path in tqdm(chosen, unit="notebook"):
        started = time.perf_counter()
        try:
            notebook = read_source(path) if lang == "en" else read_chinese(path)
            nbformat.write(execute(notebook, folder, lang), folder / f"{path.stem}.ipynb")
        except (CellExecutionError, OSError, ValueError) as error:
            failed += 1
            print(f"{path.name}: {error}", file=sys.stderr)
        tqdm.write(f"{path.stem}: {time.perf_counter() - started:.0f} s")
    return failed


def is_in(path: Path, lang: str) -> bool:
    """Whether a source has text in a language."""
    return lang == "en" or translation_file(path).exists()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("starts", nargs="*", help="beginnings of names, e.g. 09")
    parser.add_argument("--lang", choices=["en", "zh"], default="en", help="edition to execute")
    parser.add_argument("--translate", action="store_true", help="update the Chinese texts only")
    arguments = parser.parse_args()
    sys.exit(main(arguments.starts, arguments.lang, arguments.translate))
