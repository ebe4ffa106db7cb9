"""Execute the notebooks from their sources (`make notebooks`).

    python tools/notebooks.py                    # all
    python tools/notebooks.py 09 13              # those whose names begin with 09 or 13
    python tools/notebooks.py --translate 09     # create or update notebooks/src/zh/09_*.md
    python tools/notebooks.py --lang zh 09       # execute the Chinese edition of 09
    python tools/notebooks.py --sync             # after edits of texts only: no execution

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

`notebooks/course.toml` lists the notebooks. From it, each notebook gets navigation, prerequisites,
reading time and requirements below its title, and a last cell with the versions it was run with.
`--sync` updates the texts of notebooks whose code is unchanged, and the tables of README.md.
"""

import argparse
import base64
import difflib
import hashlib
import os
import re
import sys
import time
import tomllib
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
COURSE: dict[str, dict] = tomllib.loads((FOLDER / "course.toml").read_text(encoding="utf-8"))
"""Title, question, content and prerequisites by name of the notebook, in order."""
VISIBLE = 24
"""Largest change of a colour value (of 255) that a palette may cause."""
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
VOLATILE = ["metadata.widgets", "cell.metadata.execution", "metadata.language_info"]
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def build(path: Path, lang: str = "en") -> NotebookNode:
    """Return the notebook of an English source in a language, without outputs.

    Raises ValueError if its translation is not up to date.
    """
    notebook = read_source(path)
    about = introduction(path.stem, lang, reading_minutes(notebook))
    if lang == "zh":
        translate(notebook, path)
    first = notebook.cells[0]
    title, _, rest = first.source.partition("\n")
    first.source = f"{title}\n\n{about}\n{rest}"
    notebook.cells += closing(path.stem, lang)
    return notebook


def read_source(path: Path) -> NotebookNode:
    """Return the cells of a source, with folded solutions."""
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


def translate(notebook: NotebookNode, path: Path) -> None:
    """Replace the English text of a notebook.

    Relative links are those of the English text; they are adapted to the folder `notebooks/zh`.

    Raises:
        ValueError: a block is missing, untranslated, or older than its English text.
    """
    file = translation_file(path)
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


WORDS_PER_MINUTE, SECONDS_PER_LINE = 150, 4
"""Reading speed: technical prose, and a line of code."""
WORDS = {
    "en": {
        "all": "all notebooks",
        "other": "中文",
        "after": "**Before this:** ",
        "minutes": "**Reading time:** about {} minutes",
        "needs": "**Needs:** ",
        "demo": "the model of `make demo`; if there is none, the first cell that uses it trains it "
        "(1 to 2 minutes)",
        "pretrained": "the demo's model on public features, likewise",
        "nothing": "nothing but the package",
        "comma": ", ",
        "semicolon": "; ",
        "paper": "**Paper:** Dong et al., M5Product, CVPR 2022, [arXiv 2109.04275]({})",
        "suffix": "Suffixes of array names are their axes: `tokens_BLD` is batch × length × width "
        "([legend]({})).",
        "run": "This notebook was executed with:",
        "reason": "not compared: versions and the commit differ between machines",
        "table": "| | question | content |",
    },
    "zh": {
        "all": "全部笔记本",
        "other": "English",
        "after": "**先读**：",
        "minutes": "**阅读时间**：约 {} 分钟",
        "needs": "**需要**：",
        "demo": "`make demo` 训练的模型；如果没有，第一个用到它的单元格会先训练（1 至 2 分钟）",
        "pretrained": "使用公开特征的演示模型，同样会自动训练",
        "nothing": "只需本软件包",
        "comma": "、",
        "semicolon": "；",
        "paper": "**论文**：Dong 等，M5Product，CVPR 2022，[arXiv 2109.04275]({})",
        "suffix": "数组名的后缀表示它的各个轴：`tokens_BLD` 是批次 × 长度 × 宽度（[说明]({})）。",
        "run": "本笔记本的运行环境：",
        "reason": "not compared: versions and the commit differ between machines",
        "table": "| | 问题 | 内容 |",
    },
}
"""Words of the navigation and of the tables."""
PAPER = "https://arxiv.org/abs/2109.04275"


def reading_minutes(notebook: NotebookNode) -> int:
    """Return the reading time in minutes, rounded to five."""
    text = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    minutes = len(" ".join(text).split()) / WORDS_PER_MINUTE
    minutes += len("\n".join(code).splitlines()) * SECONDS_PER_LINE / 60
    return max(5, round(minutes / 5) * 5)


def introduction(name: str, lang: str, minutes: int) -> str:
    """Return what follows the title: navigation, prerequisites, reading time, needs, paper."""
    words, up = WORDS[lang], "" if lang == "en" else "../"
    code = (SOURCES / f"{name}.py").read_text(encoding="utf-8")
    needs = [words["demo"]] if re.search(r"\bdemo_(run|data)\(", code) else []
    needs += [words["pretrained"]] if "pretrained_demo_run(" in code else []
    earlier = [other for other in COURSE if other[:2] in COURSE[name]["after"]]
    facts = [
        *(
            [words["after"] + words["comma"].join(link(o, lang) for o in earlier)]
            if earlier
            else []
        ),
        words["minutes"].format(minutes),
        words["needs"] + (words["semicolon"].join(needs) or words["nothing"]),
        words["paper"].format(PAPER),
        words["suffix"].format(f"{up}../docs/glossary.md#suffixes"),
    ]
    return "\n".join([navigation(name, lang), "", *(f"> {fact}  " for fact in facts)]).rstrip()


def link(name: str, lang: str) -> str:
    """Return a link to a notebook of the same edition."""
    return f"[{name[:2]} {COURSE[name]['title'][lang]}]({name}.ipynb)"


def navigation(name: str, lang: str) -> str:
    """Return links to the notebooks before and after, to the list, and to the other edition."""
    names = list(COURSE)
    place = names.index(name)
    links = [f"← {link(names[place - 1], lang)}"] if place else []
    links.append(f"[{WORDS[lang]['all']}](README.md)")
    links += [f"{link(names[place + 1], lang)} →"] if place + 1 < len(names) else []
    other = f"zh/{name}.ipynb" if lang == "en" else f"../{name}.ipynb"
    return " · ".join([*links, f"[{WORDS[lang]['other']}]({other})"])


def closing(name: str, lang: str) -> list[NotebookNode]:
    """Return the last cells: navigation, and the versions that the notebook was executed with."""
    words = WORDS[lang]
    text = nbformat.v4.new_markdown_cell(f"{navigation(name, lang)}\n\n{words['run']}")
    code = nbformat.v4.new_code_cell(f"# {words['reason']}\nprint(scale.notebook.versions())")
    code.metadata["tags"] = ["nbval-ignore-output"]
    text.id, code.id = "cell-navigation", "cell-versions"
    return [text, code]


def table(lang: str) -> str:
    """Return the table of all notebooks for the README of an edition."""
    lines = [WORDS[lang]["table"], "|---|---|---|"]
    for name, entry in COURSE.items():
        cells = [link(name, lang), entry["question"][lang], entry["content"][lang]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


TABLE = re.compile(r"(<!-- course -->\n).*?(<!-- end -->)", re.S)
READMES = {"en": FOLDER / "README.md", "zh": FOLDER / "zh" / "README.md"}


def sync(starts: list[str]) -> int:
    """Update texts of notebooks whose code is unchanged, and the READMEs; return the failures."""
    for lang, path in READMES.items():
        text = path.read_text(encoding="utf-8")
        path.write_text(TABLE.sub(rf"\1{table(lang)}\n\2", text), encoding="utf-8")
    failed = 0
    for lang in READMES:
        for path in sources(starts):
            made = edition(lang) / f"{path.stem}.ipynb"
            try:
                sync_texts(build(path, lang), made)
            except (OSError, ValueError) as error:
                failed += 1
                print(f"{made.relative_to(FOLDER)}: {error}", file=sys.stderr)
    return failed


def sync_texts(notebook: NotebookNode, made: Path) -> None:
    """Write a notebook with the outputs of `made`. Raises ValueError if its code has changed."""
    old = nbformat.read(made, as_version=4)
    new_code, old_code = (
        [cell for cell in book.cells if cell.cell_type == "code"] for book in (notebook, old)
    )
    if [cell.source for cell in new_code] != [cell.source for cell in old_code]:
        raise ValueError("its code has changed; execute it")
    for cell, executed in zip(new_code, old_code, strict=True):
        cell.outputs, cell.execution_count = executed.outputs, executed.execution_count
    if notebook != old:
        nbformat.write(notebook, made)
        print(made.relative_to(FOLDER))


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


def sources(starts: list[str]) -> list[Path]:
    """Return the sources whose names begin with one of `starts`; without `starts`, all."""
    found = sorted(SOURCES.glob("*.py"))
    return [path for path in found if not starts or path.name.startswith(tuple(starts))]


def edition(lang: str) -> Path:
    """Return the folder of the notebooks in a language."""
    return FOLDER if lang == "en" else FOLDER / lang


def run(starts: list[str], lang: str = "en") -> int:
    """Execute the notebooks whose names begin with one of `starts`; return the failures."""
    failed = 0
    for path in tqdm(sources(starts), unit="notebook"):
        started = time.perf_counter()
        try:
            notebook = execute(build(path, lang), edition(lang), lang)
            nbformat.write(notebook, edition(lang) / f"{path.stem}.ipynb")
        except (CellExecutionError, OSError, ValueError) as error:
            failed += 1
            print(f"{path.name}: {error}", file=sys.stderr)
        tqdm.write(f"{path.stem}: {time.perf_counter() - started:.0f} s")
    return failed


def main() -> int:
    """Parse the command line; return the number of failures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("starts", nargs="*", help="beginnings of names, e.g. 09")
    parser.add_argument("--lang", choices=["en", "zh"], default="en", help="edition to execute")
    parser.add_argument("--translate", action="store_true", help="update the Chinese texts only")
    parser.add_argument("--sync", action="store_true", help="update texts without execution")
    options = parser.parse_args()
    if not sources(options.starts):
        parser.error(f"no source in {SOURCES} begins with {', '.join(options.starts)}")
    if options.translate:
        for path in sources(options.starts):
            print(f"{translation_file(path)}: {write_translation(path)} blocks to translate")
        return 0
    return sync(options.starts) if options.sync else run(options.starts, options.lang)


if __name__ == "__main__":
    sys.exit(main())
