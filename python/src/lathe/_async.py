"""Answers in an event loop. Imported when the first is wanted: asyncio takes longer to import than the rest."""
from __future__ import annotations

import asyncio
import weakref

from . import _lathe
from ._outputs import RequestOutput, output_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_LONG_TEXT = 1 << 15  # characters from which tokenizing is no work for a loop's thread


class Channel:
    """The mailbox of an event loop. All requests of the loop, whatever their LLM, share it: the engine's thread wakes
    the loop once for all that a step has brought. It lives as long as the loop, which watches its descriptor."""

    _of: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Channel] = weakref.WeakKeyDictionary()

    def __init__(self) -> None:
        self.mailbox = _lathe.Mailbox.create(True)
        self.waiters: dict[int, asyncio.Future[None]] = {}

    @classmethod
    def current(cls) -> Channel:
        loop = asyncio.get_running_loop()
        channel = cls._of.get(loop)
        if channel is None:
            channel = cls._of[loop] = cls()
            loop.add_reader(channel.mailbox.descriptor, channel.wake)
        return channel

    def wake(self) -> None:
        waiters = self.waiters
        for key in self.mailbox.take():
            waiter = waiters.pop(key, None)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)


async def submit(prompt: object, call: Callable[[object, _lathe.Mailbox], _lathe.Request],
                 mailbox: _lathe.Mailbox) -> _lathe.Request:
    """`call`, on another thread when the prompt is long."""
    if isinstance(prompt, str) and len(prompt) > _LONG_TEXT:
        return await asyncio.get_running_loop().run_in_executor(None, call, prompt, mailbox)
    return call(prompt, mailbox)


class AsyncStream:
    """The chunks of an answer: `async for chunk in stream`. Leaving the loop, or cancelling the task, cancels it."""

    def __init__(self, start: Callable[[_lathe.Mailbox], Awaitable[tuple[_lathe.Request, str | None]]]) -> None:
        self._start = start  # makes the request
        self._request: _lathe.Request | None = None
        self._channel: Channel | None = None
        self._prompt: str | None = None
        self._ended = False

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> _lathe.Chunk:
        if self._ended:
            raise StopAsyncIteration
        request, channel = self._request, self._channel
        if request is None or channel is None:
            channel = self._channel = Channel.current()
            request, self._prompt = await self._start(channel.mailbox)
            self._request = request
        try:
            while (chunk := request.next()) is None:
                waiter = asyncio.get_running_loop().create_future()
                channel.waiters[request.key] = waiter
                await waiter
        except BaseException:
            self._ended = True
            channel.waiters.pop(request.key, None)
            request.cancel()
            raise
        if chunk.last:
            self._ended = True
        return chunk

    async def aclose(self) -> None:
        """Cancels what still runs."""
        self._ended = True
        if self._request is not None:
            self._request.cancel()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    @property
    def output(self) -> RequestOutput | None:
        """All that has come so far; None before the first chunk."""
        return output_of(self._request, self._prompt) if self._request is not None else None


async def wait_all(requests: list[_lathe.Request], channel: Channel) -> None:
    """Until all have ended; cancels them when the task is."""
    try:
        for request in requests:
            while not request.ended:
                waiter = asyncio.get_running_loop().create_future()
                channel.waiters[request.key] = waiter
                await waiter
    except BaseException:
        for request in requests:
            channel.waiters.pop(request.key, None)
            request.cancel()
        raise
