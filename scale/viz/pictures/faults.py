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
from scale.viz.registry import Sources, figure
from scale.viz.words import Language

SOUNDS = ("as described", "audio axes swapped", "audio all zeros")
BUILDS = ("as described", "heads on encoder", "layers never called")


def _trained(sources: Sources, names: tuple[str, ...], steps: int) -> dict[str, tuple]:
    data, config = (
        first_training_products(sources.run, sources.catalogue),
        small_config(sources.run.config),
    )
    return {name: train_briefly(config, data, SHORT_RUNS[name], steps) for name in names}


@figure("fault_losses")
def _losses(sources: Sources, lang: Language) -> Figure:
    found = _trained(sources, tuple(SHORT_RUNS), SHORT_STEPS)
    return fault_losses({name: curves["total"] for name, (_, curves) in found.items()}, lang)


@figure("fault_gradients")
def _gradients(sources: Sources, lang: Language) -> Figure:
    found = _trained(sources, BUILDS, 1)
    return fault_gradients({n: gradient_coverage(model) for n, (model, _) in found.items()}, lang)


@figure("fault_mask")
def _mask(sources: Sources, lang: Language) -> Figure:
    data = first_training_products(sources.run, sources.catalogue)
    batch = data.collate(np.flatnonzero(data.present_NM.all(axis=1))[:6])
    changes = [
        title_influence(m, batch)
        for m in (sources.run.model.eval(), with_misaligned_mask(sources.run))
    ]
    return fault_mask(mask_owners(6, sources.run.config.model.heads), *changes, lang)


@figure("fault_temperature")
def _temperature(sources: Sources, lang: Language) -> Figure:
    with torch.no_grad():
        output = sources.run.model.embed(
            first_training_products(sources.run, sources.catalogue).collate(np.arange(64))
        )
    features = output.pooled_BMD, output.present_BM
    return fault_temperature(effective_temperatures(*features), same_modality_share(*features),
                             lang)  # fmt: skip


@figure("fault_audio")
def _audio(sources: Sources, lang: Language) -> Figure:
    data = first_training_products(sources.run, sources.catalogue)
    row = int(data.columns["audio"].length_N.argmax())
    sound_TF = data.collate([row]).tokens["audio"].values[0].numpy()
    found = _trained(sources, SOUNDS, SHORT_STEPS)
    return fault_audio(sound_TF, {name: curves["MAM"] for name, (_, curves) in found.items()}, lang)


@figure("fault_regression")
def _regression(sources: Sources, lang: Language) -> Figure:
    data = first_training_products(sources.run, sources.catalogue)
    return fault_regression(fit_audio_heads(sources.run, data), lang)


@figure("fault_missing")
def _missing(sources: Sources, lang: Language) -> Figure:
    data = first_training_products(sources.run, sources.catalogue)
    return fault_missing(missing_audio_effects(sources.run, data), lang)
