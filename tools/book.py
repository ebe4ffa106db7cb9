"""Build the site: notebooks in English and Chinese, documentation and API as static pages.

    python -m tools.book             # into build/site (`make site`)
    python -m tools.book FOLDER

Sphinx with myst-nb, without execution of the notebooks. The pages need no server, no network and,
except for the search, no JavaScript: formulas are MathML. A warning of Sphinx, a broken link, or a
reference to a file of another host fails the build.
"""

import re
import shutil
import sys
import time
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import latex2mathml.converter
import nbformat
import sphinx.search
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

from tools.notebooks import COURSE, FOLDER, table

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build" / "site"
PAGES = ["README.md", "CONTRIBUTING.md", "data_samples/README.md"]
LINKED = ["LICENSE", "figures", "scale"]
"""Files to which pages link; they are offered for download."""
OTHER = ("toml", "cfg", "json", "safetensors")
"""Endings of files in notebooks/ that are no pages."""
CONFIG = {
    "project": "SCALE workbench",
    "extensions": ["myst_nb", "tools.book"],
    "include_patterns": ["index.md", "zh.md", *PAGES, "docs/**", "notebooks/**"],
    "html_theme": "furo",
    "html_title": "SCALE workbench",
    "html_copy_source": False,
    "html_show_sphinx": False,
    "html_show_copyright": False,
    # A summary would be fetched, which browsers forbid for files; the search needs no server so.
    "html_show_search_summary": False,
    "html_static_path": ["_static"],
    "html_css_files": ["site.css"],
    "html_search_language": "bilingual",
    "html_math_renderer": "mathml",
    "html_permalinks_icon": "#",
    "nb_execution_mode": "off",
    "nb_ipywidgets_js": {},
    "nb_mime_priority_overrides": [["html", "text/html", 10]],
    "myst_enable_extensions": ["dollarmath"],
    "myst_heading_anchors": 4,
    # Languages of code blocks without a name; raw HTML of notebooks in other formats.
    "suppress_warnings": ["misc.highlighting_failure", "mystnb.unknown_mime_type"],
}
HAN = r"\u4e00-\u9fff"
DOCUMENTS = {
    "Use": "README docs/installing docs/catalogue docs/importing docs/search docs/slides "
    "docs/backbones data_samples/README notebooks/models/README docs/api docs/glossary",
    "Results": "docs/findings docs/results docs/studies",
    "Large catalogues": "docs/scaling docs/shards docs/search_scale docs/resume docs/performance "
    "docs/reliability",
    "Development": "CONTRIBUTING",
}
"""Pages by heading of the navigation; a page of docs/ that is not listed fails the build."""


CSS = """
.content { width: 52em; }
div.cell_output img { max-width: 100%; height: auto; }
div.math { overflow-x: auto; margin: 1em 0; }
math { font-size: 1.1em; }
"""
"""Room for lines of 100 characters of code."""


class BilingualSearch(SearchEnglish):
    """Search of English words, and of Chinese text by pairs of characters."""

    lang = "bilingual"
    js_splitter_code = f"""
function splitQuery(query) {{
  const words = query.split(/[^\\p{{Letter}}\\p{{Number}}_]+/gu).filter((word) => word);
  return words.flatMap((word) => word.match(/[{HAN}]+|[^{HAN}]+/g)).flatMap((part) =>
    /[{HAN}]{{2}}/.test(part) ? [...part].slice(1).map((c, k) => part[k] + c) : [part]);
}}
"""

    def split(self, text: str) -> list[str]:
        """Return the words of a text; Chinese words overlap."""
        parts = re.findall(rf"[{HAN}]+|[^\W{HAN}]+", text)
        return [word for part in parts for word in pairs(part)]


def pairs(part: str) -> list[str]:
    """Return the pairs of adjacent characters of Chinese text, any other word unchanged."""
    if len(part) < 2 or not re.match(f"[{HAN}]", part):
        return [part]
    return [part[k : k + 2] for k in range(len(part) - 1)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register formulas as MathML, the bilingual search, and the language of Chinese pages."""
    sphinx.search.languages["bilingual"] = BilingualSearch
    app.add_html_math_renderer("mathml", (write_formula, None), (write_displayed_formula, None))
    app.connect("html-page-context", set_language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_formula(writer: Any, node: nodes.math) -> None:
    """Write an inline formula as MathML."""
    writer.body.append(latex2mathml.converter.convert(node.astext()))
    raise nodes.SkipNode


def write_displayed_formula(writer: Any, node: nodes.math_block) -> None:
    """Write a displayed formula as MathML."""
    formula = latex2mathml.converter.convert(node.astext(), display="block")
    writer.body.append(f'<div class="math">{formula}</div>')
    raise nodes.SkipNode


def set_language(app: Sphinx, page: str, template: str, context: dict, doctree: Any) -> None:
    """Set the language of a page; browsers choose the shapes of characters by it."""
    if page == "zh" or page.startswith("notebooks/zh/"):
        context["language"] = "zh-CN"


def stage(folder: Path) -> None:
    """Copy all sources of pages into a folder, with the front pages and folded solutions."""
    for name in PAGES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "docs", folder / "docs")
    kept = shutil.ignore_patterns("src", ".*", "*.py", *(f"*.{end}" for end in OTHER))
    shutil.copytree(FOLDER, folder / "notebooks", ignore=kept)
    for path in (folder / "notebooks").rglob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        fold_solutions(notebook, "答案" if path.parent.name == "zh" else "Solution")
        keep_one_title(notebook)
        nbformat.write(notebook, path)
    (folder / "_static").mkdir()
    (folder / "_static" / "site.css").write_text(CSS, encoding="utf-8")
    (folder / "index.md").write_text(front_page("en"), encoding="utf-8")
    (folder / "zh.md").write_text(front_page("zh"), encoding="utf-8")


def fold_solutions(notebook: nbformat.NotebookNode, title: str) -> None:
    """Tag solutions such that myst-nb folds them below a title."""
    for cell in notebook.cells:
        if "solution" in cell.metadata.get("tags", []):
            cell.metadata["tags"] = [*cell.metadata["tags"], "hide-cell"]
            cell.metadata["mystnb"] = {"code_prompt_show": title, "code_prompt_hide": title}


def keep_one_title(notebook: nbformat.NotebookNode) -> None:
    """Move headings from the second title on one level down."""
    second = False
    for cell in notebook.cells[1:]:
        if cell.cell_type == "markdown":
            second |= bool(re.search(r"^# ", cell.source, re.M))
            if second:
                cell.source = re.sub(r"^(#+ )", r"#\1", cell.source, flags=re.M)


def front_page(lang: str) -> str:
    """Return the first page of a language: the table of notebooks, and all pages in order."""
    folder = "notebooks" if lang == "en" else "notebooks/zh"
    listed = table(lang).replace("](", f"]({folder}/")
    if lang == "zh":
        return f"# SCALE：商品的自监督多模态预训练\n\n[English](index.md)\n\n{listed}\n"
    english, chinese = ([f"{f}/{name}" for name in COURSE] for f in ("notebooks", "notebooks/zh"))
    trees = {
        "Notebooks": ["notebooks/README", *english],
        "中文": ["zh", "notebooks/zh/README", *chinese],
        **{heading: pages.split() for heading, pages in DOCUMENTS.items()},
    }
    contents = [
        "\n".join(["```{toctree}", ":hidden:", f":caption: {heading}", "", *pages, "```"])
        for heading, pages in trees.items()
    ]
    about = (
        "SCALE (Dong et al., M5Product, CVPR 2022) is self-supervised pretraining of products with "
        "five modalities. A course of notebooks derives and tests each of its parts; the package "
        "trains it on your own catalogue: [overview](README.md), [API](docs/api.md)."
    )
    return "\n\n".join(["# SCALE workbench", "[中文](zh.md)", about, listed, *contents]) + "\n"


def write_site(out: Path, jobs: int = 2) -> list[str]:
    """Build the site; return its problems: warnings of Sphinx and broken links."""
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        stage(folder / "pages")
        shutil.rmtree(out, ignore_errors=True)
        warnings = StringIO()
        app = Sphinx(
            folder / "pages",
            confdir=None,
            outdir=out,
            doctreedir=folder / "trees",
            buildername="html",
            confoverrides=CONFIG,
            status=None,
            warning=warnings,
            parallel=jobs,
        )
        app.build()
    return [*warnings.getvalue().splitlines(), *find_broken_links(out)]


class Links(HTMLParser):
    """Identifiers, links and embedded files of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.embedded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the attributes of a tag."""
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.embedded.append(values["href"])
        elif "src" in values:
            self.embedded.append(values["src"])


def find_broken_links(out: Path) -> list[str]:
    """Return links between pages that lead nowhere, and embedded files that are not in the site."""
    pages = {path.resolve(): Links(path) for path in sorted(out.rglob("*.html"))}
    problems = []
    for path, page in pages.items():
        name = path.relative_to(out.resolve())
        for link in page.links + page.embedded:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https") and link in page.embedded:
                problems.append(f"{name}: embeds {link} of another host")
            if parts.scheme or link in ("#", ""):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                problems.append(f"{name}: no file {link}")
            elif parts.fragment and unquote(parts.fragment) not in pages.get(target, page).ids:
                problems.append(f"{name}: no heading {link}")
    return problems


def main() -> int:
    """Build the site into the folder of the command line; return 1 if it has problems."""
    out, started = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT, time.perf_counter()
    problems = write_site(out)
    print("\n".join(problems), file=sys.stderr)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 2**20
    pages = len(list(out.rglob("*.html")))
    print(f"{out}: {pages} pages, {size:.0f} MiB, {time.perf_counter() - started:.0f} s")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
