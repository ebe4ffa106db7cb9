"""Pictures of notebook 09."""

from scale.viz.illustrations.scores import weight_effects
from scale.viz.pictures.sources import Picture

PICTURES: dict[str, Picture] = {"weight_effects": lambda _, lang: weight_effects(lang)}
