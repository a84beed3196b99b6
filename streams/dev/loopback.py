"""Ports on this machine, and who answers there."""

import io
import itertools
import random
import socket
from collections.abc import Iterator
from functools import cache

HOST = "127.0.0.1"
# Below the ports that systems give to clients (from 32768 or 49152 up). While a broker is down, a client that
# keeps dialling a port of that range can be given that very port as its own end, and keep the broker from it.
PORTS = range(20_000, 32_000)
# A process takes so many for itself. It uses them in turn, so that the port of a server that is down for a while is
# not given to another one.
SHARE = 200


def is_free(port: int) -> bool:
    """Return whether a server can listen at `port` now."""
    with socket.socket() as attempt:
        # As servers do: connections of an earlier server that linger in TIME_WAIT do not count.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port of this process's own share at which nobody listens now."""
    return next(port for port in _own_ports() if is_free(port))


@cache
def _own_ports() -> Iterator[int]:
    """Take a share of `PORTS` that no other process has, for as long as this process lives; yield from it for ever.

    Some time passes between the choice of a port and a server's listening there. Two processes that chose from the
    same ports would now and then choose the same one.
    """
    for first in random.sample(PORTS[::SHARE], len(PORTS[::SHARE])):
        claim = socket.socket()
        try:
            # Without SO_REUSEADDR, so that it fails where another process has done the same.
            claim.bind((HOST, first))
        except OSError:
            claim.close()
            continue
        # Stays open to the end of the process: it tells the others that the share is taken.
        claim.detach()
        return itertools.cycle(range(first + 1, first + SHARE))
    raise OSError(f"every share of the ports {PORTS.start} to {PORTS.stop - 1} is taken by another process")


def live_brokers(port: int) -> set[int]:
    """Ask the Kafka broker at `port` for the ids of its cluster's live brokers (Metadata request, version 1).

    Raises OSError when nothing there answers as a broker does.
    """
    api_key, version, correlation_id, no_client_id, no_topics = 3, 1, 0, -1, 0
    fields = ((api_key, 2), (version, 2), (correlation_id, 4), (no_client_id, 2), (no_topics, 4))
    request = b"".join(value.to_bytes(width, "big", signed=True) for value, width in fields)
    with socket.create_connection((HOST, port), timeout=5) as peer, peer.makefile("rb") as stream:
        peer.sendall(len(request).to_bytes(4, "big") + request)
        size = int.from_bytes(stream.read(4), "big")
        body = stream.read(size)
    if not body or len(body) < size:
        raise ConnectionError("the broker closed the connection before it answered")
    answer = io.BytesIO(body)

    def integer(width: int) -> int:
        return int.from_bytes(answer.read(width), "big", signed=True)

    integer(4)  # correlation id
    ids = set()
    for _ in range(integer(4)):
        ids.add(integer(4))
        answer.read(integer(2))  # host
        integer(4)  # port
        answer.read(max(0, integer(2)))  # rack; -1 stands for none
    return ids
