"""The framework: sizes of the config, content of the product, roles of the scores."""

from itertools import pairwise

import numpy as np
import torch
from matplotlib.colors import to_rgb

from scale.config import base, tiny
from scale.modalities import MODALITIES
from scale.viz.illustrations.framework import (
    architecture,
    compact_scene,
    framework,
    framework_scene,
    token_count,
)
from scale.viz.scene import Block, Line, Photo
from scale.viz.theme import MODALITY_COLOURS, use_style
from scale.viz.words import label
from tests.viz.conftest import LOOKS


def test_architecture_has_the_configs_numbers(checked):
    for (look, lang), config in zip(LOOKS, (tiny().model, base().model), strict=True):
        _, texts = checked(architecture, look, config, 1_500_000, "mine", lang)
        told = " ".join(texts)
        tokens = sum(token_count(config, m) for m in MODALITIES)
        for number in (
            tokens,
            config.vocab_size,
            config.image_features,
            config.audio_features,
            # On a slide, the number of parameters belongs to its title.
            *["1.5"] * (look == "paper"),
        ):
            assert str(number) in told


def test_token_counts_are_those_of_the_model(make_model, make_batch, model_config):
    with torch.no_grad():
        encoded = make_model().embed(make_batch([MODALITIES] * 9))
        tokens = make_model()(make_batch([MODALITIES] * 9)).encoded
    assert encoded.pooled_BMD.shape[1] == len(MODALITIES)
    assert {m: tokens[m].shape[1] for m in MODALITIES} == {
        m: token_count(model_config, m) for m in MODALITIES
    }


def test_the_framework_shows_the_product(checked, product):
    for look, lang in LOOKS:
        _, texts = checked(framework, look, product, np.eye(5), lang)
        told = " ".join(texts)
        assert "Kettle for" in told
        assert "attribute 0" in told
        assert texts.count("[CLS]") == 5
        for key in ("hero_contrastive", "hero_masked"):
            assert label(key, lang).split("\n")[0] in texts


def cells(scene, i, j):
    """Brightness of a cell in S and in S'."""
    name = f"{MODALITIES[i]} {MODALITIES[j]}"
    return [s.face for s in scene.shapes if isinstance(s, Block) and s.name == name]


def test_cells_darken_with_the_scores_and_only_used_weights_are_marked():
    scores_MM = np.eye(5)
    upper = np.triu_indices(5, 1)
    scores_MM[upper] = np.linspace(0.1, 0.9, 10)
    scores_MM = np.maximum(scores_MM, scores_MM.T)
    with use_style("paper"):
        scene = framework_scene(scores_MM=scores_MM)
    bright = [sum(to_rgb(cells(scene, i, j)[0])) for i, j in zip(*upper, strict=True)]
    assert all(first > second for first, second in pairwise(bright))
    for k, modality in enumerate(MODALITIES):
        assert cells(scene, k, k)[1] == MODALITY_COLOURS[modality]
    below = {cells(scene, j, i)[1] for i, j in zip(*upper, strict=True)}
    assert len(below) == 1
    assert sum(to_rgb(below.pop())) > max(bright)


def test_both_weights_reach_their_losses(product):
    with use_style("paper"):
        scene, small = framework_scene(product), compact_scene()
    for drawn in (scene, small):
        ends = {s.name: s.points[-1] for s in drawn.shapes if isinstance(s, Line) and s.head}
        boxes = [s.box for s in drawn.shapes if isinstance(s, Block) and s.lines]
        for name in ("S'_ij", "S'_ii"):
            x, y = ends[name]
            near = [
                b for b in boxes if b.x - 4 <= x <= b.x + b.width and b.y <= y <= b.y + b.height + 4
            ]
            assert near, name
    # An image, five frames and a spectrogram.
    assert sum(isinstance(s, Photo) for s in scene.shapes) == 7
    for s in scene.shapes:
        inside = isinstance(s, Line) or (s.box.x >= -6 and s.box.x + s.box.width <= scene.width + 6)
        assert inside, s
