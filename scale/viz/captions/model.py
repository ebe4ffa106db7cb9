"""Captions of the pictures of models, scores and losses (notebooks 03, 09, 10)."""

CAPTIONS = {
    "streams": (
        (
            "Single-stream, two-stream, two-tower, SCALE",
            "Four ways for modalities to meet; inputs below, losses above. A line joins a token "
            "that reads with one that is read, in the colour of the one that is read. SCALE "
            "first encodes each modality alone, then lets all read all.",
        ),
        (
            "单流、双流、双塔与 SCALE",
            "模态相遇的四种方式：下方是输入，上方是损失。连线表示上方词元读取下方词元，颜色为被读"
            "取模态的颜色。SCALE 先让各模态单独编码，再让所有词元互相读取。",
        ),
    ),
    "architecture": (
        (
            "The architecture of SCALE: the model of this run",
            "From top to bottom: inputs, five encoders, the scores of their [CLS] features, the "
            "joint co-transformer (JCT), a head for each pretext task. Every shape is read from "
            "the run's config: tokens × size of a vector.",
        ),
        (
            "SCALE 的结构：本次运行的模型",
            "自上而下：输入、五个编码器、[CLS] 特征之间的得分、联合协同 Transformer（JCT）、每个"
            "代理任务的预测头。所有形状都读自运行的配置：词元数 × 向量大小。",
        ),
    ),
    "architecture_base": (
        (
            "The architecture of SCALE: the paper's size",
            "The same picture for the preset “base”: five encoders and a JCT of six layers each, "
            "width 768, with the paper's numbers of tokens. Every shape is read from the config: "
            "tokens × size of a vector.",
        ),
        (
            "SCALE 的结构：论文的规模",
            "预设 “base” 的同一张图：五个编码器与 JCT 各六层，宽度 768，词元数与论文一致。所有形"
            "状都读自配置：词元数 × 向量大小。",
        ),
    ),
    "attention_masks": (
        (
            "Who reads whom, measured",
            "For four designs, layer by layer: a token of a column is changed, and the rows "
            "whose output changes with it are coloured. Measured on untrained models, because "
            "the design decides it.",
        ),
        (
            "谁读取谁：实测",
            "四种设计逐层测量：改变某一列的词元，输出随之改变的行着色。用未训练的模型测量，因为这"
            "由设计决定。",
        ),
    ),
    "cost_by_length": (
        (
            "What meeting costs",
            "GFLOP of a forward pass of one product over the tokens per modality, for designs "
            "with equal parameters; right, the relative cost over the number of modalities. One "
            "stream pays for every pair of tokens.",
        ),
        (
            "相遇的代价",
            "参数量相同的各设计，处理一个商品的一次前向计算所需 GFLOP 随每个模态词元数的变化；右"
            "图为相对开销随模态数的变化。单流要为每一对词元付费。",
        ),
    ),
    "picture_words": (
        (
            "A picture as words",
            "A picture, the numbers of the codes that stand for its patches, the picture rebuilt "
            "from the codes, and which tokens of title and codes read which. So a generator can "
            "write a picture word by word.",
        ),
        (
            "把图像变成“词”",
            "一张图像、代表各图块的码的编号、由码重建的图像，以及标题与码的词元谁读取谁。这样生成"
            "模型就能一个“词”一个“词”地写出图像。",
        ),
    ),
    "scores": (
        (
            "S, softmax(S) and S′ of one product",
            "Cosines of the product's five features (S), their softmax along each row, and the "
            "product of both (S′). Coloured diagonal: weights of the five masked losses; framed "
            "triangle: weights of the ten contrastive losses.",
        ),
        (
            "一个商品的 S、softmax(S) 与 S′",
            "该商品五个特征之间的余弦（S）、按行的 softmax，以及两者之积（S′）。彩色对角线：五个"
            "掩码损失的权重；框出的三角：十个对比损失的权重。",
        ),
    ),
    "score_path": (
        (
            "From a product to its weights",
            "A real product, modality by modality, and below how its features become weights: "
            "cosines S, softmax along each row, S′ = S · softmax(S). One pair is followed "
            "through with its numbers; hatched: the product lacks the modality.",
        ),
        (
            "从商品到权重",
            "一个真实商品的各个模态，下方是其特征如何变成权重：余弦 S，按行 softmax，S′ = S · "
            "softmax(S)。其中一对的数字被逐步跟踪；斜线：该商品缺失此模态。",
        ),
    ),
    "total_loss": (
        (
            "The total loss",
            "A matrix of losses for one batch of the training split: the masked loss of each "
            "modality on the diagonal, the contrastive loss of each pair above it, each "
            "multiplied by its mean weight S′ where the run uses weights. All are summed. Losses "
            "in nats or squared error.",
        ),
        (
            "总损失",
            "训练集中一个批次的损失矩阵：对角线是各模态的掩码损失，上三角是每对模态的对比损失；本"
            "次运行使用权重时，各乘以其平均权重 S′。全部相加即为总损失。损失单位为 nat 或平方误差"
            "。",
        ),
    ),
    "loss_terms": (
        (
            "What the total loss of a batch is made of",
            "Ten contrastive and five masked losses of one test batch before training. Dark "
            "ticks: the loss of guessing among the batch. Cross-entropies in nats, the others "
            "are squared errors.",
        ),
        (
            "一个批次总损失的组成",
            "训练前一个测试批次的十个对比损失与五个掩码损失。深色横线：在批次内随机猜测的损失。交"
            "叉熵单位为 nat，其余为平方误差。",
        ),
    ),
    "broken_runs": (
        (
            "What training looks like that does not learn",
            "Contrastive loss (nats) over the steps while the model learns one batch by heart: a "
            "healthy run and four faults. A curve that stays at the dashed line only guesses.",
        ),
        (
            "学不动的训练是什么样子",
            "模型过拟合一个批次时对比损失（nat）随训练步的变化：一次正常训练与四种问题。停在虚线"
            "处的曲线只是在猜。",
        ),
    ),
    "scores_over_time": (
        (
            "S′ during training",
            "Each small curve is one weight, at its place in the matrix: masked losses on the "
            "diagonal, pairs above it, mean over the batch, over the training step. The number "
            "is the last value.",
        ),
        (
            "训练过程中的 S′",
            "每条小曲线是一个权重，位于矩阵中的相应位置：对角线为掩码损失，其上为各模态对；取批次"
            "均值，横轴为训练步。数字为最后一步的值。",
        ),
    ),
    "losses": (
        (
            "Loss curves of the run",
            "Total, contrastive and masked losses over the training step, with retrieval on the "
            "validation split and the optimiser's state. Light: as logged; heavy: mean of "
            "neighbours.",
        ),
        (
            "本次运行的损失曲线",
            "总损失、对比损失与各掩码损失随训练步的变化，以及验证集检索与优化器状态。浅色：原始记"
            "录；深色：相邻点的均值。",
        ),
    ),
}
