"""The embedding explorer in notebook 13: point, click, lasso, search, save, play."""

import pytest
from playwright.sync_api import expect

from scale.notebook import demo_data

PRODUCT = "p0012"
PLACES = """box => {
    let node = box.querySelector("canvas");
    while (node && !node.api) node = node.parentElement;
    const place = node.querySelector("canvas").getBoundingClientRect();
    return [...Array(146).keys()].map(point => {
        const [x, y] = node.api.getScreenPosition(point);
        return [place.x + x, place.y + y, place.x, place.y, place.width, place.height];
    });
}"""
"""Position of each point on the screen, and its canvas."""


@pytest.fixture
def panel(open_notebook):
    watched = open_notebook("13_embedding_space.ipynb")
    found = watched.page.locator(".scale-embeddings")
    found.scroll_into_view_if_needed()
    found.locator("canvas").first.wait_for()
    watched.page.wait_for_timeout(2000)
    return watched, found


def test_a_map_is_pointed_at_clicked_and_lassoed(panel):
    watched, found = panel
    mouse, inspector = watched.page.mouse, found.locator(".scale-embeddings-inspector")
    frame = found.locator(".scale-embeddings-frame")
    frame.evaluate("box => box.scrollIntoView({block: 'center'})")
    watched.page.wait_for_timeout(500)
    places = frame.evaluate(PLACES)
    ids = demo_data("test").ids

    def alone(point):
        x, y, left, top, width, height = places[point]
        inside = left + 60 < x < left + width - 20 and top + 20 < y < top + height - 20
        near = [p for p in places if abs(p[0] - x) + abs(p[1] - y) < 14]
        return inside and len(near) == 1

    lonely = next(point for point in range(len(ids)) if alone(point))
    x, y, *_ = places[lonely]
    mouse.move(x - 3, y)
    mouse.move(x, y)
    expect(inspector.locator("[data-product]")).to_have_attribute("data-product", ids[lonely])
    watched.picture("pointed")
    mouse.click(x, y)
    expect(found.locator(".scale-embeddings-neighbours [data-cosine]")).to_have_count(10)

    found.locator(".scale-map [data-jss-theme] button").nth(1).click()
    frame.evaluate("box => box.scrollIntoView({block: 'center'})")
    places = frame.evaluate(PLACES)
    other = next(point for point in range(len(ids)) if alone(point) and point != lonely)
    x, y, *_ = places[other]
    mouse.move(x - 12, y - 12)
    mouse.down()
    for dx, dy in ((12, -12), (12, 12), (-12, 12), (-12, -12)):
        mouse.move(x + dx, y + dy, steps=5)
    mouse.up()
    picked = found.locator(".scale-embeddings-picked [data-key]")
    expect(picked).to_have_attribute("data-key", ids[other])
    watched.picture("lassoed")
    watched.check()


def test_search_neighbours_and_a_download(panel):
    watched, found = panel
    search = found.get_by_placeholder("id, title or category")
    search.fill("mug")
    search.press("Enter")
    count = sum((p.category or "") == "mug" for p in demo_data("test").products)
    expect(found.locator(".xe-picked")).to_be_visible()
    assert int(found.locator(".xe-picked").get_attribute("data-count")) >= count
    with watched.page.expect_download() as waiting:
        found.get_by_role("button", name="Save CSV").click()
    assert waiting.value.suggested_filename == "selection.csv"
    expect(found.get_by_role("status").last).to_contain_text("selection.csv")
    lines = waiting.value.path().read_text(encoding="utf-8").splitlines()
    assert len(lines) - 1 >= count

    found.get_by_role("button", name="Clear selection").click()
    found.get_by_role("button", name="Save CSV").click()
    expect(found.get_by_role("alert")).to_be_visible()
    watched.picture("nothing-to-save")
    watched.check()


def test_sound_and_clip_of_a_product_play(panel):
    watched, found = panel
    for kind in ("audio", "video"):
        media = found.locator(f".scale-embeddings-inspector {kind}")
        media.evaluate("one => { one.muted = true; return one.play(); }")
        watched.page.wait_for_timeout(600)
        assert media.evaluate("one => one.currentTime") > 0.1, kind
    assert PRODUCT in found.locator(".scale-embeddings-inspector").inner_text()
    watched.picture("plays")
    watched.check()
