"""The keys of the tests' control plane: an authority of its own, and whom it vouches for, by openssl."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

NODE = "real"
"""The name of the node whose kubelet gets a key."""


def make_keys(folder: Path, url: str) -> None:
    """An authority, what it signs, the key pair of service account tokens, and the kubeconfigs."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    def signed(name: str, subject: str, extension: str = "") -> None:
        openssl("req", *_new_key(name), "-out", f"{name}.csr", "-subj", subject)
        (folder / f"{name}.ext").write_text(extension)
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "30", "-extfile", f"{name}.ext", "-out", f"{name}.crt",
        )  # fmt: skip

    openssl("req", "-x509", *_new_key("ca"), "-out", "ca.crt", "-days", "30", "-subj", "/CN=tests")
    names = "IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc"
    signed("apiserver", "/CN=kube-apiserver", f"subjectAltName={names}")
    signed("admin", "/O=system:masters/CN=admin")
    signed("manager", "/CN=system:kube-controller-manager")
    signed("scheduler", "/CN=system:kube-scheduler")
    signed("kubelet", f"/O=system:nodes/CN=system:node:{NODE}")
    signed("proxy", "/CN=system:kube-proxy")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sa.key")
    openssl("ec", "-in", "sa.key", "-pubout", "-out", "sa.pub")
    for user in ("admin", "manager", "scheduler"):
        write_kubeconfig(folder, user, url, folder)


def _new_key(name: str) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]


def write_kubeconfig(keys: Path, user: str, url: str, into: Path) -> None:
    """`USER.kubeconfig` in the folder `into`, for an address at which the API server is reached."""
    account = {"client-certificate": f"{keys}/{user}.crt", "client-key": f"{keys}/{user}.key"}
    # Whatever the address, the server's certificate holds this name.
    server = {"server": url, "certificate-authority": f"{keys}/ca.crt", "tls-server-name": "localhost"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": server}],
        "users": [{"name": user, "user": account}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
        "current-context": "tests",
    }
    (into / f"{user}.kubeconfig").write_text(json.dumps(config))  # JSON is YAML
