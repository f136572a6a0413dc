#!/usr/bin/env python3
"""Builds the Python package into a private environment and runs all of its tests.

    python3 python/test.py [--extension FILE] [what pytest takes]

Needs cargo, python3 with venv, and for hnswlib, which the tests compare with, a C++ compiler and Python's headers. The environment is target/python-venv; what it needs from PyPI is installed once.
--extension FILE: takes the native module from there, as `cargo test` does, instead of building a wheel.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

NEEDS = ["hnswlib==0.8.0", "maturin>=1.9,<2", "mypy>=1.11", "numpy>=1.26", "pytest>=8"]
HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parent / "target").resolve()
VENV = TARGET / "python-venv"


def run(*command, **more):
    status = subprocess.run([str(word) for word in command], **more).returncode
    if status:
        sys.exit(f"{Path(command[0]).name} failed with {status}")


def environment():
    """The environment's interpreter. Made anew if it was made for something else, or never finished."""
    python, made_for = VENV / "bin" / "python", VENV / "made-for"
    wanted = "\n".join([sys.version, sys.executable, *NEEDS])
    if not made_for.exists() or made_for.read_text() != wanted:
        print(f"installing {', '.join(NEEDS)} into {VENV}", flush=True)
        venv.create(VENV, clear=True, with_pip=True)
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *NEEDS)
        made_for.write_text(wanted)
    return python


def install_wheel(python):
    wheels = TARGET / "python-wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    maturin = [VENV / "bin" / "maturin", "build", "--quiet", "--profile", "dev"]
    run(*maturin, "--manifest-path", HERE / "Cargo.toml", "--interpreter", python, "--out", wheels)
    (wheel,) = wheels.glob("*.whl")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--force-reinstall", "--no-deps", wheel)


def install_extension(extension):
    """As the wheel would be unpacked."""
    place = Path(sysconfig.get_path("platlib", "venv", {"base": str(VENV), "platbase": str(VENV)})) / "lodestore"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(HERE / "lodestore", place, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copyfile(extension, place / "_native.abi3.so")


def main(arguments):
    if sys.version_info < (3, 10):
        sys.exit(f"the package needs Python 3.10 or newer, this is {sys.version.split()[0]}")
    extension = None
    if arguments[:1] == ["--extension"]:
        if len(arguments) < 2:
            sys.exit(__doc__)
        extension, arguments = Path(arguments[1]), arguments[2:]
    TARGET.mkdir(parents=True, exist_ok=True)
    with open(TARGET / "python-venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = environment()
        install_extension(extension) if extension else install_wheel(python)
        # Away from the sources, so that what was installed is imported.
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "MYPY_CACHE_DIR": str(TARGET / "python-mypy")}
        environ.pop("PYTHONPATH", None)
        pytest = [python, "-m", "pytest", "-c", HERE / "pyproject.toml", "--rootdir", HERE]
        run(*pytest, *(arguments or [HERE / "tests"]), cwd=VENV, env=environ)


if __name__ == "__main__":
    main(sys.argv[1:])
