"""What the reports of the commands that prove the hardware have in common."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from scripts.console import console
from scripts.files import Section, write
from scripts.synth import tools

__all__ = ["basis", "finish", "sources_digest"]

ROOT = Path(__file__).parent.parent


def sources_digest(*packages: str) -> str:
    """SHA-256 of the sources of some packages, hexadecimal."""
    paths = sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))
    return sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def basis() -> dict[str, Any]:
    """Versions of the tools, and the SHA-256 of what is proved: golden's and hdl's sources."""
    return {"tools": tools(), "sources_sha256": sources_digest("golden", "hdl")}


def finish(report: dict[str, Any], path: Path, section: Section | None,
           text: Callable[[dict[str, Any]], str]) -> None:
    """Write a report as JSON and, as ``text`` makes of it, into a page; say where."""
    write(path, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    console.print(f"Written to {path}")
    if section:
        section.renew(text(report))
        console.print(f"Written to {section.path}")
