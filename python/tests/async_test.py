"""Streaming in event loops."""
import asyncio
import gc

import lathe
import pytest
from conftest import eventually

PROMPT = "Once upon a time"


async def collect(stream):
    return [chunk async for chunk in stream]


def test_chunks_add_up(idle):
    expected = idle.generate(PROMPT, temperature=0, max_tokens=40)[0]

    async def run():
        stream = idle.astream(PROMPT, temperature=0, max_tokens=40)
        assert stream.output is None
        chunks = await collect(stream)
        assert "".join(chunk.text for chunk in chunks) == expected.text and chunks[-1].last
        assert stream.output.outputs == expected.outputs
        assert await collect(stream) == []
    asyncio.run(run())


def test_many_at_once_in_several_loops(idle):
    """Every stream gets its own answer, whatever runs beside it; each loop has its own channel."""
    prompts = [f"Story number {i}" for i in range(24)]
    expected = [output.text for output in idle.generate(prompts, temperature=0, max_tokens=16)]

    async def one(prompt):
        return "".join([chunk.text async for chunk in idle.astream(prompt, temperature=0, max_tokens=16)])

    async def run():
        return await asyncio.gather(*(one(prompt) for prompt in prompts))
    for _ in range(2):
        assert asyncio.run(run()) == expected


def test_generate_chat_and_embed(idle):
    async def run():
        outputs, chat, embedded = await asyncio.gather(
            idle.agenerate([PROMPT, "The king"], temperature=0, max_tokens=10),
            idle.achat([{"role": "user", "content": "Hi"}], temperature=0, max_tokens=10),
            idle.aembed(PROMPT))
        assert outputs == await idle.agenerate([PROMPT, "The king"], temperature=0, max_tokens=10) or [
            output.text for output in outputs]
        return [output.text for output in outputs], chat.text, embedded[0].embedding
    texts, chat, embedding = asyncio.run(run())
    assert texts == [output.text for output in idle.generate([PROMPT, "The king"], temperature=0, max_tokens=10)]
    assert chat == idle.chat([{"role": "user", "content": "Hi"}], temperature=0, max_tokens=10)[0].text
    assert embedding == idle.embed(PROMPT)[0].embedding


def test_cancelled_tasks_cancel_their_requests(idle):
    before = idle.stats()["cancelled"]

    async def run():
        async def read():
            async for _ in idle.astream(PROMPT, max_tokens=500, ignore_eos=True):
                started.set()
        started = asyncio.Event()
        tasks = [asyncio.create_task(read()),
                 asyncio.create_task(idle.agenerate([PROMPT] * 2, max_tokens=500, ignore_eos=True))]
        await started.wait()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 2
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(idle.agenerate(PROMPT, max_tokens=500, ignore_eos=True), 0.05)
    asyncio.run(run())
    eventually(lambda: idle.stats()["cancelled"] >= before + 4)


def test_leaving_the_loop_cancels(idle):
    before = idle.stats()["cancelled"]

    async def run():
        async for _ in idle.astream(PROMPT, max_tokens=500, ignore_eos=True):
            break
        gc.collect()
        async with idle.astream(PROMPT, max_tokens=500, ignore_eos=True) as stream:
            await stream.__anext__()
    asyncio.run(run())
    eventually(lambda: idle.stats()["cancelled"] >= before + 2)


def test_the_loop_goes_on_meanwhile(idle):
    async def run():
        turns = 0
        task = asyncio.create_task(idle.agenerate(PROMPT, max_tokens=300, ignore_eos=True))
        while not task.done():
            await asyncio.sleep(0.001)
            turns += 1
        return turns
    assert asyncio.run(run()) > 5


def test_a_long_prompt_is_no_work_for_the_loop(idle):
    async def run():
        with pytest.raises(lathe.InvalidArgumentError, match="context"):
            await idle.agenerate("word " * 50000, max_tokens=4)
    asyncio.run(run())


def test_faults(idle):
    async def run():
        with pytest.raises(lathe.InvalidArgumentError, match="prompt\\[0\\] must be a whole number, but is 'x'"):
            await collect(idle.astream(["x"]))
        with pytest.raises(lathe.InvalidArgumentError, match="top_p must be in"):
            idle.astream(PROMPT, top_p=2)
    asyncio.run(run())
