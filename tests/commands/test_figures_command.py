"""`scale figures`, as a user types it; `make test-notebooks` draws every picture of the demo."""

import pytest

from scale import cli
from scale.commands.pictures import PICTURES, TOPICS


def test_a_name_belongs_to_one_picture():
    assert len(PICTURES) == sum(len(topic) for topic in TOPICS)


def test_names_are_listed(capsys):
    assert cli.main(["figures", "--list"]) == 0
    assert capsys.readouterr().out.split() == list(PICTURES)


@pytest.mark.parametrize("style", ["paper", "slides", "dark"])
def test_pictures_of_a_run(run_folder, small_catalogue, tmp_path, style):
    names = ["scores", "architecture", "loss_terms", "weight_effects"]
    code = cli.main(
        ["figures", *names, "--run", str(run_folder), "--catalogue", str(small_catalogue),
         "--out", str(tmp_path), "--lang", "zh", "--style", style]
    )  # fmt: skip
    assert code == 0
    expected = {f"{name}_zh.{kind}" for name in names for kind in ("png", "svg")}
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_an_unknown_name_and_a_missing_run_are_told(tmp_path, capsys):
    assert cli.main(["figures", "skores"]) == 2
    assert "no picture named skores; known: product, scores" in capsys.readouterr().err
    assert cli.main(["figures", "scores", "--run", str(tmp_path)]) == 2
    assert "is " in capsys.readouterr().err
