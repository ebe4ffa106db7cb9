"""Captions of the pictures of the released code's faults (notebook 15)."""

CAPTIONS = {
    "fault_losses": (
        (
            "Every version runs, and every loss falls",
            "Total loss over its first value in short trainings of the same seed, a panel a "
            "fault of the released code; grey: as described. A falling loss does not show that a "
            "model is right.",
        ),
        (
            "每个版本都能运行，损失都在下降",
            "相同随机种子的短训练中总损失与首步之比，每幅图是发布代码的一处缺陷；灰色：按论文描述"
            "。损失下降并不说明模型正确。",
        ),
    ),
    "fault_gradients": (
        (
            "Which parameters learn?",
            "Parameters (thousands) by part of the model that one backward pass reaches, and "
            "those that it does not, as described and with two faults.",
        ),
        (
            "哪些参数在学习？",
            "一次反向传播能到达与不能到达的参数（千），按模型各部分列出：按论文描述，以及两处缺陷"
            "。",
        ),
    ),
    "fault_mask": (
        (
            "A mask on the wrong products",
            "Left: whose attention mask each head gets. Right: how far a product's fused "
            "features move, in per cent of their length, when another product's title is cut; "
            "framed: it should be 0.",
        ),
        (
            "放错商品的掩码",
            "左图：每个注意力头得到谁的掩码。右图：截短另一商品的标题时，某商品融合特征的变化（占"
            "其长度的百分比）；框出的本应为 0。",
        ),
    ),
    "fault_regression": (
        (
            "A weight on the prediction moves the optimum",
            "Left: the best prediction of a target of 1 over the weight, on the loss and on the "
            "prediction. Right: one sound and what two trained heads predict (standardised "
            "log-mel by time frame and band).",
        ),
        (
            "权重乘在预测值上会移动最优解",
            "左图：目标为 1 时最优预测随权重的变化，权重分别在损失上与在预测值上。右图：一段声音"
            "与两个训练后的预测头的输出（标准化对数梅尔谱，按时间帧与频带）。",
        ),
    ),
    "fault_temperature": (
        (
            "What the released weights do to the temperature",
            "Left: effective temperature 0.07 / G of all pairs of modalities in a batch. Right: "
            "share of the negatives' weight that lies in the anchor's own modality, by pair.",
        ),
        (
            "发布代码的权重如何改变温度",
            "左图：一个批次中所有模态对的有效温度 0.07 / G。右图：每对模态中，负样本权重落在锚点"
            "自身模态的比例。",
        ),
    ),
    "fault_audio": (
        (
            "One sound, three inputs",
            "A log-mel spectrogram as moments (as described), as mel bands (axes swapped) and as "
            "zeros (as loaded), with the masked tokens hatched; right: loss of masked audio "
            "modelling of each over the steps.",
        ),
        (
            "同一段声音，三种输入",
            "对数梅尔谱分别作为时刻（按论文描述）、梅尔频带（坐标轴颠倒）与全零（实际载入）输入，"
            "斜线为被遮住的词元；右图：各自的掩码音频建模损失随训练步的变化。",
        ),
    ),
    "fault_missing": (
        (
            "Missing sounds as zeros that count",
            "Cosines between the sounds of products, the missing ones being zeros: all missing "
            "sounds are the same point. Right: InfoNCE (nats) of titles and sounds, which no "
            "model can lower beyond the line.",
        ),
        (
            "缺失的声音：计入损失的零",
            "各商品声音特征之间的余弦，缺失的声音为零：所有缺失的声音是同一个点。右图：标题与声音"
            "的 InfoNCE（nat），任何模型都无法低于该线。",
        ),
    ),
}
