"""`scale explore`: the page by Voilà, dark and in Chinese, each panel in its tab."""

import os
import re
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from benchmarks.explorers import memory_megabytes
from scale.notebook import demo_data

PANELS = {
    "scores": ".scale-score-explorer",
    "masking": ".scale-masking",
    "embeddings": ".scale-embeddings",
    "training": ".scale-monitor",
}
SECONDS = 90_000
KERNEL = "JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId"
BUSY = """() => {
    const panel = document.querySelector(".scale-score-explorer");
    const box = panel.querySelector("input[type=checkbox]");
    window.busy = [];
    const start = performance.now();
    new MutationObserver(() => window.busy.push(
        [performance.now() - start, panel.classList.contains("scale-is-busy")]
    )).observe(panel, { attributes: true, attributeFilter: ["class"] });
    box.click();
}"""
"""Switches a modality off; times at which the sign of a panel appears and disappears."""


@pytest.fixture
def opened(explored, watched):
    """Open the page with a query, and wait for its first panel."""

    def opened(query: str = ""):
        watched.page.goto(f"{explored}?{query}", timeout=SECONDS)
        expect(watched.page.locator(".scale-page")).to_be_visible(timeout=SECONDS)
        return watched

    return opened


def test_every_panel_is_in_its_tab(opened):
    watched = opened()
    tabs = watched.page.locator(".scale-page .lm-TabBar-tab")
    expect(tabs).to_have_count(len(PANELS), timeout=SECONDS)
    for number, panel in enumerate(PANELS.values()):
        tabs.nth(number).click()
        expect(watched.page.locator(panel)).to_be_visible(timeout=SECONDS)
        expect(watched.page.get_by_role("alert")).to_have_count(0)
        watched.picture(panel.strip("."))
    assert watched.page.evaluate("document.body.dataset.jpThemeLight") == "false"
    assert watched.page.evaluate("document.documentElement.lang") == "zh-CN"
    watched.check()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_findings_of_axe(opened, theme):
    for name, panel in PANELS.items():
        watched = opened(f"panel={name}&theme={theme}&lang=en")
        expect(watched.page.locator(panel)).to_be_visible(timeout=SECONDS)
        watched.page.wait_for_timeout(1500)
        found = Axe().run(watched.page).response["violations"]
        serious = [
            (each["id"], node["html"][:200], node.get("failureSummary", "")[:300])
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]
        assert serious == [], name


def test_a_link_opens_the_same_view_in_another_language_and_theme(opened):
    watched = opened("lang=en&theme=light")
    page, product = watched.page, demo_data("test").ids[3]
    found = page.locator(PANELS["scores"])
    found.get_by_placeholder("words").fill(product)
    expect(page.locator(".scale-header")).to_contain_text(product)
    found.locator(".scale-modality-audio input[type=checkbox]").first.uncheck()
    expect(page).to_have_url(re.compile(f"product={product}.*audio=off"))
    page.get_by_role("button", name="中文").click()
    expect(page.locator(".scale-header")).to_contain_text("商品", timeout=SECONDS)
    page.get_by_role("button", name="深色").click()
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false", timeout=SECONDS)
    found = page.locator(PANELS["scores"])
    expect(page.locator(".scale-header")).to_contain_text(product, timeout=SECONDS)
    expect(found.locator(".scale-modality-audio input[type=checkbox]").first).not_to_be_checked()
    watched.picture("dark-chinese")
    watched.check()


def test_sign_at_a_choice_and_answers_of_the_new_question(opened):
    watched = opened("lang=en")
    expect(watched.page.locator(PANELS["scores"])).to_be_visible(timeout=SECONDS)
    watched.page.wait_for_timeout(1000)
    watched.page.evaluate(BUSY)
    watched.page.wait_for_function("window.busy.some(([time, busy]) => !busy)")
    times = watched.page.evaluate("window.busy")
    print("sign and answer, ms:", [[round(time), busy] for time, busy in times], os.getloadavg())
    assert times[0][1]
    assert times[0][0] < 100
    watched.check()


def test_pictures_are_downloads(opened):
    watched = opened("lang=en")
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<?xml")):
        with watched.page.expect_download(timeout=SECONDS) as waiting:
            watched.page.get_by_role("button", name=kind).click()
        path = waiting.value.path()
        assert path.read_bytes().startswith(start)
        assert waiting.value.suggested_filename.endswith(kind.lower())
    watched.check()


def test_a_dead_kernel_is_a_sentence_and_a_button(opened):
    watched = opened("lang=en")
    page = watched.page
    expect(page.locator(PANELS["scores"])).to_be_visible(timeout=SECONDS)
    gone = page.get_by_role("alert")
    expect(gone).to_have_count(0)
    page.evaluate(f"navigator.sendBeacon('/voila/api/shutdown/' + ({KERNEL}))")
    expect(gone).to_contain_text("has ended", timeout=10_000)
    watched.picture("gone")
    gone.get_by_role("button").click()
    expect(page.locator(PANELS["scores"])).to_be_visible(timeout=SECONDS)
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize(
    ("lang", "end", "text"),
    [
        ("en", '<script id="jupyter-config-data"', "has ended"),
        ("__proto__", '"kernelId"', "后台计算已结束"),
    ],
)
def test_a_page_without_a_kernel_is_a_sentence_and_a_button(explored, watched, lang, end, text):
    """The response ends before the kernel is named, as if it had died before its first message."""
    page = watched.page
    address = f"{explored}?lang={lang}"
    with urlopen(address, timeout=120) as response:
        start, found, _ = response.read().decode().partition(end)
    assert found
    page.route(address, lambda route: route.fulfill(body=start, content_type="text/html"))
    page.goto(address)
    notice = page.get_by_role("alert")
    expect(notice).to_contain_text(text, timeout=10_000)
    watched.picture("no-kernel")
    page.unroute(address)
    notice.get_by_role("button").click(timeout=10_000)
    expect(page.locator(PANELS["scores"])).to_be_visible(timeout=SECONDS)


def test_ten_pages_are_opened_and_closed(explored, browser):
    """Seconds to a usable page and memory are printed; closed pages leave no kernel."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    pages, seconds, ids = [], [], []
    for _ in range(10):
        page, start = context.new_page(), time.perf_counter()
        page.goto(explored, timeout=SECONDS)
        expect(page.locator(PANELS["scores"])).to_be_visible(timeout=SECONDS)
        seconds.append(round(time.perf_counter() - start, 1))
        ids.append(page.evaluate(KERNEL))
        pages.append(page)
    assert len(set(ids)) == 10
    print("seconds to a usable page:", seconds, "load:", os.getloadavg())
    print("memory with ten pages, MB:", memory_megabytes(explored))
    assert [alive(explored, kernel) for kernel in ids] == [True] * 10
    for page in pages[:-1]:
        page.close(run_before_unload=True)
    pages[-1].reload(timeout=SECONDS)
    expect(pages[-1].locator(PANELS["scores"])).to_be_visible(timeout=SECONDS)
    for _ in range(100):
        if not any(alive(explored, kernel) for kernel in ids):
            break
        time.sleep(0.1)
    assert [alive(explored, kernel) for kernel in ids] == [False] * 10
    print("memory with one page, MB:", memory_megabytes(explored))
    context.close()


def alive(address, kernel) -> bool:
    try:
        with urlopen(f"{address}api/kernels/{kernel}", timeout=10):
            return True
    except HTTPError:
        return False
