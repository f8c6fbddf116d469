"""The chat as a tutorial on Flask would write it: flask-sock, ORM, one commit a message.

Not the very first tutorial, though: the session is given back after each message (or the pool
would be empty with the fifteenth socket), and SQLite writes ahead.
"""

import json
import os
from collections import defaultdict
from datetime import UTC, datetime, timedelta

from flask import Flask, abort, jsonify, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    current_user,
    decode_token,
    jwt_required,
)
from flask_sock import Sock
from flask_sqlalchemy import SQLAlchemy
from simple_websocket import ConnectionClosed
from sqlalchemy import event
from werkzeug.security import check_password_hash, generate_password_hash

app = Flask(__name__)
app.json.ensure_ascii = False
app.config |= {
    "SQLALCHEMY_DATABASE_URI": os.environ["DATABASE_URL"],
    "SQLALCHEMY_ENGINE_OPTIONS": {"pool_size": 20},
    "JWT_SECRET_KEY": os.environ["JWT_SECRET_KEY"],
    "JWT_ACCESS_TOKEN_EXPIRES": timedelta(days=1),
    "SOCK_SERVER_OPTIONS": {"ping_interval": 25},
}
db = SQLAlchemy(app)
jwt = JWTManager(app)
sock = Sock(app)

members = db.Table(
    "members",
    db.Column("room_id", db.ForeignKey("rooms.id"), primary_key=True),
    db.Column("user_id", db.ForeignKey("users.id"), primary_key=True),
)


def now():
    return datetime.now(UTC).replace(microsecond=0, tzinfo=None)


class User(db.Model):
    __tablename__ = "users"
    id = db.Column(db.Integer, primary_key=True)
    username = db.Column(db.String(150), unique=True, nullable=False)
    email = db.Column(db.String(254), unique=True, nullable=False)
    password_hash = db.Column(db.String(255), nullable=False)
    bio = db.Column(db.Text, nullable=False, default="")
    rooms = db.relationship("Room", secondary=members, back_populates="members")
    posts = db.relationship("Post", back_populates="author", lazy="dynamic")


class Post(db.Model):
    __tablename__ = "posts"
    id = db.Column(db.Integer, primary_key=True)
    author_id = db.Column(db.ForeignKey("users.id"), nullable=False, index=True)
    title = db.Column(db.String(200), nullable=False)
    content = db.Column(db.Text, nullable=False)
    created_at = db.Column(db.DateTime, nullable=False, default=now)
    author = db.relationship("User", back_populates="posts")

    def to_dict(self):
        return {
            "id": self.id,
            "title": self.title,
            "content": self.content,
            "created_at": self.created_at.isoformat() + "Z",
        }


class Room(db.Model):
    __tablename__ = "rooms"
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(310), unique=True, nullable=False)
    members = db.relationship("User", secondary=members, back_populates="rooms", lazy="selectin")

    def to_dict(self, caller):
        other = next(user for user in self.members if user.id != caller.id)
        return {
            "id": self.id,
            "name": self.name,
            "members": sorted(user.id for user in self.members),
            "display_name": other.username,
        }


class Message(db.Model):
    __tablename__ = "messages"
    id = db.Column(db.Integer, primary_key=True)
    room_id = db.Column(db.ForeignKey("rooms.id"), nullable=False, index=True)
    user_id = db.Column(db.ForeignKey("users.id"), nullable=False)
    content = db.Column(db.Text, nullable=False)
    timestamp = db.Column(db.DateTime, nullable=False, default=now)
    user = db.relationship("User", lazy="joined")

    def to_dict(self):
        return {
            "id": self.id,
            "user": self.user.username,
            "content": self.content,
            "timestamp": self.timestamp.isoformat() + "Z",
        }


def last(query, identity):
    """Return the newest rows of a query, oldest first."""
    limit = min(request.args.get("limit", 100, type=int), 1000)
    if before := request.args.get("before", type=int):
        query = query.filter(identity < before)
    return query.order_by(identity.desc()).limit(limit).all()[::-1]


@jwt.user_lookup_loader
def find_user(_header, claims):
    return db.session.get(User, int(claims["sub"]))


@app.get("/readyz")
def readyz():
    return jsonify(status="ok")


@app.post("/accounts/api/users/")
def create_user():
    body = request.get_json()
    user = User(
        username=body["username"],
        email=body["email"],
        password_hash=generate_password_hash(body["password"]),
    )
    db.session.add(user)
    db.session.commit()
    return jsonify(id=user.id, username=user.username, email=user.email), 201


@app.post("/accounts/api/token/")
def create_token():
    body = request.get_json()
    user = User.query.filter_by(username=body["username"]).first()
    if user is None or not check_password_hash(user.password_hash, body["password"]):
        abort(401)
    identity = str(user.id)
    return jsonify(refresh=create_refresh_token(identity), access=create_access_token(identity))


@app.get("/profiles/api/profile/")
@jwt_required()
def show_profile():
    posts = last(current_user.posts, Post.id)
    return jsonify(
        id=current_user.id,
        username=current_user.username,
        email=current_user.email,
        profile={"image": "/media/user_images/default.jpg", "bio": current_user.bio},
        posts=[post.to_dict() for post in posts],
    )


@app.get("/profiles/api/posts/")
@jwt_required()
def list_posts():
    return jsonify([post.to_dict() for post in last(Post.query, Post.id)])


@app.post("/profiles/api/posts/")
@jwt_required()
def create_post():
    body = request.get_json()
    post = Post(author=current_user, title=body["title"], content=body["content"])
    db.session.add(post)
    db.session.commit()
    return jsonify(post.to_dict()), 201


@app.get("/messenger/api/chatrooms/")
@jwt_required()
def list_rooms():
    return jsonify([room.to_dict(current_user) for room in current_user.rooms])


@app.post("/messenger/api/chatrooms/")
@jwt_required()
def open_room():
    other = User.query.filter_by(username=request.get_json()["recipient"]).first_or_404()
    name = "_".join(sorted((current_user.username, other.username)))
    room = Room.query.filter_by(name=name).first()
    if room is None:
        room = Room(name=name, members=[current_user, other])
        db.session.add(room)
        db.session.commit()
    return jsonify(room.to_dict(current_user)), 201


def room_of(name, user):
    room = Room.query.filter_by(name=name).first()
    if room is None or user not in room.members:
        abort(404)
    return room


@app.get("/messenger/api/chatrooms/<name>/messages/")
@jwt_required()
def list_messages(name):
    room = room_of(name, current_user)
    messages = last(Message.query.filter_by(room_id=room.id), Message.id)
    return jsonify([message.to_dict() for message in messages])


@app.post("/messenger/api/chatrooms/<name>/messages/")
@jwt_required()
def create_message(name):
    room = room_of(name, current_user)
    return jsonify(send_text(room.id, current_user.id, request.get_json()["content"])), 201


listeners = defaultdict(set)


def send_text(room_id, user_id, content):
    """Store a message and send it to everybody in the room."""
    message = Message(room_id=room_id, user_id=user_id, content=content)
    db.session.add(message)
    db.session.commit()
    answer = message.to_dict()
    db.session.remove()
    for ws in tuple(listeners[room_id]):
        try:
            ws.send(json.dumps(answer, ensure_ascii=False))
        except ConnectionClosed:
            listeners[room_id].discard(ws)
    return answer


@sock.route("/messenger/ws/ws/chat/<name>/")
def chat(ws, name):
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    user = find_user({}, decode_token(token or request.args["token"]))
    room_id, user_id = room_of(name, user).id, user.id
    db.session.remove()
    listeners[room_id].add(ws)
    try:
        while True:
            send_text(room_id, user_id, json.loads(ws.receive())["message"])
    finally:
        listeners[room_id].discard(ws)


if app.config["SQLALCHEMY_DATABASE_URI"].startswith("sqlite"):
    with app.app_context():

        @event.listens_for(db.engine, "connect")
        def write_ahead(connection, _entry):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")


@app.cli.command()
def create_tables():
    db.create_all()
