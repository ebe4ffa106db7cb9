"""What an explorer explores: a trained run and products that it can read.

N products, D width.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.media import MediaError
from scale.data.product import Product, View
from scale.evaluation.embed import Embeddings, embed_dataset
from scale.evaluation.index import SearchIndex
from scale.explore.markup import data_uri
from scale.training.run import TrainedRun
from scale.viz import tiles
from scale.viz.words import Language, label


@dataclass(frozen=True)
class Subject:
    """A run and a data set of its tokens.

    The model answers on the CPU, where one product is as fast and no explorer has to ask where the
    weights lie; a run on another device keeps its own.
    """

    run: TrainedRun
    data: ProductDataset
    which: str = "best"
    """Checkpoint that was asked for; where no validation chose a best one, the run has the last."""

    def __post_init__(self) -> None:
        if any(weight.device.type != "cpu" for weight in self.run.model.parameters()):
            on_cpu = deepcopy(self.run.model).to("cpu")
            object.__setattr__(self, "run", replace(self.run, model=on_cpu))

    @staticmethod
    def open(
        run: Path | str, catalogue: Path | str, split: str | None = "test", which: str = "best"
    ) -> "Subject":
        """The products of a split (None: all) as the run's tokens.

        Raises ValueError where the folder is not that of a run, its checkpoint does not fit the
        catalogue, or no product has anything that the run's model reads.
        """
        opened = TrainedRun.load(run, which)
        opened.model.eval()
        data = opened.dataset(Catalogue.open(catalogue), split)
        if not data.present_NM.any():
            raise ValueError(
                f"{catalogue}: no product of the split {split or 'all'} has a modality that "
                f"{run} was trained on ({', '.join(opened.config.model.modalities)})"
            )
        return Subject(opened, data, which)

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows of the products that have anything, the most complete ones first."""
        count_N = self.data.present_NM.sum(1)
        order_N = np.argsort(-count_N, kind="stable")
        return order_N[count_N[order_N] > 0]

    @cached_property
    def embeddings(self) -> Embeddings:
        """The model's features of every product and modality."""
        return embed_dataset(self.run.model, self.data, progress=False)

    @cached_property
    def index(self) -> SearchIndex:
        """All products by everything that they have."""
        found = self.embeddings.product()
        return SearchIndex.build(found.emb_ND, found.ids)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each product id."""
        return {name: row for row, name in enumerate(self.data.ids)}

    def product(self, row: int) -> Product:
        """The product at a row of the data."""
        return self.data.products[row]

    def options(self) -> list[tuple[str, int]]:
        """For a picker: id and title, and the row, of each product that has anything."""
        return [(self.line(row), int(row)) for row in self.rows]

    def line(self, row: int) -> str:
        """A product in one line of a picker: its id, and its title or category."""
        product = self.product(row)
        return f"{product.id} · {(product.text or product.category or '')[:60]}"

    def thumbnail(self, row: int) -> str:
        """A product's picture, or the middle of its clip, as a data URI; empty where it has none.

        Kept once made, so that lists of neighbours redraw at once.
        """
        if row not in self._thumbnails:
            self._thumbnails[row] = picture_uri(self.product(row))
        return self._thumbnails[row]

    @cached_property
    def _thumbnails(self) -> dict[int, str]:
        return {}

    def card(
        self, row: int, fact: str = "", hit: bool = False, pick: bool = False, lang: Language = "en"
    ) -> str:
        """A product as a small HTML card: picture, title, category and a fact (HTML).

        hit: with a tick and a green frame; pick: can be picked, under the key of its id.
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

    def cards(self, rows: Sequence[int], facts: Sequence[str], hits: Sequence[bool]) -> str:
        """Cards in a row."""
        drawn = [self.card(*each) for each in zip(rows, facts, hits, strict=True)]
        return f'<div class="row">{"".join(drawn)}</div>'


def picture_uri(view: View, side: int = 96) -> str:
    """The picture of a product (or the middle frame of its clip) as a data URI; "" where it has
    none that can be read."""
    for modality in ("image", "video"):
        try:
            content = tiles.load(view, modality, frames=3)
        except MediaError:
            continue
        if content is not None:
            picture = (
                content if modality == "image" else Image.fromarray(content[len(content) // 2])
            )
            return data_uri(picture, side)
    return ""
