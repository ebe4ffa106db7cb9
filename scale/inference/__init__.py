"""A trained run applied to catalogues: embeddings, search and evaluation."""
