"""Taking secrets out of text that somebody else wrote, in the forms in which they come back."""

import base64
import re
from collections.abc import Callable, Iterable
from functools import partial
from html.entities import codepoint2name

MASK = "***"

# A text that was escaped and escaped again: JSON in a JSON string, or a bytes object's repr in it.
_MOST_BACKSLASHES = 4
# The longest a single character gets: four bytes as \xNN with so many backslashes.
_LONGEST_CHARACTER = 4 * (_MOST_BACKSLASHES + 3)
_XML_NAMES = {"'": "apos"}
_SHORT_ESCAPES = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every secret masked, plain or escaped for JSON, URLs, HTML, hex or base64."""
    return scrubber(secrets)(text)


def scrubber(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return what masks these secrets in any text: to be kept where they are always the same ones."""
    # The longest first, so that no secret survives as the rest of a shorter one.
    known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
    if not known:
        return str
    return partial(re.compile("|".join(map(_pattern, known)), flags=re.IGNORECASE).sub, MASK)


def longest_form(secrets: Iterable[str]) -> int:
    """Return the length of the longest text that a secret can take."""
    return max((len(secret) * _LONGEST_CHARACTER for secret in secrets), default=0)


def _pattern(secret: str) -> str:
    """Return what finds a secret, each of its characters escaped in whatever way."""
    raw = secret.encode()
    # A row of backslashes is one thing: escaping makes it a longer row, and takes in what escapes the next character.
    pieces = re.findall(r"\\+|[^\\]", secret)
    after_backslash = [False, *(piece[0] == "\\" for piece in pieces)]
    whole = ["".join(map(_piece, pieces, after_backslash)), re.escape(raw.hex())]
    return "|".join([*whole, *(_base64(text) for text in _base64_forms(raw))])


def _piece(piece: str, after_backslash: bool) -> str:
    # Taken for good (+): a long row of backslashes could else be divided in countless ways.
    escape = rf"\\{{{0 if after_backslash else 1},{_MOST_BACKSLASHES}}}+"
    character, count = piece[0], len(piece)
    forms = [f"(?:{form}){{{count}}}" for form in _escapes(character, escape)]
    if character == "\\":
        forms.append(rf"\\{{{count},{count * _MOST_BACKSLASHES}}}+")
    else:
        forms.append(rf"\\{{0,{_MOST_BACKSLASHES}}}+{re.escape(character)}")
    return f"(?:{'|'.join(forms)})"


def _escapes(character: str, escape: str) -> list[str]:
    code = ord(character)
    utf16, utf8 = character.encode("utf-16-be").hex(), character.encode()
    forms = [
        "".join(f"{escape}u{utf16[i : i + 4]}" for i in range(0, len(utf16), 4)),
        f"{escape}u{code:08x}",
        "".join(f"{escape}x{byte:02x}" for byte in utf8),
        "".join(f"%{byte:02x}" for byte in utf8),
        f"&#0*{code};",
        f"&#x0*{code:x};",
    ]
    if code < 256:
        forms.append(f"{escape}x{code:02x}")
    if name := _XML_NAMES.get(character) or codepoint2name.get(code):
        forms.append(f"&{name};")
    if character in _SHORT_ESCAPES:
        forms.append(escape + _SHORT_ESCAPES[character])
    if character == " ":
        forms.append(r"\+")
    return forms


def _base64_forms(raw: bytes) -> set[str]:
    # Inside a longer base64 text a secret has one of three alignments; only the characters that no
    # neighbour decides are looked for.
    aligned = {
        base64.b64encode(bytes(pad) + raw).decode()[skip : (pad + len(raw)) * 8 // 6]
        for pad, skip in ((0, 0), (1, 2), (2, 3))
    }
    whole = base64.b64encode(raw).decode().rstrip("=")
    return {text for text in aligned | {whole} if len(text) >= 4}


def _base64(text: str) -> str:
    return re.escape(text).replace(r"\+", "[+-]").replace("/", "[/_]")
