"""The 16:9 template (tools/make_slide_template.py) and the numbers of its placeholders."""

from typing import Literal

from scale.viz.theme import ASSETS

TEMPLATE = ASSETS / "slides.pptx"

Layout = Literal[
    "Title", "Section", "Content", "Two columns", "Picture", "Wide picture", "Chart or table",
    "Wide chart or table", "Two charts", "Equation and chart", "Title only",
]  # fmt: skip

TITLE, FIRST, TEXT, SECOND, SOURCE = 0, 1, 2, 3, 13
"""idx of the title, of the (left) picture, chart or table, of the text beside or below it, of the
right chart or of the equation, and of the small line above the footer. `Content` and `Section` have
their text at FIRST; `Two columns` has headings at 1 and 3 and contents at 2 and 4."""
