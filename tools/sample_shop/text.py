"""Titles in English with a Chinese twin that says the same."""

from tools.sample_shop import words
from tools.sample_shop.item import Item, pick
from tools.sample_shop.spec import CATEGORIES


def _traits(item: Item, rng) -> tuple[str, str]:
    """Purpose and noun family that the seller writes: mostly the product's own."""
    purpose, nouns = item.purpose, item.nouns
    if rng.random() < 0.05:
        purpose = str(rng.choice(list(words.PURPOSES)))
    if rng.random() < 0.06:
        nouns = pick(rng, CATEGORIES[rng.integers(len(CATEGORIES))].nouns)
    return purpose, nouns


def _feature(item: Item, rng, view: int) -> tuple[str, str]:
    """A build feature that the category has, in words that the other view does not use."""
    pairs = words.FEATURES[pick(rng, item.category.features)]
    return pairs[2 * view + rng.integers(2)]


def titles(item: Item) -> list[tuple[str, str]]:
    """Two titles, each (English, Chinese): the product's own and another seller's.

    They share hidden traits, not words: noun, purpose and marketing are drawn without replacement.
    """
    rng = item.rng("title")
    nouns = {family: rng.permutation(len(pairs)) for family, pairs in words.NOUNS.items()}
    aims = {family: rng.permutation(len(pairs)) for family, pairs in words.PURPOSES.items()}
    shouts = rng.permutation(len(words.MARKETING))
    styles = rng.permutation(len(words.STYLES))
    size = words.SIZES[0 if item.size_cm < 14 else 1 if item.size_cm < 40 else 2]
    made = []
    for view in (0, 1):
        purpose, family = _traits(item, rng)
        noun = words.NOUNS[family][nouns[family][view]]
        aim = words.PURPOSES[purpose][aims[purpose][view]]
        front = []
        if rng.random() < 0.45:
            front.append(words.MARKETING[shouts[view]])
        if rng.random() < 0.3:
            front.append((item.series, item.series))
        if rng.random() < 0.2:
            front.append(size)
        if rng.random() < 0.55:
            front.append(words.STYLES[styles[view]])
        if rng.random() < 0.35:
            front.append(words.COLOUR_WORDS[item.colour][view])
        if item.pattern != "solid" and rng.random() < 0.35:
            front.append(words.PATTERN_WORDS[item.pattern])
        if rng.random() < 0.35:
            front.append(words.MATERIAL_WORDS[item.material][view])
        tail = []
        if rng.random() < 0.85:
            tail.append(_feature(item, rng, view))
        if rng.random() < 0.2:
            tail.append(words.MARKETING[shouts[view + 2]])
        made.append(_write(front, noun, aim, tail))
    return made


def _write(front, noun, aim, tail) -> tuple[str, str]:
    """One title in both languages: Chinese puts the purpose before the noun."""
    english = " ".join([*(en for en, _ in front), noun[0], aim[0]])
    chinese = "".join(zh for _, zh in front) + f" {aim[1]} {noun[1]}"
    english += "".join(f", {en}" for en, _ in tail)
    chinese += "".join(f",{zh}" for _, zh in tail)
    return english[0].upper() + english[1:], chinese.strip()
