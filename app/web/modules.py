"""The modules of the page as one file, so that browsers ask once and not for each of seventy.

The files stay ES modules. In the joined one each is a function that runs when the first
other module takes it, and returns what it exports:

    "js/view/html.js": () => {
    const { default: htm } = take("htm");
    const html = htm.bind(h);
    return { html };
    },

What that leaves out: cycles, which our modules do not have, exports that change, and
statements that go over several lines. A test finds what is left over.
"""

import posixpath
import re

ENTRY = "js/main.js"
_IMPORT = re.compile(r'^import (.+) from "(.+)";$', re.MULTILINE)
_LATER = re.compile(r'\bimport\("(\..+?)"\)')
_EXPORT = re.compile(r"^export ((?:async )?(?:const|function|class) (\w+))", re.MULTILINE)
_COMMENT = re.compile(r"^ *(?://|/?\*).*\n| +// .*$", re.MULTILINE)


def join(sources: dict[str, str], libraries: list[str]) -> str:
    """Join modules.

    Args:
        sources: The text of each module by its path.
        libraries: The bare names of modules that stay what they are.
    """
    imports = [f'import * as $library{i} from "{name}";' for i, name in enumerate(libraries)]
    taken = [f'"{name}": $library{i}' for i, name in enumerate(libraries)]
    functions = [_function(name, text) for name, text in sources.items()]
    return "\n".join(
        [
            *imports,
            f"const taken = {{ {', '.join(taken)} }};",
            "export const take = (name) => (taken[name] ??= modules[name]());",
            "const modules = {",
            *functions,
            "};",
            f'take("{ENTRY}");',
        ]
    )


def _function(name: str, text: str) -> str:
    def path(target: str) -> str:
        is_ours = target.startswith(".")
        return posixpath.normpath(f"{posixpath.dirname(name)}/{target}") if is_ours else target

    def taking(found: re.Match[str]) -> str:
        what, target = found.groups()
        if what.startswith("{"):
            names = what.replace(" as ", ": ")
        else:
            names = what.removeprefix("* as ") if what.startswith("*") else f"{{ default: {what} }}"
        return f'const {names} = take("{path(target)}");'

    text = _COMMENT.sub("", text)
    text = _IMPORT.sub(taking, text)
    text = _LATER.sub(lambda found: f'(async () => take("{path(found[1])}"))()', text)
    exported = [found[2] for found in _EXPORT.finditer(text)]
    text = _EXPORT.sub(r"\1", text)
    if "\nexport default " in f"\n{text}":
        text = text.replace("export default ", "const $default = ", 1)
        exported.append("default: $default")
    return f'"{name}": () => {{\n{text}return {{ {", ".join(exported)} }};\n}},'
