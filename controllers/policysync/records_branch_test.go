package policysync

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/ledger"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// ledger makes a Ledger on the branch that the PolicySync follows. spelled is its URL; pushed says that it has pushed
// there.
func (r *testNamespace) ledger(namespace, url string, pushed bool) *v1alpha1.Ledger {
	r.t.Helper()
	l := &v1alpha1.Ledger{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "audit"},
		Spec: v1alpha1.LedgerSpec{
			URL: url, Branch: "main", ClusterName: "production",
			Author:      v1alpha1.CommitAuthor{Name: "Cairn", Email: "cairn@localhost"},
			BatchWindow: metav1.Duration{Duration: 10 * time.Second},
			Interval:    metav1.Duration{Duration: 10 * time.Minute},
		},
	}
	bed.Create(r.t, l)
	r.t.Cleanup(func() { _ = bed.Client.Delete(r.t.Context(), l) })
	if pushed {
		bed.EditStatus(r.t, l, func() {
			l.Status.LastPushedCommit = "0123456789012345678901234567890123456789"
			l.Status.LastPushedTo, l.Status.ProvedTo = ledger.PushedTo(l), ledger.PushedTo(l)
		})
	}
	return l
}

// newRecordsRoom returns a room whose repository has a name of its own: the other rooms share the API server, and
// Ledgers count for all PolicySyncs of the cluster.
func newRecordsRoom(t testing.TB) *testNamespace {
	t.Helper()
	name := "records-" + rand.String(8) + ".git"
	r := newRoom(t, func(p *v1alpha1.PolicySync) {
		p.Spec.URL = strings.Replace(p.Spec.URL, "policy.git", name, 1)
	})
	root := r.server.Root()
	r.g.Expect(os.Symlink(filepath.Join(root, "policy.git"), filepath.Join(root, name))).To(Succeed())
	return r
}

// A PolicySync comes to the branch to which a Ledger pushes. It is refused, and applies nothing, however it spells the
// URL. Once the Ledger has gone, it goes on.
func TestTheBranchOfALedgerIsNoPolicy(t *testing.T) {
	for name, tt := range map[string]struct {
		spelled   func(*testNamespace) string
		elsewhere bool
	}{
		"as the Ledger spells it": {func(r *testNamespace) string { return r.sync.Spec.URL }, false},
		"spelled in another way": {func(r *testNamespace) string {
			return strings.ToLower(strings.Replace(r.sync.Spec.URL, "http://", "https://", 1)) + "/"
		}, false},
		"a Ledger of another namespace": {func(r *testNamespace) string { return r.sync.Spec.URL }, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecordsRoom(t)
			namespace := r.namespace
			if tt.elsewhere {
				namespace = bed.Namespace(t, nil)
			}
			revision := r.push(map[string]string{"policy/s.yaml": storage("local")})
			l := r.ledger(namespace, tt.spelled(r), true)
			calls := r.gitCalls.Load()
			r.reconcile()
			r.expectNotReady("RecordsBranch", "pushes to the branch main of this repository")
			r.g.Expect(conditions.IsStalled(r.sync)).To(BeTrue())
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "local")).To(BeFalse())
			r.g.Expect(r.gitCalls.Load()).To(Equal(calls), "it reads nothing of the branch")
			message := conditions.GetMessage(r.sync, meta.ReadyCondition)
			if tt.elsewhere {
				r.g.Expect(message).NotTo(ContainSubstring(namespace))
				r.g.Expect(message).To(ContainSubstring("a Ledger of this cluster"))
			} else {
				r.g.Expect(message).To(ContainSubstring("Ledger/" + namespace + "/audit"))
			}
			r.g.Expect(bed.Client.Delete(t.Context(), l)).To(Succeed())
			r.reconcile()
			r.expectReady(revision)
		})
	}
}

// The PolicySync has read its branch, and the Ledger has not pushed there: it goes on. What it has read proves nothing
// once the server has accepted a push of the Ledger.
func TestAPolicySyncThatWasFirstGoesOn(t *testing.T) {
	r := newRecordsRoom(t)
	r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.reconcile()
	r.g.Expect(r.sync.Status.LastFetchedFrom).To(Equal(ledger.FetchedFrom(r.sync)))
	testbed.ASecondLater(t, r.sync)
	l := r.ledger(r.namespace, r.sync.Spec.URL, false)
	bed.EditStatus(t, l, func() { // it reads the branch, as everybody can
		l.Status.LastPushedCommit, l.Status.LastPushedTo = strings.Repeat("0", 40), ledger.PushedTo(l)
	})
	revision := r.push(map[string]string{"policy/s.yaml": storage("local"), "policy/o.yaml": storage("other")})
	r.reconcile()
	r.expectReady(revision)

	bed.EditStatus(t, l, func() { l.Status.ProvedTo = ledger.PushedTo(l) })
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonRecordsBranch, "pushes to the branch main")
}

// The Ledger announces its first push between the first look of the PolicySync and its pass: the PolicySync waits, and
// applies nothing. A killed manager leaves the announcement, which ends with the next attempt of the Ledger.
func TestAPolicySyncWaitsForTheFirstPushOfALedger(t *testing.T) {
	r := newRecordsRoom(t)
	revision := r.push(map[string]string{"policy/s.yaml": storage("local")})
	l := r.ledger(r.namespace, r.sync.Spec.URL, false)
	cached := l.DeepCopy()
	bed.EditStatus(t, l, func() { l.Status.PushingTo = ledger.PushedTo(l) })
	live := r.Client
	r.Client = interceptor.NewClient(live.(client.WithWatch), interceptor.Funcs{List: func(
		ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption,
	) error {
		if ledgers, ok := list.(*v1alpha1.LedgerList); ok {
			ledgers.Items = []v1alpha1.Ledger{*cached}
			return nil
		}
		return c.List(ctx, list, opts...)
	}})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonRecordsBranch, "is about to push to the branch main")
	r.g.Expect(conditions.IsStalled(r.sync)).To(BeFalse())
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "local")).To(BeFalse())
	r.g.Expect(ledger.ClaimOfSync(r.sync).Proved).To(BeFalse())
	bed.EditStatus(t, l, func() { l.Status.PushingTo = "" })
	r.reconcile()
	r.expectReady(revision)
}

// A Ledger that never pushed, made on the branch of a PolicySync, keeps nobody from policy.
func TestALedgerWithoutAccessHoldsUpNoPolicy(t *testing.T) {
	r := newRecordsRoom(t)
	revision := r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.ledger(r.namespace, r.sync.Spec.URL, false)
	r.reconcile()
	r.expectReady(revision)
}
