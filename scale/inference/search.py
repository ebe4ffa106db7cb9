"""Search with words, media files or vectors, in a catalogue or an index on disk.

Q queries, K results, N products, D width.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from scale.data.batch import ProductBatch
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, find_source, read_info
from scale.data.dataset import ProductDataset
from scale.data.pieces import find_holders, find_products, iterate_products
from scale.data.product import CatalogueError, Product, printable
from scale.data.tokenizer import SPECIAL
from scale.data.where import ProductFilter
from scale.evaluation.embed import Features, embed_dataset
from scale.evaluation.index import Matches, ProductIndex, SearchIndex
from scale.files import escape_formula, load_array, sha256
from scale.inference.embedding import run_fingerprint
from scale.modalities import CONTINUOUS
from scale.training.run import TrainedRun

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = {
    "image": (
        *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
        *(".ppm", ".pgm", ".jp2", ".mpo"),
    ),
    "video": (".mp4", ".webm", ".mkv", ".mov", ".avi", ".mpg", ".mpeg", ".m4v", ".flv"),
    "audio": (".ogg", ".oga", ".wav", ".mp3", ".flac", ".m4a", ".aac", ".opus", ".aiff"),
}
"""File suffixes by modality."""
Query = str | PathLike | Product | np.ndarray | Sequence[str | PathLike]


@dataclass(frozen=True)
class Hit:
    """One retrieved product."""

    product: Product
    similarity: float
    """Cosine of the query's and the product's embedding; 1 for a product that contains the media
    file of the query."""


@dataclass(frozen=True)
class Gallery:
    """A catalogue embedded by a run's model."""

    run: TrainedRun
    products: dict[str, Product]
    index: SearchIndex
    cache: FeatureCache | None

    @staticmethod
    def build(
        run: TrainedRun,
        data: ProductDataset,
        subset: tuple[str, ...],
        cache: FeatureCache | None = None,
        progress: bool = True,
    ) -> "Gallery":
        """Embed all products of a data set by the modalities of `subset`."""
        embeddings = embed_dataset(
            run.model, data, subset=subset, device=model_device(run), progress=progress
        )
        found = embeddings.product(subset)
        products = {p.id: p for p in data.products}
        return Gallery(run, products, SearchIndex.build(found.emb_ND, found.ids), cache)

    def search(
        self,
        query: Product,
        k: int = 10,
        where: str = "",
        backbones: Mapping[str, str] | None = None,
    ) -> list[Hit]:
        """Return the k products nearest to a query, which may lack any modality.

        A product that contains the media file of the query, if it is the whole query, comes first.

        Args:
            where: condition on the products, see `ProductFilter.parse`.
            backbones: models of feature files, see `embed_query`.

        Raises:
            CatalogueError: a file of the query cannot be read.
            FilterError: the condition is invalid or names something that no product has.
        """
        emb_D = embed_query(self.run, query, self.cache, backbones=backbones)
        own = _holders(self.products.values(), query)
        return self.nearest(emb_D[None], k, where, own)[0]

    def nearest(
        self, emb_QD: np.ndarray, k: int = 10, where: str = "", first: Collection[str] = ()
    ) -> list[list[Hit]]:
        """Return the k products nearest to each vector; `first`: ids of products to place first."""
        places, ids = None, self.index.ids
        if where:
            chosen = {p.id for p in ProductFilter.parse(where).select(self.products.values())}
            places = np.array([n for n, id in enumerate(ids) if id in chosen], np.int64)
            ids = tuple(ids[place] for place in places)
        own = set(first)
        matches = self.index.query(emb_QD, k, places)
        return _hits(matches, [id for id in ids if id in own], self.products, k)


def model_device(run: TrainedRun) -> torch.device:
    """Return the device of the run's model."""
    return next(run.model.parameters()).device


def query_dataset(
    run: TrainedRun, query: Product, cache: FeatureCache | None = None
) -> ProductDataset:
    """Return a data set of one product.

    Raises:
        CatalogueError: a file of the query cannot be read, or the model reads none of its
            modalities.
    """
    data = run.dataset(Catalogue(Path(), (query,)), cache=cache, strict=True)
    if not data.present_NM.any():
        given, known = "+".join(query.present) or "nothing", ", ".join(run.config.model.modalities)
        raise CatalogueError(f"query: it has {given}, but the model reads only {known}")
    return data


def query_batch(run: TrainedRun, query: Product) -> ProductBatch:
    """Return one product as a batch on the model's device; raises as `query_dataset`."""
    return query_dataset(run, query).collate([0]).to(model_device(run))


def embed_query(
    run: TrainedRun,
    query: Product,
    cache: FeatureCache | None = None,
    features: Features = "encoder",
    backbones: Mapping[str, str] | None = None,
) -> np.ndarray:
    """Return the embedding of one product, emb_D; raises as `query_dataset`.

    Words alone are a search: their meaning is compared, and not the TF-IDF of their word pieces
    (model/projection.py), by which titles with the same words would come first.

    Args:
        backbones: by modality, the model that the feature files (`features.image_features` file)
            were computed with; pictures, videos and sounds can then be queries.
    """
    if query.text is not None and len(run.tokenizer) <= len(SPECIAL):
        raise CatalogueError("query: the run was trained without text: search with a media file")
    data, device = query_dataset(_reading(run, query, backbones), query, cache), model_device(run)
    if query.present == ("text",) and data.columns["text"].piece_T is not None:
        column = replace(data.columns["text"], piece_T=None)
        data = replace(data, columns=data.columns | {"text": column})
    found = embed_dataset(run.model, data, device=device, progress=False, features=features)
    return found.product().emb_ND[0]


def _reading(run: TrainedRun, query: Product, backbones: Mapping[str, str] | None) -> TrainedRun:
    """Return the run with the models of feature files for the media of a query.

    Raises CatalogueError if such a model is not known.
    """
    changed = {}
    for m in set(query.present) & set(CONTINUOUS) & set(run.config.model.modalities):
        from_file = getattr(run.config.features, f"{m}_features") == "file"
        if from_file and getattr(query, m).suffix != ".npy":
            if m not in (backbones or {}):
                raise CatalogueError(
                    f"query: {getattr(query, m)}: the run reads feature files (.npy), not {m} "
                    f"files: name the model that computed them, e.g. --backbones {m}=NAME, or "
                    f'"backbones": {{"{m}": "NAME"}} in catalogue.json'
                )
            changed[f"{m}_features"] = backbones[m]
    if not changed:
        return run
    features = replace(run.config.features, **changed)
    return replace(run, config=replace(run.config, features=features))


def catalogue_backbones(catalogue: Catalogue | str | PathLike | None) -> dict[str, str]:
    """Return the models of feature files, `backbones` in catalogue.json; empty without it.

    Raises:
        CatalogueError: it is not an object of modalities and names.
    """
    if isinstance(catalogue, Catalogue):
        info = catalogue.info
    elif catalogue is None:
        return {}
    else:
        folder = Path(catalogue) if Path(catalogue).is_dir() else Path(catalogue).parent
        info = read_info(folder / "catalogue.json")
    found = info.get("backbones", {})
    if not isinstance(found, dict) or not all(
        m in CONTINUOUS and isinstance(name, str) for m, name in found.items()
    ):
        raise CatalogueError(
            f"catalogue.json: backbones is {found!r}; an object of {', '.join(CONTINUOUS)} and "
            "names of models is needed"
        )
    return found


def search_index(
    run: TrainedRun | None,
    index: ProductIndex | str | PathLike,
    query: Product | np.ndarray,
    k: int = 10,
    catalogue: Catalogue | str | PathLike | None = None,
    probes: int | None = None,
    candidates: int | None = None,
    where: str = "",
    backbones: Mapping[str, str] | None = None,
) -> list[Hit]:
    """Return the k products of an index on disk nearest to a query.

    Args:
        run: trained model; None for a vector.
        query: product, or vector emb_D.
        catalogue: source of the products' records. Without one, and for products that it no longer
            contains, a hit has an id only.
        where: condition on the products, see `ProductFilter.parse`; it needs `catalogue`, which is
            read once. The products that fulfil it are searched exactly, in any kind of index.
        backbones: models of feature files, see `embed_query`; default: those of the catalogue.

    Raises:
        ValueError: the index was built from another model than the run's.
        FilterError: the condition is invalid or names something that no product has.
    """
    if isinstance(query, np.ndarray):
        return nearest_in_index(index, query[None], k, catalogue, probes, candidates, where)[0]
    if not isinstance(index, ProductIndex):
        index = ProductIndex.open(Path(index))
    made_from = index.manifest["made_from"]
    known = {**catalogue_backbones(catalogue), **(backbones or {})}
    emb_D = embed_query(run, query, None, made_from.get("features", "encoder"), known)
    _check_width(index, emb_D[None])
    if made_from.get("run") != run_fingerprint(run):
        raise ValueError(
            f"{index.folder}: built from another run than {run.folder.folder}, or from an earlier "
            "state of it: embed and index again"
        )
    own: Collection[str] = ()
    if _media_alone(query) and catalogue is not None:
        catalogue = _streamed(catalogue)
        if isinstance(catalogue, Catalogue):
            own = _holders(catalogue, query)
        else:
            (m,) = query.present
            own = find_holders(catalogue, m, getattr(query, m))
    return nearest_in_index(index, emb_D[None], k, catalogue, probes, candidates, where, own)[0]


def nearest_in_index(
    index: ProductIndex | str | PathLike,
    emb_QD: np.ndarray,
    k: int = 10,
    catalogue: Catalogue | str | PathLike | None = None,
    probes: int | None = None,
    candidates: int | None = None,
    where: str = "",
    first: Collection[str] = (),
) -> list[list[Hit]]:
    """Return the k products of an index nearest to each vector; arguments as in `search_index`.

    first: ids of products to place first.
    """
    if not isinstance(index, ProductIndex):
        index = ProductIndex.open(Path(index))
    catalogue = None if catalogue is None else _streamed(catalogue)
    places, first = None, list(first)
    if where:
        if catalogue is None:
            raise ValueError(
                "a condition reads the values of the products: give the catalogue, too"
            )
        condition = ProductFilter.parse(where)
        if not isinstance(catalogue, Catalogue):
            unused = {"alt", "content", *CONTINUOUS} - set(condition.names)
            catalogue_products = iterate_products(catalogue, without=unused)
        else:
            catalogue_products = iter(catalogue)
        chosen = [product.id for product in condition.select(catalogue_products)]
        places, kept = index.places(chosen), set(chosen)
        first = [id for id in first if id in kept]
    if first:
        first = [index.id(place) for place in index.places(first)]
    matches = index.query(emb_QD, k, probes, candidates, places)
    ids = {*first, *(id for ids in matches.ids for id in ids)}
    if catalogue is None:
        products = {}
    elif isinstance(catalogue, Catalogue):
        products = {product.id: product for product in catalogue if product.id in ids}
    else:
        products = find_products(catalogue, ids)
    return _hits(matches, first, products, k)


def _check_width(index: ProductIndex, emb_QD: np.ndarray) -> None:
    if emb_QD.shape[1] != index.manifest["width"]:
        raise ValueError(
            f"{index.folder}: queries of shape {emb_QD.shape} in an index of width "
            f"{index.manifest['width']}: it was built from another run"
        )


def _streamed(catalogue: Catalogue | str | PathLike) -> Catalogue | Path:
    """Return the path of a catalogue that can be read in parts; otherwise open it."""
    if isinstance(catalogue, Catalogue):
        return catalogue
    path = Path(catalogue)
    return path if find_source(path).suffix in (".jsonl", ".parquet") else Catalogue.open(path)


def _media_alone(query: Product) -> bool:
    return len(query.present) == 1 and query.present[0] in CONTINUOUS


def _holders(products: Iterable[Product], query: Product) -> set[str]:
    """Return the ids of the products that contain the media file that is the whole query."""
    if not _media_alone(query):
        return set()
    (m,) = query.present
    path = getattr(query, m)
    size, digest, found = path.stat().st_size, None, set()
    for product in products:
        own = getattr(product, m)
        try:
            if own is not None and own.stat().st_size == size:
                digest = digest or sha256(path)
                if sha256(own) == digest:
                    found.add(product.id)
        except OSError:
            continue  # Reported when its features are computed.
    return found


def _hits(
    matches: Matches, first: Sequence[str], products: Mapping[str, Product], k: int
) -> list[list[Hit]]:
    """Return the hits of each query; products of `first` come first, with similarity 1."""
    found = []
    for ids, score_K in zip(matches.ids, matches.score_QK, strict=True):
        scores = dict.fromkeys(first, 1.0)
        for id, score in zip(ids, score_K, strict=False):
            scores.setdefault(id, float(score))
        hits = [Hit(products.get(id, Product(id=id)), score) for id, score in scores.items()]
        found.append(hits[:k])
    return found


def read_query(query: Query, modality: str = "") -> Product | np.ndarray:
    """Return a query as a product, or as vectors emb_QD or emb_D.

    Args:
        query: words; the path of an image, video or audio file; several of them, which together
            are one query; the path of a .npy file with vectors; a Product; an array.
        modality: modality of the files, e.g. image for a .npy of its features; default: by suffix.

    Raises:
        CatalogueError: a file does not exist or is of no known kind, two files have the same
            modality, or the query is empty.
    """
    if isinstance(query, Product):
        return query
    if isinstance(query, np.ndarray):
        return _check_vectors(query, "query")
    parts = [query] if isinstance(query, str | PathLike) else list(query)
    paths = [Path(part) for part in parts]
    if not modality and any(path.suffix == ".npy" for path in paths):
        if len(parts) > 1:
            raise CatalogueError("query: vectors (.npy) are a query alone")
        if not paths[0].is_file():
            raise CatalogueError(f"query: {paths[0]}: no such file")
        try:
            return _check_vectors(load_array(paths[0]), str(paths[0]))
        except (ValueError, EOFError, OSError) as error:
            raise CatalogueError(f"query: {paths[0]}: not vectors: {error}") from error
    return parse_query(*parts, modality=modality)


def _check_vectors(vectors: np.ndarray, name: str) -> np.ndarray:
    if vectors.dtype.kind not in "fiu" or vectors.ndim not in (1, 2) or 0 in vectors.shape:
        raise CatalogueError(
            f"{name}: {vectors.dtype} of shape {vectors.shape}; numbers of shape (width,) or "
            "(queries, width) are needed"
        )
    if not np.isfinite(vectors).all() or not vectors.any(axis=-1).all():
        raise CatalogueError(f"{name}: a vector is zero or not finite")
    return vectors.astype(np.float32)


def parse_query(*parts: str | PathLike, modality: str = "") -> Product:
    """Return words, the path of a media file, or both, as a product.

    Raises:
        CatalogueError: as `read_query`.
    """
    words, media = [], {}
    for part in parts:
        m = _file_modality(part, modality)
        if not m:
            words.append(str(part).strip())
        elif m in media:
            raise CatalogueError(f"query: two {m} files, {media[m]} and {part}; give one")
        else:
            media[m] = Path(part)
    text = " ".join(words).strip()
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise CatalogueError("query: the text is not valid Unicode")
    if not text and not media:
        raise CatalogueError("query: the text is empty")
    return Product(id="query", text=text or None, **media)


def _file_modality(part: str | PathLike, modality: str) -> str:
    """Return the modality of a media file; empty for words."""
    path = Path(part)
    suffix = path.suffix.lower()
    named = suffix if suffix and " " not in suffix else ""
    found = next((m for m, suffixes in SUFFIXES.items() if named in suffixes), "")
    try:
        exists = path.is_file()
    except (OSError, ValueError):
        exists = False
    if exists and (modality or found):
        return modality or found
    if exists:
        raise CatalogueError(
            f"query: {path}: a file of unknown kind; name it with --modality image, video or audio"
        )
    if found or named == ".npy" or isinstance(part, PathLike):
        raise CatalogueError(f"query: {path}: no such file")
    return ""


def hits_frame(hits: Sequence[Hit] | Sequence[list[Hit]]) -> "pd.DataFrame":
    """Return a DataFrame with a row per hit: id, title, category, similarity.

    For the hits of several queries, the first column `query` counts them from 0.
    """
    import pandas as pd

    several = bool(hits) and isinstance(hits[0], list)
    # Objects keep None for an absent title; pandas 3 would make NaN of it.
    rows = [
        (number, h.product.id, h.product.text, h.product.category, h.similarity)
        for number, found in enumerate(hits if several else [hits])
        for h in found
    ]
    columns = ["query", "id", "title", "category", "similarity"]
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    frame = frame.astype({"similarity": float, "query": int})
    return frame if several else frame.drop(columns="query")


def _ranked(hits: "pd.DataFrame") -> "pd.DataFrame":
    """Return the frame with a column `rank`, from 1 for each query."""
    ranks = hits.groupby("query").cumcount() if "query" in hits else np.arange(len(hits))
    ranked = hits.copy()
    ranked.insert(int("query" in hits), "rank", ranks + 1)
    return ranked


def to_json(hits: "pd.DataFrame") -> str:
    """Return a frame of hits as a JSON list of objects: rank and the columns of `hits_frame`."""
    rows = _ranked(hits).to_dict("records")
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def to_csv(hits: "pd.DataFrame") -> str:
    """Return a frame of hits as CSV, with text that is safe in a spreadsheet."""
    return _ranked(hits).map(escape_formula).to_csv(index=False, lineterminator="\n")


def result_table(hits: "pd.DataFrame", titles: bool = True) -> str:
    """Return a frame of hits as text: rank, cosine, id and, with `titles`, category and title.

    Results of several queries follow one another under their numbers. Control characters are
    escaped.
    """
    if "query" in hits:
        return "\n".join(
            f"query {number}\n{result_table(found.drop(columns='query'), titles)}"
            for number, found in hits.groupby("query")
        )
    described = f"{'id':<24} {'category':<20} title" if titles else "id"
    lines = [f"{'rank':>4}  {'cosine':>6}  {described}"]
    for rank, (id, title, category, similarity) in enumerate(hits.itertuples(index=False), start=1):
        described = id = printable(id)
        if titles:
            category, title = printable(category or "-"), printable(title or "(no title)")
            described = f"{id[:24]:<24} {category[:20]:<20} {title[:70]}"
        lines.append(f"{rank:>4}  {similarity:>6.3f}  {described}")
    return "\n".join(lines)
