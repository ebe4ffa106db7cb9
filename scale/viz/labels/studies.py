"""Words of the studies' tables: factors, their values, tests. English shows them as they are."""

from typing import Literal

from scale.modalities import INDEX
from scale.viz.labels.core import LABELS

CHINESE: dict[str, str] = {
    # factors
    "policy": "策略",
    "rate": "缺失率",
    "regime": "情形",
    "weighting": "权重",
    "products": "商品数",
    "steps": "训练步数",
    "noise": "噪声",
    "modalities": "模态",
    "objective": "目标",
    "system": "模型",
    "inputs": "输入",
    "fault": "缺陷",
    # tests
    "held out": "留出商品",
    "complete": "完整商品",
    "incomplete": "不完整商品",
    "training": "训练商品",
    # policies
    "zero": "零插补",
    "skip": "跳过",
    "learned": "可学习词元",
    "drop": "剔除",
    # regimes
    "clean": "无损",
    "missing": "缺失",
    "noisy": "有噪声",
    "mismatch": "错配",
    "mismatch_even": "均匀错配",
    "mismatch_noise": "错配且有噪声",
    "all": "全部",
    "none": "无",
    # weightings
    "uniform": "等权",
    "scores": "S′",
    "S'": "S′",
    "scores_row": "S′，行归一化",
    "S' row-normalised": "S′，行归一化",
    "scores_flowing": "S′，回传梯度",
    "S' flowing": "S′，回传梯度",
    "S' shuffled": "S′，打乱",
    "logits": "S′ 乘 logit",
    "logits (paper)": "S′ 乘 logit（论文）",
    "logits_control": "S′ 乘 logit 的对照",
    "logits control": "S′ 乘 logit 的对照",
    "logits_cold": "S′ 乘 logit，无等权起步",
    "logits stopped": "S′ 乘 logit，截断梯度",
    "logits late": "S′ 乘 logit，延后",
    "logits late control": "S′ 乘 logit，延后的对照",
    "official": "发布代码",
    "official_control": "发布代码的对照",
    "official control": "发布代码的对照",
    "relative": "相对一致性",
    "rank": "名次",
    "posterior": "后验概率",
    "posterior_half": "后验概率的平方根",
    "posterior half": "后验概率的平方根",
    "posterior pairs": "后验概率，仅模态对",
    "moving posterior": "后验概率的移动平均",
    "reliability": "可靠度",
    "mixture": "混合模型",
    "gce": "稳健损失 GCE",
    "pair_mean": "每对模态一个权重",
    "oracle": "真值权重",
    # objectives
    "without contrastive": "去掉对比损失",
    "without MLM": "去掉 MLM",
    "without MEM": "去掉 MEM",
    "without MRP": "去掉 MRP",
    "without MFP": "去掉 MFP",
    "without MAM": "去掉 MAM",
    "without masked tasks": "去掉掩码任务",
    "without JCT": "去掉 JCT",
    # faults
    "none (as described)": "无（按论文描述）",
    "heads on encoder": "预测头读取编码器",
    "shared layers": "层被共用",
    "mask on wrong products": "掩码错放到其他商品",
    "audio axes swapped": "音频坐标轴颠倒",
    "missing in the losses": "缺失模态计入损失",
    "weights on the loss, S' unscaled": "S′ 乘损失，未归一",
    "weights on regression predictions": "权重乘在预测值上",
    "the whole released loss": "发布代码的完整损失",
}
"""By the word in the table. Names of models, and of single kinds of noise, stay as they are."""


def term(word: str, lang: Literal["en", "zh"]) -> str:
    """A word of a study's table in a language; a subset of modalities modality by modality."""
    if lang == "en":
        return word
    parts = word.split("+")
    if all(part in INDEX for part in parts):
        return "+".join(LABELS[part][1] for part in parts)
    return CHINESE.get(word, word)
