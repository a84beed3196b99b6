"""The submission of a job whose row is known."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from streams.wire.intake import fingerprint, read_submission
from streams.wire.payload import resubmission, submission_of
from tests.core.builders import PENDING
from tests.unit.builders import PASSWORD, encoded

ORDERS = [{"itemId": f"i{n}", "orderId": f"o{n}", "pedidoInput": {"ciudad": "X"}} for n in range(3)]
VALUE = encoded(orders=ORDERS)
ROW = replace(PENDING, fingerprint=fingerprint(read_submission(VALUE)), order_count=3)


def test_the_bytes_that_a_job_was_submitted_as_are_known() -> None:
    submission = submission_of(ROW, VALUE)
    assert submission is not None
    assert [order.itemId for order in submission.orders] == ["i0", "i1", "i2"]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        VALUE[:-1],
        encoded(orders=ORDERS[:2]),
        encoded(orders=ORDERS, jobId="job-2"),
        encoded(orders=ORDERS, workspaceId="workspace-2"),
        encoded(orders=ORDERS, credentials=None),
    ],
)
def test_other_bytes_are_not_the_job_s(value: bytes) -> None:
    assert submission_of(ROW, value) is None


def test_another_job_has_the_chosen_orders_and_a_link_and_all_else_is_as_it_was() -> None:
    made: dict[str, Any] = json.loads(
        resubmission(encoded(orders=ORDERS, extra=[1]), "new", "job-1", {0: "i0", 2: "x"})
    )
    was = json.loads(encoded(orders=ORDERS, extra=[1]))
    assert made == was | {
        "jobId": "new",
        "resubmissionOf": "job-1",
        "orders": [ORDERS[0], ORDERS[2] | {"itemId": "x"}],
    }
    assert made["credentials"]["password"] == PASSWORD


def test_what_is_typed_in_keeps_its_bytes() -> None:
    pedido = b'{"peso":0.50,"valor":1e3,"grande":12345678901234567890123,"ciudad":"Bogot\\u00e1 (D.C.)","x":[-0.0]}'
    order = b'{"itemId":"i","orderId":"o","pedidoInput":' + pedido + b',"mine":0.10}'
    value = encoded(orders=["HERE"]).replace(b'"HERE"', order)
    made = resubmission(value, "new", "job-1", {0: "i"})
    assert pedido in made
    assert b'"mine":0.10' in made


def test_of_a_field_that_comes_twice_the_last_value_counts() -> None:
    value = VALUE.replace(b'"orders":', b'"orders": [], "orders":', 1)
    assert json.loads(resubmission(value, "new", "job-1", {1: "i1"}))["orders"] == ORDERS[1:2]
