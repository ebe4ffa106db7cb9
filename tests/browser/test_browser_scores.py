"""The score explorer in notebook 09, by keyboard: it shows the scores of the model."""

import pytest
from playwright.sync_api import expect

from scale.explore.markup import number
from scale.explore.modality_column import STRENGTHS
from scale.modalities import MODALITIES
from scale.notebook import demo_data, demo_run
from scale.studies.single_product import ModalityChange, ProductEditor, product_outputs

PRODUCT = "p0012"


@pytest.fixture(scope="module")
def model_scores():
    """S' of the changed product, formatted as on the page."""
    run, data = demo_run(), demo_data("test")
    probe, row = ProductEditor(data), data.ids.index(PRODUCT)

    def scores_of(changes):
        weighted_MM = product_outputs(run.model, probe.batch(row, changes)).weighted_MM
        return [number(value) for value in weighted_MM.ravel()]

    return scores_of


def cells(panel):
    """Cells of S' of the product; the mean over the batch is further down."""
    return panel.locator('[data-matrix="weighted"]').first.locator("td")


def test_a_slider_shows_the_scores_of_the_model(open_notebook, model_scores):
    watched = open_notebook("09_score_matrix.ipynb")
    panel = watched.page.locator(".scale-score-explorer")
    panel.scroll_into_view_if_needed()
    clean = ModalityChange()
    expect(cells(panel)).to_have_text(model_scores(dict.fromkeys(MODALITIES, clean)))
    watched.picture("clean")

    handle = panel.locator(".scale-modality-image .noUi-handle")
    handle.focus()
    for _ in range(12):
        handle.press("ArrowRight")
    strength = STRENGTHS["gaussian"][11]
    noised = {"image": ModalityChange(damage=("gaussian", float(strength)))}
    expected = model_scores({m: noised.get(m, clean) for m in MODALITIES})
    assert expected != model_scores(dict.fromkeys(MODALITIES, clean))
    expect(cells(panel)).to_have_text(expected)
    watched.picture("noised")

    panel.locator(".scale-modality-audio").get_by_label("present").uncheck()
    absent = panel.locator('[data-matrix="weighted"]').first.locator("td.absent")
    expect(absent).to_have_count(9)
    expect(panel.locator('[data-bars="xs_diagonal"] .bar')).to_have_count(4)
    watched.picture("without-sound")
    watched.check()


def test_a_product_without_modalities_is_an_error_message(open_notebook):
    watched = open_notebook("09_score_matrix.ipynb")
    panel = watched.page.locator(".scale-score-explorer")
    panel.scroll_into_view_if_needed()
    for m in MODALITIES:
        panel.locator(f".scale-modality-{m}").get_by_label("present").uncheck()
    alert = panel.get_by_role("alert")
    expect(alert).to_contain_text(PRODUCT)
    watched.picture("error")
    panel.get_by_role("button", name="reset").click()
    expect(alert).to_have_count(0)
    watched.check()
