"""The arrows of the house, checked by reading imports: they point one way, never back."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOMAINS = ("accounts", "profiles", "social", "messenger")


def _name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    _name_of(path): ast.parse(path.read_text(encoding="utf-8"))
    for path in [
        *(ROOT / "app").rglob("*.py"),
        *(ROOT / f"{name}.py" for name in ("config", "config_urls", "logs", "wsgi")),
    ]
}

# Beside them, the files that gunicorn's master loads.
WITH_SERVER = SOURCES | {
    name: ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8"))
    for name in ("gunicorn.conf", "worker")
}


def imported(module: str) -> set[str]:
    """Return what a module imports, each name with where it comes from: `flask.request`."""
    found = set()
    for node in ast.walk(without_type_checking(SOURCES[module])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import, which this file cannot read"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def without_type_checking(tree: ast.Module) -> ast.Module:
    """Leave out imports for the type checker: they happen nowhere."""
    kept = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(kept, tree.type_ignores)


def ours(module: str) -> set[str]:
    """Return the modules of ours that a module imports."""
    found = set()
    for name in imported(module):
        owner = name.rpartition(".")[0]
        found |= {name if name in SOURCES else owner} & SOURCES.keys()
    return found


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def modules(*packages: str) -> Iterator[str]:
    """Name the modules of some packages; there is at least one, or the package was renamed."""
    found = [name for name in SOURCES if within(name, *packages)]
    assert found, packages
    yield from found


def stemmed(*stems: str) -> Iterator[str]:
    """Name the modules with these names, in whatever package."""
    found = [name for name in SOURCES if name.rpartition(".")[2] in stems]
    assert found, stems
    yield from found


def test_no_import_leads_back_to_where_it_came_from() -> None:
    # Raises CycleError, which names the circle.
    TopologicalSorter({module: ours(module) for module in SOURCES}).prepare()


# From the ground up. A part imports those of lower floors, and none of its own floor but itself.
FLOORS = (
    ("clock", "threads", "services"),
    ("database", "realtime"),
    ("extensions",),
    ("http",),
    ("limits", "mail", "media"),
    ("openapi",),
    ("accounts",),
    ("social",),
    ("profiles", "messenger"),
    ("notifications",),
    ("privacy",),  # an erasure and an export are one transaction and one document over all domains
    ("operations", "web"),
    ("cli",),
)


def part_of(module: str) -> str:
    return module.split(".")[1]


def test_every_part_stands_on_a_floor() -> None:
    assert {part_of(name) for name in modules("app") if name != "app"} <= set(chain(*FLOORS))


@pytest.mark.parametrize("part", sorted(chain(*FLOORS)))
def test_parts_import_lower_floors_only(part: str) -> None:
    (floor,) = (number for number, parts in enumerate(FLOORS) if part in parts)
    lower = {*chain(*FLOORS[:floor]), part}
    for module in [name for name in SOURCES if within(name, f"app.{part}")]:
        higher = {name for name in ours(module) if within(name, "app")} - {"app"}
        assert {part_of(name) for name in higher} <= lower, module


def test_few_files_stand_at_the_top() -> None:
    assert len(list((ROOT / "app").glob("*.py"))) <= 6


# Files of more than 300 lines; each is one idea.
LARGE = {
    "app/messenger/writer.py": "one queue, and who is told what became of it",
    "app/messenger/stream.py": "one client of a stream",
    "app/realtime/connection.py": "the state of one socket",
    "app/realtime/feed.py": "the order of the events of one worker",
    "app/realtime/frames.py": "RFC 6455, section 5",
}


def test_large_files_are_one_idea() -> None:
    large = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "app").rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > 300
    }
    assert large <= LARGE.keys(), "split it, or say here why it is one idea"


def test_realtime_knows_neither_requests_nor_tables() -> None:
    for module in modules("app.realtime"):
        found = [name for name in imported(module) if within(name, "flask", "sqlalchemy")]
        assert not found, module


def test_realtime_has_one_door() -> None:
    # Close codes are values, and the loop is how whoever works in it waits; what acts is behind it.
    doors = {"app.realtime", "app.realtime.closing", "app.realtime.loop"}
    for module in SOURCES:
        if not within(module, "app.realtime"):
            through = {name for name in ours(module) if within(name, "app.realtime")}
            assert through <= doors, module


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        # Left: may be imported by the right, and never imports it.
        (("models",), ("schemas", "services", "store", "writer", "history", "routes", "websocket")),
        (("schemas",), ("services", "store", "writer", "history", "routes", "websocket")),
        (("history", "store", "writer"), ("services", "routes", "websocket")),
        (("services", "tokens"), ("schemas", "routes", "websocket")),
        (("routes",), ("routes", "websocket")),
    ],
)
def test_layers_of_a_domain_rest_on_lower_ones(
    lower: tuple[str, ...], higher: tuple[str, ...]
) -> None:
    # A registration is told that its name is taken together with all else that is wrong with it.
    justified = {("app.accounts.schemas", "app.accounts.services")}
    for module in stemmed(*lower):
        found = {
            name for name in ours(module) - {"app.services"} if name.rpartition(".")[2] in higher
        }
        assert not {(module, name) for name in found} - justified


@pytest.mark.parametrize("foundation", ["database", "http", "limits", "media", "realtime"])
def test_foundations_know_no_domain(foundation: str) -> None:
    above = [f"app.{name}" for name in (*DOMAINS, "privacy", "operations", "cli")]
    for module in modules(f"app.{foundation}"):
        assert not [name for name in ours(module) if within(name, *above)], module


def test_only_create_app_joins_the_parts() -> None:
    for module in SOURCES.keys() - {"app"}:
        joined = [name for name in ours(module) if name.endswith((".routes", ".websocket"))]
        assert not joined, module
        assert module == "wsgi" or "app" not in ours(module), module


def use_cases() -> Iterator[str]:
    """Name the modules of the domains that act: all but those that know what a request is."""
    doors = ("routes", "schemas", "tokens", "websocket", "handshake", "stream")
    for module in modules(
        *(f"app.{name}" for name in (*DOMAINS, "notifications", "privacy", "media"))
    ):
        if not module.endswith(doors):
            yield module


def test_use_cases_are_given_values_and_see_no_request() -> None:
    requests = {"flask.request", "flask.g", "flask.session", "app.accounts.tokens.current_user"}
    for module in use_cases():
        if module not in ("app.media.store",):  # which serves its files itself
            assert not imported(module) & requests, module


def test_only_tokens_know_jwt() -> None:
    # Push services are told who sends by a JWT too (RFC 8292).
    for module in SOURCES.keys() - {"app.accounts.tokens", "app.notifications.keys"}:
        assert not [n for n in imported(module) if within(n, "jwt", "flask_jwt_extended")], module


def test_only_three_files_know_gevent() -> None:
    knowing = {
        module
        for module in SOURCES
        if any(within(name, "gevent", "greenlet") for name in imported(module))
    }
    assert knowing <= {"app.database.connection", "app.threads", "app.realtime.loop"}


def test_transactions_are_begun_by_use_cases() -> None:
    writers = {
        module for module in SOURCES if "app.database.transactions.writing" in imported(module)
    }
    assert writers
    # Whole databases are copied row for row, whatever the rows mean; the demo has a past.
    assert writers <= {*use_cases(), "app.operations.copy_database", "app.cli.demo"}
    for module, tree in SOURCES.items():
        commits = [
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr == "commit"
        ]
        assert not commits, f"{module}: `writing` commits at the end of its block"


def test_time_comes_from_the_clock() -> None:
    wall_clocks = {"now", "utcnow", "today", "time", "time_ns"}
    for module, tree in SOURCES.items():
        read = [
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and node.attr in wall_clocks
            and isinstance(node.value, ast.Name)
            and node.value.id in ("datetime", "date", "time")
        ]
        assert module == "app.clock" or not read, f"{module}: {read}"
        assert not imported(module) & {"time.time", "time.time_ns"}, module


def written_to(tree: ast.AST) -> Iterator[str]:
    """Name the attributes of imported things that a module sets: `flask.g.began`."""
    origins: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                # `import a.b` binds `a`, `import a.b as c` binds `c` to `a.b`.
                name = each.name if each.asname else each.name.partition(".")[0]
                origins[each.asname or name] = name
        elif isinstance(node, ast.ImportFrom):
            origins |= {
                each.asname or each.name: f"{node.module}.{each.name}" for each in node.names
            }
    for node in ast.walk(tree):
        path = ""
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            path = ast.unparse(node)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("setattr", "delattr")
        ):
            path = f"{ast.unparse(node.args[0])}.{ast.unparse(node.args[1])}"
        root, _, rest = path.partition(".")
        if root in origins:
            yield f"{origins[root]}.{rest}"


def test_no_library_is_patched() -> None:
    meant = {
        "flask.g": "what one request knows of itself",
        "flask.request.max_content_length": "a limit for one request, as Flask documents it",
        "threading.excepthook": "a hook, as Python documents it",
        "logging.logThreads": "a setting, as Python documents it",
        "logging.logMultiprocessing": "likewise",
        # The library takes its class for files from a variable that is read at its import, and names
        # the files by the process; ours are named by the worker's place, which outlives it.
        "prometheus_client.values.ValueClass": "the one place where it lets others choose",
    }
    patched = {
        (module, name)
        for module, tree in WITH_SERVER.items()
        for name in written_to(tree)
        if not within(name, *meant)
    }
    assert not patched


# Names with an underscore that their libraries document as public.
PUBLIC_DESPITE_UNDERSCORE = {
    "_asdict": "collections.namedtuple, and a row of SQLAlchemy",
    "_exit": "os, in a child",
    "_get_current_object": "a LocalProxy of Werkzeug",
    "_mapping": "a row of SQLAlchemy",
    "_replace": "collections.namedtuple, and a URL of SQLAlchemy",
}


def test_no_private_attribute_of_a_library_is_used() -> None:
    used = {
        (module, ast.unparse(node))
        for module, tree in WITH_SERVER.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in PUBLIC_DESPITE_UNDERSCORE
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    }
    assert not used


# The places that depend on attributes of a library that its documentation does not name: five at
# most. Each is pinned by a test of tests/test_libraries.py, which an update of the library that
# changes them turns red.
UNDOCUMENTED = {
    "app.database.connection": (
        "psycopg: generators.execute",
        ["generators"],
        "a statement named by a digest of its text",
        "psycopg lets its caller name a prepared statement",
        "test_psycopg_executes_by_its_generators",
    ),
    "app.database.prepared": (
        "SQLAlchemy: SQLCompiler.positiontup, Engine.dispatch",
        ["positiontup", "dispatch"],
        "a small query takes 60 us less than by Connection.execute",
        "SQLAlchemy executes a compiled statement as fast",
        "test_sqlalchemy_tells_the_order_of_parameters_and_who_listens",
    ),
    "app.messenger.handshake": (
        "simple_websocket: Server.connected, Server.sock",
        ["connected"],
        "realtime reads the socket instead of a thread",
        "the 101 is written without flask-sock",
        "test_simple_websocket_leaves_the_socket_alone_when_it_is_not_connected",
    ),
    "app.operations.metrics": (
        "prometheus_client: values.ValueClass",
        ["ValueClass"],
        "the files of a worker are named by its place, not by its pid",
        "the class for multiprocess values is a parameter",
        "test_prometheus_takes_its_class_for_values_from_a_variable",
    ),
    "worker": (
        "gunicorn: Request.unreader, and its max_body_chunk",
        ["unreader", "max_body_chunk"],
        "a pipelined request is in the buffer and not in the socket; a body is held by the megabyte",
        "gunicorn has a time-out of its own for idle connections, and a setting for what it holds",
        "test_gunicorn_keeps_pipelined_requests_in_its_unreader",
    ),
}


@pytest.mark.slow
def test_five_places_at_most_depend_on_undocumented_attributes() -> None:
    pins = ast.parse((ROOT / "tests/test_libraries.py").read_text(encoding="utf-8"))
    tests = {node.name for node in pins.body if isinstance(node, ast.FunctionDef)}
    assert len(UNDOCUMENTED) <= 5
    for module, (library, names, _why, _until, pin) in UNDOCUMENTED.items():
        assert pin in tests, f"{library}: no test pins it"
        for name in names:
            using = {
                each
                for each, tree in WITH_SERVER.items()
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute | ast.Name)
                and (node.attr if isinstance(node, ast.Attribute) else node.id) == name
            }
            assert using == {module}, library


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_no_import_hides_inside_a_function(module: str) -> None:
    hidden = [
        inner.lineno
        for outer in ast.walk(SOURCES[module])
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(outer)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert not hidden


# Where the tests of a file are that has none of its own name. Models, schemas and routes are what
# the tests of the whole application go through: test_contract, test_bad_input, test_strangers.
TESTED_IN = {
    "accounts/admin_routes.py": "accounts/test_administration.py",
    "accounts/admin_schemas.py": "accounts/test_administration.py",
    "accounts/links.py": "cli/test_users.py",
    "accounts/bulk_import.py": "cli/test_import_users.py",
    "accounts/credentials.py": "accounts/test_sessions.py",
    "accounts/erasure.py": "privacy/test_erasure.py",
    "accounts/login.py": "security/test_passwords.py",
    "accounts/one_time_tokens.py": "accounts/test_resets.py",
    "accounts/operators.py": "cli/test_users.py",
    "accounts/registration.py": "accounts/test_invitations.py",
    "accounts/services.py": "test_contract.py",
    "accounts/session_routes.py": "accounts/test_sessions.py",
    "accounts/tokens.py": "security/test_tokens.py",
    "cli/backup.py": "operations/test_backups.py",
    "cli/errors.py": "cli/test_users.py",
    "cli/output.py": "cli/test_users.py",
    "cli/search.py": "messenger/search/test_routes.py",
    "clock.py": "test_architecture.py",
    "database/engine.py": "database/test_transactions.py",
    "database/errors.py": "database/test_transactions.py",
    "database/keyset.py": "test_contract.py",
    "database/pool.py": "database/test_transactions.py",
    "database/revisions.py": "operations/test_health.py",
    "database/types.py": "cli/test_copy_database.py",
    "database/vacuum.py": "privacy/test_erasure.py",
    "extensions.py": "test_schema.py",
    "http/annotations.py": "openapi/test_document.py",
    "http/body.py": "test_bad_input.py",
    "http/errors.py": "test_bad_input.py",
    "http/fields.py": "test_bad_input.py",
    "http/json.py": "test_contract.py",
    "http/middleware.py": "security/test_proxies.py",
    "http/origins.py": "test_origins.py",
    "http/pagination.py": "test_contract.py",
    "http/validation.py": "test_bad_input.py",
    "limits/password_guesses.py": "limits/test_rules.py",
    "limits/status.py": "limits/test_rules.py",
    "http/form_files.py": "messenger/files/test_uploads.py",
    "media/files.py": "messenger/files/test_uploads.py",
    "media/folder.py": "operations/test_backups.py",
    "media/message_pictures.py": "messenger/files/test_uploads.py",
    "media/pictures.py": "media/test_avatars.py",
    "media/s3_files.py": "media/test_s3.py",
    "messenger/files/access.py": "messenger/files/test_attachments.py",
    "messenger/files/erasure.py": "privacy/test_erasure.py",
    "messenger/files/removal.py": "messenger/files/test_attachments.py",
    "messenger/files/shown.py": "messenger/files/test_attachments.py",
    "media/avatar_uploads.py": "media/test_avatars.py",
    "messenger/search/hits.py": "messenger/search/test_routes.py",
    "messenger/search/index.py": "messenger/search/test_routes.py",
    "messenger/search/services.py": "messenger/search/test_routes.py",
    "messenger/announcements.py": "messenger/test_events.py",
    "messenger/chat_routes.py": "messenger/test_chats.py",
    "messenger/drafts.py": "messenger/test_store.py",
    "messenger/event_frames.py": "messenger/test_events.py",
    "messenger/event_queries.py": "messenger/test_events.py",
    "messenger/erasure.py": "privacy/test_erasure.py",
    "messenger/frames_in.py": "messenger/test_stream.py",
    "messenger/group_members.py": "messenger/test_groups.py",
    "messenger/group_routes.py": "messenger/test_groups.py",
    "messenger/handshake.py": "messenger/test_websocket.py",
    "messenger/mark_store.py": "messenger/test_read_marks.py",
    "messenger/members.py": "messenger/test_groups.py",
    "messenger/messages.py": "test_contract.py",
    "messenger/pair_access.py": "test_strangers.py",
    "messenger/presence.py": "messenger/test_stream.py",
    "messenger/read_marks.py": "messenger/test_events.py",
    "messenger/rooms.py": "test_contract.py",
    "messenger/session.py": "messenger/test_websocket.py",
    "messenger/socket_registry.py": "messenger/test_websocket.py",
    "messenger/store_postgresql.py": "messenger/test_store.py",
    "messenger/store_sqlite.py": "messenger/test_store.py",
    "openapi/operation.py": "openapi/test_document.py",
    "notifications/contents.py": "notifications/test_notifier.py",
    "notifications/models.py": "test_schema.py",
    "notifications/reader.py": "notifications/test_notifier.py",
    "notifications/schemas.py": "notifications/test_routes.py",
    "notifications/subscriptions.py": "notifications/test_routes.py",
    "operations/metrics_routes.py": "operations/test_metrics.py",
    "operations/backup_format.py": "operations/test_backups.py",
    "operations/backup_read.py": "operations/test_backups.py",
    "operations/backup_restore.py": "operations/test_backups.py",
    "operations/backup_write.py": "operations/test_backups.py",
    "operations/copy_database.py": "cli/test_copy_database.py",
    "profiles/services.py": "test_contract.py",
    "realtime/closing.py": "test_websocket_page.py",
    "realtime/events.py": "messenger/test_events.py",
    "realtime/feed.py": "messenger/test_stream.py",
    "realtime/history.py": "messenger/test_history.py",
    "realtime/loop.py": "realtime/test_connection.py",
    "realtime/pace.py": "realtime/test_feed.py",
    "realtime/packing.py": "realtime/test_bus.py",
    "realtime/polls.py": "messenger/test_event_routes.py",
    "realtime/postgres_pubsub.py": "realtime/test_bus.py",
    "realtime/redis_pubsub.py": "realtime/test_bus.py",
    "realtime/room_members.py": "realtime/test_feed.py",
    "realtime/stats.py": "realtime/test_channel.py",
    "realtime/subscription.py": "realtime/test_hub.py",
    "services.py": "operations/test_health.py",
    "social/friends.py": "test_contract.py",
    "web/assets.py": "web/test_routes.py",
}


@pytest.mark.parametrize(
    "file",
    sorted(
        path.relative_to(ROOT / "app").as_posix()
        for path in (ROOT / "app").rglob("*.py")
        if path.stem not in ("__init__", "models", "schemas") and not path.stem.endswith("routes")
    ),
)
def test_tests_of_a_file_are_found_by_its_name(file: str) -> None:
    folder, _, name = f"/{file}".rpartition("/")
    own = ROOT / f"tests{folder}/test_{name}"
    assert own.exists() or (ROOT / "tests" / TESTED_IN.get(file, "?")).exists(), (
        f"write {own.relative_to(ROOT)}, or say in TESTED_IN where the tests of app/{file} are"
    )
