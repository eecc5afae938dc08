"""The package's types, as mypy sees them from outside."""
import subprocess
import sys

USE = '''
import asyncio
import lathe

llm = lathe.LLM("m", threads=2)
text: str = llm.generate("Once", temperature=0.5)[0].text
for chunk in llm.stream([1, 2], lathe.SamplingParams(stop=["x"])):
    piece: str = chunk.text
    reason: str | None = chunk.finish_reason

async def run() -> float:
    async for chunk in llm.astream("Once"):
        piece: str = chunk.text
    outputs = await llm.agenerate(["a", "b"], n=2)
    return outputs[0].metrics.first_token

ids: list[int] = llm.tokenizer.encode("x")
with lathe.serve(llm, port=0) as server:
    url: str = server.url
report: lathe.BuildReport = lathe.build("m", "x.lathe", progress=lambda stage, done, total: None)
message: dict[str, object] = llm.chat([{"role": "user", "content": "Hi"}])[0].message
'''

WRONG = '''
import lathe
lathe.LLM(5).generate("Once")[0].txt
lathe.SamplingParams(temperature="hot")
'''


def mypy(tmp_path, text, *flags):
    file = tmp_path / "use.py"
    file.write_text(text)
    return subprocess.run([sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), *flags, str(file)],
                          capture_output=True, text=True, cwd=tmp_path)


def test_types(tmp_path):
    done = mypy(tmp_path, USE)
    assert done.returncode == 0, done.stdout + done.stderr
    done = mypy(tmp_path, WRONG)
    assert done.stdout.count("error:") == 3, done.stdout + done.stderr


def test_the_package_itself(tmp_path):
    done = subprocess.run([sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "-p", "lathe"],
                          capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
