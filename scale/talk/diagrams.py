"""Small diagrams of native shapes: the ten pairs, and what products lack.

N products, M modalities (five).
"""

import math
from dataclasses import dataclass

from numpy.typing import NDArray
from pptx.dml.color import RGBColor
from pptx.enum.shapes import MSO_CONNECTOR, MSO_SHAPE
from pptx.shapes.group import GroupShape
from pptx.util import Inches, Pt

from scale.modalities import MODALITIES, PAIRS
from scale.talk.page import Page, write
from scale.talk.picture import describe, plain
from scale.viz.theme import MODALITY_COLOURS
from scale.viz.words import label

LEFT, RIGHT, TOP = 0.6, 6.97, 4.0
"""Inches: the columns of the layout `Two columns`, below three lines of text."""
LINE, EMPTY = "B4BCC8", "FFFFFF"


@dataclass(frozen=True)
class Pairs:
    """Five modalities on an ellipse, joined by the ten pairs."""

    def put(self, page: Page, idx: int, alt: str) -> None:
        """In the left column, whatever the idx."""
        width, height = 1.3, 0.5
        middle, radius = (LEFT + 2.9, TOP + 1.3), (2.2, 0.98)
        turns = [2 * math.pi * k / len(MODALITIES) - math.pi / 2 for k in range(len(MODALITIES))]
        places = [
            (middle[0] + radius[0] * math.cos(t), middle[1] + radius[1] * math.sin(t))
            for t in turns
        ]
        group = page.slide.shapes.add_group_shape()
        for i, j in PAIRS:
            ends = (Inches(length) for end in (places[i], places[j]) for length in end)
            line = group.shapes.add_connector(MSO_CONNECTOR.STRAIGHT, *ends)
            plain(line)
            line.line.color.rgb, line.line.width = RGBColor.from_string(LINE), Pt(2)
        for modality, (x, y) in zip(MODALITIES, places, strict=True):
            box = (x - width / 2, y - height / 2, width, height)
            shape = _block(group, box, MODALITY_COLOURS[modality], MSO_SHAPE.ROUNDED_RECTANGLE)
            frame = shape.text_frame
            frame.margin_left = frame.margin_right = 0
            (run,) = write(frame, [label(modality, page.lang)], page.lang, 18)
            run.font.bold, run.font.color.rgb = True, RGBColor(255, 255, 255)
            frame.paragraphs[0].alignment = 2
        describe(group, alt)


@dataclass(frozen=True)
class Gaps:
    """A column a product, a row a modality: filled where it is there."""

    present_NM: NDArray

    def put(self, page: Page, idx: int, alt: str) -> None:
        """In the right column, whatever the idx."""
        side, step, row_step = 0.19, 0.225, 0.46
        group = page.slide.shapes.add_group_shape()
        for row, (modality, colour) in enumerate(MODALITY_COLOURS.items()):
            y = TOP + 0.2 + row * row_step
            for column, present in enumerate(self.present_NM[:, row]):
                box = (RIGHT + column * step, y, side, 0.36)
                shape = _block(group, box, colour if present else EMPTY, MSO_SHAPE.RECTANGLE)
                shape.name = f"{modality} {column + 1}"
                shape.line.color.rgb = RGBColor.from_string(colour.lstrip("#"))
                shape.line.width = Pt(0.75)
        describe(group, alt)


def _block(group: GroupShape, box: tuple[float, ...], colour: str, kind: MSO_SHAPE):
    shape = group.shapes.add_shape(kind, *(Inches(length) for length in box))
    plain(shape)
    shape.fill.solid()
    shape.fill.fore_color.rgb = RGBColor.from_string(colour.lstrip("#"))
    shape.line.fill.background()
    return shape
