"""How PostgreSQL answers what is asked often, by the plan that it makes for any values.

From the sixth time on it takes that one, and not the plan for the values that it is given.
"""

from collections.abc import Mapping

import pytest
from sqlalchemy import text

from app.database.prepared import Prepared
from app.database.transactions import writing
from app.messenger import chats, event_queries, mark_store
from app.messenger.rooms import OWN_ROOMS
from tests.messenger.team import Team

PEOPLE, MESSAGES = 200, 30_000
# Each person has a room with everybody, and nobody says much in one of them.
FILL = (
    f"""INSERT INTO users (username, username_key, email, email_key, password_hash, created_at)
        SELECT 'u' || n, 'u' || n, 'u' || n, 'u' || n, '', now() FROM generate_series(1, {PEOPLE}) n""",
    """INSERT INTO chat_rooms (name, low_user_id, high_user_id, created_at, changed_id)
        SELECT a.id || '_' || b.id, a.id, b.id, now(), 0 FROM users a JOIN users b ON a.id < b.id""",
    """INSERT INTO memberships (room_id, user_id, joined_at, joined_id, changed_id)
        SELECT id, unnest(ARRAY[low_user_id, high_user_id]), now(), 0, 0 FROM chat_rooms""",
    f"""INSERT INTO messages (id, room_id, user_id, content, timestamp)
        SELECT n, room.id, room.low_user_id, 'x', now()
        FROM generate_series(1, {MESSAGES}) n
        JOIN (SELECT *, row_number() OVER () AS place FROM chat_rooms) room ON place = 1 + n % 19000""",
    "UPDATE chat_rooms SET last_message_id = 30000",
    "ANALYZE",
)
ASKED: Mapping[str, tuple[Prepared, Mapping[str, object]]] = {
    "chats": (chats._OWN["postgresql"], {"user_id": 5}),
    "chats of frames": (chats._PLACES["postgresql"], {"places": "[[30000,5,5]]"}),
    "events of one": (
        event_queries.EVENTS_OF_ONE["postgresql"],
        {"user_id": 5, "after": 100, "most": 100},
    ),
    "events of all": (event_queries.EVENTS_OF_ALL["postgresql"], {"after": 29_000, "most": 100}),
    "marks": (mark_store._FIND["postgresql"], {"places": "[[5,5]]"}),
    "stored marks": (mark_store._STORE, {"moves": "[[5,5,30000,40000]]"}),
    "rooms": (
        OWN_ROOMS._newest,
        {"user_id": 5, "above": 0, "up_to": 2**62, "limit": 1000},
    ),
}


@pytest.mark.parametrize("app", ["postgresql"], indirect=True)
def test_what_one_person_asks_does_not_read_what_others_have(team: Team) -> None:
    with writing(team.engine) as connection:
        connection.execute(text("ALTER TABLE chat_rooms DISABLE TRIGGER add_pair_memberships"))
        for statement in FILL:
            connection.execute(text(statement))
        connection.execute(text("ALTER TABLE chat_rooms ENABLE TRIGGER add_pair_memberships"))
        connection.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        connection.execute(text("SET LOCAL statement_timeout = '10s'"))
        for name, (asked, values) in ASKED.items():
            compiled = asked._for(connection)
            driver = connection.connection.driver_connection
            plan = driver.ask("EXPLAIN " + compiled.sql, compiled.bound(values))  # type: ignore[union-attr]
            lines = "\n".join(str(row[-1]) for row in plan)
            for table in ("messages", "memberships"):
                assert f"Seq Scan on {table}" not in lines, (name, lines)
            if name == "rooms":
                assert "ix_memberships_user_id_room_id" in lines, lines
        connection.rollback()
