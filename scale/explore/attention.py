"""Attention of the joint transformer: computed from the inputs of its layers, and its panel.

T tokens of a product's sequence, L layers, H heads, K width of a head, D width, M modalities
(five).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ipywidgets
import numpy as np
import torch
from timm.models.vision_transformer import Block
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from scale.config import Config
from scale.data.batch import ProductBatch
from scale.data.dataset import ProductDataset
from scale.explore import attention_views as views
from scale.explore.loss_terms import repeated
from scale.explore.panel import ClickableHtml, dropdown, observe, wrapping_row
from scale.losses.masking import WordPieces, mask_batch
from scale.modalities import INDEX, MODALITIES, TASKS
from scale.model.scale import ScaleModel
from scale.studies.context import position_losses
from scale.studies.single_product import missing_token_count
from scale.threads import torch_threads
from scale.viz.words import Language, label

MASKS = 8
"""Random masks over which the effect of a removal is averaged."""
MEAN = -1
"""Value of the choices of layer and head: their mean."""
Inputs = list[tuple[Tensor, Tensor | None]]
"""tokens_BTD and attn_mask of each layer."""


@contextmanager
def recorded_inputs(model: ScaleModel) -> Iterator[Inputs]:
    """Record the inputs of the layers of the joint transformer in forward passes of the model.

    The padded implementation is used, whose sequence has the modalities in their order; both give
    equal results.
    """
    inputs: Inputs = []

    def record(_: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        inputs.append((args[0], kwargs.get("attn_mask")))

    packed, model.jct.packed = model.jct.packed, False
    hooks = [
        block.register_forward_pre_hook(record, with_kwargs=True)
        for block in model.jct.stack.blocks
    ]
    try:
        yield inputs
    finally:
        model.jct.packed = packed
        for hook in hooks:
            hook.remove()


def attention_weights(block: Block, tokens_BTD: Tensor, mask: Tensor | None) -> Tensor:
    """Return weight_BHTT = softmax(q k^T / sqrt(K)) of a layer for its input.

    Equal to the weights inside `block.attn`, which does not return them. Columns of positions that
    `mask` excludes are 0.
    """
    return _weights_and_values(block, tokens_BTD, mask)[0]


def attention_output(block: Block, tokens_BTD: Tensor, mask: Tensor | None) -> Tensor:
    """Return the output of `block.attn` from `attention_weights`, as a check of the weights."""
    weight_BHTT, value_BHTK = _weights_and_values(block, tokens_BTD, mask)
    mixed_BTD = (weight_BHTT @ value_BHTK).transpose(1, 2).flatten(2)
    return block.attn.proj(block.attn.norm(mixed_BTD))


def _weights_and_values(
    block: Block, tokens_BTD: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    attn = block.attn
    qkv_BTX = attn.qkv(block.norm1(tokens_BTD))
    qkv = qkv_BTX.unflatten(2, (3, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4)
    query_BHTK, key_BHTK = attn.q_norm(qkv[0]), attn.k_norm(qkv[1])
    logit_BHTT = query_BHTK @ key_BHTK.transpose(2, 3) * attn.head_dim**-0.5
    if mask is not None:
        logit_BHTT = logit_BHTT.masked_fill(~mask, -torch.inf)
    return logit_BHTT.softmax(-1), qkv[2]


@dataclass(frozen=True)
class JointAttention:
    """Attention weights of the joint transformer for one product."""

    weight_LHTT: np.ndarray
    """Row: the token that attends; column: the token attended to. Each row adds up to 1."""
    modality_T: np.ndarray
    """Place of the modality of each token in MODALITIES."""
    own_M: np.ndarray
    """True for modalities whose tokens are the product's own, not in place of a missing one."""
    names: tuple[str, ...]
    """Name of each token."""

    @property
    def has_M(self) -> np.ndarray:
        """True for modalities with tokens."""
        return np.isin(np.arange(len(MODALITIES)), self.modality_T)

    @property
    def even_M(self) -> np.ndarray:
        """Share of the tokens of each modality: its attention if all tokens got the same."""
        return np.bincount(self.modality_T, minlength=len(MODALITIES)) / len(self.modality_T)

    def chosen(self, layer: int, head: int) -> np.ndarray:
        """Return weight_TT of a layer and head; MEAN averages over them."""
        weight_HTT = self.weight_LHTT.mean(0) if layer == MEAN else self.weight_LHTT[layer]
        return weight_HTT.mean(0) if head == MEAN else weight_HTT[head]

    def blocks(self, layer: int, head: int, cls_only: bool = False) -> np.ndarray:
        """Return share_MM: attention of the tokens of modality i that goes to modality j.

        The mean over the tokens of i (or of its [CLS] alone), the sum over the tokens of j. Rows of
        modalities with tokens add up to 1; others are 0.
        """
        share_MM = np.zeros((len(MODALITIES), len(MODALITIES)))
        weight_TT = self.chosen(layer, head)
        for i in np.unique(self.modality_T):
            rows_T = np.flatnonzero(self.modality_T == i)[: 1 if cls_only else None]
            np.add.at(share_MM[i], self.modality_T, weight_TT[rows_T].mean(0))
        return share_MM


def joint_attention(
    model: ScaleModel,
    inputs: Inputs,
    batch: ProductBatch,
    tokenizer: PreTrainedTokenizerBase,
    lang: Language,
) -> JointAttention:
    """Return the attention of the last recorded pass, over a batch of one product."""
    places, names, own_M = [], [], np.zeros(len(MODALITIES), bool)
    for m in model.config.modalities:
        tokens = batch.tokens.get(m)
        own_M[INDEX[m]] = tokens is not None and len(tokens.rows_R) > 0
        if own_M[INDEX[m]]:
            found = views.token_names(m, tokens, tokenizer, lang)
        else:
            count = missing_token_count(model, m)
            found = [label("xa_imputed", lang, n=n + 1) for n in range(count)]
        places += [INDEX[m]] * len(found)
        names += found
    layers = list(zip(model.jct.stack.blocks, inputs[-len(model.jct.stack.blocks) :], strict=True))
    with torch.inference_mode(), torch_threads(1):
        weights = [attention_weights(block, *given)[0] for block, given in layers]
    return JointAttention(torch.stack(weights).numpy(), np.array(places), own_M, tuple(names))


def removal_effects(
    model: ScaleModel, config: Config, data: ProductDataset, batch: ProductBatch, seed: int = 0
) -> np.ndarray:
    """Return effect_MM: relative rise of the masked loss of modality i without modality j.

    L_i(without j) / L_i - 1, over the same masked positions (MASKS random masks at the run's rate
    in all modalities, as in training). NaN on the diagonal and for missing modalities.
    """
    pieces = WordPieces.of(data.tokenizer)
    masked = mask_batch(repeated(batch, MASKS), config.mask, pieces, (seed,), TASKS)
    there = [m for m in MODALITIES if m in masked.hidden]
    effect_MM = np.full((len(MODALITIES), len(MODALITIES)), np.nan)

    def losses(keep: tuple[str, ...]) -> dict[str, float]:
        hidden = {m: masked.hidden[m] for m in keep}
        found = model(masked.batch.only(keep), hidden).predictions
        return {m: float(position_losses(found[m], masked.targets[m]).mean()) for m in found}

    with torch.inference_mode(), torch_threads(1):
        whole = losses(tuple(there))
        for removed in there if len(there) > 1 else ():
            without = losses(tuple(m for m in there if m != removed))
            for m, loss in without.items():
                effect_MM[INDEX[m], INDEX[removed]] = loss / max(whole[m], 1e-9) - 1
    return effect_MM


class AttentionView(ipywidgets.VBox):
    """Attention between modalities before and after a change, the effect of removals, and the
    attention between the tokens of a chosen block.

    A part of a panel: it has no model. `tokens` is shown by the panel, as a step of its own.
    """

    def __init__(self, layers: int, heads: int, lang: Language) -> None:
        self.lang: Language = lang
        self._shown: tuple[JointAttention, JointAttention, np.ndarray] | None = None
        self.block = 0, 0
        layer_names = {MEAN: label("xa_mean", lang)} | {k: str(k + 1) for k in range(layers)}
        head_names = {MEAN: label("xa_mean", lang)} | {k: str(k + 1) for k in range(heads)}
        self.layer = dropdown(label("xa_layer", lang), layer_names, MEAN, "160px")
        self.head = dropdown(label("xa_head", lang), head_names, MEAN, "160px")
        sources = {False: label("xa_all_tokens", lang), True: label("xa_cls", lang)}
        self.source = dropdown(label("xa_from", lang), sources, False, "220px")
        scales = {False: label("xa_share", lang), True: label("xa_ratio", lang)}
        self.ratio = dropdown(label("xa_scale", lang), scales, False, "260px")
        self.blocks = ClickableHtml(picked=self._pick)
        self.tokens = ClickableHtml()
        self.tokens.add_class("scale-attention-tokens")
        observe(self._draw, self.layer, self.head, self.source, self.ratio)
        controls = wrapping_row(self.layer, self.head, self.source, self.ratio)
        super().__init__([controls, self.blocks])
        self.add_class("scale-attention")

    def show(self, before: JointAttention, now: JointAttention, effect_MM: np.ndarray) -> None:
        """Show the attention before and after a change, beside the effects of removals."""
        self._shown = before, now, effect_MM
        self._draw()

    def clear(self) -> None:
        """Show nothing."""
        self._shown = None
        self.blocks.html = self.tokens.html = ""

    def _pick(self, key: str, drag: bool) -> None:
        """Choose a block by its key `now-i-j` or `before-i-j`."""
        parts = key.split("-")
        if not drag and len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            self.block = int(parts[1]), int(parts[2])
            self._draw()

    def _draw(self, _: object = None) -> None:
        if self._shown is None:
            return
        before, now, effect_MM = self._shown
        choice = self.layer.value, self.head.value
        shares = [each.blocks(*choice, self.source.value) for each in (before, now)]
        if self.ratio.value:
            both = zip(shares, (before, now), strict=True)
            shares = [share_MM / np.maximum(each.even_M, 1e-9) for share_MM, each in both]
        mean_MM = before.blocks(MEAN, MEAN, self.source.value)
        has, ratio = [before.has_M, now.has_M], self.ratio.value
        self.blocks.html = views.block_tables(
            shares, has, now.even_M, effect_MM, mean_MM, self.block, ratio, self.lang
        )
        pictures = [
            views.token_map(
                each.chosen(*choice), each.modality_T, each.names, self.block, self.lang
            )
            for each in (before, now)
        ]
        self.tokens.html = views.token_view(pictures, self.block, self.lang)


def make_view(model: ScaleModel, lang: Language) -> AttentionView:
    """Return a view for the layers and heads of a model's joint transformer."""
    return AttentionView(model.config.jct_layers, model.config.heads, lang)
