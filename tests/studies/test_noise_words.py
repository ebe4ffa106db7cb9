"""Damage to titles and tables: exact shares, and nothing else changes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scale.studies.damage import add_typos, drop_words, rounded_share, split_words, swap_attributes

TITLES = st.text(st.sampled_from("abc  ,.é\t中文商品，、（）한カ𠀀"), max_size=30)
TABLES = st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=9).map(tuple)
SHARES, SEEDS = st.floats(0, 1), st.integers(0, 2**32)


def seeded(seed):
    return np.random.default_rng(seed)


def test_words_of_both_scripts():
    assert split_words("blue  steel, pan") == ["blue", "  steel,", " pan"]
    assert split_words("蓝色Runa钢，锅 x") == ["蓝", "色", "Runa", "钢，", "锅", " x"]


@given(TITLES)
def test_words_joined_are_the_title(title):
    assert "".join(split_words(title)) == title.rstrip()


@given(TITLES, SHARES, SEEDS)
def test_dropped_words_leave_the_others_in_order(title, share, seed):
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
def test_the_share_of_spaced_words_is_removed(words, share, seed):
    left = drop_words(" ".join(words), share, seeded(seed)).split()
    assert len(left) == max(len(words) - rounded_share(len(words), share), min(len(words), 1))
    assert not Counter(left) - Counter(words)


@given(st.lists(st.sampled_from(["red", "pan", "a", "aa", "中", "锅"]), max_size=12), SHARES, SEEDS)
def test_a_typo_is_one_slip_in_each_of_the_share_of_words(words, share, seed):
    title = " ".join(words)
    slipped = add_typos(title, share, seeded(seed)).split(" ") if words else []
    changed = [(a, b) for a, b in zip(words, slipped, strict=True) if a != b]
    assert len(changed) == rounded_share(len(words), share)
    assert all(one_slip(a, b) for a, b in changed)


@given(TITLES, SEEDS)
def test_no_typo_at_share_zero(title, seed):
    assert add_typos(title, 0.0, seeded(seed)) == title


@given(st.lists(st.sampled_from(["red", "pan", "中"]), max_size=12), SHARES, SHARES, SEEDS)
def test_a_larger_share_keeps_the_typos_of_a_smaller_one(words, one, two, seed):
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
def test_the_share_of_values_moves(share, moved):
    table = tuple((f"a{k}", f"v{k}") for k in range(10))
    swapped = swap_attributes(table, share, seeded(0))
    assert sum(a != b for a, b in zip(table, swapped, strict=True)) == moved


def test_one_pair_has_nothing_to_swap_with():
    assert swap_attributes((("a", "b"),), 1.0, seeded(0)) == (("a", "b"),)
