"""Certificates for servers of the tests, signed by an authority that nothing else trusts."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate for 127.0.0.1 and localhost: its file, its key's, and the PEM to trust it by."""

    file: Path
    key_file: Path
    authority: Path


_ROOT = _name("tests' authority")
_DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates; its own is at `file`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / "authority.pem"
        root = _builder(_ROOT, _ROOT, self._key.public_key())
        root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.file.write_bytes(root.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def sign(
        self, folder: Path, *, rsa_key: bool = False, until: datetime.timedelta = 2 * _DAY, name: str = ""
    ) -> Certificate:
        """A certificate that is good for so long from now, for this machine or for another name."""
        folder.mkdir(parents=True, exist_ok=True)
        key = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        names = [x509.DNSName(name)] if name else [*names, x509.DNSName("localhost")]
        leaf = _builder(_name(name or "localhost"), _ROOT, key.public_key(), until)
        leaf = leaf.add_extension(x509.SubjectAlternativeName(names), critical=False)
        made = Certificate(
            file=folder / "cert.pem", key_file=folder / "key.pem", authority=folder / "authority.pem"
        )
        signed = leaf.sign(self._key, hashes.SHA256())
        made.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        made.authority.write_bytes(self.file.read_bytes())
        made.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        return made


def make(folder: Path, *, rsa_key: bool = False) -> Certificate:
    """A server's certificate and the authority that signed it, good for two days."""
    return Authority(folder).sign(folder, rsa_key=rsa_key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    until: datetime.timedelta = 2 * _DAY,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + until)
    )
