"""Pieces of RFC 3261 §25 shared by the parsers: tokens, quoted strings, parameters, comma lists.

Every pattern takes linear time: repeats that could share characters with their neighbours are possessive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .errors import ParseError

# token = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~")
TCHARS = r"[A-Za-z0-9\-.!%*_+`'~]+"
is_token = re.compile(TCHARS).fullmatch

# host = hostname / IPv4address / IPv6reference; the underscore is not in the grammar but in the field
HOST = r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.\-]+"

# quoted-string without its quotes; qdtext / quoted-pair
QUOTED = r'(?:[^"\\]|\\.)*'

_PARAM = re.compile(rf'\s*+([^\s;="]++)\s*+(?:=\s*+("{QUOTED}"|[^\s;"]*+)\s*+)?(?:;|$)', re.DOTALL)
_LIST_PIECE = re.compile(rf'"{QUOTED}"|<[^<>]*>|,|[^",<]+|[",<]', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Params:
    """Ordered `;name=value` parameters, immutable; a flag such as `;lr` has the value None.

    Names compare without case and keep their spelling. Values stay as on the wire, quotes and escapes included.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[str, str | None]] = ()) -> None:
        self._items = tuple(items)

    @classmethod
    def parse(cls, text: str, field: str) -> Params:
        """Read `a=b;c;d="e"` (with or without the leading `;`); ParseError naming `field`."""
        text = text.strip().removeprefix(";")
        if not text:
            return NO_PARAMS
        items: list[tuple[str, str | None]] = []
        position = 0
        while position < len(text):
            match = _PARAM.match(text, position)
            if match is None:
                raise ParseError(f"{field}: malformed parameter at {text[position : position + 20]!r}")
            items.append((match[1], match[2]))
            position = match.end()
        return cls(items)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of the first parameter of that name; `default` also for a flag."""
        name = name.lower()
        for key, value in self._items:
            if key.lower() == name:
                return default if value is None else value
        return default

    def replace(self, name: str, value: str | None) -> Params:
        """A copy in which `name` has this value, in its place or else at the end."""
        wanted = name.lower()
        if name not in self:
            return Params((*self._items, (name, value)))
        return Params((key, value if key.lower() == wanted else old) for key, old in self._items)

    def without(self, name: str) -> Params:
        """A copy without any parameter of that name."""
        name = name.lower()
        return Params((key, value) for key, value in self._items if key.lower() != name)

    def __contains__(self, name: str) -> bool:
        name = name.lower()
        return any(key.lower() == name for key, _ in self._items)

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Params) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    def __str__(self) -> str:
        """The parameters with a `;` before each, or nothing."""
        return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in self._items)

    def __repr__(self) -> str:
        return f"Params({str(self)!r})"


NO_PARAMS = Params()


def quote(text: str) -> str:
    """A quoted-string for `text` (RFC 3261 §25.1)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """The text a quoted-string stands for; anything that is not quoted is returned as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    return _ESCAPED.sub(r"\1", inner) if "\\" in inner else inner


def split_list(value: str) -> list[str]:
    """Split at the commas outside quotes and angle brackets; empty elements are dropped (RFC 3261 §7.3.1)."""
    if "," not in value:
        value = value.strip()
        return [value] if value else []
    pieces: list[str] = []
    current: list[str] = []
    for match in _LIST_PIECE.finditer(value):
        piece = match[0]
        if piece == ",":
            pieces.append("".join(current).strip())
            current.clear()
        else:
            current.append(piece)
    pieces.append("".join(current).strip())
    return [piece for piece in pieces if piece]
