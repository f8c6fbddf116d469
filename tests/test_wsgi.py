"""How the application is loaded: by a worker, and by each command."""

import json
import subprocess
import sys
from pathlib import Path

from tests.apps import SECRET_KEY, sqlite_url
from tests.servers import ROOT

LOAD = """
import gc, json
def runs():
    return sum(generation["collections"] for generation in gc.get_stats())
before = runs()
import wsgi
print(json.dumps([runs() - before, gc.isenabled(), gc.get_freeze_count()]))
"""


def test_no_garbage_is_collected_while_the_application_loads_and_afterwards_it_is(
    tmp_path: Path,
) -> None:
    env = {"DATABASE_URL": sqlite_url(tmp_path), "JWT_SECRET_KEY": SECRET_KEY}
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=ROOT, env=env, check=True, capture_output=True
    )

    runs, is_enabled, frozen = json.loads(done.stdout)

    assert runs < 5  # without it there are some 400, which take half of the time
    assert is_enabled
    assert frozen > 100_000
