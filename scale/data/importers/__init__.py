"""Catalogue formats of others, one file each."""
