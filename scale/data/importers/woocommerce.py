"""WooCommerce's product export: variations have a row each and name their parent."""

import re
from collections.abc import Iterator
from pathlib import Path

from scale.data.importers import csv
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows, merge_rows, split_list

LANGUAGES = {
    "ID": "",
    "Type": "Typ|类型",
    "SKU": "Artikelnummer|Art.-Nr.",
    "Name": "名称",
    "Images": "Bilder|图片",
    "Parent": "Übergeordnetes Produkt|父级",
    "Categories": "Kategorien|分类",
    "Description": "Beschreibung|描述",
    "Short description": "Kurzbeschreibung|简短描述|简单描述",
    "Regular price": "",
    "Tags": "",
    "Brands": "",
}
"""Names of columns in German and Chinese exports. Those of attributes keep their language."""
ATTRIBUTES = {
    "Attribute {} name": "Attribut {} Name|属性 {} 名称",
    "Attribute {} value(s)": "Attribut {} Wert(e)|属性 {} 值",
}
NAMES = {name: english for english, names in LANGUAGES.items()
         for name in (english, *names.split("|"))}  # fmt: skip
NAMES |= {name.format(k): english.format(k) for english, names in ATTRIBUTES.items()
          for name in (english, *names.split("|")) for k in range(1, 21)}  # fmt: skip
NAMES.pop("", None)
ATTRIBUTE = re.compile(r"(?i)(attribute?|属性) +\d+ ")
TECHNICAL = re.compile(
    r"(?i)Type"
    r"|Published|Is featured\?|Visibility in catalog|Date sale price.*|Tax .*|In stock\?|Stock"
    r"|Low stock amount|Backorders allowed\?|Sold individually\?|Allow customer reviews\?"
    r"|Purchase note|Sale price|Shipping class|Download .*|Parent|Grouped products|Upsells"
    r"|Cross-sells|External URL|Button text|Position|Meta: .*"
    # German
    r"|Veröffentlicht|(Ist )?Hervorgehoben\?|Sichtbarkeit im Katalog|Katalogsichtbarkeit"
    r"|.*Angebotspreis.*|Steuerstatus|Steuerklasse|Vorrätig\?|Lager|(Lager)?Bestand"
    r"|Geringe Lagermenge|(Liefer)?rückst[aä]nde erlaubt\?|Nur einzeln verkaufen\?"
    r"|Kunden(rezensionen|bewertungen) erlauben\?|Hinweis zum Kauf|Versandklasse|Download-?limit"
    r"|Ablauftage des Downloads|Gruppierte Produkte|Zusatzverkäufe|Cross-Sells.*|Externe URL"
    r"|Button-Text"
    # Chinese
    r"|已发布|是推荐产品.*|在列表页可见|促销(开始|截止)日期|税状态|税类|有货.|库存|库存不足"
    r"|允许缺货下单.|单独出售.?|允许客户评价.|购物备注|促销价格|运费类|下载限制|下载的过期天数"
    r"|分组产品|交叉销售.*|外部链接|按钮(文本|文字)|位置|元数据：.*"
)


def matches(probe: Probe) -> bool:
    """Return whether the columns are those of WooCommerce."""
    english = {name.casefold(): expected for name, expected in NAMES.items()}
    found = {english.get(name) for name in probe.names}
    return probe.kind == "csv" and {"Type", "SKU", "Name", "Images"} <= found


def read(path: Path, options: Options) -> Rows:
    """Open the export. Variations are merged into their parent."""
    rows = csv.read(path, options, NAMES)
    found = list(rows.rows)
    ids = {row["SKU"]: row["ID"] for _, row in found if row.get("SKU") and row.get("ID")}

    def parent(row: Row) -> str:
        name = row.get("Parent", "")
        if row.get("Type") != "variation" or not name or options.variants == "separate":
            return row.get("ID") or row.get("SKU", "")
        return name.removeprefix("id:") if name.startswith("id:") else ids.get(name, name)

    # The parent comes first: its texts are those of the product.
    found.sort(key=lambda item: item[1].get("Type") == "variation")
    rows.rows = merge_rows(_with_attributes(found), parent)
    columns = list(dict.fromkeys(name for _, row in found for name in row))
    rows.columns = {
        "id": ["ID", "SKU"],
        "title": ["Name"],
        "category": ["Categories"],
        "image": ["Images"],
        "table": ["Brands", "Tags", "Regular price", "Weight (kg)", "Length (cm)", "Width (cm)",
                  "Height (cm)"],
        "kept": ["Description", "Short description", "SKU",
                 *(name for name in columns if name.startswith("GTIN, UPC, EAN"))],
        "ignored": [name for name in columns if TECHNICAL.fullmatch(name)],
    }  # fmt: skip
    rows.html = True
    return rows


def _with_attributes(rows: list[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """Replace `Attribute 1 name` and `Attribute 1 value(s)` by a column of that name."""
    for number, row in rows:
        plain = {k: v for k, v in row.items() if not ATTRIBUTE.match(k)}
        for k, name in row.items():
            if re.fullmatch(r"Attribute \d+ name", k) and name:
                values = split_list(row.get(k.replace("name", "value(s)")))
                if values:
                    plain[name] = values
        plain["Images"] = split_list(row.get("Images"))
        # The first of several categories; `Clothing > Shirts` is one.
        plain["Categories"] = next(iter(split_list(row.get("Categories"))), "")
        for key in ("Description", "Short description"):
            plain[key] = row.get(key, "").replace("\\n", " ")
        yield number, plain
