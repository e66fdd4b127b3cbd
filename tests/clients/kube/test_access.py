"""Access to a real API server: by a pod's service account, and by kubeconfig files of all sorts."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch_agent.clients.kube.access import Access, context, for_context, in_pod, is_pod
from launch_agent.clients.kube.api import KubeApi
from launch_agent.clients.kube.errors import Unauthorized, Unavailable
from launch_agent.errors import ConfigError
from tests.fakes.control_plane import Cluster
from tests.fakes.loopback import Loopback, Reply

Config = dict[str, Any]


@contextmanager
def _api(access: Access, patience: float = 5) -> Iterator[KubeApi]:
    made = KubeApi(access, qps=100, burst=100, timeout=20, patience=patience)
    try:
        yield made
    finally:
        made.close()


def _who(access: Access) -> str:
    """Whom the API server takes us for."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    with _api(access) as api:
        answer = api.create(api.resource("authentication.k8s.io/v1", "SelfSubjectReview"), "", review)
    return str(answer["status"]["userInfo"]["username"])


def _account(folder: Path, cluster: Cluster, namespace: str) -> dict[str, str]:
    """A service account's folder as a pod has it; the environment of the pod."""
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text(cluster.kube.token(namespace, "default"))
    (folder / "namespace").write_text(namespace)
    shutil.copy(cluster.folder / "ca.crt", folder / "ca.crt")
    port = cluster.kube.url.rpartition(":")[2]
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": port}


def test_in_a_pod(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    environment = _account(tmp_path, cluster, namespace)
    assert is_pod(environment, tmp_path)
    access = in_pod(environment, tmp_path)
    assert access.namespace == namespace
    assert _who(access) == f"system:serviceaccount:{namespace}:default"


def test_a_token_that_is_renewed_is_used(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    access = in_pod(_account(tmp_path, cluster, namespace), tmp_path)
    good = (tmp_path / "token").read_text()
    with _api(access, patience=0.1) as api:
        (tmp_path / "token").write_text("not.a.token")
        with pytest.raises(Unauthorized):
            api.resource("v1", "Pod")
        (tmp_path / "token").write_text(good)
        assert api.resource("v1", "Pod").plural == "pods"
        (tmp_path / "token").unlink()
        with pytest.raises(Unavailable, match="cannot be read") as caught:
            api.resource("batch/v1", "Job")
        assert "automountServiceAccountToken" in caught.value.hint


def test_an_authority_that_is_replaced_is_used(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    access = in_pod(_account(tmp_path, cluster, namespace), tmp_path)
    (tmp_path / "ca.crt").write_text("")
    with _api(access, patience=0.1) as api:
        with pytest.raises(Unavailable, match="cannot be used"):
            api.version()
        shutil.copy(cluster.folder / "ca.crt", tmp_path / "ca.crt")
        assert api.version()


def test_an_authority_of_an_older_cluster_is_trusted(cluster: Cluster) -> None:
    """Python 3.13 demands extensions of it which many do not have; the rest of its checks stay."""
    made = context(cluster.folder / "ca.crt")
    assert not made.verify_flags & ssl.VERIFY_X509_STRICT
    assert made.verify_mode == ssl.CERT_REQUIRED
    assert made.check_hostname


@pytest.mark.parametrize("missing", ["host", "token", "ca.crt"])
def test_no_pod_is_an_error_of_the_config(
    cluster: Cluster, namespace: str, tmp_path: Path, missing: str
) -> None:
    environment = _account(tmp_path, cluster, namespace)
    if missing == "host":
        environment = {}
    else:
        (tmp_path / missing).unlink()
    with pytest.raises(ConfigError) as caught:
        in_pod(environment, tmp_path)
    assert caught.value.hint
    assert is_pod(environment, tmp_path) == (missing == "ca.crt")


def test_an_address_of_version_6_has_brackets(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    environment = _account(tmp_path, cluster, namespace) | {"KUBERNETES_SERVICE_HOST": "fd00::1"}
    assert in_pod(environment, tmp_path).url.startswith("https://[fd00::1]:")


@pytest.fixture
def config(cluster: Cluster) -> Config:
    """The administrator's kubeconfig."""
    read: Config = yaml.safe_load(cluster.kubeconfig.read_text())
    return read


class _Written(dict[str, str]):
    """An environment whose kubeconfig is `config` as the test has left it, written when it is asked for."""

    def __init__(self, file: Path, config: Config) -> None:
        super().__init__(KUBECONFIG=str(file), PATH="/usr/bin:/bin")
        self._config = config

    def get(self, name: str, default: Any = None) -> Any:
        if name == "KUBECONFIG":
            Path(self[name]).write_text(json.dumps(self._config))
        return super().get(name, default)


@pytest.fixture
def written(tmp_path: Path, config: Config) -> dict[str, str]:
    return _Written(tmp_path / "config", config)


def test_by_a_certificate(written: dict[str, str], cluster: Cluster) -> None:
    access = for_context("", written)
    assert access.url == cluster.kube.url
    assert access.namespace == "default"
    assert _who(access) == "admin"


def test_by_data_in_the_file(written: dict[str, str], config: Config) -> None:
    for entry in (config["clusters"][0]["cluster"], config["users"][0]["user"]):
        for key in {"certificate-authority", "client-certificate", "client-key"} & set(entry):
            entry[f"{key}-data"] = base64.b64encode(Path(entry.pop(key)).read_bytes()).decode()
    assert _who(for_context("", written)) == "admin"


def test_by_paths_beside_the_file(written: dict[str, str], config: Config, tmp_path: Path) -> None:
    user = config["users"][0]["user"]
    for key in ("client-certificate", "client-key"):
        shutil.copy(user[key], tmp_path / key)
        user[key] = key
    assert _who(for_context("", written)) == "admin"


@pytest.mark.parametrize("by", ["token", "tokenFile"])
def test_by_a_token(
    written: dict[str, str], config: Config, cluster: Cluster, namespace: str, tmp_path: Path, by: str
) -> None:
    token = cluster.kube.token(namespace, "default")
    (tmp_path / "secret").write_text(token)
    config["users"][0]["user"] = {by: token if by == "token" else "secret"}
    access = for_context("tests", written)
    assert token not in repr(access)
    assert _who(access) == f"system:serviceaccount:{namespace}:default"


def test_the_context_names_cluster_user_and_namespace(written: dict[str, str], config: Config) -> None:
    config["clusters"].append({"name": "other", "cluster": {"server": "https://other.example.org:6443/"}})
    config["contexts"].append({"name": "b", "context": {"cluster": "other", "namespace": "team-b"}})
    access = for_context("b", written)
    assert (access.url, access.namespace) == ("https://other.example.org:6443", "team-b")
    assert "context 'b'" in access.origin


def test_files_are_merged(written: dict[str, str], config: Config, tmp_path: Path) -> None:
    (tmp_path / "first").write_text(json.dumps({"current-context": "mine", "contexts": [], "clusters": None}))
    mine = {"name": "mine", "context": {"cluster": "tests", "user": "admin", "namespace": "n"}}
    (tmp_path / "second").write_text(json.dumps({"contexts": [mine]}))
    del config["current-context"]
    written.get("KUBECONFIG")  # writes it
    names = [tmp_path / "first", tmp_path / "second", tmp_path / "missing", written["KUBECONFIG"]]
    access = for_context("", {"KUBECONFIG": ":".join(map(str, names))})
    assert access.namespace == "n"
    assert _who(access) == "admin"


def test_the_file_at_home(written: dict[str, str], tmp_path: Path, cluster: Cluster) -> None:
    (tmp_path / ".kube").mkdir()
    shutil.copy(cluster.kubeconfig, tmp_path / ".kube" / "config")
    assert for_context("", {"HOME": str(tmp_path)}).url == cluster.kube.url


def _plugin(folder: Path, text: str) -> Config:
    script = folder / "plugin"
    script.write_text(f"#!{sys.executable}\n{text}")
    script.chmod(0o700)
    version = "client.authentication.k8s.io/v1"
    return {
        "exec": {"apiVersion": version, "command": "./plugin", "args": ["get"], "provideClusterInfo": True}
    }


_TELL = """
import json, os, pathlib, sys
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert sys.argv[1:] == ["get"] and info["spec"]["cluster"]["server"].startswith("https://")
assert info["spec"]["cluster"]["certificate-authority-data"] and os.environ["MORE"] == "1"
with open("{folder}/runs", "a") as runs:
    runs.write("x")
status = json.loads(pathlib.Path("{folder}/status").read_text())
print(json.dumps({{"kind": "ExecCredential", "status": status}}))
"""


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_by_a_plugin(
    written: dict[str, str], config: Config, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    config["users"][0]["user"] = _plugin(tmp_path, _TELL.format(folder=tmp_path))
    config["users"][0]["user"]["exec"]["env"] = [{"name": "MORE", "value": "1"}]
    token = cluster.kube.token(namespace, "default")
    status = tmp_path / "status"
    status.write_text(json.dumps({"token": token, "expirationTimestamp": _in(3600)}))
    access = for_context("", written)
    assert _who(access) == f"system:serviceaccount:{namespace}:default"
    assert (tmp_path / "runs").read_text() == "x"  # once, as long as it is good
    # Fresh ones where the server does not take them any more.
    assert access.credentials(True)
    assert (tmp_path / "runs").read_text() == "xx"
    # What is about to end is renewed before it does.
    status.write_text(json.dumps({"token": token, "expirationTimestamp": _in(30)}))
    access.credentials(True)
    access.credentials(False)
    assert (tmp_path / "runs").read_text() == "xxxx"


def test_by_a_plugin_that_has_a_certificate(
    written: dict[str, str], config: Config, cluster: Cluster, tmp_path: Path
) -> None:
    config["users"][0]["user"] = _plugin(tmp_path, _TELL.format(folder=tmp_path))
    config["users"][0]["user"]["exec"]["env"] = [{"name": "MORE", "value": "1"}]
    certificate, key = ((cluster.folder / f"admin.{end}").read_text() for end in ("crt", "key"))
    found = {"clientCertificateData": certificate, "clientKeyData": key}
    (tmp_path / "status").write_text(json.dumps(found))
    assert _who(for_context("", written)) == "admin"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import sys; sys.exit('no login: run aws sso login')", "it ended with 1: no login"),
        ("print('hunter22')", "no ExecCredential"),
        ("print('{\"status\": {}}')", "neither a token nor a certificate"),
        ('print(\'{"status": {"token": "hunter22", "expirationTimestamp": 3}}\')', "no ExecCredential"),
    ],
)
def test_a_plugin_that_fails_says_why(
    written: dict[str, str], config: Config, tmp_path: Path, text: str, said: str
) -> None:
    config["users"][0]["user"] = _plugin(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        for_context("", written)
    assert said in caught.value.message
    assert "hunter22" not in str(caught.value)


def test_a_plugin_that_is_missing(written: dict[str, str], config: Config) -> None:
    config["users"][0]["user"] = {"exec": {"command": "no-such-plugin", "installHint": "apt install it"}}
    with pytest.raises(ConfigError, match="No such file") as caught:
        for_context("", written)
    assert caught.value.hint == "apt install it"


def test_a_plugin_that_hangs_is_given_up(tmp_path: Path) -> None:
    from launch_agent.clients.kube import exec_plugin

    entry = _plugin(tmp_path, "import time; time.sleep(60)")["exec"]
    start = time.monotonic()
    with pytest.raises(ConfigError, match="did not end in"):
        exec_plugin.run(entry, {}, folder=tmp_path, environment={}, seconds=0.5)
    assert time.monotonic() - start < 20


def test_the_name_in_the_certificate(written: dict[str, str], config: Config) -> None:
    config["clusters"][0]["cluster"]["tls-server-name"] = "kubernetes.default.svc"
    assert _who(for_context("", written)) == "admin"
    config["clusters"][0]["cluster"]["tls-server-name"] = "other.example.org"
    with _api(for_context("", written), patience=0.1) as api, pytest.raises(Unavailable, match="trusted"):
        api.version()


def test_an_unknown_authority_is_not_trusted_unless_told_to(written: dict[str, str], config: Config) -> None:
    del config["clusters"][0]["cluster"]["certificate-authority"]
    with _api(for_context("", written), patience=0.1) as api, pytest.raises(Unavailable, match="trusted"):
        api.version()
    config["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    assert _who(for_context("", written)) == "admin"


def test_a_proxy_is_used(written: dict[str, str], config: Config) -> None:
    with Loopback(lambda request: Reply(status=403)) as proxy:
        config["clusters"][0]["cluster"]["proxy-url"] = proxy.url
        with _api(for_context("", written), patience=0.1) as api, pytest.raises(Unavailable, match="proxy"):
            api.version()
        del config["clusters"][0]["cluster"]["proxy-url"]
        written["HTTPS_PROXY"] = proxy.url
        with _api(for_context("", written), patience=0.1) as api, pytest.raises(Unavailable, match="proxy"):
            api.version()


def test_a_context_that_is_not_there_names_those_that_are(written: dict[str, str], config: Config) -> None:
    config["contexts"].append({"name": "second", "context": {}})
    with pytest.raises(ConfigError, match="has no context 'third'") as caught:
        for_context("third", written)
    assert caught.value.hint == "it has second, tests"
    assert caught.value.path == "runner.kubernetes.context"
    del config["current-context"]
    with pytest.raises(ConfigError, match="no current context"):
        for_context("", written)


def test_no_file_is_an_error_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no kubeconfig file {tmp_path}/.kube/config"):
        for_context("", {"HOME": str(tmp_path)})
    with pytest.raises(ConfigError, match="no kubeconfig file /no/such/file"):
        for_context("", {"KUBECONFIG": "/no/such/file"})


def _file(
    cluster: str = "{name: c, cluster: {server: 'https://x'}}", user: str = "{name: u, user: {}}"
) -> str:
    return (
        "current-context: a\n"
        "contexts: [{name: a, context: {cluster: c, user: u}}]\n"
        f"clusters: [{cluster}]\n"
        f"users: [{user}]\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "[]",
        "a: [",
        "\t- x",
        "\x00",
        "{}",
        "- name: hunter22",
        "contexts: 3",
        "contexts: [3]",
        "users: {hunter22: 1}\ncontexts: [{name: a, context: {cluster: b}}]",
        "current-context: a\ncontexts: [{name: a}]",
        "current-context: a\ncontexts: [{name: a, context: 3}]",
        "current-context: a\ncontexts: [{name: a, context: {user: u}}]",
        _file(cluster="{name: other}"),
        _file(cluster="{name: c}"),
        _file(cluster="{name: c, cluster: 3}"),
        _file(cluster="{name: c, cluster: {server: 3}}"),
        _file(cluster="{name: c, cluster: {server: ''}}"),
        _file(cluster="{name: c, cluster: {server: 'https://x', certificate-authority: nope}}"),
        _file(user="{name: u, token: hunter22}"),
        _file(user="{name: u, user: {client-certificate-data: $, client-key-data: hunter22}}"),
        _file(user="{name: u, user: {tokenFile: nope}}"),
        _file(user="{name: u, user: {exec: hunter22}}"),
        _file(user="{name: u, user: {exec: {command: x, env: [hunter22]}}}"),
        _file(user="{name: u, user: {auth-provider: {name: oidc, config: {id-token: hunter22}}}}"),
    ],
)
def test_what_is_no_kubeconfig_is_an_error_of_the_config(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        for_context("", {"KUBECONFIG": str(file), "PATH": ""})
    assert "hunter22" not in str(caught.value)
    assert caught.value.__cause__ is None or "hunter22" not in str(caught.value.__cause__)


def test_yaml_errors_have_a_place(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a:\n  - b: [\n")
    with pytest.raises(ConfigError, match="is not YAML") as caught:
        for_context("", {"KUBECONFIG": str(tmp_path / "config")})
    assert caught.value.file == str(tmp_path / "config")
    assert caught.value.line >= 2


def test_a_certificate_that_is_none_is_an_error_of_the_config(
    written: dict[str, str], config: Config, tmp_path: Path
) -> None:
    (tmp_path / "bad").write_text("no certificate")
    config["users"][0]["user"]["client-certificate"] = str(tmp_path / "bad")
    with pytest.raises(ConfigError, match="cannot be used"):
        for_context("", written)
