"""A repository at a registry, and the verbs of the distribution API on it. Holds no image.

Distribution-spec 1.1. Every method raises RegistryError (or NotFoundError through it) in one line.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imagefs.errors import NotFoundError
from imagefs.oci.digest import Digest, DigestError
from imagefs.oci.media_types import ACCEPTED, OCI_INDEX, OCI_MANIFEST, SCHEMA1
from imagefs.oci.reference import Reference
from imagefs.registry.blobs import MANIFEST_LIMIT, BlobRef, ContentError, verify_bytes
from imagefs.registry.client import Attempts, RegistryClient
from imagefs.registry.errors import BadResponse, RegistryError, Schema1Refused
from imagefs.registry.fields import next_link, parse_content_range, range_header
from imagefs.registry.http import Response

ACCEPT = ", ".join(ACCEPTED)
_GENERIC_TYPES = ("", "application/json", "text/plain", "application/octet-stream")
_LIST_LIMIT = 16 << 20
_MAX_PAGES = 10_000
_MAX_RESOLVED = 4096


@dataclass
class Place:
    """Where an image may be: `reference` as the registry knows it, `name` as the user does."""

    client: RegistryClient
    reference: Reference
    name: Reference
    #: False after the registry answered a Range with the whole blob.
    has_ranges: bool = True
    #: Where blobs were found by redirect, so that each range costs one request.
    _resolved: OrderedDict[Digest, str] = field(default_factory=OrderedDict, repr=False)

    @property
    def repository(self) -> str:
        """The repository's path at the registry."""
        return self.reference.path

    @property
    def tag_or_digest(self) -> str:
        """What names the image in its repository; a digest wins."""
        return str(self.reference.digest or self.reference.tag or "latest")

    def scopes(self, actions: str = "pull") -> tuple[str, ...]:
        """The token scopes for these actions on the repository."""
        return (f"repository:{self.repository}:{actions}",)

    async def call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        actions: str = "pull",
        expect: tuple[int, ...] = (200,),
        fields: Mapping[str, str] | None = None,
        attempts: Attempts | None = None,
    ) -> Response:
        """A call below `/v2/REPOSITORY` (or to a URL) without a body."""
        return await self.client.call(
            method,
            f"/v2/{self.repository}{path}" if path.startswith("/") else path,
            what=what,
            repository=self.repository,
            scopes=self.scopes(actions),
            expect=expect,
            fields=fields,
            attempts=attempts,
        )

    async def manifest(
        self, digest: Digest | None, attempts: Attempts | None = None
    ) -> tuple[bytes, str]:
        """Raw bytes and media type of the image's manifest or one by digest, verified."""
        wanted = digest or self.reference.digest
        key = str(digest) if digest is not None else self.tag_or_digest
        what = f"{self.name}" if digest is None else f"{self.name}: manifest {digest}"
        response = await self.call(
            "GET", f"/manifests/{key}", what, fields={"Accept": ACCEPT}, attempts=attempts
        )
        try:
            raw = await response.read(MANIFEST_LIMIT)
        except BadResponse as error:
            raise ContentError(f"{what}: {error}") from None
        if wanted is None:
            wanted = _header_digest(response)
        if wanted is not None:
            verify_bytes(raw, wanted, str(self.name), "manifest")
        return raw, _media_type(raw, response, what)

    async def has_blob(self, ref: BlobRef, actions: str) -> bool:
        """Whether the registry has the blob in this repository."""
        what = f"{self.name}: blob {ref.digest}"
        response = await self.call(
            "HEAD", f"/blobs/{ref.digest}", what, actions=actions, expect=(200, 404)
        )
        await response.aclose()
        return response.status == 200

    async def blob_range(
        self, ref: BlobRef, start: int, end: int, attempts: Attempts
    ) -> tuple[Response, int]:
        """An answer whose body has the bytes from `start` on, and how many to skip before them.

        `end` is exclusive. A registry without ranges sends all: the skip is then `start`.
        """
        whole = start == 0 and end == ref.size
        fields = {} if whole else {"Range": range_header(start, end - start)}
        response = await self._resolved_blob(ref, fields, attempts)
        if response.status == 206:
            try:
                got = parse_content_range(response.field("content-range"))
                if got.start > start or (got.total is not None and got.total != ref.size):
                    raise ContentError(
                        f"{self.name}: blob {ref.digest}: asked for bytes from {start} of "
                        f"{ref.size}, got from {got.start} of {got.total}"
                    )
            except BaseException:
                await response.aclose()
                raise
            return response, start - got.start
        self.has_ranges = self.has_ranges and whole
        length = response.field("content-length")
        if length is not None and length.isdecimal() and int(length) != ref.size:
            await response.aclose()
            raise ContentError(
                f"{self.name}: blob {ref.digest} has {length} bytes, its descriptor says {ref.size}"
            )
        return response, start

    async def _resolved_blob(
        self, ref: BlobRef, fields: dict[str, str], attempts: Attempts
    ) -> Response:
        known = self._resolved.get(ref.digest)
        if known is not None:
            try:
                response = await self.client.follow(known, fields)
            except RegistryError:
                self._resolved.pop(ref.digest, None)
            else:
                if response.status in (200, 206):
                    return response
                # Such URLs are signed and expire: the registry makes a new one.
                self._resolved.pop(ref.digest, None)
                await response.aclose()
        response = await self.call(
            "GET",
            f"/blobs/{ref.digest}",
            f"{self.name}: blob {ref.digest}",
            expect=(200, 206),
            fields=fields,
            attempts=attempts,
        )
        if not self.client.is_own(response.url):
            self._resolved[ref.digest] = response.url
            if len(self._resolved) > _MAX_RESOLVED:
                self._resolved.popitem(last=False)
        return response

    async def tags(self) -> list[str]:
        """All tags of the repository, page by page."""
        what = f"{self.name.name}: tags"
        found: set[str] = set()
        for document in await self._pages("/tags/list?n=1000", what, {}):
            tags = document.get("tags") or []
            if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
                raise BadResponse(f"{what}: the registry's list of tags is invalid")
            found.update(tags)
        return sorted(found)

    async def referrers(self, digest: Digest) -> list[dict[str, object]]:
        """Descriptors of what refers to `digest`: the referrers API, else the tag schema."""
        what = f"{self.name}: referrers of {digest}"
        try:
            pages = await self._pages(f"/referrers/{digest}", what, {"Accept": OCI_INDEX})
        except (NotFoundError, BadResponse):
            pages = [await self.referrers_tag(digest)]
        return [entry for page in pages for entry in _descriptors(page, what)]

    async def referrers_tag(self, digest: Digest) -> dict[str, Any]:
        """The index that the tag schema keeps for `digest`; an empty one if there is none."""
        path = f"/manifests/{referrers_tag(digest)}"
        what = f"{self.name}: referrers of {digest}"
        response = await self.call(
            "GET", path, what, expect=(200, 404), fields={"Accept": OCI_INDEX}
        )
        raw = await response.read(MANIFEST_LIMIT)
        if response.status == 404:
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        return _object(raw, what)

    async def delete_manifest(self, digest: Digest) -> None:
        """Delete a manifest by digest; raises RegistryNotFound if there is none."""
        what = f"{self.name}: manifest {digest}"
        response = await self.client.call(
            "DELETE",
            f"/v2/{self.repository}/manifests/{digest}",
            what=what,
            repository=self.repository,
            scopes=self.scopes("delete,pull"),
            expect=(200, 202),
        )
        await response.aclose()

    async def _pages(self, path: str, what: str, fields: dict[str, str]) -> list[dict[str, Any]]:
        pages: list[dict[str, Any]] = []
        seen: set[str] = set()
        url: str | None = path
        while url is not None:
            if url in seen or len(pages) >= _MAX_PAGES:
                raise BadResponse(f"{what}: the registry's pages never end")
            seen.add(url)
            response = await self.call("GET", url, what, fields=fields)
            pages.append(_object(await response.read(_LIST_LIMIT), what))
            url = next_link(response.fields("link"), response.url)
        return pages


def referrers_tag(digest: Digest) -> str:
    """The tag that lists referrers where there is no API (spec, "Referrers Tag Schema")."""
    return f"{digest.algorithm}-{digest.hex}"[: 32 + 1 + 64]


def _descriptors(page: dict[str, Any], what: str) -> list[dict[str, object]]:
    entries = page.get("manifests")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadResponse(f"{what}: the registry's list is invalid")
    return entries


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BadResponse(f"{what}: the registry's answer is no JSON object")
    return document


def _header_digest(response: Response) -> Digest | None:
    """Docker-Content-Digest, where it is one we can check."""
    try:
        return Digest.parse(response.field("docker-content-digest") or "")
    except DigestError:
        return None


def _media_type(raw: bytes, response: Response, what: str) -> str:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise ContentError(f"{what}: the manifest is not JSON") from None
    if not isinstance(document, dict):
        raise ContentError(f"{what}: the manifest is no JSON object")
    declared = (response.field("content-type") or "").partition(";")[0].strip().lower()
    if declared in SCHEMA1 or document.get("schemaVersion") == 1:
        raise Schema1Refused(
            f"{what}: a Docker schema 1 manifest, which is not supported; push the image again "
            "with a current tool"
        )
    if declared not in _GENERIC_TYPES:
        return declared
    own = document.get("mediaType")
    if isinstance(own, str) and own:
        return own
    return OCI_INDEX if "manifests" in document else OCI_MANIFEST
