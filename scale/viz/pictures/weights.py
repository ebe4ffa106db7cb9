"""Pictures of notebook 09."""

from scale.viz.illustrations.scores import weight_effects
from scale.viz.registry import figure

figure("weight_effects")(weight_effects)
