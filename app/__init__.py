"""Beseda: accounts, profiles and live chat for a small team. `create_app` joins the parts."""

import hmac
import os
import re
import sys
import threading
from importlib import import_module
from pathlib import Path
from time import sleep

from click import get_current_context
from flask import Flask
from sqlalchemy import make_url
from werkzeug.middleware.proxy_fix import ProxyFix

import logs
from app import cli
from app.accounts import admin_routes, session_routes, setup, tokens
from app.accounts import routes as account_routes
from app.database import revisions
from app.database.capacity import warn_of_too_many_connections
from app.database.engine import connector, engine_options, prepare
from app.database.watchdog import start_watchdog
from app.extensions import cors, db, migrate, sock
from app.http import errors, languages, middleware
from app.http.json import OrjsonProvider
from app.http.validation import BODY_BYTES
from app.limits import status as rate_limits
from app.limits.rules import Limits
from app.mail import Mailer
from app.media.files import FileStore, FolderFiles
from app.media.store import FolderStore, MediaStore, media
from app.messenger import chat_routes, event_routes, group_routes, handshake, stream
from app.messenger import routes as room_routes
from app.messenger import websocket as chat
from app.messenger.events import MessengerEvents
from app.messenger.files import routes as files
from app.messenger.files.removal import start_removal
from app.messenger.history import MessageHistory
from app.messenger.pair_access import check_writers_anew
from app.messenger.presence import Presence
from app.messenger.read_marks import ReadMarkWriter
from app.messenger.search import routes as search
from app.messenger.search.index import start_indexer
from app.messenger.socket_registry import SocketRegistry
from app.messenger.writer import MessageWriter
from app.notifications import routes as notification_routes
from app.notifications.notifier import Notifier
from app.openapi import routes as docs
from app.operations import health, metrics_routes
from app.operations.metrics import Metrics
from app.privacy import erasure as erasures
from app.privacy import routes as personal
from app.profiles import routes as profile_routes
from app.realtime import (
    Bus,
    MemoryBus,
    PostgresPubSub,
    PubSubBus,
    Realtime,
    RedisPubSub,
)
from app.services import Services, services
from app.social import routes as social_routes
from app.web import routes as web
from config import Config

ANNOUNCE_SECONDS = 10.0  # between two tries to log the setup link while the database is away


def create_app(config: Config) -> Flask:
    """Create the application from its settings; open no connection yet.

    Args:
        config: The settings.
    """
    # What a command prints on stdout is for scripts.
    output = sys.stderr if get_current_context(silent=True) else sys.stdout
    log_handler = logs.configure(config.LOG_LEVEL, config.LOG_FORMAT, middleware.known, output)
    app = Flask(__name__, static_folder=None)
    app.json = OrjsonProvider(app)
    app.url_map.strict_slashes = False  # the last slash of a path is optional
    app.url_map.merge_slashes = False  # no redirects
    app.config |= {
        "BODIES_FOLDER": config.MEDIA_ROOT,
        "MAX_CONTENT_LENGTH": BODY_BYTES,
        "SOCK_SERVER_OPTIONS": handshake.SERVER_OPTIONS,
        "SQLALCHEMY_DATABASE_URI": config.DATABASE_URL,
        "SQLALCHEMY_ENGINE_OPTIONS": engine_options(config.DATABASE_URL, config.DATABASE_POOL_SIZE),
    } | tokens.settings(config)
    if config.PROXY_HOPS:
        hops = config.PROXY_HOPS
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]

    _make_services(app, config, log_handler)
    tokens.init_app(app)
    languages.init_app(app)
    middleware.init_app(app)
    errors.init_app(app)  # first: the others add headers to its responses
    metrics_routes.init_app(app)
    rate_limits.init_app(app)
    if config.CORS_ORIGINS:
        # Escaped, because flask-cors would read `http://[::1]:3000` as a regular expression.
        origins = [re.compile(re.escape(origin) + r"\Z") for origin in config.CORS_ORIGINS]
        cors.init_app(
            app,
            origins=origins,
            expose_headers=middleware.EXPOSED,
            supports_credentials=True,  # cookies, for pages of these origins
            max_age=600,
        )
    sock.init_app(app)
    for bp in (
        *(session_routes.bp, account_routes.bp, admin_routes.bp),
        *(notification_routes.bp, personal.bp, profile_routes.bp, social_routes.bp, media),
        *(room_routes.bp, chat.bp, files.bp),
        *(chat_routes.bp, event_routes.bp, group_routes.bp, search.bp, stream.bp),
        *(health.bp, docs.bp, web.service),
    ):
        app.register_blueprint(bp)
    if config.WEB_CLIENT == "on":
        app.register_blueprint(web.bp)
    cli.init_app(app)
    return app


def start(app: Flask) -> None:
    """Start the threads of a worker; from now on it accepts sockets."""
    revisions.load()
    threading.excepthook = logs.log_defect_of_thread
    parts = services(app)
    start_watchdog(parts.engine)
    parts.writer.start()
    parts.read_marks.start()
    parts.realtime.start()
    parts.presence.start()
    parts.socket_registry.start()
    parts.metrics.start(app)
    parts.notifier.start()
    start_indexer(parts.engine)
    start_removal(app)
    threading.Thread(target=_finish_erasures, args=(app,), name="erasures", daemon=True).start()
    if os.environ.get("BESEDA_TELLS") != "no":  # one worker is enough, once at each start
        threading.Thread(target=_announce, args=(app,), name="announce", daemon=True).start()


def reconcile(app: Flask) -> None:
    """Deliver soon what workers of before a reload have stored, which no bus tells on SQLite."""
    services(app).realtime.reconcile()


def end_polls(app: Flask) -> None:
    """Answer all who wait for events by long-poll; they ask again, and another worker answers."""
    services(app).realtime.polls.is_stopping = True


def stop(app: Flask) -> None:
    """Stop a worker: store and deliver the accepted messages, then close every socket."""
    parts = services(app)
    parts.realtime.stop(finish=parts.writer.finish)
    parts.read_marks.finish()
    parts.notifier.finish()
    parts.metrics.publish(app)  # the last second


def _finish_erasures(app: Flask) -> None:
    with app.app_context():
        erasures.finish()


def _announce(app: Flask) -> None:
    parts = services(app)
    with app.app_context():
        while not setup.announce():
            sleep(ANNOUNCE_SECONDS)
        warn_of_too_many_connections(parts.engine, parts.config.workers)


def _make_services(app: Flask, config: Config, log_handler: logs.Handler) -> None:
    if config.is_sqlite and (path := make_url(config.DATABASE_URL).database):
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    db.init_app(app)
    migrate.init_app(app, db, directory=str(Path(app.root_path).parent / "migrations"))
    with app.app_context():
        engine = db.engine
    prepare(engine)
    events = MessengerEvents(engine)
    realtime = Realtime(MessageHistory(engine), events, _bus(config), config.SOCKETS_MAX)
    read_marks = ReadMarkWriter(engine, realtime.announce)
    presence = Presence(engine, realtime)
    Services(
        config=config,
        engine=engine,
        events=events,
        limits=Limits(config, f"beseda:{_installation(config)}:limit"),
        log_handler=log_handler,
        mailer=Mailer(config.SMTP_URL, app.app_context) if config.SMTP_URL else None,
        files=_file_store(config),
        media=_store(config),
        metrics=Metrics(),
        notifier=Notifier(engine, presence, config, app.app_context),
        on_block=check_writers_anew,
        presence=presence,
        read_marks=read_marks,
        realtime=realtime,
        socket_registry=SocketRegistry(engine),
        writer=MessageWriter(engine, realtime.publish, read_marks.note_sent),
    ).bind(app)


def _store(config: Config) -> MediaStore:
    if config.MEDIA_URL is None:
        return FolderStore(config.MEDIA_ROOT)
    # Imported here, because boto3 is installed only where `MEDIA_URL` is used.
    store: MediaStore = import_module("app.media.s3").BucketStore(config.MEDIA_URL)
    return store


def _file_store(config: Config) -> FileStore:
    if config.MEDIA_URL is None:
        return FolderFiles(config.MEDIA_ROOT)
    store: FileStore = import_module("app.media.s3_files").BucketFiles(config.MEDIA_URL)
    return store


def _bus(config: Config) -> Bus:
    if config.REDIS_URL:
        return PubSubBus(
            RedisPubSub(config.REDIS_URL, f"beseda:{_installation(config)}:publications")
        )
    if config.is_sqlite:
        return MemoryBus()
    return PubSubBus(PostgresPubSub(connector(config.DATABASE_URL)))


def _installation(config: Config) -> str:
    # Publications name rooms by id, so installations that share a Redis must not receive each
    # other's. All machines of one installation have the same key and database name.
    secret = config.JWT_SECRET_KEY.get_secret_value().encode()
    database = make_url(config.DATABASE_URL).database
    return hmac.digest(secret, f"bus of {database}".encode(), "sha256").hex()[:32]
