"""Programs that a test starts: their output kept in a file, stopped by their own process group."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .waiting import until

TAIL = 6000


class Program:
    """One started program. Its standard output and error go to `log`."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        log: Path,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(argument) for argument in argv],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, also that of the program's process group."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """All that it has written so far."""
        return self.log.read_text(errors="replace")

    def tail(self) -> str:
        """The end of its output, for a failure's message."""
        return self.output()[-TAIL:]

    def write(self, line: str) -> None:
        """Write one line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send it one signal."""
        self._process.send_signal(number)

    def wait_for(self, pattern: str, timeout_s: float, after: int = 0) -> re.Match[str]:
        """The first match of `pattern` in its output from character `after`; fails when it ends without one."""

        def found() -> re.Match[str] | None:
            ended = self.exit_status is not None
            match = re.compile(pattern, re.MULTILINE).search(self.output(), after)
            assert match or not ended, f"{self.name} ended with {self.exit_status} before {pattern!r}:\n{self.tail()}"
            return match

        match = until(found, timeout_s, f"{self.name} to write {pattern!r}; its output ends:\n{self.tail()}")
        assert match is not None
        return match

    def wait(self, timeout_s: float) -> int:
        """Its exit status; AssertionError when it still runs after `timeout_s`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout_s:g} s:\n{self.tail()}") from None

    def stop(self, timeout_s: float = 5.0) -> int:
        """End it politely, then by force, with all that it started. Its exit status."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        return self._process.returncode


class Programs:
    """All programs of one test or module: started here, stopped together, newest first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[Program] = []

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Program:
        """Start a program; its log is a file of this directory."""
        number = sum(program.name == name for program in self.started)
        log = self.directory / f"{name}-{number}.log"
        program = Program(name, argv, log, cwd=cwd, env=env)
        self.started.append(program)
        return program

    def stop(self) -> None:
        """Stop all that still runs."""
        for program in reversed(self.started):
            program.stop()

    def report(self) -> str:
        """The end of every log, for a failed test."""
        return "\n".join(
            f"--- {program.name} (exit {program.exit_status})\n{program.tail()}" for program in self.started
        )
