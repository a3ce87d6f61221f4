"""Names for containers that were given none: an adjective and a noun. Knows no container."""

from __future__ import annotations

import re
import secrets

from imagefs.runtime.errors import OptionError

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_ADJECTIVES = (
    "agile amber brave brisk calm clever copper crisp curious deft eager early fair fleet fresh "
    "gentle glad golden grand green happy hardy humble ivory jolly keen kind lively lucid lucky "
    "mellow merry mild misty modest neat nimble noble patient plain proud quick quiet rapid ready "
    "rustic serene sharp silent silver smooth snug sober solid spry steady stout sunny swift tidy "
    "tranquil upbeat valiant vivid warm wise witty zesty"
).split()
_NOUNS = (
    "alder anchor ash aspen badger basin beacon beech birch brook canyon cedar cliff comet cove "
    "crane creek delta dune elm falcon fern finch fjord glacier glen grove harbor hazel heron hill "
    "island jay juniper kestrel lagoon lark larch lichen linden lynx maple marsh meadow mesa moss "
    "oak orchard osprey otter pine plover pond poplar prairie quartz raven reef ridge river robin "
    "rowan sparrow spruce summit swallow thicket tundra valley walnut willow wren yew"
).split()


def random_name() -> str:
    """A name that is likely free."""
    return f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_NOUNS)}"


def checked(name: str) -> str:
    """`name`, if a container can have it; raises OptionError."""
    if not _NAME.fullmatch(name):
        raise OptionError(f"--name {name!r}: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*")
    return name
