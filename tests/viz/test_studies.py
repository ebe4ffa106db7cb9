"""Figures of studies: the numbers drawn are those of the summary, and all text is legible."""

import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scale.evaluation.bootstrap import NOTHING, Estimate
from scale.modalities import MODALITIES
from scale.studies.definitions import STUDIES
from scale.studies.diagnosis import own_weights, undamaged_share, weighting_aucs
from scale.studies.noise import Noise, missing_at_random
from scale.studies.retention import damage_retention
from scale.studies.study import Cell, Record, Study
from scale.studies.study import Test as Held
from scale.viz.charts import Block, balanced, total_height
from scale.viz.illustrations.paper import paper_table
from scale.viz.studies import (
    CLAIM_ROWS,
    comparison_figures,
    damage_figure,
    retention_curve,
    score_figure,
    study_figure,
)
from scale.viz.theme import use_style
from scale.viz.words import WORDS, label, term
from tests.viz.conftest import LOOKS

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "src" / "17_scale_in_100_lines.py"
"""Its parts have names in the terms."""
GRID = {"policy": ("zero", "skip", "learned", "drop"), "rate": (0.0, 0.1, 0.3, 0.5, 0.7)}
GAP = {"policy": "drop", "rate": 0.7}
WEIGHTS = {"place": ("loss", "logits"), "weights": ("uniform", "scores", "posterior of the pair")}
REGIMES = {
    "regime": ("clean", "missing", "noisy", "mismatch", "all"),
    "weighting": ("uniform", *(f"weighting {k}" for k in range(9))),
}


def dashed(axes, dashes="--"):
    """x and ends of the baselines: dashed by group, dotted for all."""
    found = [c for c in axes.collections if c.get_linestyle()[0][1] is not None]
    long = [c for c in found if (c.get_linestyle()[0][1][0] > 2) == (dashes == "--")]
    return [(s[0][0], s[0][1], s[1][1]) for c in long for s in c.get_segments()]


def test_lines_over_the_last_factor(summary, checked):
    for look, lang in LOOKS:
        found = summary(GRID, gaps=[GAP])
        figure, texts = checked(study_figure, look, found, None, lang)
        words = {term(word, lang) for word in (*GRID["policy"], "held out", "complete", "rate")}
        assert words | {label("cannot_train", lang)} <= set(texts)
        assert len(figure.axes) == 2
        zero = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == 5)
        np.testing.assert_allclose(zero.get_ydata(), [0.30, 0.31, 0.32, 0.33, 0.34])


def test_bars_are_rows_in_groups(summary, checked):
    for look, lang in LOOKS:
        gap = {"place": "logits", "weights": "scores"}
        found = summary(WEIGHTS, figure="bars", gaps=[gap])
        figure, texts = checked(study_figure, look, found, None, lang)
        assert {term(word, lang) for word in ("loss", "logits", *WEIGHTS["weights"])} <= set(texts)
        assert sum(label("cannot_train", lang) in text for text in texts) == 2
        assert any(
            label("study_baselines", lang, name=term("uniform", lang)) in text for text in texts
        )
        assert [x for x, *_ in dashed(figure.axes[0])] == pytest.approx([0.30, 0.33])


def test_many_rows_fill_columns_each_group_with_its_baseline(summary, checked):
    for look, lang in LOOKS:
        found = summary(REGIMES, ("held out",), "bars")
        figure, texts = checked(study_figure, look, found, None, lang)
        assert len(figure.axes) == 2
        assert {term(word, lang) for word in REGIMES["regime"]} <= set(texts)
        assert texts.count(term("uniform", lang)) == 5
        assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
        lines = [line for axes in figure.axes for line in dashed(axes)]
        # The regime `all` is no baseline, though a row of another study by that name is one.
        assert [x for x, *_ in lines] == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7])
        assert all(high - low == pytest.approx(10) for _, low, high in lines)
        assert [dashed(axes, ":")[0][0] for axes in figure.axes] == pytest.approx([0.3, 0.3])
        untouched = {"en": "clean, uniform", "zh": "无损，等权"}[lang]
        assert any(label("study_untouched", lang, name=untouched) in text for text in texts)


def test_one_baseline_for_rows_without_groups(summary):
    names = ("all", "without MLM", "without JCT")
    figure = study_figure(summary({"objective": names}, figure="bars"))
    assert dashed(figure.axes[0]) == [(pytest.approx(0.3), -0.5, 2.5)]


def test_a_group_of_one_needs_no_heading(summary, readable):
    found = summary({"noise": ("none", "blur"), "weighting": ("uniform", "S'")}, figure="bars")
    texts = readable(study_figure(replace(found, rows=found.rows[:3])))
    assert "none" in texts
    assert "blur, uniform" in texts
    assert "blur" not in texts


def test_only_tests_that_all_cells_have_get_a_panel(summary, readable):
    found = summary({"noise": ("none", "blur")}, ("held out",), "bars")
    more = [Held("held out"), *(Held(f"blur {k}") for k in range(36))]
    cells = (Cell({"noise": "none"}, tests=tuple(more)), found.study.cells[1])
    figures = {t.name: {"mAP@5": Estimate(0.4, 0.3, 0.5, 5)} for t in more}
    rows = (replace(found.rows[0], figures=figures), found.rows[1])
    columns = tuple((t.name, "mAP@5") for t in more)
    study = replace(found.study, cells=cells)
    figure = study_figure(replace(found, study=study, rows=rows, columns=columns))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["held out"]
    readable(figure)


def test_a_row_that_has_not_run_is_labelled(summary, readable):
    found = summary({"weights": ("uniform", "scores")}, figure="bars")
    rows = (found.rows[0], replace(found.rows[1], figures={}, done=0))
    texts = readable(study_figure(replace(found, rows=rows)))
    assert texts.count(label("not_run")) == 2


FOUR, TWO = ("one", "two", "three", "four"), ("held out", "complete")


@pytest.mark.parametrize(
    ("grid", "figure", "tests"),
    [
        ({"size": (100, 1000, 10000)}, "lines", FOUR),
        ({"fault": ("none", "mask on the wrong product")}, "bars", FOUR[:3]),
        ({"model": ("a", "b"), "policy": ("zero", "skip"), "rate": (0.0, 0.5)}, "bars", TWO),
        ({"policy": tuple(f"policy {k}" for k in range(9)), "rate": (0.0, 0.5)}, "lines", TWO),
        ({"removed": ("text", "table", "image", "video", "nothing"), "rate": (0, 1)}, "lines", TWO),
        ({"detach": (True, False), "rate": (0.3,)}, "bars", TWO[:1]),
    ],
)
def test_any_grid_is_legible(summary, readable, grid, figure, tests):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        readable(study_figure(summary(grid, tests, figure)))


def test_whiskers_of_different_lines_do_not_overlap(summary):
    axes = study_figure(summary(GRID)).axes[0]
    starts = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 5]
    assert len(set(np.round(starts, 6))) == len(GRID["policy"])


def test_one_seed_has_no_whisker_and_is_drawn(summary, readable):
    found = summary(GRID)
    alone = {"held out": {"mAP@5": Estimate(0.4, None, None, 1)}}
    rows = tuple(replace(row, figures=alone, done=1) for row in found.rows)
    readable(study_figure(replace(found, rows=rows)))


def test_a_metric_that_no_cell_has_is_refused(summary):
    with pytest.raises(ValueError, match=r"no cell has Recall@10"):
        study_figure(summary(GRID), "Recall@10")


def study_words():
    """Every word of the studies' tables that a figure of cells shows."""
    words = {"training"}
    for make in STUDIES.values():
        study = make(False)
        for cell in study.cells:
            words |= {value for value in cell.factors.values() if isinstance(value, str)}
            words |= {test.name for test in cell.tests} if study.name != "noise" else set()
        words |= set(study.factors)
    return words


def test_every_word_of_a_study_is_chinese_but_for_names():
    names = {"VL-BERT", "ImageBERT", "VideoBERT", "HERO", "VisualBERT", "UNITER", "ViLBERT",
             "LXMERT", "CLIP", "SCALE", "MMT"}  # fmt: skip
    kinds = {word for word in study_words() if word.rsplit(" ", 1)[-1].lstrip("-")[0].isdigit()}
    for word in study_words() - names - kinds:
        assert term(word, "zh") != word, word
        assert term(word, "en") == word
    code = NOTEBOOK.read_text(encoding="utf-8")
    parts = set(re.findall(r"^# SCALE · (.+)$", code, re.M))
    published = set(paper_table(5)["model"])
    assert set(WORDS["zh"]["terms"]) <= study_words() | parts | published
    assert term("text+audio", "zh") == "文本+音频"


def test_a_study_in_chinese_has_no_english_words(summary, readable):
    texts = readable(study_figure(summary(GRID), lang="zh"))
    assert not {"zero", "drop", "rate", "held out"} & set(texts)


def runs(study, seeds=5, keep=0.8):
    """Runs whose damaged value is `keep` times their clean value."""
    rng, found = np.random.default_rng(0), []
    for cell in study.cells:
        for seed in range(seeds):
            clean = rng.uniform(0.2, 0.6)
            figures = {t.name: {"mAP@5": clean * (keep if t.noises else 1)} for t in cell.tests}
            told = {f"own S' {m}": 0.4 + 0.02 * k for k, m in enumerate(MODALITIES)}
            told |= {"AUC S'": 0.5 + 0.01 * seed, "AUC posterior": 0.6, "Spearman S' own": -1.0}
            figures["training"] = told
            found.append(Record(study.name, "a", "micro", f"{cell.factors}{seed}", cell.factors,
                                seed, figures=figures))  # fmt: skip
    return found


def small_study(*tests, trained=()):
    cells = tuple(Cell({"noise": n, "weighting": w}, {}, noises, tests=(Held("held out"), *tests))
                  for n, noises in (("none", ()), *trained) for w in ("uniform", "S'"))  # fmt: skip
    return Study("noise", "Does it?", ("noise", "weighting"), cells, ())


BLUR, SNR = (
    Held(n, (Noise(*a),)) for n, a in (("b", ("blur", "image", 2)), ("s", ("snr", "audio", 5)))
)


def test_shares_are_taken_run_by_run():
    damages = damage_retention(small_study(BLUR, SNR), runs(small_study(BLUR, SNR)))
    assert [(d.kind, d.modality, d.strength) for d in damages] == [
        ("blur", "image", 2), ("snr", "audio", 5),
    ]  # fmt: skip
    for damage in damages:
        assert list(damage.kept) == ["uniform", "S'"]
        for e in damage.kept.values():
            # The clean figures differ by a factor of 3, so shares of means would have an interval.
            np.testing.assert_allclose([e.value, e.low, e.high, e.n], [0.8, 0.8, 0.8, 5])


def test_models_trained_on_noise_and_clean_figures_of_zero_are_left_out():
    study = small_study(BLUR, SNR, trained=[("blur", BLUR.noises)])
    records = runs(study)
    records[0].figures["held out"]["mAP@5"] = 0.0
    damages = damage_retention(study, records)
    assert list(damages[0].kept) == ["uniform", "S'"]
    assert [e.n for e in damages[0].kept.values()] == [4, 5]


def test_one_kind_of_damage_or_none_is_no_comparison_of_kinds():
    for tests in ((), (BLUR,)):
        study = small_study(*tests)
        assert damage_retention(study, runs(study)) == []
    missing = STUDIES["missing"](False)
    assert damage_retention(missing, runs(missing)) == []


def test_damage_of_all_modalities_has_its_share():
    study = small_study(BLUR, Held("m", missing_at_random(0.3)))
    last = damage_retention(study, runs(study))[-1]
    assert (last.kind, last.modality, last.strength) == ("missing", "", 0.3)


def test_damage_figure_of_the_whole_study(checked):
    for look, lang in LOOKS:
        study = STUDIES["noise"](False)
        damages = damage_retention(study, runs(study))
        figure, texts = checked(damage_figure, look, damages, lang)
        assert {label(m, lang) for m in MODALITIES} | {
            term(w, lang) for w in ("uniform", "S'", "posterior")
        } <= set(texts)
        for strength in (20, 5, -10):
            assert label("snr", lang, n=strength) in texts
        assert len(damages) == 36
        marked = [line.get_xdata()[0] for axes in figure.axes for line in axes.lines
                  if len(line.get_xdata()) == 1]  # fmt: skip
        np.testing.assert_allclose(marked, 0.8)
        assert len(marked) == 3 * 36
        with pytest.raises(ValueError, match="no damage"):
            damage_figure([])


def test_the_share_that_no_noise_hits():
    noises = (Noise("mismatch", "audio", share=0.5), Noise("snr", "audio", 5, share=0.5),
              *missing_at_random(0.9))  # fmt: skip
    assert undamaged_share(noises, "audio") == 0.25
    assert undamaged_share(noises, "text") == 1.0


def test_means_of_the_scores_by_regime_and_by_weighting():
    study = STUDIES["weighting"](False)
    records = runs(study)
    own = own_weights(study, records)
    assert list(own) == ["clean", "missing", "noisy", "mismatch", "all"]
    assert own["mismatch"].mean["audio"].value == pytest.approx(0.48)
    assert list(own["mismatch"].good.values()) == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    assert own["mismatch"].order.value == -1
    told = weighting_aucs(study, records)
    assert list(told) == [c.factors["weighting"] for c in study.cells
                          if c.factors["regime"] == "mismatch"]  # fmt: skip
    assert told["uniform"]["S'"].value == pytest.approx(0.52)
    assert told["uniform"]["posterior"].value == pytest.approx(0.6)


def test_score_figure(checked, readable):
    for look, lang in LOOKS:
        study = STUDIES["weighting"](False)
        records = runs(study)
        figure, texts = checked(score_figure, look, study, records, lang)
        figure.set_dpi(100)  # in a notebook
        readable(figure)
        assert f"{term('mismatch', lang)}  ρ = -1.00" in texts
        assert label("told_apart", lang, regime=term("mismatch", lang)) in texts
        right = figure.axes[1]
        assert any(list(line.get_xdata()) == [0.5, 0.5] for line in right.lines)
        hollow = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "D"]
        np.testing.assert_allclose(hollow[15:20], [0.9, 0.8, 0.7, 0.6, 0.5])


def test_scores_of_a_study_without_them():
    study = small_study(BLUR)
    assert own_weights(study, runs(study)) == {}
    with pytest.raises(ValueError, match="no run has measured the scores"):
        score_figure(study, runs(study))


VERDICTS = ("supported", "contradicted", "not decided", "impossible")
SMALL_GRID = {"policy": ("zero", "skip"), "rate": (0.0, 0.5)}
LONG = [
    f"{regime}: {name} beats uniform weights"
    for regime in ("clean", "missing", "noisy", "mismatch", "all", "over all regimes")
    for name in ("S'", "the posterior", "S' on the logits", "a rank among strangers", "gce",
                 "a claim that takes two lines because it is as long as this one is and even")
]  # fmt: skip


def test_the_forest_names_each_verdict(summary, checked):
    found = summary(SMALL_GRID)

    def draw(lang):
        (page,) = comparison_figures(found, lang)
        return page

    for look, lang in LOOKS:
        figure, texts = checked(draw, look, lang)
        for sign, verdict in zip("✓✗?–", VERDICTS, strict=True):
            assert f"{sign} {label(verdict, lang)}" in texts
        assert len(figure.axes) == 2
        for axes in figure.axes:
            assert any(list(line.get_xdata()) == [0, 0] for line in axes.lines)


def test_many_claims_are_grouped_by_heading_on_several_pages(summary, readable):
    found = summary(SMALL_GRID, ("held out",), claims=LONG)
    written = []
    with use_style("slides"), warnings.catch_warnings():
        warnings.simplefilter("error")
        pages = comparison_figures(found, "zh")
        assert len(pages) == 2
        for figure in pages:
            low, high = sorted(figure.axes[0].get_ylim())
            assert high - low < CLAIM_ROWS + 8
            written += [" ".join(text.split()) for text in readable(figure)]
    for claim in LONG:
        heading, rest = claim.split(": ")
        assert heading in written
        assert written.count(rest) == 6
    assert sum("held out" in text for text in written) == 2 * len(pages)


def test_a_claim_is_never_shortened(summary, readable):
    claim = "it is so, " + "because a word after a word after a word is a claim, " * 8 + "at last"
    (figure,) = comparison_figures(summary(SMALL_GRID, claims=[claim]))
    texts = [" ".join(text.split()) for text in readable(figure)]
    assert f"{claim} (held out)" in texts or claim in texts


def test_a_claim_of_one_metric_leaves_the_other_panel_empty(summary):
    (figure,) = comparison_figures(summary(SMALL_GRID, ("held out",), claims=["a", "b", "c"]))
    assert [len(axes.texts) for axes in figure.axes] == [2, 1]


def test_a_single_claim_has_room(summary, checked):
    found = summary(SMALL_GRID, claims=["a claim that is as long as half of a line or so"])
    checked(lambda lang: comparison_figures(found, lang)[0], "paper", "en")


def test_a_forest_without_any_difference_or_comparison(summary, readable):
    found = summary(SMALL_GRID)
    (figure,) = comparison_figures(replace(found, outcomes=found.outcomes[-1:]))
    readable(figure)
    with pytest.raises(ValueError, match="no comparisons"):
        comparison_figures(replace(found, outcomes=()))


def test_columns_keep_the_order_and_are_about_as_high():
    sizes = enumerate((7, 3, 9, 1, 6))
    blocks = [Block(f"g{k}", tuple(range(n)), ("row",) * n) for k, n in sizes]
    for most in (5, 12, 30, 100):
        columns = balanced(blocks, most)
        assert [block for column in columns for block in column] == blocks
        assert len(columns) <= np.ceil(total_height(blocks) / most)
        assert all(columns)


@pytest.fixture
def curves(around):
    return {
        name: {k: around(1 - slope * k, 0.01 * k) for k in range(5)}
        for name, slope in (("five streams", 0.1), ("one stream", 0.2), ("two streams", 0.15))
    }


def test_retention(curves, checked):
    for look, lang in LOOKS:
        figure, texts = checked(retention_curve, look, curves, lang)
        assert {*curves, "100%", label("missing_count", lang)} <= set(texts)
        np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [1, 0.9, 0.8, 0.7, 0.6])


def test_retention_with_a_gap_and_of_nothing(around, readable):
    readable(retention_curve({"a": {0: around(1), 1: NOTHING}}))
    for nothing in ({}, {"a": {}}):
        with pytest.raises(ValueError, match="no retention"):
            retention_curve(nothing)
