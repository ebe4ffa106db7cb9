"""Static panels: precomputed numbers equal the model's, texts cannot run, no network is needed."""

import json
import re
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest

from scale.explore import static, static_panel
from scale.explore.projections import MapView, Projections
from scale.modalities import INDEX, MODALITIES
from scale.studies.single_product import (
    ModalityChange,
    ProductEditor,
    nearest_products,
    product_outputs,
)

ATTACK = "</script><script>hacked=1</script><img src=x onerror=hacked=1> $x$"


@pytest.fixture(scope="module")
def scores(source):
    return static.static_scores(source, 4)


def decoded(text, rows):
    return np.frombuffer(b64decode(text), "<i2").reshape(rows, -1) / 32767


def outputs(product, chosen):
    """Slow twin of `outputsOf` in static.js: S', and the cosine to every product."""
    count = sum(
        s["at"] is not None for c in product["contents"] for kind in c for s in kind["steps"]
    )
    cosine_CC, near_CN = decoded(product["cosine"], count), decoded(product["near"], count)
    weighted_MM = np.zeros((5, 5))
    there = [m for m in range(5) if chosen[m] is not None]
    square = 0.0
    for i in there:
        row = {j: 1.0 if i == j else cosine_CC[chosen[i], chosen[j]] for j in there}
        total = sum(np.exp(value) for value in row.values())
        square += sum(row.values())
        for j, value in row.items():
            weighted_MM[i, j] = value * np.exp(value) / total
    near_N = sum(near_CN[chosen[m]] for m in there) / np.sqrt(square)
    return weighted_MM, near_N


def test_every_combination_equals_the_model(source, scores):
    """Random combinations of changes of complete and incomplete products."""
    editor, rng = ProductEditor(source.data), np.random.default_rng(0)
    steps = {}
    for product in scores.data["products"]:
        for m in MODALITIES:
            kept = static.changes_of(editor, product["row"], m, 3, "en")
            shown = [s for kind in product["contents"][INDEX[m]] for s in kind["steps"]]
            assert len(kept) == len(shown)
            steps[product["row"], m] = list(zip(kept, shown, strict=True))
    for _ in range(30):
        product = scores.data["products"][rng.integers(len(scores.data["products"]))]
        row, chosen, changes = product["row"], [None] * 5, {}
        for m in MODALITIES:
            if steps[row, m]:
                step, shown = steps[row, m][rng.integers(len(steps[row, m]))]
                changes[m], chosen[INDEX[m]] = step.change, shown["at"]
        if not any(at is not None for at in chosen):
            continue
        found = product_outputs(source.run.model, editor.batch(row, changes))
        weighted_MM, near_N = outputs(product, chosen)
        np.testing.assert_allclose(weighted_MM, found.weighted_MM, atol=1e-4)
        for name, cosine in nearest_products(source.index, found.emb_D, source.data.ids[row]):
            assert near_N[source.row_of[name]] == pytest.approx(cosine, abs=1e-4)


def test_removed_missing_and_other_contents_are_told_apart(source, scores):
    complete = scores.data["products"][0]
    lacking = next(p for p in scores.data["products"] if [] in p["contents"])
    assert all(complete["contents"])
    for contents in complete["contents"]:
        kinds = {kind["key"]: kind["steps"] for kind in contents}
        assert list(kinds)[:3] == ["as_is", "off", "mismatch"]
        assert kinds["off"][0]["at"] is None
        assert kinds["mismatch"][0]["at"] != kinds["as_is"][0]["at"]
    row = lacking["row"]
    absent = [m for m in MODALITIES if not lacking["contents"][INDEX[m]]]
    assert absent == [m for m in MODALITIES if m not in source.modalities(row)]


def test_neighbours_on_the_map_are_those_of_the_space(source):
    panel = static.static_map(source, product=source.data.ids[int(source.rows[3])])
    projections, view = Projections(source), MapView("best", "product", "umap")
    points, xy_P2 = projections.points(view), projections.xy(view)
    assert len(panel.data["points"]) == len(points.row_P)
    for index in (0, 7, panel.data["chosen"]):
        near = points.neighbours(index, xy_P2, 10)
        expected = zip(near.index_K, near.cosine_K, near.far_K, strict=True)
        shown = panel.data["points"][index]["near"]
        assert [(k, far) for k, _, far in shown] == [(k, far) for k, _, far in expected]
        np.testing.assert_allclose([c for _, c, _ in shown], near.cosine_K, atol=1e-4)
    chosen = panel.data["points"][panel.data["chosen"]]
    assert chosen["id"] == source.data.ids[int(source.rows[3])]


def test_a_large_map_is_sampled_with_its_product(source, monkeypatch):
    monkeypatch.setattr(static, "MOST_POINTS", 12)
    chosen = source.data.ids[int(source.rows[-1])]
    panel = static.static_map(source, product=chosen, projection="pca")
    assert len(panel.data["points"]) == 12
    assert panel.data["points"][panel.data["chosen"]]["id"] == chosen
    assert "12 of 48" in repr(panel)


def test_texts_of_the_catalogue_cannot_run(source, scores):
    """The data end no script, and texts that become HTML are escaped."""
    clean = ProductEditor(source.data).content(int(source.rows[0]), "text", ModalityChange())
    attacked = replace(clean, shown=ATTACK)
    shown = static._shown(source, "text", attacked, clean, "en")["html"]
    assert "<script" not in shown
    assert "<img" not in shown
    assert "hacked=1" in shown
    data = {**scores.data, "products": [{**scores.data["products"][0], "title": ATTACK}]}
    html = replace(scores, data=data, summary='" onload="').html
    for tag in ("<script>", "</script>", "<img"):
        assert html.count(tag) == 1
    assert 'alt="&quot; onload=&quot;"' in html
    assert json.loads(static_panel._script({"title": ATTACK})) == {"title": ATTACK}


def test_html_is_one_picture_and_one_script_without_addresses(scores):
    before, script = scores.html.split("<script>")
    assert re.search(r'<img alt="[^"]+" src="data:image/png;base64,', before)
    addresses = set(re.findall(r"https?://[^\s\"'`]+", script))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert scores._repr_html_() == scores.html
    assert repr(scores) == scores.summary


def test_the_same_results_give_the_same_html(source, scores):
    again = static.static_scores(source, 4)
    assert replace(again, picture=scores.picture).html == scores.html


def test_page_of_both_panels(source, scores, tmp_path):
    path = tmp_path / "panels.html"
    static_panel.write_panels(path, [scores, static.static_map(source, "zh")], "a < b", "zh")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "<title>a &lt; b</title>" in text
    assert len(set(re.findall(r'data-static="(\w+)"', text))) == 2
    with pytest.raises(ValueError, match="html"):
        static_panel.write_panels(tmp_path / "panels.txt", [scores], "a", "en")


def test_unsuitable_choices_are_refused(source):
    for choice, message in ((["p9999"], "p9999"), ([], "at least one"), (0, "at least one")):
        with pytest.raises(ValueError, match=message):
            static.static_scores(source, choice)
    with pytest.raises(ValueError, match="tsne"):
        static.static_map(source, projection="tsne")
