"""The score explorer: change the modalities of one product and read the effect on S'."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from scale.explore import score_views as views
from scale.explore.html import ClickableHtml
from scale.explore.markup import number
from scale.explore.panel import Panel
from scale.explore.score_views import PLAY, Tile
from scale.explore.source import CheckpointModels, ExplorerSource
from scale.modalities import MODALITIES, PAIRS
from scale.studies.single_product import (
    ModalityChange,
    ProductEditor,
    ProductOutputs,
    logged_weights,
    nearest_products,
    product_outputs,
)
from scale.training.logging import read_score_means
from scale.viz.scores import score_matrices
from scale.viz.words import Language, label

MAX_LISTED = 200
"""Products in the drop-down; a browser is slow with more."""
SHORT = {"description_width": "initial"}
"""Description as wide as its text."""


class ProductPicker(ipywidgets.HBox):
    """A search field for words of id and title, a list of the products found, and their number."""

    def __init__(
        self, source: ExplorerSource, row: int, chosen: Callable[[Any], None], lang: Language
    ):
        """
        Args:
            chosen: called when another product is chosen.

        Raises ValueError for a product without modalities.
        """
        self._options, self._lang = source.options(), lang
        self._name = {each: name for name, each in self._options}
        if row not in self._name:
            raise ValueError(f"{source.data.ids[row]}: the product has no modality")
        self.find = ipywidgets.Text(
            description=label("xs_find", lang),
            placeholder=label("xs_find_hint", lang),
            style=SHORT,
        )
        self.list = ipywidgets.Dropdown(
            description=label("xs_product", lang), layout={"width": "440px"}, style=SHORT
        )
        self.count = ipywidgets.Label()
        self._offer(self._options, row)
        self.find.observe(self._search, "value")
        self.list.observe(chosen, "value")
        super().__init__([self.find, self.list, self.count], layout={"flex_flow": "row wrap"})

    @property
    def row(self) -> int:
        """Row of the chosen product."""
        return self.list.value

    def choose(self, row: int) -> None:
        """Choose a product, also one that is not listed."""
        if row in {each for _, each in self.list.options}:
            self.list.value = row
        else:
            self._offer(self._options, row)

    def _search(self, _: Any) -> None:
        words = self.find.value.lower().split()
        found = [
            (name, row) for name, row in self._options if all(w in name.lower() for w in words)
        ]
        if found:
            rows = {row for _, row in found}
            self._offer(found, self.row if self.row in rows else found[0][1])
        else:
            self.count.value = label("xs_found_none", self._lang)

    def _offer(self, found: list[tuple[str, int]], row: int) -> None:
        """List products, with `row` included and chosen."""
        listed = found[:MAX_LISTED]
        if row not in {each for _, each in listed}:
            listed = [(self._name[row], row), *listed[: MAX_LISTED - 1]]
        self.list.options = listed
        self.list.value = row
        key = "xs_found" if len(found) <= MAX_LISTED else "xs_first"
        shown = {"n": min(len(found), MAX_LISTED), "all": len(self._options)}
        self.count.value = label(key, self._lang, **shown)


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
"""Slider steps per kind of noise, mild to strong; the first step of a slider is no noise."""
NOISE_NAMES = {
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
WIDE = {"width": "auto"}


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
        self.present = ipywidgets.Checkbox(
            True, description=label("xs_present", lang), indent=False, layout=WIDE
        )
        self.mismatch = ipywidgets.Checkbox(
            False, description=label("xs_mismatch", lang), indent=False, layout=WIDE
        )
        self.kind = ipywidgets.Dropdown(
            options=[(label(NOISE_NAMES[kind], lang), kind) for kind in kinds],
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
        """Return the change chosen in the controls."""
        strength = float(self.strength.value)
        damage = None if strength == NO_DAMAGE else (self.kind.value, strength)
        return ModalityChange(self.present.value, self.mismatch.value, damage)

    def reset(self) -> None:
        """Undo every change."""
        self.present.value, self.mismatch.value, self.strength.value = True, False, NO_DAMAGE

    def offer(self, has: bool, other: bool) -> None:
        """Disable the controls of a missing modality, and the exchange where no other product has
        different content."""
        for control in (self.present, self.kind, self.strength):
            control.disabled = not has
        self.mismatch.disabled = not (has and other)

    def _steps(self) -> list[tuple[str, float]]:
        steps = STRENGTHS.get(self.kind.value, ())
        named = [(strength_text(self.kind.value, n, self._lang), n) for n in steps]
        return [(label("xs_as_is", self._lang), NO_DAMAGE), *named]

    def _restart(self, _: Any) -> None:
        """Start another kind without noise."""
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
        amount = strength_text(*change.damage, lang)
        parts.append(f"{label(NOISE_NAMES[change.damage[0]], lang)} {amount}")
    return parts


def weight_lines(now: ProductOutputs, lang: Language) -> list[str]:
    """Return diagonal and pair weights of the modalities that are present."""
    there = {m: name for m, name in enumerate(MODALITIES) if now.present_M[m]}
    own = {(m, m): label(name, lang) for m, name in there.items()}
    pairs = {
        (i, j): f"{label(there[i], lang)}–{label(there[j], lang)}"
        for i, j in PAIRS
        if i in there and j in there
    }
    lines = []
    for key, names in (("xs_sum_own", own), ("xs_sum_pairs", pairs)):
        values = [f"{name} ~{number(now.weighted_MM[place])}" for place, name in names.items()]
        lines += [label(key, lang, values=label("xs_comma", lang).join(values))] if values else []
    return lines


POLICIES = {
    "zero": "policy_zero",
    "skip": "policy_skip",
    "learned": "policy_learned",
    "drop": "policy_drop",
}
MODEL_NAMES = {"untrained": "untrained", "best": "xs_best", "last": "xs_last"}


class ScoreExplorer(Panel):
    """Switch modalities of a product off, add noise, or take them from another product; compare
    contents, S, softmax(S), S' and its form in the authors' code, the 15 weights, the sequence of
    the joint transformer, and the five nearest products, before and after.

    The model runs on the changed product (`ProductEditor`) after every move.
    """

    def __init__(
        self,
        source: ExplorerSource,
        product: str | None = None,
        lang: Language = "en",
        seed: int = 0,
    ) -> None:
        """
        Args:
            product: id of the product shown first; None for the most complete one.

        Raises ValueError for an unknown id.
        """
        super().__init__(lang)
        if product is not None and product not in source.row_of:
            raise ValueError(f"{product}: no such product among the {len(source.data)} shown")
        row = int(source.rows[0]) if product is None else source.row_of[product]
        self.source, self.models = source, CheckpointModels(source)
        self.editor = ProductEditor(source.data, seed)
        self._before = lru_cache(16)(self._read_clean)
        self._tile = lru_cache(16)(self._draw_tile)
        self._outputs: ProductOutputs | None = None
        self._playing = False
        self._make_controls(row)
        self._make_surfaces()
        self.add_class("scale-score-explorer")
        self.start(self._layout())

    def _make_controls(self, row: int) -> None:
        self.picker = ProductPicker(self.source, row, self.changed, self.lang)
        self.model = ipywidgets.Dropdown(
            options=[(self._name_of(name), name) for name in self.models.names],
            value=self.models.shown,
            description=self.word("xs_model"),
            style=SHORT,
        )
        self.policy = ipywidgets.ToggleButtons(
            options=[(self.word(key), name) for name, key in POLICIES.items()],
            value=self.source.run.model.missing.policy,
            description=self.word("xs_policy"),
            style=SHORT,
        )
        self.reset_button = ipywidgets.Button(
            description=self.word("xs_reset"), tooltip=self.word("xs_reset_hint"), icon="undo"
        )
        self.columns = {
            m: ModalityColumn(m, self.editor.kinds(m), self.changed, self._picked, self.lang)
            for m in MODALITIES
        }
        self._steps, self._mean_TMM = self._logged()
        self.step = ipywidgets.SelectionSlider(
            options=self._steps or [0],
            value=self._steps[-1] if self._steps else 0,
            description=self.word("xs_step"),
            disabled=not self._steps,
            layout={"width": "420px"},
            style=SHORT,
        )
        for control in (self.model, self.policy, self.step):
            control.observe(self.changed, "value")
        self.reset_button.on_click(self.reset)

    def _make_surfaces(self) -> None:
        self.matrices, self.bars, self.jct = ClickableHtml(), ClickableHtml(), ClickableHtml()
        self.near_before = ClickableHtml(picked=self._choose)
        self.near_now = ClickableHtml(picked=self._choose)
        self.near_note, self.training = ClickableHtml(), ClickableHtml()

    def _layout(self) -> list[ipywidgets.Widget]:
        top = ipywidgets.HBox([self.model, self.reset_button])
        contents = ipywidgets.HBox(list(self.columns.values()), layout={"flex_flow": "row wrap"})
        near = ipywidgets.HBox([self.near_before, self.near_now], layout={"flex_flow": "row wrap"})
        training = [self.training] if not self._steps else [self.step, self.training]
        return [
            *(self.picker, top, contents, self.matrices, self.bars),
            *(near, self.near_note, self.policy, self.jct, *training),
        ]

    def _logged(self) -> tuple[list[int], np.ndarray]:
        """Return the steps with a logged S', and mean_TMM; empty where the file cannot be read."""
        try:
            step_T, mean_TMM = read_score_means(self.source.run.folder.folder)
            return step_T.tolist(), mean_TMM
        except (ValueError, OSError):
            return [], np.zeros((0, 5, 5))

    def changes(self) -> dict[str, ModalityChange]:
        """Return the chosen changes by modality."""
        return {m: column.change() for m, column in self.columns.items()}

    def reset(self, _: Any = None) -> None:
        """Restore every modality to the catalogue's content."""
        for column in self.columns.values():
            column.reset()

    def update(self) -> None:
        """Run the model on the changed product and show the differences."""
        row, changes = self.picker.row, self.changes()
        self._outputs = None
        for m, column in self.columns.items():
            column.offer(self.editor.has(row, m), self.editor.donor(row, m) is not None)
            column.content.html = self._tile(row, m, changes[m], self._playing and m == "video")
        batch = self.editor.batch(row, changes)
        if not batch.present_BM.any():
            name = self.source.data.ids[row]
            raise ValueError(self.word("xs_nothing", product=name))
        policy = self._policy_shown()
        now = product_outputs(self.models.under(self.model.value, policy), batch)
        before = self._before(row, self.model.value, policy)
        self._outputs = now
        self.matrices.html = views.matrices(now, self.lang)
        self.bars.html = views.weight_bars(now, before, self.lang)
        self._show_jct(now, before)
        self._show_nearest(row, now, before)
        self._show_training(now)

    def _policy_shown(self) -> str:
        """Return the chosen policy, or the model's own where it lacks learned tokens."""
        own = self.source.run.model.missing.policy
        return own if self.policy.value == "learned" != own else self.policy.value

    def _read_clean(self, row: int, model: str, policy: str) -> ProductOutputs:
        return product_outputs(self.models.under(model, policy), self.editor.batch(row, {}))

    def _draw_tile(self, row: int, modality: str, change: ModalityChange, playing: bool) -> str:
        clean = self.editor.content(row, modality, CLEAN)
        content = self.editor.content(row, modality, change)
        other = content is not None and content.donor != row
        donor = self.source.data.ids[content.donor] if other else ""
        tile = Tile(modality, content, clean, donor, playing)
        return tile.html(self.source.data.config, self.lang)

    def _show_jct(self, now: ProductOutputs, before: ProductOutputs) -> None:
        head = f"<h4>{self.word('xs_jct')}</h4>"
        note = f'<div class="note">{self.word("xs_jct_same")}</div>'
        own = self.source.run.model.missing.policy
        if self._policy_shown() != self.policy.value:
            body = f"<p>{self.word('xs_jct_learned', policy=own)}</p>"
        else:
            body = views.jct_view(now, before, self.policy.value, self.lang)
            if self.policy.value == "drop":
                note += f'<div class="note">{self.word("xs_jct_drop")}</div>'
        self.jct.html = f'<div data-policy="{self.policy.value}">{head}{body}{note}</div>'

    def _found(self, outputs: ProductOutputs) -> list[tuple[str, float]]:
        index = self.models.index(self.model.value)
        return nearest_products(index, outputs.emb_D, self.source.data.ids[self.picker.row])

    def _show_nearest(self, row: int, now: ProductOutputs, before: ProductOutputs) -> None:
        first, then = self._found(before), self._found(now)
        self.near_before.html = views.nearest(self.source, row, first, None, self.lang)
        self.near_now.html = views.nearest(self.source, row, then, first, self.lang)
        gallery = len(self.models.index(self.model.value).ids) - 1
        self.near_note.html = f'<div class="note">{self.word("xs_nearest_note", n=gallery)}</div>'

    def _show_training(self, now: ProductOutputs) -> None:
        head = f"<h4>{self.word('xs_training')}</h4>"
        if not self._steps:
            self.training.html = f'{head}<p class="note">{self.word("xs_no_steps")}</p>'
            return
        weight_MM = logged_weights(now, self.source.run.config.loss)
        mean_MM = self._mean_TMM[self._steps.index(self.step.value)]
        body = views.training_view(
            mean_MM, self.step.value, weight_MM, now, self._name_of(self.model.value), self.lang
        )
        self.training.html = head + body

    def _name_of(self, model: str) -> str:
        if model in MODEL_NAMES:
            return self.word(MODEL_NAMES[model])
        return self.word("xs_saved", step=self.models.steps.get(model, "?"), name=model)

    def _picked(self, key: str, drag: bool) -> None:
        """Start or stop the video."""
        if key == PLAY and not drag:
            self._playing = not self._playing
            self.changed()

    def _choose(self, key: str, drag: bool) -> None:
        """Choose a clicked neighbour as the product."""
        if not drag:
            self.picker.choose(self.source.row_of[key])

    def summary(self) -> str:
        """Return product, model, changes, weights and hits as lines of text."""
        self.flush()
        row = self.picker.row
        name, policy = self.source.data.ids[row], self.policy.value
        lines = [
            self.word(
                "xs_sum_title", product=name, model=self._name_of(self.model.value), policy=policy
            ),
            *(change_line(self.editor, row, m, c, self.lang) for m, c in self.changes().items()),
        ]
        now = self._outputs
        if now is None:
            return "\n".join([*lines, self.word("xs_sum_nothing")])
        before = self._before(row, self.model.value, self._policy_shown())
        return "\n".join([*lines, *weight_lines(now, self.lang), self._hits_line(now, before)])

    def _hits_line(self, now: ProductOutputs, before: ProductOutputs) -> str:
        counts = [
            sum(
                self.source.same_category(self.picker.row, self.source.row_of[name])
                for name, _ in found
            )
            for found in (self._found(now), self._found(before))
        ]
        return self.word("xs_sum_hits", now=counts[0], before=counts[1])

    def picture(self) -> Figure:
        """Return S, softmax(S) and S'; of the unchanged product if no modality is left."""
        self.flush()
        shown = self._outputs
        if shown is None:
            shown = self._before(self.picker.row, self.model.value, self._policy_shown())
        return score_matrices(
            shown.cosine_MM, shown.softmax_MM, shown.weighted_MM, shown.present_M, self.lang
        )
