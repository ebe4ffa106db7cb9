"""Models of equal size: the depth at which a named system has as many parameters as SCALE."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from scale.config import Config
from scale.model.scale import ScaleModel
from scale.seeding import derived_seed
from scale.studies.systems.model import FusionModel
from scale.studies.systems.named import System

TOLERANCE = 0.05
"""Of the parameter count: two systems within 5 % of SCALE are about within 10 % of each other."""
STRETCHES = (1.0, 0.75, 1.25, 0.5, 1.5, 0.25, 2.0)
"""Factors on the width of the feed-forward parts that are tried, in this order."""
DEEPEST = 200


def build_system(system: System, config: Config, seed: int) -> nn.Module:
    """The model of a named system, with the weights that the seed gives.

    It sees the modalities that both `system.modalities` and `config.model.modalities` name, and
    has as many parameters, within 5 %, as `ScaleModel(config.model, config.missing)`: depth is the
    knob, and where no depth fits, the feed-forward width too; width and heads stay. For `scale`
    that ScaleModel itself. `model.discrete_init` and `continuous_init` are not used.

    Raises ValueError where no depth fits, or the system sees none of the model's modalities.
    """
    # Found before the seed is set: a meta model draws nothing that matters.
    sized, depth = (config, 0) if system.scheme == "scale" else find_size(system, config)
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(seed))
        if system.scheme == "scale":
            return ScaleModel(config.model, config.missing)
        return FusionModel(system, sized, depth)


def find_size(system: System, config: Config) -> tuple[Config, int]:
    """Config (with the feed-forward width found) and depth. Raises ValueError where none fits."""
    with torch.device("meta"):
        wanted = parameters(ScaleModel(config.model, config.missing))
    closest = 0.0
    for stretched in _stretched(config):
        counts = {d: _count(system, stretched, d) for d in (1, 2)}
        # Layers are all alike, so the count is a straight line over depth.
        a_layer = counts[2] - counts[1]
        depth = max(1, min(DEEPEST, 1 + round((wanted - counts[1]) / a_layer)))
        ratio = (counts[1] + (depth - 1) * a_layer) / wanted
        if abs(ratio - 1) <= TOLERANCE:
            return stretched, depth
        closest = min(closest or ratio, ratio, key=lambda r: abs(r - 1))
    raise ValueError(
        f"{system.name}: no depth gives {wanted} parameters within {TOLERANCE:.0%}; the closest "
        f"has {closest:.0%} of them. Choose a deeper or wider config.model to compare with"
    )


def parameters(model: nn.Module) -> int:
    """All parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def _stretched(config: Config) -> Iterator[Config]:
    for factor in STRETCHES:
        ratio = config.model.mlp_ratio * factor
        yield replace(config, model=replace(config.model, mlp_ratio=ratio))


def _count(system: System, config: Config, depth: int) -> int:
    with torch.device("meta"):
        return parameters(FusionModel(system, config, depth))
