"""Choices that a board measures are kept, used again, and never needed."""
import json
import os
import pathlib
import stat
import unittest

from support import NETWORKS, Test, main, read_npy, relative_difference, sbcnn, temporary_folder

NETWORK, INPUT = NETWORKS / "resnet18_decnn.onnx", NETWORKS / "resnet18_decnn_x.npy"


class Tuning(Test):
    def setUp(self) -> None:
        self.home = temporary_folder()

    def environment(self) -> dict[str, str]:
        return dict(os.environ) | {"XDG_CACHE_HOME": str(self.home)}

    def run_it(self, *options: object) -> dict:
        done = sbcnn("run", NETWORK, INPUT, "--threads", 1, "--json", "--output",
                     self.home / "y.npy", *options, environment=self.environment())
        self.assertEqual(done.returncode, 0, done.stderr)
        _, expected = read_npy(NETWORKS / "resnet18_decnn_y.npy")
        self.assertLess(relative_difference(read_npy(self.home / "y.npy")[1], expected), 1e-4)
        return json.loads(done.stdout)

    def files(self) -> dict[pathlib.Path, bytes]:
        return {p: p.read_bytes() for p in sorted((self.home / "sbcnn").glob("*"))}

    def test_a_run_keeps_what_it_measured_and_the_next_one_uses_it(self) -> None:
        self.run_it()
        kept = self.files()
        self.assertEqual(len(kept), 1)
        self.assertRegex(next(iter(kept.values())), rb"^sbcnn-tuning 1 [0-9a-f]{16} version ")
        before = {p: p.stat().st_mtime_ns for p in kept}
        self.run_it()
        self.assertEqual({p: p.stat().st_mtime_ns for p in self.files()}, before)
        info = sbcnn("info", environment=self.environment()).stdout
        choices = next(iter(kept.values())).count(b"\n") - 1
        self.assertIn(f"{self.home}/sbcnn: {choices} choice", info)

    def test_ranks_with_equal_slices_share_a_file_others_have_their_own(self) -> None:
        self.run_it("-n", 2)
        self.assertIn(len(self.files()), (1, 2))
        self.run_it()
        self.assertIn(len(self.files()), (2, 3))

    def test_no_tune_neither_reads_nor_writes(self) -> None:
        self.run_it("--no-tune")
        self.assertEqual(self.files(), {})

    def test_a_plan_measures_nothing(self) -> None:
        done = sbcnn("plan", NETWORK, "-n", 2, environment=self.environment())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.files(), {})

    def test_damaged_files_are_measured_anew(self) -> None:
        self.run_it()
        path, whole = next(iter(self.files().items()))
        for damaged in (b"", b"\n", whole[:-5], whole[:40], os.urandom(3000), b"x" + whole,
                        whole.replace(b"sbcnn-tuning 1", b"sbcnn-tuning 2")):
            path.write_bytes(damaged)
            self.run_it()
            self.assertEqual(self.files()[path].splitlines()[0].split()[:2],
                             [b"sbcnn-tuning", b"1"])
            self.assertNotEqual(self.files()[path], damaged)

    def test_where_nothing_can_be_kept_one_line_says_so(self) -> None:
        (self.home / "sbcnn").write_text("in the way")
        report = self.run_it("-n", 3)
        self.assertEqual(len(report["warnings"]), 1, report["warnings"])
        self.assertIn("cannot be kept", report["warnings"][0])
        self.assertIn(str(self.home), report["warnings"][0])

    @unittest.skipIf(os.getuid() == 0, "root may write anywhere")
    def test_a_folder_that_may_not_be_written(self) -> None:
        (self.home / "sbcnn").mkdir()
        (self.home / "sbcnn").chmod(stat.S_IRUSR | stat.S_IXUSR)
        self.assertEqual(len(self.run_it("-n", 3)["warnings"]), 1)


if __name__ == "__main__":
    main()
