"""Keys and certificates of one cluster: made in a moment, valid for a week, gone with the cluster's folder."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Addresses = Iterable[ipaddress.IPv4Address | ipaddress.IPv6Address]


@dataclass(frozen=True, slots=True)
class _Holder:
    """Somebody with a certificate: the groups and the user name Kubernetes reads from it, and where it serves."""

    file: str
    user: str
    group: str = ""
    serves: bool = False


_HOLDERS = (
    _Holder("apiserver", "kube-apiserver", serves=True),
    _Holder("admin", "admin", "system:masters"),
    _Holder("kubelet", "system:node:node1", "system:nodes", serves=True),
    _Holder("controller-manager", "system:kube-controller-manager"),
    _Holder("scheduler", "system:kube-scheduler"),
    _Holder("proxy", "system:kube-proxy"),
    _Holder("cilium", "cilium", "system:masters"),
)


def write_pki(folder: Path, server: str, addresses: Addresses) -> None:
    """Fill `folder`: ca.crt, sa.key and sa.pub, and for each holder NAME.crt, NAME.key and the kubeconfig NAME.conf."""
    folder.mkdir(mode=0o700)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("tre-test-ca")
    ca = _certificate(ca_name, ca_key, ca_name, ca_key, [(x509.BasicConstraints(ca=True, path_length=0), True)])
    (folder / "ca.crt").write_bytes(_pem(ca))
    signing = ec.generate_private_key(ec.SECP256R1())
    _write_key(folder / "sa.key", signing)
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / "sa.pub").write_bytes(signing.public_key().public_bytes(serialization.Encoding.PEM, public))
    names = [
        *(x509.IPAddress(address) for address in addresses),
        *(x509.DNSName(name) for name in ("node1", "kubernetes.default", "kubernetes.default.svc")),
    ]
    for holder in _HOLDERS:
        key = ec.generate_private_key(ec.SECP256R1())
        uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        extensions: list[tuple[x509.ExtensionType, bool]] = [(uses, False)]
        if holder.serves:
            extensions.append((x509.SubjectAlternativeName(names), False))
        certificate = _certificate(_name(holder.user, holder.group), key, ca_name, ca_key, extensions)
        (folder / f"{holder.file}.crt").write_bytes(_pem(certificate))
        _write_key(folder / f"{holder.file}.key", key)
        _write_kubeconfig(folder, holder.file, server)


def _name(common: str, organisation: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - dt.timedelta(hours=1),
        not_valid_after=now + dt.timedelta(days=7),
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _write_kubeconfig(folder: Path, name: str, server: str) -> None:
    """A kubeconfig that carries its certificates. JSON is YAML."""

    def data(file: str) -> str:
        return b64encode((folder / file).read_bytes()).decode()

    user = {"client-certificate-data": data(f"{name}.crt"), "client-key-data": data(f"{name}.key")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": data("ca.crt")}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
        "current-context": "test",
    }
    path = folder / f"{name}.conf"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    # SEC 1: the API server reads its signing key in no other form for elliptic curves.
    form = serialization.PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
