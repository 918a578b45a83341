"""A certificate authority for tests, by openssl(1): root, intermediate, and what they sign."""
import os
import subprocess


def openssl(*args, data=b"", check=True):
    done = subprocess.run(["openssl", *args], input=data, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False, timeout=60)
    assert not check or done.returncode == 0, (args, done.stderr)
    return done.stdout


def make_key(kind="ec"):
    if kind == "ec":
        return openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    return openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")


class Leaf:
    def __init__(self, cert, key, chain):
        self.cert, self.key, self.chain = cert, key, chain

    @property
    def full(self):
        """Everything a good import has."""
        return self.key + self.cert + self.chain


class CA:
    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.serial = 1000
        self.root_key, self.middle_key = make_key(), make_key()
        self.root = self.write("root.pem", self.self_sign(self.root_key, "/CN=Test Root"))
        request = self.request(self.middle_key, "/CN=Test Intermediate")
        self.write("middle.pem", self.sign(request, "root", "basicConstraints=critical,CA:TRUE\n"
                                           "keyUsage=critical,keyCertSign,cRLSign\n"))
        self.middle = self.read("middle.pem")

    def path(self, name):
        return f"{self.folder}/{name}"

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return data

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def self_sign(self, key, subject):
        self.write("key.tmp", key)
        return openssl("req", "-x509", "-new", "-key", self.path("key.tmp"), "-subj", subject,
                       "-days", "3650", "-addext", "basicConstraints=critical,CA:TRUE",
                       "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def request(self, key, subject):
        self.write("key.tmp", key)
        return openssl("req", "-new", "-key", self.path("key.tmp"), "-subj", subject)

    def sign(self, request, by="middle", extensions="", days=90):
        self.serial += 1
        self.write("sign.csr", request)
        self.write("sign.key", self.root_key if by == "root" else self.middle_key)
        self.write("sign.ext", extensions.encode())
        return openssl("x509", "-req", "-in", self.path("sign.csr"), "-CA", self.path(f"{by}.pem"),
                       "-CAkey", self.path("sign.key"), "-set_serial", str(self.serial),
                       "-days", str(days), "-extfile", self.path("sign.ext"))

    def answer(self, request, *names, days=90):
        """What a CA sends back for a request."""
        san = ",".join(f"DNS:{n}" for n in names)
        return self.sign(request, extensions=f"basicConstraints=CA:FALSE\n"
                                             f"keyUsage=critical,digitalSignature\n"
                                             f"subjectAltName={san}\n", days=days)

    def leaf(self, *names, kind="ec", days=90):
        key = make_key(kind)
        cert = self.answer(self.request(key, f"/CN={names[0]}"), *names, days=days)
        return Leaf(cert, key, self.middle)

    def pkcs12(self, leaf, password, *options):
        self.write("p12.key", leaf.key)
        self.write("p12.pem", leaf.cert + leaf.chain)
        return openssl("pkcs12", "-export", "-inkey", self.path("p12.key"), "-in",
                       self.path("p12.pem"), "-passout", f"pass:{password}", *options)

    def ocsp(self, leaf, days=7):
        """A response that says the certificate is good."""
        entry = "\t".join(["V", "400101000000Z", "", self.serial_of(leaf), "unknown", "/CN=x"])
        self.write("index.txt", entry.encode() + b"\n")
        self.write("ocsp.pem", leaf.cert)
        self.write("sign.key", self.middle_key)
        openssl("ocsp", "-index", self.path("index.txt"), "-CA", self.path("middle.pem"),
                "-rsigner", self.path("middle.pem"), "-rkey", self.path("sign.key"),
                "-issuer", self.path("middle.pem"), "-cert", self.path("ocsp.pem"),
                "-respout", self.path("ocsp.der"), "-ndays", str(days), "-noverify")
        return self.read("ocsp.der")

    def serial_of(self, leaf):
        return openssl("x509", "-noout", "-serial", data=leaf.cert).decode().strip().split("=")[1]
