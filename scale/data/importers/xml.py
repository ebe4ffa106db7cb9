"""Elements of an XML file, one at a time; entities and external references are refused."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def elements(path: Path, names: Sequence[str]) -> Iterator[Any]:
    """Yield the elements with one of these local names, and free them afterwards.

    Raises ValueError if the file is not XML, or declares entities or external references.
    """
    try:
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import ParseError, iterparse
    except ImportError as error:
        raise ImportError("defusedxml is missing: pip install 'scale-workbench[import]'") from error
    try:
        parents: list[Any] = []
        for event, element in iterparse(path, events=("start", "end")):
            if event == "start":
                parents.append(element)
                continue
            parents.pop()
            if local_name(element) in names:
                yield element
                if parents:
                    parents[-1].remove(element)
    except DefusedXmlException as error:
        raise ValueError(f"{path}: XML with entities or external references: {error}") from error
    except (ParseError, UnicodeError, LookupError) as error:
        raise ValueError(f"{path}: not XML: {error}") from error


def local_name(element: Any) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def text_of(element: Any, *names: str) -> str:
    """Return the text of the first descendant with one of these local names; empty if none."""
    for name in names:
        for child in element.iter():
            if local_name(child) == name and (child.text or "").strip():
                return child.text.strip()
    return ""


def children(element: Any, name: str) -> list[Any]:
    """Return the descendants with this local name."""
    return [child for child in element.iter() if local_name(child) == name]
