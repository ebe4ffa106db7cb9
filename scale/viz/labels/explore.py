"""Words of the page on which all explorers stand (`scale explore`)."""

LABELS: dict[str, tuple[str, str]] = {
    "xp_scores": ("S and S′", "S 与 S′"),
    "xp_masking": ("Masking", "掩码"),
    "xp_embeddings": ("Embedding space", "嵌入空间"),
    "xp_training": ("Training", "训练"),
    "xp_wait": ("One moment …", "请稍候……"),
}
