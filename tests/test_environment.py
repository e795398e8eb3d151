"""What a notebook's code needs, what a file of pins says of it, and what of it is not here."""

import json
import platform

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_codeagent.environment import LOCAL, Lacking, lacking, local_modules, packages_of, requirements


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package of our own making."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def put(name, version="1.0", *, files=(), requires=(), origin=None):
        module = name.replace("-", "_")
        folder = tmp_path / "site" / f"{module}-{version}.dist-info"
        folder.mkdir(parents=True)
        lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {r}" for r in requires)]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        held = files or (f"{module}/__init__.py",)
        (folder / "RECORD").write_text("".join(f"{file},,\n" for file in held))
        for file in held:  # what is not there does not count
            (tmp_path / "site" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "site" / file).write_text("")
        if origin is not None:
            (folder / "direct_url.json").write_text(origin if isinstance(origin, str) else json.dumps(origin))

    return put


def test_environment_names_imported_packages_and_their_versions():
    cells = ["%matplotlib inline\nimport pandas as pd\nfrom os import path", "import nowhere", "%%bash\nls ("]
    found = packages_of(cells)
    assert {"python", "pandas", "numpy", "python-dateutil"} <= set(found) and not {
        "matplotlib",
        "ipython",
        "nowhere",
    } & set(found)
    assert found["python"] == platform.python_version()


def test_what_was_imported_in_fact_counts_and_what_ipython_brings_does_not(install):
    install("quiet-plugin")
    found = packages_of(
        ["print(1)"], ["quiet_plugin.deep", "pygments", "IPython", "traitlets", "json", "nowhere", "a b"]
    )
    assert set(found) == {"python", "quiet-plugin"}
    assert "Pygments" in packages_of(["import pygments"])


def test_remains_of_an_installation_do_no_harm(install, tmp_path):
    install("whole", requires=["broken"])
    for name, content in {"METADATA": b"\xff\xfe", "RECORD": b"\xff", "direct_url.json": b"\xff"}.items():
        folder = tmp_path / "site" / f"broken_{name[0].lower()}-1.0.dist-info"
        folder.mkdir()
        (folder / name).write_bytes(content)
    (tmp_path / "site" / "broken-1.0.dist-info").mkdir()
    assert set(packages_of(["import whole, broken, broken_m"])) == {"python", "whole"}


def test_requirements_of_packages_are_followed_by_their_markers_and_wanted_extras(install):
    install("top", requires=["middle[fast]>=1", "windows-only; sys_platform == 'win32'", "docs-tool; extra == 'docs'"])
    install("middle", requires=["quick; extra == 'fast'", "slow; extra == 'slow'", "top", "not (a requirement"])
    for name in ("windows-only", "docs-tool", "quick", "slow"):
        install(name)
    assert set(packages_of(["import top"])) == {"python", "top", "middle", "quick"}


def test_of_packages_that_share_a_namespace_the_one_that_is_meant_is_named(install):
    install("space-a", files=["space/a/__init__.py"])
    install("space-b", files=["space/b.py"])
    assert set(packages_of(["from space import b"])) == {"python", "space-b"}
    assert set(packages_of(["import space.a.x"], ["space", "space.b"])) == {"python", "space-a", "space-b"}


def test_modules_of_the_folder_are_named_as_such_and_hide_packages(install, tmp_path):
    install("helpers")
    (tmp_path / "helpers.py").write_text("")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    cells = ["import helpers, json", "from parts.one import two"]
    assert packages_of(cells, ["helpers"], tmp_path) == {"python": platform.python_version()}
    assert local_modules(cells, ["helpers", "../x", 3], tmp_path) == ["helpers", "parts"]


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        (
            {"url": "https://key:secret@host/a.git", "vcs_info": {"vcs": "git", "commit_id": "abc12"}},
            "git+https://host/a.git@abc12",
        ),
        ({"url": "https://host/a.whl", "archive_info": {"hash": "sha256=1"}}, "https://host/a.whl"),
        ({"url": "file:///home/me/a", "dir_info": {"editable": True}}, LOCAL),
        ({"url": "file:///home/me/a.whl", "archive_info": {}}, LOCAL),
        ({"url": "https://host/a\nevil==1", "archive_info": {}}, LOCAL),
        ("not json", LOCAL),
        ([], ""),
    ],
)
def test_where_a_package_came_from_is_told_without_keys_and_folders(install, origin, told):
    install("odd-origin", "2.0", origin=origin)
    environment = packages_of(["import odd_origin"])
    assert environment["odd-origin"] == (f"2.0 @ {told}" if told else "2.0")
    text = requirements(environment)
    assert "/home" not in text and "secret" not in text and "\nevil" not in text
    assert {LOCAL: "# odd-origin 2.0 was installed from a folder", "": "odd-origin==2.0"}.get(
        told, f"odd-origin @ {told}"
    ) in text


def test_requirements_are_pins_in_order_with_pythons_version():
    text = requirements({"python": "3.12.1", "b": "2", "A": "1.0", "torch": "2.1+cu121"}, ["helpers"])
    assert text.splitlines()[1:] == [
        "# Python 3.12.1",
        "A==1.0",
        "b==2",
        "# 'cu121' names a build: it may need the index that has it.",
        "torch==2.1+cu121",
        "# helpers is a module of the notebook's folder: send it along.",
    ]


names = st.text(max_size=30) | st.sampled_from(["python", "a-b", "x\n-r /etc/passwd", "--index-url"])
values = st.text(max_size=30) | st.sampled_from(
    ["1.0", "1 @ git+https://h/x@1", "1 @ https://h/ --hash", "1\n2", "1 ; x"]
)


@settings(deadline=None)
@given(st.dictionaries(names, values, max_size=5), st.lists(names, max_size=3))
def test_a_hostile_record_puts_nothing_but_pins_and_comments_into_the_file(environment, modules):
    for line in requirements(environment, modules).splitlines():
        pinned = line.partition(" @ ")[0] if " @ " in line else line.partition("==")[0]
        assert line.startswith("# ") or pinned.replace("-", "").replace("_", "").replace(".", "").isalnum()
        assert " --" not in line and ";" not in line


def test_what_is_recorded_and_not_here_is_named(install):
    install("here", "1.5")
    record = {"environment": {"python": "3.1.2", "here": "1.4", "Gone-Away": "2.0", "mine": "1 @ local", "x\ny": "1"}}
    found = lacking(record)
    assert found.missing == (
        "The package Gone-Away 2.0 is recorded and not installed here; install it: pip install 'Gone-Away==2.0'.",
        "The package mine 1 is recorded and not installed here; "
        "install it from its source, a folder or file of the machine that it was saved on.",
    )
    assert found.other == (
        f"Python was 3.1.2 and is {platform.python_version()} here.",
        "here was 1.4 and is 1.5 here.",
    )
    assert lacking({"environment": packages_of(["import here, pandas"])}) == Lacking()


@pytest.mark.parametrize("record", [None, [], {"environment": []}, {"environment": {1: 2, "a": None, "b": ["1"]}}])
def test_what_is_no_record_lacks_nothing(record):
    assert lacking(record) == Lacking()
