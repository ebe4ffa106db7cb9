"""Captions of the finished studies. Each is one figure of means over trainings with t intervals."""

CAPTIONS = {
    "study_toy": (
        (
            "Study toy: weights where the truth is known",
            "Recall over ten pairs of noisy views of one vector, by regime of noise and by "
            "weighting; chance 0.001. Dots: mean over trainings (seeds); whiskers: 95 % t "
            "interval; dashed: uniform weights.",
        ),
        (
            "实验 toy：真值已知时的权重",
            "同一向量的十对带噪视图上的召回率，按噪声情形与权重方式列出；随机水平为 0.001。点：各"
            "次训练（随机种子）的均值；误差线：95% t 置信区间；虚线：等权。",
        ),
    ),
    "study_scarcity": (
        (
            "Study scarcity: weights with fewer and fewer products",
            "Recall in the toy over the number of training products, a line a weighting. Points: "
            "mean over trainings (seeds); whiskers: 95 % t interval.",
        ),
        (
            "实验 scarcity：商品越来越少时的权重",
            "玩具实验中的召回率随训练商品数的变化，每条线一种权重方式。点：各次训练（随机种子）的"
            "均值；误差线：95% t 置信区间。",
        ),
    ),
    "study_missing": (
        (
            "Study missing: policies for missing modalities",
            "mAP@5 on held-out products over the share of modalities removed in training, a line "
            "a policy, a panel a test. Points: mean over trainings (seeds); whiskers: 95 % t "
            "interval.",
        ),
        (
            "实验 missing：缺失模态的处理策略",
            "留出商品上的 mAP@5 随训练中去除的模态比例的变化；每条线一种策略，每幅图一种测试。点"
            "：各次训练（随机种子）的均值；误差线：95% t 置信区间。",
        ),
    ),
    "study_weighting": (
        (
            "Study weighting: do weights help the contrastive losses?",
            "Recall@10 on held-out products by regime of noise and by weighting, contrastive "
            "losses alone. Dots: mean over trainings (seeds); whiskers: 95 % t interval; dashed: "
            "uniform weights in the same regime.",
        ),
        (
            "实验 weighting：权重对对比损失有帮助吗？",
            "只用对比损失时，留出商品上的 Recall@10，按噪声情形与权重方式列出。点：各次训练（随机"
            "种子）的均值；误差线：95% t 置信区间；虚线：同一情形下的等权。",
        ),
    ),
    "weight_diagnosis": (
        (
            "Study weighting: what the scores see",
            "Left: mean own weight S′ᵢᵢ of a modality beside the share of its good content; "
            "where the method worked, damage would lower the weight. Right: probability (AUC) "
            "that a good pair weighs more than a damaged one, 0.5 is chance. Whiskers: 95 % t "
            "interval over trainings.",
        ),
        (
            "实验 weighting：得分能看出什么",
            "左图：各模态自身权重 S′ᵢᵢ 的均值与其良好内容的占比；若方法有效，损坏应使权重下降。右"
            "图：良好的一对比损坏的一对权重更大的概率（AUC），0.5 为随机。误差线：各次训练的 95% "
            "t 置信区间。",
        ),
    ),
    "study_harmony": (
        (
            "Study harmony: do weights help the whole objective?",
            "Recall@10 on held-out products with all fifteen losses, by regime of noise and by "
            "weighting. Dots: mean over trainings (seeds); whiskers: 95 % t interval; dashed: "
            "uniform weights in the same regime.",
        ),
        (
            "实验 harmony：权重对完整目标有帮助吗？",
            "使用全部十五个损失时，留出商品上的 Recall@10，按噪声情形与权重方式列出。点：各次训练"
            "（随机种子）的均值；误差线：95% t 置信区间；虚线：同一情形下的等权。",
        ),
    ),
    "study_memorising": (
        (
            "Study memorising: can training tell its wrong pairs?",
            "AUC of S′, the probability that a good pair of the training products scores above a "
            "damaged one (0.5 is chance), over training steps, a line a weighting. Points: mean "
            "over trainings (seeds); whiskers: 95 % t interval.",
        ),
        (
            "实验 memorising：训练能分辨错配的对吗？",
            "S′ 的 AUC（训练商品中良好的一对得分高于损坏的一对的概率，0.5 为随机）随训练步数的变"
            "化，每条线一种权重方式。点：各次训练（随机种子）的均值；误差线：95% t 置信区间。",
        ),
    ),
    "study_noise": (
        (
            "Study noise: what damage at test time costs",
            "Share of the undamaged mAP@5 that is kept when test products are damaged, a row a "
            "kind and strength, by modality. Models trained on undamaged products; mean over "
            "trainings (seeds); whiskers: 95 % t interval; line: undamaged.",
        ),
        (
            "实验 noise：测试时的损坏代价几何",
            "测试商品被损坏时保留的 mAP@5 比例（相对未损坏），每行一种损坏及强度，按模态排列。模"
            "型在未损坏的商品上训练；各次训练（随机种子）的均值；误差线：95% t 置信区间；竖线：未"
            "损坏。",
        ),
    ),
    "study_modalities": (
        (
            "Study modalities: does each further modality help?",
            "mAP@5 on held-out products of models trained with one to five modalities. Dots: "
            "mean over trainings (seeds); whiskers: 95 % t interval.",
        ),
        (
            "实验 modalities：每多一个模态都有帮助吗？",
            "分别用一至五个模态训练的模型在留出商品上的 mAP@5。点：各次训练（随机种子）的均值；误"
            "差线：95% t 置信区间。",
        ),
    ),
    "study_tasks": (
        (
            "Study tasks: which parts of the objective help?",
            "mAP@5 on held-out products of models trained without one part of the objective at a "
            "time. Dots: mean over trainings (seeds); whiskers: 95 % t interval; dashed: the "
            "whole objective.",
        ),
        (
            "实验 tasks：目标的哪些部分有帮助？",
            "每次去掉目标的一部分后训练的模型在留出商品上的 mAP@5。点：各次训练（随机种子）的均值"
            "；误差线：95% t 置信区间；虚线：完整目标。",
        ),
    ),
    "study_fusion": (
        (
            "Study fusion: SCALE and its relatives",
            "mAP@5 on held-out products of designs of equal size and steps, by the modalities "
            "that they are given. Dots: mean over trainings (seeds); whiskers: 95 % t interval; "
            "dashed: SCALE.",
        ),
        (
            "实验 fusion：SCALE 与同类模型",
            "规模与训练步数相同的各种设计在留出商品上的 mAP@5，按输入模态分组。点：各次训练（随机"
            "种子）的均值；误差线：95% t 置信区间；虚线：SCALE。",
        ),
    ),
    "study_faults": (
        (
            "Study faults: what each fault of the released code costs",
            "mAP@5 on held-out products of models trained with one fault of the released code at "
            "a time. Dots: mean over trainings (seeds); whiskers: 95 % t interval; dashed: as "
            "the paper describes.",
        ),
        (
            "实验 faults：发布代码的每处缺陷代价几何",
            "每次只带发布代码的一处缺陷训练的模型在留出商品上的 mAP@5。点：各次训练（随机种子）的"
            "均值；误差线：95% t 置信区间；虚线：按论文描述。",
        ),
    ),
}
