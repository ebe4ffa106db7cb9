"""The exercises of the notebooks: solutions pass, typical mistakes fail with their own message."""

import ast
from pathlib import Path
from string import Formatter

import jupytext
import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.functional import cross_entropy, normalize

from scale import exercises
from scale.evaluation import average_precision_at_k
from scale.losses import info_nce
from scale.losses.masking import choose_groups
from scale.model import inter_modality_scores
from scale.studies import seed_interval
from scale.viz.words import WORDS

SOURCES = Path(__file__).parent.parent / "notebooks" / "src"
EXERCISES = {
    "01": ("info_nce", exercises.check_info_nce),
    "06": ("hide_entities", exercises.check_entity_mask),
    "09": ("score_matrix", exercises.check_score_matrix),
    "11": ("impute_zeros", exercises.check_zero_imputation),
    "12": ("t_interval", exercises.check_t_interval),
    "14": ("average_precision", exercises.check_average_precision),
}
every = pytest.mark.parametrize("number", EXERCISES)
LIBRARIES = {"math", "numpy", "torch", "scipy"}


def cells(number):
    """Code cells of a notebook's source."""
    (path,) = SOURCES.glob(f"{number}_*.py")
    notebook = jupytext.read(path, fmt="py:percent")
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def tagged(number, tag, words=""):
    """The cell with a tag that contains some words."""
    (cell,) = [c for c in cells(number) if tag in tags(c) and words in c.source]
    return cell.source


def imports(number):
    """Names that a notebook imports from libraries."""
    found = {"exercises": exercises}
    for cell in cells(number):
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None) or node.names[0].name
                if module.split(".")[0] in LIBRARIES:
                    exec(ast.unparse(node), found)
    return found


@every
def test_stub_and_solution_of_the_notebook(number, capsys):
    name, check = EXERCISES[number]
    names, line = imports(number), f"exercises.{check.__name__}({name})"
    stub, solution = tagged(number, "exercise"), tagged(number, "solution", f"def {name}(")
    assert f"def {name}(" in stub
    assert '"""' in stub
    assert tagged(number, "exercise-check") == line
    assert solution.endswith(line)
    exec(stub, names)
    exec(line, names)
    assert capsys.readouterr().out == "Not written yet.\n"
    exec(solution, names)
    assert capsys.readouterr().out == "Right.\n"


# Typical mistakes, written as a reader would.


def one_direction(text_BD, image_BD, temperature):
    logits_BB = normalize(text_BD) @ normalize(image_BD).T / temperature
    return cross_entropy(logits_BB, torch.arange(len(logits_BB)), reduction="none")


def other_target(text_BD, image_BD, temperature):
    logits_BB = normalize(text_BD) @ normalize(image_BD).T / temperature
    target_B = torch.zeros(len(logits_BB), dtype=torch.long)
    forth_B = cross_entropy(logits_BB, target_B, reduction="none")
    return (forth_B + cross_entropy(logits_BB.T, target_B, reduction="none")) / 2


def times_temperature(text_BD, image_BD, temperature):
    logits_BB = normalize(text_BD) @ normalize(image_BD).T * temperature
    own_BB = logits_BB.log_softmax(0) + logits_BB.log_softmax(1)
    return -own_BB.diagonal() / 2


def over_columns(features_MD, present_M):
    S_MM = normalize(features_MD) @ normalize(features_MD).T
    there_MM = present_M[:, None] & present_M
    return S_MM * S_MM.masked_fill(~there_MM, -1e9).softmax(0) * there_MM


def zero_score(features_MD, present_M):
    S_MM = normalize(features_MD) @ normalize(features_MD).T * (present_M[:, None] & present_M)
    return S_MM * S_MM.softmax(1)


def plain_products(features_MD, present_M):
    S_MM = (features_MD @ features_MD.T) * (present_M[:, None] & present_M)
    return S_MM * S_MM.masked_fill(~present_M, -1e9).softmax(1)


def mean_imputed(audio_RLF, present_B):
    input_BLF = audio_RLF.mean(0).repeat(len(present_B), 1, 1)
    input_BLF[present_B] = audio_RLF
    return input_BLF, present_B


def padded_at_the_end(audio_RLF, present_B):
    missing = len(present_B) - len(audio_RLF)
    return torch.cat([audio_RLF, audio_RLF.new_zeros(missing, *audio_RLF.shape[1:])]), present_B


def flag_forgotten(audio_RLF, present_B):
    input_BLF = audio_RLF.new_zeros(len(present_B), *audio_RLF.shape[1:])
    input_BLF[present_B] = audio_RLF
    return input_BLF, torch.ones(len(present_B), dtype=torch.bool)


def by_hits(rel_K, relevant, k):
    ranks_H = np.flatnonzero(rel_K[:k]) + 1
    return np.mean([(h + 1) / rank for h, rank in enumerate(ranks_H)])


def at_every_rank(rel_K, relevant, k):
    return sum(rel_K[:i].mean() for i in range(1, k + 1)) / min(k, relevant)


def without_cut(rel_K, relevant, k):
    precision_K = rel_K.cumsum() / (np.arange(len(rel_K)) + 1)
    return (precision_K * rel_K).sum() / min(k, relevant)


def with_normal(value_S):
    half = 1.96 * value_S.std(ddof=1) / len(value_S) ** 0.5
    return value_S.mean() - half, value_S.mean() + half


def with_population(value_S):
    half = stats.t.ppf(0.975, len(value_S) - 1) * np.std(value_S) / np.sqrt(len(value_S))
    return value_S.mean() - half, value_S.mean() + half


def without_root(value_S):
    half = stats.t.ppf(0.975, len(value_S) - 1) * value_S.std(ddof=1)
    return value_S.mean() - half, value_S.mean() + half


def single_pieces(ids_L, entity_L, rate, mask_id, generator):
    hidden_L = (torch.rand(len(ids_L), generator=generator) < rate) & (entity_L >= 0)
    return ids_L.masked_fill(hidden_L, mask_id), hidden_L


def structure_too(ids_L, entity_L, rate, mask_id, generator):
    draw_E = torch.rand(int(entity_L.max()) + 2, generator=generator)
    hidden_L = (draw_E < rate)[entity_L] & (torch.arange(len(ids_L)) < len(ids_L) - 2)
    return ids_L.masked_fill(hidden_L, mask_id), hidden_L


def fixed_rate(ids_L, entity_L, rate, mask_id, generator):
    draw_E = torch.rand(int(entity_L.max()) + 1, generator=generator)
    hidden_L = (draw_E < 0.5)[entity_L.clamp(min=0)] & (entity_L >= 0)
    return ids_L.masked_fill(hidden_L, mask_id), hidden_L


def never(ids_L, entity_L, rate, mask_id, generator):
    return ids_L.clone(), torch.zeros(len(ids_L), dtype=torch.bool)


TYPICAL = {
    "01": {one_direction: "only one direction", other_target: "the diagonal is not the target",
           times_temperature: "multiplied by the temperature"},
    "09": {over_columns: "over the columns", zero_score: "exp(0) = 1",
           plain_products: "dot products instead of cosines"},
    "11": {mean_imputed: "the mean of the others", padded_at_the_end: "in the first rows",
           flag_forgotten: "present_B is True for imputed sounds"},
    "14": {by_hits: "divided by the hits found", at_every_rank: "precision of every rank",
           without_cut: "k has no effect"},
    "12": {with_normal: "1.96", with_population: "population", without_root: "sqrt(S)"},
    "06": {single_pieces: "single word pieces", structure_too: "`[SEP]`",
           fixed_rate: "the rate has no effect", never: "nothing is ever hidden"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("number", "mistake", "words"),
    [
        pytest.param(number, mistake, words, id=mistake.__name__)
        for number, mistakes in TYPICAL.items()
        for mistake, words in mistakes.items()
    ],
)
def test_typical_mistake_is_named(number, mistake, words, capsys):
    EXERCISES[number][1](mistake)
    said = capsys.readouterr().out
    assert said.startswith("Not yet: ")
    assert words in said
    assert said.count("\n") == 1, "one mistake, one hint"


def known_mistakes(check, monkeypatch):
    """The reference of a check, and the names of its known mistakes."""
    given = []
    with monkeypatch.context() as patch:
        patch.setattr(exercises, "_print_verdict", lambda *parts: given.extend(parts[2:]))
        check(None)
    return given


@pytest.mark.parametrize("number", [number for number in EXERCISES if number != "06"])
def test_each_known_mistake_has_its_own_hint(number, monkeypatch, capsys):
    check = EXERCISES[number][1]
    reference, mistakes = known_mistakes(check, monkeypatch)
    for name in mistakes:
        check(lambda *case, name=name: reference(*case, mistakes=(name,)))
        hint = WORDS["en"]["exercises"][name]
        assert capsys.readouterr().out == f"Not yet: {hint}\n"


def test_the_right_results_are_those_of_the_package():
    text_BD, image_BD = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1))
    loss_B = exercises._info_nce(text_BD, image_BD, 0.3)
    torch.testing.assert_close(loss_B.mean(), info_nce(text_BD, image_BD, 0.3))
    present_M = torch.tensor([True, False, True, True, False])
    package = inter_modality_scores(text_BD[None], present_M[None]).weighted_BMM[0]
    torch.testing.assert_close(exercises._score_matrix(text_BD, present_M), package)
    rel_K = np.array([0, 1, 1, 0, 0, 1], dtype=bool)
    for relevant, k in ((3, 5), (9, 4)):
        (package,) = average_precision_at_k(rel_K[None], np.array([relevant]), k)
        assert exercises._average_precision(rel_K, relevant, k) == pytest.approx(package)
    value_S = np.array([0.3, 0.5, 0.2, 0.7])
    package = seed_interval(value_S)
    assert exercises._t_interval(value_S) == pytest.approx((package.low, package.high))


def test_the_packages_choice_of_entities_is_right(capsys):
    def hide_entities(ids_L, entity_L, rate, mask_id, generator):
        draws = torch.rand(1, generator=generator), torch.rand(1, len(ids_L), generator=generator)
        hidden_L = choose_groups(entity_L[None], rate, *draws)[0]
        return ids_L.masked_fill(hidden_L, mask_id), hidden_L

    exercises.check_entity_mask(hide_entities)
    assert capsys.readouterr().out == "Right.\n"


def test_other_faults_have_a_message_too(capsys):
    def changed(ids_L, entity_L, rate, mask_id, generator):
        ids_L[1] = mask_id
        return ids_L, ids_L == mask_id

    def unseeded(ids_L, entity_L, rate, mask_id, generator):
        return single_pieces(ids_L, entity_L, rate, mask_id, None)

    check = exercises.check_t_interval
    for answer, checked, words in (
        (lambda value_S: None, check, "returns None"),
        (lambda value_S: value_S.mean() / None, check, "raises TypeError"),
        (lambda value_S: (0.1, 0.2), check, "the result is 0.1, 0.2 instead of 0.086, 0.158"),
        (lambda value_S: (0.1, 0.2, 0.3), check, "the shape of the result is (), (), () instead"),
        (lambda value_S: tuple("ab"), check, "raises ValueError"),
        (changed, exercises.check_entity_mask, "changes its input"),
        (unseeded, exercises.check_entity_mask, "same generator differ"),
    ):
        checked(answer)
        assert words in capsys.readouterr().out


def test_a_list_of_two_ends_is_right_too(capsys):
    exercises.check_t_interval(lambda value_S: list(exercises._t_interval(value_S)))
    assert capsys.readouterr().out == "Right.\n"


def test_two_mistakes_are_both_named(capsys):
    def t_interval(value_S):
        half = 1.96 * value_S.std() / len(value_S) ** 0.5
        return value_S.mean() - half, value_S.mean() + half

    exercises.check_t_interval(t_interval)
    first, second = capsys.readouterr().out.splitlines()
    assert "1.96" in first
    assert second.startswith("Also: the population")


def test_hints_in_chinese(monkeypatch, capsys):
    english, chinese = (WORDS[lang]["exercises"] for lang in ("en", "zh"))
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        fields = [[f for _, f, _, _ in Formatter().parse(t) if f] for t in (text, chinese[key])]
        assert sorted(fields[0]) == sorted(fields[1])
    monkeypatch.setattr(exercises, "LANG", "zh")
    exercises.check_t_interval(with_normal)
    assert "正态分布" in capsys.readouterr().out
