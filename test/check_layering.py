"""Checks who includes whom: core nothing of ours but itself, kernels and net only core.

Third-party headers that must not leak are checked too: none of zmq, msgpack, protobuf, onnx or
nlohmann in a public header.
"""
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAY_INCLUDE = {
    "core": {"core"},
    "kernels": {"core", "kernels"},
    "net": {"core", "net"},
    "apps": {"core", "kernels", "net", "apps"},
}
HIDDEN = re.compile(r"^(zmq|msgpack|onnx/|google/protobuf|nlohmann|CLI/|turbojpeg|png)")
SILENT = ("core", "kernels", "net")
LOUD = re.compile(r"\bstd::(cout|cerr|clog)\b|\b(printf|fprintf|puts|getenv|setenv)\s*\(")


def sources(folder: str) -> list[pathlib.Path]:
    return sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in (".h", ".cc"))


def includes(path: pathlib.Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.M)


class Layering(unittest.TestCase):
    def test_folders_include_only_what_is_below_them(self) -> None:
        for folder, allowed in MAY_INCLUDE.items():
            self.assertTrue(sources(folder))
            for path in sources(folder):
                for name in includes(path):
                    top = name.split("/")[0]
                    if "/" in name and (ROOT / top).is_dir():
                        self.assertIn(top, allowed, f"{path} includes {name}")

    def test_headers_hide_third_party_libraries(self) -> None:
        for folder in MAY_INCLUDE:
            for path in sources(folder):
                if path.suffix == ".h":
                    for name in includes(path):
                        self.assertIsNone(HIDDEN.match(name), f"{path} includes {name}")

    def test_nothing_below_apps_prints_or_reads_the_environment(self) -> None:
        for folder in SILENT:
            for path in sources(folder):
                for number, line in enumerate(path.read_text().splitlines(), 1):
                    code = line.split("//")[0].replace("std::snprintf", "")
                    self.assertIsNone(LOUD.search(code), f"{path}:{number}: {line.strip()}")


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
