"""The chat as one would write it with FastAPI: async ORM, pydantic, one commit a message.

A connection manager as in its documentation sends to one socket after the other, and only to
those of its own process. Better than a tutorial: pages and rooms have their indexes, no session is
held for as long as a socket is open, and a crowd that logs in does not take all threads.
"""

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
from anyio import CapacityLimiter, to_thread
from fastapi import (
    Depends,
    FastAPI,
    HTTPException,
    Query,
    Request,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
)
from fastapi.responses import JSONResponse
from fastapi.security import OAuth2PasswordBearer
from pwdlib import PasswordHash
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import Column, ForeignKey, Index, Select, String, Table, Text, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

# The database

url = make_url(os.environ["DATABASE_URL"])
is_sqlite = url.drivername == "sqlite"
engine = create_async_engine(
    url.set(drivername="sqlite+aiosqlite" if is_sqlite else "postgresql+asyncpg"),
    # SQLite lets one write at a time: more connections only wait for each other's locks.
    pool_size=1 if is_sqlite else 10,
    max_overflow=0,
)
# What is answered is read after the commit.
new_session = async_sessionmaker(engine, expire_on_commit=False)

if is_sqlite:

    @event.listens_for(engine.sync_engine, "connect")
    def write_ahead(connection, _entry):
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0, tzinfo=None)


class Base(DeclarativeBase):
    pass


members = Table(
    "members",
    Base.metadata,
    Column("room_id", ForeignKey("rooms.id"), primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True, index=True),
)


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(150), unique=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    bio: Mapped[str] = mapped_column(Text, default="")
    image: Mapped[str] = mapped_column(String(100), default="/media/user_images/default.jpg")


class Post(Base):
    __tablename__ = "posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    title: Mapped[str] = mapped_column(String(200))
    content: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)
    __table_args__ = (Index("posts_of_author", "author_id", "id"),)


class Room(Base):
    __tablename__ = "rooms"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(310), unique=True)
    members: Mapped[list[User]] = relationship(secondary=members, order_by=User.id)


class Message(Base):
    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("rooms.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    content: Mapped[str] = mapped_column(Text)
    timestamp: Mapped[datetime] = mapped_column(default=now)
    __table_args__ = (Index("messages_of_room", "room_id", "id"),)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]

# What is asked and answered

# The database keeps UTC without saying so.
Time = Annotated[datetime, AfterValidator(lambda time: time.replace(tzinfo=UTC))]


class Row(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Credentials(BaseModel):
    username: str
    password: str


class UserIn(Credentials):
    email: str


class UserOut(Row):
    id: int
    username: str
    email: str


class Tokens(BaseModel):
    refresh: str
    access: str


class PostIn(BaseModel):
    title: str
    content: str


class PostOut(Row):
    id: int
    title: str
    content: str
    created_at: Time


class ProfileOut(Row):
    image: str
    bio: str


class UserWithPosts(UserOut):
    profile: ProfileOut
    posts: list[PostOut]


class RoomIn(BaseModel):
    recipient: str


class RoomOut(BaseModel):
    id: int
    name: str
    members: list[int]
    display_name: str


class MessageIn(BaseModel):
    content: str


class MessageOut(Row):
    id: int
    user: str
    content: str
    timestamp: Time


class Page(BaseModel):
    limit: int = Field(100, ge=1, le=1000)
    before: int | None = None

    def of(self, query: Select, identity) -> Select:
        """Return the newest rows of a query, the newest first."""
        if self.before is not None:
            query = query.where(identity < self.before)
        return query.order_by(identity.desc()).limit(self.limit)


PageDep = Annotated[Page, Query()]

# Who it is

SECRET_KEY = os.environ["JWT_SECRET_KEY"]
ALGORITHM = "HS256"
password_hash = PasswordHash.recommended()
# Passwords are hashed off the loop, and a few at a time: each takes 64 MiB and all of a core.
hashing = CapacityLimiter(2)
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="accounts/api/token/")


def create_token(user: User, kind: str, lifetime: timedelta) -> str:
    claims = {"sub": str(user.id), "type": kind, "exp": datetime.now(UTC) + lifetime}
    return jwt.encode(claims, SECRET_KEY, ALGORITHM)


async def find_user(session: AsyncSession, token: str) -> User | None:
    try:
        claims = jwt.decode(token, SECRET_KEY, [ALGORITHM])
    except jwt.InvalidTokenError:
        return None
    return await session.get(User, int(claims["sub"])) if claims["type"] == "access" else None


async def get_current_user(
    session: SessionDep, token: Annotated[str, Depends(oauth2_scheme)]
) -> User:
    user = await find_user(session, token)
    if user is None:
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
    return user


CurrentUser = Annotated[User, Depends(get_current_user)]


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.exception_handler(IntegrityError)
async def show_conflict(_request: Request, _error: IntegrityError) -> JSONResponse:
    return JSONResponse({"detail": "Conflict"}, 409)


@app.get("/readyz")
async def readyz() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/accounts/api/users/", status_code=201, response_model=UserOut)
async def create_user(body: UserIn, session: SessionDep):
    hashed = await to_thread.run_sync(password_hash.hash, body.password, limiter=hashing)
    user = User(username=body.username, email=body.email, password_hash=hashed)
    session.add(user)
    await session.commit()
    return user


@app.post("/accounts/api/token/")
async def log_in(body: Credentials, session: SessionDep) -> Tokens:
    user = await session.scalar(select(User).where(User.username == body.username))
    await session.close()  # its connection is for others while this one hashes
    if user is None or not await to_thread.run_sync(
        password_hash.verify, body.password, user.password_hash, limiter=hashing
    ):
        raise HTTPException(401)
    return Tokens(
        refresh=create_token(user, "refresh", timedelta(days=30)),
        access=create_token(user, "access", timedelta(days=1)),
    )


@app.get("/profiles/api/profile/", response_model=UserWithPosts)
async def show_profile(user: CurrentUser, session: SessionDep):
    query = Page().of(select(Post).where(Post.author_id == user.id), Post.id)
    posts = (await session.scalars(query)).all()[::-1]
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "profile": user,
        "posts": posts,
    }


@app.get("/profiles/api/posts/", response_model=list[PostOut])
async def list_posts(_user: CurrentUser, session: SessionDep, page: PageDep):
    return (await session.scalars(page.of(select(Post), Post.id))).all()[::-1]


@app.post("/profiles/api/posts/", status_code=201, response_model=PostOut)
async def create_post(body: PostIn, user: CurrentUser, session: SessionDep):
    post = Post(author_id=user.id, title=body.title, content=body.content)
    session.add(post)
    await session.commit()
    return post


# Chat


def show_room(room: Room, user: User) -> RoomOut:
    return RoomOut(
        id=room.id,
        name=room.name,
        members=[each.id for each in room.members],
        display_name=next(each.username for each in room.members if each.id != user.id),
    )


async def find_room(session: AsyncSession, name: str, user: User) -> int | None:
    """Return the id of a room that somebody is in."""
    return await session.scalar(
        select(Room.id).join(members).where(Room.name == name, members.c.user_id == user.id)
    )


async def get_room(name: str, user: CurrentUser, session: SessionDep) -> int:
    room_id = await find_room(session, name, user)
    if room_id is None:
        raise HTTPException(404)
    return room_id


RoomId = Annotated[int, Depends(get_room)]


@app.get("/messenger/api/chatrooms/")
async def list_rooms(user: CurrentUser, session: SessionDep) -> list[RoomOut]:
    rooms = await session.scalars(
        select(Room)
        .join(members)
        .where(members.c.user_id == user.id)
        .options(selectinload(Room.members))
        .order_by(Room.id)
    )
    return [show_room(room, user) for room in rooms]


@app.post("/messenger/api/chatrooms/", status_code=201)
async def open_room(body: RoomIn, user: CurrentUser, session: SessionDep) -> RoomOut:
    other = await session.scalar(select(User).where(User.username == body.recipient))
    if other is None or other is user:
        raise HTTPException(404)
    name = "_".join(sorted((user.username, other.username)))
    room = await session.scalar(
        select(Room).where(Room.name == name).options(selectinload(Room.members))
    )
    if room is None:
        room = Room(name=name, members=sorted((user, other), key=lambda each: each.id))
        session.add(room)
        await session.commit()
    return show_room(room, user)


@app.get("/messenger/api/chatrooms/{name}/messages/", response_model=list[MessageOut])
async def list_messages(room_id: RoomId, session: SessionDep, page: PageDep):
    query = (
        select(Message.id, User.username.label("user"), Message.content, Message.timestamp)
        .join(User, User.id == Message.user_id)
        .where(Message.room_id == room_id)
    )
    return (await session.execute(page.of(query, Message.id))).all()[::-1]


@app.post("/messenger/api/chatrooms/{name}/messages/", status_code=201)
async def create_message(
    body: MessageIn, room_id: RoomId, user: CurrentUser, session: SessionDep
) -> MessageOut:
    return await send_text(session, room_id, user, body.content)


class ConnectionManager:
    """The sockets of each room that this process has."""

    def __init__(self) -> None:
        self.rooms: defaultdict[int, set[WebSocket]] = defaultdict(set)

    async def connect(self, room_id: int, websocket: WebSocket) -> None:
        await websocket.accept()
        self.rooms[room_id].add(websocket)

    def disconnect(self, room_id: int, websocket: WebSocket) -> None:
        self.rooms[room_id].discard(websocket)
        if not self.rooms[room_id]:
            del self.rooms[room_id]

    async def broadcast(self, room_id: int, text: str) -> None:
        for websocket in tuple(self.rooms.get(room_id, ())):
            try:
                await websocket.send_text(text)
            except (WebSocketDisconnect, RuntimeError):
                self.disconnect(room_id, websocket)


manager = ConnectionManager()


async def send_text(session: AsyncSession, room_id: int, user: User, content: str) -> MessageOut:
    """Store a message and send it to everybody in the room."""
    row = Message(room_id=room_id, user_id=user.id, content=content)
    session.add(row)
    await session.commit()
    message = MessageOut(
        id=row.id, user=user.username, content=row.content, timestamp=row.timestamp
    )
    await manager.broadcast(room_id, message.model_dump_json())
    return message


@app.websocket("/messenger/ws/ws/chat/{name}/")
async def chat(websocket: WebSocket, name: str, token: str = "") -> None:
    token = token or websocket.headers.get("authorization", "").removeprefix("Bearer ")
    # No session for as long as the socket is open: a pool has few connections.
    async with new_session() as session:
        user = await find_user(session, token)
        room_id = await find_room(session, name, user) if user else None
    if user is None or room_id is None:
        raise WebSocketException(1008)
    await manager.connect(room_id, websocket)
    try:
        while True:
            content = (await websocket.receive_json())["message"]
            async with new_session() as session:
                await send_text(session, room_id, user, content)
    except WebSocketDisconnect:
        pass
    finally:
        manager.disconnect(room_id, websocket)


async def create_tables() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__" and sys.argv[1:] == ["create-tables"]:
    asyncio.run(create_tables())
