"""The modules of the page, joined into one file."""

import re

from app.web.assets import FOLDER, Assets
from app.web.modules import join

STATEMENT = re.compile(
    r"^(?:import|export)\b(?! \* as \$library\d| const take ).*|\bimport\(.*", re.MULTILINE
)


def test_module_becomes_a_function_of_what_it_exports() -> None:
    text = """// What it is.
import htm from "htm";

import * as http from "../net/http.js";
import { one, two as second } from "./some.js";

/** Says it. */
export async function say() {
  return (await import("./later.js")).now; // at last
}
export const LIMIT = 3;
"""

    joined = join({"js/view/it.js": text}, ["htm"])

    assert joined.startswith(
        'import * as $library0 from "htm";\nconst taken = { "htm": $library0 };'
    )
    assert (
        """"js/view/it.js": () => {
const { default: htm } = take("htm");

const http = take("js/net/http.js");
const { one, two: second } = take("js/view/some.js");

async function say() {
  return (await (async () => take("js/view/later.js"))()).now;
}
const LIMIT = 3;
return { say, LIMIT };
},"""
        in joined
    )


def test_default_is_exported() -> None:
    joined = join({"js/i18n/en.js": "export default {\n  send: 1,\n};\n"}, [])

    assert (
        '"js/i18n/en.js": () => {\nconst $default = {\n  send: 1,\n};\nreturn { default: $default };'
        in joined
    )


def test_no_statement_of_our_modules_is_left_over() -> None:
    joined = Assets().files["js/all.js"].content.decode()

    assert STATEMENT.findall(joined) == []


def test_everything_that_is_taken_is_there() -> None:
    joined = Assets().files["js/all.js"].content.decode()
    there = {path.relative_to(FOLDER).as_posix() for path in (FOLDER / "js").rglob("*.js")}
    taken = set(re.findall(r'take\("(js/[^"]+)"\)', joined))

    assert there - taken == {"js/first.js"}
    assert taken <= there
