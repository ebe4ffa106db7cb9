"""The masking explorer: hide parts of a product and read what the model predicts for them."""

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property

import ipywidgets
from matplotlib.figure import Figure

from scale.config import MaskConfig, require
from scale.data.dataset import ProductDataset
from scale.explore.html import ClickableHtml
from scale.explore.masking_views import (
    LOSSES,
    MaskableContent,
    ProductModality,
    answer_html,
    beside_html,
    prompt_html,
)
from scale.explore.panel import Panel
from scale.explore.source import ExplorerSource
from scale.modalities import MODALITIES, SPECS, TASKS
from scale.model.scale import ScaleModel
from scale.studies.masked_probe import MaskedPrediction, draw_groups, mask_groups, probe_masked
from scale.viz.illustrations.masked_words import top_predictions
from scale.viz.illustrations.masking import mask_audio, mask_image, mask_video
from scale.viz.products import product_card
from scale.viz.words import Language, label

AROUND = 3
"""Word pieces shown before and after a masked one."""
DRAW = {"image": mask_image, "video": mask_video, "audio": mask_audio}


def listed(names: Iterable[str], lang: Language = "en") -> str:
    """Join names by commas; a word for no names."""
    return ("、" if lang == "zh" else ", ").join(names) or label("xm_nobody", lang)


def answer_lines(
    prediction: MaskedPrediction, data: ProductDataset, lang: Language = "en"
) -> list[str]:
    """Return the loss by context and baseline, and probability and rank of each masked piece."""
    lines = [
        label("xm_sum_loss", lang, name=label(LOSSES[name], lang), value=loss)
        for name, loss in prediction.loss.items()
    ]
    if prediction.modality in DRAW:
        return lines
    for piece in prediction.pieces("chosen", data.tokenizer):
        told = {"probability": piece.probability, "rank": piece.rank}
        lines.append(label("xm_sum_piece", lang, truth=piece.truth, **told))
    return lines


def answer_figure(
    prediction: MaskedPrediction, data: ProductDataset, beside: bool, lang: Language = "en"
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
    """Return the pieces around a place, with a blank there."""
    before, after = pieces[max(place - AROUND, 0) : place], pieces[place + 1 : place + 1 + AROUND]
    return " ".join([*before, "____", *after])


MODALITY_OF = {spec.task: m for m, spec in SPECS.items()}
RATE = MaskConfig().rate
"""Masking rate of the paper."""
SEED = 0
"""Seed of the random masks."""
NARROW = {"width": "auto"}


class MaskingExplorer(Panel):
    """Choose a product and a pretext task, click on the parts to hide, and read the predictions of
    the model, given the other modalities that are switched on.

    A product opens with a random, seeded mask at the paper's rate.

    Args:
        product: id; None for the first product with the modality of the task.
        task: MLM, MEM, MRP, MFP or MAM.

    Raises:
        ValueError: an unknown product or task.
    """

    def __init__(
        self,
        source: ExplorerSource,
        product: str | None = None,
        task: str = "MLM",
        lang: Language = "en",
    ) -> None:
        super().__init__(lang)
        require(task in TASKS, f"unknown task {task!r}; known: {', '.join(TASKS)}")
        self.source = source
        self._content: MaskableContent | None = None
        self._prediction: MaskedPrediction | None = None  # None while nothing is hidden.
        self._hidden: frozenset[int] = frozenset()
        self._hiding, self._draws = True, 0
        self.prompt = ClickableHtml(picked=self._pick).add_class("scale-masking-prompt")
        self.others = ClickableHtml().add_class("scale-masking-others")
        self.answer = ClickableHtml().add_class("scale-masking-answer")
        self._make_controls(self._row(product, task), task)
        self.add_class("scale-masking")
        self.start(self._arrange())

    def _row(self, product: str | None, task: str) -> int:
        rows = [row for _, row in self.source.options()]
        if product is None:
            having = (r for r in rows if MODALITY_OF[task] in self.source.modalities(r))
            return next(having, rows[0])
        row = self.source.row_of.get(product)
        require(row in rows, f"no product {product!r} with anything that the model reads")
        return row

    def _make_controls(self, row: int, task: str) -> None:
        wide = {"style": {"description_width": "initial"}}
        self.product = ipywidgets.Dropdown(
            options=self.source.options(), value=row, description=self.word("xm_product"),
            layout={"width": "350px"}, **wide,
        )  # fmt: skip
        self.task = ipywidgets.Dropdown(
            options=[(self.word(name), name) for name in TASKS], value=task,
            description=self.word("xm_task"), layout={"width": "280px"}, **wide,
        )  # fmt: skip
        self.model = ipywidgets.Dropdown(
            options=[(self.word("xm_best"), "best"), (self.word("xm_untrained"), "untrained")],
            description=self.word("xm_model"), layout={"width": "180px"}, **wide,
        )  # fmt: skip
        self.beside = {
            m: ipywidgets.Checkbox(True, description=self.word(m), indent=False, layout=NARROW)
            for m in MODALITIES
        }
        for control in (self.product, self.task, self.model, *self.beside.values()):
            control.observe(self.changed, "value")

    def _make_buttons(self) -> list[ipywidgets.Button]:
        actions = {
            self.word("xm_nothing"): self.hide_nothing,
            self.word("xm_random", rate=RATE): self.hide_random,
            self.word("xm_everything"): self.hide_everything,
        }
        buttons = []
        for name, action in actions.items():
            button = ipywidgets.Button(description=name, layout=NARROW)
            button.on_click(lambda _, action=action: action())
            buttons.append(button)
        return buttons

    def _arrange(self) -> list[ipywidgets.Widget]:
        def row(children: Sequence[ipywidgets.Widget], align: str = "center") -> ipywidgets.Box:
            layout = {"flex_flow": "row wrap", "align_items": align, "grid_gap": "0 12px"}
            return ipywidgets.Box(children, layout=layout)

        prediction = ipywidgets.VBox([self.prompt, row(self._make_buttons())])
        wide = {"flex": "1 1 420px"}
        beside = ipywidgets.VBox([row([*self.beside.values()]), self.others], layout=wide)
        controls = row([self.product, self.task, self.model])
        return [controls, row([prediction, beside], "flex-start"), self.answer]

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
        return ProductModality(self.product.value, MODALITY_OF[self.task.value])

    def _has_content(self) -> bool:
        """Return whether there is content to hide, after a pending change of product or task."""
        if self._content is None or self._content.place != self._target:
            self.flush()
        return self._content is not None

    def _pick(self, key: str, drag: bool) -> None:
        """Toggle a part on a click; a drag repeats what its first click did."""
        group = self._content.groups.get(key) if self._has_content() else None
        if group is None:
            return
        if not drag:
            self._hiding = group not in self._hidden
        self.hide(self._hidden | {group} if self._hiding else self._hidden - {group})

    def update(self) -> None:
        """Predict the hidden parts."""
        self._prediction = None
        place, message = self._target, self._missing_message()
        if message:
            self._content = None
            self.prompt.html = self.others.html = self.answer.html = ""
            raise ValueError(message)
        if self._content is None or self._content.place != place:
            self._open(place)
        if self._hidden:
            self._prediction = self._predict(place)
        self._show()

    def _missing_message(self) -> str:
        """Return an error message where the product lacks the modality of the task; else empty."""
        place, has = self._target, self.source.modalities(self.product.value)
        if place.modality in has:
            return ""
        return self.word(
            "xm_lacks",
            product=self.source.data.ids[place.row],
            modality=self.word(place.modality),
            task=self.task.value,
            has=listed(map(self.word, has), self.lang),
        )

    def _open(self, place: ProductModality) -> None:
        """Show another product or task, with its first random mask."""
        self._content = MaskableContent.of(self.source, place, self.lang)
        self._draws = 0
        self._hidden = draw_groups(self._content.group_L, RATE, SEED, 0)
        for m, box in self.beside.items():
            box.disabled = m not in self._content.beside
            box.layout.display = "none" if m == place.modality else None

    def _predict(self, place: ProductModality) -> MaskedPrediction:
        others = tuple(self._content.beside)
        masked = mask_groups(self.source.data, place.row, place.modality, self._hidden)
        beside = {"all": others, "chosen": self._on(), "none": ()}
        model = self.source.run.model if self.model.value == "best" else self._untrained
        return probe_masked(model, masked, place.modality, beside)

    @cached_property
    def _untrained(self) -> ScaleModel:
        return self.source.run.untrained()

    def _on(self) -> tuple[str, ...]:
        """Return the other modalities of the product that are switched on."""
        return tuple(m for m in self._content.beside if self.beside[m].value)

    def _show(self) -> None:
        content, data = self._content, self.source.data
        self.prompt.html = prompt_html(content, self._hidden, self.lang)
        self.others.html = beside_html(content.beside, self._on(), self.lang)
        if self._prediction is None:
            self.answer.html = f'<div class="note xm-ask">{self.word("xm_ask")}</div>'
        else:
            self.answer.html = answer_html(self._prediction, data, content.sheet, self.lang)

    def summary(self) -> str:
        """Return task, product, hidden parts, context, losses, and probability and rank of each
        masked piece."""
        names = {"task": self.task.value, "product": self.source.data.ids[self.product.value]}
        lines = [self.word("xm_sum_title", **names, model=self.word(f"xm_{self.model.value}"))]
        if self._content is None:
            return "\n".join([*lines, self._missing_message()])
        if self._prediction is None:
            return "\n".join([*lines, self.word("xm_sum_nothing")])
        hidden = listed([self._content.names[group] for group in sorted(self._hidden)], self.lang)
        count = {"n": len(self._hidden), "all": len(self._content.names)}
        lines.append(self.word("xm_sum_hidden", **count, names=hidden))
        lines.append(
            self.word("xm_sum_beside", names=listed(map(self.word, self._on()), self.lang))
        )
        lines += answer_lines(self._prediction, self.source.data, self.lang)
        return "\n".join(lines)

    def picture(self) -> Figure:
        """Return the predictions with the chosen modalities and with none.

        Without hidden parts, return the product. Raises ValueError where it lacks the modality.
        """
        require(self._content is not None, self._missing_message())
        if self._prediction is None:
            return product_card(self.source.product(self._target.row), self.lang)
        return answer_figure(self._prediction, self.source.data, bool(self._on()), self.lang)
