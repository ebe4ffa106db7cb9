"""Damage at test time, and what the scores see of damage: numbers from records, and readable."""

import numpy as np
import pytest

from scale.modalities import MODALITIES
from scale.studies.definitions import STUDIES
from scale.studies.diagnosis import own_weights, undamaged_share, weighting_aucs
from scale.studies.noise import Noise, missing_at_random
from scale.studies.retention import damage_retention
from scale.studies.study import Cell, Record, Study
from scale.studies.study import Test as Held
from scale.viz.studies import damage_figure, score_figure
from scale.viz.words import label, term

LOOKS = [("paper", "en"), ("slides", "zh"), ("dark", "zh"), ("slides", "en")]


def runs(study, seeds=5, keep=0.8):
    """Runs whose damaged figure is `keep` of their own clean one, whatever that is."""
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


def test_damage_of_all_modalities_is_told_by_its_share():
    study = small_study(BLUR, Held("m", missing_at_random(0.3)))
    last = damage_retention(study, runs(study))[-1]
    assert (last.kind, last.modality, last.strength) == ("missing", "", 0.3)


@pytest.mark.parametrize(("look", "lang"), LOOKS)
def test_damage_figure_of_the_whole_study(checked, look, lang):
    study = STUDIES["noise"](False)
    damages = damage_retention(study, runs(study))
    figure, texts = checked(lambda lang: damage_figure(damages, lang), look, lang)
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


@pytest.mark.parametrize(("look", "lang"), LOOKS)
def test_score_figure(checked, look, lang):
    study = STUDIES["weighting"](False)
    records = runs(study)
    figure, texts = checked(lambda lang: score_figure(study, records, lang), look, lang)
    assert f"{term('mismatch', lang)}  ρ = -1.00" in texts
    assert label("told_apart", lang, regime=term("mismatch", lang)) in texts
    right = figure.axes[1]
    assert any(list(line.get_xdata()) == [0.5, 0.5] for line in right.lines)
    hollow = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "D"]
    np.testing.assert_allclose(hollow[15:20], [0.9, 0.8, 0.7, 0.6, 0.5])


def test_scores_of_a_study_without_them():
    study = small_study(BLUR)
    assert own_weights(study, runs(study)) == {}
    with pytest.raises(ValueError, match="no run has figures of the scores"):
        score_figure(study, runs(study))
