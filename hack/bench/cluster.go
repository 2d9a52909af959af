package main

import (
	"fmt"
	"strings"
)

// overheadRows compare how long a run takes that has next to nothing to move.
func overheadRows() []func(results) row {
	const name, what = "BenchmarkSlotToSucceeded", "slot to success, volume of 1 MiB"
	rows := []func(results) row{
		rowOf(what+", K8up", "", func(r *reader) (string, bool) {
			return duration(1e9 * r.get(name, "k8up-s")), true
		}),
	}
	for _, trigger := range []string{"CronJob", "Controller"} {
		unit := strings.ToLower(trigger) + "-s"
		rows = append(rows, rowOf(what+", scheduler "+trigger, "≤1× of K8up", func(r *reader) (string, bool) {
			ours, theirs := r.get(name, unit), r.get(name, "k8up-s")
			return fmt.Sprintf("%s, %.2f×", duration(1e9*ours), ours/theirs), ours <= theirs
		}))
	}
	return rows
}

// maxSnapshots is how much longer a session may take than its VolumeSnapshots by themselves.
const maxSnapshots = 1.3

func snapshotRows() []func(results) row {
	const name, what = "BenchmarkVolumeSnapshots20", "20 VolumeSnapshots until they can be used"
	return []func(results) row{
		rowOf(what+", made at once with kubectl", "", func(r *reader) (string, bool) {
			return duration(1e9 * r.get(name, "kubectl-s")), true
		}),
		rowOf(what+", BackupSession", "≤1.3× of kubectl", func(r *reader) (string, bool) {
			ours, theirs := r.get(name, "session-s"), r.get(name, "kubectl-s")
			return fmt.Sprintf("%s, %.2f×", duration(1e9*ours), ours/theirs), ours <= maxSnapshots*theirs
		}),
	}
}

// maxManager is the memory of a manager with 10,000 BackupConfigurations; one with a tenth of them has to stay below it
// too.
const maxManager = 512 << 20

func managerRows() []func(results) row {
	return []func(results) row{
		rowOf("manager with 1,000 BackupConfigurations, peak of its resident memory", "≤512 MiB with 10,000",
			func(r *reader) (string, bool) {
				peak := r.get("BenchmarkMemory1000", "peak-B")
				return size(peak), peak <= maxManager
			}),
	}
}
