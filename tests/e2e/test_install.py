"""make install, the manual pages and what is generated from the settings table."""
import glob
import os
import re
import subprocess

import pytest

from appliance import BIN, BUILD, ROOT

ENV = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
PAGES = sorted(glob.glob(f"{ROOT}/packaging/man/*.[0-9]"))
ALL_PAGES = PAGES + [f"{ROOT}/packaging/system/sendmail.8"]


def make(*words):
    return subprocess.run(["make", "-s", f"BUILD={os.path.relpath(BUILD, ROOT)}", *words], cwd=ROOT,
                          env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, timeout=300)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    done = make("install", f"DESTDIR={folder}", "prefix=/opt/mail", "sysconfdir=/etc")
    assert done.returncode == 0, done.stdout
    return folder


def test_every_program_is_installed(installed):
    libexec = set(os.listdir(installed / "opt/mail/libexec/mailstead"))
    assert libexec | {"mailsteadctl"} == set(os.listdir(BIN))
    assert os.listdir(installed / "opt/mail/bin") == ["mailsteadctl"]


def test_every_manual_page_is_installed(installed):
    found = {os.path.basename(p) for p in glob.glob(f"{installed}/opt/mail/share/man/man?/*")}
    assert found == {os.path.basename(p) for p in PAGES}


def test_installed_configuration_finds_the_programs(installed):
    conf = installed / "etc/mailstead/mailstead.conf"
    lines = [line for line in conf.read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["paths.libexec = /opt/mail/libexec/mailstead"]
    subprocess.run([installed / "opt/mail/bin/mailsteadctl", "-c", conf, "config", "check"],
                   check=True)


def test_installing_again_keeps_the_administrators_file(installed):
    conf = installed / "etc/mailstead/mailstead.conf"
    before = conf.read_text()
    conf.write_text("server.hostname = mail.example.org\n")
    try:
        done = make("install", f"DESTDIR={installed}", "prefix=/opt/mail", "sysconfdir=/etc")
        assert done.returncode == 0, done.stdout
        assert conf.read_text() == "server.hostname = mail.example.org\n"
    finally:
        conf.write_text(before)


def test_generated_files_are_up_to_date():
    done = make("generated-check")
    assert done.returncode == 0, done.stdout


def test_every_program_has_a_manual_page():
    pages = {os.path.basename(p).rsplit(".", 1)[0] for p in PAGES}
    for program in os.listdir(BIN):
        assert program in pages or f"mailstead-{program}" in pages, program


@pytest.mark.parametrize("page", ALL_PAGES, ids=os.path.basename)
def test_manual_page_has_no_mistakes(page):
    done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          env={**ENV, "MANROFFSEQ": "", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
                          check=False, timeout=60)
    assert done.returncode == 0 and done.stderr == ""


DOCUMENTS = sorted(glob.glob(f"{ROOT}/*.md") + glob.glob(f"{ROOT}/packaging/manual/*.md")
                   + glob.glob(f"{ROOT}/common/*.md"))


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda p: os.path.relpath(p, ROOT))
def test_links_of_documents_lead_somewhere(page):
    text = open(page, encoding="utf-8").read()
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert os.path.exists(os.path.join(os.path.dirname(page), target)), target


def test_versions_agree():
    with open(f"{ROOT}/packaging/debian/changelog", encoding="utf-8") as changelog:
        version = re.match(r"mailstead \(([^)]*)\)", changelog.readline())[1]
    with open(f"{ROOT}/Makefile", encoding="utf-8") as makefile:
        assert f"\nVERSION := {version}\n" in makefile.read()
    for path, line in (("rpm/mailstead.spec", f"Version: +{version}"),
                       ("apk/APKBUILD", f"pkgver={version}")):
        with open(f"{ROOT}/packaging/{path}", encoding="utf-8") as recipe:
            assert re.search(f"(?m)^{line}$", recipe.read()), path


def test_help_names_the_targets():
    text = make("help").stdout
    for target in ("quickstart", "check", "install", "asan", "lint", "generated"):
        assert f"make {target}" in text


def test_make_works_without_a_compiler(tmp_path):
    """A new machine has none: `make quickstart` must get as far as installing it."""
    for tool in ("bash", "sh", "find", "nproc", "echo", "make", "git", "sed"):
        os.symlink(f"/usr/bin/{tool}", tmp_path / tool)
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, env={"PATH": str(tmp_path)},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=60)
    assert done.returncode == 0 and "not found" not in done.stdout, done.stdout
    assert done.stdout.startswith("Trying and testing"), done.stdout
