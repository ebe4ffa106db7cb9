"""The template: 16:9, placeholders where they belong, fonts and colours of the figures."""

import itertools
import runpy
from pathlib import Path

import pytest
from pptx import Presentation
from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.opc.constants import RELATIONSHIP_TYPE

from scale.talk import page
from scale.talk.page import TEMPLATE
from scale.viz.theme import MODALITY_COLOURS

SMALL = (PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.SLIDE_NUMBER)


@pytest.fixture(scope="module")
def deck():
    return Presentation(str(TEMPLATE))


def test_it_is_16_to_9_and_has_the_layouts(deck):
    assert deck.slide_width / deck.slide_height == pytest.approx(16 / 9, rel=1e-3)
    assert {layout.name for layout in deck.slide_layouts} == set(page.Layout.__args__)
    assert len(deck.slides) == 0


def test_placeholders_lie_on_the_page_and_apart(deck):
    for layout in deck.slide_layouts:
        places = list(layout.placeholders)
        assert {p.placeholder_format.type for p in places} >= set(SMALL)
        for place in places:
            assert min(place.left, place.top) >= 0
            assert place.left + place.width <= deck.slide_width
            assert place.top + place.height <= deck.slide_height
        for a, b in itertools.combinations(places, 2):
            apart = (
                a.left + a.width <= b.left
                or b.left + b.width <= a.left
                or a.top + a.height <= b.top
                or b.top + b.height <= a.top
            )
            assert apart, f"{layout.name}: {a.name} lies on {b.name}"


def test_margins_are_the_same_at_both_sides(deck):
    for layout in deck.slide_layouts:
        if layout.name in ("Title", "Section"):
            continue
        left = min(p.left for p in layout.placeholders)
        right = max(p.left + p.width for p in layout.placeholders)
        assert left == pytest.approx(deck.slide_width - right, abs=9000)


def test_the_theme_has_both_scripts_and_the_colours_of_the_modalities(deck):
    theme = deck.slide_master.part.part_related_by(RELATIONSHIP_TYPE.THEME).blob.decode()
    assert theme.count('<a:latin typeface="Arial"/><a:ea typeface="Microsoft YaHei"/>') == 2
    for number, colour in enumerate(MODALITY_COLOURS.values(), start=1):
        accent = f'<a:accent{number}><a:srgbClr val="{colour.lstrip("#")}"/></a:accent{number}>'
        assert accent in theme


def test_the_tool_makes_the_file_that_ships(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "TEMPLATE", tmp_path / "slides.pptx")
    tool = Path(__file__).parents[2] / "tools" / "make_slide_template.py"
    runpy.run_path(str(tool), run_name="__main__")
    assert (tmp_path / "slides.pptx").read_bytes() == TEMPLATE.read_bytes()
