"""Embeddings, retrieval, probes and clustering, each with a bootstrap interval."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "baselines": [
            "Baseline",
            "cca_retrieval",
            "fit_baseline",
            "fit_cca",
            "frozen_vectors",
            "handmade_vectors",
        ],
        "bootstrap": [
            "Estimate",
            "category_codes",
            "category_estimates",
            "estimate",
            "estimates",
            "mean_of_means",
            "paired_difference",
        ],
        "clustering": ["agreement", "cluster", "purity"],
        "embed": [
            "Embeddings",
            "ProductEmbeddings",
            "embed_dataset",
            "read_embeddings",
            "subset_embedding",
            "write_embeddings",
        ],
        "index": ["ProductIndex"],
        "index_build": ["build_index"],
        "index_update": ["update_index"],
        "metrics": [
            "authors_metrics_at_k",
            "average_precision_at_k",
            "chance_mean_rank",
            "precision_at_k",
            "recall_at_k",
        ],
        "probes": ["Examples", "classification_scores", "fine_tune", "linear_probe"],
        "report": ["plain", "results_frame", "retrieval_results"],
        "retrieval": [
            "ProductArrays",
            "RetrievalTables",
            "category_retrieval",
            "direction_retrievals",
            "instance_retrieval",
            "subset_retrievals",
        ],
    },
)
