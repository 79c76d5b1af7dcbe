"""WebSocket tunnels: Python's websockets at both ends, and sockets that cut frames where they like."""

import asyncio
import base64
import hashlib
import http
import multiprocessing
import os
import random
import socket
import struct
import threading
import time
import unittest

import websockets

from _peers import LOCAL, SANITIZED, Gateway, Loop, Nginx, Test, Upstream, curl, wait_for

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MESSAGES = 10_000 if SANITIZED else 100_000


def request(path="/ws", *lines, key=KEY, version=13):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: site.example", "Upgrade: websocket", "Connection: Upgrade",
                        f"Sec-WebSocket-Key: {key}", f"Sec-WebSocket-Version: {version}", *lines, "", ""]).encode()


def accept(fields, *lines):
    digest = hashlib.sha1((fields["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    return "\r\n".join(["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
                        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}", *lines, "", ""]).encode()


def frame(payload, opcode=2, masked=False, final=True, reserved=0):
    head = bytes([(0x80 if final else 0) | reserved | opcode])
    bit, size = 0x80 if masked else 0, len(payload)
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + payload
    mask = random.randbytes(4)
    stream = (mask * (size // 4 + 1))[:size]
    return head + mask + (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


def read_frame(wire):
    """(first byte, payload, whether it was masked)"""
    first, second = wire.read(2)
    size = second & 127
    if size == 126:
        size, = struct.unpack(">H", wire.read(2))
    elif size == 127:
        size, = struct.unpack(">Q", wire.read(8))
    mask = wire.read(4) if second & 128 else None
    payload = wire.read(size)
    if mask:
        stream = (mask * (size // 4 + 1))[:size]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")
    return first, payload, mask is not None


def close_code(payload):
    return struct.unpack(">H", payload[:2])[0]


def message(side, i):
    """What `side` says at i: text and binary, of many sizes, different on each side."""
    if i % 2:
        return f"{side} {i} " + "äöü"[i % 3] * (i * 7 % 50)
    return side.encode() + struct.pack(">I", i) + bytes([i % 251]) * (i * 13 % 200)


async def talk(socket, mine, theirs, count):
    async def say():
        for i in range(count):
            await socket.send(message(mine, i))

    async def hear():
        for i in range(count):
            got = await socket.recv()
            if got != message(theirs, i):
                raise AssertionError(f"{mine} heard {got[:60]!r} in the place of message {i}")
    await asyncio.gather(say(), hear())


async def converse(socket, mine, theirs, first):
    """In turns, without end: nothing piles up."""
    i = 0
    if first:
        await socket.send(message(mine, 0))
    while True:
        assert await socket.recv() == message(theirs, i)
        i += 1
        await socket.send(message(mine, i if first else i - 1))


def upstream_process(pipe, count):
    async def serve():
        ended = asyncio.get_running_loop().create_future()

        async def each(ws):
            try:
                await talk(ws, "upstream", "client", count)
                await ws.wait_closed()
                ended.set_result(f"{ws.close_code} {ws.close_reason}")
            except BaseException as error:
                ended.set_result(repr(error))
        async with websockets.serve(each, LOCAL, 0, compression=None, max_queue=1024) as server:
            pipe.send(server.sockets[0].getsockname()[1])
            pipe.send(await ended)
    asyncio.run(serve())


class Messages(Test):
    """Real clients and servers."""

    def setUp(self):
        self.loop = self.opened(Loop())

    def serve(self, each, **options):
        async def start():
            return await websockets.serve(each, LOCAL, 0, **options)
        server = self.loop.run(start())

        async def stop():
            server.close()
            await server.wait_closed()
        self.addCleanup(lambda: self.loop.run(stop()))
        port = server.sockets[0].getsockname()[1]
        return self.opened(Gateway(route=("/", f"http://{LOCAL}:{port}")))

    def test_many_messages_both_ways(self):
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=upstream_process, args=(there, MESSAGES), daemon=True)
        process.start()
        gateway = self.opened(Gateway(route=("/", f"http://{LOCAL}:{here.recv()}")))

        async def client():
            async with websockets.connect(f"ws://{LOCAL}:{gateway.port}/ws", compression=None, max_queue=1024) as ws:
                await talk(ws, "client", "upstream", MESSAGES)
                await ws.close(4321, "enough")
        self.loop.run(client(), 120)
        self.assertEqual(here.recv(), "4321 enough")
        process.join()

    def test_permessage_deflate_passes_through(self):
        async def each(ws):
            names = [e.name for e in ws.extensions]
            await ws.send(",".join(names))
            for i in range(100 if names else 0):
                assert await ws.recv() == f"up {i} " * 500
                await ws.send(f"down {i} " * 700)
        gateway = self.serve(each)

        async def client():
            async with websockets.connect(f"ws://{LOCAL}:{gateway.port}/ws") as ws:
                self.assertEqual([e.name for e in ws.extensions], ["permessage-deflate"])
                self.assertEqual(await ws.recv(), "permessage-deflate")
                for i in range(100):
                    await ws.send(f"up {i} " * 500)
                    self.assertEqual(await ws.recv(), f"down {i} " * 700)
            async with websockets.connect(f"ws://{LOCAL}:{gateway.port}/ws", compression=None) as ws:
                self.assertEqual((ws.extensions, await ws.recv()), ([], ""))
        self.loop.run(client())

    def test_subprotocols(self):
        async def each(ws):
            await ws.send(f"{ws.subprotocol} of {ws.request_headers.get('Sec-WebSocket-Protocol')}")
        gateway = self.serve(each, subprotocols=["chat.v2", "chat.v1"])

        async def client():
            url = f"ws://{LOCAL}:{gateway.port}/ws"
            async with websockets.connect(url, subprotocols=["other", "chat.v1"]) as ws:
                self.assertEqual((ws.subprotocol, await ws.recv()), ("chat.v1", "chat.v1 of other, chat.v1"))
            async with websockets.connect(url) as ws:
                self.assertIsNone(ws.subprotocol)
        self.loop.run(client())

    def test_what_the_upstream_sees(self):
        async def each(ws):
            await ws.send("\n".join(f"{n}: {v}" for n, v in ws.request_headers.raw_items()) + f"\npath: {ws.path}")
        gateway = self.serve(each)

        async def client():
            async with websockets.connect(f"ws://{LOCAL}:{gateway.port}/ws?token=a%20b", origin="https://site.example",
                                          extra_headers={"X-Forwarded-For": "6.6.6.6", "Cookie": "a=b"}) as ws:
                return (await ws.recv()).lower().split("\n")
        lines = self.loop.run(client())
        for line in (f"host: {LOCAL}:{gateway.port}", "origin: https://site.example", "cookie: a=b", "upgrade: websocket",
                     "connection: upgrade", f"x-forwarded-for: {LOCAL}", "x-forwarded-proto: http", "path: /ws?token=a%20b"):
            self.assertIn(line, lines)
        self.assertNotIn("6.6.6.6", " ".join(lines))

    def test_close_codes_both_ways(self):
        heard = asyncio.Queue()

        async def each(ws):
            order = await ws.recv()
            if order.startswith("close"):
                await ws.close(int(order.split()[1]), "said upstream")
            else:
                await ws.wait_closed()
            await heard.put((ws.close_code, ws.close_reason))
        gateway = self.serve(each)

        async def client():
            for code in (1000, 1003, 1011, 3000, 4999):
                async with websockets.connect(f"ws://{LOCAL}:{gateway.port}/") as ws:
                    await ws.send(f"close {code}")
                    await ws.wait_closed()
                    self.assertEqual((ws.close_code, ws.close_reason), (code, "said upstream"))
                self.assertEqual(await heard.get(), (code, "said upstream"))
                async with websockets.connect(f"ws://{LOCAL}:{gateway.port}/") as ws:
                    await ws.send("wait")
                    await ws.close(code, "said the client")
                self.assertEqual(await heard.get(), (code, "said the client"))
        self.loop.run(client())
        wait_for(lambda: gateway.connections() == 0, "no connection is left")

    def test_ping_and_fragments(self):
        async def each(ws):
            async for text in ws:
                await ws.send(text.upper())
        gateway = self.serve(each)

        async def client():
            async with websockets.connect(f"ws://{LOCAL}:{gateway.port}/", compression=None) as ws:
                for _ in range(5):
                    await asyncio.wait_for(await ws.ping(), 10)

                async def parts():
                    for part in ("one ", "two ", "three"):
                        yield part
                        await (await ws.ping())
                await ws.send(parts())
                self.assertEqual(await ws.recv(), "ONE TWO THREE")
                large = os.urandom(500_000).hex()
                await ws.send(large)
                self.assertEqual(await ws.recv(), large.upper())
        self.loop.run(client())

    def test_refused_upgrade_is_relayed(self):
        async def refuse(path, fields):
            if path == "/teapot":
                return http.HTTPStatus.IM_A_TEAPOT, [("X-Why", "short and stout")], b"no tunnel here\n"

        async def each(ws):
            await ws.send("hello")
        gateway = self.serve(each, process_request=refuse)

        async def client():
            with self.assertRaises(websockets.InvalidStatusCode) as refused:
                await websockets.connect(f"ws://{LOCAL}:{gateway.port}/teapot")
            self.assertEqual((refused.exception.status_code, refused.exception.headers["X-Why"]), (418, "short and stout"))
            async with websockets.connect(f"ws://{LOCAL}:{gateway.port}/") as ws:
                self.assertEqual(await ws.recv(), "hello")
        self.loop.run(client())

    def test_sigterm_says_1001(self):
        codes = []

        async def each(ws):
            try:
                await converse(ws, "upstream", "client", False)
            except websockets.ConnectionClosed:
                pass
            codes.append(ws.close_code)
        gateway = self.serve(each, compression=None)

        async def clients():
            idle = [await websockets.connect(f"ws://{LOCAL}:{gateway.port}/", compression=None) for _ in range(20)]
            busy = [await websockets.connect(f"ws://{LOCAL}:{gateway.port}/", compression=None) for _ in range(3)]

            async def chat(ws):
                try:
                    await converse(ws, "client", "upstream", True)
                except websockets.ConnectionClosed:
                    pass
            talking = [asyncio.create_task(chat(ws)) for ws in busy]
            await asyncio.sleep(0.1)
            began = time.monotonic()
            gateway.process.terminate()
            await asyncio.gather(*(ws.wait_closed() for ws in idle + busy), *talking)
            return time.monotonic() - began, [ws.close_code for ws in idle + busy]
        seconds, seen = self.loop.run(clients())
        self.assertEqual(gateway.process.wait(5), 0)
        self.assertEqual(set(seen), {1001})
        self.assert_within(1.5, seconds)
        wait_for(lambda: len(codes) == 23, "all upstream legs have ended")
        self.assertEqual(set(codes), {1001})


class Bytes(Test):
    """Sockets that cut frames where they like."""

    def gateway_to(self, serve, **options):
        upstream = self.opened(Upstream(serve))
        return self.opened(Gateway(route=("/", upstream.url), **options))

    def serve_tunnel(self, then, *lines, glued=b"", **options):
        """An upstream that accepts, says `glued` in the segment of the 101, and goes on with `then(wire)`."""
        def serve(wire):
            _, fields = wire.head()
            wire.send(accept(fields, *lines) + glued)
            then(wire)
        return self.gateway_to(serve, **options)

    def open(self, gateway, *lines, glued=b"", **options):
        wire = self.opened(gateway.dial(**options))
        wire.send(request("/ws", *lines) + glued)
        line, fields = wire.head()
        self.assertEqual(line.split()[1], "101", line)
        self.assertEqual((fields["upgrade"].lower(), fields["connection"].lower()), ("websocket", "upgrade"))
        return wire

    def test_glued_to_the_request_and_to_the_101(self):
        up, down = random.randbytes(3000), random.randbytes(30_000)
        heard = []

        def then(wire):
            heard.append(read_frame(wire))
            wire.send(frame(b"after"))
            heard.append(read_frame(wire))
        gateway = self.serve_tunnel(then, glued=frame(down))
        wire = self.open(gateway, glued=frame(up, masked=True))
        self.assertEqual(read_frame(wire), (0x82, down, False))
        self.assertEqual(read_frame(wire), (0x82, b"after", False))
        wire.send(frame(b"last", masked=True))
        wire.end()
        self.assertTrue(wire.ends())
        self.assertEqual(heard, [(0x82, up, True), (0x82, b"last", True)])

    def test_early_frames_before_a_slow_101(self):
        up = [random.randbytes(900) for _ in range(8)]
        heard = []

        def serve(wire):
            _, fields = wire.head()
            time.sleep(0.1)
            wire.send(accept(fields))
            for _ in up:
                heard.append(read_frame(wire)[1])
            wire.send(frame(b"all"))
        gateway = self.gateway_to(serve)
        with gateway.dial() as wire:
            wire.send(request())
            for part in up:
                wire.send(frame(part, masked=True))
                time.sleep(0.005)
            self.assertEqual(wire.head()[0].split()[1], "101")
            self.assertEqual(read_frame(wire)[1], b"all")
        self.assertEqual(heard, up)

    def test_many_early_frames_before_a_slow_101(self):
        up = [random.randbytes(60_000) for _ in range(20)]
        heard = []

        def serve(wire):
            _, fields = wire.head()
            time.sleep(0.1)
            wire.send(accept(fields))
            for _ in up:
                heard.append(read_frame(wire)[1])
            wire.send(frame(b"all"))
        gateway = self.gateway_to(serve)
        with gateway.dial() as wire:
            wire.send(request() + b"".join(frame(part, masked=True) for part in up))
            self.assertEqual(wire.head()[0].split()[1], "101")
            self.assertEqual(read_frame(wire)[1], b"all")
        self.assertEqual(heard, up)

    def test_early_frames_do_not_become_a_request(self):
        """An upstream that refuses never sees what a client had sent after its upgrade."""
        seen = []

        def serve(wire):
            while True:
                line, fields = wire.head()
                seen.append(line)
                thinks.set()
                go_on.wait(10)
                wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        gateway = self.gateway_to(serve)
        for glued in (True, False):
            thinks, go_on = threading.Event(), threading.Event()
            with gateway.dial() as wire:
                smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
                wire.send(request() + (smuggled if glued else b""))
                self.assertTrue(thinks.wait(10))
                if not glued:
                    wire.send(smuggled)
                go_on.set()
                answer = wire.response()
                self.assertEqual((answer.status, answer.fields["connection"].lower()), (403, "close"))
                self.assertTrue(wire.ends())
        with gateway.dial() as wire:
            for _ in range(2):
                self.assertEqual(wire.send(request()).response().body, b"no")
        self.assertEqual(seen, ["GET /ws HTTP/1.1"] * 4)

    def test_single_bytes(self):
        up = [random.randbytes(n) for n in (0, 1, 125, 126, 300)]
        down = [random.randbytes(n) for n in (299, 127, 126, 2, 0)]
        heard = []

        def then(wire):
            writer = threading.Thread(target=wire.send_single_bytes, args=(b"".join(map(frame, down)),))
            writer.start()
            for _ in up:
                heard.append(read_frame(wire)[1])
            writer.join()
            assert wire.ends()
        gateway = self.serve_tunnel(then)
        wire = self.opened(gateway.dial())
        wire.send_single_bytes(request())
        self.assertEqual(wire.head()[0].split()[1], "101")
        writer = threading.Thread(target=wire.send_single_bytes, args=(b"".join(frame(p, masked=True) for p in up),))
        writer.start()
        self.assertEqual([read_frame(wire)[1] for _ in down], down)
        writer.join()
        wire.end()
        self.assertTrue(wire.ends())
        self.assertEqual(heard, up)

    def test_large_frames_both_ways_at_once(self):
        up, down = random.randbytes(30_000_000), random.randbytes(40_000_000)
        heard = []

        def then(wire):
            writer = threading.Thread(target=wire.send, args=(frame(down),))
            writer.start()
            heard.append(hashlib.sha256(read_frame(wire)[1]).digest())
            writer.join()
        gateway = self.serve_tunnel(then)
        wire = self.open(gateway)
        writer = threading.Thread(target=wire.send, args=(frame(up, masked=True),))
        writer.start()
        self.assertEqual(hashlib.sha256(read_frame(wire)[1]).digest(), hashlib.sha256(down).digest())
        writer.join()
        self.assertTrue(wire.ends())
        self.assertEqual(heard, [hashlib.sha256(up).digest()])
        self.assert_grown_less(gateway, 0, 100_000)

    def test_half_close_by_the_client_first(self):
        down = random.randbytes(2_000_000)
        heard = []

        def then(wire):
            heard.append(wire.rest())  # the end comes while this side still has all to say
            wire.send(frame(down))
        gateway = self.serve_tunnel(then)
        wire = self.open(gateway)
        said = frame(b"the last words", masked=True)
        wire.send(said)
        wire.end()
        self.assertEqual(wire.rest(), frame(down))
        self.assertEqual(heard, [said])
        wait_for(lambda: gateway.connections() == 0, "the tunnel is gone")

    def test_half_close_by_the_upstream_first(self):
        up = frame(random.randbytes(2_000_000), masked=True)
        heard = []

        def then(wire):
            wire.send(frame(b"the last words"))
            wire.end()
            heard.append(wire.rest())
        gateway = self.serve_tunnel(then)
        wire = self.open(gateway)
        self.assertEqual(wire.rest(), frame(b"the last words"))
        wire.send(up)
        wire.end()
        wait_for(lambda: heard, "the upstream has heard all")
        self.assertEqual(heard, [up])
        wait_for(lambda: gateway.connections() == 0, "the tunnel is gone")

    def test_linger_ends_what_nobody_ends(self):
        gateway = self.serve_tunnel(lambda wire: wire.end() or wire.rest(), linger=200)
        wire = self.open(gateway)
        self.assertTrue(wire.ends())
        wait_for(lambda: gateway.connections() == 0, "the tunnel is gone")

    def test_idle_tunnel_ends(self):
        gateway = self.serve_tunnel(lambda wire: wire.rest(), tunnel_timeout=200)
        wire = self.open(gateway)
        for _ in range(6):  # either direction keeps it
            time.sleep(0.08)
            wire.send(frame(b"", 9, masked=True))
        self.assertTrue(wire.ends())
        wait_for(lambda: gateway.connections() == 0, "the tunnel is gone")

    def test_reset_ends_both_at_once(self):
        ended = threading.Event()

        def hear(wire):
            try:
                wire.rest()
            finally:
                ended.set()
        gateway = self.serve_tunnel(hear)
        wire = self.open(gateway)
        began = time.monotonic()
        wire.reset()
        self.assertTrue(ended.wait(10))
        self.assert_within(1, time.monotonic() - began)

        gateway = self.serve_tunnel(lambda wire: wire.read(1) and wire.reset())
        wire = self.open(gateway).send(b"\x82")
        self.assertTrue(wire.ends())
        wait_for(lambda: gateway.connections() == 0, "the tunnel is gone")

    def test_bad_101s_are_502(self):
        def with_lines(*lines):
            return lambda fields: accept(fields, *lines)
        for name, answer in {
                "wrong accept": lambda f: accept(Fake()),
                "no accept": lambda f: b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                "other upgrade": lambda f: accept(f).replace(b"websocket", b"h2c"),
                "no connection": lambda f: accept(f).replace(b"Connection: Upgrade\r\n", b""),
                "subprotocol not offered": with_lines("Sec-WebSocket-Protocol: other"),
                "extension not offered": with_lines("Sec-WebSocket-Extensions: x-other"),
                "malformed": lambda f: accept(f).replace(b"\r\n", b"\n")}.items():
            with self.subTest(name):
                def serve(wire):
                    _, fields = wire.head()
                    wire.send(answer(fields) + frame(b"secret"))
                    wire.rest()
                gateway = self.gateway_to(serve)
                with gateway.dial() as wire:
                    answered = wire.send(request("/", "Sec-WebSocket-Protocol: chat")).response()
                    self.assertEqual(answered.status, 502)
                    self.assertNotIn(b"secret", answered.body)

    def test_bad_requests_never_reach_the_upstream(self):
        upstream = self.opened(Upstream(lambda wire: wire.rest()))
        gateway = self.opened(Gateway(route=("/", upstream.url)))
        for sent, status in (
                (request(version=8), 426), (request(key="short"), 400), (request(key=""), 400),
                (request("/", f"Sec-WebSocket-Key: {KEY}"), 400), (request("/", "Content-Length: 5") + b"hello", 400),
                (request("/", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400)):
            with self.subTest(sent), gateway.dial() as wire:
                answer = wire.send(sent).response()
                self.assertEqual(answer.status, status)
                self.assertEqual(answer.fields["sec-websocket-version"], "13" if status == 426 else "")
        self.assertEqual(upstream.accepted, 0)

    def test_upgrade_that_is_none(self):
        """Not an upgrade: an ordinary request, and no tunnel even if the upstream says 101."""
        seen = []

        def serve(wire):
            while True:
                line, fields, _ = wire.request()
                seen.append(fields["upgrade"])
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        gateway = self.gateway_to(serve)
        for sent in (request().replace(b"HTTP/1.1", b"HTTP/1.0"), request().replace(b"Connection: Upgrade\r\n", b""),
                     request().replace(b"websocket", b"h2c"), request().replace(b"GET", b"POST")):
            with gateway.dial() as wire:
                self.assertEqual(wire.send(sent).response().status, 200, sent)
        self.assertEqual(seen, [""] * 4)

    def test_content_length_0_is_no_body(self):
        gateway = self.serve_tunnel(lambda wire: wire.send(frame(b"open")))
        wire = self.open(gateway, "Content-Length: 0")
        self.assertEqual(read_frame(wire)[1], b"open")

    def test_nginx_refuses_the_upgrade(self):
        nginx = self.opened(Nginx())
        nginx.file("a.txt", b"a file")
        gateway = self.opened(Gateway(route=("/", nginx.url)))
        with gateway.dial() as wire:  # nginx takes no upgrades: an ordinary response
            answer = wire.send(request("/a.txt")).response()
            self.assertEqual((answer.status, answer.body), (200, b"a file"))
            self.assertEqual(wire.send(request("/none")).response().status, 404)
        line = nginx.logged(2)[0]
        self.assertEqual(line["request"], "GET /a.txt HTTP/1.1")

    def test_client_that_leaves_while_the_upstream_thinks(self):
        for leave in ("close", "reset"):
            asked, left = threading.Event(), threading.Event()

            def serve(wire):
                wire.head()
                asked.set()
                try:
                    wire.rest()
                finally:
                    left.set()
            gateway = self.gateway_to(serve)
            wire = gateway.dial()
            wire.send(request())
            self.assertTrue(asked.wait(10))
            began = time.monotonic()
            getattr(wire, leave)()
            self.assertTrue(left.wait(10), "the upstream still thinks")
            self.assert_within(0.5, time.monotonic() - began)
            wait_for(lambda: gateway.connections() == 0, "the connection is gone")

    def test_stalled_reader(self):
        """Who does not read stops who writes to it, memory stays where it is, and others are served."""
        blocked = []

        def serve(wire):
            line, fields = wire.head()
            wire.send(accept(fields))
            if "stall" not in line:
                while True:
                    first, payload, _ = read_frame(wire)
                    wire.send(frame(payload[::-1], 1))
            wire.socket.settimeout(1)
            data, sent = frame(b"x" * 60_000) * 10, 0
            try:
                while sent < 200_000_000:
                    sent += wire.socket.send(data)
            except TimeoutError:
                blocked.append(sent)
            wire.socket.settimeout(30)
            wire.rest()
        gateway = self.gateway_to(serve)
        neighbour = self.opened(gateway.dial())
        neighbour.send(request("/neighbour"))
        neighbour.head()

        def served():
            for i in range(200):
                neighbour.send(frame(b"%d is a number" % i, 1, masked=True))
                self.assertEqual(read_frame(neighbour)[1], (b"%d is a number" % i)[::-1])
        served()
        before, count = gateway.memory(), 30
        stalled = []
        for _ in range(count):
            stalled.append(self.opened(gateway.dial(receive_buffer=4096)))
            stalled[-1].send(request("/stall"))
            self.assertEqual(stalled[-1].head()[0].split()[1], "101")
        served()
        wait_for(lambda: len(blocked) == count, "all writers stand still")
        served()
        self.assertTrue(all(sent < 20_000_000 for sent in blocked), blocked)
        self.assert_grown_less(gateway, before, count * 500)
        # The other direction of a stalled tunnel is free.
        for wire in stalled:
            wire.send(frame(b"still here", masked=True))
        # And who reads again gets everything, in order.
        wire = stalled[0]
        have = len(wire.buffer)
        wanted = frame(b"x" * 60_000) * 10
        self.assertEqual(wire.read(len(wanted)), wanted)

    def test_stalled_upstream(self):
        def then(wire):
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stop.wait(PATIENT)
        PATIENT = 20
        stop = threading.Event()
        self.addCleanup(stop.set)
        gateway = self.serve_tunnel(then)
        wire = self.open(gateway)
        before = gateway.memory()
        wire.socket.settimeout(0.5)
        sent = 0
        with self.assertRaises(TimeoutError):
            while sent < 200_000_000:
                sent += wire.socket.send(frame(b"y" * 60_000, masked=True))
        self.assert_grown_less(gateway, before, 2000)

    def test_10000_connects_and_disconnects(self):
        def serve(wire):
            _, fields = wire.head()
            wire.send(accept(fields) + frame(fields["x-number"].encode()))
            wire.rest()
        gateway = self.gateway_to(serve)
        wait_for(lambda: gateway.connections() == 0, "no connection")
        with gateway.dial() as wire:  # what is made once is made
            wire.send(request("/", "X-Number: 0")).head()
        wait_for(lambda: gateway.connections() == 0, "no connection")
        before, memory = gateway.descriptors(), gateway.memory()
        failures = []
        rounds = 200 if SANITIZED else 2500

        def client(number):
            try:
                for i in range(rounds):
                    wire = gateway.dial()
                    wire.send(request("/", f"X-Number: {number}-{i}"))
                    if i % 5 == 4:  # leaves before the answer
                        wire.reset() if i % 2 else wire.close()
                        continue
                    assert wire.head()[0].split()[1] == "101"
                    assert read_frame(wire)[1] == f"{number}-{i}".encode()
                    wire.reset() if i % 3 == 0 else wire.close()
            except Exception as error:
                failures.append(error)
        threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        wait_for(lambda: gateway.connections() == 0, "all connections are gone")
        wait_for(lambda: gateway.descriptors() == before, f"{before} descriptors, not {gateway.descriptors()}")
        self.assert_grown_less(gateway, memory, 4096)

    def test_many_tunnels_at_once(self):
        def serve(wire):
            _, fields = wire.head()
            wire.send(accept(fields))
            wire.send(frame(b"down " + read_frame(wire)[1]))
            wire.rest()
        count = 200 if SANITIZED else 500
        gateway = self.gateway_to(serve)
        with gateway.dial() as wire:
            wire.send(request()).head()
        wait_for(lambda: gateway.connections() == 0, "no connection")
        before = gateway.descriptors()
        wires = [self.open(gateway) for _ in range(count)]
        self.assertEqual(gateway.connections(), count)
        for i, wire in enumerate(wires):
            wire.send(frame(b"up %d" % i, masked=True))
        for i, wire in enumerate(wires):
            self.assertEqual(read_frame(wire)[1], b"down up %d" % i)
        for wire in wires:
            wire.close()
        wait_for(lambda: gateway.connections() == 0, "all connections are gone")
        wait_for(lambda: gateway.descriptors() == before, "all descriptors are back")


class Fake(dict):
    def __missing__(self, _):
        return "another key"


class Sigterm(Test):
    """How tunnels end, byte by byte."""

    def open(self, then):
        def serve(wire):
            _, fields = wire.head()
            wire.send(accept(fields))
            then(wire)
        upstream = self.opened(Upstream(serve))
        gateway = self.opened(Gateway(route=("/", upstream.url)))
        wire = self.opened(gateway.dial())
        wire.send(request())
        self.assertEqual(wire.head()[0].split()[1], "101")
        return gateway, wire

    def test_idle_tunnel(self):
        heard = []

        def then(wire):
            heard.append(read_frame(wire))
            wire.send(frame(heard[0][1], 8))  # the echo
            heard.append(wire.rest())
        gateway, wire = self.open(then)
        began = time.monotonic()
        gateway.process.terminate()
        first, payload, masked = read_frame(wire)
        self.assert_within(1, time.monotonic() - began)
        self.assertEqual((first, close_code(payload), masked), (0x88, 1001, False))
        wire.send(frame(payload, 8, masked=True))
        wire.end()
        self.assertTrue(wire.ends())
        self.assertEqual(gateway.process.wait(10), 0)
        self.assert_within(2, time.monotonic() - began)
        wait_for(lambda: len(heard) == 2, "the upstream has ended")
        self.assertEqual((heard[0][0], close_code(heard[0][1]), heard[0][2]), (0x88, 1001, True))
        self.assertEqual(heard[1], b"")

    def test_within_frames(self):
        """A frame that is on its way goes on to its end; Close follows, and nothing after it."""
        payload = random.randbytes(100_000)
        heard = []
        halfway, go_on = threading.Event(), threading.Event()

        def then(wire):
            data = frame(payload)
            wire.send(data[:50_000])
            begun = wire.read(3)  # the gateway is within this frame, too
            halfway.set()
            go_on.wait(10)
            wire.send(data[50_000:] + frame(b"too late"))
            wire.buffer = begun + wire.buffer
            heard.append(read_frame(wire))
            heard.append(read_frame(wire))
        gateway, wire = self.open(then)
        data = frame(payload[::-1], masked=True)
        wire.send(data[:3])  # within the head of a frame
        self.assertTrue(halfway.wait(10))
        wire.read_until(frame(payload)[:10])
        wire.read(40_000)
        began = time.monotonic()
        gateway.process.terminate()
        time.sleep(0.1)
        go_on.set()
        wire.send(data[3:] + frame(b"too late", masked=True))
        wire.read(len(frame(payload)) - 40_010)
        first, close, masked = read_frame(wire)
        self.assertEqual((first, close_code(close), masked), (0x88, 1001, False))
        wire.send(frame(close, 8, masked=True))
        self.assertTrue(wire.ends())
        wait_for(lambda: len(heard) == 2, "the upstream has heard two frames")
        self.assertEqual(heard[0], (0x82, payload[::-1], True))
        self.assertEqual((heard[1][0], close_code(heard[1][1]), heard[1][2]), (0x88, 1001, True))
        self.assertEqual(gateway.process.wait(10), 0)
        self.assert_within(2, time.monotonic() - began)

    def test_peers_that_do_not_answer(self):
        """The process ends within two seconds whatever the peers do: silent, stalled, in the middle of a frame."""
        stop = threading.Event()
        self.addCleanup(stop.set)

        def serve(wire):
            line, fields = wire.head()
            if "/never" in line:
                stop.wait(20)
            wire.send(accept(fields) if "/ws" in line else "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            if "/flood" in line or "/ws/flood" in line:
                wire.socket.settimeout(5)
                while not stop.is_set():
                    wire.send(frame(b"z" * 10_000))
            stop.wait(20)
        upstream = self.opened(Upstream(serve))
        gateway = self.opened(Gateway(route=("/", upstream.url), relay=("127.0.0.1:0", upstream.where)))
        wires = [self.opened(gateway.dial(receive_buffer=4096)) for _ in range(8)]
        for wire, sent in zip(wires, (request(), request("/ws/flood"), request() + b"\x82\xfe", b"",
                                      b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n",
                                      b"GET /half HTT", b"POST /never HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")):
            wire.send(sent)
        self.opened(gateway.dial("relay")).send("GET /ws HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n").head()
        wait_for(lambda: upstream.accepted >= 7, "all are served")
        time.sleep(0.1)
        self.assert_within(2, gateway.terminate())

    def test_second_signal_ends_at_once(self):
        stop = threading.Event()
        self.addCleanup(stop.set)
        gateway, wire = self.open(lambda wire: stop.wait(20))
        began = time.monotonic()
        gateway.process.terminate()
        read_frame(wire)
        gateway.process.terminate()
        self.assertEqual(gateway.process.wait(10), 0)
        self.assert_within(0.9, time.monotonic() - began)


if __name__ == "__main__":
    unittest.main()
