package catalog_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

func TestRestoreAddon(t *testing.T) {
	params := func(names ...string) (out []v1alpha1.TaskParameter) {
		for _, n := range names {
			out = append(out, v1alpha1.TaskParameter{Parameter: v1alpha1.Parameter{Name: n}})
		}
		return out
	}
	addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{
		BackupTasks: []v1alpha1.Task{
			{Name: "logical-backup", Parameters: params("secretName", "databases", "args", "port", "sslMode")},
			{Name: "one-way"},
		},
		RestoreTasks: []v1alpha1.Task{
			{Name: "other"}, {Name: "logical-backup-restore", Parameters: params("secretName", "args", "port",
				"sslMode")},
		},
	}}
	addon.Name = "db-addon"
	user := int64(7)
	backup := func(task string) *v1alpha1.AddonInfo {
		return &v1alpha1.AddonInfo{
			Name: "db-addon", JobTemplate: &v1alpha1.PodTemplateSpec{
				Spec: v1alpha1.JobPodSpec{SecurityContext: &v1alpha1.MoverSecurityContext{RunAsUser: &user}},
			},
			Tasks: []v1alpha1.TaskReference{{
				Name: task, Params: catalog.NewParams(map[string]string{
					"secretName": "db", "databases": "a,b",
					"args": "--no-sync", "port": "5432",
				}),
				Variables: []corev1.EnvVar{
					{Name: "sslMode", Value: "require"}, {Name: "args", Value: "--x"}, {Name: "databases", Value: "c"},
				},
			}},
		}
	}

	t.Run("what both tasks declare, without the arguments of the program that dumps", func(t *testing.T) {
		for _, task := range []string{"logical-backup", "LogicalBackup"} {
			g := NewWithT(t)
			got, err := catalog.RestoreAddon(addon, backup(task))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(&v1alpha1.AddonInfo{
				Name: "db-addon", JobTemplate: backup(task).JobTemplate,
				Tasks: []v1alpha1.TaskReference{{
					Name:      "logical-backup-restore",
					Params:    catalog.NewParams(map[string]string{"port": "5432", "secretName": "db"}),
					Variables: []corev1.EnvVar{{Name: "sslMode", Value: "require"}},
				}},
			}))
		}
	})
	t.Run("a backup without a restore task", func(t *testing.T) {
		g := NewWithT(t)
		_, err := catalog.RestoreAddon(addon, backup("one-way"))
		g.Expect(err).To(MatchError(ContainSubstring(`no restore task "one-way-restore"`)))
		g.Expect(err).To(MatchError(ContainSubstring("other, logical-backup-restore")))
	})
}
