"""Captions of the pictures about contrastive learning (notebook 01)."""

CAPTIONS = {
    "contrastive_idea": (
        (
            "The idea of contrastive learning",
            "A baby sees two cats and a dog. Nobody names them, but the cats look alike, so it "
            "puts them together and the dog apart. Below, the same for products: a title and its "
            "own picture are pulled together, another product's picture is pushed away.",
        ),
        (
            "对比学习的思想",
            "婴儿看到两只猫和一只狗，没有人告诉它名字；两只猫彼此相像，于是被归到一起，狗则被分开"
            "。下方是商品上的同一思想：标题与自己的图像拉近，与别的商品的图像推远。",
        ),
    ),
    "pull_and_push": (
        (
            "Pull and push on a circle",
            "Titles and pictures of a few products as points on a circle, with the forces of "
            "InfoNCE as arrows. Own pairs attract, all others repel, the nearest ones most; the "
            "row below follows the points until the pairs have met and the products are apart.",
        ),
        (
            "圆上的拉近与推远",
            "几个商品的标题与图像是圆上的点，箭头是 InfoNCE 的力。自己的一对互相吸引，其余互相排"
            "斥，越近排斥越强；下排跟随各点，直到成对重合、商品分开。",
        ),
    ),
    "info_nce_table": (
        (
            "InfoNCE on a table of three by three",
            "Cosines of three titles (rows) and three pictures (columns), divided by the "
            "temperature, then a softmax along rows and along columns. The loss is minus the "
            "logarithm (in nats) of the framed diagonal, the share of the own partner.",
        ),
        (
            "三乘三表格上的 InfoNCE",
            "三个标题（行）与三张图像（列）的余弦，除以温度，再分别按行、按列做 softmax。损失是框"
            "出的对角线（自己的配对所占份额）的负对数，单位 nat。",
        ),
    ),
    "temperature": (
        (
            "What the temperature does",
            "The same cosines under four temperatures: bars are softmax shares. Right: which "
            "negative gets how much of the push, over the temperature. A low temperature looks "
            "at the hardest negative alone, a high one at all of them alike.",
        ),
        (
            "温度的作用",
            "同一组余弦在四个温度下的 softmax 份额（柱）。右图：各负样本分到的推力随温度的变化。"
            "温度低时只看最难的负样本，温度高时一视同仁。",
        ),
    ),
    "batch_size": (
        (
            "What the batch size does",
            "Left: the loss of guessing (log B) and of the best possible model, in nats, over "
            "the batch size B. Right: the mutual information that the loss can prove, log B − L, "
            "which never exceeds log B.",
        ),
        (
            "批次大小的作用",
            "左图：随机猜测的损失（log B）与最优模型的损失（nat）随批次大小 B 的变化。右图：损失"
            "能证明的互信息 log B − L，永远不超过 log B。",
        ),
    ),
    "false_negatives": (
        (
            "Twins among the negatives",
            "Two of the products are the same thing. Counted as negatives, the twins are driven "
            "apart against their likeness; left out of the negatives, they stay together.",
        ),
        (
            "负样本中的孪生商品",
            "其中两个商品是同一件东西。当作负样本时，它们被硬推开；从负样本中去掉后，它们仍在一起"
            "。",
        ),
    ),
    "alignment_uniformity": (
        (
            "Alignment and uniformity",
            "Four ways in which titles and pictures can lie on the circle, with both measures: "
            "alignment (mean squared distance of own pairs) and uniformity (how evenly all lie). "
            "Lower is better for both; only the last one has both.",
        ),
        (
            "对齐性与均匀性",
            "标题与图像在圆上的四种分布及两项指标：对齐性（成对之间的平方距离均值）与均匀性（整体"
            "分布是否均匀）。两者都是越小越好，只有最后一种两者兼得。",
        ),
    ),
    "collapse": (
        (
            "Without push, all collapses",
            "Points of titles and pictures during training with the pull alone (above) and with "
            "pull and push (below). Right: mean cosine of different products over the steps; at "
            "1 all products are the same point.",
        ),
        (
            "没有推力就会坍缩",
            "训练中标题与图像的点：上排只有拉力，下排拉力与推力都有。右图：不同商品之间的平均余弦"
            "随训练步的变化；到 1 时所有商品成为同一个点。",
        ),
    ),
    "batch_table": (
        (
            "The cosine table of a real batch",
            "Cosines of titles (rows) and pictures (columns) of one batch: an untrained model, "
            "the trained one on products that it has seen, and on products that it has not. A "
            "clear diagonal means that titles find their own pictures; loss in nats.",
        ),
        (
            "真实批次的余弦表",
            "一个批次中标题（行）与图像（列）的余弦：未训练的模型、训练后的模型在见过的商品上、以"
            "及在没见过的商品上。对角线越清楚，标题越能找到自己的图像；损失单位 nat。",
        ),
    ),
    "weight_effects": (
        (
            "What a weight on a loss does",
            "Left: a modality's own weight S′ᵢᵢ over its likeness to the four others. Middle: a "
            "weight on the logit acts as a temperature. Right: a weight on the loss whose "
            "gradient flows lets the model lower its loss by lowering the weight.",
        ),
        (
            "权重加在损失上的后果",
            "左图：某模态自身的权重 S′ᵢᵢ 随它与另外四个模态相似程度的变化。中图：加在得分上的权重"
            "相当于温度。右图：权重若回传梯度，模型可以靠降低权重来降低损失。",
        ),
    ),
}
