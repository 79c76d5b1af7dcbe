"""A TCP proxy: listen(..., relay("host:port"))."""

import hashlib
import random
import struct
import threading
import time
import unittest

from _peers import LOCAL, Gateway, Test, Upstream, free_port, wait_for


def message(kind, payload):
    """As PostgreSQL's: a letter, the length with itself, the payload."""
    return kind + struct.pack(">I", len(payload) + 4) + payload


def read_message(wire):
    kind = wire.read(1)
    size, = struct.unpack(">I", wire.read(4))
    return kind, wire.read(size - 4)


class Relay(Test):
    def relay_to(self, serve, **options):
        upstream = self.opened(Upstream(serve))
        gateway = self.opened(Gateway(http=None, relay=("127.0.0.1:0", upstream.where), **options))
        return gateway

    def gone(self, gateway):
        wait_for(lambda: gateway.connections() == 0, "the connection is gone")

    def refused(self, gateway):
        """A connection that is reset as soon as it is there, which connect() may or may not live to see."""
        try:
            with gateway.dial("relay") as wire:
                self.assertTrue(wire.ends())
        except ConnectionResetError:
            pass

    def test_a_database_session(self):
        """The client speaks first, the server answers many times, and each side ends the session once."""
        def serve(wire):
            size, version = struct.unpack(">II", wire.read(8))
            assert (size, version) == (8, 196608)
            wire.send(message(b"R", struct.pack(">I", 0)) + message(b"K", b"\0" * 8) + message(b"Z", b"I"))
            while True:
                kind, payload = read_message(wire)
                if kind == b"X":
                    return
                assert kind == b"Q" and payload.endswith(b"\0")
                rows = int(payload[:-1].split()[-1])
                for i in range(rows):
                    wire.send(message(b"D", bytes(range(256)) + struct.pack(">I", i * rows)))
                wire.send(message(b"C", b"SELECT\0") + message(b"Z", b"I"))
        gateway = self.relay_to(serve)
        with gateway.dial("relay") as wire:
            wire.send(struct.pack(">II", 8, 196608))
            self.assertEqual([read_message(wire)[0] for _ in range(3)], [b"R", b"K", b"Z"])
            for rows in (0, 1, 7, 1000):
                wire.send(message(b"Q", b"select %d\0" % rows))
                for i in range(rows):
                    self.assertEqual(read_message(wire), (b"D", bytes(range(256)) + struct.pack(">I", i * rows)))
                self.assertEqual([read_message(wire)[0] for _ in range(2)], [b"C", b"Z"])
            wire.send(message(b"X", b""))
            self.assertTrue(wire.ends())
        self.gone(gateway)

    def test_the_server_speaks_first(self):
        gateway = self.relay_to(lambda wire: wire.send(b"220 hello\r\n") and wire.read_until(b"QUIT\r\n"))
        with gateway.dial("relay") as wire:
            self.assertEqual(wire.read_until(b"\r\n"), b"220 hello\r\n")
            wire.send_single_bytes(b"QUIT\r\n")
            self.assertTrue(wire.ends())
        self.gone(gateway)

    def test_large_both_ways_at_once(self):
        up, down = random.randbytes(50_000_000), random.randbytes(40_000_000)
        heard = []

        def serve(wire):
            def say():
                wire.send(down)
                wire.end()
            writer = threading.Thread(target=say)
            writer.start()
            heard.append(hashlib.sha256(wire.rest()).digest())
            writer.join()
        gateway = self.relay_to(serve)

        def say(wire):
            wire.send(up)
            wire.end()
        with gateway.dial("relay") as wire:
            writer = threading.Thread(target=say, args=(wire,))
            writer.start()
            self.assertEqual(hashlib.sha256(wire.rest()).digest(), hashlib.sha256(down).digest())
            writer.join()
        wait_for(lambda: heard, "the upstream has heard all")
        self.assertEqual(heard, [hashlib.sha256(up).digest()])
        self.gone(gateway)
        self.assert_grown_less(gateway, 0, 100_000)

    def test_half_close_by_the_client_first(self):
        down = random.randbytes(3_000_000)
        heard = []

        def serve(wire):
            heard.append(wire.rest())
            wire.send(down)
        gateway = self.relay_to(serve)
        with gateway.dial("relay") as wire:
            wire.send(b"all I have to say")
            wire.end()
            self.assertEqual(wire.rest(), down)
        self.assertEqual(heard, [b"all I have to say"])
        self.gone(gateway)

    def test_half_close_by_the_upstream_first(self):
        up = random.randbytes(3_000_000)
        heard = []

        def serve(wire):
            wire.send(b"all I have to say")
            wire.end()
            heard.append(wire.rest())
        gateway = self.relay_to(serve)
        with gateway.dial("relay") as wire:
            self.assertEqual(wire.rest(), b"all I have to say")
            wire.send(up)
            wire.end()
            wait_for(lambda: heard, "the upstream has heard all")
        self.assertEqual(heard, [up])
        self.gone(gateway)

    def test_both_end_without_a_word(self):
        gateway = self.relay_to(lambda wire: wire.rest())
        with gateway.dial("relay") as wire:
            wire.end()
            self.assertTrue(wire.ends())
        self.gone(gateway)

    def test_reset_is_told_at_once(self):
        told = threading.Event()

        def serve(wire):
            wire.send(b"x")
            try:
                wire.rest()
            finally:
                told.set()
        gateway = self.relay_to(serve)
        wire = gateway.dial("relay")
        wire.read(1)
        wire.reset()
        self.assertTrue(told.wait(5))
        self.gone(gateway)

        gateway = self.relay_to(lambda wire: wire.reset())
        self.refused(gateway)
        self.gone(gateway)

    def test_no_upstream(self):
        gateway = self.opened(Gateway(http=None, relay=("127.0.0.1:0", f"{LOCAL}:{free_port()}")))
        for _ in range(20):
            self.refused(gateway)
        self.gone(gateway)

    def test_stalled_reader(self):
        blocked = []

        def serve(wire):
            wire.socket.settimeout(0.5)
            sent = 0
            try:
                while sent < 200_000_000:
                    sent += wire.socket.send(b"z" * 500_000)
            except TimeoutError:
                blocked.append(sent)
            wire.socket.settimeout(30)
            wire.rest()
        gateway = self.relay_to(serve)
        with gateway.dial("relay") as warm:
            warm.read(1_000_000)
        self.gone(gateway)
        blocked.clear()
        before, count = gateway.memory(), 20
        stalled = [self.opened(gateway.dial("relay", receive_buffer=4096)) for _ in range(count)]
        wait_for(lambda: len(blocked) == count, "all writers stand still")
        self.assert_grown_less(gateway, before, count * 500)
        for wire in stalled:
            wire.close()
        self.gone(gateway)

    def test_many_short_connections(self):
        def serve(wire):
            wire.send(bytes(reversed(wire.read(8))))
        gateway = self.relay_to(serve, workers=2)
        failures = []

        def client(number):
            try:
                for i in range(250):
                    with gateway.dial("relay") as wire:
                        word = b"%d%07d" % (number, i)
                        assert wire.send(word).rest() == bytes(reversed(word))
            except Exception as error:
                failures.append(error)
        before = gateway.descriptors()
        threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        self.gone(gateway)
        wait_for(lambda: gateway.descriptors() <= before + 8, "descriptors are back")


if __name__ == "__main__":
    unittest.main()
