"""Projections of mean input vectors: multi-view CCA, TF-IDF, and networks beside them."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch.nn.functional import cosine_similarity, normalize

from scale.config import ModelConfig
from scale.data.batch import ProductBatch, Tokens
from scale.modalities import PAIRS
from scale.model.projection import Projection, fit_projections, multiview_cca


def views(products=200, noise=0.5, seed=0):
    """Return three centred views of two shared factors, by modality, and their presence."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(products, 2))
    present_NM = torch.zeros(products, 5, dtype=torch.bool)
    inputs = {}
    for column, (m, size) in enumerate({"text": 4, "table": 5, "image": 6}.items()):
        x = shared @ rng.normal(size=(2, size)) + noise * rng.normal(size=(products, size))
        inputs[m] = torch.tensor(x - x.mean(0))
        present_NM[:, column] = True
    return inputs, present_NM


@pytest.mark.parametrize("weighted", [False, True])
def test_multiview_cca_solves_the_generalised_eigenproblem(weighted):
    """C w = lambda D w: C the covariances between modalities, D the regularised ones within."""
    ridge, (inputs, present_NM) = 0.7, views()
    weight_NP = torch.rand(len(present_NM), len(PAIRS)) if weighted else None
    maps = multiview_cca(inputs, present_NM, ridge, 3, weight_NP)

    joint = np.concatenate([x.numpy() for x in inputs.values()], axis=1)
    unweighted = joint.T @ joint / len(joint)
    covariance, owner = np.zeros_like(unweighted), np.repeat([0, 1, 2], [4, 5, 6])
    for row, column in np.ndindex(covariance.shape):
        covariance[row, column] = unweighted[row, column]
        if weighted and owner[row] != owner[column]:
            pair = PAIRS.index(tuple(sorted((owner[row], owner[column]))))
            products = joint[:, row] * joint[:, column]
            covariance[row, column] = np.average(products, weights=weight_NP[:, pair])
    within, at = np.zeros_like(covariance), 0
    for x in inputs.values():
        size = x.shape[1]
        block = unweighted[at : at + size, at : at + size]
        mean_variance = np.trace(block) / size
        within[at : at + size, at : at + size] = block + ridge * mean_variance * np.eye(size)
        covariance[at : at + size, at : at + size] = 0
        at += size
    values, vectors = scipy.linalg.eigh(covariance, within)
    expected = vectors[:, ::-1][:, :3] * np.sqrt(values[::-1][:3])

    found = torch.cat(list(maps.values())).numpy()
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-5)


def test_covariances_are_of_the_products_that_have_both_modalities():
    inputs, present_NM = views()
    fewer_NM = present_NM.clone()
    fewer_NM[150:, 2] = False
    fewer = inputs | {"image": inputs["image"][:150]}
    maps = multiview_cca(fewer, fewer_NM, 0.7, width=2)
    # Values of the absent image rows have no place in the input; text and table keep all rows.
    text, image = inputs["text"] @ maps["text"].double(), fewer["image"] @ maps["image"].double()
    assert cosine_similarity(text[:150, 0], image[:, 0], dim=0).abs() > 0.8


def model_settings(**changes):
    defaults = {"pooling": "projection", "lexical_pieces": 8, "projection_width": 4,
                "projection_inputs": 6}  # fmt: skip
    return ModelConfig(width=16, heads=2, **(defaults | changes))


def test_tf_idf_is_that_of_scikit_learn():
    documents = [[3, 3, 5, 9], [3, 7, 7, 7], [5, 9, 11], [3, 5]]
    length = max(map(len, documents))
    ids_RL = torch.tensor([ids + [-1] * (length - len(ids)) for ids in documents])
    tokens = Tokens(ids_RL, ids_RL < 0, torch.arange(len(documents)))
    projection = Projection(model_settings(), "table")
    fitted = torch.nn.ModuleDict({"table": projection})
    present_BM = torch.tensor([[False, True, False, False, False]] * len(documents))
    batch = ProductBatch({"table": tokens}, present_BM, torch.arange(len(documents)))
    fit_projections(fitted, [batch, batch], model_settings(), seed=0)
    found = projection.features(None, ids_RL)

    # Twice, as in the fit; pieces of one product alone would be left out.
    words = [" ".join(f"w{i:02d}" for i in ids) for ids in documents * 2]
    twin = TfidfVectorizer(sublinear_tf=True).fit(words)
    expected = twin.transform(words[:4]).toarray()
    slots = [projection.piece_P.tolist().index(i) for i in (3, 5, 7, 9, 11)]
    np.testing.assert_allclose(found[:, slots], expected, atol=1e-5)


def test_cosine_is_the_mean_over_parts_with_the_linear_part_as_heavy_as_all_networks():
    projection = Projection(model_settings(projection_heads=3), "table").eval()
    ids_RL = torch.tensor([[1, 2, 3], [4, 5, 6]])
    tokens = Tokens(ids_RL, ids_RL < 0, torch.arange(2))
    pooled_RD = projection(tokens)
    linear, *networks = normalize(pooled_RD, dim=-1).view(2, 4, 4).unbind(1)
    parts = [cosine_similarity(part[0], part[1], dim=0) for part in (linear, *networks)]
    expected = (3 * parts[0] + sum(parts[1:])) / 6
    torch.testing.assert_close(cosine_similarity(pooled_RD[0], pooled_RD[1], dim=0), expected)


def test_without_word_pieces_only_the_vectors_count():
    """As for the words of a search: the TF-IDF is at its mean, whatever the words."""
    projection = Projection(model_settings(text_features=3), "text").eval()
    projection.centre_X.normal_()
    values_RLF, padding_RL = torch.randn(2, 4, 3), torch.zeros(2, 4, dtype=torch.bool)
    words = Tokens(values_RLF, padding_RL, torch.arange(2))
    x_RC = projection.inputs(*projection.read(words))
    z_RG = projection.features(*projection.read(words))[:, :3] - projection.centre_X[:3]
    torch.testing.assert_close(x_RC, z_RG @ projection.components_XC[:3])
    titled = replace(words, pieces_RL=torch.tensor([[1, 2, 3, 4], [5, 6, 7, 1]]))
    assert not torch.equal(projection.inputs(*projection.read(titled)), x_RC)
