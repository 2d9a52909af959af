package oneshot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/hookexec"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/kube/status"
	"github.com/cairn-backup/cairn/internal/run/decision"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/testbed/loglines"
)

// input is what the decisions of these tests depend on.
type input struct {
	start   bool
	look    bool
	session *v1alpha1.BackupSession
	refused movers.Refusals
	refusal *v1alpha1.ResolvedError
}

// kind is a kind whose decisions a test makes. It counts the locks that Start takes and the ends that Close sees, and
// keeps what is logged.
type kind struct {
	decide        func(input) Decision[v1alpha1.BackupSession]
	locks, closed int
	log           []string
}

func (k *kind) Start(_ context.Context, s *v1alpha1.BackupSession) (input, func(), error) {
	k.locks++
	return input{start: true, session: s}, func() { k.locks-- }, nil
}

func (k *kind) Refuse(in input, refusal *v1alpha1.ResolvedError) input {
	in.refusal = refusal
	return in
}

func (k *kind) Observe(
	_ context.Context, _ client.Reader, s *v1alpha1.BackupSession, refused movers.Refusals, look bool,
) (input, error) {
	return input{session: s, refused: refused, look: look}, nil
}

func (k *kind) Decide(in input) Decision[v1alpha1.BackupSession] { return k.decide(in) }

func (k *kind) Close(context.Context, *v1alpha1.BackupSession) (time.Duration, error) {
	k.closed++
	return 0, nil
}

// decide returns a decision that sets the phase and does nothing else.
func decide(base decision.Base, phase v1alpha1.BackupSessionPhase, frozen bool) Decision[v1alpha1.BackupSession] {
	return Decision[v1alpha1.BackupSession]{
		Base: &base,
		SetStatus: func(s *v1alpha1.BackupSession) {
			s.Status.Phase = phase
			if frozen {
				s.Status.Resolved = &v1alpha1.ResolvedBackup{}
			}
		},
		CarryOut: func(context.Context, movers.Refusals) error { return nil },
		CleanUp:  func() []movers.Deletion { return nil },
	}
}

// reconcileOnce reconciles a session once, as the cache has it, and returns how it is stored then.
func reconcileOnce(
	t *testing.T, k *kind, cached, stored *v1alpha1.BackupSession, funcs interceptor.Funcs,
) (*v1alpha1.BackupSession, ctrl.Result, error) {
	t.Helper()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(stored).WithStatusSubresource(stored).
		WithInterceptorFuncs(funcs).Build()
	key := client.ObjectKeyFromObject(stored)
	cache := interceptor.NewClient(live, interceptor.Funcs{Get: func(
		_ context.Context, _ client.WithWatch, _ client.ObjectKey, o client.Object, _ ...client.GetOption,
	) error {
		cached.DeepCopyInto(o.(*v1alpha1.BackupSession))
		return nil
	}})
	r := Reconciler[v1alpha1.BackupSession, *v1alpha1.BackupSession, input]{
		Writer: status.Writer{Client: cache, Events: record.NewFakeRecorder(9), Owner: "test"},
		Live:   live, Hooks: &hookexec.Hooks{Runner: hookexec.NewRunner(clock.RealClock{})}, Kind: k,
		Clock: clock.RealClock{}, Pauses: &movers.Pauses{}, Deletions: &movers.Deletions{},
	}
	ctx, lines := loglines.Record(t.Context(), 0)
	result, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: key})
	k.log = append(k.log, *lines...)
	now := &v1alpha1.BackupSession{}
	g.Expect(live.Get(t.Context(), key, now)).To(Succeed())
	return now, result, err
}

func session(edit func(*v1alpha1.BackupSession)) *v1alpha1.BackupSession {
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "nightly", UID: "1", ResourceVersion: "7",
	}}
	edit(s)
	return s
}

func frozen(s *v1alpha1.BackupSession) {
	s.Status.Phase, s.Status.Resolved = v1alpha1.BackupSessionRunning, &v1alpha1.ResolvedBackup{}
}

// Whoever can be seen only in the status gets a moment, if the decision asks for it.
func TestAStartCanYield(t *testing.T) {
	for _, yields := range []bool{true, false} {
		g := NewWithT(t)
		observed := false
		k := &kind{decide: func(in input) Decision[v1alpha1.BackupSession] {
			observed = observed || !in.start
			return decide(decision.Base{Yield: yields}, v1alpha1.BackupSessionRunning, true)
		}}
		s := session(func(*v1alpha1.BackupSession) {})
		now, _, err := reconcileOnce(t, k, s, s.DeepCopy(), interceptor.Funcs{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(now.Frozen()).To(BeTrue())
		g.Expect(observed).To(Equal(!yields))
		g.Expect(k.locks).To(BeZero(), "the start releases what it holds")
	}
}

func TestAStartThatTheAPIServerNeverAcceptsEnds(t *testing.T) {
	g := NewWithT(t)
	k := &kind{decide: func(in input) Decision[v1alpha1.BackupSession] {
		if in.refusal != nil {
			return decide(decision.Base{}, v1alpha1.BackupSessionFailed, false)
		}
		return decide(decision.Base{}, v1alpha1.BackupSessionRunning, true)
	}}
	invalid := interceptor.Funcs{SubResourcePatch: func(
		ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch,
		opts ...client.SubResourcePatchOption,
	) error {
		if o.(*v1alpha1.BackupSession).Frozen() {
			kind := v1alpha1.GroupVersion.WithKind(v1alpha1.BackupSessionKind).GroupKind()
			return apierrors.NewInvalid(kind, "nightly", nil)
		}
		return c.SubResource(sub).Patch(ctx, o, patch, opts...)
	}}
	s := session(func(*v1alpha1.BackupSession) {})
	now, _, err := reconcileOnce(t, k, s, s.DeepCopy(), invalid)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(now.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed))
	g.Expect(now.Frozen()).To(BeFalse())
	g.Expect(k.closed).To(Equal(1))
}

// A decision that gives something up is made on the newest state alone, not on a mixture with what the cache had.
func TestVerifyReadsTheNewestState(t *testing.T) {
	g := NewWithT(t)
	stored := session(func(s *v1alpha1.BackupSession) { frozen(s); s.ResourceVersion = "9" })
	cached := session(func(s *v1alpha1.BackupSession) {
		frozen(s)
		s.Annotations, s.Finalizers = map[string]string{"old": "yes"}, []string{"old/finalizer"}
	})
	var seen []*v1alpha1.BackupSession
	k := &kind{decide: func(in input) Decision[v1alpha1.BackupSession] {
		seen = append(seen, in.session.DeepCopy())
		return decide(decision.Base{Verify: true}, v1alpha1.BackupSessionFailed, false)
	}}
	now, _, err := reconcileOnce(t, k, cached, stored, interceptor.Funcs{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(seen).To(HaveLen(2), "the second decision counts")
	g.Expect(seen[1].ResourceVersion).To(Equal("9"))
	g.Expect(seen[1].Annotations).To(BeEmpty())
	g.Expect(seen[1].Finalizers).To(BeEmpty())
	g.Expect(now.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed))
}

func TestAnotherObjectOfTheNameIsLeftAlone(t *testing.T) {
	g := NewWithT(t)
	stored := session(func(s *v1alpha1.BackupSession) { s.UID = "2" })
	k := &kind{decide: func(input) Decision[v1alpha1.BackupSession] {
		return decide(decision.Base{Verify: true}, v1alpha1.BackupSessionFailed, false)
	}}
	now, result, err := reconcileOnce(t, k, session(frozen), stored, interceptor.Funcs{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(Equal(RetryAfterConflict))
	g.Expect(now.Status.Phase).To(BeEmpty())
}

// What is refused leads to another decision. The same refusal once more is an error: the decision did not heed it.
func TestARefusalLeadsToAnotherDecision(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		g := NewWithT(t)
		k := &kind{decide: func(in input) Decision[v1alpha1.BackupSession] {
			if heeds && len(in.refused) > 0 {
				return decide(decision.Base{}, v1alpha1.BackupSessionFailed, false)
			}
			d := decide(decision.Base{}, v1alpha1.BackupSessionRunning, false)
			d.CarryOut = func(ctx context.Context, refused movers.Refusals) error {
				return refused.Add(ctx, "pod-0", movers.Refuse(v1alpha1.ReasonInvalidTask, "too large"))
			}
			return d
		}}
		s := session(frozen)
		now, _, err := reconcileOnce(t, k, s, s.DeepCopy(), interceptor.Funcs{})
		if heeds {
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(now.Status.Phase).To(Equal(v1alpha1.BackupSessionFailed))
		} else {
			g.Expect(err).To(MatchError(ContainSubstring("too large")))
			g.Expect(now.Status.Phase).To(Equal(v1alpha1.BackupSessionRunning))
		}
	}
}

// A step whose write fails is repeated: what it ends is logged only once it is written.
func TestOnlyWhatIsWrittenIsLogged(t *testing.T) {
	ends := []hookstage.End{
		{Attempt: hookstage.Attempt{Stage: hookstage.Pre, Name: "freeze", Number: 2}, Reason: "HookTimeout"},
		{Attempt: hookstage.Attempt{Stage: hookstage.Post, Name: "thaw", Target: "db"}, Reason: "HookFailed"},
	}
	for name, failing := range map[string]bool{"written": false, "the write fails": true} {
		t.Run(name, func(t *testing.T) {
			g, s := NewWithT(t), session(frozen)
			k := &kind{decide: func(input) Decision[v1alpha1.BackupSession] {
				return decide(decision.Base{EndedHooks: ends}, v1alpha1.BackupSessionFailed, false)
			}}
			var funcs interceptor.Funcs
			if failing {
				funcs.SubResourcePatch = func(
					context.Context, client.Client, string, client.Object, client.Patch,
					...client.SubResourcePatchOption,
				) error {
					return apierrors.NewServiceUnavailable("the API server restarts")
				}
			}
			_, _, err := reconcileOnce(t, k, s, s.DeepCopy(), funcs)
			ended := slices.DeleteFunc(k.log, func(l string) bool { return !strings.Contains(l, `"msg"="hook ended"`) })
			if failing {
				g.Expect(err).To(HaveOccurred())
				g.Expect(ended).To(BeEmpty())
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(ended).To(HaveExactElements(
				HaveSuffix(`"hook"="freeze" "stage"="pre" "attempt"=2 "target"="" "reason"="HookTimeout"`),
				HaveSuffix(`"hook"="thaw" "stage"="post" "attempt"=0 "target"="db" "reason"="HookFailed"`)))
		})
	}
}

func TestLookAsksAgainWithMore(t *testing.T) {
	g := NewWithT(t)
	looked := errors.New("nothing was looked at")
	k := &kind{decide: func(in input) Decision[v1alpha1.BackupSession] {
		if in.look {
			looked = nil
		}
		return decide(decision.Base{Look: true}, v1alpha1.BackupSessionSucceeded, false)
	}}
	s := session(frozen)
	now, _, err := reconcileOnce(t, k, s, s.DeepCopy(), interceptor.Funcs{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(looked).NotTo(HaveOccurred())
	g.Expect(now.Status.Phase).To(Equal(v1alpha1.BackupSessionSucceeded))
}
