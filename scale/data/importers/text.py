"""Text of foreign files: encoding, delimiter and decimal sign by content; HTML to plain text."""

import codecs
import csv
import html
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path

from scale.data.product import CONTROLS

ENCODINGS = ("gb18030", "cp932", "cp1252")
"""Tried, in this order, for a file that is not Unicode. cp932 is Windows' Shift JIS."""
BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
DELIMITERS = (",", ";", "\t", "|")
NAMED_DELIMITERS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
SAMPLE = 1 << 18
"""Bytes and characters that decide on an encoding, delimiter or decimal sign."""
FIELD_LIMIT = 1 << 27
"""Characters of a cell; the default of the csv module, 131072, is less than a long description."""
LINES_OF_A_CELL = 5000
"""A quoted cell of more lines counts as an unclosed quote."""

_COMMON = {
    # Level-1 hanzi and full-width punctuation; kana, level-1 kanji and punctuation; Latin letters
    # beside letters, and the typographic characters of shop texts.
    "gb18030": re.compile(rb"(?:[\xb0-\xd7][\xa1-\xfe]|[\xa1\xa3][\xa1-\xfe])"),
    "cp932": re.compile(
        rb"(?:\x82[\x4f-\xf1]|\x83[\x40-\x96]|\x81[\x40-\xac]"
        rb"|[\x89-\x97][\x40-\x7e\x80-\xfc]|\x88[\x9f-\xfc])"
    ),
    "cp1252": re.compile(
        rb"(?<![\x80-\xff])(?:[\xc0-\xd6\xd8-\xf6\xf8-\xff][\xc0-\xd6\xd8-\xf6\xf8-\xff]?"
        rb"|[\x80\x82\x84\x85\x8c\x91-\x97\x99\x9c\xa0-\xbf\xd7\xf7]"
        rb"|[\x84\x8b\x91\x93\xab][\xc0-\xff])(?![\x80-\xff])"
    ),
}
"""Byte sequences that are frequent in texts of each encoding."""


def detect_encoding(path: Path) -> str:
    """Return the encoding of a text file: Unicode if it is valid, otherwise the most plausible.

    The plausibility is the share of bytes beyond ASCII that belong to frequent characters.
    """
    with path.open("rb") as file:
        head = file.read(SAMPLE)
        for mark, encoding in BOMS.items():
            if head.startswith(mark):
                return encoding
        if head and head.count(0) > len(head) // 4:
            return "utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"
        strange = _non_utf8(chain([head], iter(lambda: file.read(SAMPLE), b"")))
    return "utf-8" if strange is None else max(ENCODINGS, key=lambda e: _plausibility(strange, e))


def _non_utf8(chunks: Iterable[bytes]) -> bytes | None:
    """Return None if the bytes are UTF-8, otherwise a sample of them from the first other one."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")(), b""
    for chunk in chunks:
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError:
            return rest + chunk
        rest = chunk[-8:]
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return rest
    return None


def _plausibility(data: bytes, encoding: str) -> float:
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        # The sample may end within a character.
        if error.start < len(data) - 4:
            return -1.0
    high = sum(byte > 127 for byte in data)
    found = sum(sum(b > 127 for b in match) for match in _COMMON[encoding].findall(data))
    return found / max(high, 1)


def read_text(path: Path, encoding: str | None = None) -> tuple[str, Iterator[str]]:
    """Return the encoding and the lines of a text file, with their ends.

    Raises ValueError, while the lines are read, if the file has another encoding.
    """
    try:
        name = encoding or detect_encoding(path)
        "".encode(name)
    except LookupError as error:
        raise ValueError(f"unknown encoding {encoding!r}") from error
    if name.lower() in ("utf-8", "utf8"):
        name = "utf-8-sig"  # identical without a byte order mark

    def lines() -> Iterator[str]:
        try:
            with path.open(encoding=name, newline="") as file:
                yield from file
        except UnicodeError as error:
            hint = "save it as UTF-8, or name its encoding (--encoding gb18030, --encoding cp1252)"
            raise ValueError(f"{path}: not {encoding}: {hint}") from error

    return name.removesuffix("-sig"), lines()


def detect_delimiter(sample: list[str], prefer: str = ",") -> str:
    """Return the character that splits most lines into as many cells as the header has.

    Args:
        sample: the first lines, with the header.
        prefer: returned if no character occurs in the header.
    """

    def score(delimiter: str) -> tuple[float, bool, int]:
        rows = [row for row in csv.reader(sample, delimiter=delimiter) if any(row)]
        width = len(rows[0]) if rows else 1
        if width < 2:
            return 0.0, False, 0
        same = sum(len(row) == width for row in rows) / len(rows)
        return same, delimiter == prefer, width

    best = max(DELIMITERS, key=score)
    return best if score(best)[0] else prefer


def read_delimiter(text: str) -> str:
    """Return the character that an option names: `;`, `\\t`, `tab`. Raises ValueError."""
    delimiter = NAMED_DELIMITERS.get(text.lower(), text)
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise ValueError(f"delimiter {text!r}: one character is needed, e.g. , ; | or tab")
    return delimiter


def parse_rows(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str], bool]]:
    """Yield the number of the first line, the cells, and whether quotes were ignored, of each row.

    The first row is the header. Where quotes are misplaced or not closed (also recognised by a row
    of several lines with another number of cells than the header), the first line alone is split
    without regard to quotes, and the lines after it are read again.
    """
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_LIMIT))
    source, again, number, width = iter(lines), [], 1, 0
    while True:
        taken: list[str] = []

        def feed() -> Iterator[str]:
            while len(taken) < LINES_OF_A_CELL:  # noqa: B023
                line = again.pop() if again else next(source, None)  # noqa: B023
                if line is None:
                    return
                taken.append(line)  # noqa: B023
                yield line

        reader = csv.reader(feed(), delimiter=delimiter, strict=True)
        try:
            while (row := next(reader, None)) is not None:
                if len(taken) > 1 and width and len(row) != width:
                    break
                yield number, row, False
                width = width or len(row)
                number += len(taken)
                taken.clear()
            if not taken:
                return
        except csv.Error:
            pass
        yield number, taken[0].rstrip("\r\n").split(delimiter), True
        number += 1
        again += reversed(taken[1:])


_COMMA = re.compile(r"\D{0,4}-?(?:\d{1,3}(?:\.\d{3})+|\d+),(?:\d{1,2}|\d{4,})\D{0,5}")
_POINT = re.compile(r"\D{0,4}-?(?:\d{1,3}(?:,\d{3})+|\d+)\.(?:\d{1,2}|\d{4,})\D{0,5}")
_NUMBER = re.compile(r"(\D{0,4})(-?)(\d{1,3}(?:\.\d{3})+|\d+),(\d+)(\D{0,5})")


def detect_decimal(cells: Iterable[str]) -> str:
    """Return `,` if numbers of the cells have a decimal comma and none a decimal point."""
    commas = False
    for cell in cells:
        if len(cell) < 24:
            if _POINT.fullmatch(cell):
                return "."
            commas = commas or _COMMA.fullmatch(cell) is not None
    return "," if commas else "."


def with_decimal_point(cell: str) -> str:
    """Return a number with a decimal point instead of a comma; other text is unchanged."""
    match = _NUMBER.fullmatch(cell) if "," in cell and len(cell) < 32 else None
    if match is None:
        return cell
    before, sign, whole, part, after = match.groups()
    return f"{before}{sign}{whole.replace('.', '')}.{part}{after}"


TAGS = frozenset(
    """a abbr address article aside b big blockquote body br button caption center cite code col
    colgroup dd del div dl dt em embed fieldset figcaption figure font footer form h1 h2 h3 h4 h5 h6
    head header hr html i iframe img input ins label legend li link main mark meta nav noscript
    object ol option p picture pre q s script section select small source span strike strong style
    sub sup svg table tbody td textarea tfoot th thead title tr u ul video""".split()  # noqa: SIM905
)
INLINE = frozenset(
    "a abbr b big cite code del em font i ins mark q s small span strike strong sub sup u".split()  # noqa: SIM905
)
_MARKUP = re.compile(r"<!--|</?[a-zA-Z][a-zA-Z0-9]*[\s/>]|&(?:#\d+|#[xX][0-9a-fA-F]+|[a-zA-Z]\w+);")


class _TextOf(HTMLParser):
    """Collects the text outside tags, scripts and styles."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._tag(tag, +1)

    def handle_endtag(self, tag: str) -> None:
        self._tag(tag, -1)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self._tag(tag, 0)

    def _tag(self, tag: str, opened: int) -> None:
        if tag not in TAGS:
            self.parts.append(self.get_starttag_text() if opened > 0 else f"</{tag}>")
            return
        if tag in ("script", "style"):
            self.hidden = max(self.hidden + opened, 0)
        self.parts.append("" if tag in INLINE else " ")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)


def has_markup(text: str) -> bool:
    """Return whether the text contains HTML entities or tags of HTML."""
    found = ("&" in text or "<" in text) and _MARKUP.search(text)
    return bool(found) and plain_text(text) != " ".join(text.split())


def plain_text(text: str) -> str:
    """Return the text of HTML: tags removed, entities decoded, white space merged.

    `<` before anything but an HTML tag is kept: `size < 5 cm`, `<unknown>`.
    """
    if "<" in text and _MARKUP.search(text):
        parser = _TextOf()
        parser.feed(text)
        parser.close()
        text = "".join(parser.parts)
    elif "&" in text:
        text = html.unescape(text)
    return clean_text(text)


def clean_text(text: str) -> str:
    """Return the text on one line, without control characters."""
    return " ".join(CONTROLS.sub(" ", text).split())
