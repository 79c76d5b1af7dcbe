"""Clients that take their time, or forever: deadlines, limits, and what they cost their neighbours."""

import select
import threading
import time
import unittest

from _peers import LOCAL, Gateway, Nginx, Test, Upstream, wait_for


def get(path="/", *lines, method="GET"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: site.example", *lines, "", ""])


class SlowClients(Test):
    def gateway(self, serve=None, **options):
        def answer(wire):
            while True:
                wire.request()
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.upstream = self.opened(Upstream(serve or answer))
        return self.opened(Gateway(route=("/", self.upstream.url), **options))

    def test_head_in_pieces_is_too_slow(self):
        """A byte now and then does not help: the time for the head is absolute."""
        gateway = self.gateway(head_timeout=400, keep_alive_timeout=10_000)
        with gateway.dial() as wire:
            began = time.monotonic()
            wire.send("GET / HTTP/1.1\r\nHost: x\r\n")
            for i in range(100):
                if select.select([wire.socket], [], [], 0.03)[0]:
                    break
                wire.send("y" if i else "X: ")
            answer = wire.response()
            self.assertEqual((answer.status, answer.fields["connection"].lower()), (408, "close"))
            self.assertGreater(time.monotonic() - began, 0.35)
            self.assert_within(1.5, time.monotonic() - began)
            self.assertTrue(wire.ends())
        self.assertEqual(self.upstream.accepted, 0)

    def test_silent_client_is_closed_silently(self):
        gateway = self.gateway(keep_alive_timeout=300, head_timeout=10_000)
        with gateway.dial() as wire:
            self.assertEqual(wire.rest(), b"")
        with gateway.dial() as wire:  # kept, then silent
            self.assertEqual(wire.send(get()).response().body, b"ok")
            self.assertEqual(wire.rest(), b"")
        wait_for(lambda: gateway.connections() == 0, "no connection is left")

    def test_request_that_comes_just_in_time(self):
        gateway = self.gateway(keep_alive_timeout=500)
        with gateway.dial() as wire:
            for _ in range(4):
                time.sleep(0.25)
                self.assertEqual(wire.send(get()).response().body, b"ok")

    def test_body_that_stops(self):
        gone = threading.Event()

        def serve(wire):
            wire.head()
            try:
                wire.read(10)
            finally:
                gone.set()
        gateway = self.gateway(serve, body_timeout=300)
        for framing, part in (("Content-Length: 10", "part"), ("Transfer-Encoding: chunked", "4\r\npart\r\n3\r\n")):
            gone.clear()
            with gateway.dial() as wire:
                wire.send(get("/", framing, method="POST") + part)
                answer = wire.response()
                self.assertEqual((answer.status, answer.fields["connection"].lower()), (408, "close"))
                self.assertTrue(wire.ends())
            self.assertTrue(gone.wait(5), "the upstream is told")

    def test_body_that_drips(self):
        """Each byte comes in time, all of them together do not."""
        gateway = self.gateway(lambda wire: wire.request(), min_rate=1000, min_rate_after=300)
        with gateway.dial() as wire:
            wire.send(get("/", "Content-Length: 1000", method="POST"))
            for _ in range(200):
                if select.select([wire.socket], [], [], 0.02)[0]:
                    break
                wire.send("x")
            self.assertEqual(wire.response().status, 408)
            self.assertTrue(wire.ends())

    def test_answer_whose_head_drips(self):
        def serve(wire):
            wire.request()
            wire.send("HTTP/1.1 200 OK\r\nX: ")
            for _ in range(200):
                time.sleep(0.02)
                wire.send("x")
        gateway = self.gateway(serve, first_byte_timeout=400)
        with gateway.dial() as wire:
            began = time.monotonic()
            self.assertEqual(wire.send(get()).response().status, 504)
            self.assert_within(1.5, time.monotonic() - began)

    def test_body_that_is_slow_but_comes(self):
        def serve(wire):
            _, _, body = wire.request()
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body.upper())
        gateway = self.gateway(serve, body_timeout=400)
        with gateway.dial() as wire:
            wire.send(get("/", "Content-Length: 10", method="POST"))
            for byte in "abcdefghij":
                time.sleep(0.08)
                wire.send(byte)
            self.assertEqual(wire.response().body, b"ABCDEFGHIJ")

    def test_client_that_does_not_read(self):
        def serve(wire):
            wire.request()
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            try:
                for _ in range(100):
                    wire.send(b"x" * 1_000_000)
            except OSError:
                gone.set()
        gone = threading.Event()
        gateway = self.gateway(serve, write_timeout=300)
        with gateway.dial(receive_buffer=4096) as wire:
            wire.send(get()).head()
            wait_for(lambda: gateway.connections() == 0, "the connection is gone")
            self.assertTrue(gone.wait(5), "the upstream is told")
            with self.assertRaises((ConnectionResetError, EOFError)):
                wire.read(100_000_000)

    def test_client_that_reads_slowly_gets_everything(self):
        nginx = self.opened(Nginx())
        content = bytes(range(256)) * 4000
        nginx.file("slow", content)
        gateway = self.opened(Gateway(route=("/", nginx.url), write_timeout=500))
        with gateway.dial(receive_buffer=4096) as wire:
            wire.send(get("/slow"))
            line, fields = wire.head()
            body = wire.buffer
            while len(body) < len(content):
                time.sleep(0.01)
                body += wire.socket.recv(32_768)
            self.assertEqual(body, content)

    def test_many_slow_heads_do_not_stop_others(self):
        gateway = self.gateway()
        with gateway.dial() as neighbour:
            self.assertEqual(neighbour.send(get()).response().body, b"ok")
            before = gateway.memory()
            slow = [self.opened(gateway.dial()) for _ in range(400)]
            for wire in slow:
                wire.send("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            for round in range(5):
                for wire in slow:
                    wire.send("y")
                began = time.monotonic()
                for _ in range(20):
                    self.assertEqual(neighbour.send(get()).response().body, b"ok")
                self.assert_within(5, time.monotonic() - began)
            self.assertEqual(gateway.connections(), 401)
            self.assert_grown_less(gateway, before, 400 * 32)
            for wire in slow:
                wire.send("\r\n\r\n")
            for wire in slow:
                self.assertEqual(wire.response().body, b"ok")

    def test_so_many_requests_on_one_connection(self):
        gateway = self.gateway(requests=3)
        with gateway.dial() as wire:
            answers = [wire.send(get()).response() for _ in range(3)]
            self.assertEqual([a.fields["connection"].lower() for a in answers], ["", "", "close"])
            self.assertTrue(wire.ends())

    def test_client_that_ends_its_side(self):
        """An end of stream while the answer is awaited is a client that left, once nothing of it is unread."""
        gateway = self.gateway()
        with gateway.dial() as wire:
            self.assertEqual(wire.send(get()).response().body, b"ok")
            wire.end()
            self.assertTrue(wire.ends())
        with gateway.dial() as wire:
            wire.send("GET / HTT")
            wire.end()
            self.assertTrue(wire.ends())
        wait_for(lambda: gateway.connections() == 0, "no connection is left")


if __name__ == "__main__":
    unittest.main()
