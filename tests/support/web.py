"""A browser without JavaScript, for tests of the web admin: cookies, forms, redirects."""
import html.parser
import http.client
import ssl
import urllib.parse
import uuid


class Parser(html.parser.HTMLParser):
    """Forms with their fields, links, headings, and the text."""

    def __init__(self):
        super().__init__()
        self.forms, self.links, self.ids = [], [], []
        self.text, self.labels, self.unlabelled = [], 0, []
        self.form = self.select = self.option = self.area = None
        self.in_label = False
        self.headings = []

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if "id" in a:
            self.ids.append(a["id"])
        if tag == "form":
            self.form = {"action": a.get("action", ""), "method": a.get("method", "get"),
                         "fields": {}, "buttons": []}
            self.forms.append(self.form)
        elif tag == "label":
            self.in_label = True
        elif tag == "a" and "href" in a:
            self.links.append(a["href"])
        elif tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        if self.form is None or "name" not in a:
            if tag == "option" and self.select:
                value = a.get("value", "")
                if "selected" in a or self.form["fields"][self.select] is None:
                    self.form["fields"][self.select] = value
            return
        self.field(tag, a)

    def field(self, tag, a):
        name = a["name"]
        if tag == "button":
            self.form["buttons"].append((name, a.get("value", "")))
            return
        if not self.in_label and a.get("type") != "hidden" and "aria-label" not in a:
            self.unlabelled.append(name)
        if tag == "input" and a.get("type") not in ("checkbox", "radio", "file"):
            self.form["fields"][name] = a.get("value", "")
        elif tag == "select":
            self.select = name
            self.form["fields"][name] = None
        elif tag == "textarea":
            self.form["fields"][name] = ""

    def handle_endtag(self, tag):
        if tag == "form":
            self.form = None
        elif tag == "select":
            self.select = None
        elif tag == "label":
            self.in_label = False

    def handle_data(self, data):
        self.text.append(data)


class Page:
    def __init__(self, status, headers, body, path):
        self.status, self.headers, self.body, self.path = status, headers, body, path
        self.html = body.decode("utf-8", "replace")
        self.parser = Parser()
        if "html" in headers.get("Content-Type", ""):
            self.parser.feed(self.html)
        self.text = " ".join(" ".join(self.parser.text).split())
        self.forms = self.parser.forms

    def form(self, action, **having):
        found = [f for f in self.forms if f["action"] == action and
                 all(f["fields"].get(k) == v for k, v in having.items())]
        assert found, (action, having, self.status, self.text[:2000])
        return found[0]


class Browser:
    def __init__(self, port, host="127.0.0.1"):
        self.port, self.host = port, host
        self.cookies = {}
        self.page = None
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def request(self, method, path, body=b"", headers=None):
        """One request, no redirect followed."""
        conn = http.client.HTTPSConnection(self.host, self.port, context=self.context, timeout=60)
        all_headers = {"Connection": "close", **(headers or {})}
        if self.cookies:
            all_headers.setdefault(
                "Cookie", "; ".join(f"{k}={v}" for k, v in self.cookies.items()))
        conn.request(method, path, body=body or None, headers=all_headers)
        answer = conn.getresponse()
        data = answer.read()
        conn.close()
        for key, value in answer.getheaders():
            if key.lower() != "set-cookie":
                continue
            name, _, rest = value.partition("=")
            text = rest.split(";")[0]
            if text:
                self.cookies[name] = text
            else:
                self.cookies.pop(name, None)
        return Page(answer.status, dict(answer.getheaders()), data, path)

    def follow(self, page):
        for _ in range(5):
            if page.status != 303:
                break
            page = self.request("GET", page.headers["Location"])
        self.page = page
        return page

    def open(self, path):
        return self.follow(self.request("GET", path))

    @staticmethod
    def multipart(fields, files=None):
        mark = uuid.uuid4().hex
        parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n'.encode() +
                 (v if isinstance(v, bytes) else v.encode()) + b"\r\n"
                 for k, v in fields.items()]
        parts += [(f'--{mark}\r\nContent-Disposition: form-data; name="{k}"; filename="f"\r\n'
                   "Content-Type: application/octet-stream\r\n\r\n").encode() + v + b"\r\n"
                  for k, v in (files or {}).items()]
        return (b"".join(parts) + f"--{mark}--\r\n".encode(),
                f"multipart/form-data; boundary={mark}")

    def post(self, action, fields, files=None, headers=None):
        body, kind = self.multipart(fields, files)
        return self.follow(self.request("POST", action, body,
                                        {"Content-Type": kind, **(headers or {})}))

    def submit(self, action, *, having=None, files=None, button=None, **values):
        """Fills in the current page's form and sends it, as a person would."""
        form = self.page.form(action, **(having or {}))
        for name in values:
            if name not in ("sure", "admin", "force", "agree"):
                assert name in form["fields"], (name, form)
        fields = {**{k: v or "" for k, v in form["fields"].items()}, **values}
        if button:
            assert button in form["buttons"], form
            fields[button[0]] = button[1]
        return self.post(action, fields, files)

    def sign_in(self, address, password, code=""):
        self.open("/login")
        return self.submit("/login", address=address, password=password, code=code)


def query(text):
    return urllib.parse.quote(text, safe="")
