"""The score explorer explains each cell: its row, its product, its loss, and the weighted total."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.explore.cell_views import cell_details
from scale.explore.loss_terms import changed_contents, other_rows, product_losses
from scale.explore.markup import heat_table, number
from scale.explore.modality_column import CLEAN, STRENGTHS
from scale.explore.scores import ScoreExplorer, agreement_matrices
from scale.explore.source import ExplorerSource
from scale.explore.stories import STORIES, candidates, choose_product, effects
from scale.losses.contrastive import pair_losses
from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import masked_losses
from scale.modalities import INDEX, MODALITIES, PAIRS, SPECS, TASKS
from scale.studies.single_product import ProductEditor, product_outputs
from scale.training.cross_fit import Agreement
from scale.viz.scores import score_colours


@pytest.fixture
def explorer(source):
    return ScoreExplorer(source)


def numbers(html):
    return [float(v.replace("−", "-")) for v in re.findall(r"−?\d+\.\d{3}", html)]


def detail(html, key):
    return re.search(rf'data-detail="{key}"[^>]*>(.*?)</div>(?=<div data-detail|</div>$)', html)[1]


def losses_of(source, row, changes=None):
    editor = ProductEditor(source.data)
    batch = editor.batch(row, changes or {})
    outputs = product_outputs(source.run.model, batch)
    others = source.embeddings, other_rows(source.rows, row)
    contents = changed_contents(editor, row, changes or {})
    run = source.run
    return outputs, product_losses(
        run.model, run.config, source.data, batch, outputs, others, contents
    )


def test_pair_losses_are_those_of_training_among_the_other_products(source):
    row = int(source.rows[0])
    _, losses = losses_of(source, row)
    rows = [row, *other_rows(source.rows, row)]
    found = source.embeddings
    pooled, present = (torch.from_numpy(a[rows]) for a in (found.pooled_NMD, found.present_NM))
    contents = torch.from_numpy(source.data.content_id_NM[rows])
    config = source.run.config.loss
    expected = pair_losses(pooled, present, config.temperature, content_id_BM=contents).loss_BP[0]
    for p, place in enumerate(PAIRS):
        assert losses.loss_MM[place] == pytest.approx(float(expected[p]), abs=1e-4)


def test_masked_losses_are_those_of_training(source):
    row, run = int(source.rows[0]), source.run
    _, losses = losses_of(source, row)
    batch = source.data.collate([row] * 4)
    pieces = WordPieces.of(source.data.tokenizer)
    masked = mask_batch(batch, run.config.mask, pieces, (0,), TASKS)
    with torch.inference_mode():
        predictions = run.model(masked.batch, masked.hidden).predictions
        expected = masked_losses(predictions, masked, run.config.loss, None)
    for m in MODALITIES:
        value = losses.loss_MM[INDEX[m], INDEX[m]]
        assert value == pytest.approx(float(expected[SPECS[m].task]), rel=1e-4)


def test_the_donor_of_a_wrong_modality_is_no_negative(source):
    row = int(source.rows[0])
    editor = ProductEditor(source.data)
    changes = {"text": replace(CLEAN, mismatch=True)}
    contents = changed_contents(editor, row, changes)
    donor = editor.donor(row, "text")
    assert contents[0] == source.data.content_id_NM[donor, 0] != source.data.content_id_NM[row, 0]
    assert (contents[1:] == source.data.content_id_NM[row, 1:]).all()


def test_a_cell_shows_its_row_its_product_and_its_term(explorer):
    out = explorer._outputs
    i, j = 0, 2
    shown = numbers(detail(explorer.cells.html, f"{i}-{j}"))
    S, share = out.cosine_MM[i, j], out.softmax_MM[i, j]
    sum_exp = np.exp(out.cosine_MM[i]).sum()
    expected = [S, np.exp(S), sum_exp, S, share, S * share]
    np.testing.assert_allclose(shown[:6], expected, atol=0.0006)
    loss, score, again, term = shown[6:10]
    assert loss == again
    assert term == pytest.approx(score * loss, abs=0.003)
    row = numbers(detail(explorer.cells.html, f"{i}"))
    np.testing.assert_allclose(row[:5], out.cosine_MM[i], atol=0.0006)
    assert "no loss" in detail(explorer.cells.html, "2-0")


def test_cells_of_all_three_matrices_are_linked_to_explanations(explorer):
    for place in ("0-3", "4-4"):
        assert explorer.matrices.html.count(f'data-link="{place}"') == 3
        assert explorer.cells.html.count(f'data-detail="{place}"') == 1
    keys = re.findall(r'data-key="(.*?)"', explorer.matrices.html)
    assert len(keys) == len(set(keys)) == 75


def test_the_total_is_recomputed_after_a_change(explorer, source):
    explorer.columns["image"].present.value = False
    changes = {"image": replace(CLEAN, present=False)}
    now, losses = losses_of(source, explorer.picker.row, changes)
    values = re.findall(r"<b>(.*?)</b>", explorer.totals.html)[:3]
    upper = np.nansum(np.triu(np.nan_to_num(now.weighted_MM * losses.loss_MM), 1))
    own = np.nansum((now.weighted_MM * losses.loss_MM).diagonal())
    assert values == [number(v) for v in (upper, own, upper + own)]
    assert losses.total(now.weighted_MM) == pytest.approx(upper + own, abs=1e-5)


def test_changed_cells_carry_their_change_and_others_none():
    before_MM, present_M = np.zeros((5, 5)), np.ones(5, bool)
    now_MM = before_MM.copy()
    now_MM[1, 2], now_MM[3, 3], now_MM[0, 1] = 0.2, -0.01, 0.004
    colours, norm = score_colours([now_MM] * 3, np.ones((5, 5), bool))[0][:2]
    html = heat_table("S", now_MM, present_M, colours, norm, "en", before_MM=before_MM)
    assert re.findall(r'data-change="(.*?)"', html) == ["+0.20", "−0.01"]


def test_stories_choose_the_product_with_the_largest_effect(explorer, source, monkeypatch):
    monkeypatch.setattr("scale.explore.stories.CANDIDATES", 5)
    for story in STORIES:
        explorer.stories[story.key].click()
        explorer.flush()
        chosen = explorer.picker.row
        rows = candidates(story, source, explorer.editor)
        found = effects(story, rows, explorer.editor, source.run.model, source.embeddings)
        assert chosen == rows[int(np.argmax(found))]
        assert max(found) > 0
        shown = {m: c for m, c in explorer.changes().items() if c != CLEAN}
        assert shown == dict(story.changes)
        assert explorer.caption.html.count("?") == 1
        assert source.data.ids[chosen] in explorer.caption.html
    explorer.columns["audio"].present.value = not explorer.columns["audio"].present.value
    assert explorer.caption.html == ""


def test_the_damage_of_stories_is_a_step_of_the_sliders():
    for story in STORIES:
        for change in story.changes.values():
            if change.damage:
                assert change.damage[1] in STRENGTHS[change.damage[0]]


def test_a_story_without_a_fitting_product_is_disabled(source):
    poor = source.data.subset([r for r in source.rows.tolist() if not source.data.present_NM[r, 4]])
    explorer = ScoreExplorer(ExplorerSource(source.run, poor))
    assert explorer.stories["xs_story_silence"].disabled
    story = next(s for s in STORIES if s.key == "xs_story_silence")
    bare = explorer.source
    assert choose_product(story, bare, explorer.editor, bare.run.model, bare.embeddings) is None


def test_weights_by_agreement_are_a_further_matrix(explorer, source):
    assert "xs_agreement_weights" not in explorer.matrices.html
    ids = (source.data.ids[explorer.picker.row], "x", "y")
    r_NP = np.random.default_rng(0).uniform(0.1, 1.0, (3, 10))
    r_NP[0, PAIRS.index((0, 4))] = np.nan
    agreement = Agreement(ids, r_NP)
    found = agreement_matrices(agreement)
    weights = agreement.weights(np.ones((3, 5), bool))
    weight_MM = found[ids[0]]
    assert np.isnan(weight_MM[2, 0])
    assert weight_MM[0, 1] == pytest.approx(float(weights.pair_BP[0, 0]))
    assert weight_MM[3, 3] == pytest.approx(float(weights.own_BM[0, 3]))
    explorer._agreement_weights.update(found)
    explorer.changed()
    table = re.search(r'data-matrix="xs_agreement_weights".*?</table>', explorer.matrices.html)[0]
    assert number(weight_MM[0, 1]) in table
    assert "by agreement" in explorer.totals.html


def test_the_authors_form_is_folded(explorer):
    folded = re.search(r"<details>(.*?)</details>", explorer.matrices.html)[1]
    assert 'data-matrix="xs_normalised"' in folded


def test_products_are_found_by_category_and_it_is_shown(source):
    row = int(source.rows[0])
    category = source.product(row).category
    assert row in source.find(category.upper())
    assert f" · {category} · " in source.line(row)
    assert category in ScoreExplorer(source).picker.find.options


def test_a_masked_loss_opens_its_task(source):
    opened = []
    explorer = ScoreExplorer(source, open_task=lambda *what: opened.append(what))
    assert 'data-key="open-MAM"' in explorer.cells.html
    explorer.cells.pick("open-MAM")
    assert opened == [("MAM", source.data.ids[explorer.picker.row])]
    out = explorer._outputs
    _, losses = losses_of(source, explorer.picker.row)
    assert "open-MAM" not in cell_details(out, out, losses, losses, "en")
