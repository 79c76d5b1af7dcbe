"""Drain and restart: readiness, requests in progress, tunnels that end one after another, sockets that a service manager keeps."""

import asyncio
import collections
import os
import random
import signal
import socket
import ssl
import threading
import time
import unittest

import websockets

from _certificates import Authority
from _peers import LOCAL, PATIENCE, SANITIZED, Folder, Gateway, Loop, Test, Upstream, Wire, wait_for
from websocket_tunnel import accept, close_code, frame, read_frame, request

TUNNELS = int(os.environ.get("RELAIS_DRAIN_TUNNELS", "100"))
SPREAD = float(os.environ.get("RELAIS_DRAIN_SPREAD", "2"))  # seconds

GET = "GET /{} HTTP/1.1\r\nHost: site.example\r\n\r\n"


def echo_path(wire):
    """An origin whose answer tells what was asked."""
    while True:
        try:
            line, _ = wire.head()
        except EOFError:
            return
        path = line.split()[1].encode()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))


class Client(threading.Thread):
    """Asks again and again; on connections of its own, or on one as long as it lasts. `refusals` are what nobody may see."""

    def __init__(self, port, keeps):
        super().__init__()
        self.port, self.keeps = port, keeps
        self.answered, self.again, self.refusals, self.over = 0, 0, [], False

    def run(self):
        wire, used = None, False
        while not self.over:
            try:
                if wire is None:
                    wire, used = Wire.dial(self.port), False
                path = f"{id(self)}-{self.answered}"
                wire.send(GET.format(path))
                line, fields = wire.head()
                body = wire.body(fields)
                if line != "HTTP/1.1 200 OK" or body != b"/" + path.encode():
                    raise ValueError(f"{line} {body}")
                self.answered += 1
                used = True
                if not self.keeps or fields["connection"] == "close":
                    wire.close()
                    wire = None
            except (OSError, EOFError, ValueError) as error:
                # The end of a connection that was idle, in the place of an answer: every client asks again (RFC 9112, 9.3.1).
                if used and wire and not wire.buffer and isinstance(error, (EOFError, ConnectionResetError, BrokenPipeError)):
                    self.again += 1
                else:
                    self.refusals.append(repr(error))
                if wire:
                    wire.close()
                wire = None
        if wire:
            wire.close()


class Restart(Test):
    def test_refuses_nobody(self):
        """Stopped and started under load, with the sockets of a service manager: as `systemctl restart` does it."""
        upstream = self.opened(Upstream(echo_path))
        passed = self.opened(socket.create_server((LOCAL, 0), backlog=1024))
        port = passed.getsockname()[1]
        options = dict(passed=passed, workers=2, route=("/", f"http://{upstream.where}"))
        addresses = ["systemd:web", f"{LOCAL}:{port}"]
        gateway = Gateway(http=addresses[0], **options)
        clients = [Client(port, keeps) for keeps in (False, True) * 4]
        for client in clients:
            client.start()
        try:
            for turn in range(1, 5):
                before = sum(client.answered for client in clients)
                wait_for(lambda: sum(client.answered for client in clients) > before + 200, "requests are answered")
                gateway.close()
                gateway = Gateway(http=addresses[turn % 2], **options)
        finally:
            for client in clients:
                client.over = True
            for client in clients:
                client.join()
            gateway.close()
        self.assertEqual([refusal for client in clients for refusal in client.refusals], [])
        self.assertLessEqual(sum(client.again for client in clients), 4 * 4)
        if os.environ.get("RELAIS_REPORT"):
            print(f"{sum(c.answered for c in clients)} answers, {sum(c.again for c in clients)} asked again, 0 refusals")

    def test_what_is_passed_and_not_used_is_told(self):
        passed = self.opened(socket.create_server((LOCAL, 0)))
        gateway = Gateway(passed=passed)
        wait_for(gateway.said, "the report")
        where = f"{LOCAL}:{passed.getsockname()[1]}"
        self.assertIn(f"the service manager passed {where} (web), but nothing listens there", gateway.said())
        with self.assertRaisesRegex(AssertionError, "ended with 0 and said"):
            gateway.close()

    def test_a_name_that_is_not_passed(self):
        passed = self.opened(socket.create_server((LOCAL, 0)))
        where = f"{LOCAL}:{passed.getsockname()[1]}"
        for options, sentence in ((dict(), "no such socket was passed, nor any other; start the program through its socket unit"),
                                  (dict(passed=passed), f"no such socket was passed, only web \\({where}\\); compare the FileDescriptorName")):
            with self.assertRaisesRegex(AssertionError, "cannot listen on systemd:other: " + sentence):
                Gateway(http="systemd:other", **options)

    def test_the_manager_is_told(self):
        folder = self.opened(Folder())
        for path in (folder.path / "notify", "@" + str(folder.path)[1:]):
            manager = self.opened(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            manager.settimeout(PATIENCE)
            manager.bind("\0" + path[1:] if isinstance(path, str) else str(path))
            gateway = Gateway(notified=path)
            self.assertEqual(manager.recv(100), b"READY=1")
            gateway.close()
            self.assertEqual(manager.recv(100), b"STOPPING=1")


class Drain(Test):
    def stopping(self, gateway):
        gateway.process.send_signal(signal.SIGTERM)
        return time.monotonic()

    def ended(self, gateway):
        gateway.process.wait(PATIENCE)
        return time.monotonic()

    def test_tunnels_end_one_after_another(self):
        """Between two frames, with a Close 1001 on both sides, while large messages go both ways."""
        loop = self.opened(Loop())
        rng = random.Random(7)
        blob = rng.randbytes(300_000)
        codes, times = {"client": [], "upstream": []}, []
        quiet = TUNNELS > 200

        async def talk(ws, side):
            """Messages of all sizes until the other side says that it goes."""
            try:
                while True:
                    size = rng.choice((10, 1_000, 70_000, 300_000)) if not quiet else 100
                    await ws.send(blob[:size])
                    if await ws.recv() is None or quiet:
                        break
            except websockets.ConnectionClosed:
                pass
            try:
                while True:
                    await ws.recv()
            except websockets.ConnectionClosed:
                codes[side].append(ws.close_code)
                if side == "client":
                    times.append(time.monotonic())

        async def start():
            async def each(ws):
                await talk(ws, "upstream")
            server = await websockets.serve(each, LOCAL, 0, compression=None, ping_interval=None)
            return server
        server = loop.run(start())
        port = server.sockets[0].getsockname()[1]
        gateway = Gateway(route=("/", f"http://{LOCAL}:{port}"), workers=2, drain_spread=int(SPREAD * 1000),
                          drain_timeout=int(SPREAD * 2000))

        async def open_all():
            made = []
            for _ in range(TUNNELS):
                ws = await websockets.connect(f"ws://{LOCAL}:{gateway.port}/", compression=None, ping_interval=None)
                made.append(asyncio.ensure_future(talk(ws, "client")))
            return made
        tasks = loop.run(open_all(), 120)
        wait_for(lambda: gateway.connections() == TUNNELS, "all are there")
        began = self.stopping(gateway)
        seconds = self.ended(gateway) - began

        async def join():
            await asyncio.gather(*tasks)
            server.close()
            await server.wait_closed()
        loop.run(join())
        gateway.close()
        self.assertEqual(collections.Counter(codes["client"]), {1001: TUNNELS})
        self.assertEqual(collections.Counter(codes["upstream"]), {1001: TUNNELS})
        self.assertLess(seconds, SPREAD * 2)
        tenths = collections.Counter(min(9, int((t - began) / SPREAD * 10)) for t in times)
        if os.environ.get("RELAIS_REPORT"):
            print(f"{TUNNELS} tunnels over {SPREAD} s, all gone after {seconds:.2f} s; in each tenth: "
                  f"{[tenths[i] for i in range(10)]}")
        if not SANITIZED:  # which make everything late
            for first in (0, 5):
                half = sum(tenths[i] for i in range(first, first + 5))
                self.assertGreater(half, TUNNELS // 4, tenths)

    def test_who_does_not_go_is_closed(self):
        def serve(wire):
            wire.send(accept(wire.head()[1]))
            wire.rest()
        upstream = self.opened(Upstream(serve))
        gateway = Gateway(route=("/", f"http://{upstream.where}"), drain_spread=0, drain_timeout=700)
        with gateway.dial() as wire:
            wire.send(request()).response()
            wire.send(frame(b"x", masked=True))
            began = self.stopping(gateway)
            self.assertEqual(close_code(read_frame(wire)[1]), 1001)
            self.assertLess(self.ended(gateway) - began, 5)
        gateway.close()

    def test_a_second_signal_ends_it_at_once(self):
        upstream = self.opened(Upstream(lambda wire: wire.rest()))
        gateway = Gateway(route=("/", f"http://{upstream.where}"), drain_timeout=60_000)
        with gateway.dial() as wire:
            wire.send(GET.format("never"))
            wait_for(lambda: gateway.connections() == 1, "it is there")
            self.stopping(gateway)
            self.gone(gateway)
            self.assertIsNone(gateway.process.poll())
            began = self.stopping(gateway)
            self.assert_within(2, self.ended(gateway) - began)
        gateway.close()

    def gone(self, gateway):
        """Until nobody listens any more."""
        def refused():
            try:
                Wire.dial(gateway.port).close()
            except OSError:
                return True
        wait_for(refused, "it does not listen")

    def test_readiness_first(self):
        gateway = Gateway(ready="/ready", drain_notice=60_000)
        with gateway.dial() as wire:
            self.assertEqual(wire.send(GET.format("ready")).response().status, 200)
            self.stopping(gateway)
            wait_for(lambda: wire.send(GET.format("ready")).response().status == 503, "it is not ready")
        with gateway.dial() as wire:
            self.assertEqual(wire.send(GET.format("ready")).response().status, 503)
        self.stopping(gateway)
        self.ended(gateway)
        gateway.close()

    def test_an_upload_ends_whole(self):
        def serve(wire):
            _, fields = wire.head()
            body = wire.body(fields)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n%06d" % len(body))
        upstream = self.opened(Upstream(serve))
        gateway = Gateway(route=("/", f"http://{upstream.where}"), drain_timeout=60_000)
        with gateway.dial() as wire:
            wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + "x" * 100_000)
            wait_for(lambda: gateway.connections() == 1, "it is there")
            self.stopping(gateway)
            self.gone(gateway)
            wire.send("y" * 100_000)
            _, fields = wire.head()
            self.assertEqual(fields["connection"], "close")
            self.assertEqual(wire.body(fields), b"200000")
            self.assertTrue(wire.ends())
        self.ended(gateway)
        gateway.close()

    def test_idle_tls_connections_end_in_order(self):
        authority = self.opened(Authority())
        site = authority.leaf("site.example")
        context = ssl.create_default_context(cafile=str(authority.root))
        gateway = Gateway(http=None, https="127.0.0.1:0", certificate=site, ready="/ready", drain_timeout=60_000)
        with gateway.dial("https") as wire:
            wire.socket = context.wrap_socket(wire.socket, server_hostname="site.example", suppress_ragged_eofs=False)
            wire.send(GET.format("ready")).response()
            self.stopping(gateway)
            self.assertEqual(wire.rest(), b"")  # with a close_notify: otherwise that throws
        self.ended(gateway)
        gateway.close()


if __name__ == "__main__":
    unittest.main()
