package backup_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/backup"
	"github.com/cairn-backup/cairn/internal/run/runtest"
)

func TestWhichMoversFindTheirNodeAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		attempt int
		// waited is for how long the target had to wait for its turn.
		waited time.Duration
		edit   func(*v1alpha1.ResolvedTarget)
		want   bool
	}{
		"the first attempt of a run that has just begun": {attempt: 1},
		"the first attempt of a target that began later": {attempt: 1, waited: time.Hour, want: true},
		"the second attempt":                             {attempt: 2, want: true},
		"a DaemonSet, whose node says which data it is": {attempt: 2, edit: func(t *v1alpha1.ResolvedTarget) {
			t.AppRef.Kind = v1alpha1.KindDaemonSet
		}},
		"a host path": {attempt: 2, edit: func(t *v1alpha1.ResolvedTarget) {
			logs := v1alpha1.ResolvedVolume{Component: "logs", HostPath: "/logs"}
			t.Hosts[0].Volumes = append(t.Hosts[0].Volumes, logs)
		}},
		"copies": {attempt: 2, edit: func(t *v1alpha1.ResolvedTarget) {
			t.Copies = []v1alpha1.ResolvedCopy{{ClaimName: "target"}}
		}},
		"VolumeSnapshots": {attempt: 2, edit: func(t *v1alpha1.ResolvedTarget) {
			t.Task.Driver = v1alpha1.DriverVolumeSnapshotter
		}},
		"a sidecar": {attempt: 2, edit: func(t *v1alpha1.ResolvedTarget) { t.Executor = v1alpha1.ExecutorSidecar }},
	} {
		t.Run(name, func(t *testing.T) {
			target := runtest.Target("a", "target")
			if tt.edit != nil {
				tt.edit(&target)
			}
			s := frozen(target).session
			s.Status.Targets[0].StartTime = new(metav1.NewTime(s.Status.StartTime.Add(tt.waited)))
			m := backup.Mover{Attempt: tt.attempt, Target: &target, Host: &target.Hosts[0]}
			NewWithT(t).Expect(m.FindsNodeAgain(s)).To(Equal(tt.want))
		})
	}
}
