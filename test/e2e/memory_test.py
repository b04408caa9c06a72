"""No board holds the whole model: each rank's memory on a ResNet-50 of 65 MB."""
import json
import os
import subprocess

from support import Test, main, sbcnn, temporary_folder, write_ppm


class Memory(Test):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = temporary_folder()
        cls.model = cls.folder / "resnet50.sbcnn"
        subprocess.run([os.environ["SBCNN_WRITE_RESNET50"], cls.model], check=True)
        for i in range(3):
            write_ppm(cls.folder / f"{i}.ppm", 224, 224, i)
        cls.boards = {n: cls.run_over(n) for n in (1, 4)}

    @classmethod
    def run_over(cls, ranks: int) -> list[dict]:
        pictures = [cls.folder / f"{i}.ppm" for i in range(3)]
        done = sbcnn("run", cls.model, *pictures, "-n", ranks, "--json", "--threads", 1)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["boards"]

    def test_each_of_four_ranks_needs_at_most_40_percent_of_one_ranks_memory(self) -> None:
        alone = self.boards[1][0]["peak_memory_bytes"]
        for board in self.boards[4]:
            self.assertLessEqual(board["peak_memory_bytes"] / alone, 0.40, board)

    def test_the_plan_predicts_the_weights_of_each_rank_to_the_byte(self) -> None:
        for ranks, boards in self.boards.items():
            plan = json.loads(sbcnn("plan", self.model, "-n", ranks, "--json").stdout)
            self.assertEqual([r["weight_bytes"] for r in plan["ranks"]],
                             [b["weight_bytes"] for b in boards])


if __name__ == "__main__":
    main()
