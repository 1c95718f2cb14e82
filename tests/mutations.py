"""Ways to spoil an input a little, at random but the same for the same generator: bytes, text and plain values."""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

BOUNDARIES = sorted(
    {0, *(sign * 2**bits + step for bits in (7, 8, 15, 16, 31, 32, 63, 64) for sign in (1, -1) for step in (-1, 0, 1))}
)
NUMBERS = "0 -0 010 1:30 0x7f 0o17 1e400 1e-400 .5 5. +1 -1 1_000 nan .nan -.inf Infinity 1e9999999 ٣ ² 1/3".split()
NUMBERS += [str(number) for number in BOUNDARIES] + ["9" * 5000, "0." + "3" * 500]
MARKS = "\x00 \x07 \x1b[31m \x7f \x85 \xa0 \u2028 \u202e \ufeff \ud800 \udcff \U0001f600 \\udcff \\u0000".split(" ")
MARKS += ["\r", "\r\n", "\n", "\t"]
SYNTAX = "{ } [ ] , : - ? & * ! | > ' \" # % @ ` = . / \\ --- ... << &a *a !!binary ~ null true {} [] NaN ../".split()
WORDS = [*NUMBERS, *MARKS, *SYNTAX, "!!python/object/apply:os.system [id]", "%YAML 9.9\n---\n", "x" * 2000]

VALUES: list[Any] = [
    *(None, True, False, "", "x" * 2000, "a\nb\x1b[0m\u2028", "\udcff", "9" * 5000, "__class__", "0", "-1"),
    *([], {}, [[]], [{}], {"": ""}, {"name": []}, [None], 0.5, -0.0, 1e308, float("nan"), float("inf"), *BOUNDARIES),
]


def spoiled(data: bytes, random: Random, others: Sequence[bytes] = (b"",)) -> bytes:
    """`data` after one to four changes; `others` are what pieces are spliced in from."""
    content = bytearray(data)
    for _ in range(random.randint(1, 4)):
        random.choice(BYTE_CHANGES)(content, random, random.choice(others))
    return bytes(content)


def spoiled_text(text: str, random: Random) -> str:
    """`text` after one to four changes to its words, lines and depth."""
    for _ in range(random.randint(1, 4)):
        text = random.choice(TEXT_CHANGES)(text, random)
    return text


def spoiled_value(value: Any, random: Random, values: Sequence[Any] = VALUES) -> Any:
    """A copy of `value` (dicts, lists, tuples, leaves) after one to three changes at places drawn from all of it."""
    for _ in range(random.randint(1, 3)):
        value = _changed(value, random.choice(_places(value, ())), random, values)
    return value


def spoiled_tar(tar: bytes, random: Random) -> bytes:
    """`tar` with one of its headers changed and the header's checksum right again."""
    content = bytearray(tar)
    starts = [start for start in range(0, len(tar) - 512, 512) if tar[start + 257 : start + 262] == b"ustar"]
    start = random.choice(starts)
    header = spoiled(bytes(content[start : start + 512]), random)[:512].ljust(512, b"\0")
    if random.random() < 0.5:
        type_flag = random.choice(b"0123456LKSxgNM\0")
        header = header[:156] + bytes([type_flag]) + header[157:]
    checksum = sum(header[:148]) + 8 * 32 + sum(header[156:])
    content[start : start + 512] = header[:148] + b"%06o\0 " % checksum + header[156:]
    return bytes(content)


def with_png_checksums(content: bytes) -> bytes:
    """`content` with the checksum of every chunk right again, if it is a PNG."""
    fixed, start = bytearray(content), 8
    while content[:4] == b"\x89PNG" and start + 12 <= len(content):
        end = start + 8 + int.from_bytes(content[start : start + 4], "big")
        if end + 4 > len(content):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(content[start + 4 : end]))
        start = end + 4
    return bytes(fixed)


def spoiled_zip(archive: bytes, random: Random) -> bytes:
    """`archive` with one of its files changed, mostly the pickle, and every checksum right again."""
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(copy := io.BytesIO(), "w") as new:
        names = old.namelist()
        wanted = random.choice([*names, *[name for name in names if name.endswith("data.pkl")] * len(names)])
        for name in names:
            content = old.read(name)
            compression = zipfile.ZIP_DEFLATED if random.random() < 0.02 else zipfile.ZIP_STORED
            new.writestr(name, spoiled(content, random) if name == wanted else content, compression)
    return copy.getvalue()


def _span(length: int, random: Random) -> tuple[int, int]:
    """Start and end of a piece, mostly a short one."""
    start = random.randint(0, length)
    return start, min(length, start + random.choice((1, 2, 4, 16, 256, length)))


def _flip(content: bytearray, random: Random, other: bytes) -> None:
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def _insert(content: bytearray, random: Random, other: bytes) -> None:
    start, _ = _span(len(content), random)
    content[start:start] = random.randbytes(random.choice((1, 4, 300)))


def _delete(content: bytearray, random: Random, other: bytes) -> None:
    start, end = _span(len(content), random)
    del content[start:end]


def _truncate(content: bytearray, random: Random, other: bytes) -> None:
    del content[random.randint(0, len(content)) :]


def _splice(content: bytearray, random: Random, other: bytes) -> None:
    (start, end), (first, last) = _span(len(content), random), _span(len(other), random)
    content[start:end] = other[first:last]


def _repeat(content: bytearray, random: Random, other: bytes) -> None:
    start, end = _span(len(content), random)
    content[end:end] = content[start:end][:1024] * random.choice((1, 2, 50))


def _boundary(content: bytearray, random: Random, other: bytes) -> None:
    width = random.choice((1, 2, 4, 8))
    number = random.choice(BOUNDARIES) % 256**width
    start = random.randint(0, len(content))
    content[start : start + width] = number.to_bytes(width, random.choice(("little", "big")))


BYTE_CHANGES = (_flip, _insert, _delete, _truncate, _splice, _repeat, _boundary)


def _swap_word(text: str, random: Random) -> str:
    words = text.split(" ")
    words[random.randrange(len(words))] = random.choice(WORDS)
    return " ".join(words)


def _insert_word(text: str, random: Random) -> str:
    start = random.randint(0, len(text))
    return text[:start] + random.choice(WORDS) + text[start:]


def _swap_number(text: str, random: Random) -> str:
    numbers = list(re.finditer(r"-?[0-9.]*[0-9]", text))
    if not numbers:
        return text
    found = random.choice(numbers)
    return text[: found.start()] + random.choice(NUMBERS) + text[found.end() :]


def _shuffle_lines(text: str, random: Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    lines.insert(random.randint(0, len(lines)), random.choice(lines))
    del lines[random.randrange(len(lines))]
    return "".join(lines)


def _cut(text: str, random: Random) -> str:
    start, end = _span(len(text), random)
    return text[:start] + text[end:]


def _nest(text: str, random: Random) -> str:
    opening, closing = random.choice((("[", "]"), ("{a: ", "}"), ("- ", ""), ('{"a": ', "}"), ("? ", ""), ("(", ")")))
    depth, start = random.choice((3, 49, 60, 3000)), random.randint(0, len(text))
    return text[:start] + opening * depth + "1" + closing * random.choice((0, depth)) + text[start:]


TEXT_CHANGES: tuple[Callable[[str, Random], str], ...] = (
    _swap_word,
    _insert_word,
    _swap_number,
    _shuffle_lines,
    _cut,
    _nest,
)


def _places(value: Any, here: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    found = [here]
    for key, inner in _entries(value):
        found += _places(inner, (*here, key))
    return found


def _entries(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []


def _changed(value: Any, place: tuple[Any, ...], random: Random, values: Sequence[Any]) -> Any:
    if not place:
        return random.choice(values)
    key, change = place[0], random.choice(("replace", "replace", "replace", "delete", "rename", "repeat", "nest"))
    copy = dict(_entries(value))
    if len(place) > 1 or change == "replace":
        copy[key] = _changed(copy[key], place[1:], random, values)
    elif change == "nest":
        for _ in range(random.choice((1, 60))):
            copy[key] = [copy[key]]
    elif change == "repeat":
        copy[f"{key}2" if isinstance(value, dict) else len(copy)] = copy[key]
    else:
        inner = copy.pop(key)
        if change == "rename":
            copy[random.choice(("", "x" * 2000, "a\nb\x1b[0m", "9" * 5000, "data", "name", "\udcff"))] = inner
    return copy if isinstance(value, dict) else type(value)(copy.values())
