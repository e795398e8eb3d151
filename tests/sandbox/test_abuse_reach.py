"""Reading secrets, leaving the folder, the network, other programs: nothing of the machine is within reach."""
# ruff: noqa: E501 - an attack is read best where its parts stand side by side

import os
import socket
import threading

import pytest

from jupyter_codeagent.sandbox import Sandbox
from tests.sandbox.conftest import small


def out(sandbox, code):
    seen = sandbox.execute(code)
    assert seen.error is None, seen.error
    return seen.text


def refused(sandbox, code):
    """Return the errno or the exception that `code` ends with."""
    return out(
        sandbox,
        "import errno\ntry:\n"
        + "".join(f"    {line}\n" for line in code.splitlines())
        + "except OSError as e:\n    print(errno.errorcode.get(e.errno, e.errno) or type(e).__name__)\n"
        "except Exception as e:\n    print(type(e).__name__)\nelse:\n    print('done')",
    ).strip()


# -- secrets ---------------------------------------------------------------------------------------


def test_the_callers_environment_is_nowhere(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary-1c9f")
    monkeypatch.setenv("SOME_TOKEN", "canary-1c9f")
    with Sandbox(small()) as sandbox:
        text = out(
            sandbox,
            """
import os
print(dict(os.environ))
for p in filter(str.isdigit, os.listdir('/proc')):
    for name in ('environ', 'cmdline', 'status', 'maps', 'mountinfo', 'auxv', 'stat', 'comm', 'task/' + p + '/environ'):
        try: print(p, name, open(f'/proc/{p}/{name}', 'rb').read())
        except OSError: pass
""",
        )
    assert "/proc" not in text.split("\n")[0]
    assert "canary" not in text
    assert "ANTHROPIC" not in text
    assert "SOME_TOKEN" not in text


def test_no_environment_of_another_process_is_worth_reading(victim):
    text = out(
        victim,
        """
for p in ('1', '2'):
    try: print(p, open(f'/proc/{p}/environ', 'rb').read())
    except OSError as e: print(p, e.errno)
""",
    )
    assert text in ("1 b'LC_CTYPE=C.UTF-8\\x00'\n2 13\n", "1 b''\n2 13\n")


def test_only_the_sandboxes_own_processes_are_seen(victim):
    numbers = out(victim, "import os; print(*filter(str.isdigit, os.listdir('/proc')))").split()
    assert len(numbers) <= 5
    assert max(map(int, numbers)) < 1000
    assert str(os.getpid()) not in numbers or os.getpid() < 1000


@pytest.mark.parametrize(
    "name",
    [
        "~/.ssh", "~/.aws", "~/.config", "~/.kube", "~/.docker/config.json", "~/.netrc", "~/.pypirc", "~/.gnupg",
        "~/.ipython/profile_default/history.sqlite", "~/.jupyter", "~/.local/share/jupyter", "~/.bash_history",
    ],
)  # fmt: skip
def test_the_home_folder_has_nothing_of_the_users(victim, name):
    home = os.path.expanduser("~")
    for path in (name, name.replace("~", home)):
        assert refused(victim, f"import os; os.stat(os.path.expanduser({path!r}))") == "ENOENT"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow", "/etc/sudoers", "/etc/ssh", "/etc/machine-id", "/etc/hostname", "/etc/resolv.conf", "/sys",
        "/root/.bashrc", "/var/run/docker.sock", "/run/docker.sock", "/run/user", "/run/dbus", "/var/log", "/boot",
        "/tmp/.X11-unix", "/run/systemd", "/dev/sda", "/dev/vda", "/dev/mem", "/dev/kmsg", "/dev/fuse", "/dev/kvm",
        "/dev/net/tun", "/proc/1/root/etc/shadow", "/proc/self/root/../etc/shadow", "/proc/self/cwd/../etc/shadow",
    ],
)  # fmt: skip
def test_nothing_of_the_system_but_programs_is_there(victim, path):
    assert refused(victim, f"open({path!r}).read()") in ("ENOENT", "EACCES")


@pytest.mark.parametrize("path", ["/proc/kcore", "/proc/kmsg", "/proc/kpageflags", "/proc/1/mem", "/proc/vmallocinfo"])
def test_kernel_files_give_nothing(victim, path):
    assert refused(victim, f"assert not open({path!r}, 'rb').read(64)") in ("EACCES", "EPERM", "EIO", "ENOENT")


def test_passwd_and_hostname_are_made_up(victim):
    assert out(victim, "import socket; print(socket.gethostname())") == "sandbox\n"
    users = out(victim, "import pwd; print([p.pw_name for p in pwd.getpwall()])")
    assert users == "['root', 'sandbox']\n"


def test_proc_root_is_the_same_tree(victim):
    assert out(victim, "import os; print(os.listdir('/proc/self/root') == os.listdir('/'))") == "True\n"


def test_a_device_cannot_be_made(victim):
    assert refused(victim, "import os; os.mknod('/tmp/d', 0o60600, os.makedev(8, 0))") == "EPERM"


def test_handles_do_not_open_files(victim):
    code = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
    code += "r = libc.syscall(304, -100, 0, 0)\nif r < 0: raise OSError(ctypes.get_errno(), '')"
    assert refused(victim, code) == "EPERM"


# -- writing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folder", ["/", "/etc", "/usr", "/usr/lib", "/usr/local/bin", "/bin", "/dev", "/run", "/run/codeagent", "/dev/pts",
               "/proc", "/proc/sys/kernel", "/workspace/..", "/var", "/mnt"],
)  # fmt: skip
def test_writing_outside_the_working_folder_fails(victim, folder):
    assert refused(victim, f"open({folder + '/planted'!r}, 'w')") in ("EROFS", "EACCES", "ENOENT", "EPERM")


def test_the_interpreter_and_its_packages_are_read_only(victim):
    for expression in ("sys.prefix", "sys.base_prefix", "os.path.dirname(IPython.__file__)"):
        assert refused(victim, f"import sys, os, IPython\nopen({expression} + '/planted.pth', 'w')") == "EROFS"


def test_the_worker_itself_cannot_be_changed(victim):
    for code in ("open('/run/codeagent/worker.py', 'a')", "import os; os.unlink('/run/codeagent/worker.py')"):
        assert refused(victim, code) in ("EROFS", "EBUSY", "EACCES")


@pytest.mark.parametrize("path", ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/self/loginuid",
                                  "/proc/sys/vm/drop_caches", "/proc/sys/kernel/hostname", "/proc/self/uid_map"])  # fmt: skip
def test_kernel_settings_cannot_be_written(victim, path):
    assert refused(victim, f"open({path!r}, 'w').write('1')") in ("EACCES", "EROFS", "EPERM", "ENOENT")


def test_setuid_programs_give_no_rights(victim):
    text = out(
        victim, "print([l for l in open('/proc/self/status') if l.startswith(('Cap', 'NoNewPrivs', 'Seccomp:'))])"
    )
    assert text.count("0000000000000000") == 5
    assert "NoNewPrivs:\\t1" in text
    assert "Seccomp:\\t2" in text
    assert refused(victim, "import os; os.setuid(0)") in ("EINVAL", "EPERM")


def test_modes_and_owners_outside_stay(victim):
    assert refused(victim, "import os; os.chmod('/usr/bin/env', 0o4777)") in ("EROFS", "EPERM")
    assert refused(victim, "import os; os.chown('/tmp', 0, 0)") in ("EINVAL", "EPERM", "done")  # 0 is not mapped


# -- the network and other programs ----------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "169.254.169.254", "10.0.0.1", "172.17.0.1", "192.168.0.1", "2130706433"],
)  # fmt: skip
def test_no_address_can_be_reached(victim, address):
    assert refused(victim, f"import socket; socket.create_connection(({address!r}, 80), 2)") in (
        "ENETUNREACH", "ECONNREFUSED", "EHOSTUNREACH",
    )  # fmt: skip


def test_the_callers_loopback_is_another(victim):
    server = socket.create_server(("127.0.0.1", 0))
    came = []
    thread = threading.Thread(target=lambda: came.append(server.accept()), daemon=True)
    thread.start()
    port = server.getsockname()[1]
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "::ffff:127.0.0.1"):
        code = f"import socket; socket.create_connection(({host!r}, {port}), 2)"
        assert refused(victim, code) in ("ECONNREFUSED", "ENETUNREACH", "EADDRNOTAVAIL", "EHOSTUNREACH")
    assert not came
    socket.create_connection(("127.0.0.1", port)).close()
    thread.join(5)
    came[0][0].close()
    server.close()


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_datagrams_go_nowhere(victim, family):
    host = "8.8.8.8" if family == "AF_INET" else "2001:4860:4860::8888"
    code = f"import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM).sendto(b'secret', ({host!r}, 53))"
    assert refused(victim, code) in ("ENETUNREACH", "EADDRNOTAVAIL")


def test_names_are_not_resolved(victim):
    assert refused(victim, "import socket; socket.getaddrinfo('secret.example.com', 80)") in (
        "EPERM",
        "-3",
        "-2",
        "-5",
        "gaierror",
    )


@pytest.mark.parametrize(
    "code",
    [
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)",
        "socket.socket(40, socket.SOCK_STREAM)",
        "socket.socket(38, socket.SOCK_SEQPACKET)",
        "socket.socket(socket.AF_INET, 6)",
    ],
    ids=["icmp", "packet", "netlink", "vsock", "alg", "dccp"],
)
def test_other_kinds_of_sockets_are_refused(victim, code):
    assert refused(victim, f"import socket; {code}") in ("EPERM", "EAFNOSUPPORT", "EACCES")


def test_abstract_sockets_of_other_programs_are_not_there(victim):
    server = socket.socket(socket.AF_UNIX)
    server.bind("\0codeagent-test")
    server.listen()
    code = "import socket; socket.socket(socket.AF_UNIX).connect('\\0codeagent-test')"
    assert refused(victim, code) == "ECONNREFUSED"
    server.close()


def test_two_sandboxes_share_no_folder_and_no_process(victim, own):
    assert own.execute("import os; os.mkdir('/tmp/other'); open('/dev/shm/other', 'w').close()").error is None
    assert (
        out(victim, "import os; print(os.path.exists('/tmp/other'), os.path.exists('/dev/shm/other'))")
        == "False False\n"
    )


def test_the_callers_folders_are_not_shown_by_the_mount_table(victim):
    table = out(victim, "print(open('/proc/self/mountinfo').read())")
    points = [line.split()[4] for line in table.splitlines()[:-1]]
    assert "/home" not in points
    assert os.path.expanduser("~") not in points
    assert all(
        " ro," in line or "tmpfs" in line or "proc" in line or "dev" in line for line in table.splitlines() if line
    )
