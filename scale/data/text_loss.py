"""Loss of titles and tables in their conversion to tokens: what exceeds the lengths, and [UNK].

N products, P pieces of all strings, S distinct strings, E attributes and values of all tables.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from transformers import PreTrainedTokenizerBase

from scale.config import CLIP_PREFIX, Config, FeatureConfig
from scale.data.backbones import model_tokenizer
from scale.data.product import View, printable
from scale.data.tokenizer import count_ranges, encode_strings, plan_tables, select_columns
from scale.modalities import DISCRETE

log = logging.getLogger(__name__)

SAMPLE = 20_000
"""Products, evenly spaced, that `text_losses` measures."""
MAX_LENGTH = 512
"""Longest sequence of word pieces that `choose_lengths` chooses."""
SHOWN = 8
"""Attributes that are named in a report."""


@dataclass(frozen=True, kw_only=True)
class TextLoss:
    """Loss of titles or tables in their conversion to at most `length` tokens.

    `str(loss)` is a sentence or two for the user; empty if nothing is lost.
    """

    modality: str
    values: int
    """Titles or tables that were measured."""
    cut: int
    """Those that are longer than `length`."""
    length: int
    """Setting `features.text_length` or `features.table_length`."""
    recommended: int
    """Smallest multiple of 8 that keeps 99 % of them whole."""
    pieces: int
    """Word pieces of all values."""
    unknown: int
    """Those that are [UNK]."""
    pairs: int = 0
    """Attribute-value pairs of all tables."""
    lost: dict[str, int] = field(default_factory=dict)
    """Number of pairs that are lost in whole or in part, by attribute, most frequent first."""

    def __str__(self) -> str:
        noun, found = {"text": "titles", "table": "tables"}[self.modality], []
        if self.cut:
            lost, option = "", f"--features.{self.modality}-length auto ({self.recommended})"
            if self.modality == "table":
                first, total = list(self.lost.items())[:SHOWN], sum(self.lost.values())
                shown = ", ".join(f"{printable(name)[:30]} {n:,}" for name, n in first)
                more = ", ..." if len(self.lost) > SHOWN else ""
                share = f"{total:,} of {self.pairs:,} pairs ({total / self.pairs:.1%})"
                lost = f", with {share}: {shown}{more}"
                option += "; --features.table-columns selects and orders attributes"
            found.append(
                f"{self.cut:,} of {self.values:,} {noun} ({self.cut / self.values:.1%}) are longer "
                f"than {self.length} word pieces and cut{lost}. To keep 99 % whole: {option}"
            )
        if self.unknown:
            share = self.unknown / self.pieces
            found.append(
                f"{share:.2%} of the word pieces of {noun} are [UNK], unknown to the tokenizer"
                + ("; --features.vocab-size increases its vocabulary" if share > 0.01 else "")
            )
        return "\n".join(found)


def measure_text_loss(
    modality: str,
    products: Iterable[View],
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    framed: bool = True,
) -> TextLoss | None:
    """Measure the loss of titles (`text`) or tables; None if no product has any.

    framed: sequences of word pieces with [CLS] and [SEP], as by `encode_texts`; otherwise vectors
        of a frozen model, which needs no frame.
    """
    values = [v for p in products if (v := getattr(p, modality)) is not None]
    if not values:
        return None
    frame = 2 if framed else 0
    texts = values if modality == "text" else [t for v in values for pair in v for t in pair]
    number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    string_E = np.fromiter((number[text] for text in texts), np.int64, len(texts))
    pieces = encode_strings(tokenizer, list(number))
    unknown = -1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id
    unknown_P = np.append(pieces.flat == unknown, False).astype(int)
    unknown_S = np.add.reduceat(unknown_P, pieces.start) * (pieces.count > 0)
    count_E, lost, pairs = pieces.count[string_E], {}, 0
    need_N = count_E + frame
    if modality == "table":
        rows_E, _ = count_ranges(np.array([2 * len(v) for v in values]))
        # The last `;` may be missing.
        need_N = np.bincount(rows_E, count_E + 1, len(values)).astype(int) - 1 + frame
        plan = plan_tables(count_E, [2 * len(v) for v in values], length - frame)
        is_lost_E = (plan.kept_E < count_E) & (plan.number_E % 2 == 1)
        names = [pair[0] for v in values for pair in v]
        lost = dict(Counter(names[e // 2] for e in is_lost_E.nonzero()[0]).most_common())
        pairs = len(names)
    return TextLoss(
        modality=modality,
        values=len(values),
        cut=int((need_N > length).sum()),
        length=length,
        recommended=-(-int(np.percentile(need_N, 99, method="higher")) // 8) * 8,
        pieces=int(count_E.sum()),
        unknown=int(unknown_S[string_E].sum()),
        pairs=pairs,
        lost=lost,
    )


def text_losses(
    products: Sequence[View], features: FeatureConfig, tokenizer: PreTrainedTokenizerBase
) -> list[TextLoss]:
    """Measure the losses of titles and tables with these settings, on at most SAMPLE products.

    tokenizer: that of the run; modalities with a frozen model are measured with the model's.
    """
    found, step = [], -(-len(products) // SAMPLE) or 1
    chosen = [select_columns(p, features.table_columns) for p in products[::step]]
    for m in DISCRETE:
        name = features.backbone(m).removeprefix(CLIP_PREFIX)
        used = model_tokenizer(name) if name else tokenizer
        length = getattr(features, f"{m}_length")
        length = MAX_LENGTH if length == "auto" else length
        found.append(measure_text_loss(m, chosen, used, length, framed=not name))
    return [loss for loss in found if loss is not None]


def choose_lengths(
    config: Config, products: Sequence[View], tokenizer: PreTrainedTokenizerBase
) -> Config:
    """Return a config with numbers for the lengths that are `auto`, from training products."""
    names = {m: f"{m}_length" for m in DISCRETE}
    names = {m: name for m, name in names.items() if getattr(config.features, name) == "auto"}
    if not names:
        return config
    losses = text_losses(products, config.features, tokenizer)
    chosen = dict.fromkeys(names.values(), 8) | {
        names[loss.modality]: min(loss.recommended, MAX_LENGTH)
        for loss in losses
        if loss.modality in names
    }
    for name, length in chosen.items():
        log.info("features.%s auto: %d", name, length)
    return config.with_features(**chosen)


def warn_of_text_losses(
    products: Sequence[View], config: Config, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Log the losses of the titles and tables that the model reads."""
    for loss in text_losses(products, config.features, tokenizer):
        if str(loss) and loss.modality in config.model.modalities:
            log.warning("%s", loss)
