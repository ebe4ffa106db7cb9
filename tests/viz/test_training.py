import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scale.viz.training import loss_curves, numeric_curves, panels_of, running_mean, window_of
from scale.viz.words import label
from tests.viz.conftest import LOOKS

LOSSES = ["total", "contrastive", "MLM", "MEM", "MRP", "MFP", "MAM"]


def run(steps=120):
    rng = np.random.default_rng(0)
    lines = []
    for step in range(0, steps, 2):
        line = {f"loss/{k}": float(5 * np.exp(-step / 60) + rng.normal()) for k in LOSSES}
        line |= {"step": step, "learning_rate": 1e-3, "grad_norm": 1.0, "products_per_second": 90}
        lines.append(line)
        if step % 20 == 0:
            lines.append({"step": step, "val/Recall@10": step / steps, "val/mAP@1": 0.3})
            lines.append({"step": step, "val/alignment": 1.0, "val/uniformity": -2.0})
    return lines


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.axison]


def test_a_panel_for_each_loss_and_measure(checked):
    for look, lang in LOOKS:
        figure, _ = checked(loss_curves, look, run(), lang)
        keys = [*LOSSES, "retrieval_validation", "geometry"]
        keys += ["learning_rate", "grad_norm", "products_per_second"]
        assert titles(figure) == [label(key, lang) for key in keys]


def test_unknown_numbers_are_drawn_and_words_are_not(readable):
    lines = [*run(), {"step": 3, "weights/mean": 1.0, "note": "a word", "flag": True}]
    figure = loss_curves(lines)
    readable(figure)
    assert titles(figure)[-1] == label("other")
    other = next(a for a in figure.axes if a.get_title(loc="left") == label("other"))
    assert [line.get_label() for line in other.lines] == ["weights/mean"]


def test_losses_that_are_not_finite_leave_a_gap(readable):
    lines = run()
    lines[30]["loss/MLM"] = float("nan")
    lines[31]["loss/total"] = float("inf")
    readable(loss_curves(lines))


def test_the_raw_values_and_their_mean_are_drawn():
    lines = run()
    figure = loss_curves(lines)
    raw, mean = figure.axes[0].lines
    values = [line["loss/total"] for line in lines if "loss/total" in line]
    np.testing.assert_allclose(raw.get_ydata(), values)
    np.testing.assert_allclose(mean.get_ydata(), running_mean(np.array(values), 3))


def test_a_run_of_one_line_and_an_empty_one(readable):
    readable(loss_curves([{"step": 1, "loss/total": 3.0}]))
    for lines in ([], [{"step": 1}], [{"loss/total": 3.0}], [{"step": 1, "note": "x"}]):
        with pytest.raises(ValueError, match="nothing to draw"):
            loss_curves(lines)


KEYS = st.sampled_from(
    [f"loss/{k}" for k in (*LOSSES, "new")]
    + ["val/Recall@10", "val/alignment", "learning_rate", "grad_norm", "weights/mean", "memory"]
)


@given(st.lists(st.dictionaries(KEYS, st.floats(allow_nan=False), min_size=1), min_size=1))
def test_each_key_is_in_exactly_one_panel(lines):
    curves = numeric_curves([{"step": n, **line} for n, line in enumerate(lines)])
    shown = [key for keys in panels_of(curves).values() for key in keys]
    assert sorted(shown) == sorted({key for line in lines for key in line})
    assert sum(len(values) for _, values in curves.values()) == sum(map(len, lines))


@given(
    st.lists(st.one_of(st.floats(-9, 9), st.just(float("nan"))), min_size=1, max_size=30),
    st.sampled_from([1, 3, 5, 9]),
)
def test_running_mean_equals_its_slow_twin(values, window):
    fast = running_mean(np.array(values), window)
    for k in range(len(values)):
        near = values[max(0, k - window // 2) : k + window // 2 + 1]
        finite = [v for v in near if np.isfinite(v)]
        expected = np.mean(finite) if finite else np.nan
        np.testing.assert_allclose(fast[k], expected, atol=1e-9)


def test_window_is_odd_and_grows():
    assert [window_of(n) for n in (1, 39, 40, 200)] == [1, 1, 3, 11]
