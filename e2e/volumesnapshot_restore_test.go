package e2e

import (
	"fmt"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

const borrower = "volumes-elsewhere"

// lender is a namespace with the volume photos, which a run backed up as a VolumeSnapshot and which
// was damaged afterwards.
type lender struct {
	*volumeApp
	before string // what was in it
	shot   string // the VolumeSnapshot
}

// TestVolumeSnapshotRestore makes volumes of VolumeSnapshots in every way but the plain one: in another namespace, in
// the place of a claim, and without a Snapshot.
func TestVolumeSnapshotRestore(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	l := deployLender(t, bed)
	scratchNamespace(t, bed, borrower)
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"too small a volume", l.tooSmall},
		{"into another namespace", l.lend},
		{"a free volume is there", l.free},
		{"in the place of a claim", l.replace},
		{"of a VolumeSnapshot that is named", l.named},
	} {
		if !t.Run(step.name, step.run) {
			return
		}
	}
}

func deployLender(t *testing.T, bed *testbed.Testbed) *lender {
	t.Helper()
	l := &lender{volumeApp: &volumeApp{bed: bed, namespace: "volumes-lent"}}
	scratchNamespace(t, bed, l.namespace)
	applyTo(t, bed, l.namespace, claimManifest("photos")+`---
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: photos}
spec:
  target: {kind: PersistentVolumeClaim, name: photos}
  sessions:
  - name: manual
    addon: {name: pvc-addon, tasks: [{name: volume-snapshot}]}
`)
	l.look(t, l.namespace, "photos", "write", "/data/a/b/deep", "deep down")
	l.look(t, l.namespace, "photos", "write", "/data/note", "noted")
	l.before = l.look(t, l.namespace, "photos", "manifest", "--skip-root", "/data")
	waitReady(t, bed, l.configuration("photos"), metav1.ConditionTrue, "")
	run := endOf(t, bed, l.namespace, l.start(t, "photos"))
	NewWithT(t).Expect(run.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded), "%+v", run.Status.Targets)
	l.shot = fmt.Sprintf("photos-%d", run.CreationTimestamp.Unix())
	l.look(t, l.namespace, "photos", "write", "/data/note", "spoilt")
	return l
}

// look runs the toolbox in a pod that has a claim at /data.
func (l *lender) look(t *testing.T, namespace, claim string, command ...string) (out string) {
	t.Helper()
	pod := testbed.VolumePod{Namespace: namespace, Name: "look-" + claim, Claim: claim, User: 65532}
	NewWithT(t).Expect(l.bed.WithVolumePod(t.Context(), pod, func(ctx contextT) (err error) {
		out, err = l.bed.Exec(ctx, namespace, pod.Name, nil, append([]string{"/toolbox"}, command...)...)
		return err
	})).To(Succeed())
	return out
}

// restore makes a claim of a template, from the data of source, and returns the RestoreSession when it has ended.
func (l *lender) restore(t *testing.T, namespace, name, source, template string) *v1alpha1.RestoreSession {
	t.Helper()
	applyTo(t, l.bed, namespace, fmt.Sprintf(`
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreSession
metadata: {name: %s}
spec:
%s  addon:
    name: pvc-addon
    tasks: [{name: volume-snapshot-restore, targetVolumes: {volumeClaimTemplates: [%s]}}]
`, name, source, template))
	return endOfRestore(t, l.bed, namespace, name)
}

const newestOfPhotos = "  dataSource: {repository: photos, snapshot: latest}\n"

func lentFrom(namespace string) string {
	return "  dataSource: {namespace: " + namespace + ", repository: photos, snapshot: latest}\n"
}

func readyMessage(s *v1alpha1.RestoreSession) string {
	for _, c := range s.Status.Conditions {
		if c.Type == "Ready" {
			return c.Message
		}
	}
	return ""
}

func (l *lender) tooSmall(t *testing.T) {
	g := NewWithT(t)
	s := l.restore(t, l.namespace, "small", newestOfPhotos,
		`{metadata: {name: small}, spec: {resources: {requests: {storage: 512Mi}}}}`)
	g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonVolumeTooSmall))
	g.Expect(readyMessage(s)).To(And(ContainSubstring("512Mi"), ContainSubstring("1Gi")))
	l.expectClaim(t, l.namespace, "small", nil)
}

// expectClaim checks which VolumeSnapshot a claim was made of; nil means that the claim must not exist.
func (l *lender) expectClaim(t *testing.T, namespace, claim string, of any) *corev1.PersistentVolumeClaim {
	t.Helper()
	g, found := NewWithT(t), &corev1.PersistentVolumeClaim{}
	err := l.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: claim}, found)
	if of == nil {
		g.Expect(err).To(HaveOccurred(), "nothing was made")
		return nil
	}
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(found.Status.Phase).To(Equal(corev1.ClaimBound))
	g.Expect(found.Spec.DataSource).To(And(HaveField("Kind", volumesnapshot.Kind), HaveField("Name", of)))
	return found
}

func (l *lender) lend(t *testing.T) {
	g := NewWithT(t)
	now := `{metadata: {name: photos-now}, spec: {storageClassName: minihostpath-immediate}}`
	s := l.restore(t, borrower, "unasked", lentFrom(l.namespace), now)
	g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonRestoreNotAllowed))
	_, err := kubectl(t, l.bed, "", "annotate", "repository/photos", "-n", l.namespace,
		v1alpha1.AnnotationRestoreTo+"="+borrower)
	g.Expect(err).NotTo(HaveOccurred())
	for name, template := range map[string]string{
		"now": now, "late": `{metadata: {name: photos-late}, spec: {storageClassName: minihostpath}}`,
	} {
		s = l.restore(t, borrower, name, lentFrom(l.namespace), template)
		g.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), readyMessage(s))
		l.expectClaim(t, borrower, "photos-"+name, HavePrefix("cairn-import-"))
		g.Expect(l.look(t, borrower, "photos-"+name, "manifest", "--skip-root", "/data")).To(Equal(l.before))
	}
	g.Eventually(func() (int, error) {
		var contents snapshotv1.VolumeSnapshotContentList
		var snapshots snapshotv1.VolumeSnapshotList
		if err := l.bed.Client.List(t.Context(), &contents,
			client.HasLabels{v1alpha1.LabelRestoreSession}); err != nil {
			return 0, err
		}
		err := l.bed.Client.List(t.Context(), &snapshots, client.InNamespace(borrower))
		lent := len(snapshots.Items)
		for _, c := range contents.Items {
			if c.Spec.VolumeSnapshotRef.Namespace == borrower {
				lent++
			}
		}
		return lent, err
	}, "60s", "1s").Should(BeZero(), "what was lent is given back")
	lent := &snapshotv1.VolumeSnapshot{}
	g.Expect(l.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: l.namespace, Name: l.shot}, lent)).To(Succeed())
	g.Expect(volumesnapshot.Ready(lent)).To(BeTrue(), "what was lent is still the lender's")
}

// free: Kubernetes binds a claim to a free volume if there is one, whatever data source the claim names.
func (l *lender) free(t *testing.T) {
	g := NewWithT(t)
	applyToCluster(t, l.bed, `
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: volumes-lent-free}
provisioner: minihostpath.csi.cairn.local
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: volumes-lent-free}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: volumes-lent-free
  hostPath: {path: /nowhere}
`)
	s := l.restore(t, l.namespace, "free", newestOfPhotos,
		`{metadata: {name: photos-free}, spec: {storageClassName: volumes-lent-free}}`)
	g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonWrongVolume), readyMessage(s))
	g.Expect(readyMessage(s)).To(And(ContainSubstring("PersistentVolumeClaim photos-free"),
		ContainSubstring("PersistentVolume volumes-lent-free"), ContainSubstring("other data")))
}

func (l *lender) replace(t *testing.T) {
	g := NewWithT(t)
	var old corev1.PersistentVolumeClaim
	g.Expect(l.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: l.namespace, Name: "photos"}, &old)).
		To(Succeed())
	s := l.restore(t, l.namespace, "unsaid", newestOfPhotos, `{metadata: {name: photos}, spec: {}}`)
	g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonNameConflict))
	replacing := fmt.Sprintf(`{metadata: {name: photos, annotations: {%s: %q}}, spec: {}}`, v1alpha1.AnnotationReplace,
		old.UID)
	g.Expect(readyMessage(s)).To(ContainSubstring(v1alpha1.AnnotationReplace + ": " + string(old.UID)))
	s = l.restore(t, l.namespace, "replace", newestOfPhotos, replacing)
	g.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), readyMessage(s))
	g.Expect(l.expectClaim(t, l.namespace, "photos", Equal(l.shot)).UID).NotTo(Equal(old.UID))
	g.Expect(l.look(t, l.namespace, "photos", "manifest", "--skip-root", "/data")).To(Equal(l.before))
	another := l.restore(t, l.namespace, "replace-again", newestOfPhotos, replacing)
	g.Expect(another.Status.Reason).To(Equal(v1alpha1.ReasonNameConflict), "the claim is another one by now")
	g.Expect(l.bed.Client.Delete(t.Context(), s)).To(Succeed())
	g.Expect(testbed.Poll(t.Context(), patience, "the end of the RestoreSession", func(ctx contextT) (bool, error) {
		err := l.bed.Client.Get(ctx, client.ObjectKeyFromObject(s), &v1alpha1.RestoreSession{})
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})).To(Succeed())
	s = l.restore(t, l.namespace, "replace", newestOfPhotos, replacing)
	g.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonAlreadyRestored))
}

func (l *lender) named(t *testing.T) {
	g := NewWithT(t)
	s := l.restore(t, l.namespace, "named", "",
		`{metadata: {name: photos-copy}, spec: {dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: `+l.shot+`}}}`)
	g.Expect(s.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), readyMessage(s))
	l.expectClaim(t, l.namespace, "photos-copy", Equal(l.shot))
	g.Expect(l.look(t, l.namespace, "photos-copy", "manifest", "--skip-root", "/data")).To(Equal(l.before))
}
