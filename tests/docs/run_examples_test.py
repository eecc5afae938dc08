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


# Answers every GET with its own arguments, on a free port that it tells as lathe does.
FAKE_LATHE = f"""#!{sys.executable}
import http.server, pathlib, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write((" ".join(sys.argv[1:]) + "\\n").encode())
    def log_message(self, *ignored):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
with (pathlib.Path(__file__).resolve().parent / "starts").open("a") as starts:
    starts.write("start\\n")
print(f"Playground: http://127.0.0.1:{{server.server_port}}/", flush=True)
server.serve_forever()
"""


class RunExamples(unittest.TestCase):
    def run_text(self, text, lathe="/bin/true"):
        with tempfile.NamedTemporaryFile("w", suffix=".md") as file, contextlib.redirect_stdout(io.StringIO()):
            file.write(text)
            file.flush()
            return run_examples.run_document(pathlib.Path(file.name), pathlib.Path(lathe))

    def test_blocks(self):
        found = run_examples.blocks(DOCUMENT)
        self.assertEqual([(2, False), (8, False), (13, True)], [(block.line, block.left_out) for block in found])
        self.assertEqual('test "$(cat shared.txt)" = \\\n  one\n', found[1].script)

    def test_shown_output_is_checked_where_asked(self):
        block = "```console{}\n$ echo wrote 12.5 MB; echo and; echo at main c0ffee00 in 3 ms\nwrote 3 kB\nat … in 7 s\n```\n"
        self.assertEqual((1, []), self.run_text(block.format(" checked")))
        wrong = block.replace("wrote 3 kB", "read 3 kB")
        self.assertIn("this line did not come: read 3 kB", self.run_text(wrong.format(" checked"))[1][0])
        self.assertEqual((1, []), self.run_text(wrong.format("")))
        backwards = "```console checked\n$ echo a; echo b\nb\na\n```\n"
        self.assertEqual(1, len(self.run_text(backwards)[1]))

    def test_a_hub_is_there_for_a_document_that_wants_one(self):
        ask = "curl -sf -H \"Authorization: Bearer $HF_TOKEN\" $HF_ENDPOINT/api/whoami-v2"
        self.assertEqual((1, []), self.run_text(f"```sh\n# with a hub\n{ask}\n```\n"))

    def test_blocks_share_a_folder_and_pass(self):
        self.assertEqual((2, []), self.run_text(DOCUMENT))

    def test_lathe_is_on_the_path(self):
        self.assertEqual((1, []), self.run_text("```sh\nlathe anything\ntest -e models || test -L models\n```\n"))

    def test_failures_are_seen(self):
        for script in ("false\ntrue", "false | cat", "echo $UNSET_NAME", "exit 3"):
            ran, faults = self.run_text(f"```sh\n{script}\n```\n")
            self.assertEqual((1, 1), (ran, len(faults)), script)

    def test_a_server_runs_meanwhile(self):
        with tempfile.TemporaryDirectory() as folder:
            lathe = pathlib.Path(folder) / "lathe"
            lathe.write_text(FAKE_LATHE)
            lathe.chmod(0o755)
            asked = "```sh\n# while running: lathe serve some/model --flag\ncurl -sf http://127.0.0.1:8000/x > out\n" \
                    "grep -qx 'serve some/model --flag --port 0' out\n```\n"
            again = "```console\n$ # while running: lathe serve some/model --flag\n$ curl -sf localhost:8000 > /dev/null\n```\n"
            self.assertEqual((2, []), self.run_text(asked + again, lathe))
            self.assertEqual((folder_log := pathlib.Path(folder) / "starts").read_text(), "start\n")
            folder_log.unlink()
            other = "```sh\n# while running: lathe serve other\ncurl -sf http://127.0.0.1:8000/ | grep -q 'serve other'\n```\n"
            self.assertEqual((3, []), self.run_text(asked + again + other, lathe))
            self.assertEqual(folder_log.read_text(), "start\nstart\n")

    def test_a_server_that_does_not_start_is_seen(self):
        ran, faults = self.run_text("```sh\n# while running: lathe serve x\ntrue\n```\n", "/bin/false")
        self.assertEqual((0, 1), (ran, len(faults)))

    def test_a_reason_is_needed(self):
        self.assertEqual(1, len(self.run_text("```sh\n# not run:\nexit 1\n```\n")[1]))


if __name__ == "__main__":
    unittest.main()
