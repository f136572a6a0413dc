"""The private virtual environment that the peers are installed in, and facts about the machine.

Uses the standard library alone: it runs before anything is installed.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
DEFAULT_VENV = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lodestore-peers"
PIP_SECONDS = 900


class Trouble(Exception):
    """What went wrong, in one sentence for the user."""


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout holds the result alone."""
    print(text, file=sys.stderr, flush=True)


def reason(text: str) -> str:
    """The line of a program's output that says what was wrong: the first that is called an error, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines[-1:] or ["it does not say why"])[0].removeprefix("ERROR: ").removeprefix("error: ")


def enter(venv: Path) -> None:
    """Goes on in the virtual environment: makes it if it is missing and runs this program again with its Python."""
    if Path(sys.prefix).resolve() == venv.resolve():
        return
    python = venv / "bin" / "python"
    if not python.exists():
        say(f"making a virtual environment in {venv}")
        made = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise Trouble(f"cannot make a virtual environment in {venv}: {reason(made.stderr + made.stdout)}")
    os.execv(python, [str(python), *sys.argv])


def pins() -> dict[str, set[str]]:
    """The versions that the requirements allow, by package."""
    found: dict[str, set[str]] = {}
    for line in REQUIREMENTS.read_text().splitlines():
        name, separator, version = line.partition(";")[0].strip().partition("==")
        if separator:
            found.setdefault(name, set()).add(version)
    return found


def version(package: str) -> str | None:
    """The version that is installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def install(package: str) -> None:
    """Installs one package at its pinned version, unless it is there."""
    if version(package) in pins()[package]:
        return
    say(f"installing {package}")
    # hnswlib has no wheels; of the others a build from source would take very long, and fail for want of tools.
    wheels = [] if package == "hnswlib" else ["--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wheels,
               "--constraint", str(REQUIREMENTS), package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Trouble(f"pip did not install {package} in {PIP_SECONDS} s") from None
    importlib.invalidate_caches()
    if done.returncode != 0:
        raise Trouble(f"pip cannot install {package}: {reason(done.stderr)}")


def start(command: Callable[[argparse.Namespace], None], args: argparse.Namespace, source: Path) -> None:
    """Runs a command of this directory in the virtual environment, with what reading `source` needs installed."""
    try:
        enter(args.venv)
        install("numpy")
        if source.is_file():
            install("h5py")
        command(args)
    except (Trouble, OSError) as trouble:
        sys.exit(f"error: {trouble}")
    except KeyboardInterrupt:
        sys.exit("error: stopped by Ctrl-C; nothing was written")


def cargo(*what: str) -> str:
    """The release binary that cargo makes of the sources."""
    if not shutil.which("cargo"):
        raise Trouble("cargo, which builds it, is not installed")
    say("building lodestore")
    done = subprocess.run(["cargo", "build", "--release", *what, "--message-format", "json-render-diagnostics"],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Trouble(f"cargo cannot build it: {reason(done.stderr)}")
    built = [json.loads(line).get("executable") for line in done.stdout.splitlines() if line.startswith("{")]
    return next(path for path in reversed(built) if path)


def _field(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), None)


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def machine() -> dict[str, object]:
    """What a reader needs to know to judge the numbers."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()}",
        "transparent_hugepages": _text("/sys/kernel/mm/transparent_hugepage/enabled"),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        # Other work on the machine shows here; the interleaved rounds even it out, but do not undo it.
        "load_before": os.getloadavg()[0],
    }
