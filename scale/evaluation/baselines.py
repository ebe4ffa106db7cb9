"""Baselines of the evaluation: linear methods on hand-made features and on frozen backbones.

`handmade_vectors` and `frozen_vectors` return one vector per product and modality;
`fit_baseline` fits category and cross-modal retrieval on them, tuned on the validation split.

N products, M modalities (five), R products that have a modality, F features, K components,
Q queries, L length of a sequence.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scale.config import CLIP_PREFIX, FeatureConfig
from scale.data.cache import FeatureCache
from scale.data.dataset import ProductDataset
from scale.data.features import fit_image, hog_features, log_mel
from scale.data.media import load_audio, load_image, load_video
from scale.data.vectors import is_vectors, read_vectors
from scale.evaluation.embed import unit
from scale.evaluation.probes import Classification, Examples, assess, linear_probe
from scale.evaluation.retrieval import (
    KS,
    ProductArrays,
    Retrieval,
    RetrievalTables,
    alt_retrievals,
    direction_retrievals,
    subset_retrievals,
)
from scale.files import hash_code, split_rows
from scale.modalities import CONTINUOUS, INDEX, MODALITIES
from scale.threads import available_cores

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Vectors = dict[str, dict[str, Singles]]
"""By modality and part (`train`, `val`, `test`, `alt`): x_RF of the products that have it."""

VERSION = 1
"""Part of the cache keys of media vectors; increase it when `media_vector` changes."""
COMPONENTS = 512
"""Most principal components that a modality's vectors are reduced to."""
TERMS = 4096
"""Most words, and most character n-grams, of TF-IDF."""
MIN_TRAIN = 8
"""Fewest training products that have a modality, or a pair of them, for a fit."""
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SIZES = (8, 16, 32, 64, 128)
PAIR_DEFAULT = (1.0, 32)
"""Ridge and size if nothing is selected."""
SHARED_QUERIES = 100
"""Weight, in queries, of the mean over all pairs in the selection for one pair."""
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0)
STRENGTH_DEFAULT = 100.0
"""C of logistic regression if nothing is selected."""
SIDE, PATCH, FRAMES = 64, 16, 8
SOUND = FeatureConfig(sample_rate=16_000, audio_seconds=12.0, audio_frames=400, mel_bins=64)

DEFINITIONS = {
    "handmade": "hand-made features: TF-IDF of words and characters for title and table; colour "
    "histogram, mean colours and HOG for a picture and, as mean over 8 frames, for a clip; mean "
    "and spread of 64 log-mel bands for a sound",
    "frozen": "means over the tokens of the run's frozen features, standardised on train; mean and "
    "spread where they come from no backbone (log-mel, HOG, pixels); TF-IDF where title or table "
    "are word pieces. baselines.frozen.vectors names the source of each modality",
    "handmade, frozen: retrieval.category": "cosine of the modalities' unit vectors side by side, "
    f"each reduced to at most {COMPONENTS} principal components of train",
    "handmade, frozen: retrieval.instance": "regularised canonical correlation analysis, fitted "
    "per pair on the training products that have both; second views: cosine of the vectors "
    "themselves. Chance where fewer than 8 training products have both",
    "handmade, frozen: linear_probe": "logistic regression on the unit vectors side by side",
    "handmade, frozen: selection": "ridge and size per pair by the mean reciprocal rank, C by the "
    "accuracy, on val; fixed values for the split val",
}


# ------------------------------------------------------------------------- vectors of products


def handmade_vectors(
    parts: Mapping[str, ProductDataset],
    cache: FeatureCache | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> tuple[Vectors, dict[str, str]]:
    """Return hand-made features of the products of each part, fitted on the part `train`.

    TF-IDF (`tfidf_vectors`) of title and table, `media_vector` of media files, standardised. Media
    are decoded in threads, once per file content: their vectors are cached.

    Returns:
        The vectors, and the name of their source by modality.
    """
    cache, vectors = cache or FeatureCache(), {}
    for m in _fitted(parts):
        if m in CONTINUOUS:
            vectors[m] = _standardised(_media_vectors(m, parts, cache, workers, progress))
        else:
            vectors[m] = tfidf_vectors(m, parts, cache)
    names = {"image": "colours and HOG", "video": "colours and HOG, mean of frames",
             "audio": "mean and spread of log-mel"}  # fmt: skip
    return vectors, {m: names.get(m, "TF-IDF of words and characters") for m in vectors}


def frozen_vectors(
    parts: Mapping[str, ProductDataset], cache: FeatureCache | None = None
) -> tuple[Vectors, dict[str, str]]:
    """Return one vector per product and modality from a run's own features.

    The mean over the tokens of a continuous column, standardised on `train`; the embedding, if the
    source is a CLIP-like dual encoder; mean and standard deviation side by side if no model
    computed the tokens (log-mel, HOG, pixels). Word pieces have no features without a trained
    model; TF-IDF takes their place.

    Returns:
        The vectors, and the name of their source by modality.
    """
    vectors, names = {}, {}
    for m in _fitted(parts):
        if not parts["train"].columns[m].continuous:
            vectors[m] = tfidf_vectors(m, parts, cache or FeatureCache())
            names[m] = "TF-IDF, in place of word pieces"
            continue
        source = getattr(parts["train"].config, f"{m}_features")
        spread = source != "file" and not parts["train"].config.backbone(m)
        # Its first vector is the embedding; of a video, every vector is that of a frame.
        first = source.startswith(CLIP_PREFIX) and m != "video"
        kind = "first vector" if first else "mean and spread" if spread else "mean"
        made = {name: _summaries(m, part, kind) for name, part in parts.items()}
        vectors[m], names[m] = _standardised(made), f"{kind} of {source}"
    return vectors, names


def _fitted(parts: Mapping[str, ProductDataset]) -> list[str]:
    """Return the modalities that enough training products have."""
    return [m for m in MODALITIES if parts["train"].present_NM[:, INDEX[m]].sum() >= MIN_TRAIN]


def tfidf_vectors(
    modality: str, parts: Mapping[str, ProductDataset], cache: FeatureCache
) -> dict[str, Singles]:
    """Return TF-IDF of titles or tables, fitted on `train` and reduced by truncated SVD, by part.

    Words and pairs of words, and 2 to 4 characters within words, of at least two training products
    each (of one if none is in two), with logarithmic counts; both parts of length 1.
    """
    texts = {
        name: [_written(getattr(part.products[row], modality)) for row in _rows(part, modality)]
        for name, part in parts.items()
    }
    key = _key(["tf-idf", _code(), texts])
    every = [text for rows in texts.values() for text in rows]
    x_RK = cache.get_or_compute(key, lambda: _tfidf(texts["train"], every))
    ends = np.cumsum([len(rows) for rows in texts.values()])[:-1]
    return dict(zip(texts, np.split(x_RK, ends), strict=True))


def _tfidf(train: list[str], texts: list[str]) -> Singles:
    from scipy.sparse import hstack
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    def fitted(**settings: Any) -> list[TfidfVectorizer]:
        for min_df in (2, 1):
            terms = TfidfVectorizer(
                sublinear_tf=True, max_features=TERMS, min_df=min_df, **settings
            )
            with suppress(ValueError):  # No term is left, e.g. of titles without letters.
                return [terms.fit(train)]
        return []

    words = fitted(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")
    terms = [*words, *fitted(ngram_range=(2, 4), analyzer="char_wb")]
    x_RF = hstack([each.transform(train) for each in terms]).tocsr()
    size = max(1, min(COMPONENTS, min(x_RF.shape) - 1))
    svd = TruncatedSVD(size, random_state=0).fit(x_RF)
    reduced = svd.transform(hstack([each.transform(texts) for each in terms]).tocsr())
    return reduced.astype(np.float32)


def media_vector(modality: str, path: Path) -> Singles:
    """Return the hand-made features x_F of one media file; mean and spread of a feature file.

    Image: root of the histogram of 4 x 4 x 4 colours, and `hog_features` of 16 patches. Video: mean
    of these over 8 frames. Audio: mean and standard deviation of 64 log-mel bands. Raises
    MediaError.
    """
    if is_vectors(path):
        return _mean_and_spread(read_vectors(path))
    if modality == "image":
        return _picture_vector(load_image(path))
    if modality == "video":
        frames = [Image.fromarray(frame_HWC) for frame_HWC in load_video(path, FRAMES)]
        return np.mean([_picture_vector(frame) for frame in frames], axis=0)
    sound_S = load_audio(path, SOUND.sample_rate, SOUND.audio_seconds)
    return _mean_and_spread(log_mel(sound_S, SOUND))


def _picture_vector(picture: Image.Image) -> Singles:
    pixels_HWC = fit_image(picture, SIDE)
    bins = (pixels_HWC // 64).reshape(-1, 3) @ np.array([16, 4, 1])
    histogram = np.sqrt(np.bincount(bins, minlength=64) / len(bins))
    return np.concatenate([histogram, hog_features(pixels_HWC, PATCH).ravel()]).astype(np.float32)


def _mean_and_spread(vectors_LF: NDArray) -> Singles:
    return np.concatenate([vectors_LF.mean(0), vectors_LF.std(0)]).astype(np.float32)


def _media_vectors(
    m: str,
    parts: Mapping[str, ProductDataset],
    cache: FeatureCache,
    workers: int | None,
    progress: bool,
) -> dict[str, Singles]:
    from tqdm.auto import tqdm

    def vector(path: Path) -> Singles:
        if split_rows(path)[1] is not None:
            return media_vector(m, path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").hexdigest()
        kind = "vectors" if is_vectors(path) else m
        key = _key(["handmade", VERSION, kind, digest])
        return cache.get_or_compute(key, lambda: media_vector(m, path))

    paths = {
        name: [getattr(part.products[row], m) for row in _rows(part, m)]
        for name, part in parts.items()
    }
    distinct = list(dict.fromkeys(path for rows in paths.values() for path in rows))
    with ThreadPoolExecutor(workers or available_cores()) as pool:
        made = pool.map(vector, distinct)
        bar = tqdm(
            made, f"hand-made features of {m}", len(distinct), unit=" files", delay=1,
            disable=not progress,
        )  # fmt: skip
        by_path = dict(zip(distinct, bar, strict=True))
    return {name: np.array([by_path[path] for path in rows]) for name, rows in paths.items()}


def _summaries(modality: str, part: ProductDataset, kind: str) -> Singles:
    column, rows = part.columns.get(modality), _rows(part, modality)
    if not len(rows):
        return np.zeros((0, 0), np.float32)
    reduce = {
        "mean": partial(np.mean, axis=0),
        "mean and spread": _mean_and_spread,
        "first vector": lambda vectors_LF: vectors_LF[0],
    }[kind]
    ends = zip(column.start_N[rows], column.length_N[rows], strict=True)
    return np.array(
        [reduce(column.values[at : at + length].astype(np.float32)) for at, length in ends]
    )


def _standardised(by_part: dict[str, Singles]) -> dict[str, Singles]:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(by_part["train"])
    return {name: scaler.transform(x_RF) if len(x_RF) else x_RF for name, x_RF in by_part.items()}


def _rows(part: ProductDataset, modality: str) -> NDArray[np.int64]:
    return np.flatnonzero(part.present_NM[:, INDEX[modality]])


def _written(value: str | Sequence[tuple[str, str]]) -> str:
    return value if isinstance(value, str) else "; ".join(f"{a}: {b}" for a, b in value)


# ------------------------------------------------------------ canonical correlation analysis


@dataclass(frozen=True)
class Cca:
    """Linear maps of two modalities into a common space."""

    mean_F: tuple[Floats, Floats]
    map_FK: tuple[Floats, Floats]
    correlation_K: Floats
    """Singular values of the whitened cross-covariance, in descending order; the canonical
    correlations if the ridge is 0."""

    def project(self, side: int, x_NF: NDArray, size: int | None = None) -> Singles:
        """Return the first `size` coordinates of vectors of side 0 or 1."""
        return ((x_NF - self.mean_F[side]) @ self.map_FK[side][:, :size]).astype(np.float32)


@dataclass(frozen=True)
class _Factors:
    """x - mean = U S V^T."""

    mean_F: Floats
    u_NK: Floats
    scale_K: Floats
    axes_FK: Floats

    @classmethod
    def of(cls, x_NF: NDArray) -> "_Factors":
        mean_F = x_NF.mean(0, dtype=np.float64)
        u_NK, scale_K, axes_KF = np.linalg.svd(x_NF - mean_F, full_matrices=False)
        kept_K = scale_K > 1e-7 * max(scale_K[0], 1e-30)
        return cls(mean_F, u_NK[:, kept_K], scale_K[kept_K], axes_KF[kept_K].T)

    def whitening(self, ridge: float) -> Floats:
        """Return the factors 1 / sqrt(S^2 / N + ridge * mean variance) of the components."""
        variance_K = self.scale_K**2 / len(self.u_NK)
        return 1 / np.sqrt(variance_K + ridge * variance_K.mean())


def fit_cca(x_NF: NDArray, y_NG: NDArray, ridge: float, size: int) -> Cca:
    """Fit regularised canonical correlation analysis on pairs of vectors.

    Maps A, B whose columns maximise corr(A^T x, B^T y) one after the other:
    (C_xx + l_x I)^{-1/2} C_xy (C_yy + l_y I)^{-1/2} = P R Q^T (SVD),
    A = (C_xx + l_x I)^{-1/2} P, B = (C_yy + l_y I)^{-1/2} Q, with C the covariances and l = ridge
    times the mean variance of a principal component (Vinod, 1976; Hardoon et al., 2004). Computed
    in the space of the principal components, which contains the solution: quick for F in the
    thousands.

    Args:
        x_NF, y_NG: rows of equal index belong to the same product.
        size: number of columns of A and B; fewer if the rank is lower.
    """
    return _fit_factors(_Factors.of(x_NF), _Factors.of(y_NG), ridge, size)


def _fit_factors(x: _Factors, y: _Factors, ridge: float, size: int) -> Cca:
    white_x_K, white_y_J = x.whitening(ridge), y.whitening(ridge)
    cross_KJ = x.scale_K[:, None] * (x.u_NK.T @ y.u_NK) * y.scale_K / len(x.u_NK)
    p_KS, correlation_S, q_SJ = np.linalg.svd(
        white_x_K[:, None] * cross_KJ * white_y_J, full_matrices=False
    )
    return Cca(
        (x.mean_F, y.mean_F),
        (x.axes_FK * white_x_K @ p_KS[:, :size], y.axes_FK * white_y_J @ q_SJ[:size].T),
        correlation_S[:size],
    )


@dataclass(frozen=True)
class _PairFit:
    """CCA of one pair of modalities for all ridges, and the reciprocal ranks on `val`."""

    fit: Callable[[float], Cca]
    rank_GQ: Floats
    """1 / rank of every validation query, a row per setting of `GRID`."""


GRID = tuple((ridge, size) for ridge in RIDGES for size in SIZES)


def cca_retrieval(
    products: ProductArrays,
    pair: tuple[str, str],
    projected: tuple[Singles, Singles],
    ks: Sequence[int] = KS,
) -> dict[str, Retrieval]:
    """Score both directions between two modalities by the cosine of their projections.

    Args:
        products: their ids, presence and contents, as in the evaluation of a model.
        projected: x_RK of the products that have the first modality of the pair, y_RK of those
            that have the second.
    """
    shape = (len(products.ids), len(MODALITIES), projected[0].shape[1])
    pooled_NMK = np.zeros(shape, np.float32)
    for m, x_RK in zip(pair, projected, strict=True):
        pooled_NMK[products.present_NM[:, INDEX[m]], INDEX[m]] = x_RK
    arrays = replace(products, pooled_NMD=pooled_NMK, alt=None)
    return direction_retrievals(arrays, ks, (pair, pair[::-1]))


def _fit_pair(
    vectors: Vectors, arrays: Mapping[str, ProductArrays], pair: tuple[str, str]
) -> _PairFit | None:
    """Fit one pair on `train` and rank `val`; None with too few training products."""
    x, y = (_common(vectors[m]["train"], arrays["train"], m, pair) for m in pair)
    if len(x) < MIN_TRAIN:
        return None
    factors = _Factors.of(x), _Factors.of(y)
    fit = lru_cache(lambda ridge: _fit_factors(*factors, ridge, max(SIZES)))
    val, rank_GQ = arrays["val"], []
    for ridge, size in GRID if len(val.ids) else ():
        projected = tuple(fit(ridge).project(i, vectors[m]["val"], size)
                          for i, m in enumerate(pair))  # fmt: skip
        found = cca_retrieval(val, pair, projected, ks=(1,)).values()
        rank_GQ.append(np.concatenate([1 / r.values["mean rank"] for r in found]))
    return _PairFit(fit, np.array(rank_GQ).reshape(len(GRID), -1))


def _common(
    x_RF: Singles, products: ProductArrays, modality: str, pair: tuple[str, str]
) -> Singles:
    """Return the rows of x_RF of the products that have both modalities of the pair."""
    has_NP = products.present_NM[:, [INDEX[m] for m in pair]]
    return x_RF[has_NP.all(1)[products.present_NM[:, INDEX[modality]]]]


def choose_pairs(
    ranks: Mapping[tuple[str, str], Floats],
) -> dict[tuple[str, str], tuple[float, int]]:
    """Return ridge and size of each pair from rank_GQ, the reciprocal ranks of its val queries.

    The setting of `GRID` with the best mean of the pair's reciprocal ranks and SHARED_QUERIES
    further queries with the mean over all pairs, which decides for pairs of few validation
    products. PAIR_DEFAULT without any query.
    """
    means = [rank_GQ.mean(1) for rank_GQ in ranks.values() if rank_GQ.shape[1]]
    if not means:
        return dict.fromkeys(ranks, PAIR_DEFAULT)
    shared_G = SHARED_QUERIES * np.mean(means, axis=0)
    # The divisor, the number of queries, is the same for all settings.
    return {
        pair: GRID[int(np.argmax(rank_GQ.sum(1) + shared_G))] for pair, rank_GQ in ranks.items()
    }


# -------------------------------------------------------------------------------- the baseline


@dataclass(frozen=True)
class Baseline:
    """The test products as a baseline represents them, and its predictions."""

    vectors: dict[str, Singles]
    """By modality: unit vectors x_RK of the test products that have it."""
    alt: dict[str, Singles]
    """The same of their second views."""
    projected: dict[tuple[str, str], tuple[Singles, Singles]]
    """By pair of modalities: arguments of `cca_retrieval`."""
    predicted: tuple[str, ...]
    """Categories of the labelled test products; empty if there are fewer than two classes."""
    settings: dict[str, Any]
    """Selected ridge, size and C, and on what they were selected."""

    def embed(
        self, present_NM: NDArray[np.bool_], subset: tuple[str, ...] = MODALITIES
    ) -> tuple[Singles, NDArray[np.bool_]]:
        """Return the unit vectors of a subset side by side, of length 1 in all.

        Shapes and second result as those of `subset_embedding`.
        """
        return _side_by_side(self.vectors, present_NM, subset)

    def retrievals(self, products: ProductArrays, ks: Sequence[int] = KS) -> RetrievalTables:
        """Score the test products in the same retrievals as a model's features."""
        embed = partial(self.embed, products.present_NM)
        same, full = (subset_retrievals(products, g, ks, embed) for g in ("same", "full"))
        instance: dict[str, Retrieval] = {}
        for pair, projected in self.projected.items():
            instance |= cca_retrieval(products, pair, projected, ks)
        instance |= self._second_views(products, ks)
        # The queries and their chance level depend on the products alone.
        chance = direction_retrievals(_featureless(products), ks)
        chance |= alt_retrievals(_featureless(products), ks)
        missing = {name: replace(r, values=r.chance) for name, r in chance.items()}
        return RetrievalTables(same, full, missing | instance)

    def _second_views(self, products: ProductArrays, ks: Sequence[int]) -> dict[str, Retrieval]:
        found = {}
        for m in self.alt if products.alt is not None else ():
            pooled_NMK = _one_modality(self.vectors[m], products.present_NM, m)
            pooled_AMK = _one_modality(self.alt[m], products.alt.present_NM, m)
            alt = replace(products.alt, pooled_NMD=pooled_AMK)
            name = f"alt_{m}->{m}"
            arrays = replace(products, pooled_NMD=pooled_NMK, alt=alt)
            found[name] = alt_retrievals(arrays, ks)[name]
        return found

    def classification(
        self, train: ProductArrays, test: ProductArrays, seed: int = 0
    ) -> Classification | None:
        """Score the predicted categories; None if there are none."""
        if not self.predicted:
            return None
        examples = [Examples(None, _usable_labels(products)) for products in (train, test)]
        return assess(*examples, self.predicted, self.settings["linear_probe"], seed)


def fit_baseline(
    vectors: Vectors,
    arrays: Mapping[str, ProductArrays],
    cache: FeatureCache | None = None,
) -> Baseline:
    """Fit CCA of all pairs and logistic regression on `train`, with settings selected on `val`.

    The result is cached by its arguments and the code that computes it.

    Args:
        vectors: of the parts of `arrays` and, optionally, `alt`.
        arrays: `train`, `val` (empty: nothing is selected) and `test`, for ids, presence, labels
            and contents; their features are not used.
    """
    cache = cache or FeatureCache()
    key = _key(["baseline", _code(), _fingerprint(vectors, arrays)])
    return _unpack(cache.get_or_compute(key, lambda: _pack(_fit(vectors, arrays))))


def _fit(vectors: Vectors, arrays: Mapping[str, ProductArrays]) -> Baseline:
    vectors = {m: _principal(by_part) for m, by_part in vectors.items()}
    pairs = [pair for pair in combinations(MODALITIES, 2) if set(pair) <= vectors.keys()]
    fits = {pair: found for pair in pairs if (found := _fit_pair(vectors, arrays, pair))}
    chosen = choose_pairs({pair: found.rank_GQ for pair, found in fits.items()})
    projected = {
        pair: tuple(fits[pair].fit(ridge).project(i, vectors[m]["test"], size)
                    for i, m in enumerate(pair))
        for pair, (ridge, size) in chosen.items()
    }  # fmt: skip
    selected = any(found.rank_GQ.shape[1] for found in fits.values())
    cca = {f"{a}+{b}": {"ridge": ridge, "size": size} for (a, b), (ridge, size) in chosen.items()}
    settings: dict[str, Any] = {"cca": {"chosen on": "val" if selected else "nothing", **cca}}
    if selected:
        ranks = [found.rank_GQ[GRID.index(chosen[pair])] for pair, found in fits.items()]
        mean = np.mean([rank_Q.mean() for rank_Q in ranks if len(rank_Q)])
        settings["cca"]["mean reciprocal rank"] = float(mean)
    units = {m: {name: unit(x_RK) for name, x_RK in by_part.items()}
             for m, by_part in vectors.items()}  # fmt: skip
    examples = []
    for name in ("train", "val", "test"):
        part = {m: by_part[name] for m, by_part in units.items()}
        emb_ND, _ = _side_by_side(part, arrays[name].present_NM, MODALITIES)
        examples.append(Examples(emb_ND, _usable_labels(arrays[name])))
    predicted: tuple[str, ...] = ()
    if len(set(examples[0].known_labels())) > 1:
        probe = linear_probe(*examples, STRENGTHS, standardise=False, default=STRENGTH_DEFAULT)
        predicted, settings["linear_probe"] = probe.predicted, probe.settings
    alt = {m: by_part["alt"] for m, by_part in units.items() if "alt" in by_part}
    test = {m: by_part["test"] for m, by_part in units.items()}
    return Baseline(test, alt, projected, predicted, settings)


def _principal(by_part: dict[str, Singles]) -> dict[str, Singles]:
    """Rotate to the principal components of `train`, at most COMPONENTS."""
    from sklearn.decomposition import PCA

    train = by_part["train"]
    size = min(COMPONENTS, len(train) - 1, train.shape[1])
    pca = PCA(size, random_state=0).fit(train)
    return {name: pca.transform(x_RF).astype(np.float32) if len(x_RF)
            else np.zeros((0, size), np.float32) for name, x_RF in by_part.items()}  # fmt: skip


def _side_by_side(
    vectors: Mapping[str, Singles], present_NM: NDArray[np.bool_], subset: tuple[str, ...]
) -> tuple[Singles, NDArray[np.bool_]]:
    widths = {m: x_RK.shape[1] for m, x_RK in vectors.items()}
    emb_ND, at = np.zeros((len(present_NM), sum(widths.values())), np.float32), 0
    for m, x_RK in vectors.items():
        if m in subset:
            emb_ND[present_NM[:, INDEX[m]], at : at + widths[m]] = x_RK
        at += widths[m]
    return unit(emb_ND), present_NM[:, [INDEX[m] for m in subset]].any(1)


def _one_modality(x_RK: Singles, present_NM: NDArray[np.bool_], modality: str) -> Singles:
    """Return pooled_NMD with x_RK as the features of one modality."""
    pooled_NMK = np.zeros((*present_NM.shape, x_RK.shape[1]), np.float32)
    pooled_NMK[present_NM[:, INDEX[modality]], INDEX[modality]] = x_RK
    return pooled_NMK


def _featureless(products: ProductArrays) -> ProductArrays:
    def zeros(present_NM: NDArray[np.bool_]) -> Singles:
        return np.zeros((*present_NM.shape, 1), np.float32)

    alt = products.alt and replace(products.alt, pooled_NMD=zeros(products.alt.present_NM))
    return replace(products, pooled_NMD=zeros(products.present_NM), alt=alt)


def _usable_labels(products: ProductArrays) -> list[str | None]:
    has_N = products.present_NM.any(1)
    return [label if has else None for label, has in zip(products.labels, has_N, strict=True)]


# ------------------------------------------------------------------------------------ the cache


def _code() -> str:
    """Return a hash of the code that a fitted baseline depends on."""
    here = Path(__file__)
    return hash_code(here.with_name(f"{name}.py") for name in ("baselines", "probes", "retrieval"))


def _fingerprint(vectors: Vectors, arrays: Mapping[str, ProductArrays]) -> str:
    """Return a hash of all inputs of a fit."""
    digest = hashlib.blake2b(digest_size=16)
    for m, by_part in vectors.items():
        for name, x_RF in by_part.items():
            digest.update(f"{m} {name} {x_RF.shape} {x_RF.dtype}".encode())
            digest.update(np.ascontiguousarray(x_RF))
    for name, products in arrays.items():
        digest.update(json.dumps([name, list(products.ids), list(products.labels)]).encode())
        digest.update(np.ascontiguousarray(products.present_NM))
        if products.content_id_NM is not None:
            digest.update(np.ascontiguousarray(products.content_id_NM))
    return digest.hexdigest()


def _key(facts: list[Any]) -> str:
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def _pack(baseline: Baseline) -> NDArray[np.uint8]:
    """Return a baseline as the bytes of an .npz archive, for `FeatureCache`."""
    arrays = {f"vectors {m}": x for m, x in baseline.vectors.items()}
    arrays |= {f"alt {m}": x for m, x in baseline.alt.items()}
    for pair, sides in baseline.projected.items():
        arrays |= {f"projected {'+'.join(pair)} {i}": x for i, x in enumerate(sides)}
    facts = {"predicted": baseline.predicted, "settings": baseline.settings}
    buffer = io.BytesIO()
    np.savez(buffer, facts=np.array(json.dumps(facts)), **arrays)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def _unpack(packed: NDArray[np.uint8]) -> Baseline:
    """Inverse of `_pack`."""
    with np.load(io.BytesIO(packed.tobytes()), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    facts = json.loads(str(arrays.pop("facts")))
    parts: dict[str, dict] = {"vectors": {}, "alt": {}, "projected": {}}
    for name, x in arrays.items():
        kind, item, *_ = name.split(" ")
        if kind == "projected":
            pair = tuple(item.split("+"))
            parts[kind][pair] = (*parts[kind].get(pair, ()), x)
        else:
            parts[kind][item] = x
    return Baseline(**parts, predicted=tuple(facts["predicted"]), settings=facts["settings"])
