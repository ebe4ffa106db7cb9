"""Summary statistics of a catalogue, and the report that `scale inspect` prints."""

import json
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from scale.config import FeatureConfig
from scale.data.duplicates import MediaInfos, content_key, is_placeholder
from scale.data.product import SPLITS, Problem, Product, printable, summarise_problems
from scale.modalities import CONTINUOUS, MODALITIES, parse_subset, subset_name

UNSPLIT = "unsplit"
"""Split name of products without a split."""
BAR = 28
"""Columns of the longest bar of the report."""
ROWS = 12
"""Rows of a list of the report; the rest is summed up in one more."""

# A Chinese character counts as a word, as it does for the tokenizer.
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")


@dataclass(frozen=True)
class DuplicateGroup:
    """Products with equal content of one modality."""

    modality: str
    content: str
    ids: tuple[str, ...]
    splits: tuple[str, ...]
    """Splits of these products; more than one is leakage."""


@dataclass(frozen=True, kw_only=True)
class CatalogueSummary:
    """Counts and measures of one catalogue; broken media count as missing in all of them.

    `str(summary)` is the report that `scale inspect` prints, laid out for 100 columns.
    """

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
    """Measures of the long tail of the categories; see `long_tail`."""
    lengths: dict[str, np.ndarray]
    """One value for each product that has it: title_words, title_characters, table_pairs,
    image_width, image_height (pixels), video_frames, video_seconds, audio_seconds."""
    duplicates: list[DuplicateGroup]
    """Groups of at least two products, by modality, largest first."""
    leakage: dict[str, int]
    """By modality, val and test products whose content also occurs in another split."""
    blank: dict[str, list[str]]
    """Ids of the products whose `image`, `video` or `audio` is blank (`MediaInfo.is_blank`) or, as
    `placeholder`, whose picture many products share."""
    problems: list[Problem]
    """Everything that cannot be used, including media that do not decode."""
    labels: dict[str, dict[str, int]]
    """Number of products by label and value, most frequent first."""
    extra: dict[str, int]
    """Number of products by record key without a meaning for SCALE."""
    media_checked: bool
    """Whether media files were decoded. If not, broken files are not found, and duplicates of
    media only by the hashes given in the records."""

    def share(self, modality: str, split: str = "all") -> float:
        """Return the share of products of a split that have a modality; 0 for an empty split."""
        total = self.products if split == "all" else self.splits.get(split, 0)
        return self.present[split][modality] / total if total else 0.0

    def duplicated(self, modality: str) -> int:
        """Return the number of products that share their content of a modality with another."""
        return sum(len(group.ids) for group in self.duplicates if group.modality == modality)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: lengths as statistics and histogram, shares added."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["problems"] = [asdict(p) for p in self.problems]
        values["duplicates"] = [
            {**asdict(g), "ids": list(g.ids), "splits": list(g.splits)} for g in self.duplicates
        ]
        values["lengths"] = {name: describe_lengths(v) for name, v in self.lengths.items()}
        values["share"] = {s: {m: self.share(m, s) for m in MODALITIES} for s in self.present}
        return values

    def __str__(self) -> str:
        return _report(self)


def summarise(
    products: Sequence[Product],
    infos: MediaInfos | None = None,
    *,
    folder: str = "",
    info: Mapping[str, Any] | None = None,
    problems: Sequence[Problem] = (),
) -> CatalogueSummary:
    """Compute the summary of some products; see `Catalogue.summary`.

    infos: properties of the decoded media (`check_media`); None if they were not decoded.
    """
    groups = _duplicates(products, infos)
    categories = _count(p.category for p in products if p.category is not None)
    return CatalogueSummary(
        folder=folder,
        info=dict(info or {}),
        products=len(products),
        splits=_splits(products),
        present=_present(products),
        alt_present={m: sum(m in p.alt.present for p in products) for m in MODALITIES},
        combinations=_count(subset_name(p.present) if p.present else "none" for p in products),
        categories=categories,
        tail=long_tail(list(categories.values())),
        lengths=_lengths(products, infos or {}),
        duplicates=groups,
        leakage=_leakage(products, groups),
        blank=_blank(products, infos or {}, groups),
        problems=list(problems),
        labels=_labels(products),
        extra=_count(key for p in products for key in p.extra),
        media_checked=infos is not None,
    )


def long_tail(counts: list[int]) -> dict[str, float]:
    """Return measures of inequality of K category sizes n_1 <= ... <= n_K; p_k = n_k / sum n.

    categories: K. singletons: categories of one product. largest: n_K.
    effective: exp(-sum_k p_k ln p_k), the number of equal categories with the same entropy.
    gini: sum_k (2 k - K - 1) n_k / (K sum n), 0 for equal sizes, near 1 if one category has all.
    head_share: share of the products in the largest fifth of the categories (rounded up).
    All are 0 without categories.
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


def describe_lengths(values: np.ndarray) -> dict[str, Any]:
    """Return n, min, median, mean, p95, max and a histogram of 16 bins as JSON values."""
    if len(values) == 0:
        return {"n": 0}
    counts, edges = np.histogram(values, bins=16)
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
    """Return the number of occurrences, most frequent first, then by name."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _splits(products: Sequence[Product]) -> dict[str, int]:
    counts = Counter(p.split or UNSPLIT for p in products)
    return {split: counts[split] for split in (*SPLITS, UNSPLIT) if counts[split]}


def _present(products: Sequence[Product]) -> dict[str, dict[str, int]]:
    groups = {"all": products}
    for split in _splits(products):
        groups[split] = [p for p in products if (p.split or UNSPLIT) == split]
    return {
        name: {m: sum(getattr(p, m) is not None for p in group) for m in MODALITIES}
        for name, group in groups.items()
    }


def _lengths(products: Sequence[Product], infos: MediaInfos) -> dict[str, np.ndarray]:
    titles = [p.text for p in products if p.text is not None]
    lengths = {
        "title_words": [len(_WORD.findall(title)) for title in titles],
        "title_characters": [len(title) for title in titles],
        "table_pairs": [len(p.table) for p in products if p.table is not None],
    }
    for name in ("image_width", "image_height", "video_frames", "video_seconds", "audio_seconds"):
        modality, measure = name.split("_")
        measured = (infos.get(p.id, {}).get(modality) for p in products)
        found = (getattr(f, measure) for f in measured if f is not None)
        lengths[name] = [value for value in found if value is not None]
    return {name: np.asarray(values, dtype=float) for name, values in lengths.items()}


def _duplicates(products: Sequence[Product], infos: MediaInfos | None) -> list[DuplicateGroup]:
    groups = []
    for modality in MODALITIES:
        holders: dict[str, list[Product]] = defaultdict(list)
        for product in products:
            # Without its hash or properties, a file would have to be decoded to be compared.
            is_known = modality not in CONTINUOUS or modality in product.content or infos
            content = content_key(product, modality, infos) if is_known else None
            if content is not None:
                holders[content].append(product)
        for content, group in sorted(holders.items(), key=lambda item: -len(item[1])):
            if len(group) > 1:
                ids = tuple(p.id for p in group)
                splits = {p.split or UNSPLIT for p in group}
                ordered = tuple(s for s in (*SPLITS, UNSPLIT) if s in splits)
                groups.append(DuplicateGroup(modality, content, ids, ordered))
    return groups


def _leakage(products: Sequence[Product], groups: list[DuplicateGroup]) -> dict[str, int]:
    split = {p.id: p.split for p in products}
    leakage = dict.fromkeys(MODALITIES, 0)
    for group in groups:
        if len(set(group.splits) - {UNSPLIT}) > 1:
            leakage[group.modality] += sum(split[i] in ("val", "test") for i in group.ids)
    return leakage


def _blank(
    products: Sequence[Product], infos: MediaInfos, groups: list[DuplicateGroup]
) -> dict[str, list[str]]:
    seconds = FeatureConfig().audio_seconds
    found = {
        m: [p.id for p in products if (f := infos.get(p.id, {}).get(m)) and f.is_blank(seconds)]
        for m in CONTINUOUS
    }
    shared = [
        g for g in groups if g.modality == "image" and is_placeholder(len(g.ids), len(products))
    ]
    found["placeholder"] = [id for group in shared for id in group.ids]
    return {name: ids for name, ids in found.items() if ids}


def _labels(products: Sequence[Product]) -> dict[str, dict[str, int]]:
    values: dict[str, list[str]] = defaultdict(list)
    for product in products:
        for name, value in product.labels.items():
            written = value if isinstance(value, str) else json.dumps(value, default=str)
            values[name].append(written)
    return {name: _count(found) for name, found in sorted(values.items())}


def _report(summary: CatalogueSummary) -> str:
    """Return the report, section by section, without empty sections."""
    sections = [
        ("", _head_lines(summary)),
        ("Modalities", _modality_lines(summary)),
        ("Combinations of modalities", _combination_lines(summary)),
        ("Categories", _category_lines(summary)),
        ("Lengths", _length_lines(summary)),
        ("Same content in several products", _duplicate_lines(summary)),
        ("Media without content", _blank_lines(summary)),
        ("Labels", _label_lines(summary)),
        (
            "Other keys of the records",
            [f"{_pad(k, 28)} {n:>7,}" for k, n in _some(summary.extra)],
        ),
        ("Problems", _problem_lines(summary)),
    ]
    blocks = [
        "\n".join([*([title, "-" * len(title)] if title else []), *lines])
        for title, lines in sections
        if lines
    ]
    return "\n\n".join(blocks) + "\n"


def _head_lines(summary: CatalogueSummary) -> list[str]:
    info = summary.info
    name = info.get("name")
    splits = ", ".join(f"{n:,} {split}" for split, n in summary.splits.items())
    known = [
        f"{key}: {printable(info[key])}" for key in ("language", "licence", "source") if key in info
    ]
    title = f"{printable(name)} ({summary.folder})" if name else summary.folder
    noun = "product" if summary.products == 1 else "products"
    count = f"{summary.products:,} {noun}" + (f": {splits}" if splits else "")
    return [title, count, *known]


def _modality_lines(summary: CatalogueSummary) -> list[str]:
    columns = list(summary.present)
    lines = [" " * 8 + "".join(f"{c:>16}" for c in columns) + f"{'second view':>14}"]
    for m in MODALITIES:
        cells = (f"{summary.present[c][m]:,} {summary.share(m, c):7.1%}" for c in columns)
        row = "".join(f"{cell:>16}" for cell in cells)
        lines.append(f"{m:<8}{row}{summary.alt_present[m]:>14,}")
    return lines


def _combination_lines(summary: CatalogueSummary) -> list[str]:
    if not summary.combinations:
        return []
    lines = [" ".join(MODALITIES)]
    for name, count in summary.combinations.items():
        subset = () if name == "none" else parse_subset(name)
        dots = " ".join(("x" if m in subset else ".").center(len(m)) for m in MODALITIES)
        lines.append(f"{dots} {_bar(count, summary.combinations.values(), summary.products)}")
    return lines


def _category_lines(summary: CatalogueSummary) -> list[str]:
    tail, counts = summary.tail, summary.categories
    lines = []
    if counts:
        equal, single = f"{tail['effective']:.1f}", f"{tail['singletons']:,}"
        head, gini = f"{tail['head_share']:.1%}", f"{tail['gini']:.2f}"
        lines = [
            f"{len(counts):,} categories, as many as {equal} equal ones; {single} of one product",
            f"the largest fifth of them has {head} of the products (Gini {gini})",
        ]
    for name, count in _some(counts):
        bar = _bar(count, counts.values(), summary.products)
        # The row of all remaining categories gets no bar.
        lines.append(f"{_pad(name, 28)} {bar if name in counts else bar.rstrip('# ')}")
    missing = summary.products - sum(counts.values())
    return [*lines, f"{missing:,} products have no category"] if missing else lines


def _length_lines(summary: CatalogueSummary) -> list[str]:
    names = ("n", "min", "median", "mean", "p95", "max")
    lines = [f"{'':<18}" + "".join(f"{n:>9}" for n in names) + "  histogram, min to max"]
    for name, values in summary.lengths.items():
        if len(values):
            found = describe_lengths(values)
            row = f"{found['n']:>9,}" + "".join(f"{found[n]:>9.4g}" for n in names[1:])
            lines.append(f"{name.replace('_', ' '):<18}{row}  {_sparkline(found['counts'])}")
    return lines if len(lines) > 1 else []


def _duplicate_lines(summary: CatalogueSummary) -> list[str]:
    lines = []
    for m in MODALITIES:
        groups = [g for g in summary.duplicates if g.modality == m]
        if groups:
            first = ", ".join(printable(i) for i in groups[0].ids[:3])
            lines.append(
                f"{m:<8}{summary.duplicated(m):>7,} products in {len(groups):,} groups; "
                f"largest {len(groups[0].ids):,}: {first[:44]}"
            )
    for m, count in summary.leakage.items():
        if count:
            lines.append(
                f"LEAKAGE: {count:,} val or test products share their {m} with another split"
            )
    if not summary.media_checked:
        lines.append("media were not decoded: of files, only hashes in the records are compared")
    return lines or ["none"]


def _blank_lines(summary: CatalogueSummary) -> list[str]:
    nouns = {"image": "pictures of one colour", "video": "clips of one colour",
             "audio": "silent or constant sounds",
             "placeholder": "products share a picture with many others"}  # fmt: skip
    lines = []
    for name, ids in summary.blank.items():
        first = ", ".join(printable(id) for id in ids[:3])
        lines.append(f"{len(ids):>7,} {nouns[name]}: {first[:50]}{', ...' if ids[3:] else ''}")
    advice = "--features.blank-media missing treats them as missing; problems.jsonl lists them"
    return [*lines, advice] if lines else []


def _label_lines(summary: CatalogueSummary) -> list[str]:
    lines = []
    for name, values in summary.labels.items():
        shown = ", ".join(f"{printable(v)[:20]} {n:,}" for v, n in list(values.items())[:3])
        total = f"{sum(values.values()):,} products, {len(values):,} values"
        lines.append(f"{_pad(name, 18)} {total}: {shown}{', ...' if len(values) > 3 else ''}")
    return lines


def _problem_lines(summary: CatalogueSummary) -> list[str]:
    note = [] if summary.media_checked else ["media were not decoded: broken files are not listed"]
    return [summarise_problems(summary.problems), *note]


def _some(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Return the first rows, and one row for all others."""
    items = list(counts.items())
    if len(items) <= ROWS + 1:
        return items
    rest = items[ROWS:]
    return [*items[:ROWS], (f"... {len(rest):,} more", sum(n for _, n in rest))]


def _bar(count: int, counts: Iterable[int], total: int) -> str:
    length = max(1, round(BAR * count / max(counts)))
    return f"{count:>7,} {count / total:7.1%} {'#' * min(length, BAR)}"


def _sparkline(counts: list[int]) -> str:
    levels = np.ceil(np.array(counts) / max(counts) * 8).astype(int)
    return "".join(" ▁▂▃▄▅▆▇█"[level] for level in levels)


def _pad(text: str, width: int) -> str:
    """Cut or pad to a width in columns, of which a Chinese character takes two."""
    shown, used = "", 0
    for character in printable(text):
        columns = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used + columns > width:
            break
        shown, used = shown + character, used + columns
    return shown + " " * (width - used)
