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


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate for 127.0.0.1 and localhost: its file, its key's, and the PEM to trust it by."""

    file: Path
    key_file: Path
    authority: Path


def make(folder: Path, *, rsa_key: bool = False) -> Certificate:
    """A server's certificate and the authority that signed it, good for two days."""
    folder.mkdir(parents=True, exist_ok=True)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = _name("tests' authority")
    root = _builder(root_name, root_name, root_key.public_key())
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    root_signed = root.sign(root_key, hashes.SHA256())
    key = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    leaf = _builder(_name("localhost"), root_name, key.public_key())
    leaf = leaf.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = leaf.sign(root_key, hashes.SHA256())
    made = Certificate(
        file=folder / "cert.pem", key_file=folder / "key.pem", authority=folder / "authority.pem"
    )
    made.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    made.authority.write_bytes(root_signed.public_bytes(serialization.Encoding.PEM))
    made.key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return made


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )
