"""The body of the POST: cut to what the robot takes, and byte for byte what was submitted."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.wire.intake import read_submission
from streams.wire.robot_request import Callback, RobotRequest, build_request
from tests.unit.builders import PASSWORD, encoded, payload, with_pedido

CALLBACK_URL = "https://app.example.com/api/webhooks/robot-callback"
CALLBACK_SECRET = "callback-s3cret"  # made up

short = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
objects = st.dictionaries(
    short,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | short,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


def request(value: bytes) -> RobotRequest:
    return build_request(value, Callback(CALLBACK_URL, CALLBACK_SECRET))


def body(value: bytes) -> Any:
    return json.loads(request(value).body)


@pytest.mark.parametrize(
    "number",
    [
        *("1.10", "1e5", "1E+5", "-0.0", "-0", "1e400", "5e-324"),
        *("0.1000000000000000055511151231257827", "12345678901234567890", "123456789012345678901234567890.5"),
    ],
)
def test_a_number_is_passed_on_as_it_was_written(number: str) -> None:
    assert f'"pedidoInput":{{"valor": {number}}}'.encode() in request(with_pedido(f'{{"valor": {number}}}')).body


@pytest.mark.parametrize(
    "pedido",
    [
        pytest.param('{"ciudad": "MEDELLÍN", "nombre": "Ñáñez 😀 \u2028"}', id="beyond ASCII"),
        pytest.param('{"ciudad": "MEDELL\\u00cdN", "nombre": "\\ud83d\\ude00 \\/ \\u0041"}', id="escapes"),
        pytest.param('{ "a" :\t1 ,\n "b":[ ] }', id="spaces"),
        pytest.param('{"a": 1, "a": 2}', id="a field twice"),
        pytest.param('{"b": 1, "a": 2}', id="order of fields"),
        pytest.param('{"desconocido": {"x": [null, true, {"y": {}}]}, "itemId": 7}', id="unknown fields"),
        pytest.param('{"a": "</script>\\"\\\\"}', id="quotes"),
        pytest.param("{}", id="empty"),
    ],
)
def test_pedido_input_is_passed_on_byte_for_byte(pedido: str) -> None:
    assert b'"pedidoInput":' + pedido.encode() + b"}" in request(with_pedido(pedido)).body


@given(objects, st.booleans(), st.sampled_from([None, 1]))
def test_any_pedido_input_is_passed_on_byte_for_byte(pedido: Any, escaped: bool, indent: int | None) -> None:
    text = json.dumps(pedido, ensure_ascii=escaped, indent=indent)
    assert b'"pedidoInput":' + text.encode() + b"}" in request(with_pedido(text)).body


def test_the_body_has_six_fields_and_no_other() -> None:
    value = encoded(extra=1, callbackUrl="http://evil.example.com", callbackSecret="x")  # made up
    assert body(value) == {
        "workspaceId": "workspace-1",
        "credentials": {"username": "portal-user", "password": PASSWORD},
        "callbackUrl": CALLBACK_URL,
        "callbackSecret": CALLBACK_SECRET,
        "jobId": "job-1",
        "orders": payload()["orders"],
    }


def test_an_order_is_cut_to_three_fields() -> None:
    order = payload()["orders"][0]
    value = encoded(orders=[order | {"status": "new", "credentials": {"x": 1}}, order])
    assert body(value)["orders"] == [order, order]


def test_credentials_are_cut_to_two_fields() -> None:
    credentials = {"username": "ü", "password": 'p"\\\u0000', "token": "t", "otp": 7}
    assert body(encoded(credentials=credentials))["credentials"] == {"username": "ü", "password": 'p"\\\u0000'}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_any_id_passes_as_it_was(identifier: str) -> None:
    value = encoded(jobId=identifier, workspaceId=identifier)
    result = body(value)
    assert (result["jobId"], result["workspaceId"]) == (identifier, identifier)
    assert (request(value).job_id, request(value).workspace_id) == (identifier, identifier)


def test_the_request_knows_every_secret_in_it() -> None:
    assert set(request(encoded()).secrets) == {PASSWORD, "portal-user", CALLBACK_SECRET}


def test_of_fields_with_one_name_the_last_one_counts_as_in_the_contracts_model() -> None:
    value = b'{"jobId": "first", "credentials": {"username": "a", "password": "b"}, ' + encoded()[1:]
    model = read_submission(value)
    result = body(value)
    assert result["jobId"] == model.jobId == "job-1"
    assert result["credentials"]["password"] == model.credentials.password.get_secret_value() == PASSWORD


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", encoded(credentials=None), encoded(orders=None), encoded()[:-1]])
def test_bytes_that_are_no_submission_make_no_request(value: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        request(value)
