"""Train, validation and test for catalogues that do not say."""

import hashlib
from dataclasses import replace

from scale.data.catalogue import Catalogue
from scale.data.product import Product

SHARES = (("test", 0.2), ("val", 0.3), ("train", 1.0))
"""Upper bounds: 20 % test, 10 % validation, 70 % training."""


def with_splits(catalogue: Catalogue, given: bool | None = None) -> Catalogue:
    """The catalogue with a split for each product: its own where the catalogue gives any.

    A catalogue without any split is cut 70/10/20 by a hash: the same products always fall the same
    way, whatever is added later, and products of the same title and table stay together. In one
    that gives some, products without a split are for training.

    given: whether the catalogue gives any; for a part of it, which cannot tell. None: look.
    """
    if given is None:
        given = any(p.split is not None for p in catalogue.products)
    products = tuple(
        replace(p, split=p.split or ("train" if given else _hashed_split(p)))
        for p in catalogue.products
    )
    return replace(catalogue, products=products)


def _hashed_split(product: Product) -> str:
    # A product without title and table has nothing to share but its id.
    key = repr((product.text, product.table)) if product.text or product.table else product.id
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    draw = int.from_bytes(digest, "big") / 2**64
    return next(name for name, bound in SHARES if draw < bound)
