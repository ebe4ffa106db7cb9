"""Words of the pictures of the masked tasks (notebooks 04 to 08)."""

LABELS: dict[str, tuple[str, str]] = {
    "mask_gain_title": (
        "What the other modalities are worth to a masked prediction",
        "其他模态对掩码预测的帮助",
    ),
    "mask_gain_axis_vectors": ("squared error saved", "平方误差的减少量"),
    "mask_gain_axis_pieces": ("cross-entropy saved (nats)", "交叉熵的减少量（nat）"),
    "mask_own": ("all others, its own", "其余全部模态（自身的）"),
    "mask_strangers": ("all others, a stranger's", "其余全部模态（别的商品的）"),
    "mask_only": ("only {modality}", "只加{modality}"),
    "mask_count": ("{n} products", "{n} 个商品"),
    "mask_gain_note": (
        "Loss without the other modalities less the loss with them, the same positions hidden. "
        "Right of 0: they help. Whiskers: 95 % bootstrap interval over products.",
        "无其他模态时的损失减去有其他模态时的损失，遮住的位置相同。"
        "0 的右侧：有帮助；误差线：商品上的 95% 自助法置信区间。",
    ),
}
