"""The models of a run, each loaded when it is first asked for, with a gallery of its own."""

from functools import lru_cache

from scale.config import MissingPolicy
from scale.evaluation.embed import embed_dataset
from scale.evaluation.index import SearchIndex
from scale.explore.subject import Subject
from scale.model.scale import ScaleModel
from scale.studies.single_product import with_policy
from scale.training.run import TrainedRun

UNTRAINED = "untrained"


class Models:
    """`untrained` and all checkpoints that the run has, earliest first."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.steps = subject.run.checkpoints()
        """Step of each checkpoint."""
        # Where no validation chose a best checkpoint, `TrainedRun.load` took the last.
        fallback = subject.which == "best" not in self.steps and "last" in self.steps
        self.shown = "last" if fallback else subject.which
        """The one that the subject holds."""
        self.names = tuple(dict.fromkeys([UNTRAINED, *self.steps, self.shown]))
        self.under = lru_cache(8)(self._under)
        self.index = lru_cache(4)(self._index)
        self._model = lru_cache(4)(self._load)

    def _under(self, name: str, policy: MissingPolicy) -> ScaleModel:
        """The model under a policy for missing modalities. Raises ValueError as `with_policy`."""
        return with_policy(self._model(name), policy)

    def _index(self, name: str) -> SearchIndex:
        """The subject's products by everything that they have, as the model embeds them."""
        if name == self.shown:
            return self._subject.index
        found = embed_dataset(self._model(name), self._subject.data, progress=False).product()
        return SearchIndex.build(found.emb_ND, found.ids)

    def _load(self, name: str) -> ScaleModel:
        if name == self.shown:
            return self._subject.run.model
        if name == UNTRAINED:
            return self._subject.run.untrained().eval()
        return TrainedRun.load(self._subject.run.folder.folder, name).model
