"""What can be done to one modality of a product, as a column of controls under what it gives."""

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np

from scale.explore.html import Surface
from scale.studies.single_product import ModalityChange
from scale.viz.words import Language, label

PERCENT = tuple(round(0.05 * k, 2) for k in range(1, 21))
STRENGTHS: dict[str, tuple[float, ...]] = {
    "gaussian": tuple(range(10, 251, 10)),
    "blur": tuple(np.arange(0.5, 12.1, 0.5).tolist()),
    "jpeg": (*range(95, 4, -5), 1),
    "frame_drop": PERCENT,
    "frame_shuffle": PERCENT,
    "snr": tuple(range(40, -21, -2)),
    "word_drop": PERCENT,
    "typo": PERCENT,
    "attribute_swap": PERCENT,
}
"""Steps of the slider of each kind, mild to strong; the one before the first is no damage."""
NAMES = {
    "gaussian": "xs_gaussian",
    "blur": "xs_blur",
    "jpeg": "xs_jpeg",
    "frame_drop": "xs_frame_drop",
    "frame_shuffle": "xs_frame_shuffle",
    "snr": "xs_snr",
    "word_drop": "xs_word_drop",
    "typo": "xs_typo",
    "attribute_swap": "xs_attribute_swap",
}
UNITS = {"gaussian": "xs_grey", "blur": "xs_pixels", "jpeg": "xs_quality", "snr": "xs_decibel"}
"""Other kinds have shares."""

CLEAN = ModalityChange()
NO_DAMAGE = -1.0
"""Value of the slider's first step; no kind has a strength of -1 among its steps."""
WIDE = {"width": "auto"}


def strength_text(kind: str, strength: float, lang: Language) -> str:
    """A strength in the kind's unit."""
    return label(UNITS.get(kind, "xs_percent"), lang, n=strength, percent=100 * strength)


class ModalityColumn(ipywidgets.VBox):
    """The content of one modality, and controls: present, another product's, noise and strength.

    The kinds `missing` and `missing_category` of a single product are the box `present`.
    """

    def __init__(
        self,
        modality: str,
        kinds: Sequence[str],
        changed: Callable[[Any], None],
        picked: Callable[[str, bool], None],
        lang: Language,
    ) -> None:
        self.modality, self._lang = modality, lang
        self.content = Surface(picked=picked)
        self.present = ipywidgets.Checkbox(
            True, description=label("xs_present", lang), indent=False, layout=WIDE
        )
        self.mismatch = ipywidgets.Checkbox(
            False, description=label("xs_mismatch", lang), indent=False, layout=WIDE
        )
        self.kind = ipywidgets.Dropdown(
            options=[(label(NAMES[kind], lang), kind) for kind in kinds],
            description=label("xs_kind", lang),
            layout=WIDE,
        )
        self.strength = ipywidgets.SelectionSlider(
            options=self._steps(), description=label("xs_strength", lang), layout=WIDE
        )
        for control in (self.present, self.mismatch, self.kind, self.strength):
            control.tooltip = f"{label(modality, lang)}: {control.description}"
        self.kind.observe(self._restart, "value")
        for control in (self.present, self.mismatch, self.strength):
            control.observe(changed, "value")
        controls = [self.present, self.mismatch, self.kind, self.strength]
        super().__init__([self.content, *controls], layout={"flex": "1 1 200px", "width": "200px"})
        self.add_class("scale-modality")
        self.add_class(f"scale-modality-{modality}")

    def change(self) -> ModalityChange:
        """What the controls say."""
        strength = float(self.strength.value)
        damage = None if strength == NO_DAMAGE else (self.kind.value, strength)
        return ModalityChange(self.present.value, self.mismatch.value, damage)

    def reset(self) -> None:
        """No change."""
        self.present.value, self.mismatch.value, self.strength.value = True, False, NO_DAMAGE

    def offer(self, has: bool, other: bool) -> None:
        """Let the controls act only where the product has the modality, and where another one has
        `other` content to take."""
        for control in (self.present, self.kind, self.strength):
            control.disabled = not has
        self.mismatch.disabled = not (has and other)

    def _steps(self) -> list[tuple[str, float]]:
        steps = STRENGTHS.get(self.kind.value, ())
        named = [(strength_text(self.kind.value, n, self._lang), n) for n in steps]
        return [(label("xs_as_is", self._lang), NO_DAMAGE), *named]

    def _restart(self, _: Any) -> None:
        """Another kind starts without damage."""
        self.strength.value = NO_DAMAGE
        self.strength.options = self._steps()
