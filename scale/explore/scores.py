"""The score explorer: one product, its modalities switched off or noised, and what S' becomes."""

from functools import lru_cache
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from scale.explore import score_views as views
from scale.explore.explorer import Explorer
from scale.explore.html import Surface
from scale.explore.models import Models
from scale.explore.picker import SHORT, ProductPicker
from scale.explore.score_contents import PLAY, Tile
from scale.explore.score_controls import CLEAN, ModalityColumn
from scale.explore.score_summary import change_line, weight_lines
from scale.explore.subject import Subject
from scale.modalities import MODALITIES
from scale.studies.single_product import (
    ModalityChange,
    ProductEditor,
    ProductOutputs,
    logged_weights,
    nearest_products,
    product_outputs,
)
from scale.training.logging import read_scores, score_means
from scale.viz.scores import score_matrices
from scale.viz.words import Language

POLICIES = {
    "zero": "policy_zero",
    "skip": "policy_skip",
    "learned": "policy_learned",
    "drop": "policy_drop",
}
MODEL_NAMES = {"untrained": "untrained", "best": "xs_best", "last": "xs_last"}


class ScoreExplorer(Explorer):
    """Switch modalities of a product off, noise them, take them from another product; see the
    contents, S, softmax(S), S' and the authors' form, the fifteen weights, what the JCT gets and
    the five nearest products, before and after.

    The real model runs at every move, on the product as it then is (`ProductEditor`).
    """

    def __init__(
        self, subject: Subject, product: str | None = None, lang: Language = "en", seed: int = 0
    ) -> None:
        """`product`: id of the first product shown; None takes the most complete one. Raises
        ValueError for an id that is not among the subject's products."""
        super().__init__(lang)
        if product is not None and product not in subject.row_of:
            raise ValueError(f"{product}: no such product among the {len(subject.data)} shown")
        row = int(subject.rows[0]) if product is None else subject.row_of[product]
        self.subject, self.probe, self.models = (
            subject,
            ProductEditor(subject.data, seed),
            Models(subject),
        )
        self._before = lru_cache(16)(self._read_clean)
        self._tile = lru_cache(16)(self._draw_tile)
        self._reading: ProductOutputs | None = None
        self._playing = False
        self._make_controls(row)
        self._make_surfaces()
        self.add_class("scale-score-explorer")
        self.start(self._layout())

    def _make_controls(self, row: int) -> None:
        self.picker = ProductPicker(self.subject, row, self.changed, self.lang)
        self.model = ipywidgets.Dropdown(
            options=[(self._name_of(name), name) for name in self.models.names],
            value=self.models.shown,
            description=self.say("xs_model"),
            style=SHORT,
        )
        self.policy = ipywidgets.ToggleButtons(
            options=[(self.say(key), name) for name, key in POLICIES.items()],
            value=self.subject.run.model.missing.policy,
            description=self.say("xs_policy"),
            style=SHORT,
        )
        self.reset_button = ipywidgets.Button(
            description=self.say("xs_reset"), tooltip=self.say("xs_reset_hint"), icon="undo"
        )
        self.columns = {
            m: ModalityColumn(m, self.probe.kinds(m), self.changed, self._picked, self.lang)
            for m in MODALITIES
        }
        self._steps, self._mean_TMM = self._logged()
        self.step = ipywidgets.SelectionSlider(
            options=self._steps or [0],
            value=self._steps[-1] if self._steps else 0,
            description=self.say("xs_step"),
            disabled=not self._steps,
            layout={"width": "420px"},
            style=SHORT,
        )
        for control in (self.model, self.policy, self.step):
            control.observe(self.changed, "value")
        self.reset_button.on_click(self.reset)

    def _make_surfaces(self) -> None:
        self.matrices, self.bars, self.jct = Surface(), Surface(), Surface()
        self.near_before = Surface(picked=self._choose)
        self.near_now = Surface(picked=self._choose)
        self.near_note, self.training = Surface(), Surface()

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
        """Steps at which the run logged S', and mean_TMM; none where its file cannot be read."""
        try:
            return score_means(read_scores(self.subject.run.folder.folder))
        except (ValueError, OSError):
            return score_means([])

    def changes(self) -> dict[str, ModalityChange]:
        """What the controls say, by modality."""
        return {m: column.change() for m, column in self.columns.items()}

    def reset(self, _: Any = None) -> None:
        """Every modality as it is in the catalogue."""
        for column in self.columns.values():
            column.reset()

    def update(self) -> None:
        """Run the model on the product as the controls make it, and show what changed."""
        row, changes = self.picker.row, self.changes()
        self._reading = None
        for m, column in self.columns.items():
            column.offer(self.probe.has(row, m), self.probe.donor(row, m) is not None)
            column.content.html = self._tile(row, m, changes[m], self._playing and m == "video")
        batch = self.probe.batch(row, changes)
        if not batch.present_BM.any():
            name = self.subject.data.ids[row]
            raise ValueError(self.say("xs_nothing", product=name))
        policy = self._policy_shown()
        now = product_outputs(self.models.under(self.model.value, policy), batch)
        before = self._before(row, self.model.value, policy)
        self._reading = now
        self.matrices.html = views.matrices(now, self.lang)
        self.bars.html = views.weight_bars(now, before, self.lang)
        self._show_jct(now, before)
        self._show_nearest(row, now, before)
        self._show_training(now)

    def _policy_shown(self) -> str:
        """The chosen policy; the model's own where it has no learned tokens to show."""
        own = self.subject.run.model.missing.policy
        return own if self.policy.value == "learned" != own else self.policy.value

    def _read_clean(self, row: int, model: str, policy: str) -> ProductOutputs:
        return product_outputs(self.models.under(model, policy), self.probe.batch(row, {}))

    def _draw_tile(self, row: int, modality: str, change: ModalityChange, playing: bool) -> str:
        clean = self.probe.content(row, modality, CLEAN)
        content = self.probe.content(row, modality, change)
        other = content is not None and content.donor != row
        giver = self.subject.data.ids[content.donor] if other else ""
        tile = Tile(modality, content, clean, giver, playing)
        return tile.html(self.subject.data.config, self.lang)

    def _show_jct(self, now: ProductOutputs, before: ProductOutputs) -> None:
        head = f"<h4>{self.say('xs_jct')}</h4>"
        note = f'<div class="note">{self.say("xs_jct_same")}</div>'
        own = self.subject.run.model.missing.policy
        if self._policy_shown() != self.policy.value:
            body = f"<p>{self.say('xs_jct_learned', policy=own)}</p>"
        else:
            body = views.jct_view(now, before, self.policy.value, self.lang)
            if self.policy.value == "drop":
                note += f'<div class="note">{self.say("xs_jct_drop")}</div>'
        self.jct.html = f'<div data-policy="{self.policy.value}">{head}{body}{note}</div>'

    def _found(self, reading: ProductOutputs) -> list[tuple[str, float]]:
        index = self.models.index(self.model.value)
        return nearest_products(index, reading.emb_D, self.subject.data.ids[self.picker.row])

    def _show_nearest(self, row: int, now: ProductOutputs, before: ProductOutputs) -> None:
        first, then = self._found(before), self._found(now)
        self.near_before.html = views.nearest(self.subject, row, first, None, self.lang)
        self.near_now.html = views.nearest(self.subject, row, then, first, self.lang)
        gallery = len(self.models.index(self.model.value).ids) - 1
        self.near_note.html = f'<div class="note">{self.say("xs_nearest_note", n=gallery)}</div>'

    def _show_training(self, now: ProductOutputs) -> None:
        head = f"<h4>{self.say('xs_training')}</h4>"
        if not self._steps:
            self.training.html = f'{head}<p class="note">{self.say("xs_no_steps")}</p>'
            return
        weight_MM = logged_weights(now, self.subject.run.config.loss)
        mean_MM = self._mean_TMM[self._steps.index(self.step.value)]
        body = views.training_view(
            mean_MM, self.step.value, weight_MM, now, self._name_of(self.model.value), self.lang
        )
        self.training.html = head + body

    def _name_of(self, model: str) -> str:
        if model in MODEL_NAMES:
            return self.say(MODEL_NAMES[model])
        return self.say("xs_saved", step=self.models.steps.get(model, "?"), name=model)

    def _picked(self, key: str, drag: bool) -> None:
        """A key in a modality's tile: the clip starts or stops."""
        if key == PLAY and not drag:
            self._playing = not self._playing
            self.changed()

    def _choose(self, key: str, drag: bool) -> None:
        """A neighbour was picked: it becomes the product."""
        if not drag:
            self.picker.choose(self.subject.row_of[key])

    def summary(self) -> str:
        """Product, model, what was done to each modality, weights and hits."""
        self.settle()
        row = self.picker.row
        name, policy = self.subject.data.ids[row], self.policy.value
        lines = [
            self.say(
                "xs_sum_title", product=name, model=self._name_of(self.model.value), policy=policy
            ),
            *(change_line(self.probe, row, m, c, self.lang) for m, c in self.changes().items()),
        ]
        now = self._reading
        if now is None:
            return "\n".join([*lines, self.say("xs_sum_nothing")])
        before = self._before(row, self.model.value, self._policy_shown())
        return "\n".join([*lines, *weight_lines(now, self.lang), self._hits_line(now, before)])

    def _hits_line(self, now: ProductOutputs, before: ProductOutputs) -> str:
        counts = [
            sum(views.same_category(self.subject, self.picker.row, name) for name, _ in found)
            for found in (self._found(now), self._found(before))
        ]
        return self.say("xs_sum_hits", now=counts[0], before=counts[1])

    def picture(self) -> Figure:
        """S, softmax(S) and S' as they stand; of the product as it is where nothing is left."""
        self.settle()
        shown = self._reading
        if shown is None:
            shown = self._before(self.picker.row, self.model.value, self._policy_shown())
        return score_matrices(
            shown.cosine_MM, shown.softmax_MM, shown.weighted_MM, shown.present_M, self.lang
        )
