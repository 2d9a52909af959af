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

// scheduled is the configuration of that name with a session that runs every minute, by this type of scheduler, and tries
// again what failed.
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
    scheduler: {schedule: "* * * * *", concurrencyPolicy: Forbid, type: ` + scheduler + `, jobTemplate: {backoffLimit: 1}}
    sessionHistoryLimit: 2
    addon: {name: pvc-addon, tasks: [{name: logical-backup}]}
    repositories: [{name: ` + name + `, backend: main, directory: ` + name + `, encryptionSecret: {name: encryption}}]
`
}

// TestSchedules runs a session by a CronJob and by the manager: one run for each slot, whoever starts it, also when the
// manager is killed and when the one takes over from the other. Then it is paused, and started by hand. It mostly waits, beside
// other scenarios: none that counts on one manager may be one of them.
func TestSchedules(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	a := deployVolumeApp(t, bed, "schedules", 3, 1000)
	for _, scheduler := range []string{"Controller", "CronJob"} {
		applyTo(t, bed, a.namespace, scheduled("uploads", scheduler))
		waitReady(t, bed, a.configuration("uploads"), metav1.ConditionTrue, "")
		slots := a.slots(t, 2)
		if scheduler == "Controller" {
			killManager(t, bed)
			slots = append(slots, a.slots(t, 3)...)
		}
		t.Logf("%s: %v", scheduler, slots)
	}
	a.pausedAndAsked(t)
}

// slots waits until runs of so many slots have succeeded, checks that no slot has two, and gives the slots.
func (a *volumeApp) slots(t *testing.T, want int) []string {
	t.Helper()
	g := NewWithT(t)
	began := time.Now()
	seen := map[string]string{}
	g.Expect(testbed.Poll(t.Context(), time.Duration(want+2)*time.Minute, fmt.Sprintf("runs of %d slots", want), func(ctx contextT) (bool, error) {
		var list v1alpha1.BackupSessionList
		if err := a.bed.Client.List(ctx, &list, client.InNamespace(a.namespace)); err != nil {
			return false, err
		}
		finished := 0
		for _, s := range list.Items {
			if s.Spec.ScheduledTime.Time.Before(began.Add(-time.Minute)) || s.Status.Phase != v1alpha1.BackupSessionSucceeded {
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
	g.Expect(testbed.Poll(t.Context(), patience, "the CronJob to stand still, with no run that forbids another", func(ctx contextT) (bool, error) {
		var cronJobs batchv1.CronJobList
		var runs v1alpha1.BackupSessionList
		err := errors.Join(a.bed.Client.List(ctx, &cronJobs, client.InNamespace(a.namespace)), a.bed.Client.List(ctx, &runs, client.InNamespace(a.namespace)))
		if err != nil || len(cronJobs.Items) != 1 || !*cronJobs.Items[0].Spec.Suspend || len(cronJobs.Items[0].Status.Active) > 0 {
			return false, err
		}
		return !slices.ContainsFunc(runs.Items, func(s v1alpha1.BackupSession) bool { return !s.Status.Phase.Terminal() }), nil
	})).To(Succeed())
	_, err = kubectl(t, a.bed, "", "annotate", "-n", a.namespace, "backupconfiguration/uploads", "backup.cairn.dev/trigger=minutely/by-hand")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(testbed.Poll(t.Context(), patience, "the run that was asked for", func(ctx contextT) (bool, error) {
		var list v1alpha1.BackupSessionList
		if err := a.bed.Client.List(ctx, &list, client.InNamespace(a.namespace)); err != nil {
			return false, err
		}
		for _, s := range list.Items {
			// By its name: it may be asked for in the very second of a slot.
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
