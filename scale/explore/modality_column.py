"""The controls of one modality in the score explorer: present, another product's, noise."""

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np

from scale.config import require
from scale.explore.panel import AUTO, Choice, ClickableHtml, checkbox, observe
from scale.studies.single_product import ModalityChange, ProductEditor
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
"""Slider steps by kind of noise (label `xs_<kind>`), mild to strong. The first one is no noise."""
NOISE_UNITS = {
    "gaussian": "xs_grey",
    "blur": "xs_pixels",
    "jpeg": "xs_quality",
    "snr": "xs_decibel",
}
"""Label keys of the units; other kinds of noise are shares."""

CLEAN = ModalityChange()
NO_DAMAGE = -1.0
"""Slider value without noise; not a strength of any kind."""


def strength_text(kind: str, strength: float, lang: Language) -> str:
    """Return a strength with its unit."""
    return label(NOISE_UNITS.get(kind, "xs_percent"), lang, n=strength, percent=100 * strength)


class ModalityColumn(ipywidgets.VBox):
    """Content of a modality, and its controls: present, another product's, noise, strength.

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
        self.content = ClickableHtml(picked=picked)
        self.present = checkbox(label("xs_present", lang), True)
        self.mismatch = checkbox(label("xs_mismatch", lang), False)
        self.kind = ipywidgets.Dropdown(
            options=[(label(f"xs_{kind}", lang), kind) for kind in kinds],
            description=label("xs_kind", lang),
            layout=AUTO,
        )
        self.strength = ipywidgets.SelectionSlider(
            options=self._steps(), description=label("xs_strength", lang), layout=AUTO
        )
        controls = [self.present, self.mismatch, self.kind, self.strength]
        for control in controls:
            control.tooltip = f"{label(modality, lang)}: {control.description}"
        observe(self._restart, self.kind)
        observe(changed, self.present, self.mismatch, self.strength)
        super().__init__([self.content, *controls], layout={"flex": "1 1 200px", "width": "200px"})
        self.add_class("scale-modality")
        self.add_class(f"scale-modality-{modality}")

    def change(self) -> ModalityChange:
        """Return the change chosen in the controls."""
        strength = float(self.strength.value)
        damage = None if strength == NO_DAMAGE else (self.kind.value, strength)
        return ModalityChange(self.present.value, self.mismatch.value, damage)

    def reset(self) -> None:
        """Undo every change."""
        self.present.value, self.mismatch.value, self.strength.value = True, False, NO_DAMAGE

    def show(self, change: ModalityChange) -> None:
        """Set the controls to a change."""
        kind, strength = change.damage or (self.kind.value, NO_DAMAGE)
        self.kind.value = kind
        self.present.value, self.mismatch.value = change.present, change.mismatch
        self.strength.value = strength

    @property
    def choice(self) -> Choice:
        """The change, as `off`, `other` and `<kind>:<strength>`, joined by commas."""
        return Choice(self._read, self._write)

    def _read(self) -> str:
        change = self.change()
        words = {"off": not change.present, "other": change.mismatch}
        damage = [f"{change.damage[0]}:{change.damage[1]}"] if change.damage else []
        return ",".join([*(word for word in words if words[word]), *damage])

    def _write(self, text: str) -> None:
        words, damage = text.split(","), None
        for word in words:
            kind, _, strength = word.partition(":")
            if strength:
                known = STRENGTHS[kind] if kind in self.kind._options_values else ()
                found = [n for n in known if str(float(n)) == strength]
                require(bool(found), f"unknown change {text!r}")
                damage = kind, float(found[0])
        self.show(ModalityChange("off" not in words, "other" in words, damage))

    def offer(self, has: bool, other: bool) -> None:
        """Enable the controls.

        Args:
            has: whether the product has the modality.
            other: whether another product has different content.
        """
        for control in (self.present, self.kind, self.strength):
            control.disabled = not has
        self.mismatch.disabled = not (has and other)

    def _steps(self) -> list[tuple[str, float]]:
        steps = STRENGTHS.get(self.kind.value, ())
        named = [(strength_text(self.kind.value, n, self._lang), n) for n in steps]
        return [(label("xs_as_is", self._lang), NO_DAMAGE), *named]

    def _restart(self, _: Any) -> None:
        """Begin another kind of noise at its first step, no noise."""
        self.strength.value = NO_DAMAGE
        self.strength.options = self._steps()


def change_line(
    editor: ProductEditor, row: int, modality: str, change: ModalityChange, lang: Language
) -> str:
    """Return the change of one modality of a product in words."""
    if not editor.has(row, modality):
        what = label("xs_sum_missing", lang)
    elif not change.present:
        what = label("xs_off", lang)
    else:
        what = " · ".join(_parts(editor, row, modality, change, lang)) or label("xs_as_is", lang)
    return label("xs_sum_change", lang, modality=label(modality, lang), what=what)


def _parts(
    editor: ProductEditor, row: int, modality: str, change: ModalityChange, lang: Language
) -> list[str]:
    parts = []
    donor = editor.donor(row, modality) if change.mismatch else None
    if donor is not None:
        parts.append(label("xs_from", lang, product=editor.data.ids[donor]))
    if change.damage:
        name = label(f"xs_{change.damage[0]}", lang)
        parts.append(f"{name} {strength_text(*change.damage, lang)}")
    return parts
