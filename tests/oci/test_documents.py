"""Manifests, indexes and descriptors: parse, build, and everything that is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.errors import ImagefsError
from imagefs.oci import media_types
from imagefs.oci.canonical import DOCUMENT_MAX, DocumentError, encode
from imagefs.oci.config import ImageConfig
from imagefs.oci.descriptor import Descriptor
from imagefs.oci.digest import Digest
from imagefs.oci.manifest import Index, Manifest, Schema1Refused, parse
from imagefs.oci.platform import Platform

CONFIG = Descriptor.of(b"{}", media_types.OCI_CONFIG)
LAYERS = [Descriptor.of(text, media_types.OCI_LAYER_GZIP) for text in (b"one", b"two")]

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def to_bytes(value: object) -> bytes:
    """Any JSON value as text."""
    return json.dumps(value).encode()


def document(**changes: Any) -> bytes:
    """An OCI manifest's JSON with some members changed; None removes one."""
    whole: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": CONFIG.to_json(),
        "layers": [layer.to_json() for layer in LAYERS],
        **changes,
    }
    return json.dumps({key: value for key, value in whole.items() if value is not None}).encode()


def with_layer(**changes: Any) -> bytes:
    """An OCI manifest's JSON whose second layer has other members."""
    return document(layers=[LAYERS[0].to_json(), {**LAYERS[1].to_json(), **changes}])


@pytest.mark.parametrize("media_type", [media_types.OCI_MANIFEST, media_types.DOCKER_MANIFEST])
def test_a_built_manifest_parses_to_itself(media_type: str) -> None:
    built = Manifest.build(CONFIG, LAYERS, {"b": "2", "a": "<1>"}, media_type)
    assert parse(built.raw, media_type) == built
    assert (built.config, built.layers) == (CONFIG, tuple(LAYERS))
    assert dict(built.annotations) == {"a": "<1>", "b": "2"}
    assert built.digest == Digest.of(built.raw)
    assert built.descriptor == Descriptor(media_type, built.digest, len(built.raw))


def test_what_is_built_is_the_bytes_that_go_writes() -> None:
    raw = Manifest.build(CONFIG, [], {"b": "", "a": "<&>"}, subject=CONFIG).raw
    blob = f'{{"mediaType":"{CONFIG.media_type}","digest":"{CONFIG.digest}","size":2}}'
    assert raw.decode() == (
        f'{{"schemaVersion":2,"mediaType":"{media_types.OCI_MANIFEST}","config":{blob},'
        f'"layers":[],"subject":{blob},"annotations":{{"a":"\\u003c\\u0026\\u003e","b":""}}}}'
    )


def test_a_built_index_parses_to_itself_with_platforms() -> None:
    platform = Platform("windows", "amd64", "v2", "10.0.1", ("win32k",))
    entry = Descriptor(media_types.OCI_MANIFEST, CONFIG.digest, 2, platform=platform)
    built = Index.build([entry], {"k": "v"})
    assert parse(built.raw) == built
    assert built.manifests[0].platform == platform


def test_building_under_the_other_kinds_media_type_is_refused() -> None:
    with pytest.raises(DocumentError):
        Manifest.build(CONFIG, LAYERS, media_type=media_types.OCI_INDEX)
    with pytest.raises(DocumentError):
        Index.build([], media_type=media_types.OCI_MANIFEST)


@pytest.mark.parametrize("sent_as", [None, "application/json", "application/octet-stream"])
def test_a_document_says_itself_what_it_is(sent_as: str | None) -> None:
    assert parse(document(), sent_as).media_type == media_types.OCI_MANIFEST


def test_an_oci_document_without_media_type_is_what_its_sender_says_or_its_shape() -> None:
    raw = document(mediaType=None)
    assert parse(raw).media_type == media_types.OCI_MANIFEST
    assert parse(raw, media_types.DOCKER_MANIFEST).media_type == media_types.DOCKER_MANIFEST
    with_charset = f"{media_types.OCI_MANIFEST}; charset=utf-8"
    assert parse(raw, with_charset).media_type == media_types.OCI_MANIFEST


def test_an_empty_list_written_as_null_is_empty() -> None:
    raw = document().replace(json.dumps([la.to_json() for la in LAYERS]).encode(), b"null")
    manifest = parse(raw)
    assert isinstance(manifest, Manifest)
    assert manifest.layers == ()
    assert manifest.raw == raw


def test_schema_1_is_refused_with_what_to_do() -> None:
    for raw, media_type in (
        (b'{"schemaVersion":1,"fsLayers":[]}', None),
        (b'{"schemaVersion":1}', "application/json"),
        (document(), media_types.DOCKER_SCHEMA1_SIGNED),
    ):
        with pytest.raises(Schema1Refused, match="push the image again"):
            parse(raw, media_type)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (document(manifests=[]), "ambiguous"),
        (document(layers=None, manifests=[]), "ambiguous"),
        (document(Manifests=[]), "ambiguous"),
        (document(layers=None, LAYERS=[]), "ambiguous"),
        (document(schemaVersion=3), "schemaVersion 3"),
        (document(schemaVersion=None), "schemaVersion"),
        (document(schemaVersion="2"), "Expected `int`"),
        (document(config=None), "neither"),
        (document(layers=None), "neither"),
        (document(layers={}), "`array"),
        (document(mediaType="text/html"), "unsupported media type"),
        (document(mediaType=media_types.OCI_INDEX), "unsupported media type"),
        (document(annotations={"a": 1}), "Expected `str`"),
        (with_layer(size=-1), "manifest: layer 2: invalid size -1"),
        (with_layer(size=1 << 63), "invalid size"),
        (with_layer(size=1.5), "Expected `int`"),
        (with_layer(size=True), "Expected `int`"),
        (with_layer(digest="sha256:abc"), "manifest: layer 2: invalid sha256 digest"),
        (with_layer(digest="md5:abc"), "unknown digest algorithm"),
        (with_layer(mediaType="no type"), "invalid media type"),
        (with_layer(data="!"), "not base64"),
        (with_layer(data=base64.b64encode(b"other").decode()), "not what its digest"),
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"\xff", "utf-8"),
        (b'{"x":' + b"[" * 100_000, "nested too deeply"),
        (b'{"x":' * 100_000, "nested too deeply"),
        (document() + b" {}", "trailing"),
        (b" " * (DOCUMENT_MAX + 1), "more than the 4194304 allowed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_manifest_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(raw)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "sent_as"),
    [
        (document(), media_types.DOCKER_MANIFEST),
        (document(), media_types.OCI_INDEX),
        (document(mediaType=None), media_types.OCI_INDEX),
        (Index.build([]).raw, media_types.OCI_MANIFEST),
    ],
)
def test_a_document_sent_as_something_else_is_refused(raw: bytes, sent_as: str) -> None:
    with pytest.raises(DocumentError, match="sent as"):
        parse(raw, sent_as)


def test_embedded_data_that_fits_is_kept() -> None:
    raw = with_layer(data=base64.b64encode(b"two").decode())
    manifest = parse(raw)
    assert isinstance(manifest, Manifest)
    assert manifest.layers[1].data == base64.b64encode(b"two").decode()


@given(
    digest=st.binary(max_size=8).map(Digest.of),
    size=st.integers(0, (1 << 63) - 1),
    annotations=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
    urls=st.lists(st.text(max_size=8), max_size=2),
    platform=st.one_of(st.none(), st.builds(Platform, st.text(), st.text(), st.text(), st.text())),
)
def test_a_descriptor_survives_its_json(
    digest: Digest,
    size: int,
    annotations: dict[str, str],
    urls: list[str],
    platform: Platform | None,
) -> None:
    blob = Descriptor("a/b", digest, size, annotations, tuple(urls), platform)
    again = Descriptor.parse(encode(blob.to_json()))
    assert again == blob
    assert again.to_json() == blob.to_json()


NAMES = (
    "schemaVersion mediaType config layers manifests annotations subject artifactType fsLayers"
    " digest size platform data os architecture rootfs history created type diff_ids Env Cmd"
)
NEARLY = st.recursive(
    JSON,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=6),
    ),
    max_leaves=12,
)


@given(st.one_of(st.binary(), JSON.map(to_bytes)))
def test_garbage_gives_errors_of_ours(raw: bytes) -> None:
    only_our_errors(raw)


@given(NEARLY.map(to_bytes))
def test_documents_with_right_names_and_wrong_values_give_errors_of_ours(raw: bytes) -> None:
    only_our_errors(raw)


@given(st.data())
def test_a_document_cut_or_with_one_byte_changed_gives_errors_of_ours(data: st.DataObject) -> None:
    raw = bytearray(document())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255))
    only_our_errors(bytes(raw))
    only_our_errors(bytes(raw[:place]))


def only_our_errors(raw: bytes) -> None:
    for parser in (parse, Descriptor.parse, ImageConfig.parse):
        try:
            parser(raw)
        except ImagefsError as error:
            if "\n" in str(error):
                raise
