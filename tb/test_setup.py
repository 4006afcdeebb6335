"""The set-up script: what it says when something is missing, and that it installs once.

It runs in a folder of its own, with a PATH that holds nothing but stand-ins, so nothing is
installed.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "setup.sh"
TOOLS = ("cat", "chmod", "cmp", "cp", "dirname", "flock", "mkdir", "rm")

#: Fails if an argument contains a word of `broken`; `-m venv` puts a copy of it into the folder.
#: Its version is judged by the script's own expression.
PYTHON = """\
#!/bin/sh
echo "$0 $*" >> "{log}"
for word in $(cat "{broken}"); do
    case "$*" in *"$word"*) exit 1 ;; esac
done
case "$2" in *version_info*)
    exec {real} -c 'import sys; sys.version_info = {version}; exec(sys.argv[1])' "$2" ;;
esac
if [ "$2" = venv ]; then
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
fi
"""


class Checkout:
    """Folder with the script and its lock files, and the stand-ins on its PATH."""

    def __init__(self, folder: Path):
        self.folder = folder / "checkout"
        self.bin = folder / "bin"
        self.calls, self.broken = folder / "calls", folder / "broken"
        (self.folder / "scripts").mkdir(parents=True)
        shutil.copy(SCRIPT, self.folder / "scripts")
        for name in ("requirements.lock", "requirements-cells.lock"):
            (self.folder / name).write_text(name)
        self.bin.mkdir()
        for tool in TOOLS:
            if path := shutil.which(tool):
                (self.bin / tool).symlink_to(path)
        self.break_at()
        self.add("c++", "#!/bin/sh\n")
        self.add_python("python3", (3, 11, 0))

    def add(self, name: str, text: str):
        """Put a stand-in on the PATH."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def add_python(self, name: str, version: tuple[int, ...]):
        """Put a stand-in of Python on the PATH."""
        self.add(name, PYTHON.format(log=self.calls, broken=self.broken, real=sys.executable,
                                     version=version))

    def break_at(self, *words: str):
        """Let Python fail if its arguments contain one of ``words``."""
        self.broken.write_text(" ".join(words))

    def run(self, **variables) -> subprocess.CompletedProcess:
        """Run the script from another folder; forget earlier calls of Python."""
        self.calls.write_text("")
        return subprocess.run(["/bin/sh", self.folder / "scripts" / "setup.sh"],
                              env={"PATH": str(self.bin), **variables}, cwd=self.folder.parent,
                              capture_output=True, text=True, timeout=60)

    def refuse(self, message: str, **variables):
        """Expect one line on stderr and exit status 2."""
        process = self.run(**variables)
        assert process.stderr == f"mixpe: set-up: {message}\n"
        assert process.returncode == 2


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


NO_PYTHON = "Python 3.11 or later is missing: install python3 python3-venv libpython3-dev"


def test_no_python(checkout):
    (checkout.bin / "python3").unlink()
    checkout.refuse(NO_PYTHON)
    assert not (checkout.folder / "build").exists()


def test_python_that_is_too_old(checkout):
    checkout.add_python("python3", (3, 10, 14))
    checkout.refuse(NO_PYTHON)
    assert not (checkout.folder / "build").exists()


def test_later_python_beside_an_old_one(checkout):
    """The first that is recent enough is taken."""
    for name, version in (("python3", (3, 9)), ("python3.12", (3, 12)), ("python3.13", (3, 13))):
        checkout.add_python(name, version)
    assert checkout.run().returncode == 0
    assert f"{checkout.bin / 'python3.13'} -m venv build/venv" in checkout.calls.read_text()
    assert "python3.12" not in checkout.calls.read_text()


def test_python_that_was_asked_for(checkout):
    checkout.refuse(NO_PYTHON, PYTHON="python9")


@pytest.mark.parametrize("variables", [{}, {"CXX": "absent"}])
def test_no_compiler(checkout, variables):
    if not variables:
        (checkout.bin / "c++").unlink()
    checkout.refuse("a C++ compiler is missing: install g++", **variables)
    assert not (checkout.folder / "build").exists()


def test_no_venv_module(checkout):
    checkout.break_at("ensurepip")
    checkout.refuse("the venv module of python3 is missing: install python3-venv")
    assert not (checkout.folder / "build").exists()


@pytest.mark.parametrize(("broken", "message"), [
    ("requirements.lock", "the packages of requirements.lock could not be installed"),
    ("requirements-cells.lock", "the packages of requirements-cells.lock could not be installed"),
    ("--editable", "the checkout could not be installed"),
])
def test_failed_installation_is_tried_again(checkout, broken, message):
    checkout.break_at(broken)
    for _ in range(2):
        checkout.refuse(message)
    checkout.break_at()
    assert checkout.run().returncode == 0


def test_no_shared_library(checkout):
    """What was installed already is not installed again."""
    checkout.break_at("find_libpython")
    for _ in range(2):
        checkout.refuse("the shared library of python3 is missing: install libpython3-dev")
    assert "install" not in checkout.calls.read_text()
    checkout.break_at()
    assert checkout.run().returncode == 0
    assert "install" not in checkout.calls.read_text()
    assert checkout.run().returncode == 0
    assert "find_libpython" not in checkout.calls.read_text()


def test_installs_again_where_it_was_moved(checkout):
    first = checkout.run()
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    assert checkout.run().stdout == first.stdout
    assert checkout.run().stdout == ""


def test_installs_once_for_each_lock_file(checkout):
    first = checkout.run()
    assert (first.stdout, first.stderr, first.returncode) == (
        "mixpe: installing the locked dependencies into build/venv (once)\n", "", 0)
    installs = [line for line in checkout.calls.read_text().splitlines() if "pip" in line]
    assert len([line for line in installs if "--require-hashes" in line]) == 2
    assert not (checkout.folder.parent / "build").exists()  # from where it was called
    again = checkout.run()
    assert (again.stdout, again.stderr, again.returncode) == ("", "", 0)
    assert "pip" not in checkout.calls.read_text().replace("ensurepip", "")
    for name in ("requirements.lock", "requirements-cells.lock"):
        (checkout.folder / name).write_text("changed")
        (stale := checkout.folder / "build" / "venv" / "stale").touch()
        assert checkout.run().stdout == first.stdout
        assert not stale.exists()
        assert checkout.run().stdout == ""
