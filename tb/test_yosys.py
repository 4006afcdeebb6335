"""Yosys as a program for other tools."""

import subprocess
import sys


def run(folder, script):
    """Run a script file as other tools do, in a folder."""
    (folder / "a.ys").write_text(script)
    return subprocess.run([sys.executable, "-m", "hdl.yosys", "-q", "-l", "a.rpt", "a.ys"],
                          cwd=folder, capture_output=True, text=True)


def test_script(tmp_path):
    (tmp_path / "a.v").write_text("module a (input x, output y);\nassign y = ~x;\nendmodule\n")
    process = run(tmp_path, "read_verilog a.v\n\nwrite_json a.json\n")
    assert (process.stdout, process.stderr, process.returncode) == ("", "", 0)
    assert '"$not"' in (tmp_path / "a.json").read_text()
    assert "Executing JSON backend" in (tmp_path / "a.rpt").read_text()


def test_error(tmp_path):
    process = run(tmp_path, "read_verilog absent.v\nwrite_json a.json\n")
    assert process.stdout == ""
    assert process.stderr.count("\n") == 1
    assert "absent.v" in process.stderr
    assert process.returncode == 1
    assert not (tmp_path / "a.json").exists()
