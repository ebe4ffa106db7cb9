"""The commands of `scale` with their options: a dataclass each, whose docstring is its help."""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from scale.commands.ablate import Ablate
from scale.commands.embed import Embed
from scale.commands.explore import Explore
from scale.commands.figures import Figures
from scale.commands.import_csv import Import
from scale.commands.index import Index
from scale.commands.shards import Shards
from scale.commands.slides import Slides
from scale.config import PRESETS, Config, tiny
from scale.data.catalogue import Catalogue
from scale.data.shards.format import is_shards
from scale.modalities import parse_subset
from scale.training.preemption import parse_minutes
from scale.training.run import TrainedRun

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
        from scale.viz.catalogue import inspect_figure
        from scale.viz.theme import save_figure, use_style

        catalogue = Catalogue.open(self.folder, self.strict)
        inspection = catalogue.summary(self.media, workers=os.cpu_count() or 1)
        print(inspection)
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
        from scale.demo import headline
        from scale.evaluation.report import write_csv, write_json
        from scale.inference.evaluate import evaluate_run
        from scale.viz.writing import draw_run

        run = TrainedRun.load(self.directory)
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
class Search:
    """Products for a query: words, or the path of a picture, a clip or a sound. They are those of
    a catalogue, which is embedded first, or of an index (see scale index), searched from disk.

    Example: scale search "red cotton dress" --run runs/mine --catalogue data_samples --k 5
    """

    query: tyro.conf.Positional[str]
    """Words, or a file."""
    catalogue: Annotated[Path | None, tyro.conf.arg(aliases=["--in"])] = None
    """Folder of the catalogue to search in; beside --index: where the titles are."""
    index: Path | None = None
    """Folder of an index to search in."""
    run_folder: Annotated[Path, tyro.conf.arg(name="run")] = Path("runs/demo")
    """Run folder of the model."""
    k: int = 10
    """Products to show."""
    subset: str = "all"
    """Modalities by which the products are found, e.g. image; an index has its own."""
    probes: int | None = None
    """Lists of an IVF-PQ index to look into; default: its own."""
    candidates: int | None = None
    """Products of an IVF-PQ index whose exact cosine is computed; default: its own."""
    verify: bool = False
    """Check the index against its checksums whatever its size."""

    def run(self) -> None:
        """Search and print a table."""
        from scale.evaluation.index import ProductIndex
        from scale.inference.search import Gallery, parse_query, result_table, search_index

        query = parse_query(self.query)
        if self.index is None and self.catalogue is None:
            raise ValueError("--catalogue or --index is needed: where to search")
        run = TrainedRun.load(self.run_folder)
        if self.index is not None:
            if self.subset != "all":
                raise ValueError(f"{self.index}: an index has its subset; --subset is of no use")
            index = ProductIndex.open(self.index, self.verify)
            asked = {"probes": self.probes, "candidates": self.candidates}
            hits = search_index(run, index, query, self.k, self.catalogue, **asked)
            print(result_table(hits, titles=self.catalogue is not None))
            return
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
        from scale.commands.doctor import examine_installation, overfit_one_batch
        from scale.demo import samples_folder

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
        from scale.demo import demo

        demo(self.out)


COMMANDS = {
    "import": Import, "inspect": Inspect, "shards": Shards, "pretrain": Pretrain,
    "evaluate": Evaluate, "embed": Embed, "index": Index, "search": Search, "ablate": Ablate,
    "figures": Figures, "slides": Slides, "explore": Explore, "doctor": Doctor, "demo": Demo,
}  # fmt: skip


def _write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
