package mover_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/mover/trigger"
	"github.com/cairn-backup/cairn/internal/repository/kopia/cheapkeys"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
)

var bed testbed.Bed

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	cheapkeys.Use(m)
	if os.Getenv(rerun) != "" {
		return m.Run() // one test that needs no API server
	}
	return bed.Run(m, testbed.WithComputingTests(), testbed.WithManifests(
		"config/admission/mover_policy.yaml", "config/admission/trigger_policy.yaml",
		"config/admission/snapshotter_policy.yaml",
		"config/rbac/mover_role.yaml", "config/rbac/snapshotter_role.yaml", "config/rbac/trigger_role.yaml",
	))
}

func namespace(t testing.TB) string {
	t.Helper()
	g := NewWithT(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	g.Expect(bed.Client.Create(t.Context(), ns)).To(Succeed())
	g.Expect(access.EnsureMover(t.Context(), bed.Client, ns.Name)).To(Succeed())
	g.Expect(access.EnsureTrigger(t.Context(), bed.Client, ns.Name)).To(Succeed())
	g.Expect(access.EnsureSnapshotter(t.Context(), bed.Client, ns.Name)).To(Succeed())
	for account, right := range map[string]authorizationv1.ResourceAttributes{
		v1alpha1.MoverServiceAccount:       {Verb: "patch", Resource: "snapshots", Subresource: "status"},
		v1alpha1.TriggerServiceAccount:     {Verb: "create", Resource: "backupsessions"},
		v1alpha1.SnapshotterServiceAccount: {Verb: "patch", Resource: "snapshots", Subresource: "status"},
	} {
		right.Namespace, right.Group = ns.Name, v1alpha1.Group
		g.Eventually(func() bool {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: "system:serviceaccount:" + ns.Name + ":" + account, ResourceAttributes: &right,
			}}
			g.Expect(bed.Client.Create(t.Context(), review)).To(Succeed())
			return review.Status.Allowed
		}).WithTimeout(testbed.Patience).
			Should(BeTrue(), "a RoleBinding is in force a moment after it was created: %s", account)
	}
	return ns.Name
}

// as connects with a token of the account that is bound to a pod of that name. Without a name the token is bound to
// none.
func as(t testing.TB, namespace, account, podName string) dynamic.Interface {
	t.Helper()
	g := NewWithT(t)
	request := &authenticationv1.TokenRequest{}
	if podName != "" {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: podName},
			Spec: corev1.PodSpec{
				ServiceAccountName: account,
				Containers:         []corev1.Container{{Name: "mover", Image: "none"}},
			},
		}
		g.Expect(bed.Client.Create(t.Context(), pod)).To(Succeed())
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{
			Kind: "Pod", APIVersion: "v1", Name: pod.Name,
			UID: pod.UID,
		}
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	g.Expect(bed.Client.SubResource("token").Create(t.Context(), sa, request)).To(Succeed())
	own := rest.AnonymousClientConfig(bed.Config)
	own.BearerToken = request.Status.Token
	c, err := dynamic.NewForConfig(own)
	g.Expect(err).NotTo(HaveOccurred())
	return c
}

func snapshot(t testing.TB, namespace, name, movers string) *v1alpha1.Snapshot {
	t.Helper()
	s := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Annotations: map[string]string{v1alpha1.AnnotationMovers: movers},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "01", Repository: "r", Session: "s", BackupSession: "b", Version: "v1",
			AppRef: v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data"},
		},
	}
	NewWithT(t).Expect(bed.Client.Create(t.Context(), s)).To(Succeed())
	return s
}

// ref names an object to a mover.
func ref(o client.Object) task.Object { return task.Object{Name: o.GetName(), UID: o.GetUID()} }

func TestAMoverReportsItsOwnComponentsOnly(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	mine := snapshot(t, ns, "mine", "data=backup-a,logs=backup-a,other=backup-a-b")
	theirs := snapshot(t, ns, "theirs", "data=backup-x")
	done := v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "k1", SizeBytes: 5 << 30}

	own := report.APIStatus{Client: as(t, ns, v1alpha1.MoverServiceAccount, "backup-a-vwxyz"), Namespace: ns}
	g.Eventually(func() error {
		return own.Snapshot(t.Context(), ref(theirs), "data", done)
	}).WithTimeout(testbed.Patience).Should(MatchError(ContainSubstring("is not a mover of theirs")),
		"the policy is in force a moment after it was created")

	g.Expect(own.Snapshot(t.Context(), ref(mine), "data",
		v1alpha1.Component{Phase: v1alpha1.SnapshotRunning, Progress: &v1alpha1.ComponentProgress{FilesDone: 1}})).
		To(Succeed())
	g.Expect(own.Snapshot(t.Context(), ref(mine), "data", done)).To(Succeed())
	g.Expect(own.Snapshot(t.Context(), ref(mine), "logs", done)).To(Succeed())
	g.Expect(own.Snapshot(t.Context(), ref(mine), "other", done)).
		To(MatchError(ContainSubstring("can change only its own components: data, logs")))

	other := report.APIStatus{Client: as(t, ns, v1alpha1.MoverServiceAccount, "backup-a-b-vwxyz"), Namespace: ns}
	forged := v1alpha1.Component{Phase: v1alpha1.SnapshotFailed}
	g.Expect(other.Snapshot(t.Context(), ref(mine), "data", forged)).
		To(MatchError(report.ErrFenced), "a Job's name is no prefix of another's pod")
	g.Expect(other.Snapshot(t.Context(), ref(mine), "other", done)).To(Succeed())

	unbound := report.APIStatus{Client: as(t, ns, v1alpha1.MoverServiceAccount, ""), Namespace: ns}
	g.Expect(unbound.Snapshot(t.Context(), ref(mine), "data", done)).
		To(MatchError(ContainSubstring("must be bound to its pod")))

	var got v1alpha1.Snapshot
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(mine), &got)).To(Succeed())
	g.Expect(got.Status.Components).To(Equal(map[string]v1alpha1.Component{"data": done, "logs": done, "other": done}),
		"what one component's report leaves out takes nothing from another's, and progress goes when it is done")
}

func TestAMoverChangesNothingElse(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	s := snapshot(t, ns, "mine", "data=backup-a")
	c := as(t, ns, v1alpha1.MoverServiceAccount, "backup-a-vwxyz")
	snapshots := c.Resource(v1alpha1.GroupVersion.WithResource("snapshots")).Namespace(ns)
	patch := func(body string, subresources ...string) error {
		_, err := snapshots.Patch(t.Context(), s.Name, "application/merge-patch+json", []byte(body),
			metav1.PatchOptions{},
			subresources...)
		return err
	}
	tries := 0 // each asks for a change: before the policy is in force they are let through
	g.Eventually(func() error {
		tries++
		return patch(fmt.Sprintf(`{"status":{"size":"%d B"}}`, tries), "status")
	}).WithTimeout(testbed.Patience).
		Should(MatchError(ContainSubstring("can change only its own components in status")))
	for _, body := range []string{
		`{"status":{"phase":"Succeeded"}}`,
		`{"status":{"conditions":[{"type":"Ready","status":"True","reason":"R","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`,
		`{"status":{"totalComponents":9}}`, `{"status":{"observedGeneration":5}}`,
		`{"status":{"components":{"x":{}}}}`,
	} {
		g.Expect(patch(body, "status")).To(MatchError(ContainSubstring("own components")), body)
	}
	g.Expect(patch(`{"status":{"components":{"data":{"phase":"Running"}}}}`, "status")).To(Succeed())
	g.Expect(patch(`{"status":{"phase":null,"components":{"data":{"phase":"Failed"},"x":null}}}`, "status")).
		To(Succeed())
	g.Expect(patch(`{"status":{"components":null}}`, "status")).NotTo(Succeed(), "also its own component stays")
	g.Expect(patch(`{"status":null}`, "status")).NotTo(Succeed())
	g.Expect(patch(`{"metadata":{"annotations":{"` + v1alpha1.AnnotationMovers + `":"x=backup-a"}}}`)).
		To(MatchError(ContainSubstring("cannot patch resource")))
	_ = patch(`{"metadata":{"annotations":{"`+v1alpha1.AnnotationMovers+`":"x=backup-a"}}}`, "status")
	var got v1alpha1.Snapshot
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), &got)).To(Succeed())
	g.Expect(got.Annotations).To(Equal(s.Annotations))

	_, err := c.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(ns).
		List(t.Context(), metav1.ListOptions{})
	g.Expect(err).To(MatchError(ContainSubstring("cannot list resource \"secrets\"")))
	_, err = c.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(ns).
		Get(t.Context(), "any", metav1.GetOptions{})
	g.Expect(err).To(MatchError(ContainSubstring("cannot get resource \"secrets\"")))
	pod := &unstructured.Unstructured{
		Object: map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p"}},
	}
	_, err = c.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(ns).
		Create(t.Context(), pod, metav1.CreateOptions{})
	g.Expect(err).To(MatchError(ContainSubstring("cannot create resource \"pods\"")))
}

// Recorded properties of a VolumeSnapshot count as seen by the manager.
func TestAMoverDoesNotSayWhatBecameOfAVolumeSnapshot(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	s := snapshot(t, ns, "mine", "data=backup-a,logs=backup-b")
	api := as(t, ns, v1alpha1.SnapshotterServiceAccount, "backup-a-vwxyz")
	snapshots := api.Resource(v1alpha1.GroupVersion.WithResource("snapshots")).Namespace(ns)
	tries := 0
	forge := func(stats string) error {
		tries++
		body := fmt.Sprintf(
			`{"status":{"components":{"data":{"phase":"Succeeded","id":"%d","volumeSnapshotterStats":%s}}}}`,
			tries, stats)
		_, err := snapshots.Patch(t.Context(), s.Name, "application/merge-patch+json", []byte(body),
			metav1.PatchOptions{},
			"status")
		return err
	}
	const forged = `[{"pvcName":"data","volumeSnapshotName":"data-1"}]`
	g.Eventually(func() error { return forge(forged) }).WithTimeout(testbed.Patience).
		Should(MatchError(ContainSubstring("only the manager can")),
			"the policy is in force a moment after it was created")
	g.Expect(forge(`[]`)).To(Succeed(), "nothing is said")

	seen := func(status *v1alpha1.SnapshotStatus) {
		c := status.Components["data"]
		c.VolumeSnapshotterStats = []v1alpha1.VolumeSnapshotterStats{{PVCName: "data", VolumeSnapshotName: "data-0"}}
		status.Components["data"] = c
	}
	var live v1alpha1.Snapshot
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), &live)).To(Succeed())
	seen(&live.Status)
	g.Expect(bed.Client.Status().Update(t.Context(), &live)).To(Succeed())
	g.Expect(forge(forged)).To(MatchError(ContainSubstring("only the manager can")))
	mine := report.APIStatus{Client: api, Namespace: ns}
	g.Expect(mine.Snapshot(t.Context(), ref(s), "data",
		v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "u"})).
		To(Succeed(), "what the manager wrote stays")
	theirs := report.APIStatus{Client: as(t, ns, v1alpha1.SnapshotterServiceAccount, "backup-b-vwxyz"), Namespace: ns}
	g.Expect(theirs.Snapshot(t.Context(), ref(s), "logs", v1alpha1.Component{Phase: v1alpha1.SnapshotRunning})).
		To(Succeed(), "a component beside it")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), &live)).To(Succeed())
	g.Expect(live.Status.Components["data"].VolumeSnapshotterStats).To(HaveLen(1))
}

// A thousand components with ten patterns each would outgrow their object.
func TestOfManyComponentsNoneTellsItsPatterns(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	s := snapshot(t, ns, "s", "data=backup-a")
	mover := report.APIStatus{Client: as(t, ns, v1alpha1.MoverServiceAccount, "backup-a-vwxyz"), Namespace: ns}
	ended := v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "u", UnmatchedPatterns: []string{"*.log"}}
	tells := func() []string {
		g.Expect(mover.Snapshot(t.Context(), ref(s), "data", ended)).To(Succeed())
		g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(s), s)).To(Succeed())
		return s.Status.Components["data"].UnmatchedPatterns
	}
	g.Expect(tells()).To(Equal([]string{"*.log"}))
	for i := range 100 {
		s.Status.Components[fmt.Sprintf("node-%d", i)] = v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
	}
	g.Expect(bed.Client.Status().Update(t.Context(), s)).To(Succeed())
	g.Expect(tells()).To(BeEmpty())
}

// restored creates a RestoreSession, and returns it with the status that its mover writes.
func restored(t *testing.T, ns string) (*v1alpha1.RestoreSession, report.APIStatus) {
	t.Helper()
	r := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: "r",
			Annotations: map[string]string{v1alpha1.AnnotationMovers: "data=restore-a"},
		},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &v1alpha1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "data"},
			DataSource: &v1alpha1.RestoreDataSource{Snapshot: "s"},
		},
	}
	NewWithT(t).Expect(bed.Client.Create(t.Context(), r)).To(Succeed())
	return r, report.APIStatus{Client: as(t, ns, v1alpha1.MoverServiceAccount, "restore-a-vwxyz"), Namespace: ns}
}

func TestAMoverOfARestoreReportsToItsRestoreSession(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	r, own := restored(t, ns)
	other := report.APIStatus{Client: as(t, ns, v1alpha1.MoverServiceAccount, "restore-b-vwxyz"), Namespace: ns}
	done := v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionSucceeded, Files: 3}
	g.Eventually(func() error { return other.Restore(t.Context(), ref(r), "data", done) }).
		WithTimeout(testbed.Patience).
		Should(MatchError(ContainSubstring("is not a mover of r")))
	g.Expect(own.Restore(t.Context(), ref(r), "data", done)).To(Succeed())
}

// The first mover of an attempt was killed in the middle, and the next one could not begin.
func TestAMoverKnowsOfAnotherOneOfItsAttempt(t *testing.T) {
	began, later := metav1.NewTime(time.Unix(100, 0)), metav1.NewTime(time.Unix(200, 0))
	running, failed := v1alpha1.RestoreSessionRunning, v1alpha1.RestoreSessionFailed
	untouched := v1alpha1.RestoredComponent{Phase: failed, StartTime: &later, TargetUntouched: true}
	for name, tt := range map[string]struct {
		reports []v1alpha1.RestoredComponent
		want    bool
	}{
		"it is the only one":    {[]v1alpha1.RestoredComponent{{Phase: running, StartTime: &later}, untouched}, true},
		"it began with nothing": {[]v1alpha1.RestoredComponent{untouched}, true},
		"another one began":     {[]v1alpha1.RestoredComponent{{Phase: running, StartTime: &began}, untouched}, false},
		"another one began, and it did, too": {[]v1alpha1.RestoredComponent{
			{Phase: running, StartTime: &began}, {Phase: running, StartTime: &later}, untouched,
		}, false},
		"another one ended": {[]v1alpha1.RestoredComponent{{Phase: failed, StartTime: &began}, untouched}, false},
		"another one ended, and touched nothing": {[]v1alpha1.RestoredComponent{
			{Phase: failed, StartTime: &began, TargetUntouched: true}, untouched,
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ns := namespace(t)
			r, own := restored(t, ns)
			for _, c := range tt.reports {
				g.Eventually(func() error { return own.Restore(t.Context(), ref(r), "data", c) }).
					WithTimeout(testbed.Patience).Should(Succeed())
			}
			g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(r), r)).To(Succeed())
			g.Expect(r.Status.Components["data"].Phase).To(Equal(failed))
			g.Expect(r.Status.Components["data"].TargetUntouched).To(Equal(tt.want))
		})
	}
}

func TestAMoverOfAnotherNamespaceIsRefusedEvenWithTheRight(t *testing.T) {
	g := NewWithT(t)
	home, away := namespace(t), namespace(t)
	s := snapshot(t, home, "s", "data=backup-a")
	g.Expect(bed.Client.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "too-much"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: v1alpha1.MoverServiceAccount},
		Subjects: []rbacv1.Subject{
			{Kind: rbacv1.ServiceAccountKind, Name: v1alpha1.MoverServiceAccount, Namespace: away},
		},
	})).To(Succeed())
	foreign := report.APIStatus{Client: as(t, away, v1alpha1.MoverServiceAccount, "backup-a-vwxyz"), Namespace: home}
	g.Eventually(func() error {
		return foreign.Snapshot(t.Context(), ref(s), "data", v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded})
	}).WithTimeout(testbed.Patience).Should(MatchError(ContainSubstring("only to objects of its own namespace")))
}

func TestATriggerCreatesTheBackupSessionOfItsSlotOnce(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	c := as(t, ns, v1alpha1.TriggerServiceAccount, "trigger-web-hourly-29588888-vwxyz")
	run := trigger.Trigger{
		Client: c, Namespace: ns, Job: "trigger-web-hourly-29588888", CronJob: "trigger-web-hourly",
		InvokerKind: "BackupConfiguration", Invoker: "web", Session: "hourly", Now: time.Now,
	}
	name, err := run.Run(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(name).To(Equal("web-hourly-1775333280"))
	again, err := run.Run(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).To(Equal(name), "a second pod of the slot finds, not duplicates")

	var got v1alpha1.BackupSession
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &got)).To(Succeed())
	g.Expect(got.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationCronJob, "trigger-web-hourly"))
	g.Expect(got.Spec.ScheduledTime.Unix()).To(Equal(int64(29588888 * 60)))
	g.Expect(got.Labels).To(HaveKeyWithValue(v1alpha1.LabelInvokerName, "web"))

	batch := run
	batch.InvokerKind = "BackupBatch"
	qualified, err := batch.Run(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(qualified).NotTo(Equal(name), "another invoker of the name takes the qualified name")
	g.Expect(qualified).To(HavePrefix("web-hourly-"))

	hand := run
	hand.Job, hand.Now = "", func() time.Time { return time.Unix(1800000000, 5) }
	name, err = hand.Run(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(name).To(Equal("web-hourly-1800000000"))

	_, err = trigger.Trigger{
		Client: c, Namespace: ns, InvokerKind: "Pod", Invoker: "a", Session: "b", CronJob: "c",
	}.Run(
		t.Context())
	g.Expect(err).To(HaveOccurred())
}

// busy answers the first requests as an API server does that starts.
type busy struct {
	http.RoundTripper
	left atomic.Int64
}

func (b *busy) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.left.Add(-1) < 0 {
		return b.RoundTripper.RoundTrip(r)
	}
	return &http.Response{
		StatusCode: http.StatusServiceUnavailable, Body: http.NoBody, Header: http.Header{}, Request: r,
	}, nil
}

func TestATriggerWaitsForAnAPIServerThatStarts(t *testing.T) {
	g := NewWithT(t)
	ns := namespace(t)
	slow := &busy{}
	slow.left.Store(30)
	config := rest.CopyConfig(bed.Config)
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		slow.RoundTripper = rt
		return slow
	})
	c, err := dynamic.NewForConfig(config)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = trigger.Trigger{
		Client: c, Namespace: ns, Job: "trigger-web-hourly-29588888", CronJob: "trigger-web-hourly",
		InvokerKind: "BackupConfiguration", Invoker: "web", Session: "hourly", Now: time.Now,
		Backoff: wait.Backoff{Duration: time.Millisecond, Factor: 2, Cap: 4 * time.Millisecond, Steps: 20},
	}.Run(t.Context())
	g.Expect(err).NotTo(HaveOccurred(), "the delay has its cap after three tries")
}

func TestATriggerPresetsNothingAndSpeaksForItsOwnCronJob(t *testing.T) {
	ns := namespace(t)
	long := strings.Repeat("c", 52)
	clients := map[string]dynamic.Interface{}
	for _, pod := range []string{
		"trigger-web-hourly-29588888-vwxyz", "trigger-web-29588888-vwxyz",
		"trigger-web-hourly-nodigits-vwxyz", "trigger-web-hourly-29588888", (long + "-29588888")[:58] + "vwxyz", "",
	} {
		clients[pod] = as(t, ns, v1alpha1.TriggerServiceAccount, pod)
	}
	session := func(change func(*unstructured.Unstructured)) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": "BackupSession",
			"metadata": map[string]any{"generateName": "x-"},
			"spec": map[string]any{
				"session": "hourly",
				"invoker": map[string]any{"apiGroup": v1alpha1.Group, "kind": "BackupConfiguration", "name": "web"},
			},
		}}
		u.SetAnnotations(map[string]string{v1alpha1.AnnotationCronJob: "trigger-web-hourly"})
		if change != nil {
			change(u)
		}
		return u
	}
	for name, tc := range map[string]struct {
		pod     string
		change  func(*unstructured.Unstructured)
		message string
	}{
		"its own CronJob": {pod: "trigger-web-hourly-29588888-vwxyz"},
		"its own CronJob of a long name": {
			pod: (long + "-29588888")[:58] + "vwxyz",
			change: func(u *unstructured.Unstructured) {
				u.SetAnnotations(map[string]string{v1alpha1.AnnotationCronJob: long})
			},
		},
		"another CronJob": {pod: "trigger-web-29588888-vwxyz", message: "is not a pod of CronJob"},
		"a CronJob that its own begins with": {
			pod: "trigger-web-hourly-29588888-vwxyz",
			change: func(u *unstructured.Unstructured) {
				u.SetAnnotations(map[string]string{v1alpha1.AnnotationCronJob: "trigger-web"})
			}, message: "is not a pod of CronJob",
		},
		"a Job without a slot":   {pod: "trigger-web-hourly-nodigits-vwxyz", message: "is not a pod of CronJob"},
		"a pod without a suffix": {pod: "trigger-web-hourly-29588888", message: "is not a pod of CronJob"},
		"no pod":                 {pod: "", message: "must be bound to its pod"},
		"no CronJob": {
			pod: "trigger-web-hourly-29588888-vwxyz", change: func(u *unstructured.Unstructured) {
				u.SetAnnotations(nil)
			},
			message: "must name the CronJob",
		},
		"a finalizer": {
			pod: "trigger-web-hourly-29588888-vwxyz", change: func(u *unstructured.Unstructured) {
				u.SetFinalizers([]string{v1alpha1.FinalizerRecord})
			},
			message: "must preset no finalizers",
		},
		"an owner": {pod: "trigger-web-hourly-29588888-vwxyz", change: func(u *unstructured.Unstructured) {
			u.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "c", UID: "u"}})
		}, message: "must preset no finalizers"},
		"the record annotation": {pod: "trigger-web-hourly-29588888-vwxyz", change: func(u *unstructured.Unstructured) {
			u.SetAnnotations(
				map[string]string{v1alpha1.AnnotationCronJob: "trigger-web-hourly", v1alpha1.AnnotationRecord: "c"})
		}, message: "must preset no finalizers"},
		"a loss": {pod: "trigger-web-hourly-29588888-vwxyz", change: func(u *unstructured.Unstructured) {
			u.Object["spec"].(map[string]any)["acceptShrink"] = true
		}, message: "can't accept a loss"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			create := func() error {
				_, err := clients[tc.pod].Resource(v1alpha1.GroupVersion.WithResource("backupsessions")).Namespace(ns).
					Create(t.Context(), session(tc.change), metav1.CreateOptions{})
				return err
			}
			if tc.message == "" {
				g.Expect(create()).To(Succeed())
				return
			}
			g.Eventually(create).WithTimeout(testbed.Patience).
				Should(MatchError(ContainSubstring(tc.message)), "the policy is in force a moment after it was created")
		})
	}
}
