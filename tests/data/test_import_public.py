"""Public data sets, in the layouts of their owners, become catalogues."""

# ruff: noqa: E501
import gzip
import io
import json
import tarfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import scale
from scale.data.importers.formats import detect_format
from scale.data.importers.importer import import_catalogue


def picture(colour="red"):
    data = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(data, "PNG")
    return data.getvalue()


def write(folder, *names):
    """Write pictures under these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture())


def products(path, name, **options):
    """Check the detected format and return the products, opened in place."""
    assert detect_format(path) == name
    return scale.open(path, strict=True, **options).products


def test_imagefolder_with_metadata(tmp_path):
    write(tmp_path, "train/0.png", "validation/0.png", "train/unlisted.png")
    lines = [{"file_name": "0.png", "text": "a kettle", "label": 3}]
    (tmp_path / "train/metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "validation/metadata.csv").write_text("file_name,text\n0.png,a pot\n")
    first, second = products(tmp_path, "imagefolder")
    assert (first.id, first.text, first.split, first.category) == (
        "train/0",
        "a kettle",
        "train",
        "3",
    )
    assert first.image == tmp_path / "train/0.png"
    assert first.table is None
    assert (second.id, second.text, second.split) == ("validation/0", "a pot", "val")


def test_folders_of_classes(tmp_path):
    write(tmp_path, "train/mug/1.png", "test/lamp/1.png")
    test, train = products(tmp_path, "imagefolder")
    assert (train.id, train.category, train.split) == ("train/mug/1", "mug", "train")
    assert (test.category, test.split, test.image) == ("lamp", "test", tmp_path / "test/lamp/1.png")


def test_hugging_face_parquet(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["mug", "lamp"]}}
    rows = [{"image": {"bytes": picture(), "path": "x/../a.png"}, "text": "red", "label": 1},
            {"image": None, "text": "blue", "label": 0}]  # fmt: skip
    table = pa.Table.from_pylist(rows)
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    for name in ("train-00000-of-00002.parquet", "validation-00000-of-00001.parquet"):
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(table.replace_schema_metadata(meta), tmp_path / "data" / name)
    pq.write_table(table, tmp_path / "data/extra.parquet")
    assert detect_format(tmp_path) == "parquet"
    made = import_catalogue(tmp_path, tmp_path / "out")
    assert "warning: not read, because they are no shards: extra.parquet" in made.facts
    assert "warning: 1 of 2 shards of 'train' are there" in made.facts
    found = scale.open(tmp_path / "out", strict=True)
    assert [(p.text, p.category, p.split) for p in found] == [
        ("red", "lamp", "train"), ("blue", "mug", "train"), ("red", "lamp", "val"), ("blue", "mug", "val"),
    ]  # fmt: skip
    assert found[0].image.read_bytes() == picture()
    assert found[0].image.parent == tmp_path / "out/image"
    in_place = scale.open(tmp_path).problems
    assert {p.kind for p in in_place} == {"media inside another file"}


def test_webdataset(tmp_path):
    members = {
        "a/000.jpg": picture(), "a/000.txt": b"a red cup", "a/000.json": b'{"price": 3, "status": "success"}',
        "a/000.cls": b"4", "../evil.png": picture("blue"), "b.c/001.png": picture("blue"), "b.c/001.json": b"{",
    }  # fmt: skip
    with tarfile.open(tmp_path / "shard-0.tar", "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("a/002.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    (tmp_path / "shard-1.tar").write_bytes((tmp_path / "shard-0.tar").read_bytes()[:700])
    assert detect_format(tmp_path) == detect_format(tmp_path / "shard-0.tar") == "webdataset"
    made = import_catalogue(tmp_path, tmp_path / "out")
    assert [reason.split(":")[0] for _, reason in made.bad] == [
        "b.c/001.json", "damaged tar file shard-1.tar",
    ]  # fmt: skip
    first, evil, second = scale.open(tmp_path / "out")
    assert (first.id, first.text, first.category) == ("a/000", "a red cup", "4")
    assert first.table == (("price", "3"),)
    assert first.image.read_bytes() == picture()
    assert (evil.id, second.id) == ("../evil", "b.c/001")
    assert evil.image.parent == tmp_path / "out/image"
    assert second.image.read_bytes() == picture("blue")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "shard-0.tar", "shard-1.tar"]


def test_amazon_berkeley_objects(tmp_path):
    write(tmp_path, "images/small/00/a.jpg", "images/small/01/b.jpg")
    (tmp_path / "images/metadata").mkdir()
    (tmp_path / "listings/metadata").mkdir(parents=True)
    with gzip.open(tmp_path / "images/metadata/images.csv.gz", "wt") as file:
        file.write("image_id,height,width,path\nA,8,8,00/a.jpg\nB,8,8,01/b.jpg\n")
    item = {
        "item_id": "B07", "main_image_id": "A", "other_image_id": ["gone", "B"], "country": "US",
        "item_name": [{"language_tag": "de_DE", "value": "Sessel"}, {"language_tag": "en_US", "value": "Chair"}],
        "brand": [{"language_tag": "en_US", "value": "Ondo"}, {"language_tag": "de_DE", "value": "Ondo DE"}],
        "item_weight": [{"unit": "pounds", "value": 67.5}], "product_type": [{"value": "CHAIR"}],
        "item_dimensions": {"height": {"unit": "inches", "value": 33.5}},
        "bullet_point": [{"language_tag": "en_US", "value": "Solid"}], "node": [{"node_name": "/Home"}],
    }  # fmt: skip
    other = {
        "item_id": "B07",
        "item_name": [{"language_tag": "fr_FR", "value": "Chaise"}],
        "node": [],
        "country": "FR",
    }
    with gzip.open(tmp_path / "listings/metadata/listings_0.json.gz", "wt") as file:
        file.write(json.dumps(item) + "\n" + json.dumps(other) + "\n")
    [chair] = products(tmp_path, "abo")
    assert (chair.id, chair.text, chair.category) == ("B07", "Chair", "CHAIR")
    assert chair.table == (
        ("brand", "Ondo"), ("item_weight", "67.5 pounds"), ("item_dimensions height", "33.5 inches"),
    )  # fmt: skip
    assert chair.image == tmp_path / "images/small/00/a.jpg"
    assert chair.alt.image == tmp_path / "images/small/01/b.jpg"
    assert (chair.labels, chair.extra) == ({"node": "/Home"}, {"bullet_point": ["Solid"]})
    [german] = products(tmp_path, "abo", language="de")
    assert (german.text, german.table[0]) == ("Sessel", ("brand", "Ondo DE"))
    file = tmp_path / "listings/metadata/listings_0.json.gz"
    assert products(file, "abo")[0].image == tmp_path / "images/small/00/a.jpg"


def test_amazon_reviews(tmp_path):
    write(tmp_path, "main.jpg", "side.jpg")
    item = {
        "main_category": "All Beauty", "title": "Soap &amp; towel", "average_rating": 4.8, "features": ["Easy", "Soft"],
        "description": [], "price": None, "store": "Ondo", "categories": ["Beauty", "Bath"], "parent_asin": "B01",
        "images": [{"large": "https://m/side.jpg", "variant": "PT01", "hi_res": None},
                   {"large": "https://m/x.jpg", "variant": "MAIN", "hi_res": "https://m/main.jpg"}],
        "details": {"UPC": "071", "Size": "3 oz"}, "videos": [{"url": "https://m/1"}],
    }  # fmt: skip
    (tmp_path / "meta.jsonl").write_text(
        json.dumps(item) + "\n{\n" + json.dumps(item | {"parent_asin": "B02"})
    )
    found = scale.open(tmp_path / "meta.jsonl")
    soap = found[0]
    assert detect_format(tmp_path / "meta.jsonl") == "amazon_reviews"
    assert (soap.id, soap.text, soap.category) == ("B01", "Soap & towel", "Beauty > Bath")
    assert soap.table == (("store", "Ondo"), ("UPC", "071"), ("Size", "3 oz"))
    assert (soap.image, soap.alt.image) == (tmp_path / "main.jpg", tmp_path / "side.jpg")
    assert soap.extra == {"features": "Easy Soft"}
    assert soap.labels == {"main_category": "All Beauty"}
    assert len(found) == 2
    assert [p.kind for p in found.problems] == ["malformed line"]


def test_flipkart(tmp_path):
    write(tmp_path, "a.jpeg", "b.jpeg")
    ruby = '{"product_specification"=>[{"key"=>"Fabric => x", "value"=>"Cotton \\"soft\\""}, {"value"=>"nil"}, {"key"=>"Fit", "value"=>nil}]}'
    pd.DataFrame({
        "uniq_id": ["c2d", "e"], "product_name": ["Shorts", "Odd"], "pid": ["P1", "P2"],
        "product_category_tree": ['["Clothing >> Women >> Shorts"]', '["Odd"]'],
        "image": ['["http://i/a.jpeg", "http://i/b.jpeg"]', ""],
        "product_specifications": [ruby, '{"product_specification"=>{"key"=>"Fit", "value"=>"Slim"}}'],
        "brand": ["Ondo", None], "description": ["Nice", ""],
    }).to_csv(tmp_path / "flipkart.csv", index=False)  # fmt: skip
    shorts, odd = products(tmp_path / "flipkart.csv", "flipkart")
    assert (shorts.id, shorts.text, shorts.category) == ("c2d", "Shorts", "Clothing")
    assert set(shorts.table) == {("Fabric => x", 'Cotton "soft"'), ("brand", "Ondo")}
    assert (shorts.image, shorts.alt.image) == (tmp_path / "a.jpeg", tmp_path / "b.jpeg")
    assert shorts.labels["product_category_tree"] == "Clothing >> Women >> Shorts"
    assert (odd.category, odd.table) == (None, (("Fit", "Slim"),))


def test_hm(tmp_path):
    write(tmp_path, "images/010/0108775015.jpg")
    (tmp_path / "articles.csv").write_text(
        "article_id,product_code,prod_name,product_type_no,product_type_name,colour_group_name,detail_desc\n"
        "0108775015,0108775,Strap top,253,Vest top,Black,Jersey top\n"
        "0108775044,0108775,Strap top,253,Vest top,White,Jersey top\n"
    )
    assert detect_format(tmp_path / "articles.csv") == detect_format(tmp_path) == "hm"
    found = scale.open(tmp_path)
    black, white = found
    assert (black.id, black.text, black.category) == ("0108775015", "Strap top", "Vest top")
    assert black.image == tmp_path / "images/010/0108775015.jpg"
    assert (white.table, white.image) == ((("colour_group_name", "White"),), None)
    assert [(p.id, p.kind) for p in found.problems] == [("0108775044", "missing file")]
    [merged] = scale.open(tmp_path, variants="merge")
    assert merged.table == (("colour_group_name", "Black, White"),)


def test_rakuten(tmp_path):
    write(tmp_path, "images/image_train/image_11_product_22.jpg")
    text = ",designation,description,productid,imageid\n7,Caf&eacute;,<b>Bon</b>,22,11\n"
    (tmp_path / "X_train_update.csv").write_text(text)
    (tmp_path / "Y_train_CVw08PX.csv").write_text(",prdtypecode\n7,2583\n")
    for source in (tmp_path, tmp_path / "X_train_update.csv"):
        [cup] = products(source, "rakuten")
        assert (cup.id, cup.text, cup.category) == ("22", "Café", "2583")
        assert cup.image == tmp_path / "images/image_train/image_11_product_22.jpg"
        assert (cup.table, cup.extra) == (None, {"description": "Bon"})


def test_product1m(tmp_path):
    write(tmp_path, "images/1.jpg")
    line = "{}#####韩国套装#####https://a/x.jpg#####http://oss/images/1.jpg#####AHC 霜#;#AHC 水\n"
    (tmp_path / "product1m_dev_ossurl_v2.txt").write_text(
        line.format(1) + "broken\n", encoding="utf-8"
    )
    for source in (tmp_path / "product1m_dev_ossurl_v2.txt", tmp_path):
        found = scale.open(source)
        [box] = found
        assert detect_format(source) == "product1m"
        assert (box.id, box.text, box.split) == ("1", "韩国套装", "val")
        assert box.image == tmp_path / "images/1.jpg"
        assert box.extra["instances"] == ["AHC 霜", "AHC 水"]
        assert [p.kind for p in found.problems] == ["malformed line"]


def test_stanford_online_products(tmp_path):
    write(tmp_path, "bicycle_final/1_0.JPG", "bicycle_final/1_1.JPG", "mug_final/2 a.JPG")
    header = "image_id class_id super_class_id path\n"
    (tmp_path / "Ebay_train.txt").write_text(
        f"{header}1 1 1 bicycle_final/1_0.JPG\n2 1 1 bicycle_final/1_1.JPG\n"
    )
    (tmp_path / "Ebay_test.txt").write_text(f"{header}3 2 2 mug_final/2 a.JPG\n")
    bicycle, mug = products(tmp_path, "sop")
    assert (bicycle.id, bicycle.category, bicycle.split) == ("1", "bicycle", "train")
    assert bicycle.image == tmp_path / "bicycle_final/1_0.JPG"
    assert bicycle.alt.image == tmp_path / "bicycle_final/1_1.JPG"
    assert (mug.category, mug.split, mug.image.name) == ("mug", "test", "2 a.JPG")
    assert len(products(tmp_path / "Ebay_test.txt", "sop")) == 1


@pytest.mark.parametrize("name", ["empty", "only text"])
def test_other_folders_are_refused(tmp_path, name):
    if name == "only text":
        (tmp_path / "notes.txt").write_text("no table")
    with pytest.raises(ValueError, match="no known format"):
        detect_format(tmp_path)


def test_the_only_table_of_a_folder_is_read_with_its_media(tmp_path):
    """Pictures in a subfolder beside a table are no class folders: its titles would be lost."""
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures/a.png")
    (tmp_path / "shop.csv").write_text("id,title,image\n1,Red mug,pictures/a.png\n")
    assert detect_format(tmp_path) == "csv"
    (product,) = scale.open(tmp_path).products
    assert product.text == "Red mug"
    assert product.image == tmp_path / "pictures/a.png"
    (tmp_path / "other.csv").write_text("id\n2\n")
    with pytest.raises(ValueError, match=r"several tables; name one: other\.csv, shop\.csv"):
        detect_format(tmp_path)
