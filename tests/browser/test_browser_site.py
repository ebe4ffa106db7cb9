"""The site, opened as files: notebooks in both languages with their pictures, and the search."""

import pytest
from playwright.sync_api import expect

from tools import book

SEARCHES = {
    "temperature": "notebooks/01_contrastive_learning",
    "得分矩阵": "notebooks/zh/09_score_matrix",
}
LOADED = "[...document.images].map((image) => image.complete && image.naturalWidth)"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Address of the site, built without warnings and without broken links."""
    out = tmp_path_factory.mktemp("site")
    assert book.write_site(out) == []
    return out.as_uri()


def test_a_notebook_page_in_both_languages(site, watched):
    page, pictures = watched.page, {}
    for lang, name in (
        ("en", "notebooks/09_score_matrix"),
        ("zh-CN", "notebooks/zh/09_score_matrix"),
    ):
        page.goto(f"{site}/{name}.html")
        assert page.evaluate("document.documentElement.lang") == lang
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        pictures[lang] = page.evaluate(LOADED)
        assert len(pictures[lang]) >= 5
        assert all(pictures[lang])
        assert page.locator("math").count() >= 5
        folded = page.locator("details.hide", has_text="Solution" if lang == "en" else "答案")
        expect(folded.first).not_to_have_attribute("open", "")
        watched.picture(lang)
    assert len(pictures["en"]) == len(pictures["zh-CN"])
    page.get_by_role("link", name="English").first.click()
    page.get_by_role("link", name="10 Pretraining").first.click()
    expect(page.locator("h1")).to_contain_text("10 · Pretraining")
    watched.check()


def test_search_in_both_languages(site, watched):
    for words, found in SEARCHES.items():
        watched.page.goto(f"{site}/index.html")
        watched.page.locator("input[name=q]").fill(words)
        watched.page.keyboard.press("Enter")
        link = watched.page.locator(f"#search-results a[href^='{found}.html']")
        expect(link.first).to_be_visible()
        watched.picture(found.split("/")[1])
    watched.check()
