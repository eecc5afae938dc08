#!/usr/bin/env python3
"""Tests run_examples.py: which blocks it finds, what it runs of them, and that failures are seen."""
import contextlib
import io
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
import run_examples  # noqa: E402

DOCUMENT = """# Title
```sh
echo one > shared.txt
```
```text
not a command
```
```console
$ test "$(cat shared.txt)" = \\
>   one
one
```
```sh
# not run: needs a GPU
exit 1
```
"""


class RunExamples(unittest.TestCase):
    def run_text(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".md") as file, contextlib.redirect_stdout(io.StringIO()):
            file.write(text)
            file.flush()
            return run_examples.run_document(pathlib.Path(file.name), pathlib.Path("/bin/true"))

    def test_blocks(self):
        found = run_examples.blocks(DOCUMENT)
        self.assertEqual([(2, False), (8, False), (13, True)], [(line, left_out) for line, _, left_out in found])
        self.assertEqual('test "$(cat shared.txt)" = \\\n  one\n', found[1][1])

    def test_blocks_share_a_folder_and_pass(self):
        self.assertEqual((2, []), self.run_text(DOCUMENT))

    def test_lathe_is_on_the_path(self):
        self.assertEqual((1, []), self.run_text("```sh\nlathe anything\ntest -e models || test -L models\n```\n"))

    def test_failures_are_seen(self):
        for script in ("false\ntrue", "false | cat", "echo $UNSET_NAME", "exit 3"):
            ran, faults = self.run_text(f"```sh\n{script}\n```\n")
            self.assertEqual((1, 1), (ran, len(faults)), script)

    def test_a_reason_is_needed(self):
        self.assertEqual(1, len(self.run_text("```sh\n# not run:\nexit 1\n```\n")[1]))


if __name__ == "__main__":
    unittest.main()
