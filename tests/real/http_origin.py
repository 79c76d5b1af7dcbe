"""HTTP through the gateway: nginx as origin; curl and raw sockets as clients."""

import gzip
import hashlib
import json
import os
import random
import socket
import threading
import time
import unittest

from _peers import LOCAL, Folder, Gateway, Nginx, Test, Upstream, Wire, curl, wait_for

MIB = 1 << 20
LARGE = 50_000_000


def sha(data):
    return hashlib.sha256(data).hexdigest()


def get(path, *lines, version="1.1", method="GET"):
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: site.example", *lines, "", ""])


class HttpOrigin(Test):
    @classmethod
    def setUpClass(cls):
        cls.nginx = cls.shared(Nginx())
        cls.gateway = cls.shared(Gateway(route=("/", cls.nginx.url)))
        cls.text = "".join(f"line {i}: {random.random()}\n" for i in range(2000)).encode()
        # The bytes of chunked answers go through nginx's include filter, which loses a "<" at the very end.
        cls.mib = random.randbytes(MIB - 1) + b"."
        cls.nginx.file("a.txt", cls.text)
        cls.nginx.file("mib", cls.mib)
        cls.nginx.file("empty", b"")

    def setUp(self):
        self.nginx.clear_log()  # of what has been logged: the last line of the test before may still come

    def ask(self, text, method="GET"):
        with self.gateway.dial() as wire:
            return wire.send(text).response(method)

    def seen(self, *lines, **more):
        return json.loads(self.ask(get("/see", *lines, **more)).body)

    def test_get(self):
        self.assertEqual(curl(self.gateway.url("/a.txt")), self.text)
        self.assertEqual(curl(self.gateway.url("/empty")), b"")
        self.assertEqual(sha(curl(self.gateway.url("/mib"))), sha(self.mib))

    def test_fields_of_the_origin_arrive(self):
        direct = curl("-si", f"{self.nginx.url}/a.txt").split(b"\r\n\r\n")[0].decode().lower().split("\r\n")
        through = curl("-si", self.gateway.url("/a.txt")).split(b"\r\n\r\n")[0].decode().lower().split("\r\n")
        keep = [f for f in direct if not f.startswith(("connection:", "date:"))]
        self.assertCountEqual([f for f in through if not f.startswith(("connection:", "date:"))], keep)
        self.assertEqual(sum(f.startswith("date:") for f in through), 1)

    def test_head(self):
        with self.gateway.dial() as wire:
            for path, size in (("/a.txt", len(self.text)), ("/mib", MIB), ("/empty", 0)):
                answer = wire.send(get(path, method="HEAD")).response("HEAD")
                self.assertEqual((answer.status, answer.fields["content-length"]), (200, str(size)))
            chunked = wire.send(get("/included/a.txt", method="HEAD")).response("HEAD")
            self.assertEqual(chunked.status, 200)
            self.assertEqual(wire.send(get("/a.txt")).response().body, self.text)

    def test_statuses_without_content(self):
        with self.gateway.dial() as wire:
            self.assertEqual(wire.send(get("/nothing")).response().status, 204)
            missing = wire.send(get("/there-is-none")).response()
            self.assertEqual(missing.status, 404)
            self.assertIn(b"nginx", missing.body)
            self.assertEqual(wire.send(get("/a.txt")).response().body, self.text)

    def test_put_and_delete(self):
        target = self.nginx.path / "html/put/one"
        for size in (0, 1, 16_384, MIB):
            data = random.randbytes(size)
            code = curl("-X", "PUT", "--data-binary", "@-", "-w", "%{http_code}", self.gateway.url("/put/one"), data=data)
            self.assertIn(code, (b"201", b"204"))
            self.assertEqual(sha(target.read_bytes()), sha(data))
        self.assertEqual(self.ask(get("/put/one", method="DELETE")).status, 204)
        self.assertFalse(target.exists())

    def test_chunked_request(self):
        data = random.randbytes(3 * MIB + 17)
        code = curl("-T", "-", "-w", "%{http_code}", self.gateway.url("/put/chunks"), data=data)
        self.assertEqual(code, b"201")
        self.assertEqual(sha((self.nginx.path / "html/put/chunks").read_bytes()), sha(data))
        line, = self.nginx.logged(1)
        self.assertEqual((line["te"], line["length"]), ("chunked", ""))

    def test_chunked_request_in_single_bytes(self):
        with self.gateway.dial() as wire:
            wire.send_single_bytes((get("/put/bytes", "Transfer-Encoding: chunked", method="PUT") +
                                    "3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n" + get("/a.txt")).encode())
            self.assertEqual(wire.response().status, 201)
            self.assertEqual(wire.response().body, self.text)
        self.assertEqual((self.nginx.path / "html/put/bytes").read_bytes(), b"abc0123456789")

    def test_chunked_response(self):
        with self.gateway.dial() as wire:
            answer = wire.send(get("/included/mib")).response()
            self.assertEqual((answer.status, answer.fields["transfer-encoding"]), (200, "chunked"))
            self.assertEqual(sha(answer.body), sha(self.mib))
            self.assertEqual(wire.send(get("/a.txt")).response().body, self.text)

    def test_post_with_different_bodies_each_way(self):
        for size, extra in ((MIB, ()), (MIB, ("-H", "Transfer-Encoding: chunked"))):
            data = random.randbytes(size)
            back = curl("-D", self.nginx.path / "head", "--data-binary", "@-", *extra, self.gateway.url("/swap/mib"),
                        data=data)
            self.assertEqual(sha(back), sha(self.mib))
            head = dict(line.split(": ") for line in (self.nginx.path / "head").read_text().splitlines() if ": " in line)
            with open(head["X-Body-File"], "rb") as sent:
                self.assertEqual(sha(sent.read()), sha(data))

    def test_50_mb_each_way_at_once(self):
        up, down = random.randbytes(LARGE), random.randbytes(LARGE - 1) + b"."
        self.nginx.file("large", down)
        back = []
        reader = threading.Thread(target=lambda: back.append(curl(self.gateway.url("/large"))))
        reader.start()
        code = curl("-T", "-", "-H", "Transfer-Encoding:", "-H", f"Content-Length: {LARGE}", "-w", "%{http_code}",
                    self.gateway.url("/put/large"), data=up)
        reader.join()
        self.assertEqual(code, b"201")
        stored = self.nginx.path / "html/put/large"
        self.assertEqual(sha(stored.read_bytes()), sha(up))
        self.assertEqual(sha(back[0]), sha(down))
        # Chunked both ways.
        self.assertEqual(sha(curl(self.gateway.url("/included/large"))), sha(down))
        self.assertEqual(curl("-T", "-", "-w", "%{http_code}", self.gateway.url("/put/large"), data=down), b"204")
        self.assertEqual(sha(stored.read_bytes()), sha(down))
        self.assert_grown_less(self.gateway, 0, 200_000)

    def test_gzip_passes(self):
        plain = self.ask(get("/squeezed/a.txt"))
        self.assertEqual((plain.body, plain.fields["content-encoding"]), (self.text, ""))
        packed = self.ask(get("/squeezed/a.txt", "Accept-Encoding: gzip"))
        self.assertEqual(packed.fields["content-encoding"], "gzip")
        self.assertLess(len(packed.body), len(self.text))
        self.assertEqual(gzip.decompress(packed.body), self.text)
        self.assertEqual(curl("--compressed", self.gateway.url("/squeezed/a.txt")), self.text)

    def test_ranges(self):
        part = self.ask(get("/mib", "Range: bytes=1000-1999"))
        self.assertEqual((part.status, part.fields["content-range"]), (206, f"bytes 1000-1999/{MIB}"))
        self.assertEqual(part.body, self.mib[1000:2000])
        parts = self.ask(get("/mib", "Range: bytes=0-9,100-109"))
        self.assertEqual(parts.status, 206)
        self.assertIn("multipart/byteranges", parts.fields["content-type"])
        self.assertIn(self.mib[100:110], parts.body)
        self.assertEqual(self.ask(get("/mib", "Range: bytes=9999999-")).status, 416)

    def test_conditional(self):
        with self.gateway.dial() as wire:
            first = wire.send(get("/a.txt")).response()
            for field in (f"If-None-Match: {first.fields['etag']}",
                          f"If-Modified-Since: {first.fields['last-modified']}"):
                again = wire.send(get("/a.txt", field)).response()
                self.assertEqual((again.status, again.fields["etag"]), (304, first.fields["etag"]))
            self.assertEqual(wire.send(get("/a.txt", 'If-Match: "other"')).response().status, 412)
            self.assertEqual(wire.send(get("/a.txt")).response().body, self.text)

    def test_redirects(self):
        answer = self.ask(get("/moved"))
        self.assertEqual((answer.status, answer.fields["location"]), (302, "/a.txt"))
        self.assertEqual(self.ask(get("/away")).fields["location"], "https://elsewhere.example/x?y=z")
        self.assertEqual(curl("-L", self.gateway.url("/moved")), self.text)

    def test_set_cookie_stays_two(self):
        self.assertEqual(self.ask(get("/cookies")).fields.all("set-cookie"), ["a=1; Path=/", "b=2"])

    def test_connections_to_the_origin_are_used_again(self):
        with self.gateway.dial() as wire:
            for _ in range(50):
                self.assertEqual(wire.send(get("/a.txt")).response().status, 200)
        for _ in range(10):
            with self.gateway.dial() as wire:
                self.assertEqual(wire.send(get("/a.txt")).response().status, 200)
        lines = self.nginx.logged(60)
        self.assertEqual(len({line["connection"] for line in lines}), 1, "one connection is enough")
        self.assertEqual([line["nth"] - lines[0]["nth"] for line in lines], list(range(60)))

    def test_curl_keeps_its_connection(self):
        out = curl(*[self.gateway.url("/a.txt")] * 5, "-o", os.devnull, "-w", "%{num_connects}\n")
        # -o is for the first address; the bodies of the others are between the numbers.
        self.assertEqual(sum(int(n) for n in out.replace(self.text, b"").split()), 1)

    def test_http_1_0(self):
        with self.gateway.dial() as wire:  # closes unless asked otherwise, never chunked
            wire.send("GET /included/a.txt HTTP/1.0\r\n\r\n")
            answer = wire.response()
            self.assertNotIn("transfer-encoding", answer.fields)
            self.assertEqual(answer.body, self.text)
            self.assertTrue(wire.ends())
        with self.gateway.dial() as wire:
            for _ in range(3):
                answer = wire.send("GET /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").response()
                self.assertEqual((answer.body, answer.fields["connection"].lower()), (self.text, "keep-alive"))
            self.assertEqual(wire.send("GET /a.txt HTTP/1.0\r\n\r\n").response().body, self.text)
            self.assertTrue(wire.ends())
        self.assertEqual(curl("--http1.0", self.gateway.url("/squeezed/a.txt"), "-H", "Accept-Encoding: gzip",
                              "--compressed"), self.text)
        self.assertEqual(self.seen(version="1.0")["protocol"], "HTTP/1.1")

    def test_connection_close_is_obeyed(self):
        with self.gateway.dial() as wire:
            answer = wire.send(get("/a.txt", "Connection: close")).response()
            self.assertEqual((answer.body, answer.fields["connection"].lower()), (self.text, "close"))
            self.assertTrue(wire.ends())

    def test_expect_continue_with_curl(self):
        data = random.randbytes(2 * MIB)
        done = curl("-v", "-X", "PUT", "--expect100-timeout", "30", "-H", "Expect: 100-continue", "--data-binary", "@-",
                    self.gateway.url("/put/expected"), data=data, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"< HTTP/1.1 100 Continue", done.stderr)
        self.assertEqual(sha((self.nginx.path / "html/put/expected").read_bytes()), sha(data))
        line, = wait_for(lambda: [n for n in self.nginx.log() if "/put/expected" in n["request"]], "the request is logged")
        self.assertEqual(line["expect"], "100-continue")

    def test_expect_continue_that_the_origin_refuses(self):
        with self.gateway.dial() as wire:
            wire.send(get("/small/x", "Expect: 100-continue", "Content-Length: 5000", method="PUT"))
            self.assertEqual(wire.response(interim=True).status, 413)
            self.assertTrue(wire.ends(), "the body was never asked for")

    def test_expect_continue_waits_for_the_body(self):
        with self.gateway.dial() as wire:
            wire.send(get("/put/later", "Expect: 100-continue", "Content-Length: 5", method="PUT"))
            self.assertEqual(wire.response(interim=True).status, 100)
            self.assertEqual(wire.send("hello").response().status, 201)
            self.assertEqual(wire.send(get("/put/later")).response().body, b"hello")

    def test_pipelined_requests(self):
        paths = ["/a.txt", "/empty", "/mib", "/nothing", "/included/a.txt", "/there-is-none"] * 4
        expected = [sha(curl(f"{self.nginx.url}{path}")) for path in paths]
        with self.gateway.dial() as wire:
            wire.send("".join(get(path) for path in paths))
            answers = [wire.response() for _ in paths]
            self.assertTrue(wire.is_quiet(0.05))
        self.assertEqual([sha(a.body) for a in answers], expected)

    def test_pipelined_requests_with_bodies(self):
        with self.gateway.dial() as wire:
            wire.send(get("/put/p1", "Content-Length: 5", method="PUT") + "first" + get("/put/p1") +
                      get("/put/p2", "Transfer-Encoding: chunked", method="PUT") + "6\r\nsecond\r\n0\r\n\r\n" +
                      get("/put/p2"))
            self.assertEqual([(a.status, a.body) for a in (wire.response() for _ in range(4))],
                             [(201, b""), (200, b"first"), (201, b""), (200, b"second")])

    def test_requests_in_single_bytes(self):
        with self.gateway.dial() as wire:
            wire.send_single_bytes((get("/a.txt") + get("/see", "X-Custom: slow")).encode())
            self.assertEqual(wire.response().body, self.text)
            self.assertEqual(json.loads(wire.response().body)["x_custom"], "slow")

    def test_what_the_origin_is_told(self):
        with self.gateway.dial() as wire:
            seen = json.loads(wire.send(get("/see?a=1&a[]=2", "X-Custom: kept")).response().body)
        self.assertEqual(seen["host"], "site.example")
        self.assertEqual((seen["x_forwarded_for"], seen["x_real_ip"]), (LOCAL, LOCAL))
        self.assertEqual((seen["x_forwarded_proto"], seen["x_forwarded_host"]), ("http", "site.example"))
        self.assertEqual(seen["x_forwarded_port"], str(self.gateway.port))
        self.assertEqual(seen["forwarded"], "")
        self.assertEqual((seen["uri"], seen["x_custom"]), ("/see?a=1&a[]=2", "kept"))

    def test_what_the_client_claims_is_dropped(self):
        seen = self.seen("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 7.7.7.7", "x-real-ip: 6.6.6.6",
                         "X-FORWARDED-PROTO: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1",
                         "Forwarded: for=6.6.6.6", "Proxy: http://evil", "X_Forwarded_For: 6.6.6.6",
                         "Proxy-Authorization: Basic x")
        self.assertEqual((seen["x_forwarded_for"], seen["x_real_ip"]), (LOCAL, LOCAL))
        self.assertEqual((seen["x_forwarded_proto"], seen["x_forwarded_host"]), ("http", "site.example"))
        self.assertEqual(seen["x_forwarded_port"], str(self.gateway.port))
        self.assertEqual((seen["forwarded"], seen["proxy"], seen["proxy_authorization"]), ("", "", ""))

    def test_hop_by_hop_fields_stay_here(self):
        seen = self.seen("Connection: close, X-Nominated, Host, Authorization, X-Forwarded-For", "X-Nominated: 1",
                         "Authorization: Basic eA==", "Keep-Alive: timeout=5", "TE: trailers", "Trailer: X-T",
                         "Proxy-Connection: keep-alive", "Upgrade: h2c")
        self.assertEqual([seen[n] for n in ("x_nominated", "keep_alive", "te", "trailer", "proxy_connection", "upgrade")],
                         [""] * 6)
        self.assertNotIn("close", seen["connection"])
        self.assertEqual((seen["host"], seen["authorization"], seen["x_forwarded_for"]),
                         ("site.example", "Basic eA==", LOCAL))

    def test_forwarded_of_rfc_7239(self):
        gateway = self.opened(Gateway(route=("/", self.nginx.url), forwarded="both", via="edge"))
        with gateway.dial() as wire:
            self.assertEqual(wire.send(get("/a.txt", "Forwarded: for=6.6.6.6")).response().status, 200)
            seen, = self.nginx.logged(1)
            self.assertEqual(seen["forwarded"], 'for=127.0.0.1;proto=http;host="site.example"')
            self.assertEqual((seen["via"], seen["xff"]), ("1.1 edge", LOCAL))
            self.assertEqual(wire.send(get("/see", "Via: 1.1 edge")).response().status, 508)

    def test_absolute_form(self):
        seen = json.loads(self.ask(f"GET http://other.example:81/see?q HTTP/1.1\r\nHost: other.example:81\r\n\r\n").body)
        self.assertEqual((seen["host"], seen["uri"]), ("other.example:81", "/see?q"))
        out = curl("-x", f"http://{LOCAL}:{self.gateway.port}", "--noproxy", "none", "http://proxied.example/see")
        self.assertEqual(json.loads(out)["host"], "proxied.example")

    def test_paths_arrive_in_one_form(self):
        for sent, arrived in (("/./x/../see", "/see"), ("/%73ee", "/see"), ("//see", "/see"), ("/see?%2e%2e/", "/see?%2e%2e/")):
            answer = self.ask(get(sent))
            self.assertEqual(json.loads(answer.body)["uri"], arrived, sent)

    def test_max_forwards(self):
        self.assertEqual(self.ask(get("/see", "Max-Forwards: 0", method="OPTIONS")).status, 204)
        self.assertEqual(self.ask(get("/see", "Max-Forwards: 5", method="OPTIONS")).status, 200)
        lines = self.nginx.logged(1)
        self.assertTrue(lines[0]["request"].startswith("OPTIONS /see"))

    def test_two_workers(self):
        gateway = self.opened(Gateway(route=("/", self.nginx.url), workers=2))
        failures = []

        def ask():
            try:
                for _ in range(20):
                    with gateway.dial() as wire:
                        for _ in range(10):
                            assert wire.send(get("/a.txt")).response().body == self.text
            except Exception as error:
                failures.append(error)
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        wait_for(lambda: gateway.connections() == 0, "no connection is left")


    def test_unix_sockets_on_both_sides(self):
        folder = self.opened(Folder())
        front, back = folder.path / "front", folder.path / "back"
        behind = self.opened(Gateway(http=f"unix:{back}", route=("/", self.nginx.url)))
        gateway = self.opened(Gateway(http=f"unix:{front}", route=("/", f"unix:{back}")))
        self.assertEqual(curl("--unix-socket", front, "http://site.example/a.txt"), self.text)
        self.assertEqual(curl("--unix-socket", front, "http://site.example/mib"), self.mib)
        seen = json.loads(curl("--unix-socket", front, "http://site.example/see"))
        self.assertEqual((seen["x_forwarded_for"], seen["x_real_ip"], seen["host"]), ("", "", "site.example"))
        self.assertEqual(curl("--unix-socket", front, "-T", "-", "-w", "%{http_code}", "http://site.example/put/unix",
                              data=self.mib), b"201")
        gateway.terminate()
        behind.terminate()
        self.assertEqual(list(folder.path.iterdir()), [], "the sockets are gone")

    def test_ipv6(self):
        try:
            with socket.socket(socket.AF_INET6) as s:
                s.bind(("::1", 0))
        except OSError:
            self.skipTest("no IPv6 here")
        gateway = self.opened(Gateway(http="[::1]:0", route=("/", self.nginx.url), forwarded="both"))
        self.assertEqual(curl("-g", f"http://[::1]:{gateway.port}/a.txt"), self.text)
        line, = wait_for(lambda: [n for n in self.nginx.log() if n["xff"] == "::1"], "it is logged")
        self.assertEqual(line["forwarded"], f'for="[::1]";proto=http;host="[::1]:{gateway.port}"')
        self.assertEqual(line["host"], f"[::1]:{gateway.port}")


class Routes(Test):
    def test_prefixes_choose_and_are_replaced(self):
        def told(name):
            def serve(wire):
                while True:
                    line, _, _ = wire.request()
                    text = f"{name} {line.split()[1]}"
                    wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}")
            return self.opened(Upstream(serve))
        site, app = told("site"), told("app")
        gateway = self.opened(Gateway(route=[("/", site.url), ("/app/", app.url + "/"), ("/kept/", app.url)]))
        with gateway.dial() as wire:
            for path, answer in (("/", "site /"), ("/x", "site /x"), ("/app/", "app /"), ("/app/y?z", "app /y?z"),
                                 ("/kept/y", "app /kept/y"), ("/x/../app/w", "app /w"), ("/app%2Fy", "site /app%2Fy")):
                self.assertEqual(wire.send(get(path)).response().body.decode(), answer)
            moved = wire.send(get("/app?q")).response()
            self.assertEqual((moved.status, moved.fields["location"]), (301, "/app/?q"))


class Upstreams(Test):
    """What an origin may do to us."""

    def gateway_to(self, serve, **options):
        upstream = self.opened(Upstream(serve))
        return upstream, self.opened(Gateway(route=("/", upstream.url), **options))

    def test_killed_within_a_body(self):
        for head, part in (("Content-Length: 1000000", "x" * 5000), ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
                           ("Transfer-Encoding: chunked", "5\r\nhel"), ("Content-Length: 20", "short")):
            for reset in (False, True):
                with self.subTest(head=head, reset=reset):
                    def serve(wire):
                        wire.request()
                        wire.send(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n{part}")
                        time.sleep(0.02)
                        wire.reset() if reset else wire.close()
                    _, gateway = self.gateway_to(serve)
                    with gateway.dial() as wire:
                        wire.send(get("/"))
                        self.assertEqual(wire.head()[0].split()[1], "200")
                        with self.assertRaises(ConnectionResetError):
                            came = wire.rest()
                            self.fail(f"a clean end after {came[-20:]!r}")
                    done = curl(gateway.url(), check=False)
                    self.assertIn(done.returncode, (18, 56), done.stderr)

    def test_killed_within_a_body_of_a_client_of_http_1_0(self):
        def serve(wire):
            wire.request()
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        _, gateway = self.gateway_to(serve)
        with gateway.dial() as wire:
            wire.send("GET / HTTP/1.0\r\n\r\n").head()
            with self.assertRaises(ConnectionResetError):
                wire.rest()

    def test_nginx_killed_within_a_body(self):
        nginx = self.opened(Nginx())
        nginx.file("large", random.randbytes(LARGE))
        gateway = self.opened(Gateway(route=("/", nginx.url)))
        with gateway.dial(receive_buffer=4096) as wire:
            wire.send(get("/large"))
            wire.read(100_000)
            nginx.kill()
            with self.assertRaises((ConnectionResetError, EOFError)):
                wire.read(LARGE)
                self.fail("the body came whole")
        with gateway.dial() as wire:
            self.assertEqual(wire.send(get("/large")).response().status, 502)

    def test_body_until_close_is_passed_on(self):
        def serve(wire):
            wire.request()
            wire.send("HTTP/1.1 200 OK\r\n\r\nup to the end")
        _, gateway = self.gateway_to(serve)
        with gateway.dial() as wire:
            answer = wire.send(get("/")).response()
            self.assertEqual((answer.body, answer.fields["transfer-encoding"]), (b"up to the end", "chunked"))
            self.assertEqual(wire.send(get("/")).response().body, b"up to the end")

    def test_malformed_answers(self):
        ok = "HTTP/1.1 200 OK\r\n"
        for bad in (ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
                    ok + "Content-Length: 5, 5\r\n\r\nhello", ok + "Transfer-Encoding: gzip\r\n\r\nhello",
                    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    ok + "X: a\r\n folded\r\nContent-Length: 0\r\n\r\n", ok + "X: a\0b\r\nContent-Length: 0\r\n\r\n",
                    ok + "X : a\r\nContent-Length: 0\r\n\r\n", ok + f"X: {'a' * 70000}\r\nContent-Length: 0\r\n\r\n",
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
                    "HTTP/1.1 100 Continue\r\n\r\n" * 70 + ok + "Content-Length: 0\r\n\r\n",
                    "SSH-2.0-OpenSSH_9.2\r\n", "", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"):
            with self.subTest(answer=bad[:80]):
                def serve(wire):
                    wire.request()
                    wire.send(bad)
                    wire.end()
                    wire.rest()
                upstream, gateway = self.gateway_to(serve)
                with gateway.dial() as wire:
                    self.assertEqual(wire.send(get("/")).response().status, 502)
                    self.assertEqual(wire.send(get("/")).response().status, 502)
                self.assertGreaterEqual(upstream.accepted, 2, "a connection that lied was used again")

    def test_bytes_after_a_response_discard_the_connection(self):
        def serve(wire):
            while True:
                wire.request()
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        _, gateway = self.gateway_to(serve)
        with gateway.dial() as wire:
            for _ in range(5):
                self.assertEqual(wire.send(get("/")).response().body, b"ok")

    def test_no_upstream(self):
        from _peers import free_port
        gateway = self.opened(Gateway(route=("/", f"http://{LOCAL}:{free_port()}")))
        with gateway.dial() as wire:
            self.assertEqual(wire.send(get("/")).response().status, 502)
            self.assertEqual(wire.send(get("/")).response().status, 502)

    def test_first_byte_timeout(self):
        _, gateway = self.gateway_to(lambda wire: wire.request() and wire.rest(), first_byte_timeout=100)
        with gateway.dial() as wire:
            self.assertEqual(wire.send(get("/")).response().status, 504)

    def test_read_timeout_aborts(self):
        def serve(wire):
            wire.request()
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
            wire.rest()
        _, gateway = self.gateway_to(serve, read_timeout=100)
        with gateway.dial() as wire:
            wire.send(get("/")).head()
            with self.assertRaises(ConnectionResetError):
                wire.rest()

    def test_client_that_leaves_is_told_to_the_upstream(self):
        waited = []

        def serve(wire):
            wire.request()
            asked.set()
            wire.rest()  # thinks until the other side leaves
            waited.append(time.monotonic())
            left.set()
        for how in (Wire.close, Wire.reset):
            asked, left = threading.Event(), threading.Event()
            _, gateway = self.gateway_to(serve)
            wire = gateway.dial()
            wire.send(get("/"))
            self.assertTrue(asked.wait(10))
            began = time.monotonic()
            how(wire)
            self.assertTrue(left.wait(10), "the upstream still thinks")
            self.assert_within(0.5, waited[-1] - began)
            wait_for(lambda: gateway.connections() == 0, "the connection is gone")

    def test_client_that_leaves_within_a_body(self):
        gone = threading.Event()

        def serve(wire):
            wire.request()
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                while True:
                    wire.send("8000\r\n" + "x" * 0x8000 + "\r\n")
            except OSError:
                gone.set()
        _, gateway = self.gateway_to(serve)
        with gateway.dial() as wire:
            wire.send(get("/")).read(1_000_000)
        self.assertTrue(gone.wait(10))
        wait_for(lambda: gateway.connections() == 0, "the connection is gone")

    def test_upload_goes_on_while_the_response_streams(self):
        pieces, size = 200, 20_000

        def serve(wire):
            wire.head()
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(pieces):
                assert wire.read(size) == bytes([i]) * size
                wire.send(b"%x\r\n" % size + bytes([255 - i]) * size + b"\r\n")
            wire.send("0\r\n\r\n")
            wire.rest()
        _, gateway = self.gateway_to(serve)
        with gateway.dial() as wire:
            wire.send(get("/", f"Content-Length: {pieces * size}", method="POST"))
            wire.send(bytes([0]) * size)
            self.assertEqual(wire.head()[0].split()[1], "200")
            for i in range(pieces):  # each piece depends on the one before, in the other direction
                piece = b""
                while len(piece) < size:
                    piece += wire.chunk()
                self.assertEqual(piece, bytes([255 - i]) * size)
                if i + 1 < pieces:
                    wire.send(bytes([i + 1]) * size)
            self.assertEqual(wire.chunked(), b"")

    def test_early_answer_then_the_next_request(self):
        def serve(wire):
            while True:
                line, fields = wire.head()
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
                wire.body(fields)
        _, gateway = self.gateway_to(serve)
        with gateway.dial() as wire:
            wire.send(get("/", "Content-Length: 10", method="POST") + "01234")
            self.assertEqual(wire.response().body, b"early")
            wire.send("56789" + get("/"))
            self.assertEqual(wire.response().body, b"early")

    def test_stale_connection_is_not_seen_by_the_client(self):
        def serve(wire):
            wire.request()
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # and closes, without saying so
        upstream, gateway = self.gateway_to(serve)
        with gateway.dial() as wire:
            for method in ["GET", "PUT"] * 10:  # a POST may meet the close on its way: then nobody may send it twice
                self.assertEqual(wire.send(get("/", "Content-Length: 0", method=method)).response().status, 200)

    def test_interim_responses(self):
        def serve(wire):
            while True:
                wire.request()
                wire.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
                          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        _, gateway = self.gateway_to(serve)
        with gateway.dial() as wire:
            wire.send(get("/"))
            self.assertEqual(wire.response(interim=True).status, 102, "103 stays here, 102 goes on")
            self.assertEqual(wire.response().body, b"ok")
        with gateway.dial() as wire:
            self.assertEqual(wire.send("GET / HTTP/1.0\r\n\r\n").response(interim=True).status, 200)

    def test_stalled_reader_of_a_response(self):
        def serve(wire):
            while True:
                line, _, _ = wire.request()
                if "small" in line:
                    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall")
                    continue
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
                for _ in range(100):
                    wire.send(b"x" * 1_000_000)
        _, gateway = self.gateway_to(serve)
        with gateway.dial() as neighbour:
            self.assertEqual(neighbour.send(get("/small")).response().body, b"small")
            before = gateway.memory()
            stalled = [gateway.dial(receive_buffer=4096) for _ in range(20)]
            for wire in stalled:
                wire.send(get("/"))
                wire.head()
            for _ in range(200):
                self.assertEqual(neighbour.send(get("/small")).response().body, b"small")
            self.assert_grown_less(gateway, before, 20 * 600)
            for wire in stalled:
                wire.close()


if __name__ == "__main__":
    unittest.main()
