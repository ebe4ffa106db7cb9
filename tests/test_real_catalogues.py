"""The whole way on real catalogues, where SCALE_REAL_DATA names their folder."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from scale.config import tiny
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.inference.evaluate import evaluate_run
from scale.inference.search import Gallery, parse_query
from scale.modalities import MODALITIES, subset_name
from scale.training.pretrain import pretrain

ROOT = os.environ.get("SCALE_REAL_DATA")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(ROOT is None, reason="SCALE_REAL_DATA names no folder"),
]


@pytest.mark.parametrize(
    ("name", "modalities"), [("esky5", MODALITIES), ("grocery", ("text", "table", "image"))]
)
def test_from_catalogue_to_results(name, modalities, tmp_path):
    config = replace(tiny(), train=replace(tiny().train, steps=40, eval_every=20))
    catalogue = Catalogue.open(Path(ROOT) / name)
    cache = FeatureCache(tmp_path / "cache")
    run = pretrain(config, catalogue, tmp_path / "run", cache=cache, progress=False)
    results = evaluate_run(run, catalogue, tune=False, cache=cache, progress=False)
    trained = results["retrieval"]["category"]["trained"]
    chance = results["retrieval"]["category"]["chance"]
    everything = subset_name(MODALITIES)
    assert trained[everything]["mAP@1"]["value"] > chance[everything]["mAP@1"]["value"]
    for m in MODALITIES:
        measured = trained[m]["mAP@1"]["value"] is not None
        assert measured == (m in modalities), "a modality that nobody has is measured by null"
    data = run.dataset(catalogue, cache=cache)
    gallery = Gallery.build(run, data, MODALITIES, cache, progress=False)
    assert len(gallery.search(parse_query("green apple engine"), 5)) == 5
