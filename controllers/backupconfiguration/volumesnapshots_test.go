package backupconfiguration

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/testbed"
)

// snapshotAddon returns an Addon with a task that makes VolumeSnapshots. It has the name of the namespace that uses it.
func snapshotAddon(namespace string) *v1alpha1.Addon {
	return &v1alpha1.Addon{ObjectMeta: metav1.ObjectMeta{Name: namespace}, Spec: v1alpha1.AddonSpec{
		BackupTasks: []v1alpha1.Task{{
			Name: "volume-snapshot", Function: "pvc-backup",
			Driver: v1alpha1.DriverVolumeSnapshotter,
		}},
	}}
}

func snapshotInfo(namespace string) *v1alpha1.AddonInfo {
	return &v1alpha1.AddonInfo{Name: namespace, Tasks: []v1alpha1.TaskReference{{Name: "volume-snapshot"}}}
}

func TestVolumeSnapshotsNeedNothingButASchedule(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	configuration := smallestOf(namespace)
	configuration.Spec.Sessions[0].Addon = snapshotInfo(namespace)
	bed.Create(t, testbed.Claim(namespace, "uploads"), configuration)
	bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonStorageNotFound, "")
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Name: "files", Namespace: namespace}}

	bed.Create(t, snapshotAddon(namespace))
	bed.ReadyRepositories(t, namespace, "files")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	g.Expect(configuration.Status.Backends).To(BeEmpty())
	g.Expect(bed.Client.Get(t.Context(), client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	g.Expect(repository.Spec).To(Equal(v1alpha1.RepositorySpec{
		AppRef: *configuration.Spec.Target, Driver: v1alpha1.DriverVolumeSnapshotter,
		DeletionPolicy: v1alpha1.DeleteObjects,
	}))

	bed.EditStatus(t, repository, func() {
		conditions.MarkTrue(repository, v1alpha1.ConditionVolumeSnapshotsAtRisk,
			v1alpha1.ReasonVolumeSnapshotClassDeletes,
			"the class deletes")
	})
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(conditions.GetMessage(configuration, v1alpha1.ConditionVolumeSnapshotsAtRisk)).
			To(Equal("Repository files: the class deletes"))
		g.Expect(conditions.IsReady(configuration)).To(BeTrue())
		g.Expect(events.Of(namespace)).To(ContainElement(ContainSubstring("Repository files: the class deletes")))
	}, "the configuration repeats the warning of the Repository")
}

func TestWithoutItsTaskNoRepositoryIsMade(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	bed.ReadyStorage(t, namespace)
	configuration := configurationOf(namespace)
	configuration.Spec.Sessions[0].Addon = snapshotInfo(namespace)
	bed.Create(t, testbed.Claim(namespace, "uploads"), configuration)
	bed.ExpectReason(t, configuration, v1alpha1.PhaseNotReady, v1alpha1.ReasonAddonNotFound, "")
	bed.Quiet(t, namespace)
	var list v1alpha1.RepositoryList
	g.Expect(bed.Client.List(t.Context(), &list, client.InNamespace(namespace))).To(Succeed())
	g.Expect(list.Items).To(BeEmpty(), "its driver could not change afterwards")

	bed.Create(t, snapshotAddon(namespace))
	bed.ReadyRepositories(t, namespace, "uploads")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
}

func TestAKubeStashManifestOfVolumeSnapshotsWorksWithoutItsStorage(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	namespace := bed.Namespace(t, nil)
	keep := &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "keep"},
		Spec: v1alpha1.RetentionPolicySpec{SuccessfulSnapshots: &v1alpha1.SuccessfulSnapshotsKeepPolicy{
			Last: new(int32(3)),
		}},
	}
	configuration := configurationOf(namespace) // Neither the storage nor the Secret exists.
	configuration.Spec.Backends[0].RetentionPolicy = &v1alpha1.ObjectReference{Name: "keep"}
	configuration.Spec.Sessions[0].Addon = snapshotInfo(namespace)
	bed.Create(t, snapshotAddon(namespace), testbed.Claim(namespace, "uploads"), keep, configuration)
	bed.ReadyRepositories(t, namespace, "uploads")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")
	g.Expect(configuration.Status.Backends).To(ConsistOf(SatisfyAll(
		HaveField("Name", "main"), HaveField("Storage", BeNil()), HaveField("RetentionPolicy.Ref.Name", "keep"),
	)))
}

func TestOneRepositoryHasOneDriver(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	configuration := working(t)
	namespace := configuration.Namespace
	bed.Create(t, snapshotAddon(namespace))
	bed.Edit(t, configuration, func() { configuration.Spec.Sessions[0].Addon = snapshotInfo(namespace) })
	bed.ExpectReason(t, configuration, v1alpha1.PhaseInvalid, v1alpha1.ReasonRepositoryConflict,
		`the Repository "uploads" has driver Kopia`)

	bed.Edit(t, configuration, func() {
		configuration.Spec.Sessions[0].Addon = sessionOf("", "").Addon
		second := sessionOf("hourly", "0 * * * *")
		second.Addon = snapshotInfo(namespace)
		configuration.Spec.Sessions = append(configuration.Spec.Sessions, second)
	})
	bed.ExpectReason(t, configuration, v1alpha1.PhaseInvalid, v1alpha1.ReasonRepositoryConflict,
		`the Repository "uploads" has driver Kopia`)
	g.Expect(conditions.GetMessage(configuration, "Ready")).To(HavePrefix("spec.sessions[1].repositories[0]: "))

	bed.Edit(t, configuration, func() {
		configuration.Spec.Sessions[1].Repositories = []v1alpha1.RepositoryInfo{{Name: "snapshots"}}
	})
	bed.ReadyRepositories(t, namespace, "snapshots")
	bed.ExpectReason(t, configuration, v1alpha1.PhaseReady, v1alpha1.ReasonReady, "")

	bed.Edit(t, configuration, func() {
		configuration.Spec.Target = &v1alpha1.TypedObjectReference{
			APIGroup: "apps", Kind: v1alpha1.KindDeployment,
			Name: "web",
		}
		configuration.Spec.Sessions = configuration.Spec.Sessions[1:]
		configuration.Spec.Sessions[0].Repositories[0].Name = "web"
		configuration.Spec.Sessions[0].Executor = v1alpha1.ExecutorSidecar
	})
	bed.Eventually(t, configuration, func(g Gomega) {
		g.Expect(strings.Contains(conditions.GetMessage(configuration, "Ready"), "makes VolumeSnapshots")).To(BeTrue())
	}, "a sidecar has no right to make VolumeSnapshots")
}
