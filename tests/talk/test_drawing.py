"""A scene as native shapes: text, sizes, arrows, subscripts, and one alternative text."""

import numpy as np
import pytest
from PIL import Image
from pptx import Presentation

from scale.talk.deck import problems
from scale.talk.page import TEMPLATE, Page
from scale.talk.shapes import Drawing
from scale.viz.illustrations.framework import framework_scene
from scale.viz.scene import Block, Line, Photo, Scene
from scale.viz.theme import use_style
from scale.viz.tiles import Box


@pytest.fixture
def put():
    """Draws a scene on an empty slide; returns the deck and the group."""

    def draw(scene, lang="en"):
        deck = Presentation(str(TEMPLATE))
        page = Page.add(deck, "Title only", lang, "footer")
        page.title("Title")
        Drawing(scene, alt="All of it").put(page, 0, "")
        page.drop_empty()
        return deck, next(s for s in page.slide.shapes if s.shape_type == 6)

    return draw


def test_shapes_are_native(put):
    text = Block(Box(10, 20, 100, 40), ("x_{i} = y_{j}", "plain"), 15, "#112233", 1, face="#DDEEFF")
    arrow = Line(((0, 0), (50, 0), (50, 30)), "#445566")
    photo = Photo(Image.new("RGB", (4, 4)), Box(0, 0, 72, 72), "photo")
    _, group = put(Scene((text, arrow, photo), 120, 80))
    assert group._element.xpath("./p:nvGrpSpPr/p:cNvPr/@descr") == ["All of it"]
    box, first, last, picture = group.shapes
    line, plain = box.text_frame.paragraphs
    assert [run.text for run in line.runs] == ["x", "i", " = y", "j"]
    lowered = [run.font._element.get("baseline", "0") != "0" for run in line.runs]
    assert lowered == [False, True, False, True]
    assert [run.font.bold for run in (*line.runs, *plain.runs)] == [True] * 4 + [False]
    assert {run.font.size.pt for run in line.runs} == {15}
    heads = [bool(shape._element.xpath(".//a:tailEnd")) for shape in (first, last)]
    assert heads == [False, True]
    assert (picture.width.pt, picture.height.pt) == pytest.approx((72, 72))
    assert (box.left - picture.left) / 12700 == pytest.approx(10, abs=0.01)


def test_the_framework_is_large_enough_and_inside_the_slide(put):
    for lang in ("en", "zh"):
        with use_style("slides"):
            scene = framework_scene(scores_MM=np.eye(5), lang=lang)
        deck, group = put(scene, lang)
        assert problems(deck) == []
        runs = [
            run
            for shape in group.shapes
            if shape.has_text_frame
            for paragraph in shape.text_frame.paragraphs
            for run in paragraph.runs
        ]
        assert min(run.font.size.pt for run in runs) >= 14
        assert sum(run.text == "[CLS]" for run in runs) == 5
        # Above the source line of the layout.
        assert (group.top + group.height) / 914400 < 6.69
