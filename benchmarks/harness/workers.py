"""Long-lived Pythons in which single calls are measured, without start and imports."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from benchmarks.harness import Run, python

#: Expressions come in as lines, times go out as lines; what the calls print goes to stderr.
_LOOP = """
import gc, json, os, sys, time
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
{setup}
for _line in sys.stdin:
    _code = compile(json.loads(_line), "expression", "eval")
    gc.collect()
    _wall, _cpu = time.perf_counter(), time.process_time()
    _value = eval(_code)
    print(time.perf_counter() - _wall, time.process_time() - _cpu, file=_answers, flush=True)
    del _value
"""


class Worker:
    """A Python that has run *setup*, and then evaluates and times what it is given."""

    def __init__(
        self,
        setup: str,
        env: Mapping[str, str],
        wrapped: Callable[..., Sequence[str]] = lambda *command: command,
    ) -> None:
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  # Until __exit__.
        self._process = subprocess.Popen(
            wrapped(*python(_LOOP.format(setup=setup))),
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
        self._said.close()

    def timed(self, expression: str) -> Run:
        """Evaluate *expression* and return how long that took.

        Raises:
            RuntimeError: it failed; the message ends with what the process wrote.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(expression), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            self._said.seek(0)
            raise RuntimeError(f"{expression} failed:\n{self._said.read()[-2000:]}")
        wall, cpu = map(float, answer.split())
        return Run(wall, cpu)
