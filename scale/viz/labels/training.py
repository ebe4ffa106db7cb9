"""Words of the pictures about the model and its training (notebook 10)."""

LABELS: dict[str, tuple[str, str]] = {
    "arch_title": (
        "SCALE “{preset}”: {millions:.1f} M parameters",
        "SCALE “{preset}”：{millions:.1f} M 参数",
    ),
    "arch_pieces": ("{length} word pieces\nof {size}", "{length} 个词片\n词表 {size}"),
    "arch_vectors": ("{length} vectors\n× {size}", "{length} 个向量\n× {size}"),
    "arch_encoder": (
        "encoder\n{layers} layers\nwidth {width}",
        "编码器\n{layers} 层\n宽度 {width}",
    ),
    "arch_tokens": ("tokens {length} × {width}", "词元 {length} × {width}"),
    "arch_features": ("f₁ … f₅: {count} × {width}", "f₁ … f₅：{count} × {width}"),
    "arch_scores": ("S, S′: 5 × 5", "S、S′：5 × 5"),
    "arch_contrast": ("ten contrastive losses,\none a pair", "十个对比损失，\n每对模态一个"),
    "arch_jct": ("joint co-transformer (JCT)", "联合协同 Transformer（JCT）"),
    "arch_jct_sizes": (
        "all tokens in one sequence, {tokens} × {width}; {layers} layers",
        "全部词元拼成一个序列，{tokens} × {width}；{layers} 层",
    ),
    "arch_head_words": ("{task}\nlogits × {size}", "{task}\n得分 × {size}"),
    "arch_head_vectors": ("{task}\nvectors × {size}", "{task}\n向量 × {size}"),
    "arch_hidden": (
        "five masked losses\nat hidden\npositions only",
        "五个掩码损失\n仅在被掩码的\n位置上",
    ),
    "arch_note": (
        "Dark square: [CLS], whose feature is the modality's; it is counted among the tokens.",
        "深色方块：[CLS]，其特征代表该模态；已计入词元数。",
    ),
    "loss_terms_title": ("One batch: what the total loss is made of", "一个批次：总损失的组成"),
    "loss_terms_axis": ("loss", "损失"),
    "loss_terms_chance": ("guessing among the batch", "在批次内随机猜测"),
    "broken_title": (
        "One batch by heart: a healthy run and four faults",
        "过拟合一个批次：正常训练与四种问题",
    ),
    "broken_contrastive": ("contrastive loss", "对比损失"),
    "broken_floor": ("guessing", "随机猜测"),
}
