"""The common path of all importers: columns by name, text, media, and a report of every loss."""

import gzip
import http.server
import json
import threading
import unicodedata
from contextlib import contextmanager

import numpy as np
import openpyxl
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import scale
from scale import cli
from scale.data.catalogue import Catalogue
from scale.data.importers.columns import SYNONYMS, map_columns
from scale.data.importers.importer import import_catalogue, open_rows
from scale.data.importers.rows import Options
from scale.data.importers.text import (
    clean_text,
    detect_delimiter,
    detect_encoding,
    parse_rows,
    plain_text,
)
from scale.data.product import CatalogueError
from scale.data.vectors import read_vectors

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


def opened(folder, text, name="x.csv", encoding="utf-8", **options):
    """Write a table and open it in place, with the pictures of the shop."""
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return scale.open(folder / name, media=folder / "pictures", **options)


def test_the_catalogue_judges_what_the_csv_said(shop):
    made = import_catalogue(shop / "shop.csv", shop / "out", media=shop / "pictures")
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
    made = import_catalogue(shop / "shop.csv", shop / "out", media=shop / "pictures")
    assert not made.copied
    assert not list((shop / "out").rglob("*.png"))
    assert len(Catalogue.open(shop / "out").problems) == 3


def test_the_command_prints_the_columns_before_it_writes(shop, capsys):
    text = "SKU;Product;Photo;split\n1;红色马克杯;a.png;Train\n\n2;Short;;holdout\n"
    (shop / "zh.csv").write_text(text, encoding="gb18030")
    command = ["import", str(shop / "zh.csv"), "--images", str(shop / "pictures")]
    assert cli.main(command) == 0
    shown = capsys.readouterr().out
    assert "csv, encoding gb18030, delimiter semicolon" in shown
    for role, column in (("id", "SKU"), ("title", "Product"), ("image", "Photo")):
        assert f"  {role:<22} <- {column}\n" in shown
    assert "warning: no product has a table" in shown
    assert "nothing is written" in shown
    out = ["--out", str(shop / "out"), "--language", "zh"]
    assert cli.main([*command, *out, "--encoding", "utf-8"]) == 2
    assert "--encoding gb18030" in capsys.readouterr().err
    assert cli.main([*command, *out]) == 0
    printed = capsys.readouterr().out
    assert "2 products" in printed
    assert "warning: split 'holdout' of 1 product is unknown" in printed
    first, second = Catalogue.open(shop / "out")
    assert (first.text, first.split, first.table) == ("红色马克杯", "train", None)
    assert second.present == ("text",)
    info = json.loads((shop / "out" / "catalogue.json").read_text(encoding="utf-8"))
    assert info == {"name": "zh", "language": "zh"}


def test_faulty_files_are_refused(shop):
    for text, options, message in (
        ("", {}, "no header"),
        ("id,title\n", {}, "no row that can be read"),
        (None, {}, "no such file or folder"),
        ("id,title\n1,a,b\n", {}, "no row that can be read: 3 cells, the header has 2"),
        ("id\n1\n", {"columns": {"price": "id"}}, "unknown record key 'price'"),
        ("id\n1\n", {"columns": {"title": "Name"}}, "no column 'Name' for the title"),
        ("id\n1\n", {"options": Options(encoding="klingon")}, "unknown encoding"),
        ("id\n1\n", {"options": Options(delimiter="ab")}, "delimiter 'ab': one character"),
        ("id\n1\n", {"pattern": "{sku}.png"}, "no column 'sku'; columns: id"),
        ("id\n1\n", {"format": "klingon"}, "unknown format 'klingon'; known: "),
        ("PK\x03\x04", {}, "damaged xlsx"),
    ):
        source = shop / ("gone.csv" if text is None else "shop.csv")
        if text is not None:
            source.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            import_catalogue(source, shop / "out", media=shop / "pictures", **options)
        assert not (shop / "out" / "products.jsonl").exists()


def test_an_existing_catalogue_stays(shop):
    import_catalogue(shop / "shop.csv", shop / "out", media=shop / "pictures")
    with pytest.raises(ValueError, match="already contains a catalogue"):
        import_catalogue(shop / "shop.csv", shop / "out", media=shop / "pictures")
    with pytest.raises(ValueError, match="no such folder"):
        import_catalogue(shop / "shop.csv", shop / "other", media=shop / "nowhere")
    with pytest.raises(ValueError, match="no such file"):
        import_catalogue(shop / "nowhere.csv", shop / "other", media=shop / "pictures")


def test_columns_by_name_and_by_value():
    sample = [
        {
            "Product Name": f"cup {n}", "SKU": n, "Photo": "a.jpg", "Photo 2": "b.jpg",
            "Art": "xy"[n % 2],
            "Kategorie": "xy"[n % 2], "label": "k", "Description": "long",
            "link": "https://a.b/c", "Colour": "red", "": n,
        }
        for n in range(10)
    ]  # fmt: skip
    mapping = map_columns(list(sample[0]), sample)
    assert mapping.roles == {
        "Product Name": "title", "SKU": "id", "Photo": "image", "Photo 2": "image",
        "Art": "labels", "Kategorie": "category", "label": "labels", "Description": "kept",
        "link": "kept", "Colour": "table", "": "ignored",
    }  # fmt: skip
    assert mapping.notes == [
        "'Art' repeats the category, so it is a label, not an input", "id: numbers taken as text",
    ]  # fmt: skip
    assert mapping.warnings == []
    chosen = map_columns(list(sample[0]), sample, {"table": ["Art", "label"], "title": "photo"})
    assert [chosen.roles[name] for name in ("Art", "label", "Photo")] == ["table", "table", "title"]


def test_empty_modalities_are_warned_of_with_likely_columns():
    sample = [{"nr": n, "Titel (lang)": "A red cup", "pic file": "a.jpg"} for n in range(3)]
    mapping = map_columns(list(sample[0]), sample)
    assert [w.split(" (--")[0] for w in mapping.warnings] == [
        "no product has a title; likely columns: Titel (lang)",
        "no product has an image; likely columns: pic file",
    ]
    assert mapping.notes == ["no column of ids: products are numbered"]


@given(
    role=st.sampled_from([r for r in SYNONYMS if r not in ("table", "alt", "labels", "content")]),
    data=st.data(),
)
def test_a_synonym_is_found_in_any_spelling(role, data):
    synonym = data.draw(st.sampled_from(SYNONYMS[role].split()))
    letters = [data.draw(st.sampled_from([c, c.upper(), f"{c} ", f"_{c}"])) for c in synonym]
    value = {"image": "a.jpg", "video": "a.mp4", "audio": "a.mp3"}.get(role, "x")
    mapping = map_columns(["".join(letters), "Colour"], [{"".join(letters): value}])
    [found] = [r for name, r in mapping.roles.items() if name != "Colour"]
    # A name may have several meanings; the first of SYNONYMS that its values fit counts.
    meanings = [r for r, names in SYNONYMS.items() if synonym in names.split()]
    assert found in meanings
    assert mapping.roles["Colour"] == "table"


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_delimiter_and_encoding_of_any_table_are_found(tmp_path_factory, rows, delimiter, encoding):
    import csv

    path = tmp_path_factory.getbasetemp() / "any.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("id", "title", "size"), *rows])
    assert detect_encoding(path) == encoding
    lines = path.read_text(encoding).splitlines(keepends=True)
    assert detect_delimiter(lines) == delimiter
    assert [tuple(row) for _, row, _ in parse_rows(lines, delimiter)][1:] == rows


WORDS = {
    "gb18030": ["红色马克杯", "搪瓷水壶", "欧式复古", "陶瓷咖啡杯", "礼盒装", "连衣裙", "鼠标"],
    "cp932": ["赤いマグカップ", "琺瑯ケトル", "日本製ガラス", "ステンレス包丁", "陶器の皿"],
    "cp1252": ["Café", "„groß“", "5 €", "Käse", "Müller’s Öl", "crème brûlée", "5½",
               "œuvre", "façade"],
}  # fmt: skip


@given(st.sampled_from(list(WORDS)), st.data())
def test_encodings_that_are_not_unicode_are_told_apart(tmp_path_factory, encoding, data):
    words = data.draw(st.lists(st.sampled_from(WORDS[encoding]), min_size=1, max_size=6))
    path = tmp_path_factory.getbasetemp() / "words.csv"
    path.write_bytes(("id,title\n1," + " 12 cm ".join(words)).encode(encoding))
    assert detect_encoding(path) == encoding


def test_irregular_tables(shop):
    long = "lorem ipsum " * 20_000
    for text, titles, problems, note in (
        ("id,title\n1,Red\n2\n3,Green,4\n", ["Red", None], ["malformed line: 3 cells, the header "
          "has 2"], "1 rows: fewer cells than the header"),
        ('id,title\n1,"Red\n2,Blue\n', ['"Red', "Blue"], [], "1 rows: quotes misplaced"),
        ('id\ttitle\n1\t"Pro" 5"\n2\tx\n', ['"Pro" 5"', "x"], [], "delimiter tab"),
        ("sep=;\nid;title\n1;Kessel 1,5 l\n", ["Kessel 1,5 l"], [], "delimiter semicolon"),
        ('id,title\n1,"Red\nkettle\r\nbig"\n', ["Red kettle big"], [], "id"),
        ("id,title\n1,Red\0kettle\x1b[31m!\n", ["Red kettle !"], [], "id"),
        ("id,title\n1,Nan\n2,NULL\n3,-\n", ["Nan", "NULL", None], [], "id"),
        (f"id,title\n1,{long}\n", [long.strip()], [], "id"),
        ("id,title\n4.00638E+12,x\n", ["x"], [], "shortened by a spreadsheet"),
        ("title\nx\ny\n", ["x", "y"], [], "products are numbered"),
    ):  # fmt: skip
        found = opened(shop, text)
        assert [p.text for p in found] == titles
        assert [p.reason for p in found.problems] == problems
        assert any(note in line for line in found.notes), (text, found.notes)


def test_decimal_commas_become_points(shop):
    text = "id;title;Price;Size\n1;Topf;4,50 €;1,5\n2;Tee;1.234,50;12\n"
    found = opened(shop, text)
    assert [p.table for p in found] == [
        (("Price", "4.50 €"), ("Size", "1.5")), (("Price", "1234.50"), ("Size", "12")),
    ]  # fmt: skip
    assert "decimal comma" in found.notes[0]
    assert opened(shop, text, decimal=".")[0].table[0] == ("Price", "4,50 €")
    kept = opened(shop, 'id,title,Price\n1,x,1.50\n2,y,"1,250"\n')
    assert kept[1].table == (("Price", "1,250"),), "a thousands separator beside decimal points"


def test_paths_in_another_spelling_are_found(shop):
    pictures = shop / "pictures"
    (pictures / unicodedata.normalize("NFD", "Ümlaut (1).JPG")).write_bytes(b"x")
    nfc = unicodedata.normalize("NFC", "Ümlaut (1).JPG")
    names = [
        nfc, nfc.lower(), "%C3%9Cmlaut%20(1).JPG", "sub\\b.png", "C:\\me\\a.png", "a",
        "https://x.y/files/sub/b.png?v=1", "gone/b.png", "../a.png",
    ]  # fmt: skip
    rows = [{"id": str(n), "image": name} for n, name in enumerate(names)]
    found = Catalogue.from_records(rows, media=pictures)
    umlaut = pictures / unicodedata.normalize("NFD", nfc)
    expected = [umlaut, umlaut, umlaut, pictures / "sub/b.png", pictures / "a.png",
                pictures / "a.png", pictures / "sub/b.png", None, None]  # fmt: skip
    assert [p.image for p in found] == expected
    (shop / "products.jsonl").write_text(json.dumps({"id": "1", "image": f"pictures/{nfc}"}))
    assert scale.open(shop / "products.jsonl")[0].image == umlaut


def test_several_pictures_and_pictures_by_pattern(shop):
    found = opened(shop, 'id,image,image\n1,a.png,sub/b.png\n2,"a.png, sub/b.png, c.png",\n')
    assert [p.alt.image for p in found] == [shop / "pictures/sub/b.png"] * 2
    assert found[1].extra == {"more_image": ["c.png"]}
    (shop / "pictures/c.png").write_bytes(b"c")
    made = import_catalogue(shop / "x.csv", shop / "out", media=shop / "pictures")
    assert made.further == 1
    second = scale.open(shop / "out", strict=True)[1]
    [third] = second.extra["more_image"]
    assert (shop / "out" / third).read_bytes() == b"c"
    found = opened(shop, "code,group\nb,sub\n", columns={"id": "code"}, pattern="{group}/{id}.png")
    assert found[0].image == shop / "pictures/sub/b.png"
    found = opened(shop, "id\nsubway\n", pattern="{id:.3}/b.png")
    assert found[0].image == shop / "pictures/sub/b.png"


def test_html_becomes_text():
    for text, wanted in (
        ("Mug &amp; Saucer 1&frac12;&nbsp;l", "Mug & Saucer 1½ l"),
        ("<p>Made in <b>Bava</b>ria</p><br/>new", "Made in Bavaria new"),
        ("x<script>alert(1)</script>y<!-- z -->", "x y"),
        ("size < 5 cm & <unknown> a<b AT&T", "size < 5 cm & <unknown> a<b AT&T"),
    ):
        assert plain_text(text) == wanted
    assert clean_text("a\x01b\tc\x1b[1m\u2028d") == "a b c d"


def test_html_is_warned_of_and_cleaned_on_demand(shop):
    text = "id,title,Note\n1,Mug &amp; Saucer,<p>nice</p>\n"
    raw = opened(shop, text)
    assert raw[0].text == "Mug &amp; Saucer"
    assert any("texts contain HTML" in note for note in raw.notes)
    clean = opened(shop, text, html=True)
    assert (clean[0].text, clean[0].table) == ("Mug & Saucer", (("Note", "nice"),))


def test_control_characters_end_at_the_border_of_a_catalogue(tmp_path):
    record = {
        "id": "1\x1b[2J", "title": "a\x01b\ttab", "table": [["k\x07", "v"]], "image": "a\x01.png",
        "alt": {"title": "\x9bq", "image": "b\x01.png"}, "note": {"x": ["\ufffe"]},
    }  # fmt: skip
    for name in ("a\x01.png", "b\x01.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "products.jsonl").write_text(json.dumps(record))
    catalogue = Catalogue.open(tmp_path)
    [product] = catalogue
    assert (product.id, product.text, product.table) == ("1 ", "a b\ttab", (("k ", "v"),))
    assert (product.alt.text, product.extra) == (" q", {"note": {"x": [" "]}})
    assert product.image == tmp_path / "a\x01.png"
    assert product.alt.image == tmp_path / "b\x01.png"
    [problem] = catalogue.problems
    assert (problem.modality, problem.reason) == (
        None, "control characters: replaced by blanks in id, title, table, alt, note",
    )  # fmt: skip


def test_one_table_in_every_container(shop):
    rows = [
        {"SKU": 1, "Name": "Red cup", "Category": 10, "Photo": "a.png", "Price": 1.5, "Size": 3},
        {"SKU": 2, "Name": None, "Category": 20, "Photo": None, "Price": None, "Size": None},
    ]
    frame = pd.DataFrame(rows)
    frame.to_parquet(shop / "flat.parquet")
    frame.convert_dtypes().to_csv(shop / "flat.csv", index=False)
    frame.to_json(shop / "flat.json", orient="records")
    with gzip.open(shop / "flat.jsonl.gz", "wt") as file:
        file.write("\n".join(json.dumps(row) for row in rows))
    book = openpyxl.Workbook()
    for values in (list(rows[0]), *(list(row.values()) for row in rows)):
        book.active.append(values)
    book.save(shop / "flat.xlsx")
    sources = [shop / name for name in ("flat.csv", "flat.json", "flat.jsonl.gz", "flat.xlsx")]
    for source in (*sources, shop / "flat.parquet", frame, pl.DataFrame(rows), rows, iter(rows)):
        found = scale.open(source, media=shop / "pictures")
        first, second = found
        assert (first.id, first.text, first.category) == ("1", "Red cup", "10"), source
        assert first.table == (("Price", "1.5"), ("Size", "3")), source
        assert first.image == shop / "pictures/a.png"
        assert (second.id, second.category, second.present) == ("2", "20", ())
        assert found.problems == []
        text = isinstance(source, type(shop)) and source.name == "flat.csv"
        assert text or any("id: numbers taken as text" in note for note in found.notes), source


def test_unknown_keys_of_a_catalogue_are_warned_of(tmp_path, caplog):
    record = {"id": 3, "text": "red kettle", "attributes": {"Brand": "Ondo"}, "img": "a.jpg"}
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "products.jsonl").write_text(json.dumps(record))
    found = scale.open(tmp_path)
    assert found[0].extra.keys() == {"text", "attributes", "img"}
    (tmp_path / "items.jsonl").write_text(json.dumps(record))
    [product] = scale.open(tmp_path / "items.jsonl", strict=True)
    assert (product.text, product.table) == ("red kettle", (("Brand", "Ondo"),))
    assert product.image == tmp_path / "a.jpg"
    assert found.notes[0] == "id: 1 numbers taken as text"
    for key, name in (("title", "text"), ("table", "attributes"), ("image", "img")):
        assert f"key {name!r} is not used and no product has the key {key!r}" in caplog.text
    import_catalogue(tmp_path / "products.jsonl", tmp_path / "out")
    [product] = scale.open(tmp_path / "out", strict=True)
    assert (product.id, product.text, product.table) == ("3", "red kettle", (("Brand", "Ondo"),))
    assert product.image == tmp_path / "out/image/a.jpg"


def test_media_are_linked_or_used_in_place_if_the_user_allows_it(shop, monkeypatch):
    options = {"media": shop / "pictures"}
    import_catalogue(shop / "shop.csv", shop / "linked", mode="link", **options)
    source, linked = shop / "pictures/a.png", shop / "linked/image/a.png"
    assert source.samefile(linked)
    made = import_catalogue(shop / "shop.csv", shop / "used", mode="in-place", **options)
    assert made.copied == {"image": 4}
    assert not list((shop / "used").rglob("*.png"))
    with pytest.raises(CatalogueError, match="SCALE_MEDIA_ROOT="):
        scale.open(shop / "used")
    assert scale.open(shop / "used", media=shop / "pictures")[0].image == source
    monkeypatch.setenv("SCALE_MEDIA_ROOT", str(shop / "pictures"))
    assert scale.open(shop / "used")[0].image.resolve() == source
    inside = import_catalogue(shop / "shop.csv", shop, mode="in-place", **options)
    assert inside.not_found == {"image": 2}
    assert scale.open(shop)[0].image == source


@contextmanager
def server(folder, requests):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def do_GET(self):
            requests.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_addresses_are_downloaded_once_and_only_on_demand(shop):
    requests: list[str] = []
    (shop / "empty").mkdir()
    (shop / "pictures/page.html").write_text("<html>")
    (shop / "pictures/none.png").write_bytes(b"")
    with server(shop / "pictures", requests) as address:
        rows = [{"id": str(n), "image": f"{address}/{name}"} for n, name in enumerate(
            ("a.png?v=2", "a.png?v=2", "gone.png", "page.html", "none.png"))]  # fmt: skip
        made = import_catalogue(open_rows(rows), shop / "not", media=shop / "empty")
        assert requests == []
        assert made.addresses == {"image": 5}
        assert {p.kind for p in scale.open(shop / "not").problems} == {"address of a file"}
        made = import_catalogue(open_rows(rows), shop / "out", media=shop / "empty", fetch=True)
        assert sorted(requests) == ["/a.png?v=2", "/gone.png", "/none.png", "/page.html"]
        assert sorted(made.failed.values()) == ["an HTML page, not a file", "empty", "status 404"]
        assert made.copied == {"image": 2}
        first, second = scale.open(shop / "out").products[:2]
        assert first.image == second.image
        assert first.image.read_bytes() == (shop / "pictures/a.png").read_bytes()
        report = [json.loads(x) for x in (shop / "out/fetched.jsonl").read_text().splitlines()]
        assert report[0] == {"url": f"{address}/a.png?v=2", "file": "image/" + first.image.name}
        assert report[1] == {"url": f"{address}/gone.png", "error": "status 404"}
        (shop / "out/products.jsonl").unlink()
        requests.clear()
        import_catalogue(open_rows(rows), shop / "out", media=shop / "empty", fetch=True)
        assert "/a.png?v=2" not in requests


def test_vectors_of_all_products_in_one_matrix(shop):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(shop / "clip.npy", values)
    (shop / "clip.ids.txt").write_text("c\nb\nx\n")
    np.savez(shop / "clip.npz", ids=np.array(["c", "b", "x"]), emb=values)
    frame = pd.DataFrame({"id": ["c", "b", "x"], "emb": list(values)})
    frame.to_parquet(shop / "clip.parquet")
    rows = [{"id": name, "title": name, "image": "a.png"} for name in "abc"]
    for file in ("clip.npy", "clip.npz", "clip.parquet"):
        out = shop / f"out-{file}"
        made = import_catalogue(open_rows(rows), out, vectors={"image": shop / file})
        assert made.copied == {"image vectors": 2}
        assert made.not_found == {"image vectors": 1}
        assert "warning: 1 rows of image vectors fit no product" in str(made)
        a, b, c = scale.open(out, strict=True)
        assert a.image is None
        np.testing.assert_array_equal(read_vectors(b.image), values[1:2])
        np.testing.assert_array_equal(read_vectors(c.image), values[:1])
    (shop / "clip.ids.txt").unlink()
    import_catalogue(open_rows(rows), shop / "in-order", vectors={"image": shop / "clip.npy"})
    np.testing.assert_array_equal(read_vectors(scale.open(shop / "in-order")[2].image), values[2:])
    for ids, message in (("a\n", "1 ids for 3 rows"), ("a\na\nb\n", "1 ids occur twice")):
        (shop / "clip.ids.txt").write_text(ids)
        with pytest.raises(ValueError, match=message):
            import_catalogue(open_rows(rows), shop / "bad", vectors={"image": shop / "clip.npy"})
    assert not (shop / "bad").exists()


def test_a_workbook_with_damaged_compression_is_refused(tmp_path):
    """openpyxl raises zlib.error, and not an error of its own."""
    import zipfile

    import openpyxl

    book, path = openpyxl.Workbook(), tmp_path / "x.xlsx"
    for row in (["id", "title"], ["a", "Mug"]):
        book.active.append(row)
    book.save(path)
    (info,) = (i for i in zipfile.ZipFile(path).infolist() if i.filename.endswith("sheet1.xml"))
    content, at = bytearray(path.read_bytes()), info.header_offset + 30 + len(info.filename)
    content[at : at + 20] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a readable workbook"):
        import_catalogue(path, tmp_path / "out")
