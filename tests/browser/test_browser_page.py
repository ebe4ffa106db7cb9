"""`scale explore`: the page by Voilà, dark and in Chinese, each panel in its tab."""

from urllib.parse import urlsplit

from playwright.sync_api import expect

PANELS = (".scale-score-explorer", ".scale-masking", ".scale-embeddings", ".scale-monitor")


def test_every_panel_is_in_its_tab(explored, watched):
    address = urlsplit(explored)
    # The page is sent when its kernel has imported the package.
    watched.page.goto(f"{address.scheme}://{address.netloc}/", timeout=90_000)
    tabs = watched.page.locator(".scale-page .lm-TabBar-tab")
    expect(tabs).to_have_count(len(PANELS), timeout=90_000)
    for number, panel in enumerate(PANELS):
        tabs.nth(number).click()
        expect(watched.page.locator(panel)).to_be_visible(timeout=90_000)
        expect(watched.page.get_by_role("alert")).to_have_count(0)
        watched.picture(panel.strip("."))
    assert watched.page.evaluate("document.body.dataset.jpThemeLight") == "false"
    watched.check()
