"""Data frames of pandas and polars, and iterables of dictionaries."""

from collections.abc import Iterable, Iterator
from typing import Any

from scale.data.importers.rows import Row, Rows


def is_frame(source: Any) -> bool:
    """Return whether the source is a data frame or an iterable of dictionaries."""
    named = hasattr(source, "columns") and hasattr(source, "__len__")
    return named or (isinstance(source, Iterable) and not isinstance(source, str | bytes))


def read(source: Any, id_column: str = "id") -> Rows:
    """Open a data frame, an Arrow table or an iterable of dictionaries.

    An index of pandas with the name of the id column becomes a column.
    """
    if hasattr(source, "itertuples"):
        if source.index.name == id_column:
            source = source.reset_index()
        source = source.rename(columns=str)
        # Integers with gaps are floats in pandas: without the conversion, 3 would become "3.0".
        converted = source.convert_dtypes()
        names = list(converted.columns)
        rows = converted.itertuples(index=False, name=None)
        records: Iterable[Any] = (dict(zip(names, row, strict=True)) for row in rows)
    elif hasattr(source, "iter_rows"):
        records = source.iter_rows(named=True)
    elif hasattr(source, "to_pylist"):
        records = source.to_pylist()
    else:
        records = source
    opened = Rows(())
    opened.rows = _objects(records, opened)
    return opened


def _objects(records: Iterable[Any], opened: Rows) -> Iterator[tuple[int, Row]]:
    for number, record in enumerate(records, start=1):
        if isinstance(record, dict):
            yield number, {str(key): value for key, value in record.items()}
        else:
            opened.bad.append((number, f"not a dictionary: {str(record)[:40]}"))
