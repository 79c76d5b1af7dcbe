"""Chromium without a window, driven through chromedriver (W3C WebDriver over HTTP)."""

import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile

from _peers import LOCAL, PATIENCE, Folder, wait_for

DRIVER = shutil.which("chromedriver")
TAB, ENTER = "\ue004", "\ue007"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the name that WebDriver gives to references


class BrowserError(Exception):
    """What chromedriver says about a command that failed."""


class Browser:
    """A browser with a fresh profile that takes any certificate; commands go to the tab chosen last."""

    def __init__(self):
        self._folder = Folder()
        self._said = tempfile.TemporaryFile("w+")
        # Its files are in the folder, and its processes in a session of their own.
        self._driver = subprocess.Popen([DRIVER, "--port=0"], stdout=self._said, stderr=subprocess.STDOUT,
                                        env=dict(os.environ, HOME=str(self._folder.path)), start_new_session=True)
        self._session = None
        try:
            self._port = int(wait_for(self._announced, "chromedriver listens").group(1))
            arguments = ["--headless=new", "--no-proxy-server", "--disable-background-networking",
                         "--disable-component-update", f"--user-data-dir={self._folder.path}/profile"]
            if os.geteuid() == 0:
                arguments.append("--no-sandbox")
            self._session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": {
                "browserName": "chrome", "acceptInsecureCerts": True, "goog:chromeOptions": {"args": arguments},
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}})["sessionId"]
        except BaseException:
            self.close()
            raise

    def _announced(self):
        if self._driver.poll() is not None:
            raise AssertionError("chromedriver did not start: " + self._text())
        return re.search(r"successfully on port (\d+)", self._text())

    def _text(self):
        return os.pread(self._said.fileno(), 1 << 20, 0).decode()

    def _call(self, method, path, content=None):
        connection = http.client.HTTPConnection(LOCAL, self._port, timeout=2 * PATIENCE)
        connection.request(method, path, json.dumps(content) if content is not None else None,
                           {"Content-Type": "application/json"})
        value = json.load(connection.getresponse())["value"]
        connection.close()
        if isinstance(value, dict) and "error" in value:
            raise BrowserError(f"{value['error']}: {value['message'].splitlines()[0]}")
        return value

    def post(self, path, **content):
        return self._call("POST", f"/session/{self._session}{path}", content)

    def get(self, path):
        return self._call("GET", f"/session/{self._session}{path}")

    def devtools(self, command, **parameters):
        """A command of Chromium's own protocol, for the chosen tab."""
        return self.post("/goog/cdp/execute", cmd=command, params=parameters)

    def open(self, url):
        self.post("/url", url=url)

    def tab(self):
        return self.get("/window")

    def new_tab(self):
        return self.post("/window/new", type="tab")["handle"]

    def tabs(self):
        return self.get("/window/handles")

    def close_tab(self):
        """Closes the chosen tab; another one has to be chosen then."""
        self._call("DELETE", f"/session/{self._session}/window")

    def choose(self, tab):
        self.post("/window", handle=tab)

    def run(self, script, *arguments):
        """What the body of a JavaScript function returns."""
        return self.post("/execute/sync", script=script, args=list(arguments))

    def find(self, css):
        """An element, as `run` takes it."""
        return self.post("/element", using="css selector", value=css)

    def text(self, css):
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", css)

    def wait_for_text(self, css, what):
        return wait_for(lambda: re.search(what, self.text(css)), f"{what!r} in {css}")

    def click(self, css):
        self.post(f"/element/{self.find(css)[ELEMENT]}/click")

    def keys(self, text):
        """Types into what has the focus; TAB and ENTER are keys too."""
        strokes = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.post("/actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def screenshot(self, path):
        """A PNG file of what is seen."""
        path.write_bytes(base64.b64decode(self.get("/screenshot")))

    def console(self):
        """Messages of the chosen tab's console since the last call."""
        return [entry["message"] for entry in self.post("/se/log", type="browser")]

    def requested(self):
        """URLs that the chosen tab asked for since the last call, WebSockets too."""
        events = [json.loads(entry["message"])["message"] for entry in self.post("/se/log", type="performance")]
        return [e["params"]["url"] if e["method"] == "Network.webSocketCreated" else e["params"]["request"]["url"]
                for e in events if e["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated")]

    def _processes(self):
        """The processes of the browser, all of its session: some outlive the driver for a moment, and use the profile."""
        running = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(pid)) == self._driver.pid:
                    running.append(int(pid))
        return running

    def close(self):
        try:
            if self._session:
                self._call("DELETE", f"/session/{self._session}")
        finally:
            self._driver.terminate()
            self._driver.wait(PATIENCE)
            wait_for(lambda: not self._processes(), "the browser has ended")
            self._said.close()
            self._folder.close()
