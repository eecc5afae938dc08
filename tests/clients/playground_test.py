#!/usr/bin/env python3
"""The playground in headless Chromium: what it shows, sends, and never does.

    tests/clients/playground_test.py [--screenshots DIR] [PlaygroundTest.test_NAME ..]

Needs Chromium (apt-get install chromium), nothing else. Most tests use a scripted server; two use `lathe serve`, with
the program that $LATHE names.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

from lathe_server import Server, program

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "playground"))
from devtools import Browser  # noqa: E402
from fake_server import HTML, STORY, FakeServer  # noqa: E402

ARGS = None
DONE = "document.querySelector('#stop').hidden"
LAST = "[...document.querySelectorAll('article')].at(-1)"


class PlaygroundTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = Browser()
        cls.server = FakeServer()

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()

    def setUp(self):
        b, s = self.browser, self.server
        s.bodies.clear()
        s.has_template = True
        b.screen(1280, 800)
        b.open(s.url)
        b.js("localStorage.clear()")
        b.call("Page.reload")
        b.wait("document.readyState === 'complete' && document.querySelector('#model').textContent.startsWith('tales')")
        b.errors.clear()
        b.requests.clear()

    def ask(self, text, finished=True):
        b = self.browser
        before = b.js("document.querySelectorAll('article').length")
        b.js("document.querySelector('#input').focus()")
        b.type(text)
        b.key("Enter")
        b.wait(f"document.querySelectorAll('article').length === {before + 1}")
        if finished:
            b.wait(DONE, 30)

    def shot(self, name):
        if ARGS.screenshots:
            os.makedirs(ARGS.screenshots, exist_ok=True)
            self.browser.screenshot(os.path.join(ARGS.screenshots, name + ".png"))

    # ---- chat

    def test_streams_an_answer_with_its_figures(self):
        b = self.browser
        self.ask("story", finished=False)
        b.wait(f"{LAST}.querySelector('.body').textContent.includes('old clock')")
        self.assertTrue(b.js("!document.querySelector('#stop').hidden && document.querySelector('#send').hidden"))
        self.assertEqual(b.js(f"{LAST}.getAttribute('aria-busy')"), "true")
        b.wait(DONE, 30)
        self.assertEqual(b.js(f"{LAST}.getAttribute('aria-busy')"), "false")
        self.assertRegex(b.js(f"{LAST}.querySelector('.figures').textContent"),
                         r"^\d+(\.\d)? tokens/s · first token \d+ ms · \d+ tokens · 4 cached$")
        self.assertRegex(b.js("document.querySelector('#status').textContent"), r"^Answer complete, \d+ tokens$")
        self.assertEqual(b.js("document.activeElement.id"), "input")
        for selector, text in {"strong": "why", "em": "hundred and four", "ul > li:nth-child(2)": "a feather,",
                               "p > code": "wind me gently", ".code > div > span": "python"}.items():
            self.assertEqual(b.js(f"{LAST}.querySelector('.body {selector}').textContent"), text)
        code = STORY.split("```python\n")[1].split("\n```")[0]
        self.assertEqual(b.js(f"{LAST}.querySelector('pre').textContent"), code)

    def test_keyboard(self):
        b = self.browser
        b.js("document.querySelector('#input').focus()")
        b.type("one")
        b.key("Enter", shift=True)
        b.type("two")
        self.assertEqual(b.js("document.querySelector('#input').value"), "one\ntwo")
        b.key("Enter")
        b.wait("document.querySelectorAll('article').length === 1 && " + DONE, 30)
        self.assertEqual(self.server.bodies[-1][1]["messages"][-1]["content"], "one\ntwo")
        # Enter on an empty field sends nothing.
        b.key("Enter")
        time.sleep(0.1)
        self.assertEqual(len(self.server.bodies), 1)
        # Every control is reached by Tab and shows a focus ring.
        seen, ringless = set(), set()
        for _ in range(40):
            b.key("Tab")
            name, ring = b.js("""(() => { const e = document.activeElement; const s = getComputedStyle(e);
                const field = e.closest('.field');
                return [e.id || e.className || e.tagName, s.outlineStyle !== 'none' ||
                        (field !== null && getComputedStyle(field).outlineStyle !== 'none')]; })()""")
            seen.add(name)
            if not ring and name not in ("BODY", "HTML"):
                ringless.add(name)
        self.assertLessEqual({"input", "new", "theme", "system", "reset", "s-temperature", "s-seed", "log"}, seen)
        self.assertEqual(ringless, set())

    def test_escape_stops(self):
        b = self.browser
        cut = self.server.cut
        self.ask("slow", finished=False)
        b.wait(f"{LAST}.querySelector('.body').textContent.length > 20")
        b.key("Escape")
        b.wait(DONE)
        text = b.js(f"{LAST}.querySelector('.body').textContent")
        self.assertIn("stopped", b.js(f"{LAST}.querySelector('.figures').textContent"))
        end = time.monotonic() + 5
        while self.server.cut == cut and time.monotonic() < end:
            time.sleep(0.02)
        self.assertGreater(self.server.cut, cut, "the server was not told")
        # What is there stays and is part of the conversation.
        self.ask("short")
        messages = self.server.bodies[-1][1]["messages"]
        self.assertEqual([m["role"] for m in messages], ["user", "assistant", "user"])
        self.assertEqual(messages[1]["content"].strip(), text.strip())

    def test_regenerate_and_new_chat(self):
        b = self.browser
        self.ask("short")
        self.ask("story")
        b.js(f"[...{LAST}.querySelectorAll('button')].find(x => x.textContent === 'Regenerate').click()")
        b.wait("!" + DONE)
        b.wait(DONE, 30)
        self.assertEqual(b.js("document.querySelectorAll('article').length"), 2)
        self.assertEqual(self.server.bodies[-1][1], self.server.bodies[-2][1])
        self.assertEqual(b.js("[...document.querySelectorAll('button')].filter(x => x.textContent === 'Regenerate' && !x.hidden).length"), 1)
        b.js("document.querySelector('#new').click()")
        self.assertTrue(b.js("document.querySelectorAll('article').length === 0 && !document.querySelector('#welcome').hidden"))
        self.ask("short")
        self.assertEqual(len(self.server.bodies[-1][1]["messages"]), 1)

    def test_reasoning(self):
        b = self.browser
        self.ask("think")
        self.assertEqual(b.js(f"{LAST}.querySelector('details .plain').textContent"), "They ask for thought.")
        self.assertFalse(b.js(f"{LAST}.querySelector('details').open"))
        self.assertNotIn("They ask", b.js(f"{LAST}.querySelector('.body').textContent"))

    def test_markup_from_the_model_is_text(self):
        b = self.browser
        self.ask("html")
        time.sleep(0.2)
        self.assertIsNone(b.js("window.pwned"))
        self.assertEqual(b.js(f"{LAST}.querySelectorAll('img, script, b, i, u').length"), 0)
        shown = b.js(f"{LAST}.querySelector('.body').textContent")
        for piece in ('<img src=x onerror="window.pwned=1">', "<b>bold</b>", "<i>code</i>", "</code><script>"):
            self.assertIn(piece, HTML)
            self.assertIn(piece, shown)
        self.ask("<img src=x onerror=window.pwned=1>")
        self.assertEqual(b.js("document.querySelectorAll('.user img').length"), 0)
        self.assertIsNone(b.js("window.pwned"))

    def test_markdown_ends(self):
        """Odd texts: nothing lost, nothing thrown."""
        b = self.browser
        cases = {
            "**a** *b* `c` 2*3*4 a_b_c": ["strong:a", "em:b", "code:c"],
            "```\nopen": ["pre:open"],
            "1. x\n2. y\n   - z\n3. w": ["ol > li:nth-of-type(1):x", "ol ul li:z"],
            "# T\n---\ntext": ["h3:T"],
            "- a\n\n- b": ["ul > li:nth-child(2):b"],
            "** a ** `` ` `` *": ["code: ` "],
            "    - deep\n- out": [],
        }
        for text, wanted in cases.items():
            self.server.echo = text
            self.ask("echo")
            for entry in wanted:
                selector, value = entry.rsplit(":", 1)
                got = b.js(f"{LAST}.querySelector('.body {selector}')?.firstChild.textContent")
                self.assertEqual(got, value, (text, selector))

    # ---- settings

    def test_only_what_was_set_is_sent(self):
        b = self.browser
        self.ask("short")
        path, body = self.server.bodies[-1]
        self.assertEqual(path, "/v1/chat/completions")
        self.assertEqual(sorted(body), ["messages", "model", "stream", "stream_options"])
        b.js("document.querySelector('#system').focus()")
        b.type("Be brief.")
        b.js("document.querySelector('#s-max_tokens').focus()")
        b.type("64")
        b.js("(() => { const r = document.querySelector('input[type=range]'); r.value = 0.5;"
             " r.dispatchEvent(new Event('input')); })()")
        self.ask("short")
        body = self.server.bodies[-1][1]
        self.assertEqual((body["temperature"], body["max_tokens"]), (0.5, 64))
        self.assertNotIn("top_p", body)
        self.assertEqual(body["messages"][0], {"role": "system", "content": "Be brief."})
        # Kept over a reload; gone after a reset.
        b.call("Page.reload")
        b.wait("document.readyState === 'complete' && document.querySelector('#s-max_tokens')?.value === '64'")
        b.js("document.querySelector('#reset').click()")
        self.ask("short")
        self.assertNotIn("temperature", self.server.bodies[-1][1])

    def test_without_chat_template(self):
        b = self.browser
        self.server.has_template = False
        self.ask("Once upon ")
        self.assertEqual([p for p, _ in self.server.bodies], ["/v1/chat/completions", "/v1/completions"])
        self.assertTrue(b.js("!document.querySelector('#mode').hidden"))
        self.assertIn("The old clock", b.js(f"{LAST}.querySelector('.body').textContent"))
        self.ask(" And then")
        path, body = self.server.bodies[-1]
        self.assertEqual(path, "/v1/completions")
        self.assertEqual(body["prompt"], "Once upon" + STORY + " And then")

    # ---- faults

    def test_refusals_are_told_nicely(self):
        b = self.browser
        for text, words in {"full": ["no room", "256", "Try again in 7 s."], "draining": ["does not take requests", "shutting down"],
                            "key": ["API key", "password"], "long": ["9000", "2048"], "broken": ["The device was lost"]}.items():
            self.ask(text)
            shown = b.js(f"{LAST}.querySelector('.error').textContent")
            for word in words:
                self.assertIn(word, shown)
            self.assertEqual(b.js(f"{LAST}.querySelector('.meta button:last-child').textContent"), "Try again")
        # What came before the fault stays.
        self.assertIn("The old clock", b.js(f"{LAST}.querySelector('.body').textContent"))
        self.shot("refusals")

    def test_server_gone(self):
        b = self.browser
        b.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        try:
            self.ask("short")
            self.assertIn("connection", b.js(f"{LAST}.querySelector('.error').textContent"))
            b.wait("document.querySelector('#live-state').textContent === 'no connection'")
        finally:
            b.call("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        b.wait("document.querySelector('#live-state').textContent === ''")

    # ---- the page itself

    def test_nothing_external_and_no_complaints(self):
        b = self.browser
        self.ask("story")
        b.wait("document.querySelector('.plot .line').getAttribute('d')?.includes('L')", 15)
        self.assertEqual(b.errors, [])
        self.assertTrue(b.requests)
        self.assertEqual([u for u in b.requests if not u.startswith(self.server.url)], [])

    def test_policy_blocks_what_is_inline(self):
        b = self.browser
        b.js("""(() => { const s = document.createElement('script'); s.textContent = 'window.inline = 1';
                document.body.append(s); const i = new Image(); i.src = 'https://example.invalid/x.png'; })()""")
        time.sleep(0.2)
        self.assertIsNone(b.js("window.inline"))
        self.assertTrue(any("Content Security Policy" in e for e in b.errors), b.errors)

    def test_live_view(self):
        b = self.browser
        b.wait("document.querySelectorAll('.plot').length === 4 && "
               "document.querySelector('.plot .line').getAttribute('d').split('L').length >= 3", 15)
        texts = b.js("[...document.querySelectorAll('.plot strong')].map(x => x.textContent)")
        for text, shape in zip(texts, (r"^[\d,.]+ tokens/s$", r"^\d+$", r"^\d+$", r"^[\d.]+ %$")):
            self.assertRegex(text, shape)
        self.assertNotEqual(texts[0], "0.0 tokens/s")

    def test_theme(self):
        b = self.browser
        background = "getComputedStyle(document.body).backgroundColor"
        light = b.js(background)
        b.screen(1280, 800, dark=True)
        dark = b.js(background)
        self.assertNotEqual(light, dark)
        b.js("document.querySelector('#theme').click()")
        self.assertEqual(b.js(background), light)
        b.call("Page.reload")
        b.wait("document.readyState === 'complete' && document.querySelector('#model').textContent !== '…'")
        self.assertEqual(b.js(background), light)

    def test_contrast(self):
        b = self.browser
        self.ask("story")
        self.ask("full")
        for dark in (False, True):
            b.screen(1280, 800, dark=dark)
            low = b.js("""(() => {
              const rgb = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
              const lum = (c) => { const [r, g, b] = rgb(c).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
                                   return .2126 * r + .7152 * g + .0722 * b; };
              const behind = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
                                        if (!/, 0\\)$|transparent/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
              const out = [];
              for (const e of document.querySelectorAll('header p, h1, h2, button, label, .small, .user p, .body p, .body code, .figures, .error, .hint, .plot span, .plot strong')) {
                if (!e.textContent.trim() || e.closest('[hidden]') || e.disabled) continue;
                const [a, b] = [lum(getComputedStyle(e).color), lum(behind(e))];
                const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
                if (ratio < 4.5) out.push([e.className || e.id || e.tagName, ratio]);
              }
              return out; })()""")
            self.assertEqual(low, [], "dark" if dark else "light")

    def test_every_control_has_a_name(self):
        b = self.browser
        self.ask("story")
        nodes = b.call("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "textbox", "slider", "spinbutton", "link", "log", "complementary"}
        named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes
                 if not n.get("ignored") and n["role"]["value"] in roles]
        self.assertGreater(len(named), 20)
        self.assertEqual([n for n in named if not n[1].strip()], [])

    def test_phone(self):
        b = self.browser
        b.screen(360, 740, phone=True)
        self.ask("story")
        self.assertLessEqual(b.js("document.documentElement.scrollWidth"), 360)
        self.assertFalse(b.js("document.querySelector('#panel').checkVisibility()"))
        b.js("document.querySelector('#panel-open').click()")
        self.assertTrue(b.js("document.querySelector('#panel').checkVisibility() && document.querySelector('#main').inert"))
        self.assertEqual(b.js("document.activeElement.id"), "panel-close")
        self.assertLessEqual(b.js("document.documentElement.scrollWidth"), 360)
        self.shot("phone-panel")
        b.key("Escape")
        self.assertFalse(b.js("document.querySelector('#panel').checkVisibility() || document.querySelector('#main').inert"))
        self.assertEqual(b.js("document.activeElement.id"), "panel-open")
        small = b.js("""[...document.querySelectorAll('header button, #send')].filter(e => e.checkVisibility() &&
            (e.getBoundingClientRect().width < 36 || e.getBoundingClientRect().height < 36)).map(e => e.id)""")
        self.assertEqual(small, [])

    def test_screenshots(self):
        if not ARGS.screenshots:
            return
        b = self.browser
        self.shot("welcome")
        self.ask("story")
        self.ask("short")
        time.sleep(20)
        self.shot("desktop-light")
        b.screen(1280, 800, dark=True)
        self.shot("desktop-dark")
        b.screen(390, 780, phone=True)
        b.js("document.querySelector('#log').scrollTop = 1e6")
        self.shot("phone")

    def story_from(self, url):
        """One answer of a real server, with its figures and plots, and no complaint."""
        b = self.browser
        b.open(url)
        b.wait("!['…', 'no connection'].includes(document.querySelector('#model').textContent)")
        b.errors.clear()
        self.ask('Tell me a story that begins: "The old clock had stopped at noon."')
        self.assertEqual(b.js(f"{LAST}.querySelector('.error')?.textContent ?? ''"), "")
        self.assertGreater(len(b.js(f"{LAST}.querySelector('.body').textContent")), 40)
        self.assertRegex(b.js(f"{LAST}.querySelector('.figures').textContent"), r"^[\d.]+ tokens/s · first token .* · \d+ tokens")
        b.wait("document.querySelector('.plot .line').getAttribute('d')?.split('L').length >= 3", 15)
        self.assertEqual(b.js("document.querySelector('#live-state').textContent"), "")
        self.assertEqual(b.errors, [])

    def test_real_server(self):
        with Server() as server:
            self.story_from(server.url + "/")
            self.shot("real")

    def test_real_server_with_key(self):
        made = subprocess.run([program(), "keys", "new", "alice"], check=True, capture_output=True, text=True)
        key = re.search(r"\blathe-\S+", made.stdout)[0]
        entry = re.search(r"^ *- name: alice\n.*", made.stdout + made.stderr, re.M)[0]
        with tempfile.TemporaryDirectory() as folder:
            keys = os.path.join(folder, "keys.yaml")
            with open(keys, "w", encoding="utf-8") as out:
                out.write("keys:\n" + entry + "\n")
            os.chmod(keys, 0o600)
            with Server("--keys-file", keys, key=key) as server:
                self.assertEqual(server.request("GET", "/", headers={"Authorization": ""})[0], 401)
                self.browser.sign_in("anybody", key)
                try:
                    self.story_from(server.url + "/")
                finally:
                    self.browser.sign_in(None, None)
                # The browser asked its user once and kept the answer for the page's own requests.
                self.assertEqual(self.browser.asked, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--screenshots", help="folder for pictures of the page")
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
