"""The files of ``sitecustomize_example/`` are what their tools accept. (The module: ``test_starting.py``.)"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import datasets
import pytest
import yaml
from dockerfile_parse import DockerfileParser

import hf_localize
from hf_localize.cli import main
from hf_localize.settings import Settings
from tests.conftest import ROOT, Desk

EXAMPLE = ROOT / "sitecustomize_example"
VARIABLES = {f"HGLOC_{field.name.upper()}" for field in fields(Settings)} | {"HGLOC_AUTO_INSTALL"}
SECRETS = {"HGLOC_AWS_ACCESS_KEY_ID", "HGLOC_AWS_SECRET_ACCESS_KEY", "HGLOC_AWS_SESSION_TOKEN"}
BIN = Path(sys.executable).parent


def test_each_example_is_explained() -> None:
    text = (EXAMPLE / "README.md").read_text()
    explained = {part.split("`")[1]: part for part in text.split("\n## ")[1:]}
    files = {path.name for path in EXAMPLE.iterdir() if path.is_file()} - {"README.md"}
    assert explained.keys() == files
    assert all(len(part.splitlines()) <= 16 for part in explained.values())


def dockerfile_steps() -> list[tuple[str, str]]:
    parser = DockerfileParser(path=str(EXAMPLE / "Dockerfile"))
    return [(s["instruction"], s["value"]) for s in parser.structure if s["instruction"] != "COMMENT"]


def test_the_dockerfile_copies_all_that_the_wheel_needs(tmp_path: Path) -> None:
    parser = DockerfileParser(path=str(EXAMPLE / "Dockerfile"))
    steps = dockerfile_steps()
    assert steps[0][0] == "FROM"
    assert {step for step, _ in steps} <= {"FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "CMD"}
    assert {name for name in parser.envs if name.startswith("HGLOC_")} <= VARIABLES - SECRETS
    for *sources, target in (shlex.split(value) for step, value in steps if step == "COPY"):
        folder = tmp_path / target.lstrip("/")
        for source in sources:
            origin = ROOT / source
            if origin.is_dir():
                shutil.copytree(origin, folder, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(origin, folder)
    (run,) = (value for step, value in steps if step == "RUN")
    assert run.startswith("pip install --no-cache-dir /src && install -d ")
    user, group = map(int, dict(steps)["USER"].split(":"))  # `runAsNonRoot` asks for a number.
    assert run.endswith(f" -o {user} -g {group} {parser.envs['HGLOC_DATASETS_STORE_PATH']}")
    assert parser.envs["HF_HOME"].startswith("/tmp/")
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [source for step, value in steps if step == "COPY" for source in shlex.split(value)[:-1]]
    assert [line[1:] for line in ignored if line.startswith("!")] == copied
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    ran = subprocess.run(build, cwd=tmp_path / "src", capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "PYTHONPATH" not in parser.envs  # The wheel activates by its .pth file.


def manifest() -> dict[str, Any]:
    return {d["kind"]: d for d in yaml.safe_load_all((EXAMPLE / "kubernetes.yaml").read_text())}


def pod_of_the_manifest() -> dict[str, Any]:
    return manifest()["Job"]["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def test_the_kubernetes_manifest_holds_together() -> None:
    documents = manifest()
    assert {kind: d["apiVersion"] for kind, d in documents.items()} == {"ConfigMap": "v1", "Job": "batch/v1"}
    settings = documents["ConfigMap"]
    assert all(isinstance(value, str) for value in settings["data"].values())
    pod = pod_of_the_manifest()
    assert pod["restartPolicy"] in ("Never", "OnFailure")  # What a Job allows.
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert "emptyDir" in volumes["datasets-store"]
    store = settings["data"]["HGLOC_DATASETS_STORE_PATH"]
    containers = [*pod["initContainers"], *pod["containers"]]
    assert len({container["name"] for container in containers}) == len(containers)
    for container in containers:
        assert {
            *("name", "image", "command", "env", "envFrom"),
            *("resources", "securityContext", "volumeMounts"),
        } == container.keys()
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys()
        assert store in {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {e["configMapRef"]["name"] for e in container["envFrom"] if "configMapRef" in e} == {
            settings["metadata"]["name"]
        }
        names = {item["name"] for item in container["env"]} | settings["data"].keys()
        assert names <= VARIABLES - SECRETS | {"HF_HOME"}  # Credentials are in the Secret alone.
        assert all(isinstance(item["value"], str) for item in container["env"])
    (fetching,), (training,) = pod["initContainers"], pod["containers"]
    assert [list(e) for e in fetching["envFrom"]] == [["configMapRef"], ["secretRef"]]
    assert {"name": "HGLOC_AUTO_INSTALL", "value": "1"} in training["env"]
    program, command, *arguments = fetching["command"]
    assert program == "hg-localize"
    found = main.get_command(click.Context(main), command)
    assert found
    found.make_context(command, arguments)  # Raises for what the command does not take.


def test_the_pod_is_one_that_a_restricted_namespace_admits() -> None:
    pod = pod_of_the_manifest()
    assert pod["automountServiceAccountToken"] is False
    context = pod["securityContext"]
    user, group = map(int, dict(dockerfile_steps())["USER"].split(":"))
    assert (context["runAsNonRoot"], context["runAsUser"]) == (True, user)
    assert context["runAsGroup"] == context["fsGroup"] == group
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    volumes = {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"]}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        needed = sum(int(size.removesuffix("Gi")) for size in volumes.values())
        asked, limits = (container["resources"][kind] for kind in ("requests", "limits"))
        assert asked.keys() == {"cpu", "memory", "ephemeral-storage"}
        assert limits == {name: asked[name] for name in ("memory", "ephemeral-storage")}
        assert int(asked["ephemeral-storage"].removesuffix("Gi")) >= needed
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    assert manifest()["ConfigMap"]["data"]["HF_HOME"].startswith("/tmp/")


def test_the_slurm_script_is_clean() -> None:
    script = str(EXAMPLE / "slurm.sh")
    for check in (["bash", "-n"], [str(BIN / "shellcheck")]):
        ran = subprocess.run([*check, script], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    head = [line for line in Path(script).read_text().splitlines()[:10] if line.startswith("#SBATCH ")]
    assert all(line.split(" ", 1)[1].startswith("--") for line in head)


@pytest.mark.parametrize("stored", [True, False])
def test_the_slurm_script_fetches_first_and_runs_activated(stored: bool, desk: Desk, tmp_path: Path) -> None:
    desk.outsider()
    if stored:
        made = datasets.Dataset.from_dict({"question": ["1 + 1?"]})
        hf_localize.register_dataset(made, "openai/gsm8k", "main", skip_s3_upload=True)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/sh\nexec "$@"\n')  # One node.
    (tools / "srun").chmod(0o755)
    (tmp_path / "train.py").write_text(
        "import sys\nfrom datasets import load_dataset\n"
        "print(load_dataset('openai/gsm8k', 'main', split='train')['question'][:], sys.argv[1:])\n"
    )
    path = os.pathsep.join((str(tools), str(BIN), os.environ["PATH"]))
    env = {**os.environ, "PATH": path, "HOME": str(tmp_path)}
    command = ["bash", str(EXAMPLE / "slurm.sh"), "train.py", "--epochs", "3"]
    ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    if stored:
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.splitlines()[-1] == "['1 + 1?'] ['--epochs', '3']"
    else:
        assert (ran.returncode, ran.stdout) == (3, "")
        assert "openai/gsm8k" in ran.stderr
