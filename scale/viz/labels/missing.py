"""Words of the pictures about missing modalities (notebook 11)."""

LABELS: dict[str, tuple[str, str]] = {
    "policies_title": (
        "A product without {names}: what the JCT sees, what the loss counts",
        "缺少{names}的商品：JCT 看到什么，损失计入什么",
    ),
    "policies_and": (" and ", "和"),
    "policies_tokens": ("tokens in the JCT", "JCT 中的 token"),
    "policies_pairs": ("contrastive pairs", "对比模态对"),
    "policies_masked": ("masked tasks", "掩码任务"),
    "policies_of": ("{n} of {all}", "{all} 中的 {n}"),
    "policy_whole": ("nothing missing", "无缺失"),
    "policy_says_whole": ("for comparison", "用于对照"),
    "policy_zero": ("zero (the paper)", "zero（论文）"),
    "policy_says_zero": ("zeros run through the encoder", "零输入经过编码器"),
    "policy_skip": ("skip", "skip（跳过）"),
    "policy_says_skip": ("nothing stands there", "该处没有任何内容"),
    "policy_learned": ("learned", "learned（学习）"),
    "policy_says_learned": ("one learned token stands there", "由一个可学习 token 代替"),
    "policy_drop": ("drop", "drop（丢弃）"),
    "policy_says_drop": ("the whole product is left out", "整个商品被丢弃"),
    "policies_not_trained": ("not in training at all", "完全不参与训练"),
    "policies_note": (
        "A cell is a token. Filled: from the product. Hatched: what the encoder makes of zeros, "
        "the same in every product that lacks the modality. Star: a learned vector.",
        "一格为一个 token。实心：来自商品；斜线：编码器对零输入的输出，凡缺失该模态的商品都相同；"
        "星号：可学习的向量。",
    ),
    "share_grid": ("r = {rate:.0%}: {complete} of {all}", "r = {rate:.0%}：{all} 中 {complete}"),
    "share_curves": ("What is left to learn from", "还剩多少可供学习"),
    "share_rate": ("rate r at which each modality is missing", "每个模态的缺失率 r"),
    "share_axis": ("share that is left", "剩余比例"),
    "share_modality": ("one modality: 1 − r", "一个模态：1 − r"),
    "share_pair": (
        "a pair (all that zero, skip, learned need): (1 − r)²",
        "一个模态对（zero、skip、learned 所需）：(1 − r)²",
    ),
    "share_product": (
        "a complete product (what drop needs): (1 − r)⁵",
        "一个完整商品（drop 所需）：(1 − r)⁵",
    ),
    "share_measured": ("counted in the catalogue", "目录中的统计"),
    "share_note": (
        "Squares: a row is a product, a column a modality; complete products are framed and "
        "counted. Seeds are nested: what is missing at 10 % is missing at 30 % too.",
        "方格：一行为一个商品，一列为一个模态；完整的商品加框并计数。种子是嵌套的：10% 时缺失的，"
        "30% 时也缺失。",
    ),
    "paired_runs": ("{metric} of each seed", "每个种子的 {metric}"),
    "paired_title": ("{better} minus {worse}", "{better} 减 {worse}"),
    "paired_differences": ("each seed", "每个种子"),
    "paired_interval": ("mean, paired", "均值，配对"),
    "unpaired_interval": ("mean, not paired", "均值，不配对"),
    "paired_seed": ("seed {n}", "种子 {n}"),
}
