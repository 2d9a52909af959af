package workload_test

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cairn-backup/cairn/internal/workload"
	"github.com/cairn-backup/cairn/internal/workload/workloadtest"
)

// controlled returns a pod that something controls.
func controlled(p corev1.Pod, apiVersion, kind, name string) corev1.Pod {
	p.OwnerReferences = []metav1.OwnerReference{
		{APIVersion: "v1", Kind: "ConfigMap", Name: "other"},
		{APIVersion: apiVersion, Kind: kind, Name: name, Controller: new(true)},
	}
	return p
}

// ofCronJob returns a pod of a CronJob to which a chart gave the labels of its workload.
func ofCronJob(p corev1.Pod) corev1.Pod {
	return controlled(once(p), "batch/v1", "Job", "web-cron-29345610")
}

// once returns a pod that is not started again when its work is done.
func once(p corev1.Pod) corev1.Pod {
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	return p
}

// asUser returns a pod spec whose containers run as a user.
func asUser(user int64, spec corev1.PodSpec) corev1.PodSpec {
	spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user}
	return spec
}

func TestThePodsOfAWorkloadAreThoseItControls(t *testing.T) {
	const apps, hash = "apps/v1", appsv1.DefaultDeploymentUniqueLabelKey
	web := workloadtest.Deployment(corev1.PodSpec{})
	db := workloadtest.StatefulSet(1, corev1.PodSpec{})
	agent := workloadtest.DaemonSet(corev1.PodSpec{})
	pod := workloadtest.Pod("p", "node-a", corev1.PodSpec{})
	of := func(apiVersion, kind, name string) corev1.Pod { return controlled(pod, apiVersion, kind, name) }
	revision := func(p corev1.Pod) corev1.Pod {
		p.Labels = map[string]string{"app": "web", hash: "d7c9bd6f4"}
		return p
	}
	others := pod
	others.Labels = map[string]string{"app": "other"}
	for name, tt := range map[string]struct {
		workload metav1.Object
		pod      corev1.Pod
		want     bool
	}{
		"a Deployment and its pod":         {web, revision(of(apps, "ReplicaSet", "web-d7c9bd6f4")), true},
		"a Deployment and another's pod":   {web, revision(of(apps, "ReplicaSet", "web-jobs-d7c9bd6f4")), false},
		"a Deployment and an adopted one":  {web, of(apps, "ReplicaSet", "by-hand"), true},
		"a Deployment and a StatefulSet's": {web, of(apps, "StatefulSet", "web"), false},
		"a Deployment and a CronJob's":     {web, ofCronJob(pod), false},
		"a Deployment and a workflow's":    {web, of("argoproj.io/v1alpha1", "Workflow", "web"), false},
		"a Deployment and a Rollout's":     {web, of(apps, "ReplicaSet", "rollout-6f4d"), true},
		"a Deployment and nobody's":        {web, pod, true},
		"a Deployment and other labels":    {web, others, false},
		"a StatefulSet and its pod":        {db, of(apps, "StatefulSet", "db"), true},
		"a StatefulSet and another's pod":  {db, of(apps, "StatefulSet", "db-replica"), false},
		"a StatefulSet and a Deployment's": {db, of(apps, "ReplicaSet", "db"), false},
		"a StatefulSet and a CronJob's":    {db, ofCronJob(pod), false},
		"a StatefulSet of another API":     {db, of("apps.kruise.io/v1beta1", "StatefulSet", "db"), false},
		"a StatefulSet and an orphan":      {db, pod, true},
		"a DaemonSet and its pod":          {agent, of(apps, "DaemonSet", "agent"), true},
		"a DaemonSet and another's pod":    {agent, of(apps, "DaemonSet", "agent-2"), false},
		"a DaemonSet and a CronJob's":      {agent, ofCronJob(pod), false},
		"something that has no pods":       {&corev1.ConfigMap{}, pod, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			NewWithT(t).Expect(workload.SelectionOf(tt.workload).Has(&tt.pod)).To(Equal(tt.want))
		})
	}
}

// The pods of a CronJob mount nothing of the application, or mount its volume as another user. So do those of other
// programs whose work ends, and those that a person or a script starts.
func TestTheUserOfAMoverIsNotThatOfACronJob(t *testing.T) {
	data := workloadtest.PodSpec(workloadtest.ClaimVolume("data", "web-data"))
	claim := workloadtest.Claim("web-data")
	app := workloadtest.Pod("web-d7c9bd6f4-x2x8z", "node-a", asUser(33, data))
	beside := ofCronJob(workloadtest.Pod("web-cron-4qk9d", "node-a", asUser(100, workloadtest.PodSpec())))
	mounts := ofCronJob(workloadtest.Pod("web-cron-4qk9d", "node-a", asUser(100, data)))
	bare := once(workloadtest.Pod("shell", "node-a", asUser(100, data)))
	workflow := controlled(bare, "argoproj.io/v1alpha1", "Workflow", "nightly-report")
	task := controlled(bare, "tekton.dev/v1", "TaskRun", "nightly-report")
	task.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	web := workloadtest.Deployment(asUser(33, data))
	for name, tt := range map[string]struct {
		target workload.Target
		pods   []corev1.Pod
		want   int64
	}{
		"a Deployment":              {workload.Target{Deployment: web}, []corev1.Pod{app, beside}, 33},
		"a Deployment without pods": {workload.Target{Deployment: web}, []corev1.Pod{beside}, 33},
		"a claim":                   {workload.Target{Claim: &claim}, []corev1.Pod{app, mounts}, 33},
		"a claim whose pod leaves":  {workload.Target{Claim: &claim}, []corev1.Pod{deleted(app), mounts}, 33},
		"a claim of a Job alone":    {workload.Target{Claim: &claim}, []corev1.Pod{mounts}, 100},
		"a claim and a workflow":    {workload.Target{Claim: &claim}, []corev1.Pod{workflow, app}, 33},
		"a claim and a task":        {workload.Target{Claim: &claim}, []corev1.Pod{task, app}, 33},
		"a claim and a bare pod":    {workload.Target{Claim: &claim}, []corev1.Pod{bare, app}, 33},
		"a claim of them alone":     {workload.Target{Claim: &claim}, []corev1.Pod{workflow, bare}, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			tt.target.Pods, tt.target.Claims = tt.pods, []corev1.PersistentVolumeClaim{claim}
			got, err := workload.ResolveHosts(tt.target)
			g.Expect(err).To(BeNil())
			g.Expect(got[0].SecurityContext.RunAsUser).To(HaveValue(Equal(tt.want)))
		})
	}
}

func TestACronJobIsNoPodOfTheTarget(t *testing.T) {
	ephemeral := workloadtest.PodSpec(corev1.Volume{
		Name: "data", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}},
	})
	files := workloadtest.HostPaths("logs")
	cron := ofCronJob(workloadtest.Pod("web-cron-4qk9d", "node-b", workloadtest.PodSpec()))
	on := func(spec corev1.PodSpec) []corev1.Pod {
		return []corev1.Pod{workloadtest.Pod("web-0", "node-a", spec), cron}
	}
	for name, tt := range map[string]struct {
		target workload.Target
		want   string
	}{
		"an ephemeral volume": {
			workload.Target{Deployment: workloadtest.Deployment(ephemeral), Pods: on(ephemeral)},
			"target@node-a: data=web-0-data",
		},
		"a host path of a Deployment": {
			workload.Target{Deployment: workloadtest.Deployment(files), Pods: on(files)}, "target@node-a: logs=/logs",
		},
		"a DaemonSet": {
			workload.Target{DaemonSet: workloadtest.DaemonSet(files), Pods: on(files)}, "node-a@node-a: node-a=/logs",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			tt.target.Privileged = true
			tt.target.Claims = []corev1.PersistentVolumeClaim{workloadtest.Claim("web-0-data")}
			got, err := workload.ResolveHosts(tt.target)
			g.Expect(err).To(BeNil())
			g.Expect(hosts(got)).To(Equal([]string{tt.want}))
		})
	}
}
