"""The project's own image as its Containerfile describes it, on a root file system made by debootstrap, and Triton.

Layers are kept in the user's cache under names made of their content, and built when absent; that needs the network for
Debian's packages (once) and for wheels that uv's cache does not have.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock

from runners.server_environment import ServerEnvironment, default_cache_dir, server_environment

ROOT = Path(__file__).parents[2]
CACHE = Path.home() / ".cache" / "servetune" / "images"
SUITE = "bookworm"
PACKAGES = ("python3", "libpython3.11", "ca-certificates")
PYTHON = "3.11"
SITE = f"opt/servetune/lib/python{PYTHON}/site-packages"
BUILD = b"1"
"""Raised when a layer of the same content is to be made in another way."""
KEPT_S = 7 * 86_400.0
LOCK = ROOT / "image.requirements.lock"
UNNEEDED = ("var/cache", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
SCRIPT = "#!/opt/servetune/bin/python3\nfrom tuner.cli import main\n\nmain()\n"
TRITON = f"""#!/bin/sh
site=/opt/triton/venv/lib/python{PYTHON}/site-packages
export PATH=/opt/triton/venv/bin:$PATH LD_LIBRARY_PATH=$site/nvidia_pytriton.libs
exec $site/pytriton/tritonserver/bin/tritonserver --backend-directory=/opt/triton/backends "$@"
"""
TRITON_NEEDS = ("numpy", "numpy.libs", "pytriton", "nvidia_pytriton.libs")
"""Of the local runner's server environment; a model of the Python backend needs no ONNX Runtime."""


@dataclass(frozen=True, slots=True)
class Layer:
    """An uncompressed tar and its digest."""

    path: Path
    sha256: str


def missing_builder() -> str:
    """Why no image can be built here; empty: it can."""
    absent = [name for name in ("debootstrap", "uv") if not shutil.which(name)]
    if sys.version_info[:2] != (3, 11):
        absent.append("Python 3.11, which Debian 12 has,")
    if not _mirror():
        absent.append("debian.sources in /etc/apt")
    return f"no {', '.join(absent)} to build the project's image with" if absent else ""


def image_layers(model: Path) -> list[Layer]:
    """Debian, the locked wheels, Triton, the project; and a folder that becomes /model. Built now where absent."""
    environment = server_environment(default_cache_dir(), print)
    return [
        _layer("base", f"{SUITE} {PACKAGES} {UNNEEDED}".encode(), _base),
        _layer("wheels", LOCK.read_bytes(), _wheels),
        _layer(
            "triton", f"{environment.triton} {TRITON} {TRITON_NEEDS}".encode(), lambda tar: _triton(tar, environment)
        ),
        _layer("project", _sources(), _project),
        _layer("model", _content(model), lambda tar: tar.add(model, "model", filter=_plain)),
    ]


def _layer(name: str, content: bytes, fill: Callable[[tarfile.TarFile], None]) -> Layer:
    """The one of this content. What nobody made or used for a week goes."""
    path = CACHE / f"{name}-{hashlib.sha256(BUILD + content).hexdigest()[:16]}.tar"
    digest = path.with_suffix(".sha256")
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f"{name}.lock"):
        for old in CACHE.glob(f"{name}-*"):
            if old.stem != path.stem and time.time() - old.stat().st_mtime > KEPT_S:
                old.unlink()
        if not digest.exists():
            unfinished = path.with_suffix(".unfinished")
            with tarfile.open(unfinished, "w") as archive:
                fill(archive)
            unfinished.replace(path)
            with path.open("rb") as whole:
                digest.write_text(hashlib.file_digest(whole, "sha256").hexdigest())
    for used in (path, digest):
        used.touch()
    return Layer(path, digest.read_text())


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Root's, and readable by everybody: pods run as some user."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode |= 0o555 if member.isdir() or member.mode & 0o100 else 0o444
    return member


def _base(archive: tarfile.TarFile) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        include = f"--include={','.join(PACKAGES)}"
        _run("debootstrap", "--variant=minbase", include, SUITE, str(root), _mirror())
        for name in ("usr", "bin", "sbin", "lib", "lib64", "etc", "var", "tmp", "dev", "proc", "sys", "root", "run"):
            archive.add(root / name, name, filter=_useful)


def _useful(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if member.ischr() or member.isblk() or member.name.startswith(UNNEEDED):
        return None
    return member


def _mirror() -> str:
    """Where this machine has its own packages from; empty: nowhere."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    lines = sources.read_text().splitlines() if sources.exists() else []
    return next((line.split()[1] for line in lines if line.startswith("URIs:")), "")


def _wheels(archive: tarfile.TarFile) -> None:
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        _run("uv", "venv", "--quiet", "--no-project", "--relocatable", "--python", PYTHON, str(venv))
        install = ("uv", "pip", "install", "--quiet", "--python", str(venv / "bin" / "python"), "--require-hashes")
        locked = ("--no-deps", "--only-binary", ":all:", "--compile-bytecode", "--requirement", str(LOCK))
        try:
            _run(*install, "--offline", *locked)
        except subprocess.CalledProcessError:
            _run(*install, *locked)
        _as_debians(venv)
        archive.add(venv, "opt/servetune", filter=_untested)


def _as_debians(venv: Path) -> None:
    """The environment as if Debian's interpreter had made it."""
    (venv / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}\n")
    for name in ("python", "python3", f"python{PYTHON}"):
        link = venv / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"/usr/bin/python{PYTHON}")


def _untested(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if member.isdir() and member.name.endswith("/tests") else _plain(member)


def _triton(archive: tarfile.TarFile, environment: ServerEnvironment) -> None:
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        (venv / "bin").mkdir(parents=True)
        _as_debians(venv)
        archive.add(venv, "opt/triton/venv", filter=_plain)
        site = environment.python.parents[1] / "lib" / f"python{PYTHON}" / "site-packages"
        for name in TRITON_NEEDS:
            archive.add(site / name, f"opt/triton/venv/lib/python{PYTHON}/site-packages/{name}", filter=_untested)
        archive.add(environment.backends, "opt/triton/backends", filter=_plain)
    _add_text(archive, "usr/local/bin/tritonserver", TRITON)


def _sources() -> bytes:
    folders = [path for name in ("tuner", "load_profiles", "runners", "reports") for path in [ROOT / name]]
    return b"".join(map(_content, folders)) + (ROOT / "pyproject.toml").read_bytes()


def _content(folder: Path) -> bytes:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return found.digest()


def _project(archive: tarfile.TarFile) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _run("uv", "build", "--quiet", "--wheel", "--out-dir", folder, str(ROOT))
        site = Path(folder) / "site"
        for wheel in Path(folder).glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(site)  # noqa: S202 - our own, just built
        _run(sys.executable, "-m", "compileall", "-q", "-s", str(site), "-p", f"/{SITE}", str(site))
        archive.add(site, SITE, filter=_plain)
    _add_text(archive, "opt/servetune/bin/servetune", SCRIPT)


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    """A program."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(text.encode()), 0o755
    archive.addfile(member, io.BytesIO(text.encode()))


def _run(*argv: str) -> None:
    # uv would take the environment of the tests for the one it is asked about.
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run(["nice", *argv], check=True, capture_output=True, env=kept, cwd="/")


def write_archive(stream: IO[bytes], layers: list[Layer], name: str) -> None:
    """One image as a docker archive, for `ctr images import -`; what it says of itself is the Containerfile's."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": containerfile_config(),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.sha256}" for layer in layers]},
    }
    content = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(content).hexdigest()}.json"
    places = [f"{layer.sha256}/layer.tar" for layer in layers]
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": places}]).encode()
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        for inside, data in ((config_name, content), ("manifest.json", manifest)):
            member = tarfile.TarInfo(inside)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for layer, inside in zip(layers, places, strict=True):
            member = tarfile.TarInfo(inside)
            member.size = layer.path.stat().st_size
            with layer.path.open("rb") as whole:
                archive.addfile(member, whole)


def containerfile_config() -> dict[str, object]:
    """What the Containerfile's last stage says of the image."""
    last = (ROOT / "Containerfile").read_text().rpartition("\nFROM ")[2]
    said = dict(line.split(maxsplit=1) for line in last.splitlines()[1:] if line and not line.startswith("#"))
    return {
        "Env": said["ENV"].split(),
        "User": said["USER"],
        "WorkingDir": said["WORKDIR"],
        "Entrypoint": json.loads(said["ENTRYPOINT"]),
    }


def imported(socket: Path, layers: list[Layer]) -> str:
    """The image in a containerd, by the digest that pods name it by."""
    ctr = ("ctr", "--address", str(socket), "--namespace", "k8s.io", "images")
    name = "localhost/servetune:test"
    with subprocess.Popen(["nice", *ctr, "import", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin
        write_archive(process.stdin, layers, name)
        process.stdin.close()
        assert process.wait() == 0
    listed = subprocess.run([*ctr, "list", f"name=={name}"], capture_output=True, text=True, check=True).stdout
    digest = next(word for word in listed.split() if word.startswith("sha256:"))
    by_digest = f"localhost/servetune@{digest}"
    subprocess.run([*ctr, "tag", name, by_digest], check=True, capture_output=True)
    return by_digest
