"""Seconds to import 1,000 products from each format, with a picture each (docs/importing.md).

    python -m benchmarks.importers [--products 1000]

The sources are synthetic and follow the layouts of their owners.
"""

# ruff: noqa: E501
import argparse
import csv
import gzip
import io
import json
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
from PIL import Image

from scale.data.importers.importer import import_catalogue, open_rows

COLOURS = ("red", "blue", "green", "black")


def picture(n: int) -> bytes:
    """Return a JPEG of 64 x 64 pixels that differs for each product."""
    noise = np.random.default_rng(n).integers(0, 255, (8, 8, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).resize((64, 64)).save(data, "JPEG")
    return data.getvalue()


def title(n: int) -> str:
    return f"Enamel kettle {n}, {n % 30 / 10} l, {COLOURS[n % 4]}"


def pictures(folder: Path, count: int, name: str = "img/{n}.jpg") -> list[str]:
    """Write the pictures of all products and return their paths."""
    paths = [name.format(n=n, code=f"{n:010d}") for n in range(count)]
    for n, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(picture(n))
    return paths


def table(folder: Path, rows: list[dict], name: str = "source.csv", delimiter: str = ",") -> Path:
    """Write rows as CSV."""
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return folder / name


def plain(folder: Path, count: int) -> list[dict]:
    return [
        {"SKU": f"p{n}", "Product Name": title(n), "Category": f"c{n % 9}", "Photo": path,
         "Brand": "Ondo", "Volume": n % 30 / 10}
        for n, path in enumerate(pictures(folder, count))
    ]  # fmt: skip


def make_csv(folder: Path, count: int) -> Path:
    return table(folder, plain(folder, count))


def make_xlsx(folder: Path, count: int) -> Path:
    rows, book = plain(folder, count), openpyxl.Workbook()
    for values in (list(rows[0]), *(list(row.values()) for row in rows)):
        book.active.append(values)
    book.save(folder / "source.xlsx")
    return folder / "source.xlsx"


def make_jsonl(folder: Path, count: int) -> Path:
    with gzip.open(folder / "source.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in plain(folder, count))
    return folder / "source.jsonl.gz"


def make_frame(folder: Path, count: int) -> pd.DataFrame:
    rows = plain(folder, count)
    return pd.DataFrame(rows).assign(Photo=[str(Path("img") / f"{n}.jpg") for n in range(count)])


def make_parquet(folder: Path, count: int) -> Path:
    rows = [{"image": {"bytes": picture(n), "path": f"{n}.jpg"}, "text": title(n), "label": n % 9}
            for n in range(count)]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def make_imagefolder(folder: Path, count: int) -> Path:
    paths = pictures(folder, count, "train/{n}.jpg")
    rows = [{"file_name": Path(p).name, "text": title(n)} for n, p in enumerate(paths)]
    (folder / "train/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def make_webdataset(folder: Path, count: int) -> Path:
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for n in range(count):
            for suffix, data in (("jpg", picture(n)), ("txt", title(n).encode())):
                member = tarfile.TarInfo(f"{n:09d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return folder


def make_shopify(folder: Path, count: int) -> Path:
    rows = []
    for n, path in enumerate(pictures(folder, count, "files/{n}.jpg")):
        for k, colour in enumerate(COLOURS[:3]):
            first = k == 0
            rows.append({
                "Handle": f"kettle-{n}", "Title": title(n) if first else "",
                "Body (HTML)": "<p>Made in <b>Bavaria</b></p>" if first else "",
                "Vendor": "Ondo" if first else "", "Type": f"c{n % 9}" if first else "",
                "Option1 Name": "Color" if first else "", "Option1 Value": colour,
                "Variant SKU": f"'{n}{k}", "Variant Price": "19.00",
                "Image Src": f"https://cdn.shop/s/{path}?v=1" if first else "",
            })  # fmt: skip
    return table(folder, rows)


def make_woocommerce(folder: Path, count: int) -> Path:
    rows = []
    for n, path in enumerate(pictures(folder, count, "uploads/{n}.jpg")):
        shared = {"Regular price": "19,90", "Categories": f"Home > c{n % 9}",
                  "Attribute 1 name": "Color"}  # fmt: skip
        rows.append({"ID": 10 * n, "Type": "variable", "SKU": f"k{n}", "Name": title(n),
                     "Images": f"https://s/wp/{path}", "Parent": "",
                     "Attribute 1 value(s)": "Red, Blue"} | shared)  # fmt: skip
        rows += [{"ID": 10 * n + k, "Type": "variation", "SKU": f"k{n}-{k}", "Name": "", "Images": "",
                  "Parent": f"k{n}", "Attribute 1 value(s)": c} | shared
                 for k, c in ((1, "Red"), (2, "Blue"))]  # fmt: skip
    return table(folder, rows)


def make_magento(folder: Path, count: int) -> Path:
    rows = [
        {"sku": f"k{n}", "store_view_code": view, "attribute_set_code": "Top", "name": title(n),
         "categories": f"Default/c{n % 9}", "base_image": f"/{path}" if not view else "",
         "additional_attributes": "material=Steel,colour=red, blue", "price": "19.0"}
        for n, path in enumerate(pictures(folder, count, "k/e/{n}.jpg")) for view in ("", "de")
    ]  # fmt: skip
    return table(folder, rows)


def make_merchant_tsv(folder: Path, count: int) -> Path:
    rows = [
        {"id": f"k{n}", "title": title(n), "link": f"https://s/{n}", "price": "9 EUR",
         "image_link": f"https://s/{path}", "brand": "Ondo", "product_type": f"c{n % 9}"}
        for n, path in enumerate(pictures(folder, count))
    ]  # fmt: skip
    return table(folder, rows, "feed.tsv", "\t")


def make_merchant_xml(folder: Path, count: int) -> Path:
    items = "".join(
        f"<item><g:id>k{n}</g:id><g:title>{title(n)}</g:title><g:brand>Ondo</g:brand>"
        f"<g:image_link>https://s/{path}</g:image_link></item>"
        for n, path in enumerate(pictures(folder, count))
    )
    start = '<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel>'
    (folder / "feed.xml").write_text(f"{start}{items}</channel></rss>")
    return folder / "feed.xml"


def make_bmecat(folder: Path, count: int) -> Path:
    items = "".join(
        f"<PRODUCT><SUPPLIER_PID>k{n}</SUPPLIER_PID><DESCRIPTION_SHORT>{title(n)}"
        "</DESCRIPTION_SHORT><FEATURE><FNAME>Volume</FNAME><FVALUE>1</FVALUE><FUNIT>l</FUNIT>"
        f"</FEATURE><MIME><MIME_SOURCE>{path}</MIME_SOURCE></MIME></PRODUCT>"
        for n, path in enumerate(pictures(folder, count))
    )
    (folder / "bme.xml").write_text(f'<?xml version="1.0"?><BMECAT>{items}</BMECAT>')
    return folder / "bme.xml"


def make_abo(folder: Path, count: int) -> Path:
    paths = pictures(folder, count, "images/small/{n}.jpg")
    for name in ("images/metadata", "listings/metadata"):
        (folder / name).mkdir(parents=True)
    with gzip.open(folder / "images/metadata/images.csv.gz", "wt") as file:
        file.write("image_id,height,width,path\n")
        file.writelines(f"I{n},64,64,{Path(path).name}\n" for n, path in enumerate(paths))
    with gzip.open(folder / "listings/metadata/listings_0.json.gz", "wt") as file:
        for n in range(count):
            value = {"language_tag": "en_US", "value": title(n)}
            item = {
                "item_id": f"B{n}",
                "item_name": [value],
                "main_image_id": f"I{n}",
                "brand": [value | {"value": "Ondo"}],
                "product_type": [{"value": f"C{n % 9}"}],
            }
            file.write(json.dumps(item) + "\n")  # fmt: skip
    return folder


def make_amazon_reviews(folder: Path, count: int) -> Path:
    lines = [
        {"parent_asin": f"B{n}", "title": title(n), "main_category": "Home", "categories": ["a"],
         "details": {"Brand": "Ondo"}, "images": [{"hi_res": f"https://m/{path}"}]}
        for n, path in enumerate(pictures(folder, count))
    ]  # fmt: skip
    (folder / "meta.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "meta.jsonl"


def make_flipkart(folder: Path, count: int) -> Path:
    specifications = '{"product_specification"=>[{"key"=>"Brand", "value"=>"Ondo"}]}'
    rows = [
        {"uniq_id": f"u{n}", "product_name": title(n), "image": json.dumps([f"http://i/{path}"]),
         "product_category_tree": '["Home >> Kettles"]', "product_specifications": specifications}
        for n, path in enumerate(pictures(folder, count))
    ]  # fmt: skip
    return table(folder, rows)


def make_hm(folder: Path, count: int) -> Path:
    for n in range(count):
        code = f"{n:010d}"
        path = folder / "images" / code[:3] / f"{code}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(n))
    rows = [{"article_id": f"{n:010d}", "product_code": f"{n:07d}", "prod_name": title(n),
             "product_type_name": f"c{n % 9}", "colour_group_name": COLOURS[n % 4]}
            for n in range(count)]  # fmt: skip
    return table(folder, rows, "articles.csv")


def make_rakuten(folder: Path, count: int) -> Path:
    pictures(folder, count, "images/image_train/image_{n}_product_{n}.jpg")
    rows = [{"": n, "designation": title(n), "description": "<b>x</b>", "productid": n, "imageid": n}
            for n in range(count)]  # fmt: skip
    table(folder, [{"": n, "prdtypecode": n % 9} for n in range(count)], "Y_train.csv")
    return table(folder, rows, "X_train.csv").parent


def make_product1m(folder: Path, count: int) -> Path:
    lines = [f"{n}#####{title(n)}#####https://a/{path}#####https://b/{path}#####a#;#b\n"
             for n, path in enumerate(pictures(folder, count))]  # fmt: skip
    (folder / "product1m_train.txt").write_text("".join(lines))
    return folder


def make_sop(folder: Path, count: int) -> Path:
    paths = pictures(folder, count, "mug_final/{n}_0.JPG")
    lines = [f"{n} {n} 1 {path}\n" for n, path in enumerate(paths)]
    header = "image_id class_id super_class_id path\n"
    (folder / "Ebay_train.txt").write_text(header + "".join(lines))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--products", type=int, default=1000)
    count = parser.parse_args().products
    makers = {name.removeprefix("make_"): f for name, f in globals().items() if name[:5] == "make_"}
    print("| source | format | products | pictures | s | CPU s |\n|---|---|---:|---:|---:|---:|")
    for name, make in makers.items():
        with tempfile.TemporaryDirectory() as folder:
            source = make(Path(folder), count)
            start = time.perf_counter(), time.process_time()
            opened = open_rows(source)
            made = import_catalogue(opened, Path(folder) / "out", media=Path(folder))
            seconds = time.perf_counter() - start[0], time.process_time() - start[1]
        print(f"| {name} | {opened.format} | {made.products} | {made.copied['image']} | "
              f"{seconds[0]:.2f} | {seconds[1]:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
