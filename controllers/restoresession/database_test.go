package restoresession

import (
	"testing"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/kube/read"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// intoService restores the Snapshot dumps into the Service db.
func intoService(params string) func(*v1alpha1.RestoreSession) {
	return func(s *v1alpha1.RestoreSession) {
		s.Spec.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindService, Name: "db"}
		s.Spec.DataSource = &v1alpha1.RestoreDataSource{Snapshot: "dumps"}
		s.Spec.Addon = &v1alpha1.AddonInfo{Name: "postgres-addon", Tasks: []v1alpha1.TaskReference{{
			Name: "logical-backup-restore", Params: &apiextensionsv1.JSON{Raw: []byte(params)},
		}}}
	}
}

const auth = `{"secretName":"db-auth"}`

func databaseWorld(t testing.TB, ready bool) (*world, *corev1.Service) {
	t.Helper()
	w := newWorld(t)
	objects := sessiontest.Database(w.Namespace, "db", ready)
	sessiontest.Create(t, w.Client,
		append(objects, w.newSnapshot("dumps", v1alpha1.SnapshotSucceeded, 0, "dump-shop", "dump-crm"))...)
	return w, objects[0].(*corev1.Service)
}

func (w *world) mark(service *corev1.Service) *coordinationv1.Lease {
	w.T.Helper()
	mark := &coordinationv1.Lease{}
	w.Get(read.DatabaseMarkName(service.UID), mark)
	return mark
}

func TestADatabaseIsRestoredOnce(t *testing.T) {
	t.Parallel()
	w, service := databaseWorld(t, true)
	w.restore("restore", intoService(auth))
	w.Reconcile("restore")
	w.Expect(w.mark(service).Annotations).
		To(HaveKeyWithValue(v1alpha1.AnnotationRestoring, string(w.session("restore").UID)))
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Succeeded/Succeeded"))
	w.Expect(s.Status.Resolved.TargetUID).To(Equal(service.UID))
	jobs := w.Jobs()
	w.Expect(jobs).To(HaveLen(1), "one Job restores all components of the database")
	pod := jobs[0].Spec.Template.Spec
	w.Expect(pod.InitContainers[1].Name).To(Equal(task.ProgramContainer))
	w.Expect(pod.InitContainers[1].Image).To(Equal(sessiontest.DatabaseImage), "the image of the database")
	w.Expect(pod.InitContainers[0].Image).To(Equal("mover:test"))
	w.Expect(pod.Containers[0].Image).To(Equal("mover:test"))
	w.Expect(pod.ImagePullSecrets).To(ConsistOf(corev1.LocalObjectReference{Name: "registry"}))
	components := kubelet.TaskOf(&jobs[0]).Components
	w.Expect(components).To(HaveLen(2))
	w.Expect(components[1].ID).To(Equal("k-dumps-dump-shop"))
	w.Expect(components[1].Stream.Command[0]).To(Equal("pg_restore"))
	w.Expect(components[1].Stream.Probe).NotTo(BeNil())
	w.Expect(components[1].Stream.Args).NotTo(ContainElement(HaveField("Value", "--clean")))

	mark := w.mark(service)
	server := &corev1.Pod{}
	w.Get(service.Name+"-0", server)
	w.Expect(mark.Annotations).To(Equal(map[string]string{v1alpha1.AnnotationRestored: restore.Stamp{
		Digest: s.Status.Resolved.SpecDigest, Target: service.UID, Volume: string(server.UID), Claims: 1,
		Name: "restore",
	}.String()}))
	w.Expect(mark.OwnerReferences).To(ConsistOf(HaveField("UID", service.UID)))

	w.forget("restore")
	w.restore("restore", intoService(auth))
	w.Expect(ending(w.settle("restore"))).To(Equal("Skipped/AlreadyRestored"))
	w.Expect(w.Jobs()).To(BeEmpty())
	w.restore("confirmed", intoService(auth), func(s *v1alpha1.RestoreSession) { s.Spec.Confirm = string(service.UID) })
	w.Expect(ending(w.settle("confirmed"))).
		To(Equal("Succeeded/Succeeded"), "a restore with confirm is another restore")
	for _, job := range w.Jobs() {
		if t := kubelet.TaskOf(&job); t.RestoreSession.Name == "confirmed" {
			w.Expect(t.Restore.Overwrite).To(Equal(v1alpha1.OverwriteAlways))
			w.Expect(t.Components[0].Stream.Args).To(ContainElement(HaveField("Value", "--clean")))
		}
	}
}

// Nothing tells whether a database of several pods still has its data: all volumes can be new behind the same Service.
func TestADatabaseOfSeveralPodsIsRestoredAgain(t *testing.T) {
	t.Parallel()
	w, service := databaseWorld(t, true)
	slice := &discoveryv1.EndpointSlice{}
	w.Get("db", slice)
	slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.1.2.4"}})
	w.Expect(w.Client.Update(t.Context(), slice)).To(Succeed())
	w.restore("first", intoService(auth))
	w.Expect(ending(w.settle("first"))).To(Equal("Succeeded/Succeeded"))
	w.forget("first")
	w.restore("first", intoService(auth))
	w.Expect(ending(w.settle("first"))).To(Equal("Succeeded/Succeeded"))
	w.Expect(w.Jobs()).To(HaveLen(1))
	for _, job := range w.Jobs() {
		in := kubelet.TaskOf(&job)
		w.Expect(in.Restore).To(Or(BeNil(), HaveField("Overwrite", BeEmpty())), "only an empty database is filled")
		w.Expect(in.Components[0]).To(And(HaveField("Resume", BeFalse()), HaveField("Stream.Probe", Not(BeNil()))))
	}
	confirm := func(s *v1alpha1.RestoreSession) { s.Spec.Confirm = string(service.UID) }
	w.restore("confirmed", intoService(auth), confirm)
	w.Expect(ending(w.settle("confirmed"))).To(Equal("Succeeded/Succeeded"))
	w.restore("confirmed-again", intoService(auth), confirm)
	w.Expect(ending(w.settle("confirmed-again"))).To(Equal("Invalid/ConfirmationUsed"))
}

// A Secret of the Service Binding specification names the Addon that restores, as it names the one that backs up.
func TestTheAddonOfARestoreIntoABinding(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]struct{ ending, says string }{
		"servicebinding.io/postgresql": {ending: "Succeeded/Succeeded"},
		"servicebinding.io/mongodb":    {"Invalid/AddonNotFound", "for which there is no built-in Addon"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w, _ := databaseWorld(t, true)
			sessiontest.Create(t, w.Client, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "binding"}, Type: corev1.SecretType(kind),
				Data: map[string][]byte{
					"host": []byte("db"), "port": []byte("5432"), "username": []byte("u"),
					"password": []byte("hush-hush"),
				},
			})
			w.restore("restore", intoService(auth), func(s *v1alpha1.RestoreSession) {
				s.Spec.Target, s.Spec.Addon = &v1alpha1.TypedObjectReference{
					Kind: v1alpha1.KindSecret, Name: "binding",
				}, nil
			})
			s := w.settle("restore")
			w.Expect(ending(s)).To(Equal(want.ending))
			if want.says != "" {
				w.Expect(s.Status.Conditions).To(ContainElement(HaveField("Message", ContainSubstring(want.says))))
				w.Expect(w.Jobs()).To(BeEmpty())
				return
			}
			w.Expect(s.Status.Resolved.Task).
				To(And(HaveField("Addon", "postgres-addon"), HaveField("Task", "logical-backup-restore")))
		})
	}
}

func TestRestoresIntoDatabasesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		notReady bool
		edit     func(*world, *v1alpha1.RestoreSession)
		want     string
		says     string
	}{
		"not ready": {
			notReady: true, edit: func(*world, *v1alpha1.RestoreSession) {}, want: "Failed/TargetNotReady",
			says: "no endpoint that is ready",
		},
		"no Service": {
			edit: func(_ *world, s *v1alpha1.RestoreSession) { s.Spec.Target.Name = "gone" },
			want: "Invalid/TargetNotFound", says: "there is no Service/gone",
		},
		"no credentials": {
			edit: func(_ *world, s *v1alpha1.RestoreSession) { intoService(`{}`)(s) },
			want: "Invalid/InvalidParameters", says: "parameter secretName",
		},
		"confirm of another": {
			edit: func(_ *world, s *v1alpha1.RestoreSession) { s.Spec.Confirm = "other" },
			want: "Invalid/ConfirmationWrong",
			says: "confirm names other",
		},
		"volumes": {
			edit: func(_ *world, s *v1alpha1.RestoreSession) {
				s.Spec.Addon.Tasks[0].TargetVolumes = &v1alpha1.TargetVolumes{VolumeMounts: []corev1.VolumeMount{{
					Name:      "data",
					MountPath: "/data",
				}}}
			},
			want: "Invalid/ResourceValidationFailed", says: "spec.addon.tasks[0].targetVolumes: a database",
		},
		"files that are named": {
			edit: func(_ *world, s *v1alpha1.RestoreSession) {
				intoService(`{"secretName":"db-auth","include":"a"}`)(s)
			},
			want: "Invalid/InvalidParameters", says: `no parameter "include"`,
		},
		"a Snapshot of a volume": {
			edit: func(_ *world, s *v1alpha1.RestoreSession) { s.Spec.DataSource.Snapshot = "first" },
			want: "Invalid/ComponentNotFound", says: "is not the dump of a database",
		},
		"a kind that the cluster lacks": {
			edit: func(_ *world, s *v1alpha1.RestoreSession) {
				s.Spec.Target = &v1alpha1.TypedObjectReference{
					APIGroup: v1alpha1.GroupCluster, Kind: v1alpha1.KindCluster,
					Name: "pg",
				}
			},
			want: "Invalid/TargetNotFound", says: "CustomResourceDefinition is not installed",
		},
		"a task that can't see what is there": {
			edit: func(w *world, s *v1alpha1.RestoreSession) {
				name := "blind-" + w.Namespace
				s.Spec.Addon.Name = name
				sessiontest.Create(w.T, w.Client, &v1alpha1.Addon{
					ObjectMeta: metav1.ObjectMeta{Name: name},
					Spec: v1alpha1.AddonSpec{RestoreTasks: []v1alpha1.Task{{
						Name: "logical-backup-restore", Function: name,
						Parameters: []v1alpha1.TaskParameter{{Parameter: v1alpha1.Parameter{Name: "secretName"}}},
					}}},
				}, &v1alpha1.Function{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.FunctionSpec{
					Image: "${targetImage}", Args: []string{"restore"},
					Stream: &v1alpha1.FunctionStream{Command: []string{"load"}, FileName: "dump"},
				}})
			},
			want: "Invalid/ConfirmationMissing", says: "spec.confirm: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := databaseWorld(t, !tc.notReady)
			w.restore("restore", intoService(auth), func(s *v1alpha1.RestoreSession) { tc.edit(w, s) })
			w.Reconcile("restore")
			// Wait as long as the restore waits for the missing object.
			w.Clock.SetTime(w.Clock.Now().Add(2 * waitForTarget))
			s := w.settle("restore")
			w.Expect(ending(s)).To(Equal(tc.want))
			w.Expect(s.Status.Conditions).To(ContainElement(HaveField("Message", ContainSubstring(tc.says))))
			w.Expect(w.Jobs()).To(BeEmpty())
		})
	}
}

// Two restores never write into a database at the same time: the second is refused with the name of the first.
func TestADatabaseIsOneRestoresAtATime(t *testing.T) {
	t.Parallel()
	w, service := databaseWorld(t, true)
	w.restore("first", intoService(auth))
	w.Reconcile("first")
	w.restore("second", intoService(`{"secretName":"other"}`))
	s := w.settle("second")
	w.Expect(ending(s)).To(Equal("Failed/RestoreInProgress"))
	w.Expect(ending(w.settle("first"))).To(Equal("Succeeded/Succeeded"))
	w.Expect(w.mark(service).Annotations).NotTo(HaveKey(v1alpha1.AnnotationRestoring))
}

// The same server has two names: two restores by these don't write into it at the same time, and none writes while a
// backup by the other name reads.
func TestADatabaseWithTwoNames(t *testing.T) {
	t.Parallel()
	w, _ := databaseWorld(t, true)
	for _, o := range sessiontest.Database(w.Namespace, "db", true) {
		if _, isPod := o.(*corev1.Pod); isPod {
			continue
		}
		o.SetName("alias")
		if _, isSlice := o.(*discoveryv1.EndpointSlice); isSlice {
			o.SetLabels(map[string]string{discoveryv1.LabelServiceName: "alias"})
		}
		sessiontest.Create(t, w.Client, o)
	}
	w.restore("first", intoService(auth))
	w.Reconcile("first")
	w.restore("second", intoService(auth), func(s *v1alpha1.RestoreSession) { s.Spec.Target.Name = "alias" })
	w.Expect(ending(w.settle("second"))).To(Equal("Failed/RestoreInProgress"))
	w.Expect(ending(w.settle("first"))).To(Equal("Succeeded/Succeeded"))
}

func TestARestoreIntoADatabaseKilledAtAnyWrite(t *testing.T) {
	t.Parallel()
	undisturbed, _ := databaseWorld(t, true)
	killer := undisturbed.Killer
	undisturbed.restore("restore", intoService(auth))
	undisturbed.Expect(ending(undisturbed.settle("restore"))).To(Equal("Succeeded/Succeeded"))
	for name, killer := range sessiontest.KillPoints(killer.Count()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, service := databaseWorld(t, true)
			w.Killer = killer
			w.restore("restore", intoService(auth))
			w.Expect(ending(w.settle("restore"))).To(Equal("Succeeded/Succeeded"))
			w.Expect(w.Jobs()).To(HaveLen(1))
			w.Expect(w.mark(service).Annotations).To(HaveLen(1))
		})
	}
}

// A Service that was deleted and recreated after the restore was frozen is another database.
func TestADatabaseThatIsAnotherOneNow(t *testing.T) {
	t.Parallel()
	w, service := databaseWorld(t, true)
	w.restore("restore", intoService(auth))
	w.Killer = &sessiontest.Killer{At: 3} // after adopt and freeze
	w.Reconcile("restore")
	w.Expect(w.session("restore").Status.Resolved).NotTo(BeNil())
	w.Expect(w.Client.Delete(t.Context(), service)).To(Succeed())
	w.Expect(client.IgnoreAlreadyExists(w.Client.Create(t.Context(),
		sessiontest.Database(w.Namespace, "db", true)[0]))).
		To(Succeed())
	w.Killer = &sessiontest.Killer{}
	s := w.settle("restore")
	w.Expect(ending(s)).To(Equal("Failed/TargetNotFound"))
	w.Expect(w.Jobs()).To(BeEmpty())
}
