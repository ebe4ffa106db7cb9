"""Pictures of notebook 09."""

from scale.commands.pictures.sources import Picture
from scale.viz.lessons.weights import weight_effects

PICTURES: dict[str, Picture] = {"weight_effects": lambda _, lang: weight_effects(lang)}
