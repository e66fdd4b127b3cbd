"""Getting in: a password, a token server whose signatures the real registry checks, TLS with an authority."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch_agent.clients.http import HttpSettings, Response
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.dockerconfig import TOKEN_USER
from launch_agent.clients.oci.model import OCI_LAYER, Descriptor
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import RegistryDenied, RegistryUnavailable
from launch_agent.spec.model import Credentials
from launch_agent.spec.secret import Secret
from tests.fakes import certificates, token_server
from tests.fakes.clock import Clock
from tests.fakes.images import push_image
from tests.fakes.loopback import Loopback, Reply
from tests.fakes.registry import PASSWORD, USER, NoRegistry, registry
from tests.fakes.token_server import TokenServer


def client_of(host: str, user: str = "", password: str = "", **more: object) -> RegistryClient:
    known = Credentials(host=host, username=user, password=Secret(password)) if user else None
    return RegistryClient(host, credentials=lambda: known, **more)  # type: ignore[arg-type] # as given


def test_a_password_opens(private_registry: str) -> None:
    client = client_of(private_registry, USER, PASSWORD)
    repository = Repository(client, "open/with/password")
    image = push_image(repository, "v1")
    found = repository.head("v1")
    assert found is not None
    assert found.digest == image.digest
    client.ping()
    client.close()


def test_a_wrong_password_is_denied_with_a_hint(private_registry: str) -> None:
    client = client_of(private_registry, USER, "open barley")
    with pytest.raises(RegistryDenied, match="authentication required") as caught:
        Repository(client, "open/with/password").head("v1")
    assert "may pull from it" in caught.value.hint
    assert "barley" not in str(caught.value)
    client.close()


def test_no_password_is_denied_with_another_hint(private_registry: str) -> None:
    client = client_of(private_registry)
    with pytest.raises(RegistryDenied) as caught:
        push_image(Repository(client, "open/with/password"), "v1")
    assert f"docker login {private_registry}" in caught.value.hint
    client.close()


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    rights = {"cave/gold": {"pull", "push", "delete"}, "cave/silver": {"pull"}, "cave/base": {"pull", "push"}}
    folder = tmp_path_factory.mktemp("tokens")
    with TokenServer(folder=folder, rights=rights, public={"cave/base": {"pull"}}) as server:
        yield server


@pytest.fixture(scope="module")
def token_registry(tokens: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with registry(tmp_path_factory.mktemp("token-registry"), tokens=tokens) as address:
            yield address
    except NoRegistry as reason:
        pytest.skip(str(reason))


def test_a_token_is_fetched_for_what_is_done_and_kept(token_registry: str, tokens: TokenServer) -> None:
    client = client_of(token_registry, token_server.USER, token_server.PASSWORD)
    repository = Repository(client, "cave/gold")
    tokens.asked.clear()
    push_image(repository, "v1")
    assert repository.head("v1") is not None
    assert repository.head("v2") is None
    wanted = [["repository:cave/gold:pull"], ["repository:cave/gold:pull,push"]]
    assert sorted(tokens.asked) == wanted, "one token for each set of scopes, whatever the number of requests"
    assert repository.delete("v1")
    client.close()


def test_a_token_for_reading_does_not_push(token_registry: str) -> None:
    client = client_of(token_registry, token_server.USER, token_server.PASSWORD)
    with pytest.raises(RegistryDenied, match="cannot push the layer") as caught:
        push_image(Repository(client, "cave/silver"), "v1")
    assert "may push to it" in caught.value.hint
    client.close()


def test_anybody_reads_what_is_public(token_registry: str) -> None:
    owner = client_of(token_registry, token_server.USER, token_server.PASSWORD)
    image = push_image(Repository(owner, "cave/base"), "v1", layers=[b"a base layer"])
    stranger = client_of(token_registry)
    found = Repository(stranger, "cave/base").head("v1")
    assert found is not None
    assert found.digest == image.digest
    with pytest.raises(RegistryDenied):
        Repository(stranger, "cave/gold").head("v1")
    owner.close()
    stranger.close()


def test_a_mount_asks_for_both_repositories(token_registry: str, tokens: TokenServer) -> None:
    client = client_of(token_registry, token_server.USER, token_server.PASSWORD)
    base, gold = Repository(client, "cave/base"), Repository(client, "cave/gold")
    descriptor = Descriptor.of(b"shared by mount", OCI_LAYER)
    base.push_blob(descriptor, b"shared by mount")
    tokens.asked.clear()
    assert gold.mount(descriptor, base)
    assert tokens.asked == [["repository:cave/base:pull", "repository:cave/gold:pull,push"]]
    client.close()


def test_a_refresh_token_is_exchanged(token_registry: str, tokens: TokenServer) -> None:
    client = client_of(token_registry, TOKEN_USER, token_server.REFRESH_TOKEN)
    tokens.methods.clear()
    tokens.name_of_token = "access_token"
    try:
        push_image(Repository(client, "cave/gold"), "v3")
    finally:
        tokens.name_of_token = "token"
    assert set(tokens.methods) == {"POST"}
    client.close()


def test_a_token_is_renewed_before_it_ends(token_registry: str, tokens: TokenServer) -> None:
    clock = Clock()
    client = client_of(token_registry, token_server.USER, token_server.PASSWORD, clock=clock)
    repository = Repository(client, "cave/gold")
    repository.head("v1")
    tokens.asked.clear()
    clock.forward(45)
    repository.head("v1")
    assert tokens.asked == []
    clock.forward(10)  # 55 of its 60 seconds
    repository.head("v1")
    assert tokens.asked == [["repository:cave/gold:pull"]]
    client.close()


def test_a_wrong_password_at_the_token_server(token_registry: str) -> None:
    client = client_of(token_registry, token_server.USER, "sesame seeds")
    with pytest.raises(
        RegistryDenied, match=r"cannot log in to 127\.0\.0\.1:\d+ at http.*incorrect username"
    ):
        Repository(client, "cave/gold").head("v1")
    client.close()


@pytest.fixture(scope="module")
def tls_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("tls-registry")
    certificate = certificates.make(folder / "keys")
    try:
        with registry(folder, private=True, tls=certificate) as address:
            yield address, certificate.authority
    except NoRegistry as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_private_authority_is_trusted_where_it_is_named(tls_registry: tuple[str, Path], name: str) -> None:
    address, authority = tls_registry
    host = f"{name}:{address.rpartition(':')[2]}"
    settings = HttpSettings(environment={"SSL_CERT_FILE": str(authority)})
    client = client_of(host, USER, PASSWORD, settings=settings)
    repository = Repository(client, "tls/image")
    push_image(repository, "v1")
    assert repository.head("v1") is not None
    assert client.url("/").startswith("https://")
    client.close()


def test_an_unknown_authority_is_not_talked_to_without_tls(tls_registry: tuple[str, Path]) -> None:
    client = client_of(tls_registry[0], USER, PASSWORD)
    with pytest.raises(RegistryUnavailable, match="CERTIFICATE") as caught:
        Repository(client, "tls/image").head("v1")
    assert "SSL_CERT_FILE" in caught.value.hint
    client.close()


def test_other_hosts_are_spoken_to_with_tls_only() -> None:
    assert client_of("registry.example.com:5000").url("/v2/") == "https://registry.example.com:5000/v2/"
    assert client_of("docker.io").url("/v2/") == "https://registry-1.docker.io/v2/"


def test_credentials_do_not_follow_a_redirect_to_another_host() -> None:
    with Loopback(lambda _: Reply(body=b"the layer")) as store:
        redirect = Reply(status=307, headers={"Location": f"{store.url}/layer?signed"})
        want = Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        with Loopback(lambda request: redirect if request.headers.get("authorization") else want) as front:
            client = client_of(front.url.removeprefix("http://"), USER, PASSWORD)
            repository = Repository(client, "a/b")
            content = b"".join(repository.read_blob(Descriptor.of(b"the layer", OCI_LAYER)))
            client.close()
    assert content == b"the layer"
    assert [request.path for request in store.requests] == ["/layer?signed"]
    assert "authorization" not in store.requests[0].headers
    expected = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
    assert front.requests[-1].headers["authorization"] == expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/a/blobs/uploads/1?state=x", "https://r.example.com:8443/v2/a/blobs/uploads/1?state=x"),
        ("http://r.example.com/v2/a/1", "https://r.example.com:8443/v2/a/1"),
        ("http://r.example.com:8443/v2/a/1", "https://r.example.com:8443/v2/a/1"),
        ("https://store.example.net/1", "https://store.example.net/1"),
    ],
)
def test_an_address_that_a_proxy_has_made_plain_is_encrypted(location: str, expected: str) -> None:
    client = client_of("r.example.com:8443")
    assert client.locate("https://r.example.com:8443/v2/a/blobs/uploads/", location) == expected


def test_credentials_do_not_go_to_a_token_server_without_tls() -> None:
    client = client_of("r.example.com", USER, PASSWORD)
    challenge = 'Bearer realm="http://tokens.example.com/token",service="x"'
    answer = Response(status=401, headers={"www-authenticate": challenge}, body=b"")
    with pytest.raises(RegistryDenied, match="unencrypted"):
        client.keys.learn(answer, ["repository:a:pull"], is_plain=False)
    assert client.keys.learn(answer, ["repository:a:pull"], is_plain=True)
