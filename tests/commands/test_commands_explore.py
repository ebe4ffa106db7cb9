"""`scale explore`: checked before it is served, and the page that it serves."""

import os
from multiprocessing import Pipe
from pathlib import Path

import pytest

from scale.cli import main
from scale.commands.explore import Explore, jupyter_path
from scale.viz.illustrations.space import principal_axes


def test_what_cannot_be_explored_is_told_before_anything_is_served(tmp_path, monkeypatch, capsys):
    receiver, sender = Pipe(duplex=False)
    sender.send("no run folder")
    monkeypatch.setattr("scale.explore.kernels.start", lambda: receiver)
    for message in ("no run folder", "has ended"):
        assert main(["explore", str(tmp_path), "--catalogue", str(tmp_path)]) == 2
        assert message in capsys.readouterr().err
        sender.close()


def test_the_page_template_is_on_jupyters_path(monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", "/elsewhere")
    first, *rest = jupyter_path().split(os.pathsep)
    template = Path(first) / "voila" / "templates" / "scale" / "index.html.j2"
    assert "https:" not in template.read_text(encoding="utf-8")
    assert rest == ["/elsewhere"]


@pytest.mark.parametrize("browser", [True, False])
def test_the_server_is_told_whether_to_open_a_browser(browser, tmp_path):
    command = Explore(tmp_path, browser=browser, theme="dark", port=9).options(tmp_path / "x.ipynb")
    assert ("--no-browser" in command) != browser
    assert {"--theme=dark", "--port=9", "--template=scale"} <= set(command)


def test_html_option_writes_both_panels_to_one_small_file(
    run_folder, small_catalogue, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        "scale.explore.maps.kept_umap", lambda unit_PD, seed: principal_axes(unit_PD)[0]
    )
    path = tmp_path / "panels.html"
    options = ["--catalogue", str(small_catalogue), "--split", "all", "--html", str(path)]
    assert main(["explore", str(run_folder), *options, "--lang", "zh"]) == 0
    text = path.read_text(encoding="utf-8")
    assert text.count('<div data-static="') == 2
    assert '<html lang="zh">' in text
    assert path.stat().st_size < 10 * 2**20
    assert str(path) in capsys.readouterr().out
