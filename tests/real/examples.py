"""The numbered examples, followed as their first comment tells: what is to be tried there is run here, and what is said to
come of it has to.

    // What the example is about.
    //
    //     curl http://127.0.0.1:8080/a                # 200 "hello": explained for people
    //     curl http://127.0.0.1:8080/b
    //         # refused

Behind "#" stands the status of the answer, and what is printed, in quotes; or "refused", where no answer comes. A command of
which nothing is said has to succeed. Commands run in an empty folder, one after another, and the example runs from before the
first of them, unless a line has its name. What ends in "&" is waited for until it listens, and ends in order afterwards.

Examples listen where people look for them. Where the system allows it they have a network of their own here, so that their
ports are free whatever runs beside; otherwise the machine's has to do.
"""

import collections
import fcntl
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

from _peers import BIN, PATIENCE, Folder, Test, wait_for

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
UNSHARE = ["unshare", "--map-root-user", "--net"]
OWN_NETWORK = os.environ.get("RELAIS_OWN_NETWORK") == "1"
CURLRC = 'silent\nshow-error\nnoproxy = "*"\nmax-time = 30\nwrite-out = "\\nstatus %{http_code}\\n"\n'
OUTCOME = re.compile(r'(?P<status>\d{3})? ?(?P<texts>("[^"]*" ?)*)(?P<refused>refused)?(: .*)?')
NO_ANSWER = (35, 52, 56)  # how curl ends where a connection was closed, or reset, before an answer came

Step = collections.namedtuple("Step", "command outcome")


def steps_of(comment):
    """What the first comment of an example has one try."""
    lines = []
    for line in comment.splitlines():
        if not (indented := re.fullmatch(r"// {5,}(\S.*)", line)):
            continue
        if indented[1].startswith("# "):
            lines[-1] += " " + indented[1]
        else:
            lines.append(indented[1])
    return [Step(command.strip(), outcome.strip()) for command, _, outcome in (line.partition(" # ") for line in lines)]


class Background:
    """A command that goes on while others run, once it listens."""

    def __init__(self, command, folder, environment):
        self._command = command
        self._ours = command.split()[0][0].isdigit()
        self._out = tempfile.TemporaryFile("w+")
        self._errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(["sh", "-c", "exec " + command], cwd=folder, env=environment, stdout=self._out,
                                        stderr=self._errors, stdin=subprocess.DEVNULL)
        self._proc = pathlib.Path(f"/proc/{self.process.pid}")
        try:
            wait_for(self._there, f"{command} listens")
        except AssertionError:
            self.process.kill()
            self.process.wait()
            raise

    def _said(self):
        return os.pread(self._errors.fileno(), 1 << 20, 0).decode()

    def _there(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self._command} has ended with {self.process.returncode}: {self._said()}")
        if not self._listens():
            return False
        if not self._ours:
            return True
        # A server has threads once it listens everywhere; what it tells others in a file comes behind that.
        out = os.stat(self._proc / "fd" / "1")
        return len(os.listdir(self._proc / "task")) > 1 and (">" not in self._command or out.st_size > 0)

    def _listens(self):
        inodes = set()
        for table in ("tcp", "tcp6"):
            for line in (self._proc / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    inodes.add(f"socket:[{fields[9]}]")
        try:
            return any(os.readlink(fd) in inodes for fd in (self._proc / "fd").iterdir())
        except FileNotFoundError:  # closed meanwhile
            return False

    def close(self):
        status = (self._proc / "status").read_text() if self.process.poll() is None else ""
        catches = re.search(r"SigCgt:\s+(\w+)", status)
        if catches and (not self._ours or int(catches[1], 16) & 1 << (signal.SIGTERM - 1)):
            self.process.terminate()
        try:
            ended = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            ended = f"{self.process.wait()}, after it did not end by itself"
        said = self._said()
        self._out.close()
        self._errors.close()
        if self._ours and (ended != 0 or said):
            raise AssertionError(f"{self._command} ended with {ended} and said: {said[:4000]}")


class Examples(Test):
    def follow(self, source):
        comment = source.read_text().partition("\n#include")[0]
        steps = steps_of(comment)
        self.assertTrue(steps, f"{source.name} does not say what to try")
        if "as root" in comment and not OWN_NETWORK and os.geteuid() != 0:
            self.skipTest("neither root nor allowed to have a network of its own")
        folder, settings = self.opened(Folder()), self.opened(Folder())
        (settings.path / ".curlrc").write_text(CURLRC)
        environment = os.environ | {"PATH": f"{BIN.resolve()}:{os.environ['PATH']}", "CURL_HOME": str(settings.path)}
        if not any(step.command.split()[0] == source.stem for step in steps):
            steps.insert(0, Step(source.stem + " &", ""))
        for step in steps:
            if step.command.endswith("&"):
                self.opened(Background(step.command.rstrip("& "), folder.path, environment))
            else:
                self.run_step(step, folder.path, environment)

    def run_step(self, step, folder, environment):
        expected = OUTCOME.fullmatch(step.outcome)
        self.assertTrue(expected, f"what is to come of it is not to be understood: {step}")
        done = subprocess.run(["sh", "-c", step.command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=2 * PATIENCE)
        what = f"{step.command} ended with {done.returncode} and printed:\n{done.stdout}"
        if expected["refused"]:
            self.assertIn(done.returncode, NO_ANSWER, what)
        else:
            self.assertEqual(done.returncode, 0, what)
        if expected["status"]:
            self.assertEqual(re.findall(r"^status (\d+)$", done.stdout, re.M)[-1:], [expected["status"]], what)
        for text in re.findall(r'"([^"]*)"', expected["texts"]):
            self.assertIn(text, done.stdout, what)

    def test_what_the_readme_shows_of_a_wrong_start(self):
        done = subprocess.run([BIN.resolve() / "1_wss_and_site"], cwd=self.opened(Folder()).path, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"\Arelais: [^\n]+\n\Z")
        self.assertIn(f"```text\n{done.stderr}```", (EXAMPLES.parent / "README.md").read_text())

    def test_the_notation(self):
        comment = '// a\n//\n//     b -c  # 200 "d": e\n//     f\n//         # refused\n//     g &\n'
        self.assertEqual(steps_of(comment), [Step("b -c", '200 "d": e'), Step("f", "refused"), Step("g &", "")])
        for wrong in ("20 x", "200 d", '"a" b', "refused by x"):
            self.assertIsNone(OUTCOME.fullmatch(wrong), wrong)


def add_test(source):
    setattr(Examples, f"test_{source.stem}", lambda self: self.follow(source))


for found in sorted(EXAMPLES.glob("*.cpp")):
    add_test(found)


def enter_own_network():
    """Goes on in a network that has nothing but a loopback interface, where that is allowed."""
    if not OWN_NETWORK:
        if subprocess.run([*UNSHARE, "true"], stderr=subprocess.DEVNULL).returncode == 0:
            os.environ["RELAIS_OWN_NETWORK"] = "1"
            os.execvp(UNSHARE[0], [*UNSHARE, sys.executable, *sys.argv])
        return
    with socket.socket() as any_socket:
        up = struct.pack("16sh14x", b"lo", 1)  # IFF_UP
        fcntl.ioctl(any_socket, 0x8914, up)  # SIOCSIFFLAGS


if __name__ == "__main__":
    enter_own_network()
    unittest.main()
