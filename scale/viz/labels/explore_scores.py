"""Words of the score explorer (`widgets.scores`)."""

LABELS: dict[str, tuple[str, str]] = {
    # controls
    "xs_find": ("Find", "查找"),
    "xs_find_hint": ("words of the id or title", "编号或标题中的词"),
    "xs_product": ("Product", "商品"),
    "xs_found": ("{n} of {all} products", "{all} 个商品中的 {n} 个"),
    "xs_first": ("the first {n} of {all} products", "{all} 个商品中的前 {n} 个"),
    "xs_found_none": ("nothing found: the product stays", "未找到，商品不变"),
    "xs_model": ("Model", "模型"),
    "xs_best": ("best in validation", "验证集最佳"),
    "xs_last": ("last step", "最后一步"),
    "xs_saved": ("step {step} ({name})", "第 {step} 步（{name}）"),
    "xs_reset": ("Reset", "重置"),
    "xs_reset_hint": ("every modality as it is in the catalogue", "所有模态恢复为目录中的内容"),
    "xs_present": ("Present", "存在"),
    "xs_mismatch": ("Another product's", "换成另一商品的"),
    "xs_kind": ("Noise", "噪声"),
    "xs_strength": ("Strength", "强度"),
    "xs_as_is": ("as it is", "原样"),
    "xs_gaussian": ("Gaussian noise", "高斯噪声"),
    "xs_blur": ("blur", "模糊"),
    "xs_jpeg": ("JPEG", "JPEG 压缩"),
    "xs_frame_drop": ("frames removed", "丢弃帧"),
    "xs_frame_shuffle": ("frames moved", "打乱帧序"),
    "xs_snr": ("white noise", "白噪声"),
    "xs_word_drop": ("words removed", "丢弃词"),
    "xs_typo": ("typos", "错字"),
    "xs_attribute_swap": ("values exchanged", "属性值互换"),
    "xs_grey": ("σ {n:g} of 255", "σ = {n:g}/255"),
    "xs_pixels": ("σ {n:g} pixels", "σ = {n:g} 像素"),
    "xs_quality": ("quality {n:g}", "质量 {n:g}"),
    "xs_decibel": ("{n:g} dB", "{n:g} dB"),
    "xs_percent": ("{percent:.0f} %", "{percent:.0f}%"),
    "xs_policy": ("what stands for a missing modality", "缺失模态以什么代替"),
    # the five modalities
    "xs_tokens": ("{n} tokens", "{n} 个 token"),
    "xs_off": ("switched off", "已关闭"),
    "xs_from": ("from {product}", "来自 {product}"),
    "xs_unread": (
        "does not fit into the model's table",
        "超出模型的表格长度",
    ),
    "xs_play": ("play", "播放"),
    "xs_stop": ("stop", "停止"),
    "xs_place": ("frame {n} of the clip", "原视频第 {n} 帧"),
    "xs_vectors": (
        "vectors from a file ({length} × {size}): nothing to see",
        "来自文件的向量（{length} × {size}），无可显示内容",
    ),
    "xs_nothing": (
        "{product}: no modality is left for the model to read. Switch one on; what stands below is "
        "from before.",
        "{product}：没有可供模型读取的模态。请打开一个模态；下方内容为之前的结果。",
    ),
    # scores
    "xs_normalised": ("S′, rows of length 1 (authors)", "S′，各行归一化（作者代码）"),
    "xs_pairs": ("Ten pair weights of S′", "S′ 的十个模态对权重"),
    "xs_diagonal": ("Five own weights of S′", "S′ 的五个自身权重"),
    "xs_before_mark": (
        "Mark and number in brackets: the product as it is in the catalogue, and the change from "
        "there.",
        "竖线与括号内的数字：目录中原样商品的值，以及相对它的变化。",
    ),
    # JCT
    "xs_jct": ("What the JCT sees", "JCT 看到什么"),
    "xs_jct_same": (
        "S, S′ and the retrieval come from the encoders of the modalities that are there: the "
        "policy does not change them. It changes what the JCT attends to.",
        "S、S′ 与检索只取自存在模态的编码器，与缺失策略无关；策略改变的是 JCT 所能看到的内容。",
    ),
    "xs_jct_count": (
        "{own} tokens of the product ([CLS] counted), {filler} that stand in (hatched)",
        "商品自身的 token（含 [CLS]）{own} 个，代替的 token（斜线）{filler} 个",
    ),
    "xs_jct_fused": (
        "Cosine of the JCT's [CLS] to that of the product as it is in the catalogue",
        "JCT 的 [CLS] 与目录中原样商品的 [CLS] 的余弦",
    ),
    "xs_jct_drop": (
        "Policy drop: training would leave this product out. A model that meets it sees what skip "
        "gives.",
        "策略 drop：训练会丢弃该商品；模型若遇到它，所见与 skip 相同。",
    ),
    "xs_jct_learned": (
        "The run was trained with policy {policy}, so it has no learned tokens: there is nothing "
        "to show for policy learned.",
        "该模型以策略 {policy} 训练，没有可学习 token，因此策略 learned 无可显示的内容。",
    ),
    # retrieval
    "xs_nearest_before": ("Nearest products before", "原样商品的近邻"),
    "xs_nearest_now": ("Nearest products now", "当前商品的近邻"),
    "xs_nearest_note": (
        "Cosine of the embeddings; gallery: the {n} other products as they are. ✓: same category. "
        "Pick one to look at it.",
        "嵌入的余弦；候选库为其余 {n} 个原样商品。✓：同一类别。点选可查看该商品。",
    ),
    "xs_rank_was": ("{cosine} (was {rank})", "{cosine}（原第 {rank}）"),
    "xs_rank_new": ("{cosine} (new)", "{cosine}（新）"),
    # training
    "xs_training": ("During training", "训练过程中"),
    "xs_step": ("training step", "训练步"),
    "xs_batch_mean": ("S′ at step {step}, mean of the batch", "第 {step} 步的 S′，批内均值"),
    "xs_this_product": ("S′ of this product, {model}", "该商品的 S′，{model}"),
    "xs_step_note": (
        "Mean over the batch's products that have both modalities, while the pretext tasks hide "
        "tokens. This product is read whole.",
        "批内同时具有两种模态的商品的均值，此时代理任务遮住了部分 token；该商品则完整读取。",
    ),
    "xs_no_steps": (
        "No scores were logged by this run: there is no training step to choose.",
        "该训练未记录得分，无训练步可选。",
    ),
    # as text
    "xs_sum_title": ("{product}, {model}, policy {policy}", "{product}，{model}，策略 {policy}"),
    "xs_sum_change": ("{modality}: {what}", "{modality}：{what}"),
    "xs_comma": (", ", "，"),
    "xs_sum_missing": ("the product has none", "该商品没有"),
    "xs_sum_own": ("own weights: {values}", "自身权重：{values}"),
    "xs_sum_pairs": ("pair weights: {values}", "模态对权重：{values}"),
    "xs_sum_hits": (
        "same category among the five nearest: ~{now} (before: ~{before})",
        "前五近邻中同类别：~{now}（之前：~{before}）",
    ),
    "xs_sum_nothing": ("no scores: the model has nothing to read", "无得分：模型没有可读取的内容"),
}
