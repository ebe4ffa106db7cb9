"""The page of all panels: built tab by tab, with errors in their tabs."""

import json
from dataclasses import replace

from scale.explore.page import PANELS, ExplorerPage, ServedPage
from scale.explore.panel import Panel
from scale.explore.source import ExplorerSource


def panel(page, name):
    return page.children[PANELS.index(name)].children[0]


def test_a_tab_is_built_when_it_is_shown(run_folder, small_catalogue):
    page = ExplorerPage(run_folder, small_catalogue, split=None)
    assert isinstance(panel(page, "scores"), Panel)
    assert not isinstance(panel(page, "masking"), Panel)
    page.selected_index = PANELS.index("masking")
    built = panel(page, "masking")
    assert isinstance(built, Panel)
    page.selected_index = 0
    page.selected_index = PANELS.index("masking")
    assert panel(page, "masking") is built
    assert panel(page, "masking").source is panel(page, "scores").source


def test_every_tab_can_be_built(run_folder, small_catalogue):
    page = ExplorerPage(run_folder, small_catalogue, split=None, lang="zh")
    assert "掩码" in page.titles
    for name in PANELS:
        page.show(name)
        assert isinstance(panel(page, name), Panel), name
        assert panel(page, name).error == ""
    assert repr(page) == "ExplorerPage(scores, masking, embeddings, training)"


def test_a_panel_that_cannot_be_built_shows_its_error(run_folder, tmp_path):
    (tmp_path / "products.jsonl").write_text(json.dumps({"id": "a", "category": "x"}) + "\n")
    page = ExplorerPage(run_folder, tmp_path, split=None)
    assert "has a modality that" in panel(page, "scores").html
    assert 'role="alert"' in panel(page, "scores").html
    page.show("training")
    assert isinstance(panel(page, "training"), Panel)


def test_a_masked_loss_opens_the_masking_panel(run_folder, small_catalogue):
    page = ExplorerPage(run_folder, small_catalogue, split=None)
    scores = panel(page, "scores")
    scores.picker.choose(scores.source.row("p12"))
    scores.cells.pick("open-MAM")
    masking = panel(page, "masking")
    assert page.selected_index == PANELS.index("masking")
    assert (masking.task.value, masking.picker.row) == ("MAM", scores.picker.row)
    assert "p12" in repr(masking)


def test_an_address_opens_the_same_view(source):
    options = {"run": "runs/r", "catalogue": "shop", "split": None}
    options |= {"lang": "en", "theme": "light", "present": False}
    first = ServedPage(source, options)
    assert first.header.query == "lang=en&theme=light"
    assert first.header.facts["Run"] == "r"
    product = source.data.ids[int(source.rows[4])]
    first.page.selected_index = PANELS.index("masking")
    masking = first.page.panel
    masking.picker.choose(source.row(product))
    masking.task.value = "MAM" if "audio" in source.modalities(source.row(product)) else "MLM"
    masking.hide(list(masking._content.names)[:2])
    assert product in first.header.facts["Product"]

    second = ServedPage(source, options, first.header.query.replace("lang=en", "lang=zh"))
    assert second.page.panel.lang == "zh"
    assert second.page.panel.hidden == masking.hidden
    assert second.header.query == first.header.query.replace("lang=en", "lang=zh")
    third = ServedPage(source, options | {"lang": "zh"}, first.header.query)
    assert third.page.panel.summary() == masking.summary()


def test_the_changes_of_a_product_are_in_the_address(source):
    options = {"run": "r", "catalogue": "c", "split": None}
    options |= {"lang": "en", "theme": "light", "present": False}
    first = ServedPage(source, options)
    scores, row = first.page.panel, int(source.rows[0])
    scores.picker.choose(row)
    columns = scores.columns
    columns["text"].present.value = False
    columns["image"].kind.value = "blur"
    columns["image"].strength.value = columns["image"].strength.options[3][1]
    columns["audio"].mismatch.value = True
    donor = next(r for r in source.rows.tolist()[1:] if source.data.present_NM[r, 3])
    edits = scores.what_if
    edits.donors["video"].value = source.line(donor)
    edits.typed["text"].value = "a 50 % “red” mug & lid"
    edits.typed["table"].value = "Colour: red\nSize：3 cm"
    second = ServedPage(source, options, first.header.query)
    assert second.page.panel.changes() == scores.changes()
    assert second.page.panel.summary() == scores.summary()
    assert second.page.panel.what_if.edits() == edits.edits()
    assert second.page.panel.matrices.html == scores.matrices.html
    edits.typed["text"].value = "长" * 500
    assert "text_typed" not in first.header.query
    assert "Not in the address of the page: text." in edits.message.html
    for bad in ("image=blur:3.21", "image=nothing:1", "text=blur:1.0", "step=x", "model=x"):
        assert "unknown" in ServedPage(source, options, bad).page.panel.error


def test_ids_with_blanks_and_dots_are_found(source):
    products = [replace(p, id=f"a · {p.id} video") for p in source.data.products]
    data = replace(source.data, products=tuple(products))
    options = {"run": "r", "catalogue": "c", "split": None}
    options |= {"lang": "en", "theme": "light", "present": False}
    page = ServedPage(ExplorerSource(source.run, data), options)
    product = page.page.panel.source.data.ids[row := int(source.rows[0])]
    page.page.panel.picker.choose(row)
    assert page.header.facts["Product"].startswith(product)
    what_if = page.page.panel.what_if
    for text in (product, page.page.panel.source.line(row)):
        what_if.donors["text"].value = text
        assert what_if.edits().donors == {"text": row}
    page.page.selected_index = PANELS.index("embeddings")
    for modality in ("", "text"):
        page.page.panel.choices["product"].write(f"{product} {modality}".strip())
        assert page.header.facts["Product"].startswith(product)


def test_a_bad_address_is_a_message(source):
    options = {"run": "r", "catalogue": "c", "split": None}
    options |= {"lang": "en", "theme": "light", "present": True}
    page = ServedPage(source, options, "lang=xx&panel=masking&product=<b>")
    assert "no product" in page.page.panel.error
    assert page.header.lang == "en"
    assert page.header.present
    assert ServedPage(source, options, "panel=nothing").page.selected_index == 0


def test_other_runs_can_be_compared_in_scores_and_masking(source):
    options = {"run": "r", "catalogue": "c", "split": None}
    options |= {"lang": "en", "theme": "light", "present": False}
    other = ExplorerSource(source.run, source.data)
    page = ServedPage(source, options, "panel=masking", [other]).page
    folder = source.run.folder.folder.name
    for shown in (panel(page, "scores").beside, panel(page, "masking").second):
        assert f"{folder}: untrained" in dict(shown.options)
