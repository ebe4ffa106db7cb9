"""Every word that a figure writes, in English and Chinese. Numbers are put in by `str.format`."""

from typing import Any, Literal

Language = Literal["en", "zh"]

LABELS: dict[str, tuple[str, str]] = {
    # modalities, and the pretext task of each
    "text": ("text", "文本"),
    "table": ("table", "表格"),
    "image": ("image", "图像"),
    "video": ("video", "视频"),
    "audio": ("audio", "音频"),
    "MLM": ("MLM: masked language modelling", "MLM：掩码语言建模"),
    "MEM": ("MEM: masked entity modelling", "MEM：掩码实体建模"),
    "MRP": ("MRP: masked region prediction", "MRP：掩码区域预测"),
    "MFP": ("MFP: masked frame prediction", "MFP：掩码帧预测"),
    "MAM": ("MAM: masked audio modelling", "MAM：掩码音频建模"),
    # product card, contact sheet
    "category_is": ("category: {value}", "类别：{value}"),
    "split_is": ("split: {value}", "划分：{value}"),
    "absent": ("absent", "缺失"),
    "absent_text": ("no title", "无标题文本"),
    "absent_table": ("no table", "无属性表格"),
    "absent_image": ("no image", "无图像"),
    "absent_video": ("no video", "无视频"),
    "absent_audio": ("no audio", "无音频"),
    "broken": ("does not decode", "无法解码"),
    "more_pairs": ("and {n} more pairs", "另有 {n} 个属性-值对"),
    "pair_count": ("{n} pairs", "{n} 个属性-值对"),
    "character_count": ("{n} characters", "{n} 个字符"),
    "pixel_size": ("{width} × {height} pixels", "{width} × {height} 像素"),
    "frame_count": ("{n} frames, evenly spaced", "{n} 帧，等间隔"),
    "sound_length": ("{seconds:.1f} s, log-mel", "{seconds:.1f} 秒，对数梅尔谱"),
    "seconds": ("time (s)", "时间（秒）"),
    "kilohertz": ("frequency (kHz, mel scale)", "频率（kHz，梅尔刻度）"),
    "decibel": ("dB below peak", "相对峰值（dB）"),
    "product_count": ("{n} products", "{n} 个商品"),
    # catalogue
    "combinations": ("Modality combinations (products)", "模态组合（商品数）"),
    "products_with": ("share of products", "商品占比"),
    "products": ("products", "商品数"),
    "rarer": ("{n} rarer sets", "其余 {n} 种组合"),
    "long_tail": ("Long-tailed distribution of categories", "类别的长尾分布"),
    "rank": ("category, by rank", "类别（按排名）"),
    "head_share": (
        "half of all products are in the first {n} of {all} categories",
        "一半商品集中在全部 {all} 个类别中的前 {n} 个",
    ),
    "title_words": ("title (words)", "标题（词数）"),
    "title_characters": ("title (characters)", "标题（字符数）"),
    "table_pairs": ("table (pairs)", "表格（属性-值对数）"),
    "image_width": ("image width (pixels)", "图像宽度（像素）"),
    "image_height": ("image height (pixels)", "图像高度（像素）"),
    "video_frames": ("video (frames)", "视频（帧数）"),
    "video_seconds": ("video (s)", "视频（秒）"),
    "audio_seconds": ("audio (s)", "音频（秒）"),
    "median": ("median {value}", "中位数 {value}"),
    "checks": ("Checks (products)", "检查（商品数）"),
    "duplicated": ("share their content", "内容重复"),
    "leaking": ("leak between splits", "跨划分泄漏"),
    "broken_count": ("problems found", "发现的问题"),
    # scores
    "scores": ("Inter-modality scores S", "模态间得分矩阵 S"),
    "softmax": ("softmax(S), by row", "softmax(S)，按行"),
    "weighted": ("S′ = S · softmax(S)", "模态匹配分数 S′ = S · softmax(S)"),
    "score_roles": (
        "Coloured diagonal: weights of the five masked losses. "
        "Framed triangle: weights of the ten contrastive losses.",
        "彩色对角线：五个模态内掩码损失的权重；框出的三角：十个模态间对比损失的权重。",
    ),
    "absent_note": ("Hatched: the product lacks this modality.", "斜线：该商品缺失此模态。"),
    "scores_over_time": ("S′ during training", "训练过程中的 S′"),
    "diagonal_note": (
        "Diagonal: weight of a modality's own masked loss.",
        "对角线：各模态自身掩码损失的权重。",
    ),
    "pair_note": (
        "Off the diagonal: weight of a pair's contrastive loss.",
        "非对角线：每对模态对比损失的权重。",
    ),
    "last_note": ("The number is the last value.", "数字为最后一步的值。"),
    # training
    "step": ("step", "训练步"),
    "total": ("total loss", "总损失"),
    "contrastive": ("contrastive loss", "对比损失"),
    "retrieval_validation": ("validation retrieval", "验证集检索"),
    "geometry": ("alignment and uniformity", "对齐性与均匀性"),
    "alignment": ("alignment", "对齐性"),
    "uniformity": ("uniformity", "均匀性"),
    "learning_rate": ("learning rate", "学习率"),
    "grad_norm": ("gradient norm", "梯度范数"),
    "products_per_second": ("products per second", "每秒商品数"),
    "other": ("other", "其他"),
    "raw_and_smooth": (
        "light: as logged; heavy: mean of {n} neighbours",
        "浅色：原始值；深色：{n} 个相邻点的均值",
    ),
    # retrieval
    "query": ("query", "查询"),
    "rank_number": ("rank {n}", "第 {n} 名"),
    "hit": ("hit", "命中"),
    "miss": ("miss", "未命中"),
    "similarity": ("cosine {value:.2f}", "余弦 {value:.2f}"),
    "trained": ("trained", "训练后"),
    "untrained": ("untrained", "未训练"),
    "chance": ("chance", "随机"),
    "retrieval_bars": ("{metric} by the query's modalities", "不同查询模态组合的 {metric}"),
    "interval_note": (
        "Dots: modalities of the query. Whiskers: 95 % bootstrap interval.",
        "圆点：查询所含模态；误差线：95% 自助法置信区间。",
    ),
    "gallery": ("gallery", "候选库"),
    "direction_matrix": (
        "{metric} of the same product, by direction",
        "各检索方向的同款商品 {metric}",
    ),
    "above_chance": ("{metric} above chance", "{metric} 高出随机水平"),
    "chance_is": ("chance {value:.2f}", "随机 {value:.2f}"),
    "direction_note": (
        "Value, 95 % interval, chance level, number of queries n.",
        "依次为：指标值、95% 置信区间、随机水平、查询数 n。",
    ),
    "diagonal_view": (
        "Diagonal: query by a second view of the product. Hatched: not measured.",
        "对角线：以同一商品的另一视图查询；斜线：未测量。",
    ),
    # embeddings
    "embedding_map": ("Map of product embeddings (UMAP)", "商品嵌入分布图（UMAP）"),
    "embedding_note": (
        "Near points have similar embeddings; distances between groups mean little.",
        "相近的点嵌入相似；组与组之间的距离没有太多含义。",
    ),
    # studies
    "study_is": ("Study {name}: {metric}", "实验 {name}：{metric}"),
    "study_note": (
        "Mean over {n} trainings (seeds); whiskers: 95 % t interval.",
        "{n} 次训练（随机种子）的均值；误差线：95% t 置信区间。",
    ),
    "study_baseline": ("Dashed: {name}.", "虚线：{name}。"),
    "study_baselines": ("Dashed: {name}, in each group.", "虚线：各组的 {name}。"),
    "study_untouched": ("Dotted: {name}.", "点线：{name}。"),
    "cannot_train": ("cannot be trained", "无法训练"),
    "not_run": ("not run yet", "尚未运行"),
    "comparisons": ("Study {name}: claims", "实验 {name}：各项主张"),
    "difference_of": ("difference of {metric}", "{metric} 之差"),
    "comparison_note": (
        "Right of 0: as the claim says. Supported where both intervals lie right of 0.",
        "0 右侧：与主张一致；两个区间都在 0 右侧才算支持。",
    ),
    "over_seeds": ("95 % t interval over seeds", "随机种子间的 95% t 置信区间"),
    "over_products": ("95 % bootstrap interval over products", "商品间的 95% 自助法置信区间"),
    "supported": ("supported", "支持"),
    "contradicted": ("contradicted", "相反"),
    "not decided": ("not decided", "无法判定"),
    "impossible": ("impossible", "无法比较"),
    "retention": ("{metric} as modalities go missing", "模态缺失时的 {metric}"),
    "missing_count": ("modalities missing", "缺失模态数"),
    "missing_share": ("share of modalities missing", "模态缺失比例"),
    "kept": ("complete products = 100 %", "完整商品 = 100%"),
    "band_note": ("Band: 95 % interval.", "色带：95% 置信区间。"),
    # generator
    "original": ("picture", "原图"),
    "rebuilt": ("in codes", "码本重建"),
    "generated": ("written after the title", "按标题生成"),
    "damage_at_test": ("Study {name}: damage at test time", "实验 {name}：测试时的损坏"),
    "damage_kept": ("share of the clean {metric} kept", "相对原样 {metric} 的保留比例"),
    "damage_note": (
        "Models trained on undamaged products, mean over {n} trainings (seeds); "
        "whiskers: 95 % t interval. Line: undamaged.",
        "模型以未加噪声的商品训练；{n} 次训练（随机种子）的均值；"
        "误差线：95% t 置信区间。竖线：未损坏。",
    ),
    "several_modalities": ("several modalities", "多个模态"),
    "own_score": ("Study {name}: what the scores see", "实验 {name}：得分能看出什么"),
    "own_weights": ("own weight S′, uniform training", "等权训练下的自身权重 S′"),
    "told_apart": ("good from damaged pairs ({regime})", "区分好坏模态对（{regime}）"),
    "own_axis": ("S′ (dot, tick), share (diamond)", "S′（圆点、竖线）、占比（菱形）"),
    "area": ("AUC (0.5: chance)", "AUC（0.5：随机）"),
    "own_mean": ("mean own weight S′", "自身权重 S′ 的均值"),
    "own_clean": ("the same in clean training", "无损训练时的同一权重"),
    "good_share": ("share of good content", "良好内容的占比"),
    "of_scores": ("AUC of S′", "S′ 的 AUC"),
    "of_posterior": ("AUC of the posterior", "后验概率的 AUC"),
    "own_note": (
        "Good: the product's own content, undamaged. ρ: Spearman of weight and share over the "
        "five modalities; below 0, worse modalities weigh more. {n} trainings (seeds); "
        "whiskers: 95 % t interval.",
        "良好：商品自身且未损坏的内容。ρ：五个模态上权重与占比的 Spearman 相关；"
        "小于 0 表示越差的模态权重越大。{n} 次训练（随机种子）；误差线：95% t 置信区间。",
    ),
    # noise
    "noise_sheet": ("Noise, each kind on one product", "噪声：各类噪声作用于同一商品"),
    "clean": ("clean", "原样"),
    "gaussian": ("Gaussian, std {n:g} of 255", "高斯噪声，σ = {n:g}/255"),
    "blur": ("blur, sigma {n:g} pixels", "模糊，σ = {n:g} 像素"),
    "jpeg": ("JPEG, quality {n:g}", "JPEG，质量 {n:g}"),
    "frame_drop": ("{percent:.0f} % of the frames removed", "丢弃 {percent:.0f}% 的帧"),
    "frame_shuffle": ("{percent:.0f} % of the frames moved", "打乱 {percent:.0f}% 的帧"),
    "snr": ("signal-to-noise ratio {n:g} dB", "信噪比 {n:g} dB"),
    "word_drop": ("{percent:.0f} % of the words removed", "丢弃 {percent:.0f}% 的词"),
    "typo": ("typo in {percent:.0f} % of the words", "{percent:.0f}% 的词有错字"),
    "attribute_swap": (
        "{percent:.0f} % of the values exchanged",
        "{percent:.0f}% 的属性值互换",
    ),
    "whole_modality": ("whole modality", "整个模态"),
    "mismatched": ("mismatch: another's picture", "错配：另一商品的图像"),
    "missing": ("missing at random, {percent:.0f} %", "随机缺失 {percent:.0f}%"),
    "missing_category": (
        "missing in {percent:.0f} % of categories",
        "{percent:.0f}% 的类别缺失",
    ),
    "mismatch": ("mismatch, {percent:.0f} %", "错配 {percent:.0f}%"),
    "noise_note_image": ("fitted to {size} pixels", "缩放至 {size} 像素"),
    "noise_note_video": (
        "fitted to {frame} pixels; number: place in the clean clip",
        "缩放至 {frame} 像素；数字：在原视频中的次序",
    ),
    "noise_note_audio": ("log-mel, 0 to 8 kHz", "对数梅尔谱，0 至 8 kHz"),
    "noise_note_text": ("a Chinese character counts as a word", "每个汉字算作一个词"),
    "noise_note_table": (
        "first {n} pairs; tinted: another value",
        "前 {n} 个属性-值对；着色：值已改变",
    ),
    "noise_note_whole": (
        "a row is a category, a square a product: hatched missing, framed another's",
        "每行一个类别，每格一个商品：斜线为缺失，带框为另一商品的图像",
    ),
}


def label(key: str, lang: Language = "en", **values: Any) -> str:
    """The label of a key in a language, with `values` put in.

    Raises KeyError for a key that the table lacks, or for a missing value; ValueError for an
    unknown language.
    """
    if lang not in ("en", "zh"):
        raise ValueError(f"unknown language {lang!r}; known: en, zh")
    if key not in LABELS:
        raise KeyError(f"no label for {key!r} in scale/viz/labels.py")
    return LABELS[key][("en", "zh").index(lang)].format(**values)
