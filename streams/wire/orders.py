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
_QUOTES_BYTES = 2


# Raw, as in robot_request.py: of a field that comes twice the last value counts, and a type would look at all.
class _Order(msgspec.Struct):
    itemId: msgspec.Raw  # the name on the wire


class _Submission(msgspec.Struct):
    orders: msgspec.Raw


_submissions = msgspec.json.Decoder(_Submission)
_orders = msgspec.json.Decoder(list[_Order])
_texts = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder().encode


def item_ids(payload: bytes) -> tuple[str, ...]:
    """Return the ids of a submission's orders, each once; none if the batch is too large to be followed."""
    orders = _orders.decode(_submissions.decode(payload).orders)
    ids = dict.fromkeys(_texts.decode(order.itemId) for order in orders)
    size = sum(len(_encode(item_id)) + _NAMES_BYTES for item_id in ids)
    return tuple(ids) if size <= ITEMS_MAX_BYTES else ()


def cut_to_share(report: OrderResult, orders: Sequence[OrderResult]) -> OrderResult:
    """Return a report with what there is room for, in a batch of so many orders: its number, then its code and text.

    The same report is always cut to the same.
    """
    room = TEXTS_MAX_BYTES // max(1, len(orders))
    number, room = _if_it_fits(report.tracking_number, room)
    code, room = _if_it_fits(report.error_type, room)
    words, _ = _if_it_fits(report.error_message, room)
    if words is None and report.error_message is not None:
        # Of words the beginning tells something; half a number or code would be another one.
        words = report.error_message[: max(0, room - _QUOTES_BYTES) // _CHARACTER_BYTES]
    return report._replace(tracking_number=number, error_type=code, error_message=words)


def _if_it_fits(text: str | None, room: int) -> tuple[str | None, int]:
    """Return a text for which there is room, and what is left of that."""
    size = 0 if text is None else len(_encode(text))
    return (text, room - size) if size <= room else (None, room)
