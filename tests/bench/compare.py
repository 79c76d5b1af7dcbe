#!/usr/bin/env python3
"""Measures what relais, nginx and HAProxy do for each CPU second that they take, all in one run.

    cmake --preset bench && cmake --build --preset bench
    python3 tests/bench/compare.py                          # everything, a quarter of an hour
    python3 tests/bench/compare.py --only requests,idle --rounds 3

Needs wrk, openssl, taskset, nginx, HAProxy if it is to be compared with (both may be what sh tests/run.sh --install has
unpacked), and two cores: the proxy has one, clients and servers the other. All of it stays on loopback. Each proxy has one worker, no access log, and adds
X-Forwarded-For and X-Forwarded-Proto. Machines drift by some per cent within minutes: only what stands in one table compares.
"""

import argparse
import contextlib
import os
import pathlib
import re
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

LOCAL = "127.0.0.1"
TOOLS = pathlib.Path(__file__).resolve().parents[2] / "build" / "tools"
PROXY_CORE, OTHER_CORE = "1", "0"
SCRIPTS = {"upload": 'wrk.method = "POST"; wrk.body = string.rep("x", 1048576)',
           "close": 'wrk.headers["Connection"] = "close"'}

# name: (what it is, with TLS, how it is loaded, bytes of one piece of work or 0 where pieces are counted)
WORK = {
    "requests": ("requests, 100 bytes of answer", False, ("wrk", 64, "/small", None), 0),
    "requests-tls": ("requests, 100 bytes of answer over TLS", True, ("wrk", 64, "/small", None), 0),
    "handshakes": ("a TLS handshake and a request for each connection", True, ("wrk", 32, "/small", "close"), 0),
    "downloads": ("downloads of 1 MiB", False, ("wrk", 16, "/large", None), 1 << 20),
    "downloads-tls": ("downloads of 1 MiB over TLS", True, ("wrk", 16, "/large", None), 1 << 20),
    "uploads": ("uploads of 1 MiB", False, ("wrk", 16, "/taken", "upload"), 1 << 20),
    "uploads-tls": ("uploads of 1 MiB over TLS", True, ("wrk", 16, "/taken", "upload"), 1 << 20),
    "messages": ("WebSocket messages of 32 bytes, there and back", False, ("talk", 64, 32, 1), 0),
    "messages-tls": ("WebSocket messages of 32 bytes, there and back over TLS", True, ("talk", 64, 32, 1), 0),
    "large-messages": ("WebSocket messages of 64 KiB, there and back", False, ("talk", 16, 65536, 4), 1 << 16),
    "large-messages-tls": ("WebSocket messages of 64 KiB, there and back over TLS", True, ("talk", 16, 65536, 4), 1 << 16),
    "idle": ("memory of an idle WebSocket, KiB", False, ("hold",), 0),
    "idle-tls": ("memory of an idle WebSocket over TLS, KiB", True, ("hold",), 0),
}

ORIGIN = """
daemon off; master_process off; pid origin.pid; error_log origin.log;
events { worker_connections 4096; }
http {
    access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 0;
    client_body_temp_path temp1; proxy_temp_path temp2; fastcgi_temp_path temp3; uwsgi_temp_path temp4; scgi_temp_path temp5;
    server {
        listen 127.0.0.1:%(origin)s;
        location = /small { return 200 "%(text)s"; }
        location = /large { root .; }
        location = /taken { # answers once it has read everything
            client_body_buffer_size 2m; proxy_pass http://127.0.0.1:%(origin)s/small;
            proxy_pass_request_body off; proxy_set_header Content-Length "";
        }
    }
}
"""

NGINX = """
daemon off; master_process off; pid nginx.pid; error_log nginx.log;
events { worker_connections %(connections)s; }
http {
    access_log off; keepalive_requests 1000000000; client_max_body_size 0;
    client_body_temp_path temp1; proxy_temp_path temp2; fastcgi_temp_path temp3; uwsgi_temp_path temp4; scgi_temp_path temp5;
    upstream app { server 127.0.0.1:%(origin)s; keepalive 128; keepalive_requests 1000000000; }
    server {
        listen 127.0.0.1:%(http)s; listen 127.0.0.1:%(https)s ssl;
        ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_session_tickets off;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        %(more)s
        location /ws {
            proxy_pass http://127.0.0.1:%(echo)s; proxy_read_timeout 600s;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
        }
        location / { proxy_pass http://app; proxy_set_header Connection ""; }
    }
}
"""
LARGER = "proxy_request_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;"

HAPROXY = """
global
    nbthread 1
    maxconn %(connections)s
    tune.ssl.default-dh-param 2048
defaults
    mode http
    option forwardfor
    option http-keep-alive
    http-reuse safe
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout tunnel 600s
frontend in
    bind 127.0.0.1:%(http)s
    bind 127.0.0.1:%(https)s ssl crt both.pem no-tls-tickets
    http-request set-header X-Forwarded-Proto https if { ssl_fc }
    http-request set-header X-Forwarded-Proto http if !{ ssl_fc }
    use_backend echo if { path_beg /ws }
    default_backend app
backend app
    server one 127.0.0.1:%(origin)s
backend echo
    server one 127.0.0.1:%(echo)s
"""


def free_port():
    with socket.socket() as s:
        s.bind((LOCAL, 0))
        return s.getsockname()[1]


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection((LOCAL, port), 1):
        return True
    return False


def started(command, folder, ports, core, environment=None):
    """A process, once it listens."""
    said = open(folder / "said.txt", "a+")
    process = subprocess.Popen(["taskset", "-c", core, *map(str, command)], cwd=folder, env=os.environ | (environment or {}),
                               stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    end = time.monotonic() + 20
    while not all(listens(port) for port in ports):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            said.seek(0)
            raise SystemExit(f"{command[0]} does not start: {said.read()}")
        time.sleep(0.02)
    return process


class Proxy:
    def __init__(self, name, process, ports):
        self.name, self.process, self.ports = name, process, ports

    def close(self):
        self.process.terminate()
        self.process.wait()

    def cpu(self):
        """Seconds that it has taken so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """KiB that are resident."""
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1])


class Lab:
    """The servers behind the proxies, the proxies one after another, and what loads them."""

    def __init__(self, programs, seconds, connections):
        self._stack = contextlib.ExitStack()
        self._programs, self._seconds, self._connections = programs, seconds, connections
        self._folder = pathlib.Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="relais-bench-")))
        self._make_certificate()
        (self._folder / "large").write_bytes(os.urandom(1 << 20))
        for name, text in SCRIPTS.items():
            (self._folder / f"{name}.lua").write_text(text)
        self._ports = {"origin": free_port(), "echo": free_port()}
        self._start(self._nginx("origin", ORIGIN), [self._ports["origin"]], OTHER_CORE)
        self._start([programs / "bench_websocket", "echo", LOCAL, self._ports["echo"]], [self._ports["echo"]], OTHER_CORE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _make_certificate(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7",
                        "-subj", "/CN=bench.example", "-keyout", "key.pem", "-out", "cert.pem"], cwd=self._folder, check=True,
                       stderr=subprocess.DEVNULL)
        (self._folder / "both.pem").write_text("".join((self._folder / n).read_text() for n in ("cert.pem", "key.pem")))

    def _start(self, command, ports, core, environment=None):
        process = started(command, self._folder, ports, core, environment)
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        return process

    def _write(self, name, template, **more):
        values = self._ports | {"text": "x" * 100, "connections": 4 * self._connections + 1000, "more": ""} | more
        (self._folder / f"{name}.conf").write_text(template % values)
        return self._folder / f"{name}.conf"

    def _nginx(self, name, template, **more):
        return ["nginx", "-p", self._folder, "-e", f"{name}.log", "-c", self._write(name, template, **more)]

    def proxy(self, name):
        ports = {"http": free_port(), "https": free_port()}
        environment = None
        if name == "relais":
            command = [self._programs / "bench_gateway"]
            environment = {"LISTEN_HTTP": f"{LOCAL}:{ports['http']}", "LISTEN_HTTPS": f"{LOCAL}:{ports['https']}",
                           "UPSTREAM_HTTP": f"{LOCAL}:{self._ports['origin']}", "UPSTREAM_WS": f"{LOCAL}:{self._ports['echo']}",
                           "CERT": "cert.pem", "KEY": "key.pem"}
        elif name == "haproxy":
            command = ["haproxy", "-db", "-q", "-f", self._write("haproxy", HAPROXY, **ports)]
            environment = {"LD_LIBRARY_PATH": ":".join(map(str, TOOLS.glob("usr/lib/*-linux-gnu")))}
        else:
            command = self._nginx("nginx", NGINX, more=LARGER if name == "nginx, tuned" else "", **ports)
        return Proxy(name, self._start(command, ports.values(), PROXY_CORE, environment), ports)

    def load(self, proxy, tls, how, piece):
        """How much work is done, pieces or MiB, for each CPU second of the proxy; KiB for a connection that is held."""
        port = proxy.ports["https" if tls else "http"]
        kind, *how = how
        if kind == "hold":
            return self._hold(proxy, port, tls)
        before = proxy.cpu()
        done = self._wrk(port, tls, *how) if kind == "wrk" else self._talk(port, tls, *how)
        return done * (piece / (1 << 20) if piece else 1) / max(proxy.cpu() - before, 0.01)

    def _wrk(self, port, tls, connections, path, script):
        command = ["wrk", "-t1", f"-c{connections}", f"-d{self._seconds}s", *(["-s", f"{script}.lua"] if script else []),
                   f"{'https' if tls else 'http'}://{LOCAL}:{port}{path}"]
        said = self._run(command)
        if bad := re.search(r"Socket errors:.*|Non-2xx.*", said):
            raise SystemExit(f"{' '.join(command)}: {bad[0]}")
        return int(re.search(r"(\d+) requests in", said)[1])

    def _talk(self, port, tls, connections, size, window):
        command = [self._programs / "bench_websocket", "talk", LOCAL, port, "tls" if tls else "plain", connections, size, window,
                   self._seconds]
        return int(self._run(command).split()[-1])

    def _run(self, command):
        done = subprocess.run(["taskset", "-c", OTHER_CORE, *map(str, command)], cwd=self._folder, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stdout}")
        return done.stdout

    def _hold(self, proxy, port, tls):
        before = proxy.memory()
        command = [self._programs / "bench_websocket", "hold", LOCAL, port, "tls" if tls else "plain", self._connections]
        holding = subprocess.Popen(["taskset", "-c", OTHER_CORE, *map(str, command)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        with holding:
            if holding.stdout.readline() != "ready\n":
                raise SystemExit(f"{proxy.name}: not all of {self._connections} connections came about")
            time.sleep(1)  # what is given back after a handshake
            each = (proxy.memory() - before) / self._connections
            holding.stdin.close()
        return each


def compare(lab, what, names, rounds):
    title, tls, how, piece = WORK[what]
    found = {name: [] for name in names}
    if how[0] == "hold":
        for name in names:
            with contextlib.closing(lab.proxy(name)) as proxy:
                found[name].append(lab.load(proxy, tls, how, piece))
    else:
        with contextlib.ExitStack() as stack:
            proxies = [stack.enter_context(contextlib.closing(lab.proxy(name))) for name in names]
            for _ in range(rounds):
                for proxy in proxies:
                    found[proxy.name].append(lab.load(proxy, tls, how, piece))
    middle = {name: statistics.median(values) for name, values in found.items()}
    others = [value for name, value in middle.items() if name != "relais"]
    cells = [f"{middle[name]:.1f}" if middle[name] < 100 else f"{middle[name]:.0f}" for name in names]
    ratio = f"{middle['relais'] / (min if how[0] == 'hold' else max)(others):.2f}" if others else ""
    print(f"| {title} | {' | '.join(cells)} | {ratio} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=pathlib.Path("build/bench/bin"),
                        help="where bench_gateway and bench_websocket are (build/bench/bin)")
    parser.add_argument("--only", default=",".join(WORK), help="of " + ", ".join(WORK))
    parser.add_argument("--rounds", type=int, default=7, help="the median of so many counts")
    parser.add_argument("--seconds", type=int, default=2, help="of each round")
    parser.add_argument("--connections", type=int, default=2000, help="that are idle")
    given = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.environ["PATH"] += f":/usr/sbin:{TOOLS}/usr/sbin"
    for tool in ("wrk", "openssl", "taskset", "nginx"):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is missing: install it")
    names = ["relais", "nginx", "nginx, tuned"] + ["haproxy"] * bool(shutil.which("haproxy"))
    print(f"| for each CPU second (MiB where it says so) | {' | '.join(names)} | to the best |\n{'| --- ' * (len(names) + 2)}|")
    with Lab(given.programs.resolve(), given.seconds, given.connections) as lab:
        for what in given.only.split(","):
            if what not in WORK:
                raise SystemExit(f"{what} is nothing to measure: one of {', '.join(WORK)}")
            compare(lab, what, names, given.rounds)


if __name__ == "__main__":
    main()
