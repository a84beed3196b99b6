"""No secret survives the scrubbing, in any of the forms in which a robot's answer may bring it back."""

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.wire.scrub import MASK, longest_form, scrub

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
def test_a_secret_in_any_form_is_replaced_as_a_whole(secret: str, form: str) -> None:
    written = FORMS[form](secret)
    assert scrub(f"{FRAME}{written}{FRAME}", [secret]) == f"{FRAME}{MASK}{FRAME}"


@given(st.lists(secrets, min_size=1, max_size=3), st.data(), surroundings, surroundings)
def test_no_form_of_any_secret_is_left_in_a_text_that_has_them_all(
    several: list[str], data: st.DataObject, before: str, after: str
) -> None:
    written = [FORMS[data.draw(forms)](secret) for secret in several]
    scrubbed = scrub(before + FRAME.join(written) + after, several)
    assert not [form for form in written if form in scrubbed]
    assert not [secret for secret in several if secret in scrubbed]


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


def test_a_secret_that_begins_another_does_not_leave_the_others_rest() -> None:
    assert scrub("pass password passwords", ["pass", "password"]) == "*** *** ***s"
    assert scrub("pass password", ["password", "pass"]) == "*** ***"


def test_a_long_row_of_backslashes_does_not_take_for_ever() -> None:
    text = "\\" * 10_000
    assert scrub(text, ["\\" * 400 + "x"]) == text


def test_every_occurrence_is_masked_whatever_its_letters_case() -> None:
    assert scrub("Secret SECRET secret", ["secret"]) == "*** *** ***"


def test_characters_with_a_meaning_in_patterns_are_taken_literally() -> None:
    assert scrub("a.b axb (a|b) \\d", ["a.b", "\\d"]) == "*** axb (a|b) ***"


def test_a_robots_answer_that_quotes_the_request_keeps_its_sense() -> None:
    answer = '{"error": "login failed", "with": {"username": "maría", "password": "p\\"w & <1>"}}'
    assert scrub(answer, ['p"w & <1>', "maría"]) == (
        '{"error": "login failed", "with": {"username": "***", "password": "***"}}'
    )


@given(st.lists(secrets, max_size=3), st.data())
def test_no_form_is_longer_than_the_longest_form(several: list[str], data: st.DataObject) -> None:
    longest = longest_form(several)
    for secret in several:
        assert len(FORMS[data.draw(forms)](secret)) <= longest


def test_without_secrets_the_longest_form_has_no_length() -> None:
    assert longest_form([]) == longest_form([""]) == 0
