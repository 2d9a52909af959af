package repository

import (
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/conditions"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/testbed/kubelet"
)

// A Snapshot that failed because of its password makes the Repository check the password itself, until a password fits.
//
// The test is not parallel: it waits for a check that runs every ten seconds.
func TestAChangedPasswordIsSaidByTheRepositoryToo(t *testing.T) {
	g := NewWithT(t)
	r, first := initialised(t, storageOf(t))
	failedFor(t, r, "failed", v1alpha1.ReasonPasswordChanged)
	proof := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first)
	g.Expect(taskOf(t, proof).Repository.MustExist).To(BeTrue(), "the init Job creates no new repository")
	expect(t, r, v1alpha1.ReasonReady) // until the result is known
	kubelet.Finish(t, bed.Client, proof, kubelet.Report(task.Result{
		Outcome: task.OutcomeFailed,
		Reason:  v1alpha1.ReasonPasswordChanged, Message: "m",
	}), now.Now())
	expect(t, r, v1alpha1.ReasonPasswordChanged)

	secret := testbed.Secret(r.Namespace, "enc", nil)
	bed.Edit(t, secret, func() { secret.Data = map[string][]byte{"password": []byte("the old one")} })
	again := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first, proof)
	g.Expect(again.Name).NotTo(Equal(proof.Name), "a changed Secret is tried at once")
	kubelet.Finish(t, bed.Client, again, kubelet.Report(task.Result{
		Outcome: task.OutcomeSucceeded,
		Reason:  v1alpha1.ReasonSucceeded,
	}), now.Now())
	bed.Eventually(t, r, func(g Gomega) {
		g.Expect(r.Status.Phase).To(Equal(v1alpha1.PhaseReady))
		g.Expect(r.Status.ProvedAfter).To(Equal("failed"))
	}, "the password fits again")
	writes := bed.Quiet(t, r.Namespace)
	bed.Edit(t, r, func() { r.Labels = map[string]string{"touched": "x"} })
	bed.StaysQuiet(t, r.Namespace, writes, "one failure triggers one check")
}

// A credential that was revoked fails every mover. The Repository finds that out by itself, and its storage from it.
func TestARevokedCredentialIsSaidByTheRepositoryToo(t *testing.T) {
	g := NewWithT(t)
	for _, reason := range []string{v1alpha1.ReasonBadCredentials, v1alpha1.ReasonAccessDenied} {
		r, first := initialised(t, storageOf(t))
		failedFor(t, r, "failed", reason)
		proof := kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first)
		g.Expect(taskOf(t, proof).Repository.MustExist).To(BeTrue())
		kubelet.Finish(t, bed.Client, proof, kubelet.Report(task.Result{
			Outcome: task.OutcomeFailed, Reason: v1alpha1.ReasonUnreachable, Message: "m",
		}), now.Now().Add(-time.Hour))
		proof = kubelet.Job(t, bed.Client, r.Namespace, v1alpha1.LabelRepository, first, proof)
		expect(t, r, v1alpha1.ReasonReady) // that said nothing of the credential
		g.Expect(conditions.IsTrue(r, v1alpha1.ConditionRepositoryInitialized)).To(BeTrue())
		kubelet.Finish(t, bed.Client, proof, kubelet.Report(task.Result{
			Outcome: task.OutcomeFailed, Reason: reason, Message: "m",
		}), now.Now())
		expect(t, r, reason)
	}
}

// failedFor creates a Snapshot that failed for a reason.
func failedFor(t testing.TB, r *v1alpha1.Repository, name, reason string) *v1alpha1.Snapshot {
	t.Helper()
	s := &v1alpha1.Snapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: name},
		Spec: v1alpha1.SnapshotSpec{
			SnapshotID: name, Repository: r.Name, Session: "nightly", BackupSession: "b", Version: "v1",
			AppRef: r.Spec.AppRef,
		},
	}
	bed.Create(t, s)
	bed.EditStatus(t, s, func() {
		s.Status.Phase = v1alpha1.SnapshotFailed
		s.Status.Components = map[string]v1alpha1.Component{"pvc": {Phase: v1alpha1.SnapshotFailed, Reason: reason}}
	})
	return s
}

// Stash has the backend inside a Repository: the API server itself says what to do instead.
func TestABackendInsideARepositoryIsRefused(t *testing.T) {
	t.Parallel()
	r := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "Repository",
		"metadata": map[string]any{"name": "stash", "namespace": bed.Namespace(t, nil)},
		"spec": map[string]any{"backend": map[string]any{
			"s3":                map[string]any{"endpoint": "s3.amazonaws.com", "bucket": "b", "prefix": "/p"},
			"storageSecretName": "key",
		}, "wipeOut": true, "usagePolicy": map[string]any{"allowedNamespaces": map[string]any{"from": "All"}}},
	}}
	for _, validation := range []string{
		metav1.FieldValidationStrict, metav1.FieldValidationWarn,
		metav1.FieldValidationIgnore,
	} {
		err := bed.Client.Create(t.Context(), r.DeepCopy(), client.FieldValidation(validation))
		NewWithT(t).Expect(err).
			To(MatchError(ContainSubstring(
				"create a BackupStorage with this backend and its Secret, name it in spec.storageRef")),
				validation)
	}
}
