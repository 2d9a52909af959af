package sidecar_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
)

func TestTasksThatNeedAJob(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*v1alpha1.ResolvedTask)
		want   string
	}{
		"a task of the mover": {change: func(*v1alpha1.ResolvedTask) {}},
		"a step before the mover": {
			func(t *v1alpha1.ResolvedTask) { t.Steps = []v1alpha1.ResolvedStep{{}} }, "has steps",
		},
		"volumes of its own": {func(t *v1alpha1.ResolvedTask) { t.Volumes = []corev1.Volume{{}} }, "brings volumes"},
		"programs of another image": {
			func(t *v1alpha1.ResolvedTask) { t.MoverImage = "mover:v1" }, "image of its own",
		},
		"no arguments": {func(t *v1alpha1.ResolvedTask) { t.Args = nil }, "Function f does more"},
		"another command": {
			func(t *v1alpha1.ResolvedTask) { t.Args = []string{"restore"} }, "Function f does more",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			resolved := &v1alpha1.ResolvedTask{Function: "f", Args: []string{"backup"}}
			tt.change(resolved)
			refusal := sidecar.TaskRefusal(resolved, task.KindBackup)
			if tt.want == "" {
				g.Expect(refusal).To(BeNil())
				return
			}
			g.Expect(refusal.Reason).To(Equal(v1alpha1.ReasonSidecarNotPossible))
			g.Expect(refusal.Message).To(And(ContainSubstring(tt.want), HaveSuffix(": take executor Job")))
		})
	}
}

func TestStoragesThatNeedAJob(t *testing.T) {
	g := NewWithT(t)
	s := &v1alpha1.BackupStorage{}
	s.Namespace, s.Name = "storage", "disk"
	g.Expect(sidecar.StorageRefusal(s)).To(BeNil())
	s.Spec.Storage.Local = &v1alpha1.LocalStorage{}
	g.Expect(sidecar.StorageRefusal(s).Message).To(Equal(
		"BackupStorage storage/disk is on a volume, which a sidecar does not mount: take executor Job"))
}
