"""The probes' own small HTTP listener, up from the first second: /livez, /readyz, /metrics."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streams.telemetry.metrics import Metrics

Checks = dict[str, Callable[[], bool]]


def passes(checks: Checks) -> bool:
    """Whether all are true."""
    return all(check() for check in checks.values())


def verdict(checks: Checks, notes: Checks, *, verbose: bool) -> tuple[int, str]:
    """Return status and text of the answer to a probe."""
    results = {name: check() for name, check in checks.items()}
    passed = all(results.values())
    lines = ["ok" if passed else "not ok"]
    if verbose:
        noted = [f"[{'+' if note() else '!'}] {name}" for name, note in notes.items()]
        lines = [*(f"[{'+' if good else '-'}] {name}" for name, good in results.items()), *noted, *lines]
    return 200 if passed else 503, "\n".join(lines) + "\n"


class Probes:
    """Serves the checks: 200 if all are true, else 503. `?verbose` lists them, and the notes, for a person.

    `live` and `ready` may be changed at any time: what a process can check grows while it starts.
    """

    def __init__(self, host: str, port: int, metrics: Metrics) -> None:
        self.live: Checks = {}
        self.ready: Checks = {}
        # What somebody who looks should know, and what does not make a worker less ready.
        self.notes: Checks = {}
        self._host = host
        self._port = port
        self._metrics = metrics
        metrics.ready.set_function(lambda: passes(self.ready))
        self._app = web.Application()
        self._app.add_routes(
            [
                web.get("/livez", self._handler(self.live, {})),
                web.get("/readyz", self._handler(self.ready, self.notes)),
                web.get("/metrics", self._serve_metrics),
            ]
        )
        self._runner = web.AppRunner(self._app, access_log=None, handle_signals=False)

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    @property
    def port(self) -> int:
        """The port listened on, which matters if 0 was asked for."""
        return int(self._runner.addresses[0][1])

    @staticmethod
    def _handler(checks: Checks, notes: Checks) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            status, text = verdict(checks, notes, verbose="verbose" in request.query)
            return web.Response(text=text, status=status)

        return handle

    async def _serve_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
