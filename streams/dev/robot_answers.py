"""The simulated robot's answers other than 200, and what a request must look like to be read at all."""

import base64
import json
from html import escape
from http import HTTPStatus

from aiohttp import web

from streams.dev.batches import BatchRequest

# Longest response header that common clients take (aiohttp, 8190), with room for the header's name.
MAX_HEADER_LENGTH = 8000
# As the server's framework prints it: an answer can tell where the service lies on its disk.
STACK = (
    "at createBatch (/srv/robot/dist/routes/batches.js:61:41)",
    "at Layer.handle (/srv/robot/node_modules/express/lib/router/layer.js:95:5)",
)


def takes(http: web.Request) -> bool:
    """Whether the service's parser takes the body of a request; 415 if not.

    When it answers 415 the contract leaves open: here for another type than JSON, another charset than UTF-8, and an
    encoding that the server cannot undo.
    """
    encoding = http.headers.get("Content-Encoding", "identity").lower()
    charset = (http.charset or "utf-8").lower()
    return (
        http.content_type == "application/json" and charset == "utf-8" and encoding in ("identity", "gzip", "deflate")
    )


def refusal(status: int, error: str, retry_after_seconds: int | None = None) -> web.Response:
    """Return an answer of the handler itself."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return web.json_response({"success": False, "error": error}, status=status, headers=headers)


def page(status: int, error: str) -> web.Response:
    """Return an answer of the server around the handler: a page with the error, its stack trace and paths."""
    lines = "<br> &nbsp; &nbsp;".join([escape(error), *STACK])
    title = HTTPStatus(status).phrase
    text = f"<!DOCTYPE html>\n<html>\n<head><title>{title}</title></head>\n<body><pre>{lines}</pre></body>\n</html>\n"
    return web.Response(status=status, text=text, content_type="text/html")


def echo(http: web.Request, body: bytes, request: BatchRequest) -> web.Response:
    """Return a 400 that repeats everything that it was told."""
    encoded = base64.b64encode(request.password.encode()).decode()
    content = {"body": body.decode(), "headers": dict(http.headers), "password_base64": encoded}
    debug = json.dumps([request.username, request.password, encoded, content["headers"]])
    return web.json_response(
        {"success": False, "error": content}, status=400, headers={"X-Debug": debug[:MAX_HEADER_LENGTH]}
    )
