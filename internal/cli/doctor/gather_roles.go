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
	note := func(address string, port int32) {
		if a, err := netip.ParseAddr(address); err == nil {
			s.APIServer = append(s.APIServer, netip.AddrPortFrom(a, uint16(port)))
		}
	}
	var service corev1.Service
	if r.get(ctx, "services", client.ObjectKey{Namespace: apiNamespace, Name: apiService}, &service) {
		for _, address := range service.Spec.ClusterIPs {
			for _, p := range service.Spec.Ports {
				note(address, p.Port)
			}
		}
	}
	pages(ctx, r, "endpointslices", func(page *discoveryv1.EndpointSliceList) {
		for i := range page.Items {
			for _, e := range page.Items[i].Endpoints {
				for _, address := range e.Addresses {
					for _, p := range page.Items[i].Ports {
						if p.Port != nil {
							note(address, *p.Port)
						}
					}
				}
			}
		}
	}, client.InNamespace(apiNamespace), client.MatchingLabels{discoveryv1.LabelServiceName: apiService})
}
