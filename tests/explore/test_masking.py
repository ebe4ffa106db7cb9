"""The masking explorer shows the losses and predictions of the model for the hidden parts."""

import re
from dataclasses import replace
from html import unescape
from itertools import product

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from scale.explore.masking import MODALITY_OF, RATE, MaskingExplorer
from scale.explore.source import ExplorerSource
from scale.modalities import CONTINUOUS, DISCRETE, INDEX, MODALITIES, SPECS, TASKS
from scale.studies.masked_probe import draw_groups, mask_groups, probe_masked


@pytest.fixture
def complete(source):
    """A product with all five modalities."""
    return source.data.ids[source.rows[0]]


def losses(panel):
    """The numbers that the page carries, by context."""
    found = re.search(r'class="xm-losses" ([^>]*)>', panel.answer.html)
    return {name: float(v) for name, v in re.findall(r'data-(\w+)="([-0-9.]+)"', found[1])}


def shown(panel):
    """Each key that can be picked, and whether it is covered."""
    pairs = re.findall(r'data-key="([^"]+)" aria-pressed="(\w+)"', panel.prompt.html)
    return {key: pressed == "true" for key, pressed in pairs}


def direct(source, panel, keep):
    """Prediction and loss by `model.forward`, from the batch of one product."""
    modality = MODALITY_OF[panel.task.value]
    masked = mask_groups(source.data, panel.picker.row, modality, panel.hidden)
    batch = masked.batch.only((modality, *keep))
    with torch.no_grad():
        out = source.run.model(batch, masked.hidden).predictions[modality]
    target = masked.targets[modality]
    if modality in DISCRETE:
        return out, torch.nn.functional.cross_entropy(out, target).item()
    return out, (out - target).square().mean().item()


def test_losses_shown_are_those_of_the_model(source, complete):
    for task in TASKS:
        panel = MaskingExplorer(source, complete, task)
        modality = MODALITY_OF[task]
        others = [m for m in MODALITIES if m != modality]
        panel.beside[others[0]].value = False
        panel.beside[others[2]].value = False
        for key in list(shown(panel))[:3]:
            panel.prompt.pick(key)
            if not panel.hidden:
                continue
            found = losses(panel)
            contexts = {"all": others, "chosen": [others[1], others[3]], "none": []}
            for name, keep in contexts.items():
                assert found[name] == pytest.approx(direct(source, panel, keep)[1], abs=1e-4)
        assert panel.error == ""


def test_guesses_shown_are_those_of_the_model(source, complete):
    for task in ("MLM", "MEM"):
        panel = MaskingExplorer(source, complete, task)
        panel.hide_everything()
        modality = MODALITY_OF[task]
        logits_NV, _ = direct(source, panel, [m for m in MODALITIES if m != modality])
        masked = mask_groups(source.data, panel.picker.row, modality, panel.hidden)
        cards = re.findall(
            r'class="xm-guess" data-truth="([^"]*)" data-loss="([^"]*)" data-rank="(\d+)" '
            r'data-probability="([^"]*)"',
            panel.answer.html,
        )
        rows = panel.answer.html.split('class="xm-guess"')[1:]
        tokenizer = source.data.tokenizer
        assert len(cards) == len(rows) == len(logits_NV)
        for card, row, logits_V, target in zip(
            cards, rows, logits_NV, masked.targets[modality].tolist(), strict=True
        ):
            chance_V = logits_V.softmax(0)
            assert unescape(card[0]) == tokenizer.convert_ids_to_tokens(target)
            assert float(card[1]) == pytest.approx(-chance_V[target].log().item(), abs=1e-4)
            assert int(card[2]) == 1 + int((chance_V > chance_V[target]).sum())
            assert float(card[3]) == pytest.approx(chance_V[target].item(), abs=1e-5)
            best = chance_V.topk(5)
            values = [float(v) for v in re.findall(r'class="value">([0-9.]+)<', row)]
            assert values[:5] == pytest.approx(best.values.tolist(), abs=6e-4)
            words = re.findall(r'class="word">(?:<b>✓ )?([^<]*)<', row)
            assert [unescape(w) for w in words[:5]] == tokenizer.convert_ids_to_tokens(
                best.indices.tolist()
            )
            assert row.count("✓") == 1


def test_a_click_covers_exactly_its_part(source, complete):
    for task in TASKS:
        panel = MaskingExplorer(source, complete, task)
        panel.hide_nothing()
        keys = list(shown(panel))
        assert not any(shown(panel).values())
        clear = panel.prompt.html
        for key in keys[:3]:
            panel.prompt.pick(key)
            assert [k for k, covered in shown(panel).items() if covered] == [key]
            panel.prompt.pick(key)
            assert panel.prompt.html == clear
        panel.hide_everything()
        assert all(shown(panel).values())


def test_a_drag_repeats_its_first_click(source, complete):
    panel = MaskingExplorer(source, complete, "MAM")
    panel.hide_nothing()
    panel.prompt.pick("audio-0")
    for key in ("audio-0", "audio-1", "audio-1", "audio-2"):
        panel.prompt.pick(key, drag=True)
    assert panel.hidden == {0, 1, 2}
    panel.prompt.pick("audio-2")
    panel.prompt.pick("audio-0", drag=True)
    panel.prompt.pick("audio-0", drag=True)
    assert panel.hidden == {1}
    for stranger in ("audio-99", "text-1", "nonsense"):
        panel.prompt.pick(stranger)
    assert panel.hidden == {1}


def test_a_modality_switched_off_changes_no_number(source, complete):
    """The same product with another content there, switched off."""
    for task in TASKS:
        off = "image" if task != "MRP" else "text"
        row = source.row_of[complete]
        column = source.data.columns[off]
        start, length = column.start_N[row], column.length_N[row]
        values = column.values.copy()
        values[start : start + length] = values[start : start + length][::-1] * 0 + 7
        columns = {**source.data.columns, off: replace(column, values=values)}
        other = ExplorerSource(source.run, replace(source.data, columns=columns))
        panels = [MaskingExplorer(which, complete, task) for which in (source, other)]
        found = [losses(panel) for panel in panels]
        assert found[0]["all"] != found[1]["all"]
        for panel in panels:
            panel.beside[off].value = False
        found = [losses(panel) for panel in panels]
        assert found[0]["chosen"] == found[1]["chosen"]
        assert found[0]["none"] == found[1]["none"]


def test_a_product_without_the_modality_is_an_error_message(source, complete):
    for task in TASKS:
        modality = MODALITY_OF[task]
        data, here = source.data, source
        lacking = np.flatnonzero(~data.present_NM[:, INDEX[modality]] & data.present_NM.any(1))
        if not len(lacking):
            content_id_NM = data.content_id_NM.copy()
            lacking = [int(source.rows[-1])]
            content_id_NM[lacking[0], INDEX[modality]] = -1
            here = ExplorerSource(source.run, replace(data, content_id_NM=content_id_NM))
        panel = MaskingExplorer(here, complete, task)
        panel.picker.choose(int(lacking[0]))
        assert data.ids[lacking[0]] in panel.error
        assert f"no {modality}" in panel.error
        assert panel.prompt.html == panel.answer.html == panel.others.html == ""
        assert f"no {modality}" in panel.summary()
        assert "image/png" not in panel._repr_mimebundle_()
        for act in (panel.hide_nothing, panel.hide_random, panel.hide_everything):
            act()
        panel.prompt.pick(f"{modality}-0")
        panel.picker.choose(source.row_of[complete])
        assert panel.error == ""
        assert panel.hidden


def test_without_hidden_parts_there_is_a_hint(source, complete):
    panel = MaskingExplorer(source, complete)
    panel.hide_nothing()
    assert "Click" in panel.answer.html
    assert "xm-losses" not in panel.answer.html
    assert "nothing hidden" in panel.summary()
    assert isinstance(panel.picture(), Figure)


def test_random_masks_follow_the_seeded_rule_of_the_tasks(source, complete):
    for task in TASKS:
        first, second = (MaskingExplorer(source, complete, task) for _ in range(2))
        group_L = first._content.group_L
        for draw in range(3):
            assert first.hidden == second.hidden == draw_groups(group_L, RATE, 0, draw)
            first.hide_random()
            second.hide_random()
        assert RATE == 0.15


def test_the_untrained_model_predicts_differently(source, complete):
    panel = MaskingExplorer(source, complete, "MRP")
    trained = losses(panel)
    panel.model.value = "untrained"
    found = losses(panel)
    assert found["mean"] == trained["mean"]
    assert found["all"] != trained["all"]
    masked = mask_groups(source.data, panel.picker.row, "image", panel.hidden)
    beside = {"all": MODALITIES}
    slow = probe_masked(source.run.untrained(), masked, "image", beside).loss["all"]
    assert found["all"] == pytest.approx(slow, abs=1e-5)


def test_reconstructions_carry_the_errors_of_the_bars(source, complete):
    for modality in CONTINUOUS:
        panel = MaskingExplorer(source, complete, SPECS[modality].task)
        found = losses(panel)
        versions = re.findall(r'data-version="(\w+)"', panel.answer.html)
        assert versions == ["truth", "hidden", "chosen", "none", "mean"]
        for version in ("chosen", "none", "mean"):
            assert f"squared error {found[version]:.2f}" in panel.answer.html


def test_features_without_colours_have_a_note(source, complete):
    config = replace(source.data.config, image_features="file")
    other = ExplorerSource(source.run, replace(source.data, config=config))
    panel = MaskingExplorer(other, complete, "MRP")
    assert "contain no colours" in panel.answer.html
    assert losses(panel) == losses(MaskingExplorer(source, complete, "MRP"))
    assert ">1</div>" in panel.prompt.html


def test_user_text_is_escaped(source, complete):
    row = source.row_of[complete]
    products = list(source.data.products)
    table = tuple((f"<b>{a}", f'"{v}"&') for a, v in products[row].table)
    products[row] = replace(products[row], text="<script>", table=table)
    other = ExplorerSource(source.run, replace(source.data, products=tuple(products)))
    for task in ("MEM", "MRP"):
        panel = MaskingExplorer(other, complete, task)
        for html in (panel.prompt.html, panel.others.html, panel.answer.html):
            assert "<script>" not in html
            assert "<b><b>" not in html
            assert '=""' not in html


def test_a_page_without_kernel_has_text_and_picture(source, complete, readable):
    for task, lang in [*product(TASKS, ["en"]), ("MEM", "zh"), ("MAM", "zh")]:
        panel = MaskingExplorer(source, complete, task, lang)
        bundle = panel._repr_mimebundle_()
        assert bundle["image/png"].startswith("iVBOR")
        lines = bundle["text/plain"].split("\n")
        assert lines[0].startswith(task)
        assert complete in lines[0]
        assert bundle["text/plain"] == MaskingExplorer(source, complete, task, lang).summary()
        assert "0x" not in bundle["text/plain"]
        bare = re.sub(r"~-?[0-9.]+", "", "\n".join(lines[3:]))
        if task in ("MRP", "MFP", "MAM"):
            assert not re.search("[0-9]", bare)
        readable(panel.picture())
        for box in panel.beside.values():
            box.value = False
        readable(panel.picture())


def test_bad_choices_are_errors(source):
    with pytest.raises(ValueError, match="unknown task 'MXM'; known: MLM"):
        MaskingExplorer(source, task="MXM")
    with pytest.raises(ValueError, match="no product 'nobody'"):
        MaskingExplorer(source, "nobody")
    with pytest.raises(ValueError, match=r"nothing to hide under \[99\]"):
        MaskingExplorer(source).hide({0, 99})


def test_the_first_product_with_the_modality_opens(source):
    for task in TASKS:
        panel = MaskingExplorer(source, task=task)
        assert panel.error == ""
        assert panel.hidden
