"""A product with all five modalities, and the check that a picture is readable."""

import warnings
import wave
from itertools import product as combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from scale.data.product import Product
from scale.evaluation.bootstrap import NOTHING, Estimate
from scale.studies.statistics import CellSummary, Outcome, Summary
from scale.studies.study import Cell, Comparison, Study
from scale.studies.study import Test as Held
from scale.viz.theme import use_style

LOOKS = (("paper", "en"), ("slides", "zh"))
"""Styles and languages in which illustrations are drawn: slides have the largest text."""


@pytest.fixture(scope="session")
def product(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(folder / "a.png")
    frames = [Image.new("RGB", (32, 24), (40 * k, 90, 200 - 40 * k)) for k in range(5)]
    frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    tone_T = np.sin(2 * np.pi * 1000 * np.arange(8000) / 16_000)
    with wave.open(str(folder / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((tone_T * 2**14).astype("<i2").tobytes())
    return Product(
        id="p-1",
        name="Kettle, 1.7 litres",
        text="Kettle for $5 or $6. 不锈钢电热水壶，容量大、保温久（家用）。" * 3,
        table=tuple((f"attribute {k}", f"数值 {k}") for k in range(9)),
        image=folder / "a.png",
        video=folder / "a.gif",
        audio=folder / "a.wav",
        category="Kitchen",
        split="test",
    )


def drawn_texts(figure):
    """Text and window box of everything that is written: tick labels inside the axes only."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not axes.axison or not low <= tick.get_loc() <= high:
                    hidden |= {tick.label1, tick.label2}
            if not axes.axison:
                hidden |= {axis.label, axis.offsetText}
    renderer = figure.canvas.get_renderer()
    texts = [
        t
        for t in figure.findobj(Text)
        if t.get_visible() and t.get_text().strip() and t not in hidden
    ]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in texts]


@pytest.fixture
def readable():
    """Asserts that nothing written is clipped by the page or lies on another text."""

    def check(figure):
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        found = drawn_texts(figure)
        assert found
        width, height = figure.bbox.size
        for text, box in found:
            inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
            assert inside, f"clipped: {text!r}"
        slack = 0.02 * figure.dpi
        for number, (text, box) in enumerate(found):
            for other, there in found[number + 1 :]:
                apart = (
                    box.x1 - slack < there.x0
                    or there.x1 - slack < box.x0
                    or box.y1 - slack < there.y0
                    or there.y1 - slack < box.y0
                )
                assert apart, f"{text!r} lies on {other!r}"
        return [text for text, _ in found]

    return check


def assert_legible(figure):
    """Text of at least 9.5 points on a page below 800 points wide, in the paper style."""
    assert figure.get_figwidth() * 72 < 800
    sizes = {t.get_fontsize() for t in figure.findobj(Text) if t.get_text().strip()}
    assert min(sizes) >= 9.5


CLAIM = "a learned token beats zero imputation when half of all modalities are missing"
VERDICTS = ("supported", "contradicted", "not decided", "impossible")


def estimate_around(value, half=0.02):
    return Estimate(value, value - half, value + half, 5)


@pytest.fixture
def around():
    """An estimate with an interval of five seeds."""
    return estimate_around


@pytest.fixture
def summary():
    """Makes a summary of all cells of a grid of factors; cells in `gaps` cannot be trained."""

    def make(grid, tests=("held out", "complete"), figure="lines", gaps=(), claims=(CLAIM,) * 4):
        factors = tuple(grid)
        places = [dict(zip(factors, p, strict=True)) for p in combinations(*grid.values())]
        cells = tuple(Cell(p, tests=tuple(Held(t) for t in tests)) for p in places)
        outcomes = []
        for k, claim in enumerate(claims):
            metric = ("mAP@5", "mAP@5", "Recall@10", "Recall@10")[k % 4]
            test = tests[k % 2 % len(tests)]
            comparison = Comparison(claim, places[0], places[-1], test, metric)
            verdict = VERDICTS[k % 4]
            some = (estimate_around(0.05), estimate_around(0.06))
            some = some if verdict != "impossible" else (NOTHING, None)
            outcomes.append(Outcome(comparison, verdict, "", *some))
        comparisons = tuple(outcome.comparison for outcome in outcomes)
        study = Study("missing", "Is it?", factors, cells, comparisons, figure=figure)
        rows = []
        for k, place in enumerate(places):
            failed = place in gaps
            found = {} if failed else {t: {"mAP@5": estimate_around(0.3 + 0.01 * k)} for t in tests}
            rows.append(
                CellSummary(place, found, 0 if failed else 5, 5 if failed else 0, "no" * failed)
            )
        columns = tuple((t, m) for t in tests for m in study.metrics)
        return Summary(study, "samples", "tiny", tuple(rows), tuple(outcomes), columns, {})

    return make


@pytest.fixture
def checked(readable):
    """Draw in a style, with warnings as errors; return the figure and its texts."""

    def draw(function, look, *args):
        with use_style(look), warnings.catch_warnings():
            warnings.simplefilter("error")
            figure = function(*args)
            return figure, readable(figure)

    return draw
