"""aiokafka's login with a token, where it takes a broker's refusal for a welcome."""

from aiokafka import conn


def heed_refusals() -> None:
    """Let a refused token be a refused login, for every client of this process.

    A broker says in its answer why it refuses a token, and then waits for the client to give up (RFC 7628, 3.2.3).
    aiokafka does not look at the answer and goes on. To all that it asks then the broker gives empty answers, which it
    takes for a cluster without brokers, or for a record that was written.
    """
    conn.OAuthAuthenticator = _Heeding


class _Heeding(conn.OAuthAuthenticator):  # type: ignore[misc] # aiokafka has no types
    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if payload:
            return b"\x01", True
        # The token, or its end.
        step: tuple[bytes, bool] | None = await super().step(payload)
        return step
