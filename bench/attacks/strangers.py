"""What somebody without an account can do over HTTP."""

import json
from itertools import count

from bench.attacks.catalogue import Attack
from bench.attacks.kit import (
    FORM,
    JSON,
    MULTIPART,
    Action,
    Scene,
    again_and_again,
    get,
    head,
    new_address,
    part,
    pipelined,
    poured,
    send,
)

VERIFY = "/accounts/api/token/verify/"
TOKEN = "/accounts/api/token/"
USERS = "/accounts/api/users/"
HUGE = "Content-Length: 100000000000"
NOISE = b"x" * 262_144
_numbers = count()

BAD_TEXT = b"a" * 30 + "\ufffd".encode() + b"a" * 30 + b"\xff"
BAD_FORM = (
    b"".join(part(str(number), BAD_TEXT) for number in range(985))
    + part("f", b"a" * 885 * 1024)
    + b"--b--\r\n"
)
MANY_FIELDS = b"%41=&" * 209_000
MANY_KEYS = json.dumps({str(number): 1 for number in range(80_000)}).encode()
DEEP = b"[" * 1_000_000
DEEP_PAIRS = b'{"a":' * 150_000 + b"1" + b"}" * 150_000
SURROGATES = b'{"token": "' + b"\\ud800" * 150_000 + b'"}'
PART_HEADERS = b"--b\r\n" + b"x:y\r\n" * 190_000 + b"\r\nv\r\n--b--\r\n"
BOUNDARIES = b"--b\r\n" * 190_000
CHUNKED = head("POST", VERIFY, None, f"Content-Type: {JSON}", "Transfer-Encoding: chunked")
ONE_BYTE_CHUNKS = b"1\r\n \r\n" * 300_000 + b"0\r\n\r\n"
CHUNK_EXTENSIONS = (b"1;" + b"a" * 200 + b"\r\n \r\n") * 20_000 + b"0\r\n\r\n"


def many_lines(name: str, value: str, lines: int = 97) -> bytes:
    """Return a request whose head has the same header again and again."""
    return get("/nothing", None, *[f"{name}: {value}"] * lines)


def login(username: str = "nobody") -> bytes:
    """Return a login with a wrong password."""
    body = json.dumps({"username": username, "password": "wrong password"}).encode()
    return send("POST", TOKEN, body)


def login_from_a_new_port() -> bytes:
    """Return a login that a balancer says comes from another port of one address."""
    number = next(_numbers)
    body = json.dumps({"username": f"n{number}", "password": "wrong password"}).encode()
    forwarded = f"X-Forwarded-For: 198.51.100.7:{10_000 + number % 50_000}"
    return send("POST", TOKEN, body, JSON, None, forwarded)


def registration(name: str) -> bytes:
    """Return a registration with a name."""
    number = next(_numbers)
    body = {"username": name, "email": f"n{number}@example.com", "password": "a good password 1"}
    return send("POST", USERS, json.dumps(body).encode())


def half_heads(scene: Scene, connections: int, piece: bytes) -> list[Action]:
    """Hold connections whose request never ends."""
    return poured(scene, b"GET / HTTP/1.1\r\nHost: x\r\n", piece, connections, pause=0.5)


ATTACKS = [
    Attack("1 pipelining", "/healthz", lambda it: pipelined(it, get("/healthz"))),
    Attack("1 pipelining", "what is not there", lambda it: pipelined(it, get("/nothing"))),
    Attack("1 pipelining", "verify a token", lambda it: pipelined(it, send("POST", VERIFY, b"{}"))),
    Attack("1 pipelining", "4 connections", lambda it: pipelined(it, get("/readyz"), 4)),
    Attack(
        "2 bad UTF-8",
        "985 parts of 1 MB",
        lambda it: again_and_again(it, send("POST", VERIFY, BAD_FORM, MULTIPART)),
    ),
    Attack(
        "2 bad UTF-8",
        "a form of %FF",
        lambda it: again_and_again(it, send("POST", VERIFY, b"a=" + b"%FF" * 340_000, FORM)),
    ),
    Attack(
        "2 bad UTF-8",
        "JSON of lone surrogates",
        lambda it: again_and_again(it, send("POST", VERIFY, SURROGATES)),
    ),
    Attack(
        "3 unread body",
        "behind a 404",
        lambda it: poured(it, head("POST", "/nothing", None, HUGE), NOISE),
    ),
    Attack(
        "3 unread body",
        "behind a 401",
        lambda it: poured(it, head("POST", "/profiles/api/posts/", None, HUGE), NOISE),
    ),
    Attack(
        "3 unread body",
        "behind a 413",
        lambda it: poured(it, head("POST", VERIFY, None, f"Content-Type: {JSON}", HUGE), NOISE),
    ),
    Attack(
        "3 unread body",
        "of a GET, 4 connections",
        lambda it: poured(it, head("GET", "/healthz", None, HUGE), NOISE, 4),
    ),
    Attack(
        "6 large heads",
        "390,000 languages",
        lambda it: again_and_again(it, many_lines("Accept-Language", "a," * 4080)),
    ),
    Attack(
        "6 large heads",
        "30 kB of languages",
        lambda it: again_and_again(it, many_lines("Accept-Language", "a," * 3700, 4)),
    ),
    Attack(
        "6 large heads",
        "30 kB of cookies",
        lambda it: again_and_again(it, many_lines("Cookie", "a=b;" * 1850, 4)),
    ),
    Attack(
        "6 large heads",
        "30 kB of tags and sub-protocols",
        lambda it: again_and_again(
            it,
            get(
                "/accounts/api/openapi.json",
                None,
                *["If-None-Match: " + '"a",' * 1850] * 3,
                "Sec-WebSocket-Protocol: " + "a," * 3700,
            ),
        ),
    ),
    Attack(
        "6 large heads",
        "8 kB of query",
        lambda it: again_and_again(it, get("/accounts/api/users/?" + "a&" * 4000)),
    ),
    Attack(
        "7 many small things",
        "209,000 fields",
        lambda it: again_and_again(it, send("POST", VERIFY, MANY_FIELDS, FORM)),
    ),
    Attack(
        "7 many small things",
        "chunks of one byte",
        lambda it: again_and_again(it, CHUNKED + ONE_BYTE_CHUNKS),
    ),
    Attack(
        "7 many small things",
        "chunks with extensions",
        lambda it: again_and_again(it, CHUNKED + CHUNK_EXTENSIONS),
    ),
    Attack(
        "7 many small things",
        "JSON of 80,000 keys",
        lambda it: again_and_again(it, send("POST", VERIFY, MANY_KEYS)),
    ),
    Attack(
        "7 many small things",
        "JSON a million deep",
        lambda it: again_and_again(it, send("POST", VERIFY, DEEP)),
    ),
    Attack(
        "7 many small things",
        "objects 150,000 deep",
        lambda it: again_and_again(it, send("POST", VERIFY, DEEP_PAIRS)),
    ),
    Attack(
        "7 many small things",
        "190,000 headers of a part",
        lambda it: again_and_again(it, send("POST", VERIFY, PART_HEADERS, MULTIPART)),
    ),
    Attack(
        "7 many small things",
        "190,000 boundaries",
        lambda it: again_and_again(it, send("POST", VERIFY, BOUNDARIES, MULTIPART)),
    ),
    Attack(
        "7 unfinished bodies",
        "200 of 1 MB",
        lambda it: poured(
            it,
            head("POST", VERIFY, None, f"Content-Type: {JSON}", "Content-Length: 1048576"),
            b"x" * 20_000,
            200,
            pause=0.1,
        ),
    ),
    Attack("7 unfinished bodies", "300 half heads", lambda it: half_heads(it, 300, b"X: y\r\n")),
    Attack(
        "7 unfinished bodies",
        "connections that say nothing",
        lambda it: poured(it, b"", b"", 500, 0.5),
    ),
    Attack(
        "15 addresses",
        "logins from ports",
        lambda it: again_and_again(it, login_from_a_new_port, 16),
        settings={"PROXY_HOPS": "1"},
    ),
    Attack(
        "15 addresses",
        "logins from many addresses",
        lambda it: again_and_again(it, lambda: login(f"n{next(_numbers)}"), 64, new_address),
        beside="login",
    ),
    Attack("15 addresses", "logins from one address", lambda it: again_and_again(it, login(), 32)),
    Attack("16 metrics", "/metrics/", lambda it: again_and_again(it, get("/metrics/"), 8)),
    Attack(
        "16 metrics",
        "with a wrong token",
        lambda it: again_and_again(it, get("/metrics", None, "Authorization: Bearer x"), 8),
    ),
    Attack("16 metrics", "/metrics%2f", lambda it: again_and_again(it, get("/metrics%2f"), 8)),
    Attack(
        "17 names",
        "a letter with 149 marks",
        lambda it: again_and_again(it, lambda: registration("b" + "\u0301" * 149), 8, new_address),
    ),
    Attack(
        "17 names",
        "letters that fold to 18",
        lambda it: again_and_again(it, lambda: registration("\ufdfa" * 8), 8, new_address),
    ),
    Attack(
        "17 names",
        "a name of 100,000 letters",
        lambda it: again_and_again(it, lambda: registration("\ufdfa" * 100_000), 8, new_address),
    ),
    Attack(
        "18 other sites",
        "forms that log in",
        lambda it: again_and_again(
            it,
            send(
                "POST",
                TOKEN,
                b"username=eve0&password=a+good+password+1",
                FORM,
                None,
                "Origin: https://evil.example",
            ),
            8,
        ),
    ),
    Attack(
        "18 other sites",
        "preflights",
        lambda it: again_and_again(
            it,
            head(
                "OPTIONS",
                TOKEN,
                None,
                "Origin: https://evil.example",
                "Access-Control-Request-Method: POST",
                "Access-Control-Request-Headers: " + "x," * 3000,
            ),
            8,
        ),
    ),
    Attack(
        "18 other sites",
        "refresh with 100 cookies",
        lambda it: again_and_again(
            it,
            send(
                "POST",
                "/accounts/api/token/refresh/",
                b"{}",
                JSON,
                None,
                "Cookie: " + "beseda_refresh=a.b.c;" * 300,
            ),
            8,
        ),
    ),
    Attack(
        "21 codes",
        "set-up codes",
        lambda it: again_and_again(
            it,
            lambda: send(
                "POST",
                "/accounts/api/setup/",
                json.dumps(
                    {
                        "code": f"{next(_numbers):032x}",
                        "username": "mallory",
                        "email": "m@example.com",
                        "password": "a good password 1",
                    }
                ).encode(),
            ),
            16,
            new_address,
        ),
    ),
    Attack(
        "21 codes",
        "reset tokens",
        lambda it: again_and_again(
            it,
            lambda: send(
                "POST",
                "/accounts/api/password/reset/confirm/",
                json.dumps(
                    {"token": f"{next(_numbers):032x}", "new_password": "a good 1"}
                ).encode(),
            ),
            16,
            new_address,
        ),
    ),
    Attack(
        "21 codes",
        "invitations",
        lambda it: again_and_again(
            it,
            lambda: send(
                "POST",
                USERS,
                json.dumps(
                    {
                        "invitation": f"{next(_numbers):032x}",
                        "username": f"m{next(_numbers)}",
                        "email": f"m{next(_numbers)}@example.com",
                        "password": "a good password 1",
                    }
                ).encode(),
            ),
            16,
            new_address,
        ),
        settings={"REGISTRATION": "invite"},
    ),
    Attack(
        "22 the page",
        "/ and its files",
        lambda it: again_and_again(it, get("/", None, "Accept-Encoding: br, gzip"), 16),
    ),
    Attack(
        "22 the page",
        "the documents",
        lambda it: again_and_again(it, get("/api/docs/swagger-ui-bundle.js"), 16),
    ),
    Attack(
        "22 the page",
        "openapi.json",
        lambda it: again_and_again(it, get("/api/openapi.json"), 16),
    ),
]
