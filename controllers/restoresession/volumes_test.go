package restoresession

import (
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/testbed/csi"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
	"github.com/cairn-backup/cairn/internal/volumesnapshot"
)

// shot creates a ready VolumeSnapshot, and its component.
func (w *world) shot(namespace, claim string) (*snapshotv1.VolumeSnapshot, v1alpha1.Component) {
	w.T.Helper()
	s := volumesnapshot.New(namespace, claim+"-1795154820", claim, csi.SnapshotClass, nil, nil)
	w.Expect(w.Client.Create(w.T.Context(), s)).To(Succeed())
	return s, sessiontest.VolumeSnapshotComponent(s, csi.Ready(w.T, w.Client, s))
}

// newVolumes returns a world with the Snapshot shots of the VolumeSnapshots of a StatefulSet's two pods, in a
// Repository of a namespace.
func newVolumes(t testing.TB, namespace string) *world {
	t.Helper()
	w := newWorld(t)
	if namespace == "" {
		namespace = w.Namespace
	}
	csi.Classes(t, w.Client)
	snap := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "shots",
			Labels: map[string]string{v1alpha1.LabelRepository: "disks"},
		},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: "shots", Repository: "disks", Session: "nightly", BackupSession: "run",
			Version: v1alpha1.SnapshotLayoutVersion,
			AppRef:  v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindStatefulSet, Name: "web"},
		},
		Status: v1alpha1.SnapshotStatus{
			Phase:        v1alpha1.SnapshotSucceeded,
			SnapshotTime: &metav1.Time{Time: time.Date(2026, 7, 1, 1, 0, 0, 0, time.UTC)},
			Components:   map[string]v1alpha1.Component{},
		},
	}
	for component, claim := range map[string]string{"pod-0": "data-web-0", "pod-1": "data-web-1"} {
		_, snap.Status.Components[component] = w.shot(namespace, claim)
	}
	sessiontest.Create(t, w.Client, snap, &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "disks",
			Annotations: map[string]string{v1alpha1.AnnotationRestoreTo: w.Namespace},
		},
		Spec:   v1alpha1.RepositorySpec{Driver: v1alpha1.DriverVolumeSnapshotter, AppRef: snap.Spec.AppRef},
		Status: v1alpha1.RepositoryStatus{Phase: v1alpha1.PhaseReady},
	})
	w.Outcome = func(job *batchv1.Job) kubelet.Outcome { return csi.Provision(t, w.Client, job) }
	return w
}

// intoVolumes makes a restore create claims from the Snapshot's VolumeSnapshots. The templates have only a name unless
// edit adds more.
func intoVolumes(name string, edit ...func(*v1alpha1.RestoreClaimTemplate)) func(*v1alpha1.RestoreSession) {
	return func(s *v1alpha1.RestoreSession) {
		template := v1alpha1.RestoreClaimTemplate{Metadata: v1alpha1.ClaimMetadata{
			Name:   name,
			Labels: map[string]string{"pod": "${POD_ORDINAL}"},
		}}
		for _, e := range edit {
			e(&template)
		}
		s.Spec.Target, s.Spec.DataSource = nil, &v1alpha1.RestoreDataSource{
			Repository: "disks",
			Snapshot:   v1alpha1.LatestSnapshot,
		}
		s.Spec.Addon = &v1alpha1.AddonInfo{Name: catalog.VolumeAddon, Tasks: []v1alpha1.TaskReference{{
			Name:          "volume-snapshot-restore",
			TargetVolumes: &v1alpha1.TargetVolumes{VolumeClaimTemplates: []v1alpha1.RestoreClaimTemplate{template}},
		}}}
	}
}

func ofClass(class string) func(*v1alpha1.RestoreClaimTemplate) {
	return func(t *v1alpha1.RestoreClaimTemplate) { t.Spec.StorageClassName = &class }
}

// settleVolumes is settle with a working storage system.
func (w *world) settleVolumes(name string) *v1alpha1.RestoreSession {
	w.T.Helper()
	for range 60 {
		w.Reconcile(name)
		csi.ReadyImports(w.T, w.Client, w.Namespace)
		w.releaseClaims()
		w.Cluster()
		s := w.session(name)
		if s.Status.Phase.Terminal() {
			w.Reconcile(name)
			return w.session(name)
		}
	}
	w.T.Fatalf("%s did not end: %+v", name, w.session(name).Status)
	return nil
}

// releaseClaims completes the deletion of claims that are not in use, as Kubernetes does.
func (w *world) releaseClaims() {
	var claims corev1.PersistentVolumeClaimList
	w.Expect(w.Client.List(w.T.Context(), &claims, client.InNamespace(w.Namespace))).To(Succeed())
	for i := range claims.Items {
		if claim := &claims.Items[i]; claim.DeletionTimestamp != nil {
			before := claim.DeepCopy()
			claim.Finalizers = nil
			w.Expect(client.IgnoreNotFound(w.Client.Patch(w.T.Context(), claim, client.MergeFrom(before)))).
				To(Succeed())
		}
	}
}

func (w *world) claim(name string) *corev1.PersistentVolumeClaim {
	w.T.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	w.Get(name, claim)
	return claim
}

func message(s *v1alpha1.RestoreSession) string {
	for _, c := range s.Status.Conditions {
		if c.Type == "Ready" {
			return c.Message
		}
	}
	return ""
}

// TestAFreeVolumeIsNotARestore: Kubernetes prefers an existing volume to one that is made of the claim's
// VolumeSnapshot.
func TestAFreeVolumeIsNotARestore(t *testing.T) {
	t.Parallel()
	for _, class := range []string{csi.Class, csi.LateClass} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			w := newVolumes(t, "")
			w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
				work := kubelet.TaskOf(job)
				if claim := work.Components[0].Claim; claim != nil && claim.Object.Name == "again-1" {
					w.Expect(client.IgnoreAlreadyExists(w.Client.Create(t.Context(), claim.Object.DeepCopy()))).
						To(Succeed())
					csi.BindStatic(t, w.Client, w.Namespace, "again-1")
				}
				return csi.Provision(t, w.Client, job)
			}
			w.restore("restore", intoVolumes("again-${POD_ORDINAL}", ofClass(class)))
			s := w.settleVolumes("restore")
			w.Expect(ending(s)).To(Equal("Failed/" + v1alpha1.ReasonWrongVolume))
			w.Expect(s.Status.Components["pod-0"].Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
			w.Expect(s.Status.Components["pod-1"].Error).
				To(And(ContainSubstring("again-1"), ContainSubstring("other data")))
			w.Expect(w.claim("again-1").Annotations).NotTo(HaveKey(v1alpha1.AnnotationRestored))
		})
	}
}

func TestVolumesAreMadeOfVolumeSnapshots(t *testing.T) {
	t.Parallel()
	w := newVolumes(t, "")
	w.restore("restore", intoVolumes("again-${POD_ORDINAL}"))
	s := w.settleVolumes("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"), message(s))
	w.Expect(s.Finalizers).To(ConsistOf(v1alpha1.FinalizerRecord))
	w.Expect(w.Jobs()).To(HaveLen(2), "one for each pod")
	for i, name := range []string{"again-0", "again-1"} {
		claim := w.claim(name)
		w.Expect(claim.Spec.DataSource.Name).To(Equal([]string{"data-web-0", "data-web-1"}[i] + "-1795154820"))
		w.Expect(*claim.Spec.StorageClassName).To(Equal(csi.Class))
		w.Expect(claim.Spec.Resources.Requests.Storage().String()).To(Equal("1Gi"))
		w.Expect(claim.Labels).To(HaveKeyWithValue("pod", string(name[len(name)-1])))
		w.Expect(claim.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationRestored,
			HavePrefix(s.Status.Resolved.SpecDigest+"/")))
		w.Expect(claim.Annotations).NotTo(HaveKey(v1alpha1.AnnotationRestoring))
		w.Expect(s.Status.Components["pod-"+string(name[len(name)-1])].ClaimUID).To(Equal(claim.UID))
	}
	pod := w.Jobs()[0].Spec.Template.Spec
	w.Expect(pod.ServiceAccountName).To(Equal(v1alpha1.SnapshotterServiceAccount))
	for _, v := range pod.Volumes {
		w.Expect(v.PersistentVolumeClaim).To(BeNil())
		w.Expect(v.Secret).To(BeNil())
	}
	w.restore("same", intoVolumes("again-${POD_ORDINAL}"))
	w.Expect(ending(w.settleVolumes("same"))).To(Equal("Failed/NameConflict"))
	w.restore("other", intoVolumes("again-${POD_ORDINAL}", ofClass(csi.Class)))
	w.Expect(ending(w.settleVolumes("other"))).To(Equal("Failed/NameConflict"))
	w.Expect(w.Jobs()).To(HaveLen(2))
	w.forget("restore")
	w.restore("restore", intoVolumes("again-${POD_ORDINAL}"))
	w.Expect(ending(w.settleVolumes("restore"))).To(Equal("Skipped/AlreadyRestored"))
	w.Expect(w.Jobs()).To(BeEmpty())
}

func TestAStatefulSetOfAnotherSizeGetsVolumes(t *testing.T) {
	t.Parallel()
	w := newVolumes(t, "")
	w.restore("more", intoVolumes("more-${POD_ORDINAL}"), func(s *v1alpha1.RestoreSession) {
		s.Spec.DataSource.Rules = []v1alpha1.RestoreRule{
			{TargetHosts: []string{"pod-0", "pod-1"}},
			{TargetHosts: []string{"pod-2", "pod-3"}, SourceHost: "pod-1"},
		}
	})
	s := w.settleVolumes("more")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"), message(s))
	w.Expect(w.claim("more-3").Spec.DataSource.Name).To(Equal("data-web-1-1795154820"))
	w.restore("less", intoVolumes("less-${POD_ORDINAL}"), func(s *v1alpha1.RestoreSession) {
		s.Spec.DataSource.Components = []string{"pod-0"}
		s.Spec.Addon.Tasks[0].Name = "VolumeSnapshotRestore" // the name in older policies of KubeStash
	})
	w.Expect(ending(w.settleVolumes("less"))).To(Equal("Succeeded/Succeeded"))
	w.claim("less-0")
	w.Expect(apierrors.IsNotFound(w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: "less-1"},
		&corev1.PersistentVolumeClaim{}))).To(BeTrue())
}

func TestVolumesThatWaitForAPodGetOne(t *testing.T) {
	t.Parallel()
	w := newVolumes(t, "")
	w.restore("restore", intoVolumes("late-${POD_ORDINAL}", ofClass(csi.LateClass)))
	s := w.settleVolumes("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"), message(s))
	w.Expect(w.Jobs()).To(HaveLen(4), "two make the claims, and two mount them")
	mounted := 0
	for _, job := range w.Jobs() {
		for _, v := range job.Spec.Template.Spec.Volumes {
			if v.PersistentVolumeClaim != nil {
				mounted++
				w.Expect(job.Spec.Template.Spec.ServiceAccountName).To(Equal(v1alpha1.MoverServiceAccount))
				w.Expect(job.Spec.Template.Spec.SecurityContext.FSGroup).To(BeNil(), "it changes no owners")
			}
		}
	}
	w.Expect(mounted).To(Equal(2))
}

func TestVolumesMayBeLeftToTheirFirstPod(t *testing.T) {
	t.Parallel()
	w := newVolumes(t, "")
	w.restore("restore", intoVolumes("late-${POD_ORDINAL}", ofClass(csi.LateClass)),
		func(s *v1alpha1.RestoreSession) {
			s.Spec.Addon.Tasks[0].Params = &apiextensionsv1.JSON{Raw: []byte(`{"bind": "false"}`)}
		})
	s := w.settleVolumes("restore")
	w.Expect(ending(s)).To(Equal("Unknown/VolumeNotBound"))
	w.Expect(w.Jobs()).To(HaveLen(2))
	w.Expect(w.claim("late-0").Annotations).NotTo(HaveKey(v1alpha1.AnnotationRestored))
}

// The same manifest again creates nothing again. It reports success when the first pods exist, not before. Under
// another name it is another restore, and the claims belong to the one before.
func TestVolumesThatWereLeftToTheirFirstPodAreKnownAgain(t *testing.T) {
	t.Parallel()
	late := func(edit ...func(*v1alpha1.RestoreSession)) func(*v1alpha1.RestoreSession) {
		return func(s *v1alpha1.RestoreSession) {
			intoVolumes("late-${POD_ORDINAL}", ofClass(csi.LateClass))(s)
			s.Spec.Addon.Tasks[0].Params = &apiextensionsv1.JSON{Raw: []byte(`{"bind": "false"}`)}
			for _, e := range edit {
				e(s)
			}
		}
	}
	for name, elsewhere := range map[string]bool{"here": false, "in another namespace": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, lend := newLateVolumes(t, elsewhere)
			apply := func(name string, edit ...func(*v1alpha1.RestoreSession)) *v1alpha1.RestoreSession {
				w.restore(name, late(append(edit, lend)...))
				for range 60 {
					if s := w.session(name); s.Status.Phase.Terminal() {
						w.Reconcile(name)
						return w.session(name)
					}
					w.Reconcile(name)
					csi.ReadyImports(t, w.Client, w.Namespace)
					w.Cluster()
				}
				t.Fatalf("%s did not end", name)
				return nil
			}
			w.Expect(ending(apply("first"))).To(Equal("Unknown/VolumeNotBound"))
			made := w.claim("late-0")
			w.Expect(ending(apply("same"))).To(Equal("Failed/NameConflict"))
			w.forget("first")
			s := apply("first")
			w.Expect(ending(s)).To(Equal("Unknown/VolumeNotBound"))
			w.Expect(message(s)).To(ContainSubstring("an identical earlier restore made PersistentVolumeClaim late-0"))
			csi.Bind(t, w.Client, w.Namespace, "late-0")
			w.forget("first")
			w.Expect(message(apply("first"))).To(ContainSubstring("PersistentVolumeClaim late-1"),
				"one bound claim is not enough")
			w.Expect(ending(apply("other",
				func(s *v1alpha1.RestoreSession) {
					s.Spec.DataSource.Components = []string{
						"pod-0",
					}
				}))).To(Equal("Failed/NameConflict"))

			csi.Bind(t, w.Client, w.Namespace, "late-1")
			w.Expect(ending(apply("same-with-pods"))).To(Equal("Failed/NameConflict"))
			w.forget("first")
			w.Expect(ending(apply("first"))).To(Equal("Skipped/AlreadyRestored"))
			w.Expect(w.claim("late-0").UID).To(Equal(made.UID))
			w.Expect(w.Jobs()).To(BeEmpty())
		})
	}
	t.Run("but not once their VolumeSnapshot was made anew", func(t *testing.T) {
		t.Parallel()
		w := newVolumes(t, "")
		w.restore("first", late())
		w.Expect(ending(w.settleVolumes("first"))).To(Equal("Unknown/VolumeNotBound"))
		w.Expect(w.Client.Delete(t.Context(), &snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Namespace,
			Name:      "data-web-1-1795154820",
		}})).To(Succeed())
		w.shot(w.Namespace, "data-web-1")
		for _, name := range []string{"late-0", "late-1"} {
			csi.Bind(t, w.Client, w.Namespace, name)
		}
		w.forget("first")
		w.restore("first", late())
		w.Expect(ending(w.settleVolumes("first"))).To(Equal("Invalid/VolumeSnapshotNotFound"))
	})
}

// The first pod got an existing volume with other data: that is no restore, and an identical restore does not report
// success.
func TestAFreeVolumeThatAFirstPodGotIsNotARestore(t *testing.T) {
	t.Parallel()
	w := newVolumes(t, "")
	late := func(s *v1alpha1.RestoreSession) {
		intoVolumes("late-${POD_ORDINAL}", ofClass(csi.LateClass))(s)
		s.Spec.Addon.Tasks[0].Params = &apiextensionsv1.JSON{Raw: []byte(`{"bind": "false"}`)}
	}
	w.restore("first", late)
	w.Expect(ending(w.settleVolumes("first"))).To(Equal("Unknown/VolumeNotBound"))
	csi.Bind(t, w.Client, w.Namespace, "late-0")
	csi.BindStatic(t, w.Client, w.Namespace, "late-1")
	w.forget("first")
	w.restore("first", late)
	s := w.settleVolumes("first")
	w.Expect(s.Status.Reason).To(Equal(v1alpha1.ReasonWrongVolume), message(s))
	w.Expect(message(s)).To(And(ContainSubstring("late-1"), ContainSubstring("other data")))
}

// newLateVolumes is newVolumes plus the edit that makes a restore take the VolumeSnapshots from another namespace if
// they are there.
func newLateVolumes(t testing.TB, there bool) (*world, func(*v1alpha1.RestoreSession)) {
	t.Helper()
	if there {
		w, ns := elsewhere(t)
		return w, from(ns)
	}
	return newVolumes(t, ""), func(*v1alpha1.RestoreSession) {}
}

// The report of a mover alone restores nothing.
func TestAVolumeThatIsNotThere(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		after func(w *world, job *batchv1.Job)
		want  string
	}{
		"none was made":  {after: func(*world, *batchv1.Job) {}, want: "Failed/TargetNotFound"},
		"it has no disk": {after: func(w *world, job *batchv1.Job) { w.unbound(job) }, want: "Failed/VolumeNotBound"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newVolumes(t, "")
			w.Outcome = func(job *batchv1.Job) kubelet.Outcome {
				tc.after(w, job)
				return kubelet.Succeed(job)
			}
			w.restore("restore", intoVolumes("lie-${POD_ORDINAL}"))
			s := w.settleVolumes("restore")
			w.Expect(ending(s)).To(Equal(tc.want), message(s))
			if tc.want == "Failed/VolumeNotBound" {
				w.Expect(message(s)).To(ContainSubstring("no space left in the pool"))
			}
		})
	}
}

// unbound creates the claims of a Job, and makes the provisioner complain.
func (w *world) unbound(job *batchv1.Job) {
	for _, c := range kubelet.TaskOf(job).Components {
		claim := c.Claim.Object.DeepCopy()
		w.Expect(w.Client.Create(w.T.Context(), claim)).To(Succeed())
		w.Expect(w.Client.Create(w.T.Context(), &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, GenerateName: "e-"},
			InvolvedObject: corev1.ObjectReference{
				Kind: "PersistentVolumeClaim", Namespace: w.Namespace, Name: claim.Name,
				UID: claim.UID,
			},
			Type: corev1.EventTypeWarning, Reason: "ProvisioningFailed", Message: "no space left in the pool",
			LastTimestamp: metav1.Now(),
		})).To(Succeed())
	}
}

func TestWhatNoVolumeIsMadeOf(t *testing.T) {
	t.Parallel()
	asking := func(size string) func(*v1alpha1.RestoreClaimTemplate) {
		return func(t *v1alpha1.RestoreClaimTemplate) {
			t.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
		}
	}
	for name, tc := range map[string]struct {
		before func(w *world)
		edit   func(*v1alpha1.RestoreSession)
		want   string
		says   string
	}{
		"too small": {
			edit: intoVolumes("c-${POD_ORDINAL}", asking("512Mi")), want: "Invalid/VolumeTooSmall",
			says: "asks for 512Mi, but a volume of VolumeSnapshot data-web-0-1795154820 needs at least 1Gi",
		},
		"another driver": {
			edit: intoVolumes("c-${POD_ORDINAL}", ofClass(csi.OtherClass)),
			// Tests beside this one have classes of their own, which follow in the list.
			want: "Invalid/InvalidParameters", says: "(the cluster has: disk, disk-late",
		},
		"no such class": {
			edit: intoVolumes("c-${POD_ORDINAL}", ofClass("nowhere")), want: "Invalid/InvalidParameters",
			says: `no StorageClass "nowhere"`,
		},
		"another mode": {edit: intoVolumes("c-${POD_ORDINAL}",
			func(t *v1alpha1.RestoreClaimTemplate) {
				t.Spec.VolumeMode = new(corev1.PersistentVolumeBlock)
			}), want: "Invalid/InvalidParameters", says: "had Filesystem: leave volumeMode out"},
		"a selector": {edit: intoVolumes("c-${POD_ORDINAL}",
			func(t *v1alpha1.RestoreClaimTemplate) {
				t.Spec.Selector = &metav1.LabelSelector{}
			}), want: "Invalid/InvalidParameters", says: "leave selector out"},
		"one name for two": {
			edit: intoVolumes("c"), want: "Invalid/InvalidParameters",
			says: "would both become PersistentVolumeClaim c",
		},
		"a task for files": {edit: func(s *v1alpha1.RestoreSession) {
			intoVolumes("c-${POD_ORDINAL}")(s)
			s.Spec.Addon.Tasks[0].Name = catalog.RestoreTask
		}, want: "Invalid/InvalidTask", says: "name task volume-snapshot-restore of pvc-addon"},
		"a target": {
			edit: func(s *v1alpha1.RestoreSession) { s.Spec.DataSource.Repository = "disks" },
			want: "Invalid/InvalidParameters", says: "leave target out",
		},
		"files": {edit: func(s *v1alpha1.RestoreSession) {
			intoVolumes("c-${POD_ORDINAL}")(s)
			s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "pods"}
		}, want: "Invalid/InvalidTask", says: "is not kept as VolumeSnapshots"},
		"a task for files, and VolumeSnapshots that are named": {edit: func(s *v1alpha1.RestoreSession) {
			intoVolumes("c", func(t *v1alpha1.RestoreClaimTemplate) {
				t.Spec.DataSource = &corev1.TypedLocalObjectReference{
					APIGroup: new(snapshotv1.GroupName), Kind: "VolumeSnapshot",
					Name: "data-web-0-1795154820",
				}
			})(s)
			s.Spec.DataSource, s.Spec.Addon.Tasks[0].Name = nil, catalog.RestoreTask
		}, want: "Invalid/InvalidTask", says: "the templates name VolumeSnapshots: name task volume-snapshot-restore"},
		"files into a raw device": {edit: func(s *v1alpha1.RestoreSession) {
			newClaims("c")(s)
			s.Spec.Addon.Tasks[0].TargetVolumes.VolumeClaimTemplates[0].Spec.VolumeMode = new(
				corev1.PersistentVolumeBlock)
		}, want: "Invalid/InvalidParameters", says: "leave volumeMode out"},
		"verify": {
			edit: func(s *v1alpha1.RestoreSession) { intoVolumes("c-${POD_ORDINAL}")(s); s.Spec.Verify = true },
			want: "Invalid/InvalidParameters", says: "leave verify out",
		},
		"a VolumeSnapshot that is gone": {
			edit: intoVolumes("c-${POD_ORDINAL}"), want: "Invalid/VolumeSnapshotNotFound",
			before: func(w *world) {
				w.Expect(w.Client.Delete(w.T.Context(),
					&snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{
						Namespace: w.Namespace,
						Name:      "data-web-1-1795154820",
					}})).To(Succeed())
			},
		},
		"a snapshot that was retaken": {
			edit: intoVolumes("c-${POD_ORDINAL}"), want: "Invalid/VolumeSnapshotNotFound",
			says: "no longer holds the snapshot that was backed up", before: func(w *world) {
				v, content := &snapshotv1.VolumeSnapshot{}, &snapshotv1.VolumeSnapshotContent{}
				w.Get("data-web-1-1795154820", v)
				w.Expect(w.Client.Get(w.T.Context(), client.ObjectKey{Name: *v.Status.BoundVolumeSnapshotContentName},
					content)).
					To(Succeed())
				content.Status.SnapshotHandle = new("taken-later")
				w.Expect(w.Client.Status().Update(w.T.Context(), content)).To(Succeed())
			},
		},
		"a VolumeSnapshot that was recreated": {
			edit: intoVolumes("c-${POD_ORDINAL}"),
			want: "Invalid/VolumeSnapshotNotFound", says: "somebody replaced it", before: func(w *world) {
				w.Expect(w.Client.Delete(w.T.Context(),
					&snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{
						Namespace: w.Namespace,
						Name:      "data-web-1-1795154820",
					}})).To(Succeed())
				w.shot(w.Namespace, "data-web-1")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newVolumes(t, "")
			if tc.before != nil {
				tc.before(w)
			}
			w.restore("restore", tc.edit)
			s := w.settleVolumes("restore")
			w.Expect(ending(s)).To(Equal(tc.want), message(s))
			w.Expect(message(s)).To(ContainSubstring(tc.says))
			w.Expect(w.Jobs()).To(BeEmpty())
		})
	}
}

func TestAClaimIsReplacedOnlyByItsUID(t *testing.T) {
	t.Parallel()
	w := newVolumes(t, "")
	w.Expect(w.Client.Create(t.Context(), sessiontest.Claim(w.Namespace, "web-0"))).To(Succeed())
	replacing := func(uid types.UID) func(*v1alpha1.RestoreClaimTemplate) {
		return func(t *v1alpha1.RestoreClaimTemplate) {
			t.Metadata.Annotations = map[string]string{v1alpha1.AnnotationReplace: "another," + string(uid)}
		}
	}
	w.restore("unsaid", intoVolumes("web-${POD_ORDINAL}"))
	s := w.settleVolumes("unsaid")
	old := w.claim("web-0")
	w.Expect(ending(s)).To(Equal("Failed/NameConflict"))
	w.Expect(message(s)).To(ContainSubstring(v1alpha1.AnnotationReplace + ": " + string(old.UID)))
	w.restore("wrong", intoVolumes("web-${POD_ORDINAL}", replacing("wrong")))
	w.Expect(ending(w.settleVolumes("wrong"))).To(Equal("Failed/NameConflict"))

	pod := sessiontest.Pod(w.Namespace, "web-0", "node", "web-0", nil)
	sessiontest.Create(t, w.Client, pod)
	w.restore("used", intoVolumes("web-${POD_ORDINAL}", replacing(old.UID)))
	w.Reconcile("used")
	w.Expect(w.session("used").Status.Reason).To(Equal(v1alpha1.ReasonVolumeInUse))
	w.Expect(w.claim("web-0").UID).To(Equal(old.UID))
	w.Expect(w.Client.Delete(t.Context(), pod, client.GracePeriodSeconds(0))).To(Succeed())

	s = w.settleVolumes("used")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"), message(s))
	w.Expect(w.claim("web-0").UID).NotTo(Equal(old.UID))
	w.Expect(w.claim("web-0").Annotations).NotTo(HaveKey(v1alpha1.AnnotationReplace))
}

func TestVolumesOfVolumeSnapshotsThatTheUserNames(t *testing.T) {
	t.Parallel()
	w := newVolumes(t, "")
	w.restore("restore", intoVolumes("mine-${POD_ORDINAL}", ofClass(csi.Class),
		func(t *v1alpha1.RestoreClaimTemplate) {
			t.Spec.DataSource = &corev1.TypedLocalObjectReference{
				APIGroup: new(snapshotv1.GroupName), Kind: "VolumeSnapshot",
				Name: "data-web-${POD_ORDINAL}-1795154820",
			}
			t.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		}), func(s *v1alpha1.RestoreSession) {
		s.Spec.DataSource = nil
		s.Spec.Addon.Tasks[0].TargetVolumes.Replicas = new(int32(2))
	})
	s := w.settleVolumes("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"), message(s))
	w.Expect(w.claim("mine-1").Spec.DataSource.Name).To(Equal("data-web-1-1795154820"))
	w.Expect(s.Status.Resolved.Snapshot).To(BeEmpty())
}
