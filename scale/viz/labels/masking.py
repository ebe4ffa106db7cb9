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
    "mask_image_title": ("MRP: hidden regions, as colours", "MRP：被遮住的区域（以颜色表示）"),
    "mask_video_title": ("MFP: hidden frames, as colours", "MFP：被遮住的帧（以颜色表示）"),
    "mask_audio_title": ("MAM: hidden time frames of log-mel", "MAM：被遮住的对数梅尔时间帧"),
    "mask_audio_axes": (
        "Across: time. Up: {bins} mel bands, low to high. Coloured marks: hidden frames.",
        "横轴：时间；纵轴：{bins} 个梅尔频带，由低到高；彩色标记：被遮住的帧。",
    ),
    "mask_media": ("as it is", "原始内容"),
    "mask_truth": ("input features", "输入特征（真值）"),
    "mask_hidden": ("what is hidden", "遮住的部分"),
    "mask_with": ("guess with others", "预测：有其他模态"),
    "mask_without": ("without others", "预测：无其他模态"),
    "mask_with_strangers": ("with a stranger's", "预测：换成别人的"),
    "mask_mean": ("training mean", "训练集均值"),
    "mask_visible": ("mean of visible", "可见部分的均值"),
    "mask_nearest": ("copy of nearest", "复制最近的可见部分"),
    "mask_best": ("Others help most", "其他模态帮助最大"),
    "mask_median": ("Median product", "中位数商品"),
    "mask_worst": ("Others harm most", "其他模态害处最大"),
    "mask_loss": ("loss {value:.2f}", "损失 {value:.2f}"),
    "mask_distance": ("frames away", "相隔帧数"),
    "mask_copy_error": ("squared error of copying", "直接复制的平方误差"),
}
