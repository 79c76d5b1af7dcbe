"""A root, an intermediate and leaves, made by openssl."""

import ssl
import subprocess

from _peers import Folder


def openssl(*arguments, data=None):
    done = subprocess.run(["openssl", *map(str, arguments)], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise AssertionError(f"openssl {arguments[0]} failed: {done.stderr.decode()}")
    return done.stdout


def strict_context(root):
    """For clients to whom an end without a close_notify is an error, with suppress_ragged_eofs=False: Python asks OpenSSL to overlook it."""
    made = ssl.create_default_context(cafile=str(root))
    made.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return made


class Authority:
    """`root` and `unknown_root` are files to trust; `leaf(...)` makes (chain file, key file)."""

    def __init__(self):
        self._folder = Folder()
        self.path = self._folder.path
        self.root = self._self_signed("root")
        self.unknown_root = self._self_signed("unknown")
        self._sign("intermediate", "/CN=Intermediate", "root", "basicConstraints=critical,CA:TRUE,pathlen:0\n"
                   "keyUsage=critical,keyCertSign,cRLSign")

    def close(self):
        self._folder.close()

    def _key(self, name, rsa=False):
        kind = ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048") if rsa else (
            "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        openssl("genpkey", *kind, "-out", self.path / f"{name}.key")

    def _self_signed(self, name):
        self._key(name)
        where = self.path / f"{name}.pem"
        openssl("req", "-x509", "-new", "-key", self.path / f"{name}.key", "-subj", f"/CN=The {name}", "-days", 30,
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign", "-out", where)
        return where

    def _sign(self, name, subject, by, extensions, days=30, rsa=False):
        self._key(name, rsa)
        (self.path / f"{name}.ext").write_text(extensions)
        openssl("req", "-new", "-key", self.path / f"{name}.key", "-subj", subject, "-out", self.path / f"{name}.csr")
        openssl("x509", "-req", "-in", self.path / f"{name}.csr", "-CA", self.path / f"{by}.pem", "-CAkey",
                self.path / f"{by}.key", "-CAcreateserial", "-days", days, "-sha256", "-extfile",
                self.path / f"{name}.ext", "-out", self.path / f"{name}.pem")

    def leaf(self, *names, by="intermediate", rsa=False, usage="serverAuth", **more):
        """The first name is the file's as well. The chain file holds the leaf and the intermediate, not the root."""
        file = "leaf-" + names[0].replace("*", "any") + ("-rsa" if rsa else "") + f"-{by}" + ("-old" if more else "") + ("" if usage == "serverAuth" else f"-{usage}")
        alternative = ",".join(("IP:" if n[0].isdigit() else "DNS:") + n for n in names)
        self._sign(file, f"/CN={names[0]}", by, f"basicConstraints=CA:FALSE\nsubjectAltName={alternative}\n"
                   f"keyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage={usage}", rsa=rsa, **more)
        chain = self.path / f"{file}.chain.pem"
        chain.write_bytes((self.path / f"{file}.pem").read_bytes() +
                          ((self.path / "intermediate.pem").read_bytes() if by == "intermediate" else b""))
        return chain, self.path / f"{file}.key"
