"""Changing and deleting posts: their author may, at any time, and nobody else."""

from typing import Any

import pytest
from flask import Flask

from tests.messenger.http import Caller, sign_up

POSTS = "/profiles/api/posts/"


@pytest.fixture
def ann(app: Flask) -> Caller:
    return sign_up(app, "ann")


def post(author: Caller, **body: Any) -> dict[str, Any]:
    """Write a post; return it as it is shown."""
    made: dict[str, Any] = author.do("POST", POSTS, {"title": "T", "content": "C"} | body, 201)
    return made


def test_the_author_changes_a_post(app: Flask, ann: Caller) -> None:
    made = post(ann)

    changed = ann.do("PATCH", f"{POSTS}{made['id']}/", {"title": "New"})

    assert changed == made | {"title": "New"}
    assert sign_up(app).get(f"{POSTS}?username={ann.name}") in ([changed], ann.get(POSTS))
    stranger = sign_up(app)
    path = f"{POSTS}{made['id']}/"
    assert stranger.refused("PATCH", path, {"title": "x"}) == (403, "not_yours")
    assert stranger.refused("DELETE", path) == (403, "not_yours")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_post_that_never_was_is_not_found(ann: Caller, method: str) -> None:
    newest = post(ann)["id"]
    for number in (newest + 1, 0, 2**63, 2**70, "x", "-1"):
        path = f"{POSTS}{number}/"
        assert ann.refused(method, path, {"title": "x"}) == (404, "post_not_found"), number


def test_a_deleted_post_is_gone_and_may_be_deleted_again(ann: Caller) -> None:
    first, newest = post(ann), post(ann)

    for made in (newest, first):
        path = f"{POSTS}{made['id']}/"
        for _ in range(2):
            assert ann.do("DELETE", path, status=204) == b""
        assert ann.refused("PATCH", path, {"title": "x"}) == (404, "post_not_found")
    assert ann.get(POSTS) == []
    assert post(ann)["id"] > newest["id"]
