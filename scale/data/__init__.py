"""Catalogues of products, and their media, features, tokens and batches."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "batch": ["ProductBatch", "Tokens"],
        "cache": ["FeatureCache"],
        "catalogue": ["Catalogue", "with_splits"],
        "dataset": ["ProductDataset"],
        "features": ["hog_features", "hop_length", "log_mel"],
        "importers.importer": ["import_catalogue", "import_csv", "open_rows"],
        "media": ["fit_image", "load_audio", "load_image", "load_video"],
        "normaliser": ["Normaliser"],
        "product": ["CatalogueError", "Problem", "Product"],
        "shards.reader": ["ShardDataset"],
        "shards.writer": ["write_shards"],
        "summary": ["CatalogueSummary", "long_tail", "summarise"],
        "vectors": ["pack_vectors", "read_vectors"],
        "tokenizer": ["encode_tables", "encode_texts", "load_tokenizer", "train_tokenizer"],
        "where": ["ProductFilter"],
    },
)
