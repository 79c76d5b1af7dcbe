"""Real peers: the gateway under test, nginx, curl, OpenSSL, and sockets that say exactly what a test wants them to say."""

import asyncio
import collections
import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import unittest

SANITIZED = os.environ.get("RELAIS_SANITIZED") == "1"
BIN = pathlib.Path(os.environ.get("RELAIS_BIN", "build/dev/bin"))
NGINX = os.environ.get("RELAIS_NGINX") or shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") or "nginx"
PATIENCE = 30  # seconds after which a test has failed; nothing takes so long
LOCAL = "127.0.0.1"


def wait_for(condition, what, patience=PATIENCE):
    """Asks again until it is so."""
    end = time.monotonic() + patience
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience} s: {what}")
        time.sleep(0.01)


def free_port():
    with socket.socket() as s:
        s.bind((LOCAL, 0))
        return s.getsockname()[1]


class Folder:
    """A temporary folder, below a name that is short enough for Unix sockets."""

    def __init__(self):
        self._made = tempfile.TemporaryDirectory(prefix="relais-")
        self.path = pathlib.Path(self._made.name)

    def close(self):
        self._made.cleanup()


def to_word(value):
    return ",".join(str(v) for v in value) if isinstance(value, (tuple, list)) else str(value)


class Gateway:
    """The program of test_gateway.cpp. Options are its words, with "_" for "-"; a list gives a word several times.

    `passed` is a listening socket that it gets as a service manager passes it, under the name "web"; `notified` the path of the
    socket to which it tells how it is, every `watchdog` seconds too.
    """

    def __init__(self, http="127.0.0.1:0", passed=None, notified=None, watchdog=None, **options):
        words = []
        for name, values in ({"http": http or []} | options).items():
            for value in values if isinstance(values, list) else [values]:
                words.append(f"{name.replace('_', '-')}={to_word(value)}")
        self.errors = tempfile.TemporaryFile("w+")
        command, environment, more = [str(BIN / "real_test_gateway"), *words], dict(os.environ), {}
        if notified:
            environment["NOTIFY_SOCKET"] = str(notified)
        if watchdog:
            environment["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        if passed:
            environment.update(LISTEN_FDS="1", LISTEN_FDNAMES="web")
            command = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *command]
            more = {"pass_fds": (3,), "preexec_fn": lambda: os.dup2(passed.fileno(), 3)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, env=environment, **more)
        self.ports = collections.defaultdict(list)
        while (line := self.process.stdout.readline().strip()) != "ready":
            if not line:
                with self.process, self.errors:
                    raise AssertionError("the gateway did not start: " + self.said())
            name, where = line.split()
            port = where.rpartition(":")[2]
            self.ports[name].append(int(port) if port.isdigit() else port)

    @property
    def pid(self):
        return self.process.pid

    @property
    def port(self):
        return self.ports["http"][0]

    @property
    def tls_port(self):
        return self.ports["https"][0]

    def url(self, path="/"):
        return f"http://{LOCAL}:{self.port}{path}"

    def dial(self, name="http", **options):
        return Wire.dial(self.ports[name][0], **options)

    def connections(self):
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self):
        """KiB that are resident."""
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))

    def said(self):
        return os.pread(self.errors.fileno(), 1 << 20, 0).decode()  # the gateway writes where a seek would lead

    def terminate(self):
        """SIGTERM; the seconds until it has ended."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(PATIENCE)
        return time.monotonic() - began

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = "did not end after SIGTERM"
        said = self.said()
        self.errors.close()
        self.process.stdin.close()
        self.process.stdout.close()
        if status != 0 or said:
            raise AssertionError(f"the gateway ended with {status} and said: {said!r}")


class Wire:
    """A socket that is read and written byte by byte, and understands HTTP/1.1 strictly."""

    def __init__(self, s):
        self.socket = s
        self.buffer = b""

    @classmethod
    def dial(cls, where, receive_buffer=None, patience=PATIENCE):
        """`where` is a port, or the path of a Unix socket."""
        is_port = isinstance(where, int)
        s = socket.socket(socket.AF_INET if is_port else socket.AF_UNIX)
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.settimeout(patience)
        try:
            s.connect((LOCAL, where) if is_port else str(where))
        except OSError:
            s.close()
            raise
        if is_port:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(s)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes with a reset in the place of an orderly end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def end(self):
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        return self

    def send_single_bytes(self, data):
        for i in range(len(data)):
            self.socket.sendall(data[i:i + 1])

    def more(self):
        """Whether there was more; what came is in the buffer."""
        got = self.socket.recv(1 << 16)
        self.buffer += got
        return bool(got)

    def read(self, count):
        parts, have = [self.buffer], len(self.buffer)
        while have < count:
            got = self.socket.recv(min(1 << 20, max(count - have, 1 << 12)))
            if not got:
                self.buffer = b"".join(parts)
                raise EOFError(f"the end came after {have} of {count} bytes: {self.buffer[:200]!r}")
            parts.append(got)
            have += len(got)
        data = b"".join(parts)
        self.buffer = data[count:]
        return data[:count]

    def read_until(self, mark):
        while mark not in self.buffer:
            if not self.more():
                raise EOFError(f"the end came before {mark!r}: {self.buffer[:200]!r}")
        data, _, self.buffer = self.buffer.partition(mark)
        return data + mark

    def rest(self):
        """Everything up to an orderly end."""
        parts = [self.buffer]
        while got := self.socket.recv(1 << 16):
            parts.append(got)
        self.buffer = b""
        return b"".join(parts)

    def ends(self):
        """Whether nothing more comes but the end. A reset is one too."""
        try:
            return self.rest() == b""
        except ConnectionResetError:
            return True

    def is_quiet(self, seconds):
        """Whether neither a byte nor the end comes for a while."""
        return not self.buffer and not select.select([self.socket], [], [], seconds)[0]

    def head(self):
        """(start line, fields) of a message; fields is a list of (lower-case name, value)."""
        lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        fields = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            assert colon and name == name.strip(), f"no field: {line!r}"
            fields.append((name.lower(), value.strip()))
        return lines[0], Fields(fields)

    def chunk(self):
        """The data of the next chunk; empty after the last one."""
        size = int(self.read_until(b"\r\n").strip(), 16)
        if size == 0:
            while (line := self.read_until(b"\r\n")) != b"\r\n":
                raise AssertionError(f"a trailer: {line!r}")
            return b""
        data = self.read(size)
        assert self.read(2) == b"\r\n", "chunk without its end"
        return data

    def chunked(self):
        return b"".join(iter(self.chunk, b""))

    def body(self, fields, until_close=False):
        if "transfer-encoding" in fields:
            assert fields.all("transfer-encoding") == ["chunked"] and "content-length" not in fields, fields
            return self.chunked()
        if "content-length" in fields:
            assert len(fields.all("content-length")) == 1, fields
            return self.read(int(fields["content-length"]))
        return self.rest() if until_close else b""

    def response(self, method="GET", interim=False):
        """The next response; interim ones are left out unless they are asked for."""
        while True:
            line, fields = self.head()
            version, status, *_ = line.split(" ")
            answer = Response(version, int(status), fields, b"")
            if answer.status < 200 and answer.status != 101:
                if interim:
                    return answer
                continue
            if method != "HEAD" and answer.status not in (101, 204, 304):
                answer = answer._replace(body=self.body(fields, True))
            return answer

    def request(self):
        """The next request, as an upstream reads it: (request line, fields, body)."""
        line, fields = self.head()
        return line, fields, self.body(fields)


class Fields(list):
    def __contains__(self, name):
        return any(n == name for n, _ in self)

    def __getitem__(self, key):
        if isinstance(key, str):
            return next((v for n, v in self if n == key), "")
        return super().__getitem__(key)

    def all(self, name):
        return [v for n, v in self if n == name]


Response = collections.namedtuple("Response", "version status fields body")


class Upstream:
    """A server that does with each connection what `serve(wire)` says, each in a thread of its own."""

    def __init__(self, serve):
        self._serve = serve
        self._listening = socket.socket()
        self._listening.bind((LOCAL, 0))
        self._listening.listen(1024)
        self.port = self._listening.getsockname()[1]
        self.accepted = 0
        self.failures = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def where(self):
        return f"{LOCAL}:{self.port}"

    @property
    def url(self):
        return f"http://{self.where}"

    def _accept(self):
        while True:
            try:
                s, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            s.settimeout(PATIENCE)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._run, args=(Wire(s),), daemon=True).start()

    def _run(self, wire):
        with wire:
            try:
                self._serve(wire)
            except (EOFError, ConnectionError):
                pass  # the other side left
            except Exception as error:
                self.failures.append(error)

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        if self.failures:
            raise self.failures[0]


class Nginx:
    """An origin in a folder of its own: files under /, PUT under /put/, `see` tells what came.

    `more` is put into the block of http; @PORT@ in it is the port on which the origin listens.
    """

    CONF = """
        daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log info;
        events { worker_connections 8192; }
        http {
            client_body_temp_path temp/body; proxy_temp_path temp/proxy; fastcgi_temp_path temp/fastcgi;
            uwsgi_temp_path temp/uwsgi; scgi_temp_path temp/scgi;
            keepalive_requests 1000000; keepalive_timeout 600s; default_type application/octet-stream;
            types { text/plain txt; text/html html; }
            log_format seen escape=json '{"connection": $connection, "nth": $connection_requests, "status": $status,'
                ' "request": "$request", "host": "$http_host", "te": "$http_transfer_encoding",'
                ' "length": "$http_content_length", "expect": "$http_expect", "forwarded": "$http_forwarded",'
                ' "via": "$http_via", "xff": "$http_x_forwarded_for", "tls": "$ssl_protocol"}';
            access_log access.log seen;
            large_client_header_buffers 4 64k; client_max_body_size 0; server_tokens off; absolute_redirect off;
            server {
                listen 127.0.0.1:@PORT@; @TLS@
                root html;
                location /put/ { dav_methods PUT DELETE; create_full_put_path on; }
                location /small/ { client_max_body_size 1k; dav_methods PUT; create_full_put_path on; }
                location /swap/ {
                    client_body_in_file_only on; client_body_buffer_size 1m; proxy_pass http://127.0.0.1:@PLAIN@/;
                    proxy_method GET; proxy_set_body ""; proxy_set_header Content-Length ""; proxy_buffering off;
                    add_header X-Body-File $request_body_file; add_header X-Body-Length $content_length;
                }
                location /included/ { ssi on; ssi_types *; alias html/; }
                location /squeezed/ { gzip on; gzip_min_length 1; gzip_types text/plain; alias html/; }
                location /moved { return 302 /a.txt; }
                location /away { return 301 https://elsewhere.example/x?y=z; }
                location /cookies { add_header Set-Cookie "a=1; Path=/"; add_header Set-Cookie "b=2"; return 200 "two"; }
                location /nothing { return 204; }
                location /see {
                    default_type application/json;
                    return 200 '@SEE@';
                }
            }
            @MORE@
        }
        """
    SEEN = ("host", "x_forwarded_for", "x_forwarded_proto", "x_forwarded_host", "x_forwarded_port", "x_real_ip",
            "forwarded", "connection", "upgrade", "te", "trailer", "keep_alive", "proxy_connection", "proxy",
            "cookie", "user_agent", "x_custom", "x_nominated", "authorization", "transfer_encoding",
            "content_length", "max_forwards", "accept_encoding", "proxy_authorization")

    def __init__(self, certificate=None, more=""):
        self._folder = Folder()
        self._more = more
        self.path = self._folder.path
        (self.path / "html").mkdir()
        (self.path / "temp").mkdir()
        os.chmod(self.path, 0o755)
        self.certificate = certificate
        for _ in range(5):
            if self._start():
                return
        raise AssertionError(f"{NGINX} does not start: " + (self.path / "error.log").read_text())

    def _start(self):
        self.port = free_port()
        plain = free_port() if self.certificate else self.port
        see = json.dumps({name: f"$http_{name}" for name in self.SEEN} | {
            "method": "$request_method", "uri": "$request_uri", "protocol": "$server_protocol"})
        conf = self.CONF
        if self.certificate:
            chain, key = self.certificate
            conf = conf.replace("listen 127.0.0.1:@PORT@;", "listen 127.0.0.1:@PORT@ ssl; listen 127.0.0.1:@PLAIN@;")
            conf = conf.replace("@TLS@", f"ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;")
        conf = (conf.replace("@MORE@", self._more).replace("@SEE@", see).replace("@PORT@", str(self.port))
                .replace("@PLAIN@", str(plain)).replace("@TLS@", ""))
        (self.path / "nginx.conf").write_text(conf, encoding="latin-1")
        self.process = subprocess.Popen([NGINX, "-p", str(self.path), "-e", "error.log", "-c", "nginx.conf"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def there():
            if self.process.poll() is not None:
                return True
            with contextlib.suppress(OSError), socket.create_connection((LOCAL, self.port)):
                return True
        wait_for(there, "nginx listens")
        return self.process.poll() is None

    @property
    def url(self):
        return f"{'https' if self.certificate else 'http'}://{LOCAL}:{self.port}"

    def file(self, name, content):
        where = self.path / "html" / name
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(content)
        return where

    def log(self):
        text = (self.path / "access.log").read_text()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def clear_log(self):
        with open(self.path / "access.log", "r+") as log:
            log.truncate()

    def logged(self, count):
        """The log, once it has so many lines; more are a failure."""
        lines = wait_for(lambda: len(self.log()) >= count and self.log(), f"nginx has logged {count} requests")
        assert len(lines) == count, lines
        return lines

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        self._folder.close()


def curl(*arguments, data=None, check=True):
    """Standard output of curl, as bytes."""
    done = subprocess.run(["curl", "-sS", "--noproxy", "*", "--max-time", "60", *map(str, arguments)], input=data,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if check and done.returncode != 0:
        raise AssertionError(f"curl ended with {done.returncode}: {done.stderr.decode()}")
    return done.stdout if check else done


class Loop:
    """An event loop in a thread, for servers and clients of `websockets`."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, awaitable, patience=60):
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result(patience)

    def close(self):
        async def stop():
            mine = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in mine:
                task.cancel()
            await asyncio.gather(*mine, return_exceptions=True)
        self.run(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Test(unittest.TestCase):
    """Closes what a test or its class has opened, the last first, and tells when that failed."""

    maxDiff = 4000

    def opened(self, thing):
        self.addCleanup(thing.close)
        return thing

    @classmethod
    def shared(cls, thing):
        cls.addClassCleanup(thing.close)
        return thing

    def assert_grown_less(self, gateway, before, limit):
        """KiB. A sanitizer keeps what is freed, for a while."""
        self.assertLess(gateway.memory() - before, limit * 5 if SANITIZED else limit)

    def assert_within(self, limit, seconds):
        self.assertLess(seconds, limit * 3 if SANITIZED else limit)
