"""How messages get into the tables: one transaction for many, in each database's own words.

Both ways keep the same promises. The rows of the rooms are locked before an id is drawn,
so ids in a room grow in the order of commits; `chat_rooms.last_message_id` moves in the
same transaction; a `client_id` that is there already inserts nothing, and nor does who is no
longer a member, or has erased their account.

Whether somebody may write is looked up before, and costs nothing here: the room's row, which is
locked anyway, has a version that grows when somebody loses that right. Only if it has grown it is
looked up once more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from flask_babel import lazy_gettext as _
from sqlalchemy import Engine, tuple_
from sqlalchemy.exc import DBAPIError

from app.accounts.tokens import TokenNotValid
from app.database.transactions import reading, writing
from app.http.errors import ApiError, BadInput
from app.messenger import store_postgresql, store_sqlite
from app.messenger.drafts import Added, Draft, Key, OutcomeUnknownError, Stored
from app.messenger.files.attachments import attach, lock_files
from app.messenger.files.shown import attachments_of, fallback_of
from app.messenger.history import MESSAGES
from app.messenger.members import find_writers
from app.messenger.models import Message
from app.messenger.schemas import message_bytes


class MessageDeleted(ApiError):
    """A message was sent again that its author or an administrator has deleted."""

    status = 409
    code = "message_deleted"
    detail = _("This message was deleted.")


def store(engine: Engine, drafts: Sequence[Draft], now: datetime) -> list[Stored | Exception]:
    """Store messages in one transaction, in the order given.

    Args:
        engine: The database.
        drafts: What to store. One with files comes alone.
        now: The time that they all get.

    Returns:
        What each draft became, in the same order; an error for a repeat whose first one was
        deleted or could not be read, and for who may not write there, all else being stored.

    Raises:
        OutcomeUnknownError: Perhaps they are stored, perhaps not.
        Exception: None of them is stored.
    """
    stored: list[Stored | Exception | None]
    try:
        stored = [*_add(engine, drafts, now)]
    except BadInput as refused:  # its files may be in use by itself, sent earlier
        stored = [_find(engine, {drafts[0].key}).get(drafts[0].key, refused)]
    if None in stored:
        # From here on some are stored, and no error may say otherwise.
        try:
            _settle(engine, drafts, stored, now)
        except Exception as error:
            stored = [error if each is None else each for each in stored]
    # Who is neither new nor a repeat, and may write, has erased their account a moment ago.
    return [TokenNotValid() if each is None else each for each in stored]


def _add(engine: Engine, drafts: Sequence[Draft], now: datetime) -> list[Stored | None]:
    if drafts[0].attachments:
        return _add_with_files(engine, drafts[0], now)
    if engine.dialect.name == "sqlite":
        with writing(engine) as connection:
            added = store_sqlite.add(connection, drafts, now)
    else:
        with reading(engine) as connection:  # one statement needs no transaction around it
            added = store_postgresql.add(connection, drafts, now)
    return _stored(drafts, added, now)


def _add_with_files(engine: Engine, draft: Draft, now: datetime) -> list[Stored | None]:
    add = store_sqlite.add if engine.dialect.name == "sqlite" else store_postgresql.add
    try:
        with writing(engine) as connection:
            files = lock_files(connection, draft.user_id, draft.attachments)
            content, kept = draft.content or fallback_of(files), attachments_of(files)
            draft = replace(draft, content=content, kept_files=kept)
            added = add(connection, [draft], now)
            for ids in added:
                if ids is not None:
                    attach(connection, ids[0], draft.attachments, kept)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise OutcomeUnknownError from error
        raise
    return _stored([draft], added, now)


def _stored(drafts: Sequence[Draft], added: Added, now: datetime) -> list[Stored | None]:
    return [
        None
        if ids is None
        else Stored(
            draft.room_id,
            ids[0],
            message_bytes(
                *(ids[0], draft.username, draft.content, now, draft.client_id),
                *(None, draft.reply_to_id, draft.kept_files),
            ),
            ids[1],
            draft.access_version,
        )
        for draft, ids in zip(drafts, added, strict=True)
    ]


def _settle(
    engine: Engine, drafts: Sequence[Draft], stored: list[Stored | Exception | None], now: datetime
) -> None:
    # Finds out about those that were not inserted: repeats, and who has to be looked at again.
    left = [position for position, each in enumerate(stored) if each is None]
    earlier = _find(engine, {drafts[position].key for position in left})
    for position in left:
        stored[position] = earlier.get(drafts[position].key)
    left = [position for position in left if stored[position] is None]
    if not left:
        return
    places = {(drafts[position].room_id, drafts[position].user_id) for position in left}
    found = find_writers(engine, places)
    again = []
    for position in left:
        draft = drafts[position]
        version = found[draft.room_id, draft.user_id]
        if isinstance(version, ApiError):
            stored[position] = version
        elif version != draft.access_version:
            again.append((position, replace(draft, access_version=version)))
    if again:
        retried = _add(engine, [draft for _, draft in again], now)
        for (position, _), each in zip(again, retried, strict=True):
            stored[position] = each


def _find(engine: Engine, keys: Iterable[Key]) -> Mapping[Key, Stored | MessageDeleted]:
    with_id = [key for key in keys if key[2] is not None]
    if not with_id:
        return {}
    query = MESSAGES.add_columns(
        Message.room_id, Message.user_id, Message.client_id.label("key"), Message.deleted_at
    ).where(tuple_(Message.room_id, Message.user_id, Message.client_id).in_(with_id))
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    return {
        (room_id, user_id, client_id): MessageDeleted()
        if deleted_at
        else Stored(room_id, message[0], message_bytes(*message), None)
        for *message, room_id, user_id, client_id, deleted_at in rows
    }
