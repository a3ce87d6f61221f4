"""How to reach registries: what the user's options say. Reads no file; holds at most one secret.

An Access travels with a mount. Its record has paths and switches, never the credentials themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from imagefs.errors import InvalidInputError

#: Seconds that a read waits for a registry that does not answer before it fails.
RETRY_BUDGET = 30.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name with a password, or an identity token (`<token>` as user name); never printed."""

    username: str = field(repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Credentials:
        """`USER:PASSWORD`, as `--creds` has it; the password may have colons, or be missing."""
        user, _, password = text.partition(":")
        if not user:
            raise InvalidInputError("--creds: expected USER:PASSWORD")
        return cls(user, password)


@dataclass(frozen=True, slots=True)
class Access:
    """The options `--creds --authfile --cert-dir --tls-verify`, and where configuration is.

    `tls_verify`: True only where the user asked for it, None where nothing was said. None of the
    paths needs to exist, but for `authfile`, `cert_dir` and `policy`, which users named.
    """

    creds: Credentials | None = None
    authfile: Path | None = None
    cert_dir: Path | None = None
    tls_verify: bool | None = None
    registries_conf: Path | None = None
    policy: Path | None = None
    retry_budget: float = RETRY_BUDGET

    def to_record(self) -> dict[str, str | bool | float]:
        """What may be written to a store: no secret. Paths are made absolute."""
        record: dict[str, str | bool | float] = {"retry_budget": self.retry_budget}
        for key in ("authfile", "cert_dir", "registries_conf", "policy"):
            path: Path | None = getattr(self, key)
            if path is not None:
                record[key] = str(path.absolute())
        if self.tls_verify is not None:
            record["tls_verify"] = self.tls_verify
        if self.creds is not None:
            record["creds"] = True  # that there were some, so that a reader can ask for them
        return record

    @classmethod
    def from_record(
        cls, record: dict[str, str | bool | float], creds: Credentials | None = None
    ) -> Access:
        """The Access a record was made of; `creds` come from wherever they were kept."""

        def path(key: str) -> Path | None:
            value = record.get(key)
            return Path(value) if isinstance(value, str) else None

        tls_verify = record.get("tls_verify")
        return cls(
            creds=creds,
            authfile=path("authfile"),
            cert_dir=path("cert_dir"),
            tls_verify=tls_verify if isinstance(tls_verify, bool) else None,
            registries_conf=path("registries_conf"),
            policy=path("policy"),
            retry_budget=float(record.get("retry_budget", RETRY_BUDGET)),
        )
