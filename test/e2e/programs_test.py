"""`sbcnn launch`: the example programs, any other program, and how they end."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

from support import (BINARY, Sshd, Test, have_sshd, main, sbcnn, start, temporary_folder, wait_for,
                     without)

EXAMPLES = pathlib.Path(os.environ["SBCNN_EXAMPLES"])
ALL = {"hello": [], "ring": [20], "alltoall": [16], "sweep": [7]}
# Sleeps for a number of seconds that only this process has, and takes no hint that it should end.
STUBBORN = f"{1000 + os.getpid() % 1000}.{time.monotonic_ns() % 1000000}"
SLEEP = ["sh", "-c", f"trap '' TERM; sleep {STUBBORN}; true"]


def example(name: str) -> str:
    return str(EXAMPLES / f"example_{name}")


def sleepers() -> list[str]:
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes().split(b"\0")[:2] == [b"sleep", STUBBORN.encode()]:
                    found.append(entry.name)
            except OSError:
                pass
    return found


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tell(name: str, size: int, out: str) -> str:
    """What is wrong with an example's output."""
    lines = out.strip().splitlines()
    wanted = {"hello": size, "sweep": 8}.get(name, 1)
    if len(lines) != wanted:
        return f"{wanted} lines expected: {out}"
    pattern = {"hello": rf"rank \d.* of {size} says hello",
               "ring": rf"20 laps over {size} ranks: .* every float is {20 * size * (size - 1) // 2}",
               "alltoall": rf"{16 * size} x {16 * size} matrix over {size} ranks .* 0 elements wrong",
               "sweep": rf"7 points over {size} ranks, 3 chaotic"}[name]
    return "" if re.fullmatch(pattern, lines[-1]) else f"unlike {pattern}: {out}"


class Local(Test):
    def test_examples_run_over_any_number_of_ranks(self) -> None:
        for name, arguments in ALL.items():
            for size in (1, 3, 4):
                done = sbcnn("launch", "-n", size, "--", example(name), *arguments, timeout=60)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(tell(name, size, done.stdout), "")
                self.assertEqual(done.stderr, "")

    def test_examples_started_alone_are_worlds_of_one(self) -> None:
        alone = without("SBCNN_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
        for name, arguments in ALL.items():
            done = subprocess.run([example(name), *map(str, arguments)], capture_output=True, text=True,
                                  timeout=60, stdin=subprocess.DEVNULL, env=alone)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(tell(name, 1, done.stdout), "")

    def test_lines_stay_whole_and_streams_apart(self) -> None:
        script = 'for i in $(seq 300); do printf "out $SBCNN_RANK "; echo "$i of 300"; done; printf last >&2'
        done = sbcnn("launch", "-n", 3, "--tag-output", "--", "sh", "-c", script, timeout=60)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(sorted(done.stdout.splitlines()),
                         sorted(f"[{r} localhost] out {r} {i} of 300" for r in range(3)
                                for i in range(1, 301)))
        self.assertEqual(sorted(done.stderr.splitlines()), [f"[{r} localhost] last" for r in range(3)])

    def test_the_first_that_fails_is_named_and_the_others_end(self) -> None:
        for how, status, words in (("exit 5", 5, "exited with status 5"),
                                   ("kill -SEGV $$", 139, "killed by signal 11")):
            begin = time.monotonic()
            script = f"if [ $SBCNN_RANK = 1 ]; then {how}; fi; {SLEEP[2]}"
            done = sbcnn("launch", "-n", 3, "--", "sh", "-c", script, timeout=60)
            self.assertLess(time.monotonic() - begin, 20)
            self.assertEqual(done.returncode, status)
            self.assertIn(f"sbcnn: rank 1 (localhost): {words}", done.stderr)
            self.assertEqual(sleepers(), [])

    def test_a_rank_that_dies_in_the_middle_ends_the_job(self) -> None:
        script = f"test $SBCNN_RANK = 2 && sleep 0.5 && exit 3; exec {example('ring')} 1000000"
        done = sbcnn("launch", "-n", 3, "--", "sh", "-c", script, timeout=100)
        self.assertEqual(done.returncode, 3)
        self.assertIn("rank 2 (localhost): exited with status 3", done.stderr)

    def test_signals_and_sudden_death_leave_nothing_behind(self) -> None:
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
            job = start("launch", "-n", 3, "--", *SLEEP)
            self.assertTrue(wait_for(lambda: len(sleepers()) == 3))
            job.send_signal(number)
            job.communicate(timeout=30)
            self.assertEqual(job.returncode, status)
            self.assertTrue(wait_for(lambda: not sleepers(), 10), sleepers())

    def test_what_a_program_leaves_is_ended_too(self) -> None:
        done = sbcnn("launch", "-n", 2, "--", "sh", "-c", f"sleep {STUBBORN} & exit 0", timeout=30)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sleepers(), [])

    def test_a_program_that_cannot_be_run_is_named(self) -> None:
        done = sbcnn("launch", "--", "/no/such/program", timeout=30)
        self.assertEqual(done.returncode, 2)
        self.assertIn("cannot run '/no/such/program'", done.stderr)

    def test_the_secret_stands_nowhere(self) -> None:
        look = ("import sys, os; secret = sys.stdin.readline().strip(); assert len(secret) >= 32\n"
                "seen = open('/proc/self/environ').read() + open('/proc/self/cmdline').read()\n"
                "above = f'/proc/{os.getppid()}/'\n"
                "seen += open(above + 'environ').read() + open(above + 'cmdline').read()\n"
                "sys.exit(secret in seen)")
        done = sbcnn("launch", "-n", 2, "--", sys.executable, "-c", look, timeout=30)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_ranks_that_others_started_find_each_other(self) -> None:
        """As srun starts them: without any of our own variables but two."""
        secret = temporary_folder() / "secret"
        secret.write_text("nobody guesses this\n")
        environment = {**without("SBCNN_RANK", "OMPI_COMM_WORLD_RANK"), "SLURM_NTASKS": "3",
                       "SBCNN_ROOT": f"127.0.0.1:{free_port()}", "SBCNN_SECRET_FILE": str(secret)}
        ranks = [subprocess.Popen([example("ring"), "20"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, stdin=subprocess.DEVNULL,
                                  env={**environment, "SLURM_PROCID": str(r)}) for r in range(3)]
        outputs = [r.communicate(timeout=60) for r in ranks]
        self.assertEqual([r.returncode for r in ranks], [0, 0, 0], outputs)
        self.assertEqual(tell("ring", 3, outputs[0][0]), "")

    def test_a_job_without_a_secret_says_what_to_set(self) -> None:
        environment = {**without("SBCNN_RANK", "OMPI_COMM_WORLD_RANK", "SBCNN_SECRET_FILE"),
                       "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SBCNN_ROOT": "127.0.0.1:4711"}
        done = subprocess.run([example("ring")], capture_output=True, text=True, timeout=30, env=environment)
        self.assertEqual(done.returncode, 1)
        self.assert_one_line(done.stderr, "SBCNN_SECRET_FILE")

    def test_a_file_with_no_secret_or_a_longer_one_than_may_be_is_named(self) -> None:
        secret = temporary_folder() / "secret"
        environment = {**without("SBCNN_RANK", "OMPI_COMM_WORLD_RANK"), "SLURM_NTASKS": "2",
                       "SLURM_PROCID": "0", "SBCNN_ROOT": "127.0.0.1:4711", "SBCNN_SECRET_FILE": str(secret)}
        for text in (None, "", "\n", "a" * 1025, "a" * 100_000 + "\n"):
            if text is not None:
                secret.write_text(text)
            done = subprocess.run([example("ring")], capture_output=True, text=True, timeout=30, env=environment)
            self.assertEqual(done.returncode, 1)
            self.assert_one_line(done.stderr, f"no secret in '{secret}'")

    @unittest.skipUnless(shutil.which("mpirun"), "no mpirun")
    def test_mpirun_starts_ranks(self) -> None:
        environment = {**without("SBCNN_RANK", "SLURM_PROCID"), "SBCNN_INSECURE": "1",
                       "SBCNN_ROOT": f"127.0.0.1:{free_port()}", "OMPI_ALLOW_RUN_AS_ROOT": "1",
                       "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        done = subprocess.run(["mpirun", "--oversubscribe", "-n", "3", example("ring"), "20"], capture_output=True,
                              text=True, timeout=100, env=environment, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(tell("ring", 3, done.stdout), "")


@unittest.skipUnless(have_sshd(), "no sshd")
class Remote(Test):
    @classmethod
    def setUpClass(cls) -> None:
        cls.sshd = Sshd()
        cls.folder = temporary_folder()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.sshd.close()

    def options(self, *lines: str) -> list[object]:
        path = self.folder / "hosts"
        path.write_text("\n".join(lines) + "\n")
        return ["launch", "--hostfile", path, "--rsh", self.sshd.rsh]

    def there(self, more: str = "") -> str:
        return f"{self.sshd.user}@127.0.0.1 port={self.sshd.port} {more}"

    def test_examples_run_over_ssh(self) -> None:
        for name, arguments in ALL.items():
            for lines in (["localhost", self.there("slots=2")], [self.there("slots=3")]):
                done = sbcnn(*self.options(*lines), "--", example(name), *arguments, timeout=60)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(tell(name, 3, done.stdout), "")

    def test_what_goes_to_other_boards_is_encrypted_unless_told_otherwise(self) -> None:
        look = ("import os, sys; print(os.environ['SBCNN_ROOT'].rsplit(':', 1)[0], os.environ.get('SBCNN_IFACE'), "
                "sys.stdin.readline().startswith('curve:'))")
        for options, wanted in (((), "127.0.0.1 None True"), (("--insecure",), "127.0.0.1 None False"),
                                (("--iface", "127.0.0.0/8"), "127.0.0.1 127.0.0.0/8 True")):
            done = sbcnn(*self.options("localhost", self.there()), *options, "--", sys.executable, "-c", look, timeout=60)
            self.assertEqual(done.stdout.splitlines(), [wanted] * 2, done.stderr)
            self.assertEqual("NOT ENCRYPTED" in done.stderr, "--insecure" in options, done.stderr)
        for options in (("--insecure",), ("--iface", "127.0.0.0/8"), ("--iface", "lo", "--insecure")):
            done = sbcnn(*self.options("localhost", self.there("slots=2")), *options, "--", example("ring"), 20,
                         timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(tell("ring", 3, done.stdout), "")

    def test_an_interface_that_is_not_there_is_named(self) -> None:
        done = sbcnn(*self.options("localhost", self.there()), "--iface", "eth77", "--", example("ring"), timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assert_one_line(done.stderr, "eth77")
        done = sbcnn(*self.options(self.there("slots=2")), "--iface", "lo", "--", example("ring"), timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assert_one_line(done.stderr, "--root")

    def test_words_arrive_as_they_were_given(self) -> None:
        words = ["", "a b", "$HOME", "it's", '"', "*", "-x", "--", "\\", "ä"]
        show = "import sys; print(sys.argv[1:])"
        done = sbcnn(*self.options(self.there()), "--", sys.executable, "-c", show, *words, timeout=60)
        self.assertEqual(done.stdout.strip(), str(words), done.stderr)

    def test_statuses_come_back_and_hosts_are_named(self) -> None:
        done = sbcnn(*self.options("localhost", self.there()), "--", "sh", "-c",
                     f"test $SBCNN_RANK = 1 && exit 7; {SLEEP[2]}", timeout=60)
        self.assertEqual(done.returncode, 7)
        self.assertRegex(done.stderr, r"sbcnn: rank 1 \(127\.0\.0\.1, .*hosts:2\): exited with status 7")
        self.assertEqual(sleepers(), [])
        done = sbcnn(*self.options("localhost", f"{self.sshd.user}@127.0.0.1 port=1"), "--", *SLEEP, timeout=60)
        self.assertEqual(done.returncode, 255)
        self.assertIn("hosts:2): cannot be reached", done.stderr)
        self.assertEqual(sleepers(), [])

    def test_nothing_stays_on_boards_when_the_launcher_is_killed(self) -> None:
        job = start(*self.options("localhost", self.there("slots=2")), "--", *SLEEP)
        self.assertTrue(wait_for(lambda: len(sleepers()) == 3))
        job.kill()
        job.communicate(timeout=30)
        self.assertTrue(wait_for(lambda: not sleepers(), 10), sleepers())


if __name__ == "__main__":
    main()
