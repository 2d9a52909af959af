package hookexec

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The pod runs on for its grace period while one of its containers has ended.
func TestTheContainerOfAnActionIsOver(t *testing.T) {
	command := &v1alpha1.HookExecAction{Command: []string{"thaw"}}
	get, elsewhere := &v1alpha1.HookHTTPGetAction{}, &v1alpha1.HookHTTPGetAction{Host: "db.example.org"}
	on := func(name string) v1alpha1.HookAction { return v1alpha1.HookAction{Exec: command, ContainerName: name} }
	for name, tt := range map[string]struct {
		action v1alpha1.HookAction
		ended  string
		want   bool
	}{
		"the first one":                  {on(""), "db", true},
		"only a native sidecar":          {on("db"), "proxy", false},
		"the native sidecar":             {on("proxy"), "proxy", true},
		"nothing":                        {on("proxy"), "", false},
		"none that the pod has":          {on("web"), "db", false},
		"the native sidecar of a port":   {v1alpha1.HookAction{HTTPGet: get, ContainerName: "proxy"}, "proxy", true},
		"one, and a port is of any":      {v1alpha1.HookAction{HTTPGet: get}, "db", false},
		"one, and the request leaves it": {v1alpha1.HookAction{HTTPGet: elsewhere, ContainerName: "db"}, "db", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			statusOf := func(name string) []corev1.ContainerStatus {
				s := corev1.ContainerStatus{Name: name}
				if name == tt.ended {
					s.State.Terminated = &corev1.ContainerStateTerminated{}
				}
				return []corev1.ContainerStatus{s}
			}
			p := &corev1.Pod{
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{Name: "db"}},
					InitContainers: []corev1.Container{
						{Name: "proxy", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)},
					},
				},
				Status: corev1.PodStatus{
					ContainerStatuses: statusOf("db"), InitContainerStatuses: statusOf("proxy"),
				},
			}
			NewWithT(t).Expect(over(p, &tt.action)).To(Equal(tt.want))
		})
	}
}
