package check_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/policy/check"
)

func TestWhatNoCopiesAreMadeFor(t *testing.T) {
	workload := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "web"}
	for name, tt := range map[string]struct {
		method   v1alpha1.CopyMethod
		target   v1alpha1.TypedObjectReference
		executor v1alpha1.Executor
		task     v1alpha1.Task
		says     string
	}{
		"a workload": {method: v1alpha1.CopySnapshot},
		"a claim": {
			method: v1alpha1.CopyClone, target: v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim},
		},
		"a sidecar that reads directly":             {executor: v1alpha1.ExecutorSidecar},
		"a sidecar that reads directly, explicitly": {method: v1alpha1.CopyDirect, executor: v1alpha1.ExecutorSidecar},
		"a sidecar": {
			method: v1alpha1.CopySnapshot, executor: v1alpha1.ExecutorSidecar, says: "use executor Job with copyMethod",
		},
		"a task that runs in a sidecar": {
			method: v1alpha1.CopySnapshot, task: v1alpha1.Task{Executor: v1alpha1.ExecutorSidecar},
			says: "use executor Job with copyMethod",
		},
		"a task that policy runs in a Job": {
			method: v1alpha1.CopySnapshot, executor: v1alpha1.ExecutorJob, task: v1alpha1.Task{
				Executor: v1alpha1.ExecutorSidecar,
			},
		},
		"a database": {
			method: v1alpha1.CopyClone, target: v1alpha1.TypedObjectReference{Kind: v1alpha1.KindService},
			says: "a database delivers its data itself",
		},
		"VolumeSnapshots": {
			method: v1alpha1.CopyClone, task: v1alpha1.Task{Driver: v1alpha1.DriverVolumeSnapshotter},
			says: "makes VolumeSnapshots",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if tt.target.Kind == "" {
				tt.target = workload
			}
			tt.task.Name = "backup"
			addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{BackupTasks: []v1alpha1.Task{tt.task}}}
			session := &v1alpha1.BackupConfigurationSession{
				Executor: tt.executor, CopySettings: v1alpha1.CopySettings{CopyMethod: tt.method},
				Addon: &v1alpha1.AddonInfo{Name: "a", Tasks: []v1alpha1.TaskReference{{Name: "backup"}}},
			}
			mistakes := check.CopyMistakes("s", tt.target, session, addon)
			if tt.says == "" {
				g.Expect(mistakes).To(BeEmpty())
				return
			}
			g.Expect(mistakes).To(HaveLen(1))
			g.Expect(mistakes[0].Field).To(Equal("s.copyMethod"))
			g.Expect(mistakes[0].Reason).To(Equal(v1alpha1.ReasonCopyNotPossible))
			g.Expect(mistakes[0].Message).To(ContainSubstring(tt.says))
		})
	}
}

func TestNamesOfCopies(t *testing.T) {
	g := NewWithT(t)
	name := policy.CopyName("uid", "web", "data")
	g.Expect(name).To(MatchRegexp(`^copy-data-[0-9a-f]{8}$`))
	g.Expect(policy.CopyName("other", "web", "data")).
		NotTo(Equal(name), "a deleted namesake can have left copies behind")
	g.Expect(policy.CopyName("uid", "worker", "data")).NotTo(Equal(name), "its hooks freeze another moment")
	g.Expect(len(policy.CopyName("uid", "web", string(make([]byte, 253))))).To(BeNumerically("<=", 63))
}
