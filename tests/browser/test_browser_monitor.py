"""The training monitor in notebook 10: a run is replayed with the keyboard."""

from playwright.sync_api import expect

from scale.notebook import demo_folder
from scale.training.run_log import RunLog
from scale.viz.training import value_at


def test_the_slider_goes_back_in_the_run(open_notebook):
    watched = open_notebook("10_pretraining.ipynb")
    panel = watched.page.locator(".scale-monitor")
    panel.scroll_into_view_if_needed()
    expect(panel.locator(".state")).to_have_attribute("data-state", "finished")
    log = RunLog(demo_folder())
    log.read()
    curve = log.curves()["loss/MLM"]
    last, before = int(curve[0][-1]), int(curve[0][-2])
    figure = panel.locator(".xt-figure")
    expect(figure).to_have_attribute("data-step", str(last))
    assert f"MLM: masked language modelling {value_at(curve, last)}" in figure.get_attribute("alt")
    watched.picture("finished")

    handle = panel.locator(".noUi-handle").first
    handle.focus()
    while figure.get_attribute("data-step") != str(before):
        handle.press("ArrowLeft")
        watched.page.wait_for_timeout(1500)
    assert f"masked language modelling {value_at(curve, before)}" in figure.get_attribute("alt")
    watched.picture("earlier")
    watched.check()
