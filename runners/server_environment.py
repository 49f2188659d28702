"""The server environment of the local runner: Triton's binary and ONNX Runtime in a virtual environment of their own.

Built on first use, in the user's cache, from a hash-locked requirements file. It is apart from ours because
nvidia-pytriton pins numpy<2. It is a real virtual environment, and its `bin` comes first in the server's PATH, because
Triton's Python backend runs an isolated interpreter: that ignores PYTHONPATH, and finds its packages by `pyvenv.cfg`
only. A directory given to `pip --target` would leave it with whatever numpy the base interpreter has.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import platformdirs
from filelock import FileLock

from tuner.domain.errors import InfrastructureError, UsageError

SUPPORTED = ((3, 11), (3, 12))
BUILD_TIMEOUT_S = 900.0
LAST_LINES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEnvironment:
    """Where the server's programs are. `library_path` is what LD_LIBRARY_PATH must hold."""

    python: Path
    triton: Path
    backends: Path
    library_path: str
    versions: tuple[tuple[str, str], ...]

    def variables(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The process environment for this server: paths, and one thread for each library that spawns its own."""
        path = os.pathsep.join([str(self.python.parent), inherited.get("PATH", os.defpath)])
        kept = {name: inherited[name] for name in ("HOME", "LANG", "LC_ALL", "TZ") if name in inherited}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        return {**kept, **threads, "PATH": path, "LD_LIBRARY_PATH": self.library_path}


def default_cache_dir() -> Path:
    """Where server environments are kept."""
    return Path(platformdirs.user_cache_dir("servetune")) / "server-environments"


def server_environment(cache_dir: Path, say: Callable[[str], None]) -> ServerEnvironment:
    """The environment for this Python, built now if need be; `say` hears about each slow step.

    Processes that ask at the same time build it once. Raises UsageError where this machine or Python cannot run it,
    InfrastructureError where the build failed.
    """
    libpython_dir = require_supported_machine()
    place = environment_place(cache_dir)
    if not place.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if not place.exists():
                _build(place, _lock_text(), say)
    return _described(place, libpython_dir)


def environment_place(cache_dir: Path) -> Path:
    """Where the environment for this Python and these requirements is, or will be."""
    key = hashlib.sha256(_lock_text() + _base_python().encode()).hexdigest()[:16]
    return cache_dir / f"{key}-py{_python_version()}"


def _lock_text() -> bytes:
    return resources.files("runners").joinpath("local_server.requirements.lock").read_bytes()


def require_supported_machine() -> Path:
    """The folder of the shared libpython. Raises UsageError."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise UsageError(
            f"the local runner needs Linux on x86-64, and this is {platform.system()} on {platform.machine()}",
            hint="use runner kind simulated, container or kubernetes",
        )
    if sys.version_info[:2] not in SUPPORTED:
        raise UsageError(
            f"the local runner's Triton server runs with Python 3.11 or 3.12, and this is {_python_version()}",
            hint="run servetune with `uv run --python 3.12 ...`",
        )
    name = str(sysconfig.get_config_var("INSTSONAME") or "")
    lib, multiarch = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("MULTIARCH")
    folders = [Path(lib or "/usr/lib"), Path(lib or "/usr/lib") / str(multiarch), Path(sys.base_prefix) / "lib"]
    for folder in folders:
        if ".so" in name and (folder / name).exists():
            return folder
    raise UsageError(
        f"this Python ({sys.base_prefix}) has no shared libpython, which Triton's Python backend loads",
        hint=f"install libpython{_python_version()} (Debian), or use a Python built with --enable-shared",
    )


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _base_python() -> str:
    """The interpreter behind ours: its path and full version, because a virtual environment is tied to both."""
    return f"{sys.base_prefix} {platform.python_version()}"


def _build(place: Path, lock_text: bytes, say: Callable[[str], None]) -> None:
    """Build beside the final place and rename, so that what exists is complete."""
    for stale in place.parent.glob(f".building-{place.name}-*"):
        # Its installer may still be running for a moment, so this may fail; the next build tries again.
        shutil.rmtree(stale, ignore_errors=True)
    say(f"building the local Triton server environment, once, in {place} (about 80 MB to download)")
    room = Path(tempfile.mkdtemp(prefix=f".building-{place.name}-", dir=place.parent))
    try:
        requirements = room / "requirements.lock"
        requirements.write_bytes(lock_text)
        _install(room / "venv", requirements, say)
        _lay_out_backends(room)
        room.chmod(0o755)
        room.rename(place)
    except OSError as error:
        raise InfrastructureError(
            f"could not build the server environment: {error}", hint="is the disk full?"
        ) from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
    say("the local Triton server environment is ready")


def _install(venv: Path, requirements: Path, say: Callable[[str], None]) -> None:
    flags = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(requirements)]
    python = str(venv / "bin" / "python")
    uv = os.environ.get("UV") or shutil.which("uv")
    base = str(Path(sys.base_prefix) / "bin" / f"python{_python_version()}")
    if uv:
        steps = [
            [uv, "venv", "--quiet", "--no-project", "--python", base, str(venv)],
            [uv, "pip", "install", "--quiet", "--python", python, *flags],
        ]
    else:
        steps = [[base, "-m", "venv", str(venv)], [python, "-m", "pip", "install", "--quiet", *flags]]
    for step in steps:
        say(f"running: {' '.join(step[:4])} ...")
        _run(step, folder=venv.parent)


def _run(command: list[str], *, folder: Path) -> None:
    """Runs in `folder`: uv would heed the constraints of a project it is started in, our own above all.

    Raises InfrastructureError with what the command said.
    """
    try:
        subprocess.run(  # noqa: S603 - our own words and paths
            command,
            check=True,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
            cwd=folder,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.CalledProcessError as error:
        said = "\n".join((error.stderr or error.stdout or "").splitlines()[-LAST_LINES:])
        raise InfrastructureError(
            f"building the server environment failed at `{' '.join(command[:4])} ...`:\n{said}",
            hint="check the network and the package index, install uv or python3-venv, then run the command again",
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InfrastructureError(
            f"building the server environment failed: {error}", hint="install uv, or python3-venv"
        ) from error


def _site_packages(venv: Path) -> Path:
    return venv / "lib" / f"python{_python_version()}" / "site-packages"


def _lay_out_backends(room: Path) -> None:
    """Triton finds a backend's stub only beside its library, and executable."""
    shipped = _site_packages(room / "venv") / "pytriton" / "tritonserver"
    target = room / "backends" / "python"
    shutil.copytree(shipped / "backends" / "python", target)
    stub = target / "triton_python_backend_stub"
    shutil.copyfile(shipped / "python_backend_stubs" / _python_version() / stub.name, stub)
    stub.chmod(0o755)


def _described(place: Path, libpython_dir: Path) -> ServerEnvironment:
    site = _site_packages(place / "venv")
    found = {d.name: d.version for d in importlib.metadata.distributions(path=[str(site)])}
    return ServerEnvironment(
        python=place / "venv" / "bin" / "python",
        triton=site / "pytriton" / "tritonserver" / "bin" / "tritonserver",
        backends=place / "backends",
        # Always with libpython's own folder: else the system's libpython meets another version's standard library.
        library_path=f"{site / 'nvidia_pytriton.libs'}{os.pathsep}{libpython_dir}",
        versions=tuple((name, found[name]) for name in ("nvidia-pytriton", "onnxruntime", "numpy")),
    )
