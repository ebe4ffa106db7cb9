"""The essential steps of the pages in Firefox."""

import numpy as np
import pytest
from playwright.sync_api import expect

from scale.explore import ExplorerSource, static, static_panel
from scale.notebook import demo_data, demo_run
from tests.browser.test_browser_map import MAPS
from tests.browser.test_browser_scores import cells

pytestmark = pytest.mark.firefox
SECONDS = 120_000
LOWEST = """() => Math.max(...[...document.querySelectorAll(".scale-page *")]
    .filter((node) => node.offsetParent).map((node) => node.getBoundingClientRect().bottom))"""


def test_every_panel_answers(explored, watched):
    page = watched.page
    page.goto(f"{explored}?lang=en&theme=light", timeout=SECONDS)
    tabs = page.locator(".scale-page > .lm-TabBar .lm-TabBar-tab")
    expect(tabs).to_have_count(4, timeout=SECONDS)
    cut = page.locator(".scale-page > .lm-TabBar .lm-TabBar-tabLabel").evaluate_all(
        "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).length"
    )
    assert cut == 0

    scores = page.locator(".scale-score-explorer")
    expect(scores).to_be_visible(timeout=SECONDS)
    before = cells(scores).all_inner_texts()
    handle = scores.locator(".scale-modality-image .noUi-handle")
    handle.focus()
    for _ in range(12):
        handle.press("ArrowRight")
    expect(scores.locator("td[data-change]").first).to_be_visible(timeout=SECONDS)
    assert cells(scores).all_inner_texts() != before
    assert "image=gaussian" in page.url
    watched.picture("scores")

    tabs.nth(1).click()
    masking = page.locator(".scale-masking")
    prompt = masking.locator(".xm-prompt")
    expect(prompt).to_have_attribute("data-hidden", "1", timeout=SECONDS)
    loss = masking.locator(".xm-losses").get_attribute("data-all")
    masking.locator(".scale-masking-prompt [aria-pressed=false]").first.click()
    expect(prompt).to_have_attribute("data-hidden", "2", timeout=SECONDS)
    expect(masking.locator(".xm-losses")).not_to_have_attribute("data-all", loss, timeout=SECONDS)
    watched.picture("masking")

    tabs.nth(2).click()
    layer = page.locator(".scale-map-layer")
    expect(layer).not_to_have_attribute("data-pictures", "0", timeout=SECONDS)
    (shown,) = page.evaluate(MAPS)
    places_P2 = np.array(shown["places"])
    away_PP = np.linalg.norm(places_P2[:, None] - places_P2, axis=2)
    np.fill_diagonal(away_PP, np.inf)
    lonely = int(away_PP.min(1).argmax())
    page.mouse.move(*(places_P2[lonely] + [shown["x"], shown["y"]]))
    product = page.locator(".scale-embeddings-inspector [data-product]")
    expect(product).to_have_attribute("data-product", demo_data("test").ids[lonely])
    # Actions of WebDriver come at once: a press together with its move would drag the map.
    page.mouse.down()
    page.mouse.up()
    expect(layer).to_have_attribute("data-lines", "10", timeout=SECONDS)
    watched.picture("map")

    tabs.nth(3).click()
    figure = page.locator(".scale-monitor .xt-figure")
    expect(figure).to_be_visible(timeout=SECONDS)
    last = figure.get_attribute("data-step")
    page.locator(".scale-monitor .noUi-handle").press("ArrowLeft")
    expect(figure).not_to_have_attribute("data-step", last, timeout=SECONDS)
    watched.picture("training")
    watched.check()


def test_steps_fit_the_screen_of_a_projector(explored, watched):
    page = watched.page
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(f"{explored}?lang=en&theme=light&present=1", timeout=SECONDS)
    for number in (0, 3):
        page.locator(".scale-page > .lm-TabBar .lm-TabBar-tab").nth(number).click(timeout=SECONDS)
        panel = page.locator((".scale-score-explorer", "", "", ".scale-monitor")[number])
        expect(panel).to_be_visible(timeout=SECONDS)
        steps = panel.locator(".scale-parts button")
        for step in range(steps.count()):
            steps.nth(step).click()
            page.wait_for_timeout(1000)
            assert page.evaluate(LOWEST) <= 720, (number, step)
            watched.picture(f"{number}-{step}")
    watched.check()


def test_the_static_file_answers(watched, tmp_path):
    source = ExplorerSource(demo_run(), demo_data("test"))
    panels = [
        static.static_scores(source, ["p0012"]),
        static.static_map(source, product="p0012", projection="pca"),
    ]
    path = tmp_path / "panels.html"
    static_panel.write_panels(path, panels, "panels", "en")
    watched.page.goto(path.as_uri())
    scores, chart = (watched.page.locator("[data-static]").nth(k) for k in range(2))
    weighted = scores.locator('[data-matrix="weighted"] tbody')
    before = weighted.inner_text()
    scores.locator('[data-modality="image"] select').select_option(label="Gaussian noise")
    expect(weighted).not_to_have_text(before)
    expect(chart.locator("svg .kept, svg .torn")).to_have_count(10)
    chart.locator(".near .card").first.click()
    expect(chart.locator(".inspector")).not_to_contain_text("p0012")
    watched.picture("static")
    watched.check()
