"""A greenlet that waits for PostgreSQL lets others go on."""

import subprocess
import sys

from config import database_url
from tests.servers import ROOT

PROGRAM = """
import sys
from gevent import monkey
monkey.patch_all()
import gevent
from sqlalchemy import create_engine, text
from app.database.prepared import Prepared
from app.database.engine import engine_options, prepare
from app.database.transactions import reading

url = sys.argv[1]
engine = create_engine(url, **engine_options(url, 2))
prepare(engine)
said = []

def ask(seconds):
    with reading(engine) as connection:
        connection.execute(text("SELECT pg_sleep(:seconds), repeat('x', 4000000)"), {"seconds": seconds})
    said.append(f"asked {seconds}")

def chat():
    for _ in range(3):
        gevent.sleep(0.01)
        said.append("chat")

with gevent.Timeout(0.1, False), reading(engine) as connection:
    Prepared(text("SELECT pg_sleep(1), 'old'")).all(connection, {})
with reading(engine) as connection:
    said.append(*Prepared(text("SELECT 'new'")).all(connection, {})[0])

gevent.joinall([gevent.spawn(ask, 1), gevent.spawn(ask, 0.5), gevent.spawn(chat)], raise_error=True)
print(*said, sep=", ")
"""


def test_who_waits_for_postgresql_holds_nobody_up_and_may_give_up(postgresql_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, database_url(postgresql_url)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.stdout.strip() == "new, chat, chat, chat, asked 0.5, asked 1", done.stderr
