"""What an error page says, without what it tells of the machine behind it."""

import contextlib
import re
from html.parser import HTMLParser

# What is read of a page: its message comes first.
PAGE_MAX_LENGTH = 4_000
# Elements whose content nobody reads, and those that do not end a line.
_UNSEEN = frozenset({"script", "style", "head", "template"})
_INLINE = frozenset({"a", "b", "code", "em", "i", "small", "span", "strong", "tt", "u", "wbr"})
# "at handle (/app/server.js:10:5)", "File "/app/server.py", line 10", "/app/server.js:10"
_STACK = re.compile(r"(at\s|File\s|Traceback\b|in\s+/|/|[A-Za-z]:\\)")
_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][\w.@~+-]+){2,}(?::\d+)*")


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag not in _INLINE:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag not in _INLINE:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pieces.append(data)


def is_page(text: str) -> bool:
    """Whether a text is a page of HTML."""
    return text.lstrip()[:100].lower().startswith(("<!doctype html", "<html", "<head", "<body", "<pre", "<h1"))


def page_text(page: str) -> str:
    """Return what a page says in one line, up to the first line of a stack trace, with no path of a file."""
    parser = _Text()
    # Markup that the parser does not know ends what is read of the page; a long one may take it very long.
    with contextlib.suppress(AssertionError, ValueError):
        parser.feed(page[:PAGE_MAX_LENGTH])
        parser.close()
    said = []
    for line in "".join(parser.pieces).splitlines():
        words = " ".join(line.split())
        if _STACK.match(words):
            break
        if words and words not in said:
            said.append(words)
    return _PATH.sub("(path)", "; ".join(said))
