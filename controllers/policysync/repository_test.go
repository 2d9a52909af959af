package policysync

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// repositoryFile returns a file with a Repository.
func repositoryFile(name string) string {
	return "apiVersion: backup.cairn.dev/v1alpha1\nkind: Repository\nmetadata: {name: " + name + "}\nspec: {appRef: " +
		"{kind: PersistentVolumeClaim, name: " + name + "}, storageRef: {name: local}, path: /" + name +
		", encryptionSecret: {name: enc}}\n"
}

// batchFile returns a file with a BackupBatch whose only target has this name.
func batchFile(name, target string) string {
	return `apiVersion: backup.cairn.dev/v1alpha1
kind: BackupBatch
metadata: {name: ` + name + `}
spec:
  backends: [{name: main, storageRef: {name: local}}]
  targets: [{name: ` + target + `, appRef: {kind: PersistentVolumeClaim, name: ` + target + `}}]
  sessions:
  - name: nightly
    targets:
    - name: ` + target + `
      addon: {name: pvc-addon, tasks: [{name: logical-backup}]}
      repositories: [{name: ` + target + `, backend: main, directory: /` + target + `, encryptionSecret: {name: enc}}]
`
}

// snapshotIn makes a Snapshot of a Repository.
func (r *testNamespace) snapshotIn(repository string) {
	r.t.Helper()
	r.g.Expect(r.Create(r.t.Context(), &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: repository + "-01"},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "01", Repository: repository, Session: "nightly", BackupSession: "run",
			Version: v1alpha1.SnapshotLayoutVersion,
			AppRef:  v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: repository},
		},
	})).To(Succeed())
}

func TestARepositoryThatPolicyNamesIsKept(t *testing.T) {
	for name, tt := range map[string]struct{ file, by string }{
		"by a BackupConfiguration":        {configuration("web", "0 2 * * *"), v1alpha1.BackupConfigurationKind},
		"by a BackupBatch":                {batchFile("web", "web"), v1alpha1.BackupBatchKind},
		"that comes with the same commit": {"", v1alpha1.BackupConfigurationKind},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			files := map[string]string{"policy/s.yaml": storage("local"), "policy/r.yaml": repositoryFile("web")}
			if tt.file != "" {
				files["policy/p.yaml"] = tt.file
			}
			r.push(files)
			r.reconcile()
			delete(files, "policy/r.yaml")
			if tt.file == "" {
				files["policy/p.yaml"] = configuration("web", "0 2 * * *")
			} else {
				r.snapshotIn("web")
			}
			revision := r.push(files)
			r.reconcile()
			r.expectReady(revision) // nobody is asked for a consent to what is not done
			r.g.Expect(r.exists(&v1alpha1.Repository{}, "web")).To(BeTrue())
			r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).To(ContainSubstring(
				"not deleted: Repository/" + r.namespace + "/web (" + tt.by + " " + r.namespace + "/web uses it)"))
			r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(3), "it goes once nobody uses it")
		})
	}
}

// A Repository goes with the policy that names it. A BackupConfiguration whose BackupBatch is gone holds up nothing.
func TestARepositoryGoesWithItsPolicy(t *testing.T) {
	for name, file := range map[string]string{
		"BackupConfiguration": configuration("web", "0 2 * * *"), "BackupBatch": batchFile("web", "web"),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.push(map[string]string{
				"policy/s.yaml": storage("local"), "policy/r.yaml": repositoryFile("web"), "policy/p.yaml": file,
			})
			r.reconcile()
			if name == v1alpha1.BackupBatchKind {
				batch := &v1alpha1.BackupBatch{}
				r.g.Expect(r.exists(batch, "web")).To(BeTrue())
				child := &v1alpha1.BackupConfiguration{
					ObjectMeta: metav1.ObjectMeta{
						Namespace: r.namespace, Name: "web-web", OwnerReferences: []metav1.OwnerReference{
							*metav1.NewControllerRef(batch, v1alpha1.GroupVersion.WithKind(v1alpha1.BackupBatchKind)),
						},
					},
					Spec: v1alpha1.BackupConfigurationSpec{
						Target: &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "web"},
						Sessions: []v1alpha1.BackupConfigurationSession{
							{Repositories: []v1alpha1.RepositoryInfo{{Name: "web"}}},
						},
					},
				}
				child.Spec.Sessions[0].Name = "nightly"
				r.g.Expect(r.Create(t.Context(), child)).To(Succeed())
			}
			revision := r.push(map[string]string{"policy/s.yaml": storage("local")})
			r.reconcile()
			r.expectReady(revision)
			r.g.Expect(r.exists(&v1alpha1.Repository{}, "web")).To(BeFalse(),
				conditions.GetMessage(r.sync, meta.ReadyCondition))
		})
	}
}

// With a Repository its Snapshots go, which nobody finds again without a scan.
func TestARepositoryWithSnapshotsGoesOnlyWithConsent(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{
		"policy/s.yaml": storage("local"), "policy/r.yaml": repositoryFile("web"),
		"policy/e.yaml": repositoryFile("empty"),
	})
	r.reconcile()
	r.snapshotIn("web")
	revision := r.push(map[string]string{"policy/s.yaml": storage("local"), "policy/e.yaml": repositoryFile("empty")})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "Repository/"+r.namespace+"/web were not deleted")
	r.g.Expect(r.exists(&v1alpha1.Repository{}, "web")).To(BeTrue())
	r.consent(r.sync.Status.Removal.Digest)
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.exists(&v1alpha1.Repository{}, "web")).To(BeFalse())

	revision = r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.exists(&v1alpha1.Repository{}, "empty")).To(BeFalse(), "it has no Snapshot")
}

// A namespace can have thousands of Snapshots.
func TestSnapshotsAreListedOnceForAllRepositoriesThatGo(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{
		"policy/s.yaml": storage("local"), "policy/a.yaml": repositoryFile("a"), "policy/b.yaml": repositoryFile("b"),
		"policy/c.yaml": repositoryFile("c"),
	})
	r.reconcile()
	r.snapshotIn("a")
	r.snapshotIn("b")
	r.push(map[string]string{"policy/s.yaml": storage("local")})
	var lists atomic.Int64
	r.api.around = func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/snapshots") {
			lists.Add(1)
		}
		return next.RoundTrip(req)
	}
	r.reconcile()
	r.api.around = nil
	r.expectNotReady(v1alpha1.ReasonDeletionBlocked, "Repository/"+r.namespace+"/b")
	r.g.Expect(lists.Load()).To(BeEquivalentTo(1))
}

// One commit moves a Repository to the path of another PolicySync: it stays the same object, whether policy names it or
// not.
func TestARepositoryMovesToAnotherPolicySync(t *testing.T) {
	for name, used := range map[string]bool{"in use": true, "with Snapshots": false} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			files := map[string]string{"policy/s.yaml": storage("local"), "other/s.yaml": storage("other")}
			if used {
				files["policy/c.yaml"] = configuration("web", "0 2 * * *")
			}
			files["policy/r.yaml"] = repositoryFile("web")
			r.push(files)
			r.reconcile()
			r.snapshotIn("web")
			repository := &v1alpha1.Repository{}
			r.g.Expect(r.exists(repository, "web")).To(BeTrue())
			before := repository.UID

			other := &v1alpha1.PolicySync{
				ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "other"}, Spec: r.sync.Spec,
			}
			other.Spec.Path = "./other"
			r.g.Expect(r.Create(t.Context(), other)).To(Succeed())
			both := func() {
				t.Helper()
				r.clock.Step(driftInterval)
				r.reconcile()
				at := types.NamespacedName{Namespace: r.namespace, Name: "other"}
				_, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: at})
				r.g.Expect(err).NotTo(HaveOccurred())
				r.g.Expect(r.Get(t.Context(), at, other)).To(Succeed())
			}
			delete(files, "policy/r.yaml")
			files["other/r.yaml"] = repositoryFile("web")
			revision := r.push(files)
			both()
			both()
			r.g.Expect(conditions.GetReason(other, meta.ReadyCondition)).To(Equal(v1alpha1.ReasonOwnedByOther))

			r.g.Expect(r.exists(repository, "web")).To(BeTrue())
			for label := range repository.Labels {
				if strings.HasPrefix(label, owner.Group) {
					delete(repository.Labels, label)
				}
			}
			r.g.Expect(r.Update(t.Context(), repository)).To(Succeed())
			both()
			r.expectReady(revision)
			r.g.Expect(conditions.IsReady(other)).To(BeTrue(), conditions.GetMessage(other, meta.ReadyCondition))
			both()
			r.expectReady(revision)
			r.g.Expect(r.exists(repository, "web")).To(BeTrue())
			r.g.Expect(repository.UID).To(Equal(before))
			r.g.Expect(repository.Labels).To(HaveKeyWithValue(v1alpha1.LabelSyncName, "other"))
		})
	}
}
