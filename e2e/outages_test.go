package e2e

import (
	"sync"
	"testing"

	"github.com/cairn-backup/cairn/e2e/testbed"
)

// TestOutages runs the scenarios that take away what all scenarios share: the manager, the Git server, the driver of
// volumes. It also runs the scenarios that wait for minutes and stand the loss of the manager, and the one whose
// defaults hold for every namespace. All of them end before any parallel scenario starts.
func TestOutages(t *testing.T) {
	bed := deployed(t)
	for _, scenario := range []struct {
		name string
		run  func(t *testing.T, bed *testbed.Testbed)
	}{
		// All of them run at once: E2E_PARALLEL of the Makefile is at least their number.
		{"schedules", schedules},
		{"Job failures", jobFailures},
		{"a killed manager in a schedule", killedManagerInSchedule},
		{"a killed manager in a session", killedManagerInSession},
		{"the flow of KubeStash", kubestashVolumeFlow},
		{"the flow of Stash", stashVolumeFlow},
		{"a killed manager between hooks", killedManagerBetweenHooks},
		{"no driver of volumes", noSnapshotDriver},
		{"a killed manager in a copy", killedManagerInCopy},
		{"no Git server", noGitServer},
	} {
		t.Run(scenario.name, func(t *testing.T) {
			t.Parallel()
			scenario.run(t, bed)
		})
	}
}

// shared keeps apart the scenarios of TestOutages: one holds it alone while it takes away what all share, or any number
// hold it together while they need all of that.
var shared sync.RWMutex

// gitServer keeps the scenario that takes the Git server away apart from those of TestOutages that push to it.
var gitServer sync.Mutex

// takeAway holds shared alone until the test has ended.
func takeAway(t *testing.T) {
	t.Helper()
	shared.Lock()
	t.Cleanup(shared.Unlock)
}

// keep holds shared, together with others, until the test has ended or release is called.
func keep(t *testing.T) (release func()) {
	t.Helper()
	shared.RLock()
	release = sync.OnceFunc(shared.RUnlock)
	t.Cleanup(release)
	return release
}
