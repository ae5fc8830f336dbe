"""Build the wheel from the sdist, look into it, and run the example on it alone."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "django_poolrouter"
#: What a build configuration most easily loses.
INDISPENSABLE = {
    f"{PACKAGE}/py.typed",
    f"{PACKAGE}/management/commands/poolstatus.py",
    f"{PACKAGE}/management/commands/poolcheck.py",
    f"{PACKAGE}/management/commands/poolctl.py",
    f"{PACKAGE}/contrib/admin/static/poolrouter_admin/pools.js",
    f"{PACKAGE}/contrib/admin/templates/poolrouter_admin/pools.html",
}


def main() -> None:
    with TemporaryDirectory(prefix="wheel-") as name:
        folder = Path(name)
        wheel = build(folder / "dist")
        check_contents(wheel)
        python = make_environment(folder / "environment")
        # With its one dependency; then with what the example uses besides.
        install(python, str(wheel))
        run(python, "-c", f"import {PACKAGE}", cwd=folder)
        install(python, f"{wheel}[health]")
        check_example(python, folder / "site")


def build(folder: Path) -> Path:
    # Without --wheel: the sdist first, then the wheel from what is in it.
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """Exactly the package's files are in the wheel, whatever their kind."""
    inside = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    print(*sorted(inside), sep="\n")
    expected = set(source_files())
    assert inside == expected, f"differ: {sorted(inside ^ expected)}"
    assert inside >= INDISPENSABLE, f"missing: {sorted(INDISPENSABLE - inside)}"


def source_files() -> Iterator[str]:
    for path in (ROOT / PACKAGE).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(ROOT).as_posix()


def make_environment(folder: Path) -> Path:
    run(sys.executable, "-m", "venv", folder, cwd=ROOT)
    return folder / "bin" / "python"


def install(python: Path, requirement: str) -> None:
    run(python, "-m", "pip", "install", "--quiet", requirement, cwd=ROOT)


def check_example(python: Path, folder: Path) -> None:
    """The example is alone in its folder, so the package can only come from the wheel."""
    shutil.copytree(ROOT / "example_project", folder / "example_project")
    manage = folder / "example_project" / "manage.py"
    run(python, manage, "check", "--fail-level", "WARNING", cwd=folder)
    run(python, manage, "poolstatus", cwd=folder)


def run(*command: object, cwd: Path) -> None:
    environment = os.environ | {"DB": "sqlite", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    words = [str(word) for word in command]
    print("$", *words, flush=True)
    subprocess.run(words, cwd=cwd, env=environment, check=True)


if __name__ == "__main__":
    main()
