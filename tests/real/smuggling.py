"""Hostile bytes against the gateway with nginx behind it: what is refused, and that nothing slips through."""

import unittest

from _peers import Gateway, Nginx, Test, Upstream, wait_for

HOST = "Host: site.example\r\n"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: site.example\r\n\r\n"
BODY = f"0\r\n\r\n{SMUGGLED}"  # two things at once, depending on who reads it


def head(*lines, target="/bad", method="POST", version="HTTP/1.1", host=HOST):
    return f"{method} {target} {version}\r\n{host}" + "".join(line + "\r\n" for line in lines) + "\r\n"


def sized(*lines):
    return head(*lines, f"Content-Length: {len(BODY)}") + BODY


def chunked(*lines):
    return head(*lines) + BODY


# What is refused by its head: (bytes, the statuses it may get). The origin never hears of any of it.
HEADS = {
    "length, then chunked": (chunked("Content-Length: 5", "Transfer-Encoding: chunked"), 400),
    "chunked, then length": (chunked("Transfer-Encoding: chunked", "Content-Length: 5"), 400),
    "length 0 and chunked": (chunked("Content-Length: 0", "Transfer-Encoding: chunked"), 400),
    "length and another coding": (sized("Transfer-Encoding: identity"), 400),
    "coding gzip": (chunked("Transfer-Encoding: gzip"), 501),
    "coding gzip, chunked": (chunked("Transfer-Encoding: gzip, chunked"), 501),
    "coding xchunked": (chunked("Transfer-Encoding: xchunked"), 501),
    "coding chunked, identity": (chunked("Transfer-Encoding: chunked, identity"), (400, 501)),
    "coding chunked, chunked": (chunked("Transfer-Encoding: chunked, chunked"), 400),
    "coding chunked in two lines": (chunked("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400),
    "coding identity, then chunked": (chunked("Transfer-Encoding: identity", "Transfer-Encoding: chunked"), (400, 501)),
    "coding chunked, then identity": (chunked("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), (400, 501)),
    "coding after a comma": (chunked("Transfer-Encoding: ,chunked"), (400, 501)),
    "coding before a comma": (chunked("Transfer-Encoding: chunked,"), (400, 501)),
    "coding quoted": (chunked('Transfer-Encoding: "chunked"'), (400, 501)),
    "coding with a parameter": (chunked("Transfer-Encoding: chunked;a=b"), (400, 501)),
    "coding empty": (chunked("Transfer-Encoding:"), (400, 501)),
    "coding after a vertical tab": (chunked("Transfer-Encoding: \x0bchunked"), 400),
    "coding before NUL": (chunked("Transfer-Encoding: chunked\0"), 400),
    "coding with a space before the colon": (chunked("Transfer-Encoding : chunked"), 400),
    "coding with a tab before the colon": (chunked("Transfer-Encoding\t: chunked"), 400),
    "coding in a folded line": (chunked("X: y", " Transfer-Encoding: chunked"), 400),
    "coding folded": (chunked("Transfer-Encoding:", " chunked"), 400),
    "coding after a bare LF": (chunked("X: y\nTransfer-Encoding: chunked"), 400),
    "coding after a bare CR": (chunked("X: y\rTransfer-Encoding: chunked"), 400),
    "coding with a letter beyond ASCII": (chunked("Transfer-Encoding: chun\u212aed".encode().decode("latin-1")), (400, 501)),
    "coding in HTTP/1.0": (head("Transfer-Encoding: chunked", version="HTTP/1.0") + BODY, 400),
    "two lengths": (head("Content-Length: 0", f"Content-Length: {len(BODY)}") + BODY, 400),
    "two equal lengths": (sized(f"Content-Length: {len(BODY)}"), 400),
    "a list of lengths": (head(f"Content-Length: {len(BODY)}, {len(BODY)}") + BODY, 400),
    "length empty": (head("Content-Length:") + SMUGGLED, 400),
    "length with plus": (head("Content-Length: +5") + BODY, 400),
    "length with minus": (head("Content-Length: -5") + BODY, 400),
    "length in hex": (head("Content-Length: 0x5") + BODY, 400),
    "length with a space": (head("Content-Length: 5 5") + BODY, 400),
    "length with a letter": (head("Content-Length: 5a") + BODY, 400),
    "length with a fraction": (head("Content-Length: 5.0") + BODY, 400),
    "length of 2^63": (head("Content-Length: 9223372036854775808") + BODY, 400),
    "length of 2^64 + 5": (head("Content-Length: 18446744073709551621") + BODY, 400),
    "length with a space before the colon": (head("Content-Length : 5") + BODY, 400),
    "no host": (head(host="") + SMUGGLED, 400),
    "two hosts": (head("Host: other.example") + SMUGGLED, 400),
    "two equal hosts": (head("Host: site.example") + SMUGGLED, 400),
    "host empty": (head(host="Host: \r\n") + SMUGGLED, 400),
    "host with a space": (head(host="Host: a b\r\n") + SMUGGLED, 400),
    "host with a slash": (head(host="Host: a/b\r\n") + SMUGGLED, 400),
    "host with a user": (head(host="Host: a@b\r\n") + SMUGGLED, 400),
    "host with a bad port": (head(host="Host: a:b\r\n") + SMUGGLED, 400),
    "host with half an address": (head(host="Host: [::1\r\n") + SMUGGLED, 400),
    "host that the target contradicts": (head(target="http://other.example/bad") + SMUGGLED, 400),
    "asterisk in GET": (head(target="*", method="GET") + SMUGGLED, 400),
    "authority in GET": (head(target="site.example:80", method="GET") + SMUGGLED, 400),
    "CONNECT": (head(target="site.example:80", method="CONNECT", host="Host: site.example:80\r\n") + SMUGGLED, 405),
    "TRACE": (head(method="TRACE") + SMUGGLED, 405),
    "a folded line": (head("X: y", " z") + SMUGGLED, 400),
    "a line folded by a tab": (head("X: y", "\tz") + SMUGGLED, 400),
    "a folded first line": (head(host=" " + HOST) + SMUGGLED, 400),
    "a bare LF after the request line": (head().replace("\r\n", "\n", 1) + SMUGGLED, 400),
    "bare LFs": (head().replace("\r\n", "\n") + SMUGGLED, 400),
    "a bare CR in the request line": (head(target="/bad\r") + SMUGGLED, 400),
    "a bare LF at the end of the head": (head("X: y")[:-2] + "\n" + SMUGGLED, 400),
    "a space before the colon": (head("X : y") + SMUGGLED, 400),
    "an empty name": (head(": y") + SMUGGLED, 400),
    "no colon": (head("X") + SMUGGLED, 400),
    "a name with a space": (head("X Y: z") + SMUGGLED, 400),
    "a name with a bracket": (head("X[]: z") + SMUGGLED, 400),
    "a name beyond ASCII": (head("X\xe9: z") + SMUGGLED, 400),
    "NUL in a value": (head("X: a\0b") + SMUGGLED, 400),
    "a control byte in a value": (head("X: a\x01b") + SMUGGLED, 400),
    "DEL in a value": (head("X: a\x7fb") + SMUGGLED, 400),
    "a space in the target": (head(target="/bad x") + SMUGGLED, 400),
    "two spaces before the version": (head(target="/bad ") + SMUGGLED, 400),
    "a tab in the request line": (head(target="/bad\tx") + SMUGGLED, 400),
    "a control byte in the target": (head(target="/bad\x01") + SMUGGLED, 400),
    "DEL in the target": (head(target="/bad\x7f") + SMUGGLED, 400),
    "NUL in the target": (head(target="/bad\0") + SMUGGLED, 400),
    "a fragment": (head(target="/bad#x") + SMUGGLED, 400),
    "a quote in the query": (head(target='/bad?"') + SMUGGLED, 400),
    "an angle bracket in the query": (head(target="/bad?<script>") + SMUGGLED, 400),
    "a byte beyond ASCII in the query": (head(target="/bad?\xe9") + SMUGGLED, 400),
    "a backslash in the path": (head(target="/bad\\x") + SMUGGLED, 400),
    "a byte beyond ASCII in the path": (head(target="/bad\xe9") + SMUGGLED, 400),
    "a quote in the path": (head(target='/bad"') + SMUGGLED, 400),
    "an angle bracket in the path": (head(target="/bad<x>") + SMUGGLED, 400),
    "half a percent escape": (head(target="/bad%4") + SMUGGLED, 400),
    "a bad percent escape": (head(target="/bad%zz") + SMUGGLED, 400),
    "%00": (head(target="/bad%00") + SMUGGLED, 400),
    "dots over the root": (head(target="/bad/../../x") + SMUGGLED, 400),
    "encoded dots over the root": (head(target="/bad/%2e%2e/%2E./x") + SMUGGLED, 400),
    "dots with a parameter": (head(target="/bad/..;/x") + SMUGGLED, 400),
    "two empty lines first": ("\r\n\r\n" + head() + SMUGGLED, 400),
    "a space first": (" " + head() + SMUGGLED, 400),
    "no version": ("GET /bad\r\n" + SMUGGLED, 400),
    "version 0.9": (head(version="HTTP/0.9") + SMUGGLED, (400, 505)),
    "version 1.2": (head(version="HTTP/1.2") + SMUGGLED, 505),
    "version 2.0": (head(version="HTTP/2.0") + SMUGGLED, 505),
    "version in lower case": (head(version="http/1.1") + SMUGGLED, 400),
    "version of three": (head(version="HTTP/1.1.1") + SMUGGLED, (400, 505)),
    "the preface of HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    "a method that is none": (head(method="GE(T") + SMUGGLED, 400),
    "TLS": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x00" * 60, 400),
    "a large head": (head("X: " + "y" * 33_000) + SMUGGLED, 431),
    "a large head without an end": ("GET /bad HTTP/1.1\r\n" + "X: y\r\n" * 10 + "Z: " + "z" * 40_000, 431),
    "many fields": (head(*[f"X{i}: y" for i in range(101)]) + SMUGGLED, 431),
    "a long target": (head(target="/bad" + "x" * 8200) + SMUGGLED, 414),
    "another expectation": (head("Expect: miracles"), 417),
}

# What is refused by its body, when the origin may have seen the head: it never stores it.
CHUNKED = head("Transfer-Encoding: chunked", method="PUT", target="/put/body")
BODIES = {
    "size empty": "\r\nhello\r\n",
    "size with plus": "+5\r\nhello\r\n",
    "size with minus": "-5\r\nhello\r\n",
    "size with 0x": "0x5\r\nhello\r\n",
    "size of 17 digits": "00000000000000005\r\nhello\r\n",
    "size that overflows": "10000000000000005\r\nhello\r\n",
    "size of 2^64 - 1": "FFFFFFFFFFFFFFFF\r\nhello\r\n",
    "size after a space": " 5\r\nhello\r\n",
    "size before a bare LF": "5\nhello\r\n",
    "size before a bare CR": "5\rhello\r\n",
    "an extension with a bare LF": "5;a\nhello\r\n",
    "an extension with a control byte": "5;a\0b\r\nhello\r\n",
    "long extensions": f"5;{'a' * 300}\r\nhello\r\n",
    "many extensions": f"1;{'a' * 50}\r\nx\r\n" * 6,
    "data without an end": "5\r\nhelloX\r\n",
    "data that is too long": "3\r\nhello\r\n",
    "data before a bare LF": "5\r\nhello\n",
    "the last chunk with a bare LF": "5\r\nhello\r\n0\n\n",
    "Content-Length in trailers": "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    "Transfer-Encoding in trailers": "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "Host in trailers": "5\r\nhello\r\n0\r\nHost: other\r\n\r\n",
    "Authorization in trailers": "5\r\nhello\r\n0\r\nAuthorization: Basic x\r\n\r\n",
    "a folded trailer": "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
    "a trailer without a colon": "5\r\nhello\r\n0\r\nX\r\n\r\n",
    "a trailer with a bare LF": "5\r\nhello\r\n0\r\nX: y\n\r\n",
}

# What is right, however odd it looks: (bytes, the request line and the body length that the origin sees).
RIGHT = {
    "an empty line first": ("\r\n" + head(method="GET", target="/see"), "GET /see"),
    "coding in capitals": (head("TRANSFER-ENCODING: CHUNKED", method="PUT", target="/put/1") + "1\r\nx\r\n0\r\n\r\n", "PUT /put/1"),
    "coding between tabs": (head("Transfer-Encoding:\tchunked\t", method="PUT", target="/put/2") + "1\r\nx\r\n0\r\n\r\n", "PUT /put/2"),
    "chunk extensions": (head("Transfer-Encoding: chunked", method="PUT", target="/put/3") +
                         '1;a;b="c d"\r\nx\r\n000;last\r\n\r\n', "PUT /put/3"),
    "trailers": (head("Transfer-Encoding: chunked", "Trailer: X-Sum", method="PUT", target="/put/4") +
                 "1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n", "PUT /put/4"),
    "coding with an underscore": (head("Transfer_Encoding: chunked", "Content-Length: 1", method="PUT", target="/put/5") + "x",
                                  "PUT /put/5"),
    "length with an underscore": (head("Content_Length: 99", method="GET", target="/see"), "GET /see"),
    "absolute form": (head(target="http://site.example/see", method="GET"), "GET /see"),
    "odd bytes in the query": (head(target="/see?a[]={}|^`%zz&\\'", method="GET"), "GET /see?a[]={}|^`%zz&\\\\'"),
    "brackets in the path": (head(target="/see/../see", method="GET"), "GET /see"),
    "a body that looks like a request": (head(f"Content-Length: {len(SMUGGLED)}", method="PUT", target="/put/6") + SMUGGLED,
                                         "PUT /put/6"),
    "a value beyond ASCII": (head("X-Custom: caf\xe9\tx", method="GET", target="/see"), "GET /see"),
    "a host with an underscore": (head(method="GET", target="/see", host="Host: my_site.example:8080\r\n"), "GET /see"),
}


class Smuggling(Test):
    @classmethod
    def setUpClass(cls):
        cls.nginx = cls.shared(Nginx())
        cls.gateway = cls.shared(Gateway(route=("/", cls.nginx.url), requests=1_000_000))

    def setUp(self):
        self.nginx.clear_log()

    def barrier(self):
        """Everything that was sent before has been logged once this has."""
        with self.gateway.dial() as wire:
            wire.send(head(method="GET", target="/see?barrier")).response()
        wait_for(lambda: any("?barrier" in line["request"] for line in self.nginx.log()), "the barrier is logged")
        return [line for line in self.nginx.log() if "?barrier" not in line["request"]]

    def refused(self, sent, statuses, in_single_bytes):
        statuses = statuses if isinstance(statuses, tuple) else (statuses,)
        with self.gateway.dial() as wire:
            if in_single_bytes:
                try:
                    wire.send_single_bytes(sent.encode("latin-1"))
                except ConnectionError:
                    pass  # it has heard enough
            else:
                wire.send(sent)
            answer = wire.response()
            self.assertIn(answer.status, statuses)
            self.assertEqual(answer.fields["connection"].lower(), "close")
            self.assertEqual(bool(answer.fields["allow"]), answer.status == 405)
            self.assertTrue(wire.ends(), "one answer, and the end")

    def test_heads(self):
        for name, (sent, statuses) in HEADS.items():
            for in_single_bytes in (False, True) if len(sent) < 2000 else (False,):
                with self.subTest(name, in_single_bytes=in_single_bytes):
                    self.refused(sent, statuses, in_single_bytes)
        self.assertEqual(self.barrier(), [], "nothing reaches the origin")

    def test_heads_after_a_good_request(self):
        """The good one is answered; what follows it on the connection is refused just the same."""
        for name, (sent, statuses) in HEADS.items():
            if name == "two empty lines first":
                continue
            with self.subTest(name), self.gateway.dial() as wire:
                wire.send(head(method="GET", target="/see?good") + sent)
                self.assertEqual(wire.response().status, 200)
                self.assertIn(wire.response().status, statuses if isinstance(statuses, tuple) else (statuses,))
                self.assertTrue(wire.ends())
        self.assertEqual({line["request"] for line in self.barrier()}, {"GET /see?good HTTP/1.1"})

    def test_bodies(self):
        for name, body in BODIES.items():
            for in_single_bytes in (False, True):
                with self.subTest(name, in_single_bytes=in_single_bytes):
                    self.refused(CHUNKED + body + SMUGGLED, 400, in_single_bytes)
        lines = self.barrier()
        self.assertLessEqual({line["request"] for line in lines}, {"PUT /put/body HTTP/1.1"})
        self.assertFalse([line for line in lines if line["status"] < 400], "nothing was taken for whole")
        self.assertFalse((self.nginx.path / "html/put/body").exists())

    def test_bodies_that_end_early(self):
        for sent in (CHUNKED + "5\r\nhel", CHUNKED + "5\r\nhello\r\n", CHUNKED + "5\r\nhello\r\n0\r\n",
                     head("Content-Length: 10", method="PUT", target="/put/body") + "hello"):
            with self.subTest(sent=sent[-30:]), self.gateway.dial() as wire:
                wire.send(sent)
                wire.end()
                wire.rest()
        wait_for(lambda: self.gateway.connections() == 0, "all connections are gone")
        lines = self.barrier()
        self.assertFalse([line for line in lines if line["status"] < 400], "nothing was taken for whole")
        self.assertFalse((self.nginx.path / "html/put/body").exists())

    def test_right_ones(self):
        self.barrier()  # what another test has asked is in the log by now
        for name, (sent, seen) in RIGHT.items():
            for in_single_bytes in (False, True):
                with self.subTest(name, in_single_bytes=in_single_bytes), self.gateway.dial() as wire:
                    self.nginx.clear_log()
                    if in_single_bytes:
                        wire.send_single_bytes(sent.encode("latin-1"))
                    else:
                        wire.send(sent)
                    self.assertLess(wire.response().status, 300)
                    again = wire.send(head(method="GET", target="/see?after")).response()
                    self.assertEqual(again.status, 200, "in step")
                    first, after = self.nginx.logged(2)
                    self.assertEqual(first["request"].rpartition(" HTTP")[0], seen.replace("\\\\", "\\"))
                    self.assertEqual(after["request"], "GET /see?after HTTP/1.1")
        self.assertEqual((self.nginx.path / "html/put/6").read_bytes(), SMUGGLED.encode())
        for name in "12345":
            self.assertEqual((self.nginx.path / f"html/put/{name}").read_bytes(), b"x")

    def test_options_of_the_server(self):
        with self.gateway.dial() as wire:
            for _ in range(2):
                wire.send(head(target="*", method="OPTIONS"))
                self.assertIn(wire.response().status, (200, 204, 404, 405))
            self.assertEqual(wire.send(head(method="GET", target="/see")).response().status, 200)

    def test_extensions_and_trailers_stay_here(self):
        """Byte by byte what an upstream gets."""
        got = []

        def serve(wire):
            got.append(wire.head()[1])
            got.append(wire.read_until(b"\r\n0\r\n") + wire.read(2))
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            wire.rest()
        upstream = self.opened(Upstream(serve))
        gateway = self.opened(Gateway(route=("/", upstream.url)))
        with gateway.dial() as wire:
            wire.send(head("Transfer-Encoding: chunked", "Trailer: X-Sum") +
                      "005;a=b\r\nhello\r\n0;c\r\nX-Sum: 1\r\nX-Evil: 2\r\n\r\n")
            self.assertEqual(wire.response().status, 200)
        self.assertEqual(got[1], b"5\r\nhello\r\n0\r\n\r\n")
        self.assertEqual(got[0]["trailer"], "")

    def test_names_with_underscores(self):
        got = []

        def serve(wire):
            got.append(wire.request()[1])
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        upstream = self.opened(Upstream(serve))
        for option, seen in (("drop", ""), ("keep", "1")):
            gateway = self.opened(Gateway(route=("/", upstream.url), underscores=option))
            with gateway.dial() as wire:
                wire.send(head("X_Name: 1", method="GET")).response()
            self.assertEqual(got[-1]["x_name"], seen)


if __name__ == "__main__":
    unittest.main()
