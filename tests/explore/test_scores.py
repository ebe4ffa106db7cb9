"""The score explorer shows the outputs of the model for the changed product."""

import base64
import io
import re
import shutil
import wave
from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.explore.markup import png_uri, sound_uri
from scale.explore.modality_column import NO_DAMAGE, STRENGTHS
from scale.explore.panel import MAX_LISTED, ProductPicker
from scale.explore.scores import ScoreExplorer
from scale.explore.source import ExplorerSource
from scale.modalities import INDEX, MODALITIES, PAIRS
from scale.model.scores import inter_modality_scores
from scale.studies.noise import KINDS, Noise, apply_noise
from scale.studies.single_product import ProductEditor, product_outputs
from scale.training.cross_fit import pair_percentiles
from scale.training.logging import SCORES, read_score_means
from scale.training.run import RunFolder, TrainedRun

MATRICES = ("scores", "softmax", "weighted", "xs_normalised")


@pytest.fixture
def explorer(source):
    return ScoreExplorer(source)


def cells(html, key="weighted"):
    """The numbers of a matrix, row by row; NaN where hatched."""
    table = re.search(rf'data-matrix="{key}".*?</table>', html, re.S)[0]
    texts = re.findall(r"<td[^>]*>(.*?)</td>", table)
    values = [float(t.replace("−", "-")) if t else np.nan for t in texts]
    return np.array(values).reshape(5, 5)


def bars(html, key):
    """Value and change of each bar."""
    part = html.split(f'data-bars="{key}"')[1].split("data-bars")[0]
    texts = re.findall(r'class="value">(.*?)</span>', part)
    pairs = [re.fullmatch(r"(\S+)  \((\S+)\)", t).groups() for t in texts]
    return [tuple(np.nan if v == "–" else float(v.replace("−", "-")) for v in p) for p in pairs]


def states(explorer):
    return [re.search('data-state="(.*?)"', c.content.html)[1] for c in explorer.columns.values()]


def listed(surface):
    return re.findall('data-key="(.*?)"', surface.html)


def weights(model, data):
    """S' of the one product of a dataset."""
    with torch.no_grad():
        output = model.embed(data.collate([0]))
    return inter_modality_scores(output.pooled_BMD, output.present_BM).weighted_BMM[0].numpy()


def test_the_unchanged_product_has_the_scores_of_the_model(explorer, source):
    row = int(source.rows[0])
    expected_MM = weights(source.run.model, source.data.subset([row]))
    np.testing.assert_allclose(cells(explorer.matrices.html), expected_MM, atol=0.0051)
    assert explorer.error == ""
    assert explorer.near_before.html.count('class="card') == 5
    assert listed(explorer.near_before) == listed(explorer.near_now)


def test_the_four_matrices_are_those_of_the_model(explorer, source):
    outputs = product_outputs(
        source.run.model, ProductEditor(source.data).batch(explorer.picker.row, {})
    )
    forms = outputs.cosine_MM, outputs.softmax_MM, outputs.weighted_MM, outputs.normalised_MM
    for key, values_MM in zip(MATRICES, forms, strict=True):
        np.testing.assert_allclose(cells(explorer.matrices.html, key), values_MM, atol=0.0051)


def test_a_stronger_noise_matches_apply_noise_and_the_model(explorer, source):
    row = explorer.picker.row
    before_MM = cells(explorer.matrices.html)
    explorer.columns["image"].strength.value = 150
    noises = [Noise("missing", m, share=0.0) for m in MODALITIES]
    noises[INDEX["image"]] = Noise("gaussian", "image", 150.0)
    noisy = apply_noise(source.data.subset([row]), noises, 0).dataset
    now_MM = weights(source.run.model, noisy)
    np.testing.assert_allclose(cells(explorer.matrices.html), now_MM, atol=0.0051)
    own = [(m, m) for m in range(5)]
    for key, places in (("xs_pairs", PAIRS), ("xs_diagonal", own)):
        for (value, change), place in zip(bars(explorer.bars.html, key), places, strict=True):
            assert value == pytest.approx(now_MM[place], abs=0.0051)
            assert change == pytest.approx(now_MM[place] - before_MM[place], abs=0.0151)
    assert states(explorer) == ["present", "present", "changed", "present", "present"]


def test_every_kind_has_a_name_and_steps_within_its_limits():
    with_strength = {kind for kind, facts in KINDS.items() if facts.unit}
    assert set(STRENGTHS) == with_strength
    for kind, steps in STRENGTHS.items():
        assert all(KINDS[kind].low <= step <= KINDS[kind].high for step in steps)
        assert NO_DAMAGE not in steps
        assert len(set(steps)) == len(steps)


def test_every_kind_and_step_can_be_chosen(explorer):
    for modality in MODALITIES:
        column, clean = explorer.columns[modality], explorer.columns[modality].content.html
        for kind in [kind for _, kind in column.kind.options]:
            column.kind.value = kind
            assert column.strength.value == NO_DAMAGE
            assert column.content.html == clean
            column.strength.index = len(column.strength.options) - 1
            assert explorer.error == ""
            assert f'data-modality="{modality}" data-state="changed"' in column.content.html


def test_a_modality_that_is_switched_off_leaves_scores_and_retrieval(explorer, source):
    explorer.columns["video"].present.value = False
    values_MM = cells(explorer.matrices.html)
    assert np.isnan(values_MM[INDEX["video"]]).all()
    assert np.isnan(values_MM).sum() == 9
    data = source.data.subset([explorer.picker.row])
    content_id_NM = data.content_id_NM.copy()
    content_id_NM[0, INDEX["video"]] = -1
    length_N = np.zeros(1, np.int64)
    without = replace(data.columns["video"], length_N=length_N)
    data = replace(data, content_id_NM=content_id_NM, columns=data.columns | {"video": without})
    shown_MM = np.nan_to_num(values_MM)
    np.testing.assert_allclose(shown_MM, weights(source.run.model, data), atol=0.0051)
    assert states(explorer)[3] == "off"
    assert "hatched" in explorer.columns["video"].content.html
    emb_D = product_outputs(source.run.model, data.collate([0])).emb_D
    own = source.data.ids[explorer.picker.row]
    cosine_N = source.index.emb_GD @ emb_D
    order = [source.index.ids[k] for k in np.argsort(-cosine_N, kind="stable")]
    assert listed(explorer.near_now) == [name for name in order if name != own][:5]


def test_a_mismatch_names_the_donor(explorer, source):
    explorer.columns["text"].mismatch.value = True
    donor = explorer.editor.donor(explorer.picker.row, "text")
    html = explorer.columns["text"].content.html
    assert source.data.ids[donor] in html
    assert "<mark>" in html


def test_without_modalities_there_is_an_error_message(explorer):
    shown = explorer.matrices.html
    for column in explorer.columns.values():
        column.present.value = False
    assert "no modality is left" in explorer.error
    assert states(explorer) == ["off"] * 5
    assert "no scores" in repr(explorer)
    assert "image/png" in explorer._repr_mimebundle_()
    explorer.columns["text"].present.value = True
    assert explorer.error == ""
    assert explorer.matrices.html != shown


def test_reset_restores_everything(explorer):
    shown, text = explorer.matrices.html, repr(explorer)
    explorer.columns["audio"].strength.value = 0
    explorer.columns["table"].mismatch.value = True
    explorer.columns["image"].present.value = False
    assert explorer.matrices.html != shown
    explorer.reset_button.click()
    assert explorer.matrices.html == shown
    assert repr(explorer) == text
    assert states(explorer) == ["present"] * 5


def test_the_policy_changes_the_input_of_the_joint_transformer_only(explorer):
    explorer.columns["image"].present.value = False
    scores, bars_shown, zero = explorer.matrices.html, explorer.bars.html, explorer.jct.html
    near = explorer.near_now.html
    assert 'class="filler"' in zero
    explorer.policy.value = "skip"
    skip, attention = explorer.jct.html, explorer.attention.blocks.html
    assert 'class="filler"' not in skip
    assert int(re.search('data-tokens="(.*?)"', skip)[1]) < int(
        re.search('data-tokens="(.*?)"', zero)[1]
    )
    explorer.policy.value = "drop"
    assert explorer.attention.blocks.html == attention
    assert "training skips this product" in explorer.jct.html
    assert (explorer.matrices.html, explorer.bars.html) == (scores, bars_shown)
    assert explorer.near_now.html == near


def test_learned_tokens_missing_from_the_run_are_not_shown(explorer):
    scores = explorer.matrices.html
    explorer.policy.value = "learned"
    assert "no learned tokens" in explorer.jct.html
    assert 'class="sequence"' not in explorer.jct.html
    assert explorer.matrices.html == scores
    assert explorer.error == ""


def test_models_are_those_of_the_run(explorer, source):
    assert {name for _, name in explorer.model.options} == {"untrained", "best", "last"}
    assert explorer.model.value == "best"
    data = source.data.subset([explorer.picker.row])
    expected = {
        "untrained": source.run.untrained().eval(),
        "last": TrainedRun.load(source.run.folder.folder, "last").model,
    }
    for name, model in expected.items():
        explorer.model.value = name
        expected_MM = weights(model, data)
        np.testing.assert_allclose(cells(explorer.matrices.html), expected_MM, atol=0.0051)
    assert explorer.models.index("untrained").ids == source.index.ids


def test_the_step_slider_shows_the_mean_of_its_step(explorer, source):
    steps, mean_TMM = read_score_means(source.run.folder.folder)
    assert list(explorer.step.options) == steps.tolist()
    scores = explorer.matrices.html
    for step, mean_MM in zip(steps, mean_TMM, strict=True):
        explorer.step.value = step
        np.testing.assert_allclose(cells(explorer.training.html), mean_MM, atol=0.0051)
    assert f'data-step="{steps[-1]}"' in explorer.training.html
    assert explorer.matrices.html == scores


def test_a_run_without_logged_scores_has_a_note(source, tmp_path):
    folder = replace(source.run.folder, folder=tmp_path)
    bare = ExplorerSource(replace(source.run, folder=folder), source.data)
    for damaged in (False, True):
        if damaged:
            (tmp_path / SCORES).write_bytes(b"PAR1 no")
        explorer = ScoreExplorer(bare)
        assert "no logged scores" in explorer.training.html
        assert explorer.step not in explorer.children
        assert [name for _, name in explorer.model.options] == ["untrained", "best"]


def test_another_product_keeps_the_changes(explorer, source):
    row = next(r for r in source.rows.tolist() if not source.data.present_NM[r].all())
    lacking = [m for m in MODALITIES if not explorer.editor.has(row, m)]
    explorer.columns["text"].strength.value = 0.5
    explorer.picker.choose(row)
    assert explorer.columns["text"].strength.value == 0.5
    for m in lacking:
        assert explorer.columns[m].present.disabled
        assert 'data-state="absent"' in explorer.columns[m].content.html
    assert source.data.ids[row] in repr(explorer)


def test_a_clicked_neighbour_becomes_the_product(explorer, source):
    name = listed(explorer.near_now)[2]
    explorer.near_now.pick(name)
    assert source.data.ids[explorer.picker.row] == name


def test_the_clip_plays_and_stops(explorer):
    column = explorer.columns["video"]
    strip = column.content.html
    column.content.pick("play")
    assert column.content.html != strip
    assert column.content.html.count("<img") == 1
    column.content.pick("play")
    assert column.content.html == strip


def test_a_single_product_cannot_be_mismatched(source):
    alone = ExplorerSource(source.run, source.data.subset([int(source.rows[0])]))
    explorer = ScoreExplorer(alone)
    assert explorer.near_now.html.count('class="card') == 0
    assert all(column.mismatch.disabled for column in explorer.columns.values())
    explorer.columns["text"].mismatch.value = True
    assert "no other product has a different text" in explorer.error
    assert "no scores" in repr(explorer)


def test_kept_checkpoints_can_be_chosen(source, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(source.run.folder.folder, folder)
    checkpoint = folder / "checkpoint"
    shutil.copytree(checkpoint / "last", checkpoint / "step-000060")
    explorer = ScoreExplorer(
        ExplorerSource(replace(source.run, folder=RunFolder(folder)), source.data)
    )
    names = {name: shown for shown, name in explorer.model.options}
    assert names["step-000060"] == "step 60 (step-000060)"
    explorer.model.value = "last"
    shown = explorer.matrices.html
    explorer.model.value = "step-000060"
    assert explorer.matrices.html == shown
    assert explorer.error == ""


def test_the_list_is_searched(source):
    chosen = []
    picker = ProductPicker(source, int(source.rows[0]), chosen.append, "en")
    picker.find.value = "GREEN number 13"
    assert [source.data.ids[row] for _, row in picker.list.options] == ["p13"]
    assert source.data.ids[picker.row] == "p13"
    assert picker.count.value == "1 of 48 products"
    picker.find.value = "no such thing"
    assert "no match" in picker.count.value
    assert source.data.ids[picker.row] == "p13"
    picker.choose(source.row_of["p20"])
    assert source.data.ids[picker.row] == "p20"


def test_a_long_list_is_cut_and_contains_the_chosen_product(source, monkeypatch):
    monkeypatch.setattr("scale.explore.panel.MAX_LISTED", 5)
    last = int(source.rows[-1])
    picker = ProductPicker(source, last, print, "en")
    assert len(picker.list.options) == 5 < MAX_LISTED
    assert picker.row == last
    assert picker.count.value == "the first 5 of 48 products"


def test_titles_are_escaped(source):
    row = int(source.rows[0])
    sly = replace(source.product(row), text="<script>x</script> & co")
    products = [sly if k == row else p for k, p in enumerate(source.data.products)]
    explorer = ScoreExplorer(
        ExplorerSource(source.run, replace(source.data, products=tuple(products)))
    )
    html = explorer.columns["text"].content.html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_an_unknown_product_is_an_error(source):
    with pytest.raises(ValueError, match="p999"):
        ScoreExplorer(source, "p999")


def test_a_missing_media_file_is_an_error_message(source, tmp_path):
    row = int(source.rows[0])
    gone = replace(source.product(row), image=tmp_path / "gone.png")
    products = [gone if k == row else p for k, p in enumerate(source.data.products)]
    explorer = ScoreExplorer(
        ExplorerSource(source.run, replace(source.data, products=tuple(products)))
    )
    assert "gone.png" in explorer.error
    explorer.picker.choose(int(source.rows[1]))
    assert explorer.error == ""


def test_the_text_is_the_same_for_the_same_state(source):
    first, second = (ScoreExplorer(source, "p01") for _ in range(2))
    assert repr(first) == repr(second)
    assert repr(first).splitlines()[0] == "p01, best in validation, policy zero"
    numbers = re.findall(r"~?[−-]?\d\.\d\d", repr(first))
    assert numbers
    assert all(number.startswith("~") for number in numbers)
    first.columns["image"].strength.value = 20
    assert "image: Gaussian noise σ 20 of 255" in repr(first)


def test_chinese_panels_have_no_english_words(source):
    explorer = ScoreExplorer(source, lang="zh")
    explorer.columns["image"].present.value = False
    for surface in (explorer.matrices, explorer.bars, explorer.jct, explorer.near_note):
        words = re.sub("<[^>]*>", " ", surface.html)
        left = set(re.findall("[A-Za-z]{3,}", words)) - {
            "softmax", "JCT", "CLS", "token", "Transformer",
        }  # fmt: skip
        assert not left


def test_the_static_picture_has_three_matrices(explorer, source):
    explorer.columns["image"].present.value = False
    shown = explorer.picture()
    assert len(shown.axes) == 3
    texts = {t.get_text() for t in shown.axes[2].texts}
    assert {f"{v:.2f}".replace("-", "−") for v in explorer._outputs.weighted_MM[0, :2]} <= texts


def test_media_uris_contain_frames_and_samples():
    frames_THWC = np.zeros((3, 4, 4, 3), np.uint8)
    frames_THWC[1], frames_THWC[2] = 100, 200
    assert png_uri(*frames_THWC).startswith("data:image/png;base64,")
    body = _wave_of(sound_uri(np.array([0.0, 0.5, -2.0], np.float32), 8000))
    assert body.getframerate() == 8000
    values = np.frombuffer(body.readframes(3), "<i2")
    assert values.tolist() == [0, round(0.25 * 32767), -32767]


def _wave_of(uri):
    return wave.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_agreement_is_the_percentile_among_the_products(explorer, source):
    row, both = explorer.picker.row, source.embeddings
    expected_NP = pair_percentiles(
        *map(torch.from_numpy, (both.pooled_NMD, both.present_NM, source.data.content_id_NM))
    )
    shown = bars(explorer.agreement.html, "xs_r_model")
    np.testing.assert_allclose([value for value, _ in shown], expected_NP[row], atol=0.0051)
    assert "xs_r_judged" not in explorer.agreement.html
    explorer.columns["image"].mismatch.value = True
    explorer.flush()
    changes = [change for _, change in bars(explorer.agreement.html, "xs_r_model")]
    for (i, j), change in zip(PAIRS, changes, strict=True):
        assert np.isnan(change) or INDEX["image"] in (i, j) or change == 0
    assert any(abs(change) > 0.01 for change in changes)


def test_cross_fitted_agreement_of_a_training_product_is_shown_beside_it(explorer, source):
    name = source.data.ids[explorer.picker.row]
    explorer._judged[name] = np.linspace(0.1, 1.0, 10)
    explorer.changed()
    explorer.flush()
    shown = [value for value, _ in bars(explorer.agreement.html, "xs_r_judged")]
    np.testing.assert_allclose(shown, np.linspace(0.1, 1.0, 10), atol=0.0051)
