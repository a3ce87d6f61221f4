"""Layers stack by the OCI rules: each case is a stack of entry lists and the tree it must give."""

import stat

import pytest

from imagefs.formats.index import Chunks, Entry, FormatError, LayerIndex, Spans
from imagefs.oci.digest import Digest
from imagefs.tree import ROOT, Tree, TreeError, build_tree, dump


def layer(*entries: Entry) -> LayerIndex:
    return LayerIndex(
        codec="raw",
        blob_digest=Digest.of(b""),
        blob_size=0,
        diff_id=None,
        stream_size=0,
        data_size=0,
        chunks=Chunks([], [], [], b""),
        spans=Spans.of([]),
        entries=entries,
    )


def file(path: bytes, size: int = 1, **fields: object) -> Entry:
    return Entry(path=path, kind=stat.S_IFREG, mode=0o644, size=size, **fields)  # type: ignore[arg-type]  # keyword fields of the struct


def folder(path: bytes, mode: int = 0o755) -> Entry:
    return Entry(path=path, kind=stat.S_IFDIR, mode=mode)


def symlink(path: bytes, target: bytes) -> Entry:
    return Entry(path=path, kind=stat.S_IFLNK, mode=0o777, link=target)


def hardlink(path: bytes, target: bytes) -> Entry:
    return Entry(path=path, kind=0, mode=0, link=target)


def tree(*layers: list[Entry]) -> Tree:
    return Tree.open(build_tree([layer(*entries) for entries in layers]))


def paths(merged: Tree) -> list[bytes]:
    return [path for path, _ in merged.walk()][1:]


def attr_of(merged: Tree, path: bytes) -> tuple[int, int, int]:
    ino = merged.lookup(path)
    assert ino is not None, path
    attr = merged.attr(ino)
    return attr.kind, attr.mode, attr.nlink


def test_missing_parents_are_directories_of_mode_755() -> None:
    merged = tree([file(b"a/b/c")])
    assert paths(merged) == [b"a", b"a/b", b"a/b/c"]
    assert attr_of(merged, b"a/b") == (stat.S_IFDIR, 0o755, 2)
    assert attr_of(merged, b"") == (stat.S_IFDIR, 0o755, 3)


def test_a_whiteout_hides_what_is_below_and_not_its_own_layer() -> None:
    lower = [file(b"a", 1), file(b"b", 1)]
    for upper in ([file(b"a", 7), file(b".wh.a", 0)], [file(b".wh.a", 0), file(b"a", 7)]):
        merged = tree(lower, upper)
        ino = merged.lookup(b"a")
        assert paths(merged) == [b"a", b"b"]
        assert ino is not None
        assert merged.attr(ino).size == 7


def test_an_opaque_directory_keeps_only_its_own_layer() -> None:
    lower = [file(b"d/old"), file(b"d/sub/old"), file(b"e")]
    merged = tree(lower, [file(b"d/sub/new"), file(b"d/.wh..wh..opq", 0)])
    assert paths(merged) == [b"d", b"d/sub", b"d/sub/new", b"e"]


def test_whiteouts_of_missing_things_and_aufs_files_do_nothing() -> None:
    merged = tree([file(b"a")], [file(b"x/.wh.y", 0), file(b".wh..wh.plnk", 0), file(b"a/.wh.b")])
    assert paths(merged) == [b"a"]


def test_a_directory_over_a_directory_takes_its_attributes_and_keeps_children() -> None:
    merged = tree([folder(b"d"), file(b"d/f")], [folder(b"d", 0o700)])
    assert paths(merged) == [b"d", b"d/f"]
    assert attr_of(merged, b"d") == (stat.S_IFDIR, 0o700, 2)


@pytest.mark.parametrize("new", [file(b"d"), symlink(b"d", b"f")])
def test_anything_else_over_a_directory_replaces_it(new: Entry) -> None:
    merged = tree([file(b"d/f"), file(b"e")], [new])
    assert paths(merged) == [b"d", b"e"]


def test_a_directory_replaces_a_file_and_a_lower_symlink() -> None:
    merged = tree([file(b"a"), symlink(b"lib", b"usr/lib")], [file(b"a/x"), file(b"lib/y")])
    assert paths(merged) == [b"a", b"a/x", b"lib", b"lib/y"]


def test_entries_go_through_symlinks_of_their_own_layer() -> None:
    merged = tree([folder(b"usr/lib"), symlink(b"lib", b"../usr/lib"), file(b"lib/x")])
    assert paths(merged) == [b"lib", b"usr", b"usr/lib", b"usr/lib/x"]


def test_a_symlink_loop_is_refused() -> None:
    with pytest.raises(FormatError, match="too many levels"):
        tree([symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/x")])


def test_hard_links_share_an_inode_and_count_their_names() -> None:
    merged = tree([file(b"a", 5), hardlink(b"d/b", b"a")], [hardlink(b"c", b"d/b")])
    inos = {merged.lookup(path) for path in (b"a", b"d/b", b"c")}
    assert len(inos) == 1
    (ino,) = inos
    assert ino is not None
    assert merged.attr(ino).nlink == 3
    assert set(merged.names(ino)) == {
        (ROOT, b"a"),
        (ROOT, b"c"),
        (merged.lookup(b"d"), b"b"),
    }


def test_a_replaced_name_leaves_the_other_names_of_its_inode() -> None:
    merged = tree([file(b"a", 5), hardlink(b"b", b"a")], [file(b"a", 6)])
    assert attr_of(merged, b"a")[2] == attr_of(merged, b"b")[2] == 1


def test_a_removed_directory_takes_its_names_off_inodes_that_live_on() -> None:
    merged = tree([file(b"d/a", 5), hardlink(b"b", b"d/a")], [file(b".wh.d", 0)])
    assert paths(merged) == [b"b"]
    assert attr_of(merged, b"b")[2] == 1


@pytest.mark.parametrize("target", [b"gone", b"d"])
def test_a_hard_link_needs_a_file(target: bytes) -> None:
    with pytest.raises(FormatError, match="hard link 'x'"):
        tree([folder(b"d"), hardlink(b"x", target)])


def test_a_device_that_overlayfs_takes_for_a_whiteout_is_dropped_aloud() -> None:
    said: list[str] = []
    device = Entry(path=b"null", kind=stat.S_IFCHR, mode=0o666)
    merged = Tree.open(build_tree([layer(device)], said.append))
    assert paths(merged) == []
    assert said == ["'null': dropped: to overlayfs a character device 0:0 is a whiteout"]


def test_inode_numbers_are_preorder_and_the_same_for_the_same_layers() -> None:
    entries = [file(b"b/x"), file(b"a"), file(b"b/w")]
    assert build_tree([layer(*entries)]) == build_tree([layer(*entries)])
    merged = tree(entries)
    assert [merged.lookup(p) for p in (b"", b"a", b"b", b"b/w", b"b/x")] == [1, 2, 3, 4, 5]


def test_dump_shows_every_attribute() -> None:
    merged = tree(
        [
            file(b"f", 3, uid=7, mtime_ns=-1, xattrs=((b"user.a", b"\0"),)),
            hardlink(b"g h", b"f"),
            symlink(b"s", b"f"),
            Entry(path=b"t", kind=stat.S_IFBLK, mode=0o600, major=259, minor=70000),
        ]
    )
    assert list(dump(merged)) == [
        "/ 40755 2 0 0 0 0 0 - -",
        "/f 100644 2 7 0 0 3 -1 - - user.a=\\x00",
        "/g\\x20h 100644 2 7 0 0 3 -1 - - user.a=\\x00 =/f",
        "/s 120777 1 0 0 0 1 0 f -",
        "/t 60600 1 0 0 286327664 0 0 - -",
    ]


@pytest.mark.parametrize("damage", [b"", b"imagefsT", b"x" * 100])
def test_bytes_that_are_no_tree_are_refused(damage: bytes) -> None:
    with pytest.raises(TreeError):
        Tree.open(damage)


def test_a_cut_tree_file_is_refused() -> None:
    whole = build_tree([layer(file(b"a"))])
    for size in range(len(whole)):
        with pytest.raises(TreeError):
            Tree.open(whole[:size])


def test_a_whiteout_below_the_layers_own_symlink_hides_in_its_target() -> None:
    lower = [folder(b"b"), file(b"b/c"), file(b"b/d")]
    merged = tree(lower, [symlink(b"a", b"b"), file(b"a/.wh.c", 0)])
    assert paths(merged) == [b"a", b"b", b"b/d"]
    merged = tree(lower, [file(b"a/.wh..wh..opq", 0), symlink(b"a", b"/../b")])
    assert paths(merged) == [b"a", b"b"]


def test_a_hard_link_finds_its_target_through_symlinks_below() -> None:
    merged = tree([folder(b"b"), file(b"b/c"), symlink(b"a", b"b")], [hardlink(b"x", b"a/c")])
    assert merged.lookup(b"x") == merged.lookup(b"b/c")


def test_directories_that_nobody_describes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagefs.tree.merge.UNDESCRIBED_MAX", 3)
    assert len(paths(tree([file(b"a/b/c/d")], [file(b"e/f/g/h")]))) == 8
    with pytest.raises(FormatError, match="layer 2: more than 3 directories"):
        tree([file(b"a")], [file(b"a/b/c/d/e")])
