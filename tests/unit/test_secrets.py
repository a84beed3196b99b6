"""No secret survives the scrubbing, in any of the forms in which a robot's answer may bring it back."""

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from streams.wire.scrub import MASK, SHORTEST_PART, longest_form, scrub

# A character of the mask or of the frame could not be told from what the test puts around the secret.
FRAME = "\ue000"
characters = st.characters(exclude_categories=["Cs"], exclude_characters=f"*{FRAME}")
secrets = st.text(characters, min_size=1, max_size=40)
surroundings = st.text(characters, max_size=20)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON in UTF-8": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "percent-encoded path": quote,
    "percent-encoded form": quote_plus,
    "percent-encoded in lower case": lambda secret: quote(secret, safe="").lower(),
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret))[3:-3],
    "text in Python": lambda secret: repr(secret)[1:-1],
    "bytes in Python": lambda secret: repr(secret.encode())[2:-1],
    "bytes in Python in JSON": lambda secret: json.dumps(repr(secret.encode())[2:-1])[1:-1],
    "HTML": html.escape,
    "hex": lambda secret: secret.encode().hex(),
    "HEX": lambda secret: secret.encode().hex().upper(),
    "upper case": lambda secret: secret.upper() if secret.isascii() else secret,
}
forms = st.sampled_from(sorted(FORMS))


@given(secrets, forms)
@example("a/b c&ñ", "percent-encoded path")
@example("a/b c&ñ", "percent-encoded form")
@example("\"'<&>\\\n", "HTML")
@example("\"'<&>\\\n", "JSON")
@example("\\\n\\\\ñ\\u00f1", "JSON in JSON")
@example("3", "hex")
def test_a_secret_in_any_form_is_replaced_as_a_whole(secret: str, form: str) -> None:
    written = FORMS[form](secret)
    assert scrub(f"{FRAME}{written}{FRAME}", [secret]) == f"{FRAME}{MASK}{FRAME}"


@given(st.lists(secrets, min_size=1, max_size=3), st.data(), surroundings, surroundings)
def test_no_form_of_any_secret_is_left_in_a_text_that_has_them_all(
    several: list[str], data: st.DataObject, before: str, after: str
) -> None:
    written = [FORMS[data.draw(forms)](secret) for secret in several]
    scrubbed = scrub(FRAME.join([before, *written, after]), several)
    long = [pair for pair in zip(several, written, strict=True) if len(pair[0]) >= SHORTEST_PART]
    assert not [pair for pair in long if pair[0] in scrubbed or pair[1] in scrubbed]
    assert MASK in scrubbed


@given(
    st.text(characters, min_size=5, max_size=40),
    surroundings,
    surroundings,
    st.booleans(),
)
def test_a_secret_inside_base64_is_not_left_at_any_alignment(
    secret: str, before: str, after: str, url_safe: bool
) -> None:
    """As `Authorization: Basic` has it: user, colon and password in one text."""
    prefix = f"{before}:".encode()
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    token = encode(prefix + secret.encode() + after.encode()).decode()
    # The characters that the secret alone decides.
    first = -(-len(prefix) * 8 // 6)
    last = (len(prefix) + len(secret.encode())) * 8 // 6
    assert token[first:last] not in scrub(f"Basic {token}", [secret])


@pytest.mark.parametrize("username", ["", "u", "us", "use", "user", "user5"])
def test_a_password_cannot_be_decoded_from_a_scrubbed_basic_authorization(username: str) -> None:
    password = "correct-horse"  # made up
    token = base64.b64encode(f"{username}:{password}".encode()).decode()
    scrubbed = scrub(token, [password])
    assert MASK in scrubbed
    for part in scrubbed.split(MASK):
        for cut in range(4):
            whole = part[cut : cut + (len(part) - cut) // 4 * 4]
            assert b"orse" not in base64.b64decode(whole)


@given(st.lists(secrets, max_size=3), st.text("abc ", max_size=30))
def test_a_text_without_secrets_stays_as_it_is(several: list[str], text: str) -> None:
    unrelated = [f"#{secret}#" for secret in several]
    assert scrub(text, unrelated) == text


@given(st.text())
def test_without_secrets_or_with_empty_ones_a_text_stays_as_it_is(text: str) -> None:
    assert scrub(text, []) == text
    assert scrub(text, ["", ""]) == text


@pytest.mark.parametrize(
    ("text", "secrets", "scrubbed"),
    [
        # One begins another, in whichever order they are given.
        ("pass password passwords", ["pass", "password"], "*** *** ***s"),
        ("pass password", ["password", "pass"], "*** ***"),
        ("ab cdef", ["ab", "b cdef"], "a***"),
        ("xa-a-a", ["a-a"], "xa-***"),
        ("Secret SECRET secret", ["secret"], "*** *** ***"),
        # What has a meaning in patterns is taken literally.
        ("a.b axb (a|b) \\d", ["a.b", "\\d"], "*** axb (a|b) ***"),
        # What escapes another character is no secret.
        (r'{"error":"no\n"}', ["n"], r'{"error":"no\n"}'),
        ("1 &lt; 2", ["lt"], "1 &lt; 2"),
        ("a%20%20b", ["20"], "a%20%20b"),
        (
            '{"error": "login failed", "with": {"username": "maría", "password": "p\\"w & <1>"}}',
            ['p"w & <1>', "maría"],
            '{"error": "login failed", "with": {"username": "***", "password": "***"}}',
        ),
    ],
)
def test_a_text_is_scrubbed_of_these(text: str, secrets: list[str], scrubbed: str) -> None:
    assert scrub(text, secrets) == scrubbed


# The suite's time-out ends what takes for ever.
@pytest.mark.parametrize("text", ["a" * 16_384, "\\" * 16_384, "%61" * 5_000, "a-" * 8_192])
def test_no_text_takes_for_ever(text: str) -> None:
    assert scrub(text, ["\\" * 400 + "x"]) == text
    scrub(text, ["a", "\\", "a-a"])


# Each character of its own, also where nobody needs to.
WHOLLY_ESCAPED: dict[str, Callable[[str], str]] = {
    "bytes": lambda secret: "".join(f"\\x{byte:02x}" for byte in secret.encode()),
    "characters": lambda secret: "".join(f"\\u{ord(character):04x}" for character in secret),
    "percents": lambda secret: "".join(f"%{byte:02x}" for byte in secret.encode()),
    "numbers": lambda secret: "".join(f"&#{ord(character)};" for character in secret),
    "hex numbers": lambda secret: "".join(f"&#x{ord(character):x};" for character in secret),
}


@pytest.mark.parametrize("form", [*FORMS, *WHOLLY_ESCAPED])
def test_no_secret_whose_end_is_missing_takes_for_ever(form: str) -> None:
    """Whoever knows a password may have a robot repeat it: in any form, and all but whole."""
    secret = "a long pass_word & Ñandú <0123456789abcdef> it is, ñ%+\\ of a tenant"
    escaped = (FORMS | WHOLLY_ESCAPED)[form](secret)
    assert scrub(escaped, [secret]) == "***"
    for text in (escaped[:-1], escaped[:-1] + "z", escaped[:-4] * 3):
        scrub(text, [secret])


# Secrets of fewer than 4 characters

alphanumeric = characters.filter(str.isalnum)
# Ã as \xc3 is also half of any letter in UTF-8: nobody can tell which of both it is.
told_apart = alphanumeric.filter(lambda character: not "\x80" <= character <= "\xff")
words = st.text(told_apart, min_size=1, max_size=SHORTEST_PART - 1)
# Not those that begin or end an escape, as a backslash before it may be the secret's; of them there are examples.
signs = st.sampled_from(" =:,/?({«¿\n\t")
CHARACTER_BY_CHARACTER = sorted(FORMS.keys() - {"hex", "HEX", "upper case"})


@pytest.mark.parametrize("secret", ["c", "u", "s", "ces", "suc", "ess", "SS"])
@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_short_secret_garbles_no_word_and_is_not_told_by_that(secret: str, form: str) -> None:
    written = FORMS[form]("success")
    assert scrub(f"{FRAME}{written}{FRAME}", [secret]) == f"{FRAME}{written}{FRAME}"


@given(
    st.text(alphanumeric, max_size=3), words, st.text(alphanumeric, max_size=3), st.sampled_from(CHARACTER_BY_CHARACTER)
)
@example("a", "o", "ñ", "JSON")
@example("ñ", "o", "", "percent-encoded")
@example("ñ", "o", "", "bytes in Python in JSON")
@example("ñ", "C3", "", "percent-encoded")
@example("ñ", "xc3", "", "bytes in Python")
@example("", "0", "\U00010000", "JSON")
@example("", "Ā", "Ā", "JSON in JSON")
def test_a_short_secret_in_a_word_is_left_there_in_any_form(before: str, secret: str, after: str, form: str) -> None:
    # 30 is also the hex of 0, and then that is taken for the secret.
    assume((before + secret + after).lower() != secret.encode().hex())
    written = FORMS[form](before + secret + after)
    scrubbed = scrub(f"{FRAME}{written}{FRAME}", [secret])
    assert scrubbed == f"{FRAME}{written if before or after else MASK}{FRAME}"


@given(signs, words, signs, st.sampled_from(CHARACTER_BY_CHARACTER))
@example("\n", "bc", "\n", "JSON in JSON")
@example(" ", "20", " ", "percent-encoded")
def test_a_short_secret_between_signs_is_masked_in_any_form(before: str, secret: str, after: str, form: str) -> None:
    write = FORMS[form]
    scrubbed = scrub(f"{FRAME}{write(before + secret + after)}{FRAME}", [secret])
    assert scrubbed == f"{FRAME}{write(before)}{MASK}{write(after)}{FRAME}"


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ('{"user":"xyz","pwd":"abc"}', '{"user":"***","pwd":"***"}'),
        ("{'user': 'xyz', 'pwd': 'abc'}", "{'user': '***', 'pwd': '***'}"),
        (r'"{\"user\":\"xyz\",\"pwd\":\"abc\"}"', r'"{\"user\":\"***\",\"pwd\":\"***\"}"'),
        ("user=xyz&pwd=abc", "user=***&pwd=***"),
        ("user%3Dxyz%26pwd%3Dabc", "user%3D***%26pwd%3D***"),
        ("<b>xyz</b>&quot;abc&quot;", "<b>***</b>&quot;***&quot;"),
        (r"\u0022\u0061\u0062\u0063\u0022", r"\u0022***\u0022"),
        ("https://xyz:abc@portal/", "https://***:***@portal/"),
        ("ABC, abcs, xabc, abc.", "***, abcs, xabc, ***."),
        (r"PORTAL\abc", "PORTAL***"),
    ],
)
def test_a_short_secret_is_masked_where_it_is_a_value_of_its_own(text: str, scrubbed: str) -> None:
    assert scrub(text, ["abc", "xyz"]) == scrubbed


@pytest.mark.parametrize("login", [("abc", "xyz"), ("maria", "x"), ("x", "correct-horse"), ("a", "a"), ("ñ?", "~~~")])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_login_of_which_a_part_is_short_is_masked_as_a_whole(
    login: tuple[str, str], encode: Callable[[bytes], bytes]
) -> None:
    token = encode(":".join(login).encode()).decode()
    assert scrub(f'{{"authorization":"Basic {token}"}}', login) == f'{{"authorization":"Basic {MASK}"}}'


@given(st.lists(secrets, max_size=3), st.data())
def test_no_form_is_longer_than_the_longest_form(several: list[str], data: st.DataObject) -> None:
    longest = longest_form(several)
    for secret in several:
        assert len(FORMS[data.draw(forms)](secret)) <= longest


def test_without_secrets_the_longest_form_has_no_length() -> None:
    assert longest_form([]) == longest_form([""]) == 0
