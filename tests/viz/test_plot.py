"""The front door `scale.plot` passes its inputs to the drawings unchanged."""

import json

import numpy as np
import pytest
import torch

import scale
from scale.evaluation.report import results_frame
from scale.modalities import MODALITIES
from scale.model.scores import inter_modality_scores
from scale.viz import embeddings


def test_scores_of_a_row_with_its_missing_modalities():
    pooled_BMD = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    present_BM = torch.ones(2, 5, dtype=torch.bool)
    present_BM[1, MODALITIES.index("video")] = False
    scores = inter_modality_scores(pooled_BMD, present_BM)
    axes = scale.plot.scores(scores, row=1).axes[0]
    drawn_MM = axes.collections[0].get_array()
    np.testing.assert_allclose(drawn_MM.compressed(), scores.cosine_BMM[1][
        present_BM[1][:, None] & present_BM[1][None, :]
    ], rtol=1e-6)  # fmt: skip


def leaf(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 9}


def test_results_as_a_data_frame_and_as_a_tree_give_one_figure():
    none = dict.fromkeys(("value", "low", "high")) | {"n": 0}
    tree = {"retrieval": {
        "category": {"trained": {"text": {"mAP@1": leaf(0.4)}, "audio": {"mAP@1": none}},
                     "chance": {"text": {"mAP@1": leaf(0.2)}}},
        "instance": {"trained": {"text->image": {"Recall@10": leaf(0.7)}}},
    }}  # fmt: skip
    for results in (tree, results_frame(tree), json.loads(json.dumps(tree))):
        (bar,) = scale.plot.retrieval(results).axes[0].patches
        assert bar.get_height() == 0.4
        gain_MM = scale.plot.directions(results).axes[0].collections[0].get_array()
        assert gain_MM.compressed().tolist() == [0.7]


def test_embeddings_are_coloured_by_groups(monkeypatch, tmp_path):
    monkeypatch.setenv("SCALE_CACHE", str(tmp_path))
    monkeypatch.setattr(
        embeddings, "umap_coordinates", lambda emb_ND, seed, k: emb_ND[:, :2] * (1 + seed)
    )
    emb_ND = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    figure = scale.plot.embeddings(emb_ND, ["a", "b"] * 6, seed=2)
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["a", "b"]
    drawn = np.concatenate([c.get_offsets() for c in figure.axes[0].collections])
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(3 * emb_ND[:, :2], axis=0))
    with pytest.raises(ValueError, match="groups are 3"):
        scale.plot.embeddings(emb_ND, ["a", "b", "c"])
