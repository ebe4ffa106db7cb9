"""A product with other contents: a typed title or table, an uploaded file, another product's.

Nothing is stored: uploaded files are kept in memory, and features of typed texts are not cached.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from html import escape
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anywidget
import ipywidgets
import numpy as np
import traitlets

from scale.config import require
from scale.data.backbones import load_backbone
from scale.data.batch import ProductBatch
from scale.data.cache import FeatureCache
from scale.data.dataset import Column, ProductDataset, language_column, standardise
from scale.data.features import extract
from scale.data.media import AV_FORMATS, MediaError
from scale.data.media import _av_errors as av_errors
from scale.data.media import _clips as clips_of
from scale.data.media import _frame_arrays as frame_arrays
from scale.data.media import _reported as reported
from scale.data.product import InvalidValue, blank_controls, read_string, read_table
from scale.explore.loss_terms import changed_contents
from scale.explore.markup import error_html, listed, note_html
from scale.explore.panel import (
    ASSETS,
    MAX_LISTED,
    SHORT,
    Choice,
    ClickableHtml,
    button,
    observe,
    wrapping_row,
)
from scale.explore.source import ExplorerSource
from scale.modalities import CONTINUOUS, DISCRETE, INDEX, MODALITIES
from scale.studies.damage import Table, pack_column
from scale.studies.noise import longest_sequence
from scale.studies.single_product import (
    ModalityChange,
    ModalityContent,
    ProductEditor,
    batch_of,
)
from scale.viz.words import Language, label

MAX_BYTES = 8_000_000
"""Largest upload; a larger message would close the connection of the page."""
MAX_TEXT = 20_000
"""Most characters of a typed title or table."""
MAX_LINKED = 4_000
"""Most characters of an edit in the address of the page; servers refuse long addresses."""
MAX_DECODED = 1_000_000_000
"""Most pixels decoded of an uploaded clip, about five seconds of computing."""
KINDS = {"image": "image/*", "video": "video/*,.gif", "audio": "audio/*"}
"""Files that the browser offers, by modality; the content decides."""


class MemoryFile:
    """A file in memory with a path, which exists as long as the object.

    Without memory files (other systems than Linux), a temporary file.
    """

    def __init__(self, content: bytes, name: str = "") -> None:
        self.name = name
        if hasattr(os, "memfd_create"):
            self._file: Any = os.fdopen(os.memfd_create("scale-upload"), "wb", buffering=0)
            self.path = Path(f"/proc/self/fd/{self._file.fileno()}")
        else:
            self._file = tempfile.NamedTemporaryFile(prefix="scale-upload-")  # noqa: SIM115
            self.path = Path(self._file.name)
        self._file.write(content)
        self._file.flush()

    def __del__(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class Edits:
    """Other contents of a product; empty for the product as it is."""

    text: str | None = None
    table: Table | None = None
    files: Mapping[str, MemoryFile] = field(default_factory=dict)
    """Uploaded files by modality."""
    donors: Mapping[str, int] = field(default_factory=dict)
    """Rows of other products whose content is taken, by modality."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities with another content."""
        typed = {m for m in DISCRETE if getattr(self, m) is not None}
        return tuple(m for m in MODALITIES if m in typed | set(self.files) | set(self.donors))


def parse_title(text: str) -> str:
    """Return a typed title as in a catalogue: in one line, without control characters.

    Raises ValueError if nothing is visible.
    """
    return read_string("title", " ".join(str(blank_controls(text[:MAX_TEXT])).split()))


def parse_table(text: str, lang: Language) -> Table:
    """Return the pairs of lines `attribute: value`.

    Raises ValueError for a line without a colon, an empty attribute or value, and no line.
    """
    pairs = []
    for line in text[:MAX_TEXT].splitlines():
        if not line.strip():
            continue
        attribute, colon, value = line.replace("：", ":", 1).partition(":")
        require(bool(colon), label("xw_no_colon", lang, line=line.strip()[:60]))
        pairs.append([attribute.strip(), value.strip()])
    return read_table(blank_controls(pairs))


def edited_source(source: ExplorerSource, row: int, edits: Edits) -> ExplorerSource:
    """Return a source with one product, at row 0: that of `row` with other contents.

    Decoding and features are those of a catalogue. Raises ValueError if a content cannot be used.
    """
    data = source.data.subset([row])
    product, columns = data.products[0], dict(data.columns)
    content_1M = data.content_id_NM.copy()
    for m in edits.modalities:
        require(m in columns, f"no product of the catalogue has {m}")
        donor = edits.donors.get(m)
        if donor is not None:
            value = getattr(source.product(donor), m)
            require(value is not None, f"{source.data.ids[donor]}: the product has no {m}")
            columns[m] = source.data.columns[m].select(np.array([donor]))
            content_1M[0, INDEX[m]] = source.data.content_id_NM[donor, INDEX[m]]
        else:
            uploaded = edits.files.get(m)
            value = getattr(edits, m) if uploaded is None else uploaded.path
            columns[m] = _new_column(source.data, replace(product, **{m: value}), m, uploaded)
            content_1M[0, INDEX[m]] = source.data.content_id_NM[:, INDEX[m]].max() + 1
        product = replace(product, **{m: value})
    edited = replace(data, products=(product,), columns=columns, content_id_NM=content_1M)
    return replace(source, data=edited)


def _new_column(
    data: ProductDataset, product: Any, modality: str, uploaded: MemoryFile | None
) -> Column:
    """Return a column with the new content alone."""
    longest = longest_sequence(data, modality)
    if uploaded is None:
        with tempfile.TemporaryDirectory() as folder:
            column = language_column(
                modality, [product], data.config, data.tokenizer, longest, FeatureCache(folder)
            )
            # A column in a file of the folder ends with it.
            column = replace(column, values=np.array(column.values))
        return standardise({modality: column}, data.normaliser)[modality]
    config = data.config
    backbone = load_backbone(modality, config) if config.backbone(modality) else None
    try:
        features_LF = extract(modality, uploaded.path, config, backbone).astype(np.float16)
    except MediaError as error:
        raise ValueError(f"{uploaded.name}: {error.reason}") from error
    require(bool(np.isfinite(features_LF).all()), f"{uploaded.name}: features are not finite")
    made = pack_column([features_LF], longest)
    old = data.columns[modality]
    size = made.values.shape[1], old.values.shape[1]
    require(size[0] == size[1], f"{uploaded.name}: vectors of {size[0]}, not {size[1]}")
    return replace(old, values=made.values, start_N=made.start_N, length_N=made.length_N)


def shortened_clip(file: MemoryFile, frames: int) -> tuple[MemoryFile, int, bool]:
    """Return a clip with only the frames that `load_video` would take, if decoding the whole clip
    twice would exceed MAX_DECODED pixels; otherwise the file itself.

    Each of the frames is decoded from the key frame before it, over at most a `frames`-th part of
    MAX_DECODED; the last one decoded is taken.

    Returns the file, the number of packets of a long clip (about that of its frames), 0 for others,
    and whether the frames are those of `load_video`. Raises MediaError if a long clip does not
    decode or cannot be searched; any other file is returned, also if it does not decode.
    """
    import av

    options = {"container_options": {"format_whitelist": AV_FORMATS}, "metadata_errors": "replace"}
    pts = []
    with suppress(IndexError, *av_errors()), av.open(str(file.path), **options) as container:
        clip = clips_of(container.streams.video)[0]
        pixels = max(clip.width * clip.height, 1)
        pts = [packet.pts for packet in container.demux(clip) if packet.size]
    count = len(pts)
    if count <= frames or 2 * count * pixels <= MAX_DECODED:
        return file, 0, True
    times = sorted(time for time in pts if time is not None)
    if len(times) < frames:
        raise MediaError(file.path, "a long clip that cannot be searched")
    taken, exact, most = [], len(times) == count, max(MAX_DECODED // (pixels * frames), 1)
    with reported(file.path, av_errors()), av.open(str(file.path), **options) as container:
        clip = clips_of(container.streams.video)[0]
        for t in range(frames):
            wanted = times[(2 * t + 1) * len(times) // (2 * frames)]
            container.seek(wanted, stream=clip)
            for found in islice(container.decode(clip), most):
                taken[t:] = [found]
                if found.pts is None or found.pts >= wanted:
                    break
            if len(taken) <= t:
                raise MediaError(file.path, "a long clip that cannot be searched")
            exact &= taken[t].pts == wanted
        frames_THWC = np.stack(list(frame_arrays(file.path, iter(taken))))
    return lossless_clip(frames_THWC, file.name), count, exact


def lossless_clip(frames_THWC: np.ndarray, name: str) -> MemoryFile:
    """Return frames as a clip in memory that decodes to the same pixels."""
    import av

    buffer = BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=1)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame_HWC in frames_THWC:
            frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24").reformat(format="bgr0")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return MemoryFile(buffer.getvalue(), name)


class EditedProduct:
    """A product of an editor, of which some modalities have other contents."""

    def __init__(
        self,
        editor: ProductEditor,
        row: int,
        edited: ExplorerSource,
        modalities: tuple[str, ...],
    ) -> None:
        """
        Args:
            row: of the product in the data of `editor`.
            edited: `edited_source`, if there are `modalities` with other contents.
        """
        self.editor, self.row, self.edited, self.modalities = editor, row, edited, modalities
        self._other = ProductEditor(edited.data, editor.seed) if modalities else editor

    def has(self, modality: str) -> bool:
        """Return whether the product has a modality, its own or another content."""
        return modality in self.modalities or self.editor.has(self.row, modality)

    def content(self, modality: str, change: ModalityChange) -> ModalityContent | None:
        """Return one modality after a change, which applies to the other content if there is one.

        Raises as `ProductEditor.content`.
        """
        if modality in self.modalities and not change.mismatch:
            return self._other.content(0, modality, change)
        return self.editor.content(self.row, modality, change)

    def batch(self, changes: Mapping[str, ModalityChange]) -> ProductBatch:
        """Return the product after its changes as a batch of one."""
        columns = self.editor.data.columns
        contents = {m: self.content(m, changes.get(m, ModalityChange())) for m in columns}
        return batch_of(contents, self.row)

    def content_numbers(self, changes: Mapping[str, ModalityChange]) -> np.ndarray:
        """Return the content numbers after the changes, see `changed_contents`."""
        content_M = changed_contents(self.editor, self.row, changes)
        for m in self.modalities:
            if not changes.get(m, ModalityChange()).mismatch:
                content_M[INDEX[m]] = self.edited.data.content_id_NM[0, INDEX[m]]
        return content_M


class FileUpload(anywidget.AnyWidget):
    """A button that chooses a file of at most MAX_BYTES, checked in the browser and here.

    Args:
        received: called with name and content.
        failed: called with a message.
    """

    _esm = ASSETS / "upload.js"
    accept = traitlets.Unicode().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    limit = traitlets.Int(MAX_BYTES).tag(sync=True)

    def __init__(
        self,
        accept: str,
        text: str,
        received: Callable[[str, bytes], None],
        failed: Callable[[str], None],
        lang: Language,
    ) -> None:
        super().__init__(accept=accept, text=text)
        self._received, self._failed, self._lang = received, failed, lang
        self.on_msg(self._receive)

    def _receive(self, _: Any, content: Any, buffers: list[Any]) -> None:
        if not isinstance(content, dict) or not isinstance(content.get("name"), str):
            return
        name = content["name"][:100]
        if content.get("large") or not buffers or len(buffers[0]) > MAX_BYTES:
            limit = MAX_BYTES // 1_000_000
            self._failed(label("xw_too_large", self._lang, name=name, limit=limit))
        else:
            self._received(name, bytes(buffers[0]))

    def __repr__(self) -> str:
        return f"FileUpload({self.accept})"


class WhatIf(ipywidgets.Accordion):
    """Controls for other contents of a product: title, table, files, and donors.

    Args:
        changed: called after an edit.
    """

    def __init__(
        self, source: ExplorerSource, changed: Callable[[Any], None], lang: Language
    ) -> None:
        self._source, self._changed, self.lang = source, changed, lang
        self._files: dict[str, MemoryFile] = {}
        self._notes: dict[str, str] = {}
        """Notes on uploaded files, by modality."""
        self._edited = lru_cache(4)(self._edit)
        self.message = ClickableHtml()
        there = [m for m in MODALITIES if m in source.data.columns]
        config = source.data.config
        self.typed = {m: self._area(m) for m in DISCRETE if m in there}
        self.uploads = {
            m: FileUpload(
                KINDS[m],
                label(f"xw_upload_{m}", lang),
                lambda name, content, m=m: self.upload(m, content, name),
                lambda message: self._show(error_html(message)),
                lang,
            )
            for m in CONTINUOUS
            if m in there and getattr(config, f"{m}_features") != "file"
        }
        lines = [source.line(row) for row in source.rows[:MAX_LISTED].tolist()]
        self.donors = {
            m: ipywidgets.Combobox(
                options=lines,
                continuous_update=False,
                description=label("xw_donor", lang, modality=label(m, lang)),
                placeholder=label("xw_donor_hint", lang),
                style=SHORT,
                layout={"width": "300px"},
            )
            for m in there
        }
        observe(self._notify, *self.typed.values(), *self.donors.values())
        clear = button(label("xw_clear", lang), self.clear, icon="undo")
        note = ClickableHtml(note_html(label("xw_note", lang, limit=MAX_BYTES // 1_000_000)))
        box = ipywidgets.VBox(
            [
                wrapping_row(*self.typed.values(), align="flex-start"),
                wrapping_row(*self.uploads.values(), clear),
                wrapping_row(*self.donors.values()),
                self.message,
                note,
            ]
        )
        super().__init__([box], titles=(label("xw_title", lang),), selected_index=None)
        self.add_class("scale-what-if")

    def _area(self, modality: str) -> ipywidgets.Textarea:
        return ipywidgets.Textarea(
            description=label(f"xw_{modality}", self.lang),
            placeholder=label(f"xw_{modality}_hint", self.lang),
            continuous_update=False,
            rows=4,
            style=SHORT,
            layout={"width": "420px"},
        )

    def upload(self, modality: str, content: bytes, name: str) -> None:
        """Use a file as the content of a modality; of a long clip, the frames that are read."""
        file, note = MemoryFile(content, name), ""
        if modality == "video":
            frames = self._source.data.config.video_frames
            try:
                file, count, exact = shortened_clip(file, frames)
            except MediaError as error:
                self._show(error_html(f"{name}: {error.reason}"))
                return
            if count:
                key = "xw_long" if exact else "xw_long_near"
                note = label(key, self.lang, name=name, n=f"≈ {count}", frames=frames)
        self._files[modality], self._notes[modality] = file, note
        self._notify()

    def clear(self) -> None:
        """Undo all edits."""
        self._files.clear()
        self._notes.clear()
        self._edited.cache_clear()
        for control in (*self.typed.values(), *self.donors.values()):
            control.value = ""
        self._notify()

    def edits(self) -> Edits:
        """Return the edits in the controls. Raises ValueError if one cannot be read."""
        title, table = (self.typed[m].value if m in self.typed else "" for m in DISCRETE)
        try:
            return Edits(
                parse_title(title) if title.strip() else None,
                parse_table(table, self.lang) if table.strip() else None,
                dict(self._files),
                {m: self._donor(box.value) for m, box in self.donors.items() if box.value.strip()},
            )
        except InvalidValue as error:
            raise ValueError(str(error)) from error

    def _donor(self, line: str) -> int:
        """Return the row of a product by its id, or by its line in the list."""
        return self._source.row(self._product_id(line))

    def _product_id(self, line: str) -> str:
        """Return a product's id from the id or the line in the list; both may contain " · "."""
        parts = line.strip().split(" · ")
        starts = [" · ".join(parts[:k]) for k in range(len(parts), 0, -1)]
        return next((start for start in starts if start in self._source.row_of), parts[0])

    def _too_long(self) -> list[str]:
        """Return the modalities whose typed texts are too long for an address."""
        return [m for m, box in self.typed.items() if len(quote(box.value)) > MAX_LINKED]

    @property
    def choices(self) -> dict[str, Choice]:
        """The edits but files, for an address: typed texts, and ids of other products."""

        def choice(control: ipywidgets.Widget, read: Callable[[], str]) -> Choice:
            def write(text: str) -> None:
                control.value = text
                self.selected_index = 0

            return Choice(read, write)

        def typed(modality: str) -> str:
            return "" if modality in self._too_long() else self.typed[modality].value

        return {
            **{f"{m}_typed": choice(box, partial(typed, m)) for m, box in self.typed.items()},
            **{
                f"{m}_of": choice(box, lambda box=box: self._product_id(box.value))
                for m, box in self.donors.items()
            },
        }

    def shown(self, row: int) -> tuple[ExplorerSource, int, tuple[str, ...]]:
        """Return source and row of a product with the edits, and the edited modalities.

        Raises ValueError if an edit cannot be used.
        """
        edits = self.edits()
        self._show("")
        if not edits.modalities:
            return self._source, row, ()
        names = [label(m, self.lang) for m in edits.modalities]
        files = [file.name for file in edits.files.values()]
        lines = [label("xw_edited", self.lang, names=listed([*names, *files], self.lang))]
        lines += [note for note in self._notes.values() if note]
        long = [label(m, self.lang) for m in self._too_long()]
        if files or long:
            names = listed([*long, *files], self.lang)
            lines.append(label("xw_not_linked", self.lang, names=names))
        self._show(note_html("<br>".join(map(escape, lines))))
        key = edits.text, edits.table, *edits.files.items(), *edits.donors.items()
        return self._edited(row, key), 0, edits.modalities

    def other(self, source: ExplorerSource, row: int) -> tuple[ExplorerSource, tuple[str, ...]]:
        """Return the source of a product of another run with the same edits, at row 0, and the
        edited modalities; without edits, the other run's source."""
        edits = self.edits()
        if not edits.modalities:
            return source, ()
        ids = self._source.data.ids
        donors = {m: source.row(ids[donor]) for m, donor in edits.donors.items()}
        return edited_source(source, row, replace(edits, donors=donors)), edits.modalities

    def _edit(self, row: int, key: tuple) -> ExplorerSource:
        return edited_source(self._source, row, self.edits())

    def _show(self, html: str) -> None:
        self.message.html = html

    def _notify(self, _: Any = None) -> None:
        self._changed(None)
