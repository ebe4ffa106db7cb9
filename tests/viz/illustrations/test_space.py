"""Slow twins of what notebook 13 measures, and its pictures."""

import numpy as np
import pytest
from sklearn.manifold import trustworthiness as sklearn_trustworthiness

from scale.evaluation.embed import Embeddings
from scale.modalities import MODALITIES
from scale.viz.illustrations.space import (
    Points,
    cosine_kinds,
    gap_over_training,
    largest_projection_error,
    modality_gap,
    modality_gap_figure,
    modality_maps,
    neighbour_ranks,
    principal_axes,
    projection_artefacts,
    projection_errors,
    seed_maps,
    three_groups,
    trustworthiness,
)
from scale.viz.words import label
from tests.viz.conftest import LOOKS


def embeddings(products=12, seed=0, shift=3.0):
    """Features of five modalities, each around a place of its own; some are missing."""
    rng = np.random.default_rng(seed)
    place_MD = shift * rng.normal(size=(5, 8))
    pooled_NMD = (place_MD + rng.normal(size=(products, 5, 8))).astype(np.float32)
    present_NM = rng.random((products, 5)) < 0.8
    present_NM[:2] = True
    return Embeddings(pooled_NMD, present_NM, tuple(f"p{n}" for n in range(products)))


@pytest.fixture
def points():
    return Points.of(embeddings())


def test_points_are_the_features_that_are_there():
    found = embeddings()
    points = Points.of(found)
    assert len(points.unit_PD) == found.present_NM.sum()
    for x_D, m, row in zip(points.unit_PD, points.modality_P, points.row_P, strict=True):
        feature_D = found.pooled_NMD[row, MODALITIES.index(m)]
        np.testing.assert_allclose(x_D, feature_D / np.linalg.norm(feature_D), rtol=1e-5)


def test_gap_squared_is_cosines_within_minus_between():
    found = embeddings()
    found.present_NM[:, 2:] = False  # two modalities
    points = Points.of(found)
    a_PD, b_PD = (points.unit_PD[points.modality_P == m] for m in ("text", "table"))
    within = (a_PD @ a_PD.T).mean() + (b_PD @ b_PD.T).mean()
    np.testing.assert_allclose(
        modality_gap(points) ** 2, within - 2 * (a_PD @ b_PD.T).mean(), rtol=1e-4
    )


def test_gap_of_one_modality_is_no_number():
    found = embeddings()
    found.present_NM[:, 1:] = False
    assert np.isnan(modality_gap(Points.of(found)))
    assert list(Points.of(found).means()) == ["text"]


def test_cosines_by_kind_equal_a_double_loop(points):
    slow = {"within": [], "between": [], "same": []}
    for i in range(len(points.unit_PD)):
        for j in range(i):
            alike = points.modality_P[i] == points.modality_P[j]
            own = points.row_P[i] == points.row_P[j]
            kind = "same" if own else "within" if alike else "between"
            slow[kind].append(points.unit_PD[i] @ points.unit_PD[j])
    for kind, found_P in cosine_kinds(points).items():
        np.testing.assert_allclose(np.sort(found_P), np.sort(slow[kind]), atol=1e-5)


def test_principal_axes_hold_the_most_variance():
    x_ND = np.random.default_rng(0).normal(size=(40, 3)) * [5.0, 2.0, 0.5]
    xy_N2, share = principal_axes(x_ND)
    variance_D = np.linalg.eigvalsh(np.cov(x_ND.T, bias=True))[::-1]
    np.testing.assert_allclose(xy_N2.var(axis=0), variance_D[:2])
    np.testing.assert_allclose(share, variance_D[:2].sum() / variance_D.sum())
    largest_2 = xy_N2[np.abs(xy_N2).argmax(axis=0), [0, 1]]
    assert (largest_2 > 0).all()


def test_ranks_equal_sorting():
    x_ND = np.random.default_rng(0).normal(size=(15, 3))
    rank_NN = neighbour_ranks(x_ND)
    for i in range(15):
        distance_N = np.linalg.norm(x_ND - x_ND[i], axis=1)
        np.testing.assert_array_equal(rank_NN[i].argsort(), distance_N.argsort())
    assert (np.diag(rank_NN) == 0).all()


def test_trustworthiness_is_scikit_learns():
    for k in [1, 3, 7]:
        rng = np.random.default_rng(k)
        x_ND = rng.normal(size=(30, 6))
        xy_N2 = x_ND[:, :2] + 0.3 * rng.normal(size=(30, 2))
        ranks = neighbour_ranks(x_ND), neighbour_ranks(xy_N2)
        found = sklearn_trustworthiness(x_ND, xy_N2, n_neighbors=k)
        np.testing.assert_allclose(trustworthiness(*ranks, k), found)
        np.testing.assert_allclose(trustworthiness(ranks[0], ranks[0], k), 1.0)
        with pytest.raises(ValueError, match="below 15"):
            trustworthiness(*ranks, 15)


def test_three_groups_are_as_described():
    x_N3, group_N = three_groups(per_group=300)
    centre_G3 = np.stack([x_N3[group_N == g].mean(axis=0) for g in range(3)])
    centre_G3 /= np.linalg.norm(centre_G3, axis=1, keepdims=True)
    degrees = np.rad2deg(np.arccos(centre_G3[1:] @ centre_G3[0]))
    np.testing.assert_allclose(degrees, [20, 100], atol=2)


def test_the_most_torn_point_is_that_whose_neighbours_went():
    x_N1 = np.array([[0.0], [0.1], [0.3], [5.0], [5.2], [5.5], [5.9]])
    map_N1 = x_N1.copy()
    map_N1[1] = 20.0  # torn away from 0 and 2
    assert largest_projection_error(neighbour_ranks(x_N1), neighbour_ranks(map_N1), k=1) in (0, 2)


def test_gap_pictures_are_readable(checked, points):
    for look, lang in LOOKS:
        stages = {"untrained": points, "trained": Points.of(embeddings(seed=1, shift=0.3))}
        _, texts = checked(modality_gap_figure, look, stages, lang)
        values = {"stage": label("untrained", lang), "gap": modality_gap(points)}
        assert label("sp_gap_is", lang, **values) in texts
        snapshots = {0: points, 20: stages["trained"], 450: stages["trained"]}
        _, texts = checked(gap_over_training, look, snapshots, lang, 450)
        assert label("sp_at_step", lang, step=450) in texts
        xy_P2 = points.unit_PD[:, :2]
        maps = {"untrained": xy_P2, "trained": xy_P2}
        _, texts = checked(modality_maps, look, maps, points.modality_P, lang)
        assert set(texts) >= {label(m, lang) for m in MODALITIES}


def test_map_pictures_are_readable(checked):
    for look, lang in LOOKS:
        rng = np.random.default_rng(0)
        x_ND, xy_N2 = rng.normal(size=(40, 5)), rng.normal(size=(40, 2))
        rank_NN = neighbour_ranks(x_ND)
        _, texts = checked(projection_errors, look, xy_N2, rank_NN, lang)
        nearest_N = (rank_NN == 1).argmax(axis=1)
        torn = (neighbour_ranks(xy_N2)[np.arange(40), nearest_N] > 15).sum()
        assert label("sp_torn", lang, k=15, n=torn) in texts
        assert label("sp_kept", lang, n=40 - torn) in texts
        groups = [f"g{n % 7}" for n in range(40)]
        _, texts = checked(seed_maps, look, {0: xy_N2, 1: -xy_N2}, groups, lang)
        assert {f"g{n}" for n in range(6)} <= set(texts)  # the seventh stays grey
        truth_N3, group_N = three_groups(per_group=10)
        maps = {3: xy_N2, 15: xy_N2}
        _, texts = checked(
            projection_artefacts, look, truth_N3, group_N, truth_N3[:, :2], maps, lang
        )
        assert label("sp_noise", lang, k=3) in texts
