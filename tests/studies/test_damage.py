"""Damage functions: exact ratios and shares, and no other changes."""

import io
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from scale.studies.damage import (
    DamageStep,
    add_gaussian,
    add_typos,
    add_white_noise,
    blur,
    compress,
    damage_signal,
    drop_words,
    kept_positions,
    name_uniforms,
    permuted_positions,
    rounded_share,
    split_words,
    swap_attributes,
)

COUNTS, SHARES = st.integers(0, 40), st.floats(0, 1)
SEEDS = st.integers(0, 2**32)


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def pixels_HWC(random):
    return random.integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("std", [1.0, 10.0, 25.0])
def test_gaussian_has_the_requested_deviation(std, random):
    grey_HWC = np.full((200, 200, 3), 128, np.uint8)
    change_HWC = add_gaussian(grey_HWC, std, random).astype(float) - 128
    # Rounding to whole grey levels adds 1/12 to the variance.
    assert change_HWC.std() == pytest.approx(np.sqrt(std**2 + 1 / 12), rel=0.02)
    assert change_HWC.mean() == pytest.approx(0, abs=0.02 * std)


def test_gaussian_is_clipped_and_zero_is_identity(pixels_HWC, random):
    noisy_HWC = add_gaussian(pixels_HWC, 255, random)
    assert noisy_HWC.dtype == np.uint8
    assert noisy_HWC.min() == 0
    assert noisy_HWC.max() == 255
    assert np.array_equal(add_gaussian(pixels_HWC, 0, random), pixels_HWC)


def test_blur_and_jpeg_equal_pillow(pixels_HWC, random):
    picture = Image.fromarray(pixels_HWC)
    expected = np.asarray(picture.filter(ImageFilter.GaussianBlur(1.5)))
    assert np.array_equal(blur(pixels_HWC, 1.5, random), expected)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=10)
    assert np.array_equal(compress(pixels_HWC, 10.0, random), np.asarray(Image.open(file)))


def test_blur_has_the_requested_width(random):
    point_HWC = np.zeros((81, 81, 3), np.uint8)
    point_HWC[30:51, 40] = 255
    spread_W = blur(point_HWC, 4.0, random)[40, :, 0].astype(float)
    place_W = np.arange(81) - 40
    assert np.sqrt((spread_W * place_W**2).sum() / spread_W.sum()) == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("snr", [-20.0, -5.0, 0.0, 20.0, 60.0])
def test_white_noise_has_the_requested_snr(snr, random):
    sound_S = np.sin(np.arange(16_000) / 7).astype(np.float32) * 0.3
    noise_S = add_white_noise(sound_S, snr, random).astype(float) - sound_S
    measured = 10 * np.log10((sound_S.astype(float) ** 2).sum() / (noise_S**2).sum())
    assert measured == pytest.approx(snr, abs=0.2)
    spectrum = np.abs(np.fft.rfft(noise_S)) ** 2
    halves = spectrum[1:4000].mean() / spectrum[4000:].mean()
    assert halves == pytest.approx(1, abs=0.15)


def test_silence_stays_silent(random):
    assert not add_white_noise(np.zeros(100, np.float32), -60, random).any()


@given(COUNTS, SHARES, SEEDS)
def test_kept_positions_remove_the_share_but_keep_one(count, share, seed):
    kept = kept_positions(count, share, np.random.default_rng(seed))
    assert len(kept) == max(count - rounded_share(count, share), min(count, 1))
    assert (np.diff(kept) > 0).all()
    assert set(kept) <= set(range(count))


@given(COUNTS, SHARES, SHARES, SEEDS)
def test_kept_positions_are_nested_over_shares(count, one, two, seed):
    less, more = sorted((one, two))
    few = kept_positions(count, more, np.random.default_rng(seed))
    assert set(few) <= set(kept_positions(count, less, np.random.default_rng(seed)))


@given(COUNTS, SHARES, SEEDS)
def test_permuted_positions_move_the_share(count, share, seed):
    source = permuted_positions(count, share, np.random.default_rng(seed))
    moved = int((source != np.arange(count)).sum())
    assert sorted(source) == list(range(count))
    expected = rounded_share(count, share)
    assert moved == (0 if count < 2 else max(expected, 2) if expected else 0)


def test_damage_steps_are_applied_in_order_with_their_seeds(random):
    frames_THWC = random.integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    steps = [
        DamageStep("frame_drop", 0.4, 7),
        DamageStep("gaussian", 20.0, 8),
        DamageStep("frame_shuffle", 1.0, 9),
    ]
    twin = [frames_THWC[t] for t in kept_positions(5, 0.4, np.random.default_rng(7))]
    noise = np.random.default_rng(8)
    twin = [add_gaussian(frame, 20.0, noise) for frame in twin]
    twin = [twin[t] for t in permuted_positions(3, 1.0, np.random.default_rng(9))]
    assert np.array_equal(damage_signal(frames_THWC, steps), np.stack(twin))


def test_name_uniforms_depend_only_on_the_name_and_are_uniform():
    names = [f"p{n}" for n in range(4000)]
    draws = name_uniforms(names, 3, 1)
    assert name_uniforms(names[17:18], 3, 1) == draws[17]
    assert np.histogram(draws, 10, (0, 1))[0] == pytest.approx(400, abs=80)
    assert abs(np.corrcoef(draws, name_uniforms(names, 3, 2))[0, 1]) < 0.05
    assert len(name_uniforms([], 3, 1)) == 0


TITLES = st.text(st.sampled_from("abc  ,.é\t中文商品，、（）한カ𠀀"), max_size=30)
TABLES = st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=9).map(tuple)
SHARES, SEEDS = st.floats(0, 1), st.integers(0, 2**32)


def seeded(seed):
    return np.random.default_rng(seed)


def test_split_words_of_both_scripts():
    assert split_words("blue  steel, pan") == ["blue", "  steel,", " pan"]
    assert split_words("蓝色Runa钢，锅 x") == ["蓝", "色", "Runa", "钢，", "锅", " x"]


@given(TITLES)
def test_joined_words_equal_the_title(title):
    assert "".join(split_words(title)) == title.rstrip()


@given(TITLES, SHARES, SEEDS)
def test_dropping_words_keeps_the_order_of_the_others(title, share, seed):
    words = [word.strip() for word in split_words(title)]
    left = drop_words(title, share, seeded(seed))
    removed = min(rounded_share(len(words), share), max(len(words) - 1, 0))
    if removed == 0:
        assert left == title
    # Two runs of letters that become neighbours keep their space, so they stay two words; only
    # those that had none between them may join.
    letters = "".join("".join(words).split())
    rest = iter(letters)
    assert all(character in rest for character in "".join(left.split()))
    assert bool(left.strip()) == bool(title.strip())


@given(st.lists(st.sampled_from(["red", "pan", "a", "中", "锅，"]), max_size=12), SHARES, SEEDS)
def test_drop_words_removes_the_share(words, share, seed):
    left = drop_words(" ".join(words), share, seeded(seed)).split()
    assert len(left) == max(len(words) - rounded_share(len(words), share), min(len(words), 1))
    assert not Counter(left) - Counter(words)


@given(st.lists(st.sampled_from(["red", "pan", "a", "aa", "中", "锅"]), max_size=12), SHARES, SEEDS)
def test_typos_change_one_place_in_each_of_the_share_of_words(words, share, seed):
    title = " ".join(words)
    slipped = add_typos(title, share, seeded(seed)).split(" ") if words else []
    changed = [(a, b) for a, b in zip(words, slipped, strict=True) if a != b]
    assert len(changed) == rounded_share(len(words), share)
    assert all(one_slip(a, b) for a, b in changed)


@given(TITLES, SEEDS)
def test_no_typo_at_share_zero(title, seed):
    assert add_typos(title, 0.0, seeded(seed)) == title


@given(st.lists(st.sampled_from(["red", "pan", "中"]), max_size=12), SHARES, SHARES, SEEDS)
def test_typos_are_nested_over_shares(words, one, two, seed):
    less, more = sorted((one, two))
    title = " ".join(words)
    few, many = (add_typos(title, s, seeded(seed)).split() for s in (less, more))
    for clean, small, large in zip(words, few, many, strict=True):
        assert small in (clean, large)


def one_slip(word, slipped):
    """Whether `slipped` is `word` with two neighbours swapped, one left out or one doubled."""
    places = range(len(word))
    swapped = {word[:k] + word[k + 1 : k + 2] + word[k] + word[k + 2 :] for k in places}
    left_out = {word[:k] + word[k + 1 :] for k in places if len(word) > 1}
    doubled = {word[:k] + word[k] + word[k:] for k in places}
    return slipped in swapped | left_out | doubled


@given(TABLES, SHARES, SEEDS)
def test_swapped_values_stay_in_the_table(table, share, seed):
    swapped = swap_attributes(table, share, seeded(seed))
    assert [a for a, _ in swapped] == [a for a, _ in table]
    assert Counter(v for _, v in swapped) == Counter(v for _, v in table)


@pytest.mark.parametrize(("share", "moved"), [(0.0, 0), (0.1, 2), (0.5, 5), (1.0, 10)])
def test_swap_attributes_moves_the_share(share, moved):
    table = tuple((f"a{k}", f"v{k}") for k in range(10))
    swapped = swap_attributes(table, share, seeded(0))
    assert sum(a != b for a, b in zip(table, swapped, strict=True)) == moved


def test_table_of_one_pair_is_unchanged():
    assert swap_attributes((("a", "b"),), 1.0, seeded(0)) == (("a", "b"),)
