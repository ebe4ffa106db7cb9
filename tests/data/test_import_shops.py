"""Exports of shop systems become catalogues: variants, store views, pictures and attributes."""

# ruff: noqa: E501
import pytest

import scale
from scale.data.importers.formats import detect_format
from scale.data.importers.importer import import_catalogue


@pytest.fixture
def shop(tmp_path):
    """Pictures as a shop's media folder holds them."""
    for name in ("files/red.jpg", "files/blue.jpg", "w/g/x.jpg", "w/g/y.jpg", "pic/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def imported(folder, name, text, **options):
    (folder / name).write_text(text, encoding="utf-8")
    return scale.open(folder / name, strict=True, **options)


SHOPIFY = """Handle,Title,Body (HTML),Vendor,Type,Tags,Option1 Name,Option1 Value,Variant SKU,\
Variant Price,Image Src,Status
kettle,Kettle 1&frac12;&nbsp;l,"<p>Made in <b>Bavaria</b></p>",Ondo,Kettles,"new, red",Color,Red,'01,\
19.00,https://cdn.shop/s/1/files/red.jpg?v=1,active
kettle,,,,,,,Blue,'02,20.00,https://cdn.shop/s/1/files/blue.jpg?v=1,
kettle,,,,,,,,,,https://cdn.shop/s/1/files/third.jpg,
towel,Towel,,Ondo,Towels,,Title,Default Title,'10,5.00,,active
"""


def test_shopify(shop):
    kettle, towel = found = imported(shop, "export.csv", SHOPIFY)
    assert found.notes[0].startswith(f"{shop / 'export.csv'}: shopify")
    assert (kettle.id, kettle.text, kettle.category) == ("kettle", "Kettle 1½ l", "Kettles")
    assert kettle.table == (
        ("Vendor", "Ondo"), ("Tags", "new, red"), ("Variant Price", "19.00, 20.00"),
        ("Color", "Red, Blue"),
    )  # fmt: skip
    assert (kettle.image, kettle.alt.image) == (shop / "files/red.jpg", shop / "files/blue.jpg")
    assert kettle.extra == {
        "Body (HTML)": "Made in Bavaria", "Variant SKU": ["01", "02"],
        "more_image": ["https://cdn.shop/s/1/files/third.jpg"],
    }  # fmt: skip
    assert (towel.table, towel.image) == ((("Vendor", "Ondo"), ("Variant Price", "5.00")), None)
    red, blue, towel = imported(shop, "export.csv", SHOPIFY, variants="separate")
    assert (red.id, blue.id, blue.text) == ("01", "02", "Kettle 1½ l")
    assert (blue.image, blue.table[-1]) == (shop / "files/red.jpg", ("Color", "Blue"))


WOOCOMMERCE = """ID,Type,SKU,Name,Published,Short description,Regular price,Categories,Images,Parent,\
Attribute 1 name,Attribute 1 value(s),Attribute 1 visible
45,variation,tee-b,Tee - Blue,1,,,,https://s/wp/files/blue.jpg,id:44,Color,Blue,1
44,variable,tee,Tee,1,Is <b>good</b>.\\nYes,"19,90","Clothing > Tees, Sale","https://s/wp/files/red.jpg, \
https://s/wp/w/g/x.jpg",,Color,"Blue, Green",1
46,variation,tee-g,Tee - Green,1,,"20,90",,,tee,Color,Green,1
47,simple,belt,Belt,1,,5,,,,,,
"""


def test_woocommerce(shop):
    tee, belt = imported(shop, "wc.csv", WOOCOMMERCE)
    assert (tee.id, tee.text, tee.category) == ("44", "Tee", "Clothing > Tees")
    assert tee.table == (("Regular price", "19.90, 20.90"), ("Color", "Blue, Green"))
    assert (tee.image, tee.alt.image) == (shop / "files/red.jpg", shop / "w/g/x.jpg")
    assert tee.extra["Short description"] == "Is good. Yes"
    assert tee.extra["SKU"] == ["tee", "tee-b", "tee-g"]
    assert (belt.text, belt.table) == ("Belt", (("Regular price", "5"),))
    assert len(imported(shop, "wc.csv", WOOCOMMERCE, variants="separate")) == 4
    header, _, rest = WOOCOMMERCE.partition("\n")
    assert imported(shop, "wc.csv", f"{header.upper()}\n{rest}")[0].table == tee.table


WOOCOMMERCE_NAMES = {
    "zh": "ID,类型,SKU,名称,已发布,简短描述,常规售价,分类,图片,父级,属性 1 名称,属性 1 值,属性 1 可见",
    "de": "ID,Typ,Artikelnummer,Name,Veröffentlicht,Kurzbeschreibung,Regulärer Preis,Kategorien,Bilder,"
          "Übergeordnetes Produkt,Attribut 1 Name,Attribut 1 Wert(e),Attribut 1 Sichtbar",
}  # fmt: skip


def test_woocommerce_in_german_and_chinese(shop):
    """The export is in the language of its user."""
    english = imported(shop, "wc.csv", WOOCOMMERCE)
    for names in WOOCOMMERCE_NAMES.values():
        found = imported(shop, "other.csv", names + "\n" + WOOCOMMERCE.partition("\n")[2])
        assert found.notes[0].startswith(f"{shop / 'other.csv'}: woocommerce")
        price = names.split(",")[6]
        for product, wanted in zip(found, english, strict=True):
            table = tuple((k.replace("Regular price", price), v) for k, v in wanted.table)
            assert sorted(product.table) == sorted(table)
            for name in ("id", "text", "category", "image", "alt"):
                assert getattr(product, name) == getattr(wanted, name)


MAGENTO = """sku,store_view_code,attribute_set_code,product_type,categories,name,description,price,\
base_image,additional_images,additional_attributes,configurable_variations
A-S,,Top,simple,,Hoodie S,,9,/w/g/y.jpg,,"size=S,color=Black,care=wash, iron",
A,de,Top,configurable,,Kapuzenpulli,,,,,,
A,,Top,configurable,"Default/Men,Default/Men/Tops",Hoodie,<p>Warm</p>,10,/w/g/x.jpg,"/w/g/x.jpg,no_selection",\
material=Cotton,"sku=A-S,size=S,color=Black"
B,,Top,simple,,Cap,,4,no_selection,,,
"""


def test_magento(shop):
    hoodie, cap = imported(shop, "export.csv", MAGENTO)
    assert (hoodie.id, hoodie.text) == ("A", "Hoodie")
    assert hoodie.category == "Default/Men/Tops"
    assert hoodie.table == (
        ("price", "10, 9"), ("material", "Cotton"), ("size", "S"), ("color", "Black"),
        ("care", "wash, iron"),
    )  # fmt: skip
    assert (hoodie.image, hoodie.alt.image) == (shop / "w/g/x.jpg", shop / "w/g/y.jpg")
    assert hoodie.extra == {"description": "Warm"}
    assert (cap.text, cap.image) == ("Cap", None)
    german = imported(shop, "export.csv", MAGENTO, language="de")
    assert [p.text for p in german] == ["Kapuzenpulli", "Cap"]
    assert len(imported(shop, "export.csv", MAGENTO, variants="separate")) == 3


FEED = """id\ttitle\tdescription\tlink\timage link\tadditional image link\tprice\tproduct type\tcolor\titem group id
A0\t5" clipper "pro"\tSoft\thttps://s/0\thttps://s/pic/a.jpg\thttps://s/w/g/x.jpg,https://s/w/g/y.jpg\t1 EUR\tHome\tRed\tG1
A1\tSecond\t\thttps://s/1\thttps://s/pic/b.jpg\t\t1 EUR\tHome\tBlue\tG1
B\tAlone\t\thttps://s/2\t\t\t2 EUR\tHome\t\t
"""
RSS = """<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>
<item><title>RSS</title><g:id>A0</g:id><g:title>Shirt &amp;amp; tie</g:title><g:image_link>https://s/pic/a.jpg</g:image_link>
<g:additional_image_link>https://s/w/g/x.jpg</g:additional_image_link>
<g:additional_image_link>https://s/w/g/y.jpg</g:additional_image_link><g:brand>Acme</g:brand>
<g:product_detail><g:attribute_name>Fabric</g:attribute_name><g:attribute_value>Cotton</g:attribute_value></g:product_detail>
<g:shipping><g:country>DE</g:country><g:price>4 EUR</g:price></g:shipping></item>
<item><g:id>A1</g:id><g:title>Second</g:title></item></channel></rss>"""


def test_google_merchant(shop):
    first, alone = imported(shop, "feed.tsv", FEED)
    assert (first.id, first.text, first.category) == ("G1", '5" clipper "pro"', "Home")
    assert first.table == (("price", "1 EUR"), ("color", "Red, Blue"))
    assert (first.image, first.alt.image) == (shop / "pic/a.jpg", shop / "w/g/x.jpg")
    assert first.extra["variants"] == ["A0", "A1"]
    assert (alone.id, alone.text) == ("B", "Alone")
    assert len(imported(shop, "feed.tsv", FEED.replace("b.jpg", "a.jpg"), variants="separate")) == 3
    first, second = imported(shop, "feed.xml", RSS)
    assert (first.id, first.text) == ("A0", "Shirt & tie")
    assert first.table == (("brand", "Acme"), ("Fabric", "Cotton"))
    assert (first.image, first.alt.image) == (shop / "pic/a.jpg", shop / "w/g/x.jpg")
    assert second.present == ("text",)


BMECAT = """<?xml version="1.0" encoding="ISO-8859-1"?><BMECAT version="2005" xmlns="http://www.bmecat.org/x">
<T_NEW_CATALOG><CATALOG_GROUP_SYSTEM><CATALOG_STRUCTURE><GROUP_ID>7</GROUP_ID><GROUP_NAME>Bohrer</GROUP_NAME>
</CATALOG_STRUCTURE></CATALOG_GROUP_SYSTEM>
<PRODUCT mode="new"><SUPPLIER_PID>B-1</SUPPLIER_PID><PRODUCT_DETAILS>
<DESCRIPTION_SHORT lang="deu">Bohrer für Stahl</DESCRIPTION_SHORT><DESCRIPTION_SHORT lang="eng">Steel drill</DESCRIPTION_SHORT>
<MANUFACTURER_NAME>Ondo</MANUFACTURER_NAME></PRODUCT_DETAILS><PRODUCT_FEATURES>
<FEATURE><FNAME>Länge</FNAME><FVALUE>12,5</FVALUE><FUNIT>mm</FUNIT></FEATURE>
<FEATURE><FNAME>Form</FNAME><FVALUE>A</FVALUE><FVALUE>B</FVALUE></FEATURE></PRODUCT_FEATURES>
<MIME_INFO><MIME><MIME_SOURCE>x.pdf</MIME_SOURCE></MIME><MIME><MIME_SOURCE>pic\\a.jpg</MIME_SOURCE>
<MIME_ORDER>2</MIME_ORDER></MIME><MIME><MIME_SOURCE>w/g/x.jpg</MIME_SOURCE><MIME_ORDER>1</MIME_ORDER></MIME></MIME_INFO>
</PRODUCT>
<PRODUCT_TO_CATALOGGROUP_MAP><PROD_ID>B-1</PROD_ID><CATALOG_GROUP_ID>7</CATALOG_GROUP_ID></PRODUCT_TO_CATALOGGROUP_MAP>
</T_NEW_CATALOG></BMECAT>"""


def test_bmecat(shop):
    (shop / "bme.xml").write_text(BMECAT, encoding="latin-1")
    [drill] = scale.open(shop / "bme.xml", strict=True)
    assert (drill.id, drill.text, drill.category) == ("B-1", "Bohrer für Stahl", "Bohrer")
    assert drill.table == (
        ("MANUFACTURER_NAME", "Ondo"), ("Länge", "12,5 mm"), ("Form", "A, B"),
    )  # fmt: skip
    assert (drill.image, drill.alt.image) == (shop / "w/g/x.jpg", shop / "pic/a.jpg")
    assert drill.extra == {"FILES": ["x.pdf"]}
    assert scale.open(shop / "bme.xml", language="en")[0].text == "Steel drill"


def test_xml_with_entities_is_refused(shop):
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    (shop / "feed.xml").write_text(RSS.replace('<?xml version="1.0"?>', bomb))
    assert detect_format(shop / "feed.xml") == "merchant"
    for text, message in (
        ((shop / "feed.xml").read_text(), "XML with entities or external references"),
        (RSS[:-40], "not XML"),
    ):
        (shop / "feed.xml").write_text(text)
        with pytest.raises(ValueError, match=message):
            import_catalogue(shop / "feed.xml", shop / "out")
        assert not (shop / "out/products.jsonl").exists()
