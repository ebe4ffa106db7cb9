"""What the losses take from the features of a whole batch: S, weights, contrast, and the gradient.

B products of the whole batch, M modalities (five), D width, P pairs of modalities (ten).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from scale.config import LossConfig
from scale.data.batch import ProductBatch
from scale.losses.contrastive import LEFT, RIGHT, PairLosses
from scale.losses.total import batch_pairs, batch_scores, reduced
from scale.losses.weighting import Weights, configured_weights
from scale.training.distributed import gather


class JointFeatures:
    """The pooled features of a whole batch, as leaves at which their gradient gathers.

    Every process has the same, and takes the contrastive loss of its own products: so nowhere are
    there more logits than those of one part's products with all.
    """

    def __init__(
        self,
        features: Mapping[str, Tensor],
        gradients: Sequence[str],
        whole: ProductBatch,
        places: Sequence[slice],
        config: LossConfig,
        weighted: bool,
    ):
        """
        Args:
            features: features_BMD by name.
            gradients: names of those that a gradient comes back to.
            whole: the products that they are of; its tokens are not needed.
            places: of this process's products, part by part.
            config: of the losses.
            weighted: whether its weights act yet.
        """
        self.whole, self.places, self.config = whole, places, config
        self.features = {
            name: features_BMD.detach().requires_grad_(name in gradients)
            for name, features_BMD in features.items()
        }
        self.scores = batch_scores(self.features, whole.present_BM, config)
        self.pairs = self._unweighted()
        self.weights: Weights | None = None
        """Functions of the features; None: uniform."""
        self.used: Weights | None = None
        """The same as leaves, at which what comes back to them gathers."""
        if weighted:
            self.weights = configured_weights(config, self.scores, self.pairs, whole.present_BM)
            flows = self.weights.pair_BP.requires_grad
            self.used = Weights(
                self.weights.pair_BP.detach().requires_grad_(flows),
                self.weights.own_BM.detach().requires_grad_(flows and config.weight_masked),
            )

    def contrast(self) -> Tensor:
        """The part of the contrastive loss that is this process's; its gradient is left here."""
        count_P, losses = self.pairs.valid_BP.sum(0), []
        for place in self.places:
            on_loss = None if self.used is None else self.used.pair_BP[place]
            on_logits = None
            if self.config.weight_on == "logits":
                on_logits, on_loss = on_loss, None
            pairs = self._pairs(place, on_logits)
            loss = reduced(pairs.mean_P(on_loss, count_P), self.config)
            loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def gradients(self) -> dict[str, Tensor]:
        """gradient_BMD by name: what came to the features, and through the weights."""
        if self.used is not None:
            came = [(self.weights.pair_BP, self.used.pair_BP.grad),
                    (self.weights.own_BM, self.used.own_BM.grad)]  # fmt: skip
            came = [(weight, gradient) for weight, gradient in came if gradient is not None]
            if came:
                torch.autograd.backward(*zip(*came, strict=True))
        return {
            name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            for name, leaf in self.features.items()
            if leaf.requires_grad
        }

    def _unweighted(self) -> PairLosses:
        """InfoNCE of all products and pairs, without gradient."""
        present_BM = self.whole.present_BM
        with torch.no_grad():
            own = torch.cat([self._pairs(place).loss_BP for place in self.places])
            return PairLosses(gather(own), present_BM[:, LEFT] & present_BM[:, RIGHT])

    def _pairs(self, place: slice, logit_weight_BP: Tensor | None = None) -> PairLosses:
        features_BMD = self.features["encoder"]
        return batch_pairs(features_BMD, self.whole, self.config, logit_weight_BP, place)
