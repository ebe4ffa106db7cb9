"""Words of the pictures about the released code's faults (notebook 15)."""

LABELS: dict[str, tuple[str, str]] = {
    # versions
    "fault_none": ("as described", "按论文描述"),
    "fault_heads": ("heads read the encoders", "预测头读取编码器输出"),
    "fault_uncalled": ("layers never called", "未被调用的层"),
    "fault_wrong_mask": ("mask on wrong products", "掩码错放到其他商品"),
    "fault_predictions": ("weights on predictions", "权重乘在预测值上"),
    "fault_official": ("the whole released loss", "发布代码的完整损失"),
    "fault_axes": ("audio axes swapped", "音频坐标轴颠倒"),
    "fault_silent": ("audio all zeros", "音频全为零"),
    "fault_zeros_present": ("missing in the losses", "缺失模态计入损失"),
    # losses
    "fault_losses_title": (
        "Every version runs, and every loss falls",
        "每个版本都能运行，损失都在下降",
    ),
    "fault_losses_note": (
        "Total loss as a share of its first step, {n} steps each, seed 0. Grey: as described.",
        "总损失与其第一步之比；各训练 {n} 步，随机种子 0。灰色：按论文描述。",
    ),
    "fault_total": ("loss / first loss", "损失 / 首步损失"),
    # gradients
    "fault_gradients_title": (
        "Which parameters learn? One backward pass",
        "哪些参数在学习？一次反向传播",
    ),
    "fault_learns": ("a gradient arrives", "有梯度"),
    "fault_never": ("none: never learns", "无梯度：永不更新"),
    "fault_numbers": ("parameters (thousand)", "参数量（千）"),
    "fault_never_share": ("{share} never learns", "{share} 永不更新"),
    "fault_encoder_of": ("encoder: {name}", "编码器：{name}"),
    "fault_head_of": ("head: {name}", "预测头：{name}"),
    # mask
    "fault_mask_title": (
        "Product j's padding must not change product i",
        "商品 j 的填充不应影响商品 i",
    ),
    "fault_owner": ("whose mask each head gets", "每个注意力头得到谁的掩码"),
    "fault_head_number": ("attention head", "注意力头"),
    "fault_product": ("product", "商品"),
    "fault_cut_of": ("product whose title is cut", "标题被截短的商品"),
    "fault_changed": ("product that changes", "发生变化的商品"),
    "fault_mask_note": (
        "Numbers: how far product i's fused [CLS] move, in % of their length, when product j "
        "loses half of its title. Red frame: it should be 0.",
        "数字：商品 j 的标题截去一半后，商品 i 的融合 [CLS] 的变化（占其长度的 %）。"
        "红框：本应为 0。",
    ),
    # regression
    "fault_regression_title": (
        "A weight on the prediction moves the best answer to target / weight",
        "权重乘在预测值上，最优解变为 目标 / 权重",
    ),
    "fault_target": ("target", "目标"),
    "fault_on_loss": ("weight on the loss", "权重乘在损失上"),
    "fault_on_prediction": ("weight on the prediction", "权重乘在预测值上"),
    "fault_weight": ("weight w", "权重 w"),
    "fault_best": ("best prediction of 1", "目标为 1 时的最优预测"),
    "fault_frames": ("time frame", "时间帧"),
    "fault_bands": ("mel band", "梅尔频带"),
    "fault_spread": ("log-mel (standardised)", "对数梅尔谱（标准化）"),
    "fault_size": ("predictions {size:.1f} × targets", "预测为目标的 {size:.1f} 倍"),
    # temperature
    "fault_temperature_title": (
        "What G on the logits does to the temperature, and who the negatives are",
        "logit 上的 G 如何改变温度，负样本又是谁",
    ),
    "fault_effective": ("effective temperature 0.07 / G", "有效温度 0.07 / G"),
    "fault_pairs": ("pairs of modalities of a product", "商品的模态对数"),
    "fault_configured": ("configured: 0.07", "设定值：0.07"),
    "fault_coldest": ("coldest possible: 0.099", "最低可能值：0.099"),
    "fault_share_same": (
        "share of same-modality negatives\nin the softmax",
        "同模态负样本\n在 softmax 中的占比",
    ),
    "fault_half": ("equal parts", "各占一半"),
    # audio
    "fault_audio_title": ("One sound, three inputs", "同一段声音，三种输入"),
    "fault_moments": ("a token is a moment\n(as described)", "一个词元是一个时刻\n（按论文描述）"),
    "fault_band_tokens": (
        "a token is a mel band\n(axes swapped)",
        "一个词元是一个梅尔频带\n（坐标轴颠倒）",
    ),
    "fault_zeros": ("bare except: zeros\n(as loaded)", "裸 except：全零\n（实际载入）"),
    "fault_mam": ("MAM loss", "MAM 损失"),
    "fault_audio_note": (
        "Hatched: tokens that masked audio modelling hides, 30 % of them. Right: {n} steps.",
        "斜线：掩码音频建模隐藏的 30% 词元。右：训练 {n} 步。",
    ),
    # missing
    "fault_missing_title": (
        "Missing sounds as zeros that count",
        "缺失的声音：计入损失的零",
    ),
    "fault_sound_cosine": ("cosine of two products' sounds", "两个商品声音特征的余弦"),
    "fault_has": ("has a sound", "有声音"),
    "fault_lacks": ("has none", "无声音"),
    "fault_pair_loss": ("InfoNCE of title and sound", "标题与声音的 InfoNCE"),
    "fault_floor": ("log {n}: no model gets below", "log {n}：任何模型都无法更低"),
}
