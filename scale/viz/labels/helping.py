"""Words of the pictures about which modality helps (notebook 12)."""

LABELS: dict[str, tuple[str, str]] = {
    "steps_title": ("What one more modality adds", "再加一个模态带来多少"),
    "steps_axis": ("other modalities already in the query", "查询中已有的其他模态数"),
    "steps_value": ("gain in {metric}", "{metric} 的增益"),
    "shapley_title": ("Shapley value: the mean of each line", "Shapley 值：每条线的平均"),
    "shapley_axis": ("share of {metric} that the modality gives", "该模态贡献的 {metric}"),
    "shapley_note": (
        "Chance {chance:.3f} and the five Shapley values add up to {whole:.3f}, the {metric} of "
        "all five. Interval: {over}.",
        "随机水平 {chance:.3f} 加上五个 Shapley 值等于 {whole:.3f}，即五个模态一起的 {metric}。"
        "区间：{over}。",
    ),
    "over_queries": ("95 %, bootstrap over the queries", "95%，对查询做 bootstrap"),
    "over_trainings": ("95 %, t over {n} trainings", "95%，{n} 次训练的 t 区间"),
    "added_title": (
        "Two ways to have more modalities ({test}, {metric})",
        "增加模态的两种方式（{test}，{metric}）",
    ),
    "added_trained": (
        "trained with these only, asked by these",
        "只用这些模态训练，也只用这些查询",
    ),
    "added_queried": (
        "trained with all five, asked by these",
        "用全部五个模态训练，只用这些查询",
    ),
    "added_gap": ("{ratio:.1f} ×", "{ratio:.1f} 倍"),
    "added_note": (
        "From left to right the order is fixed; it is not a ranking. Interval: 95 %, t over "
        "{n} trainings.",
        "从左到右的顺序是固定的，并非排名。区间：95%，{n} 次训练的 t 区间。",
    ),
}
