from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from scale.losses.contrastive import pair_losses
from scale.training.health_checks import alignment, collapse_warning, uniformity
from scale.viz.illustrations import contrastive, contrastive_idea, info_nce
from scale.viz.illustrations.info_nce import BatchTable
from scale.viz.words import label
from tests.viz.conftest import LOOKS


def still(steps=200, products=6):
    points_TN2 = torch.nn.functional.normalize(torch.randn(steps + 1, products, 2), dim=2)
    return contrastive.Walk(points_TN2, points_TN2, torch.zeros(steps + 1))


TABLES = [
    BatchTable(torch.eye(4), 0.1),
    BatchTable(-torch.eye(4), 9.0),
    BatchTable(torch.eye(4), 1),
]
PICTURES = {
    "idea": contrastive_idea.contrastive_idea,
    "pull": contrastive.pull_and_push,
    "twins": contrastive.false_negatives,
    "measures": contrastive.alignment_uniformity,
    "hand": lambda lang: info_nce.info_nce_table(lang=lang),
    "temperature": info_nce.temperature,
    "batch": info_nce.batch_size,
    "collapse": lambda lang: contrastive.collapse(lang, (still(), still())),
    "table": lambda lang: info_nce.batch_table(TABLES, lang),
}


def test_pictures_are_readable(checked, monkeypatch):
    for name in PICTURES:
        monkeypatch.setattr(info_nce, "best_loss", lambda batch: 0.5 * np.log(batch))
        for look, lang in LOOKS:
            _, texts = checked(PICTURES[name], look, lang)
            if name == "hand":
                losses = {label("contrast_loss_is", lang, value=value) for value in (0.07, 0.24)}
                assert {"0.94", "0.87"} | losses <= set(texts)


def test_loss_is_that_of_a_loop():
    text_BD, image_BD = torch.randn(2, 5, 3)
    unit = torch.nn.functional.normalize
    cosine_BB = unit(text_BD, dim=1) @ unit(image_BD, dim=1).T
    content_B = torch.tensor([0, 1, 0, 2, 3])
    slow = []
    for a in range(5):
        rivals = [b for b in range(5) if b == a or content_B[a] != content_B[b]]
        forth, back = ((rows[a, rivals] / 0.2).exp() for rows in (cosine_BB, cosine_BB.T))
        own = (cosine_BB[a, a] / 0.2).exp()
        slow.append(-(own / forth.sum()).log() / 2 - (own / back.sum()).log() / 2)
    found_B = contrastive.text_image_loss(text_BD, image_BD, 0.2, content_B)
    torch.testing.assert_close(found_B, torch.stack(slow))


def test_walk_goes_down_on_the_circle_until_pairs_meet():
    start = (contrastive.on_circle(degrees) for degrees in contrastive.START)
    path = contrastive.walk(*start, steps=60)
    torch.testing.assert_close(path.text_TBD.norm(dim=2), torch.ones(61, 3, dtype=torch.float64))
    assert (path.loss_T.diff() < 1e-6).all()
    assert ((path.text_TBD[-1] * path.image_TBD[-1]).sum(1) > 0.99).all()


def test_twins_part_only_where_they_count_as_negatives():
    counted, left_out = contrastive.twin_walks()
    assert counted.image_TBD[-1, 0] @ counted.image_TBD[-1, 1] < 0.1
    assert left_out.image_TBD[-1, 0] @ left_out.image_TBD[-1, 1] > 0.99


def test_without_negatives_the_encoders_collapse():
    ends = [contrastive.train_towers(push, steps=100) for push in (False, True)]
    products = [contrastive.as_products(end.text_TBD[-1], end.image_TBD[-1]) for end in ends]
    assert collapse_warning(*products[0])
    assert collapse_warning(*products[1]) is None
    assert contrastive.mean_cosines(ends[0])[-1] > 0.98


def test_arrangements_are_what_they_are_called():
    found = {key: contrastive.as_products(a, b) for key, a, b in contrastive.arrangements()}
    aligned = {key for key, features in found.items() if alignment(*features) < 0.1}
    spread = {key for key, features in found.items() if uniformity(*features) < -2}
    assert aligned == {"contrast_aligned_only", "contrast_both"}
    assert spread == {"contrast_spread_only", "contrast_both"}


def test_gaussian_logits_are_density_ratios():
    logits_BB = contrastive.gaussian_logits(3, information=1.5, inputs=2, seed=4)
    correlation = float((1 - np.exp(-1.5)) ** 0.5)
    generator = torch.Generator().manual_seed(4)
    x_BF, noise_BF = torch.randn(2, 3, 2, generator=generator)
    y_BF = correlation * x_BF + (1 - correlation**2) ** 0.5 * noise_BF
    both = MultivariateNormal(torch.zeros(2), torch.tensor([[1, correlation], [correlation, 1.0]]))
    for a in range(3):
        for b in range(3):
            pairs_F2 = torch.stack([x_BF[a], y_BF[b]], dim=1)
            alone = Normal(0, 1).log_prob(pairs_F2).sum()
            ratio = both.log_prob(pairs_F2.float()).sum() - alone
            torch.testing.assert_close(logits_BB[a, b], ratio, atol=1e-4, rtol=1e-4)


def test_best_loss_keeps_the_bound():
    for batch in [4, 64]:
        assert np.log(batch) - info_nce.best_loss(batch) < min(np.log(batch), 3.0)


def test_table_of_a_batch_counts_hits_and_leaves_out_the_incomplete():
    pooled_NMD = torch.randn(4, 5, 8)
    pooled_NMD[:3, 2] = pooled_NMD[:3, 0]
    has_NM = np.ones((4, 5), bool)
    has_NM[3, 2] = False

    class Model(torch.nn.Linear):
        def embed(self, rows):
            return SimpleNamespace(pooled_BMD=pooled_NMD[rows], present_BM=present_BM)

    class Batch(list):
        content_id_BM = None

        def to(self, device):
            return list(self)

    present_BM = torch.ones(3, 5, dtype=torch.bool)
    products = SimpleNamespace(present_NM=has_NM, collate=Batch)
    table = info_nce.table_of(Model(1, 1), products, count=9)
    assert table.cosine_BB.shape == (3, 3)
    assert table.hits == 3
    expected = pair_losses(pooled_NMD[:3], present_BM).loss_BP[:, contrastive.PAIR].mean()
    assert table.loss == pytest.approx(expected.item())
