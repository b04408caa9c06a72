"""sbcnn-bench runs, checks what is computed, and reports in the form that docs are made of."""
import json
import os
import shutil
import subprocess
import sys

from support import SOURCE, Test, main, temporary_folder

BENCH = os.environ["SBCNN_BENCH"]
NETWORK = "resnet34-slice2@64"  # small; has groups
ALGORITHMS = {"barrier": 1, "bcast": 2, "scatter": 2, "gather": 2, "allgather": 3, "reduce": 2,
              "allreduce": 3, "reduce_scatter": 2, "scan": 2, "alltoall": 2}


def run(*args: object) -> subprocess.CompletedProcess:
    return subprocess.run([BENCH, *map(str, args)], capture_output=True, text=True, timeout=600,
                          stdin=subprocess.DEVNULL)


def bench(*args: object) -> subprocess.CompletedProcess:
    return run("kernels", *args)


class Bench(Test):
    def report(self, *args: object) -> dict:
        path = temporary_folder() / "report.json"
        done = bench("--net", NETWORK, "--rounds", 1, "--json", path, *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(NETWORK, done.stdout)
        return json.loads(path.read_text())

    def test_the_report_has_all_fields_and_docs_are_made_of_it(self) -> None:
        report = self.report()
        self.assertGreater(report["peak_gflops"], 0)
        network, = report["networks"]
        self.assertEqual(network["name"], NETWORK)
        self.assertEqual(network["threads"], 1)
        self.assertEqual(len(report["layers"]), 11)
        self.assertLess(network["sides"]["ours"]["largest_error"], 1e-4)
        for layer in report["layers"]:
            self.assertGreater(layer["ours_gflops"], 0)
            self.assertTrue(layer["algorithm"])
            self.assertIn("direct", [c["algorithm"] for c in layer["candidates"]])
        for entry in report["networks"] + report["layers"]:
            for field in ("best_peer", "ratio"):
                self.assertEqual(entry[field] is None, len(network["sides"]) == 1)
        self.assertEqual(len(network["sides"]) + len(report["peers_missing"]), 3)
        self.make_docs(report)

    def make_docs(self, report: dict) -> None:
        folder = temporary_folder()
        shutil.copy(SOURCE / "docs/kernels.md", folder)
        (folder / "report.json").write_text(json.dumps(report))
        subprocess.run([sys.executable, SOURCE / "bench/plot_kernels.py", "--docs", folder,
                        "--kernels", folder / "report.json"], check=True)
        self.assertIn(f"| {NETWORK} |", (folder / "kernels.md").read_text())
        self.assertTrue((folder / "kernels.svg").read_text().rstrip().endswith("</svg>"))

    def test_ours_alone_has_no_ratios(self) -> None:
        report = self.report("--no-peers", "--no-check", "--threads", 2, "--algorithm", "direct")
        self.assertIsNone(report["networks"][0]["ratio"])
        self.assertEqual({layer["algorithm"] for layer in report["layers"]}, {"direct"})
        self.make_docs(report)

    def test_networks_are_listed_and_an_unknown_one_is_named(self) -> None:
        names = bench("--list").stdout.split()
        self.assertIn(NETWORK, names)
        self.assertEqual(len(names), 14)
        done = bench("--net", "resnet35")
        self.assertNotEqual(done.returncode, 0)
        self.assert_one_line(done.stderr, "resnet35")


class Collectives(Test):
    def test_every_collective_by_every_algorithm_over_three_ranks(self) -> None:
        path = temporary_folder() / "report.json"
        done = run("collectives", "-n", 3, "--bytes", "0,1024", "--seconds", 0.001, "--json", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = json.loads(path.read_text())["rows"]
        for collective, algorithms in ALGORITHMS.items():
            mine = [r for r in rows if r["collective"] == collective]
            sizes = [0] if collective == "barrier" else [0, 1024]
            self.assertEqual(len({r["algorithm"] for r in mine}), algorithms, collective)
            self.assertEqual(len(mine), algorithms * len(sizes), collective)
            for row in mine:
                self.assertIn(row["bytes_per_pair"], sizes)
                self.assertEqual(row["ranks"], 3)
                self.assertLessEqual(row["min_us"], row["p50_us"])
                self.assertLessEqual(row["p50_us"], row["p99_us"])
                self.assertLessEqual(row["p99_us"], row["max_us"])
                self.assertEqual(row["goodput_mbit"] > 0, row["bytes_per_pair"] > 0)

    def test_what_is_chosen_is_measured_alone(self) -> None:
        path = temporary_folder() / "report.json"
        done = run("collectives", "-n", 2, "--collective", "alltoall,bcast", "--bytes", 1024, "--seconds", 0.001, "--chosen",
                   "--encrypt", "--json", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = json.loads(path.read_text())["rows"]
        self.assertEqual([r["algorithm"] for r in rows], ["chosen"] * 2)
        self.assertTrue(all(r["cpu_us"] > 0 for r in rows))

    def test_wrong_sizes_and_algorithms_are_named_before_anything_starts(self) -> None:
        for wrong, words in ((("--bytes", 3), "multiples of 4"),
                             (("--collective", "bcast", "--algorithm", "ring"), "ring")):
            done = run("collectives", "-n", 2, *wrong)
            self.assertNotEqual(done.returncode, 0)
            self.assert_one_line(done.stderr, words)


if __name__ == "__main__":
    main()
