"""Pictures on slides: as large as the placeholder allows, whole, with their description."""

import io
from dataclasses import dataclass

from matplotlib.figure import Figure
from pptx.shapes.base import BaseShape
from pptx.shapes.placeholder import PicturePlaceholder

from scale.talk.page import Page

DOTS = 220
"""Pixels an inch on the slide: twice what a projector of 1,920 shows of 13.3 inches, rounded up to
what a laptop of high resolution shows."""


@dataclass(frozen=True)
class Picture:
    """A PNG (or JPEG) in memory."""

    content: bytes
    aspect: float
    """Width / height."""
    alt: str = ""
    """What it shows, where the slide's words do not say it."""

    @staticmethod
    def of(figure: Figure, alt: str = "", width: float = 12.1) -> "Picture":
        """A figure, with as many pixels as `width` inches of a slide need.

        The same figure gives the same bytes.
        """
        across, high = figure.get_size_inches()
        with io.BytesIO() as buffer:
            dots, plain = DOTS * width / across, {"Software": None}
            figure.savefig(buffer, format="png", dpi=dots, metadata=plain)
            return Picture(buffer.getvalue(), across / high, alt)

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Into the placeholder of this idx, centred, nothing cut off."""
        place = page.place(idx)
        left, top, width, height = place.left, place.top, place.width, place.height
        holder = PicturePlaceholder(place._element, place._parent)
        shape = holder.insert_picture(io.BytesIO(self.content))
        shape.crop_left = shape.crop_right = shape.crop_top = shape.crop_bottom = 0
        shown = min(width, round(height * self.aspect)), min(height, round(width / self.aspect))
        shape.left, shape.top = left + (width - shown[0]) // 2, top + (height - shown[1]) // 2
        shape.width, shape.height = shown
        describe(shape, alt or self.alt)


def describe(shape: BaseShape, text: str) -> None:
    """Set the alternative text of a picture, a chart or a table."""
    shape._element.xpath(".//p:cNvPr")[0].set("descr", text)


def plain(shape: BaseShape) -> None:
    """Take away the theme's outline, shadow and text colour of a new shape."""
    for style in shape._element.xpath("./p:style"):
        style.getparent().remove(style)
