"""A container image made of this machine's own Python: no registry, no package to fetch.

The image is the interpreter, the libraries it needs, and the files given; as an OCI-compatible docker archive that
containerd imports.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping
from pathlib import Path

PAUSE = "localhost/pause:1"


def shared_libraries(*programs: Path) -> set[Path]:
    """Everything the dynamic linker would load for them."""
    found: set[Path] = set()
    for program in programs:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        found |= {Path(word) for line in listed.splitlines() for word in line.split() if word.startswith("/")}
    return found


def python_layer(files: Mapping[str, Path]) -> bytes:
    """An uncompressed layer; `files` by their names in the image. /usr/bin/python3 and /bin/sleep work in it."""
    interpreter = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    needed = shared_libraries(interpreter, Path("/bin/sleep"), *standard.glob("lib-dynload/*.so"))
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", dereference=True) as archive:
        for library in sorted(needed):
            archive.add(library, str(library))
        archive.add("/bin/sleep", "/bin/sleep")
        archive.add(interpreter, str(interpreter))
        archive.add(standard, str(standard), filter=_useful)
        link = tarfile.TarInfo("usr/bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, str(interpreter)
        archive.addfile(link)
        for folder in ("tmp", "dev", "proc", "sys", "etc"):
            made = tarfile.TarInfo(folder)
            made.type, made.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(made)
        for name, path in files.items():
            archive.add(path, name)
    return layer.getvalue()


def _useful(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    unneeded = ("/test/", "/site-packages/", "/__pycache__", "/idlelib/", "/config-", "/ensurepip/", "/tkinter/")
    return None if any(part in f"/{member.name}/" for part in unneeded) else member


def docker_archive(layer: bytes, path: Path, *names: str) -> None:
    """One image under several names; what its pods run, their manifests say, except for the pause image's sleep."""
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Entrypoint": ["/bin/sleep", "2147483647"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    content = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(content).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": list(names), "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        for name, data in (
            (config_name, content),
            (f"{digest}/layer.tar", layer),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
