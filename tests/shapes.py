"""Compares an answer with an example: the same keys, the same types, times where times stand."""

import re
from typing import Any

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


def check_shape(found: Any, example: Any, where: str = "answer") -> None:
    """Check that a JSON value is made like an example of it.

    Args:
        found: What came.
        example: A list in it stands for any number of items like its first one.
        where: What the message calls the place.
    """
    assert type(found) is type(example), f"{where} is {found!r}, not like {example!r}"
    if isinstance(example, dict):
        assert found.keys() == example.keys(), where
        for key in example:
            check_shape(found[key], example[key], f"{where}.{key}")
    elif isinstance(example, list) and example:
        for index, item in enumerate(found):
            check_shape(item, example[0], f"{where}[{index}]")
    elif isinstance(example, str) and TIME.fullmatch(example):
        assert TIME.fullmatch(found), f"{where} is {found!r}, not a time like {example!r}"
