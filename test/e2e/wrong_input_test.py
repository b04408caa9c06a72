"""Wrong input: one line that says what, where and what to do; never a crash, never a hang."""
import array
import os
import platform
import random
import time

from support import (MODEL, NETWORKS, Test, main, sbcnn, temporary_folder, write_npy, write_pgm)


class WrongInput(Test):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = temporary_folder()
        cls.picture = cls.folder / "good.pgm"
        write_pgm(cls.picture, 28, 28)

    def refused(self, *args: object, parts: tuple[object, ...], status: int = 1) -> None:
        for ranks in (1, 2):
            done = sbcnn("run", *args, "-n", ranks, timeout=60)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assert_one_line(done.stderr, "sbcnn: ", *parts)

    def file(self, name: str, content: bytes):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def test_a_missing_model(self) -> None:
        self.refused(self.folder / "none.onnx", self.picture, parts=("none.onnx",))

    def test_an_empty_model(self) -> None:
        path = self.file("empty.onnx", b"")
        self.refused(path, self.picture, parts=("empty.onnx",))

    def test_a_truncated_model(self) -> None:
        whole = MODEL.read_bytes()
        for part in (1, 100, len(whole) // 2, len(whole) - 1):
            path = self.file("short.onnx", whole[:part])
            self.refused(path, self.picture, parts=("short.onnx",))

    def test_a_truncated_sbcnn_model(self) -> None:
        converted = self.folder / "net.sbcnn"
        self.assertEqual(sbcnn("convert", MODEL, converted).returncode, 0)
        whole = converted.read_bytes()
        for part in (8, 15, 200, len(whole) // 2, len(whole) - 80):
            path = self.file("short.sbcnn", whole[:part])
            self.refused(path, self.picture, parts=("short.sbcnn",))

    def test_random_bytes_for_a_model(self) -> None:
        path = self.file("random.onnx", random.Random(1).randbytes(5000))
        self.refused(path, self.picture, parts=("random.onnx",))

    def test_a_folder_for_a_model(self) -> None:
        self.refused(self.folder, self.picture, parts=(self.folder.name,))

    def test_an_unknown_operator_is_named_with_its_node(self) -> None:
        self.refused(NETWORKS / "activations.onnx", self.picture,
                     parts=("activations.onnx", "Tanh"))

    def test_missing_empty_truncated_and_random_images(self) -> None:
        picture = self.picture.read_bytes()
        for name, content in (("empty.png", b""), ("short.pgm", picture[:400]),
                              ("random.jpg", random.Random(2).randbytes(3000))):
            self.refused(MODEL, self.file(name, content), parts=(name,))
        self.refused(MODEL, self.folder / "none.png", parts=("none.png",))

    def test_an_image_of_absurd_size_is_refused_before_memory_is_taken(self) -> None:
        path = self.file("huge.pgm", b"P5\n2000000000 2000000000\n255\n")
        self.refused(MODEL, path, parts=("huge.pgm",))

    def test_an_npy_of_a_wrong_shape_names_both_shapes(self) -> None:
        path = self.folder / "wrong.npy"
        write_npy(path, (1, 3, 28, 28), array.array("f", bytes(4 * 3 * 28 * 28)))
        done = sbcnn("run", MODEL, path)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"wrong\.npy.*3.*28.*28.*1.*28.*28")

    def test_truncated_idx_and_npy(self) -> None:
        path = self.file("short.idx", b"\0\0\x08\x03" + b"\0\0\0\x02" + b"\0\0\0\x1c" * 2 + b"12")
        self.refused(MODEL, path, parts=("short.idx",))
        path = self.file("short.npy", (NETWORKS / "vgg_x.npy").read_bytes()[:300])
        self.refused(NETWORKS / "vgg.onnx", path, parts=("short.npy",))

    def test_labels_that_do_not_fit_the_images(self) -> None:
        path = self.file("labels.idx", b"\0\0\x08\x01\0\0\0\x02\x01\x02")
        done = sbcnn("run", MODEL, self.picture, "--expect", path)
        self.assertNotEqual(done.returncode, 0)
        self.assert_one_line(done.stderr, "labels.idx")

    def test_a_full_disk_keeps_no_half_file(self) -> None:
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        done = sbcnn("run", MODEL, self.picture, "--output", "/dev/full")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/dev/full", done.stderr)

    def test_wrong_options(self) -> None:
        for args in (("-n", "0"), ("-n", "many"), ("--in-flight", "0"), ("--nonsense",),
                     ("--hostfile", self.folder / "none"), ("--isa", "mmx"), ("--isa", ""),
                     ("--isa", "avx2,neon"), ("--precision", "fp8"), ("--precision", "")):
            done = sbcnn("run", MODEL, self.picture, *args)
            self.assertIn(done.returncode, (1, 2), args)
            self.assertTrue(done.stderr.strip(), args)

    def test_unknown_names_of_kernels_are_told_which_there_are(self) -> None:
        for command in ("run", "verify", "plan"):
            inputs = () if command == "plan" else (self.picture,)
            for option, known in (("--isa", "neon"), ("--precision", "fp16")):
                done = sbcnn(command, MODEL, *inputs, "-n", 1, option, "nonsense")
                self.assertEqual(done.returncode, 2)
                self.assert_one_line(done.stderr, option, "nonsense", known)

    def test_an_instruction_set_that_is_not_here_is_refused(self) -> None:
        foreign = "avx2" if platform.machine() == "aarch64" else "neon"
        self.refused(MODEL, self.picture, "--isa", foreign, status=2,
                     parts=("rank 0", foreign, "it has"))
        done = sbcnn("plan", MODEL, "-n", 2, "--isa", foreign)
        self.assertEqual(done.returncode, 2)
        self.assert_one_line(done.stderr, "rank 0", foreign)

    def test_weights_of_a_plan_that_do_not_fit(self) -> None:
        for options in (("-n", 3, "--weights", "1,2"), ("--weights", "0,0"), ("--weights", "x"),
                        ("--weights", "1,1", "--hostfile", self.folder / "hosts"),
                        ("--in-flight", 0)):
            done = sbcnn("plan", MODEL, *options)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assert_one_line(done.stderr, "sbcnn: ")

    def test_bad_lines_of_a_hostfile_are_named(self) -> None:
        for line in ("pi1 slots=x", "pi1 colour=red", "pi1 slots=0", "pi1 weight=-1",
                     "pi1 port=70000", "pi1 slots=1 slots=2"):
            hosts = self.file("hosts", b"# boards\n" + line.encode() + b"\n")
            done = sbcnn("run", MODEL, self.picture, "--hostfile", hosts)
            self.assertNotEqual(done.returncode, 0)
            self.assert_one_line(done.stderr, "hosts:2", line.split()[-1].split("=")[0])

    def test_an_unknown_host_is_named_with_its_line(self) -> None:
        hosts = self.file("hosts", b"localhost\n\nno-such-board.invalid\n")
        begin = time.monotonic()
        done = sbcnn("run", MODEL, self.picture, "--hostfile", hosts)
        self.assertLess(time.monotonic() - begin, 15)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no-such-board.invalid", done.stderr)
        self.assertIn("hosts:3", done.stderr)

    def test_a_worker_started_by_hand_says_what_it_is(self) -> None:
        done = sbcnn("worker", "--rank", 1, "--size", 2, "--root", "127.0.0.1:1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("sbcnn run", done.stderr)


if __name__ == "__main__":
    main()
