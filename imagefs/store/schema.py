"""The tables of meta.db, every column explained where it is created. Runs no statement.

Digests are text as in `sha256:HEX`, times nanoseconds since the epoch, sizes bytes. Paths are
blobs, since they need not be UTF-8. A row comes after the files it speaks of, and goes before them.
"""

from __future__ import annotations

VERSION = 1

SCHEMA = """
CREATE TABLE blobs (
    digest     TEXT PRIMARY KEY,   -- names the file blobs/ALGORITHM/HEX
    size       INTEGER NOT NULL,
    added_ns   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE layers (
    id              TEXT PRIMARY KEY,  -- LayerKey.id, names the directory layers/ID
    blob            TEXT NOT NULL,     -- digest of the layer as the registry has it
    index_digest    TEXT NOT NULL,     -- sha256 of the file `index`
    proved          INTEGER NOT NULL,  -- 1: a full verified stream made the index here
    diff_id         TEXT,              -- what that stream proved; NULL where nothing did
    blob_size       INTEGER NOT NULL,
    stream_size     INTEGER NOT NULL,  -- of the uncompressed layer
    data_size       INTEGER NOT NULL,  -- logical size of the file `data`
    skeleton_digest TEXT NOT NULL,     -- sha256 of the tar bytes that are no file content
    added_ns        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX layers_by_blob ON layers (blob, proved);

CREATE TABLE images (
    manifest      TEXT PRIMARY KEY,   -- digest of the manifest, which is in blobs
    media_type    TEXT NOT NULL,      -- of the manifest
    config        TEXT NOT NULL,      -- digest of the config, in blobs; its hex is the image id
    created_ns    INTEGER NOT NULL,   -- what the config says, 0 where it says nothing
    os            TEXT NOT NULL,
    architecture  TEXT NOT NULL,
    variant       TEXT NOT NULL,      -- '' for none
    added_ns      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX images_by_config ON images (config);

CREATE TABLE image_layers (
    manifest  TEXT NOT NULL REFERENCES images,
    position  INTEGER NOT NULL,       -- 0 is the lowest
    layer     TEXT NOT NULL REFERENCES layers,
    PRIMARY KEY (manifest, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_layers_by_layer ON image_layers (layer);

CREATE TABLE image_blobs (
    manifest  TEXT NOT NULL REFERENCES images,
    blob      TEXT NOT NULL REFERENCES blobs,  -- kept with the image: manifest, config, index, ...
    PRIMARY KEY (manifest, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_blobs_by_blob ON image_blobs (blob);

CREATE TABLE names (
    name       TEXT PRIMARY KEY,      -- full: registry, repository and tag or digest
    manifest   TEXT NOT NULL REFERENCES images,
    tagged_ns  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX names_by_manifest ON names (manifest);

CREATE TABLE locations (
    blob     TEXT NOT NULL,           -- digest of a layer blob
    source   TEXT NOT NULL,           -- image name, with transport, that has it
    seen_ns  INTEGER NOT NULL,        -- when it was last said to be there
    PRIMARY KEY (blob, source)
) STRICT, WITHOUT ROWID;

CREATE TABLE packed (
    blob     TEXT NOT NULL,           -- digest of a layer that is not compressed
    how      TEXT NOT NULL,           -- format and level it was compressed with for a push
    packed   TEXT NOT NULL,           -- digest of what it became
    size     INTEGER NOT NULL,        -- of that blob
    PRIMARY KEY (blob, how)
) STRICT, WITHOUT ROWID;

CREATE TABLE mounts (
    id          TEXT PRIMARY KEY,     -- hex, names the directory mounts/ID
    manifest    TEXT NOT NULL REFERENCES images,
    name        TEXT NOT NULL,        -- the image as the user named it
    mountpoint  BLOB NOT NULL,
    driver      TEXT NOT NULL,        -- 'fuse' or 'composed'
    read_only   INTEGER NOT NULL,
    options     TEXT NOT NULL,        -- JSON object
    access      TEXT NOT NULL,        -- JSON object: where credentials are, never a secret
    created_ns  INTEGER NOT NULL,
    boot_id     TEXT NOT NULL,        -- boot in which it was last mounted
    upper       BLOB,                 -- directory of the upper; NULL for none
    container   TEXT                  -- id of the container it was made for; NULL for none
) STRICT, WITHOUT ROWID;
CREATE INDEX mounts_by_manifest ON mounts (manifest);

CREATE TABLE mount_layers (
    mount     TEXT NOT NULL REFERENCES mounts ON DELETE CASCADE,
    position  INTEGER NOT NULL,       -- 0 is the lowest
    layer     TEXT NOT NULL REFERENCES layers,  -- stays what it was when the image gets others
    PRIMARY KEY (mount, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX mount_layers_by_layer ON mount_layers (layer);

CREATE TABLE containers (
    id          TEXT PRIMARY KEY,     -- hex, names the directory containers/ID
    name        TEXT NOT NULL UNIQUE,
    manifest    TEXT NOT NULL REFERENCES images,
    image_name  TEXT NOT NULL,        -- the image as the user named it
    mount       TEXT,                 -- id of its mount; NULL before it has one
    config      TEXT NOT NULL,        -- JSON object, written once
    created_ns  INTEGER NOT NULL,
    state       TEXT NOT NULL         -- JSON object, what lasts: exit code, times
) STRICT, WITHOUT ROWID;
CREATE INDEX containers_by_manifest ON containers (manifest);

CREATE TABLE leases (
    id          TEXT PRIMARY KEY,     -- names the file locks/leases/ID; void once its flock is free
    kind        TEXT NOT NULL,        -- 'pull', 'commit', ...
    what        TEXT NOT NULL,        -- for messages
    pid         INTEGER NOT NULL,     -- for messages
    started_ns  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lease_holds (
    lease  TEXT NOT NULL REFERENCES leases ON DELETE CASCADE,
    kind   TEXT NOT NULL,             -- 'blob', 'layer' or 'image'
    name   TEXT NOT NULL,             -- digest, layer id or manifest digest
    PRIMARY KEY (lease, kind, name)
) STRICT, WITHOUT ROWID;
"""
