package e2e

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

func (f *stashFlow) restore(t *testing.T) {
	g := NewWithT(t)
	applyTo(t, f.bed, f.namespace, f.manifests(t, "restore.yaml"))
	f.restored = endOfRestore(t, f.bed, f.namespace, "bring-back")
	s := &f.restored.Status
	g.Expect(s.Phase).To(Equal(v1alpha1.RestoreSessionSucceeded), "%s: %+v", s.Reason, s.Components)
	g.Expect(s.TotalComponents).To(Equal(int32(1)))
	g.Expect(s.Components["pvc"].Files).To(BeEquivalentTo(2))
	var jobs batchv1.JobList
	g.Expect(f.bed.Client.List(t.Context(), &jobs, client.InNamespace(f.namespace),
		client.MatchingLabels{v1alpha1.LabelRestoreSession: f.restored.Name})).To(Succeed())
	g.Expect(jobs.Items).To(HaveLen(1))
	g.Expect(jobs.Items[0].Spec.Template.Spec.InitContainers[0].Name).To(Equal("stash-flow-check-0"))
	g.Expect(jobs.Items[0].Spec.Template.Spec.Volumes).
		To(ContainElement(HaveField("PersistentVolumeClaim", HaveField("ClaimName", "restored"))))

	pod := testbed.VolumePod{Namespace: f.namespace, Name: "toolbox", Claim: "restored", User: 65532}
	var copied string
	g.Expect(f.bed.WithVolumePod(t.Context(), pod, func(ctx contextT) (err error) {
		copied, err = f.bed.Exec(ctx, f.namespace, pod.Name, nil, "/toolbox", "manifest", "--skip-root", "/data")
		return err
	})).To(Succeed())
	_, entries, err := testbed.SameTree(f.original, copied)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(Equal(3))
}

func (f *stashFlow) restoreMetrics(t *testing.T) {
	s := &f.restored.Status
	session := labelled(f.sessionLabels(), "session", "", "job", "restoresession-stash-flow-bring-back", "invoker_kind",
		"RestoreSession", "invoker_name", "bring-back")
	target := labelled(session, "kind", "PersistentVolumeClaim", "name", "restored")
	host := labelled(target, "hostname", "target")
	f.pushed(t, []stashMetric{
		{"restoresession_success", "restore_session_success", session, 1.0},
		{"restoresession_duration_seconds", "restore_session_duration_seconds", session, seconds(s.StartTime,
			s.CompletionTime)},
		{"restoresession_target_count_total", "restore_target_count_total", session, 1.0},
		{"restoresession_target_success", "restore_target_success", target, 1.0},
		{"restoresession_target_host_count_total", "restore_target_host_count_total", target, 1.0},
		{"restoresession_host_restore_success", "restore_host_restore_success", host, 1.0},
		{
			"restoresession_host_restore_duration_seconds", "restore_host_restore_duration_seconds", host,
			BeNumerically(">=", 0),
		},
	}...)
}
