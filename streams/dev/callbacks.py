"""The reports of a batch as the robot service makes them: one POST an order to the batch's callback URL."""

import json
import logging
from pathlib import Path

import aiohttp

from streams.dev.batches import BatchRequest, OrderResult

log = logging.getLogger(__name__)


class Callbacks:
    """Makes the POSTs, from `start` to `stop`. A log file gets one JSON line for each that was answered."""

    def __init__(self, log_path: Path | None) -> None:
        self._log_path = log_path
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Get ready. Connects with the first report."""
        # A connection of its own for each: on one that was kept, the receiver's closing could lose a report. And no
        # limit, by which one slow receiver would hold up the reports of other batches.
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))

    async def stop(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, request: BatchRequest, result: OrderResult) -> None:
        """Report an order once; return when the receiver has answered, whatever that is and however long it takes."""
        if self._session is None:
            raise RuntimeError("callbacks are made between start and stop")
        headers = {} if request.callback_secret is None else {"X-Callback-Secret": request.callback_secret}
        try:
            # Following a redirect would be a second POST.
            async with self._session.post(
                request.callback_url, json=result.body(), headers=headers, allow_redirects=False
            ) as answer:
                # It has begun, and what it is does not matter to the robot.
                self._note(request, result, answer.status)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Also a URL that is none. The report is lost, as it is with the robot service.
            log.warning("a report of job %s was lost: %s", request.job_id, type(error).__name__)

    def _note(self, request: BatchRequest, result: OrderResult, status: int) -> None:
        if self._log_path is not None:
            ids = {"job_id": request.job_id, "workspace_id": request.workspace_id}
            line = {**ids, "report": result.body(), "answered": status}
            with self._log_path.open("a", encoding="utf-8") as log_file:
                log_file.write(json.dumps(line) + "\n")
