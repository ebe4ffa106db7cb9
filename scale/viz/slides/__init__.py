"""Drawings for slides of figures that are too dense at 14 points (registry.SLIDE_MODULES)."""
