"""The tools that engine is compared with, each optional: DVC in an environment of its own, Terraform from the PATH.

`set_up` makes DVC's environment, with its modules compiled. Projects for both are made here too: Terraform's of
built-in `terraform_data` resources, so that no provider is downloaded, DVC's of four small stages.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from bench.measure import Command, run_once

DVC_REQUIREMENT = "dvc>=3.60"


def set_up(home: Path) -> str:
    """Install DVC under `home`; what there is now, in words. Raises CommandError if the installation fails."""
    target = home / "dvc"
    if find_dvc(home) is None:
        uv = shutil.which("uv")
        if uv:
            run([uv, "venv", "--quiet", "--python", sys.executable, str(target)], home)
            python = str(target / "bin" / "python")
            run([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, DVC_REQUIREMENT], home)
        else:
            run([sys.executable, "-m", "venv", str(target)], home)
            run([str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", DVC_REQUIREMENT], home)
    return "\n".join(f"{name}: {path or 'not installed'}" for name, path in found(home).items())


def found(home: Path) -> dict[str, str | None]:
    """Every peer and where it is."""
    return {"dvc": find_dvc(home), "terraform": find_terraform()}


def find_dvc(home: Path) -> str | None:
    """DVC's command, None if it is not installed."""
    inside = home / "dvc" / "bin" / "dvc"
    return str(inside) if inside.exists() else shutil.which("dvc")


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
