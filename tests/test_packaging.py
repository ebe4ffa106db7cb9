"""Packaging: consistent requirements, fast imports, layers, and pages that are up to date."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import scale
from scale import cli
from tools import api_page

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch"}


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower().replace("_", "-")


def environment() -> tuple[list[str], list[str]]:
    """Conda's own packages, and pip's lines."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    return [entry for entry in listed if isinstance(entry, str)], pip


def test_environment_and_pyproject_say_the_same():
    conda, pip = environment()
    required = {name_of(r): r for r in PROJECT["dependencies"]}
    for package in ("torch", "torchvision"):
        wanted = required[package].replace(package, CONDA_NAMES.get(package, package), 1)
        assert wanted in conda, f"environment.yml lacks {wanted}"
    assert pip == ["--constraint constraints.txt", "--editable .[dev]"]
    python = next(entry for entry in conda if entry.startswith("python="))
    minor = int(python.split(".")[1])
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    assert int(low) <= minor < int(high)


def test_constraints_pin_everything_that_is_required():
    pinned = {name_of(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    extras = PROJECT["optional-dependencies"].values()
    for requirement in (*PROJECT["dependencies"], *(r for extra in extras for r in extra)):
        name = name_of(requirement)
        assert name in pinned or name == PROJECT["name"], f"constraints.txt does not pin {name}"


def test_the_test_command_is_one_and_the_same():
    assert "exec make test" in (ROOT / ".ci" / "run").read_text()
    readme = (ROOT / "README.md").read_text()
    for command in ("make demo", "make test", "make lab"):
        assert command in readme
        assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), re.M)


HEAVY = ("av", "sklearn", "scipy", "matplotlib", "umap", "faiss", "tyro", "tensorboard", "pandas",
         "litdata")  # fmt: skip


SLOW = {"torch", "timm", "transformers", "tokenizers", "accelerate", "sklearn", "scipy",
        "matplotlib", "seaborn", "pandas", "pyarrow", "av", "PIL", "umap", "faiss", "IPython",
        "ipywidgets", "pptx", "litdata", "huggingface_hub", "torchvision"}  # fmt: skip
"""Each takes 0.1 s or more to import."""


def test_the_training_path_imports_no_extra():
    """A bare GPU image has none of them."""
    script = (
        "import sys\n"
        f"for name in {HEAVY!r}:\n"
        "    sys.modules[name] = None  # importing it now fails as if it were not installed\n"
        "import scale.cli, scale.run, scale.training.pretrain\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]


@pytest.mark.parametrize(
    ("module", "extra"),
    [("sklearn", "eval"), ("matplotlib.pyplot", "viz"), ("umap", "viz"), ("faiss", "search"),
     ("pptx", "slides"), ("voila", "explore"), ("litdata", "shards"), ("torch", "")],
)  # fmt: skip
def test_the_extra_of_a_missing_module(module, extra):
    assert cli.extra_of(module) == extra


def test_a_missing_extra_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    command = SimpleNamespace(run=lambda: import_module("jupyterlab"))
    monkeypatch.setattr(cli, "_parse", lambda *_: command)
    assert cli.main(["explore"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("scale explore: ")
    assert message.endswith("; pip install 'scale-workbench[lab]'\n")


def test_import_and_help_load_no_heavy_library():
    """`import scale` and every `--help`: under a second of CPU time."""
    script = (
        "import sys, scale\n"
        "dir(scale)\n"
        "assert not {'numpy', 'tyro'} & sys.modules.keys()\n"
        "from scale import cli\n"
        "for name in cli.NAMES:\n"
        "    assert cli.main([name, '--help']) == 0\n"
        f"    loaded = {SLOW!r} & sys.modules.keys()\n"
        "    assert not loaded, (name, loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
    for name in cli.NAMES:
        assert f"Example: scale {name} " in done.stdout.replace("\n", " ") + " "


def test_every_public_name_resolves():
    """`scale.losses.pair_losses` and all other names that a subpackage exports lazily."""
    for module in (scale, scale.data, scale.model, scale.losses, scale.evaluation, scale.training,
                   scale.inference, scale.studies, scale.viz, scale.explore):  # fmt: skip
        assert sorted(module.__all__) == dir(module)
        for name in module.__all__:
            assert getattr(module, name) is not None, (module, name)
    assert scale.plot.product_card is scale.viz.product_card
    with pytest.raises(AttributeError):
        _ = scale.plot.no_such_figure


def test_rooms_import_only_downwards():
    """design.md's order, evaluation before training: the loop measures retrieval as it goes."""
    order = ["data", "model", "losses", "evaluation", "training", "inference", "studies", "viz",
             "explore", "talk", "commands"]  # fmt: skip
    for place, room in enumerate(order):
        for path in (ROOT / "scale" / room).rglob("*.py"):
            for above in order[place + 1 :]:
                pattern = rf"^\s*(from|import) scale\.{above}\b"
                assert not re.search(pattern, path.read_text(), re.M), f"{path} imports {above}"


def imported_modules(path: Path) -> set[str]:
    """Modules of scale that a file imports when it is loaded, or for its annotations."""
    found, bodies = set(), [ast.parse(path.read_text(encoding="utf-8")).body]
    for body in bodies:
        for node in body:
            if isinstance(node, ast.If | ast.Try):
                bodies += [node.body, node.orelse]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scale"):
                found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
            elif isinstance(node, ast.Import):
                found |= {name.name for name in node.names}
    return found


def test_no_module_imports_itself_through_others():
    """Also not for annotations."""
    paths = {
        path.relative_to(ROOT)
        .with_suffix("")
        .as_posix()
        .replace("/", ".")
        .removesuffix(".__init__"): path
        for path in (ROOT / "scale").rglob("*.py")
    }
    graph = {name: imported_modules(path) & paths.keys() - {name} for name, path in paths.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_the_api_page_is_current():
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), "run make api"


def test_links_of_the_pages_resolve():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in [*pages, ROOT / "notebooks" / "README.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if not re.match(r"https?:|mailto:", target):
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_readme_example_is_the_front_door():
    """Every `scale.x` and `run.x` of the README's Python exists."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    for name in re.findall(r"\bscale\.(\w+)", code):
        assert name in scale.__all__
    for name in re.findall(r"\brun\.(\w+)", code):
        assert hasattr(scale.Run, name)
    for name in re.findall(r"\bscale\.plot\.(\w+)", code):
        assert name in scale.plot.__all__
