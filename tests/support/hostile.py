"""Records that nobody should write, for every input topic, each with what must become of it."""

import gzip
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

from streams.core.controls import Action
from streams.core.job import JobKey
from streams.names import SOURCE_TOPICS, DeadLetterReason, Topic
from streams.wire.placement import partition_of
from streams.wire.records import Headers

PASSWORD = "pa$$-wörd/7-of-the-hostile"  # made up
NESTED = 60_000
HEAVY = 0.05
NO_LETTER: frozenset[DeadLetterReason] = frozenset()
Fields = dict[str, Any]
# An outcome as it is expected: its status, or the reason of its failure.
COMPLETED, INVALID_SUBMISSION = "completed", "invalid_submission"


class RawName(str):
    """A header's name that is no UTF-8: as a text what it is read as, encoded what is written."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode("latin-1").decode("unicode-escape").encode("latin-1")


@dataclass(frozen=True)
class Hostile:
    """A record and its fate: a dead letter with one of `letters`, and a job of which it is the founder."""

    kind: str
    topic: Topic
    partition: int
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: Headers = field(default=(), repr=False)
    timestamp: datetime | int | None = None
    letters: frozenset[DeadLetterReason] = NO_LETTER
    forward_to: int | None = None
    job: JobKey | None = None
    outcome: str | None = None
    # Whether its dead letter has all of it.
    whole: bool = True


@dataclass(frozen=True)
class Settled:
    """Jobs that had ended before the hostile records were written."""

    completed: Sequence[tuple[JobKey, int]]
    failed: Sequence[JobKey]


def order(**changes: Any) -> Fields:
    """Return an order."""
    return {"itemId": "i", "orderId": "o", "pedidoInput": {"ciudad": "CALI", "peso": 0.5}} | changes


class Maker:
    """Makes records with fresh ids; what a record is about is in its header `hostile`, so no two are the same."""

    def __init__(self, random: Random, partitions: int, now: datetime, settled: Settled) -> None:
        self.random = random
        self.partitions = partitions
        self.now = now
        self.settled = settled

    def key(self, prefix: str = "") -> JobKey:
        """Return ids that nobody has."""
        return JobKey(f"{prefix}w-{self.random.getrandbits(64):x}", f"{prefix}j-{self.random.getrandbits(64):x}")

    def fields(self, topic: Topic, key: JobKey) -> Fields:
        """Return a record of the contract; None takes a field out later."""
        ids = {"jobId": key.job_id, "workspaceId": key.workspace_id}
        if topic is Topic.BATCH_COMPLETED:
            return {**ids, "successCount": 1, "errorCount": 0}
        if topic is Topic.ORDER_REPORTED:
            return {**ids, "itemId": "i", "status": "success", "reportedAt": "2026-01-31T12:00:00.000Z"}
        if topic is Topic.CONTROL:
            asked = {"actor": "a", "reason": "r", "requestedAt": "2026-01-31T12:00:00.000Z"}
            return {**ids, "controlId": f"c-{self.random.getrandbits(64):x}", "action": "cancel", **asked}
        return {**ids, "credentials": {"username": "u", "password": PASSWORD}, "orders": [order()]}

    def home(self, key: JobKey) -> int:
        """Return where a job belongs."""
        return partition_of(key.workspace_id, self.partitions)

    def anywhere(self) -> int:
        """Return any partition."""
        return self.random.randrange(self.partitions)

    def record(self, kind: str, topic: Topic, value: bytes | None, partition: int, **more: Any) -> Hostile:
        """Return a record with a name of its own."""
        number = b"%016x" % self.random.getrandbits(64)
        headers = (("hostile", number), *more.pop("headers", ()))
        return Hostile(kind, topic, partition, more.pop("key", b"some key"), value, headers, **more)

    def job(self, kind: str, job: JobKey, fields: Fields | None = None, **more: Any) -> Hostile:
        """Return a submission that is odd and good: its job is done once."""
        value = more.pop("value", None) or encode(fields or self.fields(Topic.SUBMITTED, job))
        return self.record(
            kind, Topic.SUBMITTED, value, more.pop("partition", self.home(job)), job=job, outcome=COMPLETED, **more
        )


def encode(fields: Mapping[str, Any]) -> bytes:
    """Return fields as JSON; those that are None are left out."""
    return json.dumps({name: value for name, value in fields.items() if value is not None}, ensure_ascii=False).encode()


Make = Callable[[Maker], list[Hostile]]
# Changes a good record's bytes.
Damage = Callable[[bytes], bytes | None]


def with_field(text: str) -> Damage:
    """Return what puts an unknown field, written exactly so, in front of the others."""
    return lambda good: b"{" + text.encode() + b", " + good[1:]


def instead_of_job_id(text: str) -> Damage:
    """Return what puts a value, written exactly so, behind all others as the job id."""
    return lambda good: good[:-1] + b', "jobId": ' + text.encode() + b"}"


# What is no JSON object to either reader.
MALFORMED: Mapping[str, Damage] = {
    "tombstone": lambda _: None,
    "empty": lambda _: b"",
    "blank": lambda _: b" \n\t",
    "text": lambda _: b"jobId=1&workspaceId=2",
    "binary": lambda good: b"\xff\x00" + good[::-1],
    "truncated": lambda good: good[:-1],
    "half": lambda good: good[: len(good) // 2],
    "two values": lambda good: good + good,
    "BOM": lambda good: b"\xef\xbb\xbf" + good,
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "UTF-16 without BOM": lambda good: good.decode().encode("utf-16-le"),
    "UTF-32": lambda good: good.decode().encode("utf-32"),
    "gzip": gzip.compress,
    "single quotes": lambda good: good.replace(b'"', b"'"),
    "trailing comma": lambda good: good[:-1] + b",}",
    "comment": lambda good: good + b"// done",
    "NaN": with_field('"x": NaN'),
    "Infinity": with_field('"x": -Infinity'),
    "hexadecimal": with_field('"x": 0x1F'),
    "lone surrogate": with_field('"x": "\\ud800"'),
    "lone surrogate in a name": with_field('"\\udfff": 1'),
    "surrogates reversed": with_field('"x": "\\udc00\\ud800"'),
    "lone surrogate in UTF-8 in an id": lambda good: good[:-1] + b', "jobId": "\xed\xa0\x80"}',
    "id that is no UTF-8": lambda good: good[:-1] + b', "jobId": "\xff"}',
    "lone surrogate in an id": instead_of_job_id('"\\ud83d"'),
    "id of 1e999": instead_of_job_id("1e999"),
    "id of 5,000 digits": instead_of_job_id("9" * 5000),
    "array": lambda good: b"[" + good + b"]",
    "string": lambda good: json.dumps(good.decode()).encode(),
    "number": lambda _: b"-0",
    "null": lambda _: b"null",
    "true": lambda _: b"true",
}
HEAVY_MALFORMED: Mapping[str, Damage] = {
    "open brackets": lambda _: b"[" * NESTED,
    "open objects": lambda _: b'{"a":' * NESTED,
    "nested brackets": with_field(f'"x": {"[" * NESTED}{"]" * NESTED}'),
    "nested brackets as an id": instead_of_job_id("[" * NESTED + "]" * NESTED),
}
# What takes the place of an id.
NO_ID: Mapping[str, Any] = {
    "missing": None,
    "empty": "",
    "number": 7,
    "float": 0.5,
    "bool": True,
    "list": ["x"],
    "object": {"x": "y"},
    "201 characters": "x" * 201,
    "201 characters beyond ASCII": "😀" * 201,
    "100 KB": "x" * 100_000,
}
BAD_SUBMISSION: Mapping[str, Fields] = {
    "no credentials": {"credentials": None},
    "credentials as text": {"credentials": f"u:{PASSWORD}"},
    "credentials as a list": {"credentials": ["u", PASSWORD]},
    "no username": {"credentials": {"password": PASSWORD}},
    "password in a list": {"credentials": {"username": "u", "password": [PASSWORD]}},
    "password as a number": {"credentials": {"username": "u", "password": 12345678}},
    "password of 501 characters": {"credentials": {"username": "u", "password": "x" * 501}},
    "no orders": {"orders": None},
    "empty orders": {"orders": []},
    "orders as an object": {"orders": {"0": order()}},
    "orders as text": {"orders": "[]"},
    "an order is null": {"orders": [order(), None]},
    "an order is a list": {"orders": [["i", "o", {}]]},
    "an item id is a number": {"orders": [order(itemId=7)]},
    "an order id is empty": {"orders": [order(orderId="")]},
    "an order id of 201 characters": {"orders": [order(orderId="x" * 201)]},
    "pedidoInput as a list": {"orders": [order(pedidoInput=[])]},
    "pedidoInput as text": {"orders": [order(pedidoInput="{}")]},
    "carrier as a number": {"carrier": 7},
    "field names in another case": {"orders": None, "Orders": [order()]},
}
# What only one of the two readers of a submission can read, written exactly so into an order.
UNREADABLE_ORDER: Mapping[str, bytes] = {
    "500 nested brackets in an order": b"[" * 500 + b"]" * 500,
    "5,000 digits in an order": b"1" * 5000,
    "no UTF-8 in an order": b'"\xff"',
}
BAD_COUNT: Mapping[str, str | None] = {
    "missing": None,
    "null": "null",
    "negative": "-1",
    "far below zero": str(-(2**63) - 1),
    "float": "1.5",
    "whole float": "1.0",
    "exponent": "1e3",
    "too large for a float": "1e999",
    "text": '"1"',
    "bool": "true",
    "list": "[1]",
    "object": "{}",
    "beyond 32 bits": str(2**31),
    "beyond 64 bits": str(2**64),
    "400 digits": "9" * 400,
    "5,000 digits": "9" * 5000,
}
BAD_REPORT: Mapping[str, Fields] = {
    "no item": {"itemId": None},
    "item id of 201 characters": {"itemId": "x" * 201},
    "no status": {"status": None},
    "unknown status": {"status": "unreported"},
    "tracking number as a number": {"trackingNumber": 7},
    "message of 501 characters": {"errorMessage": "x" * 501},
    "time without a zone": {"reportedAt": "2026-01-31T12:00:00.000"},
}
BAD_CONTROL: Mapping[str, Fields] = {
    "no control id": {"controlId": None},
    "control id as a number": {"controlId": 7},
    "unknown action": {"action": "pause"},
    "nobody": {"actor": ""},
    "reason of 501 characters": {"reason": "x" * 501},
    "hold of a job": {"action": "hold"},
    "asked without a zone": {"requestedAt": "2026-01-31T12:00:00.000"},
}
ODD_IDS: Mapping[str, str] = {
    "NUL": "\x00",
    "newline": "a\r\nb",
    "escape codes": "\x1b[31mred\x07",
    "right to left": "\u202eabc\u202c",
    "emoji": "👩‍👩‍👧",
    "quotes and backslashes": '\\"\\\\"',
    "slash": "a/b",
    "spaces": "  ",
    "noncharacters": "\ufffe\U0010ffff",
}
# Each takes six bytes in JSON, or four in UTF-8.
LONG_IDS = {"200 control characters": "\x01", "200 emoji": "😀", "200 letters": "ñ"}
# The robot wants a city.
ODD_PEDIDO: Mapping[str, bytes] = {
    "1e999": b'{"ciudad": "C", "x": 1e999}',
    "minus nought": b'{"ciudad": "C", "x": [-0, -0.0]}',
    "1,000 digits": b'{"ciudad": "C", "x": ' + b"7" * 1000 + b"}",
    "NUL in texts": b'{"ciudad": "\\u0000", "\\u0000": "\\u0000"}',
    "names twice": b'{"ciudad": 1, "ciudad": "C"}',
    "150 nested objects": b'{"ciudad": "C", "x": ' + b'{"x":' * 150 + b"{}" + b"}" * 151,
}
ODD_HEADERS: Mapping[str, Headers] = {
    "null value": (("x", None),),
    "empty name": (("", b"x"),),
    "name twice": (("x", b"1"), ("x", b"2")),
    "names with control characters": (("\x00\n", b"x"), ("\u202e", b"\xff")),
    "name of 10 KB": (("x" * 10_000, b""),),
    "500 headers": tuple((f"h{number}", b"x") for number in range(500)),
    "name that is no UTF-8": ((RawName(r"\xff\xfename"), b"x"),),
    "our own names": (
        ("robot.dlq.id", b"robot.job.submitted-0-0"),
        ("robot.dlq.reason", b"\xff"),
        ("robot.dlq.redrive.count", b"-1"),
        ("__streams.errors.offset", None),
    ),
}
ODD_KEYS: Mapping[str, bytes | None] = {
    "no key": None,
    "empty key": b"",
    "key that is no UTF-8": b"\xff\xfe\x00",
    "key of another workspace": b"workspace-of-somebody-else",
    "key of 100 KB": b"k" * 100_000,
}


def malformed(kind: str, topic: Topic, damage: Damage, maker: Maker) -> list[Hostile]:
    value = damage(encode(maker.fields(topic, maker.key())))
    key = maker.random.choice([None, b"", b"\xff", b"some key"])
    letters = frozenset({DeadLetterReason.MALFORMED})
    return [maker.record(kind, topic, value, maker.anywhere(), key=key, letters=letters)]


def without_id(kind: str, topic: Topic, name: str, value: Any, maker: Maker) -> list[Hostile]:
    fields = maker.fields(topic, maker.key()) | {name: value}
    letters = frozenset({DeadLetterReason.INVALID})
    if isinstance(value, str) and len(value) == 100_000 and topic is not Topic.SUBMITTED:
        letters = frozenset({DeadLetterReason.TOO_LARGE})
    # A control may be of a workspace alone, whose partition then has it.
    at_home = topic is Topic.CONTROL and fields["jobId"] is None
    place = partition_of(fields["workspaceId"], maker.partitions) if at_home else maker.anywhere()
    return [maker.record(kind, topic, encode(fields), place, letters=letters)]


def invalid(kind: str, topic: Topic, changes: Fields, maker: Maker) -> list[Hostile]:
    """Write a record with fields that it must not have; a submission fails its job."""
    key = maker.key()
    value = encode(maker.fields(topic, key) | changes)
    if topic is Topic.SUBMITTED:
        return [_failing(maker, kind, key, value)]
    return [maker.record(kind, topic, value, maker.home(key), letters=frozenset({DeadLetterReason.INVALID}))]


def unreadable_order(kind: str, text: bytes, maker: Maker) -> list[Hostile]:
    key = maker.key()
    fields = maker.fields(Topic.SUBMITTED, key) | {"orders": [order(pedidoInput={"x": "HERE"})]}
    return [_failing(maker, kind, key, encode(fields).replace(b'"HERE"', text))]


def _failing(maker: Maker, kind: str, key: JobKey, value: bytes) -> Hostile:
    return maker.record(
        kind,
        Topic.SUBMITTED,
        value,
        maker.home(key),
        letters=frozenset({DeadLetterReason.INVALID}),
        job=key,
        outcome=INVALID_SUBMISSION,
    )


def bad_count(kind: str, name: str, text: str | None, maker: Maker) -> list[Hostile]:
    key = maker.key()
    fields = maker.fields(Topic.BATCH_COMPLETED, key) | {name: None}
    value = encode(fields)
    if text is not None:
        value = f'{{"{name}": {text}, '.encode() + value[1:]
    letters = frozenset({DeadLetterReason.INVALID})
    return [maker.record(kind, Topic.BATCH_COMPLETED, value, maker.home(key), letters=letters)]


def odd_id(kind: str, text: str, maker: Maker) -> list[Hostile]:
    return [maker.job(kind, maker.key(text))]


def long_id(kind: str, character: str, maker: Maker) -> list[Hostile]:
    key = JobKey(*(name + character * (200 - len(name)) for name in maker.key()))
    return [maker.job(kind, key)]


def odd_pedido(kind: str, text: bytes, maker: Maker) -> list[Hostile]:
    key = maker.key()
    fields = maker.fields(Topic.SUBMITTED, key) | {"orders": [order(pedidoInput="HERE")]}
    return [maker.job(kind, key, value=encode(fields).replace(b'"HERE"', text))]


def odd_headers(kind: str, headers: Headers, maker: Maker) -> list[Hostile]:
    """Write a good submission, a bad one and a misplaced one with the same headers."""
    letters = frozenset({DeadLetterReason.MALFORMED})
    bad = [
        maker.record(kind, topic, b"bad", maker.anywhere(), headers=headers, letters=letters) for topic in SOURCE_TOPICS
    ]
    return [maker.job(kind, maker.key(), headers=headers), *bad, _misplaced(maker, kind, headers=headers)]


def odd_key(kind: str, key: bytes | None, maker: Maker) -> list[Hostile]:
    tombstone = maker.record(
        kind, Topic.BATCH_COMPLETED, None, maker.anywhere(), key=key, letters=frozenset({DeadLetterReason.MALFORMED})
    )
    return [maker.job(kind, maker.key(), key=key), tombstone]


def _misplaced(maker: Maker, kind: str, **more: Any) -> Hostile:
    key = maker.key()
    home = maker.home(key)
    return maker.job(kind, key, partition=(home + 1) % maker.partitions, forward_to=home, **more)


def misplaced(maker: Maker) -> list[Hostile]:
    """Write a good and a bad submission and a completion where they do not belong."""
    bad, unknown = _failing(maker, "misplaced and bad", maker.key(), b""), maker.key()
    assert bad.job is not None
    away = (maker.home(bad.job) + 1) % maker.partitions
    fields = maker.fields(Topic.SUBMITTED, bad.job) | {"orders": []}
    home = maker.home(unknown)
    completion = maker.record(
        "misplaced completion",
        Topic.BATCH_COMPLETED,
        encode(maker.fields(Topic.BATCH_COMPLETED, unknown)),
        (home + 1) % maker.partitions,
        letters=frozenset({DeadLetterReason.UNKNOWN_JOB}),
        forward_to=home,
        # Of no meaning for a completion, however odd.
        timestamp=maker.random.choice([None, 0, maker.now + timedelta(days=400), 2**63 - 1]),
    )
    return [
        _misplaced(maker, "misplaced"),
        replace(bad, value=encode(fields), partition=away, forward_to=maker.home(bad.job)),
        completion,
    ]


def dated(kind: str, at: timedelta | int, reason: DeadLetterReason | None, maker: Maker) -> list[Hostile]:
    """Write a submission of some age, at home and elsewhere; one from the future is not forwarded."""
    timestamp = maker.now + at if isinstance(at, timedelta) else at
    here = maker.job(kind, maker.key(), timestamp=timestamp)
    there = _misplaced(maker, kind, timestamp=timestamp)
    if reason is None:
        return [here, there]
    forwarded_to = None if reason is DeadLetterReason.FUTURE_TIMESTAMP else there.forward_to
    refused: Fields = {"letters": frozenset({reason}), "job": None, "outcome": None}
    return [replace(here, **refused), replace(there, **refused, forward_to=forwarded_to)]


def repeated(maker: Maker) -> list[Hostile]:
    """Write one submission twice, then another payload under its ids, then one that is bad besides."""
    key = maker.key()
    fields = maker.fields(Topic.SUBMITTED, key)
    first = maker.job("repeated submission", key)
    again = maker.job("repeated submission", key, fields | {"traceId": 7})
    other = maker.job("contradictory submission", key, fields | {"orders": [order(itemId="other")]})
    bad = maker.job("contradictory and bad", key, fields | {"orders": []})
    none: Fields = {"job": None, "outcome": None}
    return [
        first,
        replace(again, **none),
        replace(other, **none, letters=frozenset({DeadLetterReason.CONFLICT})),
        replace(bad, **none, letters=frozenset({DeadLetterReason.INVALID})),
    ]


def good_after_bad(maker: Maker) -> list[Hostile]:
    """Write a bad submission, then a good one under its ids: the job has failed."""
    key = maker.key()
    bad = _failing(maker, "good after bad", key, encode(maker.fields(Topic.SUBMITTED, key) | {"orders": []}))
    good = maker.job("good after bad", key)
    return [bad, replace(good, job=None, outcome=None, letters=frozenset({DeadLetterReason.CONFLICT}))]


def twins(maker: Maker) -> list[Hostile]:
    """Write two jobs whose ids are one text after normalisation: they are two jobs."""
    composed = maker.key("Ñandú-Å")
    one, two = (unicodedata.normalize(form, composed.job_id) for form in ("NFC", "NFD"))
    elsewhere = unicodedata.normalize("NFD", composed.workspace_id)
    keys = JobKey(composed.workspace_id, one), JobKey(composed.workspace_id, two), JobKey(elsewhere, f"{one}-2")
    return [maker.job("twins after normalisation", key) for key in keys]


def doubled_names(maker: Maker) -> list[Hostile]:
    """Write the ids twice: the last ones count, for the placement too, and whatever the first ones are."""
    key, item = maker.key(), maker.key()
    value = encode({**maker.fields(Topic.SUBMITTED, key)})
    items = encode({**maker.fields(Topic.SUBMITTED, item)}).replace(b'"itemId"', b'"itemId": 7, "itemId"')
    return [
        maker.job("ids twice", key, value=b'{"jobId": "first", "workspaceId": 7, "orders": 7, ' + value[1:]),
        maker.job("item ids twice", item, value=items),
        maker.job("escaped name", other := maker.key(), value=_escaped_name(maker, other)),
    ]


def _escaped_name(maker: Maker, key: JobKey) -> bytes:
    return encode(maker.fields(Topic.SUBMITTED, key)).replace(b'"jobId"', b'"\\u006aobId"')


def unknown_fields(maker: Maker) -> list[Hostile]:
    key = maker.key()
    extra: Fields = {"jobid": 7, "JOBID": "x", "": {}, "x" * 1000: [[]], "\x00": -1, "__proto__": {"orders": []}}
    fields = maker.fields(Topic.SUBMITTED, key) | extra | {"orders": [order(extra=1)]}
    return [maker.job("unknown fields", key, fields)]


def ten_thousand_orders(maker: Maker) -> list[Hostile]:
    """Write as many orders as the contract allows, and one more."""
    most, more = maker.key(), maker.key()
    orders = [order()] * 10_000
    fields = maker.fields(Topic.SUBMITTED, more) | {"orders": [*orders, order()]}
    return [
        maker.job("10,000 orders", most, maker.fields(Topic.SUBMITTED, most) | {"orders": orders}),
        _failing(maker, "10,001 orders", more, encode(fields)),
    ]


def completions(maker: Maker) -> list[Hostile]:
    """Write completions of nobody's job, and of jobs that ended before."""

    def record(kind: str, key: JobKey, success: int, reason: DeadLetterReason | None) -> Hostile:
        letters = NO_LETTER if reason is None else frozenset({reason})
        value = encode(maker.fields(Topic.BATCH_COMPLETED, key) | {"successCount": success, "batch": {"a": [1]}})
        return maker.record(kind, Topic.BATCH_COMPLETED, value, maker.home(key), letters=letters)

    unknown = maker.key()
    found = [
        record("completion of nobody's job", unknown, 1, DeadLetterReason.UNKNOWN_JOB),
        record("completion of nobody's job, 31 bits", unknown, 2**31 - 1, DeadLetterReason.UNKNOWN_JOB),
    ]
    if maker.settled.completed:
        key, success = maker.random.choice(maker.settled.completed)
        stranger = JobKey(unknown.workspace_id, key.job_id)
        found += [
            record("completion from another workspace", stranger, success, DeadLetterReason.UNKNOWN_JOB),
            record("repeated completion", key, success, None),
            record("contradictory completion", key, success + 1, DeadLetterReason.DUPLICATE_MISMATCH),
        ]
    if maker.settled.failed:
        key = maker.random.choice(maker.settled.failed)
        found.append(record("late completion", key, 1, DeadLetterReason.LATE_COMPLETION))
    return found


def reports(maker: Maker) -> list[Hostile]:
    """Write reports of nobody's job, and of jobs whose orders nobody follows."""
    about = [(maker.key(), DeadLetterReason.UNKNOWN_JOB)]
    about += [(key, DeadLetterReason.UNKNOWN_ITEM) for key, _ in maker.settled.completed]
    about += [(key, DeadLetterReason.UNKNOWN_ITEM) for key in maker.settled.failed]
    key, reason = maker.random.choice(about)
    odd = {"itemId": "of no order", "trackingNumber": "x" * 100, "more": [{}]}
    value = encode(maker.fields(Topic.ORDER_REPORTED, key) | odd)
    letters = frozenset({reason})
    return [maker.record(f"report: {reason}", Topic.ORDER_REPORTED, value, maker.home(key), letters=letters)]


def controls(maker: Maker) -> list[Hostile]:
    """Write controls that are in order, of nobody's jobs and of workspaces without any, in any partition."""

    def record(kind: str, fields: Fields, partition: int, **more: Any) -> Hostile:
        return maker.record(kind, Topic.CONTROL, encode(fields), partition, **more)

    fields = {action: maker.fields(Topic.CONTROL, maker.key()) | {"action": action} for action in Action}
    for action in (Action.HOLD, Action.RELEASE):
        fields[action] |= {"jobId": None, "actor": "<b>\u202e\x1b[31m</b>"}
    homes = {each: partition_of(fields[each]["workspaceId"], maker.partitions) for each in Action}
    found = [record(f"control, twice: {each}", fields[each], homes[each]) for _ in range(2) for each in Action]
    values, home = fields[Action.HOLD], homes[Action.HOLD]
    taken = {"letters": frozenset({DeadLetterReason.CONFLICT})}
    found.append(record("control under a known id", values | {"reason": "another"}, home, **taken))
    fresh = {name: f"{name}-{maker.random.getrandbits(64):x}" for name in ("misplaced", "tomorrow")}
    away = (home + 1) % maker.partitions
    found.append(record("misplaced control", values | {"controlId": fresh["misplaced"]}, away, forward_to=home))
    future = {"timestamp": maker.now + timedelta(hours=2), "letters": frozenset({_FUTURE})}
    return [*found, record("control of tomorrow", values | {"controlId": fresh["tomorrow"]}, home, **future)]


_EXPIRED, _FUTURE = DeadLetterReason.SUBMISSION_EXPIRED, DeadLetterReason.FUTURE_TIMESTAMP
DATES: Mapping[str, tuple[timedelta | int, DeadLetterReason | None]] = {
    "at nought": (0, _EXPIRED),
    "before 1970": (-5, _EXPIRED),
    "in 2001": (10**12, _EXPIRED),
    "eight days ago": (timedelta(days=-8), _EXPIRED),
    "three days ago": (timedelta(days=-3), None),
    "half an hour ahead": (timedelta(minutes=30), None),
    "two hours ahead": (timedelta(hours=2), _FUTURE),
    "ten years ahead": (timedelta(days=3650), _FUTURE),
    "in the year 10,000": (253_402_300_800_000, _FUTURE),
    "64 bits ahead": (2**63 - 1, _FUTURE),
}


def _kinds() -> Iterator[tuple[Make, float]]:
    """Yield every kind, with how often it comes."""
    for topic in SOURCE_TOPICS:
        for kind, damage in MALFORMED.items():
            yield partial(malformed, kind, topic, damage), 1
        for kind, damage in HEAVY_MALFORMED.items():
            yield partial(malformed, kind, topic, damage), HEAVY
        for name in ("jobId", "workspaceId"):
            for kind, value in NO_ID.items():
                yield partial(without_id, f"{name}: {kind}", topic, name, value), HEAVY if kind == "100 KB" else 1
    for kind, changes in BAD_SUBMISSION.items():
        yield partial(invalid, kind, Topic.SUBMITTED, changes), 2
    for kind, written in UNREADABLE_ORDER.items():
        yield partial(unreadable_order, kind, written), 1
    for name in ("successCount", "errorCount"):
        for kind, count in BAD_COUNT.items():
            yield partial(bad_count, f"{name}: {kind}", name, count), 1
    for kind, changes in BAD_REPORT.items():
        yield partial(invalid, kind, Topic.ORDER_REPORTED, changes), 1
    for kind, changes in BAD_CONTROL.items():
        yield partial(invalid, kind, Topic.CONTROL, changes), 1
    # From here on jobs are run, which takes longer.
    for kind, text in ODD_IDS.items():
        yield partial(odd_id, f"id: {kind}", text), 0.3
    for kind, text in LONG_IDS.items():
        yield partial(long_id, f"id: {kind}", text), 0.3
    for kind, written in ODD_PEDIDO.items():
        yield partial(odd_pedido, f"order: {kind}", written), 0.3
    for kind, headers in ODD_HEADERS.items():
        yield partial(odd_headers, f"headers: {kind}", headers), 0.3
    for kind, record_key in ODD_KEYS.items():
        yield partial(odd_key, kind, record_key), HEAVY if kind == "key of 100 KB" else 0.3
    for kind, (at, reason) in DATES.items():
        yield partial(dated, f"dated {kind}", at, reason), 0.3 if reason is None else 1
    for make in (misplaced, repeated, good_after_bad, twins, doubled_names, unknown_fields):
        yield make, 0.5
    yield ten_thousand_orders, HEAVY / 5
    yield completions, 10
    yield reports, 10
    yield controls, 1


def hostile_records(seed: int, count: int, partitions: int, now: datetime, settled: Settled) -> list[Hostile]:
    """Return at least `count` records, every kind among them; those that build on each other in their order."""
    random = Random(seed)
    maker = Maker(random, partitions, now, settled)
    makes, weights = zip(*_kinds(), strict=True)
    groups = [make(maker) for make in makes]
    missing = count - sum(map(len, groups))
    while missing > 0:
        (make,) = random.choices(makes, weights)
        groups.append(make(maker))
        missing -= len(groups[-1])
    random.shuffle(groups)
    return [record for group in groups for record in group]
