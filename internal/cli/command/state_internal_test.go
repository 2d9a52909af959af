package command

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestTheStateOfATarget(t *testing.T) {
	thaw := &v1alpha1.HookStatuses{PostHooks: []v1alpha1.HookStatus{{Name: "thaw", Phase: v1alpha1.HookRunning}}}
	for want, target := range map[string]v1alpha1.BackupTargetStatus{
		"pending": {Phase: v1alpha1.BackupSessionPending, Reason: v1alpha1.ReasonPending},
		"running": {Phase: v1alpha1.BackupSessionRunning, Reason: v1alpha1.ReasonRunning},
		"succeeded, 1.0 KiB backed up": {
			Phase: v1alpha1.BackupSessionSucceeded, Reason: v1alpha1.ReasonSucceeded,
			Size: "1 KiB", Hooks: thaw,
		},
		"failed (Empty): there is nothing": {
			Phase:  v1alpha1.BackupSessionFailed,
			Reason: v1alpha1.ReasonEmpty, Message: "there is nothing", Hooks: thaw,
		},
		"running, backed up, its postBackup hooks are running": {
			Phase:  v1alpha1.BackupSessionRunning,
			Reason: v1alpha1.ReasonSucceeded, Hooks: thaw,
		},
		"running, its postBackup hooks are running (Empty): there is nothing": {
			Phase:  v1alpha1.BackupSessionRunning,
			Reason: v1alpha1.ReasonEmpty, Message: "there is nothing", Hooks: thaw,
		},
	} {
		NewWithT(t).Expect(TargetState(target)).To(Equal(want))
	}
}
