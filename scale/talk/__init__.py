"""Slides that can be edited: a template, boxes whose text is measured, native charts and tables."""
