"""Asks the collector in this container how its data are; code 0 if every stream is fresh and rows reach the database.

    python /opt/kimp/healthcheck.py

Runs every few seconds, so it needs nothing but the standard library. What it prints is kept by the container engine and
shown with a container's state.
"""

import http.client
import json
import os
import sys

PORT = 9108  # the default of collect.http_port
ANSWER_S = 4.0  # less than the engine waits for us


def verdict(port: int) -> tuple[bool, str]:
    """Whether all is well, and one line that says what is not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        line = _line(json.loads(answer.read()))
    except (OSError, http.client.HTTPException, ValueError, TypeError, LookupError, AttributeError) as error:
        return False, f"no answer from the collector on port {port} that makes sense ({error})"
    finally:
        connection.close()
    return answer.status == http.HTTPStatus.OK, line


def _line(facts: dict) -> str:
    words = [str(facts.get("status"))]
    words += [
        f"{name}: {feed['state']}" + (f" ({feed['age_ms']} ms)" if feed["age_ms"] is not None else "")
        for name, feed in facts.get("feeds", {}).items()
        if feed["state"] in ("stale", "waiting")
    ]
    words += [
        f"{name}: {unit['state']}" for name, unit in facts.get("collectors", {}).items() if unit["state"] != "running"
    ]
    if spool := facts.get("database", {}).get("spool_bytes"):
        words.append(f"{spool:,} bytes wait for the database")
    return "; ".join(words)


def main() -> int:
    """Ask and tell."""
    is_well, line = verdict(int(os.environ.get("KIMP__COLLECT__HTTP_PORT") or PORT))
    sys.stdout.write(f"{line}\n")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
