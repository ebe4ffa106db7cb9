"""`scale demo`: train, evaluate and draw two models of the sample shop, in stages.

`tiny` is trained from nothing, the lesson of the notebooks; `pretrained` projects the features of
public models, the way for real catalogues.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

import scale
from scale.config import Config, pretrained, tiny
from scale.data.catalogue import Catalogue
from scale.evaluation.report import write_csv, write_json
from scale.files import hash_code, write_whole
from scale.inference.evaluate import evaluate_run, headline
from scale.threads import available_cores, torch_threads
from scale.training.pretrain import pretrain
from scale.training.run import RunFolder, TrainedRun
from scale.viz.catalogue import inspect_figure
from scale.viz.theme import save_figure, use_style
from scale.viz.writing import draw_model, draw_results

STAMPS = "stages.json"
LAST_STAGE = "evaluate on public models"
"""Last stage of the run on public models."""
TRAINING = ("data", "model", "losses", "evaluation", "training")
"""Subpackages that determine a trained model, beside the top-level modules."""
NO_TRAINING = (
    "__init__.py", "cli.py", "demo.py", "exercises.py", "notebook.py", "plot.py", "run.py",
)  # fmt: skip
"""Top-level modules that do not."""
NO_TRAINING_PARTS = (
    "importers", "lists.py", "shards", "where.py",
    "index.py", "index_build.py", "index_settings.py", "index_update.py",
)  # fmt: skip
"""Modules and folders of the subpackages that do not: the demo trains from a catalogue."""


def samples_folder() -> Path:
    """Return the folder of the sample shop.

    Raises ValueError if the package was installed without it.
    """
    folder = Path(scale.__file__).parent.parent / "data_samples"
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; the demo runs in a checkout of the project")
    return folder


@dataclass
class Stages:
    """Runs the stages of a run folder that are out of date.

    A stage is up to date if the hash of its inputs is the one of its last run.
    """

    folder: RunFolder

    def run(self, name: str, inputs: str, made: Path, action: Callable[[], None]) -> bool:
        """Run a stage unless it is up to date and `made` exists; return whether it ran.

        Args:
            inputs: hash of all inputs.
            made: a file that the stage writes.
        """
        if self.current(name, inputs, made):
            print(f"{name}: up to date", flush=True)
            return False
        started = time.perf_counter()
        action()
        write_whole(self._path, json.dumps(self._stamps() | {name: inputs}, indent=2) + "\n")
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        return True

    def current(self, name: str, inputs: str, made: Path) -> bool:
        """Return whether a stage is up to date; arguments as for `run`."""
        return self._stamps().get(name) == inputs and made.exists()

    @property
    def _path(self) -> Path:
        return self.folder.folder / STAMPS

    def _stamps(self) -> dict[str, str]:
        return json.loads(self._path.read_text(encoding="utf-8")) if self._path.is_file() else {}


def pretrained_folder(out: Path) -> Path:
    """Return the folder of the run on public models, beside the run `out` from nothing."""
    return out.with_name(f"{out.name}_pretrained")


def demo_config() -> Config:
    """Return the preset `pretrained` with less of everything, to save a minute or two."""
    config = pretrained().with_features(video_frames=4, backbone_size=160)
    return replace(config, train=replace(config.train, second_views=False, steps=150))


def demo(out: Path, progress: bool = True) -> None:
    """Inspect, train, evaluate and draw the sample shop, and print a summary.

    With several cores, a second process trains and evaluates the model on public models, inspects
    the shop and draws the model trained from nothing while that is evaluated; one thread in each.
    """
    folder, public = RunFolder(out), RunFolder(pretrained_folder(out))
    inputs = fingerprint(Catalogue.open(samples_folder()), [Path(scale.__file__).parent])
    if available_cores() == 1 or Stages(public).current(LAST_STAGE, inputs, public.results):
        _make_tiny(folder, inputs, progress, beside=partial)
        _make_pretrained(public, inputs, progress)
    else:
        pool = ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,))
        with torch_threads(1), pool:
            made = pool.submit(_make_pretrained, public, inputs, progress=False)
            _make_tiny(folder, inputs, progress, lambda *job: pool.submit(*job).result)
            made.result()
    print(_summary(folder, public))


def _make_tiny(
    folder: RunFolder, inputs: str, progress: bool, beside: Callable[..., Callable[[], object]]
) -> None:
    """`beside(function, *arguments)` returns a function that waits for this call, or makes it."""
    catalogue, stages = Catalogue.open(samples_folder()), Stages(folder)
    inspect = beside(_inspect, folder)
    train_demo(catalogue, folder.folder, progress)
    draw_trained = beside(_draw_model, catalogue, folder)
    stages.run("evaluate", inputs, folder.results, partial(_evaluate, catalogue, folder, progress))
    drawn = folder.figures / "retrieval_by_direction_en.png"
    stages.run("draw", inputs, drawn, partial(_draw, folder, draw_trained))
    stages.run("inspect", inputs, folder.figures / "catalogue_en.png", inspect)


def _make_pretrained(folder: RunFolder, inputs: str, progress: bool) -> None:
    catalogue, stages = Catalogue.open(samples_folder()), Stages(folder)
    train_pretrained_demo(catalogue, folder.folder, progress)
    evaluate = partial(_evaluate, catalogue, folder, progress)
    stages.run(LAST_STAGE, inputs, folder.results, evaluate)


def train_demo(catalogue: Catalogue, out: Path, progress: bool = True) -> RunFolder:
    """Train the tiny model on a catalogue into `out`, unless that run is up to date.

    A stopped training is resumed. A run of other products or other code is removed first.
    """
    return _train_stage("train", catalogue, out, tiny(), progress)


def train_pretrained_demo(catalogue: Catalogue, out: Path, progress: bool = True) -> RunFolder:
    """As `train_demo`, with `demo_config`."""
    return _train_stage("train on public models", catalogue, out, demo_config(), progress)


def _train_stage(
    name: str, catalogue: Catalogue, out: Path, config: Config, progress: bool
) -> RunFolder:
    folder, inputs = RunFolder(out), training_fingerprint(catalogue)
    mark = out / "started.txt"
    if mark.is_file() and mark.read_text(encoding="utf-8").strip() != inputs:
        print(f"{out}: the products or the code have changed; training from the beginning")
        _empty(out)
    out.mkdir(parents=True, exist_ok=True)
    mark.write_text(inputs + "\n", encoding="utf-8")
    last = folder.checkpoint("last")
    train = partial(pretrain, config, catalogue, out, resume=True, progress=progress)
    Stages(folder).run(name, inputs, last, train)
    return folder


def training_fingerprint(catalogue: Catalogue) -> str:
    """Return a hash of the products and of the code that determine the trained models."""
    package = Path(scale.__file__).parent
    modules = sorted(path for path in package.glob("*.py") if path.name not in NO_TRAINING)
    parts = [p for room in TRAINING for p in sorted((package / room).iterdir())
             if p.name not in NO_TRAINING_PARTS and (p.is_dir() or p.suffix == ".py")]  # fmt: skip
    return fingerprint(catalogue, [*modules, *parts])


def fingerprint(catalogue: Catalogue, sources: Iterable[Path]) -> str:
    """Return a hash of the products and of the code in `sources` (modules and folders)."""
    digest = hashlib.blake2b((catalogue.folder / "products.jsonl").read_bytes(), digest_size=16)
    digest.update(hash_code(sources).encode())
    return digest.hexdigest()


def _empty(folder: Path) -> None:
    """Remove the contents of a run folder, except the lock file that another process waits for."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix != ".lock":
            path.unlink()


def _inspect(folder: RunFolder) -> None:
    inspection = Catalogue.open(samples_folder()).summary(progress=False)
    (folder.folder / "inspection.txt").write_text(str(inspection) + "\n", encoding="utf-8")
    with use_style("paper"):
        save_figure(inspect_figure(inspection, "en"), folder.figures / "catalogue_en")


def _evaluate(catalogue: Catalogue, folder: RunFolder, progress: bool) -> None:
    run = TrainedRun.load(folder.folder)
    results = evaluate_run(run, catalogue, "test", tune=False, progress=progress)
    write_json(run.folder.results, results)
    write_csv(run.folder.results.with_suffix(".csv"), results)


def _draw_model(catalogue: Catalogue, folder: RunFolder) -> None:
    run = TrainedRun.load(folder.folder)
    draw_model(run, run.dataset(catalogue, "test"))


def _draw(folder: RunFolder, draw_trained: Callable[[], object]) -> None:
    draw_results(
        TrainedRun.load(folder.folder), json.loads(folder.results.read_text(encoding="utf-8"))
    )
    draw_trained()


def _summary(folder: RunFolder, public: RunFolder) -> str:
    results = json.loads(folder.results.read_text(encoding="utf-8"))
    better = json.loads(public.results.read_text(encoding="utf-8"))
    return f"""
From nothing ({folder.folder})
{headline(results)}

On public models ({public.folder})
{headline(better)}

Written
  {folder.folder / "inspection.txt"}: the catalogue in numbers
  {folder.figures}: figures, as PNG and SVG
  {folder.results}: all results with intervals; results.csv: the same as a table
  {folder.checkpoint("best")}: the model; the one on public models: {public.checkpoint("best")}
Next
  {folder.figures / "product_en.png"}: one product in five modalities
  {folder.figures / "scores_en.png"}: S, softmax(S) and S' of that product
  {folder.figures / "retrieval_sheet_en.png"}: queries and their nearest products
  scale search "a warm drink on a cold morning" --run {public.folder} --catalogue data_samples
  scale explore {folder.folder}"""
