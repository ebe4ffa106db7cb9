"""`scale inspect --mismatch`: suspicious products and the owners of their contents."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import scale
from scale.cli import main
from scale.commands.demo import examine_catalogue
from scale.data.catalogue import with_splits
from scale.inference import mismatch as module
from scale.inference.mismatch import describe_shares, find_mismatches, planted_precision
from scale.modalities import INDEX
from scale.training.cross_fit import percentiles_of


@pytest.fixture
def judged(run_folder, small_catalogue, monkeypatch):
    """A run and shop; the picture of two products agrees least, by a replaced cross-fitting."""
    run, shop = scale.load(run_folder), with_splits(scale.open(small_catalogue))
    data, calls = run.dataset(shop), []

    def agreement(train_set, config, path, progress):
        calls.append(path)
        r_NP = np.full((len(train_set), 10), 0.9)
        wrong = [row for row, id in enumerate(train_set.ids) if id in ("p01", "p10")]
        image = [p for p, pair in enumerate(scale.PAIRS) if INDEX["image"] in pair]
        r_NP[np.ix_(wrong, image)] = 0.2
        r_NP[~(train_set.present_NM[:, LEFT] & train_set.present_NM[:, RIGHT])] = np.nan
        return Agreement(train_set.ids, r_NP)

    from scale.losses.contrastive import LEFT, RIGHT
    from scale.training.cross_fit import Agreement

    monkeypatch.setattr(module, "cross_fit_agreement", agreement)
    return run, shop, data, calls


def test_the_least_agreeing_modality_is_listed_first(judged):
    run, shop, _, calls = judged
    found = find_mismatches(run, shop, top=12, progress=False)
    frame = found.frame
    assert calls == [run.folder.agreement], "kept in the folder of the run"
    for _, part in frame.groupby("modality"):
        assert part.agreement.is_monotonic_increasing
    trained = frame[frame.judged == "cross-fitted"]
    assert set(trained.id[:2]) == {"p01", "p10"}
    assert set(trained.modality[:2]) == {"image"}
    split = {p.id: p.split for p in shop}
    assert all((split[id] == "train") == (by == "cross-fitted")
               for id, by in zip(frame.id, frame.judged, strict=True))  # fmt: skip
    assert (frame.id != frame.other_id).all()
    titles = {p.id: p.text or "" for p in shop}
    assert [titles[id] for id in frame.other_id] == frame.other_title.tolist()


def test_places_compare_with_the_same_modality():
    """The second sound is unusually low for a sound; the titles' lowest is higher than it."""
    mean_NM = np.full((4, 5), np.nan)
    mean_NM[:, 0] = [0.9, 0.8, 0.95, 0.99]
    mean_NM[:, 4] = [0.5, 0.2, 0.6, np.nan]
    found_NM = module._places(mean_NM)
    assert np.isinf(found_NM[:, 1:4]).all()
    assert found_NM[:, 0].argsort().tolist() == [1, 0, 2, 3]
    assert found_NM[:3, 4].argsort().tolist() == [1, 0, 2]
    assert np.isinf(found_NM[3, 4])
    np.testing.assert_allclose(found_NM[1, [0, 4]], [0.8 / 4, 0.2 / 3])


def test_products_outside_training_are_judged_by_the_model_of_the_run(judged):
    run, _, data, _ = judged
    held = np.setdiff1d(np.arange(len(data)), data.rows_of("train"))
    r_NP, _ = module._agreement(run, data, progress=False)
    np.testing.assert_array_equal(r_NP[held], percentiles_of(run.model, data, held))


def test_the_owner_is_named_by_a_model_that_was_not_trained_on_the_listed(judged, monkeypatch):
    run, shop, *_ = judged
    trained, original = [], module.train_judge

    def recording(part, rows, config, *rest):
        trained.append({part.ids[row] for row in rows})
        return original(part, rows, config, *rest)

    monkeypatch.setattr(module, "train_judge", recording)
    found = find_mismatches(run, shop, top=5, progress=False)
    assert len(trained) == 1
    assert not trained[0] & set(found.frame.id)
    assert len(trained[0]) > 15


def test_shares_and_recommendation():
    few, many = (describe_shares({"text": s, "image": 0.1}) for s in (0.1, 0.5))
    assert "weight-by agreement" in many
    assert "weight-by agreement" not in few
    assert "text 50%, image 10%" in many


def test_doctor_estimates_the_share_of_wrong_contents(judged, small_catalogue):
    run, shop, *_ = judged
    check = examine_catalogue(run.folder.folder, small_catalogue)
    assert check.passed
    assert check.detail == describe_shares(find_mismatches(run, shop, 1, progress=False).shares)


def test_run_returns_the_frame(judged):
    run, shop, *_ = judged
    frame = run.mismatches(shop, top=4)
    assert len(frame) == 4
    assert set(frame.attrs["shares"]) <= set(scale.MODALITIES)


def test_precision_by_hand():
    frame = pd.DataFrame({"id": ["a", "b", "c", "d"], "modality": ["image", "text"] * 2})
    planted = {("a", "image"), ("b", "image"), ("c", "image")}
    assert planted_precision(frame, planted, (1, 2, 4, 9)) == {1: 1.0, 2: 0.5, 4: 0.5}


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_command_writes_the_list(judged, small_catalogue, tmp_path, capsys, suffix):
    run, out = judged[0], tmp_path / f"list{suffix}"
    arguments = ["inspect", str(small_catalogue), "--mismatch", str(run.folder.folder)]
    assert main([*arguments, "--top", "3", "--out", str(out)]) == 0
    assert "estimated share" in capsys.readouterr().out
    rows = json.loads(out.read_text()) if suffix == ".json" else pd.read_csv(out).to_dict("records")
    assert len(rows) == 3
    assert list(rows[0]) == ["id", "title", "modality", "agreement", "other_id", "other_title",
                             "judged"]  # fmt: skip
    assert main([*arguments, "--out", str(tmp_path / "list.txt")]) == 2
    assert main(["inspect", str(small_catalogue), "--out", str(out)]) == 2


def test_a_run_with_one_modality_has_nothing_to_compare(judged, monkeypatch):
    run, shop, data, _ = judged
    monkeypatch.setattr(module, "_agreement", lambda *_: (np.full((len(data), 10), np.nan), None))
    with pytest.raises(ValueError, match="nothing to compare"):
        find_mismatches(run, replace(shop), progress=False)
