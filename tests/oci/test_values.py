"""Digests, platforms, references: what is accepted, what refused, and that printing inverts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefs.errors import ImagefsError
from imagefs.oci import media_types
from imagefs.oci.descriptor import Descriptor
from imagefs.oci.digest import Digest, DigestError
from imagefs.oci.manifest import Index
from imagefs.oci.platform import NoSuchPlatform, Platform, PlatformError, choose, host
from imagefs.oci.reference import Reference, ReferenceError  # noqa: A004 - see reference.py


def refusal(parse: Callable[[str], object], text: str) -> str | None:
    """Our error's message, or None if what was parsed prints as `text`."""
    try:
        parsed = parse(text)
    except ImagefsError as error:
        return str(error)
    assert str(parsed) == text
    return None


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_digest_verifies_the_bytes_it_was_made_of_and_no_others(algorithm: str) -> None:
    digest = Digest.of(b"content", algorithm)
    assert digest == Digest.parse(str(digest))
    assert digest.raw == hashlib.new(algorithm, b"content").digest()
    digest.verify(b"content", "blob")
    with pytest.raises(DigestError, match=r"^layer 3: wrong content: expected sha"):
        digest.verify(b"contents", "layer 3")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        f"sha256:{EMPTY[:-1]}",
        f"sha256:{EMPTY}0",
        f"sha256:{EMPTY.upper()}",
        f"SHA256:{EMPTY}",
        f"sha512:{EMPTY}",
        f"md5:{EMPTY[:32]}",
        f"sha256:{EMPTY[:-1]}\n",
        f" sha256:{EMPTY}",
        f"sha256:{EMPTY[:-1]}²",
    ],
)
def test_malformed_and_unknown_digests_are_refused(text: str) -> None:
    with pytest.raises(DigestError):
        Digest.parse(text)


@given(st.text())
def test_text_is_a_digest_or_an_error_of_ours(text: str) -> None:
    error = refusal(Digest.parse, text)
    assert error is None or "\n" not in error


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/amd64", "linux/amd64"),
        ("Linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("macos/arm64", "darwin/arm64"),
        ("s390x", "linux/s390x"),
    ],
)
def test_other_names_of_a_platform_mean_the_same(text: str, normal: str) -> None:
    assert str(Platform.parse(text)) == normal


def test_an_operating_system_alone_is_on_the_hosts_architecture() -> None:
    assert Platform.parse("linux") == host()
    assert Platform.parse("windows").architecture == host().architecture


@pytest.mark.parametrize("text", ["", "/", "linux/", "linux/arm/v7/x", "linux/a b", "linux/ärm"])
def test_text_that_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(PlatformError, match="OS/ARCH"):
        Platform.parse(text)


@given(
    st.one_of(st.text(), st.from_regex(r"[a-zA-Z0-9_]{1,9}(/[a-z0-9_]{1,9}){0,2}", fullmatch=True))
)
def test_a_parsed_platform_prints_as_text_that_parses_to_it(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except ImagefsError:
        return
    assert Platform.parse(str(platform)) == platform
    assert platform.normal() == platform


def platform_of(name: str) -> Platform:
    """As written, not normalised."""
    system, architecture, variant = (*name.split("/"), "")[:3]
    return Platform(system, architecture, variant)


def index_of(*platforms: str | None) -> Index:
    return Index.build(
        Descriptor(
            media_types.OCI_MANIFEST,
            Digest.of(f"{number} {name}".encode()),
            number,
            platform=None if name is None else platform_of(name),
        )
        for number, name in enumerate(platforms)
    )


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/x86_64"], 0),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1),
        ("linux/amd64/v3", ["linux/amd64/v4", "linux/amd64"], 1),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], 1),
        ("linux/arm", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], 1),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], 1),
        ("linux/arm64/v8", ["linux/arm64"], 0),
        ("linux/s390x", [None], 0),
    ],
)
def test_the_best_entry_that_runs_is_chosen(
    wanted: str, there: list[str | None], chosen: int
) -> None:
    assert choose(index_of(*there), Platform.parse(wanted)).size == chosen


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("linux/amd64", ["linux/amd64/v2", "linux/arm64"]),
        ("linux/arm/v6", ["linux/arm/v7"]),
        ("windows/amd64", ["linux/amd64"]),
        ("linux/arm/v99999999999", ["linux/arm/v5"]),
        ("linux/amd64", []),
    ],
)
def test_what_an_index_has_instead_is_named(wanted: str, there: list[str]) -> None:
    with pytest.raises(NoSuchPlatform) as caught:
        choose(index_of(*there), Platform.parse(wanted))
    assert all(name in str(caught.value) for name in (*there, str(Platform.parse(wanted))))


def test_names_in_an_index_cannot_write_to_the_terminal() -> None:
    with pytest.raises(NoSuchPlatform, match=r"evil\\x1b\[2J") as caught:
        choose(index_of("linux/evil\x1b[2J\n"), Platform("linux", "amd64"))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "domain", "path", "tag", "has_digest"),
    [
        ("python", "", "python", None, False),
        ("library/python:3.13", "", "library/python", "3.13", False),
        ("localhost/a", "localhost", "a", None, False),
        ("localhost:5000/a/b:c", "localhost:5000", "a/b", "c", False),
        ("registry.example/a", "registry.example", "a", None, False),
        ("UPPER/a", "UPPER", "a", None, False),
        ("[::1]:5000/a", "[::1]:5000", "a", None, False),
        ("127.0.0.1:5000/a__b/c-d.e:1", "127.0.0.1:5000", "a__b/c-d.e", "1", False),
        ("host:5000", "", "host", "5000", False),
        (f"a:b@sha256:{EMPTY}", "", "a", "b", True),
        (f"x.y/a@sha256:{EMPTY}", "x.y", "a", None, True),
    ],
)
def test_references_split_as_distribution_does(
    text: str, domain: str, path: str, tag: str | None, has_digest: bool
) -> None:
    reference = Reference.parse(text)
    assert (reference.domain, reference.path, reference.tag) == (domain, path, tag)
    assert (reference.digest is not None) == has_digest
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":tag",
        "a:",
        "a@",
        "A",
        "a/B",
        "a//b",
        "/a",
        "a/",
        "-a",
        "a-",
        "a___b",
        "a..b",
        "a b",
        "a\n",
        "a:b\n",
        "x.y:port/a",
        "-x.y/a",
        "[::1/a",
        f"a:{'t' * 129}",
        "a:.t",
        f"{'a/' * 127}aa",
        f"a@sha256:{EMPTY[1:]}",
        f"a@sha256:{EMPTY}@sha256:{EMPTY}",
    ],
)
def test_text_that_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ReferenceError, match=r"^invalid image reference"):
        Reference.parse(text)


def test_names_of_255_characters_are_the_longest() -> None:
    assert Reference.parse("a/" * 126 + "abc").name
    with pytest.raises(ReferenceError, match="255"):
        Reference.parse("x.y/" + "a/" * 126 + "abc")


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("python", "docker.io/library/python:latest"),
        ("user/app:1", "docker.io/user/app:1"),
        ("docker.io/python", "docker.io/library/python:latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ("x.y/python", "x.y/python:latest"),
        (f"x.y/a@sha256:{EMPTY}", f"x.y/a@sha256:{EMPTY}"),
    ],
)
def test_names_are_completed_as_docker_does(text: str, full: str) -> None:
    assert str(Reference.parse(text).normalized().with_default_tag()) == full


COMPONENT = st.from_regex(r"[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}", fullmatch=True)
DOMAIN = st.from_regex(
    r"([a-zA-Z0-9]{1,4}\.[a-z]{2,3}|localhost|\[[0-9a-f]{0,4}:[0-9a-f:]{1,9}\])(:[0-9]{1,5})?",
    fullmatch=True,
)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(
    st.one_of(st.just(""), DOMAIN),
    st.lists(COMPONENT, min_size=1, max_size=4),
    st.one_of(st.none(), TAG),
    st.booleans(),
)
def test_printing_a_reference_inverts_parsing(
    domain: str, parts: list[str], tag: str | None, with_digest: bool
) -> None:
    path = "/".join(parts)
    if not domain and len(parts) > 1 and ("." in parts[0] or parts[0] == "localhost"):
        domain, path = parts[0], "/".join(parts[1:])
    reference = Reference(domain, path, tag, Digest.of(b"") if with_digest else None)
    try:
        assert Reference.parse(str(reference)) == reference
    except ReferenceError:
        # What began as a repository's name reads as a registry that no host can be called.
        assert "_" in domain


@given(st.one_of(st.text(), st.text("aA0./:@-_[]").map(lambda text: f"a{text}")))
def test_text_is_a_reference_or_an_error_of_ours(text: str) -> None:
    error = refusal(Reference.parse, text)
    assert error is None or "\n" not in error


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [
        (media_types.OCI_LAYER, "none"),
        (media_types.OCI_LAYER_ZSTD, "zstd"),
        (media_types.DOCKER_LAYER_GZIP, "gzip"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", "zstd"),
        (media_types.OCI_CONFIG, None),
        ("", None),
    ],
)
def test_a_layers_media_type_tells_its_compression(
    media_type: str, compression: str | None
) -> None:
    assert media_types.layer_compression(media_type) == compression
    assert media_types.is_layer(media_type) == (compression is not None)
