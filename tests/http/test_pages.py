"""A page of a list ends after a megabyte of text, and its `Link` leads on to all the rest."""

import httpx
import pytest

from tests.visitors import register

POSTS = "/profiles/api/posts/"
COUNT, LETTERS = 60, 20_000  # 4.8 MB of emoji


@pytest.fixture
def person(client):
    person = register(client)
    for number in range(COUNT):
        body = {"title": str(number), "content": "😀" * LETTERS}
        assert person.post(POSTS, body).status_code == 201
    return person


@pytest.mark.parametrize(("query", "relation"), [("after=0", "next"), ("limit=1000", "prev")])
def test_links_lead_through_all_of_a_large_list(person, query: str, relation: str) -> None:
    titles: list[str] = []
    url = f"{POSTS}?{query}"
    pages = 0
    while url:
        answer = person.get(url)
        assert len(answer.data) < 1.5 * 1024 * 1024
        page = [post["title"] for post in answer.json]
        titles = titles + page if relation == "next" else page + titles
        links = httpx.Response(200, headers={"Link": answer.headers.get("Link", "")}).links
        url = links.get(relation, {}).get("url", "")
        pages += 1

    assert titles == [str(number) for number in range(COUNT)]
    assert pages > 3
