"""A CSV and a folder of pictures become a catalogue; every loss is reported."""

import json

import pytest
from PIL import Image

from scale import cli
from scale.data.catalogue import Catalogue
from scale.data.importers.csv import import_csv

CSV = """id,title,category,Colour,Size,image
a,Red mug,mug,red,9 cm,a.png
b,  ,mug,nan,,sub/b.png
c,Lamp,lamp,none,40 cm,gone.png
d,Thief,lamp,-,1 cm,../secret.png
a,Red mug again,mug,red,9 cm,a.png
e,Broken,mug,blue,3 cm,broken.png
"""


@pytest.fixture
def shop(tmp_path):
    pictures = tmp_path / "pictures"
    (pictures / "sub").mkdir(parents=True)
    for name, colour in (("a.png", "red"), ("sub/b.png", "blue"), ("../secret.png", "black")):
        Image.new("RGB", (8, 8), colour).save(pictures / name)
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"no picture")
    (tmp_path / "shop.csv").write_text(CSV, encoding="utf-8")
    return tmp_path


def test_the_catalogue_judges_what_the_csv_said(shop):
    made = import_csv(shop / "shop.csv", shop / "pictures", shop / "out")
    assert (made.products, made.pairs) == (6, 9)
    assert made.copied == {"image": 4}
    assert made.not_found == {"image": 2}
    assert made.empty == {"title": 1, "Colour": 2, "Size": 1}
    catalogue = Catalogue.open(shop / "out")
    assert catalogue.info["name"] == "shop"
    a, b, c, _, e = catalogue.products
    assert a.table == (("Colour", "red"), ("Size", "9 cm"))
    assert a.present == ("text", "table", "image")
    assert b.present == ("image",)
    assert b.image == shop / "out" / "image" / "sub" / "b.png"
    assert ("Colour", "none") in c.table, "a value, not a gap"
    reasons = [(p.id, p.kind) for p in catalogue.problems]
    assert reasons == [
        ("c", "missing file"), ("d", "path leaves the folder"), ("a", "duplicate id"),
    ]  # fmt: skip
    assert e.image is not None
    found = catalogue.summary(progress=False).problems
    assert [(p.id, p.kind) for p in found if p.id == "e"] == [("e", "does not decode")]


def test_nothing_outside_the_folder_of_media_is_copied(shop):
    (shop / "pictures" / "link.png").symlink_to(shop / "secret.png")
    text = "id,image\nx,link.png\ny,../secret.png\nz," + str(shop / "secret.png") + "\n"
    (shop / "shop.csv").write_text(text, encoding="utf-8")
    made = import_csv(shop / "shop.csv", shop / "pictures", shop / "out")
    assert not made.copied
    assert not list((shop / "out").rglob("*.png"))
    assert len(Catalogue.open(shop / "out").problems) == 3


def test_other_names_encodings_and_delimiters(shop, capsys):
    text = "SKU;Product;Photo;split\n1;红色马克杯;a.png;Train\n\n2;Short\n"
    (shop / "zh.csv").write_text(text, encoding="gb18030")
    command = [
        "import", str(shop / "zh.csv"), "--images", str(shop / "pictures"), "--out",
        str(shop / "out"), "--columns", "id=SKU", "title=Product", "image=Photo",
        "--delimiter", ";", "--language", "zh",
    ]  # fmt: skip
    assert cli.main(command) == 2
    assert "--encoding gb18030" in capsys.readouterr().err
    assert not (shop / "out").exists()
    assert cli.main([*command, "--encoding", "gb18030"]) == 0
    assert "2 products" in capsys.readouterr().out
    first, second = Catalogue.open(shop / "out")
    assert (first.text, first.split, first.table) == ("红色马克杯", "train", None)
    assert second.present == ("text",)
    info = json.loads((shop / "out" / "catalogue.json").read_text(encoding="utf-8"))
    assert info == {"name": "zh", "language": "zh"}


def test_faulty_files_are_refused(shop):
    for text, options, message in (
        ("", {}, "no header"),
        ("sku,title\n1,x\n", {}, "no column 'id' for the id; columns: sku, title"),
        ("id,title\n1,x,y\n", {}, "shop.csv:2: 3 cells, the header has 2"),
        ("id,a,a\n1,x,y\n", {}, "column 'a' occurs twice"),
        ('id,title\n1,"x\n', {}, "not CSV"),
        ("id\n1\n", {"columns": {"price": "id"}}, "unknown record key 'price'"),
        ("id\n1\n", {"columns": {"title": "Name"}}, "no column 'Name' for the title"),
        ("id\n1\n", {"encoding": "klingon"}, "unknown encoding"),
    ):
        (shop / "shop.csv").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            import_csv(shop / "shop.csv", shop / "pictures", shop / "out", **options)
        assert not (shop / "out" / "products.jsonl").exists()


def test_an_existing_catalogue_stays(shop):
    import_csv(shop / "shop.csv", shop / "pictures", shop / "out")
    with pytest.raises(ValueError, match="already contains a catalogue"):
        import_csv(shop / "shop.csv", shop / "pictures", shop / "out")
    with pytest.raises(ValueError, match="no such folder"):
        import_csv(shop / "shop.csv", shop / "nowhere", shop / "other")
    with pytest.raises(ValueError, match="no such file"):
        import_csv(shop / "nowhere.csv", shop / "pictures", shop / "other")
