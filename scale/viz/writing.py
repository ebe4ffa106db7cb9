"""Write figures by name, each with a caption file, and the index page.

Beside `<name>_<lang>.svg`, `.png` and `.pdf` lies `<name>_<lang>.json`:

    name, lang, style, title, caption
    command    draws the figure again from the same working folder
    run, catalogue, studies    names of the folders it was drawn from; null if not used
    same_catalogue    whether the run was trained on this catalogue; null if unknown or not used
    commit, dirty    of the package's checkout, and whether tracked files differed from it; or null
    date, seed, versions
    files    names of the image files

The index page and the slides read these files. In the command, folders are relative to the working
folder, or as given if they lie outside it.
"""

import json
import logging
import multiprocessing
import shlex
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from tqdm.auto import tqdm

from scale.config import require
from scale.data.dataset import ProductDataset
from scale.evaluation.report import provenance
from scale.files import write_whole
from scale.threads import available_cores, torch_threads
from scale.training.logging import read_metrics
from scale.training.run import TrainedRun
from scale.viz.embeddings import draw_map
from scale.viz.products import product_card
from scale.viz.registry import CORE, FIGURES, Sources, draw, most_complete
from scale.viz.retrieval import direction_matrix, draw_sheet, retrieval_bars
from scale.viz.scores import draw_scores, draw_scores_over_time
from scale.viz.theme import NEGATIVE, Style, lacking_characters, save_figure, use_style
from scale.viz.training import loss_curves
from scale.viz.words import LANG, Language, caption, label

log = logging.getLogger(__name__)

FORMATS = ("svg", "png", "pdf")
"""PNG has 200 dots per inch in `paper` and `dark`, 150 in `slides`; the text of an SVG is live."""
FEWEST = 8
"""Number of figures from which they are drawn in several processes, each of which takes some
seconds to start."""
MOST = 4
"""Largest number of processes: each takes up to a gigabyte."""
SLOW = ("illustrations.masked_words", "illustrations.released_code", "illustrations.pretraining",
        "illustrations.downstream", "illustrations.contrastive", "illustrations.info_nce",
        "illustrations.space", "embeddings", "catalogue")  # fmt: skip
"""Modules with the slowest figures; they are drawn first, so that no process is left with them."""


@dataclass
class Written:
    """Result of `write_pictures`."""

    paths: list[Path] = field(default_factory=list)
    """Images and captions, then the index pages."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by name of a figure that could not be drawn."""


class _Job(NamedTuple):
    """One figure in one language."""

    name: str
    lang: Language


@dataclass(frozen=True)
class _Drawn:
    """Result of a job."""

    job: _Job
    paths: list[Path]
    reason: str = ""
    """Why the figure could not be drawn."""
    lacking: dict[str, str] = field(default_factory=dict)
    """Message by character that the fonts lack."""


@dataclass
class _Pencil:
    """Draws jobs; figures of one module share their computations (`registry.shared`)."""

    sources: Sources
    out: Path
    style: Style
    formats: tuple[str, ...]
    origin: dict[str, Any] | None
    """Provenance of the captions; None: no caption files."""

    def draw(self, job: _Job) -> _Drawn:
        """Draw and save one figure; an error becomes the reason, and does not stop the others."""
        name, lang = job
        self.sources.used.clear()
        stem = self.out / f"{name}_{lang}"
        try:
            with _prepared(self.style):
                figure = draw(name, self.sources, lang)
                _mark_other_catalogue(figure, self.sources, lang)
                paths = save_figure(figure, stem, self.formats, live_text=True)
                lacking = _lacking(figure, name, self.sources)
        except Exception as error:
            log.debug("%s", name, exc_info=True)
            return _Drawn(job, [], _reason(error))
        if self.origin is not None:
            record = _record(name, self.sources, lang, self.style, self.formats, self.origin)
            paths.append(stem.with_suffix(".json"))
            write_whole(paths[-1], _json(record))
        return _Drawn(job, paths, lacking=lacking)


@contextmanager
def _prepared(style: Style) -> Iterator[None]:
    """Draw in a style with one thread, on whose number the last digits of a training depend."""
    # fontTools warns about the dates of fonts that are subset.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    with torch_threads(1), use_style(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        yield


def write_pictures(
    names: Sequence[str],
    sources: Sources,
    out: Path,
    lang: Language | tuple[Language, ...] = LANG,
    style: Style = "paper",
    formats: tuple[str, ...] = FORMATS,
    captions: bool = True,
    processes: int | None = None,
) -> Written:
    """Write figures with their captions into `out`, then the index of all figures there.

    If a figure cannot be drawn, the others still are. Characters that the shipped fonts lack are
    logged once each, with a product that contains them; they are drawn as boxes. The number of
    processes does not change the files.

    Args:
        lang: a language, or several: what their figures compute is computed once.
        captions: write caption files and the index.
        processes: number of processes; None: one per processor, up to MOST, or this one for a few
            figures.

    Raises ValueError if `out` cannot be written.
    """
    require_writable(out)
    langs = (lang,) if isinstance(lang, str) else lang
    origin = provenance(sources.seed, time.perf_counter()) if captions else None
    pencil = _Pencil(sources, out, style, formats, origin)
    jobs = [_Job(name, each) for name in names for each in langs]
    if processes is None:
        processes = min(available_cores(), MOST) if len(jobs) >= FEWEST else 1
    draw_all = partial(_draw_apart, processes=processes) if processes > 1 else _draw_here
    found: dict[_Job, _Drawn] = {}
    with tqdm(total=len(jobs), desc="figures", unit="figure") as bar:
        for drawn in draw_all(pencil, jobs):
            found[drawn.job] = drawn
            bar.set_postfix_str(drawn.job.name, refresh=False)
            bar.update()
    written, logged = Written(), set()
    for drawn in (found[job] for job in jobs):
        written.paths += drawn.paths
        if drawn.reason:
            written.failed[drawn.job.name] = drawn.reason
        for character in drawn.lacking.keys() - logged:
            logged.add(character)
            log.warning("%s", drawn.lacking[character])
    if written.paths and captions:
        order = tuple(dict.fromkeys((*CORE, *FIGURES)))
        written.paths += [write_index(out, order, each) for each in langs]
    return written


def _draw_here(pencil: _Pencil, jobs: Sequence[_Job]) -> Iterator[_Drawn]:
    yield from map(pencil.draw, jobs)


_pencil: _Pencil
"""Of a process started by `_draw_apart`."""


def _take(pencil: _Pencil) -> None:
    global _pencil
    _pencil = pencil


def _draw_job(job: _Job) -> _Drawn:
    return _pencil.draw(job)


def _draw_apart(pencil: _Pencil, jobs: Sequence[_Job], processes: int) -> Iterator[_Drawn]:
    """Draw in processes; the figures of a module in one process, because they share results."""
    modules: dict[str, list[_Job]] = {}
    for job in sorted(jobs, key=lambda job: FIGURES[job.name] not in SLOW):
        modules.setdefault(FIGURES[job.name], []).append(job)
    queues = list(modules.values())
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(kind)
    if kind == "forkserver":
        # Imports of seconds, once for all processes.
        context.set_forkserver_preload([__name__])
    with ExitStack() as stack:
        waiting: dict[Future[_Drawn], tuple[Executor, list[_Job]]] = {}
        for _ in range(min(processes, len(queues))):
            pool = ProcessPoolExecutor(1, context, _take, (pencil,))
            queue = queues.pop(0)
            waiting[stack.enter_context(pool).submit(_draw_job, queue.pop(0))] = pool, queue
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                pool, queue = waiting.pop(future)
                yield future.result()
                queue = queue or (queues.pop(0) if queues else [])
                if queue:
                    waiting[pool.submit(_draw_job, queue.pop(0))] = pool, queue


def require_writable(folder: Path) -> None:
    """Raise ValueError unless a folder can be written or created."""
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    require(existing.is_dir(), f"{existing}: not a folder")
    try:
        # Permissions alone do not decide: root may write anywhere, but not in /proc.
        with TemporaryDirectory(dir=existing):
            pass
    except OSError as error:
        raise ValueError(f"{existing}: the folder cannot be written") from error


def _same_catalogue(sources: Sources) -> bool | None:
    """Whether the run of a figure was trained on the catalogue; None if unknown or without run."""
    try:
        return sources.same_catalogue if "run" in sources.used else None
    except ValueError:
        # Figures of the run alone need no catalogue.
        return None


def _other_catalogue(sources: Sources, lang: Language) -> str:
    """Return the sentence for a figure of a run that was trained on another catalogue, or ""."""
    if _same_catalogue(sources) is not False:
        return ""
    run, catalogue = (p.resolve().name for p in (sources.run_folder, sources.catalogue_folder))
    return label("fig_other_catalogue", lang, run=run, catalogue=catalogue)


def _mark_other_catalogue(figure: Figure, sources: Sources, lang: Language) -> None:
    """Write that sentence at the bottom of the figure, so that it goes where the figure goes."""
    if text := _other_catalogue(sources, lang):
        style = {"ha": "center", "va": "bottom", "fontsize": "x-small", "color": NEGATIVE}
        background = {"facecolor": figure.get_facecolor(), "edgecolor": "none", "pad": 1}
        figure.text(0.5, 0.002, text, bbox=background, **style)


def failures(failed: dict[str, str]) -> str:
    """Return one line that names the failed figures, grouped by reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in failed.items():
        by_reason.setdefault(reason, []).append(name)
    return "; ".join(f"{reason} ({', '.join(names)})" for reason, names in by_reason.items())


def _reason(error: Exception) -> str:
    """Return the message of an error, with its type unless it is one of bad input."""
    expected = isinstance(error, ValueError | OSError | RuntimeError | ImportError)
    return str(error) if expected and str(error) else f"{type(error).__name__}: {error}"


def _record(
    name: str,
    sources: Sources,
    lang: Language,
    style: Style,
    formats: tuple[str, ...],
    origin: dict[str, Any],
) -> dict[str, Any]:
    folders = {
        "run": sources.run_folder,
        "catalogue": sources.catalogue_folder,
        "studies": sources.studies,
    }
    shown = {key: path for key, path in folders.items() if key in sources.used}
    # Studies are stored by the name of the catalogue.
    options = folders if "studies" in shown else shown
    options = {k: v for k, v in options.items() if k in shown or k == "catalogue"}
    command = ["scale figures", name, *(f"--{k} {_typed(v)}" for k, v in options.items())]
    command += [f"--lang {lang}", f"--style {style}", f"--seed {sources.seed}"]
    words = caption(name, lang, style == "slides")
    return {
        "name": name,
        "lang": lang,
        "style": style,
        "title": words.title,
        "caption": " ".join(filter(None, (words.text, _other_catalogue(sources, lang)))),
        "command": " ".join(command),
        **{key: shown[key].resolve().name if key in shown else None for key in folders},
        "same_catalogue": _same_catalogue(sources),
        **{key: origin[key] for key in ("commit", "dirty")},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": sources.seed,
        "versions": origin["versions"] | {"matplotlib": version("matplotlib")},
        "files": [f"{name}_{lang}.{kind}" for kind in formats],
    }


def _typed(path: Path) -> str:
    """Return a folder relative to the working folder, as given if it lies outside, quoted."""
    resolved = path.resolve()
    inside = resolved.is_relative_to(Path.cwd())
    return shlex.quote(str(resolved.relative_to(Path.cwd()) if inside else path))


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _lacking(figure: Figure, name: str, sources: Sources) -> dict[str, str]:
    """Return a message for each character of a figure that the fonts lack."""
    return {
        character: f"{name}: the shipped fonts lack {character!r} (U+{ord(character):04X})"
        f"{_owner(character, sources) if 'catalogue' in sources.used else ''}; it is drawn as a box"
        for character in lacking_characters(figure)
    }


def _owner(character: str, sources: Sources) -> str:
    """Return " of product <id>" for the first product with a character, or an empty string."""
    for product in sources.catalogue:
        if character in json.dumps([product.name, product.text, product.table, product.category],
                                   ensure_ascii=False):  # fmt: skip
            return f" of product {product.id}"
    return ""


COLUMNS = 3
"""Thumbnails per row."""


def write_index(folder: Path, order: Sequence[str], lang: Language = LANG) -> Path:
    """Write `index_<lang>.md` of the figures in `folder` with a caption file in a language.

    Thumbnails first, then each figure with its caption, files and command.

    Args:
        order: names of the figures to list, in order.
    """
    files = {name: folder / f"{name}_{lang}.json" for name in order}
    records = [
        json.loads(path.read_text(encoding="utf-8")) for path in files.values() if path.is_file()
    ]
    parts = [
        "# " + label("fig_index", lang),
        label("fig_index_lead", lang, n=len(records)),
        _thumbnails(records),
        *(_entry(record, lang) for record in records),
    ]
    path = folder / f"index_{lang}.md"
    write_whole(path, "\n\n".join(parts) + "\n")
    return path


def _thumbnails(records: Sequence[dict[str, Any]]) -> str:
    cells = [
        f'<td align="center" width="33%"><a href="#{r["name"]}"><img src="{_png(r)}" width="280" '
        f'alt="{r["title"]}"></a><br>{r["title"]}</td>'
        for r in records
    ]
    rows = [cells[k : k + COLUMNS] for k in range(0, len(cells), COLUMNS)]
    return "\n".join(["<table>", *(f"<tr>{''.join(row)}</tr>" for row in rows), "</table>"])


def _entry(record: dict[str, Any], lang: Language) -> str:
    files = [f"[{Path(name).suffix[1:].upper()}]({name})" for name in record["files"]]
    details = label("fig_details", lang)
    files.append(f"[{details}]({record['name']}_{lang}.json)")
    commit = label("fig_no_commit", lang)
    if record["commit"]:
        short = label("fig_commit", lang, commit=record["commit"][:12])
        commit = label("fig_changed", lang, commit=short) if record["dirty"] else short
    made = label("fig_made", lang, command=record["command"])
    return "\n\n".join(
        [
            f'<a id="{record["name"]}"></a>\n\n## {record["title"]}',
            f"![{record['title']}]({_png(record)})",
            record["caption"],
            f"{made} · {commit} · {' · '.join(files)}",
        ]
    )


def _png(record: dict[str, Any]) -> str:
    return next(name for name in record["files"] if name.endswith(".png"))


def draw_run(
    run: TrainedRun, data: ProductDataset, results: dict, lang: Language = LANG, seed: int = 0
) -> list[Path]:
    """Write the figures of a run into its `figures/` and return the PNG files.

    Args:
        data: products to show, e.g. the test split.
        results: the tree of results.json.
    """
    return [*draw_model(run, data, lang, seed), *draw_results(run, results, lang)]


def draw_model(
    run: TrainedRun, data: ProductDataset, lang: Language = LANG, seed: int = 0
) -> list[Path]:
    """As `draw_run`, the figures that need no results."""
    show = most_complete(data)
    with use_style("paper"):
        drawings = {
            "product": product_card(data.products[show], lang),
            "scores": draw_scores(run, data, show, lang),
            "losses": loss_curves(read_metrics(run.folder.folder), lang),
            "scores_over_time": draw_scores_over_time(run, lang),
            "retrieval_sheet": draw_sheet(run, data, lang, seed),
            "embedding_map": draw_map(run, data, lang, seed),
        }
        return _save(drawings, run, lang)


def draw_results(run: TrainedRun, results: dict, lang: Language = LANG) -> list[Path]:
    """As `draw_run`, the figures of the results."""
    category, instance = (results["retrieval"][key] for key in ("category", "instance"))
    drawings = {}
    with use_style("paper"):
        if any(e["mAP@1"]["value"] is not None for e in category["trained"].values()):
            drawings["retrieval_by_subset"] = retrieval_bars(category, lang)
        if any(e["Recall@10"]["value"] is not None for e in instance["trained"].values()):
            drawings["retrieval_by_direction"] = direction_matrix(instance, lang)
        return _save(drawings, run, lang)


def _save(drawings: dict[str, Figure], run: TrainedRun, lang: Language) -> list[Path]:
    """Save figures by name; return the PNG files."""
    stems = {run.folder.figures / f"{name}_{lang}": figure for name, figure in drawings.items()}
    return [save_figure(figure, stem)[0] for stem, figure in stems.items()]
