"""The embedding explorer: point sets, neighbours, groups, search, selection, files, maps."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import silhouette_score

from scale.data.tokenizer import load_tokenizer
from scale.evaluation.embed import Embeddings
from scale.explore import embedding_views
from scale.explore.embedding_views import media_uri, product_html, selection_html, write_csv
from scale.explore.embeddings import EmbeddingExplorer, search_by_meaning
from scale.explore.point_map import PointMap
from scale.explore.projections import (
    GREY,
    MAX_GROUPS,
    SEED,
    Grouping,
    Groups,
    MapView,
    Point,
    PointSet,
    Projections,
    k_means,
    map_ranks,
    missing_text,
)
from scale.explore.source import ExplorerSource
from scale.modalities import INDEX, MODALITIES
from scale.viz.illustrations.space import neighbour_ranks
from scale.viz.theme import MODALITY_COLOURS
from scale.viz.words import label


@pytest.fixture
def explorer(source):
    return EmbeddingExplorer(source, projection="pca")


def random_cloud(count=30, width=5, seed=0):
    unit_PD = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    unit_PD /= np.linalg.norm(unit_PD, axis=1, keepdims=True)
    return PointSet(unit_PD, np.arange(count), np.full(count, ""))


@given(st.integers(2, 25), st.integers(1, 12), st.integers(0, 99))
def test_neighbours_and_their_map_ranks_match_a_loop(count, k, seed):
    cloud = random_cloud(count, 4, seed)
    xy_P2 = np.random.default_rng(seed + 1).normal(size=(count, 2))
    found = cloud.neighbours(seed % count, xy_P2, k)
    others = [p for p in range(count) if p != seed % count]
    cosine = {p: float(cloud.unit_PD[p] @ cloud.unit_PD[seed % count]) for p in others}
    best = sorted(others, key=lambda p: -cosine[p])[:k]
    assert found.index_K.tolist() == best
    np.testing.assert_allclose(found.cosine_K, [cosine[p] for p in best], atol=1e-6)
    distance = {p: np.linalg.norm(xy_P2[p] - xy_P2[seed % count]) for p in others}
    near = set(sorted(others, key=lambda p: distance[p])[:k])
    assert found.far_K.tolist() == [p not in near for p in best]


def test_map_ranks_match_those_of_the_illustration():
    xy_P2 = np.random.default_rng(0).normal(size=(20, 2))
    others = np.delete(np.arange(20), 4)
    np.testing.assert_array_equal(map_ranks(xy_P2, 4, others), neighbour_ranks(xy_P2)[4, others])


def test_points_are_the_modalities_of_the_products(source):
    found, present_NM = source.embeddings, source.data.present_NM
    whole = PointSet.of(found, "product")
    np.testing.assert_allclose(whole.unit_PD, found.product().emb_ND, atol=1e-6)
    for m in MODALITIES:
        cloud = PointSet.of(found, m)
        assert cloud.row_P.tolist() == np.flatnonzero(present_NM[:, INDEX[m]]).tolist()
        expected_PD = found.pooled_NMD[cloud.row_P, INDEX[m]]
        expected_PD /= np.linalg.norm(expected_PD, axis=1, keepdims=True)
        np.testing.assert_allclose(cloud.unit_PD, expected_PD, atol=1e-6)
    each = PointSet.of(found, "each")
    assert len(each.row_P) == present_NM.sum()
    row = int(source.rows[0])
    place = each.index_of(Point(row, "image"))
    assert each.point(place) == Point(row, "image")
    assert each.point(each.index_of(Point(row))) == Point(row, "text")
    assert set(each.indices_of(np.array([row]))) == set(np.flatnonzero(each.row_P == row))


def test_a_modality_without_products_is_an_error():
    nothing = Embeddings(np.zeros((4, 5, 2), np.float32), np.zeros((4, 5), bool), tuple("abcd"))
    nothing.present_NM[:, 0] = True
    nothing.pooled_NMD[:, 0] = 1
    with pytest.raises(ValueError, match="none of these products has the modality video"):
        PointSet.of(nothing, "video")
    with pytest.raises(ValueError, match="unknown points 'smell'"):
        PointSet.of(nothing, "smell")


def test_groups_are_sorted_by_size_and_small_ones_merged():
    values = [f"g{k}" for k in range(50) for _ in range(60 - k)] + [None, None]
    groups = Groups.of(values, "unknown", "rest")
    assert groups.names[:2] == ("g0", "g1")
    assert groups.names[MAX_GROUPS:] == ("rest", "unknown")
    assert groups.colours[MAX_GROUPS:] == (GREY, GREY)
    named = [groups.names[code] for code in groups.code_P]
    assert all(n == v for n, v in zip(named, values, strict=True) if v and int(v[1:]) < MAX_GROUPS)
    assert {n for n, v in zip(named, values, strict=True) if v and int(v[1:]) >= MAX_GROUPS} == {
        "rest"
    }
    assert named[-2:] == ["unknown"] * 2


def test_colours_group_products_by_property(source):
    colour_by = Grouping(Projections(source), "en")
    cloud = PointSet.of(source.embeddings, "product")
    for colouring, value in (
        ("category", lambda row: source.product(row).category),
        ("count", lambda row: f"{source.data.present_NM[row].sum()} of 5"),
        ("missing", lambda row: missing_text(source.data.present_NM[row], "en")),
    ):
        groups = colour_by.groups(colouring, cloud)
        found = [groups.names[code] for code in groups.code_P]
        assert found == [value(int(row)) for row in cloud.row_P]
    assert missing_text(np.array([True, False, True, True, False]), "zh") == "缺表格、音频"
    with pytest.raises(ValueError, match="no single modality"):
        colour_by.groups("modality", cloud)
    each = PointSet.of(source.embeddings, "each")
    groups = colour_by.groups("modality", each)
    assert groups.colours == tuple(MODALITY_COLOURS.values())
    assert [MODALITIES[code] for code in groups.code_P] == each.modality_P.tolist()


def test_clusters_separate_distant_groups():
    rng = np.random.default_rng(0)
    emb_ND = np.repeat(rng.normal(size=(4, 6)) * 5, 20, axis=0) + rng.normal(size=(80, 6)) * 0.1
    cluster_N = k_means(emb_ND.astype(np.float32), 4)
    assert silhouette_score(emb_ND, cluster_N) > 0.9
    with pytest.raises(ValueError, match="5 clusters of 3"):
        k_means(emb_ND[:3], 5)


def test_the_explorer_opens_with_every_product(explorer, source):
    assert explorer.error == ""
    assert "48 points, colours: category (4 groups)" in repr(explorer)
    assert "PointMap(48 points)" in repr(explorer.panes.frame.children[0])
    assert explorer.panes.legend.html.count("data-key") == 4
    assert len(explorer.controls.product.options) == 1 + len(source.rows)


def test_a_click_lists_neighbours_in_the_original_space(explorer, source):
    panel = explorer.panes.frame.children[0]
    panel.widget.selection = np.array([7], dtype=np.uint32)
    cloud = PointSet.of(source.embeddings, "product")
    product = source.data.ids[cloud.row_P[7]]
    assert explorer.selected == (product,)
    assert explorer.controls.product.value == cloud.row_P[7]
    cosine_P = cloud.unit_PD @ cloud.unit_PD[7]
    best = [p for p in np.argsort(-cosine_P, kind="stable") if p != 7][:10]
    html = explorer.panes.neighbours.html
    assert html.count("data-far=") == 10
    shown = [float(value) for value in re.findall(r'data-cosine="([^"]+)"', html)]
    np.testing.assert_allclose(shown, cosine_P[best], atol=1e-5)
    torn = html.count('data-far="true"')
    assert html.count(label("xe_far")) >= torn
    assert [line[0] for line in panel.layer.lines] == [7] * 10
    assert {line[1] for line in panel.layer.lines} == set(best)
    assert sum(line[2] for line in panel.layer.lines) == torn
    assert f"not among the nearest on the map: ~{torn} of 10" in repr(explorer)
    assert f'data-product="{product}"' in explorer.panes.inspector.html


def test_hover_shows_a_product_and_keeps_the_chosen_one(explorer, source):
    first, second = (source.data.ids[row] for row in (3, 9))
    panel = explorer.panes.frame.children[0]
    panel.widget.hovering = 3
    assert f'data-product="{first}"' in explorer.panes.inspector.html
    explorer.choose(second)
    panel.widget.hovering = 3
    panel.widget.hovering = None
    assert f'data-product="{second}"' in explorer.panes.inspector.html


@pytest.fixture
def downloads(explorer, monkeypatch):
    """Names and contents of the files that the browser was given."""
    sent = []
    monkeypatch.setattr(
        explorer.browser, "send", lambda message, buffers: sent.append((message["name"], *buffers))
    )
    return sent


def test_a_lasso_gives_a_table_and_a_download(explorer, source, downloads, tmp_path):
    explorer.panes.frame.children[0].widget.selection = np.array([4, 0, 11], dtype=np.uint32)
    ids = [source.data.ids[row] for row in (4, 0, 11)]
    assert explorer.selected == tuple(ids)
    assert 'data-count="3"' in explorer.panes.picked.html
    explorer.controls.save.click()
    ((name, content),) = downloads
    rows = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    assert [row["id"] for row in rows] == ids
    for row in rows:
        product = source.product(source.row_of[row["id"]])
        assert row["title"] == (product.text or "")
        assert row["modalities"].split("+") == list(product.present)
    assert f"3 products saved as {name}" in explorer.panes.saved.html
    explorer.save(tmp_path / "found.csv")
    assert (tmp_path / "found.csv").read_bytes() == content


def test_a_bad_path_is_an_error(explorer, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explorer.select(source.data.ids[:2])
    for path, message in (
        ("found.txt", "must end in .csv"), ("no/found.csv", "no such folder"), ("", "must end"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            explorer.save(path)
    assert not list(tmp_path.iterdir())


def test_an_unwritable_file_and_an_empty_selection_are_errors(
    explorer, source, downloads, tmp_path
):
    (tmp_path / "taken.csv").mkdir()
    with pytest.raises(ValueError, match=r"taken\.csv: cannot be written"):
        write_csv(source, [0], tmp_path / "taken.csv")
    explorer.controls.save.click()
    assert label("xe_empty") in explorer.error
    assert downloads == []
    explorer.select(source.data.ids[:1])
    assert explorer.error == ""


def test_search_by_words(explorer, source):
    explorer.controls.search.value = "RED THING"
    wanted = {p.id for p in source.data.products if "red thing" in (p.text or "").casefold()}
    assert set(explorer.selected) == wanted
    assert len(wanted) == 12
    assert f'data-found="{len(wanted)}"' in explorer.panes.finds.html
    assert len(explorer.controls.product.options) == 1 + len(wanted)
    explorer.panes.finds.pick(explorer.selected[2])
    assert f'data-product="{explorer.selected[2]}"' in explorer.panes.inspector.html
    explorer.controls.search.value = "no such words"
    assert label("xe_no_find") in explorer.panes.finds.html
    assert explorer.selected == ()
    explorer.controls.search.value = ""
    assert explorer.panes.finds.html == ""
    assert len(explorer.controls.product.options) == 1 + len(source.rows)


def test_search_by_meaning_uses_the_model(explorer, source):
    row = next(row for row in range(48) if source.data.present_NM[row].sum() > 1)
    title = source.product(row).text
    rows, cosines = search_by_meaning(source, title)
    text_D = PointSet.of(source.embeddings, "text").unit_PD[row]
    cosine_N = source.embeddings.product().emb_ND @ text_D
    assert rows[0] == cosine_N.argmax()
    np.testing.assert_allclose(cosines, np.sort(cosine_N)[::-1][:10], atol=1e-4)
    explorer.controls.by_model.value = True
    explorer.controls.search.value = title
    assert explorer.selected == tuple(source.data.ids[row] for row in rows)


def test_words_that_the_model_does_not_know_find_nothing(explorer, source):
    explorer.controls.by_model.value = True
    explorer.controls.search.value = "Zzzz qx!"
    assert "does not know: zzzz, qx" in explorer.panes.finds.html
    assert explorer.selected == ()
    explorer.controls.search.value = "red zzzz things"
    assert "does not know: zzzz." in explorer.panes.finds.html
    assert len(explorer.selected) == 10
    explorer.controls.search.value = "red things"
    assert "does not know" not in explorer.panes.finds.html
    explorer.controls.by_model.value = False
    explorer.controls.search.value = "zzzz"
    assert label("xe_no_find") in explorer.panes.finds.html


def test_a_public_text_encoder_knows_the_words_of_its_vocabulary(source):
    features = replace(source.run.config.features, text_features="minilm")
    config = replace(source.run.config, features=features)
    run = replace(source.run, config=config, tokenizer=load_tokenizer("minilm"))
    public = ExplorerSource(run, source.data)
    assert public.unknown_words("A warm drink, teapots zzzz") == ["zzzz"]
    assert public.known_words("A warm zzzz") == ["a", "warm"]


def test_a_model_without_text_cannot_search_by_meaning(explorer, source):
    model = replace(source.run.config.model, modalities=("image", "audio"))
    run = replace(source.run, config=replace(source.run.config, model=model))
    with pytest.raises(ValueError, match="reads no text"):
        search_by_meaning(ExplorerSource(run, source.data), "red")


def test_a_colour_selects_its_products(explorer, source):
    explorer.panes.legend.pick("1")
    name = explorer._states[0].groups.names[1]
    assert set(explorer.selected) == {p.id for p in source.data.products if p.category == name}
    selected = explorer.panes.frame.children[0].widget.selection
    assert len(selected) == len(explorer.selected)
    explorer.clear()
    assert explorer.selected == ()
    assert len(explorer.panes.frame.children[0].widget.selection) == 0


def test_two_maps_share_selection_and_hover(source):
    explorer = EmbeddingExplorer(source, kind="text", second="image", projection="pca")
    text, image = explorer.panes.frame.children
    text.widget.selection = np.array([2, 5], dtype=np.uint32)
    image_cloud = PointSet.of(source.embeddings, "image")
    text_rows = PointSet.of(source.embeddings, "text").row_P[[2, 5]]
    shown = image_cloud.row_P[image.widget.selection]
    assert set(shown) == set(text_rows) & set(image_cloud.row_P)
    image.widget.hovering = 0
    there = PointSet.of(source.embeddings, "text").index_of(Point(int(image_cloud.row_P[0])))
    assert text.widget.hovering == there
    lacking = next(r for r in range(48) if not source.data.present_NM[r, INDEX["image"]])
    explorer.choose(source.data.ids[lacking])
    assert "is not on this map (trained: image, PCA)" in explorer.panes.neighbours.html
    assert explorer.error == ""


def test_before_and_after_training_have_their_own_neighbours(source):
    explorer = EmbeddingExplorer(source, second="untrained", projection="pca", product="p10")
    assert explorer.panes.neighbours.html.count("xe-neighbours") == 2
    assert 'data-model="untrained"' in explorer.panes.neighbours.html
    before = Projections(source).embeddings("untrained").pooled_NMD
    assert not np.allclose(before, source.embeddings.pooled_NMD)
    explorer.controls.second.value = ""
    assert len(explorer.panes.frame.children) == 1


def test_every_kind_projection_and_colour_can_be_shown(source, umap_by_pca):
    explorer = EmbeddingExplorer(source, kind="each", colour="modality", lang="zh")
    for name in ("projection", "kind", "colour"):
        control = getattr(explorer.controls, name)
        for _, value in control.options:
            control.value = value
            whole = explorer.controls.colour.value == "modality"
            whole &= explorer.controls.kind.value == "product"
            assert (explorer.error != "") == whole, (name, value)
    assert set(umap_by_pca) == {SEED}


def test_an_impossible_choice_keeps_the_map(explorer):
    explorer.controls.colour.value = "modality"
    assert "no single modality" in explorer.error
    assert "colours: category" in repr(explorer)
    explorer.controls.kind.value = "each"
    assert explorer.error == ""
    assert "colours: modality (5 groups)" in repr(explorer)


def test_unknown_choices_are_errors(source):
    choices = {"kind": "smell", "colour": "size", "projection": "tsne", "second": "x"}
    for name, value in choices.items():
        with pytest.raises(ValueError, match=f"unknown .*{value}.*known:"):
            EmbeddingExplorer(source, **{name: value})


def test_an_unknown_product_is_an_error(source, explorer):
    with pytest.raises(ValueError, match="no product 'nobody'"):
        EmbeddingExplorer(source, projection="pca", product="nobody")
    explorer.choose("nobody")
    assert "nobody" in explorer.error


def test_the_same_state_has_the_same_text(source):
    texts = []
    for _ in range(2):
        explorer = EmbeddingExplorer(source, projection="pca", product="p07")
        explorer.select(["p01", "p02"])
        texts.append(repr(explorer))
    assert texts[0] == texts[1]
    assert "0x" not in texts[0]
    assert "selected (2): p01, p02" in texts[0]


def test_the_static_picture_has_every_map(source):
    for second, maps in ((None, 1), ("untrained", 2)):
        explorer = EmbeddingExplorer(source, projection="pca", second=second)
        assert len(explorer.picture().axes) == maps


def test_media_are_embedded_up_to_a_size(source, monkeypatch, tmp_path):
    row = next(row for row in source.rows if source.product(row).audio)
    html = product_html(source, int(row), "en")
    assert 'src="data:audio/' in html
    assert 'src="data:video/mp4;base64,' in html
    monkeypatch.setattr(embedding_views, "MAX_BYTES", 10)
    assert media_uri(source.product(row).audio) is None
    small = product_html(source, int(row), "zh")
    assert "data:audio" not in small
    assert "未载入页面" in small


def test_a_missing_file_is_reported(source, tmp_path):
    row = next(row for row in source.rows if source.product(row).audio)
    products = list(source.data.products)
    products[row] = replace(products[row], audio=tmp_path / "gone.wav", text="<b>bold</b>")
    html = product_html(
        ExplorerSource(source.run, replace(source.data, products=tuple(products))), int(row), "en"
    )
    assert "audio: cannot be read (No such file" in html
    assert "<b>bold" not in html


def test_a_long_selection_is_cut_with_a_note(source):
    html = selection_html(source, list(range(48)) * 3, "en")
    assert html.count("<tr>") == 1 + 100
    assert "and 44 more" in html


def test_a_map_of_many_points_is_built_from_arrays():
    rng = np.random.default_rng(0)
    groups = Groups.of([f"g{k}" for k in rng.integers(0, 9, 20_000)], "unknown", "rest")
    seen = []
    panel = PointMap(rng.normal(size=(20_000, 2)), groups, picked=seen.append)
    assert panel.widget.points.shape[0] == 20_000
    assert panel.widget.opacity_by == "density"
    panel.select([3, 4])
    assert seen == []
    panel.widget.selection = np.array([5], dtype=np.uint32)
    assert [each.tolist() for each in seen] == [[5]]


def test_a_map_follows_the_page():
    panel = PointMap(np.eye(2), Groups.of(["a", None], "u", "r"))
    panel.layer._receive(None, {"page": "#111111"}, [])
    assert panel.widget.background_color == pytest.approx([17 / 255] * 3 + [1])
    assert panel.widget.color_selected == [1, 1, 1, 1]
    assert not panel.widget.legend


def test_a_map_has_the_colours_of_the_groups_that_it_shows():
    groups = Groups(np.array([2, 0, 2]), ("a", "b", "c"), ("#ff0000", "#00ff00", "#0000ff"))
    panel = PointMap(np.arange(6).reshape(3, 2), groups)
    assert panel.widget.points[:, 2].tolist() == [1, 0, 1]
    assert panel.widget.color == [[1, 0, 0, 1], [0, 0, 1, 1]]
    panel.move(np.arange(4).reshape(2, 2), Groups(np.array([1, 1]), groups.names, groups.colours))
    assert panel.widget.points[:, 2].tolist() == [0, 0]
    assert panel.widget.color == [[0, 1, 0, 1]]


def test_a_map_names_its_groups_at_their_middle_and_fills_its_canvas():
    values = ["a"] * 3 + ["b"] * 5 + ["once", None, None]
    x_P = np.array([0, 1, 5, 10, 11, 12, 13, 90, 40, 50, 60])
    panel = PointMap(np.stack([x_P, x_P / 100], axis=1), Groups.of(values, "unknown", "rest"))
    assert [(index, name) for index, name, _ in panel.layer.labels] == [(5, "b"), (1, "a")]
    xy_P2 = panel.widget.points[:, :2]
    np.testing.assert_allclose(xy_P2.min(0), [-0.8, -0.8], atol=1e-6)
    np.testing.assert_allclose(xy_P2.max(0), [0.8, 0.8], atol=1e-6)


def test_a_map_sends_pictures_of_its_present_points_only(source):
    explorer = EmbeddingExplorer(source, kind="image", projection="pca")
    layer, sent = explorer.panes.frame.children[0].layer, []
    layer.send = sent.append
    layer._receive(None, {"wanted": [0, 3], "stamp": layer.stamp}, [])
    row_P = PointSet.of(source.embeddings, "image").row_P
    expected = {str(k): source.thumbnail(int(row_P[k])) for k in (0, 3)}
    assert sent == [{"pictures": expected, "stamp": layer.stamp}]
    assert expected["0"].startswith("data:image/")
    explorer.controls.kind.value = "video"
    layer._receive(None, {"wanted": [1], "stamp": layer.stamp - 1}, [])
    assert len(sent) == 1


def test_bad_coordinates_are_errors():
    groups = Groups.of(["a", "b"], "u", "r")
    with pytest.raises(ValueError, match=r"coordinates are \(3, 2\), groups are 2"):
        PointMap(np.zeros((3, 2)), groups)
    with pytest.raises(ValueError, match="not finite"):
        PointMap(np.array([[0, np.nan], [0, 1]]), groups)


def test_a_map_is_computed_once(source):
    projections = Projections(source)
    view = MapView("best", "product", "umap")
    assert not projections.has(view)
    assert projections.xy(view) is projections.xy(view)
    assert projections.has(view)
    assert projections.has(view._replace(projection="pca"))
