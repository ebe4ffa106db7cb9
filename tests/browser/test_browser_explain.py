"""Scores that explain themselves, attention, and other contents of a product, by Voilà."""

import re

import pytest
from playwright.sync_api import expect

from scale.explore.what_if import MAX_BYTES
from scale.notebook import demo_data

SECONDS = 90_000
PICTURE = demo_data("test").products[3].image


@pytest.fixture
def scores(explored, watched):
    """The score explorer in English."""
    watched.page.goto(f"{explored}?lang=en&theme=light", timeout=SECONDS)
    panel = watched.page.locator(".scale-score-explorer")
    expect(panel.locator('[data-matrix="weighted"]').first).to_be_visible(timeout=SECONDS)
    return watched, panel


def cell(panel, matrix, place):
    return panel.locator(f'[data-matrix="{matrix}"] [data-link="{place}"]').first


def explained(panel):
    """Cell that is explained."""
    shown = panel.locator("[data-detail]:not([hidden])")
    keys = [node.get_attribute("data-detail") for node in shown.all()]
    return max(keys, key=len)


def test_a_cell_is_explained_by_pointer_and_by_keyboard(scores):
    watched, panel = scores
    cell(panel, "scores", "1-3").hover()
    assert explained(panel) == "1-3"
    # The same cell of the three matrices, the name of its weight, and its column in the row.
    expect(panel.locator(".linked")).to_have_count(3 + 1 + 4)
    cell(panel, "softmax", "2-2").focus()
    watched.page.keyboard.press("ArrowRight")
    assert explained(panel) == "2-3"
    watched.page.keyboard.press("ArrowUp")
    assert explained(panel) == "1-3"
    cell(panel, "weighted", "4-4").click()
    cell(panel, "weighted", "0-0").hover()
    assert explained(panel) == "4-4"
    panel.get_by_text("show MAM").locator("visible=true").click()
    expect(watched.page.locator(".scale-masking-answer .xm-losses")).to_be_visible(timeout=SECONDS)
    watched.check()


def test_an_explanation_stays_after_a_change_and_the_folded_form_stays_open(scores):
    watched, panel = scores
    cell(panel, "weighted", "0-4").click()
    panel.locator("details summary").click()
    panel.locator(".scale-modality-audio").get_by_label("Another product's").check()
    expect(cell(panel, "weighted", "0-4")).to_have_attribute("data-change", re.compile(r"[−+]"))
    assert explained(panel) == "0-4"
    expect(panel.locator('[data-matrix="xs_normalised"]')).to_be_visible()
    watched.check()


def test_every_story_has_a_caption_with_a_question(scores):
    watched, panel = scores
    buttons = panel.locator(".scale-stories button")
    expect(buttons).to_have_count(6)
    for button in buttons.all():
        button.click()
        caption = panel.locator(".story")
        expect(caption).to_contain_text(button.inner_text(), timeout=SECONDS)
        expect(caption.locator(".question")).to_contain_text("?")
        expect(panel.locator("td[data-change]").first).to_be_visible()
    watched.picture("story")
    watched.check()


def test_a_block_of_attention_opens_its_tokens(scores):
    watched, panel = scores
    attention = panel.locator(".scale-attention")
    attention.locator('[data-key="now-2-4"]').click()
    tokens = panel.locator(".scale-attention-tokens")
    expect(tokens.locator("h4", has_text="image → audio")).to_be_visible()
    expect(tokens.locator("svg")).to_have_count(2)
    panel.locator(".scale-modality-audio").get_by_label("Present").uncheck()
    expect(tokens).to_contain_text("imputed 1")
    expect(attention).to_contain_text("Attention is not explanation")
    watched.picture("attention")
    watched.check()


def test_typed_and_uploaded_contents(scores, tmp_path):
    watched, panel = scores
    what_if = panel.locator(".scale-what-if")
    what_if.get_by_text("What if").click()
    what_if.locator("textarea").first.fill("A yellow rubber duck")
    what_if.locator("textarea").nth(1).focus()
    expect(panel.locator(".scale-modality-text mark").first).to_contain_text("yellow")
    expect(panel.locator("td[data-change]").first).to_be_visible()
    upload = what_if.locator("input[type=file]").first
    upload.set_input_files(PICTURE)
    expect(what_if).to_contain_text(f"Other content: text, image, {PICTURE.name}")
    large = tmp_path / "large.png"
    large.write_bytes(bytes(MAX_BYTES + 1))
    upload.set_input_files(large)
    expect(what_if).to_contain_text("large.png is larger than 8 MB")
    wrong = tmp_path / "page.html"
    wrong.write_text("<html><body>no picture</body></html>")
    upload.set_input_files(wrong)
    expect(panel.get_by_role("alert")).to_contain_text("page.html")
    watched.picture("what-if")
    what_if.get_by_role("button", name="undo all").click()
    expect(panel.get_by_role("alert")).to_have_count(0)
    expect(panel.locator("td[data-change]")).to_have_count(0)
    watched.check()


def test_two_checkpoints_are_side_by_side(scores):
    watched, panel = scores
    panel.get_by_label("Beside it").select_option(label="untrained")
    expect(panel.locator('[data-beside] [data-matrix="weighted"]')).to_have_count(2)
    watched.picture("beside")
    watched.check()
