"""What a catalogue holds: the numbers behind `scale inspect`, its report and its picture."""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from scale.data.catalogue import Catalogue
from scale.data.duplicates import FILES, Facts, check_media, content_of
from scale.data.problems import Problem
from scale.data.product import Product
from scale.data.records import SPLITS
from scale.data.report import report
from scale.modalities import MODALITIES, subset_name

UNSPLIT = "unsplit"
"""Stands for the split of the products that name none."""

# A Chinese character counts as a word, as it does for the tokenizer.
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")


@dataclass(frozen=True)
class DuplicateGroup:
    """Products that share the content of one modality."""

    modality: str
    content: str
    ids: tuple[str, ...]
    splits: tuple[str, ...]
    """The splits that they lie in; more than one is leakage."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Counts and measures of one catalogue; broken media count as missing in all of them."""

    folder: str
    info: dict[str, Any]
    """catalogue.json."""
    products: int
    splits: dict[str, int]
    """Products by split, in the order train, val, test, unsplit; only those that occur."""
    present: dict[str, dict[str, int]]
    """Products that have each modality: `all` and each split, then modality."""
    alt_present: dict[str, int]
    """Products whose second view has each modality."""
    combinations: dict[str, int]
    """Products by exact set of modalities (`text+table`, or `none`), most frequent first."""
    categories: dict[str, int]
    """Products by category, largest first."""
    tail: dict[str, float]
    """How long the tail of the categories is; see `long_tail`."""
    lengths: dict[str, np.ndarray]
    """One value for each product that has it: title_words, title_characters, table_pairs,
    image_width, image_height (pixels), video_frames, video_seconds, audio_seconds."""
    duplicates: list[DuplicateGroup]
    """Groups of at least two products, by modality, largest first."""
    leakage: dict[str, int]
    """By modality, val and test products whose content also occurs in another split."""
    problems: list[Problem]
    """Everything that could not be used, media that do not decode included."""
    labels: dict[str, dict[str, int]]
    """Values of each label and how many products have them, most frequent first."""
    extra: dict[str, int]
    """Record keys without a meaning for SCALE, and how many products have them."""
    media_checked: bool
    """Whether media files were decoded. If not, nothing is known of broken ones and of media
    duplicates beyond the hashes in the records."""

    def share(self, modality: str, split: str = "all") -> float:
        """Share of the products of a split that have a modality, 0 where the split is empty."""
        total = self.products if split == "all" else self.splits.get(split, 0)
        return self.present[split][modality] / total if total else 0.0

    def duplicated(self, modality: str) -> int:
        """Products that share their content of a modality with another product."""
        return sum(len(group.ids) for group in self.duplicates if group.modality == modality)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; lengths as summary and histogram, shares added."""
        values = {name: getattr(self, name) for name in [f.name for f in fields(self)]}
        values["problems"] = [asdict(p) for p in self.problems]
        values["duplicates"] = [
            {**asdict(g), "ids": list(g.ids), "splits": list(g.splits)} for g in self.duplicates
        ]
        values["lengths"] = {name: summary(v) for name, v in self.lengths.items()}
        values["share"] = {s: {m: self.share(m, s) for m in MODALITIES} for s in self.present}
        return values

    def text(self) -> str:
        """The report that `scale inspect` prints."""
        return report(self)


def inspect_catalogue(
    catalogue: Catalogue, media: bool = True, workers: int = 0, progress: bool = True
) -> Inspection:
    """Counts what a catalogue holds.

    media: decode every file once, which finds broken ones, equal ones and their sizes.
    workers, progress: see `scale.data.duplicates.check_media`.
    """
    facts: Facts = {}
    if media:
        facts, broken = check_media(catalogue, workers, progress)
        catalogue = catalogue.without(broken)
    groups = _duplicates(catalogue, facts)
    categories = _count(p.category for p in catalogue if p.category is not None)
    return Inspection(
        folder=str(catalogue.folder),
        info=catalogue.info,
        products=len(catalogue),
        splits=_splits(catalogue),
        present=_present(catalogue),
        alt_present={m: sum(m in p.alt.present for p in catalogue) for m in MODALITIES},
        combinations=_count(subset_name(p.present) if p.present else "none" for p in catalogue),
        categories=categories,
        tail=long_tail(list(categories.values())),
        lengths=_lengths(catalogue, facts),
        duplicates=groups,
        leakage=_leakage(catalogue, groups),
        problems=catalogue.problems,
        labels=_labels(catalogue),
        extra=_count(key for p in catalogue for key in p.extra),
        media_checked=media,
    )


def long_tail(counts: list[int]) -> dict[str, float]:
    """Measures of how unequal K category sizes n_1 <= ... <= n_K are, with p_k = n_k / sum n.

    categories: K. singletons: categories of one product. largest: n_K.
    effective: exp(-sum_k p_k ln p_k), the number of equal categories with the same entropy.
    gini: sum_k (2 k - K - 1) n_k / (K sum n), 0 for equal sizes, towards 1 for one that has all.
    head_share: share of the products in the largest fifth of the categories (rounded up).
    All are 0 where there is no category.
    """
    if not counts:
        names = ("categories", "singletons", "largest", "effective", "gini", "head_share")
        return dict.fromkeys(names, 0)
    sizes_K = np.sort(np.asarray(counts, dtype=float))
    share_K = sizes_K / sizes_K.sum()
    number = len(sizes_K)
    rank_K = np.arange(1, number + 1)
    return {
        "categories": number,
        "singletons": int((sizes_K == 1).sum()),
        "largest": int(sizes_K[-1]),
        "effective": float(np.exp(-(share_K * np.log(share_K)).sum())),
        "gini": float(((2 * rank_K - number - 1) * share_K).sum() / number),
        "head_share": float(share_K[-math.ceil(number / 5) :].sum()),
    }


def summary(values: np.ndarray, bins: int = 16) -> dict[str, Any]:
    """n, min, median, mean, p95, max and a histogram (counts, edges) as JSON values."""
    if len(values) == 0:
        return {"n": 0}
    counts, edges = np.histogram(values, bins=bins)
    low, median, p95, high = np.percentile(values, [0, 50, 95, 100]).tolist()
    return {
        "n": len(values),
        "min": low,
        "median": median,
        "mean": float(values.mean()),
        "p95": p95,
        "max": high,
        "counts": counts.tolist(),
        "edges": edges.tolist(),
    }


def _count(values: Iterable[str]) -> dict[str, int]:
    """Occurrences, most frequent first, then by name."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _splits(catalogue: Catalogue) -> dict[str, int]:
    counts = Counter(p.split or UNSPLIT for p in catalogue)
    return {split: counts[split] for split in (*SPLITS, UNSPLIT) if counts[split]}


def _present(catalogue: Catalogue) -> dict[str, dict[str, int]]:
    present_NM = catalogue.present_NM()
    split_N = np.array([p.split or UNSPLIT for p in catalogue], dtype=str)
    rows = {"all": np.ones(len(catalogue), dtype=bool)}
    rows |= {split: split_N == split for split in _splits(catalogue)}
    return {
        name: dict(zip(MODALITIES, present_NM[keep_N].sum(axis=0).tolist(), strict=True))
        for name, keep_N in rows.items()
    }


def _lengths(catalogue: Catalogue, facts: Facts) -> dict[str, np.ndarray]:
    titles = [p.text for p in catalogue if p.text is not None]
    lengths = {
        "title_words": [len(_WORD.findall(title)) for title in titles],
        "title_characters": [len(title) for title in titles],
        "table_pairs": [len(p.table) for p in catalogue if p.table is not None],
    }
    for name in ("image_width", "image_height", "video_frames", "video_seconds", "audio_seconds"):
        modality, measure = name.split("_")
        measured = (facts.get(p.id, {}).get(modality) for p in catalogue)
        lengths[name] = [getattr(f, measure) for f in measured if f is not None]
    return {name: np.asarray(values, dtype=float) for name, values in lengths.items()}


def _duplicates(catalogue: Catalogue, facts: Facts) -> list[DuplicateGroup]:
    groups = []
    for modality in MODALITIES:
        holders: dict[str, list[Product]] = defaultdict(list)
        for product in catalogue:
            # Without its hash or facts, a file would have to be decoded to be compared.
            is_known = modality not in FILES or modality in product.content or facts
            content = content_of(product, modality, facts) if is_known else None
            if content is not None:
                holders[content].append(product)
        for content, products in sorted(holders.items(), key=lambda item: -len(item[1])):
            if len(products) > 1:
                ids = tuple(p.id for p in products)
                splits = {p.split or UNSPLIT for p in products}
                ordered = tuple(s for s in (*SPLITS, UNSPLIT) if s in splits)
                groups.append(DuplicateGroup(modality, content, ids, ordered))
    return groups


def _leakage(catalogue: Catalogue, groups: list[DuplicateGroup]) -> dict[str, int]:
    split = {p.id: p.split for p in catalogue}
    leakage = dict.fromkeys(MODALITIES, 0)
    for group in groups:
        if len(set(group.splits) - {UNSPLIT}) > 1:
            leakage[group.modality] += sum(split[i] in ("val", "test") for i in group.ids)
    return leakage


def _labels(catalogue: Catalogue) -> dict[str, dict[str, int]]:
    values: dict[str, list[str]] = defaultdict(list)
    for product in catalogue:
        for name, value in product.labels.items():
            written = value if isinstance(value, str) else json.dumps(value, default=str)
            values[name].append(written)
    return {name: _count(found) for name, found in sorted(values.items())}
