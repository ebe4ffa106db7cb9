"""Captions of the pictures of the masked tasks (notebooks 04 to 08)."""

CAPTIONS = {
    "pretext_tasks": (
        (
            "The five pretext tasks on one product",
            "A row a modality: the product as it is, what is hidden from the model (hatched), "
            "and what the run's model puts there from all that is left. Words with their "
            "probability; regions and frames as colours, sound as log-mel (time to the right, "
            "pitch upwards).",
        ),
        (
            "同一商品上的五个代理任务",
            "每行一个模态：商品原样、对模型隐藏的部分（斜线），以及本次运行的模型根据其余内容给出"
            "的预测。词带有概率；区域和帧以颜色表示，声音为对数梅尔谱（向右为时间，向上为音高）。",
        ),
    ),
    "context_gain": (
        (
            "What the other modalities are worth to a masked prediction",
            "For each pretext task: loss without the other modalities less the loss with them, "
            "at the same hidden positions. Right of 0 they help; hatched, a stranger's "
            "modalities; whiskers: 95 % bootstrap interval over products. Nats for words, "
            "squared error else.",
        ),
        (
            "其他模态对掩码预测的帮助",
            "每个代理任务：在相同的隐藏位置上，无其他模态时的损失减去有其他模态时的损失。0 的右侧"
            "表示有帮助；斜线为换成别的商品的模态；误差线：商品上的 95% 自助法置信区间。词的单位"
            "为 nat，其余为平方误差。",
        ),
    ),
    "mask_image": (
        (
            "Hidden regions of pictures (MRP)",
            "Products whom the other modalities help most, at the median, and harm most: "
            "picture, its features as colours, what is hidden, and guesses in its place with "
            "their loss (mean squared error of standardised features).",
        ),
        (
            "图像中被遮住的区域（MRP）",
            "其他模态帮助最大、居中、害处最大的商品：图像、以颜色表示的特征、被遮住的部分，以及各"
            "种预测及其损失（标准化特征的均方误差）。",
        ),
    ),
    "mask_video": (
        (
            "Hidden frames of clips (MFP)",
            "A column a product, time to the right: the frames, what is hidden, and guesses in "
            "their place with their loss (mean squared error of standardised features). Copying "
            "the nearest frame is hard to beat.",
        ),
        (
            "视频中被遮住的帧（MFP）",
            "每列一个商品，向右为时间：视频帧、被遮住的部分，以及各种预测及其损失（标准化特征的均"
            "方误差）。直接复制最近的帧很难被超过。",
        ),
    ),
    "mask_audio": (
        (
            "Hidden time frames of sounds (MAM)",
            "A column a product: log-mel spectrogram (time to the right, pitch upwards), what is "
            "hidden, and guesses in its place with their loss (mean squared error of "
            "standardised features).",
        ),
        (
            "声音中被遮住的时间帧（MAM）",
            "每列一个商品：对数梅尔谱（向右为时间，向上为音高）、被遮住的部分，以及各种预测及其损"
            "失（标准化特征的均方误差）。",
        ),
    ),
    "copy_curve": (
        (
            "How far copying carries",
            "Squared error of copying the vector that lies some frames away, over that distance, "
            "for clips and sounds. Dashed: guessing the training mean.",
        ),
        (
            "直接复制能走多远",
            "复制相隔若干帧的向量所得的平方误差，随相隔帧数的变化（视频与声音）。虚线：猜训练集均"
            "值。",
        ),
    ),
    "word_masking": (
        (
            "How words are hidden (MLM)",
            "The same title in four draws: each hidden word piece becomes [MASK] (80 %), a "
            "random piece (10 %) or stays as it is (10 %). All of them are to be predicted.",
        ),
        (
            "词是怎样被遮住的（MLM）",
            "同一标题的四次抽样：被选中的词片 80% 换成 [MASK]，10% 换成随机词片，10% 保持不变，全"
            "部都要预测。",
        ),
    ),
    "word_prediction": (
        (
            "A hidden colour word, with and without the picture",
            "The test product where the picture helps most: its title with the colour hidden, "
            "and the most probable word pieces of two readers, one that sees the title alone and "
            "one that sees the picture too. Bars are probabilities.",
        ),
        (
            "被遮住的颜色词：看图与不看图",
            "图像帮助最大的测试商品：标题中的颜色词被遮住；两个模型给出的最可能的词片，一个只看标"
            "题，一个还看图像。柱为概率。",
        ),
    ),
    "whole_value_masking": (
        (
            "Pieces, whole values, attributes (MEM)",
            "Three ways to hide in the table of one product: the last piece of a value, which "
            "the rest gives away; whole values; attributes. Masked entity modelling hides whole "
            "values or attributes.",
        ),
        (
            "词片、整个值与属性（MEM）",
            "在同一商品的表格中遮盖的三种方式：值的最后一个词片（其余部分会泄露答案）、整个值、属"
            "性。掩码实体建模遮住的是整个值或整个属性。",
        ),
    ),
    "entity_prediction": (
        (
            "A hidden value, with and without other modalities",
            "The material of one test product is hidden: the most probable word pieces with "
            "nothing else to see, with the picture, and with the sound. Bars are probabilities.",
        ),
        (
            "被遮住的值：有无其他模态",
            "遮住一个测试商品的材质：不看其他模态、看图像、听声音时最可能的词片。柱为概率。",
        ),
    ),
    "entity_context": (
        (
            "Which modality tells which attribute",
            "Cross-entropy (nats) that each other modality saves in predicting a hidden value, "
            "by attribute, before and after practice on tables. Whiskers: 95 % bootstrap "
            "interval over products.",
        ),
        (
            "哪个模态能说明哪个属性",
            "预测被遮住的值时，其他各模态减少的交叉熵（nat），按属性列出，分别为专门练习之前与之"
            "后。误差线：商品上的 95% 自助法置信区间。",
        ),
    ),
}
