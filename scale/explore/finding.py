"""Products by words: as they are written, or as the model understands them.

K finds.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scale.config import require
from scale.data.catalogue import Catalogue
from scale.data.product import Product
from scale.evaluation.embed import embed_dataset
from scale.explore.subject import Subject
from scale.viz.words import Language, label

NEAREST = 10
"""Finds of a search by meaning: every product has some cosine with every text."""


@dataclass(frozen=True)
class Finder:
    """Searches the products of a subject."""

    subject: Subject

    @cached_property
    def _written(self) -> list[str]:
        """What can be searched of each product, in lower case."""
        fields = ((p.id, p.text or "", p.category or "") for p in self.subject.data.products)
        return ["\n".join(each).casefold() for each in fields]

    def written(self, words: str) -> list[int]:
        """Rows of the products whose id, title or category holds the words, in any case."""
        wanted = words.casefold()
        return [int(row) for row in self.subject.rows if wanted in self._written[row]]

    def meant(self, words: str, lang: Language = "en") -> tuple[list[int], list[float]]:
        """row_K and cosine_K of the products nearest to the words, which the run's model reads as
        a title. Raises ValueError where the model reads no text."""
        run = self.subject.run
        require("text" in run.config.model.modalities, label("xe_no_text", lang))
        query = Catalogue(Path(), (Product(id="query", text=words),))
        asked = embed_dataset(run.model, run.dataset(query, strict=True), progress=False)
        found = self.subject.index.query(asked.product().emb_ND, NEAREST)
        rows = [self.subject.row_of[name] for name in found.ids[0]]
        return rows, found.score_QK[0].tolist()
