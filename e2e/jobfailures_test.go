package e2e

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
	"github.com/cairn-backup/cairn/internal/task/observe"
)

// noSuchImage is an Addon whose Function's image nobody has.
const noSuchImage = `
apiVersion: backup.cairn.dev/v1alpha1
kind: Function
metadata: {name: no-such-image}
spec:
  image: no-such-image:v0
  args: [backup]
---
apiVersion: backup.cairn.dev/v1alpha1
kind: Addon
metadata: {name: no-such-image}
spec:
  backupTasks:
  - {name: logical-backup, function: no-such-image, driver: Kopia, executor: Job}
`

// jobFailures lets a mover's Job come to nothing in every way that a cluster can bring about, but for the loss of its
// only node. Each ends the run as Failed with its own reason. After the first of them it stands the loss of the
// manager.
func jobFailures(t *testing.T, bed *testbed.Testbed) {
	release := keep(t)
	a := deployVolumeApp(t, bed, "job-failures", 200, 1<<20)
	applyTo(t, bed, "", noSuchImage)
	shaped := func(spec string) string {
		return "addon: {name: pvc-addon, tasks: [{name: logical-backup}], jobTemplate: {spec: " + spec + "}}"
	}
	rows := []struct {
		name, addon     string
		wrong           func(t *testing.T, a *volumeApp, session string)
		reason, message string
	}{
		// First what a loss of the manager would change: nobody else keeps the deadline, and the reason of an eviction
		// goes with its pod.
		{"deadline", "backupTimeout: 10s\n    " +
			slowly("50m"), nil, v1alpha1.ReasonDeadlineExceeded, "the deadline of the run passed"},
		{"evicted", slowly("50m"), evictTwice, v1alpha1.ReasonEvicted, "evicted from its node"},
		{"deleted", slowly("100m"), deleteJob, v1alpha1.ReasonJobVanished, "the Job was deleted before it ended"},
		{
			"unschedulable", shaped("{nodeSelector: {no-such: node}}"), nil, v1alpha1.ReasonUnschedulable,
			"no node can take the pod",
		},
		{"image", strings.Replace(wholeVolume, "pvc-addon", "no-such-image",
			1), nil, v1alpha1.ReasonImagePullFailed, "image no-such-image:v0 cannot be pulled"},
		{
			"memory", shaped("{resources: {limits: {memory: 12Mi}}}"), nil, v1alpha1.ReasonOutOfMemory,
			"raise addon.jobTemplate.spec.resources.limits.memory",
		},
	}
	// All backups start before the test waits for the first: some take minutes.
	sessions := map[string]string{}
	for _, row := range rows {
		applyTo(t, bed, a.namespace, strings.Replace(configurationManifest(row.name), wholeVolume, row.addon, 1))
		waitReady(t, bed, a.configuration(row.name), metav1.ConditionTrue, "")
		sessions[row.name] = a.start(t, row.name)
		if row.wrong != nil {
			row.wrong(t, a, sessions[row.name])
		}
	}
	quota := deployVolumeApp(t, bed, "job-failures-quota", 1, 1000)
	quota.configure(t, "quota")
	quota.allowNoPods(t)
	without := quota.start(t, "quota")
	for _, row := range rows[:3] {
		waitEnd(t, a, sessions[row.name])
	}
	release()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { a.endsFailed(t, sessions[row.name], row.reason, row.message) })
	}
	t.Run("quota", func(t *testing.T) {
		quota.endsFailed(t, without, v1alpha1.ReasonQuotaExceeded, "exceeded quota: no-pods")
	})
}

// allowNoPods makes a quota, and waits until it is in force: it counts from when its own controller has seen it.
func (a *volumeApp) allowNoPods(t *testing.T) {
	t.Helper()
	applyTo(t, a.bed, a.namespace,
		"apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: no-pods}\nspec: {hard: {pods: \"0\"}}\n")
	NewWithT(t).Expect(testbed.Poll(t.Context(), patience, "the quota to be in force",
		func(ctx contextT) (bool, error) {
			quota := &corev1.ResourceQuota{}
			err := a.bed.Client.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: "no-pods"}, quota)
			_, counts := quota.Status.Hard[corev1.ResourcePods]
			return counts, err
		})).To(Succeed())
}

// endsFailed waits for the end of a session that fails for that reason and leaves no Job at work.
func (a *volumeApp) endsFailed(t *testing.T, session, reason, message string) {
	t.Helper()
	g := NewWithT(t)
	waitEnd(t, a, session)
	ended := &v1alpha1.BackupSession{ObjectMeta: a.meta(session)}
	g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKeyFromObject(ended), ended)).To(Succeed())
	t.Logf("it ended after %s: %s", ended.Status.Duration, ended.Status.Targets[0].Message)
	g.Expect([]string{string(ended.Status.Phase), ended.Status.Reason}).
		To(Equal([]string{"Failed", reason}), ended.Status.Targets[0].Message)
	g.Expect(ended.Status.Targets[0].Message).To(ContainSubstring(message))
	g.Expect(a.snapshot(t, session).Status.Phase).To(Equal(v1alpha1.SnapshotFailed))
	g.Expect(testbed.Poll(t.Context(), patience, "no Job at work", func(ctx contextT) (bool, error) {
		var jobs batchv1.JobList
		err := a.bed.Client.List(ctx, &jobs, a.ofSession(session)...)
		active := 0
		for _, job := range jobs.Items {
			active += int(job.Status.Active)
		}
		return err == nil && active == 0, err
	})).To(Succeed())
}

// waitEnd waits for the end of a session, as long as the slowest of these failures takes.
func waitEnd(t *testing.T, a *volumeApp, session string) {
	t.Helper()
	NewWithT(t).Expect(testbed.Poll(t.Context(), 3*patience, "the end of BackupSession "+session,
		func(ctx contextT) (bool, error) {
			s := &v1alpha1.BackupSession{}
			err := a.bed.Client.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: session}, s)
			return err == nil && s.Status.Phase.Terminal(), err
		})).To(Succeed())
}

// deleteJob deletes the Job of a session once its mover is at work.
func deleteJob(t *testing.T, a *volumeApp, session string) {
	t.Helper()
	g := NewWithT(t)
	a.waitReading(t, session)
	var jobs batchv1.JobList
	g.Expect(a.bed.Client.List(t.Context(), &jobs, a.ofSession(session)...)).To(Succeed())
	g.Expect(jobs.Items).To(HaveLen(1))
	g.Expect(a.bed.Client.Delete(t.Context(), &jobs.Items[0],
		client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
}

// evictTwice evicts the mover of a session, as a drain of its node does, and then the mover that repeats
// the work.
func evictTwice(t *testing.T, a *volumeApp, session string) {
	t.Helper()
	g := NewWithT(t)
	evicted := map[string]bool{}
	g.Expect(testbed.Poll(t.Context(), patience, "two evictions", func(ctx contextT) (bool, error) {
		var jobs batchv1.JobList
		if err := a.bed.Client.List(ctx, &jobs, a.ofSession(session)...); err != nil {
			return false, err
		}
		for _, job := range jobs.Items {
			if evicted[job.Name] || job.Status.Active == 0 {
				continue
			}
			done, err := a.evict(ctx, job.Name)
			if err != nil {
				return false, err
			}
			evicted[job.Name] = done
		}
		return evictions(evicted) == 2, nil
	})).To(Succeed())
	for name := range evicted {
		a.tellsOfEviction(t, name)
	}
}

// tellsOfEviction waits until the Job itself says that its pod was evicted, because a manager that looks late finds no
// pod. It accepts that the Job is gone: a manager that saw the pod end can have deleted it.
func (a *volumeApp) tellsOfEviction(t *testing.T, job string) {
	t.Helper()
	g := NewWithT(t)
	j := &batchv1.Job{}
	g.Expect(testbed.Poll(t.Context(), patience, "the end of Job "+job, func(ctx contextT) (bool, error) {
		err := a.bed.Client.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: job}, j)
		return observe.Ended(j) || apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})).To(Succeed())
	if end := observe.End(j); end != nil {
		g.Expect(end.Reason).To(Equal(batchv1.JobReasonPodFailurePolicy), end.Message)
	}
}

func evictions(evicted map[string]bool) (n int) {
	for _, done := range evicted {
		if done {
			n++
		}
	}
	return n
}

// evict evicts the pod of a Job; false where there is none that runs.
func (a *volumeApp) evict(ctx contextT, job string) (bool, error) {
	pods, err := a.podsOf(ctx, job)
	if err != nil {
		return false, err
	}
	for i := range pods {
		if pods[i].Status.Phase != corev1.PodRunning || pods[i].DeletionTimestamp != nil {
			continue
		}
		eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: pods[i].Name}}
		if err := a.bed.Client.SubResource("eviction").Create(ctx, &pods[i], eviction); err != nil {
			return false, fmt.Errorf("evict pod %s: %w", pods[i].Name, err)
		}
		return true, nil
	}
	return false, nil
}

// podsOf are the pods of a Job.
func (a *volumeApp) podsOf(ctx contextT, job string) ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := a.bed.Client.List(ctx, &pods, client.InNamespace(a.namespace),
		client.MatchingLabels{batchv1.JobNameLabel: job})
	return pods.Items, err
}
