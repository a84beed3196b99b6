"""Taking secrets out of text that somebody else wrote, in the forms in which they come back."""

import base64
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"


def _forms(secret: str) -> set[str]:
    raw = secret.encode()
    # Inside a longer base64 text a secret has one of three alignments; only the characters that no
    # neighbour decides are looked for.
    encoded = [
        base64.b64encode(bytes(pad) + raw).decode()[skip : (pad + len(raw)) * 8 // 6]
        for pad, skip in ((0, 0), (1, 2), (2, 3))
    ]
    base64_forms = {text for text in encoded if len(text) >= 6}
    url_safe = {text.translate(str.maketrans("+/", "-_")) for text in base64_forms}
    written = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        html.escape(secret),
        raw.hex(),
    }
    return {form for form in written | base64_forms | url_safe if form}


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every secret masked, plain or escaped for JSON, URLs, HTML, hex or base64."""
    forms = {form for secret in secrets if secret for form in _forms(secret)}
    if not forms:
        return text
    # The longest first, so that no secret survives as the rest of a shorter one.
    pattern = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.sub(pattern, MASK, text, flags=re.IGNORECASE)


def longest_form(secrets: Iterable[str]) -> int:
    """Return the length of the longest text that a secret can take."""
    return max((len(form) for secret in secrets if secret for form in _forms(secret)), default=0)
