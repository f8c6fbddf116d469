"""What a profile shows of the posts of its owner."""

from flask.testing import FlaskClient

from tests.visitors import register

POSTS = "/profiles/api/posts/"
PROFILE = "/profiles/api/profile/"
LONGEST = "😀" * 20_000  # 80 kB


def test_profile_has_the_newest_posts_that_fit_in_a_megabyte(client: FlaskClient) -> None:
    ann = register(client)
    ids = [ann.post(POSTS, {"title": "t", "content": LONGEST}).json["id"] for _ in range(16)]

    shown = ann.get(PROFILE).json["posts"]

    assert [post["id"] for post in shown] == ids[-13:]
    assert all(post["content"] == LONGEST for post in shown)


def test_profile_has_a_hundred_short_posts(client: FlaskClient) -> None:
    ann = register(client)
    ids = [ann.post(POSTS, {"title": "t", "content": "short"}).json["id"] for _ in range(103)]

    assert [post["id"] for post in ann.get(PROFILE).json["posts"]] == ids[-100:]
