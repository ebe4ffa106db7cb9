"""Words of the page on which all explorers stand (`scale explore`)."""

LABELS: dict[str, tuple[str, str]] = {
    "xp_scores": ("S and S′", "S 与 S′"),
    "xp_masking": ("masking", "掩码"),
    "xp_embeddings": ("embedding space", "嵌入空间"),
    "xp_training": ("training", "训练"),
    "xp_wait": ("One moment …", "请稍候……"),
}
