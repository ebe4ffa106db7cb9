"""Pictures of notebook 11: incomplete and damaged modalities."""

import numpy as np
import torch
from matplotlib.figure import Figure

from scale.studies.noise import apply_noise, missing_at_random
from scale.viz.illustrations.missing_modalities import (
    complete_share,
    missing_policies,
    paired_runs,
    shares_left,
)
from scale.viz.registry import Sources, figure, most_complete
from scale.viz.words import Language

SHOWN = ("text", "table", "image")
"""What the product of `missing_policies` has."""
RATES = (0.1, 0.3, 0.5, 0.7)
"""At which the catalogue's complete products are counted."""
PAIRED = 0.1
"""Rate of `paired_seeds`."""


@figure("missing_policies")
def _draw_policies(sources: Sources, lang: Language) -> Figure:
    model = sources.run.model
    with torch.no_grad():
        output = model(sources.test.collate([most_complete(sources.test)]))
        imputed = {m: encoder.impute_zeros().shape[1] for m, encoder in model.encoders.items()}
    lengths = {m: tokens_RLD.shape[1] for m, tokens_RLD in output.encoded.items()}
    return missing_policies(lengths, SHOWN, imputed, lang)


@figure("complete_share")
def _draw_complete(sources: Sources, lang: Language) -> Figure:
    train = sources.run.dataset(sources.catalogue, "train")
    measured = {}
    for rate in RATES:
        left = apply_noise(train, missing_at_random(rate), sources.seed).dataset
        measured[rate] = shares_left(train.present_NM, left.present_NM)
    return complete_share(measured, lang)


@figure("paired_seeds")
def _draw_paired(sources: Sources, lang: Language) -> Figure:
    _, records = sources.finished("missing")
    names = ("zero", "drop")
    by_seed = [
        {r.seed: r.figures["held out"]["mAP@5"] for r in records if r.factors == factors}
        for factors in ({"policy": name, "rate": PAIRED} for name in names)
    ]
    shared = sorted(by_seed[0].keys() & by_seed[1].keys())
    sides = (np.array([values[seed] for seed in shared]) for values in by_seed)
    return paired_runs(*sides, names, lang)
