"""Embed a catalogue of any size into a folder of pieces, with W processes."""

import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, with_splits
from scale.data.dataset import ProductDataset
from scale.data.pieces import Piece, find_splits, plan_pieces, read_piece
from scale.data.product import Problem, read_problems, summarise_problems
from scale.evaluation.embed import (
    MANIFEST,
    EmbeddingStore,
    Features,
    ProductEmbeddings,
    StoreError,
    embed_dataset,
    finish_store,
    has_piece,
    piece_name,
    write_piece,
)
from scale.evaluation.report import provenance
from scale.files import LOCK, locked
from scale.modalities import INDEX, MODALITIES
from scale.training.distributed import barrier, main_first, rank, world_size
from scale.training.run import TrainedRun

log = logging.getLogger(__name__)

ADDED = {
    "text_features": ("pieces", 0), "table_features": ("pieces", 0), "backbone_size": (0,),
    "image_grid": (0,), "text_backbone": ("",), "table_backbone": ("",), "image_backbone": ("",),
    "video_backbone": ("",), "frozen_layers": (0,), "table_columns": ((),),
    "blank_media": ("keep",),
}  # fmt: skip
"""Settings added later, with the values at which fingerprints ignore them: indexes built before
remain usable."""


LOST = 0.25
"""Share of the files of a modality that may be lost in addition to that in training."""
FEW = 20
"""Files below which the share in a piece is not judged."""


class LossCounter:
    """Counts present and lost values by modality, and stops at losses that training did not have.

    Vectors without a modality look as good as others, and would replace better ones.
    """

    def __init__(self, run: TrainedRun, subset: tuple[str, ...]) -> None:
        self.used = [m for m in subset if m in run.config.model.modalities]
        self.kept: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.first: dict[str, Problem] = {}
        self.trained: Counter[str] = Counter()
        if run.folder.problems.is_file() and run.folder.data.is_file():
            facts = json.loads(run.folder.data.read_text(encoding="utf-8"))
            found = Counter(p.modality for p in read_problems(run.folder.problems))
            self.trained = Counter({m: n / facts["products"] for m, n in found.items()})

    def add(self, catalogue: Catalogue, data: ProductDataset) -> None:
        """Count the values of some products."""
        ids = set(data.ids)
        for problem in dict.fromkeys([*catalogue.problems, *data.problems]):
            if problem.id in ids and problem.modality in self.used:
                self.lost[problem.modality] += 1
                self.first.setdefault(problem.modality, problem)
        for m in self.used:
            self.kept[m] += int(data.present_NM[:, INDEX[m]].sum())

    def check(self, few: int = 0) -> None:
        """Raise ValueError if a modality lost everything, or much more than in training.

        few: number of values up to which nothing is judged.
        """
        for m, lost in self.lost.items():
            total = lost + self.kept[m]
            if total > few and (lost == total or lost / total > self.trained[m] + LOST):
                raise ValueError(
                    f"{m}: {lost:,} of {total:,} are lost ({self.trained[m]:.1%} in training), "
                    f"e.g. {self.first[m]}. Vectors without them are poorer: repair the files, "
                    f"select other modalities with --subset, or accept it with --allow-missing"
                )


def embed_pieces(
    run: TrainedRun,
    catalogue: Path,
    out: Path,
    subset: tuple[str, ...] = MODALITIES,
    split: str | None = None,
    *,
    batch_size: int = 64,
    piece_size: int = 8192,
    cache: FeatureCache | None = None,
    progress: bool = True,
    features: Features = "encoder",
    allow_missing: bool = False,
) -> EmbeddingStore | None:
    """Embed the pieces that are missing or out of date; the main process then writes the manifest.

    A piece is up to date if it was made from the same run, subset, split and catalogue lines.
    Changed media files under unchanged lines are not detected. Each process embeds every W-th
    piece and keeps one in memory.

    Args:
        run: trained model.
        catalogue: folder of the catalogue.
        out: folder to write.
        subset: modalities to use.
        split: only the products of one split; None: all.
        batch_size: products per forward pass.
        piece_size: products per piece.
        cache: features of media files, to be reused.
        progress: show a progress bar.
        features: source of the embedding, see `Run.embed`.
        allow_missing: as for `Run.embed`.

    Returns:
        EmbeddingStore of the finished folder in the main process; None in the others.

    Raises:
        StoreError: `out` is a file or contains other files, or an id occurs twice.
        ValueError: no product of the catalogue has a modality of the subset, or one is lost; or
            another process writes to `out`.
    """
    with locked(out) if rank() == 0 else nullcontext():
        return _embed_pieces(
            run, catalogue, out, subset, split, batch_size, piece_size, cache, progress, features,
            allow_missing,
        )  # fmt: skip


def _embed_pieces(
    run: TrainedRun,
    catalogue: Path,
    out: Path,
    subset: tuple[str, ...],
    split: str | None,
    batch_size: int,
    piece_size: int,
    cache: FeatureCache | None,
    progress: bool,
    features: Features,
    allow_missing: bool,
) -> EmbeddingStore | None:
    """Embed into a locked folder; arguments as for `embed_pieces`."""
    started = time.perf_counter()
    _check_folder(out)
    made_from = {
        "run": run_fingerprint(run),
        "subset": list(subset),
        "split": split,
        "piece_size": piece_size,
    }
    if features != "encoder":
        made_from["features"] = features
    pieces = plan_pieces(catalogue, piece_size)
    splits = None if split is None else find_splits(catalogue)
    if splits is not None:
        listed = json.dumps(sorted(splits.items())).encode()
        made_from["splits"] = hashlib.blake2b(listed, digest_size=16).hexdigest()
    facts = [made_from | {"piece": p.number, "records": p.digest} for p in pieces]
    paths = [out / piece_name(p.number) for p in pieces]
    todo = [i for i in range(len(pieces)) if not has_piece(paths[i], facts[i])]
    with main_first():
        # Every process has its list of pieces before the first one is written.
        if rank() == 0:
            (out / MANIFEST).unlink(missing_ok=True)
            if len(todo) < len(pieces):
                log.info("%s: %d of %d pieces exist", out, len(pieces) - len(todo), len(pieces))
    own = todo[rank() :: world_size()]
    losses = None if allow_missing else LossCounter(run, subset)
    for i in tqdm(own, desc="pieces", disable=not progress or rank() > 0):
        found = _embed_piece(
            run, catalogue, pieces[i], subset, split, splits, batch_size, cache, features, losses
        )
        write_piece(paths[i], found, facts[i])
    if losses is not None:
        losses.check()
    barrier()  # All pieces are written.
    if rank() > 0:
        return None
    return finish_store(out, len(pieces), made_from, provenance(run.config.train.seed, started))


def run_fingerprint(run: TrainedRun) -> str:
    """Return a hash of everything that determines an embedding: weights, settings of model and
    features, tokenizer, normaliser."""
    digest = hashlib.blake2b(digest_size=16)
    settings = [asdict(run.config.model), asdict(run.config.features), asdict(run.config.missing)]
    settings = [{n: v for n, v in s.items() if v not in ADDED.get(n, ())} for s in settings]
    vocabulary = sorted(run.tokenizer.get_vocab().items())
    digest.update(json.dumps([settings, vocabulary], sort_keys=True).encode())
    for name, weight in sorted(run.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    for arrays in (run.normaliser.mean, run.normaliser.spread):
        for m in sorted(arrays):
            digest.update(m.encode() + arrays[m].tobytes())
    return digest.hexdigest()


def _embed_piece(
    run: TrainedRun,
    folder: Path,
    piece: Piece,
    subset: tuple[str, ...],
    split: str | None,
    splits: Mapping[str, str] | None,
    batch_size: int,
    cache: FeatureCache | None,
    features: Features,
    losses: LossCounter | None,
) -> ProductEmbeddings:
    """Return the embeddings of a piece; empty if none of its products has a modality of the
    subset."""
    catalogue = read_piece(folder, piece)
    if split is not None:
        catalogue = with_splits(catalogue, splits).split(split)
    problems = list(catalogue.problems)
    present = False
    if len(catalogue):
        data = run.dataset(catalogue, cache=cache)
        problems += data.problems
        if losses is not None:
            losses.add(catalogue, data)
            losses.check(FEW)
        present = bool(data.present_NM[:, [INDEX[m] for m in subset]].any())
    if problems:
        log.warning("piece %d: %s", piece.number, summarise_problems(problems))
    if present:
        return embed_dataset(
            run.model, data, batch_size, subset, _device(), progress=False, features=features
        ).product(subset)
    settings = run.model.config
    both, narrow = settings.pooled_width + settings.width, settings.pooled_width
    widths = {"both": both, "encoder": narrow, "completed": narrow}
    size = widths.get(features, settings.width)
    nothing_ND = np.zeros((0, size), np.float32)
    nothing_NM = np.zeros((0, len(MODALITIES)), bool)
    return ProductEmbeddings((), nothing_ND, nothing_NM, tuple(p.id for p in catalogue))


def _device() -> torch.device:
    """Return the GPU of this process, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


def _check_folder(out: Path) -> None:
    """Raise StoreError if `out` is a file or a folder with other files than embeddings."""
    if out.exists() and not out.is_dir():
        raise StoreError(f"{out}: a file, not a folder")
    for path in out.iterdir() if out.is_dir() else ():
        if path.name not in (MANIFEST, LOCK) and not path.name.endswith(".parquet"):
            raise StoreError(
                f"{out}: contains {path.name}, which is not a file of embeddings: choose another "
                "folder"
            )
