"""Fused embeddings and the prediction of missing modalities, against loops over products."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from scale.evaluation.embed import FEATURES, embed_dataset
from scale.evaluation.imputation import IMPUTED, MEAN, imputed_features, imputed_retrievals
from scale.evaluation.probes import Examples, FineTuneConfig, fine_tune
from scale.inference.evaluate import product_arrays
from scale.modalities import INDEX, MODALITIES, SUBSETS
from scale.studies.noise import apply_noise, missing_at_random
from scale.training.run import fit_sizes, seeded_model
from tests.studies.conftest import small_data  # noqa: F401

POLICIES = ("zero", "skip", "learned")


@pytest.fixture(scope="module")
def situation(small_data):  # noqa: F811
    """24 products, many of them incomplete, and models of random weights by policy."""
    data, config = small_data
    data = apply_noise(data.subset(np.arange(24)), missing_at_random(0.3), 0).dataset
    # Words beyond the vocabulary leave equal tokens: between equal scores rounding would decide.
    content_id_NM = data.content_id_NM.copy()
    for m in ("text", "table"):
        first = {}
        for n in np.flatnonzero(data.present_NM[:, INDEX[m]]):
            pieces = tuple(data.collate([n]).tokens[m].values[0].tolist())
            content_id_NM[n, INDEX[m]] = content_id_NM[first.setdefault(pieces, n), INDEX[m]]
    data = replace(data, content_id_NM=content_id_NM)
    config = fit_sizes(config, data)
    models = {
        policy: seeded_model(replace(config, missing=replace(config.missing, policy=policy))).eval()
        for policy in POLICIES
    }
    return data, models


def noisy_jct(model):
    """Return the model with noise in place of its whole joint transformer."""
    random = torch.Generator().manual_seed(7)
    changed = {
        name: torch.randn(weight.shape, generator=random) if name.startswith("jct.") else weight
        for name, weight in model.state_dict().items()
    }
    noisy = type(model)(model.config, model.missing)
    noisy.load_state_dict(changed)
    return noisy.eval()


def embed(model, data, features="encoder", subset=MODALITIES):
    found = embed_dataset(model, data, 5, subset, progress=False, features=features)
    return found


@pytest.mark.parametrize("policy", POLICIES)
def test_noise_in_the_jct_moves_the_fused_embedding_and_not_the_encoders(situation, policy):
    data, models = situation
    clean, noisy = models[policy], noisy_jct(models[policy])
    before, after = embed(clean, data), embed(noisy, data)
    assert np.array_equal(before.pooled_NMD, after.pooled_NMD)
    for features in set(FEATURES) - {"encoder"}:
        one, other = embed(clean, data, features), embed(noisy, data, features)
        moved = np.abs(one.mixed_ND - other.mixed_ND).max(1) > 1e-2
        incomplete = ~data.present_NM.all(1) & data.present_NM.any(1)
        # `completed` uses the JCT where a modality is imputed.
        expected = data.present_NM.any(1) if features != "completed" else incomplete
        if features == "completed" and policy == "skip":
            expected = np.zeros(len(data), bool)
        assert np.array_equal(moved, expected), features


@pytest.mark.parametrize("policy", POLICIES)
def test_embeddings_equal_the_loop(situation, policy):
    data, models = situation
    model = models[policy]
    found = {f: embed(model, data, f).product() for f in FEATURES}
    rows = np.flatnonzero(data.present_NM.any(1))
    for features, products in found.items():
        assert products.ids == tuple(data.ids[n] for n in rows), features
        np.testing.assert_allclose(np.linalg.norm(products.emb_ND, axis=1), 1, rtol=1e-5)
    for place, n in enumerate(rows):
        batch = data.collate(np.array([n]))
        with torch.no_grad():
            output = model(batch)
            whole = model.embed_fused(batch)
        here = [i for i in range(5) if data.present_NM[n, i]]
        torch.testing.assert_close(whole.fused_BMD[0, here], output.fused_pooled_BMD[0, here])
        tokens = here if policy == "skip" else list(range(5))
        mean = {
            "encoder": [output.pooled_BMD[0, i] for i in here],
            "fused_present": [output.fused_pooled_BMD[0, i] for i in here],
            "fused": [whole.fused_BMD[0, i] for i in tokens],
            "completed": [
                output.pooled_BMD[0, i] if i in here else whole.projected_BMD[0, i] for i in tokens
            ],
        }
        expected = {f: sum(normalize(x, dim=0) for x in parts) for f, parts in mean.items()}
        expected = {f: normalize(x, dim=0) for f, x in expected.items()}
        expected["both"] = torch.cat([expected["encoder"], expected["fused"]]) / 2**0.5
        for features, emb_D in expected.items():
            np.testing.assert_allclose(found[features].emb_ND[place], emb_D, atol=1e-5)


@pytest.mark.parametrize("policy", POLICIES)
def test_values_of_a_removed_modality_have_no_influence(situation, policy):
    data, models = situation
    subset = ("text", "table", "video", "audio")
    columns = dict(data.columns)
    old = columns["image"]
    values = np.full_like(old.values, 1e3)
    poisoned = replace(data, columns=columns | {"image": replace(old, values=values)})
    whole = [embed(models[policy], d, "fused").mixed_ND for d in (data, poisoned)]
    assert not np.allclose(*whole), "the values count where they are present"
    for features in FEATURES:
        one, other = (embed(models[policy], d, features, subset) for d in (data, poisoned))
        assert np.array_equal(one.product(subset).emb_ND, other.product(subset).emb_ND), features


def test_fused_features_of_another_subset_raise(situation):
    data, models = situation
    found = embed(models["zero"], data, "fused", ("text", "image"))
    assert len(found.product(("image", "text")).ids)
    with pytest.raises(ValueError, match=r"embed with subset text$"):
        found.product(("text",))
    with pytest.raises(ValueError, match="unknown features 'pooled'; known: encoder, fused"):
        embed(models["zero"], data, "pooled")


@pytest.mark.parametrize("policy", ["zero", "learned"])
def test_imputed_retrieval_equals_the_loop(situation, policy):
    data, models = situation
    model = models[policy]
    found = imputed_retrievals(model, data, ks=(1, 3))
    pooled = embed(model, data).pooled_NMD
    unit = pooled / np.maximum(np.linalg.norm(pooled, axis=-1, keepdims=True), 1e-12)
    for m, column in INDEX.items():
        gallery = np.flatnonzero(data.present_NM[:, column])
        others = tuple(other for other in MODALITIES if other != m)
        expected = {IMPUTED: [], MEAN: []}
        for n in gallery:
            batch = data.collate(np.array([n])).only(others)
            if not batch.present_BM.any():
                continue
            with torch.no_grad():
                predicted = model.embed_fused(batch).projected_BMD[0, column].numpy()
            mean = sum(unit[n, i] for i in range(5) if i != column and data.present_NM[n, i])
            same = data.content_id_NM[:, column] == data.content_id_NM[n, column]
            for name, query in ((IMPUTED, predicted), (MEAN, mean)):
                order = sorted(gallery, key=lambda g, q=query: -float(q @ unit[g, column]))
                expected[name].append(any(same[g] for g in order[:3]))
        for name, hits in expected.items():
            assert found[name][m].values["Recall@3"].tolist() == hits, (m, name)
    assert 0 < np.mean(np.concatenate([r.values["Recall@3"] for r in found[MEAN].values()])) < 1


def test_skip_predicts_nothing(situation):
    data, models = situation
    feature_ND, valid_N = imputed_features(models["skip"], data, "image")
    assert not valid_N.any()
    assert not feature_ND.any()
    assert set(imputed_retrievals(models["skip"], data)) == {MEAN}


def test_evaluation_arrays_hold_each_subset(situation):
    data, models = situation
    for features in ("fused", "both"):
        arrays = product_arrays(models["zero"], data, torch.device("cpu"), features=features)
        for subset in (SUBSETS[0], SUBSETS[7], MODALITIES):
            emb_ND, valid_N = arrays.embedding(subset)
            alone = embed(models["zero"], data, features, subset).product(subset)
            assert tuple(np.array(data.ids)[valid_N]) == alone.ids
            np.testing.assert_allclose(emb_ND[valid_N], alone.emb_ND, atol=1e-6)
        image = embed(models["zero"], data, features, ("image",)).mixed_ND
        np.testing.assert_allclose(arrays.pooled_NMD[:, INDEX["image"]], image, atol=1e-6)


def test_fine_tuning_on_fused_tokens_uses_the_jct(situation):
    data, models = situation
    data = data.subset(np.flatnonzero(data.present_NM.any(1)))
    examples = Examples(data, [product.category for product in data.products])
    config = FineTuneConfig(epochs=6, learning_rate=5e-3, head_learning_rate=2e-2, batch_size=8)
    before = {n: p.clone() for n, p in models["zero"].named_parameters()}
    for features, learns in (("fused", True), ("both", True)):
        found = fine_tune(models["zero"], examples, examples, examples, config, progress=False,
                          features=features)  # fmt: skip
        assert (found.scores["accuracy"].value > found.majority["accuracy"].value) == learns
    assert all(torch.equal(p, before[n]) for n, p in models["zero"].named_parameters())
    # Without a JCT (noise in its output norm) nothing can be learned from fused tokens.
    blind = seeded_like(models["zero"])
    with torch.no_grad():
        blind.jct.stack.norm.weight.zero_()
    blind.jct.stack.norm.weight.requires_grad_(False)
    found = fine_tune(blind, examples, examples, examples, replace(config, epochs=1,
                      learning_rate=0.0), progress=False, features="fused")  # fmt: skip
    assert len(set(found.predicted)) == 1


def seeded_like(model):
    """Return a copy of the model."""
    copy = type(model)(model.config, model.missing)
    copy.load_state_dict(model.state_dict())
    return copy.eval()
