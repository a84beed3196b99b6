"""Whatever is printed on the way of a submission, from its record to its outcome, shows no secret."""

import traceback
from collections.abc import Iterator

import msgspec
import pytest
from pydantic import ValidationError

from schemas import JobSubmitted, explain
from streams.core.events import Admitted
from streams.core.transition import transition
from streams.engine.calls import event_of
from streams.engine.claims import Claim
from streams.engine.draft import Draft
from streams.engine.ledger import _Delivered
from streams.engine.ports import Rejected
from streams.names import DeadLetterReason
from streams.operate.submit import InvalidSubmissionError, parse_submission
from streams.wire.dead_letters import dead_letter
from streams.wire.intake import Apply, Refuse, RefuseAndFail, interpret, read_submission
from streams.wire.outcomes import outcome_record
from streams.wire.placement import partition_of
from streams.wire.robot_request import Callback, build_request
from streams.wire.rows import decode_row, encode_row
from tests.core.builders import DEADLINES, NOW
from tests.unit.builders import PASSWORD, encoded, record

PARTITIONS = 8
HOME = partition_of("workspace-1", PARTITIONS)
USERNAME = "portal-user"
CALLBACK_SECRET = "callback-s3cret"  # made up
SECRETS = (PASSWORD, USERNAME, CALLBACK_SECRET)
BROKEN: dict[str, bytes] = {
    "credentials are a text": encoded(credentials=f"{USERNAME} {PASSWORD}"),
    "credentials are a list": encoded(credentials=[USERNAME, PASSWORD]),
    "no username": encoded(credentials={"password": PASSWORD}),
    "no password": encoded(credentials={"username": USERNAME, "pasword": PASSWORD}),
    "a nested password": encoded(credentials={"username": USERNAME, "password": {PASSWORD: PASSWORD}}),
    "too long": encoded(credentials={"username": USERNAME, "password": PASSWORD * 100}),
    "a secret carrier": encoded(carrier=[PASSWORD]),
    "secret orders": encoded(orders=PASSWORD),
    "a secret order": encoded(orders=[{"itemId": [PASSWORD], PASSWORD: USERNAME}]),
    "a secret input": encoded(orders=[{"itemId": "i", "orderId": "o", "pedidoInput": PASSWORD}]),
    "cut": encoded()[:-1],
    "trailing": encoded() + PASSWORD.encode(),
}


def shown(*things: object) -> Iterator[str]:
    for thing in things:
        yield repr(thing)
        yield str(thing)
        yield f"{[thing]}"


def check(*things: object) -> None:
    for text in shown(*things):
        assert not [secret for secret in SECRETS if secret in text], text


def test_a_good_submission_shows_no_secret_from_its_record_to_its_outcome() -> None:
    source = record(encoded(), partition=HOME, key=PASSWORD.encode(), headers=(("x", PASSWORD.encode()),))
    intake = interpret(source, PARTITIONS, DEADLINES, NOW)
    assert isinstance(intake, Apply)
    pending, *_ = transition(None, intake.event, NOW, DEADLINES)
    assert pending is not None
    claimed, effects, _ = transition(pending, Admitted(pending.key, "worker"), NOW, DEADLINES)
    assert claimed is not None
    claim = Claim(claimed, encoded())
    request = build_request(claim.payload, Callback("https://app.example", CALLBACK_SECRET))
    failed, ended, _ = transition(
        claimed, event_of(claimed.key, Rejected(400, "Robot service error 400: ***"), NOW), NOW, DEADLINES
    )
    assert failed is not None
    outcome = outcome_record(failed, HOME, "app")
    letter = dead_letter(source, DeadLetterReason.CONFLICT, "the ids are taken", 10**6)
    delivered = _Delivered(source, lambda: None)
    draft = Draft(records=[letter, outcome], changed={failed.key: failed}, claims=[claim])
    check(source, intake, pending, claimed, *effects, claim, request, failed, *ended)
    check(outcome, letter, delivered, draft, parse_submission(encoded()), read_submission(encoded()))
    check(encode_row(failed), decode_row(encode_row(failed)), outcome.value, outcome.headers)


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
def test_what_is_said_about_a_broken_submission_quotes_nothing_of_it(value: bytes) -> None:
    intake = interpret(record(value, partition=HOME), PARTITIONS, DEADLINES, NOW)
    assert isinstance(intake, Refuse | RefuseAndFail)
    check(intake, intake.rejection)
    assert len(intake.rejection.message) <= 300
    assert "\n" not in intake.rejection.message
    with pytest.raises(ValidationError) as invalid:
        JobSubmitted.model_validate_json(value)
    check(invalid.value, explain(invalid.value), *traceback.format_exception_only(invalid.value))
    with pytest.raises(InvalidSubmissionError) as refused:
        parse_submission(value)
    check(refused.value, *traceback.format_exception_only(refused.value))
    try:
        check(build_request(value, Callback("https://app.example", CALLBACK_SECRET)))
    except msgspec.MsgspecError as error:
        check(error, *traceback.format_exception_only(error))
