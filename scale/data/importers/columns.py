"""Meaning of each column: by its name, without case and with synonyms, and by its values."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

from scale.data.importers.rows import Blob, Row, is_absent
from scale.data.product import KEYS
from scale.modalities import CONTINUOUS

SUFFIXES = {
    "image": "jpg jpeg png webp gif bmp tif tiff avif heic jfif ppm jp2",
    "video": "mp4 mov webm mkv avi m4v mpg mpeg",
    "audio": "mp3 wav ogg flac m4a aac opus",
}
MEDIA_FILE = {
    m: re.compile(rf"(?i)[^\n]+\.({'|'.join(suffixes.split())})([?#].*)?")
    for m, suffixes in SUFFIXES.items()
}

SYNONYMS = {
    "id": "id productid sku itemid articleid articlenumber asin parentasin gtin ean uniqid pid "
    "uid key handle productcode code artikelnummer itemno 商品id 编号 商品编号 商品コード",
    "title": "title producttitle productname itemname itemtitle name designation prodname text "
    "caption headline displayname product bezeichnung artikelbezeichnung produktname titel titre "
    "nom libelle nombre titulo titolo denominazione 标题 商品标题 商品名称 名称 商品名 タイトル "
    "description shortdescription",
    "category": "category categoryname productcategory categories producttype producttypename "
    "kategorie categorie categoria 类目 分类 カテゴリ label labels class classname target "
    "prdtypecode cls categoryid classid",
    "split": "split subset partition",
    "name": "name",
    "image": "image img picture photo pic imageurl imagelink imgurl pictureurl photourl imagepath "
    "imagefile imagefilename imagesrc mainimage mainimageurl primaryimage baseimage images "
    "imageurls pictures photos bild foto bildurl 图片 主图 画像 filename filepath thumbnail",
    "video": "video clip videourl videolink videopath videofile videos 视频 filename",
    "audio": "audio sound audiourl audiopath audiofile 音频 filename",
    "table": "table attributes attribute attrs specs specifications productspecifications "
    "properties details features pv 属性 参数",
    "alt": "alt",
    "labels": "labels",
    "content": "content",
}
"""Names of columns by role, in lower case without punctuation, best first."""
ROLES = (*SYNONYMS, "kept", "ignored")
NESTED = ("table", "alt", "labels", "content")
"""Roles that the synonyms give only to columns with lists or dictionaries."""
LABEL = re.compile(r"label|categor|taxonom|^class|^(super)?classid$|^target$|^cls$|^y$|prdtypecode")
"""Names of targets: never an input unless the user asks for it."""
LONG_TEXT = re.compile(r"desc|body|bulletpoint|longtext|abstract|beschreibung|描述|詳細")
ADDRESS = re.compile(r"(?i)(https?|ftp)://\S+")
FURTHER = re.compile(r"(additional|other|more|alt|second|extra|back|gallery)?_*(.*?)_*\d*_*")


@dataclass
class ColumnMapping:
    """Role of each column; `print` it for a report."""

    roles: dict[str, str] = field(default_factory=dict)
    """A record key, `table`, `labels`, `kept` (`Product.extra`, not an input) or `ignored`."""
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    rest: str = "table"

    def of(self, role: str) -> list[str]:
        """Return the columns of a role."""
        return [name for name, given in self.roles.items() if given == role]

    def role(self, column: str) -> str:
        """Return the role of a column, also of one that occurs late in the source."""
        if column not in self.roles:
            is_label = LABEL.search(plain_name(column))
            self.roles[column] = "labels" if is_label else self.rest
        return self.roles[column]

    def __str__(self) -> str:
        """Return one line per role, then notes and warnings."""
        meaning = {"labels": " (not an input)", "kept": " (not an input)", "table": " (attributes)"}
        lines = [
            f"  {role + meaning.get(role, ''):<22} <- {', '.join(map(_shown, self.of(role)))}"
            for role in ROLES
            if self.of(role)
        ]
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def _shown(name: str) -> str:
    return name if name.isprintable() and name else repr(name)


def plain_name(name: str) -> str:
    """Return a column name in lower case, without punctuation and blanks."""
    return re.sub(r"[\W_]+", "", name.casefold())


def map_columns(
    names: Sequence[str],
    sample: Sequence[Row],
    given: Mapping[str, str | Sequence[str]] | None = None,
    fixed: Mapping[str, Sequence[str]] | None = None,
    rest: str = "table",
) -> ColumnMapping:
    """Return the role of each column.

    Args:
        names: columns in the order of the source.
        sample: rows, whose values decide where names do not.
        given: columns of a role, chosen by the user; a string or several, `a + b` joins two.
        fixed: as `given`, by the format.
        rest: role of the other columns.

    Raises ValueError for an unknown role and for a column that does not exist.
    """
    mapping = ColumnMapping(rest=rest)
    values = {name: [row.get(name) for row in sample] for name in names}
    filled = {n: [v for v in column if not is_absent(v)] for n, column in values.items()}
    for role, columns in (given or {}).items():
        if role not in ROLES:
            raise ValueError(f"unknown record key {role!r}; known: {', '.join(ROLES)}")
        for column in [columns] if isinstance(columns, str) else columns:
            for name in _find(column, names, role):
                mapping.roles[name] = role
    taken = set(mapping.roles.values())
    spelling = {name.casefold(): name for name in reversed(names)}
    for role, columns in (fixed or {}).items():
        present = [spelling[c.casefold()] for c in columns if c.casefold() in spelling]
        present = [name for name in present if name not in mapping.roles]
        if role in ("id", "title", "category", "split", "name"):
            if role in taken:
                continue
            usable = [c for c in present if filled[c]] or present
            present, others = usable[:1], usable[1:]
            for name in others if role == "category" else ():
                mapping.roles[name] = "labels"
        mapping.roles |= dict.fromkeys(present, role)
    _map_by_name(mapping, names, filled, fixed or {})
    if mapping.rest == "table" and any(_has_pairs(filled[c]) for c in mapping.of("table")):
        mapping.rest = "kept"
    for name in names:
        if name not in mapping.roles:
            mapping.roles[name] = _role_of(name, filled[name], mapping)
    mapping.roles = {name: mapping.roles[name] for name in names if name in mapping.roles}
    _find_leaks(mapping, sample, given or {})
    _note(mapping, filled)
    return mapping


def _find(column: str, names: Sequence[str], role: str) -> list[str]:
    """Return the existing columns that a user names: one, or several joined by +."""
    found = [name for name in names if name == column]
    found = found or [n for n in names if plain_name(n) == plain_name(column)][:1]
    if not found and "+" in column:
        return [name for part in column.split("+") for name in _find(part.strip(), names, role)]
    if not found:
        raise ValueError(f"no column {column!r} for the {role}; columns: {', '.join(names)}")
    return found


def _map_by_name(
    mapping: ColumnMapping,
    names: Sequence[str],
    filled: Mapping[str, list[Any]],
    fixed: Mapping[str, Sequence[str]],
) -> None:
    taken = set(mapping.roles.values())
    for role, synonyms in SYNONYMS.items():
        if role in taken or role in fixed:
            continue
        for synonym in synonyms.split():
            free = [n for n in names if n not in mapping.roles and plain_name(n) == synonym]
            found = next((n for n in free if _fits(role, synonym, filled[n])), None)
            if found is not None:
                mapping.roles[found] = role
                break


def _fits(role: str, synonym: str, values: list[Any]) -> bool:
    if role in NESTED:
        return _is_nested(values) or (role == "table" and any("#:#" in str(v) for v in values))
    if role in CONTINUOUS:
        exact = synonym not in ("filename", "filepath", "clip", "sound", "pic", "thumbnail")
        return exact or any(_is_media(v, role) for v in values)
    # A name of a target or of a text may have values of another kind.
    return not (role in ("id", "title", "category", "split", "name") and _is_nested(values, dict))


def _is_nested(values: Iterable[Any], kinds: Any = (list, tuple, dict)) -> bool:
    return any(isinstance(v, kinds) or (hasattr(v, "tolist") and v.ndim) for v in values)


def _has_pairs(values: Iterable[Any]) -> bool:
    """Return whether the values are tables: dictionaries, or lists of pairs or dictionaries."""
    return any(
        isinstance(v, dict) or (_is_nested([v]) and _is_nested(item for item in v)) for v in values
    )


def _is_media(value: Any, modality: str) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_media(v, modality) for v in value)
    if isinstance(value, dict):
        value = value.get("path") or ""
    name = value.name if isinstance(value, Blob) else value
    return isinstance(name, str) and MEDIA_FILE[modality].fullmatch(name.strip()) is not None


def _role_of(name: str, values: list[Any], mapping: ColumnMapping) -> str:
    """Return the role of a column whose name is no synonym of a free role."""
    plain = plain_name(name)
    if re.fullmatch(r"|unnamed\d+|index", plain):
        return "ignored"
    if LABEL.search(plain):
        return "labels"
    for modality in CONTINUOUS:
        # The time of the pattern grows with the fourth power of the length.
        short = re.sub(r"\W", "_", name[:100].casefold())
        further = FURTHER.fullmatch(short)
        base = plain_name(further[2]) if further else ""
        known = base in SYNONYMS[modality].split() and mapping.of(modality)
        if known and any(isinstance(v, dict) or _is_media(v, modality) for v in values):
            return modality
    texts = [v for v in values if isinstance(v, str)]
    if LONG_TEXT.search(plain) or any(isinstance(v, dict | Blob | bytes) for v in values):
        return "kept"
    if _is_nested(value for v in values if isinstance(v, list | tuple) for value in v):
        return "kept"
    if texts and sum(ADDRESS.fullmatch(t.strip()) is not None for t in texts) > len(texts) / 2:
        return "kept"
    return mapping.rest


def _find_leaks(mapping: ColumnMapping, sample: Sequence[Row], given: Mapping[str, Any]) -> None:
    """Move attributes that repeat the category to the labels."""
    by = mapping.of("category")
    targets = [str(row.get(by[0])).casefold() for row in sample] if by else []
    if len(set(targets)) < 2 or len(targets) < 5:
        return
    for name in mapping.of("table"):
        if "table" in given and name in _listed(given["table"]):
            continue
        values = [row.get(name) for row in sample]
        same = [str(v).casefold() == t for v, t in zip(values, targets, strict=True)]
        if sum(same) > 0.9 * len(same):
            mapping.roles[name] = "labels"
            mapping.notes.append(f"{name!r} repeats the category, so it is a label, not an input")


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _note(mapping: ColumnMapping, filled: Mapping[str, list[Any]]) -> None:
    """Add what a user should know: targets, numbers as text, and modalities that stay empty."""
    for role in ("id", "category", "title"):
        for name in mapping.of(role):
            if any(isinstance(v, Number) for v in filled[name]):
                mapping.notes.append(f"{role}: numbers taken as text")
            if role == "id" and any(re.fullmatch(r"\d\.\d+E\+\d+", str(v)) for v in filled[name]):
                mapping.warnings.append("ids such as 4.00638E+12 were shortened by a spreadsheet")
    if not mapping.of("id"):
        mapping.notes.append("no column of ids: products are numbered")
    for modality, key in KEYS.items():
        columns = [c for c in mapping.of(key) if c in filled]
        columns += [c for c in mapping.of("alt") if modality in CONTINUOUS and c in filled]
        if any(filled[c] for c in columns):
            continue
        likely = _likely(modality, mapping, filled)
        if likely or modality in ("text", "table", "image"):
            hint = f"; likely columns: {', '.join(likely)}" if likely else ""
            use = f" (--columns {key}={likely[0]})" if likely else ""
            mapping.warnings.append(f"no product has {_article(modality)}{hint}{use}")


def _article(modality: str) -> str:
    return {"text": "a title", "table": "a table", "image": "an image", "audio": "audio"}.get(
        modality, f"a {modality}"
    )


def _likely(modality: str, mapping: ColumnMapping, filled: Mapping[str, list[Any]]) -> list[str]:
    """Return up to three columns that may hold a modality, most likely first."""
    free = [n for n, role in mapping.roles.items() if role in ("table", "kept") and n]
    if modality in CONTINUOUS:
        found = [n for n in free if any(_is_media(v, modality) for v in filled.get(n, []))]
        found += [n for n in free if modality in plain_name(n) and n not in found]
    elif modality == "text":
        names = SYNONYMS["title"].split()[:10]
        found = [n for n in free if difflib.get_close_matches(plain_name(n), names, 1, 0.75)]
        found += [n for n in free if any(w in plain_name(n) for w in names) and n not in found]
        texts = {n: [v for v in filled.get(n, []) if isinstance(v, str)] for n in free}
        wordy = [
            n for n in free if texts[n] and sum(" " in v for v in texts[n]) > len(texts[n]) / 2
        ]
        found += [n for n in wordy if n not in found]
    else:
        names = SYNONYMS["table"].split()
        found = [n for n in free if plain_name(n) in names]
        found += [n for n in free if n not in found and not LONG_TEXT.search(plain_name(n))
                  and any(isinstance(v, str | int | float) and not ADDRESS.match(str(v))
                          for v in filled.get(n, []))]  # fmt: skip
    return found[:3]
