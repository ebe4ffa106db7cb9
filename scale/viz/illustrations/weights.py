"""What a weight from S' does: on the diagonal, on a logit, on a loss (paper, section 4.3).

C cosines along an axis, M modalities (five).
"""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.modalities import MODALITIES
from scale.model.scores import inter_modality_scores
from scale.viz.theme import NEGATIVE, POSITIVE, drawn, new_figure, points, shade, tint
from scale.viz.words import Language, label

TEMPERATURE = 0.07
COUNT = len(MODALITIES)


@drawn
def weight_effects(lang: Language = "en") -> Figure:
    """Three panels: S'_ii against the cosine to the others, the weighted logit, the weighted loss.

    All of it from `inter_modality_scores` of features with the cosines that the axis says.
    """
    figure = new_figure(10.2, 3.5)
    own, logit, loss = figure.subplots(1, 3)
    _own_panel(own, lang)
    _logit_panel(logit, lang)
    _loss_panel(loss, lang)
    return figure


def features_of_cosine(cosine_C: torch.Tensor) -> torch.Tensor:
    """pooled_CMD: five unit features, any two of which have the cosine c (0 <= c <= 1).

    f_i = sqrt(c) e_0 + sqrt(1 - c) e_i, so f_i . f_j = c for i != j and 1 for i = j.
    """
    shared_C11 = cosine_C.sqrt()[:, None, None]
    own_CMM = torch.eye(COUNT, dtype=cosine_C.dtype) * (1 - cosine_C).sqrt()[:, None, None]
    return torch.cat([shared_C11.expand(-1, COUNT, 1), own_CMM], dim=2)


def _own_panel(axes: Axes, lang: Language) -> None:
    cosine_C = torch.linspace(0, 1, 101, dtype=torch.float64)
    pooled_CMD = features_of_cosine(cosine_C)
    curves = [("as_described", False, POSITIVE), ("as_released", True, NEGATIVE)]
    for key, row_normalise, colour in curves:
        scores = inter_modality_scores(pooled_CMD, row_normalise=row_normalise)
        own_C = scores.weighted_BMM[:, 0, 0]
        axes.plot(cosine_C, own_C, color=colour, label=label(key, lang))
        for place, shift in ((0, (4, 6)), (-1, (-2, 14))):
            style = {"ha": "left" if place == 0 else "right", "fontsize": points(8)}
            offset = {"xytext": shift, "textcoords": "offset points", "color": colour}
            value = f"{own_C[place]:.3f}"
            axes.annotate(value, (cosine_C[place], own_C[place]), **offset, **style)
    axes.set(xlabel=label("cosine_of_others", lang), ylim=(0, 1.28), xlim=(-0.02, 1.02))
    ends = label("nothing_shared", lang), label("five_agree", lang)
    axes.set_xticks([0, 0.5, 1], [f"0\n{ends[0]}", "0.5", f"1\n{ends[1]}"])
    _finish(axes, "own_weight_title", lang)


def _logit_panel(axes: Axes, lang: Language) -> None:
    cosine_C = np.linspace(-1, 1, 201)
    # One pair of modalities: the row of S is (1, c), so the softmax share of c is e^c / (e + e^c).
    weight_C = cosine_C * np.exp(cosine_C) / (np.e + np.exp(cosine_C))
    plain = {"color": shade(0.55), "dashes": (4, 2), "label": label("plain_logit", lang)}
    axes.plot(cosine_C, cosine_C / TEMPERATURE, **plain)
    paper = {"color": POSITIVE, "label": label("paper_logit", lang)}
    axes.plot(cosine_C, weight_C * cosine_C / TEMPERATURE, **paper)
    axes.axvspan(-1, 0, color=tint(NEGATIVE, 0.12), linewidth=0)
    text = {"ha": "center", "va": "center", "fontsize": points(8), "color": NEGATIVE}
    axes.text(-0.5, -9, label("turned_round", lang), **text)
    axes.set(xlabel=label("cosine_of_pair", lang), ylabel=label("weighted_logit", lang))
    axes.set(xlim=(-1, 1), ylim=(-15, 19))
    _finish(axes, "weighted_logit_title", lang)


def _loss_panel(axes: Axes, lang: Language) -> None:
    flowing, stopped = gradient_descent(True), gradient_descent(False)
    for key, values, colour in (
        ("gradient_stopped", stopped, POSITIVE),
        ("gradient_flowing", flowing, NEGATIVE),
    ):
        axes.plot(values["cosine"], color=colour, label=label(key, lang))
    axes.set(xlabel=label("step", lang), ylabel=label("cosine_of_pair", lang), ylim=(-0.1, 1.35))
    _finish(axes, "loss_weight_title", lang)


def gradient_descent(
    flowing: bool, start: float = 0.3, steps: int = 100, rate: float = 0.05, rival: float = 0.9
) -> dict[str, list[float]]:
    """Descent on w(c) L(c), one pair of cosine c beside one rival of a fixed cosine.

    L(c) = t log(1 + exp((rival - c) / t)), w(c) = max(c, 0) softmax(1, c). Where the loss is large,
    the product of both falls fastest by making the weight, and so the cosine, small.

    Returns:
        `cosine` and `weight` at each step.
    """
    cosine = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    path: dict[str, list[float]] = {"cosine": [], "weight": []}
    for _ in range(steps):
        weight = cosine.clamp(min=0) * torch.stack([torch.ones_like(cosine), cosine]).softmax(0)[1]
        loss = torch.nn.functional.softplus((rival - cosine) / TEMPERATURE) * TEMPERATURE
        path["cosine"].append(cosine.item())
        path["weight"].append(weight.item())
        product = (weight if flowing else weight.detach()) * loss
        (slope,) = torch.autograd.grad(product, cosine)
        cosine = (cosine - rate * slope).detach().clamp(-1, 1).requires_grad_()
    return path


def _finish(axes: Axes, title: str, lang: Language) -> None:
    axes.set_title(label(title, lang))
    axes.legend(loc="upper left", fontsize=points(7.5), frameon=False)
