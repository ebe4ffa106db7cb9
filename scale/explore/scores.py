"""The score explorer: change the modalities of one product and read the effect on S'."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache, partial

import ipywidgets
import numpy as np
import torch
from matplotlib.figure import Figure

from scale.config import require
from scale.data.batch import ProductBatch
from scale.explore import score_views as views
from scale.explore.attention import (
    JointAttention,
    joint_attention,
    make_view,
    recorded_inputs,
    removal_effects,
)
from scale.explore.cell_views import cell_details, totals_html
from scale.explore.loss_terms import ProductLosses, other_rows, product_losses
from scale.explore.markup import listed, note_html, number
from scale.explore.modality_column import CLEAN, ModalityColumn, change_line
from scale.explore.panel import (
    SHORT,
    ClickableHtml,
    Panel,
    ProductPicker,
    button,
    choice_of,
    dropdown,
    observe,
    wrapping_row,
)
from scale.explore.score_views import PLAY, Tile
from scale.explore.source import CheckpointModels, ExplorerSource, ModelChoices
from scale.explore.stories import STORIES, Story, applies, choose_product, story_caption
from scale.explore.what_if import EditedProduct, WhatIf
from scale.losses.weighting import pair_members
from scale.modalities import MODALITIES, PAIRS, TASKS
from scale.studies.single_product import (
    ModalityChange,
    ProductEditor,
    ProductOutputs,
    logged_weights,
    nearest_products,
    product_outputs,
)
from scale.training.cross_fit import Agreement, pair_percentiles, read_agreement
from scale.training.logging import read_score_means
from scale.viz.scores import score_matrices
from scale.viz.words import LANG, Language, label


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
        lines += [label(key, lang, values=listed(values, lang))] if values else []
    return lines


def agreement_matrices(agreement: Agreement) -> dict[str, np.ndarray]:
    """Return weight_MM of `--loss.weight-by agreement` by product id.

    Own weights on the diagonal, pair weights above it; NaN below and for missing modalities.
    """
    member_PM = pair_members().numpy()
    present_NM = np.isfinite(agreement.r_NP) @ member_PM
    weights = agreement.weights(present_NM)
    weight_NMM = np.full((len(agreement.ids), len(MODALITIES), len(MODALITIES)), np.nan)
    for p, (i, j) in enumerate(PAIRS):
        both_N = present_NM[:, i] & present_NM[:, j]
        weight_NMM[both_N, i, j] = weights.pair_BP[:, p].numpy()[both_N]
    for m in range(len(MODALITIES)):
        weight_NMM[present_NM[:, m], m, m] = weights.own_BM[:, m].numpy()[present_NM[:, m]]
    return dict(zip(agreement.ids, weight_NMM, strict=True))


POLICIES = ("zero", "skip", "learned", "drop")
MODEL_NAMES = {"untrained": "untrained", "best": "xs_best", "last": "xs_last"}


class ScoreExplorer(Panel):
    """Switch modalities of a product off, add noise, or take them from another product; compare
    contents, S, softmax(S), S' and its form in the authors' code, the 15 weights, the losses that
    they weight and their total, the agreement among the other products, the sequence of the joint
    transformer, and the five nearest products, before and after.

    Each cell of the matrices is explained when the pointer or the focus is on it. The buttons of
    the stories (stories.py) make a change on a product with a clear effect.

    The model runs on the changed product (`ProductEditor`) after every move.
    """

    def __init__(
        self,
        source: ExplorerSource,
        product: str | None = None,
        lang: Language = LANG,
        seed: int = 0,
        open_task: Callable[[str, str], None] | None = None,
        others: Sequence[ExplorerSource] = (),
    ) -> None:
        """
        Args:
            product: id of the product shown first; None for the most complete one.
            others: other runs with the same products, whose models can be shown beside this one.
            open_task: called with a pretext task and a product id, to show its masked predictions.

        Raises ValueError for an unknown id.
        """
        super().__init__(lang)
        row = int(source.rows[0]) if product is None else source.row(product)
        self.source, self.models = source, CheckpointModels(source)
        self.model_choices = ModelChoices(source, self.models, others)
        self.editor = ProductEditor(source.data, seed)
        self._before = lru_cache(16)(self._read_clean)
        self._losses_before = lru_cache(16)(self._clean_losses)
        self._effects = lru_cache(16)(self._removal_effects)
        self._story_row = lru_cache(32)(self._choose_story_row)
        self._tile = lru_cache(16)(self._draw_tile)
        self._open_task = open_task
        self._story: tuple[Story, int] | None = None
        self._product: EditedProduct | None = None
        self._outputs: ProductOutputs | None = None
        self._playing = False
        self._make_controls(row)
        self._make_panes()
        self.add_class("scale-score-explorer")
        self.add_class("scale-linked")
        self.start(self._layout())

    def _make_controls(self, row: int) -> None:
        self.picker = ProductPicker(self.source, row, self.changed, self.lang)
        names = {name: self._name_of(name) for name in self.models.names}
        self.model = dropdown(self.word("xs_model"), names, self.models.shown, "300px")
        choices = self.model_choices.names(self._name_of, self.word("xs_beside_none"))
        self.beside = dropdown(self.word("xs_beside"), choices, "", "300px")
        self.what_if = WhatIf(self.source, self.changed, self.lang)
        self.policy = ipywidgets.ToggleButtons(
            options=[(self.word(f"policy_{name}"), name) for name in POLICIES],
            value=self.source.run.model.missing.policy,
            description=self.word("xs_policy"),
            style={**SHORT, "button_width": "auto"},
        )
        self.reset_button = button(
            self.word("xs_reset"), self.reset, tooltip=self.word("xs_reset_hint"), icon="undo"
        )
        self.columns = {
            m: ModalityColumn(m, self.editor.kinds(m), self.changed, self._picked, self.lang)
            for m in MODALITIES
        }
        rows = self.source.rows.tolist()
        self.stories = {
            story.key: button(
                self.word(story.key),
                partial(self.show_story, story),
                disabled=not any(applies(story, self.editor, row) for row in rows),
            )
            for story in STORIES
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
        observe(self.changed, self.model, self.beside, self.policy, self.step)
        self.choices = {
            "product": self.picker.choice,
            **{
                name: choice_of(getattr(self, name))
                for name in ("model", "beside", "policy", "step")
            },
            **self.what_if.choices,
            **{m: column.choice for m, column in self.columns.items()},
        }

    def _make_panes(self) -> None:
        self.matrices, self.bars, self.jct = ClickableHtml(), ClickableHtml(), ClickableHtml()
        self.caption, self.totals = ClickableHtml(), ClickableHtml()
        self.matrices.layout = {"flex": "0 1 800px"}
        self.matrices.add_class("scale-matrices")
        self.cells = ClickableHtml(picked=self._open, layout={"flex": "1 1 420px"})
        self.agreement = ClickableHtml()
        self.attention = make_view(self.source.run.model, self.lang)
        self.near_before = ClickableHtml(picked=self._choose)
        self.near_now = ClickableHtml(picked=self._choose)
        self.near_note, self.training = ClickableHtml(), ClickableHtml()
        self.compared = ClickableHtml(picked=self._choose)

    def _layout(self) -> list[ipywidgets.Widget]:
        top = wrapping_row(self.model, self.beside, self.reset_button)
        stories = wrapping_row(
            ipywidgets.Label(self.word("xs_stories")), *self.stories.values()
        ).add_class("scale-stories")
        contents = ipywidgets.HBox(list(self.columns.values()), layout={"flex_flow": "row wrap"})
        contents.add_class("scale-contents")
        near = wrapping_row(self.near_before, self.near_now, align="flex-start")
        training = [self.training] if not self._steps else [self.step, self.training]
        matrices = wrapping_row(self.matrices, self.cells, align="flex-start")
        parts = {
            "xp_part_change": [self.picker, top, stories, self.caption, contents, matrices],
            "xp_part_other": [self.compared, self.what_if],
            "xp_part_weights": [self.totals, self.bars, self.agreement],
            "xp_part_near": [near, self.near_note],
            "xp_part_joint": [self.policy, self.jct, self.attention],
            "xp_part_tokens": [self.attention.tokens],
            "xp_part_training": training,
        }
        return self.in_parts(parts)

    def _logged(self) -> tuple[list[int], np.ndarray]:
        """Return the steps with a logged S', and mean_TMM; empty if the file cannot be read."""
        try:
            step_T, mean_TMM = read_score_means(self.source.run.folder.folder)
            return step_T.tolist(), mean_TMM
        except (ValueError, OSError):
            return [], np.zeros((0, 5, 5))

    def changes(self) -> dict[str, ModalityChange]:
        """Return the chosen changes by modality."""
        return {m: column.change() for m, column in self.columns.items()}

    def reset(self) -> None:
        """Restore every modality to the catalogue's content."""
        self._story = None
        self.what_if.clear()
        for column in self.columns.values():
            column.reset()

    def update(self) -> None:
        """Run the model on the changed product and show the differences."""
        row, changes = self.picker.row, self.changes()
        self._outputs = None
        product = self._edited_product(row)
        for m, column in self.columns.items():
            column.offer(product.has(m), self.editor.donor(row, m) is not None)
            playing = self._playing and m == "video"
            column.content.html = self._tile(product, m, changes[m], playing)
        batch = product.batch(changes)
        if not batch.present_BM.any():
            name = self.source.data.ids[row]
            raise ValueError(self.word("xs_nothing", product=name))
        policy = self._policy_shown()
        now, attention = self._read(batch, self.model.value, policy)
        before, attention_before = self._before(row, self.model.value, policy)
        self._outputs = now
        agreement_MM = self._agreement_weights.get(self.source.data.ids[row])
        self.matrices.html = views.matrices(now, before, self.lang, agreement_MM)
        self._show_losses(product, batch, now, before, agreement_MM)
        self._show_beside(row, changes, now, before)
        self._show_caption(row, now, before)
        self.bars.html = views.weight_bars(now, before, self.lang)
        self._show_agreement(row, now, before)
        self._show_jct(now)
        self._show_attention(row, attention_before, attention, policy)
        self._show_nearest(row, now, before)
        self._show_training(now)

    def _policy_shown(self) -> str:
        """Return the chosen policy, or the model's own if it lacks learned tokens."""
        own = self.source.run.model.missing.policy
        return own if self.policy.value == "learned" != own else self.policy.value

    def _read(
        self, batch: ProductBatch, model: str, policy: str
    ) -> tuple[ProductOutputs, JointAttention]:
        """Return outputs and attention of a model, from one pass."""
        shown = self.models.under(model, policy)
        with recorded_inputs(shown) as inputs:
            outputs = product_outputs(shown, batch)
        tokenizer = self.source.data.tokenizer
        return outputs, joint_attention(shown, inputs, batch, tokenizer, self.lang)

    def _read_clean(
        self, row: int, model: str, policy: str
    ) -> tuple[ProductOutputs, JointAttention]:
        return self._read(self.editor.batch(row, {}), model, policy)

    def _removal_effects(self, row: int, model: str, policy: str) -> np.ndarray:
        run, data = self.source.run, self.source.data
        batch = self.editor.batch(row, {})
        shown = self.models.under(model, policy)
        return removal_effects(shown, run.config, data, batch, self.editor.seed)

    def _show_attention(
        self, row: int, before: JointAttention, now: JointAttention, policy: str
    ) -> None:
        """Show the attention of the joint transformer beside the effects of removals."""
        effect_MM = self._effects(row, self.model.value, policy)
        self.attention.show(before, now, effect_MM)

    def _clean_losses(self, row: int, model: str, policy: str) -> ProductLosses:
        outputs, _ = self._before(row, model, policy)
        product = EditedProduct(self.editor, row, self.source, ())
        return self._losses(product, product.batch({}), outputs, {}, model, policy)

    def _losses(
        self,
        product: EditedProduct,
        batch: ProductBatch,
        outputs: ProductOutputs,
        changes: Mapping[str, ModalityChange],
        model: str,
        policy: str,
    ) -> ProductLosses:
        source = self.source
        rows_N = other_rows(source.rows, product.row, self.editor.seed)
        others = self.models.features(model), rows_N
        content_M = product.content_numbers(changes)
        shown = self.models.under(model, policy), source.run.config, source.data
        return product_losses(*shown, batch, outputs, others, content_M, self.editor.seed)

    def _show_losses(
        self,
        product: EditedProduct,
        batch: ProductBatch,
        now: ProductOutputs,
        before: ProductOutputs,
        agreement_MM: np.ndarray | None,
    ) -> None:
        """Show the explanations of the cells, and the weighted totals."""
        shown = self.model.value, self._policy_shown()
        losses = self._losses(product, batch, now, self.changes(), *shown)
        clean = self._losses_before(product.row, *shown)
        links = self._open_task is not None
        self.cells.html = cell_details(now, before, losses, clean, self.lang, links)
        forms = {self.word("xs_total_scores"): (now.weighted_MM, before.weighted_MM)}
        if agreement_MM is not None:
            forms[self.word("xs_agreement_weights")] = (agreement_MM, agreement_MM)
        ones_MM = np.ones_like(now.weighted_MM)
        forms[self.word("xs_total_uniform")] = (ones_MM, ones_MM)
        self.totals.html = totals_html(losses, clean, forms, self.lang)

    def _show_beside(
        self,
        row: int,
        changes: Mapping[str, ModalityChange],
        now: ProductOutputs,
        before: ProductOutputs,
    ) -> None:
        """Show S' and neighbours of the product by another checkpoint or run."""
        choice = self.model_choices.find(self.beside.value)
        if choice is None:
            self.compared.html = ""
            return
        other, models, checkpoint = choice
        name = self.source.data.ids[row]
        at = other.row(name)
        if other is self.source:
            product, policy = self._product, self._policy_shown()
        else:
            editor = ProductEditor(other.data, self.editor.seed)
            product = EditedProduct(editor, at, *self.what_if.other(other, at))
            policy = other.run.model.missing.policy
        model, index = models.under(checkpoint, policy), models.index(checkpoint)
        batches = product.batch(changes), product.editor.batch(at, {})
        outputs = [product_outputs(model, batch) for batch in batches]
        found = [nearest_products(index, each.emb_D, name) for each in outputs]
        near = views.nearest(other, at, *found, self.lang)
        sides = {
            self._name_of(self.model.value): (now, before),
            self.beside.label: tuple(outputs),
        }
        self.compared.html = views.beside_view(sides, near, self.lang)

    def show_story(self, story: Story) -> None:
        """Show a story: its product and its change, and nothing else changed."""
        with self.showing_errors():
            row = self._story_row(story.key, self.model.value)
            require(row is not None, self.word("xs_story_none"))
            self._story = story, row
            self.what_if.clear()
            for m, column in self.columns.items():
                column.show(story.changes.get(m, CLEAN))
            self.picker.choose(row)
            self.changed()

    def _choose_story_row(self, key: str, model: str) -> int | None:
        story = next(story for story in STORIES if story.key == key)
        shown = self.models.under(model, self.source.run.model.missing.policy)
        return choose_product(story, self.source, self.editor, shown, self.models.features(model))

    def _show_caption(self, row: int, now: ProductOutputs, before: ProductOutputs) -> None:
        """Show the caption of the story while its product and its changes are unchanged."""
        self.caption.html = ""
        if self._story is None:
            return
        story, chosen = self._story
        changes = {m: change for m, change in self.changes().items() if change != CLEAN}
        if row == chosen and changes == dict(story.changes):
            shown = now.weighted_MM, before.weighted_MM
            self.caption.html = story_caption(story, self.source, row, *shown, self.lang)

    def _open(self, key: str, drag: bool) -> None:
        """Open the masked predictions of a task."""
        task = key.removeprefix("open-")
        if self._open_task is not None and task in TASKS and not drag:
            self._open_task(task, self.source.data.ids[self.picker.row])

    def _edited_product(self, row: int) -> EditedProduct:
        """Return the chosen product with its edits."""
        edited, _, modalities = self.what_if.shown(row)
        known = self._product
        if known is None or known.row != row or known.edited is not edited:
            self._product = EditedProduct(self.editor, row, edited, modalities)
        return self._product

    def _draw_tile(
        self, product: EditedProduct, modality: str, change: ModalityChange, playing: bool
    ) -> str:
        clean = self.editor.content(product.row, modality, CLEAN)
        content = product.content(modality, change)
        other = content is not None and change.mismatch
        donor = self.source.data.ids[content.donor] if other else ""
        tile = Tile(modality, content, clean, donor, playing)
        return tile.html(self.source.data.config, self.lang)

    def _show_agreement(self, row: int, now: ProductOutputs, before: ProductOutputs) -> None:
        """Show the percentile of each pair's cosine among the other products."""
        now_P, before_P = (self._percentiles(row, outputs) for outputs in (now, before))
        judged_P = self._judged.get(self.source.data.ids[row])
        self.agreement.html = views.agreement_bars(now_P, before_P, judged_P, self.lang)

    def _percentiles(self, row: int, outputs: ProductOutputs) -> np.ndarray:
        features = self.models.features(self.model.value)
        pooled_NMD, present_NM = features.pooled_NMD.copy(), features.present_NM.copy()
        pooled_NMD[row], present_NM[row] = outputs.pooled_MD, outputs.present_M
        arrays = pooled_NMD, present_NM, self.source.data.content_id_NM
        r_1P = pair_percentiles(*map(torch.from_numpy, arrays), slice(row, row + 1))
        return r_1P[0].numpy()

    @cached_property
    def _judged(self) -> dict[str, np.ndarray]:
        """Cross-fitted r_P of the run's training products by id; empty without the file."""
        found = self._agreement
        return dict(zip(found.ids, found.r_NP, strict=True)) if found else {}

    @cached_property
    def _agreement(self) -> Agreement | None:
        try:
            return read_agreement(self.source.run.folder.agreement)
        except ValueError:
            return None

    @cached_property
    def _agreement_weights(self) -> dict[str, np.ndarray]:
        """Weights by agreement of the run's training products by id, as weight_MM."""
        return {} if self._agreement is None else agreement_matrices(self._agreement)

    def _show_jct(self, now: ProductOutputs) -> None:
        head = f"<h4>{self.word('xs_jct')}</h4>"
        note = note_html(self.word("xs_jct_same"))
        own = self.source.run.model.missing.policy
        if self._policy_shown() != self.policy.value:
            body = f"<p>{self.word('xs_jct_learned', policy=own)}</p>"
        else:
            body = views.jct_view(now, self.policy.value, self.lang)
            if self.policy.value == "drop":
                note += note_html(self.word("xs_jct_drop"))
        self.jct.html = f'<div data-policy="{self.policy.value}">{head}{body}{note}</div>'

    def _found(self, outputs: ProductOutputs) -> list[tuple[str, float]]:
        index = self.models.index(self.model.value)
        return nearest_products(index, outputs.emb_D, self.source.data.ids[self.picker.row])

    def _show_nearest(self, row: int, now: ProductOutputs, before: ProductOutputs) -> None:
        first, then = self._found(before), self._found(now)
        self.near_before.html = views.nearest(self.source, row, first, None, self.lang)
        self.near_now.html = views.nearest(self.source, row, then, first, self.lang)
        gallery = len(self.models.index(self.model.value).ids) - 1
        self.near_note.html = note_html(self.word("xs_nearest_note", n=gallery))

    def _show_training(self, now: ProductOutputs) -> None:
        head = f"<h4>{self.word('xs_training')}</h4>"
        if not self._steps:
            self.training.html = head + note_html(self.word("xs_no_steps"))
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
        title = {"product": name, "model": self._name_of(self.model.value), "policy": policy}
        lines = [
            self.word("xs_sum_title", **title),
            *(change_line(self.editor, row, m, c, self.lang) for m, c in self.changes().items()),
        ]
        now = self._outputs
        if now is None:
            return "\n".join([*lines, self.word("xs_sum_nothing")])
        before, _ = self._before(row, self.model.value, self._policy_shown())
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
            shown, _ = self._before(self.picker.row, self.model.value, self._policy_shown())
        return score_matrices(
            shown.cosine_MM, shown.softmax_MM, shown.weighted_MM, shown.present_M, self.lang
        )
