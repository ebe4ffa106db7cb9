"""What the panels share: clickable HTML, throttling, errors, markup, run and products."""

import asyncio
import json
from dataclasses import replace
from urllib.parse import parse_qsl

import ipywidgets
import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import Normalize, to_hex, to_rgb
from matplotlib.figure import Figure

from scale.explore.markup import bar_rows, heat_table, ink_on, number
from scale.explore.panel import ClickableHtml, Panel, Throttle, choice_of
from scale.explore.source import ExplorerSource, picture_uri
from scale.model.scale import ScaleModel
from scale.viz.theme import diverging


class NumberPanel(Panel):
    """Shows a number; a negative one is an error."""

    def __init__(self):
        super().__init__()
        self.value, self.runs = 1.0, 0
        self.start([])

    def update(self):
        self.runs += 1
        if self.value < 0:
            raise ValueError(f"{self.value} is <negative>")

    def summary(self):
        return f"panel of {self.value}"

    def picture(self):
        if self.value < 0:
            raise ValueError("nothing to draw")
        return Figure(figsize=(1, 1))


def test_a_browser_message_is_a_pick():
    found = []
    surface = ClickableHtml(
        "<b data-key='a'>a</b>", picked=lambda key, drag: found.append((key, drag))
    )
    for content in ({"key": "a", "drag": True}, {"key": "b"}, {"key": 3}, "a", {}):
        surface._handle_custom_msg(content, [])
    assert found == [("a", True), ("b", False)]
    ClickableHtml("<b data-key='a'>a</b>").pick("a")  # without a function: nothing happens


def test_without_a_loop_each_request_runs_at_once():
    runs = []
    ask = Throttle(lambda: runs.append(1))
    ask()
    ask({"new": 3})
    assert len(runs) == 2


def test_a_burst_of_requests_runs_once_with_the_last_state():
    state, runs = {"value": 0}, []

    async def burst():
        ask = Throttle(lambda: runs.append(state["value"]))
        for value in range(1, 6):
            state["value"] = value
            ask()
        assert runs == []
        await asyncio.sleep(0.1)
        assert runs == [5]
        ask()
        ask.flush()
        await asyncio.sleep(0.1)
        assert runs == [5, 5]

    asyncio.run(burst())


def test_an_error_is_shown_escaped_and_removed():
    panel = NumberPanel()
    panel.value = -1.0
    panel.changed()
    assert "-1.0 is &lt;negative&gt;" in panel.error
    assert 'role="alert"' in panel.error
    panel.value = 2.0
    panel.changed()
    assert panel.error == ""


def test_the_sign_stays_from_a_request_to_its_answer():
    """The browser is told before the delay of a burst, and again after the answer."""
    panel, told = NumberPanel(), []
    panel.browser.observe(lambda change: told.append((change["new"], panel.runs)), "busy")

    async def use():
        panel.changed()
        panel.changed()
        assert told == [(True, 1)]
        await asyncio.sleep(0.1)
        assert told == [(True, 1), (False, 2)]

    asyncio.run(use())
    assert "scale-failed" not in panel._dom_classes
    panel.value = -1.0
    panel.changed()
    assert "scale-failed" in panel._dom_classes
    assert not panel.browser.busy


def test_an_answer_to_the_browser_follows_its_questions(monkeypatch):
    panel, sent = NumberPanel(), []
    monkeypatch.setattr(panel.browser, "send", lambda *message, **_: sent.append(message))
    for content in ({"asked": 3}, {"asked": "x"}, "asked"):
        panel.browser._handle_custom_msg(content, [])
    assert sent == [({"asked": 3},)]


def test_pictures_are_given_to_the_browser(monkeypatch):
    panel, sent = NumberPanel(), []
    monkeypatch.setattr(
        panel.browser, "send", lambda message, buffers: sent.append((message["name"], buffers[0]))
    )
    panel.download_picture("png")
    panel.download_picture("svg")
    names, contents = zip(*sent, strict=True)
    assert names == ("scale-NumberPanel.png", "scale-NumberPanel.svg")
    assert contents[0].startswith(b"\x89PNG")
    assert b"<svg" in contents[1]
    panel.value = -1.0
    panel.download_picture("png")
    assert "nothing to draw" in panel.error
    assert len(sent) == 2


def test_choices_are_text_of_an_address():
    class Chooser(NumberPanel):
        def __init__(self):
            self.controls = {
                "box": ipywidgets.Checkbox(True),
                "list": ipywidgets.Dropdown(options=[("One", 1), ("Two", 2)]),
                "words": ipywidgets.Text("a"),
            }
            super().__init__()

        def start(self, children):
            self.choices = {name: choice_of(control) for name, control in self.controls.items()}
            super().start(children)

    first, second = Chooser(), Chooser()
    assert first.address == ""
    for name, value in {"box": False, "list": 2, "words": "x & y"}.items():
        first.controls[name].value = value
    first.changed()
    second.restore(dict(parse_qsl(first.address)))
    assert {name: c.value for name, c in second.controls.items()} == {
        "box": False, "list": 2, "words": "x & y",
    }  # fmt: skip
    second.restore({"list": "<3>", "unknown": "1"})
    assert "unknown choice" in second.error


def test_a_bug_is_not_shown_as_a_user_error():
    panel = NumberPanel()
    with pytest.raises(ZeroDivisionError), panel.showing_errors():
        _ = 1 / 0


def test_a_panel_has_text_picture_and_view():
    bundle = NumberPanel()._repr_mimebundle_()
    assert bundle["text/plain"] == "panel of 1.0"
    assert bundle["image/png"].startswith("iVBOR")
    assert "model_id" in bundle["application/vnd.jupyter.widget-view+json"]


def test_a_panel_without_picture_gives_the_reason():
    panel = NumberPanel()
    panel.value = -1.0
    bundle = panel._repr_mimebundle_()
    assert "nothing to draw" in bundle["text/plain"]
    assert "image/png" not in bundle


def test_numbers():
    assert [number(v) for v in (-0.5, 0.126, -0.001, np.nan)] == ["−0.50", "0.13", "0.00", "–"]


def test_a_heat_table_has_a_number_where_both_are_present():
    values_MM = np.arange(25).reshape(5, 5) / 25
    present_M = np.array([True, True, True, False, True])
    html = heat_table("S", values_MM, present_M, diverging(), Normalize(-1, 1), "en", weights=True)
    assert html.count("<td") == 25
    assert html.count('class="absent"') == 25 - 16
    assert html.count('class="weight"') == 4 + 6
    assert "0.96" in html
    assert "0.60" not in html  # row of the video, which is absent


def test_bars_mark_the_previous_value_and_the_change():
    html = bar_rows(["a", "b"], [0.5, np.nan], [0.25, 0.1], ["#111111"] * 2, -1.0, 1.0)
    assert "0.50  (+0.25)" in html
    assert "–  (–)" in html
    assert html.count('class="bar"') == 1
    assert html.count('class="before"') == 2
    assert "left:50.0%;width:25.0%" in html


def test_rows_are_products_with_a_modality(source):
    first = source.data.present_NM[source.rows[0]].sum()
    assert first == source.data.present_NM.sum(1).max()
    bare = source.data.present_NM.copy()
    content_id_NM = np.where(bare, source.data.content_id_NM, -1)
    content_id_NM[3] = -1
    emptied = ExplorerSource(source.run, replace(source.data, content_id_NM=content_id_NM))
    assert 3 not in emptied.rows
    assert 3 not in emptied.find("")


def test_the_index_holds_the_embeddings_of_the_model(source):
    found = source.embeddings.product()
    cosine_NN = found.emb_ND @ found.emb_ND.T
    matches = source.index.query(found.emb_ND[:3], 4)
    for row, (ids, score_K) in enumerate(zip(matches.ids, matches.score_QK, strict=True)):
        places = [found.ids.index(name) for name in ids]
        np.testing.assert_allclose(cosine_NN[row, places], score_K, atol=1e-5)
        np.testing.assert_allclose(score_K, np.sort(cosine_NN[row])[::-1][:4], atol=1e-5)


def test_cards_escape_user_text(source):
    row = int(source.rows[0])
    products = list(source.data.products)
    products[row] = replace(products[row], text='<script>"x"', category="a & b")
    card = ExplorerSource(source.run, replace(source.data, products=tuple(products))).card(
        row, hit=True, pick=True
    )
    assert "<script>" not in card
    assert "a &amp; b" in card
    assert "✓" in card
    assert f'data-key="{products[row].id}"' in card


def test_an_unreadable_picture_is_empty(source, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    product = source.product(int(source.rows[0]))
    assert picture_uri(replace(product, image=broken, video=None)) == ""
    assert picture_uri(product).startswith("data:image/jpeg;base64,")


def test_a_run_that_does_not_fit_the_catalogue_is_an_error(run_folder, tmp_path):
    (tmp_path / "products.jsonl").write_text(json.dumps({"id": "a", "category": "x"}) + "\n")
    with pytest.raises(ValueError, match="has a modality that"):
        ExplorerSource.open(run_folder, tmp_path, split=None)
    with pytest.raises(ValueError, match="no such file; is"):
        ExplorerSource.open(tmp_path, tmp_path)


def test_a_run_on_another_device_is_copied(source):
    elsewhere = ScaleModel(source.run.config.model).to("meta")
    run = replace(source.run, model=elsewhere)
    with pytest.raises(NotImplementedError, match="meta"):
        ExplorerSource(run, source.data)  # a copy of the weights, which meta does not have
    assert next(elsewhere.parameters()).device.type == "meta"
    assert ExplorerSource(source.run, source.data).run is source.run


def test_text_on_a_cell_has_a_contrast_of_four_and_a_half():
    def luminance(colour):
        rgb = np.array(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for colours in (diverging(), colormaps["Blues"]):
        for colour in map(to_hex, colours(np.linspace(0, 1, 256))):
            low, high = sorted((luminance(colour), luminance(ink_on(colour))))
            assert (high + 0.05) / (low + 0.05) >= 4.5, colour
