"""The run and the products of a panel, and the models of the run's checkpoints.

N products.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from scale.config import MissingPolicy, require
from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.media import MediaError
from scale.data.product import Product, View
from scale.evaluation.embed import Embeddings, embed_dataset
from scale.evaluation.index import SearchIndex
from scale.explore.markup import jpeg_uri
from scale.modalities import INDEX, MODALITIES
from scale.model.scale import ScaleModel
from scale.studies.single_product import with_policy
from scale.training.run import TrainedRun
from scale.viz import tiles
from scale.viz.words import LANG, Language, label


@dataclass(frozen=True)
class ExplorerSource:
    """A run and a dataset of its tokens.

    The model runs on the CPU, which is as fast for a single product. For a run on another device it
    is a copy.
    """

    run: TrainedRun
    data: ProductDataset
    which: str = "best"
    """The requested checkpoint. Without a best checkpoint, the run has loaded the last one."""
    catalogue: Catalogue | None = None
    """All products of the catalogue; the words of their titles are known. None: those of `data`."""

    def __post_init__(self) -> None:
        if any(weight.device.type != "cpu" for weight in self.run.model.parameters()):
            on_cpu = deepcopy(self.run.model).to("cpu")
            object.__setattr__(self, "run", replace(self.run, model=on_cpu))

    @staticmethod
    def open(
        run: TrainedRun | Path | str,
        catalogue: Catalogue | Path | str,
        split: str | None = "test",
        which: str = "best",
    ) -> "ExplorerSource":
        """Tokenise the products of a split (None: all) for a run.

        Raises ValueError if the folder is not a run folder, its checkpoint does not fit the
        catalogue, or no product has a modality that the model reads.
        """
        if not isinstance(run, TrainedRun):
            run = TrainedRun.load(run, which)
        if not isinstance(catalogue, Catalogue):
            catalogue = Catalogue.open(catalogue)
        run.model.eval()
        data = run.dataset(catalogue, split)
        require(
            bool(data.present_NM.any()),
            f"{catalogue.folder}: no product of the split {split or 'all'} has a modality that "
            f"{run.folder.folder} was trained on ({', '.join(run.config.model.modalities)})",
        )
        return ExplorerSource(run, data, which, catalogue)

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows of the products with at least one modality, the most complete products first."""
        count_N = self.data.present_NM.sum(1)
        order_N = np.argsort(-count_N, kind="stable")
        return order_N[count_N[order_N] > 0]

    @cached_property
    def embeddings(self) -> Embeddings:
        """Features of every product and modality."""
        return embed_dataset(self.run.model, self.data, progress=False)

    @cached_property
    def index(self) -> SearchIndex:
        """Search index of the products, embedded with all their modalities."""
        found = self.embeddings.product()
        return SearchIndex.build(found.emb_ND, found.ids)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each product id."""
        return {name: row for row, name in enumerate(self.data.ids)}

    def row(self, product: str) -> int:
        """Return the row of a product id.

        Raises ValueError for an unknown product, and for one without modalities.
        """
        row = self.row_of.get(product)
        require(row in self.rows, f"no product {product!r} with a modality that the model reads")
        return row

    def find(self, words: str) -> list[int]:
        """Return the rows of the products whose id, title and category contain all the words.

        The case is ignored.
        """
        wanted = words.casefold().split()
        return [int(row) for row in self.rows if all(word in self._texts[row] for word in wanted)]

    @cached_property
    def _texts(self) -> list[str]:
        fields = ((p.id, p.text or "", p.category or "") for p in self.data.products)
        return ["\n".join(each).casefold() for each in fields]

    def unknown_words(self, words: str) -> list[str]:
        """Return the words that are unknown to the text encoder.

        To an encoder trained from nothing, the words of the titles are known, also with an ending
        of one or two letters; to a public encoder also those that its tokenizer does not cut into
        small pieces: the first piece has 3 letters, or another one 4.
        """
        return [word for word in dict.fromkeys(self._split(words)) if not self._is_known(word)]

    def _is_known(self, word: str) -> bool:
        stems = [word, *(word[:-k] for k in (1, 2) if len(word) - k > 2)]
        if not self._title_words.isdisjoint(stems):
            return True
        tokenizer = self.run.tokenizer
        if not self.run.config.features.backbone("text"):
            return False
        first, *others = tokenizer.tokenize(word)
        whole = not others and first != tokenizer.unk_token
        return whole or (bool(others) and len(first) > 2) or any(len(p) > 5 for p in others)

    def known_words(self, words: str) -> list[str]:
        """Return the other words."""
        return [word for word in self._split(words) if self._is_known(word)]

    @cached_property
    def _title_words(self) -> set[str]:
        products = self.data.products if self.catalogue is None else self.catalogue.products
        return {word for p in products if p.text for word in self._split(p.text)}

    def _split(self, text: str) -> list[str]:
        """Return the words of a text as the tokenizer divides it, without punctuation."""
        backend = self.run.tokenizer.backend_tokenizer
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
        return [word for word in words if any(c.isalnum() for c in word)]

    def product(self, row: int) -> Product:
        """Return the product at a row of the dataset."""
        return self.data.products[row]

    def modalities(self, row: int) -> list[str]:
        """Return the modalities of a product that the model reads."""
        return [m for m in MODALITIES if self.data.present_NM[row, INDEX[m]]]

    def same_category(self, row: int, other: int) -> bool:
        """Return whether two products have the same, known category."""
        category = self.product(row).category
        return category is not None and category == self.product(other).category

    def line(self, row: int) -> str:
        """Return a product in one line: its id, category and title, as far as they are known."""
        product = self.product(row)
        facts = (product.id, product.category, (product.text or "")[:60])
        return " · ".join(fact for fact in facts if fact)

    @cached_property
    def categories(self) -> list[str]:
        """Categories of the products with a modality, in alphabetical order."""
        found = {self.product(int(row)).category for row in self.rows}
        return sorted(name for name in found if name)

    @cached_property
    def thumbnail(self) -> Callable[[int], str]:
        """`picture_uri` of the product at a row, cached: lists of neighbours redraw at once."""
        return cache(lambda row: picture_uri(self.product(row)))

    def card(
        self, row: int, fact: str = "", hit: bool = False, pick: bool = False, lang: Language = LANG
    ) -> str:
        """Return a product as a small HTML card: picture, title, category and a fact (HTML).

        Args:
            hit: add a tick and a green frame.
            pick: make the card clickable; its key is the product's id.
        """
        product = self.product(row)
        title = escape(product.text or label("absent_text", lang))
        uri = self.thumbnail(row)
        picture = (
            f'<img alt="{title}" src="{uri}">' if uri else f'<div class="nopicture">{title}</div>'
        )
        key = f' data-key="{escape(product.id)}" aria-label="{title}"' if pick else ""
        tick = "✓ " if hit else ""
        lines = [title, f"{tick}{escape(product.category or '–')}", fact]
        body = "".join(f'<div class="line" title="{title}">{line}</div>' for line in lines if line)
        return f'<div class="card{" hit" if hit else ""}"{key}>{picture}{body}</div>'


def picture_uri(view: View, side: int = 96) -> str:
    """Return a product's image, or the middle frame of its video, as a data URI.

    Empty if neither exists or can be read.
    """
    for modality in ("image", "video"):
        try:
            content = tiles.load(view, modality, frames=3)
        except MediaError:
            continue
        if content is not None:
            image = content if modality == "image" else Image.fromarray(content[len(content) // 2])
            return jpeg_uri(image, side)
    return ""


UNTRAINED = "untrained"


class CheckpointModels:
    """Models of a run by name: `untrained`, then the checkpoints, earliest first.

    Each is loaded on first use.
    """

    def __init__(self, source: ExplorerSource) -> None:
        self._source = source
        self.steps = source.run.checkpoints()
        """Step of each checkpoint."""
        # Without a best checkpoint, `TrainedRun.load` has loaded the last one.
        fallback = source.which == "best" not in self.steps and "last" in self.steps
        self.shown = "last" if fallback else source.which
        """The checkpoint of `source.run.model`."""
        self.names = tuple(dict.fromkeys([UNTRAINED, *self.steps, self.shown]))
        self.under = lru_cache(8)(self._under)
        self.features = lru_cache(4)(self._features)
        self.index = lru_cache(4)(self._index)
        self._model = lru_cache(4)(self._load)

    def _under(self, name: str, policy: MissingPolicy) -> ScaleModel:
        """Return a model with a policy for missing modalities. Raises as `with_policy`."""
        return with_policy(self._model(name), policy)

    def _index(self, name: str) -> SearchIndex:
        """Return the search index of the products, embedded by a model."""
        if name == self.shown:
            return self._source.index
        found = self.features(name).product()
        return SearchIndex.build(found.emb_ND, found.ids)

    def _features(self, name: str) -> Embeddings:
        """Return the features of every product and modality, by a model."""
        if name == self.shown:
            return self._source.embeddings
        return embed_dataset(self._model(name), self._source.data, progress=False)

    def _load(self, name: str) -> ScaleModel:
        if name == self.shown:
            return self._source.run.model
        if name == UNTRAINED:
            return self._source.run.untrained().eval()
        return TrainedRun.load(self._source.run.folder.folder, name).model


class ModelChoices:
    """Models that a panel can show beside its own: checkpoints of its run and of other runs.

    Args:
        models: those of the panel's run.
        others: sources of other runs with the same products.
    """

    def __init__(
        self, source: ExplorerSource, models: CheckpointModels, others: Sequence[ExplorerSource]
    ) -> None:
        self._found = {f"0/{name}": (source, models, name) for name in models.names}
        for k, other in enumerate(others, start=1):
            of_other = CheckpointModels(other)
            self._found |= {f"{k}/{name}": (other, of_other, name) for name in of_other.names}

    def names(self, name_of: Callable[[str], str], none: str) -> dict[str, str]:
        """Return the text of each choice by key; `name_of` names a checkpoint; "" is `none`."""
        found = {"": none}
        for key, (source, _, name) in self._found.items():
            folder = "" if key.startswith("0/") else f"{source.run.folder.folder.name}: "
            known = name_of(name) if not folder or name in ("untrained", "best", "last") else name
            found[key] = folder + known
        return found

    def find(self, key: str) -> tuple[ExplorerSource, CheckpointModels, str] | None:
        """Return source, models and checkpoint of a choice; None for ""."""
        return self._found.get(key)
