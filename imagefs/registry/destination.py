"""`docker://` as a destination: pushes one image to a registry. Never reads layers back.

Uploads (distribution-spec, "Pushing blobs"): a blob goes in chunks, each held until the registry
has it, so that a broken chunk goes on from where the registry says it is. A blob of one chunk is a
POST and a PUT.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import trio

from imagefs.errors import InvalidInputError
from imagefs.oci.digest import Digest
from imagefs.oci.media_types import OCI_INDEX
from imagefs.oci.reference import Reference, ReferenceError  # noqa: A004 - see reference.py
from imagefs.registry.blobs import BlobInfo, BlobRef, ContentError, Verifier, verify_bytes
from imagefs.registry.errors import AccessDenied, BadResponse, RegistryError, RegistryNotFound
from imagefs.registry.fields import uploaded
from imagefs.registry.http import UPLOAD_TIMEOUT, Response
from imagefs.registry.place import Place, referrers_tag

CHUNK = 8 << 20
_CANCEL_TIMEOUT = 5.0
_ACTIONS = "pull,push"


@dataclass
class _Upload:
    """An upload that is under way: where it goes on; the registry says so anew with each answer."""

    location: str


class RegistryDestination:
    """An ImageDestination; `chunk` is the size in bytes of what is sent, and held, at once."""

    def __init__(self, place: Place, chunk: int = CHUNK) -> None:
        self._place = place
        self._chunk = chunk
        self._pending: tuple[bytes, str] | None = None
        self._spare: str | None = None

    @property
    def name(self) -> str:
        """`docker://HOST/REPOSITORY:TAG`."""
        return f"docker://{self._place.name}"

    async def has_blob(self, ref: BlobRef) -> bool:
        """See ImageDestination."""
        return await self._place.has_blob(ref, _ACTIONS)

    async def mount_blob(self, ref: BlobRef, source_name: str) -> bool:
        """See ImageDestination; True only where the registry took the blob over."""
        source = self._same_registry(source_name)
        if source is None:
            await trio.lowlevel.checkpoint()
            return False
        query = urlencode({"mount": str(ref.digest), "from": source.path})
        scopes = {*self._place.scopes(_ACTIONS), f"repository:{source.path}:pull"}
        try:
            response = await self._place.client.call(
                "POST",
                f"/v2/{self._place.repository}/blobs/uploads/?{query}",
                what=f"{self._place.name}: mount of blob {ref.digest}",
                repository=self._place.repository,
                scopes=scopes,
                expect=(201, 202),
                content=b"",
            )
        except (AccessDenied, RegistryNotFound, BadResponse):
            return False
        await response.aclose()
        if response.status == 202:
            # An ordinary upload was opened instead: the next blob takes it.
            await self._drop_spare()
            self._spare = self._location(response)
        return response.status == 201

    async def put_blob(self, chunks: AsyncIterable[bytes], ref: BlobRef | None) -> BlobInfo:
        """See ImageDestination."""
        verifier = Verifier(ref, self.name) if ref is not None else None
        hasher = (ref.digest if ref is not None else Digest.of(b"")).hasher()
        size = 0
        spare, self._spare = self._spare, None  # before any wait: blobs are sent side by side
        upload = _Upload(spare or await self._begin())
        try:
            held: bytes | None = None
            async with aclosing(_resized(chunks, self._chunk)) as sized:
                async for chunk in sized:
                    if held is not None:
                        await self._patch(upload, held, size - len(held))
                    held = chunk
                    size += len(chunk)
                    hasher.update(chunk)
                    if verifier is not None:
                        verifier.feed(chunk)
            if verifier is not None:
                verifier.finish()
            digest = ref.digest if ref is not None else Digest("sha256", hasher.hexdigest())
            if held is not None and size > len(held):
                await self._patch(upload, held, size - len(held))
                held = b""
            await self._finish(upload, held or b"", BlobInfo(digest, size))
        except BaseException:
            await self._cancel(upload.location)
            raise
        return BlobInfo(digest, size)

    async def put_manifest(self, raw: bytes, media_type: str, digest: Digest | None = None) -> None:
        """See ImageDestination; the image's own manifest is sent by commit()."""
        if digest is None:
            await trio.lowlevel.checkpoint()
            self._pending = (raw, media_type)
            return
        verify_bytes(raw, digest, self.name, "manifest")
        await self._put(raw, media_type, str(digest))

    async def commit(self) -> None:
        """See ImageDestination. Idempotent."""
        if self._pending is None:
            raise ValueError("commit() before put_manifest()")
        raw, media_type = self._pending
        reference = self._place.reference
        if reference.digest is not None and reference.digest != Digest.of(
            raw, reference.digest.algorithm
        ):
            raise InvalidInputError(
                f"{self.name}: the image to push has another digest, {Digest.of(raw)}; name a tag"
            )
        await self._put(raw, media_type, reference.tag or self._place.tag_or_digest)

    async def delete(self, digest: Digest) -> None:
        """Delete a manifest of the repository by digest."""
        await self._place.delete_manifest(digest)

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        await self._drop_spare()
        await self._place.client.aclose()

    def _same_registry(self, source_name: str) -> Reference | None:
        try:
            source = Reference.parse(source_name.removeprefix("docker://")).normalized()
        except ReferenceError:
            return None
        own = self._place.name
        if not source_name.startswith("docker://") or source.domain != own.domain:
            return None
        return source if source.path != own.path else None

    async def _call(
        self,
        method: str,
        url: str,
        what: str,
        content: bytes,
        *expect: int,
        once: bool = False,
        **fields: str,
    ) -> Response:
        return await self._place.client.call(
            method,
            url,
            what=what,
            repository=self._place.repository,
            scopes=self._place.scopes(_ACTIONS),
            expect=expect,
            fields={key.replace("_", "-"): value for key, value in fields.items()},
            content=content,
            once=once,
            timeout=UPLOAD_TIMEOUT,
        )

    async def _begin(self) -> str:
        path = f"/v2/{self._place.repository}/blobs/uploads/"
        response = await self._call("POST", path, f"{self._place.name}: push", b"", 202)
        await response.aclose()
        return self._location(response)

    async def _patch(self, upload: _Upload, data: bytes, offset: int) -> None:
        """Send one chunk that begins at `offset`; where a try broke, only what is missing."""
        what = f"{self._place.name}: push"
        attempts = self._place.client.attempts(patient=False)
        done = 0
        while rest := data[done:]:
            fields = {
                "Content_Type": "application/octet-stream",
                "Content_Range": f"{offset + done}-{offset + len(data) - 1}",
            }
            try:
                response = await self._call(
                    "PATCH", upload.location, what, rest, 202, once=True, **fields
                )
            except RegistryError as error:
                await attempts.again(error)
                have = await self._status(upload)
                if not offset <= have <= offset + len(data):
                    raise BadResponse(
                        f"{what}: the registry lost the upload (it has {have} bytes, "
                        f"{offset} were sent); push again"
                    ) from None
                done = have - offset
            else:
                await response.aclose()
                upload.location = self._location(response)
                return

    async def _status(self, upload: _Upload) -> int:
        """How many bytes of the upload the registry has."""
        what = f"{self._place.name}: push"
        response = await self._place.call(
            "GET", upload.location, what, actions=_ACTIONS, expect=(204, 202)
        )
        await response.aclose()
        upload.location = self._location(response, upload.location)
        return uploaded(response.field("range"))

    async def _finish(self, upload: _Upload, data: bytes, blob: BlobInfo) -> None:
        """End the upload; `data` is the whole blob, or empty if it was sent in chunks.

        A try that broke may have ended the upload, or left a part of `data` in it: the first is
        seen by asking for the blob, and after the second a new upload is begun.
        """
        attempts = self._place.client.attempts(patient=False)
        while True:
            try:
                await self._put_end(upload, data, blob.digest)
                return
            except RegistryError as error:
                if error.retryable and await self.has_blob(blob):
                    return
                await attempts.again(error)
            if data:
                await self._cancel(upload.location)
                upload.location = await self._begin()

    async def _put_end(self, upload: _Upload, data: bytes, digest: Digest) -> None:
        glue = "&" if urlsplit(upload.location).query else "?"
        url = f"{upload.location}{glue}{urlencode({'digest': str(digest)})}"
        what = f"{self._place.name}: push of blob {digest}"
        fields = {"Content_Type": "application/octet-stream"}
        response = await self._call("PUT", url, what, data, 201, once=True, **fields)
        await response.aclose()
        stored = response.field("docker-content-digest")
        if stored and stored.startswith(f"{digest.algorithm}:") and stored != str(digest):
            raise ContentError(f"{what}: the registry stored {stored[:120]!r} instead")

    async def _drop_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            await self._cancel(spare)

    async def _cancel(self, location: str) -> None:
        """Drop an upload; best effort, also while being cancelled."""
        with trio.move_on_after(_CANCEL_TIMEOUT) as scope:
            scope.shield = True
            try:
                what = f"{self._place.name}: push"
                response = await self._call("DELETE", location, what, b"", 200, 202, 204)
                await response.aclose()
            except RegistryError:
                pass  # registries drop stale uploads themselves

    async def _put(self, raw: bytes, media_type: str, key: str) -> None:
        path = f"/v2/{self._place.repository}/manifests/{key}"
        what = f"{self._place.name}: push of manifest"
        response = await self._call("PUT", path, what, raw, 201, 200, Content_Type=media_type)
        await response.aclose()
        subject = _subject(raw)
        if subject is not None and response.field("oci-subject") is None:
            await self._refer(subject, raw, media_type)

    async def _refer(self, subject: Digest, raw: bytes, media_type: str) -> None:
        """List the manifest under its subject's tag: this registry has no referrers API."""
        index = await self._place.referrers_tag(subject)
        entries = index.get("manifests")
        entry = _referrer(raw, media_type)
        if isinstance(entries, list):
            entries = [e for e in entries if isinstance(e, dict) and e["digest"] != entry["digest"]]
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [*(entries or []), entry],
        }
        await self._put(json.dumps(document).encode(), OCI_INDEX, referrers_tag(subject))

    def _location(self, response: Response, default: str | None = None) -> str:
        location = response.field("location")
        if location is None:
            if default is not None:
                return default
            raise BadResponse(f"{self._place.name}: the registry opened an upload nowhere")
        return str(urljoin(response.url, location))


async def _resized(chunks: AsyncIterable[bytes], size: int) -> AsyncGenerator[bytes, None]:
    """The same bytes in pieces of `size`; the last may be shorter, an empty stream has none."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)


def _document(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _subject(raw: bytes) -> Digest | None:
    subject = _document(raw).get("subject")
    if not isinstance(subject, dict) or not isinstance(subject.get("digest"), str):
        return None
    return Digest.parse(subject["digest"])


def _referrer(raw: bytes, media_type: str) -> dict[str, object]:
    """The descriptor that a list of referrers has for a manifest (spec, "Pushing with Subject")."""
    document = _document(raw)
    config = document.get("config")
    artifact = document.get("artifactType")
    if not artifact and isinstance(config, dict):
        artifact = config.get("mediaType")
    return {
        "mediaType": media_type,
        "digest": str(Digest.of(raw)),
        "size": len(raw),
        **({"artifactType": artifact} if artifact else {}),
        **({"annotations": document["annotations"]} if document.get("annotations") else {}),
    }
