"""Captions of the pictures of the embedding space and its maps (notebook 13)."""

CAPTIONS = {
    "embedding_map": (
        (
            "Map of the products",
            "Test products by their embedding from all modalities, laid flat by UMAP (axes "
            "without units); colour, mark and name are the category. Near points have similar "
            "embeddings; distances between groups mean little.",
        ),
        (
            "商品分布图",
            "测试商品的全模态嵌入经 UMAP 展平（坐标轴无单位），颜色、形状与名称表示类别。相近的点"
            "嵌入相似；组与组之间的距离没有太多含义。",
        ),
    ),
    "umap_category": (
        (
            "Map of the products by category",
            "Test products by their embedding from all modalities, laid flat by UMAP (axes "
            "without units). Near points have similar embeddings; distances between groups mean "
            "little.",
        ),
        (
            "按类别着色的商品分布图",
            "测试商品的全模态嵌入经 UMAP 展平（坐标轴无单位）。相近的点嵌入相似；组与组之间的距离"
            "没有太多含义。",
        ),
    ),
    "umap_modality": (
        (
            "Map of the features by modality, before and after training",
            "A point is one modality of one test product, in the modality's colour, laid flat by "
            "UMAP (axes without units). Before training the modalities are islands; contrastive "
            "learning brings those of a product together.",
        ),
        (
            "按模态着色的特征分布图：训练前后",
            "每个点是一个测试商品的一个模态，颜色表示模态，经 UMAP 展平（坐标轴无单位）。训练前各"
            "模态各成孤岛；对比学习让同一商品的各模态靠近。",
        ),
    ),
    "modality_gap": (
        (
            "The gap between modalities",
            "Features of all modalities of the test products, before and after training: the "
            "plane of their two principal axes (crosses: means of the modalities), and the "
            "cosines of three kinds of pairs.",
        ),
        (
            "模态之间的间隙",
            "测试商品全部模态的特征，训练前与训练后：两个主成分构成的平面（十字：各模态均值），以"
            "及三类点对的余弦分布。",
        ),
    ),
    "map_tears": (
        (
            "Where a map tears neighbours apart",
            "Left: every product joined to its nearest in the original space; in red where the "
            "map puts it far away. Right: one product's neighbours on the map and in the space.",
        ),
        (
            "分布图在哪里撕开了近邻",
            "左图：每个商品与其原空间中的最近邻相连，被图拉远的为红色。右图：某个商品在图上的近邻"
            "与在原空间中的近邻。",
        ),
    ),
    "umap_seeds": (
        (
            "The same points under two seeds",
            "The same embeddings mapped by UMAP with two seeds; the six largest categories in "
            "colour. What differs between both maps is not in the data.",
        ),
        (
            "两个随机种子下的同一批点",
            "同一批嵌入用两个随机种子做 UMAP，最大的六个类别着色。两图之间的不同并不在数据里。",
        ),
    ),
    "map_made_up": (
        (
            "What a map makes up",
            "Left: three groups with known distances and their map. Right: pure noise, mapped "
            "with few and with many neighbours; the groups that appear do not exist.",
        ),
        (
            "分布图会无中生有",
            "左边：三组距离已知的点及其分布图。右边：纯噪声，用少量与较多近邻作图；出现的分组并不"
            "存在。",
        ),
    ),
}
