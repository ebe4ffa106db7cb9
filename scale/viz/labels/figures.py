"""Words of the index page of `scale figures`, and of the pictures that only it draws."""

LABELS: dict[str, tuple[str, str]] = {
    "fig_index": ("Pictures of SCALE", "SCALE 的图片"),
    "fig_index_lead": (
        "{n} pictures. A small picture leads to its caption, its files and the command that made "
        "it.",
        "共 {n} 张图片。点击小图可看到说明、文件以及生成它的命令。",
    ),
    "fig_made": ("Made by `{command}`", "生成命令：`{command}`"),
    "fig_commit": ("commit {commit}", "提交 {commit}"),
    "fig_no_commit": ("without a commit", "无提交记录"),
    "fig_changed": ("{commit} and changes since", "{commit} 及其后的改动"),
    "fig_details": ("details", "详情"),
    # the five pretext tasks
    "fig_pretext": ("The five pretext tasks on one product", "同一商品上的五个代理任务"),
    "fig_as_is": ("as it is", "原始内容"),
    "fig_hidden": ("hidden from the model", "对模型隐藏"),
    "fig_predicted": ("predicted from all the rest", "由其余全部内容预测"),
    "fig_task_loss": ("loss {loss:.2f}", "损失 {loss:.2f}"),
    "fig_even": ("all pieces alike {loss:.2f}", "等概率猜测 {loss:.2f}"),
    "fig_mean": ("training mean {loss:.2f}", "训练集均值 {loss:.2f}"),
    # from a product to its weights
    "fig_path": ("From a product to its weights", "从商品到权重"),
    "fig_cosine": ("cosines S", "余弦 S"),
    "fig_softmax": ("softmax(S), by row", "softmax(S)，按行"),
    "fig_weighted": ("weights S′ = S · softmax(S)", "权重 S′ = S · softmax(S)"),
    "fig_followed": (
        "{first}–{second}:  S = {cosine:.2f},  softmax = e^{cosine:.2f} / ({terms}) = {share:.2f}",
        "{first}–{second}：余弦 S = {cosine:.2f}，"
        "softmax = e^{cosine:.2f} / ({terms}) = {share:.2f}",
    ),
    "fig_followed_on": (
        "S′ of {first}–{second} = {cosine:.2f} · {share:.2f} = {weight:.2f}",
        "{first}–{second}的 S′ = {cosine:.2f} · {share:.2f} = {weight:.2f}",
    ),
    "fig_diagonal": (
        "Diagonal of S′: the weight of a modality's own masked loss.",
        "S′ 的对角线：各模态自身掩码损失的权重。",
    ),
    "fig_triangle": (
        "Above it: the weight of a pair's contrastive loss.",
        "上三角：每对模态对比损失的权重。",
    ),
    # the total loss
    "fig_total": ("The total loss", "总损失"),
    "fig_pair": ("contrast", "对比损失"),
    "fig_off": ("off", "关闭"),
    "fig_sum_pairs": ("ten contrastive losses", "十个对比损失之和"),
    "fig_sum_masked": ("five masked losses", "五个掩码损失之和"),
    "fig_sum_total": ("total loss", "总损失"),
    "fig_weighs": (
        "This run multiplies the losses by S′, at mean 1.",
        "本次运行把各损失乘以 S′（均值归一）。",
    ),
    "fig_uniform": (
        "This run sums the losses as they are: the study “weighting” found no gain of S′ over "
        "equal weights.",
        "本次运行直接相加，不乘 S′：实验 “weighting” 未发现 S′ 优于等权。",
    ),
    "fig_total_note": (
        "One batch of {n} training products, after training. Cross-entropy in nats; "
        "MRP, MFP, MAM: squared error. S′: mean over the batch.",
        "训练后，训练集的一个批次，{n} 个商品。交叉熵单位为 nat；MRP、MFP、MAM 为平方误差；"
        "S′ 为批次均值。",
    ),
}
