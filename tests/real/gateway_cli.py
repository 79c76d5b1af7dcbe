"""examples/gateway as a user meets it: what it prints, its options, their errors, and Ctrl-C."""

import contextlib
import faulthandler
import re
import resource
import signal
import socket
import ssl
import subprocess
import time
import unittest

import websockets

from _certificates import Authority, openssl
from _peers import LOCAL, PATIENCE, SANITIZED, Folder, Loop, Test, Upstream, curl, free_port, wait_for
from _program import PROGRAM, Program


def run(*options, descriptors=None):
    """(status, standard output, standard error) of a run that ends by itself."""
    limit = None
    if descriptors:
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    done = subprocess.run([PROGRAM, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=PATIENCE, preexec_fn=limit)
    return done.returncode, done.stdout, done.stderr


class CliTest(Test):
    def setUp(self):
        faulthandler.dump_traceback_later(100, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)


class Options(CliTest):
    def test_help(self):
        status, out, errors = run("--help")
        self.assertEqual((status, errors), (0, ""))
        for option in ("--listen", "--certificate", "--key", "--route", "--workers", "--help"):
            self.assertIn(option, out)
        self.assertIn("127.0.0.1:8443", out)

    def assert_refused(self, options, status, *words, **more):
        got, out, errors = run(*options, **more)
        self.assertEqual((got, out), (status, ""), options)
        self.assertRegex(errors, r"\Agateway: [^\n]+\n\Z", options)
        for word in words:
            self.assertIn(word, errors)

    def test_what_is_wrong_with_the_command_line(self):
        for options, *words in (
                (["--nope"], '"--nope" is no option', "--help"),
                (["--listen=127.0.0.1:0", "more"], '"more" is no option'),
                (["--workers"], "--workers", "missing"),
                (["--workers", "many"], "--workers", "many"),
                (["--workers", "-1"], "--workers", "-1"),
                (["--workers", "1025"], "--workers", "1025", "1024"),
                (["--listen"], "--listen", "missing"),
                (["--key", "key.pem"], "--key", "--certificate"),
                (["--route"], "--route", "missing"),
                (["--route", "wss=http://127.0.0.1:1"], "wss=http://127.0.0.1:1", "write /path=http://host:port"),
                (["--route", "/wss"], '"/wss"', "write /path=http://host:port"),
                (["--route", "/wss="], '"/wss="', "write /path=http://host:port"),
                (["--route", "/=http://127.0.0.1:1", "x"], '"x" is no option')):
            self.assert_refused(options, 2, *words)

    def test_addresses_that_cannot_be_listened_on(self):
        with socket.socket() as taken:
            taken.bind((LOCAL, 0))
            taken.listen()
            used = f"{LOCAL}:{taken.getsockname()[1]}"
            for address, *words in (
                    (used, used, "in use"),
                    ("8443", '"8443"', "write"),
                    ("", '""', "write"),
                    (":8443", '":8443"', "host is missing"),
                    ("127.0.0.1:99999", "65535"),
                    ("no.such.host.invalid:1", "no.such.host.invalid", "not known"),
                    ("systemd:web", "systemd:web", "no such socket was passed", "socket unit"),
                    (f"unix:/{'x' * 120}", "1 to 107 bytes", "shorter"),
                    (f"unix:{__file__}", __file__, "no socket", "choose another path"),
                    ("192.0.2.1:8443", "192.0.2.1:8443", "no such address"),
                    ("unix:/no/such/folder/socket", "unix:/no/such/folder/socket", "directory does not exist")):
                self.assert_refused(["--listen", address], 1, *words)

    def test_a_port_that_another_gateway_has(self):
        first = self.opened(Program())
        self.assert_refused(["--listen", f"{LOCAL}:{first.port}"], 1, "in use")

    def test_certificates_that_cannot_be_used(self):
        authority = self.opened(Authority())
        chain, key = authority.leaf("site.example")
        other_key = authority.leaf("other.example")[1]
        folder = self.opened(Folder())
        text = folder.path / "text.pem"
        text.write_text("no certificate\n")
        empty, der, locked = (folder.path / name for name in ("empty.pem", "der.pem", "locked.key"))
        empty.touch()
        openssl("x509", "-in", chain, "-outform", "DER", "-out", der)
        openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked)
        for certificate, with_key, *words in (
                ("missing.pem", key, '"missing.pem"', "does not exist"),
                (chain, "missing.key", '"missing.key"', "does not exist"),
                (folder.path, key, "directory"),
                (text, key, str(text), "no certificate"),
                (chain, text, str(text)),
                (empty, key, str(empty), "empty"),
                (der, key, str(der), "DER", "openssl x509 -inform der"),
                (chain, locked, str(locked), "encrypted", "openssl pkey"),
                (key, key, str(key), "PRIVATE KEY"),
                (chain, other_key, str(other_key))):
            self.assert_refused(["--certificate", str(certificate), "--key", str(with_key)], 1, *words)
        self.assert_refused(["--certificate", str(chain)], 1, str(chain), "key")

    def test_routes_that_lead_nowhere(self):
        for routes, *words in (
                (["/a=ftp://127.0.0.1:1"], "/a", "ftp", "write http://host:port"),
                (["/a=http://127.0.0.1:99999"], "/a", "65535"),
                (["/a=https://unix:/no/socket"], "/a", "name in the server's certificate"),
                (["/a/../b=http://127.0.0.1:1"], "/a/../b", "dot segments"),
                (["/a=http://no.such.host.invalid:80"], "/a", "no.such.host.invalid", "not known"),
                (["/a=http://127.0.0.1:1", "/a=http://127.0.0.1:2"], "/a", "same requests")):
            options = [word for route in routes for word in ("--route", route)]
            self.assert_refused(["--listen", f"{LOCAL}:0", *options], 1, *words)

    @unittest.skipIf(SANITIZED, "sanitizers need descriptors of their own")
    def test_too_few_descriptors(self):
        self.assert_refused(["--workers", "20", "--route", "/=http://127.0.0.1:1", "--listen", f"{LOCAL}:0"], 1,
                            "20 workers", "Too many open files", descriptors=30)


class Demonstration(CliTest):
    @classmethod
    def setUpClass(cls):
        cls.gateway = cls.shared(Program("--workers", "2"))
        cls.loop = cls.shared(Loop())
        cls.url = cls.gateway.url

    def chat(self):
        context = ssl._create_unverified_context()
        return websockets.connect(f"wss://localhost:{self.gateway.port}/wss", ssl=context)

    def test_the_lines_that_it_prints_work(self):
        lines = re.findall(r"^    curl (.*)$", self.gateway.printed(), re.MULTILINE)
        self.assertGreaterEqual(len(lines), 4)
        for line in lines:
            words = re.findall(r"'[^']*'|\S+", line)
            got = curl("-f", *(word.strip("'") for word in words))
            self.assertTrue(got, line)

    def test_page(self):
        got = curl("-kfi", f"{self.url}/").decode()
        self.assertIn("\r\nContent-Type: text/html; charset=utf-8\r\n", got)
        self.assertIn("\r\nX-Served-By: relais\r\n", got)
        for name in re.findall(r"(?:src|href)=\"([^\"]+)", got.partition("\r\n\r\n")[2]):
            self.assertTrue(name.startswith("/"), name)
            file = curl("-kfi", f"{self.url}{name}").decode()
            self.assertIn("\r\nContent-Security-Policy: default-src 'none'; script-src 'self'; ", file)
            if name not in ("/", "/page.svg"):  # an SVG names its namespace
                self.assertFalse(re.findall(r"url\(|@import|https?://", file), f"{name} needs nothing else")

    def test_explain(self):
        got = curl("-kf", f"{self.url}/explain?/wss/x").decode()
        self.assertTrue(got.startswith('GET "/wss/x" at "localhost": at("/wss") wins'), got)
        self.assertIn('at("/") fits, but is shorter', got)

    def test_echo(self):
        got = curl("-kf", "-d", "some text", "-H", "X-Custom: it is", f"{self.url}/api/a?b=c").decode()
        self.assertTrue(got.startswith("POST /api/a?b=c\n"), got)
        self.assertTrue(got.endswith("\n\nsome text"), got)
        for field in ("X-Custom: it is", "X-Forwarded-Proto: https", f"X-Forwarded-For: {LOCAL}"):
            self.assertIn(f"\n{field}\n", got)

    def test_head_leaves_the_connection_in_order(self):
        for path in ("/", "/api/x", "/stream", "/none"):
            got = curl("-ksI", f"{self.url}{path}", "--next", "-ks", f"{self.url}/api/after").decode()
            self.assertIn("GET /api/after\n", got, path)

    def test_stream_comes_in_pieces(self):
        process = subprocess.Popen(["curl", "-ksN", f"{self.url}/stream"], stdout=subprocess.PIPE)
        with process:
            self.assertEqual(process.stdout.readline(), b"1\n")
            self.assertFalse([line for line in self.gateway.log() if '"GET /stream' in line and " 21 " in line],
                             "it has not ended")
            self.assertEqual(process.stdout.read(), b"".join(b"%d\n" % i for i in range(2, 11)))
        self.gateway.logged('"GET /stream HTTP/1.1" 200 21 ')

    def test_slow(self):
        self.assertEqual(curl("-kf", f"{self.url}/slow"), b"That took two seconds.\n")
        line = self.gateway.logged('"GET /slow HTTP/1.1" 200 ')
        self.assertGreaterEqual(float(re.search(r" (\d+\.\d{3}) completed ", line)[1]), 2)

    def test_what_there_is_not(self):
        done = curl("-ksi", f"{self.url}/none").decode()
        self.assertTrue(done.startswith("HTTP/1.1 404 "), done)

    def test_too_much_for_it(self):
        status = curl("-ks", "-o", "/dev/null", "-w", "%{http_code}", "-T", "-", f"{self.url}/api/up",
                      data=bytes(2_000_000))
        self.assertEqual(status, b"413")

    def test_other_sites_may_ask(self):
        allowed = curl("-ksi", "-H", "Origin: http://localhost:3000", f"{self.url}/api/").decode()
        self.assertIn("\r\nAccess-Control-Allow-Origin: http://localhost:3000\r\n", allowed)
        refused = curl("-ksi", "-H", "Origin: https://evil.example", f"{self.url}/api/").decode()
        self.assertNotIn("Access-Control-Allow-Origin", refused)

    def test_plain_http_is_told(self):
        got = curl("-si", f"http://localhost:{self.gateway.port}/").decode()
        self.assertTrue(got.startswith("HTTP/1.1 400 "), got)
        self.assertIn("https://", got)

    def test_chat(self):
        async def talk():
            async with self.chat() as one, self.chat() as two:
                async def heard(who, what):
                    while await who.recv() != what:
                        pass
                await one.send("from one")
                await heard(two, "from one")
                await two.send(b"\xff bytes come back")
                await heard(two, b"\xff bytes come back")
                await two.send("from two")
                await heard(one, "from two")
                await heard(two, "from two")
            async with self.chat() as three:
                await three.send("still there")
                while await three.recv() != "still there":
                    pass
        self.loop.run(talk())
        self.gateway.logged('"GET /wss HTTP/1.1" 101 ')

    def test_guests_who_do_not_listen(self):
        async def talk():
            async with self.chat() as deaf, self.chat() as other:
                deaf.transport.pause_reading()
                for i in range(200):
                    await other.send("x" * 60_000)
                    while not (await other.recv()).startswith("x"):
                        pass
                deaf.transport.abort()
        self.loop.run(talk())
        self.assertTrue(curl("-kf", f"{self.url}/api/"))


class Gateways(CliTest):
    def say(self, name):
        def serve(wire):
            with contextlib.suppress(EOFError):
                while True:
                    line, fields, _ = wire.request()
                    text = f"{name}: {line}".encode()
                    wire.send(b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://its.own\r\n"
                              b"Content-Length: %d\r\n\r\n" % len(text) + text)
        return self.opened(Upstream(serve))

    def test_routes(self):
        one, two = self.say("one"), self.say("two")
        gateway = self.opened(Program("--route", f"/app/={one.url}", f"--route=/={two.url}", "--workers", "1"))
        self.assertEqual(curl("-kf", f"{gateway.url}/app/x"), b"one: GET /app/x HTTP/1.1")
        self.assertEqual(curl("-kf", f"{gateway.url}/x?y=z"), b"two: GET /x?y=z HTTP/1.1")
        self.assertIn(b"Access-Control-Allow-Origin: https://its.own\r\n", curl("-kfi", f"{gateway.url}/"))
        gateway.logged('"GET /x?y=z HTTP/1.1" 200 ')

    def test_an_equals_sign_in_a_url(self):
        one = self.say("one")
        gateway = self.opened(Program("--route", f"/a/={one.url}/b=c/"))
        self.assertEqual(curl("-kf", f"{gateway.url}/a/x"), b"one: GET /b=c/x HTTP/1.1")

    def test_an_upstream_that_is_not_there(self):
        gateway = self.opened(Program("--route", f"/=http://{LOCAL}:{free_port()}"))
        got = curl("-ksi", f"{gateway.url}/").decode()
        self.assertTrue(got.startswith("HTTP/1.1 502 "), got)
        gateway.logged("connect_refused")

    def test_certificate(self):
        authority = self.opened(Authority())
        chain, key = authority.leaf("site.example")
        one = self.say("one")
        gateway = self.opened(Program("--certificate", str(chain), "--key", str(key), "--route", f"/={one.url}"))
        got = curl("-f", "--cacert", authority.root, "--resolve", f"site.example:{gateway.port}:{LOCAL}",
                   f"https://site.example:{gateway.port}/")
        self.assertEqual(got, b"one: GET / HTTP/1.1")

    def test_certificate_and_key_in_one_file(self):
        authority = self.opened(Authority())
        chain, key = authority.leaf("localhost")
        both = authority.path / "both.pem"
        both.write_bytes(chain.read_bytes() + key.read_bytes())
        gateway = self.opened(Program("--certificate", str(both)))
        self.assertNotIn("made up", gateway.printed())
        self.assertTrue(curl("-f", "--cacert", authority.root, f"{gateway.url}/api/"))

    def test_unix_socket(self):
        folder = self.opened(Folder())
        path = folder.path / "socket"
        gateway = self.opened(Program(listen=f"unix:{path}"))
        self.assertIn(f"curl -k --unix-socket {path} https://localhost/api/hello\n", gateway.printed())
        self.assertTrue(curl("-kf", "--unix-socket", path, "https://localhost/api/hello"))
        self.assertEqual(gateway.end()[0], 0)
        self.assertFalse(path.exists())

    def test_every_address(self):
        gateway = self.opened(Program(listen="0.0.0.0:0"))
        self.assertTrue(curl("-kf", f"{gateway.url}/api/hello"))


class End(CliTest):
    def test_signals(self):
        for one in (signal.SIGINT, signal.SIGTERM):
            gateway = self.opened(Program())
            status, seconds = gateway.end(one)
            self.assertEqual(status, 0)
            self.assertLess(seconds, 2)

    def test_with_open_tunnels_and_requests(self):
        gateway = self.opened(Program())
        loop = self.opened(Loop())
        context = ssl._create_unverified_context()

        async def open_tunnels():
            made = [await websockets.connect(f"wss://localhost:{gateway.port}/wss", ssl=context) for _ in range(20)]
            await made[0].send("all here")
            for one in made:
                while await one.recv() != "all here":
                    pass
            return made

        async def closed(tunnels):
            for one in tunnels:
                await one.wait_closed()
            return {one.close_code for one in tunnels}

        tunnels = loop.run(open_tunnels())
        slow = subprocess.Popen(["curl", "-ks", f"{gateway.url}/slow"], stdout=subprocess.DEVNULL)
        with socket.create_connection((LOCAL, gateway.port)):  # and somebody who never says a word
            status, seconds = gateway.end()
        slow.wait(PATIENCE)
        self.assertEqual(status, 0)
        self.assertLess(seconds, 2)
        self.assertEqual(loop.run(closed(tunnels)), {1001})
        self.assertEqual(sum('"GET /wss HTTP/1.1" 101 ' in line for line in gateway.log()), 20)

    def test_the_port_is_free_at_once(self):
        listen = f"{LOCAL}:{free_port()}"
        for _ in range(3):
            gateway = self.opened(Program(listen=listen))
            self.assertTrue(curl("-kf", f"{gateway.url}/api/hello"))
            self.assertEqual(gateway.end()[0], 0)

    def test_nobody_reads_what_it_prints(self):
        """`gateway | less`, and less waits."""
        port = free_port()
        process = subprocess.Popen([PROGRAM, "--workers", "1", "--listen", f"{LOCAL}:{port}"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        with process:
            wait_for(lambda: curl("-ks", f"https://localhost:{port}/api/", check=False).returncode == 0, "it is there")
            agent = "x" * 7000
            for _ in range(20):  # 160 lines of 7 KB: far more than a pipe takes
                curl("-kfs", "--max-time", "10", "-A", agent, "-o", "/dev/null", f"https://localhost:{port}/api/[1-8]")
            process.send_signal(signal.SIGINT)
            text = process.stdout.read().decode()
            self.assertEqual(process.wait(PATIENCE), 0)
            said = process.stderr.read().decode()
        self.assertIn(agent, text)
        self.assertRegex(said, r"\Arelais: the access log was not read: \d+ lines are lost\n\Z")


if __name__ == "__main__":
    unittest.main()
