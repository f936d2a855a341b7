"""Share the tests out among processes: those that use one running product go to one of them.

Shares that take long begin first, so that none is left alone at the end.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# Each line is one share: the files, or the folders, that use one running product or one build.
# All other files are shares of their own and follow in the order of collection.
SHARES = (
    ("trials/test_trials.py",),
    (
        "acceptance/test_behind_a_prefix.py",
        "acceptance/test_claim_lane.py",
        "acceptance/test_command_line.py",
        "acceptance/test_doctor.py",
        "acceptance/test_embeds.py",
        "acceptance/test_errors.py",
        "acceptance/test_every_answer.py",
        "acceptance/test_life_of_bookings.py",
        "acceptance/test_metrics_port.py",
        "acceptance/test_not_now.py",
        "acceptance/test_ops_views.py",
        "acceptance/test_parts_alone.py",
        "acceptance/test_reload.py",
        "acceptance/test_rolling_restart.py",
        "acceptance/test_round_trip.py",
        "acceptance/test_scopes.py",
    ),
    (
        "browser/test_demo.py",
        "browser/test_doors.py",
        "browser/test_keyboard.py",
        "browser/test_overview.py",
        "browser/test_questions.py",
        "browser/test_views.py",
        "browser/test_when_parts_fail.py",
    ),
    ("browser/",),
    (
        "clients/test_examples.py",
        "clients/test_python_live.py",
        "clients/test_typescript_client.py",
    ),
    ("acceptance/test_supervision.py",),
    ("trials/test_promises.py",),
    ("integration/test_compose.py",),
    ("integration/test_up_supervision.py",),
    ("integration/test_erasure.py",),
    ("integration/test_ledger_settling.py",),
    (
        "integration/test_recovery_on_cluster.py",
        "integration/test_redis_cluster.py",
        "integration/test_store_on_cluster.py",
    ),
    ("acceptance/test_on_cluster.py",),
    ("acceptance/test_wheel.py",),
    ("acceptance/test_monitoring.py", "acceptance/test_secrecy.py"),
    (
        "security/test_behind_proxies.py",
        "security/test_on_sockets.py",
        "security/test_proxy_examples.py",
    ),
    ("acceptance/test_notifications.py", "acceptance/test_top_up.py"),
    ("integration/test_bench_quick.py",),
    ("integration/test_bookings_machine.py",),
    ("acceptance/test_load.py",),
    ("security/test_fuzz.py",),
    ("security/test_every_split.py",),
    ("unit/test_reconcile.py",),
    ("unit/test_store_on_fake.py",),
    ("unit/test_isolation.py",),
    ("unit/test_each_meeting.py",),
    ("unit/test_link_bases.py",),
)
_NUMBERS = {f"tests/{name}": number for number, names in enumerate(SHARES) for name in names}


def share_of(nodeid: str) -> tuple[int, str]:
    """Return the number of a test's share, smaller for those that begin sooner, and its name."""
    file = nodeid.partition("::")[0]
    number = _NUMBERS.get(file, _NUMBERS.get(file.rpartition("/")[0] + "/"))
    return (len(SHARES), file) if number is None else (number, SHARES[number][0])


class ByShare(LoadScopeScheduling):
    """Hand a share of tests to each process that has nothing left to do, in their order."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)[1]

    def remove_node(self, node: WorkerController) -> str | None:
        """Return the test that a process was running when it died, None if it had none left.

        Its other tests are given to another process; this one is not, which would die of it, too.
        """
        left = [
            (share, {test: False for test, done in tests.items() if not done})
            for share, tests in self.assigned_work.pop(node).items()
        ]
        died_of = next((test for _, tests in left for test in tests), None)
        for share, tests in left:
            tests.pop(died_of, None)
            if tests:
                self.workqueue[share] = tests
        return died_of

    def schedule(self) -> None:
        """Hand out shares, also to a process that came later, when another had died."""
        super().schedule()
        # A process begins its last test only when it knows that nothing follows.
        for node in self.nodes:
            self._reschedule(node)

    def _reschedule(self, node: WorkerController) -> None:
        # One that came later may not have collected the tests yet.
        if node in self.registered_collections:
            super()._reschedule(node)
