"""`scale explore`: serve the panels as a local page with Voilà."""

import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import tyro

EXTENSIONS = (
    "@voila-dashboards/widgets-manager8",
    "@jupyter-widgets/jupyterlab-manager",
    "anywidget",
)
"""JupyterLab extensions of the page; others may be incompatible with Voilà's frontend."""
KERNEL_MANAGER = "scale.explore.server.PageKernelManager"
IDLE_SECONDS = 120
"""Time after which a kernel without a page ends; a page that closes ends its kernel itself."""


@dataclass
class Explore:
    """Open the panels of a run in a browser: scores, masking, embedding space, training.

    Stop with Ctrl-C. With --html, write scores and map to a file instead.

    Example: scale explore runs/demo --catalogue data_samples --lang zh --theme dark
    """

    run_folder: tyro.conf.Positional[Path]
    """Run folder."""
    catalogue: Path = Path("data_samples")
    """Folder of the catalogue whose products are shown."""
    split: Literal["train", "val", "test", "all"] = "test"
    """Products that are shown."""
    lang: Literal["en", "zh"] = "en"
    """Language of the labels."""
    theme: Literal["light", "dark"] = "light"
    """Colours of the page."""
    present: bool = False
    """For a projector: large type, and everything of a step on one screen of 1280 x 720."""
    compare: tuple[Path, ...] = ()
    """Other run folders, whose models can be shown beside this run's in scores and masking."""
    port: int = 8866
    """Port of the page; if it is in use, the next free one."""
    browser: bool = True
    """Open the browser; otherwise only print the address."""
    html: Path | None = None
    """Write this file, which needs neither kernel nor network, instead of serving a page: scores
    of 20 products under changes, and the map."""

    def run(self) -> None:
        """Serve the page until interrupted, or write the file.

        Raises ValueError if the run does not fit the catalogue, ImportError if Voilà is missing.
        """
        if self.html is not None:
            self.write(self.html)
            return
        if find_spec("voila") is None:
            raise ImportError("voila is missing: pip install 'scale-workbench[explore]'")
        split = None if self.split == "all" else self.split
        run_folder, catalogue = self.run_folder.resolve(), self.catalogue.resolve()
        shown = {"run": run_folder, "catalogue": catalogue, "split": split}
        shown["compare"] = [str(folder.resolve()) for folder in self.compare]
        view = {"lang": self.lang, "theme": self.theme, "present": self.present}
        from scale.explore import kernels

        os.environ[kernels.SETTINGS] = json.dumps(shown | view, default=str)
        os.environ["JUPYTER_PATH"] = jupyter_path()
        loading = kernels.start() if kernels.CAN_FORK else None
        # Imported while the other process loads the run.
        from scale.explore.server import PageServer

        if loading is None:
            check(run_folder, catalogue, split)
        else:
            kernels.wait_until_loaded(loading)
        with TemporaryDirectory(prefix="scale-explore-") as folder:
            page = Path(folder) / "explore.ipynb"
            write_page(page)
            PageServer.launch_instance(self.options(page))

    def write(self, path: Path) -> None:
        """Write scores and map as a self-contained HTML file and print its name and size."""
        from scale.explore import ExplorerSource, static
        from scale.explore.static_panel import write_panels

        split = None if self.split == "all" else self.split
        source = ExplorerSource.open(self.run_folder, self.catalogue, split)
        scores = static.static_scores(source, 20, self.lang)
        panels = [scores, static.static_map(source, self.lang)]
        write_panels(path, panels, f"SCALE · {self.run_folder.resolve().name}", self.lang)
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MB")

    def options(self, page: Path) -> list[str]:
        """Return Voilà's command-line options."""
        return [
            str(page), "--template=scale", f"--theme={self.theme}", f"--port={self.port}",
            *([] if self.browser else ["--no-browser"]),
            f"--MappingKernelManager.cull_idle_timeout={IDLE_SECONDS}",
            f"--MappingKernelManager.cull_interval={max(IDLE_SECONDS // 4, 1)}",
            "--KernelManager.autorestart=False",
            f"--VoilaConfiguration.multi_kernel_manager_class={KERNEL_MANAGER}",
            *(f"--VoilaConfiguration.extension_allowlist={name}" for name in EXTENSIONS),
        ]  # fmt: skip


def check(run_folder: Path, catalogue: Path, split: str | None) -> None:
    """Raise ValueError if run and catalogue do not fit, before the page is served."""
    from scale.explore.source import ExplorerSource

    ExplorerSource.open(run_folder, catalogue, split)


def write_page(page: Path) -> None:
    """Write the page: a notebook with one cell, which reads the options from the environment."""
    import nbformat
    from nbformat import v4

    cell = v4.new_code_cell("from scale.explore.preload import page\n\npage()")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel}), page)


def jupyter_path() -> str:
    """Return Jupyter's search path with the folder of the page template first."""
    import scale.explore

    share = Path(scale.explore.__file__).parent / "assets" / "share"
    return os.pathsep.join([str(share), *filter(None, [os.environ.get("JUPYTER_PATH")])])
