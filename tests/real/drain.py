"""Drain and restart: readiness, requests in progress, tunnels that end one after another, sockets that a service manager keeps."""

import asyncio
import collections
import contextlib
import itertools
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

import websockets

from _certificates import Authority, strict_context
from _peers import BIN, LOCAL, PATIENCE, SANITIZED, Folder, Gateway, Loop, Test, Upstream, Wire, free_port, wait_for
from websocket_tunnel import KEY, accept, close_code, frame, read_frame, request

TUNNELS = int(os.environ.get("RELAIS_DRAIN_TUNNELS", "100"))
SPREAD = float(os.environ.get("RELAIS_DRAIN_SPREAD", "2"))  # seconds
RESTARTS = int(os.environ.get("RELAIS_RESTARTS", "4"))
SOCKET_ACTIVATE = shutil.which("systemd-socket-activate")

GET = "GET /{} HTTP/1.1\r\nHost: site.example\r\n\r\n"


class Origin(Upstream):
    """Its answers tell what was asked; `asked` all that was."""

    def __init__(self):
        self.asked = []
        super().__init__(self.answer)

    def answer(self, wire):
        while True:
            line, _ = wire.head()
            path = line.split()[1].encode()
            self.asked.append(path)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))


class Client(threading.Thread):
    """Asks again and again; on connections of its own, or on one as long as it lasts. `refusals` are what nobody may see."""

    def __init__(self, where, keeps):
        super().__init__()
        self.where, self.keeps = where, keeps
        self.answered, self.again, self.refusals, self.over = 0, 0, [], False

    def run(self):
        wire, used = None, False
        while not self.over:
            try:
                if wire is None:
                    wire, used = Wire.dial(self.where), False
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


def close_of(heard):
    """The code of a whole Close frame, masked or not."""
    mask = heard[2:6] if heard[1] & 128 else b"\0\0"
    return int.from_bytes(bytes(a ^ b for a, b in zip(heard[-2:], mask)), "big")


class End(asyncio.Protocol):
    """One end of a tunnel that is in the midst of a frame nearly all the time: it sends each in pieces, with pauses between them."""

    def __init__(self, is_client):
        self.is_client = is_client
        self.open, self.over, self.told, self.wrong = False, False, None, None
        self.buffer, self.unsent, self.frames = b"", b"", 0

    def connection_made(self, transport):
        self.transport = transport
        if self.is_client:
            transport.write(request())

    def data_received(self, data):
        self.buffer += data
        if not self.open:
            if b"\r\n\r\n" not in self.buffer:
                return
            self.buffer = self.buffer.partition(b"\r\n\r\n")[2]
            self.open = True
            if not self.is_client:
                self.transport.write(accept({"sec-websocket-key": KEY}))
            self.speak()
        while (size := self.complete()):
            self.hear(self.buffer[:size])
            self.buffer = self.buffer[size:]

    def complete(self):
        """How long the first frame is once it is there: lengths up to 65,535, masked towards the upstream."""
        if len(self.buffer) < 4:
            return 0
        size, head = self.buffer[1] & 127, 2
        if size == 126:
            size, head = int.from_bytes(self.buffer[2:4], "big"), 4
        size += head + (0 if self.is_client else 4)
        return size if len(self.buffer) >= size else 0

    def hear(self, heard):
        if self.told:
            self.wrong = "something after the Close"
        elif heard[0] == 0x88 and close_of(heard) == 1001:
            self.told = time.monotonic()
        elif heard[0] != 0x82 or heard[-1:] != b"!" or heard.count(b".") != len(heard) - heard.index(b".") - 1:
            self.wrong = f"no frame: {heard[:20]!r}"
        else:
            self.frames += 1

    def speak(self):
        if self.over or self.transport.is_closing():
            return
        if not self.unsent:
            if self.told:
                self.transport.write(frame(struct.pack(">H", 1001), 8, self.is_client))
                return
            payload = b"." * random.choice((3, 200, 3000)) + b"!"
            size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack(">H", len(payload))
            mask = b"\0\0\0\0" if self.is_client else b""
            self.unsent = bytes([0x82, size[0] | (0x80 if mask else 0)]) + size[1:] + mask + payload
        piece = random.choice((1, 3, 100, 2000, 3100))
        self.transport.write(self.unsent[:piece])
        self.unsent = self.unsent[piece:]
        pause = TUNNELS / 2000 if self.unsent else 0.01  # some thousand pieces a second in all
        asyncio.get_running_loop().call_later(pause * random.uniform(0.5, 1.5), self.speak)

    def connection_lost(self, error):
        if error:
            self.wrong = self.wrong or repr(error)
        self.over = True

    def how(self):
        if self.wrong or self.buffer or not self.told:
            return f"{self.wrong}, {self.buffer[:20]!r} before the end, told at {self.told}"
        return "Close 1001, then the end"


class Restart(Test):
    def restarts(self, where, gateways, origin):
        """What `gateways` starts takes the place of what it started before, under load: at `where` nobody is refused."""
        next(gateways)
        clients = [Client(where, keeps) for keeps in (False, True) * 4]
        for client in clients:
            client.start()
        try:
            for turn in range(RESTARTS + 1):
                if turn:
                    next(gateways)
                before = sum(client.answered for client in clients)
                wait_for(lambda: sum(client.answered for client in clients) > before + 200, "requests are answered")
        finally:
            for client in clients:
                client.over = True
            for client in clients:
                client.join()
            gateways.close()
        self.assertEqual([refusal for client in clients for refusal in client.refusals], [])
        again = [path for path, times in collections.Counter(origin.asked).items() if times > 1]
        self.assertEqual(again, [])  # what a client asks again was not passed on when it asked first
        # An end that was sent while the client's next request was on its way: once for each connection that is kept.
        self.assertLessEqual(sum(client.again for client in clients), RESTARTS * 4)
        if os.environ.get("RELAIS_REPORT"):
            print(f"{self.id()}: {RESTARTS} restarts, {sum(c.answered for c in clients)} answers, "
                  f"{sum(c.again for c in clients)} asked again, 0 refusals")

    def one_after_another(self, *places, **options):
        """A gateway that ends before the next one starts."""
        for where in itertools.cycle(places):
            gateway = Gateway(http=where, workers=2, **options)
            try:
                yield gateway
            finally:
                gateway.close()

    def side_by_side(self, *places, **options):
        """A gateway that ends when the next one has started."""
        where = itertools.cycle(places)
        gateway = Gateway(http=next(where), workers=2, **options)
        try:
            while True:
                yield gateway
                before, gateway = gateway, Gateway(http=next(where), workers=2, **options)
                before.close()
        finally:
            gateway.close()

    def test_with_a_service_manager(self):
        """As `systemctl restart` does it: the sockets stay, and connections wait."""
        passed = self.opened(socket.create_server((LOCAL, 0), backlog=1024))
        port = passed.getsockname()[1]
        for order in self.one_after_another, self.side_by_side:
            with self.subTest(order=order.__name__):
                origin = self.opened(Origin())
                self.restarts(port, order("systemd:web", f"{LOCAL}:{port}", passed=passed, route=("/", origin.url)), origin)

    def test_beside_the_successor(self):
        """Two processes that share a port, without anybody who keeps it open."""
        origin = self.opened(Origin())
        port = free_port()
        self.restarts(port, self.side_by_side(f"{LOCAL}:{port}", share_ports=1, route=("/", origin.url)), origin)

    def test_beside_the_successor_at_a_path(self):
        origin = self.opened(Origin())
        path = self.opened(Folder()).path / "socket"
        self.restarts(path, self.side_by_side(f"unix:{path}", share_ports=1, route=("/", origin.url)), origin)
        self.assertFalse(path.exists())

    @unittest.skipUnless(SOCKET_ACTIVATE, "systemd-socket-activate is not installed")
    def test_by_systemd(self):
        port = free_port()
        origin = self.opened(Origin())
        command = [SOCKET_ACTIVATE, f"--listen={LOCAL}:{port}", "--fdname=web", str(BIN / "real_test_gateway"),
                   "http=systemd:web", f"route=/,{origin.url}"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            def listens():
                with contextlib.suppress(ConnectionRefusedError):
                    return Wire.dial(port)
            with wait_for(listens, "it listens") as wire:
                self.assertEqual(wire.send(GET.format("x")).response().body, b"/x")
        finally:
            process.terminate()
            process.stdin.close()
            self.assertEqual(process.wait(PATIENCE), 0)

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

    def test_the_manager_hears_of_it_time_and_again(self):
        path = self.opened(Folder()).path / "notify"
        manager = self.opened(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.settimeout(PATIENCE)
        manager.bind(str(path))
        gateway = Gateway(notified=path, watchdog=0.1, workers=2)
        self.assertEqual([manager.recv(100) for _ in range(4)], [b"READY=1"] + [b"WATCHDOG=1"] * 3)
        gateway.close()


class Drain(Test):
    def stopping(self, gateway):
        gateway.process.send_signal(signal.SIGTERM)
        return time.monotonic()

    def ended(self, gateway):
        gateway.process.wait(PATIENCE)
        return time.monotonic()

    def test_tunnels_end_one_after_another(self):
        """Between two frames, with a Close 1001 on both sides, while all of them are in the midst of some frame."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        loop = self.opened(Loop())
        ends = {"client": [], "upstream": []}

        def end(side):
            ends[side].append(End(side == "client"))
            return ends[side][-1]

        async def serve():
            return await asyncio.get_running_loop().create_server(lambda: end("upstream"), LOCAL, 0, backlog=4096)
        server = loop.run(serve())
        port = server.sockets[0].getsockname()[1]
        gateway = Gateway(route=("/", f"http://{LOCAL}:{port}"), workers=2, drain_spread=int(SPREAD * 1000),
                          drain_timeout=int(SPREAD * 1500) + 3000)

        async def dial():
            for _ in range(TUNNELS):
                await asyncio.get_running_loop().create_connection(lambda: end("client"), LOCAL, gateway.port)
        loop.run(dial(), 120)
        everyone = lambda: ends["client"] + ends["upstream"]
        wait_for(lambda: len(everyone()) == TUNNELS * 2 and all(e.frames > 1 for e in everyone()), "all speak", 120)
        within = sum(bool(e.unsent) for e in everyone())
        began = self.stopping(gateway)
        seconds = self.ended(gateway) - began
        wait_for(lambda: all(e.over for e in everyone()), "all have heard of the end")
        gateway.close()

        async def close():
            server.close()
            await server.wait_closed()
        loop.run(close())
        for side in ends:
            self.assertEqual(collections.Counter(e.how() for e in ends[side]), {"Close 1001, then the end": TUNNELS}, side)
        self.assertLess(seconds, SPREAD * 1.5 + 3)
        self.assertGreater(within, TUNNELS)  # half of them: otherwise this says nothing
        tenths = collections.Counter(int((e.told - began) / SPREAD * 10) for e in ends["client"])
        if os.environ.get("RELAIS_REPORT"):
            print(f"{TUNNELS} tunnels, {within} of their {TUNNELS * 2} ends within a frame; {sum(e.frames for e in everyone())} "
                  f"whole frames; spread over {SPREAD} s, all gone after {seconds:.2f} s; told in each tenth: "
                  f"{[tenths[i] for i in range(max(tenths) + 1)]}")
        if not SANITIZED:  # which make everything late
            for first in (0, 5):
                half = sum(tenths[i] for i in range(first, first + 5))
                self.assertGreater(half, TUNNELS // 4, tenths)

    def test_real_ends_of_tunnels(self):
        """Python's websockets on both sides, while large messages go both ways."""
        loop = self.opened(Loop())
        rng = random.Random(7)
        blob = rng.randbytes(300_000)
        codes = {"client": [], "upstream": []}
        count = 20

        async def talk(ws, side):
            """Messages of all sizes until the other side says that it goes."""
            try:
                while True:
                    await ws.send(blob[:rng.choice((10, 1_000, 70_000, 300_000))])
                    await ws.recv()
            except websockets.ConnectionClosed:
                codes[side].append(ws.close_code)

        async def start():
            async def each(ws):
                await talk(ws, "upstream")
            return await websockets.serve(each, LOCAL, 0, compression=None, ping_interval=None)
        server = loop.run(start())
        port = server.sockets[0].getsockname()[1]
        gateway = Gateway(route=("/", f"http://{LOCAL}:{port}"), workers=2, drain_spread=500, drain_timeout=20_000)

        async def open_all():
            made = []
            for _ in range(count):
                ws = await websockets.connect(f"ws://{LOCAL}:{gateway.port}/", compression=None, ping_interval=None)
                made.append(asyncio.ensure_future(talk(ws, "client")))
            return made
        tasks = loop.run(open_all(), 120)
        wait_for(lambda: gateway.connections() == count, "all are there")
        self.stopping(gateway)
        self.ended(gateway)

        async def join():
            await asyncio.gather(*tasks)
            server.close()
            await server.wait_closed()
        loop.run(join())
        gateway.close()
        for side in codes:
            self.assertEqual(collections.Counter(codes[side]), {1001: count}, side)

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
        context = strict_context(authority.root)
        gateway = Gateway(http=None, https="127.0.0.1:0", certificate=site, ready="/ready", drain_timeout=60_000)
        with gateway.dial("https") as wire:
            wire.socket = context.wrap_socket(wire.socket, server_hostname="site.example", suppress_ragged_eofs=False)
            wire.send(GET.format("ready")).response()
            self.stopping(gateway)
            self.assertEqual(wire.rest(), b"")  # with a close_notify: otherwise that throws
        self.ended(gateway)
        gateway.close()

    def test_a_tunnel_over_tls_ends_in_order(self):
        def serve(wire):
            wire.send(accept(wire.head()[1]))
            read_frame(wire)
            wire.send(frame(struct.pack(">H", 1001), 8))
            wire.rest()
        upstream = self.opened(Upstream(serve))
        authority = self.opened(Authority())
        context = strict_context(authority.root)
        gateway = Gateway(http=None, https="127.0.0.1:0", certificate=authority.leaf("site.example"),
                          route=("/", upstream.url), drain_timeout=60_000)
        with gateway.dial("https") as wire:
            wire.socket = context.wrap_socket(wire.socket, server_hostname="site.example", suppress_ragged_eofs=False)
            wire.send(request()).response()
            self.stopping(gateway)
            self.assertEqual(close_code(read_frame(wire)[1]), 1001)
            wire.send(frame(struct.pack(">H", 1001), 8, masked=True))
            self.assertEqual(wire.rest(), b"")  # with a close_notify: otherwise that throws
        self.ended(gateway)
        gateway.close()


if __name__ == "__main__":
    unittest.main()
