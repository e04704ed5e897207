"""A storm for every planted fault and one without, side by side: the judge has to find the former and pass the latter.

Each storm is a fork of one parent that has imported everything, and kills where its fault would show.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from crash.doctors import overlooked
from crash.life import end_with_parent, import_everything
from crash.storm import Killer, Storm

SOUND = "sound"
TRIAL_S_MAX = 150.0

_ONE = {
    "aimed_share": 1.0,
    "stop_share": 0.0,
    "is_first_only": True,
    "look_every": 1,
    "aimed_s_max": 25.0,  # most come by there within two seconds, on a busy machine within ten
    "seconds_max": 60.0,
}
_SEAMS = ("fill journaled", "between the legs", "end not journaled", "exit sent", "reconciling")
_PLANS: dict[str, dict[str, Any]] = {
    SOUND: {**_ONE, "kills": 5, "aims": _SEAMS, "seconds_max": 18.0},
    "late-intent": {**_ONE, "kills": 6, "aims": ("one leg answered",)},
    "resend": {**_ONE, "kills": 6, "aims": ("one leg answered",)},
    "no-questions": {**_ONE, "kills": 1, "aims": ("one leg answered",), "healed_s_max": 8.0, "troubles": (0.0,)},
    "give-up": {**_ONE, "kills": 6, "aims": ("one leg answered",)},
    "no-stop": {**_ONE, "kills": 8, "aimed_share": 0.0, "stop_share": 1.0, "troubles": (0.0,)},
}


def trial(directory: Path, seed: int) -> dict[str, dict[str, Any]]:
    """By name of the fault: what was found, and how many kills that took."""
    import_everything()
    pids = {name: _begin(name, directory / name, seed) for name in _PLANS}
    deadline = time.monotonic() + TRIAL_S_MAX
    handles = {name: os.pidfd_open(pid) for name, pid in pids.items()}
    try:
        for handle in handles.values():
            _wait(handle, deadline - time.monotonic())
    finally:
        for name, pid in pids.items():
            signal.pidfd_send_signal(handles[name], signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(handles[name])
    return {name: _verdict(directory / name) for name in _PLANS}


def _wait(handle: int, seconds: float) -> None:
    import select

    select.select([handle], [], [], max(seconds, 0))


def _begin(name: str, directory: Path, seed: int) -> int:
    directory.mkdir(parents=True)
    pid = os.fork()
    if pid:
        return pid
    end_with_parent()
    try:
        storm = Storm(kills=1, seed=seed, directory=directory, mutant=None if name == SOUND else name)
        killer = Killer(replace(storm, **_PLANS[name]))
        found = killer.run()
        facts = {
            "kills": found.kills,
            "fills": len(killer.judge.journal.fills),
            "kinds": Counter(kind for kind, _ in found.complaints),
            "first": [f"{kind}: {what}" for kind, what in found.complaints[:3]],
            "overlooked": overlooked(killer.judge, killer.books) if name == SOUND and not found.complaints else [],
        }
        (directory / "verdict.json").write_text(json.dumps(facts), encoding="utf-8")
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def _verdict(directory: Path) -> dict[str, Any]:
    try:
        verdict: dict[str, Any] = json.loads((directory / "verdict.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"kills": 0, "fills": 0, "kinds": {"no verdict": 1}, "first": ["the storm itself failed or hung"]}
    return verdict
