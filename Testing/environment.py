"""The set-up of `.venv`, once, from a bare Python: standard library only, and readable by older Pythons too.

`prepare("demo")` or `prepare("test")` returns inside `.venv` with everything installed; from any other Python it
sets up `.venv` beside this repository's pyproject.toml and starts the same command again in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from computer import SetUpError, check_display, check_egl, check_python, check_qt

ROOT = Path(__file__).resolve().parent.parent
TORCH = "2.13.0"
PYTORCH_INDEX = "https://download.pytorch.org/whl/"
CUDA_INDEXES = ((13, 0), (12, 9), (12, 8), (12, 6))
NEEDED_GB, NEEDED_CUDA_GB = 5, 12
MARKER, LOG, CONSTRAINTS = "set-up.json", "set-up.log", "constraints.txt"
NO_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|name resolution|getaddrinfo failed|Network is unreachable|ConnectTimeout"
    r"|ProxyError|Max retries exceeded|Connection refused|nodename nor servname"
)


class NetworkError(SetUpError):
    """The package index cannot be reached."""


def prepare(purpose: str) -> None:
    """Return inside a complete `.venv` for "demo", "gui" or "test", else set it up and run this command again in it.

    Ends the process with one sentence when that is not possible.
    """
    environment = ROOT / ".venv"
    try:
        check_python(sys.version_info[:2], platform.system(), platform.machine(), sys.maxsize > 2**32)
        check_egl()
        if purpose in ("gui", "test"):
            check_qt()
        if purpose == "gui":
            check_display(os.environ)
        if is_whole(environment, purpose) and inside(environment):
            return
        with locked(ROOT / ".venv-lock"):
            if not is_whole(environment, purpose):
                set_up(environment, purpose)
    except SetUpError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("The set-up was interrupted; the next start makes it anew.")
    if not inside(environment):
        run_again(environment)


def python_of(environment: Path) -> Path:
    """The Python program of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def inside(environment: Path) -> bool:
    """Whether this very process runs in that environment."""
    return Path(sys.prefix).resolve() == environment.resolve()


def fingerprint(purpose: str) -> str:
    """What the set-up of a purpose depends on; another fingerprint means installing again."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[tool.")[0]
    return hashlib.sha256(f"{purpose} {TORCH} {ROOT} {project}".encode()).hexdigest()


def read_marker(environment: Path) -> dict:
    """The set-up's own record, empty when there is none."""
    try:
        return json.loads((environment / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_marker(environment: Path, content: dict) -> None:
    """Replace the record in one step."""
    partial = environment / (MARKER + ".part")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(str(partial), str(environment / MARKER))


def is_whole(environment: Path, purpose: str) -> bool:
    """Whether the environment was completed for this purpose and nothing that it depends on has changed."""
    marker = read_marker(environment)
    return (
        marker.get("state") == "whole"
        and marker.get("purposes", {}).get(purpose) == fingerprint(purpose)
        and python_of(environment).exists()
    )


def set_up(environment: Path, purpose: str) -> None:
    """Make or complete the environment. One of ours that was interrupted half-way is made anew."""
    begin = time.monotonic()
    marker = read_marker(environment)
    if marker.get("state") == "started" and marker.get("own") and not inside(environment):
        print("The last set-up was interrupted: starting over.", flush=True)
        shutil.rmtree(str(environment), ignore_errors=True)
        marker = {}
    fresh = not python_of(environment).exists()
    needed = NEEDED_GB if nvidia_driver() is None else NEEDED_CUDA_GB
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if fresh and free < needed:
        raise SetUpError(f"Expected {needed} GB of free disk space for {environment}, found {free:.1f} GB: free some.")
    print(f"Setting up {environment} (once; some minutes, downloads about 500 MB)", flush=True)
    try:
        environment.mkdir(parents=True, exist_ok=True)
        marker = {"own": fresh, "purposes": {}, **marker}
        write_marker(environment, {**marker, "state": "started"})
    except OSError as error:
        raise SetUpError(
            f"Expected to write {environment}, but it failed ({error.strerror}): move this folder."
        ) from error
    (environment / LOG).write_text("", encoding="utf-8")
    if fresh:
        with step("Python environment"):
            run([sys.executable, "-I", "-m", "venv", str(environment)], environment)
    with step("PyTorch"):
        install_torch(environment)
    with step("the engine, MONAI and Slicer's libraries" + (", test tools" if purpose == "test" else "")):
        pip(environment, "-c", str(environment / CONSTRAINTS), "-e", f".[{purpose}]")
    if purpose == "test":
        install_peers(environment)
    purposes = {**marker["purposes"], purpose: fingerprint(purpose)}
    write_marker(environment, {**marker, "state": "whole", "purposes": purposes})
    print(f"Set-up finished in {time.monotonic() - begin:.0f} s", flush=True)


def nvidia_driver() -> str | None:
    """What nvidia-smi prints when an NVIDIA driver answers, else None."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        found = subprocess.run([program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.decode(errors="replace") if found.returncode == 0 else None


def torch_choices(system: str, driver: str | None) -> list:
    """pip arguments for PyTorch in the order to try, each with the reason that is printed; the last one is plain."""
    plain = [f"torch=={TORCH}"]
    if system == "Darwin":
        return [(plain, "the build for Apple silicon")]
    if driver is not None:
        why = "the CUDA build, since an NVIDIA driver answers"
        if system == "Linux":
            return [(plain, why)]
        found = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", driver)
        newest = (int(found.group(1)), int(found.group(2))) if found else CUDA_INDEXES[0]
        indexes = [f"{PYTORCH_INDEX}cu{major}{minor}" for major, minor in CUDA_INDEXES if (major, minor) <= newest]
        return [([*plain, "--index-url", index], f"{why} ({index})") for index in indexes] + [
            (plain, "the CPU build: none of PyTorch's CUDA builds fits this driver; a newer driver may help")
        ]
    why = "the CPU build, since no NVIDIA driver answers"
    if system == "Windows":
        return [(plain, why)]
    build = [f"torch=={TORCH}+cpu"]
    return [
        (build, why),
        ([*build, "--index-url", PYTORCH_INDEX + "cpu"], why),
        (plain, "the CUDA build (several GB), though no NVIDIA driver answers: no CPU build could be had"),
    ]


def install_torch(environment: Path) -> None:
    """Install the build that fits the hardware, say which and why, and hold all later installations to it."""
    choices = torch_choices(platform.system(), nvidia_driver())
    for number, (arguments, why) in enumerate(choices, 1):
        try:
            if number == len(choices) > 1:
                print(f"    only {why}", flush=True)
            pip(environment, *arguments)
        except NetworkError:
            if number == len(choices) or "--index-url" not in arguments:
                raise
        except SetUpError:
            if number == len(choices):
                raise
        else:
            break
    code = "import torch; print(torch.__version__, torch.cuda.is_available(), torch.backends.mps.is_available())"
    version, cuda, mps = run([str(python_of(environment)), "-I", "-W", "ignore", "-c", code], environment).split()[-3:]
    device = "cuda" if cuda == "True" else "mps" if mps == "True" else "cpu"
    print(f"    torch {version}: {why}; it computes on: {device}", flush=True)
    (environment / CONSTRAINTS).write_text(f"torch=={version}\n", encoding="utf-8")


def install_peers(environment: Path) -> None:
    """Install the peers that comparisons run against; without them those are skipped, the set-up holds."""
    with step("peers for comparison (ASTRA)"):
        try:
            pip(environment, "-c", str(environment / CONSTRAINTS), "--only-binary", "astra-toolbox", "-e", ".[peers]")
            run([str(python_of(environment)), "-I", "-c", "import astra"], environment)
        except SetUpError:
            print("    no ASTRA for this Python and platform: comparisons with it are skipped", flush=True)


def pip(environment: Path, *arguments: str) -> None:
    """pip install in the environment, from the repository's root."""
    run([str(python_of(environment)), "-I", "-m", "pip", "install", "--retries", "2", *arguments], environment)


def run(command: list, environment: Path) -> str:
    """Run a command with its output in the log, return that output; raise SetUpError with its last lines."""
    log = environment / LOG
    with open(str(log), "a+", encoding="utf-8", errors="replace") as stream:
        stream.write("\n$ " + " ".join(command) + "\n")
        stream.flush()
        start = stream.seek(0, os.SEEK_END)
        quiet = {key: value for key, value in os.environ.items() if key != "__PYVENV_LAUNCHER__"}
        quiet["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
        code = subprocess.call(command, cwd=str(ROOT), stdout=stream, stderr=stream, env=quiet, close_fds=False)
        stream.seek(start)
        output = stream.read()
    if code == 0:
        return output
    # Versions in pip's words mean that the index did answer, whatever else was out of reach.
    if NO_NETWORK.search(output) and not re.search(r"from versions: (?!none)", output):
        raise NetworkError(
            "Expected a package index for the set-up, but none could be reached: connect to the network (behind a "
            f"proxy, set HTTPS_PROXY) and start again; pip's words are in {log}."
        )
    last = [line for line in output.splitlines() if line.strip()][-6:]
    raise SetUpError(
        "".join(f"    | {line}\n" for line in last)
        + f"The set-up failed: the lines above and {log} say why; when that is put right, start again."
    )


@contextlib.contextmanager
def step(what: str):
    """One line when a part of the set-up starts, one when it ends."""
    begin = time.monotonic()
    print(f"  {what} ...", flush=True)
    yield
    print(f"    done in {time.monotonic() - begin:.0f} s", flush=True)


@contextlib.contextmanager
def locked(path: Path):
    """Hold a lock that the system frees with the process: a second set-up waits for the first."""
    with open(str(path), "a+") as stream:
        told = False
        while not _try_lock(stream):
            if not told:
                print("Another set-up of this folder is running: waiting for it", flush=True)
                told = True
            time.sleep(0.5)
        # On POSIX pip holds the lock too: if only this process is killed, the next set-up waits for pip's end.
        os.set_inheritable(stream.fileno(), os.name == "posix")
        yield


def _try_lock(stream) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def run_again(environment: Path) -> None:
    """Start the same command in the environment's Python; does not return."""
    command = [str(python_of(environment)), *sys.argv]
    os.environ.pop("__PYVENV_LAUNCHER__", None)
    sys.stdout.flush()
    if os.name == "nt":
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)
