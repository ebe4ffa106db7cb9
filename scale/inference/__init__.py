"""A trained run applied to catalogues: embeddings, search and evaluation."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "embedding": ["embed_pieces"],
        "evaluate": ["evaluate_run"],
        "list_retrieval": ["evaluate_lists"],
        "mismatch": ["Mismatches", "find_mismatches", "planted_precision"],
        "search": ["Gallery", "nearest_in_index", "parse_query", "read_query", "search_index"],
    },
)
