package backupsession

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// selecting creates an expanded batch that selects all claims with a label, and creates claims of these names with the
// label.
func (w *world) selecting(claims ...string) *v1alpha1.BackupBatch {
	w.T.Helper()
	b := &v1alpha1.BackupBatch{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop"}}
	b.Spec.Backends = []v1alpha1.BackendReference{w.backend()}
	b.Spec.Targets = []v1alpha1.BatchTarget{{Name: "all", Selector: &v1alpha1.TargetSelector{
		Kinds:         []v1alpha1.TargetKind{v1alpha1.KindPersistentVolumeClaim},
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}},
	}}}
	b.Spec.Sessions = []v1alpha1.BackupBatchSession{{
		SessionConfig: v1alpha1.SessionConfig{Name: "nightly"},
		Repositories:  []v1alpha1.RepositoryInfo{repository("shop")},
		Targets:       []v1alpha1.BatchSessionTarget{{Name: "all"}},
	}}
	b.Status.ObservedGeneration = 1
	var candidates []policy.Candidate
	for _, name := range claims {
		claim := sessiontest.Claim(w.Namespace, name)
		claim.Labels = map[string]string{"app": "shop"}
		candidates = append(candidates, policy.Candidate{
			Kind: v1alpha1.KindPersistentVolumeClaim, Name: name,
			Labels: claim.Labels,
		})
		target := policy.FoundTargetName("all", v1alpha1.KindPersistentVolumeClaim, name)
		repo := sessiontest.Repository(w.Namespace, "shop-"+target, w.Storage,
			v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: name})
		repo.Spec.Path = "/shop/" + target
		sessiontest.Create(w.T, w.Client, claim, repo)
	}
	find := policy.FindAmong(b, candidates)
	for _, t := range policy.Targets(b, find) {
		b.Status.Targets = append(b.Status.Targets, v1alpha1.BatchTargetStatus{
			Name: t.Name, FoundBy: t.FoundBy,
			AppRef: t.AppRef,
		})
	}
	sessiontest.Create(w.T, w.Client, b)
	children, err := policy.Expand(b, find)
	w.Expect(err).NotTo(HaveOccurred())
	for i := range children {
		children[i].OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(b,
			v1alpha1.GroupVersion.WithKind(v1alpha1.BackupBatchKind))}
		sessiontest.Create(w.T, w.Client, &children[i])
	}
	return b
}

func TestARunBacksUpWhatSelectorsFind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.selecting("a", "b", "gone")
	w.Expect(w.Client.Delete(t.Context(), sessiontest.Claim(w.Namespace, "gone"))).To(Succeed())
	other := sessiontest.Claim(w.Namespace, "other")
	sessiontest.Create(t, w.Client, other)
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	w.Reconcile("run")
	w.Expect(w.session("run").Status.Resolved.Policy.Digest).To(Equal(policy.Digest(b.Spec)))

	late := sessiontest.Claim(w.Namespace, "late")
	late.Labels = map[string]string{"app": "shop"}
	sessiontest.Create(t, w.Client, late)

	w.Expect(summary(w.settle("run"))).To(Equal([]string{
		"Succeeded/Succeeded", "all-persistentvolumeclaim-a: Succeeded/Succeeded",
		"all-persistentvolumeclaim-b: Succeeded/Succeeded",
	}), "the run freezes the found targets at the start: an object that is gone is no target, and a later object "+
		"belongs to the next run")
	w.Expect(w.snapshots()).To(HaveLen(2))
	w.Expect(w.snapshots()[0].Name).To(Equal("shop-all-persistentvolumeclaim-a-run"))
}

// A run that backed up nothing must not be called a success.
func TestARunWhoseSelectorsFindNothingFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.selecting()
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	w.Expect(summary(w.settle("run"))).To(Equal([]string{"Failed/TargetNotFound"}))
}

// etcdLimit is the largest request that etcd accepts by default.
const etcdLimit = 1536 << 10

// A run with the maximum number of targets and the longest names is one object: it must fit, including the messages
// when they fail.
func TestARunOfAsManyTargetsAsThereMayBeFits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.selecting("a")
	w.run(v1alpha1.BackupBatchKind, "shop", "run")
	s := w.settle("run")
	before, full := s.DeepCopy(), s.DeepCopy()
	resolved, status, snapshot, retention := s.Status.Resolved.Targets[0], s.Status.Targets[0], s.Status.Snapshots[0],
		v1alpha1.RetentionPolicyApplyStatus{Phase: v1alpha1.RetentionApplied}
	full.Status.Resolved.Targets, full.Status.Targets, full.Status.Snapshots = nil, nil, nil
	for i := range v1alpha1.MaxSessionTargets {
		name := fmt.Sprintf("%s-%04d", strings.Repeat("x", 58), i)
		t, st, sn := *resolved.DeepCopy(), status, *snapshot.DeepCopy()
		t.Name, t.AppRef.Name, t.Configuration = name, name, name
		t.Hosts[0].Volumes[0].ClaimName = name
		t.Repositories[0].Name, t.Repositories[0].Directory, t.Repositories[0].Snapshot = name, "shop/"+name,
			name+"-"+s.Name
		st.Name, st.AppRef.Name, st.Configuration, st.Message = name, name, name,
			strings.Repeat("m", 256<<10/v1alpha1.MaxSessionTargets)
		sn.Name, sn.Repository, sn.AppRef.Name = name+"-"+s.Name, name, name
		retention.Repository = name
		full.Status.Resolved.Targets = append(full.Status.Resolved.Targets, t)
		full.Status.Targets = append(full.Status.Targets, st)
		full.Status.Snapshots = append(full.Status.Snapshots, sn)
		full.Status.RetentionPolicy = append(full.Status.RetentionPolicy, retention)
	}
	full.Status.TotalSnapshots = new(int32(v1alpha1.MaxSessionTargets))
	err := w.Client.Status().Patch(t.Context(), full, client.MergeFrom(before), client.FieldOwner("cairn-manager"))
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.BackupSessionKind))
	w.Expect(err).NotTo(HaveOccurred())
	w.Get("run", u)
	raw, err := json.Marshal(u)
	w.Expect(err).NotTo(HaveOccurred())
	fields, err := json.Marshal(u.GetManagedFields())
	w.Expect(err).NotTo(HaveOccurred())
	one, _ := json.Marshal(resolved)
	t.Logf("%d bytes, of them %d managed fields; a resolved target: %s", len(raw), len(fields), one)
	w.Expect(len(raw)).To(BeNumerically("<", etcdLimit*95/100))
}
