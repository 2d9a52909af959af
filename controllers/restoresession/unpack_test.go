package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// Programs of the server's image turn a physical backup into the files of a server in a volume. The claim is treated
// like the claim of any restore: checked before, stamped after.
func TestAProgramMakesTheFilesOfAServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dump := w.newSnapshot("dump", v1alpha1.SnapshotSucceeded, 4, "dump")
	dump.Spec.AppRef = v1alpha1.TypedObjectReference{Kind: v1alpha1.KindService, Name: "db"}
	sessiontest.Create(t, w.Client, dump)
	into := func(s *v1alpha1.RestoreSession) {
		s.Spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "target"}
		s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "dump"}
	}
	physical := func(s *v1alpha1.RestoreSession) {
		s.Spec.Addon = &v1alpha1.AddonInfo{Name: "mariadb-addon", Tasks: []v1alpha1.TaskReference{{
			Name: "physical-backup-restore", Params: &apiextensionsv1.JSON{Raw: []byte(`{"image":"mariadb:11.4"}`)},
		}}}
	}

	w.restore("unnamed", into)
	s := w.settle("unnamed")
	w.Expect(ending(s)).To(Equal("Invalid/AddonNotFound"))
	w.Expect(s.Status.Conditions).
		To(ContainElement(HaveField("Message", ContainSubstring("physical-backup-restore of the database's Addon"))))
	w.Expect(w.Jobs()).To(BeEmpty())

	w.restore("restore", into, physical)
	s = w.settle("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	jobs := w.Jobs()
	w.Expect(jobs).To(HaveLen(1))
	pod := jobs[0].Spec.Template.Spec
	w.Expect(pod.InitContainers[0].Image).To(Equal("mover:test"))
	w.Expect(pod.Containers[0].Image).To(Equal("mover:test"))
	w.Expect(pod.InitContainers[1].Name).To(Equal(task.ProgramContainer))
	w.Expect(pod.InitContainers[1].Image).To(Equal("mariadb:11.4"))
	for _, c := range []corev1.Container{pod.Containers[0], pod.InitContainers[1]} {
		w.Expect(c.VolumeMounts).
			To(ContainElement(And(HaveField("MountPath", "/cairn/volumes/dump"), HaveField("ReadOnly", false))))
	}
	component := kubelet.TaskOf(&jobs[0]).Components[0]
	w.Expect(component.Stream.Command).To(Equal([]string{"mbstream", "--extract"}))
	w.Expect(component.Stream.Finish.Command[0]).To(Equal("mariadb-backup"))

	w.forget("restore")
	w.restore("restore", into, physical)
	w.Expect(ending(w.settle("restore"))).To(Equal("Skipped/AlreadyRestored"))
}
