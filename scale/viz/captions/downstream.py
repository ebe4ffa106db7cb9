"""Captions of the pictures of downstream tasks and metrics (notebook 14)."""

CAPTIONS = {
    "ap_denominators": (
        (
            "One ranking, three values of AP@5",
            "The same ranked list scored with three denominators: all relevant, min(5, "
            "relevant), hits found. So the denominator must be named beside the number.",
        ),
        (
            "同一排序，三个 AP@5",
            "同一个排序结果用三种分母计算：全部相关数、min(5, 相关数)、命中数。因此数字旁必须写明"
            "分母。",
        ),
    ),
    "ap_two_systems": (
        (
            "The denominator decides who wins",
            "Two systems on the same queries under the three denominators of AP@5: their order "
            "changes with the definition.",
        ),
        (
            "分母决定胜负",
            "两个系统在同一组查询上、用三种 AP@5 分母计算：谁更好随定义而变。",
        ),
    ),
    "bootstrap": (
        (
            "How sure is a difference?",
            "mAP@5 of all modalities and of all but the image, over resampled queries: bootstrap "
            "distributions of both and of their paired difference, with 95 % intervals.",
        ),
        (
            "差别有多可信？",
            "对查询重抽样所得的 mAP@5：全部模态、去掉图像，以及两者成对之差的自助法分布与 95% 置"
            "信区间。",
        ),
    ),
    "long_tail_f1": (
        (
            "Classification along the tail",
            "Training products of each category (bars, largest first) and F1 of a linear probe "
            "on the test split (dots). Lines: accuracy and macro-F1.",
        ),
        (
            "长尾上的分类效果",
            "各类别的训练商品数（柱，从多到少）与线性探针在测试集上的 F1（点）。线：准确率与宏 F1"
            "。",
        ),
    ),
    "purity": (
        (
            "Purity grows with the number of clusters",
            "Purity, NMI and ARI of k-means over the number of clusters, beside clusters of the "
            "same sizes by lot. The line marks as many clusters as categories.",
        ),
        (
            "聚类越多，纯度越高",
            "k-means 的纯度、NMI 与 ARI 随聚类数的变化，旁为大小相同的随机分组。竖线：聚类数等于"
            "类别数。",
        ),
    ),
    "downstream_tasks": (
        (
            "Downstream tasks",
            "Retrieval, classification and clustering on the test split: chance, untrained and "
            "trained, a row a metric. Whiskers: 95 % bootstrap interval.",
        ),
        (
            "下游任务",
            "测试集上的检索、分类与聚类：随机、未训练与训练后，每行一个指标。误差线：95% 自助法置"
            "信区间。",
        ),
    ),
}
