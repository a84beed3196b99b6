"""The orders of a batch that is followed order by order: their ids, and what is kept of what is reported of each."""

from collections.abc import Sequence

import msgspec

from streams.core.job import OrderResult

# Rows and outcomes stay under what every topic takes (see MAX_BATCH_BYTES): the ids and the names of the fields may
# take so much of it, the texts of all orders together so much.
ITEMS_MAX_BYTES = 150_000
TEXTS_MAX_BYTES = 80_000
# The names of all fields of an order in an outcome, and its status.
_NAMES_BYTES = 110
# A character takes at most so many bytes in JSON.
_CHARACTER_BYTES = 6


class _Order(msgspec.Struct):
    itemId: str  # the name on the wire


class _Orders(msgspec.Struct):
    orders: list[_Order]


_orders = msgspec.json.Decoder(_Orders)
_encode = msgspec.json.Encoder().encode


def item_ids(payload: bytes) -> tuple[str, ...]:
    """Return the ids of a submission's orders, each once; none if the batch is too large to be followed."""
    ids = dict.fromkeys(order.itemId for order in _orders.decode(payload).orders)
    size = sum(len(_encode(item_id)) + _NAMES_BYTES for item_id in ids)
    return tuple(ids) if size <= ITEMS_MAX_BYTES else ()


def cut_to_share(report: OrderResult, orders: Sequence[OrderResult]) -> OrderResult:
    """Return a report with what there is room for, in a batch of so many orders: its number, then its code and text.

    The same report is always cut to the same.
    """
    room = TEXTS_MAX_BYTES // max(1, len(orders))
    kept: list[str | None] = []
    for text in (report.tracking_number, report.error_type, report.error_message):
        if text is not None and len(_encode(text)) > room:
            # Half a number or code would be another one; of a text the beginning tells something.
            text = text[: room // _CHARACTER_BYTES] if text is report.error_message else None
        kept.append(text)
        room -= len(_encode(text or ""))
    return report._replace(tracking_number=kept[0], error_type=kept[1], error_message=kept[2])
