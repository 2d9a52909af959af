package ledger

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// restored makes the Git server forget what came after a commit, like one that is restored from its own backup.
func (w *world) restored(commit string) {
	w.t.Helper()
	w.git("update-ref", "refs/heads/"+branch, commit)
	w.git("reflog", "expire", "--expire=now", "--all")
	w.git("gc", "-q", "--prune=now")
}

// filesOf returns the paths of a branch that hold records.
func (w *world) filesOf(branch string) []string {
	w.t.Helper()
	return strings.Fields(w.git("ls-tree", "-r", "--name-only", branch, "--", "clusters/production/records"))
}

// moved sets another branch of the Ledger, and settles.
func (w *world) moved(l *v1alpha1.Ledger, branch string) {
	w.t.Helper()
	bed.Edit(w.t, l, func() { l.Spec.Branch = branch })
	w.settle(l)
}

func (w *world) objectOf(s *v1alpha1.BackupSession) string {
	return s.Status.Records[0].Commit + ":" + w.path(s)
}

// The Git server is restored from its backup of last night, and the user does what the Ledger says. The records of the
// hours in between are in the new branch, whether it was made from the old one or not.
func TestRecordsThatTheGitServerLostAreWrittenAgain(t *testing.T) {
	t.Parallel()
	for name, fromOld := range map[string]bool{"an empty branch": false, "a branch made from the old one": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, w := NewWithT(t), newWorld(t)
			l := w.ledger("ledger")
			a := w.session("a")
			w.settle(l)
			lastNight := w.tip()
			w.pass(time.Minute)
			b, drill, batch := w.session("b"), w.restore("drill"), w.restoreBatch("all")
			w.settle(l)
			first := get(w, a).Status.Records
			w.restored(lastNight)
			c := w.session("c")
			w.pass(time.Minute)
			g.Expect(w.collect()).Error().NotTo(HaveOccurred())
			g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
			g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonHistoryRewritten))
			g.Expect(conditions.GetMessage(l, "Ready")).To(ContainSubstring("what was not pushed yet waits"))
			g.Expect(w.tip()).To(Equal(lastNight), "a person decides")

			if fromOld {
				w.git("branch", "records-2", branch)
			}
			_ = w.seen()
			w.moved(l, "records-2")
			w.settle(l)
			g.Expect(w.filesOf("records-2")).To(ConsistOf(w.path(a), w.path(b), w.path(c),
				ContainSubstring("restoresession.drill/"), ContainSubstring("restorebatch.all/")))
			for _, s := range []*v1alpha1.BackupSession{a, b, c} {
				g.Expect(get(w, s).Finalizers).To(BeEmpty())
				g.Expect(s.Status.Records).To(HaveLen(1))
				w.git("cat-file", "-e", w.objectOf(s))
				g.Expect(w.git("log", "--format=%H", "records-2", "--", w.path(s))).
					To(Equal(s.Status.Records[0].Commit), "written once, and the commit is in the branch")
			}
			for _, o := range []client.Object{get(w, drill), get(w, batch)} {
				g.Expect(o.GetFinalizers()).To(BeEmpty())
			}
			g.Expect(drill.Status.Records[0].Commit).To(Equal(batch.Status.Records[0].Commit))
			if fromOld {
				g.Expect(a.Status.Records).To(Equal(first), "it was there")
			}
			g.Expect(w.seen()).NotTo(ContainSubstring("Warning"))
			g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))

			tip, version := w.git("rev-parse", "records-2"), a.ResourceVersion
			w.restart()
			w.pass(time.Hour)
			w.settle(l)
			g.Expect(w.git("rev-parse", "records-2")).To(Equal(tip))
			g.Expect(get(w, a).ResourceVersion).To(Equal(version))
		})
	}
}

// A process that is killed at any write leaves nothing out.
func TestACrashWhileRecordsAreWrittenAgain(t *testing.T) {
	t.Parallel()
	crashed := func(t *testing.T, n int, before bool) (happened bool) {
		g, w := NewWithT(t), newWorld(t)
		l := w.ledger("ledger")
		a, b := w.session("a"), w.session("b")
		w.settle(l)
		bed.Edit(t, l, func() { l.Spec.Branch = "records-2" })
		died, _ := w.crashAt(n, before)
		for range 4 {
			w.pass(11 * time.Second)
			_, _ = w.push(l)
			_, _ = w.collect()
		}
		w.write = nil
		w.restart()
		w.settle(l)
		w.settle(l)
		g.Expect(w.filesOf("records-2")).To(ConsistOf(w.path(a), w.path(b)))
		for _, s := range []*v1alpha1.BackupSession{a, b} {
			g.Expect(get(w, s).Finalizers).To(BeEmpty())
			g.Expect(s.Status.Records).To(HaveLen(1))
			w.git("cat-file", "-e", w.objectOf(s))
		}
		return *died
	}
	for _, before := range []bool{true, false} {
		t.Run(fmt.Sprintf("before %t", before), func(t *testing.T) {
			t.Parallel()
			n := 1
			for crashed(t, n, before) {
				n++
			}
			NewWithT(t).Expect(n).To(BeNumerically(">", 8))
		})
	}
}

// A Ledger that was made anew under its name, as a GitOps tool does it, finds what it had recorded.
func TestALedgerMadeAnewWritesNothingAgain(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	a := w.session("a")
	w.settle(l)
	g.Expect(bed.Client.Delete(t.Context(), l)).To(Succeed())
	w.pass(time.Minute)
	g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
	w.restart()
	version := get(w, a).ResourceVersion
	l = w.ledger("ledger")
	w.settle(l)
	g.Expect(w.filesOf(branch)).To(ConsistOf(w.path(a)))
	g.Expect(get(w, a).ResourceVersion).To(Equal(version))
}

// What the Ledger does not select any more is not recorded again, and an object that the API server lets nobody change
// holds up no other.
func TestWhatIsNotRecordedAgain(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	a := w.session("a")
	other := w.session("other", func(s *v1alpha1.BackupSession) { s.Labels[v1alpha1.LabelSession] = "weekly" })
	guarded, going := w.session("guarded"), w.session("going", func(s *v1alpha1.BackupSession) {
		s.Finalizers = append(s.Finalizers, "example.com/hold")
	})
	w.settle(l)
	g.Expect(bed.Client.Delete(t.Context(), going)).To(Succeed())
	versions := get(w, other).ResourceVersion + get(w, going).ResourceVersion
	bed.Edit(t, l, func() {
		l.Spec.Branch = "records-2"
		l.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelSession: "hourly"}}
	})
	w.reconciler.Client = interceptor.NewClient(w.client, interceptor.Funcs{Patch: func(
		ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption,
	) error {
		if o.GetName() == guarded.Name {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "backupsessions"}, o.GetName(), errCrash)
		}
		return c.Patch(ctx, o, p, opts...)
	}})
	w.settle(l)
	w.settle(l)
	g.Expect(w.filesOf("records-2")).To(ConsistOf(w.path(a)))
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(get(w, other).ResourceVersion + get(w, going).ResourceVersion).To(Equal(versions))
	bed.Edit(t, going, func() { controllerutil.RemoveFinalizer(going, "example.com/hold") })
}

// The Ledger moves to a copy of its branch, to which it has nothing to push. Hours later, before the next run ends, the
// copy is reset, or imported again.
func TestACopyThatIsResetBeforeItsFirstPush(t *testing.T) {
	t.Parallel()
	for how, do := range map[string]func(w *world, first string){
		"reset":   func(w *world, first string) { w.git("update-ref", "refs/heads/records-2", first) },
		"deleted": func(w *world, _ string) { w.git("branch", "-D", "records-2") },
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %t", how, restart), func(t *testing.T) {
				t.Parallel()
				g, w := NewWithT(t), newWorld(t)
				l := w.ledger("ledger")
				w.session("a")
				w.settle(l)
				first := w.tip()
				w.pass(time.Minute)
				w.session("b")
				w.settle(l)
				w.git("branch", "records-2", branch)
				w.moved(l, "records-2")
				g.Expect(get(w, l).Status.LastPushedTo).To(HaveSuffix("@records-2"))
				g.Expect(l.Status.LastPushedCommit).To(Equal(w.tip()))
				do(w, first)
				if restart {
					w.data = t.TempDir()
					w.restart()
				}
				w.pass(time.Hour)
				w.session("c")
				w.pass(time.Minute)
				g.Expect(w.collect()).Error().NotTo(HaveOccurred())
				g.Expect(w.push(l)).Error().NotTo(HaveOccurred())
				g.Expect(get(w, l)).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonHistoryRewritten))
			})
		}
	}
}

// A cluster that was renamed has its records in the folders of all its names.
func TestARenamedClusterIsNotRecordedTwice(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	a := w.session("a")
	w.settle(l)
	for _, name := range []string{"prod", "prod-eu"} {
		bed.Edit(t, l, func() { l.Spec.ClusterName = name })
		w.session("of-" + name)
		w.settle(l)
	}
	before, commit := w.git("ls-tree", "-r", "--name-only", branch), get(w, a).Status.Records[0].Commit
	w.git("branch", "records-2", branch)
	w.moved(l, "records-2")
	g.Expect(w.git("ls-tree", "-r", "--name-only", "records-2")).To(Equal(before))
	g.Expect(get(w, a).Status.Records[0].Commit).To(Equal(commit))
}

// For a while, a policy of the cluster denies changes of an old run, or its webhook does not answer. That holds up
// nothing else. Until the record is there, the Ledger says that it is missing.
func TestARecordWhoseObjectIsRefusedIsWrittenLater(t *testing.T) {
	t.Parallel()
	resource := schema.GroupResource{Resource: "backupsessions"}
	for name, answer := range map[string]error{
		"denied": apierrors.NewForbidden(resource, "a", errCrash), "no webhook": apierrors.NewInternalError(errCrash),
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %t", name, restart), func(t *testing.T) {
				t.Parallel()
				g, w := NewWithT(t), newWorld(t)
				l := w.ledger("ledger")
				a, b := w.session("a"), w.session("b")
				w.settle(l)
				first := get(w, a).Status.Records
				w.reconciler.Client = interceptor.NewClient(w.client, interceptor.Funcs{Patch: func(
					ctx context.Context, c client.WithWatch, o client.Object, p client.Patch,
					opts ...client.PatchOption,
				) error {
					if o.GetName() == a.Name {
						return answer
					}
					return c.Patch(ctx, o, p, opts...)
				}})
				w.moved(l, "records-2")
				w.settle(l)
				missing := func() *metav1.Condition {
					return conditions.Get(get(w, l), v1alpha1.ConditionRecordsMissing)
				}
				g.Expect(missing().Message).To(And(ContainSubstring("lacks 1 record of"),
					ContainSubstring("BackupSession "+w.namespace+"/a"), ContainSubstring(errCrash.Error())))
				g.Expect(w.seen()).To(ContainSubstring("Warning RecordsMissing"))
				g.Expect(w.filesOf("records-2")).To(ConsistOf(w.path(b)))
				g.Expect(get(w, a).Status.Records).To(Equal(first))
				c := w.session("c")
				w.pass(time.Hour)
				w.settle(l)
				g.Expect(w.filesOf("records-2")).To(ConsistOf(w.path(b), w.path(c)))
				g.Expect(missing()).NotTo(BeNil())
				g.Expect(w.seen()).NotTo(ContainSubstring("Warning"), "it says so once")

				w.reconciler.Client = w.client
				if restart {
					w.restart()
				}
				w.pass(time.Hour)
				w.settle(l)
				w.settle(l)
				g.Expect(w.filesOf("records-2")).To(ConsistOf(w.path(a), w.path(b), w.path(c)))
				g.Expect(missing()).To(BeNil())
				w.git("cat-file", "-e", w.objectOf(get(w, a)))
			})
		}
	}
}

// A webhook that does not answer takes its time for each object. So a look for what the branch lacks ends soon, and the
// next one begins with the others.
func TestALookForMissingRecordsEndsWithoutAnswers(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	l := w.ledger("ledger")
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		w.session(name)
	}
	w.settle(l)
	asked := map[string]int{}
	w.reconciler.Client = interceptor.NewClient(w.client, interceptor.Funcs{Patch: func(
		ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption,
	) error {
		if len(o.GetName()) == 1 && o.GetName() < "f" {
			asked[o.GetName()]++
			return apierrors.NewInternalError(errCrash)
		}
		return c.Patch(ctx, o, p, opts...)
	}})
	w.moved(l, "records-2")
	w.settle(l)
	g.Expect(asked).To(HaveLen(refusedInRow))
	g.Expect(conditions.GetMessage(get(w, l), v1alpha1.ConditionRecordsMissing)).To(ContainSubstring("5 records"))
	for _, name := range []string{"f", "g"} {
		w.session(name)
		w.pass(time.Hour)
		w.settle(l)
	}
	g.Expect(asked).To(HaveLen(5), "each has its turn")

	w.reconciler.Client = w.client
	w.session("h")
	w.pass(time.Hour)
	w.settle(l)
	w.settle(l)
	g.Expect(w.filesOf("records-2")).To(HaveLen(8))
	g.Expect(conditions.Has(get(w, l), v1alpha1.ConditionRecordsMissing)).To(BeFalse())
}

// A Ledger whose branch changes asks the Git server once a level of directories, not once a policy.
func TestTheLookForEarlierRecordsAsksOnceALevel(t *testing.T) {
	t.Parallel()
	g, w := NewWithT(t), newWorld(t)
	w.git("config", "uploadpack.allowFilter", "true")
	w.git("config", "uploadpack.allowAnySHA1InWant", "true")
	var requests atomic.Int64
	w.StopHTTP()
	w.AddHTTPMiddlewares(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "git-upload-pack") && r.Method == http.MethodPost {
				requests.Add(1)
			}
			next.ServeHTTP(rw, r)
		})
	})
	if err := w.StartHTTP(); err != nil {
		t.Fatal(err)
	}
	l := w.ledger("ledger")
	for i := range 20 {
		w.session(fmt.Sprintf("run-%d", i), func(s *v1alpha1.BackupSession) {
			s.Spec.Invoker.Name = fmt.Sprintf("policy-%d", i)
		})
	}
	w.settle(l)
	w.git("branch", "records-2", branch)
	w.pass(time.Minute)
	requests.Store(0)
	w.moved(l, "records-2")
	g.Expect(get(w, l)).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonPushed))
	g.Expect(requests.Load()).To(BeNumerically("<", 15))
}
