package backupsession

import (
	"encoding/json"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
	"github.com/cairn-backup/cairn/internal/workload"
)

// ofDatabase makes the target of a policy a database.
func ofDatabase(w *world, kind, name, params string) func(*v1alpha1.BackupConfiguration) {
	target := v1alpha1.TypedObjectReference{Kind: kind, Name: name}
	sessiontest.Create(w.T, w.Client, sessiontest.Repository(w.Namespace, "db", w.Storage, target))
	return func(c *v1alpha1.BackupConfiguration) {
		c.Spec.Target = &target
		c.Spec.Sessions[0].Addon = addon("postgres-addon")
		c.Spec.Sessions[0].Addon.Tasks[0].Params = &apiextensionsv1.JSON{Raw: []byte(params)}
		c.Spec.Sessions[0].Repositories = []v1alpha1.RepositoryInfo{repository("db")}
	}
}

func TestADatabaseIsBackedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sessiontest.Create(t, w.Client, sessiontest.Database(w.Namespace, "db", true)...)
	w.configuration(ofDatabase(w, v1alpha1.KindService, "db", `{"secretName":"db-auth","databases":"shop,crm"}`))
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	s := w.settle("run")
	w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
	target := s.Status.Resolved.Targets[0]
	w.Expect(target.Task.Image).To(Equal(sessiontest.DatabaseImage))
	w.Expect(target.Task.Database).To(Equal(&v1alpha1.ResolvedDatabase{
		MoverImage: "mover:test", Server: "Pod/db-0", SecretName: "db-auth",
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
	}))
	w.Expect(target.Hosts).To(HaveLen(1))
	w.Expect(target.Hosts[0].Name).To(Equal(workload.HostTarget))
	w.Expect(target.Hosts[0].Volumes).To(HaveLen(2))
	w.Expect(target.Hosts[0].Volumes[0].Component).To(Equal("dump-shop"))
	stream := target.Hosts[0].Volumes[0].Stream
	w.Expect(stream.Command[0]).To(Equal("pg_dump"))
	w.Expect(stream.Env).To(ContainElements(
		v1alpha1.StreamEnv{Name: "PGHOST", Value: "db." + w.Namespace + ".svc"},
		v1alpha1.StreamEnv{Name: "PGPORT", Value: "5432"}))
	w.Expect(w.snapshot("db-run").Status.Components).To(And(HaveKey("dump-shop"), HaveKey("dump-crm")))
	w.Expect(w.Jobs()).To(HaveLen(1))
}

// A Secret of the Service Binding specification holds everything that is needed.
func TestADatabaseOfABinding(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sessiontest.Create(t, w.Client, append(sessiontest.Database(w.Namespace, "db", true), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "binding"}, Type: "servicebinding.io/postgresql",
		Data: map[string][]byte{
			"type": []byte("postgresql"), "host": []byte("db"), "port": []byte("5432"),
			"username": []byte("u"), "password": []byte("hush-hush"), "database": []byte("app"),
		},
	})...)
	w.configuration(ofDatabase(w, v1alpha1.KindSecret, "binding", `{}`),
		func(c *v1alpha1.BackupConfiguration) { c.Spec.Sessions[0].Addon = nil })
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	s := w.settle("run")
	w.Expect(summary(s)[0]).To(Equal("Succeeded/Succeeded"))
	target := s.Status.Resolved.Targets[0]
	w.Expect(target.Task.Addon).To(Equal("postgres-addon"), "inferred from the type")
	w.Expect(target.Task.Database.SecretName).To(Equal("binding"))
	w.Expect(target.Hosts[0].Volumes[0].Component).To(Equal("dump-app"), "the database that the binding names")
	text, err := json.Marshal(s)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(string(text)).NotTo(ContainSubstring("hush-hush"))
}

// Cairn does not guess the Addon of an object that does not name its database.
func TestAnAddonThatCantBeInferred(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ secret, reason, says string }{
		"a type without an Addon": {
			"mongo", v1alpha1.ReasonAddonNotFound,
			`has the type "servicebinding.io/mongodb", for which there is no built-in Addon`,
		},
		"no type":   {"enc", v1alpha1.ReasonAddonNotFound, "does not tell the type of its database"},
		"no object": {"gone", v1alpha1.ReasonTargetNotFound, "there is no Secret/gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			sessiontest.Create(t, w.Client, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "mongo"},
				Type:       "servicebinding.io/mongodb",
			})
			w.configuration(ofDatabase(w, v1alpha1.KindSecret, tc.secret, `{}`),
				func(c *v1alpha1.BackupConfiguration) { c.Spec.Sessions[0].Addon = nil })
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			w.Reconcile("run")
			w.Clock.SetTime(w.Clock.Now().Add(2 * run.WaitForRepository))
			s := w.settle("run")
			w.Expect(summary(s)).To(Equal([]string{"Failed/" + s.Status.Reason, "uploads: Failed/" + tc.reason}))
			w.Expect(s.Status.Targets[0].Message).To(ContainSubstring(tc.says))
			w.Expect(w.Jobs()).To(BeEmpty())
		})
	}
}

func TestDatabasesThatAreNotBackedUp(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ready  bool
		kind   string
		name   string
		params string
		reason string
		says   string
	}{
		"not ready": {
			kind: v1alpha1.KindService, name: "db", params: `{"secretName":"a"}`,
			reason: v1alpha1.ReasonTargetNotReady, says: "no endpoint that is ready",
		},
		"no Service": {
			ready: true, kind: v1alpha1.KindService, name: "gone", params: `{"secretName":"a"}`,
			reason: v1alpha1.ReasonTargetNotFound, says: "there is no Service/gone",
		},
		"no credentials": {
			ready: true, kind: v1alpha1.KindService, name: "db", params: `{}`,
			reason: v1alpha1.ReasonInvalidParameters, says: "parameter secretName",
		},
		"no such port": {
			ready: true, kind: v1alpha1.KindService, name: "db", params: `{"secretName":"a","port":"x"}`,
			reason: v1alpha1.ReasonTargetUnknown, says: "parameter port",
		},
		"an unknown param": {
			ready: true, kind: v1alpha1.KindService, name: "db",
			params: `{"secretName":"a","backupCmd":"pg_dump"}`, reason: v1alpha1.ReasonInvalidParameters,
			says: `no parameter "backupCmd"`,
		},
		"any Secret": {
			ready: true, kind: v1alpha1.KindSecret, name: "enc", params: `{}`,
			reason: v1alpha1.ReasonTargetUnknown, says: "name the Service of the database",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			sessiontest.Create(t, w.Client, sessiontest.Database(w.Namespace, "db", tc.ready)...)
			w.configuration(ofDatabase(w, tc.kind, tc.name, tc.params))
			w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
			w.Reconcile("run")
			w.Clock.SetTime(w.Clock.Now().Add(2 * run.WaitForDatabase))
			s := w.settle("run")
			w.Expect(summary(s)).To(Equal([]string{"Failed/" + s.Status.Reason, "uploads: Failed/" + tc.reason}))
			w.Expect(s.Status.Targets[0].Message).To(ContainSubstring(tc.says))
			w.Expect(w.Jobs()).To(BeEmpty())
		})
	}
}

// A run waits for a database that becomes ready in time.
func TestADatabaseThatComesUpIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	objects := sessiontest.Database(w.Namespace, "db", false)
	sessiontest.Create(t, w.Client, objects...)
	w.configuration(ofDatabase(w, v1alpha1.KindService, "db", `{"secretName":"a"}`))
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	w.Reconcile("run")
	w.Expect(w.session("run").Status.Reason).To(Equal(v1alpha1.ReasonTargetNotReady))
	slice := objects[2].(*discoveryv1.EndpointSlice)
	slice.Endpoints[0].Conditions.Ready = new(true)
	w.Expect(w.Client.Update(t.Context(), slice)).To(Succeed())
	s := w.settle("run")
	w.Expect(summary(s)[0]).To(Equal("Succeeded/Succeeded"))
	w.Expect(s.Status.Resolved.Targets[0].Hosts[0].Volumes[0].Stream.Command[0]).To(Equal("pg_dumpall"))
}

// A database into which a restore writes is not backed up, by whatever name.
func TestADatabaseThatIsBeingRestoredIsSkipped(t *testing.T) {
	t.Parallel()
	t.Run("by its name", func(t *testing.T) {
		t.Parallel()
		skipsWhatIsRestored(t, "db", func(service types.UID, resolved *v1alpha1.ResolvedRestore) {
			resolved.TargetUID = service
		})
	})
	t.Run("by another name", func(t *testing.T) {
		t.Parallel()
		skipsWhatIsRestored(t, "binding", func(_ types.UID, resolved *v1alpha1.ResolvedRestore) {
			resolved.Task.Database = &v1alpha1.ResolvedDatabase{
				MoverImage: "mover:test", SecretName: "a", Server: "Pod/db-0",
			}
		})
	})
}

func skipsWhatIsRestored(t *testing.T, target string, resolve func(types.UID, *v1alpha1.ResolvedRestore)) {
	t.Helper()
	w := newWorld(t)
	objects := sessiontest.Database(w.Namespace, "db", true)
	sessiontest.Create(t, w.Client, objects...)
	w.configuration(ofDatabase(w, v1alpha1.KindService, "db", `{"secretName":"a"}`))
	restore := &v1alpha1.RestoreSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "restore"},
		Spec: v1alpha1.RestoreSessionSpec{
			Target:     &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindService, Name: target},
			DataSource: &v1alpha1.RestoreDataSource{Snapshot: "x"},
		},
	}
	sessiontest.Create(t, w.Client, restore)
	restore.Status = v1alpha1.RestoreSessionStatus{
		Phase: v1alpha1.RestoreSessionRunning,
		Resolved: &v1alpha1.ResolvedRestore{
			Snapshot: "x",
			Repository: v1alpha1.ResolvedRepository{
				Name: "db", StorageRef: v1alpha1.ObjectReference{Name: "s"},
				EncryptionSecret: v1alpha1.ObjectReference{Name: "e"},
			},
		},
	}
	resolve(objects[0].GetUID(), restore.Status.Resolved)
	w.Expect(w.Client.Status().Update(t.Context(), restore)).To(Succeed())
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	s := w.settle("run")
	w.Expect(s.Status.Targets[0]).
		To(And(HaveField("Phase", v1alpha1.BackupSessionSkipped),
			HaveField("Reason", v1alpha1.ReasonRestoreInProgress)))
}

// databaseOnClaim creates the database db with its data on the claim data-db-0. It returns what names its server.
func (w *world) databaseOnClaim() *discoveryv1.EndpointSlice {
	w.T.Helper()
	objects := sessiontest.Database(w.Namespace, "db", true)
	pod := objects[1].(*corev1.Pod)
	pod.Spec.NodeName = "node-a"
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(999))}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-db-0"},
	}}}
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/var/lib/mysql"}}
	sessiontest.Create(w.T, w.Client, append(objects, sessiontest.Claim(w.Namespace, "data-db-0"))...)
	return objects[2].(*discoveryv1.EndpointSlice)
}

// physical makes a policy back up the files of a server.
func physical(c *v1alpha1.BackupConfiguration) {
	c.Spec.Sessions[0].Addon.Name, c.Spec.Sessions[0].Addon.Tasks[0].Name = "mariadb-addon", "physical-backup"
}

// A restore has left the files of a server half written. A backup of the server is no good state to restore, whichever
// way it is made.
func TestABackupOfAServerWithHalfRestoredFilesIsMarked(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*v1alpha1.BackupConfiguration){
		"a dump": func(*v1alpha1.BackupConfiguration) {}, "its files": physical,
	} {
		for _, half := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.databaseOnClaim()
				claim := &corev1.PersistentVolumeClaim{}
				w.Get("data-db-0", claim)
				target := string(claim.UID)
				if !half {
					target = "another"
				}
				bed.Edit(t, claim, func() {
					claim.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: "broke-off/uid/" + target}
				})
				w.configuration(ofDatabase(w, v1alpha1.KindService, "db", `{"secretName":"db-auth"}`), edit)
				w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
				w.Expect(summary(w.settle("run"))[0]).To(Equal("Succeeded/Succeeded"), "data is data")
				snap := w.snapshot("db-run")
				w.Expect(restore.HalfRestoredOf(snap) != "").To(Equal(half))
			})
		}
	}
}

// A task that reads the files of its server runs on the server's node, as the user who wrote them, and sees them at the
// server's paths.
func TestTheFilesOfADatabaseAreBackedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slice := w.databaseOnClaim()
	w.configuration(ofDatabase(w, v1alpha1.KindService, "db", `{"secretName":"db-auth"}`), physical)
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "run")
	s := w.settle("run")
	w.Expect(summary(s)).To(Equal([]string{"Succeeded/Succeeded", "uploads: Succeeded/Succeeded"}))
	host := s.Status.Resolved.Targets[0].Hosts[0]
	w.Expect(host.Node).To(Equal("node-a"))
	w.Expect(host.SecurityContext.RunAsUser).To(HaveValue(Equal(int64(999))))
	w.Expect(host.Volumes).To(HaveLen(1))
	w.Expect(host.Volumes[0]).
		To(And(HaveField("ClaimName", "data-db-0"), HaveField("MountPath", "/var/lib/mysql"), HaveField("Path", "")))
	job := w.Jobs()[0].Spec.Template.Spec
	program := job.InitContainers[1]
	w.Expect(program.Name).To(Equal(task.ProgramContainer))
	w.Expect(program.VolumeMounts).
		To(ContainElement(And(HaveField("MountPath", "/var/lib/mysql"), HaveField("ReadOnly", true))))
	w.Expect(program.Image).To(Equal(sessiontest.DatabaseImage))
	w.Expect(job.Containers[0].Image).To(Equal("mover:test"))

	// Nobody knows which of two servers would answer.
	slice.Endpoints = append(slice.Endpoints, *slice.Endpoints[0].DeepCopy())
	slice.Endpoints[1].TargetRef.Name = "db-1"
	w.Expect(w.Client.Update(t.Context(), slice)).To(Succeed())
	w.run(v1alpha1.BackupConfigurationKind, "uploads", "again")
	s = w.settle("again")
	w.Expect(s.Status.Targets[0]).
		To(And(HaveField("Reason", v1alpha1.ReasonInvalidTask),
			HaveField("Message", ContainSubstring("a Service with exactly one pod"))))
	w.Expect(w.Jobs()).To(HaveLen(1))
}
