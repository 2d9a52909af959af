package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// editor returns the client of somebody with nothing but the shipped ClusterRole cairn-edit in the namespace. The bed
// has no admission policy about orders: whoever carries an order out has to refuse it.
func (w *workload) editor() client.Client {
	w.t.Helper()
	const user = "mallory"
	w.Expect(bed.Client.Create(w.t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cairn-edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	})).To(Succeed())
	config := rest.CopyConfig(bed.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	c, err := client.New(config, client.Options{Scheme: bed.Client.Scheme()})
	w.Expect(err).NotTo(HaveOccurred())
	return c
}

// forge lets the editor make a RestoreSession that carries an order of his own, for the sidecar of pod-a.
func (w *workload) forge(
	as client.Client, name string, edit func(r *v1alpha1.RestoreSession, work *sidecar.Work),
) *v1alpha1.RestoreSession {
	w.t.Helper()
	r := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: name, Labels: map[string]string{v1alpha1.LabelSidecar: w.id},
		},
		Spec: v1alpha1.RestoreSessionSpec{
			Target: &w.task.Repository.AppRef, DataSource: &v1alpha1.RestoreDataSource{Snapshot: "snap-1"},
		},
	}
	w.Eventually(func() error { return as.Create(w.t.Context(), r) }).WithTimeout(testbed.Patience).
		Should(Succeed(), "the RoleBinding is in force")
	now, order := metav1.Now(), w.task
	order.Kind, order.RestoreSession = task.KindRestore, &task.Object{Name: r.Name, UID: r.UID}
	work := sidecar.Work{
		Task: order, Keys: sidecar.KeysOf(w.namespace, w.task.Repository.Name), KeysVersion: "v1",
		Assignments: []sidecar.Assignment{{
			Host: "target", Attempt: 1, Since: now, Given: &now, Pod: "web-x", PodUID: "pod-a",
			Components: []sidecar.Component{{Component: task.Component{Name: "data"}, Volume: "data"}},
		}},
	}
	edit(r, &work)
	text, err := sidecar.Encode(work)
	w.Expect(err).NotTo(HaveOccurred())
	before := r.DeepCopy()
	r.Annotations = map[string]string{v1alpha1.AnnotationSidecarTask: text}
	w.Expect(as.Patch(w.t.Context(), r, client.MergeFrom(before))).To(Succeed())
	return r
}

// TestAForgedRestoreSessionGivesNothing lets somebody with the role cairn-edit order the sidecar about. Each of these
// orders was carried out before.
func TestAForgedRestoreSessionGivesNothing(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	credential := w.token("first")
	w.write("cairn/volumes/data/"+fileName, "text of the file")
	w.within("pod-a", time.Second, time.Minute)
	s := w.backup("snap-1", "v1", credential, "pod-a")
	id := w.eventually(s, v1alpha1.SnapshotSucceeded, "there is a backup").ID
	kept := filepath.Join(w.root, "cairn/restore/data", fileName)
	w.write("cairn/restore/data/"+fileName, "what the application wrote since")
	mallory := w.editor()

	for name, edit := range map[string]func(*v1alpha1.RestoreSession, *sidecar.Work){
		"a-backup-of-the-keys": func(_ *v1alpha1.RestoreSession, work *sidecar.Work) {
			work.Task.Kind, work.Task.RestoreSession = task.KindBackup, nil
			work.Task.Snapshot = &task.Snapshot{Name: s.Name, UID: s.UID, Spec: &s.Spec}
			loot := &work.Assignments[0].Components[0]
			loot.Name, loot.Volume = "loot", ".."
		},
		"a-restore-over-the-keys": func(_ *v1alpha1.RestoreSession, work *sidecar.Work) {
			work.Task.Snapshot = &task.Snapshot{Name: s.Name, UID: s.UID}
			work.Task.Restore = &task.Restore{Overwrite: v1alpha1.OverwriteAlways}
			work.Assignments[0].Components[0].ID, work.Assignments[0].Components[0].Volume = id, ".."
		},
		"keys-from-elsewhere": func(_ *v1alpha1.RestoreSession, work *sidecar.Work) {
			w.write("cairn/volumes/data/own.encryption.password", password)
			w.write("cairn/volumes/data/own.version", "v1")
			work.Keys = "../volumes/data/own"
			work.Task.Snapshot = &task.Snapshot{Name: s.Name, UID: s.UID}
			work.Assignments[0].Components[0].ID, work.Assignments[0].Components[0].Path = id, "elsewhere"
			work.Task.Restore = &task.Restore{Overwrite: v1alpha1.OverwriteAlways}
		},
		"without-a-confirmation": func(_ *v1alpha1.RestoreSession, work *sidecar.Work) {
			work.Task.Snapshot = &task.Snapshot{Name: s.Name, UID: s.UID}
			work.Task.Restore = &task.Restore{Overwrite: v1alpha1.OverwriteAlways}
			work.Assignments[0].Components[0].ID = id
		},
	} {
		w.forge(mallory, name, edit)
		w.logged(`"msg":"done","resource":"restoresessions","object":"`+name+`"`, "the sidecar has looked at it")
	}
	w.Expect(w.log.String()).NotTo(MatchRegexp(`"msg":"done","resource":"restoresessions"[^\n]*"outcome":"Succeeded"`))
	got, err := os.ReadFile(kept)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(string(got)).To(Equal("what the application wrote since"))
	w.Expect(filepath.Join(w.root, "cairn", fileName)).NotTo(BeAnExistingFile())
	w.Expect(filepath.Join(w.root, "cairn/restore/data/elsewhere")).NotTo(BeADirectory())
	w.Expect(w.records(s)).To(HaveLen(1), "no other component was backed up")
}

// running writes the status that the manager freezes for a restore of the volume data by a sidecar.
func (w *workload) running(r *v1alpha1.RestoreSession, s *v1alpha1.Snapshot, id string) {
	w.t.Helper()
	before := r.DeepCopy()
	r.Status.Phase, r.Status.Attempt = v1alpha1.RestoreSessionRunning, 1
	r.Status.Resolved = &v1alpha1.ResolvedRestore{
		Namespace: w.namespace, Snapshot: s.Name, SnapshotUID: s.UID, Executor: v1alpha1.ExecutorSidecar,
		Repository: v1alpha1.ResolvedRepository{
			Name: w.task.Repository.Name, UID: w.task.Repository.UID, Directory: w.task.Repository.Directory,
			StorageRef: v1alpha1.ObjectReference{Namespace: w.task.Storage.Namespace, Name: w.task.Storage.Name},
		},
		Task: v1alpha1.ResolvedTask{Args: []string{string(task.KindRestore)}},
		Hosts: []v1alpha1.ResolvedRestoreHost{{
			Name: "target", Volumes: []v1alpha1.ResolvedRestoreVolume{{Component: "data", ID: id, Volume: "data"}},
		}},
	}
	w.Expect(bed.Client.Status().Patch(w.t.Context(), r, client.MergeFrom(before))).To(Succeed())
}

// TestARealRestoreIsNotBent changes the order of a restore that is really under way. A sidecar keeps to what the status
// of the RestoreSession and its own Secret say.
func TestARealRestoreIsNotBent(t *testing.T) {
	w := newWorkload(t)
	w.keys(password, "v1")
	place, err := sidecar.EncodePlace(w.task.Storage)
	w.Expect(err).NotTo(HaveOccurred())
	w.write("cairn/sidecar/"+sidecar.KeysOf(w.namespace, w.task.Repository.Name).Place(), string(place))
	credential := w.token("first")
	w.write("cairn/volumes/data/"+fileName, "text of the file")
	w.within("pod-a", time.Second, time.Minute)
	s := w.backup("snap-1", "v1", credential, "pod-a")
	id := w.eventually(s, v1alpha1.SnapshotSucceeded, "there is a backup").ID
	w.write("cairn/restore/data/"+fileName, "what the application wrote since")
	mallory := w.editor()
	for name, tt := range map[string]struct {
		bend func(*sidecar.Work)
		says string
	}{
		"another-storage": {func(work *sidecar.Work) {
			work.Task.Storage.Spec.Local = &v1alpha1.LocalStorage{SubPath: "mine"}
		}, "are for a BackupStorage with other settings"},
		"overwrite": {func(work *sidecar.Work) {
			work.Task.Restore = &task.Restore{Overwrite: v1alpha1.OverwriteAlways}
		}, `task.restore.overwrite is \"Overwrite\"`},
		"resume": {func(work *sidecar.Work) {
			work.Assignments[0].Components[0].Resume = true
		}, "the volume is not empty"},
		"another-volume": {func(work *sidecar.Work) {
			work.Assignments[0].Components[0].Volume = "logs"
		}, `volume is \"logs\"`},
		"another-path": {func(work *sidecar.Work) {
			work.Assignments[0].Components[0].Path = "sub"
		}, `path is \"sub\"`},
		"another-host":     {func(work *sidecar.Work) { work.Assignments[0].Host = "pod-1" }, "has no host pod-1"},
		"another-attempt":  {func(work *sidecar.Work) { work.Assignments[0].Attempt = 2 }, `attempt is \"2\"`},
		"another-argument": {func(work *sidecar.Work) { work.Args = []string{"--set-id"} }, `args is \"--set-id\"`},
		"a-program": {func(work *sidecar.Work) {
			work.Assignments[0].Components[0].Stream = &v1alpha1.ResolvedStream{Command: []string{"sh"}}
		}, "component data is no volume"},
	} {
		w.forge(mallory, name, func(r *v1alpha1.RestoreSession, work *sidecar.Work) {
			work.Task.Snapshot = &task.Snapshot{Name: s.Name, UID: s.UID}
			work.Assignments[0].Components[0].ID = id
			w.running(r, s, id)
			tt.bend(work)
		})
		w.logged(`"msg":"done","resource":"restoresessions","object":"`+name+`"`, "the sidecar has looked at it")
		w.logged(tt.says, name)
	}
	w.Expect(w.log.String()).NotTo(MatchRegexp(`"msg":"done","resource":"restoresessions"[^\n]*"outcome":"Succeeded"`))
	got, err := os.ReadFile(filepath.Join(w.root, "cairn/restore/data", fileName))
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(string(got)).To(Equal("what the application wrote since"))
}
