#!/usr/bin/env python3
"""Tests tools/check_layers.py on small fake trees."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
sys.dont_write_bytecode = True
import check_layers  # noqa: E402

TABLE = """[may_include]
include = []
base = ["include"]
"top/a" = ["base"]
"top/b" = ["base", "top/a"]
app = ["*"]
"""


class CheckLayers(unittest.TestCase):
    def faults(self, files, table=TABLE, cmake="lathe_module(base)\n"):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            tree = {"tools/layers.toml": table, "CMakeLists.txt": cmake, "src/base/b.h": "", "include/lathe/x.h": ""}
            for name, text in (tree | files).items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            return check_layers.check(root)

    def test_edges_of_the_table_pass(self):
        self.assertEqual([], self.faults({
            "src/base/c.cc": '#include "base/b.h"\n#include "lathe/x.h"\n#include <vector>\n',
            "src/top/a/deep/er.h": '#include "base/b.h"\n',
            "src/top/b/b.cc": '#include "top/a/deep/er.h"\n'}))

    def test_edge_outside_the_table(self):
        faults = self.faults({"src/top/a/a.h": "", "src/base/c.cc": ' # include "top/a/a.h"\n'})
        self.assertEqual(['src/base/c.cc: base may not include top/a ("top/a/a.h")'], faults)

    def test_folder_the_table_lacks(self):
        self.assertIn("'new/one' is not in", self.faults({"src/new/one/a.h": ""})[0])
        self.assertIn("'top' is not in", self.faults({"src/top/a.h": ""})[0])

    def test_cycle(self):
        table = TABLE.replace('"top/a" = ["base"]', '"top/a" = ["base", "top/b"]')
        faults = self.faults({"src/top/a/a.h": '#include "top/b/b.h"\n', "src/top/b/b.h": '#include "top/a/a.h"\n'}, table)
        self.assertEqual(["cycle: top/a -> top/b -> top/a"], faults)

    def test_missing_file(self):
        self.assertIn("is no file below", self.faults({"src/base/c.cc": '#include "base/gone.h"\n'})[0])

    def test_tests_and_stars_may_include_anything(self):
        self.assertEqual([], self.faults({"src/top/b/b.h": "", "src/base/b_test.cc": '#include "top/b/b.h"\n',
                                          "src/base/test_util.h": '#include "top/b/b.h"\n',
                                          "src/base/testing/fake.h": '#include "top/b/b.h"\n',
                                          "src/app/m.cc": '#include "top/b/b.h"\n'}))

    def test_build_dependency_outside_the_table(self):
        faults = self.faults({}, cmake="lathe_module(base DEPS top/a Threads::Threads)\n")
        self.assertEqual(["CMakeLists.txt: base may not depend on top/a"], faults)
        self.assertEqual([], self.faults({}, cmake="lathe_module(base DEPS Threads::Threads TEST_DEPS top/a)\n"))


if __name__ == "__main__":
    unittest.main()
