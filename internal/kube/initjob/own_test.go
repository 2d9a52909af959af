package initjob

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func jobOf(name, uid, apiVersion, kind string) *batchv1.Job {
	yes := true
	return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name, UID: types.UID(uid), OwnerReferences: []metav1.OwnerReference{
			{APIVersion: apiVersion, Kind: kind, Name: "web", UID: "uid-web", Controller: &yes},
		},
	}}
}

func podOfJob(name, uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "pod", OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(jobOf(name, uid, "", ""), batchv1.SchemeGroupVersion.WithKind("Job")),
		},
	}}
}

// Whoever can make a pod can give it the labels, the task and the owner of an init pod. It holds nobody up for ever.
func TestOnlyPodsOfInitJobsHoldAPlace(t *testing.T) {
	t.Parallel()
	ours := v1alpha1.GroupVersion.String()
	old := jobOf("old", "uid-old", ours, v1alpha1.RepositoryKind)
	keeper := jobOf("keeper", "uid-keeper", ours, v1alpha1.BackupStorageKind)
	foreign := jobOf("foreign", "uid-foreign", "example.com/v1", v1alpha1.RepositoryKind)
	reader := fake.NewClientBuilder().WithObjects(old, keeper, foreign).Build()
	stray := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "stray"}}
	byOther := podOfJob("old", "uid-old")
	byOther.OwnerReferences[0].Kind = "ReplicaSet"
	for name, tt := range map[string]struct {
		pod *corev1.Pod
		// starting and later say whether it counts just after the start of the manager, and half an hour later.
		starting, later bool
	}{
		"of a Job that this manager made here":      {podOfJob("here", "uid-here"), true, true},
		"of a Job that this manager made elsewhere": {podOfJob("there", "uid-there"), false, false},
		"of a Job of the manager before":            {podOfJob("old", "uid-old"), true, false},
		"of a Job that is gone":                     {podOfJob("gone", "uid-gone"), true, false},
		"of a Job whose name another has":           {podOfJob("old", "uid-before"), true, false},
		"of a Job of no Repository":                 {podOfJob("keeper", "uid-keeper"), false, false},
		"of a Job of another program":               {podOfJob("foreign", "uid-foreign"), false, false},
		"of no Job":                                 {stray, false, false},
		"of something else":                         {byOther, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			clock := clocktesting.NewFakePassiveClock(time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC))
			r := Runner{Reader: reader, Clock: clock, Queue: &Queue{Clock: clock}}
			req := Request{Place: "here"}
			for _, counts := range []bool{tt.starting, tt.later} {
				for _, at := range []string{"here", "there"} {
					r.own().saw(types.UID("uid-"+at), at, clock.Now())
				}
				g.Expect(r.genuine(t.Context(), req, tt.pod)).To(Equal(counts))
				clock.SetTime(clock.Now().Add(longest))
			}
		})
	}
}

// A Job with our label takes a turn from others only if it is ours.
func TestAForgedJobTakesNoTurn(t *testing.T) {
	t.Parallel()
	b := newTurnBed(t)
	b.Expect(b.next()).To(BeEmpty())
	b.clock.SetTime(b.clock.Now().Add(longest))
	genuine := b.runs("genuine")
	b.turns.own.saw("uid-genuine", here, b.clock.Now())
	for _, name := range []string{"x", "y", "z"} {
		forged := b.runs(name)
		forged.CreationTimestamp = metav1.NewTime(b.clock.Now())
		b.Expect(b.cache.Update(t.Context(), forged)).To(Succeed())
	}
	genuine.UID, genuine.CreationTimestamp = "uid-genuine", metav1.NewTime(b.clock.Now())
	b.Expect(b.cache.Update(t.Context(), genuine)).To(Succeed())
	b.Expect(b.asks("a", 1)).To(BeTrue())
	b.Expect(b.asks("b", 2)).To(BeFalse(), "a genuine one and a are at work")
}

func TestOwnJobsAreForgotten(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var o ownJobs
	at := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for i := range 100 {
		o.saw(types.UID(rune('a'+i)), "here", at.Add(time.Duration(i)*longest))
	}
	g.Expect(len(o.jobs)).To(BeNumerically("<=", 3))
}
