"""The commands of `scale` with their options: a dataclass each, whose docstring is its help."""

import json
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from scale.commands.ablate import Ablate
from scale.commands.draw import Figures
from scale.commands.explore import Explore
from scale.commands.import_csv import Import
from scale.commands.shards import Shards
from scale.commands.slides import Slides
from scale.config import Config
from scale.data.catalogue import Catalogue
from scale.data.shards.manifest import is_shards
from scale.modalities import parse_subset
from scale.presets import PRESETS, tiny
from scale.training.run import Run
from scale.training.stopping import parse_minutes

Language = Literal["en", "zh"]
Split = Literal["train", "val", "test"]


@dataclass
class Inspect:
    """Print and draw what a catalogue holds, and what is wrong with it.

    Example: scale inspect data_samples --json inspection.json
    """

    folder: tyro.conf.Positional[Path]
    """Folder with products.jsonl or products.parquet."""
    json: Path | None = None
    """File for the same numbers as JSON."""
    figure: Path | None = None
    """File for the picture (PNG); default: catalogue-<name of the folder>.png right here."""
    lang: Language = "en"
    """Language of the picture."""
    media: bool = True
    """Decode every media file: finds broken ones and duplicates."""
    strict: bool = False
    """Stop at the first problem instead of counting it."""

    def run(self) -> None:
        """Print the report, then write the files."""
        from scale.data.inspect import inspect_catalogue
        from scale.viz.catalogue import inspect_figure
        from scale.viz.style import save_figure, use_style

        catalogue = Catalogue.open(self.folder, self.strict)
        inspection = inspect_catalogue(catalogue, self.media, workers=os.cpu_count() or 1)
        print(inspection.text())
        if self.json is not None:
            _write_json(self.json, inspection.to_dict())
            print(f"written: {self.json}")
        figure = self.figure or Path(f"catalogue-{self.folder.resolve().name}.png")
        with use_style("paper"):
            drawn = inspect_figure(inspection, self.lang)
            print(f"written: {save_figure(drawn, figure.with_suffix(''), ('png',))[0]}")


@dataclass
class Pretrain:
    """Train SCALE on the training split of a catalogue.

    A run folder gets config.json, metrics.jsonl, scores.parquet, problems.jsonl, checkpoint/.
    Stopped at any moment, it goes on with --resume to the same bits. SIGTERM, SIGUSR1 and
    --max-time save first and end with code 75, Ctrl-C with 130; an error is code 2.

    Example: scale pretrain --catalogue data_samples --preset tiny --out runs/mine --train.steps 300
    """

    catalogue: Path
    """Folder of the catalogue, or of the shards that were written from it."""
    out: Path
    """Run folder."""
    preset: Literal[tuple(PRESETS)] = "tiny"
    """Where the defaults come from: micro (studies), tiny (laptop), small (GPU), base (paper)."""
    resume: bool = False
    """Go on with the run in `out`."""
    max_time: str = ""
    """Save and stop after this time, e.g. 3h30m; the same as --train.max-minutes."""
    strict: bool = False
    """Stop at a bad record or media file instead of counting it as missing."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=tiny)

    def run(self) -> None:
        """Train and say where the run lies."""
        from scale.training.distributed import leave, rank
        from scale.training.pretrain import pretrain

        config = self.config
        if self.max_time:
            minutes = parse_minutes(self.max_time)
            config = replace(config, train=replace(config.train, max_minutes=minutes))
        pretrain(config, self.catalogue, self.out, resume=self.resume, strict=self.strict)
        if rank() == 0:
            done = f"trained: {self.out}; next: scale evaluate {self.out}"
            # Evaluation wants titles and pictures, which shards do not hold.
            folder = "CATALOGUE" if is_shards(self.catalogue) else self.catalogue
            print(f"{done} --catalogue {folder}")
        leave()


@dataclass
class Evaluate:
    """Retrieval, classification and clustering of a trained run, beside chance and the same model
    untrained; every number with its 95 % interval.

    Writes results.json, results.csv and figures/ into the run folder.

    Example: scale evaluate runs/mine --catalogue data_samples --split test
    """

    directory: tyro.conf.Positional[Path]
    """Run folder."""
    catalogue: Path
    """Folder of the catalogue."""
    split: Split = "test"
    """Products that are queries and gallery."""
    json: Path | None = None
    """Another file for the results."""
    fine_tune: bool = True
    """Also classify by fine-tuning (the slowest part)."""
    figures: bool = True
    """Also draw."""
    lang: Language = "en"
    """Language of the figures."""
    seed: int = 0
    """Of bootstrap, k-means and fine-tuning."""

    def run(self) -> None:
        """Measure, write, print the main figures."""
        from scale.commands.demo import headline
        from scale.commands.evaluate import evaluate_run
        from scale.commands.figures import draw_run
        from scale.evaluation.report import write_csv, write_json

        run = Run.load(self.directory)
        catalogue = Catalogue.open(self.catalogue)
        results = evaluate_run(run, catalogue, self.split, tune=self.fine_tune, seed=self.seed)
        targets = [run.folder.results, *([self.json] if self.json else [])]
        for path in targets:
            write_json(path, results)
        write_csv(run.folder.results.with_suffix(".csv"), results)
        print(headline(results))
        print("written: " + ", ".join(str(path) for path in targets))
        if self.figures:
            paths = draw_run(run, run.dataset(catalogue, self.split), results, self.lang, self.seed)
            print(f"written: {len(paths)} pictures in {run.folder.figures}")


@dataclass
class Embed:
    """One vector of unit length per product, from any subset of its modalities.

    Example: scale embed runs/mine --catalogue data_samples --out all.parquet --subset text+image
    """

    directory: tyro.conf.Positional[Path]
    """Run folder."""
    catalogue: Path
    """Folder of the catalogue."""
    out: Path
    """.parquet (id, embedding, what was there), or .npy with a .json of ids beside it."""
    subset: str = "all"
    """Modalities that may be used, e.g. text+image."""
    split: Split | None = None
    """Only the products of one split."""
    batch_size: int = 64
    """Products at a time."""

    def run(self) -> None:
        """Embed and write."""
        from scale.evaluation.embed import embed_dataset, write_embeddings
        from scale.evaluation.report import provenance

        started, subset = time.perf_counter(), parse_subset(self.subset)
        run = Run.load(self.directory)
        data = run.dataset(Catalogue.open(self.catalogue), self.split)
        found = embed_dataset(run.model, data, self.batch_size, subset).product(subset)
        write_embeddings(self.out, found, provenance(run.config.train.seed, started))
        left = f"; {len(found.left_out)} have none of {self.subset}" if found.left_out else ""
        print(f"written: {self.out}, {len(found.ids)} products{left}")


@dataclass
class Search:
    """Products of a catalogue for a query: words, or the path of a picture, a clip or a sound.

    Example: scale search "red cotton dress" --run runs/mine --catalogue data_samples --k 5
    """

    query: tyro.conf.Positional[str]
    """Words, or a file."""
    catalogue: Annotated[Path, tyro.conf.arg(aliases=["--in"])]
    """Folder of the catalogue to search in."""
    run_folder: Annotated[Path, tyro.conf.arg(name="run")] = Path("runs/demo")
    """Run folder of the model."""
    k: int = 10
    """Products to show."""
    subset: str = "all"
    """Modalities by which the products are found, e.g. image."""

    def run(self) -> None:
        """Search and print a table."""
        from scale.commands.search import Gallery, parse_query, result_table

        query, run = parse_query(self.query), Run.load(self.run_folder)
        data = run.dataset(Catalogue.open(self.catalogue))
        gallery = Gallery.build(run, data, parse_subset(self.subset))
        print(result_table(gallery.search(query, self.k)))


@dataclass
class Doctor:
    """Check the installation, then let the tiny model learn one batch by heart.

    Example: scale doctor
    """

    catalogue: Path | None = None
    """Catalogue to take the batch from; default: the one that ships."""
    steps: int = 120
    """Steps on the batch."""

    def run(self) -> None:
        """Print a line per check; raises RuntimeError where one fails."""
        from scale.commands.demo import samples_folder
        from scale.commands.doctor import examine_installation, overfit_one_batch

        failed = 0
        folder = self.catalogue or samples_folder()
        for checks in (examine_installation(), overfit_one_batch(tiny(), folder, self.steps)):
            for check in checks:
                print(check)
                failed += not check.passed
        if failed:
            raise RuntimeError(f"{failed} checks failed (see the lines that begin with FAIL)")


@dataclass
class Demo:
    """Inspect, train, evaluate and draw the catalogue that ships; a second run skips what is done.

    Example: scale demo
    """

    out: Path = Path("runs/demo")
    """Run folder."""

    def run(self) -> None:
        """Everything, with a summary at the end."""
        from scale.commands.demo import demo

        demo(self.out)


COMMANDS = {
    "import": Import, "inspect": Inspect, "shards": Shards, "pretrain": Pretrain,
    "evaluate": Evaluate, "embed": Embed, "search": Search, "ablate": Ablate, "figures": Figures,
    "slides": Slides, "explore": Explore, "doctor": Doctor, "demo": Demo,
}  # fmt: skip


def _write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
