"""The map of the embedding explorer on the page: canvas, names, pictures, lines, PNG, touch."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from scale.notebook import demo_data

SECONDS = 90_000
PRODUCT = "p0012"
QUERY = f"panel=embeddings&lang=en&theme=dark&projection=pca&second=untrained&product={PRODUCT}"
MAPS = """() => [...document.querySelectorAll(".scale-map")].map(map => {
    let node = map.querySelector("canvas");
    while (!node.api) node = node.parentElement;
    const box = node.getBoundingClientRect();
    const places = node.api.get("points").map((_, point) => node.api.getScreenPosition(point));
    const layer = map.querySelector(".scale-map-layer");
    return {
        x: box.x, y: box.y, width: box.width, height: box.height, places,
        shown: { ...layer.dataset }, names: layer.getAttribute("aria-label"),
        selected: node.api.get("selectedPoints"), colour: node.style.backgroundColor,
    };
})"""
"""Position and contents of each map; places are relative to its canvas."""
INK = """() => {
    const layer = document.querySelector(".scale-map-layer");
    const pixels = layer.getContext("2d").getImageData(0, 0, layer.width, layer.height).data;
    let found = 0;
    for (let k = 3; k < pixels.length; k += 4) found += pixels[k] > 0;
    return found;
}"""
"""Number of pixels drawn above the first map."""


POINTS = """() => {
    const canvas = document.querySelector(".scale-map canvas");
    const copy = document.createElement("canvas");
    Object.assign(copy, { width: canvas.width, height: canvas.height });
    const pen = copy.getContext("2d");
    pen.drawImage(canvas, 0, 0);
    const pixels = pen.getImageData(0, 0, copy.width, copy.height).data;
    const inside = Array.from({ length: pixels.length / 4 }, (_, k) => +(pixels[4 * k + 3] > 60));
    return [copy.width, inside];
}"""
"""Width of the first map, and whether each pixel belongs to a point."""


@pytest.fixture
def maps(explored, watched):
    """The page with two maps, dark, and a function that returns what they show."""
    page = watched.page
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"{explored}?{QUERY}", timeout=SECONDS)
    expect(page.locator(".scale-map-layer")).to_have_count(2, timeout=SECONDS)
    for number in range(2):
        layer = page.locator(".scale-map-layer").nth(number)
        expect(layer).not_to_have_attribute("data-pictures", "0", timeout=SECONDS)
    return watched, lambda: page.evaluate(MAPS)


def filled(shown):
    """Share of the width and of the height of the canvas that the points take, and the margin."""
    share_P2 = np.array(shown["places"]) / [shown["width"], shown["height"]]
    return np.ptp(share_P2, axis=0), min(share_P2.min(), 1 - share_P2.max())


def test_two_maps_show_lines_names_and_pictures_on_filled_canvases(maps):
    watched, shown = maps
    categories = {p.category for p in demo_data("test").products}
    for each in shown():
        assert each["shown"]["lines"] == "10"
        assert len(set(each["names"].split(", ")) & categories) >= 5
        assert each["colour"] != "rgb(255, 255, 255)"
    bar = "bar => getComputedStyle(bar).backgroundColor"
    for toolbar in watched.page.locator(".scale-map [data-jss-theme]").all():
        assert toolbar.evaluate(bar) == "rgba(0, 0, 0, 0)"
    watched.picture("dark")
    drawn = watched.page.evaluate(INK)
    watched.page.get_by_label("pictures", exact=True).uncheck()
    watched.page.get_by_label("names", exact=True).uncheck()
    expect(watched.page.locator(".scale-map-layer").first).to_have_attribute("data-names", "0")
    assert 0 < watched.page.evaluate(INK) < drawn / 2

    for width in (1440, 820, 1280):
        watched.page.set_viewport_size({"width": width, "height": 1180})
        for _ in range(20):
            watched.page.wait_for_timeout(500)
            first, second = shown()
            if all(np.allclose(filled(each)[0], 0.8, atol=0.01) for each in (first, second)):
                break
        assert (second["y"] > first["y"]) == (width == 820)
        for each in (first, second):
            assert each["x"] + each["width"] <= width
            share_2, margin = filled(each)
            np.testing.assert_allclose(share_2, 0.8, atol=0.01)
            assert margin > 0.09
    watched.check()


def test_a_moving_map_is_its_last_image_and_a_resting_one_is_drawn(maps):
    """All points are drawn for few frames of a movement, and for none of a hover."""
    watched, shown = maps
    page, layer = watched.page, watched.page.locator(".scale-map-layer").first
    first = shown()[0]
    x, y = first["x"] + first["width"] / 2, first["y"] + first["height"] / 2

    def redraws():
        return int(layer.get_attribute("data-redraws"))

    def points():
        width, found = page.evaluate(POINTS)
        return np.array(found, dtype=bool).reshape(-1, width)

    def agreement(one, other):
        return (one & other).sum() / (one | other).sum()

    def drawn():
        """Share of the points in view that are drawn where the names and pictures expect them."""
        pixels_YX = points()
        xy_P2 = np.array(shown()[0]["places"]).astype(int)
        inside_P = ((xy_P2 >= 0) & (xy_P2 < pixels_YX.shape[::-1])).all(1)
        return pixels_YX[tuple(xy_P2[inside_P].T[::-1])].mean()

    page.mouse.move(x, y)
    page.wait_for_timeout(1000)
    before, start = redraws(), points()
    assert drawn() > 0.95
    for point in range(10):
        page.mouse.move(*np.add(first["places"][point], [first["x"], first["y"]]))
    page.wait_for_timeout(500)
    assert redraws() == before

    page.mouse.move(x, y)
    page.mouse.down()
    for k in range(40):
        page.mouse.move(x + 2 * k, y - k)
    moving = points()
    assert redraws() <= before + 10
    page.mouse.up()
    page.wait_for_timeout(1000)
    panned = points()
    assert drawn() > 0.95
    assert agreement(moving, panned) > 0.8 > 0.3 > agreement(start, panned)
    page.mouse.wheel(0, -100)
    page.wait_for_timeout(50)
    moving = points()
    page.wait_for_timeout(1000)
    assert drawn() > 0.95
    assert agreement(moving, points()) > 0.5 > 0.3 > agreement(panned, points())
    assert before + 2 <= redraws() <= before + 13
    watched.check()


def test_all_maps_are_in_one_png_and_stay_as_they_are(maps):
    watched, shown = maps
    before = shown()
    with watched.page.expect_download() as waiting:
        watched.page.get_by_role("button", name="Save all maps").first.click()
    picture = Image.open(BytesIO(waiting.value.path().read_bytes())).convert("RGB")
    left, right = before
    assert picture.width > left["width"] + right["width"]
    assert picture.height > left["height"]
    page_colour = picture.getpixel((2, 2))
    for start, each in ((16, left), (32 + left["width"], right)):
        corner = int(start), 28, int(start + each["width"]), int(28 + each["height"])
        pixels = np.asarray(picture.crop(corner)).reshape(-1, 3)
        other = np.abs(pixels.astype(int) - page_colour).max(1) > 40
        assert other.mean() > 0.01
    after = shown()
    assert [each["places"] for each in after] == [each["places"] for each in before]
    watched.check()


def test_a_finger_chooses_and_two_fingers_zoom(browser, explored):
    context = browser.new_context(viewport={"width": 820, "height": 1180}, has_touch=True)
    page = context.new_page()
    page.goto(f"{explored}?{QUERY.replace('&second=untrained', '')}", timeout=SECONDS)
    layer = page.locator(".scale-map-layer")
    expect(layer).not_to_have_attribute("data-pictures", "0", timeout=SECONDS)
    small = page.locator(".scale-map button, .scale-embeddings .xe-chip").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).filter(box => box.height < 40).length"
    )
    assert small == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 820
    (before,) = page.evaluate(MAPS)
    places_P2 = np.array(before["places"])
    away_PP = np.linalg.norm(places_P2[:, None] - places_P2, axis=2)
    np.fill_diagonal(away_PP, np.inf)
    lonely = int(away_PP.min(1).argmax())
    page.touchscreen.tap(*(places_P2[lonely] + [before["x"] + 7, before["y"] + 5]))
    product = page.locator(".scale-embeddings-inspector [data-product]")
    expect(product).to_have_attribute("data-product", demo_data("test").ids[lonely])

    session = context.new_cdp_session(page)
    middle = before["x"] + before["width"] / 2, before["y"] + before["height"] / 2

    def touch(kind, *apart):
        points = [{"x": middle[0] + x, "y": middle[1], "id": k} for k, x in enumerate(apart)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -50, 50)
    for apart in (70, 100):
        touch("touchMove", -apart, apart)
    touch("touchEnd")
    page.wait_for_timeout(500)
    (after,) = page.evaluate(MAPS)
    np.testing.assert_allclose(filled(after)[0], 1.6, atol=0.05)
    context.close()


def test_words_that_the_model_does_not_know_are_answered_with_a_warning(maps):
    watched, _ = maps
    watched.page.get_by_label("by meaning").check()
    search = watched.page.get_by_placeholder("id, title or category")
    search.fill("zzzz")
    search.press("Enter")
    expect(watched.page.locator(".scale-embeddings-finds")).to_contain_text("does not know: zzzz")
    expect(watched.page.locator(".scale-embeddings-finds [data-key]")).to_have_count(0)
    watched.picture("unknown")
    watched.check()
