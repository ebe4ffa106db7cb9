"""`scale explore`: checked before it is served, and the page that it serves."""

import json
import os
from pathlib import Path

import pytest

from scale.cli import main
from scale.commands.explore import Explore, jupyter_path, write_page


def test_what_cannot_be_explored_is_told_before_anything_is_served(
    run_folder, small_catalogue, tmp_path, capsys
):
    assert main(["explore", str(tmp_path), "--catalogue", str(small_catalogue)]) == 2
    assert "is" in capsys.readouterr().err
    (tmp_path / "products.jsonl").write_text(json.dumps({"id": "a", "category": "x"}) + "\n")
    assert main(["explore", str(run_folder), "--catalogue", str(tmp_path), "--split", "all"]) == 2
    assert "has a modality that" in capsys.readouterr().err


def test_the_page_is_a_notebook_whose_cell_is_python(tmp_path):
    page = tmp_path / "explore.ipynb"
    write_page(page, tmp_path / "it's", tmp_path / "a\\b", None, "zh")
    notebook = json.loads(page.read_text(encoding="utf-8"))
    (cell,) = notebook["cells"]
    found: list[tuple] = []
    source = "".join(cell["source"]).replace("from scale.explore.page import ExplorerPage", "")
    exec(source, {"ExplorerPage": lambda *given: found.append(given)})
    assert found == [(str(tmp_path / "it's"), str(tmp_path / "a\\b"), None, "zh")]


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
