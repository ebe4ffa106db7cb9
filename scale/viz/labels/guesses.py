"""Words of the pictures about hidden words and hidden table entries (notebooks 05, 06)."""

LABELS: dict[str, tuple[str, str]] = {
    "fate_mask": ("hidden: [MASK]", "遮住：[MASK]"),
    "fate_random": ("hidden: a random word piece", "遮住：随机词片"),
    "fate_kept": ("chosen, but left as it is", "被选中，但保持原样"),
    "guess_probability": ("probability", "概率"),
    "guess_note": (
        "The five most probable words for the blank. Right (green, with a tick): {answer}.",
        "空格处概率最高的五个词。正确答案（绿色，带勾）：{answer}。",
    ),
    "attribute_title": (
        "Which modality helps to predict which attribute?",
        "哪种模态有助于预测哪个属性？",
    ),
    "attribute_note": (
        "Small numbers: 95 % bootstrap interval over products. Coloured: 0 is outside of it.",
        "小字：商品上的 95% 自助法置信区间。着色：区间不含 0。",
    ),
    "attribute_all": ("all", "全部"),
    "attribute_before": ("the model as trained", "训练后的模型"),
    "attribute_after": ("after practice on tables", "在表格上练习之后"),
    "attribute_unit": ("Cross-entropy saved, in nats.", "数值为交叉熵的减少量（nat）。"),
    "masking_title": (
        "80 / 10 / 10: the same title, hidden four times",
        "80/10/10：同一标题遮四次",
    ),
    "masking_draw": ("draw {n}", "第 {n} 次"),
    "masking_note": (
        "Half of the word pieces are chosen here (the demo's rate; the paper: 15 %). The loss is "
        "read at the coloured boxes only.",
        "此处选中一半词片（演示模型的比例；论文为 15%）。损失只在有颜色的方框处计算。",
    ),
    "whole_title": ("Single pieces, or a whole value?", "遮单个词片，还是遮整个值？"),
    "whole_pieces": (
        "single word pieces hidden: the rest gives them away",
        "遮单个词片：其余部分泄露答案",
    ),
    "whole_value": (
        "whole value hidden (MEM): nothing of it is left",
        "遮整个值（MEM）：值的任何部分都看不到",
    ),
    "whole_attribute": (
        "whole attribute hidden (MEM): the value stays",
        "遮整个属性（MEM）：值保留",
    ),
    "whole_note": (
        "One table, hidden in three ways. ':' and ';' are structure and are never hidden.",
        "同一张表格，三种遮法。“:”与“;”表示结构，从不遮住。",
    ),
    "guess_title": ("title alone", "仅标题"),
    "guess_picture": ("title and picture", "标题与图像"),
    "guess_nothing": ("nothing shown", "不提供其他模态"),
    "guess_only": ("{modality} shown", "提供{modality}"),
    "guess_blank": ("{attribute}: ____", "{attribute}：____"),
}
