package policysync

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/conditions/check"
	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// conform asserts the rules of kstatus.
func (r *testNamespace) conform() {
	r.t.Helper()
	checker := check.NewChecker(r.Client,
		&check.Conditions{NegativePolarity: []string{meta.StalledCondition, meta.ReconcilingCondition}})
	checker.WithT(r.g).CheckErr(r.t.Context(), r.sync)
}

func (r *testNamespace) expectReady(revision string) {
	r.t.Helper()
	r.g.Expect(conditions.IsReady(r.sync)).To(BeTrue(), "%v", r.sync.Status.Conditions)
	r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(revision))
	r.g.Expect(r.sync.Status.LastAppliedTime).NotTo(BeNil())
	r.g.Expect(r.sync.Status.LastAttemptedRevision).To(Equal(revision))
	r.conform()
}

func (r *testNamespace) expectNotReady(reason, says string) {
	r.t.Helper()
	r.g.Expect(conditions.IsFalse(r.sync, meta.ReadyCondition)).To(BeTrue(), "%v", r.sync.Status.Conditions)
	r.g.Expect(conditions.GetReason(r.sync, meta.ReadyCondition)).
		To(Equal(reason), conditions.GetMessage(r.sync, meta.ReadyCondition))
	r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).To(ContainSubstring(says))
	r.conform()
}

func TestFirstApply(t *testing.T) {
	r := newRoom(t)
	revision := r.push(map[string]string{
		"policy/s.yaml": storage("local"),
		"policy/c.yaml": configuration("web", "0 2 * * *"),
	})
	result := r.reconcile()
	r.expectReady(revision)
	r.g.Expect(result.RequeueAfter).To(Equal(time.Minute))
	c := &v1alpha1.BackupConfiguration{}
	r.g.Expect(r.exists(c, "web")).To(BeTrue())
	r.g.Expect(c.Labels).
		To(Equal(map[string]string{v1alpha1.LabelSyncName: "policy", v1alpha1.LabelSyncNamespace: r.namespace}))
	r.g.Expect(r.sync.Status.Inventory.Entries).To(Equal([]v1alpha1.ResourceRef{
		{ID: r.namespace + "_local_backup.cairn.dev_BackupStorage", Version: "v1alpha1"},
		{ID: r.namespace + "_web_backup.cairn.dev_BackupConfiguration", Version: "v1alpha1"},
	}))
	r.g.Expect(r.emitted()).
		To(ConsistOf(ContainSubstring("Normal ReconciliationSucceeded applied revision " + revision)))
}

func TestNothingNewIsOneRequest(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.reconcile()
	before := r.sync.ResourceVersion
	git, writes, dry := r.gitCalls.Load(), r.api.writes(), r.api.count["DRY"]
	for range 3 {
		r.reconcile()
	}
	r.g.Expect(r.gitCalls.Load()-git).To(Equal(int64(3)), "one ls-remote for each reconcile")
	r.g.Expect(r.api.writes()).To(Equal(writes))
	r.g.Expect(r.api.count["DRY"]).To(Equal(dry))
	r.g.Expect(r.sync.ResourceVersion).To(Equal(before))
}

func TestAChangeIsApplied(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{
		"policy/s.yaml": storage("local"), "policy/c.yaml": configuration("web", "0 2 * * *"),
		"policy/d.yaml": configuration("db", "0 3 * * *"),
	})
	r.reconcile()
	revision := r.push(map[string]string{
		"policy/s.yaml": storage("local"),
		"policy/c.yaml": configuration("web", "0 4 * * *"),
	})
	dry := r.api.count["DRY"]
	r.emitted()
	r.g.Expect(r.reconcileLogged("deleted what the revision lacks")).To(HaveExactElements(
		HaveSuffix(fmt.Sprintf(`"removed"="BackupConfiguration/%s/db"`, r.namespace))))
	r.expectReady(revision)
	r.g.Expect(r.emitted()).To(ConsistOf(
		HavePrefix("Normal ReconciliationSucceeded deleted what revision %s lacks: BackupConfiguration/%s/db ",
			revision, r.namespace),
		HavePrefix("Normal ReconciliationSucceeded applied revision "+revision)))
	r.g.Expect(r.api.count["DRY"]-dry).To(Equal(1), "one object changed")
	c := &v1alpha1.BackupConfiguration{}
	r.g.Expect(r.exists(c, "web")).To(BeTrue())
	r.g.Expect(c.Spec.Sessions[0].Scheduler.Schedule).To(Equal("0 4 * * *"))
	r.g.Expect(r.exists(c, "db")).To(BeFalse())
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(2))
}

func TestWithoutPruneNothingIsDeleted(t *testing.T) {
	r := newRoom(t, func(p *v1alpha1.PolicySync) { p.Spec.Prune = false })
	r.push(map[string]string{"policy/s.yaml": storage("local"), "policy/t.yaml": storage("other")})
	r.reconcile()
	revision := r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "other")).To(BeTrue())
}

func TestABadRevisionKeepsTheLastGoodOne(t *testing.T) {
	r := newRoom(t)
	good := r.push(map[string]string{
		"policy/s.yaml": storage("local"),
		"policy/c.yaml": configuration("web", "0 2 * * *"),
	})
	r.reconcile()
	r.emitted()
	bad := r.push(map[string]string{
		"policy/c.yaml":   configuration("web", "0 2 * * *") + "  unknown: field\n",
		"policy/new.yaml": storage("new"),
	})
	writes := r.api.writes()
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonValidationFailed, "policy/c.yaml:12: document 1: spec.unknown: unknown field")
	r.g.Expect(conditions.GetMessage(r.sync, meta.ReadyCondition)).
		To(HaveSuffix("revision " + good + " stays in force"))
	r.g.Expect(conditions.IsStalled(r.sync)).To(BeTrue())
	r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(good))
	r.g.Expect(r.sync.Status.LastAttemptedRevision).To(Equal(bad))
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "local")).To(BeTrue())
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "new")).To(BeFalse())
	r.g.Expect(r.api.writes()-writes).To(BeNumerically("<=", 2), "only the status")
	r.g.Expect(r.emitted()).To(ConsistOf(HavePrefix("Warning ValidationFailed revision " + bad)))

	git, writes := r.gitCalls.Load(), r.api.writes()
	r.reconcile()
	r.g.Expect(r.gitCalls.Load() - git).To(Equal(int64(1)))
	r.g.Expect(r.api.writes()).To(Equal(writes))
	r.g.Expect(r.emitted()).To(BeEmpty())

	mended := r.push(map[string]string{
		"policy/s.yaml": storage("local"),
		"policy/c.yaml": configuration("web", "0 5 * * *"),
	})
	r.reconcile()
	r.expectReady(mended)
}

func TestBadRevisions(t *testing.T) {
	for name, tc := range map[string]struct {
		files        map[string]string
		reason, says string
	}{
		"missing path": {
			map[string]string{"elsewhere/s.yaml": storage("a")},
			v1alpha1.ReasonInvalidPath,
			"policy: path does not exist",
		},
		"empty directory": {
			map[string]string{"policy/README.md": "x"},
			v1alpha1.ReasonBuildFailed,
			"holds no object",
		},
		"broken YAML": {
			map[string]string{"policy/s.yaml": "a: ["},
			v1alpha1.ReasonBuildFailed,
			"policy/s.yaml:1: document 1: file is not valid YAML",
		},
		"file of 11 MiB": {
			map[string]string{"policy/s.yaml": strings.Repeat("#", 11<<20)},
			v1alpha1.ReasonSourceTooLarge, "policy/s.yaml",
		},
		"kind that is not allowed": {map[string]string{"policy/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: " +
			"{name: x}\n"}, v1alpha1.ReasonValidationFailed, "spec.serviceAccountName"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.push(tc.files)
			r.reconcile()
			r.expectNotReady(tc.reason, tc.says)
			r.g.Expect(r.sync.Status.LastAppliedRevision).To(BeEmpty())
			r.g.Expect(r.emitted()).To(ConsistOf(HavePrefix("Warning " + tc.reason)))
		})
	}
}

func TestEditsByHandAreReverted(t *testing.T) {
	r := newRoom(t)
	revision := r.push(map[string]string{
		"policy/s.yaml": storage("local"),
		"policy/c.yaml": configuration("web", "0 2 * * *"),
	})
	r.reconcile()
	r.emitted()
	c := &v1alpha1.BackupConfiguration{}
	r.g.Expect(r.exists(c, "web")).To(BeTrue())
	c.Spec.Sessions[0].Scheduler.Schedule = "* * * * *"
	r.g.Expect(r.Update(t.Context(), c)).To(Succeed())
	s := &v1alpha1.BackupStorage{}
	r.g.Expect(r.exists(s, "local")).To(BeTrue())
	r.g.Expect(r.Delete(t.Context(), s)).To(Succeed())

	r.clock.Step(driftInterval - time.Second)
	r.reconcile()
	r.g.Expect(r.exists(s, "local")).To(BeFalse(), "not yet")
	r.clock.Step(time.Second)
	r.reconcile()
	r.expectReady(revision)
	r.g.Expect(r.exists(s, "local")).To(BeTrue())
	r.g.Expect(r.exists(c, "web")).To(BeTrue())
	r.g.Expect(c.Spec.Sessions[0].Scheduler.Schedule).To(Equal("0 2 * * *"))
	r.g.Expect(r.emitted()).To(ConsistOf(ContainSubstring("changed or deleted by hand")))

	r.clock.Step(driftInterval)
	writes, dry := r.api.writes(), r.api.count["DRY"]
	r.reconcile()
	r.g.Expect(r.api.writes()).To(Equal(writes), "nothing drifted")
	r.g.Expect(r.api.count["DRY"]).To(Equal(dry), "nothing changed since the last comparison")

	r.g.Expect(r.exists(c, "web")).To(BeTrue())
	c.Labels = nil // which does not change its generation
	r.g.Expect(r.Update(t.Context(), c)).To(Succeed())
	r.clock.Step(driftInterval)
	r.reconcile()
	r.g.Expect(r.exists(c, "web")).To(BeTrue())
	r.g.Expect(c.Labels).To(HaveKey(v1alpha1.LabelSyncName))
	r.g.Expect(r.api.count["DRY"] - dry).To(Equal(1))
}

func TestARequestMakesAPass(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.reconcile()
	s := &v1alpha1.BackupStorage{}
	r.g.Expect(r.exists(s, "local")).To(BeTrue())
	r.g.Expect(r.Delete(t.Context(), s)).To(Succeed())
	r.update(func(p *v1alpha1.PolicySync) {
		p.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "now"}
	})
	r.reconcile()
	r.g.Expect(r.exists(s, "local")).To(BeTrue())
	r.g.Expect(r.sync.Status.GetLastHandledReconcileRequest()).To(Equal("now"))
	git := r.gitCalls.Load()
	r.reconcile()
	r.g.Expect(r.gitCalls.Load() - git).To(Equal(int64(1)))
}

func TestSuspend(t *testing.T) {
	r := newRoom(t)
	revision := r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.reconcile()
	r.update(func(p *v1alpha1.PolicySync) { p.Spec.Suspend = true })
	next := r.push(map[string]string{"policy/s.yaml": storage("local"), "policy/t.yaml": storage("other")})
	git := r.gitCalls.Load()
	result := r.reconcile()
	r.g.Expect(r.gitCalls.Load()).To(Equal(git))
	r.g.Expect(result.RequeueAfter).To(BeZero())
	r.expectReady(revision)
	r.update(func(p *v1alpha1.PolicySync) { p.Spec.Suspend = false })
	r.reconcile()
	r.expectReady(next)
}

func TestARecordIsLeftAlone(t *testing.T) {
	r := newRoom(t,
		func(p *v1alpha1.PolicySync) { p.Annotations = map[string]string{v1alpha1.AnnotationRecord: "prod"} })
	r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.reconcile()
	r.g.Expect(r.gitCalls.Load()).To(BeZero())
	r.g.Expect(r.sync.Finalizers).To(BeEmpty())
}

func TestTheInventoryIsWrittenFirst(t *testing.T) {
	r := newRoom(t)
	r.push(map[string]string{"policy/s.yaml": storage("local")})
	r.reconcile()
	bad := r.push(map[string]string{"policy/s.yaml": storage("local"), "policy/t.yaml": storage("second")})
	r.api.refuse = func(req *http.Request) bool { // the answer to the apply of the object gets lost
		return req.Method == http.MethodPatch && strings.Contains(req.URL.Path, "backupstorages") &&
			req.URL.Query().Get("dryRun") == ""
	}
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonReconcileFailed, "connection lost")
	r.g.Expect(r.sync.Status.LastAttemptedRevision).To(Equal(bad))
	r.g.Expect(r.sync.Status.LastAppliedRevision).NotTo(Equal(bad))
	r.g.Expect(r.sync.Status.Inventory.Entries).To(HaveLen(2))
	r.g.Expect(conditions.GetReason(r.sync, meta.ReconcilingCondition)).To(Equal(v1alpha1.ReasonProgressingWithRetry))
	r.api.refuse = nil
	r.reconcile()
	r.expectReady(bad)
}

func TestARefusalOfTheAPIServerNamesTheFile(t *testing.T) {
	r := newRoom(t)
	repository := func(path string) string {
		return "apiVersion: backup.cairn.dev/v1alpha1\nkind: Repository\nmetadata: {name: web}\nspec: {appRef: " +
			"{kind: " +
			"PersistentVolumeClaim, name: web}, storageRef: {name: local}, path: " + path +
			", encryptionSecret: {name: enc}}\n"
	}
	good := r.push(map[string]string{"policy/r.yaml": repository("/web")})
	r.reconcile()
	r.expectReady(good)
	r.push(map[string]string{"policy/a.yaml": storage("local"), "policy/r.yaml": repository("/moved")})
	r.reconcile()
	r.expectNotReady(v1alpha1.ReasonReconcileFailed, "policy/r.yaml:3: ")
	r.g.Expect(r.sync.Status.LastAppliedRevision).To(Equal(good))
	r.g.Expect(r.exists(&v1alpha1.BackupStorage{}, "local")).To(BeFalse(), "all dry runs come before the first write")
	r.emitted()
	writes := r.api.writes()
	r.reconcile()
	r.g.Expect(r.api.writes()).To(Equal(writes), "the same refusal is not written again")
	r.g.Expect(r.emitted()).To(BeEmpty())
}
