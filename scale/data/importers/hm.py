"""H&M's articles (Kaggle): pictures at `images/<first three digits>/<id>.jpg`."""

from pathlib import Path

from scale.data.importers import csv
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Rows, merge_rows

NAMES = ("article_id", "product_code", "prod_name", "product_type_name")
LABELS = ("product_group_name", "department_name", "index_name", "index_group_name", "section_name",
          "garment_group_name", "product_code")  # fmt: skip


def matches(probe: Probe) -> bool:
    """Return whether the columns, or a file of the folder, are those of the data set."""
    columns = probe.kind == "csv" and probe.has("article_id", "product_code", "prod_name")
    return columns or (probe.kind == "folder" and "articles.csv" in probe.files)


def read(path: Path, options: Options) -> Rows:
    """Open the articles: one product each, unless variants (colours) are to be merged."""
    rows = csv.read(path / "articles.csv" if path.is_dir() else path, options, NAMES)
    if options.variants == "merge":
        rows.rows = merge_rows(rows.rows, lambda row: row["product_code"])
    else:
        rows.facts.append("colours of a product_code are products of their own (--variants merge)")
    rows.columns = {
        "id": ["article_id"], "title": ["prod_name"], "category": ["product_type_name"],
        "labels": LABELS, "kept": ["detail_desc"],
        "table": ["graphical_appearance_name", "colour_group_name", "perceived_colour_value_name",
                  "perceived_colour_master_name"],
    }  # fmt: skip
    rows.rest = "ignored"
    rows.pattern = "images/{article_id:.3}/{article_id}.jpg"
    return rows
