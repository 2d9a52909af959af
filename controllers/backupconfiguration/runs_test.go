package backupconfiguration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/testbed"
)

func runsOf(g Gomega, t testing.TB, namespace string) []v1alpha1.BackupSession {
	var list v1alpha1.BackupSessionList
	g.Expect(bed.Client.List(t.Context(), &list, client.InNamespace(namespace))).To(Succeed())
	return list.Items
}

// byController makes the manager start the runs of the configuration's session every hour. The last run was at six.
func byController(t testing.TB, configuration *v1alpha1.BackupConfiguration) {
	t.Helper()
	bed.Edit(t, configuration, func() {
		session := &configuration.Spec.Sessions[0]
		session.Scheduler = &v1alpha1.SchedulerSpec{Schedule: "0 * * * *", Type: v1alpha1.SchedulerController}
		session.RetryConfig = &v1alpha1.RetryConfig{MaxRetry: 2}
	})
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	bed.Quiet(t, configuration.Namespace) // Otherwise the controller can write the sessions once more.
	bed.EditStatus(t, configuration, func() {
		configuration.Status.Sessions[0].LastScheduleTime = new(metav1.NewTime(now.Add(-2 * time.Hour)))
	})
}

func TestTheManagerStartsTheRunOfASlotOnce(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)
	byController(t, configuration)
	name := policy.BackupSessionName("uploads", "nightly", now)
	g.Eventually(func(g Gomega) {
		runs := runsOf(g, t, configuration.Namespace)
		g.Expect(runs).To(HaveLen(1))
		g.Expect(runs[0].Name).To(Equal(name))
		g.Expect(runs[0].Spec).To(Equal(v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind,
				Name: "uploads",
			},
			Session: "nightly", ScheduledTime: runs[0].Spec.ScheduledTime, RetryLeft: 2,
		}))
		g.Expect(runs[0].Spec.ScheduledTime.Time).To(BeTemporally("==", now),
			"the newest slot, not the one that passed before")
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "the manager starts the run of the slot")
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(configuration.Status.Sessions[0].LastScheduleTime).To(HaveField("Time", BeTemporally("==", now)))
		g.Expect(configuration.Status.Sessions[0].NextSchedule).
			To(HaveField("Time", BeTemporally("==", now.Add(time.Hour))))
	}, "the status names the slot")
	var cronJobs batchv1.CronJobList
	g.Eventually(func(g Gomega) {
		g.Expect(bed.Client.List(t.Context(), &cronJobs, client.InNamespace(configuration.Namespace))).To(Succeed())
		g.Expect(cronJobs.Items).To(BeEmpty())
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "no CronJob exists beside the manager's schedule")

	// The manager was killed before it wrote the slot to the status. It finds the run that it started.
	uid := runsOf(g, t, configuration.Namespace)[0].UID
	bed.EditStatus(t, configuration, func() {
		configuration.Status.Sessions[0].LastScheduleTime = new(metav1.NewTime(now.Add(-2 * time.Hour)))
	})
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(configuration.Status.Sessions[0].LastScheduleTime).To(HaveField("Time", BeTemporally("==", now)))
	}, "the status names the same run again")
	runs := runsOf(g, t, configuration.Namespace)
	g.Expect(runs).To(HaveLen(1))
	g.Expect(runs[0].UID).To(Equal(uid))

	// The run ended and was deleted. The status remembers it, whether CronJob or manager starts the runs.
	g.Expect(bed.Client.Delete(t.Context(), &runs[0])).To(Succeed())
	bed.Edit(t, configuration, func() { configuration.Spec.Sessions[0].Scheduler.Type = v1alpha1.SchedulerCronJob })
	bed.Eventually(t, cronJobOf(configuration, "nightly"), func(Gomega) {}, "the CronJob exists")
	bed.Edit(t, configuration, func() { configuration.Spec.Sessions[0].Scheduler.Type = v1alpha1.SchedulerController })
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	bed.NoOp(t, reconciler, &events, configuration)
	g.Expect(runsOf(g, t, configuration.Namespace)).To(BeEmpty())
}

func TestNothingIsStartedWhilePaused(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)
	bed.Edit(t, configuration, func() { configuration.Spec.Paused = true })
	bed.Eventually(t, cronJobOf(configuration, "nightly"), func(Gomega) {}, "the CronJob stays")
	cronJob := cronJobOf(configuration, "nightly")
	bed.Eventually(t, cronJob, func(g Gomega) { g.Expect(*cronJob.Spec.Suspend).To(BeTrue()) },
		"the CronJob is suspended")
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(configuration.Status.Sessions[0].NextSchedule).To(BeNil())
		g.Expect(configuration.Status.Phase).To(Equal(v1alpha1.PhaseReady))
	}, "there is no next slot")

	byController(t, configuration)
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(configuration.Status.Sessions[0].NextSchedule).To(BeNil())
		g.Expect(configuration.Status.Sessions[0].Schedule).To(Equal("0 * * * *"))
	}, "the status shows the schedule")
	bed.NoOp(t, reconciler, &events, configuration)
	g.Expect(runsOf(g, t, configuration.Namespace)).To(BeEmpty())

	bed.Edit(t, configuration, func() { configuration.Spec.Paused = false })
	g.Eventually(func(g Gomega) { g.Expect(runsOf(g, t, configuration.Namespace)).To(HaveLen(1)) }, testbed.Patience,
		testbed.Interval).
		Should(Succeed(), "the newest slot runs as soon as the policy resumes, as with a CronJob")
}

// A policy with a mistake can be paused and resumed, whoever starts its runs: nothing else of its schedule changes.
func TestAnInvalidPolicyCanBePaused(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)
	// read returns the CronJob without what the API server counts.
	read := func(g Gomega) *batchv1.CronJob {
		cronJob := cronJobOf(configuration, "nightly")
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(cronJob), cronJob)).To(Succeed())
		cronJob.ResourceVersion, cronJob.Generation, cronJob.ManagedFields = "", 0, nil
		return cronJob
	}
	suspended := func(want bool, reason string) *batchv1.CronJob {
		t.Helper()
		var cronJob *batchv1.CronJob
		g.Eventually(func(g Gomega) {
			cronJob = read(g)
			g.Expect(cronJob.Spec.Suspend).To(HaveValue(Equal(want)))
		}, testbed.Patience, testbed.Interval).Should(Succeed(), reason)
		return cronJob
	}
	before := suspended(false, "the CronJob starts runs")
	bed.Edit(t, configuration, func() {
		configuration.Spec.Sessions[0].Scheduler.Schedule, configuration.Spec.Paused = "0 0 30 2 *", true
	})
	paused := suspended(true, "the CronJob of a paused policy starts nothing")
	paused.Spec.Suspend = before.Spec.Suspend
	g.Expect(paused).To(Equal(before), "the previous schedule stays in force")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseInvalid, v1alpha1.ReasonInvalidSchedule, "")
	bed.NoOp(t, reconciler, &events, configuration)

	bed.Edit(t, configuration, func() { configuration.Spec.Paused = false })
	g.Expect(suspended(false, "the policy goes on")).To(Equal(before))
	bed.Edit(t, configuration, func() { configuration.Spec.Paused = true })
	suspended(true, "the policy is paused again")
	bed.Edit(t, configuration, func() {
		configuration.Spec.Sessions[0].Scheduler.Schedule, configuration.Spec.Paused = "0 2 * * *", false
	})
	g.Expect(suspended(false, "the corrected policy goes on")).To(Equal(before))

	bed.Edit(t, configuration, func() { configuration.Spec.Paused = true })
	byController(t, configuration)
	bed.Edit(t, configuration, func() { configuration.Spec.Sessions[0].Scheduler.Schedule = "0 0 30 2 *" })
	bed.ExpectReason(t, configuration, v1alpha1.PhaseInvalid, v1alpha1.ReasonInvalidSchedule, "")
	bed.NoOp(t, reconciler, &events, configuration)
	g.Expect(runsOf(g, t, configuration.Namespace)).To(BeEmpty(), "the manager starts nothing while it is paused")
	bed.Edit(t, configuration, func() { configuration.Spec.Paused = false })
	g.Eventually(func(g Gomega) { g.Expect(runsOf(g, t, configuration.Namespace)).To(HaveLen(1)) }, testbed.Patience,
		testbed.Interval).Should(Succeed(), "the previous schedule goes on")
}

func TestTheAnnotationStartsARunForEachOfItsValues(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)
	ask := func(value string) {
		bed.Edit(t, configuration,
			func() { metav1.SetMetaDataAnnotation(&configuration.ObjectMeta, v1alpha1.AnnotationTrigger, value) })
		bed.Eventually(t, configuration, func(g Gomega) {
			g.Expect(configuration.Status.LastHandledTrigger).
				To(Equal(value))
		}, "the controller handles the trigger")
		bed.NoOp(t, reconciler, &events, configuration)
	}
	ask("nightly")
	first := runsOf(g, t, configuration.Namespace)
	g.Expect(first).To(HaveLen(1))
	g.Expect(first[0].Name).To(MatchRegexp(`^uploads-nightly-[0-9a-f]{8}$`))
	g.Expect(first[0].Spec.RetryLeft).To(BeZero(), "a run that somebody starts by hand is not retried")
	g.Expect(first[0].Spec.ScheduledTime.Time).To(BeTemporally("==", now))

	ask("nightly/again")
	g.Expect(runsOf(g, t, configuration.Namespace)).To(HaveLen(2), "another value starts another run")
	ask("weekly/1")
	g.Expect(runsOf(g, t, configuration.Namespace)).To(HaveLen(2))
	events.Eventually(t, configuration.Namespace, ContainElement(HavePrefix(
		"Warning InvalidTrigger the annotation backup.cairn.dev/trigger names no session: set it to one of nightly,")))

	// The manager was killed before it wrote the handled trigger. It finds the run that it started.
	ask("nightly/killed")
	g.Expect(runsOf(g, t, configuration.Namespace)).To(HaveLen(3))
	bed.EditStatus(t, configuration, func() {
		configuration.Status.LastHandledTrigger = "weekly/1"
		configuration.Status.HandledTriggers--
	})
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(configuration.Status.LastHandledTrigger).
			To(Equal("nightly/killed"))
	}, "the controller handles the trigger")
	g.Expect(runsOf(g, t, configuration.Namespace)).To(HaveLen(3))

	// Status holds only the digest of a long value, but its session is that of the value.
	bed.Edit(t, configuration, func() {
		metav1.SetMetaDataAnnotation(&configuration.ObjectMeta, v1alpha1.AnnotationTrigger,
			"nightly/"+strings.Repeat("x", 300))
	})
	g.Eventually(func(g Gomega) {
		g.Expect(runsOf(g, t, configuration.Namespace)).To(HaveLen(4))
	}, testbed.Patience, testbed.Interval).Should(Succeed(), "a long value starts a run, too")
}

// ended creates a run that ended some hours ago.
func ended(
	t testing.TB, configuration *v1alpha1.BackupConfiguration, name string, hours int,
	phase v1alpha1.BackupSessionPhase,
	finalizers ...string,
) {
	t.Helper()
	s := &v1alpha1.BackupSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: configuration.Namespace, Name: name, Finalizers: finalizers},
		Spec: v1alpha1.BackupSessionSpec{
			Invoker: v1alpha1.TypedLocalObjectReference{
				APIGroup: v1alpha1.Group, Kind: v1alpha1.BackupConfigurationKind,
				Name: configuration.Name,
			}, Session: "nightly",
		},
	}
	bed.Create(t, s)
	bed.EditStatus(t, s, func() {
		s.Status.Phase = phase
		if phase.Terminal() {
			s.Status.CompletionTime = new(metav1.NewTime(now.Add(-time.Duration(hours) * time.Hour)))
		}
	})
}

func TestTheHistoryOfASession(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)
	bed.Edit(t, configuration, func() { configuration.Spec.Sessions[0].SessionHistoryLimit = ptr.To[int32](2) })
	ended(t, configuration, "running", 0, v1alpha1.BackupSessionRunning)
	ended(t, configuration, "unrecorded", 9, v1alpha1.BackupSessionFailed, v1alpha1.FinalizerRecord)
	ended(t, configuration, "older-success", 8, v1alpha1.BackupSessionSucceeded)
	ended(t, configuration, "last-success", 7, v1alpha1.BackupSessionSucceeded)
	for _, hour := range []int{3, 2, 1, 0} { // the order of their creation counts
		ended(t, configuration, fmt.Sprintf("failed-%d", hour), hour, v1alpha1.BackupSessionFailed)
	}
	names := func(g Gomega) []string {
		var out []string
		for _, s := range runsOf(g, t, configuration.Namespace) {
			out = append(out, s.Name)
		}
		return out
	}
	want := []string{"running", "unrecorded", "last-success", "failed-0", "failed-1"}
	g.Eventually(func(g Gomega) { g.Expect(names(g)).To(ConsistOf(want)) }, testbed.Patience, testbed.Interval).
		Should(Succeed(), "two runs stay, and the runs that must stay")
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(configuration.Status.Sessions[0].LastSuccessTime).
			To(HaveField("Time", BeTemporally("==", now.Add(-7*time.Hour))))
	}, "the last success is in status")

	// Once the history holds the record of a run, its BackupSession can go.
	s := &v1alpha1.BackupSession{ObjectMeta: metav1.ObjectMeta{Namespace: configuration.Namespace, Name: "unrecorded"}}
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
	bed.Edit(t, s, func() { s.Finalizers = nil })
	g.Eventually(func() bool {
		return apierrors.IsNotFound(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), s))
	}, testbed.Patience, testbed.Interval).Should(BeTrue(), "a recorded run is deleted")

	bed.Edit(t, configuration, func() { configuration.Spec.Sessions[0].SessionHistoryLimit = ptr.To[int32](0) })
	g.Eventually(func(g Gomega) { g.Expect(names(g)).To(ConsistOf("running", "last-success")) }, testbed.Patience,
		testbed.Interval).
		Should(Succeed(), "without a history the last success stays")
	bed.NoOp(t, reconciler, &events, configuration)
}
