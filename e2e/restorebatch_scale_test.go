package e2e

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/e2e/testbed"
)

// managed asks for the workload to be scaled down while an autoscaler or a GitOps tool manages its replicas, and after
// a person took them over from the tool. Each time the RestoreBatch is refused, names the manager, and touches nothing.
func (a *batchApp) managed(t *testing.T) {
	g := NewWithT(t)
	_, err := kubectl(t, a.bed, "", "create", "rolebinding", "cairn-scaler", "-n", blogCopy,
		"--clusterrole="+v1alpha1.ScalerClusterRole,
		"--serviceaccount="+testbed.SystemNamespace+":cairn-manager")
	g.Expect(err).NotTo(HaveOccurred())

	applyTo(t, a.bed, blogCopy, `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 1, maxReplicas: 2}
`)
	a.refusedToScale(t, "autoscaled", "its replicas are managed by HorizontalPodAutoscaler busy")
	_, err = kubectl(t, a.bed, "", "delete", "horizontalpodautoscaler/busy", "-n", blogCopy)
	g.Expect(err).NotTo(HaveOccurred())

	_, err = kubectl(t, a.bed, strings.Replace(blogPods, "spec:\n  selector", "spec:\n  replicas: 1\n  selector", 1),
		"apply", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller", "-n", blogCopy,
		"-f", "-")
	g.Expect(err).NotTo(HaveOccurred())
	a.refusedToScale(t, "applied", "its replicas are managed by field manager kustomize-controller")

	_, err = kubectl(t, a.bed, "", "scale", "deployment/web", "-n", blogCopy, "--replicas=0")
	g.Expect(err).NotTo(HaveOccurred())
	a.refusedToScale(t, "taken",
		"its replicas were set by somebody, perhaps less than 2 hours ago, and field manager kustomize-controller, "+
			"which applies the rest of it, may reset them from its manifest")
}

// refusedToScale makes a RestoreBatch that scales the workload down, and is refused for this.
func (a *batchApp) refusedToScale(t *testing.T, name, because string) {
	t.Helper()
	g := NewWithT(t)
	before, after := &appsv1.Deployment{}, &appsv1.Deployment{}
	g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: blogCopy, Name: "web"}, before)).To(Succeed())
	applyTo(t, a.bed, blogCopy, `
apiVersion: backup.cairn.dev/v1alpha1
kind: RestoreBatch
metadata: {name: `+name+`}
spec:
  dataSource: {namespace: `+a.namespace+`, backupBatch: blog, backupSession: latest, encryptionSecret: {name: password}}
  scaleDown: [{kind: Deployment, name: web}]
  targets: [{name: web}]
`)
	b := a.restoreBatch(t, name)
	g.Expect(b.Status.Reason).To(Equal(v1alpha1.ReasonReplicasManaged))
	g.Expect(apimeta.FindStatusCondition(b.Status.Conditions, "Ready").Message).To(ContainSubstring(because))
	var children v1alpha1.RestoreSessionList
	g.Expect(a.bed.Client.List(t.Context(), &children, client.InNamespace(blogCopy))).To(Succeed())
	for i := range children.Items {
		g.Expect(metav1.IsControlledBy(&children.Items[i], b)).To(BeFalse(), "nothing is restored")
	}
	g.Expect(a.bed.Client.Get(t.Context(), client.ObjectKey{Namespace: blogCopy, Name: "web"}, after)).To(Succeed())
	g.Expect(after.Generation).To(Equal(before.Generation), "nothing is scaled")
}
