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
    Place,
    Question,
    answer_html,
    beside_html,
    modalities_of,
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
"""Word pieces before and after the one that is asked about."""
DRAW = {"image": mask_image, "video": mask_video, "audio": mask_audio}


def listed(names: Iterable[str], lang: Language = "en") -> str:
    """Names in a row; a word for none."""
    return ("、" if lang == "zh" else ", ").join(names) or label("xm_nobody", lang)


def answer_lines(asked: MaskedPrediction, data: ProductDataset, lang: Language = "en") -> list[str]:
    """The loss by context and baseline; of each hidden piece the truth's probability and rank."""
    lines = [
        label("xm_sum_loss", lang, name=label(LOSSES[name], lang), value=loss)
        for name, loss in asked.loss.items()
    ]
    if asked.modality in DRAW:
        return lines
    for piece in asked.pieces("chosen", data.tokenizer):
        told = {"probability": piece.probability, "rank": piece.rank}
        lines.append(label("xm_sum_piece", lang, truth=piece.truth, **told))
    return lines


def answer_figure(
    asked: MaskedPrediction, data: ProductDataset, beside: bool, lang: Language = "en"
) -> Figure:
    """The guesses beside the chosen modalities, beside none, and of the training mean.

    Of text and table, the five most probable pieces for the first one that is hidden.
    beside: whether any modality is chosen. Raises ValueError where features hold no colours.
    """
    if asked.modality in DRAW:
        found = asked.reconstruction(data)
        names = {"chosen": "with", "none": "without", "mean": "mean"}
        for shown in (found.guess_LF, found.loss):
            for name, old in names.items():
                shown[old] = shown.pop(name)
        guesses = ("with", "without", "mean") if beside else ("without", "mean")
        return DRAW[asked.modality]([("", found)], data.config, lang, guesses)
    return _pieces_figure(asked, data, beside, lang)


def _pieces_figure(
    asked: MaskedPrediction, data: ProductDataset, beside: bool, lang: Language
) -> Figure:
    contexts = {"chosen": "xm_chosen", "none": "xm_none"} if beside else {"none": "xm_none"}
    guesses, answer, place = {}, "", 0
    for context, key in contexts.items():
        first = asked.pieces(context, data.tokenizer)[0]
        guesses[label(key, lang)] = first.best
        answer, place = first.truth, first.place
    tokens = asked.masked.batch.tokens[asked.modality]
    pieces = data.tokenizer.convert_ids_to_tokens(tokens.values[0, 1:-1].tolist())
    index = int(asked.masked.batch.index_B[0])
    question = _around(pieces, place - 1)  # Without [CLS].
    return top_predictions(data.products[index], question, guesses, answer, lang)


def _around(pieces: Sequence[str], place: int) -> str:
    """What the model reads next to a place, with a blank there."""
    before, after = pieces[max(place - AROUND, 0) : place], pieces[place + 1 : place + 1 + AROUND]
    return " ".join([*before, "____", *after])


MODALITY_OF = {spec.task: m for m, spec in SPECS.items()}
RATE = MaskConfig().rate
"""Of the paper."""
SEED = 0
"""Of the draws."""
NARROW = {"width": "auto"}


class MaskingExplorer(Panel):
    """Choose a product and a pretext task, click on what to hide, and see what the model predicts
    beside the other modalities that are on.

    A product opens with what the seeded draw at the paper's rate hides.

    Args:
        product: id; None: the first one that has what the task hides.
        task: MLM, MEM, MRP, MFP or MAM.

    Raises:
        ValueError: there is no such product or task.
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
        self._question: Question | None = None
        self._asked: MaskedPrediction | None = None  # Nothing is hidden, or nothing can be.
        self._hidden: frozenset[int] = frozenset()
        self._covering, self._draws = True, 0
        self.prompt = ClickableHtml(picked=self._pick).add_class("scale-masking-prompt")
        self.others = ClickableHtml().add_class("scale-masking-others")
        self.answer = ClickableHtml().add_class("scale-masking-answer")
        self._make_controls(self._row(product, task), task)
        self.add_class("scale-masking")
        self.start(self._arrange())

    def _row(self, product: str | None, task: str) -> int:
        rows = [row for _, row in self.source.options()]
        if product is None:
            having = (r for r in rows if MODALITY_OF[task] in modalities_of(self.source, r))
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

        asked = ipywidgets.VBox([self.prompt, row(self._make_buttons())])
        wide = {"flex": "1 1 420px"}
        beside = ipywidgets.VBox([row([*self.beside.values()]), self.others], layout=wide)
        controls = row([self.product, self.task, self.model])
        return [controls, row([asked, beside], "flex-start"), self.answer]

    @property
    def hidden(self) -> frozenset[int]:
        """Numbers of what is hidden: of words, table entries or vectors (`asking.groups_of`)."""
        return self._hidden

    def hide(self, groups: Collection[int]) -> None:
        """Hide exactly these. Raises ValueError for a number that nothing has."""
        known = self._question.names if self._catch_up() else ()
        strange = sorted(set(groups) - set(known))
        require(not strange, f"nothing to hide under {strange}")
        if frozenset(groups) != self._hidden:
            self._hidden = frozenset(groups)
            self.changed()

    def hide_nothing(self) -> None:
        """Show all again."""
        self.hide(())

    def hide_random(self) -> None:
        """The next of a seeded row of draws, at the paper's rate and by its rule."""
        if self._catch_up():
            self._draws += 1
            self.hide(draw_groups(self._question.group_L, RATE, SEED, self._draws))

    def hide_everything(self) -> None:
        """All that can be hidden."""
        if self._catch_up():
            self.hide(self._question.names)

    @property
    def _place(self) -> Place:
        return Place(self.product.value, MODALITY_OF[self.task.value])

    def _catch_up(self) -> bool:
        """Whether there is anything to hide, once a change of product or task has been seen."""
        if self._question is None or self._question.place != self._place:
            self.flush()
        return self._question is not None

    def _pick(self, key: str, drag: bool) -> None:
        """A click covers or uncovers; a drag goes on with what its first click did."""
        group = self._question.groups.get(key) if self._catch_up() else None
        if group is None:
            return
        if not drag:
            self._covering = group not in self._hidden
        self.hide(self._hidden | {group} if self._covering else self._hidden - {group})

    def update(self) -> None:
        """Ask the model for what is hidden now."""
        self._asked = None
        place, lacking = self._place, self._lacking()
        if lacking:
            self._question = None
            self.prompt.html = self.others.html = self.answer.html = ""
            raise ValueError(lacking)
        if self._question is None or self._question.place != place:
            self._open(place)
        if self._hidden:
            self._asked = self._ask(place)
        self._show()

    def _lacking(self) -> str:
        """What to say where the product lacks what the task hides; else empty."""
        place, has = self._place, modalities_of(self.source, self.product.value)
        if place.modality in has:
            return ""
        return self.word(
            "xm_lacks",
            product=self.source.data.ids[place.row],
            modality=self.word(place.modality),
            task=self.task.value,
            has=listed(map(self.word, has), self.lang),
        )

    def _open(self, place: Place) -> None:
        """Another product or task: begin with the first draw."""
        self._question = Question.of(self.source, place, self.lang)
        self._draws = 0
        self._hidden = draw_groups(self._question.group_L, RATE, SEED, 0)
        for m, box in self.beside.items():
            box.disabled = m not in self._question.beside
            box.layout.display = "none" if m == place.modality else None

    def _ask(self, place: Place) -> MaskedPrediction:
        others = tuple(self._question.beside)
        masked = mask_groups(self.source.data, place.row, place.modality, self._hidden)
        beside = {"all": others, "chosen": self._on(), "none": ()}
        model = self.source.run.model if self.model.value == "best" else self._untrained
        return probe_masked(model, masked, place.modality, beside)

    @cached_property
    def _untrained(self) -> ScaleModel:
        return self.source.run.untrained()

    def _on(self) -> tuple[str, ...]:
        """The other modalities that the product has and that are on."""
        return tuple(m for m in self._question.beside if self.beside[m].value)

    def _show(self) -> None:
        question, data = self._question, self.source.data
        self.prompt.html = prompt_html(question, self._hidden, self.lang)
        self.others.html = beside_html(question.beside, self._on(), self.lang)
        if self._asked is None:
            self.answer.html = f'<div class="note xm-ask">{self.word("xm_ask")}</div>'
        else:
            self.answer.html = answer_html(self._asked, data, question.sheet, self.lang)

    def summary(self) -> str:
        """Task, product, what is hidden, what is beside it, losses, and of each hidden piece the
        probability and rank of the truth."""
        names = {"task": self.task.value, "product": self.source.data.ids[self.product.value]}
        lines = [self.word("xm_sum_title", **names, model=self.word(f"xm_{self.model.value}"))]
        if self._question is None:
            return "\n".join([*lines, self._lacking()])
        if self._asked is None:
            return "\n".join([*lines, self.word("xm_sum_nothing")])
        hidden = listed([self._question.names[group] for group in sorted(self._hidden)], self.lang)
        count = {"n": len(self._hidden), "all": len(self._question.names)}
        lines.append(self.word("xm_sum_hidden", **count, names=hidden))
        lines.append(
            self.word("xm_sum_beside", names=listed(map(self.word, self._on()), self.lang))
        )
        lines += answer_lines(self._asked, self.source.data, self.lang)
        return "\n".join(lines)

    def picture(self) -> Figure:
        """The guesses beside the chosen modalities and beside none; the product where nothing is
        hidden. Raises ValueError where the product lacks what the task hides."""
        require(self._question is not None, self._lacking())
        if self._asked is None:
            return product_card(self.source.product(self._place.row), self.lang)
        return answer_figure(self._asked, self.source.data, bool(self._on()), self.lang)
