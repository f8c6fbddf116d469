"""A short version of `python -m bench.attacks`, with bounds that a busy machine keeps.

Each of these attacks breaks one of them on a release without the defences.
"""

import pytest

from bench.attacks.__main__ import Bounds, attack, table
from bench.attacks.catalogue import all_attacks
from bench.attacks.site import Template
from tests.servers import ROOT

BOUNDS = Bounds(p99=4000, worst=4000, peak=450)
SHORT = {
    ("1 pipelining", "/healthz"): 6,
    ("2 bad UTF-8", "985 parts of 1 MB"): 3,
    ("3 unread body", "behind a 404"): 6,
    ("4 memory", "animated WebP, 40 MP"): 3,
    ("4 memory", "WebP of tables in a message"): 3,
    ("5 fifteen accounts", "270 connections"): 8,
    ("6 large heads", "390,000 languages"): 3,
    ("7 many small things", "chunks of one byte"): 3,
    ("8 time", "262,000 Exif segments"): 3,
    ("10 large pages", "12 pages unread"): 3,
    ("10 large pages", "20 exports unread"): 3,
    ("27 slow uploads", "200 pictures of which 5 MB have come"): 4,
}


@pytest.fixture(scope="module")
def template() -> Template:
    """A database with people, rooms and long messages."""
    return Template(ROOT)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize(("family", "name"), SHORT)
def test_others_go_on_beside_an_attack(template: Template, family: str, name: str) -> None:
    (chosen,) = (each for each in all_attacks() if (each.family, each.name) == (family, name))

    result = attack(template, chosen, SHORT[family, name])

    assert result["got"], "the attackers have done nothing"
    assert not BOUNDS.broken(result), result


def test_each_attack_has_neighbours_and_a_name_of_its_own() -> None:
    attacks = all_attacks()
    families = [each.family for each in attacks]

    assert len({(each.family, each.name) for each in attacks}) == len(attacks)
    assert all(families.count(family) >= 3 for family in families)


def test_table_names_each_bound_that_was_broken() -> None:
    times = {"p50": 1.0, "p99": 300.0, "worst": 2000.0, "count": 9, "failed": 1}
    quick = {"p50": 1.0, "p99": 2.0, "worst": 3.0, "count": 9, "failed": 0}
    result = {"family": "1 a", "name": "b", "peak": 400.0, "holds": 21, "alive": False, "got": {}}
    broken = result | {"times": {"chat": times, "health": quick, "login": times}}
    fine = result | {"times": {"chat": quick, "health": quick}, "peak": 300.0, "alive": True}

    first, second = table([broken, fine], {"1 a/b": broken}, Bounds()).splitlines()[2:]

    for what in ("chat p99", "chat worst", "chat failed 1", "login worst", "memory", "worker died"):
        assert what in first
    assert "health" not in first
    assert second.endswith("| ok |")
    assert "400, died" in second
