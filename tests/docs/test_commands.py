"""Every command block of README and docs is run as it is written; `machine.py` names the substitutes."""

import os

import pytest

from tests.docs.blocks import all_blocks, block_with, blocks_of
from tests.docs.machine import PROGRAMS, Machine
from tests.servers import ROOT

DEPLOY, DATA = "docs/deploy.md", "docs/data.md"

CONVERSATION = block_with("README.md", "API=http")
START = block_with("README.md", "make run")
CONTRIBUTING = blocks_of("CONTRIBUTING.md")
BENCH = blocks_of("docs/performance.md")

CONTAINER = block_with(DEPLOY, "docker compose")
INSTALL = block_with(DEPLOY, "adduser")
SETTINGS = block_with(DEPLOY, "/etc/beseda.env")
NGINX = block_with(DEPLOY, "certbot certonly")
CADDY = block_with(DEPLOY, "/etc/caddy/Caddyfile")
PEOPLE = block_with(DEPLOY, "users make-admin")
BACKUP_TIMER = block_with(DEPLOY, "beseda-backup.timer")
UPGRADE = block_with(DEPLOY, "git pull")

ACCOUNTS = blocks_of("docs/accounts.md")
BACKUP = block_with(DATA, "./beseda backup /var/backups/beseda/beseda-")
RESTORE = block_with(DATA, "./beseda restore")
DUMP = block_with(DATA, "pg_dump")
MOVE = block_with(DATA, "copy-database")
IMPORT = block_with(DATA, "import-users")

UPLOAD = block_with("docs/api.md", "uploads/")
# The file and the token that the text around it takes for granted.
BEFORE_UPLOAD = (
    "cp beseda/docs/images/page-light.png plan.png\n"
    "TOKEN=$(curl -s http://127.0.0.1:8000/accounts/api/token/ -H 'Content-Type: application/json'"
    """ -d '{"username": "user1", "password": "yourpassword"}'"""
    """ | sed 's/.*"access":"\\([^"]*\\)".*/\\1/')\n"""
)

CHECKOUT_BLOCKS = [START, CONVERSATION, UPLOAD, *CONTRIBUTING, *BENCH]
POSTGRESQL_BLOCKS = [INSTALL, SETTINGS, NGINX, CADDY, PEOPLE, BACKUP_TIMER, UPGRADE, DUMP]
SQLITE_BLOCKS = [*ACCOUNTS, BACKUP, RESTORE, MOVE, IMPORT]

pytestmark = [pytest.mark.server, pytest.mark.long]


def test_no_block_is_left_out() -> None:
    run = [CONTAINER, *CHECKOUT_BLOCKS, *POSTGRESQL_BLOCKS, *SQLITE_BLOCKS]

    assert sorted(run, key=lambda block: block.where) == sorted(
        all_blocks(), key=lambda block: block.where
    )


def test_every_substitute_is_named() -> None:
    programs = {
        path.name
        for path in (ROOT / "tests" / "docs" / "programs").iterdir()
        if os.access(path, os.X_OK) and path.is_file()
    }

    assert programs == PROGRAMS.keys()


def asking(host: str = "chat.example.com") -> str:
    return f"curl -sSk --retry 20 --retry-all-errors --resolve {host}:443:127.0.0.1 https://{host}"


def test_in_a_checkout() -> None:
    machine = Machine()
    machine.run(START, CONVERSATION)
    machine.run(UPLOAD, before=BEFORE_UPLOAD)
    machine.run(*CONTRIBUTING[1:], *BENCH, before="cd beseda\n")
    machine.check(
        "cd beseda && git status --short | grep -q versions/ && ls instance/jwt_secret_key"
    )
    said = machine.execute(600)

    assert said.count('"content":"Привет!"') == 2
    assert '"name":"plan.png"' in said


def test_in_a_container() -> None:
    machine = Machine()
    machine.check("git clone --quiet /origin beseda")
    machine.run(CONTAINER, before="cd beseda\n")
    machine.check(
        "cd beseda\n"
        'test "$(stat -c %a /var/lib/beseda/beseda.db /var/lib/beseda/jwt_secret_key)" = "600\n600"\n'
    )
    said = machine.execute()

    assert '{"status":"ok"}' in said
    assert "username" in said


def test_on_a_server_with_postgresql() -> None:
    machine = Machine()
    machine.run(INSTALL, SETTINGS)
    machine.check('test "$(stat -c "%a %U" /etc/beseda.env)" = "600 root"')
    machine.check(NEVER_SHOWN)
    machine.run(NGINX)
    machine.check(
        f"{asking()}/readyz | grep -q ok\n{asking()}/metrics -o /dev/null -w '%{{http_code}}\n' | grep -q 404"
    )
    machine.run(CADDY)
    machine.check(
        f"{asking()}/readyz | grep -q ok\n{asking()}/metrics -o /dev/null -w '%{{http_code}}\n' | grep -q 404"
    )
    machine.run(PEOPLE)
    machine.run(BACKUP_TIMER)
    machine.check("test -s /var/backups/beseda/beseda-*.dump")
    machine.check(
        "if setpriv --reuid nobody --regid nogroup --clear-groups ls /var/lib/beseda; then exit 1; fi"
    )
    machine.check(NEXT_RELEASE)
    # An earlier page had the folder belong to the service's user.
    machine.run(UPGRADE, before="chown -R beseda:beseda /srv/beseda\n")
    machine.check(
        "cd /srv/beseda && grep -q next CHANGELOG.md\n"
        "until curl -s http://127.0.0.1:8000/release | grep next; do sleep 0.2; done"
    )
    machine.run(DUMP)
    machine.check(
        "runuser -u postgres -- psql -At restored -c 'SELECT username FROM users' | grep ann"
    )
    said = machine.execute()

    assert "ann" in said
    assert "dubious ownership" not in said


NEVER_SHOWN = """
key=$(sed -n 's/^JWT_SECRET_KEY=//p' /etc/beseda.env); test ${#key} = 64
cd /srv/beseda
( ./beseda users list >/dev/null & wait ) &
for attempt in $(seq 30); do if ps -eo args | grep -v grep | grep -q "$key"; then exit 1; fi; sleep 0.05; done
"""

NEXT_RELEASE = """
cd /origin
echo "## the next one" >> CHANGELOG.md
printf '\\n\\napp.get("/release")(lambda: "the next one")\\n' >> wsgi.py
git -c user.name=Beseda -c user.email=beseda@example.com commit --quiet --all --message next
"""

ON_SQLITE = """
sed -i -e 's#^DATABASE_URL=.*#DATABASE_URL=sqlite:////var/lib/beseda/beseda.db#' -e '/^REDIS_URL/d' /etc/beseda.env
systemctl restart beseda
curl -sS --retry 20 --retry-connrefused http://127.0.0.1:8000/readyz
test "$(stat -c %a /var/lib/beseda /var/lib/beseda/beseda.db)" = "700
600"
"""

DJANGO = """
hash='pbkdf2_sha256$1000$salt$YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY='
fields="\\"username\\": \\"cora\\", \\"email\\": \\"cora@example.com\\", \\"password\\": \\"$hash\\""
echo "[{\\"model\\": \\"auth.user\\", \\"pk\\": 1, \\"fields\\": {$fields}}]" > /srv/beseda/users.json
"""


def test_on_a_server_with_sqlite() -> None:
    machine = Machine()
    machine.run(INSTALL, SETTINGS)
    machine.check(ON_SQLITE)
    machine.run(*ACCOUNTS, before="cd /srv/beseda\n")
    machine.run(BACKUP)
    machine.check("cd /srv/beseda && ./beseda users delete --yes ann")
    machine.run(RESTORE)
    machine.check("cd /srv/beseda && ./beseda users list | grep ann")
    machine.check(DJANGO)
    machine.run(IMPORT)
    machine.run(MOVE)
    machine.check(
        "runuser -u postgres -- psql -At moved -c 'SELECT username FROM users ORDER BY 1' | tr '\\n' ,"
    )
    said = machine.execute()

    assert "ann,cora," in said
