"""`scale search`: a title, a picture, a clip or a sound as a query; products as the answer."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.problems import CatalogueError
from scale.data.product import Product
from scale.data.stream import find_products
from scale.evaluation.embed import embed_dataset
from scale.evaluation.product_index import ProductIndex
from scale.evaluation.search import SearchIndex
from scale.inference.embed_pieces import run_fingerprint
from scale.training.run import TrainedRun

SUFFIXES = {
    "image": (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    "video": (".mp4", ".webm", ".mkv", ".mov", ".avi"),
    "audio": (".ogg", ".wav", ".mp3", ".flac", ".m4a", ".opus"),
}
"""What a query's ending says it is; anything else is text."""


@dataclass(frozen=True)
class Hit:
    """One product that was found."""

    product: Product
    similarity: float
    """Cosine between the query's and the product's embedding."""


@dataclass(frozen=True)
class Gallery:
    """A catalogue that can be searched by a run's model."""

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
        embeddings = embed_dataset(run.model, data, subset=subset, progress=progress)
        found = embeddings.product(subset)
        products = {p.id: p for p in data.products}
        return Gallery(run, products, SearchIndex.build(found.emb_ND, found.ids), cache)

    def search(self, query: Product, k: int = 10) -> list[Hit]:
        """The k products nearest to a query, which is a product with whatever it has.

        Raises CatalogueError where the query's file cannot be used.
        """
        matches = self.index.query(embed_query(self.run, query, self.cache)[None], k)
        return [
            Hit(self.products[id], float(score))
            for id, score in zip(matches.ids[0], matches.score_QK[0], strict=True)
        ]


def embed_query(run: TrainedRun, query: Product, cache: FeatureCache | None = None) -> np.ndarray:
    """The embedding of a query by a run's model, as emb_D.

    Raises CatalogueError where the query's file cannot be used, or the model does not take its
    modality.
    """
    data = run.dataset(Catalogue(Path(), (query,)), cache=cache, strict=True)
    if not data.present_NM.any():
        asked, known = "+".join(query.present) or "nothing", ", ".join(run.config.model.modalities)
        raise CatalogueError(f"query: it is {asked}, and the run's model takes {known}")
    return embed_dataset(run.model, data, progress=False).product().emb_ND[0]


def search_index(
    run: TrainedRun,
    index: ProductIndex,
    query: Product,
    k: int = 10,
    catalogue: Path | None = None,
    probes: int | None = None,
    candidates: int | None = None,
) -> str:
    """The k products of an index on disk nearest to a query, as a table.

    catalogue: from where titles are read, until all are found; None: ids only.

    Raises ValueError where the index was built from another model than the run's.
    """
    emb_D = embed_query(run, query)
    matches = index.query(emb_D[None], k, probes, candidates)
    if index.manifest["made_from"].get("run") != run_fingerprint(run):
        raise ValueError(
            f"{index.folder}: was built from another run than {run.folder.folder}, or before it "
            "was trained on: embed and index again"
        )
    found = list(zip(matches.ids[0], map(float, matches.score_QK[0]), strict=False))
    if catalogue is None:
        lines = [f"{rank:>4}  {score:>6.3f}  {id}" for rank, (id, score) in enumerate(found, 1)]
        return "\n".join([f"{'rank':>4}  {'cosine':>6}  id", *lines])
    products = find_products(catalogue, [id for id, _ in found])
    # A product that the catalogue no longer has is shown by its id.
    return result_table([Hit(products.get(id, Product(id=id)), score) for id, score in found])


def parse_query(text: str) -> Product:
    """A query from the command line: the path of a media file, or words.

    Raises CatalogueError where it names a media file that is not there, or is empty.
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


def result_table(hits: list[Hit]) -> str:
    """Rank, similarity, id, category, modalities and title, a line each."""
    lines = [f"{'rank':>4}  {'cosine':>6}  {'id':<24} {'category':<20} title"]
    for rank, hit in enumerate(hits, start=1):
        product = hit.product
        title = product.text or "(no title)"
        lines.append(
            f"{rank:>4}  {hit.similarity:>6.3f}  {product.id[:24]:<24} "
            f"{(product.category or '-')[:20]:<20} {title[:70]}"
        )
    return "\n".join(lines)
