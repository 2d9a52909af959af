package backupsession

import (
	"path"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/access"
	"github.com/cairn-backup/cairn/internal/kube/movers"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// sidecarWorld is a StatefulSet of two pods with sidecars, and a run of its policy.
type sidecarWorld struct {
	*world
	// does returns the outcome of the component that a sidecar works on. A nil does reports nothing.
	does func(pod string, c sidecar.Component) *v1alpha1.Component
	// given holds the pods that were assigned work, in order.
	given []string
}

const sidecarID = "cairn-sidecar-statefulset-db"

func newSidecarWorld(t *testing.T) *sidecarWorld {
	t.Helper()
	w := &sidecarWorld{world: newWorld(t)}
	w.does = func(_ string, c sidecar.Component) *v1alpha1.Component {
		return &v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded, ID: "k" + c.Name, SizeBytes: 2 << 20}
	}
	db := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "db"}
	w.workloads()
	w.Expect(w.Client.Delete(t.Context(), sessiontest.Pod(w.Namespace, "db-0", "", "", nil),
		client.GracePeriodSeconds(0))).To(Succeed())
	sessiontest.Create(t, w.Client, sessiontest.Repository(w.Namespace, "db", w.Storage, db),
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: w.Namespace, Name: sidecarID,
				Annotations: map[string]string{v1alpha1.AnnotationSidecarCredentials: "JTI=1"},
			},
			Data: map[string][]byte{sidecar.KeyToken: []byte("t")},
		},
		&v1alpha1.BackupConfiguration{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "db"},
			Spec: v1alpha1.BackupConfigurationSpec{
				Target: &db, Backends: []v1alpha1.BackendReference{w.backend()},
				Sessions: []v1alpha1.BackupConfigurationSession{{
					SessionConfig: v1alpha1.SessionConfig{
						Name: "nightly", BackupTimeout: &metav1.Duration{Duration: time.Hour},
					},
					Addon: addon("workload-addon"), Executor: v1alpha1.ExecutorSidecar,
					Repositories: []v1alpha1.RepositoryInfo{repository("db")},
				}},
			},
		})
	w.pod("db-0", "a")
	w.pod("db-1", "b")
	w.run(v1alpha1.BackupConfigurationKind, "db", "run")
	return w
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

// killed reports that the sidecar of a pod was killed this many times and started again.
func (w *sidecarWorld) killed(pod string, times int32) {
	w.T.Helper()
	var p corev1.Pod
	w.Get(pod, &p)
	p.Status.InitContainerStatuses[0].RestartCount = times
	p.Status.InitContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
		Reason: "OOMKilled",
	}
	w.Expect(w.Client.Status().Update(w.T.Context(), &p)).To(Succeed())
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
	list := w.snapshots()
	for i := range list {
		s := &list[i]
		if s.Labels[v1alpha1.LabelSidecar] != sidecarID {
			continue
		}
		work := movers.ReadSidecarWork(s)
		before := s.DeepCopy()
		for _, a := range work.Assignments {
			var p corev1.Pod
			if a.Pod == "" ||
				w.Client.Get(w.T.Context(), client.ObjectKey{Namespace: w.Namespace, Name: a.Pod}, &p) != nil ||
				p.UID != a.PodUID {
				continue
			}
			w.Expect(s.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationSidecarCredentials, "JTI=1"))
			if name := a.Pod + "/" + string(rune('0'+a.Attempt)); !slices.Contains(w.given, name) {
				w.given = append(w.given, name)
			}
			w.work(s, a)
		}
		w.Expect(w.Client.Status().Patch(w.T.Context(), s, client.MergeFrom(before))).To(Succeed())
	}
}

func (w *sidecarWorld) work(s *v1alpha1.Snapshot, a sidecar.Assignment) {
	for _, c := range a.Components {
		if s.Status.Components[c.Name].Phase.Terminal() {
			continue
		}
		if s.Status.Components == nil {
			s.Status.Components = map[string]v1alpha1.Component{}
		}
		if a.Stop {
			s.Status.Components[c.Name] = v1alpha1.Component{
				Phase: v1alpha1.SnapshotFailed, Reason: v1alpha1.ReasonCancelled,
			}
		} else if done := w.does(a.Pod, c); done != nil {
			s.Status.Components[c.Name] = *done
		}
	}
}

// settleSidecars lets manager and sidecars work until the run has ended. Time passes.
func (w *sidecarWorld) settleSidecars() *v1alpha1.BackupSession {
	w.T.Helper()
	for range 60 {
		w.Reconcile("run")
		w.sidecars()
		if s := w.session("run"); s.Status.Phase.Terminal() &&
			!slices.Contains(s.Finalizers, v1alpha1.FinalizerCancel) {
			w.Expect(w.Jobs()).To(BeEmpty(), "sidecars need no Jobs")
			for _, snap := range w.snapshots() {
				w.Expect(snap.Labels).NotTo(HaveKey(v1alpha1.LabelSidecar), "nothing is left to do")
				w.Expect(snap.Annotations).NotTo(HaveKey(v1alpha1.AnnotationSidecarTask))
				w.Expect(snap.Annotations).NotTo(HaveKey(v1alpha1.AnnotationSidecarCredentials))
			}
			return s
		}
		w.Clock.SetTime(w.Clock.Now().Add(20 * time.Second))
	}
	w.T.Fatalf("the run did not end: %+v", w.session("run").Status)
	return nil
}

func TestSidecarsBackUpAStatefulSet(t *testing.T) {
	t.Parallel()
	w := newSidecarWorld(t)
	w.Reconcile("run")
	w.Reconcile("run")
	target := w.session("run").Status.Resolved.Targets[0]
	w.Expect(target.Executor).To(Equal(v1alpha1.ExecutorSidecar))
	w.Expect(target.Hosts[0].Node).To(BeEmpty())
	w.Expect(target.Hosts[0].Volumes[0].Volume).To(Equal("data"))
	snap := w.snapshot("db-run")
	work := movers.ReadSidecarWork(snap)
	w.Expect(work.Keys).To(Equal(sidecar.KeysOf(w.Namespace, "db")))
	var storage v1alpha1.BackupStorage
	w.Expect(w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Storage, Name: sessiontest.StorageName},
		&storage)).
		To(Succeed())
	version, err := access.Digest(t.Context(), w.Client, w.Namespace, &storage,
		v1alpha1.ObjectReference{Name: sessiontest.EncryptionName})
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(work.KeysVersion).To(Equal(version))
	w.Expect(work.Task.Snapshot.UID).To(Equal(snap.UID))
	w.Expect(work.Host("pod-1").Pod).To(Equal("db-1"))
	a := work.Host("pod-0")
	w.Expect(a.Within.Duration).To(BeNumerically("~", time.Hour, time.Minute),
		"it ends with the run even if nobody can stop it")
	full := work.TaskOf(a)
	w.Expect(full.Check()).To(Succeed())
	w.Expect(full.Components).To(Equal([]task.Component{{
		Name: "pod-0", Mounts: []v1alpha1.ResolvedMount{{Path: "/data"}},
	}}), "patterns can name the path in the container")

	s := w.settleSidecars()
	w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "db: Succeeded/Succeeded"}))
	w.Expect(w.snapshot("db-run").Status.Components["pod-1"].ID).To(Equal("kpod-1"))
	w.Expect(w.given).To(Equal([]string{"db-0/1", "db-1/1"}))
}

func TestWhatGoesWrongWithASidecar(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		disturb func(w *sidecarWorld)
		want    []string
		given   []string
	}{
		"it reports a failure": {
			disturb: func(w *sidecarWorld) {
				does := w.does
				w.does = func(pod string, c sidecar.Component) *v1alpha1.Component {
					if pod == "db-1" {
						return &v1alpha1.Component{Phase: v1alpha1.SnapshotFailed, Reason: v1alpha1.ReasonEmpty}
					}
					return does(pod, c)
				}
			},
			want: []string{"Failed/Empty", "db: Failed/Empty"}, given: []string{"db-0/1", "db-1/1"},
		},
		"it claims a success without data": {
			disturb: func(w *sidecarWorld) {
				w.does = func(string, sidecar.Component) *v1alpha1.Component {
					return &v1alpha1.Component{Phase: v1alpha1.SnapshotSucceeded}
				}
			},
			want: []string{"Failed/JobFailed", "db: Failed/JobFailed"}, given: []string{"db-0/1", "db-1/1"},
		},
		"no pod has the ordinal": {
			disturb: func(w *sidecarWorld) { w.removePod("db-1") },
			want:    []string{"Failed/SidecarNotReady", "db: Failed/SidecarNotReady"}, given: []string{"db-0/1"},
		},
		"it never begins": {
			disturb: func(w *sidecarWorld) {
				w.does = func(string, sidecar.Component) *v1alpha1.Component { return nil }
			},
			want: []string{"Failed/SidecarNotReady", "db: Failed/SidecarNotReady"}, given: []string{"db-0/1", "db-1/1"},
		},
		"it begins and does not end": {
			disturb: func(w *sidecarWorld) {
				w.does = func(string, sidecar.Component) *v1alpha1.Component {
					w.Clock.SetTime(w.Clock.Now().Add(2 * time.Minute))
					return &v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
				}
			},
			want:  []string{"Failed/DeadlineExceeded", "db: Failed/DeadlineExceeded"},
			given: []string{"db-0/1", "db-1/1"},
		},
		"its pod is replaced while it works": {
			disturb: func(w *sidecarWorld) {
				does, lost := w.does, false
				w.does = func(pod string, c sidecar.Component) *v1alpha1.Component {
					if pod == "db-1" && !lost {
						lost = true
						w.removePod("db-1")
						w.pod("db-1", "c")
						return &v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
					}
					return does(pod, c)
				}
			},
			want:  []string{"Succeeded/Succeeded", "db: Succeeded/Succeeded"},
			given: []string{"db-0/1", "db-1/1", "db-1/2"},
		},
		"its pod is replaced while it works, and the next one never begins": {
			disturb: func(w *sidecarWorld) {
				does, lost := w.does, false
				w.does = func(pod string, c sidecar.Component) *v1alpha1.Component {
					switch {
					case pod != "db-1":
						return does(pod, c)
					case lost:
						return nil
					}
					lost = true
					w.removePod("db-1")
					w.pod("db-1", "c")
					return &v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
				}
			},
			want:  []string{"Failed/SidecarNotReady", "db: Failed/SidecarNotReady"},
			given: []string{"db-0/1", "db-1/1", "db-1/2"},
		},
		"its pods are replaced again and again": {
			disturb: func(w *sidecarWorld) {
				does := w.does
				w.does = func(pod string, c sidecar.Component) *v1alpha1.Component {
					if pod == "db-1" {
						w.removePod("db-1")
						w.pod("db-1", "c")
						return &v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
					}
					return does(pod, c)
				}
			},
			want: []string{"Failed/PodDeleted", "db: Failed/PodDeleted"}, given: []string{"db-0/1", "db-1/1", "db-1/2"},
		},
		"its pod has another claim as the volume": {
			disturb: func(w *sidecarWorld) {
				w.removePod("db-1")
				w.pod("db-1", "b",
					func(p *corev1.Pod) { p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName = "data-of-yesterday" })
			},
			want: []string{"Failed/SidecarNotReady", "db: Failed/SidecarNotReady"}, given: []string{"db-0/1"},
		},
		"its container is killed again and again": {
			disturb: func(w *sidecarWorld) {
				does, kills := w.does, int32(0)
				w.does = func(pod string, c sidecar.Component) *v1alpha1.Component {
					if pod == "db-0" {
						return does(pod, c)
					}
					kills++
					w.killed(pod, kills)
					return &v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
				}
			},
			want: []string{"Failed/SidecarNotReady", "db: Failed/SidecarNotReady"}, given: []string{"db-0/1", "db-1/1"},
		},
		"the sidecar is removed while it works": {
			disturb: func(w *sidecarWorld) {
				w.does = func(pod string, _ sidecar.Component) *v1alpha1.Component {
					// Both work by now. The policy now wants Jobs: keys and token are deleted, and pods without the
					// sidecar come.
					if pod == "db-1" {
						w.Expect(w.Client.Delete(w.T.Context(),
							&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: sidecarID}})).
							To(Succeed())
						for _, name := range []string{"db-0", "db-1"} {
							w.removePod(name)
							w.pod(name, "c",
								func(p *corev1.Pod) {
									p.Spec.InitContainers, p.Status.InitContainerStatuses = nil, nil
								})
						}
					}
					return &v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
				}
			},
			want: []string{"Failed/SidecarNotReady", "db: Failed/SidecarNotReady"}, given: []string{"db-0/1", "db-1/1"},
		},
		"the workload is scaled to 0 while it works": {
			disturb: func(w *sidecarWorld) {
				w.does = func(pod string, _ sidecar.Component) *v1alpha1.Component {
					if pod == "db-1" {
						w.removePod("db-0")
						w.removePod("db-1")
					}
					return &v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
				}
			},
			want: []string{"Failed/SidecarNotReady", "db: Failed/SidecarNotReady"}, given: []string{"db-0/1", "db-1/1"},
		},
		"the storage no longer allows the namespace": {
			disturb: func(w *sidecarWorld) {
				w.Killer = &sessiontest.Killer{At: 3} // right after the run was frozen
				w.Reconcile("run")
				w.Expect(w.Client.Delete(w.T.Context(),
					&v1alpha1.BackupStorage{ObjectMeta: metav1.ObjectMeta{
						Namespace: w.Storage,
						Name:      sessiontest.StorageName,
					}})).To(Succeed())
			},
			want: []string{"Failed/StorageNotFound", "db: Failed/StorageNotFound"},
		},
		"the run is deleted": {
			disturb: func(w *sidecarWorld) {
				w.does = func(string, sidecar.Component) *v1alpha1.Component {
					return &v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
				}
				w.Reconcile("run")
				w.Reconcile("run")
				w.sidecars()
				w.Expect(w.Client.Delete(w.T.Context(), w.session("run"))).To(Succeed())
			},
			want: []string{"Failed/Cancelled", "db: Failed/Cancelled"}, given: []string{"db-0/1", "db-1/1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSidecarWorld(t)
			tt.disturb(w)
			w.Expect(summary(w.settleSidecars())).To(Equal(tt.want))
			w.Expect(w.given).To(Equal(tt.given))
		})
	}
}

func TestASidecarsTokenIsRotatedWhileItWorks(t *testing.T) {
	t.Parallel()
	w := newSidecarWorld(t)
	w.Reconcile("run")
	w.Reconcile("run")
	secret := &corev1.Secret{}
	w.Get(sidecarID, secret)
	bed.Edit(t, secret, func() { secret.Annotations[v1alpha1.AnnotationSidecarCredentials] = "JTI=1,JTI=2" })
	w.Reconcile("run")
	w.Expect(w.snapshot("db-run").Annotations).
		To(HaveKeyWithValue(v1alpha1.AnnotationSidecarCredentials, "JTI=1,JTI=2"))
}

// A run ends in the same way, and assigns nothing twice, if the manager is killed at any of its writes.
func TestKilledWhileSidecarsWork(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, killer *sessiontest.Killer) *sidecarWorld {
		w := newSidecarWorld(t)
		does, lost := w.does, false
		w.does = func(pod string, c sidecar.Component) *v1alpha1.Component {
			if pod == "db-1" && !lost {
				lost = true
				w.removePod("db-1")
				w.pod("db-1", "c")
				return &v1alpha1.Component{Phase: v1alpha1.SnapshotRunning}
			}
			return does(pod, c)
		}
		w.Killer = killer
		return w
	}
	undisturbed := &sessiontest.Killer{}
	w := start(t, undisturbed)
	want := summary(w.settleSidecars())
	w.Expect(want).To(Equal([]string{"Succeeded/Succeeded", "db: Succeeded/Succeeded"}))
	given := w.given
	for name, killer := range sessiontest.KillPoints(undisturbed.Count()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, killer)
			w.Expect(summary(w.settleSidecars())).To(Equal(want))
			w.Expect(killer.Dead()).To(BeTrue(), "the manager was killed")
			w.Expect(w.given).To(Equal(given))
		})
	}
}

// A chart gave the pods of a CronJob the labels of the StatefulSet.
func TestAPodOfACronJobIsNoneOfTheWorkloadWithTheSidecar(t *testing.T) {
	t.Parallel()
	w := newSidecarWorld(t)
	w.pod("db-cron-29345610-4qk9d", "a", func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: "batch/v1", Kind: "Job", Name: "db-cron-29345610", UID: "u", Controller: new(true)},
		}
	})
	db := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "db"}
	crew, err := movers.FindSidecarPods(t.Context(), w.Client, w.Client, w.Namespace, db)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(crew.Pods).To(ConsistOf(HaveField("Name", "db-0"), HaveField("Name", "db-1")))
}
