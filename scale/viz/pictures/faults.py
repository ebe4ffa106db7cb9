"""Pictures of notebook 15: the released code's faults."""

import numpy as np
import torch
from matplotlib.figure import Figure

from scale.studies.released_code import (
    SHORT_RUNS,
    SHORT_STEPS,
    effective_temperatures,
    first_training_products,
    fit_audio_heads,
    gradient_coverage,
    mask_owners,
    missing_audio_effects,
    same_modality_share,
    small_config,
    title_influence,
    train_briefly,
    with_misaligned_mask,
)
from scale.viz.illustrations.released_code import (
    fault_audio,
    fault_gradients,
    fault_losses,
    fault_mask,
    fault_missing,
    fault_regression,
    fault_temperature,
)
from scale.viz.pictures.sources import Picture, Sources
from scale.viz.words import Language

SOUNDS = ("as described", "audio axes swapped", "audio all zeros")
BUILDS = ("as described", "heads on encoder", "layers never called")


def _trained(s: Sources, names: tuple[str, ...], steps: int) -> dict[str, tuple]:
    data, config = first_training_products(s.run, s.catalogue), small_config(s.run.config)
    return {name: train_briefly(config, data, SHORT_RUNS[name], steps) for name in names}


def _losses(s: Sources, lang: Language) -> Figure:
    found = _trained(s, tuple(SHORT_RUNS), SHORT_STEPS)
    return fault_losses({name: curves["total"] for name, (_, curves) in found.items()}, lang)


def _gradients(s: Sources, lang: Language) -> Figure:
    found = _trained(s, BUILDS, 1)
    return fault_gradients({n: gradient_coverage(model) for n, (model, _) in found.items()}, lang)


def _mask(s: Sources, lang: Language) -> Figure:
    data = first_training_products(s.run, s.catalogue)
    batch = data.collate(np.flatnonzero(data.present_NM.all(axis=1))[:6])
    changes = [title_influence(m, batch) for m in (s.run.model.eval(), with_misaligned_mask(s.run))]
    return fault_mask(mask_owners(6, s.run.config.model.heads), *changes, lang)


def _temperature(s: Sources, lang: Language) -> Figure:
    with torch.no_grad():
        output = s.run.model.embed(
            first_training_products(s.run, s.catalogue).collate(np.arange(64))
        )
    features = output.pooled_BMD, output.present_BM
    return fault_temperature(effective_temperatures(*features), same_modality_share(*features),
                             lang)  # fmt: skip


def _audio(s: Sources, lang: Language) -> Figure:
    data = first_training_products(s.run, s.catalogue)
    row = int(data.columns["audio"].length_N.argmax())
    sound_TF = data.collate([row]).tokens["audio"].values[0].numpy()
    found = _trained(s, SOUNDS, SHORT_STEPS)
    return fault_audio(sound_TF, {name: curves["MAM"] for name, (_, curves) in found.items()}, lang)


PICTURES: dict[str, Picture] = {
    "fault_losses": _losses,
    "fault_gradients": _gradients,
    "fault_mask": _mask,
    "fault_regression": lambda s, lang: fault_regression(
        fit_audio_heads(s.run, first_training_products(s.run, s.catalogue)), lang
    ),
    "fault_temperature": _temperature,
    "fault_audio": _audio,
    "fault_missing": lambda s, lang: fault_missing(
        missing_audio_effects(s.run, first_training_products(s.run, s.catalogue)), lang
    ),
}
