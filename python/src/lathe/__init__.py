"""lathe compiles a large language model for the one machine that runs it, and serves it.

    import lathe
    print(lathe.LLM("models/tales-16m").generate("Once upon a time")[0].text)

docs/python.md has the rest.
"""
import atexit as _atexit

from . import _lathe
from ._build import BuildReport, build
from ._errors import (CancelledError, CorruptError, DeadlineExceededError, Error, InternalError, InvalidArgumentError,
                      IoError, MismatchError, NotFoundError, ResourceExhaustedError, UnavailableError, UnsupportedError)
from ._lathe import Chunk
from ._llm import LLM, Stream
from ._outputs import CompletionOutput, EmbeddingOutput, Logprob, RequestMetrics, RequestOutput
from ._sampling import SamplingParams
from ._server import Server, serve
from ._tokenizer import Tokenizer

__all__ = [
    "LLM", "BuildReport", "CancelledError", "Chunk", "CompletionOutput", "CorruptError", "DeadlineExceededError",
    "EmbeddingOutput", "Error", "InternalError", "InvalidArgumentError", "IoError", "Logprob", "MismatchError",
    "NotFoundError", "RequestMetrics", "RequestOutput", "ResourceExhaustedError", "SamplingParams", "Server", "Stream",
    "Tokenizer", "UnavailableError", "UnsupportedError", "__version__", "build", "serve"]

__version__: str = getattr(_lathe, "__version__")  # noqa: B009

# Engines have threads, which must end before the interpreter does. The last registered is called first.
_atexit.register(_lathe.close_all)
_atexit.register(_lathe.stop_all_servers)
