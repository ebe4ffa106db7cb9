"""Words of the masking explorer (`widgets.masking`)."""

LABELS: dict[str, tuple[str, str]] = {
    "xm_product": ("Product", "商品"),
    "xm_task": ("Task", "任务"),
    "xm_model": ("Model", "模型"),
    "xm_best": ("best checkpoint", "最佳检查点"),
    "xm_untrained": ("untrained", "未训练"),
    "xm_nothing": ("hide nothing", "全部不遮"),
    "xm_random": ("hide {rate:.0%} at random", "随机遮住 {rate:.0%}"),
    "xm_everything": ("hide all", "全部遮住"),
    "xm_what": ("What is hidden ({modality})", "遮住什么（{modality}）"),
    "xm_how": (
        "{n} of {all} hidden. Click or drag over it; by keyboard: arrows, Enter.",
        "已遮住 {n} / {all}。点击或拖动来遮住；键盘：方向键与回车键。",
    ),
    "xm_beside": ("What the model sees beside it", "模型还能看到什么"),
    "xm_off": ("(off)", "（已关闭）"),
    "xm_region": ("region {n}", "区域 {n}"),
    "xm_frame": ("frame {n}", "第 {n} 帧"),
    "xm_time": ("{start:.2f} to {end:.2f} s", "{start:.2f} 至 {end:.2f} 秒"),
    "xm_word": ("word: {name}", "词：{name}"),
    "xm_attribute": ("attribute: {name}", "属性：{name}"),
    "xm_value": ("value: {name}", "值：{name}"),
    "xm_left_out": (
        "does not fit into the model's longest table",
        "超出模型可读的表格长度",
    ),
    "xm_vectors": ("{n} vectors", "{n} 个向量"),
    "xm_ask": (
        "Nothing is hidden: click on what the model should predict.",
        "尚未遮住任何内容：请点击希望模型预测的部分。",
    ),
    "xm_lacks": (
        "Product {product} has no {modality}, so {task} has nothing to hide. It has: {has}.",
        "商品 {product} 没有{modality}，{task} 无内容可遮。该商品具有：{has}。",
    ),
    "xm_rule": (
        "Every hidden piece is [MASK] here. In training, of the pieces that are chosen, 80 % "
        "become [MASK], 10 % a random piece, and 10 % stay as they are.",
        "此处被遮住的词片一律替换为 [MASK]。训练时，选中的词片有 80% 替换为 [MASK]，"
        "10% 替换为随机词片，10% 保持原样。",
    ),
    "xm_whole_words": (
        "Words are hidden whole here, in training single word pieces.",
        "此处按整词遮住；训练时遮的是单个词片。",
    ),
    "xm_losses": ("Loss beside other modalities", "配合其他模态时的损失"),
    "xm_losses_pieces": ("cross-entropy of the hidden pieces, in nats", "被遮词片的交叉熵（nat）"),
    "xm_losses_vectors": (
        "squared error of the standardised features",
        "标准化特征的平方误差",
    ),
    "xm_change": (
        "Mark and number in brackets: beside all others, and the change from there.",
        "竖线与括号内的数字：有其余全部模态时的值，以及相对它的变化。",
    ),
    "xm_all": ("all others", "其余全部模态"),
    "xm_chosen": ("the chosen ones", "所选模态"),
    "xm_none": ("none", "无其他模态"),
    "xm_mean": ("training mean (baseline)", "训练集均值（基线）"),
    "xm_even": ("even guess (baseline)", "均匀猜测（基线）"),
    "xm_guesses": (
        "What the model predicts (beside the chosen ones)",
        "模型的预测（配合所选模态）",
    ),
    "xm_piece": ("loss {loss:.2f}, rank {rank} of {all}", "损失 {loss:.2f}，排名 {rank} / {all}"),
    "xm_error": ("squared error {value:.2f}", "平方误差 {value:.2f}"),
    "xm_guess_chosen": ("guess beside the chosen", "预测：配合所选模态"),
    "xm_no_colours": (
        "The features '{source}' hold no colours to draw; the numbers above are what can be told.",
        "特征“{source}”不含可绘制的颜色，只能给出上面的数字。",
    ),
    "xm_sum_title": ("{task}, product {product}, {model}", "{task}，商品 {product}，{model}"),
    "xm_sum_hidden": ("hidden ({n} of {all}): {names}", "遮住（{n} / {all}）：{names}"),
    "xm_sum_nothing": ("nothing hidden", "未遮住任何内容"),
    "xm_sum_beside": ("beside: {names}", "配合：{names}"),
    "xm_nobody": ("nothing", "无"),
    "xm_sum_loss": ("loss {name}: ~{value:.2f}", "损失，{name}：~{value:.2f}"),
    "xm_sum_piece": (
        "{truth}: probability ~{probability:.2f}, rank ~{rank}",
        "{truth}：概率 ~{probability:.2f}，排名 ~{rank}",
    ),
}
