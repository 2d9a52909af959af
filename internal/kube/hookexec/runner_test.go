package hookexec_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/hookexec"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// hundred is how many attempts a Runner makes at once.
const hundred = 100

// busy returns a Runner that makes as many attempts as it can at once, half of them in the namespace of owner and half
// in another one, until release is closed.
func busy(g *WithT, owner *v1alpha1.BackupSession) (runner *hookexec.Runner, release chan struct{}) {
	runner, release = hookexec.NewRunner(clock.RealClock{}), make(chan struct{})
	other := owner.DeepCopy()
	other.Namespace += "-other"
	occupy(g, runner, release, hundred/2, owner)
	occupy(g, runner, release, hundred/2, other)
	return runner, release
}

// occupy begins attempts that end when release is closed.
func occupy(g *WithT, runner *hookexec.Runner, release chan struct{}, n int32, owner *v1alpha1.BackupSession) {
	begun := make(chan struct{}, n)
	for i := range n {
		runner.Ensure(owner, attempt("busy in "+owner.Namespace, i), time.Hour,
			func(context.Context) hookstage.Outcome {
				begun <- struct{}{}
				<-release
				return hookstage.Outcome{}
			})
	}
	for range n {
		g.Eventually(begun).WithTimeout(testbed.Patience).Should(Receive())
	}
}

// TestSlowHooksOfATenantHoldUpOnlyHim lets a tenant start more slow hooks than the manager runs at once.
func TestSlowHooksOfATenantHoldUpOnlyHim(t *testing.T) {
	t.Parallel()
	g, runner, release := NewWithT(t), hookexec.NewRunner(clock.RealClock{}), make(chan struct{})
	start(t, runner)
	tenant, other := session(), session()
	tenant.Namespace, tenant.UID = "tenant", "t"
	other.Namespace, other.UID = "shop", "o"
	var begun atomic.Int32
	for i := range int32(2 * hundred) {
		runner.Ensure(tenant, attempt("slow", i), time.Hour, func(context.Context) hookstage.Outcome {
			begun.Add(1)
			<-release
			return hookstage.Outcome{}
		})
	}
	g.Eventually(begun.Load).WithTimeout(testbed.Patience).Should(BeEquivalentTo(hundred / 2))
	runner.Ensure(other, attempt("freeze", 1), time.Minute, func(context.Context) hookstage.Outcome {
		return hookstage.Outcome{}
	})
	g.Eventually(func() bool {
		out := runner.Results("o")(attempt("freeze", 1))
		return out != nil && !out.UnderWay
	}).WithTimeout(testbed.Patience).Should(BeTrue(), "the hook of another namespace has its turn")
	g.Expect(begun.Load()).To(BeEquivalentTo(hundred/2), "the tenant has half")
	close(release)
	go func() {
		for range runner.Ended() { // an attempt holds its slot no longer, but its goroutine waits to report the end
		}
	}()
	g.Eventually(begun.Load).WithTimeout(testbed.Patience).Should(BeEquivalentTo(2*hundred), "all have their turn")
}

// awaited is a context that tells when somebody waits for its end.
type awaited struct {
	context.Context
	waits func()
}

func (a awaited) Done() <-chan struct{} {
	a.waits()
	return a.Context.Done()
}

// start starts a Runner as a manager does.
func start(t *testing.T, runner *hookexec.Runner) {
	t.Helper()
	started := make(chan struct{})
	ctx := awaited{t.Context(), sync.OnceFunc(func() { close(started) })}
	go func() { _ = runner.Start(ctx) }()
	<-started
}

func attempt(name string, number int32) hookstage.Attempt {
	return hookstage.Attempt{Target: "a", Stage: hookstage.Pre, Name: name, Number: number}
}

func session() *v1alpha1.BackupSession {
	return &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "run", UID: "1"}}
}

// A freeze that still waits for its turn when its run is stopped would come after the thaw.
func TestAStoppedAttemptThatWaitsForItsTurnNeverBegins(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	runner, release := busy(g, session())
	from := time.Now()
	start(t, runner)
	began := make(chan string, 2)
	for _, name := range []string{"stopped", "waits"} {
		runner.Ensure(session(), attempt(name, 1), time.Minute, func(context.Context) hookstage.Outcome {
			began <- name
			return hookstage.Outcome{}
		})
	}
	underWay := HaveValue(Equal(hookstage.Outcome{UnderWay: true}))
	g.Expect(runner.Results("1")(attempt("stopped", 1))).To(underWay)
	runner.Stop("1", attempt("stopped", 1))
	g.Eventually(runner.Ended()).WithTimeout(testbed.Patience).Should(Receive(HaveField("Object.GetName()", "run")))
	out := runner.Results("1")(attempt("stopped", 1))
	g.Expect(out.Reason).To(Equal(v1alpha1.ReasonCancelled))
	g.Expect(out.Message).To(Equal("it was stopped before it began"))
	g.Expect(out.Since).To(BeTemporally("~", from, testbed.Patience), "when this process began")
	g.Expect(runner.Results("1")(attempt("waits", 1))).To(underWay)
	close(release)
	g.Eventually(began).WithTimeout(testbed.Patience).Should(Receive(Equal("waits")))
	g.Consistently(began, "100ms").ShouldNot(Receive())
}

// Nothing stops what an attempt does once it has begun. Whoever stops it waits for its end.
func TestAStoppedAttemptThatHasBegunGoesOn(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	runner, begun, release := hookexec.NewRunner(clock.RealClock{}), make(chan struct{}), make(chan struct{})
	freeze := attempt("freeze", 1)
	runner.Ensure(session(), freeze, time.Minute, func(ctx context.Context) hookstage.Outcome {
		close(begun)
		<-release
		if ctx.Err() != nil {
			return hookstage.Outcome{Reason: v1alpha1.ReasonCancelled}
		}
		return hookstage.Outcome{}
	})
	g.Eventually(begun).WithTimeout(testbed.Patience).Should(BeClosed())
	runner.Stop("1", freeze)
	g.Expect(runner.Results("1")(freeze)).To(HaveValue(Equal(hookstage.Outcome{UnderWay: true})))
	g.Expect(runner.Results("1")(attempt("thaw", 1))).To(BeNil(), "nobody makes it")
	close(release)
	g.Eventually(runner.Ended()).WithTimeout(testbed.Patience).Should(Receive())
	g.Expect(runner.Results("1")(freeze)).To(HaveValue(Equal(hookstage.Outcome{})))
}

// What a cut connection leaves behind can go on until its timeout. Others do not wait for that.
func TestAnAttemptThatCanGoOnIsUnderWayUntilItsTimeout(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	runner := hookexec.NewRunner(clock.RealClock{})
	lost := hookstage.Outcome{Reason: v1alpha1.ReasonCommandFailed, Lingers: true}
	const timeout = 2 * time.Second
	began := time.Now()
	for i := range int32(hundred) {
		runner.Ensure(session(), attempt("freeze", i), timeout, func(context.Context) hookstage.Outcome { return lost })
	}
	thaw := attempt("thaw", 1)
	runner.Ensure(session(), thaw, time.Minute, func(context.Context) hookstage.Outcome { return hookstage.Outcome{} })
	g.Eventually(func() *hookstage.Outcome { return runner.Results("1")(thaw) }).WithTimeout(testbed.Patience).
		Should(HaveValue(Equal(hookstage.Outcome{})))
	state := runner.Results("1")(attempt("freeze", 1))
	if time.Since(began) < timeout {
		g.Expect(state).To(HaveValue(Equal(hookstage.Outcome{UnderWay: true})))
	}
	g.Eventually(func() *hookstage.Outcome { return runner.Results("1")(attempt("freeze", 1)) }).
		WithTimeout(testbed.Patience).Should(HaveValue(Equal(lost)))
	g.Expect(time.Since(began)).To(BeNumerically(">=", timeout))
}

// A thaw that found no pod is made again when its run says so. What has begun is never made again.
func TestAnAttemptThatDidNothingIsMadeAgain(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	now := clocktesting.NewFakePassiveClock(time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC))
	hooks := &hookexec.Hooks{Runner: hookexec.NewRunner(now), Executor: executor()}
	closed := serve(t, status(200))
	get := closed.get("/")
	closed.Close()
	run := operator(v1alpha1.HookAction{HTTPGet: &get})
	begun := 0
	carryOut := func() {
		g.Expect(hooks.CarryOut(t.Context(), session(), []hookstage.Run{run}, nil,
			func(context.Context, client.Object) error { begun++; return nil })).To(Succeed())
	}
	for want := 1; want <= 2; want++ {
		carryOut()
		g.Eventually(hooks.Ended()).WithTimeout(testbed.Patience).Should(Receive())
		g.Expect(begun).To(Equal(want))
		out := hooks.Results("1")(run.Attempt)
		g.Expect(out.Unbegun).To(BeTrue(), out.Message)
		g.Expect(out.At).To(Equal(now.Now()))
		run.Again = false
		carryOut()
		g.Expect(begun).To(Equal(want), "the run does not say so")
		run.Again = true
	}
	s := serve(t, status(500))
	get = s.get("/")
	for range 2 { // once, and then from a stale cache
		carryOut()
		g.Eventually(func() string { return hooks.Results("1")(run.Attempt).Message }).
			WithTimeout(testbed.Patience).Should(ContainSubstring("500"))
	}
	g.Expect(s.asked).To(HaveLen(1))
}
