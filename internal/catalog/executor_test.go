package catalog_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

func TestExecutor(t *testing.T) {
	g := NewWithT(t)
	info := &v1alpha1.AddonInfo{Name: "a", Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}}}
	addon := &v1alpha1.Addon{}
	addon.Spec.BackupTasks = []v1alpha1.Task{{Name: "logical-backup", Executor: v1alpha1.ExecutorSidecar}}
	g.Expect(catalog.Executor("", nil, info, false)).To(Equal(v1alpha1.ExecutorJob))
	g.Expect(catalog.Executor("", addon, info, false)).To(Equal(v1alpha1.ExecutorSidecar), "the Addon decides")
	g.Expect(catalog.Executor(v1alpha1.ExecutorJob, addon, info, false)).To(Equal(v1alpha1.ExecutorJob),
		"policy has the last word")
	g.Expect(catalog.Executor(v1alpha1.ExecutorSidecar, nil, nil, false)).To(Equal(v1alpha1.ExecutorSidecar))
	g.Expect(catalog.Executor("", addon, info, true)).To(Equal(v1alpha1.ExecutorJob),
		"the restore task decides for a restore")
}

func TestWhatASidecarCantDo(t *testing.T) {
	workload := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "web"}
	for name, tt := range map[string]struct {
		target  v1alpha1.TypedObjectReference
		session func(s *v1alpha1.BackupConfigurationSession)
		task    v1alpha1.Task
		local   bool
		field   string
	}{
		"a whole backup of a workload": {},
		"a claim has no pods": {
			target: v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "data"},
			field:  "s.executor",
		},
		"a jobTemplate": {
			session: func(s *v1alpha1.BackupConfigurationSession) { s.Addon.JobTemplate = &v1alpha1.PodTemplateSpec{} },
			field:   "s.addon.jobTemplate",
		},
		"volumes of the policy": {
			session: func(s *v1alpha1.BackupConfigurationSession) {
				s.Addon.Tasks[0].AddonVolumes = []v1alpha1.AddonVolume{{Name: "scratch"}}
			}, field: "s.addon.tasks[0]",
		},
		"steps": {
			task:  v1alpha1.Task{Steps: []v1alpha1.TaskStep{{Name: "prepare"}, {Name: "mover"}}},
			field: "s.addon.tasks[0]",
		},
		"volumes of the task": {
			task:  v1alpha1.Task{VolumeTemplate: []v1alpha1.VolumeTemplate{{Name: "scratch"}}},
			field: "s.addon.tasks[0]",
		},
		"a storage on a volume": {local: true, field: "s.repositories[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			session := &v1alpha1.BackupConfigurationSession{
				Executor: v1alpha1.ExecutorSidecar, Repositories: []v1alpha1.RepositoryInfo{
					{Name: "r", Backend: "main"},
				},
				Addon: &v1alpha1.AddonInfo{Name: "a", Tasks: []v1alpha1.TaskReference{{Name: "logical-backup"}}},
			}
			if tt.session != nil {
				tt.session(session)
			}
			if tt.target.Kind == "" {
				tt.target = workload
			}
			addon := &v1alpha1.Addon{}
			tt.task.Name = "logical-backup"
			addon.Spec.BackupTasks = []v1alpha1.Task{tt.task}
			storage := &v1alpha1.BackupStorage{}
			if tt.local {
				storage.Spec.Storage.Local = &v1alpha1.LocalStorage{}
			}
			mistakes := catalog.SidecarMistakes("s", tt.target, session, addon,
				func(string) *v1alpha1.BackupStorage { return storage })
			if tt.field == "" {
				g.Expect(mistakes).To(BeEmpty())
				return
			}
			g.Expect(mistakes).To(HaveLen(1))
			g.Expect(mistakes[0].Field).To(Equal(tt.field))
			g.Expect(mistakes[0].Reason).To(Equal(v1alpha1.ReasonSidecarNotPossible))
			g.Expect(mistakes[0].Message).To(HaveSuffix(": use executor Job"))
		})
	}
}

func TestWhatASidecarCannotRestore(t *testing.T) {
	web := &v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "web"}
	for name, tt := range map[string]struct {
		spec  v1alpha1.RestoreSessionSpec
		field string
	}{
		"a workload's volumes": {
			spec: v1alpha1.RestoreSessionSpec{Target: web, Addon: &v1alpha1.AddonInfo{Name: "workload-addon"}},
		},
		"new claims": {field: "spec.executor"},
		"a claim": {
			spec: v1alpha1.RestoreSessionSpec{
				Target: &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "web"},
			}, field: "spec.executor",
		},
		"a database": {
			spec: v1alpha1.RestoreSessionSpec{Target: &v1alpha1.TypedObjectReference{
				Kind: v1alpha1.KindService,
				Name: "db",
			}}, field: "spec.executor",
		},
		"with a jobTemplate": {
			spec: v1alpha1.RestoreSessionSpec{
				Target: web,
				Addon:  &v1alpha1.AddonInfo{JobTemplate: &v1alpha1.PodTemplateSpec{}},
			}, field: "spec.addon.jobTemplate",
		},
		"with settings of the container": {
			spec: v1alpha1.RestoreSessionSpec{
				Target: web, Addon: &v1alpha1.AddonInfo{ContainerRuntimeSettings: &v1alpha1.ContainerRuntimeSettings{}},
			},
			field: "spec.addon.containerRuntimeSettings",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			mistakes := catalog.SidecarRestoreMistakes(&tt.spec)
			if tt.field == "" {
				g.Expect(mistakes).To(BeEmpty())
				return
			}
			g.Expect(mistakes).To(HaveLen(1))
			g.Expect(mistakes[0].Field).To(Equal(tt.field))
			g.Expect(mistakes[0].Reason).To(Equal(v1alpha1.ReasonSidecarNotPossible))
			g.Expect(mistakes[0].Message).To(HaveSuffix(": use executor Job"))
		})
	}
}
