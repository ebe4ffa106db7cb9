"""Tokens of a catalogue written once to files that millions of products are read from."""
