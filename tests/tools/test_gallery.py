"""figures/: complete, small enough, and not older than what draws it."""

import json

from PIL import Image

from scale.viz.registry import CORE
from tools import gallery


def test_the_committed_figures_are_current():
    """Code, words, run and studies are those of the last `make figures`, without drawing."""
    assert gallery.problems() == [], "run `make figures` and commit figures/"


def test_the_gallery_has_each_figure_in_both_languages_as_live_svg_and_png():
    files = json.loads(gallery.MANIFEST.read_text(encoding="utf-8"))["files"]
    names = {
        name.removesuffix("_en.svg").removeprefix("core/") for name in files if "_en.svg" in name
    }
    assert names <= set(CORE)
    assert "framework" in names
    page = gallery.PAGE.read_text(encoding="utf-8")
    for name in names:
        for lang in gallery.LANGS:
            for kind in gallery.FORMATS:
                assert f"core/{name}_{lang}.{kind}" in files
                assert f"(core/{name}_{lang}.{kind})" in page
            svg = (gallery.CORE_FOLDER / f"{name}_{lang}.svg").read_text(encoding="utf-8")
            assert "<text" in svg, name
    size = sum(path.stat().st_size for path in gallery.CORE_FOLDER.iterdir())
    assert size <= gallery.LARGEST


def test_changes_are_found(tmp_path, monkeypatch):
    now = {"drawing": "a", "run": "b", "studies": "c"}
    monkeypatch.setattr(gallery, "fingerprints", lambda: now)
    monkeypatch.setattr(gallery, "FOLDER", tmp_path)
    monkeypatch.setattr(gallery, "MANIFEST", tmp_path / "made.json")
    assert gallery.problems() == ["figures/made.json is missing"]
    (tmp_path / "x.svg").write_text("x")
    made = {"from": dict(now), "files": {"x.svg": gallery._hash([tmp_path / "x.svg"])}}
    (tmp_path / "made.json").write_text(json.dumps(made))
    assert gallery.problems() == []
    (tmp_path / "x.svg").write_text("y")
    assert gallery.problems() == ["figures/x.svg is not the file that was made"]
    (tmp_path / "x.svg").unlink()
    now["run"] = "d"
    assert gallery.problems() == [
        "the products or the training code changed", "figures/x.svg is missing",
    ]  # fmt: skip


def test_a_palette_keeps_the_colour_of_the_page(tmp_path):
    image = Image.radial_gradient("L").convert("RGB").resize((300, 300))
    image.paste((255, 255, 255), (0, 0, 40, 300))
    image.save(tmp_path / "a.png")
    gallery.reduce_palette(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as reduced:
        assert reduced.mode == "P"
        assert reduced.convert("RGB").getpixel((5, 5)) == (255, 255, 255)
