package restorebatch

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/run"
	"github.com/cairn-backup/cairn/internal/testbed/sessiontest"
)

// The RestoreSession of a target refuses what is wrong with its task. By then the application has lost its pods, hooks
// have run, and other targets are overwritten.
func TestATaskThatIsRefusedIsFoundBeforeAnythingIsTouched(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		edit   func(w *world, db *v1alpha1.RestoreBatchTarget)
		reason string
		says   string
	}{
		"an argument": {func(_ *world, db *v1alpha1.RestoreBatchTarget) {
			args(db, "--list")
		}, v1alpha1.ReasonInvalidParameters, "pg_restore would load nothing"},
		"an argument beside a confirmation": {func(w *world, db *v1alpha1.RestoreBatchTarget) {
			args(db, "--table=items")
			service := &corev1.Service{}
			w.Get("db", service)
			db.Confirm = string(service.UID)
		}, v1alpha1.ReasonInvalidParameters, "would drop more than it brings back"},
		"a task for volumes": {func(_ *world, db *v1alpha1.RestoreBatchTarget) {
			db.Addon = &v1alpha1.AddonInfo{
				Name: catalog.VolumeAddon, Tasks: []v1alpha1.TaskReference{{Name: catalog.RestoreTask}},
			}
		}, v1alpha1.ReasonInvalidTask, "is for volumes"},
		"no Secret": {func(_ *world, db *v1alpha1.RestoreBatchTarget) {
			db.Addon.Tasks[0].Params = nil
		}, v1alpha1.ReasonInvalidParameters, "set the parameter secretName"},
		"a Secret that never comes": {func(_ *world, db *v1alpha1.RestoreBatchTarget) {
			db.Addon.Tasks[0].Params = catalog.NewParams(map[string]string{"secretName": "db-aut"})
		}, v1alpha1.ReasonDatabaseSecretNotAvailable, "/db-aut, which the parameter secretName names"},
		"a dump into a volume": {func(w *world, db *v1alpha1.RestoreBatchTarget) {
			db.Target = &v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "db"}
			db.Addon = nil
			dump := &v1alpha1.Snapshot{}
			w.Get("shop-db-fourth", dump)
			w.Expect(w.Client.Delete(w.T.Context(), dump)).To(Succeed())
			dump.ResourceVersion, dump.UID, dump.Spec.AppRef.Kind = "", "", v1alpha1.KindService
			sessiontest.Create(w.T, w.Client, dump)
		}, v1alpha1.ReasonAddonNotFound, "the target is a volume"},
		"an Addon that never comes": {func(_ *world, db *v1alpha1.RestoreBatchTarget) {
			db.Addon.Name = "postgre-addon"
		}, v1alpha1.ReasonAddonNotFound, `there is no Addon "postgre-addon"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.gone(w.deployment("kubectl"))
			l, before := sessiontest.Listen(t), w.generation()
			w.hooked(l, w.database(), scalesWeb, func(b *v1alpha1.RestoreBatch) { tc.edit(w, &b.Spec.Targets[1]) })
			w.Reconcile("back")
			w.Clock.SetTime(w.Clock.Now().Add(2 * run.WaitForChild))
			b := w.drive()
			w.Expect(b.Status.Reason).To(Equal(tc.reason), "%v", summary(b))
			w.Expect(apimeta.FindStatusCondition(b.Status.Conditions, "Ready").Message).To(And(
				HavePrefix("target db: "), ContainSubstring(tc.says)))
			w.Expect(w.children()).To(BeEmpty())
			w.Expect(l.Heard()).NotTo(ContainElement(HavePrefix("stop")))
			w.Expect(w.generation()).To(Equal(before))
		})
	}
}

// A Function of one's own takes the image that fits the version of the database, which only the database tells.
func TestATaskThatNamesTheVersionOfTheDatabaseIsLeftToItsRestoreSession(t *testing.T) {
	t.Parallel()
	for variable, versions := range map[string][]string{"targetVersion": nil, "DB_VERSION": {"13.2", "16.3", "18.1"}} {
		t.Run(variable, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			own := "own-" + strings.ToLower(strings.ReplaceAll(variable, "_", ""))
			f, addon := &v1alpha1.Function{}, &v1alpha1.Addon{}
			w.Expect(w.Client.Get(t.Context(), client.ObjectKey{Name: "postgres-restore"}, f)).To(Succeed())
			w.Expect(w.Client.Get(t.Context(), client.ObjectKey{Name: "postgres-addon"}, addon)).To(Succeed())
			f.ObjectMeta, addon.ObjectMeta = metav1.ObjectMeta{Name: own}, metav1.ObjectMeta{Name: own}
			f.Spec.Image, f.Spec.AvailableVersions = "registry.example/own:${"+variable+"}", versions
			catalog.FindTask(addon, "logical-backup-restore", true).Function = own
			sessiontest.Create(t, w.Client, f, addon)
			w.restore("back", w.database(), func(b *v1alpha1.RestoreBatch) { b.Spec.Targets[1].Addon.Name = own })
			w.Expect(summary(w.settle("back"))).To(ContainElement("db: Succeeded/Succeeded of fourth"))
		})
	}
}

// A Service names a Secret although its Redis has no password.
func TestADatabaseWithoutAPasswordNeedsNoSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.gone(w.deployment("kubectl"))
	w.restore("back", w.database(), func(b *v1alpha1.RestoreBatch) {
		dump := &v1alpha1.Snapshot{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-db-fourth"}}
		bed.EditStatus(t, dump, func() {
			dump.Status.Components = map[string]v1alpha1.Component{"dump": {
				Phase: v1alpha1.SnapshotSucceeded, Driver: v1alpha1.DriverKopia, ID: "k-dump",
			}}
		})
		addon := b.Spec.Targets[1].Addon
		addon.Name = "redis-addon"
		addon.Tasks[0].Params = catalog.NewParams(map[string]string{"secretName": "none"})
	})
	b := w.settle("back")
	w.Expect(b.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%v", summary(b))
}

// args adds arguments of the program to the parameters of a database.
func args(t *v1alpha1.RestoreBatchTarget, args string) {
	t.Addon.Tasks[0].Params = catalog.NewParams(map[string]string{"secretName": "db-auth", "args": args})
}
