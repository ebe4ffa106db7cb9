"""Settings of the loss: which tasks, and what weighs them. Part of `scale.config.Config`."""

from dataclasses import dataclass
from typing import Literal

from scale.modalities import TASKS
from scale.strict import require


@dataclass(frozen=True)
class LossConfig:
    """L = sum_{i<j} L_CL(S'_ij) + sum_i L_Mi(S'_ii) (paper, section 4.3), and its choices."""

    tasks: tuple[str, ...] = ("contrastive", *TASKS)
    """Losses that are on; one that is off is absent from the sum, never multiplied by zero."""
    temperature: float = 0.07
    """Of InfoNCE."""
    negatives: Literal["cross", "both"] = "cross"
    """`cross`: negatives of modality i's anchor are the other products' modality j. `both`: their
    modality i too, as in the released code (2B - 2 a row)."""
    pair_reduction: Literal["sum", "mean"] = "sum"
    """Over the ten pairs; `mean` as in the released code."""
    ignore_duplicates: bool = True
    """Leave products of equal content out of each other's negatives: they are false negatives."""
    weight_on: Literal["loss", "logits", "none"] = "none"
    """Where the weights act. `none`: uniform weights, the default: the study `weighting` found no
    gain of S' over them on three catalogues (docs/findings.md). `loss`: SCALE as described,
    S'_ij times the pair's loss. `logits`: S'_ij times the anchor's logits (the paper's formula; an
    inverse temperature). Regression losses are weighted on the loss in either case: a weight w on a
    prediction p moves the optimum of (w p - t)^2 to t / w, so the model would learn wrong
    features."""
    weight_by: Literal["scores", "posterior"] = "scores"
    """What the weights are. `scores`: S', as in the paper. `posterior`: the probability that
    InfoNCE gives a product's own pair among the batch, on the loss and without gradient; a
    modality's own weight is the mean of its pairs' (objectives/weighting.py)."""
    weight_power: float = 1.0
    """Of the posterior: 0 is uniform, 1 the probability itself."""
    weight_masked: bool = True
    """Weigh the masked losses too, by S'_ii or its like; else only the contrastive ones."""
    weight_gradient: bool = False
    """Let gradients flow through S'. On the loss this lets the model lower its loss by lowering its
    weights, which ends in collapse."""
    weight_level: Literal["sample", "batch"] = "sample"
    """One S' per product, or the batch's mean for all."""
    weight_features: Literal["encoder", "fused"] = "encoder"
    """Which pooled features make S: the encoders' or the JCT's."""
    weight_mean_one: bool = True
    """Divide the weights by their mean, so that they reorder the loss without rescaling it."""
    weight_uniform_share: float = 0.1
    """Share of the training steps, from the start, with uniform weights: S means nothing yet, and
    a pair that starts at cosine below 0 would have weight 0."""
    row_normalise: bool = False
    """L2-normalise the rows of S' once more, as the released code does (it cancels the softmax's
    denominator)."""
    regression_weight_on: Literal["loss", "prediction"] = "loss"
    """`prediction` reproduces the released code's fault, for its reference numbers only."""

    def __post_init__(self) -> None:
        known = ("contrastive", *TASKS)
        for task in self.tasks:
            require(
                task in known, f"unknown task {task!r} in loss.tasks; known: {', '.join(known)}"
            )
        require(bool(self.tasks), "loss.tasks names no task")
        require(self.temperature > 0, "loss.temperature must be positive")
        require(self.weight_power >= 0, "loss.weight_power must not be negative")
        require(
            self.weight_by == "scores" or self.weight_on != "logits",
            "loss.weight_by posterior weighs the loss: set loss.weight_on to loss",
        )
