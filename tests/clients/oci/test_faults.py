"""Networks and servers that fail, in front of a real registry: what goes on, and what is said where not."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.model import OCI_LAYER, Descriptor
from launch_agent.clients.oci.referrers import referrers
from launch_agent.clients.oci.repository import Repository
from launch_agent.errors import RegistryDenied, RegistryError, RegistryNotFound, RegistryUnavailable
from tests.fakes.fault_proxy import cut, html, lost, status
from tests.fakes.images import push_image
from tests.fakes.loopback import Loopback, Reply
from tests.fakes.registry_faults import RegistryFaults

CONTENT = random.Random(5).randbytes(400_000)
LAYER = Descriptor.of(CONTENT, OCI_LAYER)
UPLOADS = "(PUT|PATCH) .*/blobs/uploads/"


@pytest.fixture
def proxy(docker_registry: str) -> Iterator[RegistryFaults]:
    with RegistryFaults(f"http://{docker_registry}") as made:
        yield made


@pytest.fixture
def repository(proxy: RegistryFaults) -> Iterator[Repository]:
    client = RegistryClient(proxy.url.removeprefix("http://"))
    yield Repository(client, f"faults/r{os.urandom(6).hex()}")
    client.close()


def test_busy_is_tried_again_when_the_registry_says(repository: Repository, proxy: RegistryFaults) -> None:
    pushed = push_image(repository, "v1")
    proxy.next(status(429, retry_after="0.01"), status(503), status(502), on="HEAD .*/manifests/")
    found = repository.head("v1")
    assert found is not None
    assert found.digest == pushed.digest


def test_the_limit_of_a_registry_is_named(repository: Repository, proxy: RegistryFaults) -> None:
    refused = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit"}]}'
    proxy.always(status(429, retry_after="600", body=refused), on="(HEAD|GET) .*/manifests/")
    with pytest.raises(RegistryUnavailable, match="reached your pull rate limit") as caught:
        repository.head("v1")
    assert "log in" in caught.value.hint


@pytest.mark.parametrize("chunk", [0, 100_000], ids=["whole", "chunks"])
@pytest.mark.parametrize("fault", ["cut", "lost", "503", "drop"])
def test_a_broken_upload_ends_whole(
    repository: Repository, proxy: RegistryFaults, fault: str, chunk: int
) -> None:
    strike = {
        "cut": proxy.cut_upload(after=50_000),
        "lost": lost,
        "503": status(503),
        "drop": cut(reach_backend=False),
    }[fault]
    proxy.next(strike, on=UPLOADS)
    repository = Repository(repository.client, repository.path, chunk=chunk)
    assert repository.push_blob(LAYER, CONTENT)
    assert b"".join(repository.read_blob(LAYER)) == CONTENT


def test_an_answer_that_is_lost_does_not_send_a_layer_twice(
    repository: Repository, proxy: RegistryFaults
) -> None:
    proxy.next(lost, on=UPLOADS)
    repository.push_blob(LAYER, CONTENT)
    assert proxy.count(UPLOADS) == 1


def test_an_upload_that_never_works_says_why(repository: Repository, proxy: RegistryFaults) -> None:
    proxy.always(status(500, body=b"disk full"), on=UPLOADS)
    with pytest.raises(RegistryUnavailable, match=r"cannot push the layer sha256:.* says: disk full"):
        repository.push_blob(LAYER, CONTENT)
    assert proxy.count("DELETE .*/blobs/uploads/") == 1, "the upload is given up"
    assert not repository.has_blob(LAYER.digest)


def test_a_proxy_with_a_limit_gets_smaller_pieces(repository: Repository, proxy: RegistryFaults) -> None:
    proxy.next(status(413), on=UPLOADS)
    repository.push_blob(LAYER, CONTENT)
    assert repository.has_blob(LAYER.digest)


def test_a_stream_of_chunks_survives_a_refused_chunk(repository: Repository, proxy: RegistryFaults) -> None:
    proxy.next(status(503), on="PATCH")
    assert repository.push_stream(iter([CONTENT]), OCI_LAYER).digest == LAYER.digest


def test_reading_goes_on_where_it_broke(repository: Repository, proxy: RegistryFaults) -> None:
    repository.push_blob(LAYER, CONTENT)
    proxy.next(cut(after=100_000), cut(after=150_000), on="GET .*/blobs/")
    assert b"".join(repository.read_blob(LAYER)) == CONTENT
    ranges = [request.headers.get("range", "") for request in proxy.requests if "/blobs/sha" in request.path]
    assert ranges[-1].startswith("bytes=2")


def test_content_that_was_changed_on_its_way_is_refused(
    repository: Repository, proxy: RegistryFaults
) -> None:
    repository.push_blob(LAYER, CONTENT)
    proxy.next(status(200, body=bytes(len(CONTENT))), on="GET .*/blobs/")
    with pytest.raises(RegistryError, match="not what its digest says"):
        list(repository.read_blob(LAYER))
    pushed = push_image(repository, "v1")
    proxy.next(status(200, body=b'{"mediaType": "application/vnd.oci.image.manifest.v1+json"}'), on="GET")
    with pytest.raises(RegistryError, match="not what its digest"):
        repository.manifest(pushed.digest)


def test_a_page_in_place_of_a_registry(repository: Repository, proxy: RegistryFaults) -> None:
    proxy.always(html(), on="(GET|HEAD) .*/manifests/")
    with pytest.raises(RegistryError, match="something that is no manifest") as caught:
        repository.head("v1")
    assert "a page before it" in caught.value.hint


def test_a_head_without_a_digest_is_made_up_for(repository: Repository, proxy: RegistryFaults) -> None:
    pushed = push_image(repository, "v1")
    for code in (200, 405):
        proxy.next(status(code, body=b""), on="HEAD .*/manifests/")
        found = repository.head("v1")
        assert found is not None
        assert found.digest == pushed.digest


@pytest.mark.parametrize(
    ("code", "body", "kind", "words", "hint"),
    [
        (403, b'{"errors":[{"code":"DENIED","message":"adding 3 MiB will exceed the configured quota"}]}',
         RegistryDenied, "exceed the configured quota", "quota"),
        (403, b'{"errors":[{"code":"DENIED","message":"Permission artifactregistry.uploadArtifacts"}]}',
         RegistryDenied, "Permission artifactregistry", "docker login"),
        (404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}',
         RegistryNotFound, "repository name not known", "made first"),
        (405, b"<html>no</html>", RegistryError, "status 405", ""),
    ],
)  # fmt: skip
def test_refusals_of_a_push(
    repository: Repository, proxy: RegistryFaults, code: int, body: bytes, kind: type, words: str, hint: str
) -> None:
    proxy.always(status(code, body=body), on="POST")
    with pytest.raises(kind, match=words) as caught:
        repository.push_blob(LAYER, CONTENT)
    assert hint in caught.value.hint
    assert not caught.value.retryable


def test_redirects_that_never_end(repository: Repository, proxy: RegistryFaults) -> None:
    proxy.always(lambda request, _: Reply(status=307, headers={"Location": request.path}), on="GET")
    with pytest.raises(RegistryError, match="redirects more than 5 times"):
        repository.manifest("v1")


def test_a_list_whose_next_page_is_itself_ends(repository: Repository, proxy: RegistryFaults) -> None:
    def page(request: object, _: object) -> Reply:
        path = f"/v2/{repository.path}/tags/list?n=1000"
        return Reply.of({"tags": ["v1"]}, headers={"Link": f'<{path}>; rel="next"'})

    proxy.always(page, on="GET .*/tags/list")
    assert list(repository.tags()) == ["v1"]


def test_pages_of_tags_and_of_referrers_are_followed() -> None:
    """A registry of the newer kind, as far as lists go."""
    first, second = "sha256:" + "1" * 64, "sha256:" + "2" * 64

    def answer(request: object) -> Reply:
        path = request.path  # type: ignore[attr-defined] # a Request
        if "/tags/list" in path:
            following = {"Link": '</v2/a/b/tags/list?last=v1>; rel="next"'} if "last" not in path else {}
            return Reply.of({"tags": ["v2" if "last" in path else "v1"]}, headers=following)
        if "/referrers/" in path:
            entry = {"mediaType": "x", "digest": second if "page" in path else first, "size": 1}
            following = {} if "page" in path else {"Link": f"<{path.split('?')[0]}?page=2>; rel=next"}
            kind = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
            return Reply.of({"manifests": [entry | {"artifactType": "t"}]}, headers={**kind, **following})
        return Reply.of({})

    with Loopback(answer) as server:
        client = RegistryClient(server.url.removeprefix("http://"))
        repository = Repository(client, "a/b")
        assert list(repository.tags()) == ["v1", "v2"]
        assert [each.digest for each in referrers(repository, first, "t")] == [first, second]
        assert referrers(repository, first, "other") == ()
        client.close()
