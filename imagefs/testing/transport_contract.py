"""What every ImageSource and ImageDestination must do, as tests. Knows no transport itself.

A transport's test module subclasses TransportContract and says how to make a Stand.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import Protocol

import pytest

from imagefs.errors import ImagefsError, NotFoundError
from imagefs.oci.digest import Digest
from imagefs.registry.blobs import BlobInfo, ContentError
from imagefs.transport.protocols import ImageDestination, ImageSource, ListsReferrers, ListsTags

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYER = bytes(range(256)) * 64
CONFIG = b'{"architecture":"amd64","os":"linux"}'


class Stand(Protocol):
    """A place for images named by tag, and a way to damage it."""

    def source(self, tag: str) -> ImageSource:
        """The image of that tag."""

    def destination(self, tag: str) -> ImageDestination:
        """A place for an image of that tag, in the same repository."""

    def damage(self, digest: Digest, data: bytes) -> None:
        """Put other bytes in a blob's place."""


def info(data: bytes) -> BlobInfo:
    """The descriptor of `data`."""
    return BlobInfo(Digest.of(data), len(data))


def manifest(layer: bytes = LAYER, **more: object) -> bytes:
    """A manifest of CONFIG and one layer."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", CONFIG),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        **more,
    }
    return json.dumps(document).encode()


async def pieces(data: bytes, size: int = 1000) -> AsyncGenerator[bytes, None]:
    """`data` in pieces, as a producer would send it."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def push(destination: ImageDestination, layer: bytes = LAYER) -> bytes:
    """Push a small image; its raw manifest."""
    raw = manifest(layer)
    for data in (CONFIG, layer):
        await destination.put_blob(pieces(data), info(data))
    await destination.put_manifest(raw, MANIFEST_TYPE)
    await destination.commit()
    await destination.aclose()
    return raw


async def drain(source: ImageSource) -> None:
    """Read LAYER as a stream to its end."""
    async with source.open_blob(info(LAYER)) as stream:
        async for _ in stream:
            pass


class TransportContract:
    """Subclass as Test…; every test makes a stand of its own."""

    def stand(self, directory: Path) -> AbstractAsyncContextManager[Stand]:
        """A fresh, empty place that may use `directory`."""
        raise NotImplementedError

    async def test_an_image_comes_back_as_it_was_sent(self, tmp_path: Path) -> None:
        """Manifest by name and by digest, blobs whole and by range."""
        async with self.stand(tmp_path) as stand:
            raw = await push(stand.destination("one"))
            source = stand.source("one")
            assert await source.manifest() == (raw, MANIFEST_TYPE)
            assert await source.manifest(Digest.of(raw)) == (raw, MANIFEST_TYPE)
            assert await source.blob(info(CONFIG)) == CONFIG
            async with source.open_blob(info(LAYER)) as stream:
                assert b"".join([piece async for piece in stream]) == LAYER
            assert await source.pread(info(LAYER), 1000, 3000) == LAYER[1000:4000]
            assert await source.pread(info(LAYER), len(LAYER) - 1, 1) == LAYER[-1:]
            assert await source.pread(info(LAYER), 7, 0) == b""
            await source.aclose()

    async def test_a_blob_of_unknown_size_is_named_by_what_came(self, tmp_path: Path) -> None:
        """Digest and size are computed; an empty blob is a blob."""
        async with self.stand(tmp_path) as stand:
            destination = stand.destination("one")
            assert await destination.put_blob(pieces(LAYER), None) == info(LAYER)
            assert await destination.put_blob(pieces(b""), None) == info(b"")
            assert await destination.put_blob(pieces(LAYER), None) == info(LAYER)
            assert await destination.has_blob(info(LAYER))
            assert await destination.has_blob(info(b""))
            await destination.aclose()

    async def test_a_blob_that_is_another_is_not_stored(self, tmp_path: Path) -> None:
        """Wrong content, too short, too long: ContentError, and nothing is there afterwards."""
        async with self.stand(tmp_path) as stand:
            destination = stand.destination("one")
            for data in (LAYER[:-1] + b"?", LAYER[:-1], LAYER + b"?"):
                async with aclosing(pieces(data)) as sent:
                    with pytest.raises(ContentError):
                        await destination.put_blob(sent, info(LAYER))
                assert not await destination.has_blob(info(LAYER))
            await destination.aclose()

    async def test_nothing_shows_before_the_commit(self, tmp_path: Path) -> None:
        """A manifest that was put but not committed is not found by its name."""
        async with self.stand(tmp_path) as stand:
            await push(stand.destination("other"))
            destination = stand.destination("one")
            await destination.put_blob(pieces(CONFIG), info(CONFIG))
            await destination.put_blob(pieces(LAYER), info(LAYER))
            await destination.put_manifest(manifest(), MANIFEST_TYPE)
            source = stand.source("one")
            with pytest.raises(NotFoundError):
                await source.manifest()
            await destination.commit()
            assert (await source.manifest())[0] == manifest()
            await source.aclose()
            await destination.aclose()

    async def test_a_name_moves_to_the_last_image(self, tmp_path: Path) -> None:
        """Committing under a name again replaces it and leaves others alone."""
        async with self.stand(tmp_path) as stand:
            await push(stand.destination("one"))
            kept = await push(stand.destination("two"))
            moved = await push(stand.destination("one"), b"another layer")
            one, two = stand.source("one"), stand.source("two")
            assert (await one.manifest())[0] == moved
            assert (await two.manifest())[0] == kept
            assert isinstance(one, ListsTags)
            assert await one.tags() == ["one", "two"]
            await one.aclose()
            await two.aclose()

    async def test_what_is_absent_is_not_found(self, tmp_path: Path) -> None:
        """Unknown names, manifests and blobs raise NotFoundError in one line."""
        async with self.stand(tmp_path) as stand:
            await push(stand.destination("one"))
            missing = stand.source("missing")
            with pytest.raises(NotFoundError) as caught:
                await missing.manifest()
            assert "\n" not in str(caught.value)
            source = stand.source("one")
            with pytest.raises(NotFoundError):
                await source.manifest(Digest.of(b"no such manifest"))
            with pytest.raises(NotFoundError):
                await source.blob(info(b"no such blob"))
            with pytest.raises(NotFoundError):
                await source.pread(info(b"no such blob"), 0, 4)
            await source.aclose()
            await missing.aclose()

    async def test_damage_is_seen(self, tmp_path: Path) -> None:
        """A stored blob with other bytes, or fewer, is never handed out as whole."""
        async with self.stand(tmp_path) as stand:
            await push(stand.destination("one"))
            source = stand.source("one")
            for damaged in (LAYER[:-1] + b"?", LAYER[:100]):
                stand.damage(Digest.of(LAYER), damaged)
                with pytest.raises(ImagefsError):
                    await source.blob(info(LAYER))
                with pytest.raises(ImagefsError):
                    await drain(source)
            await source.aclose()

    async def test_ranges_outside_the_blob_are_the_callers_mistake(self, tmp_path: Path) -> None:
        """ValueError, before anything is asked."""
        async with self.stand(tmp_path) as stand:
            source = stand.source("one")
            for offset, length in ((-1, 1), (0, len(LAYER) + 1), (len(LAYER), 1), (0, -1)):
                with pytest.raises(ValueError, match="outside"):
                    await source.pread(info(LAYER), offset, length)
            await source.aclose()

    async def test_a_stream_may_be_left_early(self, tmp_path: Path) -> None:
        """The source can be used after a reader has stopped in the middle."""
        async with self.stand(tmp_path) as stand:
            await push(stand.destination("one"))
            source = stand.source("one")
            async with source.open_blob(info(LAYER)) as stream:
                assert LAYER.startswith(await anext(stream))
            assert await source.blob(info(CONFIG)) == CONFIG
            await source.aclose()

    async def test_referrers_are_listed(self, tmp_path: Path) -> None:
        """A manifest with a subject is found through it, by sources that can tell."""
        async with self.stand(tmp_path) as stand:
            raw = await push(stand.destination("one"))
            source = stand.source("one")
            if not isinstance(source, ListsReferrers):
                return
            assert await source.referrers(Digest.of(raw)) == []
            subject = {"mediaType": MANIFEST_TYPE, "digest": str(Digest.of(raw)), "size": len(raw)}
            referrer = manifest(subject=subject)
            destination = stand.destination("signature")
            await destination.put_manifest(referrer, MANIFEST_TYPE)
            await destination.commit()
            await destination.aclose()
            found = await source.referrers(Digest.of(raw))
            assert [entry["digest"] for entry in found] == [str(Digest.of(referrer))]
            await source.aclose()


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}
