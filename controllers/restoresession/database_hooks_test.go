package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// dbReady makes the only pod of the database ready, or not.
func (w *world) dbReady(ready bool) {
	w.T.Helper()
	slice := &discoveryv1.EndpointSlice{}
	w.Get("db", slice)
	bed.Edit(w.T, slice, func() { slice.Endpoints[0].Conditions.Ready = &ready })
}

// onVolumes makes the pod of the database anew, on another node, with volumes data, a claim, and files, which goes with
// the pod.
func (w *world) onVolumes(claim string, mounts ...corev1.VolumeMount) {
	w.T.Helper()
	p := &corev1.Pod{}
	w.Get("db-0", p)
	w.Expect(w.Client.Delete(w.T.Context(), p, client.GracePeriodSeconds(0))).To(Succeed())
	p = sessiontest.Database(w.Namespace, "db", true)[1].(*corev1.Pod)
	p.Spec.Volumes = []corev1.Volume{
		{Name: "files", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	if claim != "" {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}})
	}
	p.Spec.Containers[0].VolumeMounts = mounts
	sessiontest.Create(w.T, w.Client, p)
}

// A restore is made again. Its stamp no longer proves that the database has its data, but it can have it.
func TestNoPreRestoreHookMeetsADatabaseThatCanHoldItsData(t *testing.T) {
	t.Parallel()
	scratch := []corev1.VolumeMount{
		{Name: "data", MountPath: "/var/lib/mysql"}, {Name: "files", MountPath: "/var/lib/mysql-files"},
	}
	own, skipped := []corev1.VolumeMount{{Name: "data", MountPath: "/srv/pg"}}, "Skipped/AlreadyRestored"
	files, refused := scratch[1:], "Invalid/ConfirmationMissing"
	for name, tt := range map[string]struct {
		claim, later string
		mounts       []corev1.VolumeMount
		unseen       bool // at the end of the restore
		want         string
	}{
		"its pod moved, with scratch files beside its claim": {"one", "one", scratch, false, refused},
		"its pod moved, with its claim at a path of its own": {"one", "one", own, false, refused},
		"it was not ready when the restore ended":            {"one", "one", scratch, true, refused},
		"its claim is another one":                           {"one", "two", scratch, false, "Succeeded/Succeeded"},
		"its data went with its pod":                         {"", "", files, false, "Succeeded/Succeeded"},
		"its claim has all of it":                            {"one", "one", scratch[:1], false, skipped},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := databaseWorld(t, true)
			for _, name := range []string{"one", "two"} {
				sessiontest.Create(t, w.Client, sessiontest.Claim(w.Namespace, name))
			}
			w.onVolumes(tt.claim, tt.mounts...)
			l := sessiontest.Listen(t)
			hooks := w.RestoreHooks(l)
			hooked := func(s *v1alpha1.RestoreSession) { s.Spec.Hooks = hooks }
			l.Answer = func(path string) int {
				if path == "/start" && tt.unseen {
					w.dbReady(false)
				}
				return 200
			}
			w.restore("march", intoService(auth), hooked)
			w.Expect(ending(w.drive("march"))).To(Equal("Succeeded/Succeeded"))
			heard := l.Heard()

			w.dbReady(true)
			w.onVolumes(tt.later, tt.mounts...)
			w.forget("march")
			w.Outcome = kubelet.Succeed
			w.restore("march", intoService(auth), hooked)
			s := w.drive("march")
			w.Expect(ending(s)).To(Equal(tt.want), message(s))
			w.Expect(len(l.Heard()) > len(heard)).To(Equal(tt.want == "Succeeded/Succeeded"), "whether hooks ran")
		})
	}
}
