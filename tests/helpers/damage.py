"""Damage: sound content, changed at random as files are that were cut off, merged badly, or made to do harm.

Bytes are flipped, cut and doubled, words are replaced by words that are known to hurt, and JSON is changed by its values,
so that what is deep in a file is reached as well. The same seed gives the same damage in every process.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

# Nesting that readers refuse: more than Python's recursion takes.
DEEP = 1500
DIGITS = "9" * 5000
LONG = "a" * 3000
# Words that JSON, or what calls itself so, may hold in the place of a value.
JSON_WORDS = (
    "null",
    "true",
    "[]",
    "{}",
    '""',
    "0",
    "-1",
    "-0.0",
    "0.5",
    "1.5",
    "1e999",
    "-1e999",
    "1e308",
    "5e-324",
    "NaN",
    "Infinity",
    "-Infinity",
    DIGITS,
    f"0.{DIGITS}",
    str(2**31),
    str(2**53 + 1),
    str(2**64),
    "1" + "0" * 30,
    '"\\ud800"',
    '"\\udc80\\udc80"',
    '"\\u0000"',
    '"\\u001b[31m\\u001b]0;x\\u0007"',
    '"\\r\\n"',
    '"[/]"',
    '"../../../etc/passwd"',
    '"/etc/passwd"',
    '"."',
    '"1"',
    '"NaN"',
    '"2026-02-30T25:61:00Z"',
    f'"{LONG}"',
    '"' + "a/" * 700 + '"',
    "[" * DEEP,
    "[" * DEEP + "]" * DEEP,
    "[" * 200 + "]" * 200,
    '{"a":' * DEEP + "1" + "}" * DEEP,
    '{"a":1,"a":1}',
    "[[1,2],[3]]",
    '[null,"a",1]',
    "\ufeff",
    "'a'",
    "# a",
    "01",
)
TOML_WORDS = (
    "1979-99-99",
    "2021-02-30",
    "1979-05-27",
    "1979-05-27T07:32:00Z",
    "99:99:99",
    "07:32:00",
    "inf",
    "-inf",
    "nan",
    "-1",
    "0",
    "0.5",
    "1.0",
    "1e999",
    "2.5",
    DIGITS,
    "0x7fffffffffffffffffffffff",
    "0b1",
    "true",
    '""',
    "'a'",
    '"\\uD800"',
    '"\\u0000"',
    '"\\u001B[31m"',
    '"[/]"',
    f'"{LONG}"',
    '"*"',
    '"[a"',
    "[]",
    "{}",
    "[" * DEEP,
    "[" * DEEP + "]" * DEEP,
    "{a = " * DEEP + "1" + "}" * DEEP,
    "a" + ".a" * DEEP + " = 1",
    "[a" + ".a" * DEEP + "]",
    "[[expected]]",
    "[default]",
    "= =",
    "\0",
    "'''\na\n'''",
    '["a", 1]',
    '[["a"]]',
    '{ "a b" = 1 }',
)
TEXT_WORDS = (
    "",
    '"',
    '""',
    "'",
    ",",
    "\t",
    ";",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\0",
    "\ufeff",
    "\u2028",
    "\x1b[31m",
    "nan",
    "NaN",
    "1e999",
    "-1",
    "1_000",
    "\u0663",
    DIGITS,
    "0x10",
    LONG,
    "[" * DEEP,
    "null",
    "\\N",
    "score",
    "label",
    "sep=;",
    "[a]",
    "\n  a",
    "=",
    "%(a)s",
    "a = 1",
)
NPY_WORDS = (
    "'<f4'",
    "'<f8'",
    "'>f2'",
    "'<i8'",
    "'|u1'",
    "'|O'",
    "'|b1'",
    "'<U4'",
    "'<M8[s]'",
    "'<c8'",
    "'<f16'",
    "'|V0'",
    "'|V1000000000'",
    "'('",
    "'<f4,<f4'",
    "[('a', '<f4')]",
    "('<f4', (3,))",
    "('<f4', (100000, 100000))",
    "True",
    "None",
    "()",
    "(0,)",
    "(2,)",
    "(2, 3)",
    "(-2, -3)",
    "(2, 1000000000000)",
    f"({DIGITS},)",
    "(2.0, 3)",
    "(" * 300,
    "-" * 900,
    "1e999",
    "b'a'",
    "'\\x00'",
    "'\\d'",
    "...",
    "{1}",
    "2 * 3",
    "__import__('os')",
    "lambda: 1",
    "'descr'",
    "'shape'",
)
XML_WORDS = (
    '""',
    '"-1"',
    '"0"',
    '"1e999"',
    f'"{2**63}"',
    '"99999999999999999999"',
    '"f32"',
    '"i4"',
    '"u1"',
    '"boolean"',
    '"string"',
    '"dynamic"',
    '"..."',
    '"Const"',
    '"Result"',
    '"Parameter"',
    '"FakeQuantize"',
    '"\x1b[31m"',
    f'"{LONG}"',
    '"&a;"',
    '"1,2,3"',
    '"-1,-1"',
    "<dim>-1</dim>",
    "<dim>99999999999</dim>",
)
_PIECES: dict[str, tuple[str, tuple[str, ...]]] = {
    "json": (r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[\[\]{},:]', JSON_WORDS),
    "toml": (r'"(?:[^"\\\n]|\\.)*"|[\w.+:-]+|\[\[?[^\n\]]*\]\]?|[={},]', TOML_WORDS),
    "text": (r"[^,\t\n;= ]+|[,\t\n;= ]", TEXT_WORDS),
    "npy": (r"'[^']*'|\([^)]*\)|True|False|[{},:]", NPY_WORDS),
    "xml": (r'"[^"]*"|</?[\w]+|<dim>[^<]*</dim>', XML_WORDS),
}
_PATTERNS = {kind: re.compile(pattern) for kind, (pattern, _) in _PIECES.items()}
# Whole numbers beyond it are left as they are: neither `float` nor `str` takes every one.
FLOAT_HOLDS = 10**300
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_BYTES = (
    b"",
    b"\0",
    b"\0" * 16,
    b"\xff" * 8,
    b"\xef\xbb\xbf",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x1b[31m",
    b"\r",
    b"\n",
    b"PK\x03\x04",
    b"\x93NUMPY",
    b"\x1f\x8b",
    b"\x80\x04N.",
)


class Raw(str):
    """What stands in JSON as it is."""


Mutation = Callable[[Random, bytes], bytes]


def damaged(kind: str, seeds: Sequence[bytes], name: str, number: int) -> bytes:
    """The input of a number: a seed, changed up to five times.

    Args:
        kind: What the seeds are, a key of `KINDS`.
        seeds: Sound content.
        name: What to draw by, beside the number.
        number: The number.
    """
    luck = Random(f"{name} {number}")
    content = luck.choice(seeds)
    mutations = KINDS[kind]
    # Mostly one change: what is after the first fault is not read.
    for _ in range(luck.choice((1, 1, 1, 1, 2, 2, 3, 5))):
        content = luck.choice(mutations)(luck, content)
    if luck.random() < 0.02:
        content = _whole(luck, content, luck.choice(seeds))
    return content


def _whole(luck: Random, content: bytes, other: bytes) -> bytes:
    """A change of all of it."""
    text = content.decode("utf-8", "replace")
    at, at_other = luck.randrange(len(content) + 1), luck.randrange(len(other) + 1)
    return luck.choice(
        (
            b"",
            b"\n",
            b"\xef\xbb\xbf" + content,
            text.encode("utf-16"),
            text.encode("utf-16-be"),
            text.encode("utf-32"),
            content.replace(b"\n", b"\r\n"),
            content.replace(b"\n", b"\r"),
            content[:at] + other[at_other:],
            content + other,
            content * 3,
            b"\0" * len(content),
            content[::-1],
        )
    )


def _bytes(luck: Random, content: bytes) -> bytes:
    """Some bytes flipped, cut, doubled or put in."""
    at = luck.randrange(len(content) + 1)
    size = luck.choice((1, 1, 2, 4, 8, 64, 1024))
    match luck.randrange(7):
        case 0 if at < len(content):
            return content[:at] + bytes((content[at] ^ (1 << luck.randrange(8)),)) + content[at + 1 :]
        case 1:
            return content[:at] + bytes((luck.randrange(256),)) + content[at + 1 :]
        case 2:
            return content[:at] + content[at + size :]
        case 3:
            return content[:at] + content[at : at + size] * luck.choice((2, 3, 50)) + content[at + size :]
        case 4:
            return content[:at] + luck.choice(_BYTES) + content[at:]
        case 5:
            return content[:at]
    form = luck.choice(("<B", "<H", "<I", "<Q", ">I", ">Q"))
    number = luck.choice(_NUMBERS) & ((1 << 8 * struct.calcsize(form)) - 1)
    return content[:at] + struct.pack(form, number) + content[at + struct.calcsize(form) :]


def _word(kind: str) -> Mutation:
    """A change of one word: replaced, left out, doubled, or changed with another."""
    pattern, words = _PATTERNS[kind], _PIECES[kind][1]

    def mutate(luck: Random, content: bytes) -> bytes:
        text = content.decode("utf-8", "surrogateescape")
        found = [each.span() for each in pattern.finditer(text)]
        if not found:
            return _bytes(luck, content)
        start, end = luck.choice(found)
        other = luck.choice(found)
        own = text[start:end]
        new = luck.choice(
            (luck.choice(words), luck.choice(words), luck.choice(words), text[slice(*other)], "", own * 2)
        )
        return f"{text[:start]}{new}{text[end:]}".encode("utf-8", "surrogateescape")

    return mutate


def _value(luck: Random, content: bytes) -> bytes:
    """JSON with one value changed."""
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        return _word("json")(luck, content)
    return as_json(_changed(luck, whole)).encode("utf-8", "surrogatepass")


def _value_by_line(luck: Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    at = luck.randrange(len(lines))
    lines[at] = _value(luck, lines[at])
    return b"\n".join(lines)


def _changed(luck: Random, value: Any) -> Any:
    """A value with one of its own, or itself, changed: by way of the place, so that each level is as likely."""
    if luck.random() < 0.75:
        if isinstance(value, dict) and value:
            key = luck.choice([*value])
            return {each: _changed(luck, inner) if each == key else inner for each, inner in value.items()}
        if isinstance(value, list) and value:
            at = luck.randrange(len(value))
            return [_changed(luck, inner) if place == at else inner for place, inner in enumerate(value)]
    match luck.randrange(10):
        case 0 if isinstance(value, dict) and value:
            gone = luck.choice([*value])
            return {key: inner for key, inner in value.items() if key != gone}
        case 1 if isinstance(value, dict) and value:
            old, new = luck.choice([*value]), luck.choice(("", "a", "\x1b[31m", "\ud800", LONG, "__metadata__"))
            return {new if key == old else key: inner for key, inner in value.items()}
        case 2 if isinstance(value, dict) and value:
            return {**value, luck.choice(("", "extra", LONG)): luck.choice([*value.values()])}
        case 3 if isinstance(value, list) and value:
            return luck.choice((value[:-1], value * 2, [], [value], [*value, luck.choice(value)], value[::-1]))
        case 4 if isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) > FLOAT_HOLDS:
            return luck.choice((-value, value + 1, value * 10**18, float(value), str(value), [value], value - 1))
        case 5 if isinstance(value, str):
            return luck.choice(
                (value * 2, value[:-1], value.upper(), [value], {value: value}, len(value), f"{value}/..")
            )
    return Raw(luck.choice(JSON_WORDS))


def as_json(value: Any) -> str:
    """JSON, in which `Raw` stands as it is."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{as_json(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(as_json, value)) + "]"
    return json.dumps(value)


class Parts(NamedTuple):
    """A file whose header is preceded by its size.

    Attributes:
        header: The header, as text.
        rest: What follows.
    """

    header: bytes
    rest: bytes


def _safetensors(content: bytes) -> Parts:
    size = int.from_bytes(content[:8], "little")
    return Parts(content[8 : 8 + size], content[8 + size :])


def _header(luck: Random, content: bytes) -> bytes:
    """A safetensors file with another header, of the size that it says."""
    header, rest = _safetensors(content)
    changed = _value(luck, header)
    return len(changed).to_bytes(8, "little") + changed + rest


def _metadata(luck: Random, content: bytes) -> bytes:
    """A safetensors file with other JSON in a text of its metadata."""
    header, rest = _safetensors(content)
    try:
        whole = json.loads(header)
        name, text = next(iter(whole["__metadata__"].items()))
        whole["__metadata__"][name] = _value(luck, text.encode()).decode("utf-8", "replace")
    except (ValueError, LookupError, AttributeError, TypeError, StopIteration, RecursionError):
        return _header(luck, content)
    changed = json.dumps(whole).encode()
    return len(changed).to_bytes(8, "little") + changed + rest


def _numbers(luck: Random, content: bytes) -> bytes:
    """A file with other numbers in its second half, where its tensors are."""
    at = luck.randrange(len(content) // 2, len(content) + 1)
    new = luck.choice(
        (
            struct.pack("<f", float("nan")),
            struct.pack("<f", float("inf")),
            struct.pack("<d", 1e300),
            struct.pack("<q", -1),
            struct.pack("<i", 2**31 - 1),
        )
    )
    return content[:at] + new + content[at + len(new) :]


def _npy_header(luck: Random, content: bytes) -> bytes:
    """A `.npy` file with another header, of the size that it says, and the numbers as they were."""
    size = int.from_bytes(content[8:10], "little")
    changed = _word("npy")(luck, content[10 : 10 + size])[:65535]
    return content[:8] + len(changed).to_bytes(2, "little") + changed + content[10 + size :]


KINDS: dict[str, Sequence[Mutation]] = {
    "json": (_value, _value, _value, _word("json"), _bytes),
    "jsonl": (_value_by_line, _value_by_line, _value_by_line, _word("json"), _word("text"), _bytes),
    "toml": (_word("toml"), _word("toml"), _word("toml"), _word("text"), _bytes),
    "text": (_word("text"), _word("text"), _bytes),
    "safetensors": (_header, _header, _metadata, _metadata, _numbers, _bytes),
    "npy": (_npy_header, _npy_header, _npy_header, _numbers, _bytes),
    "xml": (_word("xml"), _word("xml"), _bytes),
    "binary": (_bytes, _bytes, _numbers),
}
