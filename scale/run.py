"""A trained run: search, embeddings, evaluation, scores and interactive panels."""

from collections.abc import Mapping
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch

from scale.data.catalogue import Catalogue
from scale.data.product import Product
from scale.evaluation.embed import Features, ProductEmbeddings, embed_dataset
from scale.modalities import parse_subset
from scale.model.scores import Scores, inter_modality_scores
from scale.training.run import TrainedRun

if TYPE_CHECKING:
    import pandas as pd

    from scale.evaluation.index import ProductIndex
    from scale.inference.search import Query


class Run(TrainedRun):
    """A trained model with its config, tokenizer and normaliser, ready for any catalogue.

    `scale.load` and `scale.pretrain` return one. `run.model` is the ScaleModel, `run.config` its
    settings, `run.folder` the paths of the run folder, and `run.dataset(shop)` a catalogue as the
    model's tokens.
    """

    def search(
        self,
        query: "Query",
        catalogue: Catalogue | str | PathLike | None = None,
        k: int = 5,
        *,
        subset: str = "all",
        index: "ProductIndex | str | PathLike | None" = None,
        probes: int | None = None,
        candidates: int | None = None,
        where: str = "",
        modality: str = "",
        backbones: Mapping[str, str] | None = None,
    ) -> "pd.DataFrame":
        """Find the products nearest to a query by the cosine of their embeddings.

        The catalogue is embedded at the first search in it; for millions of products, build an
        index with `scale embed` and `scale index`. A product that contains the media file of the
        query comes first, with similarity 1, if the file is the whole query.

        Args:
            query: words; the path of an image, video or audio file; a list of words and files,
                which together are one query; a Product; or vectors (an array or a .npy file) of
                shape (width,) or (queries, width).
            catalogue: the products to search; with `index`, where to read their titles.
            k: number of products to return.
            subset: modalities by which the products are embedded, e.g. `image` or `text+image`.
            index: an index on disk, or its folder, to search instead of the catalogue.
            probes: lists of an IVF-PQ index to visit; None: the index's own setting.
            candidates: products of an IVF-PQ index to rank by exact cosine; None: its own setting.
            where: condition on the products, e.g. `category == 'mug' and price < 20`
                (docs/search.md). The products that fulfil it are searched exactly.
            modality: modality of the files of the query; empty: by their suffix.
            backbones: by modality, the model that computed the feature files on which the run was
                trained, so that media files can be queries; default: `backbones` in the
                catalogue's catalogue.json.

        Returns:
            DataFrame, nearest first: id, title, category, similarity; with a first column `query`
            for vectors of shape (queries, width).

        Raises:
            CatalogueError: the query is empty, its file cannot be read, or the model does not read
                its modality.
            ValueError: neither a catalogue nor an index is given, the index was built from another
                model, or the condition is invalid.
        """
        import numpy as np

        from scale.inference import search

        query = search.read_query(query, modality)
        vectors = query if isinstance(query, np.ndarray) else None
        if index is not None:
            if subset != "all":
                raise ValueError("an index has its own subset: omit the option subset")
            if vectors is not None and vectors.ndim == 2:
                found = search.nearest_in_index(
                    index, vectors, k, catalogue, probes, candidates, where
                )
            else:
                found = search.search_index(
                    self, index, query, k, catalogue, probes, candidates, where, backbones
                )
            return search.hits_frame(found)
        if catalogue is None:
            raise ValueError("give a catalogue or an index to search in")
        catalogue, modalities = _opened(catalogue), parse_subset(subset)
        key = (id(catalogue), modalities)
        if key not in self._galleries:
            data = self.dataset(catalogue)
            built = search.Gallery.build(self, data, modalities, progress=False)
            self._galleries[key] = (catalogue, built)
        gallery = self._galleries[key][1]
        if vectors is None:
            known = {**search.catalogue_backbones(catalogue), **(backbones or {})}
            return search.hits_frame(gallery.search(query, k, where, known))
        found = gallery.nearest(np.atleast_2d(vectors), k, where)
        return search.hits_frame(found if vectors.ndim == 2 else found[0])

    def embed(
        self,
        catalogue: Catalogue | str | PathLike,
        subset: str = "all",
        split: str | None = None,
        *,
        features: Features = "encoder",
        batch_size: int = 64,
        progress: bool = False,
        allow_missing: bool = False,
    ) -> ProductEmbeddings:
        """Embed every product as one unit vector.

        e = unit(mean over the modalities m of `subset` that the product has of unit(f_m))

        Args:
            catalogue: the products.
            subset: modalities to use, e.g. `text+image`.
            split: only the products of `train`, `val` or `test`.
            features: `encoder`: as above. `fused`: the same of the JCT's [CLS] of all modalities
                with tokens, also imputed ones; `fused_present`: of the present modalities only.
                `both`: `encoder` and `fused` side by side. `completed`: `encoder`, with features
                of missing modalities predicted by the JCT.
            batch_size: products per forward pass.
            progress: show a progress bar.
            allow_missing: accept that all values of a modality are lost, or many more than in
                training (broken or missing files).

        Returns:
            ProductEmbeddings: `ids`, `emb_ND` (float32, rows of length 1), `present_NM`, and
            `left_out`, the ids of the products that have no modality of the subset.

        Raises:
            ValueError: an unknown modality or feature, or no product has a modality of the subset,
                or one is lost (see `allow_missing`).
        """
        from scale.inference.embedding import LossCounter

        modalities, catalogue = parse_subset(subset), _opened(catalogue)
        data = self.dataset(catalogue, split)
        if not allow_missing:
            losses = LossCounter(self, modalities)
            losses.add(catalogue, data)
            losses.check()
        device = next(self.model.parameters()).device
        found = embed_dataset(self.model, data, batch_size, modalities, device, progress, features)
        return found.product(modalities)

    def evaluate(
        self,
        catalogue: Catalogue | str | PathLike,
        split: str = "test",
        *,
        features: Features = "encoder",
        fine_tune: bool = False,
        allow_train: bool = False,
        baselines: bool = False,
        seed: int = 0,
        progress: bool = False,
    ) -> "pd.DataFrame":
        """Measure retrieval, classification and clustering, each with a 95 % interval.

        The same numbers are computed for the untrained model, and for chance where it is defined.

        Args:
            catalogue: the products; those of `split` are queries and gallery. Probes are trained
                on `train` and selected on `val`; for the split `val`, nothing is selected.
            split: `train`, `val` or `test`.
            features: source of all embeddings, as in `embed`. Other ones than `encoder` are
                computed for each subset of the modalities, and the prediction of missing
                modalities is measured too.
            fine_tune: also classify by fine-tuning, the slowest part.
            allow_train: accept the split `train`, whose figures measure memorisation.
            baselines: also measure linear methods on hand-made features (model `handmade`) and on
                the frozen features of the run (`frozen`), tuned on `val`.
            seed: of the bootstrap, k-means and fine-tuning.
            progress: show progress bars.

        Returns:
            DataFrame, a row per number: task, model, item, metric, value, low, high, n,
            category_low, category_high (see
            `scale.evaluation.report.results_frame`).

        Raises:
            ValueError: the split has fewer than two products, or it is `train` without
                `allow_train`.
        """
        from scale.evaluation.report import results_frame
        from scale.inference.evaluate import evaluate_run

        catalogue = _opened(catalogue)
        results = evaluate_run(
            self, catalogue, split, tune=fine_tune, allow_train=allow_train, baselines=baselines,
            seed=seed, progress=progress, features=features,
        )  # fmt: skip
        return results_frame(results)

    def scores(self, product: Product) -> Scores:
        """Compute S, softmax(S) and S' of one product (paper, section 4.3).

        Returns:
            Scores with three tensors of shape (1, 5, 5): `cosine_BMM` is S, `softmax_BMM` its
            row-wise softmax over the modalities that the product has, `weighted_BMM` is S'. Rows
            and columns of missing modalities are 0.

        Raises:
            CatalogueError: the product has no modality that the model reads, or a media file
                cannot be read.
        """
        from scale.inference.search import query_batch

        self.model.eval()
        with torch.no_grad():
            output = self.model.embed(query_batch(self, product))
        scores = inter_modality_scores(output.pooled_BMD, output.present_BM)
        return Scores(
            *(t.cpu() for t in (scores.cosine_BMM, scores.softmax_BMM, scores.weighted_BMM))
        )

    def mismatches(
        self,
        catalogue: Catalogue | str | PathLike,
        top: int = 50,
        *,
        progress: bool = False,
    ) -> "pd.DataFrame":
        """List the products with a modality that probably belongs to another product.

        Products of the split train are judged by cross-fitting, which fits a dozen small models
        at the first call and is then read from the run folder; the others by the run's model.

        Args:
            catalogue: the products; splits as in training.
            top: number of products to list.
            progress: show a progress bar.

        Returns:
            DataFrame, most suspicious first: id, title, modality, agreement (0 to 1; about 0.5 or
            less for a wrong content), other_id and other_title (the product that the content fits
            best), judged. `attrs["shares"]` holds the estimated share of wrong contents.

        Raises:
            ValueError: no product has two modalities of the model.
        """
        from scale.inference.mismatch import find_mismatches

        found = find_mismatches(self, _opened(catalogue), top, progress=progress)
        found.frame.attrs["shares"] = found.shares
        return found.frame

    def explore(
        self,
        catalogue: Catalogue | str | PathLike,
        split: str | None = "test",
        lang: str | None = None,
    ) -> Any:
        """Show the interactive panels in a notebook: scores, masking, embedding space, training.

        Args:
            catalogue: the products to show.
            split: `train`, `val`, `test`, or None for all products.
            lang: language of the labels, `en` or `zh`; by default that of SCALE_LANG, else English.

        Returns:
            A widget with a tab per panel.
        """
        from scale.explore import explore

        return explore(self, _opened(catalogue), split, lang)

    def __repr__(self) -> str:
        count = sum(weight.numel() for weight in self.model.parameters())
        modalities = ", ".join(self.config.model.modalities)
        return f"Run({str(self.folder.folder)!r}: {count:,} parameters; {modalities})"

    @cached_property
    def _galleries(self) -> dict[tuple[int, tuple[str, ...]], tuple[Catalogue, Any]]:
        """Embedded catalogues by identity and subset; the reference keeps the identity valid."""
        return {}


def _opened(catalogue: Catalogue | str | PathLike) -> Catalogue:
    return catalogue if isinstance(catalogue, Catalogue) else Catalogue.open(catalogue)
