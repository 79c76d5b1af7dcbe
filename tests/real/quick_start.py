"""The page of examples/gateway in a browser: two tabs chat through the gateway, as people meet it first."""

import pathlib
import unittest

from _browser import DRIVER, ENTER, TAB, Browser
from _peers import BIN, Test, wait_for
from _program import Program

SCREENSHOTS = BIN.parent / "screenshots"
SCHEMES = ("light", "dark")

# [text, ratio] of each text whose contrast with what is behind it is less than WCAG 2.1, 1.4.3 wants.
CONTRAST = """
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
    const rgba = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return canvas.getImageData(0, 0, 1, 1).data;
    };
    const luminance = colour => {
        const [r, g, b] = [...rgba(colour)].map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const behind = e => {
        const colour = getComputedStyle(e).backgroundColor, alpha = rgba(colour)[3];
        if (alpha === 255) return colour;
        if (alpha !== 0) throw new Error('a background that shines through: ' + e.outerHTML);
        return e.parentElement ? behind(e.parentElement) : 'Canvas';
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), low = [];
    let seen = 0;
    const check = (e, text) => {
        const style = getComputedStyle(e);
        if (!e.checkVisibility({visibilityProperty: true})) return;
        ++seen;
        const [a, b] = [luminance(style.color), luminance(behind(e))];
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (ratio < 4.5) low.push([text, ratio]);
    };
    while (walker.nextNode())
        if (walker.currentNode.data.trim()) check(walker.currentNode.parentElement, walker.currentNode.data);
    for (const e of document.querySelectorAll('input')) check(e, e.value);
    return {seen, low};
"""

# What has the focus, and whether that is to be seen.
FOCUSED = """
    const e = document.activeElement, style = getComputedStyle(e);
    const shown = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
    return e === document.body ? null : [e.id || e.textContent, shown];
"""

# What an element is called is what the browser's own accessibility tree says.
CONTROLS = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "image", "region", "log", "list", "main"}


@unittest.skipUnless(DRIVER, "there is no chromedriver")
class QuickStart(Test):
    @classmethod
    def setUpClass(cls):
        SCREENSHOTS.mkdir(exist_ok=True)
        cls.browser = cls.shared(Browser())

    def setUp(self):
        self.gateway = self.opened(Program("--workers", "2"))
        self.first = self.visit(self.browser.tab())

    def visit(self, tab):
        """A tab that shows the page, connected."""
        self.browser.choose(tab)
        self.browser.console(), self.browser.requested()
        self.browser.open(self.gateway.url + "/")
        self.browser.wait_for_text("#state", "^Connected$")
        return tab

    def second_tab(self):
        tab = self.browser.new_tab()
        self.addCleanup(self.close_tab, tab)
        return self.visit(tab)

    def close_tab(self, tab):
        if tab in self.browser.tabs():
            self.browser.choose(tab)
            self.browser.close_tab()
        self.browser.choose(self.first)

    def say(self, text):
        self.browser.run("document.getElementById('text').focus()")
        self.browser.keys(text + ENTER)

    def hears(self, tab, text, css="#log p:not(.own) span"):
        self.browser.choose(tab)
        wait_for(lambda: self.browser.run(
            "return [...document.querySelectorAll(arguments[0])].some(e => e.textContent === arguments[1])", css, text),
            f"{text!r} in {css}")

    def emulate(self, scheme="light", width=1280, motion="reduce"):
        """The whole page is seen, as high as it is."""
        self.browser.devtools("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion}])
        for height in (800, 0):
            self.browser.devtools(
                "Emulation.setDeviceMetricsOverride", width=width, deviceScaleFactor=1, mobile=True,
                height=height or self.browser.run("return document.documentElement.scrollHeight"))

    def test_two_tabs_chat_in_both_directions(self):
        second = self.second_tab()
        self.hears(self.first, "somebody came: 2 here")
        self.say("Is anybody there?")
        self.hears(self.first, "Is anybody there?", "#log .own span")
        self.hears(second, "Is anybody there?")
        self.say("Yes: through the gateway.")
        self.hears(second, "Yes: through the gateway.", "#log .own span")
        self.hears(self.first, "Yes: through the gateway.")
        self.assertRegex(self.browser.text("#log .own small"), r"^\d+(\.\d+)? ms$")
        self.close_tab(second)
        self.hears(self.first, "somebody left: 1 here")

    def test_what_others_say_is_text(self):
        second = self.second_tab()
        evil = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
        self.say(evil)
        self.hears(self.first, evil)
        self.assertEqual(self.browser.run("return document.querySelectorAll('#log img, #log script').length"), 0)
        self.assertNotEqual(self.browser.run("return document.title"), "taken")
        with self.assertRaisesRegex(Exception, "TrustedHTML"):
            self.browser.run("document.body.innerHTML = '<b>'")

    def test_round_trips_are_counted_and_drawn(self):
        def counted():
            return int(self.browser.text("#count"))

        def drawn():
            return self.browser.run("return [...document.querySelectorAll('#chart rect')]"
                                    ".filter(bar => bar.getAttribute('height') > 0).length")
        wait_for(lambda: counted() >= 2, "two round trips")
        before = counted()
        self.say("One more")
        self.hears(self.first, "One more", "#log .own span")
        self.assertGreater(counted(), before)
        wait_for(lambda: counted() >= before + 3, "more of them as time goes")
        self.assertGreaterEqual(drawn(), before + 3)
        for css in ("#last", "#median", "#slowest"):
            self.assertRegex(self.browser.text(css), r"^\d+(\.\d+)? ms$")
        self.assertTrue(self.browser.run("return crossOriginIsolated"), "its clock is a fine one")

    def test_the_request_that_the_server_received_and_its_route(self):
        self.browser.wait_for_text("#answer", r"^200 OK in [\d.]+ ms$")
        self.assertEqual(self.browser.text("#explained .winner"),
                         'at("/") wins: it is the longest prefix that fits, and no pattern does')
        self.assertIn('at("/wss") does not fit', self.browser.text("#explained"))
        self.assertEqual(self.browser.text("#line"), "GET /api/hello")
        self.assertRegex(self.browser.text("#set"), r"X-Forwarded-Proto\s+https")
        self.assertRegex(self.browser.text("#set"), r"X-Forwarded-For\s+127\.0\.0\.1")
        self.assertRegex(self.browser.text("#passed"), rf"(?m)^Host\s+localhost:{self.gateway.port}$")
        self.assertNotRegex(self.browser.text("#passed"), "(?i)x-forwarded|x-real-ip")
        self.assertRegex(self.browser.text("#added"), r"x-served-by\s+relais")
        self.assertRegex(self.browser.text("#pipeline"), r"version 1\.3[^$]*HTTP/1\.1[^$]*at\(\"/wss\"\)")

        self.browser.click("#path")
        self.browser.run("document.getElementById('path').select()")
        self.browser.keys("/wss/none?a=b" + ENTER)
        self.browser.wait_for_text("#explained .winner", r'^at\("/wss"\) wins: ')
        self.browser.run("document.getElementById('path').select()")
        self.browser.keys("//elsewhere.example/" + ENTER)
        self.browser.wait_for_text("#answer", "No answer: write a path of this gateway")

    def test_it_comes_back_after_a_restart(self):
        self.assertEqual(self.gateway.end()[0], 0)
        self.browser.wait_for_text("#state", "^The gateway (is going away|does not answer)")
        self.browser.wait_for_text("#countdown", r"^again in \d+ s$")
        self.assertTrue(self.browser.run("return document.getElementById('retry').checkVisibility()"))
        self.say("kept")
        self.assertEqual(self.browser.run("return document.getElementById('text').value"), "kept")
        # Each try comes later than the one before.
        self.browser.run("""
            const connect = WebSocket;
            window.tries = [];
            window.WebSocket = class extends connect { constructor(url) { tries.push(performance.now()); super(url); } };
            WebSocket.OPEN = connect.OPEN;
        """)
        tries = wait_for(lambda: [t for t in [self.browser.run("return tries")] if len(t) >= 4], "four tries")[0]
        self.assertGreater(tries[3] - tries[2], (tries[1] - tries[0]) * 1.3)
        self.browser.wait_for_text("#state", "reload this page")
        again = self.opened(Program("--workers", "2", listen=f"127.0.0.1:{self.gateway.port}"))
        self.browser.click("#retry")
        self.browser.wait_for_text("#state", "^Connected$")
        self.browser.keys(ENTER)
        self.hears(self.first, "kept", "#log .own span")
        again.end()
        again.logged('"GET /wss HTTP/1.1" 101')

    def test_nothing_from_elsewhere_and_no_complaint(self):
        wait_for(lambda: int(self.browser.text("#count")) >= 1, "a round trip")
        self.browser.wait_for_text("#answer", "^200")
        asked = self.browser.requested()
        here = f"localhost:{self.gateway.port}/"
        self.assertIn(f"wss://{here}wss", asked)
        for name in ("", "page.css", "page.js", "page.svg", "api/hello"):
            self.assertIn(f"https://{here}{name}", asked)
        self.assertFalse([url for url in asked if url.partition("://")[2][:len(here)] != here], asked)
        self.assertEqual(self.browser.console(), [])
        blocked = self.browser.run("""
            const why = new Promise(tell => addEventListener('securitypolicyviolation', e => tell(e.violatedDirective)));
            return fetch('https://elsewhere.invalid/').then(() => 'sent', () => why);
        """)
        self.assertEqual(blocked, "connect-src")

    def test_the_keyboard_alone(self):
        reached = []
        while True:
            self.browser.keys(TAB)
            focused = self.browser.run(FOCUSED)
            if focused is None or focused in reached:
                break
            reached.append(focused)
            if focused[0] == "text":
                self.browser.keys("By keyboard")
            if focused[0] == "Send":
                self.browser.keys(ENTER)
        self.hears(self.first, "By keyboard", "#log .own span")
        self.assertFalse([name for name, shown in reached if not shown], "the focus is to be seen")
        self.assertEqual([name for name, _ in reached], ["Open a second tab", "log", "name", "text", "Send", "path",
                                                        "Request it", "commands"])

    def test_names_and_roles(self):
        self.browser.wait_for_text("#answer", "^200")
        self.say("hello")
        self.hears(self.first, "hello", "#log .own span")
        nodes = self.browser.devtools("Accessibility.getFullAXTree")["nodes"]
        named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
        roles = {role for role, _ in named}
        self.assertLessEqual({"button", "link", "textbox", "image", "region", "log", "status", "heading", "main"}, roles)
        nameless = [role for role, name in named if role in CONTROLS - {"main", "list"} and not name.strip()]
        self.assertEqual(nameless, [])
        structure = self.browser.run("""
            const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
            return {lang: document.documentElement.lang, title: document.title,
                    levels: [...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1]),
                    twice: ids.filter((id, i) => ids.indexOf(id) !== i)};
        """)
        self.assertEqual((structure["lang"], structure["twice"]), ("en", []))
        self.assertTrue(structure["title"])
        levels = structure["levels"]
        self.assertEqual((levels[0], levels.count(1)), (1, 1))
        self.assertTrue(all(b - a <= 1 for a, b in zip(levels, levels[1:])), levels)

    def test_contrast_and_widths_in_light_and_dark(self):
        second = self.second_tab()
        for line in ("Hello from the second tab", "It came through the gateway"):
            self.say(line)
        self.browser.choose(self.first)
        self.hears(self.first, "It came through the gateway")
        self.say("So did this: there and back in no time")
        self.hears(self.first, "So did this: there and back in no time", "#log .own span")
        wait_for(lambda: int(self.browser.text("#count")) >= 8, "a picture of round trips")
        for scheme in SCHEMES:
            for name, width in (("", 1280), ("_medium", 800), ("_narrow", 360)):
                with self.subTest(scheme=scheme, width=width):
                    self.emulate(scheme, width)
                    self.browser.screenshot(SCREENSHOTS / f"{scheme}{name}.png")
                    found = self.browser.run(CONTRAST)
                    self.assertGreater(found["seen"], 40)
                    self.assertEqual(found["low"], [])
                    self.assertLessEqual(self.browser.run("return document.documentElement.scrollWidth"), width)
        self.assertNotEqual(*[self.ground(scheme) for scheme in SCHEMES])
        self.gateway.end()
        self.browser.wait_for_text("#countdown", "again in")
        for scheme in SCHEMES:
            self.emulate(scheme)
            self.assertEqual(self.browser.run(CONTRAST)["low"], [])
            self.browser.screenshot(SCREENSHOTS / f"{scheme}_lost.png")

    def ground(self, scheme):
        self.emulate(scheme)
        return self.browser.run("return getComputedStyle(document.body).backgroundColor")

    def test_motion_only_where_it_is_welcome(self):
        def moves(motion):
            self.emulate(motion=motion)
            return wait_for(lambda: self.browser.run("return document.getAnimations().length"), "something moves")
        self.assertTrue(moves("no-preference"))
        self.emulate(motion="reduce")
        count = int(self.browser.text("#count"))
        wait_for(lambda: not self.browser.run("return document.getAnimations().length"), "what moved has ended")
        wait_for(lambda: int(self.browser.text("#count")) > count + 1, "more round trips")
        self.assertEqual(self.browser.run("return document.getAnimations().length"), 0)


if __name__ == "__main__":
    unittest.main()
