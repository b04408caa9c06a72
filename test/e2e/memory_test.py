"""Memory: no board holds the whole model, and the plan knows beforehand what each will hold."""
import json
import os
import pathlib
import subprocess

from support import (MODEL, Test, main, sbcnn, temporary_folder, write_pgm, write_ppm)


def boards_of(model: pathlib.Path, pictures: list[pathlib.Path], *options: object) -> list[dict]:
    done = sbcnn("run", model, *pictures, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["boards"]


def ranks_of(model: pathlib.Path, *options: object) -> list[dict]:
    done = sbcnn("plan", model, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["ranks"]


# Meson sets it to find uses of freed memory; it touches what nobody would touch.
os.environ.pop("MALLOC_PERTURB_", None)


class Memory(Test):
    """ResNet-50 with 65 MB of weights, and a network of 1.5 MB."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = temporary_folder()
        cls.large = cls.folder / "resnet50.sbcnn"
        subprocess.run([os.environ["SBCNN_WRITE_RESNET50"], cls.large], check=True)
        cls.photos, cls.small_pictures = [], []
        for i in range(12):
            cls.photos.append(cls.folder / f"{i}.ppm")
            write_ppm(cls.photos[-1], 224, 224, i)
            cls.small_pictures.append(cls.folder / f"{i}.pgm")
            write_pgm(cls.small_pictures[-1], 28, 28, i)
        cls.options = ("--threads", 1, "--no-tune")
        cls.runs = {n: boards_of(cls.large, cls.photos, "-n", n, *cls.options) for n in (1, 4)}

    def assert_predicted(self, ranks: list[dict], boards: list[dict]) -> None:
        self.assertEqual(len(ranks), len(boards))
        for rank, board in zip(ranks, boards):
            off = rank["peak_memory_bytes"] / board["peak_memory_bytes"] - 1
            self.assertLess(abs(off), 0.05, f"{off:+.1%}: {rank} {board}")

    def test_each_of_four_ranks_needs_at_most_40_percent_of_one_ranks_memory(self) -> None:
        alone = self.runs[1][0]["peak_memory_bytes"]
        for board in self.runs[4]:
            self.assertLessEqual(board["peak_memory_bytes"] / alone, 0.40, board)

    def test_the_plan_predicts_the_weights_of_each_rank_to_the_byte(self) -> None:
        for ranks, boards in self.runs.items():
            self.assertEqual([r["weight_bytes"] for r in ranks_of(self.large, "-n", ranks)],
                             [b["weight_bytes"] for b in boards])

    def test_the_plan_predicts_the_peak_memory_of_a_large_network(self) -> None:
        for ranks, boards in self.runs.items():
            self.assert_predicted(ranks_of(self.large, "-n", ranks, *self.options), boards)

    def test_and_with_other_numbers_of_frames_in_flight(self) -> None:
        for options in (("-n", 1, "--in-flight", 4), ("-n", 4, "--in-flight", 1)):
            self.assert_predicted(ranks_of(self.large, *options, *self.options),
                                  boards_of(self.large, self.photos, *options, *self.options))

    def test_and_of_a_small_one(self) -> None:
        for ranks in (1, 4):
            options = ("-n", ranks, *self.options)
            self.assert_predicted(ranks_of(MODEL, *options),
                                  boards_of(MODEL, self.small_pictures, *options))

    def test_and_with_choices_that_were_measured(self) -> None:
        for ranks in (1, 4):
            options = ("-n", ranks, "--threads", 1)
            first = boards_of(self.large, self.photos, *options)  # this one measures
            boards = boards_of(self.large, self.photos, *options)
            self.assert_predicted(ranks_of(self.large, *options), boards)
            if ranks == 1:  # of several, each had choices of its own in the first run
                self.assert_predicted(ranks_of(self.large, *options), first)

    def test_the_table_says_the_same_as_the_json(self) -> None:
        options = ("-n", 4, *self.options)
        text = sbcnn("plan", self.large, *options).stdout.splitlines()
        head = next(i for i, line in enumerate(text) if "peak memory" in line)
        for line, rank in zip(text[head + 1:], ranks_of(self.large, *options), strict=True):
            peak = float(line.split()[-2])
            self.assertAlmostEqual(peak, rank["peak_memory_bytes"] / 2**20, delta=0.5)


if __name__ == "__main__":
    main()
