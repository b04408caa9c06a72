"""tools/emulate: what its boards are, what holds them, and that nothing of them stays behind."""
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import unittest
import unittest.mock

from support import (BINARY, MODEL, SOURCE, Test, have_sshd, main, read_npy, relative_difference,
                     sbcnn, temporary_folder, wait_for, write_pgm)

TOOL = SOURCE / "tools/emulate"
EXAMPLES = os.environ["SBCNN_EXAMPLES"]
NAME = f"sbcnn-test{os.getpid()}"
PROBE = ("ip link add v0 type veth peer name v1 && ip link add b0 type bridge && "
         "tc qdisc add dev v0 root tbf rate 1mbit burst 16384 limit 65536")


def load_tool():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("emulate", str(TOOL))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("emulate", loader))
    sys.modules["emulate"] = module
    loader.exec_module(module)
    return module


def obstacle() -> str:
    """Why no boards can be emulated here."""
    if os.getuid() != 0:
        return "not root"
    for program in ("ip", "tc", "ssh", "ssh-keygen", "unshare"):
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
            return f"no {program}"
    if not have_sshd():
        return "no sshd"
    if subprocess.run(["unshare", "-n", "sh", "-c", PROBE], capture_output=True).returncode != 0:
        return "the kernel lacks namespaces, veth, bridge or tbf"
    return ""


WHY_NOT = obstacle()


def limits_obstacle() -> str:
    groups = load_tool().ControlGroups(NAME)
    if groups.v2:
        return "" if os.access(groups.v2, os.W_OK) else "control groups cannot be written"
    if len(groups.v1) < 2:
        return "no control groups"
    return "" if all(os.access(f, os.W_OK) for f in groups.v1.values()) else "control groups cannot be written"


def emulate(*args: object, name: str = NAME, timeout: float = 120) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, TOOL, "--name", name, *map(str, args)], capture_output=True,
                          text=True, timeout=timeout, stdin=subprocess.DEVNULL)


def left_behind(name: str) -> list[str]:
    """Namespaces, control groups, state, and processes that name the state folder."""
    found = [*pathlib.Path("/run/netns").glob(f"{name}-*"),
             *pathlib.Path("/run/sbcnn-emulate").glob(name),
             *pathlib.Path("/sys/fs/cgroup").glob(f"{name}*"),
             *pathlib.Path("/sys/fs/cgroup").glob(f"*/{name}*")]
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"/run/sbcnn-emulate/{name}/".encode() in (entry / "cmdline").read_bytes():
                    found.append(entry)
            except OSError:
                pass
    return list(map(str, found))


RECEIVE = """
import socket, sys, time
server = socket.create_server(("", 7000)); server.settimeout(20)
print("ready", flush=True)
peer, _ = server.accept(); peer.settimeout(20)
total, begin = 0, 0
while data := peer.recv(1 << 16):
    begin = begin or time.monotonic()
    total += len(data)
print(total * 8e-6 / (time.monotonic() - begin))
"""
SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000), 20) as s:
    s.sendall(bytes(3_000_000))
"""


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Boards(Test):
    """Four boards; the last test of all looks at what stays."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.no_limits = limits_obstacle()
        limits = [] if cls.no_limits else ["--cpu", 40, "--memory", 64]
        done = emulate("up", "--boards", 4, "--link", 100, *limits)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        cls.what = json.loads(emulate("status", "--json").stdout)

    @classmethod
    def tearDownClass(cls) -> None:
        # A process that nobody waits for is ended, too.
        forgotten = emulate("exec", 1, "--", "sh", "-c", "sleep 1000 >&- 2>&- & echo $!").stdout.strip()
        for _ in range(2):
            done = emulate("down")
            assert done.returncode == 0, done.stderr
        left = wait_for(lambda: not left_behind(NAME), 5) or left_behind(NAME)
        assert left is True, left
        stat = pathlib.Path(f"/proc/{forgotten}/stat")
        assert not stat.exists() or " Z " in stat.read_text()

    def test_a_network_runs_over_ssh_on_four_boards(self) -> None:
        folder = temporary_folder()
        write_pgm(folder / "a.pgm", 28, 28)
        self.assertEqual(sbcnn("run", MODEL, folder / "a.pgm", "--output", folder / "one.npy").returncode, 0)
        done = emulate("exec", 0, "--", BINARY, "run", MODEL, folder / "a.pgm", "--no-tune", "--json",
                       "--hostfile", self.what["hostfile"], "--rsh", self.what["rsh"],
                       "--output", folder / "four.npy", "--connect-timeout", 30)
        self.assertEqual(done.returncode, 0, done.stderr)
        hosts = [b["host"] for b in json.loads(done.stdout)["boards"]]
        self.assertEqual(hosts, [b["address"] for b in self.what["boards"]])
        difference = relative_difference(read_npy(folder / "four.npy")[1], read_npy(folder / "one.npy")[1])
        self.assertLess(difference, 1e-4)

    def test_a_program_runs_over_ipv6(self) -> None:
        hosts = temporary_folder() / "hosts"
        hosts.write_text("".join(f"[fd83::{i + 1}]\n" for i in range(3)))
        done = emulate("exec", 0, "--", BINARY, "launch", "--hostfile", hosts, "--rsh", self.what["rsh"],
                       "--", "sh", "-c", f"echo $SBCNN_ROOT; exec {EXAMPLES}/example_ring 20")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count("[fd83::1]:"), 3)
        self.assertIn("every float is 60", done.stdout)

    def test_links_are_no_faster_than_said_in_either_direction(self) -> None:
        for source, sink in ((0, 1), (1, 0)):
            server = subprocess.Popen([sys.executable, TOOL, "--name", NAME, "exec", str(sink), "--",
                                       sys.executable, "-c", RECEIVE], stdout=subprocess.PIPE, text=True)
            self.assertEqual(server.stdout.readline().strip(), "ready")
            address = self.what["boards"][sink]["address"]
            done = emulate("exec", source, "--", sys.executable, "-c", SEND, address)
            self.assertEqual(done.returncode, 0, done.stderr)
            rate = float(server.communicate(timeout=60)[0])
            self.assertLess(rate, 101)  # the burst lets the first 16 KiB pass at once

    def test_limits_hold(self) -> None:
        if self.no_limits:
            self.skipTest(self.no_limits)
        busy = ("import time; b = time.monotonic(); c = time.process_time()\n"
                "while time.monotonic() < b + 1: pass\nprint(time.process_time() - c)")
        done = emulate("exec", 2, "--", sys.executable, "-c", busy)
        self.assertLess(float(done.stdout), 0.55, "40 % of a core")
        done = emulate("exec", 2, "--", sys.executable, "-c", "bytearray(b'1') * (256 << 20)")
        self.assertEqual(done.returncode, -9, "64 MiB")

    def test_exec_gives_name_and_status(self) -> None:
        done = emulate("exec", 3, "--", "sh", "-c", "hostname; exit 7")
        self.assertEqual((done.returncode, done.stdout), (7, "board3\n"))
        done = emulate("exec", 4, "--", "true")
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, "no board '4'", "0 to 3")

    def test_up_twice_says_what_to_do(self) -> None:
        done = emulate("up")
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, NAME, "up already", "down")
        self.assertEqual(emulate("status").returncode, 0)

    def test_down_from_a_board_is_refused(self) -> None:
        done = emulate("exec", 0, "--", sys.executable, TOOL, "--name", NAME, "down")
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, "from outside")


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Crashes(Test):
    def test_down_removes_what_a_killed_up_left(self) -> None:
        name = NAME + "-killed"
        for milliseconds in (0, 100, 400):
            up = subprocess.Popen([sys.executable, TOOL, "--name", name, "up", "--boards", "2"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.assertTrue(wait_for(lambda: left_behind(name)))
            time.sleep(milliseconds / 1000)
            up.kill()
            up.wait()
            self.assertNotEqual(left_behind(name), [], f"killed after {milliseconds} ms")
            done = emulate("down", name=name)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(wait_for(lambda: not left_behind(name), 5), left_behind(name))

    def test_an_interrupted_up_cleans_up(self) -> None:
        name = NAME + "-ended"
        up = subprocess.Popen([sys.executable, TOOL, "--name", name, "up", "--boards", "2"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.assertTrue(wait_for(lambda: left_behind(name)))
        up.terminate()
        self.assert_one_line(up.communicate(timeout=30)[1], "interrupted")
        self.assertTrue(wait_for(lambda: not left_behind(name), 5), left_behind(name))

    def test_status_of_nothing_says_what_to_do(self) -> None:
        done = emulate("status", name=NAME + "-none")
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, "not up", "up")


class Alone(Test):
    """What needs neither root nor the kernel's help."""

    def test_others_than_root_are_told_so(self) -> None:
        tool = load_tool()
        with (unittest.mock.patch("os.getuid", return_value=1000),
              unittest.mock.patch("sys.argv", ["tools/emulate", "up"]),
              self.assertRaisesRegex(tool.Failure, "needs root.*: sudo tools/emulate up")):
            tool.main()

    @unittest.skipUnless(os.getuid() == 0, "not root")
    def test_peers_want_boards_and_say_so(self) -> None:
        done = subprocess.run([sys.executable, SOURCE / "bench/collectives_peers", "--name", NAME + "-none"],
                              capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, "not up", "up")

    def test_a_wrong_link_is_refused(self) -> None:
        for link in ("fast", "0", "-5", "nan"):
            done = emulate("up", f"--link={link}")
            self.assertEqual(done.returncode, 2)
            self.assertIn("Mbit/s", done.stderr)

    def test_groups_of_version_2_get_their_limits(self) -> None:
        """On plain files in place of the kernel's."""
        root = temporary_folder()
        (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        for folder in (root, root / "b"):
            folder.mkdir(exist_ok=True)
            (folder / "cgroup.subtree_control").write_text("")
        groups = load_tool().ControlGroups("b", f"cgroup2 {root} cgroup2 rw,relatime 0 0\n")
        (entered,) = groups.create("b-board0", 50, 64)
        self.assertEqual(entered, root / "b" / "b-board0")
        self.assertEqual((root / "cgroup.subtree_control").read_text(), "+cpu +memory")
        self.assertEqual((root / "b/cgroup.subtree_control").read_text(), "+cpu +memory")
        self.assertEqual((entered / "cpu.max").read_text(), "50000 100000")
        self.assertEqual((entered / "memory.max").read_text(), str(64 << 20))
        self.assertEqual(groups.find(), [entered, root / "b"])


if __name__ == "__main__":
    main()
