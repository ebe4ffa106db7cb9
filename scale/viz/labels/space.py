"""Words of the pictures about the embedding space (notebook 13)."""

LABELS: dict[str, tuple[str, str]] = {
    "sp_within": ("same modality, different products", "同一模态，不同商品"),
    "sp_between": ("different modalities, different products", "不同模态，不同商品"),
    "sp_same": ("different modalities, one product", "不同模态，同一商品"),
    "sp_gap_is": ("{stage}: modality gap {gap:.2f}", "{stage}：模态鸿沟 {gap:.2f}"),
    "sp_plane": (
        "PCA: {share:.0f} % of the spread. Large marks: means.",
        "PCA：占总方差的 {share:.0f}%；大标记：各模态均值。",
    ),
    "sp_cosine": ("cosine (dashed: mean)", "余弦（虚线：均值）"),
    "sp_share": ("share of pairs (%)", "占比（%）"),
    "sp_umap_of": ("UMAP, {stage}", "UMAP，{stage}"),
    "sp_at_step": ("step {step}", "第 {step} 步"),
    "sp_gap": ("modality gap", "模态鸿沟"),
    "sp_gap_title": ("Modality gap", "模态鸿沟"),
    "sp_cosines_title": ("Mean cosines", "平均余弦"),
    "sp_seed": ("UMAP, seed {seed}", "UMAP，种子 {seed}"),
    "sp_nearest": ("Every product and its nearest one", "每个商品与其最近邻"),
    "sp_kept": (
        "line to the nearest in the space: kept on the map ({n})",
        "与原空间最近邻的连线：地图上仍相邻（{n}）",
    ),
    "sp_torn": (
        "torn: not among the {k} nearest on the map ({n})",
        "被撕开：不在地图最近 {k} 个之中（{n}）",
    ),
    "sp_one": ("One product (star)", "一个商品（星号）"),
    "sp_in_space": ("its {k} nearest in the space", "原空间中最近的 {k} 个"),
    "sp_on_map": ("its {k} nearest on the map", "地图上最近的 {k} 个"),
    "sp_truth": ("Three groups, truly", "三组点，真实位置"),
    "sp_their_map": ("the same, UMAP", "同样的点，UMAP"),
    "sp_noise": ("Noise, {k} neighbours", "噪声，{k} 个近邻"),
}
