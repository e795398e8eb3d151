"""Files and seeds that the text of code mentions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_codeagent.mentioned import files_read, names_of_modules, seeds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with files."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "data" / "deep").mkdir(parents=True)
    names = ["a.csv", "b.csv", "out.csv", "data/x.csv", "data/y.csv", "data/deep/z.csv", ".env", "id_rsa", "run.py"]
    for name in names:
        (folder / name).write_text("x\n")
    (folder / "link").symlink_to("/etc/passwd")
    return folder


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("df = pd.read_csv('a.csv'); other = open(file='b.csv')", ["a.csv", "b.csv"]),
        ("NAME = './a.csv'\nopen('b.csv', 'rb')", ["a.csv", "b.csv"]),
        ("%time x = 1\npd.read_csv('a.csv')\n!cat b.csv", ["a.csv"]),
        ("Path('data') / 'x.csv'; os.path.join('data', 'deep', 'z.csv')", ["data/x.csv", "data/deep/z.csv"]),
        ("glob.glob('data/*.csv'); list(Path('data').rglob('z.*'))", ["data/x.csv", "data/y.csv", "data/deep/z.csv"]),
        ("glob('?.csv'); glob('[ab].csv'); glob('**/z.csv')", ["a.csv", "b.csv", "data/deep/z.csv"]),
        ("glob('[b-a].csv'); glob('**.['); glob('*/*.csv')", ["data/x.csv", "data/y.csv"]),
        ("print('*' * 10); glob('*')", []),
        ("df.to_csv('a.csv'); open('b.csv', 'w'); Path('out.csv').write_text('1')", []),
        ("Path('data/x.csv').open('w'); open('a.csv', mode='a')", []),
        ("f'a.csv'; f'{x}b.csv'", []),
        ("open('.env'), open('id_rsa'), open('link'), open('/etc/passwd'), open('../a.csv')", []),
        ("open('data'), open('no')", []),
        ("open('out.csv', 'w').write(open('a.csv').read())", ["a.csv"]),
        ("this is not Python 'a.csv'", []),
        ("%%writefile run.py\nx", []),
    ],
)
def test_files_that_code_names_in_order_to_read_them(folder, code, found):
    assert files_read([code], folder) == found


def test_what_another_cell_writes_is_no_input(folder):
    assert files_read(["pd.read_csv('a.csv').to_csv('out.csv')", "pd.read_csv('out.csv')"], folder) == ["a.csv"]
    assert files_read(["%%writefile run.py\nx", "open('run.py')"], folder) == []


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_looked_up_without_harm(folder, name):
    code = f"open({name!r}); glob({name!r}); Path({name!r}) / {name!r}"
    assert all(not found.startswith(("/", "..")) for found in files_read([code, name], folder))


def test_modules_of_the_folder_are_files(folder):
    (folder / "tools").mkdir(exist_ok=True)
    (folder / "tools" / "__init__.py").write_text("")
    assert list(names_of_modules(["run", "tools"], folder)) == ["run.py", "tools/__init__.py"]


def test_seeds_are_listed():
    code = (
        "import numpy as np\nnp.random.seed(0)\nrng = np.random.default_rng(42)\nbad = np.random.default_rng()\n"
        "train_test_split(x, y, random_state=7)\nKMeans(random_state=None)\nrandom.Random(3)\nrandom.seed()"
    )
    assert seeds([code, "random.seed(1)", "random.seed(1)"]) == [
        "np.random.seed(0)",
        "np.random.default_rng(42)",
        "train_test_split(random_state=7)",
        "random.Random(3)",
        "random.seed(1)",
    ]


def test_code_deeper_than_what_walks_it_is_no_error(folder):
    deep = "x = " + " / ".join(["'a.csv'"] * 700)
    many = "f(seed=" + "+".join(["1"] * 700) + ")\nrandom.seed(2)"
    assert files_read([deep, "open('b.csv')"], folder) == ["b.csv"]
    assert "random.seed(2)" in seeds([deep, many])
