"""The messaging protocol, as the tests that all kernels share check it."""

import jupyter_kernel_test


class TestProtocol(jupyter_kernel_test.KernelTests):
    """What Jupyter's clients rely on."""

    kernel_name = "codeagent-sandbox"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [{"text": "zi", "matches": {"zip"}}, {"text": "impor", "matches": {"import"}}]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]
    invalid_code_samples = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise"
    code_execute_result = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    ]
    code_display_data = [
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
        {"code": "%matplotlib inline\nimport matplotlib.pyplot as p\np.plot([1, 2]); p.show()", "mime": "image/png"},
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = "import time, IPython.display as d; print(1); time.sleep(0.3); d.clear_output()"

    @classmethod
    def setUpClass(cls):
        """Started by the first test instead, when the kernel can be found."""

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "kc"):
            super().tearDownClass()

    def setUp(self):
        if not hasattr(type(self), "kc"):
            super().setUpClass()
