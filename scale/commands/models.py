"""`scale pretrain`, `evaluate`, `embed`, `index` and `search`: commands on trained models."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from scale.config import PRESETS, Config, tiny
from scale.evaluation.index_settings import IndexSettings
from scale.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

    from scale.evaluation.index import ProductIndex

Split = Literal["train", "val", "test"]
Features = Literal["encoder", "fused", "fused_present", "both", "completed"]
"""As `scale.evaluation.embed.Features`, repeated because that import is slow."""


@dataclass
class Pretrain:
    """Train SCALE on the training split of a catalogue.

    The run folder receives config.json, metrics.jsonl, scores.parquet, problems.jsonl and
    checkpoint/. A run that was stopped continues with --resume, bit-exactly. SIGTERM, SIGUSR1 and
    --max-time save first and exit with code 75, Ctrl-C with 130; an error is code 2.

    Example: scale pretrain --catalogue data_samples --preset tiny --out runs/mine --train.steps 300
    """

    catalogue: Path
    """Folder of the catalogue, or of shards written from it."""
    out: Path
    """Run folder to write."""
    preset: Literal[tuple(PRESETS)] = "tiny"
    """Default settings: tiny (the lesson, from nothing), pretrained (a catalogue of your own, on
    public models), finetune, small (one GPU), base (the paper) or micro (studies)."""
    resume: bool = False
    """Continue the run in `out`."""
    max_time: str = ""
    """Save and stop after this time, e.g. 3h30m; the same as --train.max-minutes."""
    strict: bool = False
    """Stop at a bad record or media file instead of counting it as missing."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=tiny)

    def run(self) -> None:
        """Train, then print the next command."""
        from scale.data.shards.format import is_shards
        from scale.training.distributed import destroy_processes, rank
        from scale.training.preemption import parse_minutes
        from scale.training.pretrain import pretrain

        config = self.config
        if self.max_time:
            minutes = parse_minutes(self.max_time)
            config = replace(config, train=replace(config.train, max_minutes=minutes))
        pretrain(config, self.catalogue, self.out, resume=self.resume, strict=self.strict)
        if rank() == 0:
            # Evaluation needs titles and images, which shards do not contain.
            folder = "CATALOGUE" if is_shards(self.catalogue) else self.catalogue
            print(f"trained: {self.out}; next: scale evaluate {self.out} --catalogue {folder}")
        destroy_processes()


@dataclass
class Evaluate:
    """Measure retrieval, classification and clustering of a trained run.

    Every number has a 95 % interval and is reported beside chance and the same model untrained,
    with --baselines also beside hand-made features and the frozen features of the run.
    Writes results.json, results.csv and figures/ into the run folder.

    Example: scale evaluate runs/mine --catalogue data_samples --split test
    """

    directory: tyro.conf.Positional[Path]
    """Run folder."""
    catalogue: Path
    """Folder of the catalogue."""
    split: Split = "test"
    """Products that are queries and gallery."""
    queries: Path | None = None
    """List of the ids of the queries, instead of a split: a JSON list, a JSON object of labels by
    id, or lines. Then only retrieval by label is measured, and written to results-lists.json."""
    gallery: Path | None = None
    """List of the ids of the gallery, with --queries."""
    all_subsets: bool = False
    """With --queries, also query with all 31 subsets of the modalities, not only with all five and
    each one alone: five times as long."""
    features: Features = "encoder"
    """Source of all embeddings: the encoders, the fused [CLS] of all modalities with tokens (fused)
    or of the present ones (fused_present), encoders and fused side by side (both), or the encoders
    with predicted features of missing modalities (completed). Other ones than encoder are written
    to results-FEATURES.json, without figures."""
    json: Path | None = None
    """Also write the results to this file."""
    fine_tune: bool = True
    """Also classify by fine-tuning (the slowest part)."""
    allow_train: bool = False
    """Accept the split train, whose figures measure memorisation."""
    baselines: bool = False
    """Also measure linear methods on hand-made and on frozen features, tuned on the split val."""
    figures: bool = True
    """Also draw the figures."""
    lang: Literal["en", "zh"] = "en"
    """Language of the figures."""
    seed: int = 0
    """Random seed of the bootstrap, k-means and fine-tuning."""

    def run(self) -> None:
        """Measure, write the files and print the main numbers."""
        import scale
        from scale.inference.evaluate import evaluate_run, headline
        from scale.viz.writing import draw_run

        if self.queries is not None or self.gallery is not None:
            self._evaluate_lists()
            return
        if self.all_subsets:
            raise ValueError("--all-subsets is for --queries; a split is measured with all of them")
        run, catalogue = scale.load(self.directory), scale.open(self.catalogue)
        results = evaluate_run(
            run, catalogue, self.split, tune=self.fine_tune, allow_train=self.allow_train,
            baselines=self.baselines, seed=self.seed, features=self.features,
        )  # fmt: skip
        target = run.folder.results
        if self.features != "encoder":
            target = target.with_name(f"results-{self.features}.json")
        self._write(results, target, headline(results))
        if self.figures and self.features == "encoder":
            paths = draw_run(run, run.dataset(catalogue, self.split), results, self.lang, self.seed)
            print(f"written: {len(paths)} figures in {run.folder.figures}")

    def _evaluate_lists(self) -> None:
        import scale
        from scale.inference.list_retrieval import LISTED, evaluate_lists, list_headline
        from scale.modalities import SUBSETS

        if self.queries is None or self.gallery is None:
            raise ValueError("give both --queries and --gallery")
        if self.baselines:
            raise ValueError("--baselines are measured on a split, not on lists")
        run = scale.load(self.directory)
        results = evaluate_lists(
            run, scale.open(self.catalogue), self.queries, self.gallery,
            allow_train=self.allow_train, seed=self.seed, features=self.features,
            subsets=SUBSETS if self.all_subsets else LISTED,
        )  # fmt: skip
        suffix = "" if self.features == "encoder" else f"-{self.features}"
        target = run.folder.results.with_name(f"results-lists{suffix}.json")
        self._write(results, target, list_headline(results))

    def _write(self, results: dict, target: Path, summary: str) -> None:
        """Write the results to the run folder and to `json`; print the summary and the paths."""
        from scale.evaluation.report import write_csv, write_json

        targets = [target, *([self.json] if self.json else [])]
        for path in targets:
            write_json(path, results)
        write_csv(target.with_suffix(".csv"), results)
        print(summary)
        print("written: " + ", ".join(str(path) for path in targets))


@dataclass
class Embed:
    """Embed each product as one unit vector, from any subset of its modalities.

    Writes one file or, for millions of products, a folder of parquet pieces, which several
    processes of torchrun or accelerate launch can fill. If interrupted, the same command continues.

    Example: scale embed runs/mine --catalogue data_samples --out all.parquet --subset text+image
    """

    directory: tyro.conf.Positional[Path]
    """Run folder."""
    catalogue: Path
    """Folder of the catalogue."""
    out: Path
    """.parquet (id, embedding, present modalities); .npy, with the ids in a .json beside it; or a
    folder (a name without suffix) for pieces."""
    subset: str = "all"
    """Modalities to use, e.g. text+image."""
    split: Split | None = None
    """Only the products of one split."""
    features: Features = "encoder"
    """Source of the embedding: the encoders, the fused [CLS] of all modalities with tokens (fused)
    or of the present ones (fused_present), encoders and fused side by side (both), or the encoders
    with predicted features of missing modalities (completed)."""
    batch_size: int = 64
    """Products per forward pass."""
    piece_size: int = 8192
    """Products per piece, if `out` is a folder."""
    allow_missing: bool = False
    """Accept that all values of a modality are lost, or many more than in training."""

    def run(self) -> None:
        """Embed and write."""
        import time

        import scale
        from scale.evaluation.embed import write_embeddings
        from scale.evaluation.report import provenance
        from scale.inference.embedding import embed_pieces
        from scale.modalities import parse_subset
        from scale.training.distributed import destroy_processes, init_processes, rank, world_size

        started, subset = time.perf_counter(), parse_subset(self.subset)
        to_folder = not self.out.suffix or self.out.is_dir()
        if not to_folder and self.out.suffix not in (".parquet", ".npy"):
            raise ValueError(
                f"{self.out}: embeddings are written to .parquet, .npy or a folder, whose name "
                "has no suffix or which exists already"
            )
        init_processes("auto")
        if world_size() > 1 and not to_folder:
            raise ValueError(f"{self.out}: several processes write to a folder, not to one file")
        run = scale.load(self.directory)
        if to_folder:
            store = embed_pieces(
                run, self.catalogue, self.out, subset, self.split,
                batch_size=self.batch_size, piece_size=self.piece_size, features=self.features,
                allow_missing=self.allow_missing,
            )  # fmt: skip
            if rank() == 0:
                left_out = sum(piece.left_out for piece in store.pieces)
                self._report(f"{store.rows} products in {len(store.pieces)} pieces", left_out)
        else:
            found = run.embed(
                self.catalogue, self.subset, self.split, features=self.features,
                batch_size=self.batch_size, progress=True, allow_missing=self.allow_missing,
            )  # fmt: skip
            write_embeddings(self.out, found, provenance(run.config.train.seed, started))
            self._report(f"{len(found.ids)} products", len(found.left_out))
        destroy_processes()

    def _report(self, amount: str, left_out: int) -> None:
        left = f"; {left_out} have none of {self.subset}" if left_out else ""
        print(f"written: {self.out}, {amount}{left}")


@dataclass
class Index:
    """Build a search index on disk from embeddings and report its recall against exact search.

    With --add or --remove, change the existing index in OUT instead, without building it again.
    After an interruption, the same command continues.

    Example: scale index runs/mine/vectors --out runs/mine/index --target-recall 0.97
    """

    out: Path
    """Folder of the index; an existing index is replaced once the new one is complete."""
    embeddings: tyro.conf.Positional[Path | None] = None
    """Folder of pieces, from scale embed --out FOLDER."""
    add: Path | None = None
    """Add these embeddings (a folder of pieces, of the same run) to the index in OUT."""
    remove: tuple[str, ...] = ()
    """Remove the products with these ids from the index in OUT, before --add."""
    remove_list: Path | None = None
    """Remove the products whose ids this text file lists, one per line."""
    settings: Annotated[IndexSettings, tyro.conf.arg(name="")] = field(
        default_factory=IndexSettings
    )

    def run(self) -> None:
        """Build or change the index, and print its size and recall."""
        from scale.evaluation.index_build import build_index
        from scale.evaluation.index_update import update_index

        built = (self.settings.probes, self.settings.candidates)
        if self.settings.target_recall and built != (0, IndexSettings.candidates):
            raise ValueError("a target recall chooses probes and candidates: omit them")
        removed = list(self.remove)
        if self.remove_list is not None:
            lines = self.remove_list.read_text(encoding="utf-8-sig").splitlines()
            removed += [line for line in lines if line.strip()]
        changes = self.add is not None or bool(removed) or self.remove_list is not None
        if changes == (self.embeddings is not None):
            raise ValueError(
                "give the folder of embeddings to build an index, or --add or --remove to change "
                f"the one in {self.out}"
            )
        if changes and self.settings != IndexSettings():
            raise ValueError("an existing index keeps its settings: omit them with --add, --remove")
        if changes:
            index = update_index(self.out, self.add, removed)
        else:
            index = build_index(self.embeddings, self.out, self.settings)
        self._report(index)

    def _report(self, index: "ProductIndex") -> None:
        facts = index.manifest
        mebibytes = sum(file["bytes"] for file in facts["files"].values()) / 2**20
        seconds = ", ".join(f"{name} {value:.1f}" for name, value in facts["seconds"].items())
        updates = facts.get("updates")
        changed = "" if updates is None else (
            f" ({updates['added']} added and {updates['removed']} removed since it was built)"
        )  # fmt: skip
        print(
            f"written: {index.folder}, {facts['kind']}, {facts['rows']} products{changed} of width "
            f"{facts['width']}, {mebibytes:.1f} MiB, seconds: {seconds}"
        )
        target, ways = facts.get("target"), facts["recall"]
        if target is not None:
            # Only the settings that are better than all cheaper ones.
            ordered, ways = sorted(ways, key=index.cost), []
            for way in ordered:
                if not ways or way["value"] > ways[-1]["value"]:
                    ways.append(way)
            reached = "reached" if target["reached"] else "NOT reached"
            print(
                f"target recall@10 {target['recall']} {reached}: probes {target['probes']}, "
                f"candidates {target['candidates']}, on other queries: "
                f"{_estimate(target['held_out'])}"
            )
        for found in ways:
            how = "exact"
            if found["probes"] is not None:
                how = f"probes {found['probes']:>4}, candidates {found['candidates']:>4}"
            print(f"recall@10  {how}: {_estimate(found)}")


def _estimate(found: dict) -> str:
    bounds = found["low"], found["high"]
    interval = "" if None in bounds else " [{:.3f}, {:.3f}]".format(*bounds)
    return f"{found['value']:.3f}{interval} ({found['n']} queries)"


@dataclass
class Search:
    """Find products for words, for an image, video or audio file, or for words and a file.

    Searches a catalogue, which is embedded first, or an index on disk (see scale index).

    Example: scale search "in red" mug.jpg --run runs/mine --in data_samples --where "price < 20"
    """

    query: tyro.conf.Positional[tuple[str, ...]]
    """Words and paths of files, which together are one query; or a .npy file of vectors."""
    catalogue: Annotated[Path | None, tyro.conf.arg(aliases=["--in"])] = None
    """Folder of the catalogue to search; with --index: the source of the titles."""
    index: Path | None = None
    """Folder of an index to search."""
    run_folder: Annotated[Path, tyro.conf.arg(name="run")] = Path("runs/demo")
    """Run folder of the model."""
    k: int = 10
    """Number of products to show."""
    where: str = ""
    """Condition on the products, e.g. "category == 'mug' and price < 20" (docs/search.md); the
    products that fulfil it are searched exactly."""
    subset: str = "all"
    """Modalities that the products are embedded by, e.g. image; an index has its own subset."""
    probes: int | None = None
    """Lists of an IVF-PQ index to visit; default: the index's setting."""
    candidates: int | None = None
    """Products of an IVF-PQ index to rank by exact cosine; default: the index's setting."""
    target_recall: float | None = None
    """Choose probes and candidates by the recall that was measured when the index was built."""
    verify: bool = False
    """Verify the checksums of the index, whatever its size."""
    modality: Literal["", "image", "video", "audio"] = ""
    """Modality of the files of the query, e.g. image for a .npy of features; default: by suffix."""
    backbones: tuple[str, ...] = ()
    """Models that computed the feature files of the run's training data, e.g.
    image=efficientnet-lite0, so that pictures can be queries; default: backbones in
    catalogue.json."""
    json: Path | None = None
    """Write the products to this JSON file; - prints JSON instead of the table."""
    csv: Path | None = None
    """Write the products to this CSV file; - prints CSV. Cells that a spreadsheet would execute as
    formulas begin with '."""

    def run(self) -> None:
        """Search, and print or write the products."""
        import numpy as np

        import scale
        from scale.evaluation.index import ProductIndex
        from scale.inference import search

        query = search.read_query(self.query, self.modality)
        if self.index is None and self.catalogue is None:
            raise ValueError("give --catalogue or --index, the products to search")
        wrong = [part for part in self.backbones if "=" not in part]
        if wrong:
            raise ValueError(f"--backbones {wrong[0]}: write MODALITY=MODEL")
        index = None if self.index is None else ProductIndex.open(self.index, self.verify)
        probes, candidates = self.probes, self.candidates
        if self.target_recall is not None:
            if not 0 < self.target_recall <= 1:
                raise ValueError(f"--target-recall {self.target_recall}: not above 0 and at most 1")
            if index is None or probes is not None or candidates is not None:
                raise ValueError(
                    "--target-recall chooses probes and candidates of an index: give --index and "
                    "omit --probes and --candidates"
                )
            probes, candidates = index.setting_for(self.target_recall)
        if index is not None and isinstance(query, np.ndarray):
            if self.subset != "all":
                raise ValueError("an index has its own subset: omit the option subset")
            found = search.hits_frame(search.nearest_in_index(
                index, np.atleast_2d(query), self.k, self.catalogue, probes, candidates,
                self.where,
            ))  # fmt: skip
        else:
            found = scale.load(self.run_folder).search(
                query, self.catalogue, self.k, subset=self.subset, index=index,
                probes=probes, candidates=candidates, where=self.where,
                backbones=dict(part.split("=", 1) for part in self.backbones),
            )  # fmt: skip
        self._report(found)

    def _report(self, found: "pd.DataFrame") -> None:
        from scale.inference.search import result_table, to_csv, to_json

        printed = False
        for path, convert in ((self.json, to_json), (self.csv, to_csv)):
            if path == Path("-"):
                print(convert(found), end="")
                printed = True
            elif path is not None:
                write_whole(path, convert(found))
        if not printed:
            if not len(found):
                print("no product" + (f" fulfils {self.where!r}" if self.where else ""))
            else:
                print(result_table(found, titles=self.catalogue is not None))
