"""Drawings for slides: readable, of the size of their place, no text below 14 points."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.modalities import MODALITIES
from scale.viz import registry, theme
from scale.viz.illustrations.data import DATA_SETS
from scale.viz.illustrations.masked_words import ColourGuess
from scale.viz.illustrations.masking import Piece, TaskView
from scale.viz.illustrations.pretraining import WeightedTerms
from scale.viz.illustrations.space import Points
from scale.viz.retrieval import Matches
from scale.viz.slides import background, details, method, results
from scale.viz.words import label, term
from tests.viz.conftest import estimate_around
from tests.viz.illustrations.test_masking import CONFIG, found
from tests.viz.illustrations.test_scores import scores_of

PLACES = {"Picture": (8.75, 5.17), "Wide picture": (12.13, 4.07), "Area": theme.SLIDE_AREA}


@pytest.fixture
def on_slide(readable):
    """Draw in both languages and both places; return the texts of the last one."""

    def draw(function, *args, places=("Picture", "Wide picture")):
        for lang in ("en", "zh"):
            for name in places:
                with theme.use_style("slides", PLACES[name]):
                    figure = function(*args, lang)
                texts = readable(figure)
                assert theme.text_sizes(figure)[0] >= theme.SMALLEST_ON_SLIDE - 0.01
                assert figure.get_size_inches() == pytest.approx(PLACES[name], abs=0.01)
        return texts

    return draw


def test_the_method(product, on_slide):
    on_slide(method.contrastive_idea, places=("Picture",))
    on_slide(method.streams, product, places=("Wide picture",))
    on_slide(method.weight_effects, places=("Wide picture",))
    texts = on_slide(
        method.score_matrices,
        product,
        scores_of(product),
        np.ones(5, bool),
        places=("Wide picture",),
    )
    assert texts.count("1.00") == len(MODALITIES)


def test_the_weights_lead_to_the_sums_of_the_loss(product, on_slide):
    terms = WeightedTerms(np.ones((5, 5)), np.full((5, 5), 0.25), 9.0, 4)
    scores = scores_of(product), np.ones(5, bool), terms, "image"
    texts = on_slide(method.total_loss, product, *scores, places=("Wide picture",))
    assert {label("on_wrong", "zh"), "1.00"} <= set(texts)
    for value in ("2.50", "1.25", "3.75"):
        assert sum(value in text for text in texts) == 1


def test_the_tasks_show_what_is_hidden_and_predicted(product, on_slide):
    pieces = [Piece("tea", "tea"), Piece("##pot", "##spoon"), Piece("blue")]
    views = {"text": TaskView(pieces, 1.0, 2.0)}
    for modality in ("image", "video", "audio"):
        content = found(product, modality)
        content = replace(content, guess_LF={"all": content.guess_LF["with"]})
        views[modality] = TaskView(content, 1.0, 2.0)
    texts = on_slide(method.pretext_tasks, views, CONFIG, places=("Wide picture",))
    assert {"✓ tea", "× spoon", label("absent_table", "zh")} <= set(texts)
    on_slide(method.mask_image, [found(product, "image")] * 3, CONFIG)


def test_a_predicted_word_has_its_probability(product, on_slide):
    guesses = [("teal", 0.4), ("red", 0.3), ("a", 0.1), ("b", 0.05), ("c", 0.01)]
    both = {"title": guesses, "picture": guesses}
    asked = ColourGuess(product, "____ kettle", "red", both, {"title": 0.3, "picture": 0.3}, 9)
    texts = on_slide(method.word_prediction, asked)
    assert texts.count("✓ red") == 2
    assert texts.count("0.30") == 2


def test_misses_have_their_category_and_hits_none(product, on_slide):
    sheet = Matches([product] * 3, [[(product, 0.5)] * 5] * 3, [[True] * 4 + [False]] * 3)
    texts = on_slide(results.retrieval_sheet, sheet, ("image",))
    assert texts.count("Kitchen") == 3 + 3


def test_a_map_has_a_picture_of_each_large_category(product, on_slide):
    products = [replace(product, category=f"kind {k % 14}") for k in range(60)]
    texts = on_slide(results.product_map, np.random.default_rng(0).normal(size=(60, 2)), products)
    assert len(texts) == results.SHOWN


def test_the_gap_is_in_the_title_of_its_map(on_slide):
    features = torch.nn.functional.normalize(torch.eye(5), dim=1).numpy()
    far = Points(features, np.array(MODALITIES), np.zeros(5, int))
    maps = dict.fromkeys(("untrained", "trained"), np.eye(5)[:, :2])
    texts = on_slide(results.modality_maps, maps, {"untrained": far, "trained": far})
    assert sum("1.41" in text for text in texts) == 2


def test_close_curves_have_their_names_apart(on_slide):
    weights = np.full((4, 5, 5), 0.1) + 0.001 * np.arange(25).reshape(5, 5)
    texts = on_slide(results.scores_over_time, [0, 10, 20, 30], weights, places=("Wide picture",))
    assert {label(modality, "zh") for modality in MODALITIES} <= set(texts)


def test_a_study_has_one_verdict_and_at_most_eight_rows(summary, on_slide):
    rows = summary(
        {"regime": ("a", "b", "c"), "weighting": ("uniform", "x", "y", "z")}, figure="bars"
    )
    texts = on_slide(results.study_figure, rows)
    assert sum(label("supported", "zh") in text for text in texts) == 1
    rows = [text for text in texts if text[1:2] == "，" and "−" not in text]
    assert len(rows) == results.BEST
    lines = summary({"policy": ("zero", "drop"), "rate": (0.0, 0.5)})
    assert {term("zero", "zh"), term("drop", "zh")} <= set(on_slide(results.study_figure, lines))


def test_damage_is_named(on_slide):
    rows = [(estimate_around(0.5), "text: typos", "text"), (estimate_around(0.9), "all", "")]
    assert "text: typos" in on_slide(results.damage_figure, rows, "mAP@5")


def test_details(product, on_slide):
    on_slide(details.product_card, product)
    on_slide(details.product_card, replace(product, audio=None))
    steps = [{"step": k, "loss/contrastive": 9 - k, "loss/MLM": 4 - 0.1 * k} for k in range(6)]
    assert "MLM" in on_slide(details.losses, steps)
    near = {"text->image": estimate_around(0.5), "image->text": estimate_around(0.25)}
    assert {"0.50", "0.25"} <= set(on_slide(details.direction_matrix, near))
    aucs = {f"kind {k}": {"S'": estimate_around(0.4 + 0.01 * k)} for k in range(12)}
    texts = on_slide(details.weight_diagnosis, aucs)
    assert sum(text.startswith("kind") for text in texts) == results.BEST


def test_contrastive_learning_and_data(on_slide):
    for function in (background.pull_and_push, background.info_nce_table, background.temperature):
        on_slide(function, places=("Area",))
    texts = on_slide(background.data_sets, DATA_SETS, places=("Wide picture",))
    assert {"M5Product (2022)", "6,313,067"} <= set(texts)
    texts = on_slide(background.long_tail, {"mug": 9, "lamp": 3, "bell": 1})
    assert {"mug 9", "bell 1"} <= set(texts)


def test_masked_sequences_and_gains(product, on_slide):
    audio, video = (found(product, modality) for modality in ("audio", "video"))
    assert f"{audio.loss['with']:.2f}" in on_slide(background.mask_audio, audio)
    on_slide(background.mask_video, video, CONFIG)
    both = {"all": estimate_around(0.05), "other products": estimate_around(-0.01)}
    gains = dict.fromkeys(MODALITIES, both)
    assert "MAM" in on_slide(background.context_gain, gains, ["image", "video", "audio"])


def test_pages_for_print_are_refused_with_a_better_figure(tmp_path):
    sources = registry.Sources(tmp_path, tmp_path, tmp_path)
    for name, better in registry.FOR_PRINT.items():
        assert set(better) <= registry.FIGURES.keys() - registry.FOR_PRINT.keys()
        with theme.use_style("slides"), pytest.raises(ValueError, match=f"print.*{better[0]}"):
            registry.draw(name, sources)
    for_slides = registry.select((), "all", sources, on_slides=True)
    assert registry.FOR_PRINT.keys() == {*registry.select((), "all", sources)} - {*for_slides}


def test_no_figure_for_a_slide_has_small_text():
    with theme.use_style("slides", (6.0, 3.0)):
        figure = theme.new_figure(6, 3)
        figure.text(0.5, 0.5, "text")
        theme.require_readable(figure, "a figure")
        figure.set_size_inches(7.0, 3.0)
        with pytest.raises(ValueError, match="a figure: text of 12"):
            theme.require_readable(figure, "a figure")
