"""Figures of `scale figures` by name.

A figure is registered by a decorator beside its drawing:

    @figure("context_gain")
    def draw_context_gain(sources: Sources, lang: Language) -> Figure: ...

or, where it needs no data, on the drawing itself, which is then called with `lang` alone. FIGURES
lists the names with the modules that define them, so that a module is imported only when one of its
figures is drawn. A new figure takes a decorated function, a line in FIGURES and a caption in
`words/en.toml` and `words/zh.toml`.

A figure that is too dense for a slide has a second drawing, registered with `on_slides=True` in a
module of SLIDE_MODULES; it replaces the first one in the style `slides`.
"""

import inspect
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from scale.config import require
from scale.viz.words import LANG, Language

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scale.data.catalogue import Catalogue
    from scale.data.dataset import ProductDataset
    from scale.model.scale import ScaleModel
    from scale.studies.study import Record, Study
    from scale.training.run import TrainedRun

Drawing = TypeVar("Drawing", bound=Callable)
Group = Literal["core", "all"]

FIGURES: dict[str, str] = {
    "contrastive_idea": "illustrations.contrastive_idea",
    "pull_and_push": "illustrations.contrastive",
    "info_nce_table": "illustrations.info_nce",
    "temperature": "illustrations.info_nce",
    "batch_size": "illustrations.info_nce",
    "false_negatives": "illustrations.contrastive",
    "alignment_uniformity": "illustrations.contrastive",
    "collapse": "illustrations.contrastive",
    "batch_table": "illustrations.info_nce",
    "contact_sheet": "products",
    "data_sets": "illustrations.data",
    "long_tail": "catalogue",
    "tail_curves": "illustrations.data",
    "tail_metric": "illustrations.data",
    "combinations": "catalogue",
    "expected_combinations": "illustrations.data",
    "presence_by_category": "illustrations.data",
    "independence": "illustrations.data",
    "catalogue": "catalogue",
    "streams": "illustrations.streams",
    "attention_masks": "illustrations.streams",
    "cost_by_length": "illustrations.streams",
    "picture_words": "illustrations.streams",
    "framework": "illustrations.framework",
    "framework_compact": "illustrations.framework",
    "architecture": "illustrations.framework",
    "architecture_base": "illustrations.framework",
    "score_path": "illustrations.scores",
    "total_loss": "illustrations.pretraining",
    "loss_terms": "illustrations.pretraining",
    "broken_runs": "illustrations.pretraining",
    "pretext_tasks": "illustrations.masking",
    "context_gain": "illustrations.masking",
    "mask_image": "illustrations.masking",
    "mask_video": "illustrations.masking",
    "mask_audio": "illustrations.masking",
    "copy_curve": "illustrations.masking",
    "word_masking": "illustrations.masked_words",
    "word_prediction": "illustrations.masked_words",
    "whole_value_masking": "illustrations.masked_words",
    "entity_prediction": "illustrations.masked_words",
    "entity_context": "illustrations.masked_words",
    "weight_effects": "illustrations.scores",
    "product": "products",
    "scores": "scores",
    "scores_over_time": "scores",
    "losses": "training",
    "retrieval_sheet": "retrieval",
    "retrieval_sheet_text": "retrieval",
    "embedding_map": "embeddings",
    "ap_denominators": "illustrations.downstream",
    "ap_two_systems": "illustrations.downstream",
    "bootstrap": "illustrations.downstream",
    "retrieval_by_subset": "retrieval",
    "retrieval_by_direction": "retrieval",
    "long_tail_f1": "illustrations.downstream",
    "purity": "illustrations.downstream",
    "downstream_tasks": "illustrations.downstream",
    "study_toy": "studies",
    "study_scarcity": "studies",
    "study_missing": "studies",
    "study_fused": "studies",
    "study_contrast": "studies",
    "study_contrast_tuning": "studies",
    "study_agreement": "studies",
    "study_weighting": "studies",
    "study_harmony": "studies",
    "study_memorising": "studies",
    "study_noise": "studies",
    "study_modalities": "studies",
    "study_tasks": "studies",
    "study_masking": "studies",
    "study_fusion": "studies",
    "study_faults": "studies",
    "weight_diagnosis": "studies",
    "noise": "noise",
    "missing_policies": "illustrations.missing_modalities",
    "complete_share": "illustrations.missing_modalities",
    "paired_seeds": "illustrations.missing_modalities",
    "subset_bars": "illustrations.contributions",
    "shapley": "illustrations.contributions",
    "retention": "studies",
    "added_modalities": "illustrations.contributions",
    "modality_gap": "illustrations.space",
    "umap_modality": "illustrations.space",
    "umap_category": "embeddings",
    "map_tears": "illustrations.space",
    "umap_seeds": "illustrations.space",
    "map_made_up": "illustrations.space",
    "paper_claims": "illustrations.paper",
    "paper_modalities": "illustrations.paper",
    "paper_models": "illustrations.paper",
    "fault_losses": "illustrations.released_code",
    "fault_gradients": "illustrations.released_code",
    "fault_mask": "illustrations.released_code",
    "fault_regression": "illustrations.released_code",
    "fault_temperature": "illustrations.released_code",
    "fault_audio": "illustrations.released_code",
    "fault_missing": "illustrations.released_code",
}
"""Module in scale.viz by name of the figure, in the order of the index page."""

CORE: tuple[str, ...] = (
    "contrastive_idea", "product", "data_sets", "combinations", "long_tail", "streams",
    "framework", "framework_compact", "architecture_base", "pretext_tasks", "score_path",
    "scores", "total_loss", "losses", "scores_over_time", "retrieval_sheet",
    "retrieval_sheet_text", "retrieval_by_subset", "retrieval_by_direction", "study_toy",
    "study_scarcity", "study_missing", "study_fused", "study_weighting", "study_harmony",
    "study_memorising", "study_noise", "study_modalities", "study_tasks", "study_masking",
    "study_fusion", "study_faults", "weight_diagnosis", "embedding_map", "umap_modality",
)  # fmt: skip
"""Figures of a talk about the paper and a run, in its order; of the studies, the finished ones."""

SLIDE_MODULES = ("slides.method", "slides.results", "slides.details", "slides.background")
"""Modules in scale.viz with drawings for slides."""

FOR_PRINT: dict[str, tuple[str, ...]] = {
    "catalogue": ("combinations", "long_tail"),
    "missing_policies": ("study_missing",),
    "noise": ("study_noise",),
}
"""Pages with too much text for a slide, each with figures that show their subject there."""

_registered: dict[str, Callable] = {}
_for_slides: dict[str, Callable] = {}


def figure(name: str, on_slides: bool = False) -> Callable[[Drawing], Drawing]:
    """Register a function `(sources, lang) -> Figure`, or `(lang) -> Figure`, under a name.

    Args:
        on_slides: whether it replaces the figure of this name in the style `slides`.
    """

    def register(function: Drawing) -> Drawing:
        (_for_slides if on_slides else _registered)[name] = function
        return function

    return register


def draw(name: str, sources: "Sources", lang: Language = LANG) -> "Figure":
    """Return a figure by name.

    Raises ValueError for an unknown name, for missing sources, and in the style `slides` for a page
    for print (FOR_PRINT) and for text below SMALLEST_ON_SLIDE.
    """
    # Listing the figures must not import matplotlib.
    from scale.viz.theme import on_slide, require_readable

    require_known([name])
    better = ", ".join(FOR_PRINT.get(name, ()))
    message = f"{name} is a page for print, too dense for a slide; on slides: {better}"
    require(not (on_slide() and better), message)
    modules = [FIGURES[name], *(SLIDE_MODULES if on_slide() else ())]
    for module in modules:
        import_module(f"scale.viz.{module}")
    function = (on_slide() and _for_slides.get(name)) or _registered[name]
    given = {"sources": sources} if "sources" in inspect.signature(function).parameters else {}
    drawing = function(**given, lang=lang)
    if on_slide():
        require_readable(drawing, name)
    return drawing


def shared(function: Drawing) -> Drawing:
    """Decorate a function `(sources, ...)` to compute once for all figures and languages.

    Further arguments must be hashable. The result is kept in `sources` and must not be changed.
    """

    @wraps(function)
    def wrapper(sources: "Sources", *args: Hashable) -> Any:
        key = (function.__module__, function.__qualname__, *args)
        if key not in sources.results:
            before, sources.used = sources.used, set()
            try:
                result = function(sources, *args)
                sources.results[key] = result, frozenset(sources.used)
            finally:
                sources.used = before
        result, used = sources.results[key]
        sources.used |= used
        return result

    return wrapper


def require_known(names: Sequence[str]) -> None:
    """Raise ValueError that lists all figures if one of `names` is unknown."""
    unknown = ", ".join(name for name in names if name not in FIGURES)
    require(not unknown, f"no figure named {unknown}; known: {', '.join(FIGURES)}")


def select(
    names: Sequence[str], group: Group, sources: "Sources", on_slides: bool = False
) -> list[str]:
    """Return `names` without repetition, or the figures of a group if there are none.

    A group leaves out figures of studies without finished runs on the catalogue, and for slides the
    pages for print (FOR_PRINT). Raises ValueError that lists all figures if a name is unknown.
    """
    require_known(names)
    if names:
        return list(dict.fromkeys(names))
    return [
        name
        for name in (CORE if group == "core" else FIGURES)
        if name not in STUDY_FIGURES or sources.has_finished(STUDY_FIGURES[name])
        if not (on_slides and name in FOR_PRINT)
    ]


STUDY_FIGURES: dict[str, str] = {
    **{name: name.removeprefix("study_") for name in FIGURES if name.startswith("study_")},
    "weight_diagnosis": "weighting",
}
"""Study by name of a figure that is left out of a group until the study has finished runs."""


@dataclass
class Sources:
    """Inputs of figures: a trained run, a catalogue and finished studies, opened on first use."""

    run_folder: Path
    """Folder written by `scale pretrain`."""
    catalogue_folder: Path
    """Catalogue whose products are shown."""
    studies: Path
    """Folder of `<study>-<catalogue>.parquet` files."""
    seed: int = 0
    """Seed of everything random."""
    used: set[str] = field(default_factory=set)
    """Which of `run`, `catalogue` and `studies` were read since this set was last cleared."""
    results: dict[tuple, tuple] = field(default_factory=dict, repr=False)
    """Results of `shared` functions, each with what it used, by function and arguments."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields without what was read: another process reads it again."""
        state = {
            name: getattr(self, name) for name in ("run_folder", "catalogue_folder", "studies")
        }
        return state | {"seed": self.seed, "used": set(), "results": {}}

    @property
    def run(self) -> "TrainedRun":
        """The run. Raises ValueError if the folder contains no run."""
        self.used.add("run")
        return self._run

    def models(self) -> dict[str, "ScaleModel"]:
        """Return the run's model before and after training."""
        return {"untrained": self.run.untrained(), "trained": self.run.model}

    def split(self, name: str) -> "ProductDataset":
        """Return a split of the catalogue, tokenized for the run's model."""
        self.used |= {"run", "catalogue"}
        if name not in self._splits:
            self._splits[name] = self._data.subset(self._data.rows_of(name))
        return self._splits[name]

    @property
    def catalogue(self) -> "Catalogue":
        """The catalogue. Raises ValueError if the folder contains no catalogue."""
        self.used.add("catalogue")
        return self._catalogue

    @property
    def train(self) -> "ProductDataset":
        """The training split, tokenized for the run's model."""
        return self.split("train")

    @property
    def test(self) -> "ProductDataset":
        """The test split, tokenized for the run's model.

        Raises ValueError if it is empty, or if the catalogue's features do not fit the model.
        """
        data = self.split("test")
        require(len(data) > 0, f"{self.catalogue_folder}: no product in the test split")
        return data

    @cached_property
    def same_catalogue(self) -> bool | None:
        """Whether the run was trained on the catalogue, by the fingerprint in its data.json.

        None: the run was written by an earlier version, whose fingerprints ignore contents. Raises
        ValueError if run or catalogue cannot be opened.
        """
        folder = self._run.folder
        if not folder.data.is_file():
            return None
        facts = json.loads(folder.data.read_text(encoding="utf-8"))
        if facts.get("products") != len(self._catalogue):
            return False
        if "splits" not in facts:
            return None
        return self._data.fingerprint == facts["fingerprint"]

    def finished(self, name: str) -> tuple["Study", list["Record"]]:
        """Return a study and its finished runs on the catalogue (which need not exist).

        Raises ValueError if there are none.
        """
        self.used.add("studies")
        if name not in self._finished:
            self._finished[name] = self._read_study(name)
        return self._finished[name]

    def _read_study(self, name: str) -> tuple["Study", list["Record"]]:
        from scale.studies.definitions import STUDIES
        from scale.studies.definitions.toy import TOY_STUDIES, run_toy_study
        from scale.studies.runner import load_finished

        study = STUDIES[name](False)
        require(
            self.studies.is_dir(),
            f"{self.studies}: no such folder; `scale ablate {name} --out {self.studies}` makes it",
        )
        # Toy studies have no catalogue; their results apply to any.
        if name in TOY_STUDIES:
            records = run_toy_study(study, self.studies, train=False)
        else:
            records = load_finished(study, self.catalogue_folder, self.studies)
        on = "" if name in TOY_STUDIES else f" on {self.catalogue_folder.resolve().name}"
        require(bool(records), f"{self.studies}: no finished runs of the study {name}{on}")
        return study, records

    def has_finished(self, name: str) -> bool:
        """Whether a study has finished runs on the catalogue."""
        try:
            self.finished(name)
        except ValueError:
            return False
        return True

    @cached_property
    def _run(self) -> "TrainedRun":
        from scale.training.run import TrainedRun

        folder = self.run_folder
        exists = (folder / "config.json").is_file()
        require(exists, f"{folder}: not a run; `make demo` trains runs/demo, --run selects another")
        return TrainedRun.load(folder)

    @cached_property
    def _catalogue(self) -> "Catalogue":
        from scale.data.catalogue import Catalogue

        return Catalogue.open(self.catalogue_folder)

    @cached_property
    def _data(self) -> "ProductDataset":
        from scale.data.catalogue import with_splits

        return self._run.dataset(with_splits(self._catalogue))

    @cached_property
    def _splits(self) -> dict[str, "ProductDataset"]:
        return {}

    @cached_property
    def _finished(self) -> dict[str, tuple["Study", list["Record"]]]:
        return {}


def most_complete(data: "ProductDataset") -> int:
    """Return the row of the first product among those with the most modalities."""
    return int(data.present_NM.sum(axis=1).argmax())
