"""Use case: find people by name or id."""

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, case, func, literal, select

from app.accounts.models import User
from app.accounts.usernames import folded
from app.database.transactions import reading
from app.media.store import image_url
from app.profiles.models import Profile

# Pairs of letters that similarity compares. Each one is searched for in every name: twelve pairs
# in ten thousand names take 10 ms.
_PAIRS_MAX = 12

_PEOPLE = (
    select(User.id, User.username, Profile.image)
    .join(Profile, Profile.user_id == User.id, isouter=True)
    .where(User.deleted_at.is_(None))
)


def find_people(
    query: str | None, ids: Collection[int] | None, limit: int
) -> Sequence[dict[str, Any]]:
    """Return people as the API shows them: id, username, image.

    Args:
        query: The beginning of a name, or something similar; None: all names.
        ids: Only these users; None: all users.
        limit: The maximum number of people.

    Returns:
        Without a query, ascending by id. With one, the best matches first: names that begin with
        it, names that contain it, names that share at least half of its pairs of letters.
    """
    people = _PEOPLE if ids is None else _PEOPLE.where(User.id.in_(ids))
    key = folded(query or "")
    if key:
        rank = _rank(key)
        people = people.where(rank > 0).order_by(
            rank.desc(), func.length(User.username_key), User.username_key
        )
    else:
        people = people.order_by(User.id)
    with reading() as connection:
        rows = connection.execute(people.limit(limit)).all()
    return [{"id": row.id, "username": row.username, "image": image_url(row.image)} for row in rows]


def _rank(key: str) -> ColumnElement[int]:
    # The rank of a name; 0 if it is not similar to the key.
    name = User.username_key
    pairs = list(dict.fromkeys(map("".join, pairwise(key))))[:_PAIRS_MAX]
    shared: ColumnElement[int] = literal(0)
    for pair in pairs:
        shared = shared + case((name.contains(pair, autoescape=True), 1), else_=0)
    return case(
        (name.startswith(key, autoescape=True), len(pairs) + 2),
        (name.contains(key, autoescape=True), len(pairs) + 1),
        (shared * 2 >= max(len(pairs), 1), shared),
        else_=0,
    )
