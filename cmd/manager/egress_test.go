package main

import (
	"net/netip"
	"testing"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/cairn-backup/cairn/internal/egress"
)

// A cluster has several API servers, and the manager itself uses one of them.
func noAPIServerIsReached(t *testing.T) {
	g := NewWithT(t)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: "kubernetes-of-two",
			Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.10", "192.0.2.11"}}},
		Ports:       []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(6443))}},
	}
	g.Expect(bed.Client.Create(t.Context(), slice)).To(Succeed())
	policy, err := egress.New(egress.Rules{})
	g.Expect(err).NotTo(HaveOccurred())
	manager := as(t, "cairn-system", name, "")
	a := &apiServer{policy: policy, config: bed.Config, reader: manager, log: logr.Discard()}
	other := netip.MustParseAddrPort("192.0.2.11:6443")
	a.look(t.Context())
	g.Expect(policy.Rules().APIServer).To(ContainElement(other), "the other API server")
	g.Expect(a.failed).To(BeEmpty())

	// A question without an answer opens nothing.
	a.config = rest.CopyConfig(bed.Config)
	a.config.Host = "https://127.0.0.1:1"
	g.Expect(bed.Client.Delete(t.Context(), slice)).To(Succeed())
	a.look(t.Context())
	g.Expect(a.failed).NotTo(BeEmpty())
	g.Expect(policy.Rules().APIServer).To(ContainElement(other), "what was known stays")
}
