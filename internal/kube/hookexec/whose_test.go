package hookexec_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/run/hookstage"
	"github.com/cairn-backup/cairn/internal/testbed"
	"github.com/cairn-backup/cairn/internal/workload/workloadtest"
)

// A chart gave the pods of a CronJob, "b", the labels of the application, whose pod is "c". Both mount its volume.
func TestAHookActsInTheApplicationAndNotInItsCronJob(t *testing.T) {
	deployment := v1alpha1.TypedObjectReference{APIGroup: "apps", Kind: v1alpha1.KindDeployment, Name: "shop"}
	claim := v1alpha1.TypedObjectReference{Kind: v1alpha1.KindPersistentVolumeClaim, Name: "data"}
	all := v1alpha1.ExecuteOnAll
	for name, tt := range map[string]struct {
		target   v1alpha1.TypedObjectReference
		pod      v1alpha1.HookPodExecutor
		unready  bool // the application starts
		alone    bool // there is no pod of the application
		phase    corev1.PodPhase
		workflow bool // "b" is of a workflow
		stage    hookstage.Stage
		want     string
		noneRuns bool
	}{
		"a Deployment":                  {target: deployment, want: "c"},
		"a Deployment, after the work":  {target: deployment, stage: hookstage.Post, want: "c"},
		"a Deployment, all":             {target: deployment, pod: v1alpha1.HookPodExecutor{Strategy: all}, want: "c"},
		"a Deployment that starts":      {target: deployment, unready: true, noneRuns: true},
		"a Deployment without a pod":    {target: deployment, alone: true, noneRuns: true},
		"a claim":                       {target: claim, want: "c"},
		"a claim, all":                  {target: claim, pod: v1alpha1.HookPodExecutor{Strategy: all}, want: "bc"},
		"a claim, after the work":       {target: claim, stage: hookstage.Post, unready: true, want: "c"},
		"a claim that only the Job has": {target: claim, alone: true, want: "b"},
		"a claim whose pod starts":      {target: claim, unready: true, noneRuns: true},
		"a claim whose pod waits":       {target: claim, phase: corev1.PodPending, noneRuns: true},
		"a claim whose pod waits, after the work": {
			target: claim, phase: corev1.PodPending, stage: hookstage.Post, noneRuns: true,
		},
		"a claim, and a workflow":          {target: claim, workflow: true, want: "c"},
		"a claim that only a workflow has": {target: claim, workflow: true, alone: true, want: "b"},
		"a claim whose pod has ended":      {target: claim, phase: corev1.PodFailed, want: "b"},
		"a selector":                       {pod: v1alpha1.HookPodExecutor{Selector: "app=db"}, want: "c"},
		"a selector, all": {
			pod: v1alpha1.HookPodExecutor{Selector: "app=db", Strategy: all}, want: "bc",
		},
		"a selector that only the Job fits": {
			pod: v1alpha1.HookPodExecutor{Selector: "app=db"}, alone: true, want: "b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			namespace := bed.Namespace(t, nil)
			allow(t, namespace)
			labels := map[string]string{"app": "db"}
			g.Expect(bed.Client.Create(t.Context(), &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"},
				Spec: appsv1.DeploymentSpec{
					Selector: &metav1.LabelSelector{MatchLabels: labels},
					Template: corev1.PodTemplateSpec{
						ObjectMeta: metav1.ObjectMeta{Labels: labels},
						Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "db", Image: "db"}}},
					},
				},
			})).To(Succeed())
			servers := map[string]*server{}
			pod := func(name string, ready bool, apiVersion, kind, owner string) {
				s := serve(t, status(200))
				servers[name] = s
				makePod(t, namespace, name, ready, func(p *corev1.Pod) {
					p.Spec.Containers[0].Ports[0].ContainerPort = s.port.IntVal
					p.Spec.Volumes = []corev1.Volume{workloadtest.ClaimVolume("data", "data")}
					p.OwnerReferences = []metav1.OwnerReference{
						{APIVersion: apiVersion, Kind: kind, Name: owner, UID: "u", Controller: new(true)},
					}
					if kind != "ReplicaSet" {
						p.Spec.RestartPolicy = corev1.RestartPolicyNever
					}
				})
			}
			if tt.workflow {
				pod("b", true, "argoproj.io/v1alpha1", "Workflow", "nightly-report")
			} else {
				pod("b", true, "batch/v1", "Job", "shop-cron-29345610")
			}
			if !tt.alone {
				pod("c", !tt.unready, "apps/v1", "ReplicaSet", "shop-d7c9bd6f4")
				if tt.phase != "" {
					p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "c"}}
					bed.EditStatus(t, p, func() { p.Status.Phase = tt.phase })
				}
			}
			run := operator(v1alpha1.HookAction{
				ContainerName: "db", HTTPGet: &v1alpha1.HookHTTPGetAction{Port: intstr.FromString("admin")},
			}, inPods(&tt.pod))
			run.Hook.Template = v1alpha1.ObjectReference{Namespace: namespace, Name: "deleted"}
			run.Stage, run.Since = hookstage.Pre, time.Now().Add(time.Minute)
			if tt.stage != "" {
				run.Stage = tt.stage
			}
			if tt.target.Name != "" {
				run.Targets = []v1alpha1.TypedObjectReference{tt.target}
			}
			reason := map[bool]string{true: v1alpha1.ReasonNoRunningPod}[tt.noneRuns]
			g.Eventually(func() string { return act(t, namespace, run).Reason }).WithTimeout(testbed.Patience).
				Should(Equal(reason), "the RoleBinding must take effect")
			g.Expect(met(servers)).To(Equal(tt.want))
		})
	}
}
