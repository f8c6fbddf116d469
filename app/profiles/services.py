"""Use cases of profiles: show and change one, write posts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from flask_babel import lazy_gettext as _
from sqlalchemy import (
    BigInteger,
    Connection,
    Row,
    bindparam,
    cast,
    delete,
    null,
    select,
    union_all,
    update,
)

from app.accounts.models import User
from app.accounts.services import lock_users_shared
from app.clock import utcnow
from app.database.keyset import PAGE_BYTES, KeysetQuery, fitting, key_range
from app.database.prepared import EnoughContent, Prepared
from app.database.sequence import last_drawn, write_changes
from app.database.transactions import insert_once, reading, writing
from app.database.types import LARGEST_ID
from app.http.errors import ApiError
from app.http.pagination import DEFAULT_ITEMS
from app.media.avatar_uploads import discard_avatar, save_avatar
from app.media.store import image_url
from app.profiles.models import Post, Profile
from app.services import services
from app.social.models import Friendship
from app.threads import give_way

DELETED_AT_ONCE = 50  # posts; of the largest size this blocks a worker on SQLite for 20 ms

_POST = select(Post.id, Post.title, Post.content, Post.created_at)
POSTS = _POST.add_columns(User.username.label("author")).join(User, User.id == Post.author_id)
ALL_POSTS = KeysetQuery(POSTS, Post.id)

# A profile in one query: a row with image and bio, if there are any, a row for each friend, and the
# newest posts, newest first. Those that do not fit on the page are not read.
_WHOSE = bindparam("user_id", type_=BigInteger)
_NEWEST = (
    _POST.where(*key_range(Post.author_id, Post.id, _WHOSE, 0, LARGEST_ID))
    .order_by(Post.author_id.desc(), Post.id.desc())
    .limit(DEFAULT_ITEMS)
    .subquery()
)
_NONE = [cast(null(), each.type).label(each.name) for each in _NEWEST.columns]
_PROFILE = Prepared(
    union_all(
        select(
            _NONE[0], Profile.image.label("title"), Profile.bio.label("content"), _NONE[3]
        ).where(Profile.user_id == _WHOSE),
        select(Friendship.friend_id, null(), null(), null()).where(Friendship.owner_id == _WHOSE),
        select(_NEWEST),
    )
)


def post_out(post: Sequence[Any], author: str) -> Mapping[str, Any]:
    """Return a row of a list of posts as the API shows it."""
    post_id, title, content, created_at, *_author = post
    return {
        "id": post_id,
        "title": title,
        "content": content,
        "created_at": created_at,
        "author": author,
    }


class _Person(Protocol):
    @property
    def id(self) -> Any: ...
    @property
    def username(self) -> Any: ...
    @property
    def email(self) -> Any: ...


def profile_of(person: _Person) -> dict[str, Any]:
    """Return a user's profile as the API shows it, with their newest posts, oldest first."""
    author = person.username  # each access to a proxy looks the person up
    with reading() as connection:
        rows = _PROFILE.until(connection, {"user_id": person.id}, EnoughContent(PAGE_BYTES))
    image, bio = next((row[1:3] for row in rows if row.id is None), (None, ""))
    posts = sorted(row for row in rows if row.created_at is not None)
    shown = fitting(len(post.content.encode()) for post in reversed(posts))
    return {
        "id": person.id,
        "username": author,
        "email": person.email,
        "profile": {
            "image": image_url(image),
            "bio": bio,
            "friends": sorted(row.id for row in rows if row.content is None),
        },
        "posts": [post_out(post, author) for post in posts[-shown:]],
    }


def change_profile(user_id: int, changes: Mapping[str, Any]) -> None:
    """Change a user's profile.

    Args:
        user_id: The user.
        changes: `bio`, a text, and/or `image`, a picture's bytes or None for the default one.

    Raises:
        BadInput: The picture is refused; nothing was changed.
        StorageUnavailable: The store cannot take the picture; nothing was changed.
        TokenNotValid: The user's account is erased.
    """
    store = services().media
    values = dict(changes)
    if values.get("image") is not None:
        values["image"] = save_avatar(store, values["image"])
    try:
        old = _write_profile(user_id, values)
    except BaseException:
        discard_avatar(store, values.get("image"))
        raise
    if "image" in values:
        discard_avatar(store, old)


def _write_profile(user_id: int, values: Mapping[str, Any]) -> str | None:
    # Returns the name of the previous picture. The row is locked first: of two simultaneous
    # changes the second one sees, and then removes, the picture of the first.
    numbers = range(0)
    with writing() as connection:
        lock_users_shared(connection, user_id)
        if "image" in values:  # its event id is in the user's row
            user = select(User.id).where(User.id == user_id)
            connection.execute(user.with_for_update(key_share=True))
        insert_once(connection, Profile, user_id=user_id)
        old: str | None = connection.execute(
            select(Profile.image).where(Profile.user_id == user_id).with_for_update()
        ).scalar_one()
        if values:
            connection.execute(update(Profile).where(Profile.user_id == user_id).values(values))
        if "image" in values:
            numbers = write_changes(
                connection,
                [lambda number: update(User).where(User.id == user_id).values(changed_id=number)],
            )
    services().realtime.announce(numbers)
    return old


def write_post(
    author_id: int, author: str, title: str, content: str, client_id: str | None = None
) -> tuple[Mapping[str, Any], bool]:
    """Publish a post.

    Args:
        author_id: The author.
        author: The author's name.
        title: 1 to 200 characters.
        content: 1 to 20,000 characters, not only white space.
        client_id: The client's own id of the post: sent twice, it is published once.

    Returns:
        The post as the API shows it (the existing one if the `client_id` is known), and whether
        it is new.

    Raises:
        TokenNotValid: The author's account is erased.
    """
    post = {"title": title, "content": content, "created_at": utcnow()}
    with writing() as connection:
        lock_users_shared(connection, author_id)
        post_id = insert_once(connection, Post, author_id=author_id, client_id=client_id, **post)
    if post_id is not None:
        return {"id": post_id} | post | {"author": author}, True
    with reading() as connection:
        earlier = connection.execute(
            POSTS.where(Post.author_id == author_id, Post.client_id == client_id)
        ).one()
    return earlier._asdict(), False


def delete_posts(user_id: int) -> None:
    """Delete a user's posts, in several transactions: one would take too long."""
    some = select(Post.id).where(Post.author_id == user_id).order_by(Post.id)
    while True:
        with writing() as connection:
            ids = connection.scalars(some.limit(DELETED_AT_ONCE).with_for_update()).all()
            connection.execute(delete(Post).where(Post.id.in_(ids)))
        if len(ids) < DELETED_AT_ONCE:
            return
        give_way()  # SQLite never yields, so let other greenlets run


class PostNotFound(ApiError):
    """There is no such post, or it was deleted."""

    status = 404
    code = "post_not_found"
    detail = _("There is no such post.")


class NotYourPost(ApiError):
    """The caller is not the author."""

    status = 403
    code = "not_yours"
    detail = _("Only the author may do this.")


def edit_post(user_id: int, post_id: int, changes: Mapping[str, str]) -> Mapping[str, Any]:
    """Change one of the caller's posts. There is no time limit.

    Args:
        user_id: The caller.
        post_id: The post.
        changes: `title`, `content` or both.

    Returns:
        The post as the API shows it.

    Raises:
        PostNotFound: There is no such post.
        NotYourPost: Another user wrote it.
    """
    with writing() as connection:
        row = _lock_post(connection, user_id, post_id)
        if row is None:
            raise PostNotFound
        if changes:
            connection.execute(update(Post).where(Post.id == post_id).values(changes))
    *post, author, _author_id = row
    return {**post_out(post, author), **changes}


def delete_post(user_id: int, post_id: int) -> None:
    """Delete one of the caller's posts. A post that was deleted may be deleted again.

    Raises:
        PostNotFound: There never was a post with this id.
        NotYourPost: Another user wrote it.
    """
    with writing() as connection:
        if _lock_post(connection, user_id, post_id) is not None:
            connection.execute(delete(Post).where(Post.id == post_id))
        elif not 0 < post_id <= last_drawn(connection, "posts"):
            raise PostNotFound


def _lock_post(connection: Connection, user_id: int, post_id: int) -> Row[*tuple[Any, ...]] | None:
    query = POSTS.add_columns(Post.author_id).where(Post.id == min(post_id, LARGEST_ID))
    row: Row[*tuple[Any, ...]] | None = connection.execute(
        query.with_for_update(of=Post)
    ).one_or_none()
    if row is not None and row.author_id != user_id:
        raise NotYourPost
    return row


def erase_profile(connection: Connection, user_id: int) -> None:
    """Erase a user's profile and posts.

    An empty row of the profile stays until its picture is removed. That is a file, so it can be
    removed only after the commit; `find_erased` finds such rows.

    Args:
        connection: A transaction that has the user's account locked.
        user_id: The user.
    """
    insert_once(connection, Profile, user_id=user_id)
    connection.execute(update(Profile).where(Profile.user_id == user_id).values(bio=""))
    connection.execute(delete(Post).where(Post.author_id == user_id))


def find_erased() -> Sequence[Row[int, str | None]]:
    """Return user_id and image of the rows that `erase_profile` has left."""
    query = select(Profile.user_id, Profile.image).join(User, User.id == Profile.user_id)
    with reading() as connection:
        return connection.execute(query.where(User.deleted_at.is_not(None))).all()


def remove_pictures(names: Iterable[str | None]) -> None:
    """Remove pictures from the media store.

    Raises:
        OSError: The store cannot be used at the moment.
    """
    store = services().media
    for name in names:
        store.delete(name)


def forget_profiles(user_ids: Iterable[int]) -> None:
    """Delete the profiles of users; their pictures must be removed before."""
    with writing() as connection:
        connection.execute(delete(Profile).where(Profile.user_id.in_(user_ids)))
