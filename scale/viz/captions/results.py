"""Captions of the pictures of retrieval and of what each modality is worth (notebooks 12, 14)."""

CAPTIONS = {
    "retrieval_sheet": (
        (
            "What the model finds",
            "Random test products ask with all that they have (left); their five nearest other "
            "products follow, best first, with the cosine. Green frame and tick: same category "
            "as the query.",
        ),
        (
            "模型找到了什么",
            "随机选取的测试商品（左）用其全部模态查询，右边是最近的五个其他商品，由近到远，并写出"
            "余弦。绿框加对勾：与查询同类别。",
        ),
    ),
    "retrieval_sheet_text": (
        (
            "Titles find pictures",
            "Random test products ask with their title alone; the five pictures of the test "
            "split that lie nearest follow, best first, with the cosine. Green frame and tick: "
            "same category as the query.",
        ),
        (
            "用标题找图像",
            "随机选取的测试商品只用标题查询，右边是测试集中最近的五张图像，由近到远，并写出余弦。"
            "绿框加对勾：与查询同类别。",
        ),
    ),
    "retrieval_by_subset": (
        (
            "Retrieval by the modalities of the query",
            "mAP@5 (denominator min(5, relevant)) of category retrieval on the test split for "
            "each set of modalities, trained (bars), untrained (diamonds) and chance (dashes). "
            "Dots: modalities of the query; whiskers: 95 % bootstrap interval over queries.",
        ),
        (
            "不同查询模态的检索效果",
            "测试集上按类别检索的 mAP@5（分母为 min(5, 相关数)）：各模态组合的训练后（柱）、未训"
            "练（菱形）与随机水平（横线）。圆点：查询所含模态；误差线：查询上的 95% 自助法置信区"
            "间。",
        ),
    ),
    "retrieval_by_direction": (
        (
            "Finding the same product in another modality",
            "Recall@10 on the test split from the modality that asks (row) to the one that is "
            "searched (column), with 95 % bootstrap interval, chance and number of queries n. "
            "The colour is the value above chance.",
        ),
        (
            "跨模态找回同一商品",
            "测试集上的 Recall@10：由查询模态（行）到被检索模态（列），附 95% 自助法置信区间、随"
            "机水平与查询数 n。颜色表示高出随机水平的部分。",
        ),
    ),
    "subset_bars": (
        (
            "Which modalities find well",
            "mAP@5 (denominator min(5, relevant)) of the complete test products, asked by each "
            "set of modalities in a gallery of all they have, beside the untrained model and "
            "chance. Whiskers: 95 % bootstrap interval over queries.",
        ),
        (
            "哪些模态检索得好",
            "完整的测试商品用各模态组合查询、候选库使用全部模态时的 mAP@5（分母为 min(5, 相关数)"
            "），旁为未训练模型与随机水平。误差线：查询上的 95% 自助法置信区间。",
        ),
    ),
    "shapley": (
        (
            "What each modality adds",
            "Gain in mAP@5 from adding a modality to a set of others, by the size of that set, "
            "and its mean over all orders (Shapley value); the five sum to the whole gain over "
            "chance. Whiskers: 95 % bootstrap interval over queries.",
        ),
        (
            "每个模态增加了多少",
            "向已有组合中加入某模态所带来的 mAP@5 增益，按已有组合的大小列出，以及在所有次序上的"
            "均值（Shapley 值）；五个值之和等于相对随机水平的总增益。误差线：查询上的 95% 自助法"
            "置信区间。",
        ),
    ),
    "retention": (
        (
            "What is left when modalities go missing",
            "mAP@5 as a share of what the same model reaches on complete products, over the "
            "number of modalities taken away at test time. Band: 95 % t interval over trainings "
            "(seeds).",
        ),
        (
            "模态缺失后还剩多少",
            "测试时去掉若干模态后的 mAP@5，占同一模型在完整商品上所达数值的比例。色带：各次训练（"
            "随机种子）的 95% t 置信区间。",
        ),
    ),
    "added_modalities": (
        (
            "Trained with one more modality at a time",
            "mAP@5 of models trained with the first one to five modalities, beside one model "
            "trained with all five that is asked with as many. Means over trainings (seeds); "
            "whiskers: 95 % t interval.",
        ),
        (
            "每次多用一个模态训练",
            "只用前一至五个模态训练的各模型的 mAP@5，旁为用全部五个模态训练、查询时用同样多模态的"
            "模型。各次训练（随机种子）的均值；误差线：95% t 置信区间。",
        ),
    ),
}
