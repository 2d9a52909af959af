package doctor

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cairn-backup/cairn/internal/doctor"
)

// roles reads who may do what. Of RoleBindings, which each namespace has, it keeps those that concern the manager, and
// of Roles those that they name.
func (r *reader) roles(ctx context.Context, s *doctor.State, administrators []string) {
	pages(ctx, r, "clusterroles", func(page *rbacv1.ClusterRoleList) {
		s.ClusterRoles = append(s.ClusterRoles, page.Items...)
	})
	pages(ctx, r, "clusterrolebindings", func(page *rbacv1.ClusterRoleBindingList) {
		s.ClusterRoleBindings = append(s.ClusterRoleBindings, page.Items...)
	})
	wanted := map[client.ObjectKey]bool{}
	pages(ctx, r, "rolebindings", func(page *rbacv1.RoleBindingList) {
		for i := range page.Items {
			b := &page.Items[i]
			if !s.Concerns(b, administrators) {
				continue
			}
			s.RoleBindings = append(s.RoleBindings, *b)
			if b.RoleRef.Kind == "Role" {
				wanted[client.ObjectKey{Namespace: b.Namespace, Name: b.RoleRef.Name}] = true
			}
		}
	})
	for key := range wanted {
		var role rbacv1.Role
		if r.get(ctx, "roles", key, &role) {
			s.Roles = append(s.Roles, role)
		}
	}
}

// The Service through which pods reach the API server.
const (
	apiNamespace = "default"
	apiService   = "kubernetes"
)

// apiServer finds where the API server is, as far as the API tells: the rules for addresses refuse it.
func (r *reader) apiServer(ctx context.Context, s *doctor.State) {
	var service corev1.Service
	if r.get(ctx, "services", client.ObjectKey{Namespace: apiNamespace, Name: apiService}, &service) {
		var ports []int32
		for _, p := range service.Spec.Ports {
			ports = append(ports, p.Port)
		}
		s.APIServer = append(s.APIServer, addresses(service.Spec.ClusterIPs, ports)...)
	}
	pages(ctx, r, "endpointslices", func(page *discoveryv1.EndpointSliceList) {
		for i := range page.Items {
			s.APIServer = append(s.APIServer, addressesOf(&page.Items[i])...)
		}
	}, client.InNamespace(apiNamespace), client.MatchingLabels{discoveryv1.LabelServiceName: apiService})
}

func addressesOf(slice *discoveryv1.EndpointSlice) (out []netip.AddrPort) {
	var ports []int32
	for _, p := range slice.Ports {
		if p.Port != nil {
			ports = append(ports, *p.Port)
		}
	}
	for _, e := range slice.Endpoints {
		out = append(out, addresses(e.Addresses, ports)...)
	}
	return out
}

// addresses returns each address with each port. The address "None" of a Service is none.
func addresses(hosts []string, ports []int32) (out []netip.AddrPort) {
	for _, host := range hosts {
		a, err := netip.ParseAddr(host)
		if err != nil {
			continue
		}
		for _, port := range ports {
			out = append(out, netip.AddrPortFrom(a, uint16(port)))
		}
	}
	return out
}
