package workload

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

func TestASingletonIsOneHost(t *testing.T) {
	user := func(id int64) v1alpha1.MoverSecurityContext { return v1alpha1.MoverSecurityContext{RunAsUser: &id} }
	host := func(name, node string, id int64, claims ...string) v1alpha1.ResolvedHost {
		h := v1alpha1.ResolvedHost{Name: name, Node: node, SecurityContext: user(id)}
		for _, c := range claims {
			h.Volumes = append(h.Volumes, v1alpha1.ResolvedVolume{Component: name + "-" + c, ClaimName: c})
		}
		return h
	}
	for name, tc := range map[string]struct {
		hosts []v1alpha1.ResolvedHost
		node  string
		names []string
		says  string
	}{
		"one host stays as it is": {
			hosts: []v1alpha1.ResolvedHost{host("pod-0", "a", 1, "x")}, node: "a", names: []string{"pod-0-x"},
		},
		"several hosts become one": {
			hosts: []v1alpha1.ResolvedHost{host("pod-0", "", 1, "x"), host("pod-1", "a", 1, "y")}, node: "a",
			names: []string{"pod-0-x", "pod-1-y"},
		},
		"a shared claim is one volume": {
			hosts: []v1alpha1.ResolvedHost{host("pod-0", "", 1, "x"), host("pod-1", "", 1, "x")},
			names: []string{"pod-0-x"},
		},
		"volumes in use on two nodes": {
			hosts: []v1alpha1.ResolvedHost{host("pod-0", "a", 1, "x"), host("pod-1", "b", 1, "y")},
			says:  "some are in use on node a, some on node b",
		},
		"pods that run as two users": {
			hosts: []v1alpha1.ResolvedHost{host("pod-0", "a", 1, "x"), host("pod-1", "a", 2, "y")},
			says:  "different users",
		},
		"no hosts stay no hosts": {},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, refusal := singleton(tc.hosts)
			if tc.says != "" {
				g.Expect(refusal).NotTo(BeNil())
				g.Expect(refusal.Reason).To(Equal(v1alpha1.ReasonInvalidTask))
				g.Expect(refusal.Message).To(ContainSubstring(tc.says))
				return
			}
			g.Expect(refusal).To(BeNil())
			var names []string
			for _, h := range got {
				g.Expect(h.Node).To(Equal(tc.node))
				for _, v := range h.Volumes {
					names = append(names, v.Component)
				}
			}
			g.Expect(names).To(Equal(tc.names))
			g.Expect(len(got)).To(BeNumerically("<=", 1))
		})
	}
}
