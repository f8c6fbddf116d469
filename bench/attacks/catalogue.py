"""What an attack is, and the list of all that are tried."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.attacks.kit import Action, Scene


@dataclass(frozen=True)
class Attack:
    """Something that one person, or one address, can do.

    Attributes:
        family: What kind it is; those of one family are neighbours.
        name: What is done.
        begin: Prepares it and returns what runs, each in a thread, until the scene is over.
        beside: What is timed besides chat and health: "login", "picture" or nothing.
        settings: Of the server.
    """

    family: str
    name: str
    begin: Callable[[Scene], list[Action]]
    beside: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def all_attacks() -> list[Attack]:
    """Return every attack, by family."""
    from bench.attacks import members, pictures, sockets, strangers, uploads

    found = [strangers, members, pictures, sockets, uploads]
    return [attack for module in found for attack in module.ATTACKS]
