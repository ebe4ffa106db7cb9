"""Captions of the pictures of products and catalogues (notebooks 00, 02, 16)."""

CAPTIONS = {
    "product": (
        (
            "One product in five modalities",
            "A product of the test split: picture, title, table of attributes and values, frames "
            "of its clip in order, and its sound as log-mel spectrogram (time in seconds, "
            "frequency in kHz, dB below the peak). What a product lacks is hatched.",
        ),
        (
            "一个商品的五个模态",
            "测试集中的一个商品：图像、标题、属性-值表格、按时间排列的视频帧，以及声音的对数梅尔"
            "谱（时间单位秒，频率单位 kHz，颜色为相对峰值的 dB）。缺失的模态画斜线。",
        ),
    ),
    "contact_sheet": (
        (
            "Products of the catalogue",
            "The first products of the catalogue, each as the first modality that it has. The "
            "five squares below a picture are filled for the modalities that the product has.",
        ),
        (
            "商品一览",
            "商品库的前若干个商品，各以其第一个可用的模态显示。图下的五个小方块：该商品具有的模态"
            "填色，缺失的留空。",
        ),
    ),
    "catalogue": (
        (
            "The catalogue at a glance",
            "Which sets of modalities the products have, how many products each category has, "
            "how long each modality is, and what the checks found. Bars count products; dashed "
            "lines are medians.",
        ),
        (
            "商品库概览",
            "商品具有哪些模态组合、每个类别有多少商品、各模态的长度，以及检查结果。柱为商品数，虚"
            "线为中位数。",
        ),
    ),
    "combinations": (
        (
            "Data composition: which modalities the products have",
            "Each column is a set of modalities (filled dots); its bar counts the products that "
            "have exactly this set. Left: share of all products that have a modality. Many "
            "products are incomplete.",
        ),
        (
            "数据组成：商品具有哪些模态",
            "每一列是一种模态组合（实心点），上方的柱是恰好具有该组合的商品数。左侧：具有各模态的"
            "商品占全部商品的比例。许多商品并不完整。",
        ),
    ),
    "expected_combinations": (
        (
            "Do modalities go missing independently?",
            "Products with each set of modalities (dark), and how many there would be if the "
            "gaps were independent (light). Unequal bars: what is missing together is no "
            "accident.",
        ),
        (
            "各模态的缺失是否相互独立？",
            "具有各模态组合的商品数（深色），以及假设缺失相互独立时的期望数（浅色）。两者不等，说"
            "明同时缺失并非偶然。",
        ),
    ),
    "presence_by_category": (
        (
            "Which categories lack which modality",
            "Share of a category's products (row, with their number) that have a modality "
            "(column), in per cent. Right: the same after shuffling the gaps over all products, "
            "for comparison.",
        ),
        (
            "哪些类别缺失哪些模态",
            "每个类别（行，括号内为商品数）中具有某模态（列）的商品比例，单位百分比。右图：把缺失"
            "在全部商品间打乱之后的结果，用作对照。",
        ),
    ),
    "independence": (
        (
            "Do gaps follow the category?",
            "Chi-square of presence against category for each modality: the catalogue's (line) "
            "and those of shuffled catalogues (grey). A line far right of the grey: the gaps "
            "depend on the category.",
        ),
        (
            "缺失与类别有关吗？",
            "各模态“是否具有”与类别之间的卡方值：本商品库（线）与打乱后的商品库（灰色）。线远在灰"
            "色右侧，说明缺失与类别有关。",
        ),
    ),
    "long_tail": (
        (
            "The long tail of categories",
            "Products of each category, the largest first. Dark: the few categories that "
            "together hold half of all products.",
        ),
        (
            "类别的长尾分布",
            "每个类别的商品数，从多到少。深色：合计占一半商品的少数类别。",
        ),
    ),
    "tail_curves": (
        (
            "How long the tail is",
            "Left: share of all products over the category's rank, both on a log scale, beside "
            "Zipf's law with 6,000 categories. Right: Lorenz curve; the further below the "
            "diagonal, the less even.",
        ),
        (
            "尾巴有多长",
            "左图：各类别的商品占比随排名的变化（双对数坐标），旁为 6,000 个类别的齐夫定律。右图"
            "：洛伦兹曲线，离对角线越远越不均匀。",
        ),
    ),
    "tail_metric": (
        (
            "One number hides the tail",
            "Share of test products whose nearest training product is of their category, by "
            "category; a bar is as wide as the category is large. The mean over products and the "
            "mean over categories differ.",
        ),
        (
            "一个数字掩盖了长尾",
            "按类别统计：测试商品的最近训练商品与其同类的比例；柱宽与类别的大小成正比。按商品平均"
            "与按类别平均并不相同。",
        ),
    ),
    "data_sets": (
        (
            "Data sets compared",
            "Modalities (dots), instances and categories (log scale) of public data sets, from "
            "their papers, and of the catalogue that is shown here. Hatched: not stated.",
        ),
        (
            "数据集对比",
            "各公开数据集（数字取自论文）与本商品库的模态（点）、实例数和类别数（对数坐标）。斜线"
            "：论文未说明。",
        ),
    ),
    "noise": (
        (
            "Kinds of noise on one product",
            "One product damaged in each way that the noise study uses, modality by modality, "
            "with the strength in words. Last: a modality that is missing or belongs to another "
            "product.",
        ),
        (
            "同一商品上的各类噪声",
            "噪声实验所用的每一种损坏，逐个模态作用于同一商品，并写明强度。最后一部分：整个模态缺"
            "失，或换成另一商品的内容。",
        ),
    ),
}
