"""Random products have the shares and shapes that are written beside their numbers."""

import numpy as np
import pytest
from random_products import M5PRODUCT, MISSING, RandomProducts, presence

from scale.modalities import INDEX, MODALITIES


def test_half_of_the_slots_are_empty_in_every_modality():
    present_NM = presence("half", 30)
    assert present_NM.mean(axis=0).tolist() == [0.5] * 5
    assert set(present_NM.sum(axis=1)) == {2, 3}
    assert len(np.unique(present_NM, axis=0)) > 6


def test_shares_of_m5product_are_exact_and_sound_comes_with_the_clip():
    present_NM = presence("m5product", 100)
    found = dict(zip(MODALITIES, present_NM.mean(axis=0).tolist(), strict=True))
    assert found == M5PRODUCT
    assert (present_NM[:, INDEX["video"]] == present_NM[:, INDEX["audio"]]).all()


@pytest.mark.parametrize("products", [1, 2, 7])
@pytest.mark.parametrize("missing", MISSING)
def test_few_products_have_something_each(missing, products):
    assert presence(missing, products).any(axis=1).all()


@pytest.mark.parametrize("missing", MISSING)
def test_batches_are_in_order_and_of_the_models_shapes(config, missing):
    data = RandomProducts(config.model, presence(missing, 9))
    batch = data.collate(np.array([4, 0, 7]))
    batch.check()
    assert batch.index_B.tolist() == [4, 0, 7]
    assert (batch.present_BM.numpy() == data.present_NM[[4, 0, 7]]).all()
    for m, tokens in batch.tokens.items():
        assert tokens.values.shape[1] == config.model.length(m)
        at = tokens.rows_R.tolist()
        expected = data.tokens[m].values[np.array([4, 0, 7])[at]]
        assert (tokens.values == expected).all()
    assert (batch.tokens["table"].entity_RL.max(dim=1).values >= 3).all()


def test_no_other_selection_is_made(config):
    data = RandomProducts(config.model, presence("complete", 4))
    with pytest.raises(ValueError, match="as many as needed"):
        data.subset(np.array([0, 2]))
