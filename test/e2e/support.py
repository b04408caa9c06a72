"""What the end-to-end tests share: the built command, processes, small files, an sshd of our own."""
import array
import atexit
import contextlib
import getpass
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = pathlib.Path(os.environ["SBCNN_SOURCE"])
BINARY = os.environ["SBCNN_BINARY"]
MODEL = SOURCE / "models/fashion_mnist_decnn.onnx"
NETWORKS = SOURCE / "test/data/networks"
MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")
IMAGES = MNIST / "t10k-images-idx3-ubyte.gz"
LABELS = MNIST / "t10k-labels-idx1-ubyte.gz"


def temporary_folder() -> pathlib.Path:
    folder = tempfile.mkdtemp(prefix="sbcnn-test-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return pathlib.Path(folder)


def sbcnn(*args: object, timeout: float = 300,
          environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True,
                          timeout=timeout, stdin=subprocess.DEVNULL, env=environment)


def without(*variables: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in variables}


def start(*args: object) -> subprocess.Popen:
    return subprocess.Popen([BINARY, *map(str, args)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
                            start_new_session=True)


def workers_of(port_or_root: str) -> list[int]:
    """Worker processes of the job whose rank 0 has that address."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"worker" in words and port_or_root.encode() in words:
                    found.append(int(entry.name))
    return sorted(found)


def root_told_by(pid: int) -> str | None:
    """Address of rank 0 that a process gives to the workers, or the ssh, that it started. (Workers
    alone do not tell whose they are: other tests run beside this one.)"""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
                told = re.search(rb"--root[\0 ]'?([^\0 ']+)", (entry / "cmdline").read_bytes())
                if int(parent) == pid and told:
                    return told[1].decode()
    return None


def wait_for(condition, seconds: float = 20):
    """The first true value of condition(), or its last false one."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.05)


class Job:
    """A running `sbcnn run` over several ranks, until its workers are seen."""

    def __init__(self, *args: object, workers: int) -> None:
        self.process = start("run", *args)
        wait_for(lambda: self.process.poll() is not None or root_told_by(self.process.pid))
        self.root = root_told_by(self.process.pid)
        if self.process.poll() is not None or self.root is None:
            self.process.kill()
            raise AssertionError(f"ended early, or started nobody: {self.process.communicate()}")
        self.workers = wait_for(lambda: len(found := workers_of(self.root)) == workers and found)
        if not self.workers:
            raise AssertionError(f"{workers} workers expected, {workers_of(self.root)} seen")

    def finish(self, seconds: float = 60) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def orphans(self) -> list[int]:
        """Workers still there a while after the end."""
        wait_for(lambda: not workers_of(self.root), 10)
        return workers_of(self.root)


# --- files -------------------------------------------------------------------------------------

def read_npy(path: pathlib.Path) -> tuple[tuple[int, ...], array.array]:
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", path
    size, = struct.unpack("<H", data[8:10])
    header = eval(data[10:10 + size].decode(), {"__builtins__": {}})
    assert header["descr"] in ("<f4", "|u1") and not header["fortran_order"], header
    values = array.array("f" if header["descr"] == "<f4" else "B", data[10 + size:])
    return header["shape"], values


def write_npy(path: pathlib.Path, shape: tuple[int, ...], values: array.array) -> None:
    header = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
                     + values.tobytes())


def write_pgm(path: pathlib.Path, width: int, height: int, seed: int = 1) -> None:
    pixels = random.Random(seed).randbytes(width * height)
    path.write_bytes(b"P5\n%d %d\n255\n" % (width, height) + pixels)


def write_ppm(path: pathlib.Path, width: int, height: int, seed: int = 1) -> None:
    pixels = random.Random(seed).randbytes(3 * width * height)
    path.write_bytes(b"P6\n%d %d\n255\n" % (width, height) + pixels)


def relative_difference(a: array.array, b: array.array) -> float:
    assert len(a) == len(b)
    return max(abs(x - y) for x, y in zip(a, b)) / max(abs(x) for x in b)


# --- sshd ----------------------------------------------------------------------------------------

class Sshd:
    """An sshd on a free port with throw-away keys; `rsh` is the ssh command that enters it."""

    def __init__(self) -> None:
        self.folder = temporary_folder()
        self.folder.chmod(0o700)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                            self.folder / name], check=True)
        (self.folder / "authorized_keys").write_bytes((self.folder / "user.pub").read_bytes())
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        (self.folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nPidFile none\nStrictModes no\n"
            "UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n")
        (self.folder / "ssh_config").write_text(
            f"Host *\n  IdentityFile {self.folder}/user\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder}/known\n  StrictHostKeyChecking no\n"
            "  LogLevel ERROR\n")
        if os.getuid() == 0:
            pathlib.Path("/run/sshd").mkdir(exist_ok=True)
        self.log = open(self.folder / "log", "w")
        self.process = subprocess.Popen(
            [shutil.which("sshd", path="/usr/sbin:/usr/bin"), "-D", "-e", "-f",
             self.folder / "sshd_config"], stderr=self.log)
        self.user = getpass.getuser()
        self.rsh = f"ssh -F {self.folder}/ssh_config"
        if not wait_for(self.answers):
            raise AssertionError((self.folder / "log").read_text())

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()


def have_sshd() -> bool:
    return shutil.which("sshd", path="/usr/sbin:/usr/bin") is not None


class Test(unittest.TestCase):
    def assert_one_line(self, text: str, *parts: object) -> None:
        lines = text.strip().splitlines()
        self.assertEqual(len(lines), 1, text)
        for part in parts:
            self.assertIn(str(part), lines[0])


def main() -> None:
    """Runs the tests of the calling file; skips are told as tools/count_tests.py wants them."""
    result = unittest.main(argv=sys.argv[:1], exit=False).result
    for test, why in result.skipped:
        print(f"SKIP: {test}: {why}")
    sys.exit(not result.wasSuccessful())
