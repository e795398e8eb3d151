"""The sandboxed kernel under the clients that people use: nbclient, and the console."""

import subprocess
import sys

import nbformat
from nbclient import NotebookClient

from tests.sandboxed_kernel.notebook import NAME


def test_nbclient_runs_a_notebook_and_keeps_its_outputs(environment, tmp_path):
    (tmp_path / "sales.csv").write_text("amount\n20\n22\n")
    made = nbformat.v4.new_notebook()
    cells = [
        "import pandas as pd\nsales = pd.read_csv('sales.csv')\nsales",
        "from IPython.display import display\nfor i in range(3):\n    print(i)\ndisplay(sales.amount.sum())",
        "import matplotlib.pyplot as plt\nplt.plot(sales.amount)",
        "sales = None",
        "%undo",
        "len(sales)",
    ]
    made.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    client = NotebookClient(made, timeout=90, kernel_name=NAME, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    nbformat.validate(made)
    table, text, plot, _, undone, length = (cell.outputs for cell in made.cells)
    assert "text/html" in table[0].data and [o.output_type for o in text] == ["stream", "display_data"]
    assert any("image/png" in o.get("data", {}) for o in plot)
    assert undone[0].text == "Undone: cell [4].\n" and length[0].data["text/plain"] == "2"
    assert [cell.execution_count for cell in made.cells] == [1, 2, 3, 4, 5, 6]


def test_the_console_executes_and_ends(environment, tmp_path):
    script = "total = 40\nprint('total is', total + 2)\nexit\n"
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_console", "--kernel", NAME, "--simple-prompt"],
        input=script,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "in a sandbox of jupyter_codeagent" in done.stdout and "total is 42" in done.stdout, done.stderr
    assert "Do you really want to exit" not in done.stdout and "Traceback" not in done.stderr


def test_undo_takes_files_back(own):
    own.run("open('kept.txt', 'w').write('one')")
    own.run("open('kept.txt', 'w').write('two'); open('more.txt', 'w').write('x')")
    own.run("%undo")
    cell = own.run("import os\nprint(open('kept.txt').read(), os.path.exists('more.txt'))")
    assert cell.text == "one False\n"
