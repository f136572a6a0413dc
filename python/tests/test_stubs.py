"""The types that the package declares."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import lodestore
from lodestore import _native

PACKAGE = Path(lodestore.__file__).parent


def mypy(*arguments, cwd):
    return subprocess.run([sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True)


def test_the_stubs_are_those_of_the_module(tmp_path):
    done = mypy("mypy.stubtest", "lodestore", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_is_typed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import lodestore\n"
        "import numpy as np\n"
        "with lodestore.open('x', durability=0.5) as store:\n"
        "    docs = store.collection('docs', dim=3, metric='cosine')\n"
        "    docs.put_many(np.arange(3), np.eye(3), [b'a', b'b', b'c'])\n"
        "    distance: float = docs.search([1, 0, 0])[0].distance\n"
        "    record = docs.get(1)\n"
        "    assert record is not None\n"
        "    payload: bytes = record.payload\n"
        # An ignored error that is none would be one.
        "lodestore.open('x', durability='fast')  # type: ignore[arg-type]\n"
    )
    for what in (["-p", "lodestore"], [str(program)]):
        done = mypy("mypy", "--strict", *what, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    assert (PACKAGE / "py.typed").exists()


def test_everything_says_what_it_is_for():
    for name in lodestore.__all__:
        public = getattr(lodestore, name)
        assert inspect.getdoc(public), name
        if public in (_native.Store, _native.Collection, _native.Batch, _native.Stream):
            for member in vars(public):
                assert member.startswith("_") or inspect.getdoc(getattr(public, member)), f"{name}.{member}"


def test_the_examples_run(tmp_path, monkeypatch):
    """Of the package's documentation and of the README."""
    monkeypatch.chdir(tmp_path)
    blocks = lodestore.__doc__.split("\n\n")
    lines = [line for block in blocks for line in block.split("\n") if block.startswith("    ")]
    program = inspect.cleandoc("\n" + "\n".join(lines))
    ast.parse(program)
    exec(program, {})
    readme = Path(__file__).parents[1] / "README.md"
    for block in readme.read_text().split("```python\n")[1:]:
        exec(block.split("```")[0], {})
