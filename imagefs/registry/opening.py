"""From a reference and the user's options to a source or a destination. Connects nowhere yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

from imagefs.errors import ImagefsError
from imagefs.oci.reference import Reference
from imagefs.registry.access import Access
from imagefs.registry.client import RegistryClient
from imagefs.registry.conf import Endpoint
from imagefs.registry.conffiles import load_registries_conf
from imagefs.registry.destination import RegistryDestination
from imagefs.registry.place import Place
from imagefs.registry.retry import RetryPolicy
from imagefs.registry.source import RegistrySource


def open_registry_source(
    reference: Reference,
    access: Access,
    env: Mapping[str, str] | None = None,
    policy: RetryPolicy | None = None,
    allowed: Callable[[Reference], None] = lambda _: None,
) -> RegistrySource:
    """The image that `reference` (complete or short) means; raises ShortNameError, Blocked, ….

    `allowed` raises for references that may not be used; one that may is enough.
    """
    env = os.environ if env is None else env
    conf = load_registries_conf(access, env)
    candidates: list[list[Place]] = []
    refused: ImagefsError | None = None
    for candidate in conf.candidates(reference):
        complete = candidate.with_default_tag()
        try:
            allowed(complete)
            endpoints = conf.endpoints(complete)
        except ImagefsError as error:
            refused = error
            continue
        candidates.append([_place(complete, at, access, env, policy) for at in endpoints])
    if not candidates:
        assert refused is not None
        raise refused
    return RegistrySource(candidates)


def open_registry_destination(
    reference: Reference,
    access: Access,
    env: Mapping[str, str] | None = None,
    policy: RetryPolicy | None = None,
) -> RegistryDestination:
    """Where to push `reference`; no mirrors; a short name means its first candidate."""
    env = os.environ if env is None else env
    conf = load_registries_conf(access, env)
    complete = conf.candidates(reference)[0].with_default_tag()
    endpoint = conf.endpoints(complete, mirrors=False)[0]
    return RegistryDestination(_place(complete, endpoint, access, env, policy))


def _place(
    name: Reference,
    endpoint: Endpoint,
    access: Access,
    env: Mapping[str, str],
    policy: RetryPolicy | None,
) -> Place:
    if endpoint.is_mirror and access.creds is not None:
        # Given on the command line, they are for the registry that was named there.
        access = replace(access, creds=None)
    client = RegistryClient(
        endpoint.reference.domain, access, insecure=endpoint.insecure, env=env, policy=policy
    )
    return Place(client, endpoint.reference, name)
