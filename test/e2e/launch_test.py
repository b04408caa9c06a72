"""Workers over a real ssh and as local processes: how they start, how they end."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import unittest

from support import (BINARY, IMAGES, MODEL, Job, Sshd, Test, have_sshd, main, read_npy,
                     relative_difference, sbcnn, start, temporary_folder, wait_for, write_pgm)

# Built next to the tests: workers of another version, and with another plan.
MISMATCHED = {name: os.environ[f"SBCNN_{name.upper()}"] for name in ("protocol", "plan", "isa")}


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)  # of ZMTP 3


def ports_of(pid: int) -> list[tuple[str, int]]:
    """Where that process listens."""
    lines = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    places = [line.split()[3].rsplit(":", 1) for line in lines if f"pid={pid}," in line]
    return [("127.0.0.1" if host in ("*", "0.0.0.0", "[::]")
             else host.strip("[]").removeprefix("::ffff:"), int(port)) for host, port in places]


def mechanism(place: tuple[str, int]) -> str:
    """What a socket of ZeroMQ wants from whoever connects: NULL or CURVE."""
    with socket.create_connection(place, 5) as s:
        s.sendall(GREETING[:12])  # up to the version, upon which the other side says the rest
        answer = b""
        while len(answer) < 64 and (more := s.recv(64 - len(answer))):
            answer += more
        s.sendall(GREETING[12:])
    return answer[12:32].rstrip(b"\0").decode()


class Local(Test):
    def test_a_killed_worker_is_named_and_nothing_stays_behind(self) -> None:
        job = Job(MODEL, IMAGES, "-n", 4, workers=3)
        time.sleep(1)  # in the middle of the stream
        begin = time.monotonic()
        os.kill(job.workers[1], signal.SIGKILL)
        status, _, err = job.finish()
        self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual(status, 1)
        self.assertRegex(err, r"sbcnn: rank [123] \(.*\): killed by signal 9")
        self.assertEqual(job.orphans(), [])

    def test_an_interrupt_ends_all_in_order(self) -> None:
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            job = Job(MODEL, IMAGES, "-n", 3, workers=2)
            time.sleep(0.5)
            job.process.send_signal(number)
            self.assertEqual(job.finish()[0], status)
            self.assertEqual(job.orphans(), [])

    def test_no_worker_outlives_a_killed_rank_0(self) -> None:
        for number in (signal.SIGKILL, signal.SIGHUP):
            job = Job(MODEL, IMAGES, "-n", 3, workers=2)
            job.process.send_signal(number)
            job.finish()
            self.assertEqual(job.orphans(), [])

    def test_no_secret_stands_on_a_command_line(self) -> None:
        job = Job(MODEL, IMAGES, "-n", 2, workers=1)
        line = pathlib.Path(f"/proc/{job.workers[0]}/cmdline").read_bytes()
        environment = pathlib.Path(f"/proc/{job.workers[0]}/environ").read_bytes()
        job.process.kill()
        job.finish()
        self.assertEqual(line.split(b"\0")[1:7:2], [b"worker", b"1", b"2"])
        self.assertNotIn(b"token", line + environment)

    def test_a_board_that_lacks_the_instruction_set_is_named_in_one_line(self) -> None:
        hosts = temporary_folder() / "hosts"
        hosts.write_text(f"localhost\nlocalhost slots=2 binary={MISMATCHED['isa']}\n")
        begin = time.monotonic()
        done = sbcnn("run", MODEL, IMAGES, "--hostfile", hosts)
        self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual(done.returncode, 2)
        self.assert_one_line(done.stderr, "rank 1", "lacks the instruction set avx2")

    def test_a_stranger_who_knocks_changes_nothing(self) -> None:
        job = Job(MODEL, IMAGES, "-n", 3, workers=2)
        host, port = job.root.rsplit(":", 1)
        for payload in (b"", b"GET / HTTP/1.0\r\n\r\n", os.urandom(4096)):
            try:
                with socket.create_connection((host, int(port)), 2) as s:
                    s.sendall(payload)
            except OSError:
                pass  # the meeting may be over
        status, out, err = job.finish(120)
        self.assertEqual(status, 0, err)


    def test_on_request_all_that_ranks_of_one_board_say_is_encrypted(self) -> None:
        folder = temporary_folder()
        write_pgm(folder / "a.pgm", 28, 28)
        outputs = []
        for options in ((), ("--encrypt",)):
            done = sbcnn("run", MODEL, folder / "a.pgm", "-n", 3, "--no-tune", "--output",
                         folder / "y.npy", *options)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            outputs.append((folder / "y.npy").read_bytes())
        self.assertEqual(outputs[0], outputs[1])

    def test_a_stranger_to_an_encrypted_job_is_told_once_and_changes_nothing(self) -> None:
        job = Job(MODEL, IMAGES, "-n", 3, "--encrypt", workers=2)
        ports = wait_for(lambda: all(found := [ports_of(w) for w in job.workers]) and found)
        self.assertTrue(ports)
        for place in sum(ports, []) * 3:
            self.assertEqual(mechanism(place), "CURVE")
        line = pathlib.Path(f"/proc/{job.workers[0]}/cmdline").read_bytes()
        environment = pathlib.Path(f"/proc/{job.workers[0]}/environ").read_bytes()
        self.assertNotIn(b"curve:", line + environment)
        status, out, err = job.finish(120)
        self.assertEqual(status, 0, err)
        told = [one for one in err.splitlines() if "was turned away" in one]
        self.assertEqual(len(told), len(sum(ports, [])), err)

    def test_an_interface_that_is_not_there_is_named(self) -> None:
        done = sbcnn("run", MODEL, IMAGES, "-n", 2, "--iface", "eth99")
        self.assertEqual(done.returncode, 2)
        self.assert_one_line(done.stderr, "--iface eth99", "lo (127.0.0.1)")

    def test_an_interface_is_taken_by_all_ranks(self) -> None:
        job = Job(MODEL, IMAGES, "-n", 2, "--iface", "127.0.0.0/8", workers=1)
        self.assertEqual(job.root.split(":")[0], "127.0.0.1")
        places = wait_for(lambda: ports_of(job.workers[0]))
        self.assertEqual({host for host, _ in places}, {"127.0.0.1"})
        job.process.send_signal(signal.SIGINT)
        status, _, err = job.finish()
        self.assertEqual(status, 130, err)


@unittest.skipUnless(have_sshd(), "no sshd")
class Remote(Test):
    @classmethod
    def setUpClass(cls) -> None:
        cls.sshd = Sshd()
        cls.folder = temporary_folder()
        cls.picture = cls.folder / "a.pgm"
        write_pgm(cls.picture, 28, 28)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.sshd.close()

    def hosts(self, *lines: str) -> pathlib.Path:
        path = self.folder / "hosts"
        path.write_text("\n".join(lines) + "\n")
        return path

    def there(self, more: str = "") -> str:
        return f"{self.sshd.user}@127.0.0.1 port={self.sshd.port} {more}"

    def run_over(self, *lines: str, options: tuple[object, ...] = ()) -> subprocess.CompletedProcess:
        return sbcnn("run", MODEL, self.picture, "--hostfile", self.hosts(*lines), "--rsh",
                     self.sshd.rsh, *options, timeout=60)

    def test_ranks_over_ssh_give_one_ranks_answer(self) -> None:
        answers = []
        for name, lines in (("one", ["localhost"]),
                            ("mixed", ["localhost", self.there("slots=2")]),
                            ("weighted", ["localhost weight=0.5", self.there("weight=1.5")]),
                            ("feeder", [self.there("slots=3")])):
            path = self.folder / f"{name}.npy"
            done = self.run_over(*lines, options=("--output", path, "--json"))
            self.assertEqual(done.returncode, 0, done.stderr)
            answers.append(read_npy(path)[1])
            self.assertLess(relative_difference(answers[-1], answers[0]), 1e-4)
        boards = json.loads(done.stdout)["boards"]
        self.assertEqual(len(boards), 4)  # this machine feeds, three ranks compute

    def test_what_goes_to_other_boards_is_encrypted_unless_told_otherwise(self) -> None:
        for options, wanted in (((), "CURVE"), (("--insecure",), "NULL")):
            job = Job(MODEL, IMAGES, "--hostfile", self.hosts("localhost", self.there()), "--rsh",
                      self.sshd.rsh, *options, workers=1)
            ports = wait_for(lambda: ports_of(job.workers[0]))
            self.assertEqual([mechanism(place) for place in ports], [wanted])
            job.process.send_signal(signal.SIGINT)
            status, _, err = job.finish()
            self.assertEqual(status, 130, err)
            self.assertEqual("NOT ENCRYPTED" in err, wanted == "NULL", err)

    def test_a_missing_binary_is_named_with_host_and_line(self) -> None:
        done = self.run_over("localhost", self.there("binary=/no/such/sbcnn"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("/no/such/sbcnn", done.stderr)
        self.assertIn("127.0.0.1", done.stderr)
        self.assertIn("hosts:2", done.stderr)

    def test_a_refused_connection_is_named_with_host_and_line(self) -> None:
        done = self.run_over("localhost", f"{self.sshd.user}@127.0.0.1 port=1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot reach", done.stderr)
        self.assertIn("hosts:2", done.stderr)

    def test_a_user_that_may_not_enter_is_told_so(self) -> None:
        done = self.run_over("localhost", f"nobody-at-all@127.0.0.1 port={self.sshd.port}")
        self.assertEqual(done.returncode, 1)
        self.assertIn("hosts:2", done.stderr)

    def test_another_version_is_refused_by_name(self) -> None:
        done = self.run_over("localhost", self.there(f"binary={MISMATCHED['protocol']}"))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"rank 1.*127\.0\.0\.1.*protocol")

    def test_another_plan_is_refused_by_name(self) -> None:
        done = self.run_over("localhost", self.there(f"binary={MISMATCHED['plan']}"))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"rank 1.*plan.*rank 0")

    def test_a_board_that_says_nothing_is_named_at_the_deadline(self) -> None:
        silent = self.folder / "silent"
        silent.write_text("#!/bin/sh\nexec sleep 60\n")
        silent.chmod(0o755)
        begin = time.monotonic()
        done = self.run_over("localhost", self.there(f"binary={silent}"),
                             options=("--connect-timeout", 2))
        self.assertLess(time.monotonic() - begin, 15)
        self.assertEqual(done.returncode, 1)
        self.assertIn("rank 1", done.stderr)

    def test_a_worker_killed_far_away_is_named(self) -> None:
        job = Job(MODEL, IMAGES, "--hostfile", self.hosts("localhost", self.there()), "--rsh",
                  self.sshd.rsh, workers=1)
        time.sleep(1)
        begin = time.monotonic()
        os.kill(job.workers[0], signal.SIGKILL)
        status, _, err = job.finish()
        self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual(status, 1)
        self.assertRegex(err, r"rank 1.* 127\.0\.0\.1 \(.*hosts:2\)")
        self.assertEqual(job.orphans(), [])

    def test_no_far_worker_outlives_a_killed_rank_0(self) -> None:
        job = Job(MODEL, IMAGES, "--hostfile", self.hosts("localhost", self.there("slots=2")),
                  "--rsh", self.sshd.rsh, workers=2)
        job.process.kill()
        job.finish()
        self.assertEqual(job.orphans(), [])


if __name__ == "__main__":
    main()
