"""The tools that engine is compared with, each optional: Terraform from the PATH, others in environments of their own.

`set_up` makes those environments, with their modules compiled. Projects for both are made here too: Terraform's of
built-in `terraform_data` resources, so that no provider is downloaded, DVC's of four small stages.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from bench.measure import Command, run_once

# MLServer does not start with uvloop 0.22. What unpickles our models has our version of scikit-learn.
ENVIRONMENTS = {
    "dvc": ("dvc>=3.60",),
    "asgi": ("fastapi>=0.115", "uvicorn>=0.34", "uvloop", "httptools", "scikit-learn=={sklearn}", "pandas"),
    "mlserver": ("mlserver>=1.7", "mlserver-sklearn>=1.7", "uvloop<0.22", "scikit-learn=={sklearn}", "pandas"),
    "bentoml": ("bentoml>=1.4", "scikit-learn=={sklearn}", "pandas"),
    "evidently": ("evidently>=0.7", "pandas<3"),
    "nannyml": ("nannyml>=0.13", "statsmodels"),
}
_COMMANDS = {
    "dvc": "dvc",
    "asgi": "uvicorn",
    "mlserver": "mlserver",
    "bentoml": "bentoml",
    "evidently": "python",
    "nannyml": "python",
}


def set_up(home: Path) -> str:
    """Install what is missing under `home`; what there is now, in words. Raises CommandError if it fails."""
    from sklearn import __version__ as sklearn

    for name, requirements in ENVIRONMENTS.items():
        if found(home)[name] is None:
            install(home / name, [each.format(sklearn=sklearn) for each in requirements])
    return "\n".join(f"{name}: {path or 'not installed'}" for name, path in found(home).items())


def install(target: Path, requirements: list[str]) -> None:
    """An environment with these packages. Raises CommandError."""
    home, uv = target.parent, shutil.which("uv")
    python = str(target / "bin" / "python")
    if uv:
        run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(target)], home)
        run([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *requirements], home)
    else:
        run([sys.executable, "-m", "venv", "--clear", str(target)], home)
        run([python, "-m", "pip", "install", "--quiet", *requirements], home)


def found(home: Path) -> dict[str, str | None]:
    """Every peer and where it is."""
    there = {name: find(home, name) for name in ENVIRONMENTS}
    return {**there, "dvc": find_dvc(home), "terraform": find_terraform()}


def find(home: Path, name: str) -> str | None:
    """The command of an environment that was made here, None if there is none."""
    inside = home / name / "bin" / _COMMANDS[name]
    return str(inside) if inside.exists() else None


def find_dvc(home: Path) -> str | None:
    """DVC's command, None if it is not installed."""
    return find(home, "dvc") or shutil.which("dvc")


def find_terraform() -> str | None:
    """Terraform's command, None if it is not installed."""
    return shutil.which("terraform")


def terraform_project(folder: Path, resources: int, terraform: str) -> Path:
    """A project of independent resources that is applied and up to date."""
    if not (folder / "terraform.tfstate").exists():
        folder.mkdir(parents=True, exist_ok=True)
        blocks = (f'resource "terraform_data" "r{i}" {{\n  input = "{i}"\n}}\n' for i in range(resources))
        (folder / "main.tf").write_text("".join(blocks))
        run([terraform, "init", "-no-color", "-input=false"], folder)
        run([terraform, "apply", "-auto-approve", "-no-color", "-input=false"], folder)
    return folder


def dvc_pipeline(folder: Path, dvc: str) -> Path:
    """A pipeline of four stages, one behind the other, that is up to date."""
    if not (folder / "dvc.lock").exists():
        dvc_project(folder, dvc)
        (folder / "f0").write_text("0\n")
        stages = ["stages:"]
        for i in range(1, 5):
            stages += [f"  s{i}:", f"    cmd: cp f{i - 1} f{i}", f"    deps: [f{i - 1}]", f"    outs: [f{i}]"]
        (folder / "dvc.yaml").write_text("\n".join(stages) + "\n")
        run([dvc, "repro", "--quiet"], folder)
    return folder


def dvc_project(folder: Path, dvc: str) -> Path:
    """An empty project whose cache links instead of copying."""
    folder.mkdir(parents=True, exist_ok=True)
    run([dvc, "init", "--no-scm", "--quiet"], folder)
    run([dvc, "config", "core.analytics", "false"], folder)
    run([dvc, "config", "cache.type", "hardlink"], folder)
    return folder


def run(argv: list[str], cwd: Path) -> None:
    """Run a command that prepares something. Raises CommandError with its output if it fails."""
    cwd.mkdir(parents=True, exist_ok=True)
    run_once(Command("to prepare", argv, cwd))
