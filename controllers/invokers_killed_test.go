package controllers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// invoked is a world in which policy starts runs.
type invoked struct {
	*world
	// movers are the backups that ran, by component and Repository.
	movers []string
	// fail is the Repository whose next mover fails.
	fail string
}

func newInvoked(t *testing.T, claims ...string) *invoked {
	t.Helper()
	w := &invoked{world: newWorld(t, "batch", "configuration", "repository", "session")}
	w.Outcome = w.outcome
	for _, name := range claims {
		sessiontest.Create(t, w.Client, sessiontest.Claim(w.Namespace, name))
	}
	return w
}

// outcome plays init Jobs and movers.
func (w *invoked) outcome(job *batchv1.Job) kubelet.Outcome {
	if job.Labels[v1alpha1.LabelBackupSession] == "" {
		return kubelet.Outcome{Result: &task.Result{Version: task.Version, Outcome: task.OutcomeSucceeded}}
	}
	t := kubelet.TaskOf(job)
	if w.fail == t.Repository.Name {
		w.fail = ""
		w.movers = append(w.movers, t.Repository.Name+" failed")
		return kubelet.Fail(v1alpha1.ReasonUnreachable)
	}
	w.movers = append(w.movers, t.Repository.Name)
	return kubelet.Succeed(job)
}

// schedules sets a nightly session with a CronJob, and an hourly session that the manager starts itself and retries.
func schedules() (nightly, hourly v1alpha1.SessionConfig) {
	return v1alpha1.SessionConfig{
			Name: "nightly", SessionHistoryLimit: new(int32(5)),
			Scheduler: &v1alpha1.SchedulerSpec{Schedule: "0 3 1 1 *"},
		},
		v1alpha1.SessionConfig{
			Name: "hourly", SessionHistoryLimit: new(int32(5)),
			Scheduler:   &v1alpha1.SchedulerSpec{Schedule: "0 * * * *", Type: v1alpha1.SchedulerController},
			RetryConfig: &v1alpha1.RetryConfig{MaxRetry: 1, Delay: metav1.Duration{Duration: time.Minute}},
		}
}

// nextHour advances the clock to the next slot of the hourly session, plus the delay of its retry.
func (w *invoked) nextHour() {
	w.T.Helper()
	// The hour follows the clock of the API server, which sets the creation times of policy.
	w.Clock.SetTime(time.Now().Truncate(time.Hour).Add(time.Hour + time.Second))
	w.settle()
	w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
	w.settle()
}

// ran is the state of a world of policy at the end.
type ran struct {
	Movers, Configurations, Repositories, CronJobs, Runs, Snapshots []string
	Jobs                                                            int
}

func (w *invoked) end() ran {
	w.T.Helper()
	e := ran{Movers: slices.Sorted(slices.Values(w.movers))}
	for _, o := range listed(w.T.Context(), w.World, &v1alpha1.BackupConfigurationList{}) {
		c := o.(*v1alpha1.BackupConfiguration)
		e.Configurations = append(e.Configurations, fmt.Sprint(c.Name, " ready ", conditions.IsReady(c), ", handled ",
			c.Status.LastHandledTrigger))
	}
	for _, o := range listed(w.T.Context(), w.World, &v1alpha1.RepositoryList{}) {
		e.Repositories = append(e.Repositories, fmt.Sprint(o.GetName(), " ready ",
			conditions.IsReady(o.(*v1alpha1.Repository))))
	}
	for _, o := range listed(w.T.Context(), w.World, &batchv1.CronJobList{}) {
		e.CronJobs = append(e.CronJobs, o.GetName()+" "+o.(*batchv1.CronJob).Spec.Schedule)
	}
	for _, o := range listed(w.T.Context(), w.World, &v1alpha1.BackupSessionList{}) {
		s := o.(*v1alpha1.BackupSession)
		text := fmt.Sprint(s.Spec.Session, " ", s.Status.Phase, " ", s.Status.Reason, ", retries ",
			s.Spec.RetryOf != "",
			", retried ", s.Status.Retried != nil && *s.Status.Retried)
		for _, target := range s.Status.Targets {
			text += fmt.Sprint(", ", target.Name, " ", target.Phase)
		}
		e.Runs = append(e.Runs, text)
	}
	for _, o := range listed(w.T.Context(), w.World, &v1alpha1.SnapshotList{}) {
		s := o.(*v1alpha1.Snapshot)
		e.Snapshots = append(e.Snapshots, fmt.Sprint(s.Spec.Repository, " ", s.Spec.Session, " ", s.Status.Phase))
	}
	slices.Sort(e.Runs)
	slices.Sort(e.Snapshots)
	for _, job := range w.Jobs() {
		if job.Labels[v1alpha1.LabelBackupSession] == "" {
			e.Jobs++
		}
	}
	return e
}

// TestConfigurationKilledAtAnyWrite: policy appears, a user triggers a run, a slot comes, its run fails and is retried,
// and a session leaves.
func TestConfigurationKilledAtAnyWrite(t *testing.T) {
	t.Parallel()
	killedAnywhere(t, 0, func(t *testing.T, k kills) (*world, any) {
		w := newInvoked(t, "web")
		w.spare = []string{"repository", "session"}
		c := configuration(w.World, "web", func(c *v1alpha1.BackupConfiguration) {
			first := &c.Spec.Sessions[0]
			second := *first.DeepCopy()
			first.SessionConfig, second.SessionConfig = schedules()
			c.Spec.Sessions = append(c.Spec.Sessions, second)
		})
		w.disturb(k)
		sessiontest.Create(t, w.Client, c)
		w.settle()
		w.Expect(w.end().CronJobs).To(Equal([]string{"trigger-web-nightly 0 3 1 1 *"}))
		bed.Edit(t, c, func() {
			metav1.SetMetaDataAnnotation(&c.ObjectMeta, v1alpha1.AnnotationTrigger, "nightly/by-hand")
		})
		w.settle()
		w.fail = "web"
		w.nextHour()
		bed.Edit(t, c, func() { c.Spec.Sessions = c.Spec.Sessions[1:] })
		w.settle()
		return w.world, w.end()
	}, func(g Gomega, end any) {
		g.Expect(end).To(Equal(ran{
			Movers:         []string{"web", "web", "web failed"},
			Configurations: []string{"web ready true, handled nightly/by-hand"},
			Repositories:   []string{"web ready true"},
			Runs: []string{
				"hourly Failed Unreachable, retries false, retried true, web Failed",
				"hourly Succeeded Succeeded, retries true, retried false, web Succeeded",
				"nightly Succeeded Succeeded, retries false, retried false, web Succeeded",
			},
			Snapshots: []string{"web hourly Failed", "web hourly Succeeded", "web nightly Succeeded"},
		}))
	})
}

// TestBatchKilledAtAnyWrite: a batch appears, a slot comes, a part of its run fails and is retried, a target and a
// session leave, and then the batch is deleted. Its Repositories stay.
func TestBatchKilledAtAnyWrite(t *testing.T) {
	t.Parallel()
	killedAnywhere(t, 3, func(t *testing.T, k kills) (*world, any) {
		w := newInvoked(t, "web", "db")
		b := batch(w.World)
		w.disturb(k)
		sessiontest.Create(t, w.Client, b)
		w.settle()
		ends := []ran{w.end()}
		w.fail = "web"
		w.nextHour()
		bed.Edit(t, b, func() {
			b.Spec.Targets = b.Spec.Targets[:1]
			b.Spec.Sessions = b.Spec.Sessions[1:]
			b.Spec.Sessions[0].Targets = b.Spec.Sessions[0].Targets[:1]
		})
		w.settle()
		ends = append(ends, w.end())
		w.Expect(w.Client.Delete(t.Context(), b)).To(Succeed())
		w.settle()
		return w.world, append(ends, w.end())
	}, func(g Gomega, end any) {
		ends, repositories := end.([]ran), []string{"db ready true", "web ready true"}
		g.Expect(ends[0]).To(Equal(ran{
			Configurations: []string{"shop-db ready true, handled ", "shop-web ready true, handled "},
			Repositories:   repositories,
			CronJobs:       []string{"trigger-backupbatch-shop-nightly 0 3 1 1 *"},
		}))
		g.Expect(ends[1]).To(Equal(ran{
			Movers: []string{"db", "web", "web failed"}, Configurations: ends[0].Configurations[1:],
			Repositories: repositories,
			Runs: []string{
				"hourly Failed TargetsFailed, retries false, retried true, web Failed, db Succeeded",
				"hourly Succeeded Succeeded, retries true, retried false, web Succeeded",
			},
			Snapshots: []string{"db hourly Succeeded", "web hourly Failed", "web hourly Succeeded"},
		}))
		g.Expect([]any{ends[2].Configurations, ends[2].CronJobs, ends[2].Repositories}).
			To(Equal([]any{[]string(nil), []string(nil), repositories}))
	})
}

// TestWipingBatchKilledAtAnyWrite: a target leaves a batch that wipes, and then the batch is deleted. What left stays.
func TestWipingBatchKilledAtAnyWrite(t *testing.T) {
	t.Parallel()
	killedAnywhere(t, 3, func(t *testing.T, k kills) (*world, any) {
		w := newInvoked(t, "web", "db")
		b := batch(w.World)
		for i := range b.Spec.Sessions {
			for j := range b.Spec.Sessions[i].Targets {
				target := &b.Spec.Sessions[i].Targets[j]
				target.Repositories = slices.Clone(target.Repositories)
				target.Repositories[0].DeletionPolicy = v1alpha1.WipeOutRepository
			}
		}
		w.disturb(k)
		sessiontest.Create(t, w.Client, b)
		w.settle()
		bed.Edit(t, b, func() {
			b.Spec.Targets = b.Spec.Targets[:1]
			for i := range b.Spec.Sessions {
				b.Spec.Sessions[i].Targets = b.Spec.Sessions[i].Targets[:1]
			}
		})
		w.settle()
		ends := w.deletions()
		w.Expect(w.Client.Delete(t.Context(), b)).To(Succeed())
		w.settle()
		return w.world, append(ends, w.deletions()...)
	}, func(g Gomega, end any) {
		g.Expect(end).To(Equal([]string{
			"db deleted false, Delete", "web deleted false, Delete", "db deleted false, Delete",
			"web deleted true, WipeOut",
		}))
	})
}

// deletions says of each Repository whether it is being deleted, and its deletionPolicy.
func (w *invoked) deletions() []string {
	w.T.Helper()
	var out []string
	for _, o := range listed(w.T.Context(), w.World, &v1alpha1.RepositoryList{}) {
		out = append(out, fmt.Sprintf("%s deleted %t, %s", o.GetName(), !o.GetDeletionTimestamp().IsZero(),
			o.(*v1alpha1.Repository).Spec.DeletionPolicy))
	}
	slices.Sort(out)
	return out
}

// batch creates a batch that backs up web and db.
func batch(w *sessiontest.World) *v1alpha1.BackupBatch {
	one := configuration(w, "any")
	b := &v1alpha1.BackupBatch{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop"},
		Spec:       v1alpha1.BackupBatchSpec{Backends: one.Spec.Backends},
	}
	nightly, hourly := schedules()
	b.Spec.Sessions = []v1alpha1.BackupBatchSession{{SessionConfig: nightly}, {SessionConfig: hourly}}
	for _, name := range []string{"web", "db"} {
		c := configuration(w, name)
		b.Spec.Targets = append(b.Spec.Targets, v1alpha1.BatchTarget{Name: name, AppRef: *c.Spec.Target})
		for i := range b.Spec.Sessions {
			b.Spec.Sessions[i].Targets = append(b.Spec.Sessions[i].Targets, v1alpha1.BatchSessionTarget{
				Name: name, Addon: c.Spec.Sessions[0].Addon, Repositories: c.Spec.Sessions[0].Repositories,
			})
		}
	}
	return b
}
