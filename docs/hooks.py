"""What MkDocs can't do by itself: the page of commands, and links to files outside docs/."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]
COMMANDS_HERE = "<!-- commands -->"
LISTED = "import json, peclip_fast.commands.shared.main as m; print(json.dumps(m.GROUPS))"
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_config(config: Any, **_: Any) -> Any:
    """The examples of plugins are pasted from the tests; a missing file fails the build."""
    present = (ROOT / "tests" / "plugins").is_dir()
    config.mdx_configs["pymdownx.snippets"]["check_paths"] = present
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Fill in the commands' help; lead links out of docs/ to the repository."""
    if COMMANDS_HERE in markdown:
        markdown = markdown.replace(COMMANDS_HERE, commands())
    folder = PurePosixPath("docs", page.file.src_uri).parent

    def led(found: re.Match[str]) -> str:
        target = found[2]
        if "://" in target or not target.startswith(".."):
            return found[0]
        path = PurePosixPath(os.path.normpath(folder / target))
        if path.parts[0] == "docs":
            return found[0]
        if not (ROOT / path).exists():
            raise PluginError(f"{page.file.src_uri}: links to {path}, which is not there")
        return f"{found[1]}{config.repo_url.rstrip('/')}/blob/main/{path}{found[3]}"

    return _LINK.sub(led, markdown)


def commands() -> str:
    """A section for each group of commands, and in it what each command says of itself."""
    groups: dict[str, dict[str, str]] = json.loads(_output("-c", LISTED))
    names = [name for group in groups.values() for name in group]
    ask = (["-m", "peclip_fast", *name.split(), "--help"] for name in names)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        helps = dict(zip(names, pool.map(lambda arguments: _output(*arguments), ask), strict=True))
    lines = []
    for title, group in groups.items():
        lines += [f"## {title}", ""]
        for name, sentence in group.items():
            said = sentence[0].upper() + sentence[1:]
            lines += [f"### {name}", "", f"{said}.", "", "```text", helps[name].strip(), "```", ""]
    return "\n".join(lines)


def _output(*arguments: str) -> str:
    """What Python prints, or PluginError: a command that can't tell its help fails the build."""
    asked = [sys.executable, *arguments]
    environment = {**os.environ, "COLUMNS": "82", "NO_COLOR": "1"}
    ran = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True)
    if ran.returncode or not ran.stdout.strip():
        raise PluginError(f"{' '.join(arguments)}: exit code {ran.returncode}\n{ran.stderr}")
    return ran.stdout
