"""The web admin in Chromium: wizard, accounts, ports and settings, at two widths, with and without
JavaScript. MS_SCREENSHOTS=folder keeps pictures of what was seen."""
import os
import shutil
import tempfile

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from appliance import PASSWORD, Appliance, free_ports

ADMIN = "root@example.test"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}

PATHS = ("/", "/accounts", "/account?a=alice%40example.test", "/aliases", "/domains",
         "/domain?d=example.test", "/ports", "/certificates", "/certificate?id=default", "/network",
         "/routes", "/queue", "/trace", "/logs", "/backup", "/backup/restore?g=20260101T000000Z",
         "/system", "/undelete?a=alice%40example.test",
         "/me")
# WCAG 2 AA: every text against what is painted behind it.
CONTRAST = """
const channel = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const parts = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
const light = c => .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2]);
const behind = e => { for (; e; e = e.parentElement) {
	const c = parts(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; }
	return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0, 1] : [255, 255, 255, 1]; };
const bad = [];
for (const e of document.querySelectorAll("body *")) {
	const own = [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim());
	if (!own && !["INPUT", "SELECT", "TEXTAREA"].includes(e.tagName)) continue;
	if (!e.getClientRects().length || e.closest("svg")) continue;
	const style = getComputedStyle(e), a = light(parts(style.color)), b = light(behind(e));
	const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
	const large = parseFloat(style.fontSize) >= 24 ||
		(parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
	if (ratio < (large ? 3 : 4.5))
		bad.push([e.tagName, e.textContent.trim().slice(0, 30), ratio.toFixed(2)]);
}
return bad;
"""


class Person:
    """Somebody in front of a browser."""

    def __init__(self, port, size, has_script):
        self.folder = tempfile.mkdtemp(prefix="mailstead-chromium-")
        self.base = f"https://localhost:{port}"
        self.name = f"{size}-{'script' if has_script else 'plain'}"
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        options.accept_insecure_certs = True
        for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                     "--no-first-run", "--disable-background-networking",
                     "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
                     f"--user-data-dir={self.folder}"):
            options.add_argument(flag)
        if not has_script:
            options.add_experimental_option(
                "prefs", {"profile.managed_default_content_settings.javascript": 2})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        width, height = SIZES[size]
        # A headless window has a smallest width; the page's own is what counts.
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"})
        self.width = width

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.driver.quit()
        shutil.rmtree(self.folder, ignore_errors=True)

    def go(self, path):
        self.driver.get(self.base + path)

    def type(self, name, text, form=""):
        field = self.driver.find_element(By.CSS_SELECTOR, f"{form} [name={name}]")
        field.clear()
        field.send_keys(text)

    def press(self, text, within="main"):
        """The button with this text; waits until the next page is there."""
        for button in self.driver.find_elements(By.CSS_SELECTOR, f"{within} button"):
            if button.text == text:
                body = self.driver.find_element(By.TAG_NAME, "body")
                button.click()
                WebDriverWait(self.driver, 30).until(lambda d: d.find_element(
                    By.TAG_NAME, "body").id != body.id and d.find_element(By.TAG_NAME, "h1"))
                return
        raise AssertionError(f"no button {text}: {self.text()}")

    def sign_in(self):
        self.go("/login")
        self.type("address", ADMIN)
        self.type("password", PASSWORD)
        self.press("Sign in")

    def text(self):
        return self.driver.find_element(By.TAG_NAME, "body").text

    def look(self, name):
        """Nothing runs out of the window sideways, nothing was complained about."""
        wide = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]["width"]
        assert wide <= self.width + 1, (name, wide)
        problems = [e for e in self.driver.get_log("browser") if e["level"] == "SEVERE" and
                    "favicon" not in e["message"] and "409" not in e["message"] and
                    "403" not in e["message"]]
        assert not problems, problems
        folder = os.environ.get("MS_SCREENSHOTS")
        if folder:
            os.makedirs(folder, exist_ok=True)
            self.driver.save_screenshot(f"{folder}/{self.name}-{name}.png")


def start(**kwargs):
    port, http = free_ports(2)
    running = Appliance(settings={"web.port": str(port), "web.http_port": str(http)}, **kwargs)
    running.web_port = port
    return running


@pytest.mark.parametrize("size,has_script", [("desktop", True), ("phone", False)])
def test_a_newcomer_gets_a_working_mailbox(size, has_script):
    with start(accounts=()) as fresh, Person(fresh.web_port, size, has_script) as person:
        person.go("/")
        person.look("setup-1")
        person.type("code", fresh.ctl("setup-code")[0]["code"])
        person.press("Next")
        person.type("domain", "example.test")
        person.type("host", "mail.example.test")
        person.look("setup-2")
        person.press("Next")
        person.driver.find_element(By.LINK_TEXT, "Look now").click()
        person.look("setup-network")
        person.driver.find_element(By.LINK_TEXT, "Next").click()
        assert person.driver.find_element(By.NAME, "name").get_attribute("value") == \
            "admin@example.test"
        person.type("password", PASSWORD)
        person.look("setup-3")
        person.press("Next")
        person.type("password", PASSWORD)
        person.look("setup-second-factor")
        person.press("Set it up")
        person.look("setup-second-factor-code")
        person.go("/setup")
        person.driver.find_element(By.LINK_TEXT, "Later").click()
        person.type("name", "alice@example.test")
        person.type("password", PASSWORD)
        person.look("setup-4")
        person.press("Next")
        person.look("setup-5")
        assert str(fresh.ports["imaps"]) in person.text()
        person.driver.find_element(By.LINK_TEXT, "Go to the home page").click()
        # Where no other server can be reached, as in most places that run tests, the look has said so.
        assert "Everything works." in person.text() or "no other server is reached" in person.text()
        person.look("home")


@pytest.fixture(scope="module")
def server():
    with start() as running:
        running.ctl("account", "add", ADMIN, "--admin", "--password-stdin", secret=PASSWORD)
        yield running


@pytest.mark.parametrize("size,has_script", [("desktop", True), ("phone", True),
                                             ("phone", False)])
def test_an_administrator_at_work(server, size, has_script):
    with Person(server.web_port, size, has_script) as person:
        person.go("/")
        person.look("login")
        person.sign_in()
        for path in PATHS:
            person.go(path)
            person.look(path.strip("/").split("?")[0] or "home")
        person.go("/accounts")
        name = f"{person.name}@example.test"
        person.type("name", name, "form[action='/accounts/add']")
        person.press("Add")
        person.look("sheet")
        assert name in person.text()
        if has_script:
            assert person.driver.find_elements(By.CSS_SELECTOR, ".copy button")
        person.go("/ports")
        form = "section#submission-alt form"
        Select(person.driver.find_element(
            By.CSS_SELECTOR, f"{form} [name=enabled]")).select_by_value("no")
        person.press("Change", form)
        assert "Changed." in person.text()
        row = [t for t in person.text().split("\n") if t.startswith("submission-alt ")][0]
        assert "off" in row
        Select(person.driver.find_element(
            By.CSS_SELECTOR, f"{form} [name=enabled]")).select_by_value("yes")
        person.press("Change", form)
        person.look("ports-changed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read(server, scheme):
    """Contrast of all texts, in light and dark; names of all fields and buttons; headings in order;
    and a page weighs little, with all that it loads."""
    with Person(server.web_port, "phone", True) as person:
        person.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": scheme}]})
        person.sign_in()
        for path in ("/login",) + PATHS:
            person.go(path)
            assert person.driver.execute_script(CONTRAST) == [], path
            nameless = person.driver.execute_script("""
                return [...document.querySelectorAll("input:not([type=hidden]), select, textarea, "
                    + "button, a")].filter(e => !(e.labels && e.labels.length) && !e.ariaLabel &&
                    !e.textContent.trim()).map(e => e.outerHTML)""")
            assert nameless == [], path
            levels = person.driver.execute_script(
                "return [...document.querySelectorAll('h1,h2,h3')].map(e => +e.tagName[1])")
            assert levels.count(1) == 1 and levels[0] == 1, (path, levels)
            assert person.driver.execute_script("return document.documentElement.lang") == "en"
            weight = person.driver.execute_script("""
                return [performance.getEntriesByType("navigation")[0],
                    ...performance.getEntriesByType("resource")].reduce(
                        (n, e) => n + e.decodedBodySize, 0)""")
            assert weight < 100_000, (path, weight)
            if scheme == "dark":
                person.look("dark-" + (path.strip("/").split("?")[0].replace("/", "-") or "home"))


def test_by_keyboard_only(server):
    """Tab and Return: signing in, past the menu, a domain added."""
    with Person(server.web_port, "desktop", True) as person:
        def key(*keys):
            ActionChains(person.driver).send_keys(*keys).perform()

        def focused():
            return person.driver.switch_to.active_element

        def tab_to(what):
            for _ in range(60):
                if what(focused()):
                    outline = focused().value_of_css_property("outline-style")
                    assert outline != "none", focused().get_attribute("outerHTML")
                    return
                key(Keys.TAB)
            raise AssertionError(focused().get_attribute("outerHTML"))

        def go_on(*keys):
            body = person.driver.find_element(By.TAG_NAME, "body")
            key(*keys)
            WebDriverWait(person.driver, 30).until(lambda d: d.find_element(
                By.TAG_NAME, "body").id != body.id and d.find_element(By.TAG_NAME, "h1"))

        person.go("/login")
        tab_to(lambda e: e.get_attribute("name") == "address")
        key(ADMIN)
        tab_to(lambda e: e.get_attribute("name") == "password")
        go_on(PASSWORD, Keys.RETURN)
        key(Keys.TAB)
        assert focused().text == "To the page"
        tab_to(lambda e: e.text == "Domains")
        go_on(Keys.RETURN)
        # Past the menu at once.
        key(Keys.TAB)
        key(Keys.RETURN)
        assert person.driver.current_url.endswith("#main")
        tab_to(lambda e: e.get_attribute("name") == "name" and e.tag_name == "input" and
               e.get_attribute("type") != "hidden")
        go_on("keyboard.test", Keys.RETURN)
        assert "keyboard.test" in person.text() and "Added." in person.text()
        server.ctl("domain", "remove", "keyboard.test")
