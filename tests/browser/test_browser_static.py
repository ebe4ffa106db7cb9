"""Static panels in a plain page without network: numbers move and are those of the model."""

import numpy as np
import pytest
from playwright.sync_api import expect

from scale.explore import ExplorerSource, static, static_panel
from scale.explore.modality_column import STRENGTHS
from scale.modalities import MODALITIES
from scale.notebook import demo_data, demo_run
from scale.studies.single_product import ModalityChange, ProductEditor, product_outputs

PRODUCT = "p0012"
ATTACK = "<img src=x onerror='window.hacked=1'></script><script>window.hacked=1</script>"


@pytest.fixture(scope="module")
def source():
    return ExplorerSource(demo_run(), demo_data("test"))


@pytest.fixture(scope="module")
def address(source, tmp_path_factory):
    """A file with both panels, English; a product of the map has a hostile title."""
    scores = static.static_scores(source, [PRODUCT, source.data.ids[int(source.rows[-1])]])
    chart = static.static_map(source, product=PRODUCT, projection="pca")
    chart.data["points"][0]["title"] = scores.data["products"][0]["title"] = ATTACK
    path = tmp_path_factory.mktemp("static") / "panels.html"
    static_panel.write_panels(path, [scores, chart], "panels", "en")
    return path.as_uri()


@pytest.fixture
def opened(watched, address):
    watched.page.context.set_offline(True)
    watched.page.goto(address)
    return watched


def numbers(panel, key):
    """Numbers of a matrix on the page; NaN for hatched cells."""
    cells = panel.locator(f'[data-matrix="{key}"] tbody td')
    texts = cells.evaluate_all("cells => cells.map((cell) => cell.dataset.value)")
    return np.array([float(text) if text else np.nan for text in texts]).reshape(5, 5)


def test_slider_and_buttons_show_the_scores_of_the_model(opened, source):
    panel = opened.page.locator("[data-static]").first
    editor, row = ProductEditor(source.data), source.row(PRODUCT)

    def check(**changes):
        found = product_outputs(source.run.model, editor.batch(row, changes))
        both_MM = found.present_M[:, None] & found.present_M[None, :]
        expected = {"scores": found.cosine_MM, "softmax": found.softmax_MM}
        for key, values_MM in (expected | {"weighted": found.weighted_MM}).items():
            shown_MM = numbers(panel, key)
            np.testing.assert_allclose(shown_MM, np.where(both_MM, values_MM, np.nan), atol=1e-4)
        total = panel.locator(".total")
        weights = found.weighted_MM
        pairs, own = float(np.triu(weights, 1).sum()), float(np.trace(weights))
        assert float(total.get_attribute("data-pairs")) == pytest.approx(pairs, abs=1e-3)
        assert float(total.get_attribute("data-own")) == pytest.approx(own, abs=1e-3)
        return shown_MM

    unchanged_MM = check()
    image = panel.locator('[data-modality="image"]')
    image.locator("select").select_option(label="Gaussian noise")
    strong = STRENGTHS["gaussian"][-1]
    changed_MM = check(image=ModalityChange(damage=("gaussian", float(strong))))
    assert np.abs(changed_MM - unchanged_MM).max() > 0.01
    image.locator("input[type=range]").focus()
    for _ in range(2):
        opened.page.keyboard.press("ArrowLeft")
    mild = STRENGTHS["gaussian"][round(len(STRENGTHS["gaussian"]) / 3) - 1]
    check(image=ModalityChange(damage=("gaussian", float(mild))))
    text = panel.locator('[data-modality="text"]')
    text.locator("select").select_option(label="Another product's")
    check(
        image=ModalityChange(damage=("gaussian", float(mild))), text=ModalityChange(mismatch=True)
    )
    opened.picture("noised")
    panel.locator('[data-story="audio-off"]').click()
    check(audio=ModalityChange(present=False))
    panel.get_by_role("button", name="Reset").click()
    check()
    opened.check()


def test_products_are_chosen_by_keyboard_and_all_can_be_removed(opened, source):
    page, panel = opened.page, opened.page.locator("[data-static]").first
    panel.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowRight")
    expect(panel.get_by_role("radio").nth(1)).to_be_checked()
    expect(panel.locator(".title")).to_contain_text(source.data.ids[int(source.rows[-1])])
    for m in MODALITIES:
        choice = panel.locator(f'[data-modality="{m}"] select')
        if choice.is_enabled():
            choice.select_option(label="removed")
    expect(panel.get_by_role("status")).to_contain_text("No modality is left")
    opened.check()


def test_map_shows_neighbours_by_mouse_and_keyboard(opened, source):
    page, panel = opened.page, opened.page.locator("[data-static]").nth(1)
    chart = panel.locator("svg")
    expect(panel.locator("svg .kept, svg .torn")).to_have_count(10)
    chart.scroll_into_view_if_needed()
    expect(panel.locator(".inspector")).to_contain_text(PRODUCT)
    other = source.data.ids[int(source.rows[5])]
    panel.get_by_role("searchbox").fill(other)
    panel.get_by_role("searchbox").press("Enter")
    expect(panel.locator(".inspector")).to_contain_text(other)
    names = [name for name, _ in source_neighbours(source, other)]
    titles = [source.product(source.row_of[name]).text or "no title" for name in names]
    expect(panel.locator(".near .card")).to_have_count(10)
    shown = panel.locator(".near .card").evaluate_all("cards => cards.map((card) => card.title)")
    assert [a for a, b in zip(shown, titles, strict=True) if a not in (b, ATTACK)] == []
    panel.locator(".near .card").first.click()
    expect(panel.locator(".inspector")).to_contain_text(names[0])
    chart.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(panel.locator(".inspector")).not_to_contain_text(names[0])
    opened.picture("map")
    opened.check()


def source_neighbours(source, name):
    """The ten nearest products of a product, by the search index."""
    vectors = source.embeddings.product()
    emb_D = vectors.emb_ND[vectors.ids.index(name)]
    matches = source.index.query(emb_D[None], 11)
    found = zip(matches.ids[0], matches.score_QK[0].tolist(), strict=True)
    return [(other, cosine) for other, cosine in found if other != name][:10]


def test_titles_do_not_run(opened):
    panel = opened.page.locator("[data-static]").first
    expect(panel.locator(".title")).to_contain_text("<img src=x")
    opened.page.wait_for_timeout(200)
    assert opened.page.evaluate("window.hacked") is None
    opened.check()


def test_without_scripts_a_picture_is_shown(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    pictures = page.locator("[data-static] > img")
    expect(pictures).to_have_count(2)
    for k in range(2):
        assert pictures.nth(k).bounding_box()["width"] > 400
    context.close()


def test_text_has_enough_contrast(opened):
    """Every text of both panels has a contrast of at least 4.5 to its own background."""
    low = opened.page.evaluate(CONTRASTS)
    assert low == []


CONTRASTS = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
  const low = [];
  for (const host of document.querySelectorAll("[data-static]"))
    for (const node of host.shadowRoot.querySelectorAll("*")) {
      const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
      if (!own || node.tagName === "STYLE" || node.tagName === "OPTION" || node.disabled) continue;
      const style = getComputedStyle(node);
      const ink = parse(node.namespaceURI.includes("svg") ? style.fill : style.color);
      let page = [255, 255, 255];
      for (let up = node; up; up = up.parentElement) {
        const found = parse(getComputedStyle(up).backgroundColor);
        if (found.length === 3 || found[3] > 0) { page = found; break; }
      }
      const [a, b] = [light(ink), light(page)].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) low.push(`${node.className || node.tagName} ${node.textContent} ${ratio}`);
    }
  return low;
}"""
