package e2e

import (
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
	"github.com/cairn-backup/cairn/internal/repository"
)

// killedInRestore deletes files, damages others, and lets the sidecar restore all of them into the running pod.
func (a *sidecarApp) killedInRestore(t *testing.T) {
	g := NewWithT(t)
	original := a.manifest(t)
	pod := a.pod(t)
	_, err := a.bed.Exec(t.Context(), a.namespace, pod.Name, nil, "/bin/sh", "-euc",
		"cd /data; rm file-000*; cat file-0011 >file-0010; echo new >extra")
	g.Expect(err).NotTo(HaveOccurred())
	const name = "bring-back"
	_, err = program(t, a.bed, "", "cairn", "restore", name, "-n", a.namespace, "--repository", "app", "--target",
		"deployment/app", "--sidecar",
		"--confirm", string(a.deployment(t).UID), "--delete-extra", "--verify")
	g.Expect(err).NotTo(HaveOccurred())
	// The status says later that it writes: an API server that is busy is slower than a restore of so little.
	g.Expect(testbed.Poll(t.Context(), patience, "the sidecar to write", func(ctx contextT) (bool, error) {
		out, err := a.bed.Exec(ctx, a.namespace, pod.Name, nil, "/bin/sh", "-euc", "cd /data; echo .[!.]*")
		return slices.ContainsFunc(strings.Fields(out), repository.IsOfARestore), err
	})).To(Succeed())
	_, err = a.bed.Exec(t.Context(), a.namespace, pod.Name, nil, "/bin/sh", "-euc", killSidecar)
	g.Expect(err).NotTo(HaveOccurred())
	restore := endOfRestore(t, a.bed, a.namespace, name)
	g.Expect(restore.Status.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%+v", restore.Status)
	g.Expect(restore.Status.Attempt).To(BeEquivalentTo(1), "the container was started again, and the pod is the same")
	for _, c := range restore.Status.Components {
		g.Expect(c.Verified).To(BeEquivalentTo(a.files))
	}
	after := a.pod(t)
	g.Expect(after.UID).To(Equal(pod.UID))
	g.Expect(after.Status.InitContainerStatuses[0].RestartCount).
		To(Equal(pod.Status.InitContainerStatuses[0].RestartCount+1), "it was killed")
	_, entries, err := testbed.SameTree(original, a.manifest(t))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(BeNumerically(">=", a.files))
	var jobs batchv1.JobList
	g.Expect(a.bed.Client.List(t.Context(), &jobs, client.InNamespace(a.namespace),
		client.MatchingLabels{v1alpha1.LabelRestoreSession: name})).To(Succeed())
	g.Expect(jobs.Items).To(BeEmpty(), "no Job is made")
}

// manifest of what is in the volume.
func (a *sidecarApp) manifest(t *testing.T) string {
	t.Helper()
	reader := testbed.VolumePod{Namespace: a.namespace, Name: "reader", Claim: "data", User: 65532}
	var out string
	NewWithT(t).Expect(a.bed.WithVolumePod(t.Context(), reader, func(ctx contextT) (err error) {
		out, err = a.bed.Exec(ctx, a.namespace, reader.Name, nil, "/toolbox", "manifest", "--skip-root", "/data")
		return err
	})).To(Succeed())
	return out
}
