"""Stages of `scale demo`."""

from scale.demo import Stages
from scale.training.run import RunFolder


def test_a_stage_runs_unless_its_inputs_and_its_file_are_the_same(tmp_path, capsys):
    stages, made, runs = Stages(RunFolder(tmp_path)), tmp_path / "made", []

    def action():
        runs.append(len(runs))
        made.touch()

    assert not stages.current("draw", "a", made)
    assert stages.run("draw", "a", made, action)
    assert stages.current("draw", "a", made)
    assert not stages.run("draw", "a", made, action)
    assert capsys.readouterr().out == "draw: 0 s\ndraw: up to date\n"
    assert stages.run("draw", "b", made, action)
    made.unlink()
    assert stages.run("draw", "b", made, action)
    assert not stages.current("evaluate", "b", made)
    assert runs == [0, 1, 2]
