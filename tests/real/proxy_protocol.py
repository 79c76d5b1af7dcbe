"""The PROXY protocol with HAProxy and nginx, before and behind the gateway, and what no load balancer sends."""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import struct
import subprocess
import time
import unittest

import websockets

from _certificates import Authority, strict_context
from _peers import LOCAL, NGINX, PATIENCE, Folder, Gateway, Loop, Nginx, Test, Upstream, Wire, free_port, wait_for

HAPROXY = os.environ.get("RELAIS_HAPROXY") or shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin") or ""
TRUSTED = [LOCAL, "::1", "unix:"]
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
GET = b"GET /see HTTP/1.1\r\nHost: site.example\r\n\r\n"


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as s:
        s.bind(("::1", 0))
        return True
    return False


IPV6 = has_ipv6()


def find_stream_module():
    """The line that nginx needs for `stream`: empty where it is built in, None where there is none."""
    built = subprocess.run([NGINX, "-V"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    if re.search(r"--with-stream(\s|$)", built):
        return ""
    folders = re.findall(r"--modules-path=(\S+)", built) + [str(pathlib.Path(NGINX).parents[1] / "lib/nginx/modules"),
                                                            os.environ.get("RELAIS_TOOLS", "") + "/usr/lib/nginx/modules"]
    for folder in folders:
        if (module := pathlib.Path(folder) / "ngx_stream_module.so").is_file():
            return f"load_module {module};"
    return None


STREAM = find_stream_module()


def v1(source, port=4097, family=None):
    return f"PROXY {family or ('TCP6' if ':' in source else 'TCP4')} {source} {'::9' if ':' in source else '192.0.2.7'} {port} 443\r\n".encode()


def v2(source=None, port=4097, values=b"", command=1):
    if source is None:
        family, content = 0, b""
    elif ":" in source:
        family = 0x21
        content = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "::9")
    else:
        family = 0x11
        content = socket.inet_aton(source) + socket.inet_aton("192.0.2.7")
    if source:
        content += struct.pack(">HH", port, 443)
    content += values
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack(">H", len(content)) + content


def value(kind, content):
    return struct.pack(">BH", kind, len(content)) + content


def dial(where, source=None):
    """A port of 127.0.0.1, (host, port), or the path of a Unix socket."""
    if isinstance(where, tuple) or source:
        s = socket.create_connection(where if isinstance(where, tuple) else (LOCAL, where), PATIENCE,
                                     (source, 0) if source else None)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Wire(s)
    return Wire.dial(where)


class Configured:
    """A program that runs with a configuration in which @0@, @1@ ... are ports that are free, and @FOLDER@ is a folder."""

    def __init__(self, command, text, environment=None):
        self._folder = Folder()
        self.path = self._folder.path
        os.chmod(self.path, 0o755)
        (self.path / "temp").mkdir()
        for _ in range(5):
            self.ports = [free_port() for _ in set(re.findall(r"@\d@", text))]
            made = text.replace("@FOLDER@", str(self.path))
            for number, port in enumerate(self.ports):
                made = made.replace(f"@{number}@", str(port))
            (self.path / "configuration").write_text(made)
            with open(self.path / "said", "w") as said:
                self.process = subprocess.Popen([word.replace("@FOLDER@", str(self.path)) for word in command],
                                                stdout=said, stderr=said, env=environment)
            wait_for(self._there, f"{command[0]} listens")
            if self.process.poll() is None:
                return
        said = (self.path / "said").read_text()
        self.close()
        raise AssertionError(f"{command[0]} does not start: {said}")

    def _there(self):
        if self.process.poll() is not None:
            return True
        for port in self.ports:
            for family in (socket.AF_INET, socket.AF_INET6) if IPV6 else (socket.AF_INET,):
                with contextlib.suppress(OSError), socket.socket(family) as s:
                    s.connect((LOCAL if family == socket.AF_INET else "::1", port))
                    break
            else:
                return False
        return True

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        self._folder.close()


def nginx(blocks, modules=""):
    return Configured([NGINX, "-p", "@FOLDER@", "-e", "error.log", "-c", "configuration"], f"""
        {modules} daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log info;
        events {{ worker_connections 512; }}
        {blocks}""")


def nginx_http(servers):
    return nginx(f"""http {{
        access_log off; client_body_temp_path temp/body; proxy_temp_path temp/proxy; fastcgi_temp_path temp/fastcgi;
        uwsgi_temp_path temp/uwsgi; scgi_temp_path temp/scgi; default_type text/plain; server_tokens off;
        {servers} }}""")


def haproxy(sections):
    library = pathlib.Path(HAPROXY).parents[1] / "lib"  # where it was unpacked and not installed
    folders = os.pathsep.join(str(folder) for folder in library.glob("*-linux-gnu*"))
    return Configured([HAPROXY, "-db", "-f", "@FOLDER@/configuration"], f"""
global
    maxconn 200
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
{sections}
""", dict(os.environ, LD_LIBRARY_PATH=folders))


def seen(wire, request=GET):
    return json.loads(wire.send(request).response().body)


def start_websockets(add_cleanup, loop, tell):
    """A server that says what `tell(request headers)` makes of each client, and then whatever it hears; its port."""
    async def each(ws):
        await ws.send(tell(ws.request_headers))
        async for message in ws:
            await ws.send(message)

    async def start():
        return await websockets.serve(each, LOCAL, 0)
    server = loop.run(start())

    async def stop():
        server.close()
        await server.wait_closed()
    add_cleanup(lambda: loop.run(stop()))
    return server.sockets[0].getsockname()[1]


async def say_and_hear(url, **options):
    """(own port, first message, echo of a second one)"""
    async with websockets.connect(url, **options) as ws:
        port = ws.local_address[1]
        first = await ws.recv()
        await ws.send("ä" * 70_000)
        return port, first, await ws.recv() == "ä" * 70_000


class BehindTest(Test):
    """A gateway that takes headers: over TCP, IPv6, a Unix socket and before TLS."""

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.shared(Folder())
        cls.path = cls.folder.path / "front"
        cls.authority = cls.shared(Authority())
        cls.site = cls.authority.leaf("site.example", LOCAL, "localhost")
        cls.upstream = cls.shared(Nginx())
        cls.loop = cls.shared(Loop())
        cls.websockets = start_websockets(cls.addClassCleanup, cls.loop, lambda fields: fields["X-Real-IP"])
        tcp = [f"{LOCAL}:0"] + (["[::1]:0"] if IPV6 else [])
        cls.gateway = cls.shared(Gateway(
            http=None, behind=[*tcp, f"unix:{cls.path}"], behind_tls=f"{LOCAL}:0", trusted=TRUSTED, certificate=cls.site,
            route=[("/", cls.upstream.url), ("/ws", f"http://{LOCAL}:{cls.websockets}")]))
        cls.port = cls.gateway.ports["behind"][0]
        cls.tls_port = cls.gateway.ports["behind-tls"][0]

    def secured(self, wire):
        wire.socket = strict_context(self.authority.root).wrap_socket(wire.socket, server_hostname="site.example",
                                                                      suppress_ragged_eofs=False)
        return self.opened(wire)

    def check_front(self, ports):
        """`ports` of a front: what goes to the gateway over TCP, to its TLS, and to its Unix socket."""
        for name in ("tcp", "tls", "unix"):
            with self.subTest(name):
                wire = self.opened(dial(ports[name], source="127.0.0.5"))
                if name == "tls":
                    wire = self.secured(wire)
                for _ in range(2):  # and what follows on the same connection
                    told = seen(wire)
                    self.assertEqual((told["x_real_ip"], told["x_forwarded_for"]), ("127.0.0.5", "127.0.0.5"))
                    self.assertEqual(told["x_forwarded_port"], str(ports[name]))
        if IPV6 and "six" in ports:
            with self.subTest("IPv6"):
                told = seen(self.opened(dial(("::1", ports["six"]))))
                self.assertEqual((told["x_real_ip"], told["x_forwarded_port"]), ("::1", str(ports["six"])))
        for name, scheme, options in (("tcp", "ws", {}), ("tls", "wss", {"ssl": ssl.create_default_context(
                cafile=str(self.authority.root)), "server_hostname": "site.example"})):
            with self.subTest(scheme):
                _, first, echoed = self.loop.run(say_and_hear(f"{scheme}://{LOCAL}:{ports[name]}/ws",
                                                              local_addr=("127.0.0.6", 0), **options))
                self.assertEqual((first, echoed), ("127.0.0.6", True))


class Senders(BehindTest):
    """Load balancers in front of the gateway."""

    @unittest.skipIf(STREAM is None, "nginx has no stream module here: install libnginx-mod-stream")
    def test_nginx(self):
        six = "server { listen [::1]:@3@; proxy_pass 127.0.0.1:%d; proxy_protocol on; }" % self.port if IPV6 else ""
        front = self.opened(nginx(f"""stream {{
            server {{ listen 127.0.0.1:@0@; proxy_pass 127.0.0.1:{self.port}; proxy_protocol on; }}
            server {{ listen 127.0.0.1:@1@; proxy_pass 127.0.0.1:{self.tls_port}; proxy_protocol on; }}
            server {{ listen 127.0.0.1:@2@; proxy_pass unix:{self.path}; proxy_protocol on; }}
            {six} }}""", STREAM))
        self.check_front(dict(zip(("tcp", "tls", "unix", "six"), front.ports)))

    def check_haproxy(self, word):
        six = f"listen six\n bind [::1]:@3@\n server a {LOCAL}:{self.port} {word}" if IPV6 else ""
        front = self.opened(haproxy(f"""
listen tcp
    bind {LOCAL}:@0@
    server a {LOCAL}:{self.port} {word}
listen tls
    bind {LOCAL}:@1@
    server a {LOCAL}:{self.tls_port} {word}
listen unix
    bind {LOCAL}:@2@
    server a unix@{self.path} {word}
{six}"""))
        self.check_front(dict(zip(("tcp", "tls", "unix", "six"), front.ports)))

    @unittest.skipUnless(HAPROXY, "HAProxy is not installed")
    def test_haproxy_version_1(self):
        self.check_haproxy("send-proxy")

    @unittest.skipUnless(HAPROXY, "HAProxy is not installed")
    def test_haproxy_version_2(self):
        self.check_haproxy("send-proxy-v2")

    @unittest.skipUnless(HAPROXY, "HAProxy is not installed")
    def test_haproxy_with_what_it_knows_of_its_tls_client(self):
        both = self.folder.path / "both.pem"
        both.write_bytes(self.site[0].read_bytes() + self.site[1].read_bytes())
        front = self.opened(haproxy(f"""
listen told
    bind {LOCAL}:@0@ ssl crt {both}
    unique-id-format one-of-them
    server a {LOCAL}:{self.port} send-proxy-v2-ssl-cn proxy-v2-options authority,unique-id,crc32c
"""))
        wire = self.secured(dial(front.ports[0], source="127.0.0.5"))
        told = seen(wire)
        self.assertEqual(told["x_real_ip"], "127.0.0.5")
        values = told["x_custom"].split()
        self.assertIn("2=site.example", values)
        self.assertLessEqual({"3", "5", "32"}, set(values))  # CRC32C, UNIQUE_ID, SSL

    @unittest.skipUnless(HAPROXY, "HAProxy is not installed")
    def test_the_health_check_of_haproxy_speaks_for_itself(self):
        asked = []

        def serve(wire):
            while True:
                line, fields, _ = wire.request()
                asked.append((line, fields["x-real-ip"]))
                wire.send("HTTP/1.1 204 No Content\r\n\r\n")
        upstream = self.opened(Upstream(serve))
        gateway = self.opened(Gateway(http=None, behind=f"{LOCAL}:0", trusted=TRUSTED, route=("/", upstream.url)))
        for word in ("send-proxy", "send-proxy-v2"):
            asked.clear()
            self.opened(haproxy(f"""
listen checked
    bind {LOCAL}:@0@
    mode http
    option httpchk GET /health
    http-check expect status 204
    server a {LOCAL}:{gateway.ports['behind'][0]} {word} check inter 50ms check-send-proxy
"""))
            wait_for(lambda: len(asked) > 2, f"{word} checks")
            self.assertEqual({ip for _, ip in asked}, {LOCAL})


class Receivers(Test):
    """Servers that want a header of the gateway."""

    @classmethod
    def setUpClass(cls):
        cls.authority = cls.shared(Authority())
        chain, key = cls.authority.leaf("localhost", LOCAL)
        cls.loop = cls.shared(Loop())
        cls.websockets = start_websockets(cls.addClassCleanup, cls.loop, lambda fields: fields["X-Told"])
        tell = """return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port";"""
        cls.nginx = cls.shared(nginx_http(f"""
            server {{
                listen {LOCAL}:@0@ proxy_protocol; listen {LOCAL}:@1@ ssl proxy_protocol;
                listen unix:@FOLDER@/http proxy_protocol; {"listen [::1]:@0@ proxy_protocol;" if IPV6 else ""}
                ssl_certificate {chain}; ssl_certificate_key {key};
                location / {{ {tell} }}
                location /ws {{
                    proxy_pass http://{LOCAL}:{cls.websockets}; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection upgrade; proxy_set_header X-Told "$proxy_protocol_addr $proxy_protocol_port";
                }}
            }}"""))
        plain, tls = cls.nginx.ports
        cls.routes = [("/nginx", f"http://{LOCAL}:{plain}"), ("/tls", f"https://localhost:{tls}"),
                      ("/unix", f"unix:{cls.nginx.path}/http"), ("/ws", f"http://{LOCAL}:{plain}")]
        if IPV6:
            cls.routes.append(("/six", f"http://[::1]:{plain}"))
        if HAPROXY:
            cls.haproxy = cls.shared(haproxy(f"""
frontend told
    mode http
    bind {LOCAL}:@0@ accept-proxy
    http-request return status 200 content-type text/plain lf-string "%ci %cp %[dst] %[dst_port]"
"""))
            cls.routes.append(("/haproxy", f"http://{LOCAL}:{cls.haproxy.ports[0]}"))
        cls.folder = cls.shared(Folder())

    def start(self, version, **options):
        path = self.folder.path / version
        path.unlink(missing_ok=True)
        return self.opened(Gateway(
            http=[f"{LOCAL}:0", f"unix:{path}"] + (["[::1]:0"] if IPV6 else []), send_proxy=version, route=self.routes,
            relay=[(f"{LOCAL}:0", where.removeprefix("http://")) for name, where in self.routes if name in ("/nginx", "/haproxy")],
            ca=self.authority.root, **options))

    def clients(self, gateway):
        ports = gateway.ports["http"]
        yield LOCAL, ports[0], dial(ports[0])
        if IPV6:
            yield "::1", ports[2], dial(("::1", ports[2]))

    def ask(self, wire, path="/nginx", *lines):
        return wire.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *lines, "", ""])).response().body.decode()

    def test_the_client_of_a_request(self):
        for version in ("v1", "v2"):
            gateway = self.start(version)
            for host, port, wire in self.clients(gateway):
                expected = f"{host} {wire.socket.getsockname()[1]} {host} {port}"
                with wire:
                    for path, _ in self.routes:
                        if path == "/ws":
                            continue
                        for _ in range(2):  # the second time over a connection that was kept
                            with self.subTest(version=version, client=host, path=path):
                                self.assertEqual(self.ask(wire, path), expected)

    def test_the_client_of_a_relay(self):
        for version in ("v1", "v2"):
            gateway = self.start(version)
            for port in gateway.ports["relay"]:
                with self.subTest(version=version), dial(port) as wire:
                    expected = f"{LOCAL} {wire.socket.getsockname()[1]} {LOCAL} {port}"
                    self.assertEqual([self.ask(wire), self.ask(wire)], [expected] * 2)

    def test_the_client_of_a_tunnel(self):
        for version in ("v1", "v2"):
            gateway = self.start(version)
            for host, port, wire in self.clients(gateway):
                wire.close()
                name = f"[{host}]" if ":" in host else host
                mine, told, echoed = self.loop.run(say_and_hear(f"ws://{name}:{port}/ws"))
                self.assertEqual((told, echoed), (f"{host} {mine}", True))

    def test_a_client_that_has_no_address(self):
        """Of a Unix socket: the header says that the gateway speaks for itself."""
        for version in ("v1", "v2"):
            gateway = self.start(version)
            with dial(gateway.ports["http"][1]) as wire:
                self.assertEqual(self.ask(wire).split(), [])
                if HAPROXY:
                    self.assertEqual(self.ask(wire, "/haproxy").split()[0], LOCAL)

    def test_from_header_to_header(self):
        """What came in a header, or in a field of somebody who is trusted, goes out in one."""
        for version in ("v1", "v2"):
            gateway = self.start(version, behind=f"{LOCAL}:0", behind_relay=(f"{LOCAL}:0", f"{LOCAL}:{self.nginx.ports[0]}"),
                                 behind_guarded=f"{LOCAL}:0", trusted=TRUSTED, deny="192.0.2.66", allow="all",
                                 real_ip="192.0.2.0/24")
            for name in ("behind", "behind-relay"):
                for header in (v1("192.0.2.1"), v2("192.0.2.1")):
                    with self.subTest(version=version, name=name), gateway.dial(name) as wire:
                        wire.send(header)
                        self.assertEqual(self.ask(wire), "192.0.2.1 4097 192.0.2.7 443")
                with self.subTest(version=version, name=name), gateway.dial(name) as wire:
                    self.assertEqual(self.ask(wire.send(v2("2001:db8::1"))), "2001:db8::1 4097 ::9 443")
            with gateway.dial("behind-guarded") as wire:
                wire.send(v1("192.0.2.1"))
                for client in ("198.51.100.1", "198.51.100.2"):  # a balancer that uses one connection for many
                    for _ in range(2):
                        told = self.ask(wire, "/nginx", f"X-Forwarded-For: {client}")
                        self.assertEqual(told.split(), [client, "192.0.2.7", "443"])  # nginx writes no port for 0
                # A header has addresses of one family.
                told = self.ask(wire, "/nginx", "X-Forwarded-For: 2001:db8::1")
                self.assertEqual(told.split(), ["2001:db8::1", "::ffff:192.0.2.7", "443"])


class Hostile(BehindTest):
    """Headers as no load balancer sends them, and everything but headers."""

    def start(self, **options):
        gateway = self.opened(Gateway(http=None, behind=f"{LOCAL}:0", route=("/", self.upstream.url),
                                      **({"trusted": TRUSTED} | options)))
        return gateway, gateway.ports["behind"][0]

    def assert_closed(self, wire):
        """Without a byte of an answer."""
        self.assertTrue(wire.ends())

    def test_in_single_bytes(self):
        for header in (v1("192.0.2.1"), v1("2001:db8::1"), v2("192.0.2.1"), v2("2001:db8::1"),
                       v2("192.0.2.1", values=value(2, b"a.example") + value(4, b"\0" * 50))):
            with self.subTest(header), dial(self.port) as wire:
                wire.send_single_bytes(header + GET)
                told = json.loads(wire.response().body)
                self.assertEqual(told["x_real_ip"], "2001:db8::1" if b"TCP6" in header or header[13:14] == b"\x21" else "192.0.2.1")
                self.assertEqual(told["x_forwarded_port"], "443")

    def test_with_what_follows_in_one_segment(self):
        for header in (v1("192.0.2.1"), v2("192.0.2.1", values=value(2, b"a.example"))):
            with dial(self.port) as wire:
                self.assertEqual(seen(wire, header + GET)["x_real_ip"], "192.0.2.1")
                self.assertEqual(seen(wire)["x_real_ip"], "192.0.2.1")

    def test_with_a_tls_handshake_in_one_segment(self):
        for header in (v1("192.0.2.1"), v2("192.0.2.1")):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = strict_context(self.authority.root).wrap_bio(incoming, outgoing, server_hostname="site.example")
            with dial(self.tls_port) as wire:
                def work(step, opening=b""):
                    while True:
                        try:
                            done = step()
                            wire.send(opening + outgoing.read())
                            return done
                        except ssl.SSLWantReadError:
                            wire.send(opening + outgoing.read())
                            opening = b""
                            self.assertTrue(wire.more())
                            incoming.write(wire.buffer)
                            wire.buffer = b""
                work(tls.do_handshake, header)
                work(lambda: tls.write(GET))
                answer = b""
                while b"}" not in answer:
                    answer += work(lambda: tls.read(1 << 16))
                self.assertIn(b'"x_real_ip": "192.0.2.1"', answer)

    def test_who_speaks_for_itself(self):
        for header in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 192.0.2.1 192.0.2.7 1 2\r\n", v2(command=0), v2(),
                       v2("192.0.2.1", command=0), v2("192.0.2.1", command=0, values=value(2, b"a.example"))):
            with self.subTest(header), dial(self.port) as wire:
                self.assertEqual(seen(wire, header + GET)["x_real_ip"], LOCAL)

    def test_what_is_no_header(self):
        ok = v2("192.0.2.1")
        for wrong in (GET, b"\x16\x03\x01\x02\x00\x01", b"\0" * 20, os.urandom(1) + b"\xff" * 30, b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
                      b"PROXY TCP4 192.0.2.1 192.0.2.7 1 443\n", b"PROXY TCP4 192.0.2.1 192.0.2.7 1\r\n",
                      b"PROXY TCP4 192.0.2.256 192.0.2.7 1 443\r\n", b"PROXY TCP6 192.0.2.1 192.0.2.7 1 443\r\n",
                      b"PROXY TCP4 192.0.2.1 192.0.2.7 65536 443\r\n", b"PROXY  TCP4 192.0.2.1 192.0.2.7 1 443\r\n",
                      b"PROXY UNKNOWN " + b"x" * 200, b"PROXY TCP4 " + b"1" * 200, b" " + v1("192.0.2.1"), b"\r\n" + v1("192.0.2.1"),
                      SIGNATURE + b"\x11" + ok[13:], SIGNATURE + b"\x22" + ok[13:], ok[:13] + b"\x41" + ok[14:],
                      ok[:14] + b"\0\x0b" + ok[16:], v2("192.0.2.1", values=b"\x02"), v2("192.0.2.1", values=b"\x02\0\x09abc")):
            with self.subTest(wrong), dial(self.port) as wire:
                with contextlib.suppress(ConnectionError):
                    wire.send(wrong)
                self.assert_closed(wire)
            with self.subTest(wrong, tls=True), dial(self.tls_port) as wire:
                with contextlib.suppress(ConnectionError):
                    wire.send(wrong)
                self.assert_closed(wire)

    def test_two_headers(self):
        """The second one is what the client sent: no request."""
        for second in (v1("192.0.2.2"), v2("192.0.2.2")):
            with dial(self.port) as wire:
                self.assertEqual(wire.send(v1("192.0.2.1") + second + GET).response().status, 400)

    def test_who_is_not_trusted(self):
        gateway, port = self.start(trusted=["10.0.0.0/8", LOCAL])
        with dial(port, source="127.0.0.2") as wire:
            with contextlib.suppress(ConnectionError):
                wire.send(v1("192.0.2.1") + GET)
            self.assert_closed(wire)
        with dial(port) as wire:
            self.assertEqual(seen(wire, v1("192.0.2.1") + GET)["x_real_ip"], "192.0.2.1")
        gateway, port = self.start(trusted="10.0.0.0/8", others=1)
        with dial(port) as wire:  # by itself, and what it says of others is no request
            self.assertEqual(seen(wire)["x_real_ip"], LOCAL)
        for header in (v1("192.0.2.1"), v2("192.0.2.1")):
            with dial(port) as wire:
                self.assertEqual(wire.send(header + GET).response().status, 400)

    def test_values_in_bounds(self):
        _, port = self.start(proxy_size=200)
        fits = v2("192.0.2.1", values=value(0xe0, b"x" * (200 - 28 - 3)))
        self.assertEqual(len(fits), 200)
        with dial(port) as wire:
            told = seen(wire, fits + GET)
            self.assertEqual((told["x_real_ip"], told["x_custom"]), ("192.0.2.1", "224"))
        for more in (201, 65551):  # refused by what it says about its length, before its bytes are there
            with dial(port) as wire:
                wire.send(v2("192.0.2.1", values=value(0xe0, b"x" * (more - 28 - 3)))[:16])
                self.assert_closed(wire)

    def test_too_late(self):
        gateway, port = self.start(proxy_timeout=400)
        for part in (b"", b"P", v1("192.0.2.1")[:-1], SIGNATURE, v2("192.0.2.1")[:-1]):
            with self.subTest(part), dial(port) as wire:
                began = time.monotonic()
                wire.send(part)
                self.assert_closed(wire)
                took = time.monotonic() - began
                self.assertGreater(took, 0.3)
                self.assert_within(2, took)
        with dial(port) as wire:  # bytes that go on coming are no more time
            began = time.monotonic()
            try:
                for i in range(100):
                    wire.send(v1("192.0.2.1")[i:i + 1] if i < 30 else b"")
                    if not wire.is_quiet(0.1):
                        break
            except ConnectionError:
                pass
            self.assert_closed(wire)
            self.assert_within(2, time.monotonic() - began)
        wait_for(lambda: gateway.connections() == 0, "nobody is left")

    def test_an_end_or_a_reset_in_the_middle(self):
        gateway, port = self.start()
        for part in (b"", b"PROXY TCP4 192.0.2.1", SIGNATURE + b"\x21"):
            with dial(port) as wire:
                wire.send(part).end()
                self.assert_closed(wire)
            dial(port).send(part).reset()
        wait_for(lambda: gateway.connections() == 0, "nobody is left")
        with dial(port) as wire:
            self.assertEqual(seen(wire, v1("192.0.2.1") + GET)["x_real_ip"], "192.0.2.1")

    def test_rules_of_addresses_go_by_the_header(self):
        gateway = self.opened(Gateway(http=None, behind_guarded=f"{LOCAL}:0", trusted=TRUSTED, deny="192.0.2.66",
                                      real_ip=["192.0.2.0/24", "2001:db8::/32"], allow=["198.51.100.0/24", "192.0.2.1", "2001:db8::/32"],
                                      route=("/", self.upstream.url)))

        def status(source, forwarded=""):
            request = GET.replace(b"\r\n\r\n", f"\r\nX-Forwarded-For: {forwarded}\r\n\r\n".encode()) if forwarded else GET
            with gateway.dial("behind-guarded") as wire:
                with contextlib.suppress(ConnectionError):
                    wire.send((v2(source) if ":" in source else v1(source)) + request)
                    answer = wire.response()
                    return answer.status, json.loads(answer.body)["x_real_ip"] if answer.status == 200 else ""
                return "closed"
        self.assertEqual(status("192.0.2.1"), (200, "192.0.2.1"))
        self.assertEqual(status("2001:db8::1"), (200, "2001:db8::1"))
        self.assertEqual(status("192.0.2.2"), (403, ""))
        self.assertEqual(status("203.0.113.1"), (403, ""))
        self.assertEqual(status("192.0.2.1", "198.51.100.7"), (200, "198.51.100.7"))
        self.assertEqual(status("192.0.2.1", "203.0.113.1"), (403, ""))
        self.assertEqual(status("203.0.113.1", "198.51.100.7"), (403, ""))  # it may not say whom it speaks for
        with gateway.dial("behind-guarded") as wire:  # before a request
            wire.send(v1("192.0.2.66"))
            self.assert_closed(wire)


if __name__ == "__main__":
    unittest.main()
