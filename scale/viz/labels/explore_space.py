"""Words of the embedding explorer (`widgets.embeddings`)."""

LABELS: dict[str, tuple[str, str]] = {
    "xe_points_of": ("Points", "点"),
    "xe_projection": ("Projection", "投影"),
    "xe_colours": ("Colours", "颜色"),
    "xe_second": ("Second map", "第二张图"),
    "xe_search": ("Search", "搜索"),
    "xe_search_hint": ("id, title or category; then Enter", "编号、标题或类别，然后按回车键"),
    "xe_by_model": ("by meaning (model)", "按语义（模型）"),
    "xe_product": ("Product", "商品"),
    "xe_choose": ("– choose –", "– 请选择 –"),
    "xe_file": ("File", "文件"),
    "xe_save": ("Save CSV", "保存 CSV"),
    "xe_clear": ("Clear selection", "清除选择"),
    "xe_kind_product": ("products (all modalities)", "商品（全部模态）"),
    "xe_kind_each": ("one point per modality", "每个模态一个点"),
    "xe_none": ("none", "无"),
    "xe_id": ("id", "编号"),
    "xe_title": ("title", "标题"),
    "xe_category": ("category", "类别"),
    "xe_modalities": ("modalities", "模态"),
    "xe_count": ("number of modalities", "模态数"),
    "xe_missing": ("missing modalities", "缺失的模态"),
    "xe_cluster": ("k-means cluster", "k-means 簇"),
    "xe_modality": ("modality", "模态"),
    "xe_count_is": ("{n} of 5", "{n} / 5"),
    "xe_complete": ("complete", "完整"),
    "xe_without": ("without {names}", "缺{names}"),
    "xe_comma": (", ", "、"),
    "xe_cluster_is": ("cluster {n}", "第 {n} 簇"),
    "xe_unknown": ("without category", "无类别"),
    "xe_rest": ("other groups", "其他组"),
    "xe_view": ("{model}: {kind}, {projection}", "{model}：{kind}，{projection}"),
    "xe_points": ("{n} points", "{n} 个点"),
    "xe_legend": (
        "Pick a colour to select its products.",
        "点选颜色即可选中对应的商品。",
    ),
    "xe_how": (
        "Hover: a product. Click: its neighbours. Lasso (button, or a long press and drag): a "
        "table. Wheel: zoom. By keyboard: the lists below.",
        "悬停：查看商品；点击：查看近邻；套索（按钮，或长按后拖动）：列表；滚轮：缩放；键盘：使用下方列表。",
    ),
    "xe_hover": (
        "Point at the map: the product is shown here.",
        "将指针移到图上，这里会显示对应的商品。",
    ),
    "xe_nearest": (
        "The {k} nearest in the space ({view})",
        "原空间中最近的 {k} 个（{view}）",
    ),
    "xe_ask": (
        "Click on a point, or choose a product, to see its neighbours in the original space.",
        "点击一个点或选择一个商品，即可查看它在原空间中的近邻。",
    ),
    "xe_not_there": (
        "Product {product} is not on this map ({view}).",
        "该图（{view}）上没有商品 {product}。",
    ),
    "xe_torn": ("torn away", "被撕开"),
    "xe_torn_count": (
        "Number: cosine. The map tears {n} of {k} away: they are not among the {k} nearest on it "
        "(orange lines).",
        "数字：余弦。其中 {n} / {k} 被地图撕开：不在地图上最近的 {k} 个之中（橙色线）。",
    ),
    "xe_found": ("{n} found", "找到 {n} 个"),
    "xe_no_find": ("Nothing found.", "没有找到。"),
    "xe_more": ("and {n} more", "另有 {n} 个"),
    "xe_picked": ("Selected products: {n}", "已选中的商品：{n} 个"),
    "xe_nothing_picked": (
        "Nothing is selected: use the lasso, a colour of the legend, or the search.",
        "尚未选中任何商品：请使用套索、图例颜色或搜索。",
    ),
    "xe_saved": ("{n} products written to {path}", "已将 {n} 个商品写入 {path}"),
    "xe_empty": (
        "There is nothing to write: select products first.",
        "没有可写入的内容：请先选择商品。",
    ),
    "xe_ending": (
        "{path}: the file's name must end in .csv",
        "{path}：文件名必须以 .csv 结尾",
    ),
    "xe_no_folder": ("{path}: no such folder", "{path}：没有这个文件夹"),
    "xe_unwritable": ("{path}: cannot be written ({reason})", "{path}：无法写入（{reason}）"),
    "xe_unreadable": ("{name}: cannot be read ({reason})", "{name}：无法读取（{reason}）"),
    "xe_too_large": (
        "{name}: larger than {most} MB, not carried into the page",
        "{name}：大于 {most} MB，未载入页面",
    ),
    "xe_no_modality": (
        "A product as a whole has no single modality: show one point per modality, or choose "
        "other colours.",
        "整个商品不对应单一模态：请改为每个模态一个点，或选择其他颜色。",
    ),
    "xe_no_text": (
        "This run's model reads no text, so it cannot search by meaning.",
        "该模型不读取文本，无法按语义搜索。",
    ),
    "xe_mapping": ("Computing the map …", "正在计算地图……"),
    "xe_sum": (
        "Embedding space, {view}: {n} points, colours: {colour} ({groups} groups)",
        "嵌入空间，{view}：{n} 个点，颜色：{colour}（{groups} 组）",
    ),
    "xe_sum_none": ("Embedding space: no map", "嵌入空间：没有图"),
    "xe_sum_second": ("second map, {view}: {n} points", "第二张图，{view}：{n} 个点"),
    "xe_sum_picked": ("selected ({n}): {ids}", "已选（{n}）：{ids}"),
    "xe_sum_near": (
        "nearest to {product} ({view}): {near}",
        "{product} 的近邻（{view}）：{near}",
    ),
    "xe_sum_torn": ("torn away by the map: ~{n} of {k}", "被地图撕开：~{n} / {k}"),
}
