"""TLS towards clients and upstreams: curl, openssl s_client, Python's ssl, nginx with https, wss."""

import asyncio
import hashlib
import json
import random
import ssl
import subprocess
import threading
import time
import unittest

import websockets

from _certificates import Authority, strict_context
from _peers import LOCAL, Gateway, Loop, Nginx, Test, Upstream, curl, free_port, wait_for
from websocket_tunnel import accept, converse, frame, read_frame, request, talk

MIB = 1 << 20


def get(path, *lines, method="GET", version="1.1"):
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: site.example", *lines, "", ""])


class TlsTest(Test):
    @classmethod
    def setUpClass(cls):
        cls.authority = cls.shared(Authority())
        cls.site = cls.authority.leaf("site.example", "localhost", LOCAL)

    def context(self, root=None, version=None, alpn=None):
        made = strict_context(root or self.authority.root)
        if version:
            made.minimum_version = made.maximum_version = version
        if alpn:
            made.set_alpn_protocols(alpn)
        return made

    def shake(self, gateway, name="site.example", context=None, session=None, listener="https", **options):
        wire = gateway.dial(listener, **options)
        try:
            wire.socket = (context or self.context()).wrap_socket(
                wire.socket, server_hostname=name, session=session, suppress_ragged_eofs=False)
        except BaseException:
            wire.close()
            raise
        return self.opened(wire)

    def answered(self, wire, path="/a.txt"):
        return wire.send(get(path)).response()


class Front(TlsTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nginx = cls.shared(Nginx())
        cls.text = b"a text of some length\n" * 100
        cls.mib = random.randbytes(MIB)
        cls.nginx.file("a.txt", cls.text)
        cls.nginx.file("mib", cls.mib)
        cls.other = cls.authority.leaf("other.example", rsa=True)
        cls.wild = cls.authority.leaf("*.wild.example")
        cls.gateway = cls.shared(Gateway(https="127.0.0.1:0", route=("/", cls.nginx.url),
                                         certificate=[cls.site, cls.other, cls.wild]))

    def curl(self, path, *arguments, **more):
        port = self.gateway.tls_port
        return curl("--cacert", self.authority.root, "--resolve", f"site.example:{port}:{LOCAL}",
                    f"https://site.example:{port}{path}", *arguments, **more)

    def s_client(self, *arguments, data=b"", port=None):
        done = subprocess.run(["openssl", "s_client", "-connect", f"{LOCAL}:{port or self.gateway.tls_port}",
                               *map(str, arguments)], input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=30)
        return done.returncode, done.stdout.decode("latin-1")

    def test_client_of_tls_1_2_that_trusts_the_root_alone(self):
        for version in ("1.2", "1.3"):
            self.assertEqual(self.curl("/a.txt", "--tls-max", version, f"--tlsv{version}"), self.text)
        wire = self.shake(self.gateway, context=self.context(version=ssl.TLSVersion.TLSv1_2))
        self.assertEqual(wire.socket.version(), "TLSv1.2")
        self.assertIn("ECDHE", wire.socket.cipher()[0])
        self.assertEqual(self.answered(wire).body, self.text)
        status, said = self.s_client("-tls1_2", "-CAfile", self.authority.root, "-no-CApath", "-no-CAstore",
                                     "-verify_return_error", "-servername", "site.example", "-verify_hostname", "site.example",
                                     "-showcerts")
        self.assertEqual(status, 0, said)
        self.assertIn("Verify return code: 0 (ok)", said)
        self.assertEqual(said.count("BEGIN CERTIFICATE"), 2, "leaf and intermediate, without the root")

    def test_an_idle_connection_ends_in_order(self):
        """With a close_notify: without, the read throws."""
        gateway = self.opened(Gateway(https="127.0.0.1:0", route=("/", self.nginx.url), certificate=self.site,
                                      keep_alive_timeout=200))
        wire = self.shake(gateway)
        self.assertEqual(self.answered(wire).body, self.text)
        self.assertEqual(wire.rest(), b"")

    def test_client_that_does_not_trust_us(self):
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.shake(self.gateway, context=self.context(root=self.authority.unknown_root))
        self.assertEqual(self.answered(self.shake(self.gateway)).body, self.text)

    def test_tls_1_3(self):
        wire = self.shake(self.gateway)
        self.assertEqual(wire.socket.version(), "TLSv1.3")
        self.assertEqual(self.answered(wire).body, self.text)

    def test_old_versions_and_ciphers_are_refused(self):
        for arguments in (("-tls1_1",), ("-tls1",), ("-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"),
                          ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
                          ("-tls1_2", "-cipher", "AES128-GCM-SHA256", "-servername", "other.example"),
                          ("-tls1_2", "-cipher", "ALL:eNULL:!ECDHE:!DHE:@SECLEVEL=0")):
            with self.subTest(arguments):
                status, said = self.s_client(*arguments)
                self.assertNotEqual(status, 0, said)

    def test_renegotiation_is_refused(self):
        wire = subprocess.Popen(["openssl", "s_client", "-connect", f"{LOCAL}:{self.gateway.tls_port}", "-tls1_2"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wire.stdin.write(b"R\n")
        wire.stdin.flush()
        said, _ = wire.communicate(timeout=20)
        self.assertRegex(said.decode("latin-1"), "no renegotiation|handshake failure|unexpected message")

    def test_names_choose_the_certificate(self):
        for asked, name in (("site.example", "site.example"), ("SITE.example", "site.example"), ("other.example", "other.example"),
                            ("a.wild.example", "*.wild.example"), ("a.b.wild.example", "site.example"),
                            ("wild.example", "site.example"), ("unknown.example", "site.example"), (None, "site.example")):
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                with self.subTest(asked, version=version):
                    context = self.context(version=version)
                    context.check_hostname = False
                    wire = self.shake(self.gateway, asked, context)
                    subject = dict(pair[0] for pair in wire.socket.getpeercert()["subject"])
                    self.assertEqual(subject["commonName"], name)
                    self.assertEqual(self.answered(wire).body, self.text)

    def test_alpn(self):
        for offered, chosen in ((["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0"),
                                (["http/1.0", "http/1.1"], "http/1.1"), (None, None)):
            wire = self.shake(self.gateway, context=self.context(alpn=offered))
            self.assertEqual(wire.socket.selected_alpn_protocol(), chosen)
            self.assertEqual(self.answered(wire).body, self.text)
        self.assertEqual(self.curl("/a.txt", "--http2"), self.text)

    def test_alpn_without_a_protocol_in_common(self):
        for offered in (["h2"], ["h3", "spdy/3"]):
            with self.assertRaisesRegex(ssl.SSLError, "(?i)no.application.protocol"):
                self.shake(self.gateway, context=self.context(alpn=offered))
        _, said = self.s_client("-alpn", "h2")
        self.assertIn("alert no application protocol", said)

    def test_plain_http_on_the_https_port(self):
        for sent in (get("/a.txt"), get("/", "Content-Length: 5", method="POST") + "hello", "GET / HTTP/1.0\r\n\r\n",
                     get("/" + "x" * 5000)):
            with self.gateway.dial("https") as wire:
                answer = wire.send(sent).response()
                self.assertEqual(answer.status, 400)
                self.assertIn(b"https", answer.body.lower())
                self.assertTrue(wire.ends())
        done = curl(f"http://{LOCAL}:{self.gateway.tls_port}/", "-w", "%{http_code}")
        self.assertTrue(done.endswith(b"400"))

    def test_nonsense_on_the_https_port(self):
        for sent in (b"\0" * 100, b"SSH-2.0-OpenSSH\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 300, random.randbytes(500)):
            with self.gateway.dial("https") as wire:
                wire.send(sent)
                wire.end()
                try:
                    wire.rest()  # an alert, or nothing
                except ConnectionResetError:
                    pass
        self.assertEqual(self.answered(self.shake(self.gateway)).body, self.text)
        wait_for(lambda: self.gateway.connections() <= 1, "they are gone")

    def test_tickets_resume(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context(version=version)
            first = self.shake(self.gateway, context=context)
            self.assertFalse(first.socket.session_reused)
            self.answered(first)  # tickets of TLS 1.3 come after the handshake
            session = first.socket.session
            first.close()
            for _ in range(3):
                again = self.shake(self.gateway, context=context, session=session)
                self.assertTrue(again.socket.session_reused, version)
                self.assertEqual(self.answered(again).body, self.text)

    def test_without_tickets_nothing_resumes(self):
        gateway = self.opened(Gateway(https="127.0.0.1:0", route=("/", self.nginx.url), certificate=[self.site], tickets=0))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context(version=version)
            first = self.shake(gateway, context=context)
            self.answered(first)
            session = first.socket.session
            if session is not None:
                again = self.shake(gateway, context=context, session=session)
                self.assertFalse(again.socket.session_reused)
                self.assertEqual(self.answered(again).body, self.text)

    def test_what_the_origin_is_told(self):
        wire = self.shake(self.gateway)
        seen = json.loads(self.answered(wire, "/see").body)
        self.assertEqual((seen["x_forwarded_proto"], seen["x_forwarded_port"]), ("https", str(self.gateway.tls_port)))
        self.assertEqual(seen["x_forwarded_for"], LOCAL)

    def test_bodies_both_ways(self):
        large = random.randbytes(20_000_000)
        code = self.curl("/put/large", "-T", "-", "-w", "%{http_code}", data=large)
        self.assertEqual(code, b"201")
        self.assertEqual(hashlib.sha256((self.nginx.path / "html/put/large").read_bytes()).digest(),
                         hashlib.sha256(large).digest())
        self.assertEqual(self.curl("/put/large"), large)
        self.assertEqual(self.curl("/put/large", "--tls-max", "1.2"), large)
        self.assertEqual(self.curl("/included/mib"), self.mib)
        self.assert_grown_less(self.gateway, 0, 200_000)

    def test_many_requests_on_one_connection(self):
        wire = self.shake(self.gateway)
        wire.send(get("/a.txt") * 50)
        for _ in range(50):
            self.assertEqual(wire.response().body, self.text)
        wire.send_single_bytes(get("/mib").encode())
        self.assertEqual(wire.response().body, self.mib)

    def test_clean_end(self):
        """A body that ends with the connection ends with close_notify."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            wire = self.shake(self.gateway, context=self.context(version=version))
            wire.send("GET /included/mib HTTP/1.0\r\n\r\n")
            answer = wire.response()  # a ragged end would raise
            self.assertEqual(answer.body, self.mib)

    def test_abort_is_not_a_clean_end(self):
        def serve(wire):
            wire.request()
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart")
        upstream = self.opened(Upstream(serve))
        gateway = self.opened(Gateway(https="127.0.0.1:0", route=("/", upstream.url), certificate=[self.site]))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for sent in (get("/"), "GET / HTTP/1.0\r\n\r\n"):
                wire = self.shake(gateway, context=self.context(version=version))
                wire.send(sent).head()
                with self.assertRaises((ssl.SSLEOFError, ConnectionResetError)):
                    wire.rest()

    def test_handshake_deadline(self):
        gateway = self.opened(Gateway(https="127.0.0.1:0", route=("/", self.nginx.url), certificate=[self.site],
                                      handshake_timeout=300))
        began = time.monotonic()
        silent, partial = self.opened(gateway.dial("https")), self.opened(gateway.dial("https"))
        partial.send(b"\x16\x03\x01\x02\x00\x01\x00")
        dripping = self.opened(gateway.dial("https"))
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 400
        try:
            for i in range(len(hello)):
                dripping.send(hello[i:i + 1])
                time.sleep(0.02)
                if time.monotonic() - began > 1.2:
                    self.fail("a handshake that drips has no end")
        except ConnectionError:
            pass
        self.assertTrue(silent.ends())
        try:
            partial.rest()  # an alert, or nothing
        except ConnectionResetError:
            pass
        self.assert_within(2, time.monotonic() - began)
        wait_for(lambda: gateway.connections() == 0, "all are gone")

    def test_many_handshakes(self):
        context = self.context()
        warm = self.shake(self.gateway, context=context)
        self.answered(warm)
        warm.close()
        wait_for(lambda: self.gateway.connections() == 0, "no connection")
        before = self.gateway.descriptors()
        failures = []

        def client():
            try:
                for i in range(60):
                    wire = self.gateway.dial("https")
                    wire.socket = context.wrap_socket(wire.socket, server_hostname="site.example")
                    if i % 3:
                        assert wire.send(get("/a.txt")).response().body == self.text
                    wire.reset() if i % 2 else wire.close()
            except Exception as error:
                failures.append(error)
        threads = [threading.Thread(target=client) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        wait_for(lambda: self.gateway.connections() == 0, "all are gone")
        # Idle connections to the origin may be more than before.
        wait_for(lambda: self.gateway.descriptors() <= before + 4, "descriptors are back")

    def test_relay_over_tls(self):
        def serve(wire):
            wire.send(b"hello ")
            wire.send(wire.read(5)[::-1])
            wire.end()
            wire.rest()
        upstream = self.opened(Upstream(serve))
        gateway = self.opened(Gateway(http=None, tls_relay=("127.0.0.1:0", upstream.where), certificate=[self.site]))
        wire = self.shake(gateway, listener="tls-relay", context=self.context(alpn=["h2"]))
        self.assertIsNone(wire.socket.selected_alpn_protocol(), "no HTTP follows")
        wire.send(b"abcde")
        self.assertEqual(wire.rest(), b"hello edcba")


class HttpsUpstreams(TlsTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nginx = cls.shared(Nginx(certificate=cls.site))
        cls.nginx.file("a.txt", b"over TLS")

    def setUp(self):
        self.nginx.clear_log()

    def status(self, url=None, **options):
        gateway = self.opened(Gateway(route=("/", url or self.nginx.url), **options))
        with gateway.dial() as wire:
            return wire.send(get("/a.txt")).response().status

    def test_verified(self):
        large = random.randbytes(5_000_000)
        self.nginx.file("large", large)
        gateway = self.opened(Gateway(route=("/", self.nginx.url), ca=self.authority.root))
        with gateway.dial() as wire:
            for _ in range(5):
                self.assertEqual(wire.send(get("/a.txt")).response().body, b"over TLS")
        lines = self.nginx.logged(5)
        self.assertEqual({(line["tls"], line["host"]) for line in lines}, {("TLSv1.3", "site.example")})
        self.assertEqual(len({line["connection"] for line in lines}), 1, "the connection is used again")
        self.assertEqual(curl(gateway.url("/large")), large)
        self.assertEqual(curl(gateway.url("/put/large"), "-T", "-", "-w", "%{http_code}", data=large), b"201")
        self.assertEqual((self.nginx.path / "html/put/large").read_bytes(), large)
        # By the name of the host as well.
        self.assertEqual(self.status(f"https://localhost:{self.nginx.port}", ca=self.authority.root), 200)

    def test_unknown_authority_is_refused(self):
        self.assertEqual(self.status(), 502)
        self.assertEqual(self.status(ca=self.authority.unknown_root), 502)
        self.assertEqual(self.nginx.log(), [], "the request was never sent")

    def test_wrong_name_is_refused(self):
        nginx = self.opened(Nginx(certificate=self.authority.leaf("elsewhere.example")))
        self.assertEqual(self.status(nginx.url, ca=self.authority.root), 502)
        self.assertEqual(self.status(f"https://localhost:{nginx.port}", ca=self.authority.root), 502)
        self.assertEqual(nginx.log(), [])

    def test_expired_certificate_is_refused(self):
        nginx = self.opened(Nginx(certificate=self.authority.leaf("localhost", LOCAL, days=-1)))
        self.assertEqual(self.status(nginx.url, ca=self.authority.root), 502)
        self.assertEqual(nginx.log(), [])

    def test_missing_intermediate_is_refused(self):
        chain, key = self.authority.leaf("localhost", LOCAL)
        alone = self.authority.path / "alone.pem"
        text = chain.read_text()
        alone.write_text(text[:text.index("-----END CERTIFICATE-----") + 26])
        nginx = self.opened(Nginx(certificate=(alone, key)))
        self.assertEqual(self.status(nginx.url, ca=self.authority.root), 502)

    def test_upstream_that_speaks_no_tls(self):
        upstream = self.opened(Upstream(lambda wire: wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")))
        self.assertEqual(self.status(f"https://{upstream.where}", ca=self.authority.root), 502)

    def test_upstream_that_only_listens(self):
        self.assertEqual(self.status(f"https://{LOCAL}:{free_port()}", ca=self.authority.root), 502)


class Wss(TlsTest):
    """wss:// at the front, ws:// or wss:// behind."""

    def setUp(self):
        self.loop = self.opened(Loop())

    def gateway_to(self, each, secure=False, **options):
        context = None
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, self.site))

        async def start():
            return await websockets.serve(each, LOCAL, 0, ssl=context, **options)
        server = self.loop.run(start())

        async def stop():
            server.close()
            await server.wait_closed()
        self.addCleanup(lambda: self.loop.run(stop()))
        where = f"{LOCAL}:{server.sockets[0].getsockname()[1]}"
        return self.opened(Gateway(https="127.0.0.1:0", certificate=[self.site], ca=self.authority.root,
                                   route=("/", f"{'https' if secure else 'http'}://{where}")))

    def connect(self, gateway, version=None, **options):
        context = self.context(version=version)
        return websockets.connect(f"wss://localhost:{gateway.tls_port}/wss", ssl=context, host=LOCAL, **options)

    def test_messages_both_ways(self):
        count = 5000

        async def each(ws):
            await talk(ws, "upstream", "client", count)
            await ws.wait_closed()
            codes.append(ws.close_code)
        codes = []
        for secure in (False, True):
            gateway = self.gateway_to(each, secure)

            async def client(version):
                async with self.connect(gateway, version) as ws:
                    self.assertEqual([e.name for e in ws.extensions], ["permessage-deflate"])
                    await talk(ws, "client", "upstream", count)
                    await ws.close(3210)
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                self.loop.run(client(version))
        wait_for(lambda: codes == [3210] * 4, "all have closed")

    def test_large_messages(self):
        async def each(ws):
            async for data in ws:
                await ws.send(bytes(reversed(data)))
        gateway = self.gateway_to(each, max_size=None, compression=None)

        async def client():
            async with self.connect(gateway, max_size=None, compression=None) as ws:
                for size in (0, 1, 125, 126, 16_383, 16_384, 65_536, 3_000_000):
                    data = random.randbytes(size)
                    await ws.send(data)
                    self.assertEqual(await ws.recv(), bytes(reversed(data)))
        self.loop.run(client())

    def test_sigterm_says_1001(self):
        async def each(ws):
            try:
                await converse(ws, "upstream", "client", False)
            except websockets.ConnectionClosed:
                pass
            codes.append(ws.close_code)
        codes = []
        gateway = self.gateway_to(each)

        async def clients():
            sockets = [await self.connect(gateway, v) for v in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3) * 5]
            tasks = [asyncio.create_task(converse(ws, "client", "upstream", True)) for ws in sockets[:4]]
            await asyncio.sleep(0.1)
            began = time.monotonic()
            gateway.process.terminate()
            await asyncio.gather(*(ws.wait_closed() for ws in sockets))
            await asyncio.gather(*tasks, return_exceptions=True)
            return time.monotonic() - began, [ws.close_code for ws in sockets]
        seconds, seen = self.loop.run(clients())
        self.assertEqual(set(seen), {1001})
        self.assert_within(1.5, seconds)
        self.assertEqual(gateway.process.wait(5), 0)
        wait_for(lambda: codes == [1001] * 10, "the upstream legs are closed")

    def scripted(self, then, **options):
        def serve(wire):
            _, fields = wire.head()
            wire.send(accept(fields))
            then(wire)
        upstream = self.opened(Upstream(serve))
        gateway = self.opened(Gateway(https="127.0.0.1:0", certificate=[self.site], route=("/", upstream.url), **options))
        return gateway

    def test_single_bytes_and_close_notify(self):
        heard = []

        def then(wire):
            heard.append(read_frame(wire)[1])
            wire.send_single_bytes(frame(b"down" * 40))
            heard.append(wire.rest())
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            heard.clear()
            gateway = self.scripted(then)
            wire = self.shake(gateway, context=self.context(version=version))
            wire.send_single_bytes(request())
            self.assertEqual(wire.head()[0].split()[1], "101")
            wire.send_single_bytes(frame(b"up" * 100, masked=True))
            self.assertEqual(read_frame(wire)[1], b"down" * 40)
            wire.socket.unwrap()  # close_notify, and waits for ours
            wait_for(lambda: len(heard) == 2, "the upstream has ended")
            self.assertEqual(heard, [b"up" * 100, b""])
            wait_for(lambda: gateway.connections() == 0, "the tunnel is gone")

    def test_stalled_reader(self):
        blocked = []

        def then(wire):
            wire.socket.settimeout(1)
            sent, data = 0, frame(b"x" * 60_000) * 10
            try:
                while sent < 200_000_000:
                    sent += wire.socket.send(data)
            except TimeoutError:
                blocked.append(sent)
            wire.socket.settimeout(30)
            wire.rest()
        gateway = self.scripted(then)
        warm = self.shake(gateway)
        warm.send(request()).head()
        warm.read(1_000_000)
        warm.close()
        wait_for(lambda: gateway.connections() == 0, "the first is gone")
        before, count = gateway.memory(), 20
        stalled = []
        for _ in range(count):
            wire = self.shake(gateway, receive_buffer=4096)
            wire.send(request()).head()
            stalled.append(wire)
        wait_for(lambda: len(blocked) >= count, "all writers stand still")
        self.assertTrue(all(sent < 20_000_000 for sent in blocked), blocked)
        self.assert_grown_less(gateway, before, count * 700)
        wanted = frame(b"x" * 60_000) * 20
        have = stalled[0]
        self.assertEqual(have.read(len(wanted)), wanted)


if __name__ == "__main__":
    unittest.main()
