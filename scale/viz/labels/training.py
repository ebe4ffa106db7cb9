"""Words of the pictures about the model and its training (notebook 10)."""

LABELS: dict[str, tuple[str, str]] = {
    "arch_title": (
        "SCALE, preset “{preset}”: {millions:.1f} M parameters",
        "SCALE，预设 “{preset}”：{millions:.1f} M 参数",
    ),
    "arch_encoder": (
        "encoder\n{layers} layers, width {width}",
        "编码器\n{layers} 层，宽度 {width}",
    ),
    "arch_pieces": ("{length} word pieces", "{length} 个词片"),
    "arch_vectors": ("{length} vectors × {size}", "{length} 个向量 × {size}"),
    "arch_tokens": ("[CLS] + {length} tokens × {width}", "[CLS] + {length} 个词元 × {width}"),
    "arch_contrast": (
        "features f₁ … f₅  →  S, S′ (5 × 5)  →  ten contrastive losses",
        "特征 f₁ … f₅  →  S、S′（5 × 5）→  十个对比损失",
    ),
    "arch_jct": (
        "joint co-transformer (JCT): all {tokens} tokens in one sequence, "
        "{layers} layers, width {width}",
        "联合协同 Transformer（JCT）：全部 {tokens} 个词元拼成一个序列，{layers} 层，宽度 {width}",
    ),
    "arch_head_words": ("{task}: logits × {size}", "{task}：得分 × {size}"),
    "arch_head_vectors": ("{task}: vectors × {size}", "{task}：向量 × {size}"),
    "arch_hidden": (
        "heads, at the hidden positions only: five masked losses",
        "预测头，仅作用于被掩码的位置：五个掩码损失",
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
