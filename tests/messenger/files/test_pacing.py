"""Pieces of files take turns with all else that runs in the loop of a worker."""

import subprocess
import sys

# In a process of its own, because a loop needs patched modules, and these tests have none.
TRANSFERS = """
from gevent import monkey
monkey.patch_all()
import gevent
from app.messenger.files.pacing import paced
from app.threads import give_way

def transfer():
    for _ in paced([b"piece"] * 50):
        done.append(1)

done, at_once = [], []
transfers = [gevent.spawn(transfer) for _ in range(40)]
while not all(each.dead for each in transfers):
    before = len(done)
    give_way()
    at_once.append(len(done) - before)
print(len(done), max(at_once))
"""


def test_pieces_of_many_files_wait_for_all_others_in_the_loop() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRANSFERS], capture_output=True, text=True, check=True, timeout=60
    )

    count, at_once = map(int, done.stdout.split())
    assert count == 2_000
    assert at_once <= 2
