#!/usr/bin/python3
"""ci_recipes_test.py SOURCE-DIR BIN-DIR

The recipes of examples/ci and the manifests of tools/fleet, as far as this machine can run them: it is no runner of GitHub or GitLab and no cluster. What is
installed there is taken from BIN-DIR here, and `sudo` and `apt-get` write down what they are asked. The commands of the steps, jobs
and containers are run as those systems run them, and manifests go through kubectl, which knows the fields of Kubernetes.
"""

import glob
import os
import re
import subprocess
import sys
import tempfile

import yaml

SOURCE, BIN = (os.path.abspath(path) for path in sys.argv[1:3])
RECIPES = os.path.join(SOURCE, "examples/ci")
failures = 0


def fail(what):
    global failures
    failures += 1
    print("ci_recipes_test: " + what)


def load(*path):
    with open(os.path.join(SOURCE, *path), encoding="ascii") as file:
        return list(yaml.safe_load_all(file))


class Machine:
    """A folder to run commands in, in which nothing can be installed."""

    def __init__(self, folder):
        self.folder, self.asked = folder, os.path.join(folder, "asked")
        stubs = os.path.join(folder, "stubs")
        os.mkdir(stubs)
        for name, body in (("sudo", 'exec "$@"'), ("apt-get", f'echo "apt-get $*" >>{self.asked}')):
            with open(os.path.join(stubs, name), "w", encoding="ascii") as file:
                file.write(f"#!/bin/sh\n{body}\n")
            os.chmod(os.path.join(stubs, name), 0o755)
        hidden = ("DXG_", "CI_", "GTEST_", "SLURM_", "JOB_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        self.environment["PATH"] = f"{stubs}:{BIN}:/usr/bin:/bin"

    def run(self, script, environment, *options):
        """As runners do: a file for bash."""
        path = os.path.join(self.folder, "script")
        with open(path, "w", encoding="utf-8") as file:
            file.write(script)
        return subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", *options, path], cwd=self.folder, capture_output=True,
                              text=True, timeout=100, env={**self.environment, **environment})

    def installed(self):
        try:
            with open(self.asked, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""


def github(inputs, folder):
    """Runs the action's steps with these inputs, up to the first that fails. The last result, and the machine."""
    [action] = load("examples/ci/github/action.yml")
    machine = Machine(folder)
    values = {name: one.get("default") for name, one in action["inputs"].items()} | inputs
    for name, one in action["inputs"].items():
        if not one.get("description") or (one.get("required") and values[name] is None):
            fail(f"GitHub: the input {name} has no description, or is required and not given")
    if action["runs"]["using"] != "composite" or not action["name"] or not action["description"]:
        fail("GitHub: no composite action")

    def filled(text):
        return re.sub(r"\$\{\{ *inputs\.(\w+) *\}\}", lambda found: values[found[1]], text)

    for step in action["runs"]["steps"]:
        if set(step) - {"name", "shell", "env", "run"} or step["shell"] != "bash":
            fail(f"GitHub: the step {step} is none that this test runs")
        if "${{" in step["run"]:
            fail("GitHub: an input in a script is code of who gives it; it belongs into env")
        result = machine.run(step["run"], {name: filled(text) for name, text in step.get("env", {}).items()})
        if result.returncode != 0:
            break
    return result, machine


def in_folder(work, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        return work(*arguments, folder)


def check_github(folder):
    result, machine = github({"package": "cuse-dxg.deb", "run": "test -e /dev/dxg\ndxg-info | grep 'Adapter 0'", "profile": "compute"}, folder)
    if result.returncode != 0 or "Compute" not in result.stdout:
        fail(f"GitHub: the commands see no adapter of the profile: {result}")
    if f"apt-get install -y --no-install-recommends {os.path.realpath(folder)}/cuse-dxg.deb" not in machine.installed():
        fail(f"GitHub: the package is not installed: {machine.installed()}")


def check_github_failure(commands, folder):
    result, _ = github({"package": "cuse-dxg.deb", "run": commands}, folder)
    if result.returncode == 0:
        fail(f"GitHub: '{commands}' fails, and the step does not")


def gitlab_job(jobs, name):
    job = jobs[name]
    return (gitlab_job(jobs, job["extends"]) if "extends" in job else {}) | job


def check_gitlab(folder):
    [jobs] = load("examples/ci/gitlab/gitlab-ci.yml")
    stages = jobs.pop("stages")
    machine = Machine(folder)
    for name in ("cuse-dxg_1_amd64.deb", "cuse-dxg-tests_1_amd64.deb"):
        with open(os.path.join(folder, name), "wb"):
            pass
    known = {"image", "before_script", "extends", "stage", "script", "parallel", "artifacts", "when"}
    names = [name for name in jobs if not name.startswith(".")]
    for name in sorted(names, key=lambda name: stages.index(jobs[name]["stage"])):
        job = gitlab_job(jobs, name)
        if set(job) - known or not job["image"]:
            fail(f"GitLab: {name} has {set(job) - known}, or no image")
        total = job.get("parallel", 1)
        for index in range(1, total + 1):
            # A few tests: the suite takes minutes. GoogleTest has the filter from the environment.
            environment = {"GTEST_FILTER": "CreateDevice.*:EnumAdapters2.*"} | ({"CI_NODE_INDEX": str(index), "CI_NODE_TOTAL": str(total)} if total > 1 else {})
            result = machine.run("\n".join(job["before_script"] + job["script"]), environment)
            if result.returncode != 0:
                fail(f"GitLab: {name} {index} of {total} ended with {result.returncode}: {result.stdout}{result.stderr}")
        for path in job.get("artifacts", {}).get("paths", []):
            if not glob.glob(os.path.join(folder, path)):
                fail(f"GitLab: {name} leaves no {path}")
    if "./cuse-dxg_1_amd64.deb ./cuse-dxg-tests_1_amd64.deb" not in machine.installed():
        fail(f"GitLab: not installed: {machine.installed()}")
    os.remove(os.path.join(folder, "shard-2.json"))
    if machine.run("\n".join(jobs["report"]["script"]), {}).returncode == 0:
        fail("GitLab: the report has no failure where a shard is missing")


def lost(before, after, place=""):
    """Where kubectl has left something out, which it does not know, or changed it."""
    if isinstance(before, dict):
        return [one for key, value in before.items() for one in
                (lost(value, after[key], f"{place}.{key}") if isinstance(after, dict) and key in after else [f"{place}.{key}"])]
    if isinstance(before, list):
        if not isinstance(after, list) or len(before) > len(after):
            return [place]
        return [one for i, value in enumerate(before) for one in lost(value, after[i], f"{place}[{i}]")]
    return [] if str(before) == str(after) else [place]


def kubectl_loses(manifest, folder):
    """`kubectl --dry-run=client` asks a server for the kinds. A change without one goes through kubectl's own types, and what they do
    not know is not in the result."""
    path = os.path.join(folder, "manifest.yaml")
    with open(path, "w", encoding="ascii") as file:
        yaml.safe_dump(manifest, file)
    result = subprocess.run(["kubectl", "set", "env", "--local", "-f", path, "-o", "yaml", "SEEN=yes"], capture_output=True, text=True, errors="replace",
                            timeout=60, check=False)
    if result.returncode != 0:
        return [result.stderr]
    seen = yaml.safe_load(result.stdout)
    for container in seen["spec"]["template"]["spec"]["containers"]:
        container["env"] = [one for one in container["env"] if one["name"] != "SEEN"]
    version = re.search(r"v1\.(\d+)", subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, check=False).stdout)
    older = {".spec.completionMode"} if int(version[1]) < 21 else set()  # that of Debian 12 is older than Indexed Jobs
    return [one for one in lost(manifest, seen) if one not in older]


def containers(manifest):
    return manifest["spec"]["template"]["spec"]["containers"]


def check_kubernetes(folder):
    [plugin] = load("examples/ci/kubernetes/device-plugin.yaml")
    [job] = load("examples/ci/kubernetes/job.yaml")
    for manifest in (plugin, job):
        for one in kubectl_loses(manifest, folder):
            fail(f"Kubernetes: {manifest['kind']}: kubectl does not know {one}")
    # It can fail: a misspelled field, one at a wrong place, a value of a wrong type.
    for wrong in ({"completion": 1}, {"restartPolicy": "Never"}, {"backoffLimit": "none"}):
        if not kubectl_loses(job | {"spec": job["spec"] | wrong}, folder):
            fail(f"Kubernetes: kubectl finds nothing wrong in {wrong}")

    arguments = containers(plugin)[0]["args"]
    domain = arguments[arguments.index("--domain") + 1]
    devices = [yaml.safe_load(arguments[i + 1]) for i, one in enumerate(arguments) if one == "--device"]
    given = {f"{domain}/{one['name']}": [path["path"] for group in one["groups"] for path in group["paths"]] for one in devices}
    if given != {"cuse-dxg.dev/fuse": ["/dev/fuse"], "cuse-dxg.dev/gpu": ["/dev/dxg"]}:
        fail(f"Kubernetes: the plugin gives out {given}")
    [container] = containers(job)
    if not set(container["resources"]["limits"]) <= set(given):
        fail(f"Kubernetes: the job asks for {container['resources']['limits']}, and the plugin gives {list(given)}")
    result = subprocess.run(container["command"], env=Machine(folder).environment, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode != 0 or "wait for fence" not in result.stdout:
        fail(f"Kubernetes: the command of the job fails: {result}")


def check_fleet(folder):
    """The pods' commands, one after the other, on a folder in place of the volume, with a few seeds and tests."""
    results, machine = os.path.join(folder, "results"), Machine(folder)
    few = {"GTEST_FILTER": "CreateDevice.*:EnumAdapters2.*"}

    def run(container, environment):
        command = container["command"] + container["args"]
        if command[0] != f"/usr/share/cuse-dxg/fleet/{os.path.basename(command[0])}":
            fail(f"fleet: {command[0]} is not where the package has it")
        if "--seeds" in command:
            command[command.index("--seeds") + 1] = "100"
        places = {command[0]: os.path.join(SOURCE, "tools/fleet", os.path.basename(command[0])), "/results": results}
        return subprocess.run([places.get(word, word) for word in command], env={**machine.environment, **few, **environment}, capture_output=True,
                              text=True, timeout=60, check=False)

    [report] = load("tools/fleet/kubernetes-report.yaml")
    for work in ("conformance", "simulation"):
        [job] = load(f"tools/fleet/kubernetes-{work}.yaml")
        for manifest in (job, report):
            for one in kubectl_loses(manifest, folder):
                fail(f"fleet: {manifest['metadata']['name']}: kubectl does not know {one}")
        spec, [container], [reporter] = job["spec"], containers(job), containers(report)
        if spec["completionMode"] != "Indexed" or f"--shards {spec['completions']}" not in " ".join(container["args"]):
            fail(f"fleet: {work}: the pods are not as many as the shards")
        reporter["args"] = [reporter["args"][0], work]
        if run(reporter, {}).returncode != 1:
            fail(f"fleet: {work}: a report of nothing does not fail")
        for index in range(spec["completions"]):
            if index == spec["completions"] - 1 and run(reporter, {}).returncode != 1:
                fail(f"fleet: {work}: a report without the last task does not fail")
            result = run(container, {"JOB_COMPLETION_INDEX": str(index)})
            if result.returncode != 0:
                fail(f"fleet: {work}: task {index} fails: {result}")
        result = run(reporter, {})
        if result.returncode != 0:
            fail(f"fleet: {work}: the report fails: {result}")


in_folder(check_github)
for commands in ("false", "false | true", "exit 3", "dxg-info --no-such-option"):
    in_folder(check_github_failure, commands)
in_folder(check_gitlab)
in_folder(check_kubernetes)
in_folder(check_fleet)
sys.exit(1 if failures else 0)
