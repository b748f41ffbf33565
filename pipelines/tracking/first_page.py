"""MLflow's UI as `zoo ui` serves it: it opens on the table of results, and shows metrics rounded.

What a browser gets is changed on its way there; the store, and what clients other than the UI read, stay as they are.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from pipelines.tracking.runs.listing import results_pages
from pipelines.tracking.store import hide_secrets, import_mlflow, without_secrets
from zoo.errors import TrackingError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# No usage data to MLflow's makers, no line for each step of the start, no workers for what language models alone need.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
DIGITS = 4  # of a metric, as a table has room for; what a training measures is no more certain than that
# Where the UI asks for runs and models. Histories of metrics, which it plots, are not among them.
_ROUNDED = ("/mlflow/runs/search", "/mlflow/runs/get", "/mlflow/logged-models/search", "/graphql")

_OF_THE_BODY = (b"content-length", b"etag", b"last-modified")  # headers

# A browser that comes for the first time would get MLflow's pages for language models and its assistant beside them.
# An address that names a page has a hash, which a server never sees.
_SCRIPT = """<script>
for (const [name, value] of Object.entries({
  "mlflow.workflowType_v1": '"machine_learning"',
  "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
})) if (localStorage.getItem(name) === null) localStorage.setItem(name, value);
if (!location.hash && PAGE) history.replaceState(null, "", PAGE);
</script>"""
# A phone shows a page that is laid out for a desk, to zoom into: at its own width MLflow's menu would cover half of it.
_VIEWPORT = (b"width=device-width,initial-scale=1", b"width=1100")


def ui_application(store: str) -> App:
    """MLflow's UI and API on a store, in this process, whose environment and warnings it sets for good.

    Raises TrackingError where the store can't be opened.
    """
    os.environ.update(_QUIET)
    import uvicorn as _  # noqa: F401 (where it is imported, MLflow takes itself for a server, and checks who asks)

    warnings.simplefilter("ignore")  # what MLflow's parts find old in each other
    import_mlflow()
    from mlflow.server import constants, handlers
    from mlflow.server.fastapi_app import app

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = store
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"  # of experiments that somebody makes in the UI
    try:
        handlers.initialize_backend_stores(store, store, "mlflow-artifacts:/")
    except Exception as error:  # MLflow's own, SQLAlchemy's, or that of a database's driver
        reason = hide_secrets(next(iter(str(error).splitlines()), type(error).__name__), store)
        raise TrackingError(f"the tracking store {without_secrets(store)} can't be opened: {reason}") from None
    return _with_first_page(app, _latest_results)


def _latest_results() -> str:
    """The page of the data set that was trained on last, "" where none is known."""
    with suppress(TrackingError):  # MLflow's page says what is wrong with the store by then
        return next((page for _, page in results_pages()), "")
    return ""


def _with_first_page(app: App, results: Callable[[], str]) -> App:
    """MLflow's ASGI application, changed so. results: the page to open on, relative to the UI's address; "" for none.

    It is asked for at each visit: a training may have begun another data set since.
    """

    async def changed(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path == "/":
            script = _SCRIPT.replace("PAGE", json.dumps(results()).replace("<", "\\u003c"))
            headers = [pair for pair in scope["headers"] if not pair[0].startswith(b"if-")]  # never "not modified"
            change = _Changed(
                send, lambda page: page.replace(b"<head>", b"<head>" + script.encode(), 1).replace(*_VIEWPORT)
            )
            await app({**scope, "headers": headers}, receive, change)
        elif path.endswith(_ROUNDED) and not path.startswith("/api/"):
            await app(scope, receive, _Changed(send, _rounded))
        else:
            await app(scope, receive, send)

    return changed


class _Changed:
    """A `send` that keeps a response until it is whole, and sends on what a function makes of its body."""

    def __init__(self, send: Send, change: Callable[[bytes], bytes]) -> None:
        self._send, self._change = send, change
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = self._change(self._body) if self._start["status"] == 200 else self._body
        kept = [pair for pair in self._start["headers"] if pair[0].lower() not in _OF_THE_BODY]
        await self._send({**self._start, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
        await self._send({"type": "http.response.body", "body": body})


def _rounded(body: bytes) -> bytes:
    """A JSON document whose metrics have a few digits; any other as it is."""
    try:
        return json.dumps(json.loads(body, object_hook=_round)).encode()
    except ValueError:
        return body


def _round(found: dict[str, Any]) -> dict[str, Any]:
    """A metric has a key, a value and a step; of a parameter or a tag the value is text."""
    value = found.get("value")
    if "key" in found and isinstance(value, float) and not value.is_integer():
        found["value"] = float(f"{value:.{DIGITS}g}") if abs(value) < 10**DIGITS else round(value)
    return found
