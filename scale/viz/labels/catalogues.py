"""Words of the pictures about catalogues, long tails and gaps (notebooks 02 and 16)."""

LABELS: dict[str, tuple[str, str]] = {
    "sets_instances": ("Instances (log scale)", "样本数（对数坐标）"),
    "sets_categories": ("Categories (log scale)", "类别数（对数坐标）"),
    "sets_not_stated": ("not stated", "未注明"),
    "sets_note": (
        "What counts as an instance differs: a product, a picture, a segment of a talk, one file.",
        "“样本”的含义各不相同：一个商品、一张图片、一段讲话或一个文件。",
    ),
    "tail_share": ("share of all products", "占全部商品的比例"),
    "tail_rank_title": ("Size over rank", "规模与排名"),
    "tail_lorenz_title": ("Lorenz curve", "洛伦兹曲线"),
    "tail_equal": ("all categories equal", "所有类别相等"),
    "tail_smallest": ("share of the categories, smallest first", "类别占比（从小到大）"),
    "tail_held": ("share of the products that they hold", "所含商品占比"),
    "tail_shop": ("sample shop, {n} categories", "示例商店，{n} 个类别"),
    "tail_zipf": ("1 / rank, {n:,} categories", "1 / 排名，{n:,} 个类别"),
    "tail_right": ("share of right answers", "正确率"),
    "mean_over_products": ("mean over products", "按商品平均"),
    "mean_over_categories": ("mean over categories", "按类别平均"),
    "presence_real": ("As it is", "真实情况"),
    "presence_shuffled": ("Shuffled: missing completely at random", "打乱后：完全随机缺失"),
    "presence_note": (
        "% of the category's products that have the modality (number of products in brackets)",
        "该类别中具有此模态的商品百分比（括号内为商品数）",
    ),
    "shufflings": ("shufflings", "打乱次数"),
    "independence_note": (
        "chi-square of presence against category: grey, shuffled; line, the catalogue",
        "是否具有该模态与类别之间的卡方值：灰色为打乱后，竖线为真实目录",
    ),
    "combinations_real": ("as it is", "真实情况"),
    "combinations_chance": ("expected if gaps were independent", "若缺失相互独立的期望"),
}
