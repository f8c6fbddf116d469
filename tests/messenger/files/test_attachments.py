"""Files in messages: whose they are, who gets them, and how long."""

from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert, select, update

from app.clock import utcnow
from app.database.transactions import reading, writing
from app.media.folder import MediaFolder
from app.messenger.files import removal
from app.messenger.files.models import Upload
from app.messenger.models import Message
from app.operations.backup_format import Installation
from app.operations.backup_read import opened
from app.operations.backup_restore import restore
from app.operations.backup_write import write_backup
from app.services import services
from tests.factories import PASSWORD
from tests.messenger.files.test_uploads import PDF, files_of, picture, rows_of, sent
from tests.messenger.http import Caller, sign_up
from tests.problems import check_problem


@pytest.fixture
def ann(app: Flask) -> Caller:
    return sign_up(app, "ann")


@pytest.fixture
def bob(app: Flask) -> Caller:
    return sign_up(app, "bob")


@pytest.fixture
def eve(app: Flask) -> Caller:
    return sign_up(app, "eve")


def post(who: Caller, room: str, *uploads: dict[str, Any], **body: Any) -> dict[str, Any]:
    body = {"attachments": [upload["id"] for upload in uploads]} | body
    return who.do("POST", f"{room}messages/", body, 201)


def path_of(upload: dict[str, Any]) -> str:
    return f"/files/{upload['id']}/"


def status_for(who: Caller, upload: dict[str, Any]) -> int:
    answer = who.ask("GET", path_of(upload), buffered=True)
    if answer.status_code == 404:
        check_problem(answer, 404, "file_not_found")
    return answer.status_code


def test_message_shows_its_files_wherever_it_is_shown(ann: Caller, bob: Caller) -> None:
    room = ann.room_with(bob)
    first, second = sent(ann, picture(), "схема.jpg"), sent(ann, PDF, "b.pdf")

    message = post(ann, room, second, first, content="Вот", client_id="1")

    assert message["attachments"] == [second, first]  # in the order of the message
    assert "fallback" not in message
    place = f"{room}messages/{message['id']}/"
    assert bob.get(place) == message
    assert bob.get(f"{room}messages/") == [message]
    assert bob.get(f"{room}messages/?around={message['id']}") == [message]
    assert bob.get("/chats/")[0]["last_message"] == message
    (event,) = [each for each in bob.get("/events/?after=0&limit=500") if each["type"] == "message"]
    assert event["message"] == message
    edited = ann.do("PATCH", place, {"content": "Вот она"})
    assert edited["attachments"] == [second, first]
    (event,) = [each for each in bob.get("/events/?after=0") if each["type"] == "message_edited"]
    assert event["message"] == edited == bob.get(place)


def test_message_without_a_text_has_the_names_for_older_clients(ann: Caller, bob: Caller) -> None:
    room = ann.room_with(bob)
    for body in ({}, {"content": ""}):
        message = post(ann, room, sent(ann, PDF, "a.pdf"), sent(ann, PDF, "б.pdf"), **body)
        assert (message["content"], message["fallback"]) == ("a.pdf\nб.pdf", True)
    place = f"{room}messages/{message['id']}/"
    assert "fallback" not in ann.do("PATCH", place, {"content": "two of them"})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": ""},
        {"content": " ", "attachments": []},
        {"attachments": []},
        {"content": None},
    ],
)
def test_message_without_files_needs_a_text(ann: Caller, bob: Caller, body: Any) -> None:
    answer = ann.ask("POST", f"{ann.room_with(bob)}messages/", body)
    check_problem(answer, 400, "invalid", fields=["content"])


@pytest.mark.parametrize("wrong", ["text", 5, {}, [5], ["x"] * 11, ["x"], ["\0"], ["0" * 32]])
def test_attachments_are_ids_of_files(ann: Caller, bob: Caller, wrong: Any) -> None:
    body = {"content": "text", "attachments": wrong}
    answer = ann.ask("POST", f"{ann.room_with(bob)}messages/", body)
    check_problem(answer, 400, "invalid", fields=["attachments"])


def test_a_file_is_ones_own_and_of_one_message(ann: Caller, bob: Caller) -> None:
    room = ann.room_with(bob)
    of_bob, used, free = sent(bob, PDF), sent(ann, PDF), sent(ann, PDF)
    post(ann, room, used)

    for wrong in ([of_bob], [used], [free, used], [free, free]):
        body = {"content": "x", "attachments": [each["id"] for each in wrong]}
        answer = ann.ask("POST", f"{room}messages/", body)
        check_problem(answer, 400, "invalid", fields=["attachments"])

    assert len(ann.get(f"{room}messages/")) == 1
    post(ann, room, free)  # what was refused has taken nothing
    post(bob, room, of_bob)


def check_attaches_to_nothing(owner: Caller, other: Caller, upload: dict[str, Any]) -> None:
    body = {"content": "x", "attachments": [upload["id"]]}
    answer = owner.ask("POST", f"{owner.room_with(other)}messages/", body)
    check_problem(answer, 400, "invalid", fields=["attachments"])


def test_a_file_that_is_not_whole_is_none(app: Flask, ann: Caller, bob: Caller) -> None:
    upload = sent(ann, PDF)
    with writing(services(app).engine) as connection:
        connection.execute(update(Upload).values(type=None))
    assert status_for(ann, upload) == 404
    check_attaches_to_nothing(ann, bob, upload)


def test_repeated_message_is_the_stored_one(ann: Caller, bob: Caller) -> None:
    room = ann.room_with(bob)
    body = {"attachments": [sent(ann, PDF)["id"]], "client_id": "once"}
    message = ann.do("POST", f"{room}messages/", body, 201)

    assert ann.do("POST", f"{room}messages/", body, 200) == message
    other = sent(ann, PDF)
    body["attachments"] = [other["id"]]
    assert ann.do("POST", f"{room}messages/", body, 200) == message
    assert len(bob.get(f"{room}messages/")) == 1
    post(ann, room, other)  # which the repeat has not used


def test_of_two_messages_at_once_one_gets_the_file(app: Flask, ann: Caller, bob: Caller) -> None:
    room, upload = ann.room_with(bob), sent(ann, PDF)
    barrier, statuses = Barrier(4), []

    def send() -> None:
        barrier.wait()
        body = {"attachments": [upload["id"]]}
        statuses.append(ann.ask("POST", f"{room}messages/", body).status_code)

    threads = [Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [201, 400, 400, 400]
    assert len(bob.get(f"{room}messages/")) == 1


def test_who_may_read_the_message_gets_the_file(ann: Caller, bob: Caller, eve: Caller) -> None:
    room, upload = ann.room_with(bob), sent(ann, PDF)
    assert [status_for(each, upload) for each in (ann, bob, eve)] == [200, 404, 404]
    post(ann, room, upload)
    assert [status_for(each, upload) for each in (ann, bob, eve)] == [200, 200, 404]
    for method in ("HEAD", "DELETE"):
        assert eve.ask(method, path_of(upload)).status_code == 404


def test_who_leaves_a_group_gets_none_of_its_files(ann: Caller, bob: Caller, eve: Caller) -> None:
    group, upload = ann.group(bob, eve), sent(ann, PDF)
    post(ann, group, upload)

    bob.do("DELETE", f"{group}members/{bob.name}/", status=204)
    ann.do("DELETE", f"{group}members/{eve.name}/", status=204)

    assert [status_for(each, upload) for each in (ann, bob, eve)] == [200, 404, 404]


def test_sender_who_left_does_not_get_it_either(ann: Caller, bob: Caller) -> None:
    group, upload = bob.group(ann), sent(ann, PDF)
    post(ann, group, upload)
    ann.do("DELETE", f"{group}members/{ann.name}/", status=204)
    assert [status_for(each, upload) for each in (ann, bob)] == [404, 200]


def test_newcomer_gets_no_file_of_a_message_before(ann: Caller, bob: Caller, eve: Caller) -> None:
    group = ann.group(bob, history="joined")
    before, after = sent(ann, PDF), sent(ann, PDF)
    post(ann, group, before)
    ann.do("POST", f"{group}members/", {"username": eve.name}, 201)
    post(ann, group, after)
    assert [status_for(eve, each) for each in (before, after)] == [404, 200]


def test_block_does_not_take_files_away(ann: Caller, bob: Caller) -> None:
    room, upload = ann.room_with(bob), sent(ann, PDF)
    post(ann, room, upload)
    ann.do("POST", "/profiles/api/blocks/", {"username": bob.name})
    assert status_for(bob, upload) == 200


def test_deleted_message_takes_its_files_along(app: Flask, ann: Caller, bob: Caller) -> None:
    room, upload = ann.room_with(bob), sent(ann, picture())
    message = post(ann, room, upload)
    assert len(files_of(app)) == 2

    ann.do("DELETE", f"{room}messages/{message['id']}/", status=204)

    assert [status_for(each, upload) for each in (ann, bob)] == [404, 404]
    assert (files_of(app), rows_of(app)) == ({}, [])
    with reading(services(app).engine) as connection:
        assert connection.scalars(select(Message.attachments)).all() == [None]
    (shown,) = ann.get(f"{room}messages/?deleted=true")
    assert "attachments" not in shown


def test_file_of_a_message_stays_with_it(ann: Caller, bob: Caller) -> None:
    room, upload = ann.room_with(bob), sent(ann, PDF)
    post(ann, room, upload)
    assert ann.refused("DELETE", path_of(upload)) == (409, "in_use")
    assert bob.refused("DELETE", path_of(upload)) == (404, "file_not_found")
    assert status_for(bob, upload) == 200


def test_file_without_a_message_can_be_deleted(app: Flask, ann: Caller, bob: Caller) -> None:
    upload = sent(ann, PDF)
    assert bob.refused("DELETE", path_of(upload)) == (404, "file_not_found")
    ann.do("DELETE", path_of(upload), status=204)
    assert (files_of(app), rows_of(app)) == ({}, [])
    assert ann.refused("DELETE", path_of(upload)) == (404, "file_not_found")
    check_attaches_to_nothing(ann, bob, upload)


# What is left over


def let_expire(app: Flask, upload: dict[str, Any]) -> None:
    with writing(services(app).engine) as connection:
        past = utcnow() - 2 * removal.GRACE
        connection.execute(update(Upload).where(Upload.id == upload["id"]).values(expires_at=past))


def test_file_that_no_message_names_goes(app: Flask, ann: Caller, bob: Caller) -> None:
    room = ann.room_with(bob)
    forgotten, used, waiting = sent(ann, picture()), sent(ann, PDF), sent(ann, PDF)
    post(ann, room, used)
    let_expire(app, forgotten)

    assert status_for(ann, forgotten) == 404
    body = {"content": "x", "attachments": [forgotten["id"]]}
    check_problem(ann.ask("POST", f"{room}messages/", body), 400, "invalid", fields=["attachments"])
    with app.app_context():
        assert removal.remove_expired() == 1
        assert removal.remove_expired() == 0

    assert set(files_of(app)) == {used["id"], waiting["id"]}
    assert {row.id for row in rows_of(app)} == {used["id"], waiting["id"]}


def test_worker_that_dies_leaves_nothing_for_ever(app: Flask, ann: Caller) -> None:
    # Killed while the file came: there are a row and a draft.
    upload_id, past = "0" * 32, utcnow() - 2 * removal.GRACE
    row = {"id": upload_id, "user_id": ann.id, "bytes": 100, "created_at": past}
    with app.app_context():
        with writing() as connection:
            connection.execute(insert(Upload).values(row | {"expires_at": past}))
        services(app).files.draft(upload_id).close()
        # What is on its way to a bucket has no name yet.
        assert len(files_of(app)) == (0 if services(app).config.MEDIA_URL else 1)
        assert removal.remove_expired() == 1
    assert (files_of(app), rows_of(app)) == ({}, [])


def test_file_that_cannot_be_removed_is_removed_later(
    app: Flask, ann: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, upload = ann.room_with(bob), sent(ann, PDF)
    message = post(ann, room, upload)
    store = services(app).files

    def away(name: str) -> None:
        raise OSError("away")

    monkeypatch.setattr(type(store), "delete", lambda _self, name: away(name))
    ann.do("DELETE", f"{room}messages/{message['id']}/", status=204)
    assert status_for(bob, upload) == 404
    assert len(files_of(app)) == 1

    monkeypatch.undo()
    let_expire(app, upload)  # it did; now for longer than clocks differ
    with app.app_context():
        assert removal.remove_expired() == 1
    assert (files_of(app), rows_of(app)) == ({}, [])


# Whoever leaves, and what is kept beside


def test_erased_user_leaves_no_file(app: Flask, ann: Caller, bob: Caller) -> None:
    room = ann.room_with(bob)
    waiting, of_ann, of_bob = sent(ann, PDF), sent(ann, picture()), sent(bob, PDF)
    message = post(ann, room, of_ann, content="look")
    post(bob, room, of_bob)
    after = bob.ask("GET", "/chats/").headers["X-Event-ID"]

    ann.do("DELETE", "/accounts/api/users/me/", {"password": PASSWORD}, status=204)

    assert [*files_of(app)] == [of_bob["id"]]
    assert [row.id for row in rows_of(app)] == [of_bob["id"]]
    assert [status_for(bob, each) for each in (waiting, of_ann, of_bob)] == [404, 404, 200]
    events = bob.get(f"/events/?after={after}&limit=500")
    (edited,) = [each["message"] for each in events if each["type"] == "message_edited"]
    assert (edited["id"], edited["content"]) == (message["id"], "look")
    assert "attachments" not in edited


def test_export_lists_own_files(ann: Caller, bob: Caller) -> None:
    room = ann.room_with(bob)
    used, waiting = sent(ann, picture(), "a.jpg"), sent(ann, PDF, "b.pdf")
    message = post(ann, room, used)
    post(bob, room, sent(bob, PDF))

    listed = ann.ask("GET", "/accounts/api/users/me/export/", buffered=True).json["files"]

    assert {(each["id"], each["name"], each["message_id"]) for each in listed} == {
        (used["id"], "a.jpg", message["id"]),
        (waiting["id"], "b.pdf", None),
    }


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_backup_brings_files_back(app: Flask, ann: Caller, bob: Caller, tmp_path: Path) -> None:
    room = ann.room_with(bob)
    upload = sent(ann, picture())
    post(ann, room, upload)
    before = files_of(app)
    assert len(before) == 2
    database = Path(services(app).engine.url.database)
    source = Installation(database, MediaFolder(services(app).config.MEDIA_ROOT), None)

    manifest = write_backup(source, tmp_path / "backup.tar")

    target = Installation(tmp_path / "new.db", MediaFolder(tmp_path / "media"), None)
    MediaFolder(tmp_path / "media").put(f"files/{'0' * 32}", b"of before")
    with opened(tmp_path / "backup.tar", tmp_path) as backup:
        restore(backup, target, replace=True)
    whole = MediaFolder(tmp_path / "media")
    assert manifest.missing == []
    assert sorted(whole.names()) == sorted(f"files/{name}" for name in before)
    for name, data in before.items():
        path = whole.find(f"files/{name}")
        assert path is not None
        assert path.read_bytes() == data
