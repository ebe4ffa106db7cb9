"""Captions of the pictures of incomplete products (notebook 11)."""

CAPTIONS = {
    "missing_policies": (
        (
            "Four policies for a missing modality",
            "The tokens of a product without video and audio as the joint co-transformer sees "
            "them under each policy, with their numbers: zero imputation, skip, one learned "
            "token, or the product is left out.",
        ),
        (
            "缺失模态的四种策略",
            "一个缺少视频和音频的商品，在每种策略下联合协同 Transformer 看到的词元及其数目：零插"
            "补、跳过、一个可学习的词元，或整个商品被剔除。",
        ),
    ),
    "complete_share": (
        (
            "How few products stay complete",
            "Share of products that keep all their modalities when each goes missing at random "
            "with a given rate: measured on the catalogue (points) and expected (lines).",
        ),
        (
            "还完整的商品有多少",
            "每个模态以给定比例随机缺失时，仍保有全部模态的商品比例：在商品库上的实测（点）与期望"
            "（线）。",
        ),
    ),
    "paired_seeds": (
        (
            "Compare trainings in pairs",
            "mAP@5 of two policies in trainings with the same seed, joined by a line, and the "
            "difference with its 95 % t interval over seeds. Pairing removes what the seed does "
            "to both.",
        ),
        (
            "成对比较训练结果",
            "随机种子相同的训练中两种策略的 mAP@5（以线相连），以及两者之差与其 95% t 置信区间。"
            "成对比较去掉了种子对双方的共同影响。",
        ),
    ),
}
