"""Certificates of a cluster: whoever holds one of them may say anything to everybody in it.

One authority, made for one cluster, signs a certificate for the scheduler's process and one for the workers;
its own key is thrown away at once, so that nobody can ever be added: to let somebody go, make new ones.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armlx_chain.errors import MachineError, UsageError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["ROLES", "Place", "make_certificates", "read_place"]

ROLES: Final = ("scheduler", "worker")
AUTHORITY, CERTIFICATE, KEY = "authority.pem", "certificate.pem", "key.pem"
_LIFETIME: Final = timedelta(days=398)
_AHEAD: Final = timedelta(hours=1)
"""Clocks differ: a certificate counts from an hour before it was made."""


@dataclass(frozen=True, slots=True)
class Place:
    """One member's files."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, *, now: datetime, hosts: Sequence[str] = ()) -> dict[str, datetime]:
    """Make a folder for each role, readable by nobody else.

    Args:
        now: Aware of its zone.
        hosts: Names or addresses of the scheduler.

    Returns:
        Until when each role's certificate counts.

    Raises:
        UsageError: the folder exists and is not empty.
        MachineError: it cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} is not empty.",
            meaning="Certificates are never mixed: the old members would not know the new ones.",
            next_step="Choose another folder.",
        )
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("armlx-validator cluster", authority_key.public_key(), authority_key, None, now)
    ends = {}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        for role in ROLES:
            key = ec.generate_private_key(ec.SECP256R1())
            names = hosts if role == "scheduler" else ()
            signed = _certificate(role, key.public_key(), authority_key, authority, now, names)
            _write_member(folder / role, authority, signed, key)
            ends[role] = signed.not_valid_after_utc
    except OSError as problem:
        raise MachineError(f"{folder} cannot be written: {problem.strerror}.") from problem
    return ends


def read_place(folder: Path) -> Place:
    """A member's files, which nobody else may read.

    Raises:
        UsageError: something is missing, or the key is open to others.
    """
    place = Place(folder / AUTHORITY, folder / CERTIFICATE, folder / KEY)
    for path in (place.authority, place.certificate, place.key):
        if not path.is_file():
            raise UsageError(
                f"{path} is missing.",
                next_step="Make certificates with: armlx-validator certificates FOLDER, and name the folder "
                f"of one role ({' or '.join(ROLES)}).",
            )
    if place.key.stat().st_mode & 0o077:
        raise UsageError(
            f"{place.key} is open to other accounts.",
            meaning="Who reads it can run programs on every machine of the cluster.",
            next_step="Make new certificates; chmod 600 closes this one only from now on.",
        )
    return place


def _certificate(
    name: str,
    public: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    now: datetime,
    hosts: Sequence[str] = (),
) -> x509.Certificate:
    """One certificate; an authority where it issues itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _AHEAD)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if issuer is None:
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
    else:
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
        names = [_general_name(host) for host in ("localhost", "127.0.0.1", *hosts)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_member(
    folder: Path, authority: x509.Certificate, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    folder.mkdir(mode=0o700)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = {
        AUTHORITY: authority.public_bytes(Encoding.PEM),
        CERTIFICATE: certificate.public_bytes(Encoding.PEM),
        KEY: secret,
    }
    for name, data in files.items():
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
