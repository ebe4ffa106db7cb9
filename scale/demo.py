"""`scale demo`: from the shop that ships with the project to a trained, measured, drawn model."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

import scale
from scale.config import tiny
from scale.data.catalogue import Catalogue
from scale.evaluation.report import write_csv, write_json
from scale.files import write_whole
from scale.inference.evaluate import evaluate_run, headline
from scale.training.pretrain import pretrain
from scale.training.run import RunFolder, TrainedRun
from scale.viz.catalogue import inspect_figure
from scale.viz.theme import save_figure, use_style
from scale.viz.writing import draw_run

STAMPS = "stages.json"
THREADS = 1
"""Of torch while the demo trains: with two, a busy machine waits at every sum for the slower."""
TRAINING = ("data", "model", "losses", "evaluation", "training")
"""Subpackages that decide the result of a training, beside the top-level modules."""
NO_TRAINING = ("__init__.py", "cli.py", "demo.py", "notebook.py", "plot.py", "run.py")
"""Top-level modules that do not."""


def samples_folder() -> Path:
    """The catalogue that ships with the project.

    Raises ValueError where the package was installed without the project's folder.
    """
    folder = Path(scale.__file__).parent.parent / "data_samples"
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; the demo runs in a checkout of the project")
    return folder


@dataclass
class Stages:
    """Runs what is not up to date: a stage is, where its inputs hash as they did last time."""

    folder: RunFolder

    def run(self, name: str, inputs: str, made: Path, action: Callable[[], None]) -> bool:
        """Run a stage unless it is up to date and `made` exists; returns whether it ran.

        Args:
            inputs: hash of all that the stage reads.
        """
        path = self.folder.folder / STAMPS
        stamps = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if stamps.get(name) == inputs and made.exists():
            print(f"{name}: up to date")
            return False
        started = time.perf_counter()
        action()
        stamps[name] = inputs
        write_whole(path, json.dumps(stamps, indent=2) + "\n")
        print(f"{name}: {time.perf_counter() - started:.0f} s")
        return True


def demo(out: Path, progress: bool = True) -> None:
    """Inspect, train, evaluate and draw; then say what was made and what to open next."""
    catalogue = Catalogue.open(samples_folder())
    folder = train_demo(catalogue, out, progress)
    inputs, stages = _digest(catalogue, [Path(scale.__file__).parent]), Stages(folder)
    drawn = folder.figures / "catalogue_en.png"
    stages.run("inspect", inputs, drawn, lambda: _inspect(catalogue, folder))
    stages.run("evaluate", inputs, folder.results, lambda: _evaluate(catalogue, out, progress))
    drawn = folder.figures / "scores_en.png"
    stages.run("draw", inputs, drawn, lambda: _draw(catalogue, out))
    print(_summary(folder))


def train_demo(catalogue: Catalogue, out: Path, progress: bool = True) -> RunFolder:
    """Train the tiny model on a catalogue into `out`, unless it is there and up to date.

    It is, where neither the products nor the code that decides the training changed; what was made
    from other data or code is removed, what was stopped goes on.
    """
    folder, package = RunFolder(out), Path(scale.__file__).parent
    modules = sorted(path for path in package.glob("*.py") if path.name not in NO_TRAINING)
    inputs = _digest(catalogue, [*modules, *(package / room for room in TRAINING)])
    mark = out / "started.txt"
    if mark.is_file() and mark.read_text(encoding="utf-8").strip() != inputs:
        print(f"{out}: made from other data or code; begins anew")
        _empty(out)
    out.mkdir(parents=True, exist_ok=True)
    mark.write_text(inputs + "\n", encoding="utf-8")
    last = folder.checkpoint("last")
    Stages(folder).run("train", inputs, last, lambda: _train(catalogue, out, progress))
    return folder


def _train(catalogue: Catalogue, out: Path, progress: bool) -> None:
    """With as many threads on every machine: the order of sums, and so the model, follows them."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        pretrain(tiny(), catalogue, out, resume=True, progress=progress)
    finally:
        torch.set_num_threads(before)


def _digest(catalogue: Catalogue, sources: Iterable[Path]) -> str:
    """Hash of the products and of all code below `sources`."""
    digest = hashlib.blake2b((catalogue.folder / "products.jsonl").read_bytes(), digest_size=16)
    for source in sources:
        for path in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _empty(folder: Path) -> None:
    """Remove what a demo wrote; the lock of a process that waits for it stays."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix != ".lock":
            path.unlink()


def _inspect(catalogue: Catalogue, folder: RunFolder) -> None:
    inspection = catalogue.summary(progress=False)
    (folder.folder / "inspection.txt").write_text(str(inspection) + "\n", encoding="utf-8")
    with use_style("paper"):
        save_figure(inspect_figure(inspection, "en"), folder.figures / "catalogue_en")


def _evaluate(catalogue: Catalogue, out: Path, progress: bool) -> None:
    run = TrainedRun.load(out)
    results = evaluate_run(run, catalogue, "test", tune=False, progress=progress)
    write_json(run.folder.results, results)
    write_csv(run.folder.results.with_suffix(".csv"), results)


def _draw(catalogue: Catalogue, out: Path) -> None:
    run = TrainedRun.load(out)
    results = json.loads(run.folder.results.read_text(encoding="utf-8"))
    draw_run(run, run.dataset(catalogue, "test"), results)


def _summary(folder: RunFolder) -> str:
    results = json.loads(folder.results.read_text(encoding="utf-8"))
    return "\n".join(
        [
            "",
            headline(results),
            "",
            "What was made",
            f"  {folder.folder / 'inspection.txt'}: the catalogue in numbers",
            f"  {folder.figures}: pictures, as PNG and SVG",
            f"  {folder.results}: every number with its interval; results.csv: the same as a table",
            f"  {folder.checkpoint('best')}: the model",
            "What to open next",
            f"  {folder.figures / 'product_en.png'}: one product in five modalities",
            f"  {folder.figures / 'scores_en.png'}: S, softmax(S) and S' of that product",
            f"  {folder.figures / 'retrieval_sheet_en.png'}: what the model finds",
            '  scale search "a warm drink on a cold morning" '
            f"--run {folder.folder} --catalogue data_samples",
        ]
    )
