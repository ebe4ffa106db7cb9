"""Decks as files: whole or not at all, and the same deck with the same bytes."""

import io
import re
import zipfile
from datetime import datetime
from pathlib import Path

from pptx.presentation import Presentation

from scale.files import replacing

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can carry."""
_DATES = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")


def write_deck(deck: Presentation, path: Path, date: datetime, title: str) -> None:
    """Write a presentation; `date` stands in its properties for when it was made and changed."""
    properties = deck.core_properties
    properties.title, properties.author, properties.last_modified_by = title, "scale slides", ""
    properties.created = properties.modified = date
    properties.revision = 1
    with io.BytesIO() as buffer:
        deck.save(buffer)
        content = _without_clock(buffer.getvalue(), date)
    with replacing(path) as partial:
        partial.write_bytes(content)


def _without_clock(content: bytes, date: datetime) -> bytes:
    """The zip file with one time for all members; also the workbooks of charts, which say when
    they were made."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(".xlsx"):
                data = _without_clock(data, date)
            elif name.endswith("docProps/core.xml"):
                data = _DATES.sub(rb"\g<1>" + date.strftime("%Y-%m-%dT%H:%M:%SZ").encode(), data)
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o600 << 16
            target.writestr(info, data)
    return out.getvalue()
