"""Published results: every cell has a source, claims name rows that exist, pictures show both."""

import pandas as pd
import pytest

from scale.evaluation.bootstrap import Estimate
from scale.viz.illustrations.paper import (
    PAPER,
    PAPER_CLAIMS,
    claim_outcomes,
    our_outcome,
    paper_and_ours,
    paper_claims,
    paper_facts,
    paper_table,
)
from tests.viz.conftest import LOOKS

STUDIES = "figures/studies"


def test_each_table_is_whole_and_names_where_it_was_read():
    for table in PAPER["tables"]:
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}, table["number"]
        assert set(table["source"]) <= set(PAPER["sources"])
        values = paper_table(table["number"]).select_dtypes("number")
        assert values.stack().between(5, 100).all()
    assert {key for _, keys, _ in PAPER["facts"].values() for key in keys} <= set(PAPER["sources"])
    assert paper_facts().loc["products", "value"] == 6_313_067
    for source in PAPER["sources"].values():
        assert source["url"].startswith("https://")
        assert "commit" in source["read"]
    with pytest.raises(ValueError, match="table 11"):
        paper_table(11)


def test_repeated_cells_of_the_tables_agree():
    """The model with five modalities, fine-tuned, is a row of tables 3, 4, 6, 7, 8 and 10."""
    rows = [paper_table(number).query("accuracy == 85.5") for number in (3, 4, 6, 7, 8, 10)]
    assert [len(row) for row in rows] == [1] * 6
    for row in rows:
        best = row[[c for c in row if c.startswith("mAP@") and not c.endswith(("ed", "fine"))]]
        best = best if best.size else row.filter(regex="^mAP.*(fine-tuned|coarse)$")
        assert best.iloc[0].tolist() == [70.62, 73.02, 71.50]


def test_gains_are_differences_of_printed_cells():
    gains = {claim.name: claim.gain for claim in PAPER_CLAIMS}
    assert gains["modalities"] == pytest.approx(58.72 - 47.70)
    assert gains["weights_logits"] == gains["weights_loss"] == pytest.approx(70.62 - 68.45)
    assert gains["incomplete"] == pytest.approx(58.72 - 57.97)
    assert min(gains.values()) > 0


def test_our_side_is_read_from_the_studies():
    by_name = {claim.name: claim for claim in PAPER_CLAIMS}
    for catalogue in ("data_samples", "esky5"):
        found = our_outcome(by_name["incomplete"], STUDIES, catalogue)
        report = pd.read_csv(f"{STUDIES}/missing-{catalogue}.csv").query(
            "rate == 0 and test == 'held out' and metric == 'mAP@5'"
        )
        mean = report.set_index("policy")["value"]
        assert found.seeds.value == pytest.approx(mean["zero"] - mean["drop"], abs=1e-9)
    assert our_outcome(by_name["entities"], STUDIES, "esky5") is None
    assert our_outcome(by_name["clip"], STUDIES, "no_catalogue") is None
    assert "entities" not in claim_outcomes(STUDIES, ["esky5"])


def test_pictures_show_both_sides(checked):
    ours = {"clip": {"esky5": (Estimate(-2.0, -4.0, -1.0, 5), True)}}
    rows = {"CLIP": Estimate(8.9, 5.6, 12.1, 5)}
    for look, lang in LOOKS:
        figure, texts = checked(paper_claims, look, ours, lang)
        assert {f"+{claim.gain:.2f}" for claim in PAPER_CLAIMS} <= set(texts)
        assert [-2.0] in [list(line.get_xdata()) for line in figure.axes[1].lines]
        _, texts = checked(paper_and_ours, look, {"CLIP": 49.39}, rows, ("mAP@1", "mAP@5"), lang)
        assert {"49.4", "8.9"} <= set(texts)
