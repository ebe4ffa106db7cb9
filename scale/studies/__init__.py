"""Studies: a grid of small trainings over seeds, what they measure, and what they answer."""
