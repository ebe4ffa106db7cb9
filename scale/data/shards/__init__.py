"""Tokens of a catalogue, written once to files for training on millions of products."""
