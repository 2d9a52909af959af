package e2e

import (
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// TestSmallestPolicy backs a volume up into the default storage, with a policy that names nothing but the volume.
func TestSmallestPolicy(t *testing.T) {
	t.Parallel()
	bed := deployed(t)
	g := NewWithT(t)
	app := deployVolumeApp(t, bed, "smallest", 3, 1000)
	defaults := client.RawPatch(types.MergePatchType,
		[]byte(`{"spec":{"default":true,"encryptionSecret":{"name":"encryption"}}}`))
	g.Expect(bed.Client.Patch(t.Context(), app.storage("s3"), defaults)).To(Succeed())
	applyTo(t, bed, app.namespace, `
apiVersion: backup.cairn.dev/v1alpha1
kind: BackupConfiguration
metadata: {name: data}
spec:
  target: {kind: PersistentVolumeClaim, name: data}
  sessions:
  - name: manual
`)
	configuration := app.configuration("data")
	waitReady(t, bed, configuration, metav1.ConditionTrue, "")
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(configuration), configuration)).To(Succeed())
	resolved := configuration.Status.Resolved.Sessions[0]
	g.Expect(resolved.Addon + "/" + resolved.Task).To(Equal("pvc-addon/logical-backup"))
	directory := resolved.Repositories[0].Directory
	g.Expect(directory).To(MatchRegexp("^/[0-9a-f]{8}/smallest/persistentvolumeclaim/data$"))

	name := app.start(t, "data")
	waitPhase(t, app, name, v1alpha1.BackupSessionSucceeded)
	g.Expect(app.snapshot(t, name).Status.Phase).To(Equal(v1alpha1.SnapshotSucceeded))
	g.Expect(app.inBackend(t, directory[1:])).To(HaveLen(1))
	app.defaultRetention(t, app.snapshot(t, name))
	g.Expect(app.inBackend(t, directory[1:])).To(HaveLen(1), "the data of the first one is removed")
}

// defaultRetention makes a default RetentionPolicy that keeps one Snapshot, which the next backup replaces.
func (a *volumeApp) defaultRetention(t *testing.T, first *v1alpha1.Snapshot) {
	g := NewWithT(t)
	applyTo(t, a.bed, a.namespace, `
apiVersion: backup.cairn.dev/v1alpha1
kind: RetentionPolicy
metadata: {name: one}
spec:
  default: true
  successfulSnapshots: {last: 1}
`)
	want := v1alpha1.ObjectReference{Namespace: a.namespace, Name: "one"}
	repository, configuration := a.repository("data"), a.configuration("data")
	g.Expect(testbed.Poll(t.Context(), patience, "the default policy to be in force", func(ctx contextT) (bool, error) {
		err := a.bed.Client.Get(ctx, client.ObjectKeyFromObject(repository), repository)
		return err == nil && repository.Status.DefaultRetention != nil &&
			repository.Status.DefaultRetention.Ref == want, err
	})).To(Succeed())
	g.Expect(repository.Status.DefaultRetention.RemovesAfter).To(BeNil(), "it lets nothing go that is there")
	g.Expect(testbed.Poll(t.Context(), patience, "the policy to say so", func(ctx contextT) (bool, error) {
		err := a.bed.Client.Get(ctx, client.ObjectKeyFromObject(configuration), configuration)
		if err != nil || configuration.Status.Resolved == nil || len(configuration.Status.Backends) != 1 {
			return false, err
		}
		use, resolved := configuration.Status.Backends[0].RetentionPolicy,
			configuration.Status.Resolved.Backends[0].RetentionPolicy
		return use != nil && use.Ref == want && resolved != nil && *resolved == want, nil
	})).To(Succeed())

	waitPhase(t, a, a.start(t, "data"), v1alpha1.BackupSessionSucceeded)
	waitGone(t.Context(), t, a.bed, first, 2*patience)
	g.Expect(testbed.Poll(t.Context(), patience, "retention to be applied", func(ctx contextT) (bool, error) {
		err := a.bed.Client.Get(ctx, client.ObjectKeyFromObject(repository), repository)
		return err == nil &&
			conditions.GetReason(repository, v1alpha1.ConditionRetentionApplied) == v1alpha1.ReasonApplied, err
	})).To(Succeed())
}
