"""Titles and tables as word-piece ids.

N products, L length of the longest sequence in the call, P pieces of all strings together.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from scale.config import FeatureConfig
from scale.data.product import View
from scale.data.weights import local_name

log = logging.getLogger(__name__)

T = TypeVar("T", bound=View)

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
"""Special tokens of a trained tokenizer, in the order of their ids from 0."""
AFTER_ATTRIBUTE, AFTER_VALUE = ":", ";"

STRIPPED = r"(?<=\p{Latin})\p{Mn}+|[\x{FE00}-\x{FE0F}]"
"""Characters that a trained tokenizer drops, in NFD: accents of Latin letters, and selectors of
emoji styles."""
UNSPACED = "|".join(
    [
        r"[\p{Katakana}\x{30FC}]+",
        r"\p{Hiragana}+",
        r"[\x{0E40}-\x{0E44}\x{0EC0}-\x{0EC4}]?[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
        r"[\p{M}\x{0E30}\x{0E32}\x{0E33}\x{0E45}\x{0EB0}\x{0EB2}\x{0EB3}]*"
        r"(?:[\x{17D2}\x{1039}][\p{Khmer}\p{Myanmar}]\p{M}*)*",
    ]
)
"""Words of scripts without spaces, beside the Chinese characters that BERT's normaliser isolates:
runs of a Japanese script; a leading vowel, a letter, and its vowels, marks and stacked letters."""
REST = "..."
"""Name in `FeatureConfig.table_columns` of all other attributes."""
LONGEST_WORD = 1000
"""Characters above which a word is [UNK]."""


def train_tokenizer(products: Iterable[View], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a WordPiece tokenizer on the titles and tables of `products` (the training split).

    Text is lower-cased, and accents of Latin letters are stripped; the marks of other scripts
    distinguish words, so they are kept. Scripts without spaces are divided into words: each Chinese
    character, runs of the two Japanese scripts, each cluster of a consonant, its vowels and its
    marks in Thai, Lao, Khmer and Burmese. The vocabulary does not depend on the order of the
    products. It has at most `vocab_size` entries, including special tokens and characters, so rare
    characters may become [UNK].

    If no product has a title or table, the tokenizer has special tokens only: models of pictures
    and sounds alone need no words.

    Raises ValueError if there is no product, all words consist of characters without meaning, or
    `vocab_size` has no room for characters.
    """
    products = list(products)
    texts = [text for product in products for text in _strings(product)]
    tokenizer = _bare_tokenizer({})
    words = _words(tokenizer, texts)
    if not products:
        raise ValueError("no training product to train a tokenizer on: the split train is empty")
    if not texts:
        log.warning("no title and no table in the training split: training without text")
        special = _bare_tokenizer({token: k for k, token in enumerate(SPECIAL.values())})
        return PreTrainedTokenizerFast(tokenizer_object=special, **SPECIAL)
    if not words:
        raise ValueError("no word to train a tokenizer on: titles and tables are not printable")
    initial, continuing = _alphabet(words, vocab_size - len(SPECIAL))
    # The trainer numbers the "##c" pieces in the order of a hash map, and breaks ties between
    # merges by number. Declaring them beforehand makes the vocabulary a function of the counts.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL.values(), *continuing],
        initial_alphabet=initial,
        limit_alphabet=len(initial),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    trained = _bare_tokenizer(tokenizer.get_vocab(with_added_tokens=True))
    return PreTrainedTokenizerFast(tokenizer_object=trained, **SPECIAL)


def make_tokenizer(products: Iterable[View], features: FeatureConfig) -> PreTrainedTokenizerBase:
    """Return the tokenizer named in the settings, or one trained on `products` (training split).

    Raises ValueError as `load_tokenizer` and `train_tokenizer` do.
    """
    if features.tokenizer:
        return load_tokenizer(features.tokenizer)
    columns = features.table_columns
    return train_tokenizer((select_columns(p, columns) for p in products), features.vocab_size)


def load_tokenizer(name_or_folder: str | Path) -> PreTrainedTokenizerBase:
    """Load a transformers tokenizer by hub name, packaged name (data/weights.py) or local folder.

    The inverse of `save_pretrained`.

    Raises ValueError that names the tokenizer if it cannot be loaded, and the token if one of
    [CLS], [SEP], [MASK], [PAD] is missing.
    """
    name = str(name_or_folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(local_name(name), trust_remote_code=False)
    except Exception as error:  # `tokenizers` raises plain exceptions for damaged files.
        raise ValueError(f"tokenizer {name!r} does not load: {error}") from error
    check_tokenizer(tokenizer)
    return tokenizer


def check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ValueError that names the required special tokens that a tokenizer lacks."""
    needed = [name for name in SPECIAL if name != "unk_token"]
    missing = [name for name in needed if getattr(tokenizer, name) is None]
    if missing:
        name = tokenizer.name_or_path or type(tokenizer).__name__
        raise ValueError(f"tokenizer {name!r} has no {', '.join(missing)}")


def encode_texts(
    tokenizer: PreTrainedTokenizerBase, titles: Sequence[str], length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Encode titles as `[CLS] pieces [SEP]`, truncated to `length` positions.

    Returns ids_NL (int32) and padding_NL (bool, True at padding); L is the length of the longest
    title. A special token that is spelled out in a title is read as ordinary characters.
    """
    room = _room(length)
    pieces = encode_strings(tokenizer, titles)
    kept_N = np.minimum(pieces.count, room)
    ids_NL, padding_NL = _frame(tokenizer, kept_N)
    row_P, within_P = count_ranges(kept_N)
    ids_NL[row_P, 1 + within_P] = pieces.flat[pieces.start[row_P] + within_P]
    return ids_NL, padding_NL


def encode_tables(
    tokenizer: PreTrainedTokenizerBase, tables: Sequence[Sequence[tuple[str, str]]], length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encode tables as `[CLS] attribute : value ; ... ; [SEP]` in at most `length` positions.

    Whole entities are kept from the front as long as they fit, because masked entity modelling
    masks whole entities. An entity is cut only if it would not fit even in a table of its pair
    alone.

    Returns ids_NL (int32), padding_NL (bool) and entity_NL (int16): 2k on the pieces of attribute
    k, 2k + 1 on those of its value, -1 on structure, [CLS], [SEP] and padding.
    """
    room = _room(length)
    names = [text for table in tables for pair in table for text in pair]
    number = {text: i for i, text in enumerate(dict.fromkeys(names))}
    string_E = np.fromiter((number[text] for text in names), np.int64, len(names))
    pieces = encode_strings(tokenizer, list(number))
    plan = plan_tables(pieces.count[string_E], [2 * len(table) for table in tables], room)
    ids_NL, padding_NL = _frame(tokenizer, plan.used_N)
    entity_NL = np.full(ids_NL.shape, -1, np.int16)

    entity_P, within_P = count_ranges(plan.kept_E)
    at = plan.row_E[entity_P], 1 + plan.start_E[entity_P] + within_P
    ids_NL[at] = pieces.flat[pieces.start[string_E[entity_P]] + within_P]
    entity_NL[at] = plan.number_E[entity_P]
    closed_E = plan.closed_E
    at = plan.row_E[closed_E], 1 + plan.start_E[closed_E] + plan.kept_E[closed_E]
    ids_NL[at] = _structure_ids(tokenizer)[plan.number_E[closed_E] % 2]
    return ids_NL, padding_NL, entity_NL


def select_columns(product: T, columns: Sequence[str]) -> T:
    """Return a product with the attributes of `FeatureConfig.table_columns` in its table."""
    if not columns or product.table is None:
        return product
    place = {name: i for i, name in enumerate(columns)}
    rest = place.get(REST)
    chosen = [p for p in product.table if p[0] in place or rest is not None]
    table = tuple(sorted(chosen, key=lambda pair: place.get(pair[0], rest)))
    return replace(product, table=table or None)


def write_table(table: Sequence[tuple[str, str]]) -> tuple[str, np.ndarray]:
    """Return a table as "attribute: value; attribute: value", and the entity of each character.

    entity_C (int16): as in `encode_tables`, by character.
    """
    parts, entities = [], []
    for number, text in enumerate(text for pair in table for text in pair):
        parts += [text, f"{(AFTER_ATTRIBUTE, AFTER_VALUE)[number % 2]} "]
        entities += [number] * len(text) + [-1, -1]
    text = "".join(parts).removesuffix(f"{AFTER_VALUE} ")
    return text, np.array(entities[: len(text)], np.int16)


@dataclass(frozen=True)
class TablePlan:
    """Positions of E entities (attributes and values) in the sequences of their tables."""

    row_E: np.ndarray
    """Table of the entity."""
    number_E: np.ndarray
    """2k for attribute k, 2k + 1 for its value."""
    start_E: np.ndarray
    """First position, counted from the one after [CLS]."""
    kept_E: np.ndarray
    """Number of its pieces in the sequence; 0: left out."""
    closed_E: np.ndarray
    """Whether its `:` or `;` is in the sequence."""
    used_N: np.ndarray
    """Number of positions of each table between [CLS] and [SEP]."""


def plan_tables(count_E: np.ndarray, entities_N: list[int], room: int) -> TablePlan:
    """Return the positions of E entities of `count_E` pieces in sequences of `room` positions.

    entities_N: number of entities of each table.
    """
    row_E, number_E = count_ranges(np.asarray(entities_N, np.int64))
    taken_E = count_E + 1
    before_E = np.cumsum(taken_E) - taken_E
    first_N = (np.cumsum(entities_N) - entities_N).astype(np.int64)
    start_E = before_E - before_E[first_N[row_E]]
    left_E = room - start_E
    # An attribute needs its own pieces; a value needs its attribute and the `:` before it too.
    alone_E = np.where(number_E % 2 == 1, np.roll(taken_E, 1) + count_E, count_E)
    cut_E = (count_E > left_E) & (alone_E > room)
    kept_E = np.where(cut_E, left_E, np.where(count_E <= left_E, count_E, 0)).clip(0)
    closed_E = start_E + count_E < room
    used_N = np.zeros(len(entities_N), np.int64)
    written_E = (start_E + kept_E + closed_E) * ((kept_E > 0) | closed_E)
    np.maximum.at(used_N, row_E, written_E)
    return TablePlan(row_E, number_E, start_E, kept_E, closed_E, used_N)


@dataclass(frozen=True)
class Pieces:
    """Concatenated word pieces of many strings."""

    flat: np.ndarray
    start: np.ndarray
    count: np.ndarray


def encode_strings(tokenizer: PreTrainedTokenizerBase, strings: Sequence[str]) -> Pieces:
    """Return the word pieces of many strings, without special tokens."""
    check_tokenizer(tokenizer)
    how = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    encoded = tokenizer(list(strings), **how)["input_ids"] if strings else []
    count = np.fromiter(map(len, encoded), np.int64, len(encoded))
    flat = np.fromiter((i for ids in encoded for i in ids), np.int32, int(count.sum()))
    return Pieces(flat, np.cumsum(count) - count, count)


def _frame(
    tokenizer: PreTrainedTokenizerBase, inner_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids_NL with [CLS], [SEP] after `inner_N` free positions, then [PAD]; padding_NL."""
    width = int(inner_N.max(initial=0)) + 2
    ids_NL = np.full((len(inner_N), width), tokenizer.pad_token_id, np.int32)
    ids_NL[:, 0] = tokenizer.cls_token_id
    ids_NL[np.arange(len(inner_N)), inner_N + 1] = tokenizer.sep_token_id
    return ids_NL, np.arange(width) > inner_N[:, None] + 1


def count_ranges(count_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For counts (2, 0, 3), return owners (0, 0, 2, 2, 2) and positions (0, 1, 0, 1, 2)."""
    row_P = np.repeat(np.arange(len(count_N)), count_N)
    within_P = np.arange(len(row_P)) - np.repeat(np.cumsum(count_N) - count_N, count_N)
    return row_P, within_P


def _structure_ids(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Return the ids of `:` and `;`: of their last pieces, if they have several (word boundaries).

    Raises ValueError if the tokenizer has neither sign, because pairs would run together.
    """
    pieces = encode_strings(tokenizer, [AFTER_ATTRIBUTE, AFTER_VALUE])
    if (pieces.count == 0).any():
        raise ValueError(f"the tokenizer has no piece for {AFTER_ATTRIBUTE!r} or {AFTER_VALUE!r}")
    return pieces.flat[pieces.start + pieces.count - 1]


def _room(length: int) -> int:
    """Return the number of positions between [CLS] and [SEP]."""
    if length < 3:
        raise ValueError(f"length {length} leaves no room between [CLS] and [SEP]")
    return length - 2


def _bare_tokenizer(vocab: dict[str, int]) -> Tokenizer:
    model = models.WordPiece(
        vocab, unk_token=SPECIAL["unk_token"], max_input_chars_per_word=LONGEST_WORD
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.BertNormalizer(
                handle_chinese_chars=True, strip_accents=False, lowercase=True
            ),
            normalizers.NFD(),
            normalizers.Replace(Regex(STRIPPED), ""),
            normalizers.NFC(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(Regex(UNSPACED), "isolated")]
    )
    return tokenizer


def _strings(product: View) -> list[str]:
    cells = [text for pair in product.table or () for text in pair]
    return cells if product.text is None else [product.text, *cells]


def _words(tokenizer: Tokenizer, texts: list[str]) -> Counter[str]:
    """Count the words, split as by the trainer."""
    normal = (tokenizer.normalizer.normalize_str(text) for text in texts)
    cut = map(tokenizer.pre_tokenizer.pre_tokenize_str, normal)
    return Counter(word for pieces in cut for word, _ in pieces)


def _alphabet(words: Counter[str], room: int) -> tuple[list[str], list[str]]:
    """Return the most frequent characters and their `##` forms that fit into `room` entries."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        counts.update({c: count * word.count(c) for c in set(word)})
    inside = {character for word in words for character in word[1:]}
    ranked = sorted(counts, key=lambda c: (-counts[c], c))
    # The structure of a table needs its two signs even if no text contains them.
    signs = [AFTER_ATTRIBUTE, AFTER_VALUE]
    ranked = list(dict.fromkeys([*signs, *ranked]))
    size = np.cumsum([1 + (c in inside) for c in ranked])
    kept = ranked[: int((size <= room).sum())]
    if len(kept) <= len(signs):
        raise ValueError(f"a vocabulary of {room + len(SPECIAL)} has no room for characters")
    return sorted(kept), sorted(f"##{c}" for c in kept if c in inside)
