package cli_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestScan(t *testing.T) {
	ns := namespace(t, "scan")
	g := NewWithT(t)
	repository := func(name string, spec v1alpha1.RepositorySpec) *v1alpha1.Repository {
		r := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: spec}
		g.Expect(bed.Client.Create(t.Context(), r)).To(Succeed())
		return r
	}
	web := repository("web", v1alpha1.RepositorySpec{
		StorageRef: v1alpha1.ObjectReference{Name: "s3"}, Path: "/web",
		EncryptionSecret: v1alpha1.ObjectReference{Name: "enc"},
	})
	repository("volumes", v1alpha1.RepositorySpec{Driver: v1alpha1.DriverVolumeSnapshotter})

	g.Expect(runIn(t, "repository", "scan", "web", "-n", ns)).To(Equal(result{
		out: "repository/web: a scan is asked for\n",
	}))
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(web), web)).To(Succeed())
	request := web.Annotations[v1alpha1.AnnotationScan]
	g.Expect(time.Parse(time.RFC3339Nano, request)).To(BeTemporally("==", pinned))

	g.Expect(runIn(t, "repository", "scan", "web", "-n", ns, "--wait", "--timeout", "100ms")).To(Equal(result{
		code: 5,
		out:  "repository/web: a scan is asked for\npending: the Repository is not initialised:\n",
		err:  "error: scan of repository/web has not ended within 100ms and goes on in the cluster\n",
	}))
	web.Status = v1alpha1.RepositoryStatus{InitializedSpec: "x", Conditions: []metav1.Condition{{
		Type: v1alpha1.ConditionScanned, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonUnreachable,
		Message: "the storage can't be reached: Cairn tries again", LastTransitionTime: metav1.NewTime(pinned),
	}}}
	g.Expect(bed.Client.Status().Update(t.Context(), web)).To(Succeed())
	g.Expect(runIn(t, "repository", "scan", "web", "-n", ns, "--wait", "--timeout", "100ms").out).
		To(ContainSubstring("\npending: the last try failed: Unreachable: the storage can't be reached"))

	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(web), web)).To(Succeed())
	web.Status.LastScan = &v1alpha1.ScanStatus{
		Requested: request, Time: metav1.NewTime(pinned), Found: 9, Rebuilt: 8, Incomplete: 1, Refused: 2,
		Unreadable: 3, Unknown: 4,
	}
	g.Expect(bed.Client.Status().Update(t.Context(), web)).To(Succeed())
	g.Expect(runIn(t, "repository", "scan", "web", "-n", ns, "--wait")).To(Equal(result{
		out: "repository/web: a scan is asked for\nscan of repository/web succeeded: 9 Snapshots in the backend, " +
			"8 rebuilt; 1 of these Failed, because they had failed before or data is missing; 2 left out: the log of " +
			"the manager says why, of the first three; 3 result files could not be understood; 4 backups in the " +
			"repository belong to no Snapshot\n",
	}))

	g.Expect(runIn(t, "repository", "scan", "volumes", "-n", ns)).To(Equal(result{
		code: 1,
		err:  "error: Repository volumes keeps VolumeSnapshots: they have no backend that could be scanned\n",
	}))
	g.Expect(runIn(t, "repository", "scan", "nosuch", "-n", ns)).To(Equal(result{
		code: 1,
		err: "error: there is no Repository nosuch in namespace scan: create it first, with the storageRef, path and " +
			"encryptionSecret that the repository in the backend has\n",
	}))
}
