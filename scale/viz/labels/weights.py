"""Words of the pictures about the weights S' (notebook 09)."""

LABELS: dict[str, tuple[str, str]] = {
    "own_weight_title": ("A modality's own weight S′ᵢᵢ", "模态自身的权重 S′ᵢᵢ"),
    "cosine_of_others": ("cosine to the four others", "与其余四个模态的余弦"),
    "as_described": ("paper: S · softmax(S)", "论文：S · softmax(S)"),
    "as_released": ("released code: rows divided by their norm", "发布代码：每行再除以其范数"),
    "five_agree": ("all five agree", "五个模态一致"),
    "nothing_shared": ("nothing shared", "毫无关联"),
    "weighted_logit_title": ("Weight on the logit", "权重作用于 logit"),
    "cosine_of_pair": ("cosine of the true pair", "真实模态对的余弦"),
    "weighted_logit": ("S′ · cosine / temperature", "S′ · 余弦 / 温度"),
    "plain_logit": ("uniform: cosine / temperature", "等权：余弦 / 温度"),
    "paper_logit": ("paper: S′ times that", "论文：再乘以 S′"),
    "turned_round": (
        "a pair that starts here\nis pushed further left",
        "从这里出发的模态对\n会被推向更左",
    ),
    "loss_weight_title": ("Weight on the loss", "权重作用于损失"),
    "gradient_stopped": ("gradient stopped", "梯度截断"),
    "gradient_flowing": ("gradient flowing", "梯度流入权重"),
}
