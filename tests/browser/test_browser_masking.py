"""The masking explorer in notebook 05: click, read, switch modalities off."""

import pytest
from playwright.sync_api import expect

from scale.notebook import masked_data, masked_run
from scale.studies.masked_probe import mask_groups, probe_masked


def losses(panel):
    found = panel.locator(".xm-losses")
    return [float(found.get_attribute(f"data-{name}")) for name in ("all", "chosen", "none")]


def test_a_click_hides_a_word_and_shows_the_prediction(open_notebook):
    watched = open_notebook("05_masked_words_MLM.ipynb")
    panel = watched.page.locator(".scale-masking")
    panel.scroll_into_view_if_needed()
    words = panel.locator(".scale-masking-prompt [data-key]")
    before = losses(panel)
    words.nth(3).click()
    expect(panel.locator(".xm-prompt")).to_have_attribute("data-hidden", "2")
    expect(panel.locator(".xm-guess")).to_have_count(2)
    watched.picture("two-words")

    run, data = masked_run(words=True), masked_data("test")
    masked = mask_groups(data, data.ids.index("p0012"), "text", {1, 3})
    others = ("table", "image", "video", "audio")
    asked = probe_masked(run.model, masked, "text", {"all": others, "none": ()})
    expect(panel.locator(".xm-losses")).not_to_have_attribute("data-all", f"{before[0]:.6f}")
    assert losses(panel)[0] == pytest.approx(asked.loss["all"], abs=1e-4)
    assert losses(panel)[2] == pytest.approx(asked.loss["none"], abs=1e-4)

    for name in ("table", "image", "video", "audio"):
        panel.get_by_label(name, exact=True).uncheck()
    alone = f"{losses(panel)[2]:.6f}"
    expect(panel.locator(".xm-losses")).to_have_attribute("data-chosen", alone)
    watched.picture("alone")
    watched.check()


def test_by_keyboard_too(open_notebook):
    watched = open_notebook("05_masked_words_MLM.ipynb")
    panel = watched.page.locator(".scale-masking")
    panel.scroll_into_view_if_needed()
    first = panel.locator(".scale-masking-prompt [data-key]").first
    first.focus()
    watched.page.keyboard.press("ArrowRight")
    watched.page.keyboard.press("ArrowRight")
    watched.page.keyboard.press("Enter")
    expect(panel.locator(".xm-prompt")).to_have_attribute("data-hidden", "2")
    watched.check()
