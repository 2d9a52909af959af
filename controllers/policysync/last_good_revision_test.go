package policysync

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestEditsByHandAreRevertedWhileABadRevisionStands(t *testing.T) {
	repository := func(path string) string {
		return "apiVersion: backup.cairn.dev/v1alpha1\nkind: Repository\nmetadata: {name: web}\nspec: {appRef: " +
			"{kind: " +
			"PersistentVolumeClaim, name: web}, storageRef: {name: local}, path: " + path +
			", encryptionSecret: {name: enc}}\n"
	}
	for name, tc := range map[string]struct {
		bad    map[string]string
		reason string
	}{
		"not valid": {
			map[string]string{"policy/s.yaml": storage("local") + "  broken: [\n"},
			v1alpha1.ReasonBuildFailed,
		},
		"empty": {map[string]string{"README.md": "x"}, v1alpha1.ReasonInvalidPath},
		"refused by the API server": {map[string]string{
			"policy/r.yaml": repository("/moved"),
			"policy/t.yaml": storage("new"),
		}, v1alpha1.ReasonReconcileFailed},
		"with an object of another owner": {map[string]string{
			"policy/r.yaml": repository("/web"),
			"policy/t.yaml": storage("theirs"),
		}, v1alpha1.ReasonOwnedByOther},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			theirs := &v1alpha1.BackupStorage{}
			good := r.push(map[string]string{
				"policy/s.yaml": storage("local"), "policy/r.yaml": repository("/web"),
				"policy/c.yaml": configuration("web", "0 2 * * *"),
			})
			r.reconcile()
			r.takeForFlux(theirs)
			bad := r.push(tc.bad)
			r.reconcile()
			r.expectNotReady(tc.reason, "")
			r.emitted()
			s, c := &v1alpha1.BackupStorage{}, &v1alpha1.BackupConfiguration{}
			r.g.Expect(r.exists(s, "local")).To(BeTrue())
			r.g.Expect(r.Delete(t.Context(), s)).To(Succeed())
			r.g.Expect(r.exists(c, "web")).To(BeTrue())
			c.Spec.Sessions[0].Scheduler.Schedule = "* * * * *"
			r.g.Expect(r.Update(t.Context(), c)).To(Succeed())

			r.clock.Step(driftInterval - time.Second)
			r.reconcile()
			r.g.Expect(r.exists(s, "local")).To(BeFalse(), "not yet")
			r.clock.Step(time.Second)
			r.reconcile()
			r.g.Expect(r.exists(s, "local")).To(BeTrue())
			r.g.Expect(r.exists(c, "web")).To(BeTrue())
			r.g.Expect(c.Spec.Sessions[0].Scheduler.Schedule).To(Equal("0 2 * * *"))
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "new")).To(BeFalse(), "nothing of the bad revision")
			r.expectNotReady(tc.reason, "")
			r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(good))
			r.g.Expect(r.sync.Status.LastAttemptedRevision).To(Equal(bad))
			r.g.Expect(r.emitted()).To(ConsistOf(ContainSubstring("changed or deleted by hand")))

			r.clock.Step(driftInterval)
			writes := r.api.writes()
			r.reconcile()
			r.g.Expect(r.api.writes()).To(Equal(writes), "nothing drifted")
		})
	}
}

// takeForFlux makes Flux own the storage "theirs".
func (r *testNamespace) takeForFlux(s *v1alpha1.BackupStorage) {
	r.t.Helper()
	s.Name, s.Namespace = "theirs", r.namespace
	s.Labels = map[string]string{
		"kustomize.toolkit.fluxcd.io/name":      "apps",
		"kustomize.toolkit.fluxcd.io/namespace": "flux-system",
	}
	s.Spec.Storage = v1alpha1.Storage{
		Provider: v1alpha1.ProviderLocal,
		Local:    &v1alpha1.LocalStorage{PersistentVolumeClaim: &v1alpha1.ClaimVolumeSource{ClaimName: "theirs"}},
	}
	r.g.Expect(r.Create(r.t.Context(), s)).To(Succeed())
}

// With another spec the old revision would be another policy.
func TestAnotherSpecDoesNotBringTheOldRevisionBack(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{"policy/s.yaml": storage("local"), "other/s.yaml": storage("elsewhere") + "  broken: [\n"})
	r.reconcile()
	r.update(func(p *v1alpha1.PolicySync) { p.Spec.Path = "./other" })
	r.push(map[string]string{"policy/s.yaml": storage("local"), "other/s.yaml": storage("elsewhere") + "  broken: {\n"})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonBuildFailed, "other/s.yaml")
	s := &v1alpha1.BackupStorage{}
	r.g.Expect(r.exists(s, "local")).To(BeTrue())
	r.g.Expect(r.Delete(t.Context(), s)).To(Succeed())
	r.clock.Step(driftInterval)
	r.reconcile()
	r.g.Expect(r.exists(s, "local")).To(BeFalse())
}

// While an object belongs to somebody else, an interval costs only one look at it.
func TestAnObjectThatIsGivenUpIsTakenAtTheNextInterval(t *testing.T) {
	for name, give := range map[string]func(*testNamespace, *v1alpha1.BackupStorage) error{
		"labels removed": func(r *testNamespace, s *v1alpha1.BackupStorage) error {
			s.Labels = nil
			return r.Update(r.t.Context(), s)
		},
		"deleted": func(r *testNamespace, s *v1alpha1.BackupStorage) error { return r.Delete(r.t.Context(), s) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			theirs := &v1alpha1.BackupStorage{}
			r.takeForFlux(theirs)
			revision := r.push(map[string]string{"policy/s.yaml": storage("theirs"), "policy/t.yaml": storage("ours")})
			r.reconcile()
			r.expectNotReady(v1alpha1.ReasonOwnedByOther, "belongs to Flux's flux-system/apps")
			git, reads, writes := r.gitCalls.Load(), r.api.count[http.MethodGet], r.api.writes()
			r.reconcile()
			r.g.Expect(r.gitCalls.Load()-git).To(Equal(int64(1)), "no fetch, only one ls-remote")
			r.g.Expect(r.api.count[http.MethodGet]-reads).
				To(BeNumerically("<=", 5), "the PolicySync twice, the object, the Ledgers and the PolicySyncs once")
			r.g.Expect(r.api.writes()).To(Equal(writes))

			r.g.Expect(give(r, theirs)).To(Succeed())
			r.reconcile()
			r.expectReady(revision)
			r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "ours")).To(BeTrue())
		})
	}
}

func TestEventsFit(t *testing.T) {
	r := newRoom(t)
	s := &reconciling{Reconciler: r.Reconciler, obj: r.sync}
	for _, message := range []string{strings.Repeat("ü", 1024), strings.Repeat("x", 1025), strings.Repeat("日", 400)} {
		s.event("Normal", "R", message)
		text := strings.TrimPrefix(r.emitted()[0], "Normal R ")
		text = text[:strings.Index(text, "...")+3]
		r.g.Expect(len(text)).To(And(BeNumerically("<=", 1024), BeNumerically(">", 1018)))
		r.g.Expect(utf8.ValidString(text)).To(BeTrue())
	}
}
