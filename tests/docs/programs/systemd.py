"""What systemd does with units, as far as the documentation asks for it.

Stands for PID 1, which a container, a chroot or CI does not have. It reads the shipped unit files:
user, folders, settings, umask and commands. It does not sandbox; `systemd-analyze` judges that.
"""

import os
import shlex
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path

UNITS = Path("/etc/systemd/system")
STATE = Path("/run/units")
STOP_SECONDS = 15
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Settings = dict[str, list[str]]


def read_unit(name: str) -> Settings:
    """Return the lines of a unit by their names."""
    path = UNITS / (name if "." in name else f"{name}.service")
    settings: Settings = defaultdict(list)
    for line in path.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            settings[key].append(value)
    return settings


def read_environment(settings: Settings) -> dict[str, str]:
    """Return the settings that a service is started with; those of this process are not in it."""
    environment = {"PATH": PATH, "LANG": "C.UTF-8"}
    for file in settings["EnvironmentFile"]:
        for line in Path(file).read_text().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.partition("=")
                environment[name] = value
    return environment


def command_of(settings: Settings, line: str, pid: int = 0) -> list[str]:
    """Return a program with its arguments, run as the user of a service."""
    user = settings["User"][0] if settings["User"] else "root"
    return [
        *("setpriv", "--reuid", user, "--regid", user, "--init-groups"),
        *(word.replace("$MAINPID", str(pid)) for word in shlex.split(line)),
    ]


def options_of(settings: Settings) -> dict:
    """Return how a service's programs are started."""
    return {
        "cwd": settings["WorkingDirectory"][0],
        "env": read_environment(settings),
        "umask": int(settings["UMask"][0], 8) if settings["UMask"] else 0o022,
    }


def main_pid(name: str) -> int:
    """Return the process of a service, 0 if it does not run."""
    try:
        pid = int((STATE / name).read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return 0
    return 0 if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text() else pid


def start(name: str) -> None:
    """Start a service, or run it if it is a oneshot."""
    settings = read_unit(name)
    user = settings["User"][0]
    for folder in settings["StateDirectory"]:
        mode = settings["StateDirectoryMode"][0]
        path = f"/var/lib/{folder}"
        subprocess.run(["install", "-d", "-o", user, "-g", user, "-m", mode, path], check=True)
    for line in settings["ExecStartPre"]:
        subprocess.run(command_of(settings, line), **options_of(settings), check=True)
    (line,) = settings["ExecStart"]
    if settings["Type"] == ["oneshot"]:
        subprocess.run(command_of(settings, line), **options_of(settings), check=True)
        return
    STATE.mkdir(exist_ok=True)
    with (STATE / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            command_of(settings, line),
            **options_of(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (STATE / name).write_text(str(process.pid))


def stop(name: str) -> None:
    """End a service."""
    if pid := main_pid(name):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while main_pid(name):
            assert time.monotonic() < deadline, f"{name} does not end"
            time.sleep(0.05)


def reload(name: str) -> None:
    """Run the commands that a unit has for a reload."""
    settings = read_unit(name)
    pid = main_pid(name)
    assert pid, f"{name} does not run"
    for line in settings["ExecReload"]:
        subprocess.run(command_of(settings, line, pid), **options_of(settings), check=True)
