"""The program of examples/gateway, as it is started on a command line."""

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

from _peers import BIN, LOCAL, PATIENCE, wait_for

PROGRAM = str(BIN / "gateway")
LINE = re.compile(r'127\.0\.0\.1 - - \[[^]]+\] "[^"]*" \d{3} \d+ "[^"]*" "[^"]*" \d+\.\d{3} [a-z_]+'
                  r'( upstream=\S+ tries=\d+ connect=\d+\.\d{3} first=\d+\.\d{3} total=\d+\.\d{3})?')


class Program:
    """The example gateway at a terminal, up to its end; `printed()` is its standard output."""

    def __init__(self, *options, listen=f"{LOCAL}:0"):
        self._out = tempfile.TemporaryFile("w+")
        self._errors = tempfile.TemporaryFile("w+")
        self._terminal, theirs = os.openpty()
        self.process = subprocess.Popen([PROGRAM, "--listen", listen, *options], stdin=theirs, stdout=self._out,
                                        stderr=self._errors, start_new_session=True)
        os.close(theirs)
        try:
            wait_for(self._there, "the gateway says where it listens")
        except AssertionError:
            self.process.kill()
            raise

    def _there(self):
        if self.process.poll() is not None:
            raise AssertionError("the gateway did not start: " + self.said())
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        catches = int(re.search(r"SigCgt:\s+(\w+)", status).group(1), 16)
        return "Ctrl-C ends it" in self.printed() and catches & (1 << (signal.SIGINT - 1))

    @property
    def url(self):
        return f"https://localhost:{self.port}"

    @property
    def port(self):
        return int(re.search(r"(?:localhost|127\.0\.0\.1|\[::1?\]):(\d+)", self.printed()).group(1))

    def printed(self):
        return os.pread(self._out.fileno(), 1 << 20, 0).decode()

    def said(self):
        return os.pread(self._errors.fileno(), 1 << 20, 0).decode()

    def log(self):
        """The lines of the access log."""
        return [line for line in self.printed().splitlines() if LINE.fullmatch(line)]

    def logged(self, text):
        return wait_for(lambda: [line for line in self.log() if text in line], f"{text} is in the log")[0]

    def end(self, with_signal=signal.SIGINT):
        """(exit status, seconds until it had ended)"""
        began = time.monotonic()
        self.process.send_signal(with_signal)
        status = self.process.wait(PATIENCE)
        return status, time.monotonic() - began

    def close(self):
        if self.process.poll() is None:
            self.end()
        status, said = self.process.returncode, self.said()
        self._out.close()
        self._errors.close()
        os.close(self._terminal)
        if status != 0 or said:
            raise AssertionError(f"the gateway ended with {status} and said: {said!r}")
