package e2e

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
	"github.com/cairn-backup/cairn/internal/policy"
)

// scheduled is a configuration of this name with a session that runs every minute, by this type of scheduler, and
// retries a failed run.
func scheduled(name, scheduler string) string {
	return `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: ` + name + `}
spec:
  target: {kind: PersistentVolumeClaim, name: data}
  backends:
  - {name: main, storageRef: {name: s3}}
  sessions:
  - name: minutely
    scheduler: {schedule: "* * * * *", concurrencyPolicy: Forbid, type: ` + scheduler +
		`, jobTemplate: {backoffLimit: 1}}
    sessionHistoryLimit: 2
    addon: {name: pvc-addon, tasks: [{name: logical-backup}]}
    repositories: [{name: ` + name + `, backend: main, directory: ` + name + `, encryptionSecret: {name: encryption}}]
`
}

// schedules runs a session by the manager and then by a CronJob: one run for each slot, whoever starts it, also when
// the CronJob takes over. Then the session is paused, and started by hand.
func schedules(t *testing.T, bed *testbed.Testbed) {
	a := deployVolumeApp(t, bed, "schedules", 3, 1000)
	for _, scheduler := range []string{"Controller", "CronJob"} {
		a.scheduledBy(t, scheduler)
		t.Logf("%s: %v", scheduler, a.slots(t, 2))
	}
	a.pausedAndAsked(t)
}

// killedManagerInSchedule kills the manager that starts the runs of a session. Each slot still has one run.
func killedManagerInSchedule(t *testing.T, bed *testbed.Testbed) {
	a := deployVolumeApp(t, bed, "schedules-killed", 3, 1000)
	a.scheduledBy(t, "Controller")
	before := a.slots(t, 2)
	t.Run("kill", func(t *testing.T) {
		takeAway(t)
		leader := managerLeader(t, bed, "")
		killManager(t, bed)
		managerLeader(t, bed, leader)
	})
	t.Logf("before %v, after %v", before, a.slots(t, 3))
	// A CronJob takes over from the manager that came after the killed one.
	a.scheduledBy(t, "CronJob")
	t.Logf("CronJob: %v", a.slots(t, 2))
}

// scheduledBy runs the session of the configuration uploads every minute.
func (a *volumeApp) scheduledBy(t *testing.T, scheduler string) {
	t.Helper()
	applyTo(t, a.bed, a.namespace, scheduled("uploads", scheduler))
	waitReady(t, a.bed, a.configuration("uploads"), metav1.ConditionTrue, "")
}

// slots waits until runs of so many slots have succeeded, checks that no slot has two runs, and returns the slots.
func (a *volumeApp) slots(t *testing.T, want int) []string {
	t.Helper()
	g := NewWithT(t)
	began := time.Now()
	seen := map[string]string{}
	g.Expect(testbed.Poll(t.Context(), patience+time.Duration(want)*time.Minute, fmt.Sprintf("runs of %d slots", want),
		func(ctx contextT) (bool, error) {
			var list v1alpha1.BackupSessionList
			if err := a.bed.Client.List(ctx, &list, client.InNamespace(a.namespace)); err != nil {
				return false, err
			}
			finished := 0
			for _, s := range list.Items {
				if s.Spec.ScheduledTime.Time.Before(began.Add(-time.Minute)) ||
					s.Status.Phase != v1alpha1.BackupSessionSucceeded {
					continue
				}
				slot := s.Spec.ScheduledTime.UTC().Format(time.RFC3339)
				if uid, ok := seen[slot]; ok && uid != string(s.UID) {
					return false, fmt.Errorf("slot %s has two runs", slot)
				}
				seen[slot] = string(s.UID)
			}
			for _, s := range list.Items {
				if s.Status.Phase.Terminal() {
					finished++
				}
			}
			return len(seen) >= want && finished <= 3, nil
		})).To(Succeed())
	var out []string
	for slot := range seen {
		out = append(out, slot)
	}
	return out
}

func (a *volumeApp) pausedAndAsked(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	_, err := program(t, a.bed, "", "cairn", "pause", "bc/uploads", "-n", a.namespace)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(testbed.Poll(t.Context(), patience, "the CronJob to stand still, with no run that forbids another",
		func(ctx contextT) (bool, error) {
			var cronJobs batchv1.CronJobList
			var runs v1alpha1.BackupSessionList
			err := errors.Join(a.bed.Client.List(ctx, &cronJobs, client.InNamespace(a.namespace)),
				a.bed.Client.List(ctx, &runs, client.InNamespace(a.namespace)))
			if err != nil || len(cronJobs.Items) != 1 || !*cronJobs.Items[0].Spec.Suspend ||
				len(cronJobs.Items[0].Status.Active) > 0 {
				return false, err
			}
			return !slices.ContainsFunc(runs.Items,
				func(s v1alpha1.BackupSession) bool { return !s.Status.Phase.Terminal() }), nil
		})).To(Succeed())
	_, err = kubectl(t, a.bed, "", "annotate", "-n", a.namespace, "backupconfiguration/uploads",
		"backup.cairn.dev/trigger=minutely/by-hand")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(testbed.Poll(t.Context(), patience, "the run that was asked for", func(ctx contextT) (bool, error) {
		var list v1alpha1.BackupSessionList
		if err := a.bed.Client.List(ctx, &list, client.InNamespace(a.namespace)); err != nil {
			return false, err
		}
		for _, s := range list.Items {
			// Its name tells: the run can be asked for in the very second of a slot.
			byHand := s.Name != policy.BackupSessionName("uploads", "minutely", s.Spec.ScheduledTime.Time)
			if byHand && s.Status.Phase == v1alpha1.BackupSessionSucceeded {
				return true, nil
			}
		}
		return false, nil
	})).To(Succeed())
	waitFault := a.configuration("uploads")
	g.Expect(testbed.Poll(t.Context(), patience, "the missed slot to be said", func(ctx contextT) (bool, error) {
		if err := a.bed.Client.Get(ctx, client.ObjectKeyFromObject(waitFault), waitFault); err != nil {
			return false, err
		}
		for _, c := range waitFault.Status.Sessions[0].Conditions {
			if c.Type == v1alpha1.ConditionSlotsMissed {
				return c.Reason == v1alpha1.ReasonSuspended, nil
			}
		}
		return false, nil
	})).To(Succeed())
	_, err = program(t, a.bed, "", "cairn", "resume", "bc/uploads", "-n", a.namespace)
	g.Expect(err).NotTo(HaveOccurred())
	a.slots(t, 1)
}
