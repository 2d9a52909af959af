package restorebatch

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/restore"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// database creates a database, whose dump is the newest Snapshot of target db. It returns a change of a RestoreBatch
// that restores it and web.
func (w *world) database() func(*v1alpha1.RestoreBatch) {
	w.T.Helper()
	sessiontest.Create(w.T, w.Client, append(sessiontest.Database(w.Namespace, "db", true),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "db-auth"}})...)
	w.snapshot("fourth", "fourth", "web", 4, false)
	w.snapshot("fourth", "fourth", "db", 4, false)
	dump := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-db-fourth"}}
	bed.EditStatus(w.T, dump, func() {
		dump.Status.Components = map[string]v1alpha1.Component{"dump-shop": {
			Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverKopia, ID: "k-dump",
		}}
	})
	return func(b *v1alpha1.RestoreBatch) {
		b.Spec.Targets = []v1alpha1.RestoreBatchTarget{{Name: "web"}, {
			Name: "db", Target: &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindService, Name: "db"},
			Addon: &v1alpha1.AddonInfo{Name: "postgres-addon", Tasks: []v1alpha1.TaskReference{{
				Name:   "logical-backup-restore",
				Params: &apiextensionsv1.JSON{Raw: []byte(`{"secretName":"db-auth"}`)},
			}}},
		}}
	}
}

func TestARestoreBatchOfADatabaseThatIsMadeAnewScalesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	database := w.database()
	w.restore("back", scalesWeb, database)
	b := w.settle("back")
	w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%v", summary(b))
	w.forget("back")
	before := w.generation()
	w.restore("back", scalesWeb, database)
	w.Expect(summary(w.settle("back"))).To(Equal([]string{
		"Skipped/AlreadyRestored of ", "web: Skipped/AlreadyRestored of ", "db: Skipped/AlreadyRestored of ",
	}))
	w.Expect(w.generation()).To(Equal(before))
}

func TestARestoreBatchOfADatabaseThatIsMadeAnewNeedsNoSnapshots(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	database := w.database()
	w.restore("back", database)
	w.settle("back")
	w.forget("back")
	w.Expect(w.Client.DeleteAllOf(t.Context(), &v1alpha1.Snapshot{}, client.InNamespace(w.Namespace))).To(Succeed())
	w.restore("back", database)
	w.Expect(summary(w.settle("back"))).To(Equal([]string{"Skipped/AlreadyRestored of "}))
}

// Since then the BackupBatch has backed up another claim as the target, and nothing has filled that one.
func TestAStampOfAnotherClaimScalesTheWorkload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	only := func(b *v1alpha1.RestoreBatch) { b.Spec.Targets = b.Spec.Targets[:1] }
	w.restore("back", scalesWeb, only)
	w.settle("back")
	w.forget("back")
	newest := &v1alpha1.Snapshot{}
	w.Get("shop-web-third", newest)
	newest.ObjectMeta = metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-web-fourth", Labels: newest.Labels}
	newest.Labels[v1alpha1.LabelRestorePoint] = "fourth"
	newest.Spec.SnapshotID, newest.Spec.BackupSession, newest.Spec.AppRef.Name = "web-fourth", "fourth", "moved"
	newest.Status.SnapshotTime.Time = newest.Status.SnapshotTime.Add(time.Hour)
	sessiontest.Create(t, w.Client, sessiontest.Claim(w.Namespace, "moved"), newest)
	before := w.generation()
	w.restore("back", scalesWeb, only)
	b := w.settle("back")
	w.Expect(summary(b)).To(Equal([]string{
		"Succeeded/Succeeded of fourth", "web: Succeeded/Succeeded of fourth",
	}))
	w.Expect(b.Status.ScaledDown).To(HaveLen(1))
	w.Expect(w.generation()).To(BeNumerically(">", before))
}

// Nobody can see whether a database elsewhere still has its data, so its RestoreSession would be refused. The workloads
// must not lose their pods for that.
func TestARestoreBatchOfADatabaseElsewhereThatIsMadeAnewScalesNothing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		confirmed bool
		want      string
	}{
		"without confirm": {false, v1alpha1.ReasonConfirmationMissing},
		"with confirm":    {true, v1alpha1.ReasonConfirmationUsed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.gone(w.deployment("kubectl"))
			database := w.database()
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "db"}}
			bed.Edit(t, service, func() {
				service.Spec.Type, service.Spec.ExternalName = corev1.ServiceTypeExternalName, "db.example.com"
				service.Spec.ClusterIP, service.Spec.ClusterIPs = "", nil
			})
			elsewhere := func(b *v1alpha1.RestoreBatch) {
				database(b)
				db := &b.Spec.Targets[1]
				db.Addon.Tasks[0].Params.Raw = []byte(`{"secretName":"db-auth","image":"postgres:16.4"}`)
				if tt.confirmed {
					db.Confirm = string(service.UID)
				}
			}
			w.restore("back", scalesWeb, elsewhere)
			b := w.settle("back")
			w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%v", summary(b))
			w.forget("back")
			before := w.generation()
			w.restore("back", scalesWeb, elsewhere)
			b = w.settle("back")
			w.Expect(b.Status.Reason).To(Equal(tt.want), "%v", summary(b))
			w.Expect(w.generation()).To(Equal(before), "no workload was scaled")
			w.Expect(w.children()).To(BeEmpty())
			if tt.confirmed {
				return
			}
			w.restore("over", scalesWeb, elsewhere, func(b *v1alpha1.RestoreBatch) {
				b.Spec.Targets[1].Confirm = string(service.UID)
			})
			b = w.settle("over")
			w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%v", summary(b))
		})
	}
}

// The stamp of the claim is of an earlier version, which proves nothing: the confirmation does not count again.
func TestARestoreBatchWhoseConfirmationWasUsedScalesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "web"}}
	w.Get("web", claim)
	confirmed := func(b *v1alpha1.RestoreBatch) { b.Spec.Targets[0].Confirm = string(claim.UID) }
	w.restore("back", scalesWeb, confirmed)
	w.Expect(w.settle("back").Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
	w.forget("back")
	bed.Edit(t, claim, func() {
		claim.Annotations[v1alpha1.AnnotationRestored] = restore.ParseStamp(
			claim.Annotations[v1alpha1.AnnotationRestored]).Digest
		delete(claim.Annotations, v1alpha1.AnnotationConfirmed)
	})
	before := w.generation()
	w.restore("back", scalesWeb, confirmed)
	b := w.settle("back")
	w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonConfirmationUsed), "%v", summary(b))
	w.Expect(w.generation()).To(Equal(before))
}

// Another RestoreBatch has filled the claim since, so its stamp is of that one. The first, made again, neither
// overwrites it nor takes the pods away.
func TestARestoreBatchWhoseConfirmationWasUsedBeforeAnotherOneScalesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	claim := &corev1.PersistentVolumeClaim{}
	w.Get("web", claim)
	confirmed := func(b *v1alpha1.RestoreBatch) { b.Spec.Targets[0].Confirm = string(claim.UID) }
	w.restore("march", scalesWeb, confirmed)
	w.Expect(w.settle("march").Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
	w.restore("june", scalesWeb, func(b *v1alpha1.RestoreBatch) {
		confirmed(b)
		b.Spec.Targets[0].DeleteExtraFiles = true
	})
	w.Expect(w.settle("june").Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
	w.forget("march")
	before := w.generation()
	w.restore("march", scalesWeb, confirmed)
	b := w.settle("march")
	w.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonConfirmationUsed), "%v", summary(b))
	w.Expect(b.Status.Conditions).To(ContainElement(HaveField("Message", HaveSuffix(
		"restored now, with confirm: "+string(claim.UID)+"/4 for this target "+
			"(cairn restore --batch --confirm web/"+string(claim.UID)+"/4)"))))
	w.Expect(w.generation()).To(Equal(before))
}

// The other claim is confirmed anew, because its restore was not what the user wanted. That says nothing of web, which
// the application has used since.
func TestANewWordForOneTargetConfirmsNoOther(t *testing.T) {
	t.Parallel()
	for name, scaled := range map[string]bool{"scaled": true, "not scaled": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.gone(w.deployment("kubectl"))
			web, db := &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolumeClaim{}
			w.Get("web", web)
			w.Get("db", db)
			of := func(word string) func(*v1alpha1.RestoreBatch) {
				return func(b *v1alpha1.RestoreBatch) {
					b.Spec.Targets = []v1alpha1.RestoreBatchTarget{
						{Name: "web", Confirm: string(web.UID)}, {Name: "db", Confirm: string(db.UID) + word},
					}
					if scaled {
						scalesWeb(b)
					}
				}
			}
			w.restore("back", of(""))
			w.Expect(w.settle("back").Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded))
			w.restore("more", of("/2"))
			b := w.settle("more")
			w.Expect(summary(b)).To(ContainElement(ContainSubstring("Invalid/ConfirmationUsed")), "of web")
			w.Expect(summary(b)).NotTo(ContainElement(HavePrefix("web: Succeeded")))
		})
	}
}
