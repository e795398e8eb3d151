"""The kernel's own interface: what the filter refuses, and that no state can harm another."""

import platform
import re

import pytest

from jupyter_codeagent.sandbox import seccomp
from tests.sandbox.tree import trees

CALLS = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    got = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in arguments))
    return errno.errorcode[ctypes.get_errno()] if got == -1 else 'done'
"""

# what a call is for, its number on x86_64 and in the generic table, and arguments that would do something
REFUSED = {
    "ptrace": (101, 117, (16, 2, 0, 0)),
    "process_vm_readv": (310, 270, (2, 0, 0, 0, 0, 0)),
    "process_vm_writev": (311, 271, (2, 0, 0, 0, 0, 0)),
    "process_madvise": (440, 440, (0, 0, 0, 0, 0)),
    "process_mrelease": (448, 448, (0, 0)),
    "kcmp": (312, 272, (1, 2, 0, 0, 0)),
    "pidfd_open": (434, 434, (2, 0)),
    "pidfd_getfd": (438, 438, (0, 0, 0)),
    "pidfd_send_signal": (424, 424, (0, 9, 0, 0)),
    "add_key": (248, 217, (0, 0, 0, 0, 0)),
    "request_key": (249, 218, (0, 0, 0, 0)),
    "keyctl": (250, 219, (0, 0, 0, 0, 0)),
    "io_uring_setup": (425, 425, (8, 0)),
    "io_uring_enter": (426, 426, (0, 0, 0, 0)),
    "io_uring_register": (427, 427, (0, 0, 0, 0)),
    "bpf": (321, 280, (0, 0, 0)),
    "perf_event_open": (298, 241, (0, 0, 0, 0, 0)),
    "userfaultfd": (323, 282, (1,)),
    "mount": (165, 40, (0, 0, 0, 0, 0)),
    "umount2": (166, 39, (0, 0)),
    "pivot_root": (155, 41, (0, 0)),
    "chroot": (161, 51, (0,)),
    "open_tree": (428, 428, (-100, 0, 1)),
    "move_mount": (429, 429, (0, 0, 0, 0, 0)),
    "fsopen": (430, 430, (0, 0)),
    "fsmount": (432, 432, (0, 0, 0)),
    "mount_setattr": (442, 442, (0, 0, 0, 0, 0)),
    "setns": (308, 268, (0, 0)),
    "unshare_user": (272, 97, (0x10000000,)),
    "unshare_nothing": (272, 97, (0,)),
    "open_by_handle_at": (304, 265, (0, 0, 0)),
    "name_to_handle_at": (303, 264, (0, 0, 0, 0, 0)),
    "init_module": (175, 105, (0, 0, 0)),
    "finit_module": (313, 273, (0, 0, 0)),
    "delete_module": (176, 106, (0, 0)),
    "kexec_load": (246, 104, (0, 0, 0, 0)),
    "reboot": (169, 142, (0xFEE1DEAD, 672274793, 0, 0)),
    "swapon": (167, 224, (0, 0)),
    "syslog": (103, 116, (3, 0, 0)),
    "settimeofday": (164, 170, (0, 0)),
    "clock_settime": (227, 112, (0, 0)),
    "adjtimex": (159, 171, (0,)),
    "sethostname": (170, 161, (0, 0)),
    "personality_no_randomize": (135, 92, (0x0040000,)),
    "quotactl": (179, 60, (0, 0, 0, 0)),
    "acct": (163, 89, (0,)),
    "fanotify_init": (300, 262, (0, 0)),
    "mbind": (237, 235, (0, 0, 0, 0, 0, 0)),
    "set_mempolicy": (238, 237, (0, 0, 0)),
    "migrate_pages": (256, 238, (2, 0, 0, 0)),
    "move_pages": (279, 239, (2, 0, 0, 0, 0, 0)),
    "vmsplice": (278, 75, (0, 0, 0, 0)),
    "memfd_create": (319, 279, (0, 0)),
    "memfd_secret": (447, 447, (0,)),
    "shmget": (29, 194, (0, 4096, 0o1600)),
    "semget": (64, 190, (0, 1, 0o1600)),
    "msgget": (68, 186, (0, 0o1600)),
    "mq_open": (240, 180, (0, 0o100, 0o600, 0)),
    "clone_newuser": (56, 220, (0x10000011, 0, 0, 0, 0)),
    "clone_newnet": (56, 220, (0x40000011, 0, 0, 0, 0)),
    "seccomp_listener": (317, 277, (1, 8, 0)),
    "prctl_set_ptracer": (157, 167, (0x59616D61, -1, 0, 0, 0)),
    "kill_everybody": (62, 129, (-1, 9)),
    "terminal_stuffing": (16, 29, (0, 0x5412, 0)),
    "terminal_stuffing_high_bits": (16, 29, (0, 0x100005412, 0)),
    "terminal_selection": (16, 29, (0, 0x541C, 0)),
    "signal_owner_by_ioctl": (16, 29, (0, 0x8901, 0)),
    "signal_owner_by_siocspgrp": (16, 29, (0, 0x8902, 0)),
    "signal_owner_by_fcntl": (72, 25, (0, 8, 2)),
    "signal_owner_ex_by_fcntl": (72, 25, (0, 15, 0)),
    "signal_choice_by_fcntl": (72, 25, (0, 10, 9)),
    "priority_of_all": (141, 140, (2, 0, 19)),
    "priority_of_the_zygote": (141, 140, (0, 2, 19)),
    "io_priority_of_the_zygote": (251, 30, (1, 2, 3 << 13)),
    "scheduler_of_the_zygote": (144, 119, (2, 5, 0)),
    "processors_of_the_zygote": (203, 122, (2, 8, 0)),
    "limits_of_the_zygote": (302, 261, (2, 0, 0, 0)),
}


def number(name):
    return REFUSED[name][0 if platform.machine() == "x86_64" else 1]


@pytest.mark.parametrize("name", REFUSED)
def test_a_call_that_computing_does_not_need_is_refused(victim, name):
    seen = victim.execute(f"{CALLS}\nprint(call({number(name)}, *{REFUSED[name][2]}))")
    assert seen.text == "EPERM\n"


@pytest.mark.parametrize("number", [435, 463, 467, 500])
def test_calls_that_cannot_be_judged_do_not_exist(victim, number):
    assert victim.execute(f"{CALLS}\nprint(call({number}, 0, 0, 0))").text == "ENOSYS\n"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only this processor has other numbers for the same calls")
def test_the_x32_numbers_do_not_exist(victim):
    assert victim.execute(f"{CALLS}\nprint(call(0x40000000 | 39))").text == "ENOSYS\n"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only this processor has a 32-bit gate")
def test_the_32_bit_gate_ends_the_process(victim):
    code = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex('b814000000cd80c3'))  # mov eax, 20 (getpid); int 0x80; ret
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())
"""
    seen = victim.execute(code)
    assert seen.error is not None
    assert seen.error.ename == "Crashed"


def test_every_refused_number_is_in_the_table():
    """Each call above that is refused outright stands in the tables of both processors."""
    argued = {"clone_newuser", "clone_newnet", "seccomp_listener", "prctl_set_ptracer", "kill_everybody"}
    for name, (amd, arm, _) in REFUSED.items():
        if name in argued or "_of_" in name or "terminal" in name or "signal_" in name:
            continue
        assert amd in seccomp.MACHINES["x86_64"].refused, name
        assert arm in seccomp.MACHINES["aarch64"].refused, name


@pytest.mark.parametrize("machine", list(seccomp.MACHINES))
def test_both_filters_can_be_assembled(machine):
    table = seccomp.MACHINES[machine]
    program = seccomp.base_filter(table)
    assert len(program) % 8 == 0
    assert len(program) // 8 < 256
    assert set(seccomp.SIGNALS) <= set(table.calls)


# -- states and each other -------------------------------------------------------------------------

WAYS = {
    "kill": "os.kill(pid, signum)",
    "killpg": "os.killpg(pid, signum)",
    "tkill": f"must(call({200 if platform.machine() == 'x86_64' else 130}, pid, signum))",
    "tgkill": f"must(call({234 if platform.machine() == 'x86_64' else 131}, pid, pid, signum))",
    "rt_sigqueueinfo": f"must(queue({129 if platform.machine() == 'x86_64' else 138}, pid, signum))",
    "rt_tgsigqueueinfo": f"must(queue({297 if platform.machine() == 'x86_64' else 240}, pid, pid, signum))",
    "kill_in_a_thread": "in_thread(lambda: os.kill(pid, signum))",
    "kill_in_a_fork": "in_fork(lambda: os.kill(pid, signum))",
    "kill_in_a_program": "shell(f'kill -{signum} {pid}')",
    "setpgid": "os.setpgid(pid, 0)",
    "memory": "open(f'/proc/{pid}/mem', 'r+b').close()",
    "open_files": "os.listdir(f'/proc/{pid}/fd')",
    "pidfd_by_folder": f"fd = os.open(f'/proc/{{pid}}', os.O_RDONLY); must(call({424}, fd, signum, 0, 0))",
    "limits": "import resource; resource.prlimit(pid, resource.RLIMIT_CPU, (0, 0))",
    "oom_score": "open(f'/proc/{pid}/oom_score_adj', 'w').write('1000')",
    "processors": "os.sched_setaffinity(pid, {0})",
    "idle": "os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))",
    "nice": "os.setpriority(os.PRIO_PROCESS, pid, 19)",
    "signal_on_input": (
        "import fcntl, socket; a, b = socket.socketpair(); fcntl.fcntl(a, 10, signum); fcntl.fcntl(a, 8, pid);"
        "fcntl.fcntl(a, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK); b.send(b'x')"
    ),
    "timer": (
        "import struct, ctypes; event = struct.pack('qiii', 0, signum, 4, pid) + bytes(44);"
        f"must(call({222 if platform.machine() == 'x86_64' else 107}, 1, address(event), address(bytearray(8))))"
    ),
}  # fmt: skip

TOOLS = (
    CALLS
    + """
import os, subprocess, threading, struct
kept_alive = []
def address(data):
    buffer = ctypes.create_string_buffer(bytes(data), len(data)); kept_alive.append(buffer)
    return ctypes.addressof(buffer)
def must(got):
    if got != 'done': raise OSError(getattr(errno, got), got)
def queue(number, *pids):
    *target, signum = pids
    info = struct.pack('iii', signum, 0, -1) + bytes(116)
    return call(number, *target, signum, address(info))
def in_thread(function):
    failed = []
    def run():
        try: function()
        except OSError as e: failed.append(e)
    t = threading.Thread(target=run); t.start(); t.join()
    if failed: raise failed[0]
def in_fork(function):
    child = os.fork()
    if not child:
        try: function()
        except OSError: os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]: raise OSError(1, 'refused')
def shell(line):
    if subprocess.run(line, shell=True, stderr=subprocess.DEVNULL).returncode: raise OSError(1, 'refused')
done = []
for pid in sorted(map(int, filter(str.isdigit, os.listdir('/proc')))):
    if pid in (1, os.getpid()): continue
    for signum in (9, 15, 2, 19, 11, 34):
        try:
            WAY
            done.append((pid, signum))
        except OSError: pass
print(done)
"""
)


@pytest.mark.parametrize("way", WAYS)
def test_the_zygote_and_checkpoints_are_out_of_reach_of_the_code(victim, way):
    before = trees()
    seen = victim.execute(TOOLS.replace("WAY", WAYS[way]))
    assert seen.error is None, seen.error
    assert seen.text == "[]\n"
    assert set(before[0].all) <= set(trees()[0].all)  # further copies may have been made meanwhile


def test_signals_to_ones_own_processes_still_work(victim):
    code = """
import os, signal, subprocess
child = subprocess.Popen(['sleep', '100'], start_new_session=True)
os.killpg(child.pid, signal.SIGTERM)
print(child.wait())
other = subprocess.Popen(['sleep', '100']); other.terminate(); print(other.wait())
os.nice(1); os.sched_setaffinity(0, os.sched_getaffinity(0))
import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
"""
    seen = victim.execute(code)
    assert (seen.text, seen.error) == ("-15\n-15\n", None)


@pytest.mark.parametrize("signum", range(1, 65))
def test_no_signal_to_the_init_ends_the_sandbox(victim, signum):
    before = trees()
    seen = victim.execute(f"import os\ntry: os.kill(1, {signum})\nexcept OSError: pass\nprint('on')")
    assert seen.text == "on\n"
    assert [t.init for t in trees()] == [t.init for t in before]


def test_code_that_overwrites_the_init_ends_nothing_but_its_own_sandbox(own):
    assert own.execute("kept = 8").error is None
    own.execute("""
for line in open('/proc/1/maps').read().splitlines():
    start, end = (int(x, 16) for x in line.split()[0].split('-'))
    if 'r-xp' in line:
        try:
            with open('/proc/1/mem', 'r+b', 0) as file:
                file.seek(start); file.write(b'\\xcc' * min(end - start, 2**20))
        except OSError: pass
import os
if os.fork() == 0: os._exit(0)
import time; time.sleep(0.5)
""")
    assert own.execute("kept").text == "8\n"


def test_the_zygote_has_one_thread_and_states_wait_in_sessions_of_their_own(victim):
    code = r"""
import os
for p in sorted(map(int, filter(str.isdigit, os.listdir('/proc')))):
    stat = open(f'/proc/{p}/stat').read().rpartition(')')[2].split()
    print(p, stat[17], stat[3] == str(p))  # threads, leads its session
"""
    lines = victim.execute(code).text.splitlines()
    assert len(lines) >= 3
    assert all(re.fullmatch(r"\d+ 1 (True|False)", line) for line in lines[1:])
    assert all(line.endswith("True") for line in lines[2:])


def test_no_channel_of_another_state_is_open_in_the_code(victim):
    code = """
import os
sockets = [os.readlink(f'/proc/self/fd/{fd}') for fd in range(64) if os.path.exists(f'/proc/self/fd/{fd}')]
print(len([s for s in sockets if s.startswith('socket')]))
"""
    # /proc/self/fd is closed to a process that may not be dumped, so the code opens itself first
    code = "import ctypes; ctypes.CDLL(None).prctl(4, 1)\n" + code
    alone = int(victim.execute(code).text)
    assert alone <= 3  # its own channel, and the pair by which asyncio wakes itself
    points = [victim.checkpoint() for _ in range(5)]
    for n in range(5):
        victim.execute(f"x = {n}")
    assert int(victim.execute(code).text) == alone
    for point in points:
        point.drop()
