"""Taking secrets out of text that somebody else wrote, in the forms in which they come back."""

import base64
import html
import re
from collections.abc import Callable, Iterable
from html.entities import codepoint2name
from itertools import product
from urllib.parse import unquote

MASK = "***"
# A shorter secret is masked only as a word of its own: within other words it would garble them, and be told by that.
SHORTEST_PART = 4

# A text that was escaped and escaped again: JSON in a JSON string, or a bytes object's repr in it.
_MOST_BACKSLASHES = 4
# The longest a single character gets: four bytes as \xNN with so many backslashes.
_LONGEST_CHARACTER = 4 * (_MOST_BACKSLASHES + 3)
_XML_NAMES = {"'": "apos"}
_SHORT_ESCAPES = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
# Characters in an escaped form, with those of which only several make one; and single ones, in which no word begins.
_ESCAPED = r"(?:\\+x[0-9a-f]{2})+|(?:\\+u[0-9a-f]{4})+|\\+[bfnrt]|(?:%[0-9a-f]{2})+|&#?\w{1,8};"
_BEGINS, _ENDS = re.compile(_ESCAPED, re.IGNORECASE), re.compile(rf"(?:{_ESCAPED})\Z", re.IGNORECASE)
_UNIT = re.compile(r"\\(?:[bfnrt]|x[0-9a-f]{2}|u[0-9a-f]{4})|%[0-9a-f]{2}|&#?\w{1,8};", re.IGNORECASE)
_WINDOW = 60
# Nothing in it can be an escape.
_WORD = re.compile(r"[A-Za-z0-9_-]+")


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every secret masked, plain or escaped for JSON, URLs, HTML, hex or base64.

    One of fewer than 4 characters only where it touches no letter or digit, or is in a login of `Authorization: Basic`.
    """
    return scrubber(secrets)(text)


def scrubber(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return what masks these secrets in any text: to be kept where they are always the same ones."""
    # The longest first, so that no secret survives as the rest of a shorter one.
    known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
    parts = [secret for secret in known if len(secret) >= SHORTEST_PART]
    words = known[len(parts) :]
    logins = re.compile(_logins(known)) if words else None
    whole = re.compile("|".join(map(_pattern, parts)), flags=re.IGNORECASE) if parts else None

    def masked(text: str) -> str:
        text = text if logins is None else logins.sub(MASK, text)
        text = text if whole is None else whole.sub(MASK, text)
        for secret in words:
            text = _mask_words(text, secret)
        return text

    return masked


def surely_holds_none(text: str, secrets: Iterable[str]) -> bool:
    """Whether a text is one plain word without any of the secrets; if not, only `scrub` can tell. It is far cheaper."""
    if not _WORD.fullmatch(text):
        return False
    lower = text.lower()
    return not any(form.lower() in lower for secret in secrets if secret for form in _unescaped_forms(secret))


def without_cut_end(text: str, secrets: Iterable[str], most: int | None = None) -> str:
    """Return a masked text without what could be the beginning of a secret: it had been cut, maybe through one.

    No more than `most` characters are left out, if that is given.
    """
    longest = longest_form(secrets)
    return text[: max(0, len(text) - (longest if most is None else min(most, longest)))]


def longest_form(secrets: Iterable[str]) -> int:
    """Return the length of the longest text that a secret can take."""
    return max((len(secret) * _LONGEST_CHARACTER for secret in secrets), default=0)


def _mask_words(text: str, secret: str) -> str:
    """Return the text with a short secret masked where it stands alone."""
    pattern = re.compile(_pattern(secret), re.IGNORECASE)
    pieces, done, at = [], 0, 0
    while found := pattern.search(text, at):
        start, end = found.span()
        # Backslashes before it belong to it, or are all that is between it and a letter.
        plain = found[0].lstrip("\\")
        begin = end - len(plain)
        if _stands_alone(text, begin if plain.lower() == secret.lower() else start, end):
            pieces += [text[done:start], MASK]
            done = at = end
        else:
            at = max(begin, start + 1)
    return "".join([*pieces, text[done:]])


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether what is there is no part of an escaped character, and touches no letter or digit, escaped or not."""
    for unit in _UNIT.finditer(text, max(0, start - _WINDOW), end + _WINDOW):
        if unit.start() < start and end <= unit.end() and _decoded(unit[0]) != unit[0]:
            return False
    before, after = _ENDS.search(text, max(0, start - _WINDOW), start), _BEGINS.match(text, end, end + _WINDOW)
    left = _decoded(before[0]) if before else text[start - 1 : start]
    right = _decoded(after[0]) if after else text[end : end + 1]
    return not (left[-1:].isalnum() or right[:1].isalnum())


def _decoded(escaped: str) -> str:
    if escaped[0] == "&":
        return html.unescape(escaped)
    if escaped[0] == "%":
        return unquote(escaped)
    code = escaped.replace("\\", "").lower()
    if code[0] == "u":
        return bytes.fromhex(code.replace("u", "")).decode("utf-16-be", errors="replace")
    if code[0] == "x":
        raw = bytes.fromhex(code.replace("x", ""))
        try:
            return raw.decode()
        except UnicodeDecodeError:
            # Not bytes of UTF-8, but characters of their own.
            return raw.decode("latin-1")
    return " "


def _pattern(secret: str) -> str:
    """Return what finds a secret, each of its characters escaped in whatever way."""
    raw = secret.encode()
    # A row of backslashes is one thing: escaping makes it a longer row, and takes in what escapes the next character.
    pieces = re.findall(r"\\+|[^\\]", secret)
    after_backslash = [False, *(piece[0] == "\\" for piece in pieces)]
    # The characters last: one that is a digit may begin its own hex.
    whole = [re.escape(raw.hex()), "".join(map(_piece, pieces, after_backslash))]
    return "|".join([*(_base64(text) for text in _base64_forms(raw)), *whole])


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
    # Of ASCII this is the form in UTF-8. Twice, the beginning of a long secret could be read in countless ways.
    if 128 <= code < 256:
        forms.append(f"{escape}x{code:02x}")
    if name := _XML_NAMES.get(character) or codepoint2name.get(code):
        forms.append(f"&{name};")
    if character in _SHORT_ESCAPES:
        forms.append(escape + _SHORT_ESCAPES[character])
    if character == " ":
        forms.append(r"\+")
    return forms


def _unescaped_forms(secret: str) -> set[str]:
    raw = secret.encode()
    return {secret, raw.hex(), *_base64_forms(raw)}


def _base64_forms(raw: bytes) -> set[str]:
    # Inside a longer base64 text a secret has one of three alignments; only the characters that no
    # neighbour decides are looked for.
    aligned = {
        base64.b64encode(bytes(pad) + raw).decode()[skip : (pad + len(raw)) * 8 // 6]
        for pad, skip in ((0, 0), (1, 2), (2, 3))
    }
    whole = base64.b64encode(raw).decode().rstrip("=")
    return {text for text in aligned | {whole} if len(text) >= 4}


def _logins(known: Iterable[str]) -> str:
    """Return what finds a user and a password, one of them short, in one base64 text."""
    logins = (f"{user}:{password}" for user, password in product(known, repeat=2))
    texts = [base64.b64encode(login.encode()).decode().rstrip("=") for login in logins]
    return rf"(?<![\w+/-])(?:{'|'.join(map(_base64, texts))})(?![\w+/-])=*"


def _base64(text: str) -> str:
    return re.escape(text).replace(r"\+", "[+-]").replace("/", "[/_]")
