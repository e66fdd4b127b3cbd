"""One repository of a registry: what is in it, and putting more into it.

    client = RegistryClient("registry.example.com", credentials=…)
    jobs = Repository(client, "team/jobs")
    jobs.push_blob(layer, Path("layer.tar.gz"))      # each blob, then
    jobs.push_manifest(manifest, "v1")               # the manifest, last: it makes them an image

What is read is checked against its digest before anybody uses it. Pushing order is the caller's: a registry
takes no manifest whose blobs it lacks, so a push that breaks leaves nothing that looks like an image.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from launch_agent.clients.http import ONCE, TRANSIENT, NoAnswer, Response
from launch_agent.clients.oci.client import RegistryClient
from launch_agent.clients.oci.listing import pages
from launch_agent.clients.oci.model import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEXES,
    LARGEST_MANIFEST,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    Platform,
    digest_of,
)
from launch_agent.clients.oci.upload import BytesContent, Content, FileContent, Upload
from launch_agent.errors import RegistryError, RegistryUnavailable

_ACCEPT = ", ".join((OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST))
_ALGORITHMS = ("sha256", "sha384", "sha512")
_READ_ATTEMPTS = 5
# A configuration is held in memory; the largest seen are a few hundred kilobytes.
_LARGEST_CONFIG = 16 * 1024 * 1024


class Repository:
    """The repository `path` of a registry. `chunk` is the most bytes of one upload request, 0 for no limit.

    Every method raises RegistryError (RegistryDenied, RegistryNotFound, RegistryUnavailable).
    """

    def __init__(self, client: RegistryClient, path: str, *, chunk: int = 0) -> None:
        self.client = client
        self.path = path
        self._chunk = chunk

    def __str__(self) -> str:
        return f"{self.client.host}/{self.path}"

    @property
    def pull(self) -> Sequence[str]:
        return (f"repository:{self.path}:pull",)

    @property
    def push(self) -> Sequence[str]:
        return (f"repository:{self.path}:pull,push",)

    def url(self, kind: str, last: str, query: str = "") -> str:
        path = f"/v2/{quote(self.path)}/{kind}/{quote(last, safe=':/')}"
        return self.client.url(f"{path}?{query}" if query else path)

    def head(self, reference: str) -> Descriptor | None:
        """What a tag or digest points to; None where there is no such manifest (or repository)."""
        doing = f"look for {self._named(reference)}"
        url = self.url("manifests", reference)
        headers = {"Accept": _ACCEPT}
        answer = self.client.request(doing, "HEAD", url, scopes=self.pull, headers=headers)
        if answer.status == 404:
            return None
        digest, size = (
            answer.headers.get("docker-content-digest", ""),
            answer.headers.get("content-length", ""),
        )
        if answer.status == 200 and _is_digest(digest) and size.isdigit():
            kind = answer.headers.get("content-type", "").partition(";")[0].strip()
            return Descriptor(media_type=kind, digest=digest, size=int(size))
        # No digest in the header, no HEAD at all, or an error, which a HEAD has no words for.
        answer = self.client.request(doing, "GET", url, scopes=self.pull, headers=headers)
        return None if answer.status == 404 else self._parsed(doing, reference, answer).descriptor

    def manifest(self, reference: str) -> Manifest:
        """The manifest or index behind a tag or digest."""
        doing = f"read {self._named(reference)}"
        url = self.url("manifests", reference)
        answer = self.client.request(doing, "GET", url, scopes=self.pull, headers={"Accept": _ACCEPT})
        return self._parsed(doing, reference, answer)

    def image(self, reference: str, platform: Platform) -> Manifest:
        """The image for a platform: itself, or the one that an index lists."""
        found = self.manifest(reference)
        for _ in range(3):  # an index may list indexes
            if not found.is_index:
                return found
            found = self.manifest(found.pick(platform).digest)
        raise RegistryError(f"cannot read {self._named(reference)}: it is an index of indexes of indexes")

    def config(self, manifest: Manifest) -> dict[str, Any]:
        """An image's configuration."""
        doing = f"read the configuration of {self._named(manifest.digest)}"
        descriptor = manifest.config
        if descriptor.size > _LARGEST_CONFIG:
            raise RegistryError(f"cannot {doing}: it says it has {descriptor.size} bytes")
        try:
            value = json.loads(b"".join(self.read_blob(descriptor)))
        except ValueError as error:
            raise RegistryError(f"cannot {doing}: it is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise RegistryError(f"cannot {doing}: it is not an object")
        return value

    def has_blob(self, digest: str, *, pushing: bool = False) -> bool:
        """`pushing` asks with the right to push: some registries deny reading what is yet to be made."""
        doing = f"look for the layer {digest} in {self}"
        scopes = self.push if pushing else self.pull
        answer = self.client.request(doing, "HEAD", self.url("blobs", digest), scopes=scopes, follow=False)
        # A redirect says where it is; signed addresses of stores are good for the GET only.
        if answer.status == 200 or 300 <= answer.status < 400:
            return True
        if answer.status == 404:
            return False
        self.client.expect(doing, answer, 200)
        return True

    def read_blob(self, descriptor: Descriptor) -> Iterator[bytes]:
        """The blob's bytes, going on where a connection broke. The end raises RegistryError where they are
        not what the digest says: use nothing before the end was reached."""
        doing = f"read the layer {descriptor.digest} of {self}"
        digest, got, attempt = _hash(descriptor.digest), 0, 0
        url = self.url("blobs", descriptor.digest)
        while True:
            headers = {"Range": f"bytes={got}-"} if got else {}
            try:
                with self.client.opened(doing, url, scopes=self.pull, headers=headers) as stream:
                    if stream.status not in (200, 206):
                        self.client.expect(doing, stream.whole(64 * 1024), 200)
                    behind = got if stream.status == 200 else 0  # Range was not honoured
                    for chunk in stream.chunks():
                        fresh = chunk[behind:]
                        behind = max(0, behind - len(chunk))
                        got += len(fresh)
                        digest.update(fresh)
                        if got > descriptor.size:
                            break
                        if fresh:
                            yield fresh
                break
            except (NoAnswer, RegistryUnavailable) as error:
                attempt += 1
                if attempt >= _READ_ATTEMPTS:
                    raise (
                        self.client.unanswered(doing, error) if isinstance(error, NoAnswer) else error
                    ) from error
        if got != descriptor.size or f"{digest.name}:{digest.hexdigest()}" != descriptor.digest:
            raise RegistryError(
                f"cannot {doing}: what came is not what its digest says ({got} of {descriptor.size} bytes)",
                hint="try again; if it stays so, the registry's storage or a proxy is broken",
            )

    def fetch_blob(self, descriptor: Descriptor, into: Path) -> None:
        """Write a blob to a file, which is there whole or not at all."""
        with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}.") as folder:
            part = Path(folder, "blob")
            with part.open("wb") as stream:
                for chunk in self.read_blob(descriptor):
                    stream.write(chunk)
            part.replace(into)

    def push_blob(
        self,
        descriptor: Descriptor,
        content: Path | bytes | Content,
        *,
        mount_from: Iterable[Repository] = (),
        progress: Callable[[int], object] = lambda _: None,
    ) -> bool:
        """Put a blob here unless it is here; False where nothing had to be sent.

        `mount_from` are repositories of the same registry that may have it: then it is linked, not sent.
        """
        if self.has_blob(descriptor.digest, pushing=True):
            return False
        location = ""
        for source in mount_from:
            if source.client.host == self.client.host and source.path != self.path:
                there, location = self._mount(descriptor, source)
                if there:
                    return False
        if isinstance(content, Path):
            content = FileContent(content)
        elif isinstance(content, bytes):
            content = BytesContent(content)
        upload = self._upload(f"the layer {descriptor.digest}", progress, descriptor.digest)
        upload.run(descriptor, content, location)
        return True

    def push_stream(
        self,
        chunks: Iterable[bytes],
        media_type: str,
        *,
        progress: Callable[[int], object] = lambda _: None,
    ) -> Descriptor:
        """Put a blob here whose bytes come once, and whose digest is known at their end."""
        return self._upload("a layer", progress).run_stream(chunks, media_type)

    def mount(self, descriptor: Descriptor, source: Repository) -> bool:
        """Link a blob from another repository of this registry; False where it cannot be."""
        return self._mount(descriptor, source)[0]

    def push_manifest(self, manifest: Manifest, reference: str = "") -> Descriptor:
        """Put a manifest or index here, by a tag or by its digest. Its blobs are here already."""
        reference = reference or manifest.digest
        doing = f"push {self._named(reference)}"
        answer = self.client.request(
            doing,
            "PUT",
            self.url("manifests", reference),
            scopes=self.push,
            headers={"Content-Type": manifest.descriptor.media_type},
            body=manifest.content,
        )
        # 200 and 202 are what some proxies and older servers make of 201.
        self.client.expect(doing, answer, 200, 201, 202, pushing=True)
        stored = answer.headers.get("docker-content-digest", manifest.digest)
        if stored != manifest.digest:
            raise RegistryError(
                f"cannot {doing}: {self.client.host} stored it as {stored}, and it is {manifest.digest}"
            )
        return manifest.descriptor

    def check_push(self) -> None:
        """Raise RegistryError where nothing can be pushed here; what was begun to find out is given up."""
        doing = f"push to {self}"
        url = self.url("blobs", "uploads/")
        answer = self.client.request(doing, "POST", url, scopes=self.push, body=b"", follow=False)
        self.client.expect(doing, answer, 202, pushing=True)
        if location := answer.headers.get("location"):
            session = self.client.locate(url, location)
            # Not every registry lets a session be given up; it ends by itself.
            self.client.request(doing, "DELETE", session, scopes=self.push, follow=False, retry=ONCE)

    def tags(self) -> Iterator[str]:
        """All tags, in the registry's order."""
        doing = f"list the tags of {self}"
        url = self.url("tags", "list", urlencode({"n": 1000}))
        for page in pages(self.client, doing, url, self.pull):
            yield from (str(tag) for tag in page.get("tags") or ())

    def delete(self, reference: str) -> bool:
        """Remove a manifest, with every tag that points to it; False where there is none."""
        doing = f"delete {self._named(reference)}"
        found = Descriptor(media_type="", digest=reference, size=0) if _is_digest(reference) else None
        if found is None and (found := self.head(reference)) is None:
            return False
        scopes = (f"repository:{self.path}:pull,push,delete",)
        answer = self.client.request(doing, "DELETE", self.url("manifests", found.digest), scopes=scopes)
        if answer.status == 404:
            return False
        if answer.status == 405:
            raise RegistryError(
                f"cannot {doing}: {self.client.host} does not allow it",
                hint="deleting is switched off there; remove images by the registry's own means",
            )
        self.client.expect(doing, answer, 200, 202, 204, pushing=True)
        return True

    def _mount(self, descriptor: Descriptor, source: Repository) -> tuple[bool, str]:
        """Whether it is here now, and else the upload session that the registry began in its place."""
        doing = f"link the layer {descriptor.digest} from {source} to {self}"
        query = urlencode({"mount": descriptor.digest, "from": source.path})
        url = self.url("blobs", "uploads/", query)
        answer = self.client.request(
            doing, "POST", url, scopes=(*self.push, *source.pull), body=b"", follow=False
        )
        if answer.status == 201:
            return True, ""
        if answer.status == 202 and (location := answer.headers.get("location")):
            return False, self.client.locate(url, location)
        if answer.status in TRANSIENT:
            self.client.expect(doing, answer, 201, pushing=True)
        return False, ""  # no right to read it there, or no such way: it is sent instead

    def _upload(self, what: str, progress: Callable[[int], object], digest: str = "") -> Upload:
        return Upload(
            self.client,
            self.url("blobs", "uploads/"),
            self.push,
            doing=f"push {what} to {self}",
            is_there=(lambda: self.has_blob(digest, pushing=True)) if digest else (lambda: False),
            chunk=self._chunk,
            progress=progress,
        )

    def _parsed(self, doing: str, reference: str, answer: Response) -> Manifest:
        self.client.expect(doing, answer, 200)
        if len(answer.body) > LARGEST_MANIFEST:
            raise RegistryError(f"cannot {doing}: it has {len(answer.body)} bytes")
        try:
            manifest = Manifest.parse(answer.body, answer.headers.get("content-type", ""))
        except (ValueError, RecursionError) as error:
            raise RegistryError(
                f"cannot {doing}: {self.client.host} answered with something that is no manifest: {error}",
                hint="is this the address of a registry, and not of a page before it?",
            ) from error
        kind = manifest.descriptor.media_type
        if kind not in (*MANIFESTS, *INDEXES):
            raise RegistryError(
                f"cannot {doing}: it is of type {kind!r}, which is too old or no image",
                hint="push the image again with a current tool",
            )
        wanted = reference if _is_digest(reference) else answer.headers.get("docker-content-digest", "")
        if _is_digest(wanted) and not _matches(answer.body, wanted):
            raise RegistryError(f"cannot {doing}: what came is not what its digest {wanted} says")
        return manifest

    def _named(self, reference: str) -> str:
        return f"{self}{'@' if _is_digest(reference) else ':'}{reference}"


def _is_digest(text: str) -> bool:
    algorithm, colon, rest = text.partition(":")
    return bool(colon) and algorithm in _ALGORITHMS and len(rest) >= 64


def _hash(digest: str) -> hashlib._Hash:
    algorithm = digest.partition(":")[0]
    if not _is_digest(digest):
        raise RegistryError(f"{digest!r} is no digest of a kind known here: {', '.join(_ALGORITHMS)}")
    return hashlib.new(algorithm)


def _matches(content: bytes, digest: str) -> bool:
    if digest.startswith("sha256:"):
        return digest_of(content) == digest
    return hashlib.new(digest.partition(":")[0], content).hexdigest() == digest.partition(":")[2]
