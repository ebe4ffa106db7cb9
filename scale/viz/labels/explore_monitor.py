"""Words of the training monitor."""

LABELS: dict[str, tuple[str, str]] = {
    "xt_waiting": ("waiting for the first line", "等待第一行日志"),
    "xt_running": ("running", "训练中"),
    "xt_finished": ("finished", "已完成"),
    "xt_stopped": ("stopped", "已停止"),
    "xt_stopped_maybe": ("stopped?", "已停止？"),
    "xt_step_of": ("step {step} of {steps}", "第 {step} 步，共 {steps} 步"),
    "xt_step": ("step {step}", "第 {step} 步"),
    "xt_speed": ("{speed:.0f} products per second", "每秒 {speed:.0f} 个商品"),
    "xt_left": ("about {time} left", "预计剩余 {time}"),
    "xt_quiet": ("no new line for {time}", "已有 {time} 没有新日志"),
    "xt_every": (
        "a line each {lines} steps, S′ with each checkpoint (each {scores} steps)",
        "每 {lines} 步写一行日志，S′ 随检查点写入（每 {scores} 步）",
    ),
    "xt_watch": ("watch", "监视"),
    "xt_watch_tip": ("look for new lines every second or so", "约每秒检查一次新日志"),
    "xt_follow": ("follow the newest step", "跟随最新一步"),
    "xt_end": ("stop the run", "停止训练"),
    "xt_end_tip": (
        "stop the training process; it can be continued with --resume",
        "停止训练进程，之后可用 --resume 继续",
    ),
    "xt_chosen": ("step", "训练步"),
    "xt_play": ("replay", "回放"),
    "xt_scores_at": ("S′ at step {step}, mean over the batch", "第 {step} 步的 S′（批内均值）"),
    "xt_diagonal": ("S′ during training: the diagonal", "训练过程中的 S′：对角线"),
    "xt_pairs": ("S′ during training: the ten pairs", "训练过程中的 S′：十个模态对"),
    "xt_two": (
        "each line in the colours of its two modalities",
        "每条线用其两种模态的颜色绘制",
    ),
    "xt_no_scores_yet": (
        "No S′ yet: it is written with each checkpoint.",
        "暂无 S′：它随检查点一起写入。",
    ),
    "xt_no_scores": (
        "This run has no logged S′ (scores.parquet).",
        "该运行没有记录 S′（scores.parquet）。",
    ),
    "xt_not_weighed": (
        "In this run S′ is only measured: it does not weigh the losses (loss.weight_on none).",
        "本次运行只测量 S′，不用它给损失加权（loss.weight_on none）。",
    ),
    "xt_how": (
        "Light: as logged; heavy: running mean. Point at a chart (or Tab and arrows) for values, "
        "click for that step.",
        "浅线：原始值；粗线：滑动平均。指向曲线（或用 Tab 与方向键）查看数值，点击跳到该步。",
    ),
    "xt_not_finite": (
        "{name} is not a number or infinite in {count} lines, first at step {step}.",
        "{name} 有 {count} 行不是有限数值，最早在第 {step} 步。",
    ),
    "xt_collapse": (
        "Uniformity is {value:.3f} since step {step}: features of different products are nearly "
        "the same, the model has collapsed or has not begun to learn. Try a lower learning rate "
        "or a longer warm-up.",
        "自第 {step} 步起均匀性为 {value:.3f}：不同商品的特征几乎相同，模型已坍缩或尚未开始学习。"
        "可尝试更低的学习率或更长的预热。",
    ),
    "xt_overfitting": (
        "Validation falls while the loss falls: {name} was {best:.3f} around step {step}, now "
        "{value:.3f} (means of three). The best checkpoint is kept; more steps may not help.",
        "损失下降而验证指标也在下降：{name} 在第 {step} 步附近为 {best:.3f}，现为 {value:.3f}"
        "（三次均值）。最佳检查点已保留，继续训练可能没有帮助。",
    ),
    "xt_damaged": (
        "metrics.jsonl: damaged lines left out: {count}, the first is line {line}.",
        "metrics.jsonl：已略过 {count} 行损坏的日志，首个在第 {line} 行。",
    ),
    "xt_returns": (
        "The steps went back ({count} ×): resumed from a checkpoint, or started anew.",
        "训练步曾回退 {count} 次：从检查点继续，或重新开始。",
    ),
    "xt_missing": (
        "{folder}: no such folder (yet).",
        "{folder}：该文件夹（尚）不存在。",
    ),
    "xt_no_run": (
        "{folder} has neither config.json nor metrics.jsonl: no run has started there.",
        "{folder} 中既没有 config.json 也没有 metrics.jsonl：尚无运行从这里开始。",
    ),
    "xt_config": ("config.json cannot be read: {why}", "无法读取 config.json：{why}"),
    "xt_metrics": ("metrics.jsonl cannot be read: {why}", "无法读取 metrics.jsonl：{why}"),
    "xt_scores": ("scores.parquet cannot be read: {why}", "无法读取 scores.parquet：{why}"),
    "xt_ended": ("The training process ended: {why}", "训练进程已结束：{why}"),
}  # fmt: skip
