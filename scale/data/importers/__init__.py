"""Importers of other catalogue formats, one file each."""
