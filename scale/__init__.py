"""SCALE: self-supervised pretraining of products with five modalities (Dong et al., CVPR 2022).

    import scale

    shop = scale.open("data_samples")
    run = scale.pretrain(shop, preset="tiny", out="runs/mine", steps=200)
    run = scale.load("runs/mine")
    run.search("a warm drink on a cold morning", shop, k=5)
    run.embed(shop, subset="text+image")
    run.evaluate(shop, split="test")
    scale.plot.scores(run.scores(shop["p0012"]))
    run.explore(shop)

The subpackages are attributes, with their public names: `scale.losses.pair_losses`,
`scale.studies.STUDIES`. `import scale` loads none of them and no heavy library; each is imported at
its first use.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from lazy_loader import attach

if TYPE_CHECKING:
    import pandas as pd

    from scale.config import Config
    from scale.data.catalogue import Catalogue
    from scale.run import Run

__version__ = "0.1.0"

# Before torch is imported: threads that wait for each other sleep. By default they spin, and two
# trainings on the same cores are several times slower (docs/performance.md, Threads).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__getattr__, _, __all__ = attach(
    __name__,
    submodules=[
        "config", "data", "evaluation", "exercises", "explore", "inference", "losses", "modalities",
        "model", "plot", "seeding", "studies", "training", "viz",
    ],
    submod_attrs={
        "config": ["Config"],
        "data.catalogue": ["Catalogue"],
        "data.product": ["Product"],
        "modalities": ["MODALITIES", "PAIRS", "TASKS"],
        "model.scale": ["ScaleModel"],
        "run": ["Run"],
    },
)  # fmt: skip
__all__ += ["load", "open", "pretrain"]


def __dir__() -> list[str]:
    return sorted(__all__)


def open(
    source: "str | PathLike | Catalogue | pd.DataFrame | Iterable[Mapping[str, Any]]",
    strict: bool = False,
    *,
    media: str | PathLike | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    format: str | None = None,
    **options: Any,
) -> "Catalogue":
    """Open a catalogue of products.

    Args:
        source: a folder with products.jsonl or products.parquet and the media files; any other
            source of `scale import` (docs/importing.md), which is read in place; a data frame
            (pandas, polars) or an iterable of dictionaries; or a Catalogue, which is returned
            unchanged.
        strict: raise at any problem. Otherwise an unusable value counts as missing, and
            `Catalogue.problems` lists it.
        media: folder that media paths are relative to; default: the folder of `source`, or the
            working directory for a data frame.
        columns: columns whose names differ, e.g. `{"title": "Product"}`; also of `table`, `labels`,
            `kept` and `ignored`.
        format: name of the format; None: detected.
        **options: encoding, delimiter, decimal, language, variants, html and pattern, where what is
            detected is wrong.

    Returns:
        Catalogue, a sequence of products: `shop[0]`, `shop["p0012"]`, `shop.split("test")`.

    Raises:
        CatalogueError: the source is not a catalogue, or, with `strict`, it has a problem.
    """
    from scale.data.catalogue import Catalogue

    if isinstance(source, Catalogue):
        return source
    return Catalogue.open(source, strict, media=media, columns=columns, format=format, **options)


def load(folder: str | PathLike, which: str = "best") -> "Run":
    """Load a trained model from its run folder.

    Args:
        folder: written by `scale.pretrain` or `scale pretrain`.
        which: checkpoint `best` (by validation), `last`, or that of a step, e.g. `step-000100`.

    Returns:
        Run, with the model in evaluation mode on the CPU.

    Raises:
        ValueError: not a run folder, no such checkpoint, or a damaged file, which is named.
    """
    from scale.run import Run

    return Run.load(folder, which)


def pretrain(
    catalogue: "Catalogue | str | PathLike",
    preset: "str | Config" = "tiny",
    *,
    out: str | PathLike,
    resume: bool = False,
    strict: bool = False,
    progress: bool = True,
    **settings: Any,
) -> "Run":
    """Train SCALE on the training split of a catalogue.

        scale.pretrain(shop, out="runs/mine", steps=200)
        scale.pretrain(shop, out="runs/mine", steps=200, loss={"weight_on": "loss"})

    Args:
        catalogue: a Catalogue, its folder, or a folder of shards.
        preset: `micro`, `tiny` (laptop), `small` (one GPU) or `base` (the paper), or a Config.
        out: run folder to write: config, checkpoints, metrics.
        resume: continue a stopped run; the result is bit-identical to an uninterrupted one.
        strict: raise for a bad record or media file instead of counting it as missing.
        progress: show a progress bar.
        **settings: changes to the preset. A setting of TrainConfig by its name, e.g. `steps`,
            `batch_size`, `seed`; those of another section as a dictionary under the section's
            name: `features`, `model`, `mask`, `loss`, `missing`.

    Returns:
        Run, with the best checkpoint loaded.

    Raises:
        ValueError: an unknown preset or setting, or `out` contains a run and `resume` is off.
        TrainingError: a loss is not finite, or memory or disk is full; the last checkpoint is
            intact.
    """
    from scale.config import configure
    from scale.run import Run
    from scale.training.pretrain import pretrain as train

    config = configure(preset, settings)
    run = train(config, catalogue, out, resume=resume, strict=strict, progress=progress)
    return Run(run.folder, run.config, run.tokenizer, run.normaliser, run.model)
