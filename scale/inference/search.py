"""Search with words, an image, a video or an audio file, in a catalogue or an index on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from scale.data.batch import ProductBatch
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.pieces import find_products
from scale.data.product import CatalogueError, Product
from scale.evaluation.embed import Features, embed_dataset
from scale.evaluation.index import ProductIndex, SearchIndex
from scale.inference.embedding import run_fingerprint
from scale.training.run import TrainedRun

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = {
    "image": (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    "video": (".mp4", ".webm", ".mkv", ".mov", ".avi"),
    "audio": (".ogg", ".wav", ".mp3", ".flac", ".m4a", ".opus"),
}
"""File suffixes by modality; any other query is text."""


@dataclass(frozen=True)
class Hit:
    """One retrieved product."""

    product: Product
    similarity: float
    """Cosine of the query's and the product's embedding."""


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

    def search(self, query: Product, k: int = 10) -> list[Hit]:
        """Return the k products nearest to a query, which may lack any modality.

        Raises:
            CatalogueError: a file of the query cannot be read.
        """
        matches = self.index.query(embed_query(self.run, query, self.cache)[None], k)
        return [
            Hit(self.products[id], float(score))
            for id, score in zip(matches.ids[0], matches.score_QK[0], strict=True)
        ]


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
) -> np.ndarray:
    """Return the embedding of one product, emb_D; raises as `query_dataset`.

    Words alone are a search: their meaning is compared, and not the TF-IDF of their word pieces
    (model/projection.py), by which titles with the same words would come first.
    """
    data, device = query_dataset(run, query, cache), model_device(run)
    if query.present == ("text",) and data.columns["text"].piece_T is not None:
        column = replace(data.columns["text"], piece_T=None)
        data = replace(data, columns=data.columns | {"text": column})
    found = embed_dataset(run.model, data, device=device, progress=False, features=features)
    return found.product().emb_ND[0]


def search_index(
    run: TrainedRun,
    index: ProductIndex | str | PathLike,
    query: Product,
    k: int = 10,
    catalogue: Catalogue | str | PathLike | None = None,
    probes: int | None = None,
    candidates: int | None = None,
) -> list[Hit]:
    """Return the k products of an index on disk nearest to a query.

    Args:
        catalogue: source of the products' records. Without one, and for products that it no longer
            contains, a hit has an id only.

    Raises:
        ValueError: the index was built from another model than the run's.
    """
    if not isinstance(index, ProductIndex):
        index = ProductIndex.open(Path(index))
    made_from = index.manifest["made_from"]
    emb_D = embed_query(run, query, features=made_from.get("features", "encoder"))
    matches = index.query(emb_D[None], k, probes, candidates)
    if made_from.get("run") != run_fingerprint(run):
        raise ValueError(
            f"{index.folder}: built from another run than {run.folder.folder}, or from an earlier "
            "state of it: embed and index again"
        )
    ids = list(matches.ids[0])
    if isinstance(catalogue, Catalogue):
        products = {product.id: product for product in catalogue}
    else:
        products = {} if catalogue is None else find_products(Path(catalogue), ids)
    return [
        Hit(products.get(id, Product(id=id)), float(score))
        for id, score in zip(ids, matches.score_QK[0], strict=False)
    ]


def parse_query(text: str) -> Product:
    """Return the query of a command line: the path of a media file, or words.

    Raises:
        CatalogueError: the media file does not exist, or the text is empty.
    """
    path = Path(text)
    for modality, suffixes in SUFFIXES.items():
        if path.suffix.lower() in suffixes and " " not in path.suffix:
            if not path.is_file():
                raise CatalogueError(f"query: {path}: no such file")
            return Product(id="query", **{modality: path})
    if not text.strip():
        raise CatalogueError("query: the text is empty")
    return Product(id="query", text=text)


def hits_frame(hits: Sequence[Hit]) -> "pd.DataFrame":
    """Return a DataFrame with a row per hit: id, title, category, similarity."""
    import pandas as pd

    # Objects keep None for an absent title; pandas 3 would make NaN of it.
    rows = [(h.product.id, h.product.text, h.product.category, h.similarity) for h in hits]
    frame = pd.DataFrame(rows, columns=["id", "title", "category", "similarity"], dtype=object)
    return frame.astype({"similarity": float})


def result_table(hits: "pd.DataFrame", titles: bool = True) -> str:
    """Return a frame of hits as text: rank, cosine, id and, with `titles`, category and title."""
    described = f"{'id':<24} {'category':<20} title" if titles else "id"
    lines = [f"{'rank':>4}  {'cosine':>6}  {described}"]
    for rank, (id, title, category, similarity) in enumerate(hits.itertuples(index=False), start=1):
        described = id
        if titles:
            described = f"{id[:24]:<24} {(category or '-')[:20]:<20} {(title or '(no title)')[:70]}"
        lines.append(f"{rank:>4}  {similarity:>6.3f}  {described}")
    return "\n".join(lines)
