"""figures/: complete, small enough, and not older than what draws it."""

import json

from PIL import Image

from tools import gallery


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
