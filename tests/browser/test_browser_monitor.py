"""The training monitor in notebook 10: a run is replayed step by step."""

from playwright.sync_api import expect

from scale.explore.markup import number
from scale.notebook import demo_folder
from scale.training.logging import read_metrics


def test_the_slider_goes_back_in_the_run(open_notebook):
    watched = open_notebook("10_pretraining.ipynb")
    panel = watched.page.locator(".scale-monitor")
    panel.scroll_into_view_if_needed()
    expect(panel.locator(".state")).to_have_attribute("data-state", "finished")
    lines = [line for line in read_metrics(demo_folder()) if "loss/MLM" in line]
    last, before = lines[-1], lines[-2]
    chart = panel.locator('.chart[data-chart="MLM"]')
    expect(chart).to_have_attribute("data-step", str(last["step"]))
    expect(chart).to_contain_text(number(last["loss/MLM"], 3))
    watched.picture("finished")

    handle = panel.locator(".noUi-handle").first
    handle.focus()
    while chart.get_attribute("data-step") != str(before["step"]):
        handle.press("ArrowLeft")
        watched.page.wait_for_timeout(200)
    expect(chart).to_contain_text(number(before["loss/MLM"], 3))
    watched.picture("earlier")
    watched.check()
