"""One interpreter that forks for every task it is asked for, and kills it when it is told to.

Importing numpy, FAISS and h5py takes a second, a fork a millisecond. The server has one thread for as long as it
lives: a fork copies no other.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_BEAT = b"."
Task = Callable[..., Any]


class ForkServer:
    """Starts a script that calls `serve`, and asks it; a context manager."""

    def __init__(self, script: Path) -> None:
        command = [sys.executable, "-W", "error", str(script)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, **pipes, text=True, env={**os.environ, **ONE_THREAD})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def ask(self, task: str, kill: tuple[int, float, int] | None = None, **arguments: Any) -> dict[str, Any]:
        """Run a task in a fork.

        Args:
            kill: send a signal so many seconds after so many beats of the task: (beats, seconds, signal).

        Returns:
            status: the exit status, negative after a signal. error: the names of what was raised and of its bases,
            nearest first. message. answer: what the task returned.
        """
        request = {"task": task, "kill": kill, "arguments": arguments}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve(tasks: dict[str, Task]) -> None:
    """Answer requests until there are no more. A task is called with its arguments and `beat`, to be called often."""
    assert len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
    for line in sys.stdin:
        print(json.dumps(_in_fork(tasks, json.loads(line))), flush=True)


def _in_fork(tasks: dict[str, Task], request: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, json.dumps(_answer(tasks, request, writing)).encode())
        os._exit(0)  # nothing of the server's is closed or flushed twice
    os.close(writing)
    with open(reading, "rb", buffering=0) as pipe:  # noqa: PTH123
        head = b"" if request["kill"] is None else _kill(child, pipe, *request["kill"])
        said = (head + pipe.readall()).lstrip(_BEAT)
    _, status = os.waitpid(child, 0)
    return {"status": os.waitstatus_to_exitcode(status)} | (json.loads(said) if said.endswith(b"}") else {})


def _kill(child: int, pipe: Any, beats: int, seconds: float, number: int) -> bytes:
    """Wait for the beats and the seconds, and strike; one that ends before is left alone. What was read last."""
    head = _BEAT
    while beats and head == _BEAT:
        head = pipe.read(1)
        beats -= 1
    if head == _BEAT:
        time.sleep(seconds)
        os.kill(child, number)  # a child that has ended meanwhile is still there to be waited for
    return head


def _answer(tasks: dict[str, Task], request: dict[str, Any], writing: int) -> dict[str, Any]:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with ctrl-C ignored
    try:
        answer = tasks[request["task"]](beat=lambda: os.write(writing, _BEAT), **request["arguments"])
    except BaseException as error:
        names = [kind.__name__ for kind in type(error).__mro__]
        return {"error": names, "message": str(error), "trace": traceback.format_exc()}
    return {"answer": answer}
