"""The main job: right answers over any number of ranks."""
import json
import os
import platform
import re

from support import (IMAGES, LABELS, MODEL, NETWORKS, SOURCE, Test, main, read_npy,
                     relative_difference, sbcnn, temporary_folder, without, write_pgm, write_ppm)


class Run(Test):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = temporary_folder()

    def outputs(self, *args: object) -> tuple[tuple[int, ...], list[float]]:
        path = self.folder / "y.npy"
        path.unlink(missing_ok=True)
        done = sbcnn("run", *args, "--output", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        return read_npy(path)

    def test_fashion_mnist_is_the_same_over_1_2_3_and_4_ranks_and_in_pytorch(self) -> None:
        _, pytorch = read_npy(SOURCE / "models/fashion_mnist_decnn_pytorch_top1.npy")
        _, first = read_npy(SOURCE / "models/fashion_mnist_decnn_y64.npy")
        alone = None
        for ranks in (1, 2, 3, 4):
            path = self.folder / "y.npy"
            done = sbcnn("run", MODEL, IMAGES, "--expect", LABELS, "-n", ranks, "--json",
                         "--output", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            report = json.loads(done.stdout)
            shape, y = read_npy(path)
            self.assertEqual(shape[:2], (10000, 10))
            alone = alone or y
            self.assertLess(relative_difference(y, alone), 1e-4)
            self.assertLess(relative_difference(y[:640], first), 1e-4)
            top = [max(range(10), key=y[i:i + 10].__getitem__) for i in range(0, len(y), 10)]
            self.assertLessEqual(sum(a != b for a, b in zip(top, pytorch)), 2)
            self.assertGreaterEqual(report["accuracy"]["top1"], 0.915)

    def test_stored_outputs_of_a_network_come_back_from_npy_inputs(self) -> None:
        for name in ("resnet18_decnn", "mobilenet_v2", "vgg"):
            _, expected = read_npy(NETWORKS / f"{name}_y.npy")
            for ranks in (1, 3, 5):
                shape, y = self.outputs(NETWORKS / f"{name}.onnx", NETWORKS / f"{name}_x.npy",
                                        "-n", ranks)
                self.assertEqual(shape[0], 2)
                self.assertLess(relative_difference(y, expected), 1e-4)

    def test_frames_in_flight_change_nothing(self) -> None:
        for i in range(9):
            write_pgm(self.folder / f"{i}.pgm", 28, 28, i)
        # To the bit, as long as algorithms are the same: ranks that measure may choose differently.
        options = (MODEL, self.folder, "-n", 3, "--no-tune")
        one = self.outputs(*options, "--in-flight", 1)
        for in_flight in (2, 5):
            self.assertEqual(self.outputs(*options, "--in-flight", in_flight), one)

    def test_a_picture_of_another_size_and_colour_is_converted(self) -> None:
        folder = temporary_folder()
        write_ppm(folder / "colour.ppm", 61, 40)
        done = sbcnn("run", MODEL, folder / "colour.ppm", "--top", 2, "-n", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count(" %"), 2, done.stdout)

    def test_a_folder_with_bad_files_goes_on_and_counts_them(self) -> None:
        folder = temporary_folder()
        write_pgm(folder / "a.pgm", 28, 28)
        (folder / "b.jpg").write_bytes(b"not a picture")
        (folder / "c.png").write_bytes(b"")
        write_pgm(folder / "d.pgm", 28, 28)
        done = sbcnn("run", MODEL, folder, "-n", 2, "--json")
        report = json.loads(done.stdout)
        self.assertEqual(report["images"], 2)
        self.assertIn("b.jpg", done.stderr)
        self.assertIn("c.png", done.stderr)
        self.assertEqual(len(report["failed"]), 2)
        self.assertNotEqual(done.returncode, 0)

    def test_surplus_ranks_stay_idle_with_a_warning(self) -> None:
        picture = temporary_folder() / "a.pgm"
        write_pgm(picture, 28, 28)
        alone = self.outputs(MODEL, picture, "-n", 1)
        done = sbcnn("run", MODEL, picture, "-n", 5)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("rank 4", done.stderr)
        self.assertIn("nothing to compute", done.stderr)
        five = self.outputs(MODEL, picture, "-n", 5)
        self.assertLess(relative_difference(five[1], alone[1]), 1e-4)

    def test_a_converted_model_gives_the_same(self) -> None:
        converted = self.folder / "net.sbcnn"
        done = sbcnn("convert", MODEL, converted)
        self.assertEqual(done.returncode, 0, done.stderr)
        picture = self.folder / "a.pgm"
        write_pgm(picture, 28, 28)
        self.assertEqual(self.outputs(converted, picture, "-n", 2, "--no-tune"),
                         self.outputs(MODEL, picture, "-n", 2, "--no-tune"))

    def test_the_plan_knows_what_each_rank_holds(self) -> None:
        done = sbcnn("plan", MODEL, "-n", 3, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        plan = json.loads(done.stdout)
        self.assertEqual([r["weight_bytes"] > 0 for r in plan["ranks"]], [True] * 3)
        whole = json.loads(sbcnn("plan", MODEL, "-n", 1, "--json").stdout)
        self.assertEqual(sum(r["weight_bytes"] for r in plan["ranks"]),
                         whole["ranks"][0]["weight_bytes"])
        self.assertEqual(whole["ranks"][0]["bytes_sent"], 0)

    def test_verify_accepts_what_agrees(self) -> None:
        done = sbcnn("verify", MODEL, "-n", 3)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)

    def test_every_instruction_set_of_this_machine_gives_the_same(self) -> None:
        net, x = NETWORKS / "vgg.onnx", NETWORKS / "vgg_x.npy"
        _, expected = read_npy(NETWORKS / "vgg_y.npy")
        here = re.search(r"here ([a-z0-9, ]+);", sbcnn("info").stdout)
        for isa in here.group(1).split(", "):
            _, y = self.outputs(net, x, "-n", 2, "--isa", isa)
            self.assertLess(relative_difference(y, expected), 1e-4)
            done = sbcnn("run", net, x, "-n", 2, "--isa", isa, "--json")
            self.assertEqual({b["isa"] for b in json.loads(done.stdout)["boards"]}, {isa})

    def test_fp16_computes_or_falls_back_with_a_warning(self) -> None:
        net, x = NETWORKS / "vgg.onnx", NETWORKS / "vgg_x.npy"
        for isa in ((), ("--isa", "sse2")) if platform.machine() == "x86_64" else ((),):
            done = sbcnn("run", net, x, "-n", 2, "--precision", "fp16", "--json", *isa)
            self.assertEqual(done.returncode, 0, done.stderr)
            report = json.loads(done.stdout)
            for board in report["boards"]:
                self.assertIn(board["precision"], ("fp16", "fp32"))
            fallen = [b for b in report["boards"] if b["precision"] == "fp32"]
            self.assertEqual("computes in fp32" in done.stderr, bool(fallen))
            self.assertEqual(len(report["warnings"]), len({b["host"] for b in fallen}))
            verified = sbcnn("verify", net, x, "-n", 2, "--precision", "fp16", *isa)
            self.assertEqual(verified.returncode, 0, verified.stdout)
            self.assertEqual("top-1" in verified.stdout, not fallen)

    def test_no_folder_for_measured_choices_fails_no_run(self) -> None:
        picture = self.folder / "a.pgm"
        write_pgm(picture, 28, 28)
        blocked = {"XDG_CACHE_HOME": str(self.folder / "a.pgm"), "HOME": "/nowhere"}
        for extra in ({}, blocked):
            environment = without("HOME", "XDG_CACHE_HOME") | extra
            done = sbcnn("run", MODEL, picture, "-n", 3, environment=environment)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertLessEqual(len(done.stderr.strip().splitlines()), 2)  # a note on pixels
            done = sbcnn("run", MODEL, picture, "-n", 3, "--no-tune", environment=environment)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn("choices", done.stderr)
            self.assertEqual(sbcnn("info", environment=environment).returncode, 0)

    def test_info_tells_what_this_board_computes_with(self) -> None:
        done = sbcnn("info")
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in (r"^processor +\S.*, \d+ cores?, \d+ hardware threads?.*; by default \d+",
                     r"^kernels +built for .*; here .*; uses (sse2|avx2|avx512|neon)$",
                     r"^precision +fp32; fp16 (not on this board|with .*)$",
                     r"^tuning cache +" + re.escape(os.environ["XDG_CACHE_HOME"])
                     + r"/sbcnn: \d+ choices? in \d+ files?$"):
            self.assertRegex(done.stdout, re.compile(line, re.M))

    def test_every_command_explains_itself(self) -> None:
        for command in ("run", "plan", "verify", "convert", "info", "worker"):
            done = sbcnn(command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn("sbcnn " + command, done.stdout)
        self.assertEqual(sbcnn("nonsense").returncode, 2)


if __name__ == "__main__":
    main()
