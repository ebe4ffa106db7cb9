"""Checks of the notebooks' exercises: each runs a function on small inputs and names its mistake.

    exercises.check_info_nce(info_nce)

prints "Not written yet." for a stub that raises NotImplementedError, "Right.", or "Not yet:" with
a hint; a check never raises. The result is compared with the right one and with the results of
known mistakes, alone and in pairs. The messages are in `viz/words`, in English and Chinese
(environment variable SCALE_LANG).

B products, R of them with the modality, D width, M modalities, L length, F features, K places of a
ranked list, S seeds, P runs of a check.
"""

from collections.abc import Callable, Sequence
from copy import copy
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torch.nn.functional import normalize

from scale.viz.words import LANG, WORDS

Answer = Callable[..., Any]
Parts = tuple[NDArray[np.float64], ...]
"""A result as arrays: one, or one for each element of a returned tuple."""
CLOSE = 1e-4
"""Largest difference of two equal results."""
MASK_ID = 4


def check_info_nce(info_nce: Answer) -> None:
    """Check `info_nce(text_BD, image_BD, temperature) -> loss_B` (notebook 01).

    loss_B: -log softmax of the product's own cosine, divided by the temperature, along its row
    (title -> picture) and along its column (picture -> title); the mean of both directions.
    """
    random = torch.Generator().manual_seed(0)
    text_BD, image_BD = (torch.randn(4, 3, generator=random) for _ in range(2))
    cases = [(text_BD, image_BD, 0.5), (2 * image_BD[:3], text_BD[:3], 0.2)]
    mistakes = ["forth_only", "back_only", "summed", "multiplied", "no_temperature",
                "not_normalised", "wrong_target", "row_mean", "averaged", "no_minus",
                "without_own"]  # fmt: skip
    _print_verdict(info_nce, cases, _info_nce, mistakes)


def _info_nce(text_BD: Tensor, image_BD: Tensor, temperature: float, mistakes=()) -> Tensor:
    """Return loss_B, with the given mistakes."""
    if "not_normalised" not in mistakes:
        text_BD, image_BD = normalize(text_BD, dim=1), normalize(image_BD, dim=1)
    power = -1 if "multiplied" in mistakes else 0 if "no_temperature" in mistakes else 1
    logits_BB = text_BD @ image_BD.T / temperature**power
    directions = []
    for one_BB in (logits_BB, logits_BB.T):
        own_BB = torch.eye(len(one_BB), dtype=torch.bool)
        others_BB = one_BB.masked_fill(own_BB, -torch.inf)
        sum_BB = others_BB if "without_own" in mistakes else one_BB
        loss_BB = sum_BB.logsumexp(1, keepdim=True) - one_BB
        wrong_B = loss_BB.mean(1) if "row_mean" in mistakes else loss_BB[:, 0]
        wrong = {"row_mean", "wrong_target"} & set(mistakes)
        directions.append(wrong_B if wrong else loss_BB.diagonal())
    forth_B, back_B = directions
    loss_B = (forth_B + back_B) / (1 if "summed" in mistakes else 2)
    loss_B = forth_B if "forth_only" in mistakes else loss_B
    loss_B = back_B if "back_only" in mistakes else loss_B
    loss_B = -loss_B if "no_minus" in mistakes else loss_B
    return loss_B.mean() if "averaged" in mistakes else loss_B


def check_score_matrix(score_matrix: Answer) -> None:
    """Check `score_matrix(features_MD, present_M) -> weighted_MM` (notebook 09).

    weighted_MM: S' = S * softmax(S) with the cosines S of the features and the softmax along the
    row, over the present modalities; rows and columns of absent modalities are 0.
    """
    features_MD = torch.tensor([[1.0, 0.0], [1.6, 1.2], [0.0, 3.0], [-0.5, 1.0]])
    present_M = torch.tensor([True, True, False, True])
    cases = [(features_MD, torch.ones(4, dtype=torch.bool)), (features_MD, present_M)]
    mistakes = ["columns", "all_cells", "not_unit", "no_mask", "absent_share", "nan_rows",
                "only_cosine", "only_softmax", "released"]  # fmt: skip
    _print_verdict(score_matrix, cases, _score_matrix, mistakes)


def _score_matrix(features_MD: Tensor, present_M: Tensor, mistakes=()) -> Tensor:
    """Return weighted_MM, with the given mistakes."""
    unit_MD = features_MD if "not_unit" in mistakes else normalize(features_MD, dim=1)
    cosine_MM = unit_MD @ unit_MD.T
    both_MM = present_M[:, None] & present_M
    if "no_mask" in mistakes:
        both_MM = torch.ones_like(both_MM)
    cosine_MM = cosine_MM.masked_fill(~both_MM, 0.0)
    exp_MM = cosine_MM.exp()
    if "absent_share" not in mistakes:
        exp_MM = exp_MM.masked_fill(~both_MM, 0.0)
    sums = exp_MM.sum(0 if "columns" in mistakes else 1, keepdim=True)
    sums = exp_MM.sum() if "all_cells" in mistakes else sums
    share_MM = exp_MM / sums
    if "nan_rows" not in mistakes:
        share_MM = share_MM.masked_fill(~both_MM, 0.0)
    weighted_MM = share_MM * cosine_MM
    if "released" in mistakes:
        weighted_MM = normalize(weighted_MM, dim=1)
    weighted_MM = share_MM if "only_softmax" in mistakes else weighted_MM
    return cosine_MM if "only_cosine" in mistakes else weighted_MM


def check_zero_imputation(impute_zeros: Answer) -> None:
    """Check `impute_zeros(audio_RLF, present_B) -> (input_BLF, present_B)` (notebook 11).

    audio_RLF: the spectrograms of the R products that have a sound, in the order of the batch.
    input_BLF: the input of the audio encoder for all B products, zeros for those without a sound.
    present_B: unchanged, so that the loss can leave the imputed ones out.
    """
    audio_RLF = torch.arange(1.0, 13.0).reshape(2, 3, 2)
    cases = [
        (audio_RLF, torch.tensor([False, True, False, True])),
        (audio_RLF, torch.tensor([True, True, False])),
    ]
    mistakes = ["mean_imputed", "row_dropped", "first_rows", "all_present", "no_presence",
                "all_zero"]  # fmt: skip
    _print_verdict(impute_zeros, cases, _impute_zeros, mistakes)


def _impute_zeros(audio_RLF: Tensor, present_B: Tensor, mistakes=()) -> Any:
    """Return input_BLF and present_B, with the given mistakes."""
    input_BLF = audio_RLF.new_zeros(len(present_B), *audio_RLF.shape[1:])
    if "mean_imputed" in mistakes:
        input_BLF = input_BLF + audio_RLF.mean(0)
    place_R = present_B.nonzero().squeeze(1)
    if "first_rows" in mistakes:
        place_R = torch.arange(len(audio_RLF))
    if "all_zero" not in mistakes:
        input_BLF[place_R] = audio_RLF
    if "row_dropped" in mistakes:
        input_BLF, present_B = audio_RLF, present_B[present_B]
    if "all_present" in mistakes:
        present_B = torch.ones_like(present_B)
    return input_BLF if "no_presence" in mistakes else (input_BLF, present_B)


def check_average_precision(average_precision: Answer) -> None:
    """Check `average_precision(rel_K, relevant, k) -> float` (notebook 14).

    AP@k = sum_{i <= k} rel_i P@i / min(k, relevant), with the precision P@i of the first i places.
    rel_K: whether the item at each place is relevant. relevant: number in the whole gallery.
    """
    rel_K = np.array([1, 0, 1, 0, 0, 1, 0, 1], dtype=bool)
    cases = [(rel_K, 8, 5), (rel_K, 4, 7), (~rel_K, 6, 3)]
    mistakes = ["by_hits", "by_relevant", "by_k", "every_rank", "whole_list", "only_precision"]
    _print_verdict(average_precision, cases, _average_precision, mistakes)


def _average_precision(rel_K: NDArray[np.bool_], relevant: int, k: int, mistakes=()) -> float:
    """Return AP@k, with the given mistakes."""
    cut = len(rel_K) if "whole_list" in mistakes else k
    rel_K = rel_K[:cut]
    precision_K = rel_K.cumsum() / np.arange(1, len(rel_K) + 1)
    total = precision_K.sum() if "every_rank" in mistakes else precision_K[rel_K].sum()
    divisor = min(k, relevant)
    for name, value in (("by_hits", rel_K.sum()), ("by_relevant", relevant), ("by_k", k)):
        divisor = value if name in mistakes else divisor
    return rel_K.sum() / k if "only_precision" in mistakes else total / divisor


def check_t_interval(t_interval: Answer) -> None:
    """Check `t_interval(value_S) -> (low, high)` (notebook 12).

    mean -+ t_{0.975, S-1} sd / sqrt(S), the 95 % interval of the mean over S trainings, with the
    sample standard deviation sd (divided by S - 1).
    """
    cases = [(np.array([0.10, 0.14, 0.09, 0.16, 0.12]),), (np.array([0.3, 0.1, 0.5]),)]
    mistakes = ["normal", "population", "no_root", "one_sided", "degrees", "around_zero", "half"]
    _print_verdict(t_interval, cases, _t_interval, mistakes)


def _t_interval(value_S: NDArray[np.float64], mistakes=()) -> Any:
    """Return low and high, with the given mistakes."""
    n = len(value_S)
    level = 0.95 if "one_sided" in mistakes else 0.975
    factor = stats.t.ppf(level, n if "degrees" in mistakes else n - 1)
    factor = stats.norm.ppf(level) if "normal" in mistakes else factor
    half = factor * value_S.std(ddof=0 if "population" in mistakes else 1)
    half /= 1 if "no_root" in mistakes else np.sqrt(n)
    mean = 0.0 if "around_zero" in mistakes else value_S.mean()
    return half if "half" in mistakes else (mean - half, mean + half)


def check_entity_mask(hide_entities: Answer) -> None:
    """Check `hide_entities(ids_L, entity_L, rate, mask_id, generator) -> (shown_L, hidden_L)`
    (notebook 06).

    Each entity, an attribute or a value, is hidden as a whole with probability `rate`, drawn from
    the torch.Generator. entity_L: number of each piece's entity; -1 for [CLS], [SEP], `:`, `;` and
    padding, which are never hidden. hidden_L: True at hidden pieces; shown_L: `mask_id` there, and
    the ids elsewhere. Only properties are checked, as the draws of two right functions differ.
    """
    entity_L = torch.tensor([-1, 0, 0, -1, 1, 1, 1, -1, 2, -1, 3, 3, -1, 4, 4, -1, 5, -1, -1, -1])
    ids_L = torch.arange(100, 100 + len(entity_L))
    ids_L[-2:] = 0  # padding
    runs = [(rate, seed) for rate in (0.2, 0.6) for seed in range(300)]

    def run(rate: float, seed: int) -> tuple[Tensor, Tensor]:
        given_L, random = ids_L.clone(), torch.Generator().manual_seed(seed)
        result = hide_entities(given_L, entity_L.clone(), rate, MASK_ID, random)
        if not torch.equal(given_L, ids_L):
            raise _MistakeError("in_place")
        if len(_parts(result, several=True)) != 2:
            raise _MistakeError("two_results")
        for part in result:
            if part.shape != ids_L.shape:
                shapes = {"found": tuple(part.shape), "right": tuple(ids_L.shape)}
                raise _MistakeError("shape", **shapes)
        return result[0], result[1].bool()

    def find() -> str | None:
        shown_PL, hidden_PL = map(torch.stack, zip(*(run(*one) for one in runs), strict=True))
        if not torch.equal(run(*runs[0])[1], hidden_PL[0]):
            return _text("no_generator")
        rate_P = torch.tensor([rate for rate, _ in runs])
        return _replacement_mistake(ids_L, shown_PL, hidden_PL) or _choice_mistake(
            entity_L, rate_P, hidden_PL
        )

    _print_outcome(find)


def _replacement_mistake(ids_L: Tensor, shown_PL: Tensor, hidden_PL: Tensor) -> str | None:
    """Return the hint for wrong ids at hidden or at shown positions."""
    if (shown_PL != ids_L)[~hidden_PL].any():
        return _text("changes_shown")
    if not hidden_PL.any():
        return _text("never_hides")
    if (shown_PL != MASK_ID)[hidden_PL].any():
        return _text("not_replaced")
    return None


def _choice_mistake(entity_L: Tensor, rate_P: Tensor, hidden_PL: Tensor) -> str | None:
    """Return the hint for a wrong choice of the hidden positions."""
    if hidden_PL[:, -2:].any():
        return _text("hides_padding")
    if hidden_PL[:, entity_L < 0].any():
        return _text("hides_structure")
    entities = range(int(entity_L.max()) + 1)
    share_PE = torch.stack([hidden_PL[:, entity_L == e].float().mean(1) for e in entities], dim=1)
    if ((share_PE > 0) & (share_PE < 1)).any():
        return _text("single_pieces")
    if (share_PE == share_PE[0]).all():
        return _text("same_every_time")
    share_RE = torch.stack([share_PE[rate_P == rate].mean(0) for rate in rate_P.unique()])
    rate_R, share_R = rate_P.unique(), share_RE.mean(1)
    if share_RE.max(0).values.min() == 0:
        return _text("some_never", entity=int(share_RE.max(0).values.argmin()))
    if torch.allclose(share_R, 1 - rate_R, atol=0.05):
        return _text("rate_reversed")
    if share_R.max() - share_R.min() < 0.05:
        return _text("rate_ignored")
    if not torch.allclose(share_RE, rate_R[:, None].expand_as(share_RE), atol=0.12):
        return _text("wrong_share", found=f"{share_R[0]:.2f}", rate=f"{rate_R[0]:.1f}")
    return None


class _MistakeError(Exception):
    """A mistake that is found while the function runs; its text is the hint."""

    def __init__(self, name: str, **values: Any) -> None:
        super().__init__(_text(name, **values))


def _print_verdict(
    answer: Answer, cases: Sequence[tuple], right: Answer, mistakes: Sequence[str]
) -> None:
    """Print the outcome of an answer that must equal `right` on all cases.

    right: returns the right result, or with `mistakes=(...)` the result of these mistakes.
    """

    def find() -> str | None:
        several = isinstance(right(*cases[0]), tuple)
        found = [_parts(answer(*map(_copy, case)), several) for case in cases]
        for count in (0, 1, 2):
            for names in combinations(mistakes, count):
                known = [_parts(right(*case, mistakes=names)) for case in cases]
                if all(map(_equal, found, known)):
                    return _text("also").join(map(_text, names)) or None
        return _difference(cases, found, [_parts(right(*case)) for case in cases])

    _print_outcome(find)


def _print_outcome(find: Callable[[], str | None]) -> None:
    """Print the hint that `find` returns; "Right." if it returns None."""
    try:
        hint = find()
    except NotImplementedError:
        return print(_text("not_written"))
    except _MistakeError as error:
        hint = str(error)
    except Exception as error:
        hint = _text("raises", error=f"{type(error).__name__}: {error}")
    return print(_text("right") if hint is None else _text("not_yet", hint=hint))


def _difference(cases: Sequence[tuple], found: Sequence[Parts], right: Sequence[Parts]) -> str:
    """Return the first difference, of no known cause."""
    for case, ours, theirs in zip(cases, found, right, strict=True):
        shapes = [", ".join(str(part.shape) for part in parts) for parts in (ours, theirs)]
        if shapes[0] != shapes[1]:
            return _text("shape", found=shapes[0], right=shapes[1])
        if not _equal(ours, theirs):
            values = [", ".join(str(part.round(3).tolist()) for part in p) for p in (ours, theirs)]
            inputs = ", ".join(str(getattr(x, "tolist", lambda x=x: x)()) for x in case)
            return _text("value", inputs=inputs, found=values[0], right=values[1])
    raise AssertionError("all cases are equal")


def _equal(ours: Parts, theirs: Parts) -> bool:
    return [part.shape for part in ours] == [part.shape for part in theirs] and all(
        np.allclose(a, b, rtol=CLOSE, atol=CLOSE, equal_nan=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def _parts(result: Any, several: bool = False) -> Parts:
    """Return the arrays of a result; `several`: a list counts as a tuple."""
    if result is None:
        raise _MistakeError("returns_nothing")
    results = result if isinstance(result, (tuple, list) if several else tuple) else (result,)
    return tuple(
        (x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)).astype(float)
        for x in results
    )


def _copy(value: Any) -> Any:
    """Return a copy of an input, which the answer may change."""
    return value.clone() if isinstance(value, Tensor) else copy(value)


def _text(name: str, **values: Any) -> str:
    """Return a message in the reader's language."""
    return WORDS[LANG]["exercises"][name].format(**values)
