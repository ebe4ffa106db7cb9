"""The page on which a student looks through all pictures of a folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scale.files import write_whole
from scale.viz.words import Language, label

COLUMNS = 3
"""Small pictures in a row."""


def write_index(folder: Path, order: Sequence[str], lang: Language = "en") -> Path:
    """Write `index_<lang>.md` of the pictures in `folder` that have a caption file in a language.

    Small pictures first, then each with its caption, its files and the command that made it.

    Args:
        order: names of pictures; the page has theirs in this order and no others.
    """
    files = {name: folder / f"{name}_{lang}.json" for name in order}
    records = [
        json.loads(path.read_text(encoding="utf-8")) for path in files.values() if path.is_file()
    ]
    parts = [
        "# " + label("fig_index", lang),
        label("fig_index_lead", lang, n=len(records)),
        _small_pictures(records),
        *(_entry(record, lang) for record in records),
    ]
    path = folder / f"index_{lang}.md"
    write_whole(path, "\n\n".join(parts) + "\n")
    return path


def _small_pictures(records: Sequence[dict[str, Any]]) -> str:
    cells = [
        f'<td align="center" width="33%"><a href="#{r["name"]}"><img src="{_png(r)}" width="280" '
        f'alt="{r["title"]}"></a><br>{r["title"]}</td>'
        for r in records
    ]
    rows = [cells[k : k + COLUMNS] for k in range(0, len(cells), COLUMNS)]
    return "\n".join(["<table>", *(f"<tr>{''.join(row)}</tr>" for row in rows), "</table>"])


def _entry(record: dict[str, Any], lang: Language) -> str:
    files = [f"[{Path(name).suffix[1:].upper()}]({name})" for name in record["files"]]
    details = label("fig_details", lang)
    files.append(f"[{details}]({record['name']}_{lang}.json)")
    commit = label("fig_no_commit", lang)
    if record["commit"]:
        short = label("fig_commit", lang, commit=record["commit"][:12])
        commit = label("fig_changed", lang, commit=short) if record["dirty"] else short
    made = label("fig_made", lang, command=record["command"])
    return "\n\n".join(
        [
            f'<a id="{record["name"]}"></a>\n\n## {record["title"]}',
            f"![{record['title']}]({_png(record)})",
            record["caption"],
            f"{made} · {commit} · {' · '.join(files)}",
        ]
    )


def _png(record: dict[str, Any]) -> str:
    return next(name for name in record["files"] if name.endswith(".png"))
