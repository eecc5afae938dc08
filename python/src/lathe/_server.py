"""`lathe serve` inside a Python process."""
from __future__ import annotations

import sys

from . import _lathe
from ._llm import LLM, _path_of, adopt
from ._progress import Events

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any

    from ._progress import Progress

_GRACE_S = 30.0


class Server:
    """A server that answers as OpenAI's clients expect it, until it is stopped."""

    def __init__(self, own: _lathe.Server, llm: LLM, owns_llm: bool) -> None:
        self._own = own
        self._owns_llm = owns_llm
        self.llm = llm

    @property
    def url(self) -> str:
        """As "http://127.0.0.1:8000"; the API is below /v1."""
        return self._own.url

    @property
    def port(self) -> int:
        return self._own.port

    @property
    def running(self) -> bool:
        return self._own.running

    def stop(self, grace: float = _GRACE_S) -> bool:
        """Takes no new requests, waits for those that run, `grace` seconds at most, and ends. False: some were cut
        short. Closes the LLM that serve opened, but not one that it was given. Again: no effect."""
        finished = self._own.stop(float(grace))
        if self._owns_llm:
            self.llm.close()
        return finished

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<lathe.Server {self.url}: {'running' if self.running else 'stopped'}>"


def serve(model: LLM | str | os.PathLike[str], *, host: str | None = None, port: int | None = None,
          blocking: bool = False, progress: Progress = None, **settings: Any) -> Server:
    """Serves a model, or an LLM that goes on to be used beside it, over HTTP.

    port: 0 takes a free one; settings: those of `lathe serve`, by the names of docs/server-limits.md. Logs warnings to
    standard error, unless log_level says otherwise. blocking: serves until Ctrl-C or SIGTERM, and drains then.
    """
    settings = {"log_level": "info" if blocking else "warn", **settings, "host": host, "port": port}
    owns_llm = not isinstance(model, LLM)
    if isinstance(model, LLM):
        _lathe.check_server(settings)
        both = [name for name in _lathe.llm_settings() if settings.get(name) is not None]
        if both:
            raise TypeError(f"serve was given an LLM that is open already, so {both[0]} is for LLM(...)")
        llm = model
    else:
        path = _path_of(model)
        events = Events(progress, path)
        try:
            llm = adopt(_lathe.open_for_server({**settings, "model": path}, events), path)
        finally:
            events.resolved()
    try:
        server = Server(_lathe.Server.start(llm._engine, settings), llm, owns_llm)
    except BaseException:
        if owns_llm:
            llm.close()
        raise
    if blocking:
        server._own.run(lambda: print(f"lathe: serving {llm.info['name']} at {server.url}", file=sys.stderr))
        server.stop(0)
    return server
