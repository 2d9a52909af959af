package task_test

import (
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
)

// A base backup becomes a directory of a volume. A place that is none is refused before a Job is made; so is a database as target.
func TestABaseBackupIsUnpackedIntoADirectory(t *testing.T) {
	functions, addons := catalog(t)
	resolve := func(params string) (v1alpha1.ResolvedTask, *v1alpha1.ResolvedError) {
		for _, a := range addons {
			if a.Name == "postgres-addon" {
				reference := v1alpha1.TaskReference{Name: "physical-backup-restore", Params: &apiextensionsv1.JSON{Raw: []byte(params)}}
				got, _, refusal := task.Resolve(a, func(n string) *v1alpha1.Function { return functions[n] },
					v1alpha1.AddonInfo{Name: a.Name, Tasks: []v1alpha1.TaskReference{reference}}, true, task.Variables{MoverImage: "mover:v1", TargetKind: "PersistentVolumeClaim", TargetName: "data"})
				return got, refusal
			}
		}
		return v1alpha1.ResolvedTask{}, nil
	}
	g := NewWithT(t)
	for params, want := range map[string]string{`{}`: "--unpack=pgdata", `{"directory":"18/docker"}`: "--unpack=18/docker"} {
		got, refusal := resolve(params)
		g.Expect(refusal).To(BeNil(), params)
		g.Expect(got.Image).To(Equal("mover:v1"))
		g.Expect(got.Args).To(Equal([]string{"restore", want, "--cache=false", "--scratch-dir=/tmp"}))
	}
	for _, directory := range []string{".", "/", "/var/lib", "..", "a/../.."} {
		_, refusal := resolve(`{"directory":"` + directory + `"}`)
		g.Expect(refusal).To(HaveField("Reason", v1alpha1.ReasonInvalidParameters), directory)
		g.Expect(refusal.Message).To(ContainSubstring(`the parameter "directory" is "`+directory+`" in place of a directory inside the volume`), directory)
	}
	_, _, refusal := databaseTask(t, "postgres-addon", "physical-backup-restore", `{}`, true, task.Variables{}, "dump")
	g.Expect(refusal).To(HaveField("Message", ContainSubstring("restores into a PersistentVolumeClaim")))
}
