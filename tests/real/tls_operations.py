"""What an operator does with TLS: client certificates, certificates that are loaded again, a log of keys."""

import base64
import collections
import hashlib
import os
import pathlib
import re
import shutil
import signal
import ssl
import threading
import unittest

from _peers import LOCAL, Folder, Gateway, Upstream, wait_for
from tls_front import TlsTest, get

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def tell_fields(wire):
    """An origin whose answer is what it was asked, for the fields of which the client's certificate is the source."""
    while True:
        _, fields = wire.head()
        body = "".join(f"{n}: {v}\n" for n, v in fields if n.startswith("client-cert") or n == "x-client").encode()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def first_certificate(file):
    text, end, _ = pathlib.Path(file).read_text().partition("-----END CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text + end)


class OperationsTest(TlsTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.upstream = cls.shared(Upstream(tell_fields))
        cls.other = cls.authority.leaf("other.example")
        cls.third = cls.authority.leaf("third.example")
        cls.client = cls.authority.leaf("alice.example", usage="clientAuth")
        cls.stranger = cls.authority.leaf("alice.example", by="unknown", usage="clientAuth")

    def gateway(self, **options):
        return self.opened(Gateway(http=None, https="127.0.0.1:0", route=("/", self.upstream.url), **options))

    def with_certificate(self, certificate, version=None):
        context = self.context(version=version)
        context.check_hostname = False
        if certificate:
            context.load_cert_chain(*map(str, certificate))
        return context

    def ask(self, wire, *lines, host="site.example"):
        text = "\r\n".join(["GET / HTTP/1.1", f"Host: {host}", *lines, "", ""])
        answer = wire.send(text).response()
        return answer.status, dict(line.split(": ", 1) for line in answer.body.decode().splitlines() if ": " in line)

    def refused(self, gateway, context, **options):
        """In TLS 1.3 the client learns of it with the first bytes that it reads."""
        with self.assertRaises((ssl.SSLError, ConnectionResetError, BrokenPipeError)) as caught:
            wire = self.shake(gateway, context=context, **options)
            wire.send(get("/")).response()
        return str(caught.exception)


class ClientCertificates(OperationsTest):
    def test_required(self):
        gateway = self.gateway(certificate=self.site, clients="required", client_ca=self.authority.root)
        for version in VERSIONS:
            with self.subTest(version):
                self.assertRegex(self.refused(gateway, self.with_certificate(None, version)), "(?i)certificate.required|handshake failure")
                self.assertRegex(self.refused(gateway, self.with_certificate(self.stranger, version)), "(?i)unknown ca")
                # not made for clients
                self.assertRegex(self.refused(gateway, self.with_certificate(self.site, version)), "(?i)certificate")
                wire = self.shake(gateway, context=self.with_certificate(self.client, version))
                status, told = self.ask(wire, "Client-Cert: :bWU=:", "client-cert-chain: :bWU=:", "X-Client: me")
                self.assertEqual(status, 200)
                der = first_certificate(self.client[0])
                self.assertEqual(told["client-cert"], f":{base64.b64encode(der).decode()}:")
                chain = first_certificate(self.authority.path / "intermediate.pem")
                self.assertEqual(told["client-cert-chain"], f":{base64.b64encode(chain).decode()}:")
                subject, issuer, serial, fingerprint, names = told["x-client"].split("|")
                self.assertEqual((subject, issuer, names), ("CN=alice.example", "CN=Intermediate", "DNS:alice.example"))
                self.assertEqual(fingerprint, hashlib.sha256(der).hexdigest())
                self.assertRegex(serial, "^[0-9a-f]{2,40}$")

    def test_optional(self):
        gateway = self.gateway(certificate=self.site, clients="optional", client_ca=self.authority.root)
        for version in VERSIONS:
            with self.subTest(version):
                wire = self.shake(gateway, context=self.with_certificate(None, version))
                self.assertEqual(self.ask(wire, "Client-Cert: :bWU=:", "Client-Cert-Chain: :bWU=:"), (200, {}))
                self.assertRegex(self.refused(gateway, self.with_certificate(self.stranger, version)), "(?i)unknown ca")
                wire = self.shake(gateway, context=self.with_certificate(self.client, version))
                self.assertIn("client-cert", self.ask(wire)[1])

    def test_a_resumed_session_keeps_the_certificate(self):
        gateway = self.gateway(certificate=self.site, clients="required", client_ca=self.authority.root)
        for version in VERSIONS:
            with self.subTest(version):
                context = self.with_certificate(self.client, version)
                wire = self.shake(gateway, context=context)
                first = self.ask(wire)[1]["x-client"]
                again = self.shake(gateway, context=context, session=wire.socket.session)
                self.assertTrue(again.socket.session_reused)
                self.assertEqual(self.ask(again)[1]["x-client"], first)

    def test_without_tls_a_claim_is_dropped(self):
        gateway = self.opened(Gateway(route=("/", self.upstream.url)))
        with gateway.dial() as wire:
            self.assertEqual(self.ask(wire, "Client-Cert: :bWU=:", "Client-Cert-Chain: :bWU=:"), (200, {}))


class Hosts(OperationsTest):
    def setUp(self):
        self.mixed = self.gateway(certificate=[self.site, self.other], guarded_certificate=self.third, client_ca=self.authority.root)

    def test_each_host_has_its_rule(self):
        for version in VERSIONS:
            with self.subTest(version):
                self.assertRegex(self.refused(self.mixed, self.with_certificate(None, version), name="third.example"),
                                 "(?i)certificate.required|handshake failure")
                wire = self.shake(self.mixed, "third.example", self.with_certificate(self.client, version))
                self.assertIn("client-cert", self.ask(wire, host="third.example")[1])
                wire = self.shake(self.mixed, "site.example", self.with_certificate(None, version))
                self.assertEqual(self.ask(wire), (200, {}))

    def test_misdirected_requests(self):
        for name, host, status in (
                ("site.example", "site.example", 200), ("site.example", "SITE.example:443", 200), ("SITE.example", "site.example.", 200),
                ("site.example", "third.example", 421), ("site.example", "other.example", 421), ("site.example", "unknown", 421),
                (None, "third.example", 421), (None, "site.example", 421)):
            with self.subTest(f"{name} {host}"):
                wire = self.shake(self.mixed, name, self.with_certificate(None))
                self.assertEqual(self.ask(wire, host=host)[0], status)
        wire = self.shake(self.mixed, "site.example", self.with_certificate(None))
        self.assertEqual(wire.send("GET https://third.example/ HTTP/1.1\r\nHost: third.example\r\n\r\n").response().status, 421)
        wire = self.shake(self.mixed, "site.example", self.with_certificate(None))
        self.assertEqual(self.ask(wire)[0], 200)
        self.assertEqual(self.ask(wire, host="third.example")[0], 421)  # the second request of a connection
        self.assertTrue(wire.ends())

    def test_without_client_certificates_one_connection_serves_all(self):
        gateway = self.gateway(certificate=[self.site, self.other])
        wire = self.shake(gateway, "site.example", self.with_certificate(None))
        for host in ("site.example", "other.example", "unknown"):
            self.assertEqual(self.ask(wire, host=host)[0], 200)

    def test_tickets_are_good_for_their_host_alone(self):
        """CVE-2025-23419: a ticket of a host that asks for nothing opened one that asks for a certificate."""
        for version in VERSIONS:
            with self.subTest(version):
                context = self.with_certificate(None, version)
                first = self.shake(self.mixed, "site.example", context)
                self.assertEqual(self.ask(first)[0], 200)
                session = first.socket.session
                self.assertTrue(session and session.has_ticket)
                same = self.shake(self.mixed, "site.example", context, session)
                self.assertTrue(same.socket.session_reused)
                self.assertEqual(self.ask(same)[0], 200)
                other = self.shake(self.mixed, "other.example", context, session)
                self.assertFalse(other.socket.session_reused)
                self.assertEqual(self.ask(other, host="other.example")[0], 200)
                self.assertRegex(self.refused(self.mixed, context, name="third.example", session=session),
                                 "(?i)certificate.required|handshake failure")

    def test_tickets_of_one_listener_are_none_at_another(self):
        second = self.gateway(certificate=self.site)
        third = self.gateway(certificate=self.site, clients="required", client_ca=self.authority.root)
        for version in VERSIONS:
            with self.subTest(version):
                context = self.with_certificate(None, version)
                first = self.shake(self.mixed, "site.example", context)
                self.ask(first)
                session = first.socket.session
                again = self.shake(second, "site.example", context, session)
                self.assertFalse(again.socket.session_reused)
                self.refused(third, context, name="site.example", session=session)


class Reload(OperationsTest):
    def setUp(self):
        self.folder = self.opened(Folder())
        self.chain, self.key = self.folder.path / "chain.pem", self.folder.path / "key.pem"
        self.install(self.site)

    def install(self, pair):
        shutil.copy(pair[0], self.chain)
        shutil.copy(pair[1], self.key)

    def name(self, gateway, **options):
        wire = self.shake(gateway, context=self.with_certificate(None), **options)
        return dict(pair[0] for pair in wire.socket.getpeercert()["subject"])["commonName"]

    def hang_up(self, gateway):
        said = len(gateway.said())
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: gateway.said()[said:].endswith("\n"), "it says what became of it")
        return gateway.said()[said:]

    def test_new_certificates(self):
        gateway = Gateway(http=None, https="127.0.0.1:0", route=("/", self.upstream.url), certificate=(self.chain, self.key), workers=2)
        old = self.shake(gateway, context=self.with_certificate(None))
        self.assertEqual(self.ask(old)[0], 200)
        self.install(self.other)
        self.assertEqual(self.name(gateway), "site.example")
        self.assertIn("everything was loaded again", self.hang_up(gateway))
        for _ in range(8):  # on all workers
            self.assertEqual(self.name(gateway), "other.example")
        self.assertEqual(self.ask(old)[0], 200)  # nobody has disturbed it
        with self.assertRaisesRegex(AssertionError, "ended with 0 and said: 'relais: everything was loaded again"):
            gateway.close()

    def test_broken_files_change_nothing(self):
        gateway = Gateway(http=None, https="127.0.0.1:0", route=("/", self.upstream.url), certificate=(self.chain, self.key))
        for break_it, sentence in (
                (lambda: shutil.copy(self.other[1], self.key), "the key"),
                (lambda: self.key.write_text("rubbish"), "no private key"),
                (lambda: self.chain.write_text(""), "no certificate"),
                (lambda: self.chain.unlink(), "does not exist")):
            self.install(self.site)
            break_it()
            said = self.hang_up(gateway)
            self.assertRegex(said, f"^relais: 127.0.0.1:0 goes on as it was: tls: .*{sentence}.*\n$")
            self.assertIn(str(self.folder.path), said)
            self.assertEqual(self.name(gateway), "site.example")
        self.install(self.other)
        self.assertIn("everything was loaded again", self.hang_up(gateway))
        self.assertEqual(self.name(gateway), "other.example")
        with self.assertRaisesRegex(AssertionError, "ended with 0"):
            gateway.close()

    def test_sessions_outlive_it_where_clients_show_nothing(self):
        for more, outlives in (dict(), True), (dict(clients="optional", client_ca=self.authority.root), False):
            gateway = Gateway(http=None, https="127.0.0.1:0", route=("/", self.upstream.url), certificate=(self.chain, self.key), **more)
            context = self.with_certificate(None)
            wire = self.shake(gateway, context=context)
            self.ask(wire)
            self.hang_up(gateway)
            again = self.shake(gateway, context=context, session=wire.socket.session)
            self.assertEqual(again.socket.session_reused, outlives)
            self.assertEqual(self.ask(again)[0], 200)
            with self.assertRaisesRegex(AssertionError, "ended with 0"):
                gateway.close()

    def test_under_load(self):
        gateway = Gateway(http=None, https="127.0.0.1:0", route=("/", self.upstream.url), certificate=(self.chain, self.key), workers=2)
        failures, names, over = [], collections.Counter(), threading.Event()

        def client():
            while not over.is_set():
                try:
                    wire = self.shake(gateway, context=self.with_certificate(None))
                    names[wire.socket.getpeercert()["subject"][0][0][1]] += 1
                    if self.ask(wire)[0] != 200:
                        failures.append("status")
                    wire.close()
                except Exception as error:
                    failures.append(repr(error))
        threads = [threading.Thread(target=client) for _ in range(3)]
        for thread in threads:
            thread.start()
        for turn in range(20):
            self.install((self.other, self.site)[turn % 2])
            self.hang_up(gateway)
        over.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(set(names), {"site.example", "other.example"})
        with self.assertRaisesRegex(AssertionError, "ended with 0"):
            gateway.close()


class KeyLog(OperationsTest):
    def run_once(self, **options):
        folder = self.opened(Folder())
        path = folder.path / "keys"
        os.environ["SSLKEYLOGFILE"] = str(path)
        try:
            gateway = Gateway(http=None, https="127.0.0.1:0", route=("/", self.upstream.url), certificate=self.site, **options)
        finally:
            del os.environ["SSLKEYLOGFILE"]
        context = self.with_certificate(None, ssl.TLSVersion.TLSv1_3)
        context.keylog_filename = str(folder.path / "theirs")
        self.assertEqual(self.ask(self.shake(gateway, context=context))[0], 200)
        theirs = {line for line in (folder.path / "theirs").read_text().splitlines() if not line.startswith("#")}
        return gateway, path, theirs

    def test_only_where_it_is_asked_for(self):
        gateway, path, _ = self.run_once()
        gateway.close()
        self.assertFalse(path.exists())

    def test_the_same_secrets_on_both_sides(self):
        gateway, path, theirs = self.run_once(key_log="yes")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        ours = set(path.read_text().splitlines())
        self.assertTrue(theirs <= ours, (theirs, ours))
        self.assertGreaterEqual(len(theirs), 4)
        with self.assertRaisesRegex(AssertionError, "the secrets of sessions are written to " + re.escape(str(path))):
            gateway.close()

    def test_a_file_that_cannot_be_opened(self):
        os.environ["SSLKEYLOGFILE"] = "/no/such/folder/keys"
        try:
            with self.assertRaisesRegex(AssertionError, 'the file "/no/such/folder/keys" that SSLKEYLOGFILE names cannot be opened'):
                Gateway(http=None, https="127.0.0.1:0", certificate=self.site, key_log="yes")
        finally:
            del os.environ["SSLKEYLOGFILE"]


if __name__ == "__main__":
    unittest.main()
