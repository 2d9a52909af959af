package cli_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// A restore in another namespace keeps the Snapshot that it uses, according to the cluster. A user who must not see
// that namespace is warned.
func TestRetentionExplainSeesRestoresElsewhere(t *testing.T) {
	g := NewWithT(t)
	ns, elsewhere := namespace(t, "in-use"), namespace(t, "in-use-elsewhere")
	load(t, "testdata/retention.yaml", ns)
	now := time.Date(2026, 11, 19, 12, 0, 0, 0, time.UTC)
	explain := func(args ...string) result { return explainAt(t, now, append(args, "web", "-n", ns)...) }
	g.Expect(explain().out).To(MatchRegexp(`(?m)^web-2 .* no .*no rule of successfulSnapshots keeps it`))

	restore := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere, Name: "copy"},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "copy"},
			DataSource: &v1alpha1.RestoreDataSource{Namespace: ns, Snapshot: "web-2"},
		},
	}
	g.Expect(bed.Client.Create(t.Context(), restore)).To(Succeed())
	r := explain()
	g.Expect(r.out).To(MatchRegexp(`(?m)^web-2 .* yes .*RestoreSession in-use-elsewhere/copy`))
	g.Expect(r.err).To(BeEmpty())

	// A user with rights in only one namespace.
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "reader"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{v1alpha1.Group}, Resources: []string{"*"}, Verbs: []string{"get", "list"}},
		},
	}
	g.Expect(bed.Client.Create(t.Context(), role)).To(Succeed())
	g.Expect(bed.Client.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "ann"}},
	})).To(Succeed())
	g.Eventually(func(g Gomega) {
		r := explain("--as", "ann")
		g.Expect(r.code).To(Equal(0), r.err)
		g.Expect(r.out).To(MatchRegexp(`(?m)^web-2 .* no .*no rule of successfulSnapshots keeps it`))
		g.Expect(r.err).
			To(HavePrefix(
				"warning: the restores of other namespaces are not known, so a Snapshot that only such a restore " +
					"keeps is shown as going: "))
		g.Expect(r.err).To(ContainSubstring(`cannot list resource "restoresessions"`))
	}, testbed.Patience, 100*time.Millisecond).Should(Succeed(), "until the API server has seen the role")
}

// A policy that is tried decides on whole restore points of a batch, as it will once it is in force.
func TestRetentionExplainTriesAPolicyForAllOfABatch(t *testing.T) {
	g, ns := NewWithT(t), namespace(t, "whole")
	load(t, "testdata/batch.yaml", ns)
	var batch v1alpha1.BackupBatch
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "shop"}, &batch)).To(Succeed())
	children, err := policy.KnownChildren(&batch)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(children).To(HaveLen(2))
	now := time.Date(2026, 11, 19, 12, 0, 0, 0, time.UTC)
	for i := range children {
		child := &children[i]
		child.OwnerReferences = []metav1.OwnerReference{
			*metav1.NewControllerRef(&batch, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupBatchKind)),
		}
		repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: child.Name}}
		repository.Spec.AppRef, repository.Spec.Path = *child.Spec.Target, "/"+child.Name
		repository.Spec.StorageRef.Name = "s3"
		repository.Spec.EncryptionSecret = v1alpha1.ObjectReference{Name: "enc"}
		bed.Create(t, child, repository)
		for run, phase := range map[string]v1alpha1.SnapshotPhase{
			"r-1": v1alpha1.SnapshotSucceeded, "r-2": v1alpha1.SnapshotSucceeded,
		} {
			at := now.Add(-2 * time.Hour)
			if run == "r-2" {
				at = now.Add(-time.Hour)
				if child.Name == "shop-uploads" {
					phase = v1alpha1.SnapshotFailed
				}
			}
			snapshot := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: child.Name + "-" + run}}
			snapshot.Labels = map[string]string{
				v1alpha1.LabelInvokerKind: v1alpha1.BackupBatchKind, v1alpha1.LabelConfiguration: child.Name,
			}
			snapshot.Spec = v1alpha1.SnapshotSpec{
				SnapshotID: run, Repository: child.Name, Session: "hourly", BackupSession: run,
				Version: v1alpha1.SnapshotLayoutVersion, AppRef: *child.Spec.Target,
			}
			bed.Create(t, snapshot)
			bed.EditStatus(t, snapshot, func() {
				snapshot.Status.Phase, snapshot.Status.SnapshotTime = phase, new(metav1.NewTime(at))
			})
		}
	}
	file := filepath.Join(t.TempDir(), "keep.yaml")
	g.Expect(os.WriteFile(file, []byte("apiVersion: backup.cairn.dev/v1alpha1\nkind: RetentionPolicy\n"+
		"metadata: {name: try}\nspec: {maxRetentionPeriod: 30d, successfulSnapshots: {last: 1}}\n"), 0o600)).
		To(Succeed())
	r := explainAt(t, now, "shop-web", "-n", ns, "--policy", file)
	g.Expect(r.code).To(Equal(0), r.err)
	g.Expect(r.out).To(MatchRegexp(`(?m)^shop-web-r-1 .* yes `), "the last run in which all targets succeeded")
}
