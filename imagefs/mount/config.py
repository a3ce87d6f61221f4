"""The configuration that a keeper and its servers share, as keeper.py has it. Starts nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Config:
    """`options` are the kernel's, `told` is for the server alone. No field may hold a NUL."""

    mountpoint: Path
    source: str
    options: tuple[str, ...]
    privileged: bool
    resend: bool
    told: str

    def encode(self) -> bytes:
        """The fields as keeper.py describes them, without the server's command."""
        fields = (
            os.fspath(self.mountpoint),
            self.source,
            ",".join(self.options),
            "root" if self.privileged else "user",
            "resend" if self.resend else "remount",
            self.told,
        )
        return b"\0".join(map(os.fsencode, fields))

    @classmethod
    def read(cls, run: Path) -> Config:
        """What the keeper wrote into the mount's directory."""
        fields = [os.fsdecode(field) for field in (run / "config").read_bytes().split(b"\0")]
        return cls(
            mountpoint=Path(fields[0]),
            source=fields[1],
            options=tuple(fields[2].split(",")),
            privileged=fields[3] == "root",
            resend=fields[4] == "resend",
            told=fields[5],
        )
