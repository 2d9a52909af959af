package restoresession

import (
	"path"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// sidecarWorld is a StatefulSet of two pods whose sidecars restore into its volumes.
type sidecarWorld struct {
	*world
	uid types.UID
	// does returns the outcome of the component that a sidecar works on. A nil does reports nothing.
	does func(pod string, c sidecar.Component) *v1alpha1.RestoredComponent
	// given holds the pods that were assigned work, in order.
	given []string
}

const sidecarID = "cairn-sidecar-statefulset-db"

func newSidecarWorld(t *testing.T) *sidecarWorld {
	t.Helper()
	w := &sidecarWorld{world: newWorld(t)}
	w.does = func(_ string, c sidecar.Component) *v1alpha1.RestoredComponent {
		return &v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionSucceeded, ID: c.ID, TargetWritten: true}
	}
	labels := map[string]string{"app": "db"}
	db := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "db", Image: "db"}}},
			},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{*sessiontest.Claim("", "data")},
		},
	}
	sessiontest.Create(t, w.Client, db, sessiontest.Claim(w.Namespace, "data-db-0"),
		sessiontest.Claim(w.Namespace, "data-db-1"),
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: w.Namespace, Name: sidecarID,
				Annotations: map[string]string{v1alpha1.AnnotationSidecarCredentials: "JTI=1"},
			},
			Data: map[string][]byte{
				sidecar.KeyToken: []byte("t"),
				sidecar.KeysOf(w.Namespace, "uploads").Version(): []byte("v"),
			},
		})
	w.uid = db.UID
	w.pod("db-0", "a")
	w.pod("db-1", "b")
	return w
}

// restored creates a RestoreSession of both pods by sidecars.
func (w *sidecarWorld) restored(edit ...func(*v1alpha1.RestoreSession)) {
	w.T.Helper()
	w.restore("restore", append([]func(*v1alpha1.RestoreSession){func(s *v1alpha1.RestoreSession) {
		s.Spec.Target = &v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "db"}
		s.Spec.DataSource.Snapshot, s.Spec.Executor, s.Spec.Confirm = "pods", v1alpha1.ExecutorSidecar, string(w.uid)
	}}, edit...)...)
}

// pod creates a pod of the StatefulSet whose sidecar runs.
func (w *sidecarWorld) pod(name, node string, edit ...func(*corev1.Pod)) {
	w.T.Helper()
	p := sessiontest.Pod(w.Namespace, name, "node-"+node, "data-"+name, map[string]string{"app": "db"})
	always := corev1.ContainerRestartPolicyAlways
	p.Spec.InitContainers = []corev1.Container{{
		Name: sidecar.Container, Image: "mover", RestartPolicy: &always,
		Args: []string{sidecar.Subcommand, "--id", sidecarID},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "data", MountPath: path.Join(sidecar.VolumesDir, "data"), ReadOnly: true},
		},
	}}
	p.Status.InitContainerStatuses = []corev1.ContainerStatus{{
		Name:  sidecar.Container,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
	}}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	for _, e := range edit {
		e(p)
	}
	sessiontest.Create(w.T, w.Client, p)
}

func (w *sidecarWorld) removePod(name string) {
	w.T.Helper()
	w.Expect(w.Client.Delete(w.T.Context(),
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name}},
		client.GracePeriodSeconds(0))).To(Succeed())
}

// sidecars work once on their assignments.
func (w *sidecarWorld) sidecars() {
	w.T.Helper()
	s := w.session("restore")
	if s.Labels[v1alpha1.LabelSidecar] != sidecarID {
		return
	}
	w.Expect(s.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationSidecarCredentials, "JTI=1"))
	before := s.DeepCopy()
	for _, a := range movers.ReadSidecarWork(s).Assignments {
		var p corev1.Pod
		if a.Pod == "" ||
			w.Client.Get(w.T.Context(), client.ObjectKey{Namespace: w.Namespace, Name: a.Pod}, &p) != nil ||
			p.UID != a.PodUID {
			continue
		}
		if name := a.Pod + "/" + string(rune('0'+a.Attempt)); !slices.Contains(w.given, name) {
			w.given = append(w.given, name)
		}
		for _, c := range a.Components {
			if s.Status.Components[c.Name].Phase.Terminal() {
				continue
			}
			if s.Status.Components == nil {
				s.Status.Components = map[string]v1alpha1.RestoredComponent{}
			}
			if a.Stop {
				s.Status.Components[c.Name] = v1alpha1.RestoredComponent{
					Phase:  v1alpha1.RestoreSessionFailed,
					Reason: v1alpha1.ReasonCancelled,
				}
			} else if done := w.does(a.Pod, c); done != nil {
				s.Status.Components[c.Name] = *done
			}
		}
	}
	w.Expect(w.Client.Status().Patch(w.T.Context(), s, client.MergeFrom(before))).To(Succeed())
}

// settleSidecars lets manager and sidecars work until the restore has ended. Time passes.
func (w *sidecarWorld) settleSidecars() *v1alpha1.RestoreSession {
	w.T.Helper()
	for range 60 {
		w.Reconcile("restore")
		w.sidecars()
		if s := w.session("restore"); s.Status.Phase.Terminal() &&
			!slices.Contains(s.Finalizers, v1alpha1.FinalizerCancel) {
			w.Expect(w.Jobs()).To(BeEmpty(), "sidecars need no Jobs")
			w.Expect(s.Labels).NotTo(HaveKey(v1alpha1.LabelSidecar), "nothing is left to do")
			w.Expect(s.Annotations).NotTo(HaveKey(v1alpha1.AnnotationSidecarTask))
			w.Expect(s.Annotations).NotTo(HaveKey(v1alpha1.AnnotationSidecarCredentials))
			return s
		}
		w.Clock.SetTime(w.Clock.Now().Add(20 * time.Second))
	}
	w.T.Fatalf("the restore did not end: %+v", w.session("restore").Status)
	return nil
}

// stamps returns the digests that the claims of the pods carry, and reports whether one of the claims is still
// reserved.
func (w *sidecarWorld) stamps() (digests []string, taken bool) {
	w.T.Helper()
	for _, name := range []string{"data-db-0", "data-db-1"} {
		var claim corev1.PersistentVolumeClaim
		w.Get(name, &claim)
		digests = append(digests, restore.ParseStamp(claim.Annotations[v1alpha1.AnnotationRestored]).Digest)
		taken = taken || claim.Annotations[v1alpha1.AnnotationRestoring] != ""
	}
	return digests, taken
}

func TestSidecarsRestoreAStatefulSet(t *testing.T) {
	t.Parallel()
	w := newSidecarWorld(t)
	w.restored()
	w.Reconcile("restore")
	w.Reconcile("restore")
	s := w.session("restore")
	w.Expect(s.Status.Resolved.Executor).To(Equal(v1alpha1.ExecutorSidecar))
	w.Expect(s.Status.Resolved.Hosts[0].Node).To(BeEmpty())
	w.Expect(s.Status.Resolved.Hosts[0].Volumes[0].Volume).To(Equal("data"))
	work := movers.ReadSidecarWork(s)
	w.Expect(work.Keys).To(Equal(sidecar.KeysOf(w.Namespace, "uploads")))
	var storage v1alpha1.BackupStorage
	w.Expect(w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Storage, Name: sessiontest.StorageName},
		&storage)).
		To(Succeed())
	version, err := access.Digest(t.Context(), w.Client, w.Namespace, &storage,
		v1alpha1.ObjectReference{Name: sessiontest.EncryptionName})
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(work.KeysVersion).To(Equal(version))
	w.Expect(work.Host("pod-1").Pod).To(Equal("db-1"))
	w.Expect(work.Host("pod-1").Within.Duration).To(BeNumerically(">", time.Minute),
		"it ends with the restore even if nobody can stop it")
	full := work.TaskOf(work.Host("pod-0"))
	w.Expect(full.Check()).To(Succeed())
	w.Expect(full.Kind).To(Equal(task.KindRestore))
	w.Expect(full.RestoreSession.Name).To(Equal("restore"))
	w.Expect(full.Restore.Overwrite).To(Equal(v1alpha1.OverwriteAlways))
	w.Expect(full.Restore.Group).To(BeFalse())
	w.Expect(full.Components).To(Equal([]task.Component{{Name: "pod-0", ID: "k-pods-pod-0"}}))
	_, taken := w.stamps()
	w.Expect(taken).To(BeTrue(), "no other restore writes into the claims meanwhile")

	ended := w.settleSidecars()
	w.Expect(ending(ended)).To(Equal("Succeeded/Succeeded"))
	w.Expect(w.given).To(Equal([]string{"db-0/1", "db-1/1"}))
	digests, taken := w.stamps()
	w.Expect(digests).To(Equal([]string{ended.Status.Resolved.SpecDigest, ended.Status.Resolved.SpecDigest}))
	w.Expect(taken).To(BeFalse())
}

func TestASidecarCannotGiveBackOwners(t *testing.T) {
	t.Parallel()
	w := newSidecarWorld(t)
	w.does = func(_ string, c sidecar.Component) *v1alpha1.RestoredComponent {
		return &v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionSucceeded, ID: c.ID, OwnersNotRestored: 1}
	}
	w.restored()
	s := w.settleSidecars()
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(s.Status.Conditions).
		To(ContainElement(And(HaveField("Type", "Partial"),
			HaveField("Message", ContainSubstring("with executor Job and as root")))))
}

func TestTheAddonSaysThatASidecarRestores(t *testing.T) {
	t.Parallel()
	w := newSidecarWorld(t)
	addon := &v1alpha1.Addon{}
	w.Expect(w.Client.Get(t.Context(), client.ObjectKey{Name: "workload-addon"}, addon)).To(Succeed())
	addon.ObjectMeta = metav1.ObjectMeta{Name: w.Namespace}
	for i := range addon.Spec.RestoreTasks {
		addon.Spec.RestoreTasks[i].Executor = v1alpha1.ExecutorSidecar
	}
	sessiontest.Create(t, w.Client, addon)
	w.restored(func(s *v1alpha1.RestoreSession) {
		s.Spec.Executor = ""
		s.Spec.Addon = &v1alpha1.AddonInfo{
			Name: w.Namespace, Tasks: []v1alpha1.TaskReference{{Name: catalog.RestoreTask}},
		}
	})
	w.Expect(ending(w.settleSidecars())).To(Equal("Succeeded/Succeeded"))
	w.Expect(w.given).To(Equal([]string{"db-0/1", "db-1/1"}))
}

func TestWhatASidecarCannotRestore(t *testing.T) {
	t.Parallel()
	addon := func(edit func(*v1alpha1.AddonInfo)) func(*sidecarWorld, *v1alpha1.RestoreSession) {
		return func(_ *sidecarWorld, s *v1alpha1.RestoreSession) {
			s.Spec.Addon = &v1alpha1.AddonInfo{
				Name:  "workload-addon",
				Tasks: []v1alpha1.TaskReference{{Name: catalog.RestoreTask}},
			}
			edit(s.Spec.Addon)
		}
	}
	for name, tt := range map[string]struct {
		edit    func(*sidecarWorld, *v1alpha1.RestoreSession)
		want    string
		message string
	}{
		"volumes in use, without confirm": {
			edit: func(_ *sidecarWorld, s *v1alpha1.RestoreSession) { s.Spec.Confirm = "" },
			want: "Failed/VolumeInUse", message: "spec.confirm: ",
		},
		"a workload with another UID": {
			edit: func(_ *sidecarWorld, s *v1alpha1.RestoreSession) { s.Spec.Confirm = "x" },
			want: "Invalid/ConfirmationWrong", message: "confirm names x",
		},
		"a workload without a sidecar": {
			edit: func(w *sidecarWorld, _ *v1alpha1.RestoreSession) {
				w.Expect(w.Client.Delete(w.T.Context(),
					&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: sidecarID}})).
					To(Succeed())
			},
			want:    "Invalid/SidecarNotPossible",
			message: "has no sidecar: take executor Job, or a BackupConfiguration with executor Sidecar first",
		},
		"a repository that the sidecar has no keys of": {
			edit: func(w *sidecarWorld, _ *v1alpha1.RestoreSession) {
				secret := &corev1.Secret{}
				w.Get(sidecarID, secret)
				bed.Edit(w.T, secret, func() { delete(secret.Data, sidecar.KeysOf(w.Namespace, "uploads").Version()) })
			},
			want: "Invalid/SidecarNotPossible", message: "has no keys of Repository uploads",
		},
		"a claim": {
			edit: func(_ *sidecarWorld, s *v1alpha1.RestoreSession) {
				s.Spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "target"}
				s.Spec.DataSource.Snapshot, s.Spec.Confirm = "first", ""
			},
			want: "Invalid/SidecarNotPossible", message: "a PersistentVolumeClaim has no pods",
		},
		"with a jobTemplate": {
			edit: addon(func(a *v1alpha1.AddonInfo) { a.JobTemplate = &v1alpha1.PodTemplateSpec{} }),
			want: "Invalid/SidecarNotPossible", message: "jobTemplate",
		},
		"with settings of a container that runs already": {
			edit: addon(func(a *v1alpha1.AddonInfo) {
				a.ContainerRuntimeSettings = &v1alpha1.ContainerRuntimeSettings{}
			}),
			want: "Invalid/SidecarNotPossible", message: "containerRuntimeSettings",
		},
		"a task that runs programs of another image": {
			edit: func(_ *sidecarWorld, s *v1alpha1.RestoreSession) {
				s.Spec.Addon = &v1alpha1.AddonInfo{Name: "mariadb-addon", Tasks: []v1alpha1.TaskReference{{
					Name:   "physical-backup-restore",
					Params: &apiextensionsv1.JSON{Raw: []byte(`{"image":"mariadb:11.4"}`)},
				}}}
			},
			want:    "Invalid/SidecarNotPossible",
			message: "runs programs of an image of its own, which a sidecar does not have: take executor Job",
		},
		"a task of more than the mover": {
			edit: func(w *sidecarWorld, s *v1alpha1.RestoreSession) {
				sessiontest.Create(w.T, w.Client, &v1alpha1.Function{
					ObjectMeta: metav1.ObjectMeta{Name: w.Namespace},
					Spec:       v1alpha1.FunctionSpec{Image: "${moverImage}", Args: []string{"backup"}},
				}, &v1alpha1.Addon{
					ObjectMeta: metav1.ObjectMeta{Name: w.Namespace},
					Spec: v1alpha1.AddonSpec{RestoreTasks: []v1alpha1.Task{{
						Name:   catalog.RestoreTask,
						Driver: v1alpha1.DriverKopia, Function: w.Namespace,
					}}},
				})
				s.Spec.Addon = &v1alpha1.AddonInfo{
					Name: w.Namespace, Tasks: []v1alpha1.TaskReference{{Name: catalog.RestoreTask}},
				}
			},
			want: "Invalid/SidecarNotPossible", message: "does more than the mover of a sidecar can",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSidecarWorld(t)
			w.restored(func(s *v1alpha1.RestoreSession) { tt.edit(w, s) })
			s := w.settleSidecars()
			w.Expect(ending(s)).To(Equal(tt.want))
			w.Expect(s.Status.Conditions).To(ContainElement(HaveField("Message", ContainSubstring(tt.message))))
			w.Expect(w.given).To(BeEmpty())
			digests, taken := w.stamps()
			w.Expect(digests).To(Equal([]string{"", ""}))
			w.Expect(taken).To(BeFalse())
		})
	}
}

// lostOnce replaces the pod db-1 while its sidecar writes for the first time.
func (w *sidecarWorld) lostOnce(always bool) {
	does, lost := w.does, false
	w.does = func(pod string, c sidecar.Component) *v1alpha1.RestoredComponent {
		if pod == "db-1" && (!lost || always) {
			lost = true
			w.removePod("db-1")
			w.pod("db-1", "c")
			return &v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionRunning, TargetWritten: true}
		}
		if pod == "db-1" {
			w.Expect(c.Resume).To(BeTrue(), "the previous attempt wrote the existing data")
		}
		return does(pod, c)
	}
}

func TestWhatGoesWrongWithASidecarThatRestores(t *testing.T) {
	t.Parallel()
	running := func(w *sidecarWorld) {
		w.does = func(string, sidecar.Component) *v1alpha1.RestoredComponent {
			return &v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionRunning, TargetWritten: true}
		}
	}
	failing := func(reason string) func(w *sidecarWorld) {
		return func(w *sidecarWorld) {
			does := w.does
			w.does = func(pod string, c sidecar.Component) *v1alpha1.RestoredComponent {
				if pod == "db-1" {
					return &v1alpha1.RestoredComponent{
						Phase: v1alpha1.RestoreSessionFailed, Reason: reason, TargetEmpty: true,
					}
				}
				return does(pod, c)
			}
		}
	}
	both := []string{"db-0/1", "db-1/1"}
	for name, tt := range map[string]struct {
		retry   int32
		disturb func(w *sidecarWorld)
		want    string
		given   []string
	}{
		"it reports a failure": {disturb: failing(v1alpha1.ReasonEmpty), want: "Failed/Empty", given: both},
		"it can't write into an empty volume": {
			disturb: failing(v1alpha1.ReasonTargetUnwritable),
			want:    "Failed/TargetUnwritable", given: both,
		},
		"it reports a failure that is worth a retry": {
			retry: 1, disturb: failing(v1alpha1.ReasonUnreachable),
			want: "Failed/Unreachable", given: append(slices.Clone(both), "db-1/2"),
		},
		"no pod has the ordinal": {
			disturb: func(w *sidecarWorld) { w.removePod("db-1") }, want: "Failed/SidecarNotReady", given: both[:1],
		},
		"its pod has another claim by that name": {
			disturb: func(w *sidecarWorld) {
				w.removePod("db-1")
				w.pod("db-1", "b", func(p *corev1.Pod) { p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName = "target" })
			},
			want: "Failed/SidecarNotReady", given: both[:1],
		},
		"it never begins": {
			disturb: func(w *sidecarWorld) {
				w.does = func(string, sidecar.Component) *v1alpha1.RestoredComponent { return nil }
			},
			want: "Failed/SidecarNotReady", given: both,
		},
		"it begins and does not end": {
			disturb: func(w *sidecarWorld) {
				w.does = func(string, sidecar.Component) *v1alpha1.RestoredComponent {
					w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
					return &v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionRunning, TargetWritten: true}
				}
			},
			want: "Failed/DeadlineExceeded", given: both,
		},
		"its container is started again": {
			disturb: func(w *sidecarWorld) {
				does, times := w.does, 0
				w.does = func(pod string, c sidecar.Component) *v1alpha1.RestoredComponent {
					if times++; times > 2 {
						return does(pod, c)
					}
					p := &corev1.Pod{}
					w.Get(pod, p)
					p.Status.InitContainerStatuses[0].RestartCount++
					w.Expect(w.Client.Status().Update(w.T.Context(), p)).To(Succeed())
					return &v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionRunning, TargetWritten: true}
				}
			},
			want: "Succeeded/Succeeded", given: both,
		},
		"its pod is replaced while it works": {
			disturb: func(w *sidecarWorld) { w.lostOnce(false) }, want: "Succeeded/Succeeded",
			given: append(slices.Clone(both), "db-1/2"),
		},
		"its pods are replaced again and again": {
			disturb: func(w *sidecarWorld) { w.lostOnce(true) }, want: "Failed/PodDeleted",
			given: append(slices.Clone(both), "db-1/2"),
		},
		"its pods are replaced again and again, and it is retried": {
			retry: 1, disturb: func(w *sidecarWorld) { w.lostOnce(true) }, want: "Failed/PodDeleted",
			given: append(slices.Clone(both), "db-1/2", "db-1/3"),
		},
		"the storage no longer allows the namespace": {
			disturb: func(w *sidecarWorld) {
				w.Killer = &sessiontest.Killer{At: 3} // right after the restore was frozen
				w.Reconcile("restore")
				w.Expect(w.session("restore").Status.Resolved).NotTo(BeNil())
				w.Expect(w.Client.Delete(w.T.Context(),
					&v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{
						Namespace: w.Storage,
						Name:      sessiontest.StorageName,
					}})).To(Succeed())
			},
			want: "Failed/StorageNotFound",
		},
		"the restore is deleted": {
			disturb: func(w *sidecarWorld) {
				running(w)
				w.Reconcile("restore")
				w.Reconcile("restore")
				w.sidecars()
				w.Expect(w.Client.Delete(w.T.Context(), w.session("restore"))).To(Succeed())
			},
			want: "Failed/Cancelled", given: both,
		},
		"the restore is deleted before a pod is found": {
			disturb: func(w *sidecarWorld) {
				w.removePod("db-0")
				w.removePod("db-1")
				w.Reconcile("restore")
				w.Reconcile("restore")
				w.Expect(w.Client.Delete(w.T.Context(), w.session("restore"))).To(Succeed())
			},
			want: "Failed/Cancelled",
		},
		"somebody deletes its assignments": {
			disturb: func(w *sidecarWorld) {
				running(w)
				w.Reconcile("restore")
				w.Reconcile("restore")
				w.sidecars()
				s := w.session("restore")
				bed.Edit(w.T, s, func() { delete(s.Annotations, v1alpha1.AnnotationSidecarTask) })
			},
			want: "Failed/JobVanished", given: both,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSidecarWorld(t)
			w.restored(func(s *v1alpha1.RestoreSession) {
				if tt.retry > 0 {
					s.Spec.RetryConfig = &v1alpha1.RetryConfig{
						MaxRetry: tt.retry, Delay: metav1.Duration{Duration: time.Second},
					}
				}
			})
			tt.disturb(w)
			w.Expect(ending(w.settleSidecars())).To(Equal(tt.want))
			w.Expect(w.given).To(Equal(tt.given))
			digests, taken := w.stamps()
			w.Expect(digests[1] != "").To(Equal(tt.want == "Succeeded/Succeeded"),
				"only a restored volume carries a stamp")
			w.Expect(taken).To(BeFalse(), "other restores can write to the volumes again")
			// After a deletion, the work is gone that could say so.
			begun := slices.Contains(tt.given, "db-1/1") || tt.want == "Failed/Cancelled"
			w.Expect(w.halfRestored("data-db-1") != "").To(Equal(begun && digests[1] == ""))
		})
	}
}

// A restore ends in the same way, and assigns nothing twice, if the manager is killed at any of its writes.
func TestKilledWhileSidecarsRestore(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, killer *sessiontest.Killer) *sidecarWorld {
		w := newSidecarWorld(t)
		w.lostOnce(false)
		w.Killer = killer
		w.restored()
		return w
	}
	undisturbed := &sessiontest.Killer{}
	w := start(t, undisturbed)
	want := ending(w.settleSidecars())
	w.Expect(want).To(Equal("Succeeded/Succeeded"))
	given := w.given
	for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, killer)
			w.Expect(ending(w.settleSidecars())).To(Equal(want))
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(w.given).To(Equal(given))
			digests, taken := w.stamps()
			w.Expect(digests[1]).NotTo(BeEmpty())
			w.Expect(taken).To(BeFalse())
		})
	}
}
