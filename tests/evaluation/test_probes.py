"""Probe and fine-tuning: scores against scikit-learn, honest treatment of odd classes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import nn

from scale.data.batch import ProductBatch, Tokens
from scale.evaluation.bootstrap import NOTHING
from scale.evaluation.probes import (
    Examples,
    FineTuneConfig,
    classification_scores,
    fine_tune,
    linear_probe,
)
from scale.model.scale import EmbedOutput


def test_scores_equal_scikit_learn_also_for_classes_on_one_side_only():
    rng = np.random.default_rng(0)
    true = rng.choice(list("aaabbcd"), 80)
    predicted = np.where(rng.random(80) < 0.5, true, rng.choice(list("abce"), 80))
    found = classification_scores(true.tolist(), predicted.tolist())
    assert found["accuracy"].value == pytest.approx(accuracy_score(true, predicted))
    assert found["macro-F1"].value == pytest.approx(f1_score(true, predicted, average="macro"))
    assert found["accuracy"].n == 80


def slow_macro_f1(true, predicted):
    """Mean over the classes of either side of 2 tp / (true + predicted)."""
    either = set(true) | set(predicted)
    return np.mean([2 * ((true == c) & (predicted == c)).sum()
                    / ((true == c).sum() + (predicted == c).sum()) for c in either])  # fmt: skip


def test_intervals_equal_resampling_by_hand():
    rng = np.random.default_rng(0)
    true = rng.choice(list("abc"), 40)
    predicted = np.where(rng.random(40) < 0.6, true, "a")
    found = classification_scores(true.tolist(), predicted.tolist(), seed=4)
    drawn = np.random.default_rng(4).integers(0, 40, (1000, 40))
    assert slow_macro_f1(true, predicted) == pytest.approx(
        f1_score(true, predicted, average="macro")
    )
    f1 = [slow_macro_f1(true[i], predicted[i]) for i in drawn]
    low, high = np.percentile(f1, [2.5, 97.5])
    assert (found["macro-F1"].low, found["macro-F1"].high) == pytest.approx((low, high))


def blobs(n: int, seed: int, classes: str = "abc"):
    """Class means on a circle, far apart against the noise; the telling coordinate is tiny."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(list(classes), n)
    angle = 2 * np.pi * np.array(["abcz".index(label) for label in labels]) / 4
    emb = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.2 * rng.normal(size=(n, 2))
    return Examples((emb * [1e-4, 1.0]).astype(np.float32), labels.tolist())


def test_the_probe_separates_blobs_whatever_their_scale():
    found = linear_probe(blobs(120, 0), blobs(40, 1), blobs(60, 2))
    assert found.scores["accuracy"].value > 0.95
    assert found.scores["accuracy"].low > found.majority["accuracy"].high
    assert found.settings["chosen on"] == "val"
    assert len(found.predicted) == 60


def test_the_test_split_is_standardised_by_the_training_split():
    """A test split of one class: centred by its own mean, half of it would be predicted wrong."""
    train = Examples(np.array([[-1.1], [-0.9], [0.9], [1.1]]), ["a", "a", "b", "b"])
    shifted = Examples(np.array([[0.8], [1.2]]), ["b", "b"])
    assert linear_probe(train, shifted, shifted).predicted == ("b", "b")
    assert linear_probe(train, train, shifted).predicted == ("b", "b")


def test_a_constant_coordinate_is_accepted():
    constant = [
        Examples(np.c_[b.inputs, np.full(len(b.labels), 3.0)], b.labels)
        for b in (blobs(120, 0), blobs(40, 1), blobs(60, 2))
    ]
    assert linear_probe(*constant).scores["accuracy"].value > 0.95


def test_classes_unseen_in_training_are_counted_and_wrong():
    test = blobs(60, 2, "abcz")
    unseen = test.labels.count("z")
    found = linear_probe(blobs(120, 0), blobs(40, 1), test)
    assert found.counts["unseen classes"] == 1
    assert found.counts["test products of unseen classes"] == unseen > 0
    assert found.counts["test"] == 60
    assert found.scores["accuracy"].value <= 1 - unseen / 60
    assert "z" not in found.predicted


def test_unknown_labels_are_left_out_everywhere_and_counted():
    train, test = blobs(120, 0), blobs(60, 2)
    holes = [None if row % 3 == 0 else label for row, label in enumerate(test.labels)]
    gaps = [None if row % 2 == 0 else label for row, label in enumerate(train.labels)]
    found = linear_probe(
        Examples(train.inputs, gaps), Examples(train.inputs[:0], []), Examples(test.inputs, holes)
    )
    assert found.counts["unlabelled"] == 20
    assert found.counts["train"] == 60
    assert found.settings == {"chosen on": "nothing", "C": 1.0}
    assert found.scores["accuracy"].value > 0.9


def test_the_penalty_is_chosen_on_val():
    """Validation labels shuffled towards the majority favour the strongest penalty."""
    train, val = blobs(120, 0, "aaaaab"), blobs(40, 1, "aaaaab")
    strict = linear_probe(train, Examples(val.inputs, ["a"] * 40), val, strengths=(1e-6, 10.0))
    free = linear_probe(train, val, val, strengths=(1e-6, 10.0))
    assert strict.settings["C"] == 1e-6
    assert free.settings["C"] == 10.0


def test_nothing_to_test_gives_empty_estimates_and_one_class_an_error():
    found = linear_probe(blobs(50, 0), blobs(20, 1), Examples(np.zeros((0, 2)), []))
    assert found.scores["accuracy"] == NOTHING
    with pytest.raises(ValueError, match="has 1 classes"):
        linear_probe(blobs(50, 0, "a"), blobs(20, 1), blobs(20, 2))


class Toy(nn.Module):
    """Embeds one number per text token as itself, through a layer that can learn."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.layer = nn.Linear(4, width)
        self.drop = nn.Dropout(0.1)

    def embed(self, batch: ProductBatch) -> EmbedOutput:
        # Whoever only predicts must have switched dropout off.
        assert self.training == torch.is_grad_enabled()
        pooled_BMD = torch.zeros(len(batch), 5, self.layer.out_features)
        pooled_BMD[batch.tokens["image"].rows_R, 2] = self.drop(
            self.layer(batch.tokens["image"].values[:, 0])
        )
        return EmbedOutput(pooled_BMD, batch.present_BM)


class ToyData:
    """Products with an image of one vector; every seventh lacks it."""

    def __init__(self, values_NF: torch.Tensor):
        self.values_NF = values_NF

    def __len__(self) -> int:
        return len(self.values_NF)

    def collate(self, indices: list[int]) -> ProductBatch:
        index_B = torch.tensor(indices)
        present_BM = torch.zeros(len(indices), 5, dtype=torch.bool)
        present_BM[:, 2] = index_B % 7 != 6
        rows_R = present_BM[:, 2].nonzero().squeeze(1)
        values = self.values_NF[index_B[rows_R]][:, None]
        padding_RL = torch.zeros(values.shape[:2], dtype=torch.bool)
        return ProductBatch({"image": Tokens(values, padding_RL, rows_R)}, present_BM, index_B)


def quadrants(n: int, seed: int) -> Examples:
    """The class is the sign pattern of two of four coordinates."""
    values = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    signs = (values[:, :2] > 0).long() @ torch.tensor([1, 2])
    return Examples(ToyData(values), [f"quadrant {s}" for s in signs.tolist()])


QUICK = FineTuneConfig(epochs=12, learning_rate=1e-2, head_learning_rate=1e-2)


def test_fine_tuning_learns_and_leaves_model_and_random_state_alone():
    torch.manual_seed(0)
    model = Toy().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    data = quadrants(200, 0), quadrants(60, 1), quadrants(100, 2)
    found = fine_tune(model, *data, QUICK, progress=False)
    assert found.scores["accuracy"].value > 0.75
    assert found.scores["accuracy"].low > found.majority["accuracy"].high
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    torch.manual_seed(99)
    again = fine_tune(model, *data, QUICK, progress=False)
    assert again == found


def test_fine_tuning_returns_the_best_epoch_and_stops_after_the_patience():
    """With constant validation labels, an early epoch is best and later ones must not count."""
    torch.manual_seed(0)
    model = Toy().eval()
    train, test = quadrants(60, 0), quadrants(100, 2)
    val = Examples(quadrants(40, 1).inputs, [train.labels[0]] * 40)
    data = CountingData(train.inputs)
    seen = Examples(data, train.labels)

    def tuned(epochs: int, val: Examples = val, patience: int = 3):
        config = replace(QUICK, epochs=epochs, patience=patience)
        return fine_tune(model, seen, val, test, config, progress=False)

    found = tuned(40)
    best = found.settings["best epoch"]
    # One product for the width, then all 60 in every epoch.
    assert data.products == 1 + 60 * (best + 3)
    assert found.predicted == tuned(best).predicted
    unlimited = Examples(val.inputs, [None] * 40)
    assert found.predicted != tuned(best + 3, unlimited).predicted
    assert tuned(2, unlimited).settings == {"best epoch": 2, "chosen on": "nothing"}


class CountingData(ToyData):
    """Counts the products that were asked for."""

    def __init__(self, data: ToyData):
        super().__init__(data.values_NF)
        self.products = 0

    def collate(self, indices: list[int]) -> ProductBatch:
        self.products += len(indices)
        return super().collate(indices)


def test_a_loss_that_is_not_finite_stops_fine_tuning():
    train = quadrants(40, 0)
    train.inputs.values_NF[3] = float("nan")
    with pytest.raises(FloatingPointError, match=r"epoch 1; try a lower"):
        fine_tune(Toy().eval(), train, train, train, QUICK, progress=False)
