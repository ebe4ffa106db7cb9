"""The small DALL-E: codebook, causality, seeding, learning."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.data.catalogue import Catalogue
from scale.studies.systems.generator import (
    GeneratorConfig,
    GeneratorTraining,
    ImageGenerator,
    PatchCodebook,
    fit_generator,
    measure_bits,
    train_generator,
)

CONFIG = GeneratorConfig(
    vocab_size=20, codes=6, text_length=5, side=3, width=16, heads=2, layers=2, dropout=0.0
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ImageGenerator(CONFIG).eval()


@pytest.fixture
def pairs():
    random = torch.Generator().manual_seed(0)
    text_BT = torch.randint(1, 20, (6, 5), generator=random)
    text_BT[::2, 3:] = 0
    return text_BT, torch.randint(6, (6, 9), generator=random)


def test_codebook_round_trip():
    random = np.random.default_rng(0)
    tiles = random.integers(0, 256, (4, 2, 2, 3), dtype=np.uint8)
    numbers = random.integers(0, 4, (3, 4, 4))
    pictures = [
        np.concatenate([np.concatenate([tiles[n] for n in row], 1) for row in p]) for p in numbers
    ]
    codebook = PatchCodebook.fit(pictures, codes=4, patch=2)
    for picture in pictures:
        ids_N = codebook.encode(picture)
        assert ids_N.shape == (16,)
        np.testing.assert_allclose(codebook.decode(ids_N), picture, atol=1)
        np.testing.assert_array_equal(codebook.encode(codebook.decode(ids_N)), ids_N)
    with pytest.raises(ValueError, match="48 patches for 49 codes"):
        PatchCodebook.fit(pictures, codes=49, patch=2)


def test_generator_is_causal(model, pairs):
    text_BT, image_BN = pairs
    words, codes = model(text_BT, image_BN)
    assert codes.shape == (6, 9, 6)
    for t in range(9):
        changed = image_BN.clone()
        changed[:, t] = (changed[:, t] + 1) % 6
        words_after, codes_after = model(text_BT, changed)
        torch.testing.assert_close(words_after, words)
        torch.testing.assert_close(codes_after[:, : t + 1], codes[:, : t + 1])
        if t < 8:
            assert not torch.allclose(codes_after[:, t + 1], codes[:, t + 1])
    text_after = text_BT.clone()
    text_after[:, 2] = 19 - text_BT[:, 2].clamp(max=18)
    words_after, codes_after = model(text_after, image_BN)
    torch.testing.assert_close(words_after[:, :2], words[:, :2])
    assert not torch.allclose(codes_after[:, 0], codes[:, 0])


def test_padded_text_has_no_influence(model, pairs):
    text_BT, image_BN = pairs
    _, codes = model(text_BT, image_BN)
    with torch.no_grad():
        model.word.weight[0] += 5.0
    _, after = model(text_BT, image_BN)
    torch.testing.assert_close(after, codes)


def test_generation_is_seeded_and_follows_the_logits(model, pairs):
    text_BT, _ = pairs
    draw = [model.generate(text_BT, 1.0, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert draw[0].shape == (6, 9)
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    likeliest = model.generate(text_BT, 0.0)
    _, codes = model(text_BT, likeliest)
    assert torch.equal(codes.argmax(2), likeliest)
    with pytest.raises(ValueError, match="temperature"):
        model.generate(text_BT, -1.0)


def test_training_learns_the_dependence_on_text():
    """Pictures of one colour that the text names: given the text nothing is left to guess."""
    random = torch.Generator().manual_seed(0)
    colour_B = torch.randint(6, (64,), generator=random)
    text_BT = torch.full((64, 5), 7)
    text_BT[:, 2] = 10 + colour_B
    image_BN = colour_B[:, None].expand(-1, 9).contiguous()
    torch.manual_seed(0)
    model = ImageGenerator(CONFIG)
    settings = GeneratorTraining(steps=120, batch_size=32, learning_rate=1e-2)
    losses = fit_generator(model, text_BT, image_BN, settings)
    assert losses[-1] < 0.2 * losses[0]
    bits = measure_bits(model, text_BT, image_BN, image_BN, seed=0)
    assert bits.model < 0.1 < bits.shuffled
    assert 2 < bits.unigram < 2.7


def test_generator_trains_on_a_catalogue(small_catalogue):
    catalogue = Catalogue.open(small_catalogue)
    settings = GeneratorTraining(steps=3, batch_size=8, codes=8, vocab_size=80)
    run = train_generator(catalogue, settings)
    again = train_generator(catalogue, settings)
    assert run.losses == again.losses
    assert run.bits == again.bits
    assert len(run.losses) == 3
    ids_BN = run.model.generate(run.text(["red thing"]), 1.0, torch.Generator().manual_seed(0))
    assert run.codebook.decode(ids_BN[0].numpy()).shape == (64, 64, 3)
    empty = replace(catalogue, products=())
    with pytest.raises(ValueError, match="no product with a title"):
        train_generator(empty, settings)
