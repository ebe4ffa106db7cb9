"""A product as the catalogue records it. None means absent: the one way to say so."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scale.modalities import MODALITIES


@dataclass(frozen=True, kw_only=True)
class View:
    """The content of the five modalities; None where the product lacks one."""

    text: str | None = None
    """Title. The record's key is `title`; the modality's name is `text` everywhere."""
    table: tuple[tuple[str, str], ...] | None = None
    """Attribute-value pairs, in the record's order."""
    image: Path | None = None
    """Path of a picture that exists inside the catalogue's folder."""
    video: Path | None = None
    audio: Path | None = None

    @property
    def present(self) -> tuple[str, ...]:
        """Modalities that are there, in the one order."""
        return tuple(m for m in MODALITIES if getattr(self, m) is not None)


@dataclass(frozen=True, kw_only=True)
class Product(View):
    """One product of a catalogue."""

    id: str
    category: str | None = None
    split: str | None = None
    """`train`, `val` or `test`, or None where the catalogue does not say."""
    name: str | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    """Other targets by name, e.g. `{"material": "oak"}`."""
    alt: View = field(default_factory=View)
    """A second, independent view of the same product, for instance retrieval."""
    content: dict[str, str] = field(default_factory=dict)
    """Hash of the decoded content by modality; equal hash = same content in two products."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Every other key of the record, kept as it was read."""
