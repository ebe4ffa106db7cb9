"""Masking and the losses: five masked tasks and the contrastive loss, with their weights."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "alternatives": [
            "confu_losses", "gram_losses", "rince_losses", "siglip_losses", "symile_losses",
        ],
        "contrastive": ["PairLosses", "info_nce", "pair_losses"],
        "fused": ["draw_halves", "fused_contrastive_loss", "imputed_contrastive_loss"],
        "masked": ["masked_token_loss", "masked_vector_loss"],
        "masking": ["MaskedBatch", "WordPieces", "mask_batch"],
        "tiled": ["tiled_pair_losses"],
        "total": ["LossOutput", "contrastive_loss", "scale_loss"],
        "weighting": ["configured_weights"],
    },
)  # fmt: skip
