"""What a password may be, and how it is kept."""

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import VerifyMismatchError

from app.accounts.models import User
from app.accounts.passwords import (
    _NOBODYS_HASH,
    Verdict,
    _common_passwords,
    check_password,
    hash_of_django,
    hash_password,
    strong_password,
)
from app.accounts.usernames import folded
from app.http.fields import RefusedField

pytestmark = pytest.mark.usefixtures("costly_hashes")

RIGHT = Verdict(ok=True, needs_rehash=False)
WRONG = Verdict(ok=False, needs_rehash=False)
OUTDATED = Verdict(ok=True, needs_rehash=True)


@pytest.mark.parametrize(
    "password",
    [
        "yourpassword",
        "x7!kPq2w",
        "x" * 128,
        "  two words  ",
        "пароль и соль",
        "83619275a",
        "👍🎉🚀🐍🌍🎈🎁🎂",  # characters are counted, not bytes or UTF-16 units
        "😀" * 128,
    ],
)
def test_password_is_accepted_and_kept_as_it_is(password: str) -> None:
    assert strong_password(password) == password


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", "at least 8"),
        ("x7!kPq2", "at least 8"),
        ("👍🎉🚀🐍🌍🎈🎁", "at least 8"),
        ("x" * 129, "at most 128"),
        ("83619275", "digits"),
        ("٨٣٦١٩٢٧٥", "digits"),
        ("password", "commonest"),
        ("PassWord1", "commonest"),
        ("ｐａｓｓｗｏｒｄ", "commonest"),
        (" password ", "commonest"),
        ("iloveyou", "commonest"),
        ("Password1!", "commonest"),
        ("admin123", "commonest"),
        ("йцукенгш", "commonest"),  # the keys of qwertyui
    ],
)
def test_password_is_refused(password: str, reason: str) -> None:
    with pytest.raises(RefusedField) as refused:
        strong_password(password)
    assert reason in str(refused.value.sentence)


def test_common_passwords_that_no_other_rule_refuses_are_refused() -> None:
    assert len(_common_passwords()) >= 3000
    for password in _common_passwords():
        assert folded(password) == password, "it would never be found"
        with pytest.raises(RefusedField) as refused:
            strong_password(password)
        assert "commonest" in str(refused.value.sentence)


def test_hash_is_argon2id_of_19_mebibytes_and_two_passes() -> None:
    stored = hash_password("yourpassword")

    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert len(stored) <= User.password_hash.type.length


def test_hash_of_the_same_password_is_another_each_time() -> None:
    assert hash_password("yourpassword") != hash_password("yourpassword")


@pytest.mark.parametrize("password", ["yourpassword", "  two words  ", "пароль и соль", "😀" * 128])
def test_right_password_is_right(password: str) -> None:
    assert check_password(password, hash_password(password)) == RIGHT


@pytest.mark.parametrize(
    "typed", ["Yourpassword", "yourpassword ", " yourpassword", "yourpasswor", "", "\ud800"]
)
def test_other_password_is_wrong(typed: str) -> None:
    assert check_password(typed, hash_password("yourpassword")) == WRONG


@pytest.mark.parametrize("typed", ["yourpassword", "", "\0" * 32])
@pytest.mark.parametrize("stored", [None, ""])
def test_no_password_fits_an_unknown_user(typed: str, stored: str | None) -> None:
    assert check_password(typed, stored) == WRONG


def test_password_of_an_unknown_user_takes_as_long() -> None:
    nobodys = extract_parameters(_NOBODYS_HASH)
    somebodys = extract_parameters(hash_password("yourpassword"))

    work = ("type", "version", "memory_cost", "time_cost", "parallelism", "hash_len")
    assert [getattr(nobodys, what) for what in work] == [getattr(somebodys, what) for what in work]
    with pytest.raises(VerifyMismatchError):  # it was computed, not refused at a glance
        PasswordHasher().verify(_NOBODYS_HASH, "yourpassword")


@pytest.mark.parametrize(
    "stored",
    [
        "yourpassword",
        "пароль",
        "\0",
        "$argon2id$",
        "$argon2id$пароль",
        "$argon2id$v=19$m=19456,t=2,p=1$",
        "$argon2id$v=19$m=19456,t=2,p=1$x$y",
        "$argon2id$v=19$m=8,t=0,p=0$bm9ib2R5J3Mgc2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
        "pbkdf2_sha256$870000$salt$hash",
        "!",
    ],
)
def test_password_is_wrong_if_what_is_stored_is_no_hash(stored: str) -> None:
    assert check_password("yourpassword", stored) == WRONG


@pytest.mark.parametrize(
    "hasher",
    [
        PasswordHasher(time_cost=1, memory_cost=19456, parallelism=1),
        PasswordHasher(time_cost=2, memory_cost=1024, parallelism=1),
        PasswordHasher(time_cost=2, memory_cost=19456, parallelism=2),
        PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1, type=Type.I),
    ],
)
def test_hash_of_other_parameters_is_to_be_replaced_once_the_password_is_known(
    hasher: PasswordHasher,
) -> None:
    stored = hasher.hash("yourpassword")

    assert check_password("yourpassword", stored) == OUTDATED
    assert check_password("another password", stored) == WRONG


# Made by Django 5.2 with `make_password`, and with fewer iterations by its PBKDF2PasswordHasher.
OF_DJANGO = {
    "pbkdf2_sha256$1000000$Qw8XnLkzVb5sRt3mYp7cHd$azfYIIS1XEQWY2EDk0nZ95Ai24DWSMsfDBJe+Niosbg=": "yourpassword",
    "pbkdf2_sha256$1000$a1B2c3D4e5F6g7H8i9J0kL$1QBwBIW3RgygOFInXxEnb11AMwMkPs0i8FfwH1D64JM=": "пароль и соль",
    "argon2$argon2id$v=19$m=102400,t=2,p=8$UXc4WG5Ma3pWYjVzUnQzbVlwN2NIZA$YSHphu18jbtIXda3DD8fGZHOPY/zKZkB1TbY2HwW3fs": "yourpassword",
    "argon2$argon2id$v=19$m=102400,t=2,p=8$YTFCMmMzRDRlNUY2ZzdIOGk5SjBrTA$0X+4iy9nHcneNhBj2/5avW8z5OIXAnID3FHr6gy0VOA": "пароль и соль",
}
SALT_AND_DIGEST = "Qw8XnLkzVb5sRt3mYp7cHd$V7I1rT3cPh3WhnjRg459srz/N1U9bN+Il4/4whcKAUA="


@pytest.mark.slow
@pytest.mark.parametrize(("stored", "password"), OF_DJANGO.items())
def test_password_that_django_has_hashed_is_right_and_to_be_replaced(
    stored: str, password: str
) -> None:
    assert hash_of_django(stored) == stored
    assert len(stored) <= User.password_hash.type.length
    assert check_password(password, stored) == OUTDATED
    assert check_password(password + " ", stored) == WRONG


def test_nobody_has_the_unusable_password_of_django() -> None:
    stored = hash_of_django("!MtITrB0plqZnwbyZ51mb3Zlo2mohxuLjmWDHZcLZ")

    for typed in ("!", "", "MtITrB0plqZnwbyZ51mb3Zlo2mohxuLjmWDHZcLZ"):
        assert check_password(typed, stored) == WRONG


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        ("", "not a hash of Django's"),
        ("yourpassword", "not a hash of Django's"),
        ("bcrypt_sha256$$2b$12$abc", "not a hash of Django's"),
        ("pbkdf2_sha1$1000$salt$aGFzaA==", "not a hash of Django's"),
        ("md5$salt$0123456789abcdef0123456789abcdef", "not a hash of Django's"),
        ("pbkdf2_sha256$", "broken"),
        (f"pbkdf2_sha256$many${SALT_AND_DIGEST}", "broken"),
        (f"pbkdf2_sha256$0${SALT_AND_DIGEST}", "broken"),
        (f"pbkdf2_sha256$-1${SALT_AND_DIGEST}", "broken"),
        ("pbkdf2_sha256$1000$salt$aGFzaA==", "broken"),
        ("pbkdf2_sha256$1000$salt$пароль", "broken"),
        (f"pbkdf2_sha256$1000${SALT_AND_DIGEST}$more", "broken"),
        (f"pbkdf2_sha256$3000001${SALT_AND_DIGEST}", "iterations"),
        (f"pbkdf2_sha256${10**12}${SALT_AND_DIGEST}", "iterations"),
        ("argon2$", "broken"),
        ("argon2$argon2id$v=19$m=102400,t=2,p=8", "broken"),
        ("argon2$argon2id$v=19$m=0,t=2,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "broken"),
        ("argon2$argon2id$v=19$m=-1,t=2,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "broken"),
        ("argon2$argon2id$v=19$m=102400,t=0,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "broken"),
        ("argon2$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "too much"),
        ("argon2$argon2id$v=19$m=1024,t=1025,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "too much"),
        ("argon2$argon2id$v=19$m=102400,t=2,p=17$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "too much"),
    ],
)
def test_hash_that_cannot_be_checked_is_refused_and_is_no_password(
    encoded: str, reason: str
) -> None:
    with pytest.raises(RefusedField) as refused:
        hash_of_django(encoded)

    assert reason in str(refused.value.sentence)
    assert check_password("yourpassword", encoded) == WRONG


@pytest.mark.parametrize(
    "hostile",
    [
        f"pbkdf2_sha256${2**31 - 1}${SALT_AND_DIGEST}",
        "argon2$argon2id$v=19$m=1024,t=4294967295,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=1024,t=4294967295,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
    ],
)
def test_hash_that_would_take_hours_is_not_computed(hostile: str) -> None:
    # However it has got into the table. Were it computed, this would not come to its end.
    assert check_password("yourpassword", hostile) == WRONG
