"""The masking explorer: hide parts of a product and read the predictions of the model."""

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property, lru_cache
from html import escape

import ipywidgets
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from scale.config import MaskConfig, require
from scale.data.batch import ProductBatch
from scale.data.dataset import ProductDataset
from scale.explore.attention import (
    JointAttention,
    joint_attention,
    make_view,
    recorded_inputs,
    removal_effects,
)
from scale.explore.markup import listed, note_html
from scale.explore.masking_views import (
    LOSSES,
    MaskableContent,
    ProductModality,
    answer_html,
    beside_html,
    prompt_html,
)
from scale.explore.panel import (
    Choice,
    ClickableHtml,
    Panel,
    ProductPicker,
    button,
    checkbox,
    choice_of,
    dropdown,
    observe,
    wrapping_row,
)
from scale.explore.source import CheckpointModels, ExplorerSource, ModelChoices
from scale.explore.what_if import WhatIf
from scale.modalities import MODALITIES, SPECS, TASKS
from scale.model.scale import ScaleModel
from scale.studies.masked_probe import MaskedPrediction, draw_groups, mask_groups, probe_masked
from scale.threads import torch_threads
from scale.viz.illustrations.masked_words import top_predictions
from scale.viz.illustrations.masking import mask_audio, mask_image, mask_video
from scale.viz.products import product_card
from scale.viz.words import LANG, Language, label

AROUND = 3
"""Word pieces shown before and after a masked one."""
DRAW = {"image": mask_image, "video": mask_video, "audio": mask_audio}
MODALITY_OF = {spec.task: m for m, spec in SPECS.items()}
RATE = MaskConfig().rate
"""Masking rate of the paper."""
SEED = 0
"""Seed of the random masks."""
MODEL_NAMES = {"best": "xm_best", "untrained": "untrained"}


def answer_lines(
    prediction: MaskedPrediction, data: ProductDataset, lang: Language = LANG
) -> list[str]:
    """Return the loss by context and baseline, and probability and rank of each masked piece."""
    lines = [
        label("xm_sum_loss", lang, name=label(LOSSES[name], lang), value=loss)
        for name, loss in prediction.loss.items()
    ]
    if prediction.continuous:
        return lines
    for piece in prediction.pieces("chosen", data.tokenizer):
        facts = {"probability": piece.probability, "rank": piece.rank}
        lines.append(label("xm_sum_piece", lang, truth=piece.truth, **facts))
    return lines


def answer_figure(
    prediction: MaskedPrediction, data: ProductDataset, beside: bool, lang: Language = LANG
) -> Figure:
    """Draw the predictions with the chosen modalities, with none, and the training mean.

    Text and table: the five most probable pieces at the first masked one.
    beside: whether any modality is chosen. Raises ValueError for features without colours.
    """
    if prediction.modality in DRAW:
        found = prediction.reconstruction(data)
        names = {"chosen": "with", "none": "without", "mean": "mean"}
        for shown in (found.guess_LF, found.loss):
            for name, old in names.items():
                shown[old] = shown.pop(name)
        guesses = ("with", "without", "mean") if beside else ("without", "mean")
        return DRAW[prediction.modality]([("", found)], data.config, lang, guesses)
    return _pieces_figure(prediction, data, beside, lang)


def _pieces_figure(
    prediction: MaskedPrediction, data: ProductDataset, beside: bool, lang: Language
) -> Figure:
    contexts = {"chosen": "xm_chosen", "none": "xm_none"} if beside else {"none": "xm_none"}
    guesses, answer, place = {}, "", 0
    for context, key in contexts.items():
        first = prediction.pieces(context, data.tokenizer)[0]
        guesses[label(key, lang)] = first.best
        answer, place = first.truth, first.place
    tokens = prediction.masked.batch.tokens[prediction.modality]
    pieces = data.tokenizer.convert_ids_to_tokens(tokens.values[0, 1:-1].tolist())
    index = int(prediction.masked.batch.index_B[0])
    content = _around(pieces, place - 1)  # Without [CLS].
    return top_predictions(data.products[index], content, guesses, answer, lang)


def _around(pieces: Sequence[str], place: int) -> str:
    """Return the pieces around a place, which is left blank."""
    before, after = pieces[max(place - AROUND, 0) : place], pieces[place + 1 : place + 1 + AROUND]
    return " ".join([*before, "____", *after])


class MaskingExplorer(Panel):
    """Choose a product and a pretext task, click on the parts to hide, and read the predictions of
    the model, given the other modalities that are switched on.

    A product opens with a random, seeded mask at the paper's rate.

    Args:
        product: id; None for the first product with the modality of the task.
        task: MLM, MEM, MRP, MFP or MAM.
        others: other runs with the same products, whose models can be shown beside this one.

    Raises:
        ValueError: an unknown product or task.
    """

    def __init__(
        self,
        source: ExplorerSource,
        product: str | None = None,
        task: str = "MLM",
        lang: Language = LANG,
        others: Sequence[ExplorerSource] = (),
    ) -> None:
        super().__init__(lang)
        require(task in TASKS, f"unknown task {task!r}; known: {', '.join(TASKS)}")
        self.source = source
        self.model_choices = ModelChoices(source, CheckpointModels(source), others)
        self._content: MaskableContent | None = None
        self._shown = source, 0  # With the edits of `what_if`.
        self._chosen: int | None = None  # Row of `picker` at the last update.
        self._prediction: MaskedPrediction | None = None  # None while nothing is hidden.
        self._hidden: frozenset[int] = frozenset()
        self._hiding, self._draws = True, 0
        self.prompt = ClickableHtml(picked=self._pick).add_class("scale-masking-prompt")
        self.others = ClickableHtml().add_class("scale-masking-others")
        self.answer = ClickableHtml().add_class("scale-masking-answer")
        self.compared = ClickableHtml()
        self.attention = make_view(source.run.model, lang)
        self._effects = lru_cache(16)(self._removal_effects)
        self._make_controls(self._row(product, task), task)
        self.add_class("scale-masking")
        self.start(self._arrange())

    def _row(self, product: str | None, task: str) -> int:
        if product is not None:
            return self.source.row(product)
        rows = self.source.rows.tolist()
        having = (r for r in rows if MODALITY_OF[task] in self.source.modalities(r))
        return next(having, rows[0])

    def _make_controls(self, row: int, task: str) -> None:
        self.picker = ProductPicker(self.source, row, self.changed, self.lang)
        tasks = {name: self.word(name) for name in TASKS}
        self.task = dropdown(self.word("xm_task"), tasks, task, "280px")
        self.model = dropdown(self.word("xm_model"), self.words(MODEL_NAMES), "best", "180px")
        choices = self.model_choices.names(self._checkpoint_name, self.word("xs_beside_none"))
        self.second = dropdown(self.word("xs_beside"), choices, "", "300px")
        self.what_if = WhatIf(self.source, self.changed, self.lang)
        self.beside = {m: checkbox(self.word(m), True) for m in MODALITIES}
        observe(self.changed, self.task, self.model, self.second, *self.beside.values())
        self.choices = {
            "product": self.picker.choice,
            **{name: choice_of(getattr(self, name)) for name in ("task", "model", "second")},
            **{f"with_{m}": choice_of(box) for m, box in self.beside.items()},
            **self.what_if.choices,
            "hidden": Choice(self._hidden_text, self._hide_text),
        }

    def _hidden_text(self) -> str:
        """Return the hidden parts, joined by dots; empty for the first random mask."""
        content = self._content
        if content is None or self._hidden == draw_groups(content.group_L, RATE, SEED, 0):
            return ""
        return ".".join(map(str, sorted(self._hidden))) or "nothing"

    def _hide_text(self, text: str) -> None:
        if self._has_content():
            self.hide(() if text == "nothing" else tuple(map(int, text.split("."))))

    def _arrange(self) -> list[ipywidgets.Widget]:
        buttons = wrapping_row(
            button(self.word("xm_nothing"), self.hide_nothing),
            button(self.word("xm_random", rate=RATE), self.hide_random),
            button(self.word("xm_everything"), self.hide_everything),
        )
        prediction = ipywidgets.VBox([self.prompt, buttons])
        switches = wrapping_row(*self.beside.values())
        beside = ipywidgets.VBox([switches, self.others], layout={"flex": "1 1 420px"})
        parts = {
            "xp_part_hide": [
                self.picker,
                wrapping_row(self.task, self.model, self.second),
                wrapping_row(prediction, beside, align="flex-start"),
            ],
            "xp_part_answers": [self.answer],
            "xp_part_other": [self.compared, self.what_if],
            "xp_part_joint": [
                ClickableHtml(f"<h4>{self.word('xa_title')}</h4>"),
                self.attention,
            ],
            "xp_part_tokens": [self.attention.tokens],
        }
        return self.in_parts(parts)

    @property
    def hidden(self) -> frozenset[int]:
        """Numbers of the hidden words, table entries or vectors (`masked_probe.token_groups`)."""
        return self._hidden

    def hide(self, groups: Collection[int]) -> None:
        """Hide exactly these parts. Raises ValueError for an unknown number."""
        known = self._content.names if self._has_content() else ()
        strange = sorted(set(groups) - set(known))
        require(not strange, f"nothing to hide under {strange}")
        if frozenset(groups) != self._hidden:
            self._hidden = frozenset(groups)
            self.changed()

    def choose(self, product: str, task: str) -> None:
        """Choose a product and a task. Raises ValueError if one is unknown."""
        require(task in TASKS, f"unknown task {task!r}; known: {', '.join(TASKS)}")
        self.picker.choose(self.source.row(product))
        self.task.value = task

    def hide_nothing(self) -> None:
        """Show everything."""
        self.hide(())

    def hide_random(self) -> None:
        """Draw the next seeded mask, by the rule and at the rate of the paper."""
        if self._has_content():
            self._draws += 1
            self.hide(draw_groups(self._content.group_L, RATE, SEED, self._draws))

    def hide_everything(self) -> None:
        """Hide everything."""
        if self._has_content():
            self.hide(self._content.names)

    @property
    def _target(self) -> ProductModality:
        return ProductModality(self._shown[1], MODALITY_OF[self.task.value])

    def _checkpoint_name(self, name: str) -> str:
        known = MODEL_NAMES | {"last": "xs_last"}
        if name in known:
            return self.word(known[name])
        step = self.source.run.checkpoints().get(name, "?")
        return self.word("xs_saved", step=step, name=name)

    def _has_content(self) -> bool:
        """Apply a pending change of product or task; return whether there is content to hide."""
        changed = self._chosen != self.picker.row
        if self._content is None or changed or self._content.place != self._target:
            self.flush()
        return self._content is not None

    def _pick(self, key: str, drag: bool) -> None:
        """Toggle a part on a click; a drag repeats the action of its first click."""
        group = self._content.groups.get(key) if self._has_content() else None
        if group is None:
            return
        if not drag:
            self._hiding = group not in self._hidden
        self.hide(self._hidden | {group} if self._hiding else self._hidden - {group})

    def update(self) -> None:
        """Predict the hidden parts."""
        self._prediction = None
        self._chosen = self.picker.row
        edited, row, _ = self.what_if.shown(self._chosen)
        if edited is not self._shown[0] or row != self._shown[1]:
            self._shown, self._content = (edited, row), None
        place, message = self._target, self._missing_message()
        if message:
            self._content = None
            self.prompt.html = self.others.html = self.answer.html = ""
            self.attention.clear()
            raise ValueError(message)
        if self._content is None or self._content.place != place:
            self._open(place)
        if self._hidden:
            self._prediction = self._predict(place)
        self._show()

    def _missing_message(self) -> str:
        """Return an error message if the product lacks the modality of the task; else empty."""
        place = self._target
        has = self._shown[0].modalities(place.row)
        if place.modality in has:
            return ""
        return self.word(
            "xm_lacks",
            product=self._shown[0].data.ids[place.row],
            modality=self.word(place.modality),
            task=self.task.value,
            has=self._listed(map(self.word, has)),
        )

    def _open(self, place: ProductModality) -> None:
        """Show another product or task, with its first random mask."""
        self._content = MaskableContent.of(self._shown[0], place, self.lang)
        self._draws = 0
        self._hidden = draw_groups(self._content.group_L, RATE, SEED, 0)
        for m, box in self.beside.items():
            box.disabled = m not in self._content.beside
            box.layout.display = "none" if m == place.modality else None

    def _predict(self, place: ProductModality) -> MaskedPrediction:
        others = tuple(self._content.beside)
        masked = mask_groups(self._shown[0].data, place.row, place.modality, self._hidden)
        beside = {"all": others, "chosen": self._on(), "none": ()}
        return probe_masked(self._model_of(self.model.value), masked, place.modality, beside)

    def _model_of(self, name: str) -> ScaleModel:
        return self.source.run.model if name == "best" else self._untrained

    def _removal_effects(self, row: int, model: str) -> np.ndarray:
        run, data = self.source.run, self.source.data
        return removal_effects(self._model_of(model), run.config, data, data.collate([row]))

    def _show_second(self, place: ProductModality) -> None:
        """Show the predictions of another checkpoint or run for the same hidden parts."""
        found = self.model_choices.find(self.second.value)
        if found is None or self._prediction is None:
            self.compared.html = ""
            return
        other, models, checkpoint = found
        shown, row = self._shown
        if other is not self.source:
            row = other.row(self.source.data.ids[self.picker.row])
            shown, modalities = self.what_if.other(other, row)
            row = 0 if modalities else row
        masked = mask_groups(shown.data, row, place.modality, self._hidden)
        beside = {"all": tuple(self._content.beside), "chosen": self._on(), "none": ()}
        model = models.under(checkpoint, other.run.model.missing.policy)
        prediction = probe_masked(model, masked, place.modality, beside)
        html = answer_html(prediction, shown.data, self._content.sheet, self.lang)
        title = self.word("xm_second", model=escape(self.second.label))
        self.compared.html = f'<div class="second"><h4>{title}</h4>{html}</div>'

    def _show_attention(self, place: ProductModality) -> None:
        """Show the attention for the product as it is, and with its hidden and removed parts."""
        clean = self._shown[0].data.collate([place.row])
        before = self._attend(clean, {})
        if self._prediction is None:
            hidden, shown = {}, clean.only((place.modality, *self._on()))
        else:
            masked = self._prediction.masked
            hidden, shown = masked.hidden, masked.batch.only((place.modality, *self._on()))
        effect_MM = self._effects(self.picker.row, self.model.value)
        self.attention.show(before, self._attend(shown, hidden), effect_MM)

    def _attend(self, batch: ProductBatch, hidden: dict[str, Tensor]) -> JointAttention:
        model = self._model_of(self.model.value)
        with recorded_inputs(model) as inputs, torch.inference_mode(), torch_threads(1):
            model(batch, hidden, predictions=False)
        return joint_attention(model, inputs, batch, self.source.data.tokenizer, self.lang)

    @cached_property
    def _untrained(self) -> ScaleModel:
        return self.source.run.untrained()

    def _on(self) -> tuple[str, ...]:
        """Return the other modalities of the product that are switched on."""
        return tuple(m for m in self._content.beside if self.beside[m].value)

    def _show(self) -> None:
        content, data = self._content, self._shown[0].data
        self.prompt.html = prompt_html(content, self._hidden, self.lang)
        self.others.html = beside_html(content.beside, self._on(), self.lang)
        if self._prediction is None:
            self.answer.html = note_html(self.word("xm_ask"))
        else:
            self.answer.html = answer_html(self._prediction, data, content.sheet, self.lang)
        self._show_second(content.place)
        self._show_attention(content.place)

    def summary(self) -> str:
        """Return task, product, hidden parts, context, losses, and probability and rank of each
        masked piece."""
        names = {"task": self.task.value, "product": self.source.data.ids[self.picker.row]}
        lines = [self.word("xm_sum_title", **names, model=self.word(MODEL_NAMES[self.model.value]))]
        if self._content is None:
            return "\n".join([*lines, self._missing_message()])
        if self._prediction is None:
            return "\n".join([*lines, self.word("xm_sum_nothing")])
        hidden = self._listed(self._content.names[group] for group in sorted(self._hidden))
        count = {"n": len(self._hidden), "all": len(self._content.names)}
        lines.append(self.word("xm_sum_hidden", **count, names=hidden))
        lines.append(self.word("xm_sum_beside", names=self._listed(map(self.word, self._on()))))
        lines += answer_lines(self._prediction, self._shown[0].data, self.lang)
        return "\n".join(lines)

    def _listed(self, names: Iterable[str]) -> str:
        return listed(names, self.lang) or self.word("xm_empty")

    def picture(self) -> Figure:
        """Return the predictions with the chosen modalities and with none.

        Without hidden parts, return the product. Raises ValueError if it lacks the modality.
        """
        require(self._content is not None, self._missing_message())
        if self._prediction is None:
            return product_card(self._shown[0].product(self._target.row), self.lang)
        return answer_figure(self._prediction, self._shown[0].data, bool(self._on()), self.lang)
