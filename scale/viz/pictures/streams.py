"""Pictures of notebook 03."""

import torch
from matplotlib.figure import Figure

from scale.config import base
from scale.data.features import fit_image
from scale.data.media import load_image
from scale.modalities import MODALITIES
from scale.seeding import derived_seed
from scale.studies.systems.attention_reach import AttentionReach, generator_reach, truncate_tokens
from scale.studies.systems.generator import GeneratorConfig, ImageGenerator, PatchCodebook
from scale.studies.systems.model import build_system
from scale.studies.systems.named import SYSTEMS
from scale.viz.illustrations.streams import (
    attention_masks,
    cost_by_length,
    picture_words,
    sized_designs,
    streams,
)
from scale.viz.registry import Sources, figure, most_complete
from scale.viz.words import Language

MASKS = ("uniter", "vilbert", "clip", "scale_itself")
TOKENS = 10
"""Most of a modality in the masks, so that single tokens can be seen."""
SIDE, PICTURES_OF_CODEBOOK, CODES, TITLE = 64, 150, 128, 12
"""Pixels of a picture; pictures that the codes are found in; codes; tokens of a title."""


@figure("attention_masks")
def _draw_masks(sources: Sources, lang: Language) -> Figure:
    """Of untrained models of the run's config: a mask is the design's, not the training's."""
    batch = sources.test.collate([most_complete(sources.test)])
    product = truncate_tokens(batch, 0, TOKENS)
    reaches = []
    for name in MASKS:
        model = build_system(SYSTEMS[name]().everywhere(), sources.run.config, sources.seed)
        reaches.append(AttentionReach.of(model, product))
    return attention_masks(reaches, lang)


@figure("picture_words")
def _draw_words(sources: Sources, lang: Language) -> Figure:
    train = [p for p in sources.catalogue.split("train").products if p.image is not None]
    pictures = [fit_image(load_image(p.image), SIDE) for p in train[:PICTURES_OF_CODEBOOK]]
    codebook = PatchCodebook.fit(pictures, CODES, seed=sources.seed)
    shown = sources.test.products[most_complete(sources.test)]
    pixels_HWC = fit_image(load_image(shown.image), SIDE)
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(sources.seed))
        model = ImageGenerator(GeneratorConfig(vocab_size=32, codes=CODES, text_length=TITLE))
    text_1T = torch.arange(1, TITLE + 1)[None]
    image_1N = torch.from_numpy(codebook.encode(pixels_HWC))[None]
    return picture_words(pixels_HWC, codebook, generator_reach(model, text_1T, image_1N), lang)


@figure("cost_by_length")
def _draw_cost(lang: Language) -> Figure:
    config = base()
    lengths = [config.model.length(m) for m in MODALITIES]
    return cost_by_length(sized_designs(config), sum(lengths) / len(lengths), lang=lang)


figure("streams")(streams)
