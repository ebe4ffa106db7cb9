"""Metadata filters: conditions on products, such as `category == 'mug' and price < 20`.

A condition is parsed by `ast` and compiled from a short list of its nodes, never evaluated as
Python: names of values, literals, comparisons, `and`, `or`, `not`, and the functions of FUNCTIONS.
"""

import ast
import difflib
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from scale.data.product import Product
from scale.modalities import CONTINUOUS

LONGEST = 10_000
"""Maximal number of characters of a condition."""
DEEPEST = 50
"""Maximal number of conditions inside one another."""
GROUPS = ("table", "labels", "extra")
"""Groups of values, for names that are not identifiers: `table['screen size']`."""
FIELDS = ("id", "title", "category", "split", "name", *CONTINUOUS)
NUMBER = re.compile(
    r"(?:[A-Z]{3}|Rs\.?|[$€£¥₹₩])?\s*"
    r"([+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+,\d{1,2}|\d*\.?\d+(?:[eE][+-]?\d{1,3})?|\d+\.))"
    r"\s*(?:[$€£¥₹₩%°\"']|[^\W\d_]{1,12}[²³]?)?"
)
"""A number with an optional currency or unit: `19.99`, `€ 19,90`, `1,299.00 USD`, `12 cm`."""

FLOAT_LIMIT = int(1e308)
ORDERS = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
Values = tuple[Any, ...]
"""All values of an expression in one product: none if the product lacks it."""
Read = Callable[[Product], Values]
Test = Callable[[Product], bool]


class FilterError(ValueError):
    """A condition that cannot be used; the message names the part and the reason."""


@dataclass(frozen=True)
class ProductFilter:
    """A condition on products.

    An attribute that a product has several times matches if one of its values does. A product
    without the value fulfils no comparison but `!=`, `not in` and `is None`.
    """

    text: str
    test: Test
    names: tuple[str, ...]
    """Names that the condition reads, as written: `price`, `table['screen size']`."""
    reads: tuple[Read, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "ProductFilter":
        """Compile a condition.

        Names are `id`, `title`, `category`, `split`, `name`, attributes of the table, labels and
        further keys of the record, in this order, then without regard to case; `image`, `video`
        and `audio` are paths. Numbers in text are compared as numbers if the other side is one.

        Raises:
            FilterError: the text is not a condition.
        """
        if len(text) > LONGEST:
            raise FilterError(f"the condition has {len(text):,} characters; at most {LONGEST:,}")
        try:
            tree = ast.parse(text.strip(), mode="eval")
            compiler = _Compiler()
            test = compiler.test(tree.body)
        except SyntaxError as error:
            place = f" at character {error.offset}" if error.offset else ""
            raise FilterError(
                f"condition {_shorten(text)}: {error.msg}{place}; for example: "
                "category == 'mug' and price < 20"
            ) from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise FilterError(f"condition {_shorten(text)}: {error}") from error
        if not compiler.reads:
            raise FilterError(f"condition {_shorten(text)}: it reads no value of a product")
        return cls(text, test, tuple(compiler.reads), tuple(compiler.reads.values()))

    def select(self, products: Iterable[Product]) -> Iterator[Product]:
        """Yield the products that fulfil the condition.

        Raises:
            FilterError: after the last one, if no product has a value of one of the names.
        """
        missing, known = dict(zip(self.names, self.reads, strict=True)), {}
        for product in products:
            for name in [name for name, read in missing.items() if read(product)]:
                del missing[name]
            if missing and len(known) < 1000:
                known |= dict.fromkeys(_names(product))
            if self.test(product):
                yield product
        if missing:
            name = next(iter(missing))
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(known)[:8]
            hint = f"; names here: {', '.join(close)}" if close else ""
            raise FilterError(f"condition {_shorten(self.text)}: no product has {name}{hint}")


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:100]}...")


def parse_number(value: Any) -> float | None:
    """Return a value as a number; None if it is none. Text may have a currency or a unit."""
    if isinstance(value, bool) or value is None:
        return None
    if not isinstance(value, str):
        if not isinstance(value, int | float | Decimal):
            return None
        # Integers may exceed the range of float.
        return float(min(max(value, -FLOAT_LIMIT), FLOAT_LIMIT))
    found = NUMBER.fullmatch(value.strip()) if len(value) < 100 else None
    if found is None:
        return None
    digits = found[1]
    decimal_comma = re.fullmatch(r"[+-]?\d+,\d{1,2}", digits)
    return float(digits.replace(",", "." if decimal_comma else ""))


class _Compiler:
    """Turns the nodes of a condition into functions; collects the values that it reads."""

    def __init__(self) -> None:
        self.reads: dict[str, Read] = {}

    def test(self, node: ast.expr, depth: int = 0) -> Test:
        """Return the function of a condition."""
        if depth > DEEPEST:
            raise FilterError(f"more than {DEEPEST} conditions inside one another")
        match node:
            case ast.BoolOp(op=op, values=values):
                tests, combine = [self.test(v, depth + 1) for v in values], _COMBINE[type(op)]
                return lambda product: combine(test(product) for test in tests)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.test(operand, depth + 1)
                return lambda product: not inner(product)
            case ast.Compare(left=left, ops=ops, comparators=right):
                pairs = zip([left, *right], ops, right, strict=False)
                tests = [self._comparison(a, op, b) for a, op, b in pairs]
                return lambda product: all(test(product) for test in tests)
        raise FilterError(f"{ast.unparse(node)!r} is not a comparison")

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Test:
        negated = isinstance(op, ast.NotEq | ast.NotIn | ast.IsNot)
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise FilterError("'is' compares with None only; use ==")
            read = self._values(left)
            return lambda product: bool(read(product)) is negated
        a, b = self._values(left), self._values(right)
        if isinstance(op, ast.In | ast.NotIn):
            listed = isinstance(right, ast.Tuple | ast.List | ast.Set)
            compare = _equal if listed else _contains
        elif isinstance(op, ast.Eq | ast.NotEq):
            compare = _equal
        else:
            compare = _ordered(ORDERS[type(op)])

        def test(product: Product) -> bool:
            others = b(product)
            return any(compare(x, y) for x in a(product) for y in others) is not negated

        return test

    def _values(self, node: ast.expr) -> Read:
        match node:
            case ast.Constant(value=str() | int() | float() as value):
                return lambda product: (value,)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return lambda product: (-value,)
            case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
                reads = [self._values(item) for item in items]
                return lambda product: tuple(v for read in reads for v in read(product))
            case ast.Name(id=name):
                return self._read(name, lambda product: _find(product, name))
            case ast.Subscript(value=ast.Name(id=group), slice=ast.Constant(value=str() as name)):
                if group in GROUPS:
                    return self._read(
                        f"{group}[{name!r}]", lambda product: _in_group(product, group, name)
                    )
                raise FilterError(f"unknown group {group!r}; known: {', '.join(GROUPS)}")
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
                if name in FUNCTIONS:
                    read, function = self._values(argument), FUNCTIONS[name]
                    return lambda product: tuple(map(function, read(product)))
                raise FilterError(f"unknown function {name!r}; known: {', '.join(FUNCTIONS)}")
        raise FilterError(f"{ast.unparse(node)!r} is not a name or a literal")

    def _read(self, name: str, read: Read) -> Read:
        self.reads[name] = read
        return read


_COMBINE: dict[type, Callable[[Iterable[bool]], bool]] = {ast.And: all, ast.Or: any}
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "lower": lambda value: value.lower() if isinstance(value, str) else value
}


def _find(product: Product, name: str) -> Values:
    """Return the values of a name: a field, or in the groups, exactly or without case."""
    if name in FIELDS:
        value = getattr(product, "text" if name == "title" else name)
        return () if value is None else (value if name not in CONTINUOUS else str(value),)
    for group in GROUPS:
        if found := _in_group(product, group, name):
            return found
    folded = name.casefold()
    for group in GROUPS:
        if found := tuple(v for key, v in _items(product, group) if key.casefold() == folded):
            return found
    return ()


def _in_group(product: Product, group: str, name: str) -> Values:
    return tuple(value for key, value in _items(product, group) if key == name)


def _items(product: Product, group: str) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of a group; the items of a list are values of their own."""
    found = getattr(product, group) or ()
    for key, value in found.items() if isinstance(found, dict) else found:
        for item in value if isinstance(value, list | tuple) else (value,):
            yield key, item


def _names(product: Product) -> list[str]:
    fields = [n for n in FIELDS if getattr(product, "text" if n == "title" else n) is not None]
    return fields + [key for group in GROUPS for key, _ in _items(product, group)]


def _pair(a: Any, b: Any) -> tuple[Any, Any] | None:
    """Return two values in a common type: numbers if one is a number, else text, if both are."""
    if isinstance(a, bool) or isinstance(b, bool):
        return str(a).casefold(), str(b).casefold()
    if isinstance(a, str) and isinstance(b, str):
        return a, b
    numbers = parse_number(a), parse_number(b)
    return None if None in numbers else numbers


def _equal(a: Any, b: Any) -> bool:
    pair = _pair(a, b)
    return pair is not None and pair[0] == pair[1]


def _contains(part: Any, whole: Any) -> bool:
    return isinstance(part, str) and isinstance(whole, str) and part in whole


def _ordered(order: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(a: Any, b: Any) -> bool:
        numbers = parse_number(a), parse_number(b)
        # Two texts that are numbers are compared as numbers too: `price < list_price`.
        pair = numbers if None not in numbers else _pair(a, b)
        return pair is not None and order(*pair)

    return compare
