"""Figures of one seed from results.json."""

import numpy as np

from benchmarks.seeds import rows
from scale.evaluation.report import plain, retrieval_results
from scale.evaluation.retrieval import ProductArrays, RetrievalTables


def test_rows_hold_the_gain_over_each_other_stage():
    rng = np.random.default_rng(0)
    ids, labels = [f"p{n}" for n in range(30)], ["a", "b", "c"] * 10

    def products():
        pooled_NMD = rng.normal(size=(30, 5, 4)).astype(np.float32)
        return ProductArrays(ids, pooled_NMD, np.ones((30, 5), bool), labels)

    stages = {"untrained": products(), "trained": products()}
    tables = {"frozen": RetrievalTables.of(products())}
    tree = {"retrieval": retrieval_results(stages, baselines=tables), "classification": {}}
    found = rows(plain(tree))
    name = "mean Recall@10 over directions, "
    for other in ("untrained", "frozen"):
        gain = found[f"{name}trained"] - found[f"{name}{other}"]
        assert np.isclose(found[f"{name}trained minus {other}"], gain)
        assert gain != 0
