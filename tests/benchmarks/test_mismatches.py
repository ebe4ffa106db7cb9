"""Planted wrong contents: exactly the reported ones differ, and each is its owner's."""

import mismatches

import scale
from scale.data.catalogue import with_splits
from scale.modalities import MODALITIES


def test_planted_contents_are_the_owners(small_catalogue):
    shop = with_splits(scale.open(small_catalogue))
    damaged, owners = mismatches.plant(shop, 0.3, seed=0)
    clean = {p.id: p for p in shop}
    assert [p.id for p in damaged] == list(clean)
    for product in damaged:
        for m in MODALITIES:
            owner = owners.get((product.id, m), product.id)
            assert getattr(product, m) == getattr(clean[owner], m)
            assert owner == product.id or product.split == "train"
    assert {m for _, m in owners} == set(MODALITIES)
    assert len(owners) > 20
    assert mismatches.plant(shop, 0.3, seed=1)[1] != owners
